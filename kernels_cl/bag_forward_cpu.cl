/* bag_forward_cpu.cl - observe, fake-quantise, gather, pool: out[b][:] = pool over the lookups of bag b of fq(W[idx][:])
 *
 * One work-item computes one bag of a feature whose rows take BLOCKS float16 blocks; this file is compiled once for each BLOCKS that a
 * module needs, in front of bag_forward_cpu_main.cl, which picks. A row is read once; its range, qparams and values stay in registers.
 * Shapes, mapping of items to bags: bag_forward_cpu_main.cl. Order: lookups by position, one plain addition (or fma) each.
 * Moves    reads 4*N*D + 4*N + 4*(B+1) (+ 16*N observer state), writes 4*B*D bytes (+ 4*B*D winners for max)
 * Where rows are fake-quantised, bag_forward_cpu_stream.cl computes a tile of bags (above 32 columns bag_forward_cpu_group.cl a bag); this is
 * their form with care, and that of all others.
 * Knobs    BLOCKS 0 (D < 16), 1..16 (D <= 16*BLOCKS), 17 (wider: the accumulators are the output row);  MODE 0 mean, 1 sum, 2 max, 3 none;
 *          WEIGHTED 0|1; USES bit mask of src/core/tables.h; DIM_k the width of all tables of k blocks, or 0; AHEAD lookups between a
 *          prefetch and its use; INDEX, OFFSET, SLABS (batch.h) */
#if !defined(BLOCKS) || !defined(MODE) || !defined(WEIGHTED) || !defined(USES) || !defined(AHEAD)
#error "BLOCKS, MODE, WEIGHTED, USES and AHEAD are set by src/opencl/bag_forward.c, never here"
#endif

/* what the width before this one left */
#undef INIT
#undef INIT_BEST
#undef RANGE
#undef EXACT
#undef CLAMPED
#undef ADD_CODE
#undef SCALE
#undef ADD
#undef DIVIDE
#undef LOAD
#undef STORE
#undef STORE_WINNER
#undef EACH
#undef AT

#define CAT_(a, b) a##b
#define CAT(a, b)  CAT_(a, b)
#define DIM        CAT(DIM_, BLOCKS)

#if BLOCKS <= 16
#if BLOCKS == 0
#define EACH(M) M(0)
#define LOAD(k) float16 x##k = load_small(w, dim);
#define STORE(k) store_small(acc##k, out, dim);
#define STORE_WINNER(k) store_small_int(best##k, winner, dim);
#else
#define EACH(M)  CAT(EACH_, BLOCKS)(M)
#define AT(k)    ((k) == BLOCKS - 1 ? dim - 16 : 16 * (k))
#define LOAD(k)  float16 x##k = vload16(0, w + AT(k));
#define STORE(k) vstore16(acc##k, 0, out + AT(k));
#define STORE_WINNER(k) vstore16(best##k, 0, winner + AT(k));
#endif
#define INIT(k)   float16 acc##k = (float16)(0.0f);
#define INIT_BEST(k) int16 best##k = (int16)(-1);
#define RANGE(k)            \
    low = vmin16(x##k, low);   \
    high = vmax16(x##k, high); \
    odd = fma(x##k, (float16)(0.0f), odd);
#define EXACT(k) x##k = q_fake_quant_exact(x##k, q, ARITHMETIC(t));
#define CLAMPED(k) x##k = q_fake_quant(x##k, q, t->qmin, t->qmax, ARITHMETIC(t));
#define ADD_CODE(k) acc##k = fma((float16)(scale), q_packed_code(x##k, q, t->qmin, t->qmax), acc##k + (float16)(bias));
#define SCALE(k) x##k = x##k * factor;
#if MODE == Q_MODE_NONE
#define ADD(k) acc##k = x##k;
#elif MODE == Q_MODE_MAX
#define ADD(k)                                                                                    \
    {                                                                                             \
        const int16 wins = first ? (int16)(-1) : (int16)(x##k > acc##k) | (int16)(x##k != x##k);    \
        acc##k = wins ? x##k : acc##k;                                                            \
        best##k = wins ? (int16)((int)position) : best##k;                                               \
    }
#elif WEIGHTED
#define ADD(k) acc##k = t->padding_idx < 0 ? fma((float16)(psw), x##k, acc##k) : acc##k + x##k * psw;
#else
#define ADD(k) acc##k = acc##k + x##k;
#endif
#define DIVIDE(k) acc##k = divide16(acc##k, (float16)((float)count));

static inline void CAT(forward_, BLOCKS)(const bag_view given, __global const q_table *t, const long begin, const long end, __global float *out,
                                         __global int *winner) {
    const int dim = DIM ? DIM : t->dim;
    bag_view v = given;
    v.dim = dim;
#if GROUPED && BLOCKS > 2
    if (FAKE_QUANTISES(t) && grouped(v, t, begin, end, out, winner, BLOCKS)) {
        return;
    }
#endif
    const long ahead = end + AHEAD <= v.lookups ? AHEAD : 0; /* the last bags of a batch ask for what they read */
    long count = 0;
    EACH(INIT)
#if MODE == Q_MODE_MAX
    EACH(INIT_BEST)
#endif
    for (long p = begin; p < end; p++) {
        const long row = v.indices[p];
        prefetch_row(v, t, p + ahead);
        if (!counts(v, row)) {
            continue;
        }
        __global const float *w = row_of(v, t, row);
        EACH(LOAD)
#if USES & USES_QUANT
        if (!(USES & USES_FLOAT) || (t->flags & Q_FAKE_QUANT_ON)) {
            float16 low = (float16)(INFINITY);
            float16 high = (float16)(-INFINITY);
            float16 odd = (float16)(0.0f);
            EACH(RANGE)
            Q_RANGE(low, high, odd, lo, hi);
            const q_qparams q = row_qparams(v, t, row, lo, hi);
#if ADDS_CODES
            if (adds_codes(t)) {
                const float w1 = WEIGHTED ? v.weights[p] : 1.0f;
                const float scale = w1 * q.scale;
                const float bias = w1 * q.zero;
                EACH(ADD_CODE)
                count++;
                continue;
            }
#endif
            if (q.exact) {
                EACH(EXACT)
            } else {
                EACH(CLAMPED)
            }
#if USES & USES_NORM
            const float factor = row_norm_factor(t, w, q, 1);
            EACH(SCALE)
#endif
        }
#endif
#if (USES & USES_NORM) && (USES & USES_FLOAT)
        if (!(t->flags & Q_FAKE_QUANT_ON)) {
            const q_qparams none = {1.0f, 0.0f, 1.0f, 0};
            const float factor = row_norm_factor(t, w, none, 0);
            EACH(SCALE)
        }
#endif
#if WEIGHTED
        const float psw = v.weights[p];
#endif
#if MODE == Q_MODE_MAX
        const int first = count == 0;
        const long position = p;
#endif
        EACH(ADD)
        count++;
    }
#if MODE == Q_MODE_MEAN
    if (count > 0) {
        EACH(DIVIDE)
    }
#endif
    EACH(STORE)
#if MODE == Q_MODE_MAX
    EACH(STORE_WINNER)
#endif
}

#else /* wide rows: two passes over a row that lies in the first-level cache by then, accumulators in the output row */

static inline float16 load_wide(__global const float *p, const int lanes) {
    return lanes == 16 ? vload16(0, p) : load_small(p, lanes);
}

static inline void store_wide(const float16 x, __global float *p, const int lanes) {
    if (lanes == 16) {
        vstore16(x, 0, p);
    } else {
        store_small(x, p, lanes);
    }
}

/* acc[c..c+lanes) = pool(acc, x) for one block at column c; lanes is 16 but for the tail. */
static inline void pool_wide(const float16 x, const int first, const float psw, const int padded, const int p, __global float *acc,
                             __global int *winner, const int lanes) {
    const float16 old = lanes == 16 ? vload16(0, acc) : load_small(acc, lanes);
    float16 sum = x;
    if (MODE == Q_MODE_MAX) {
        const int16 wins = first ? (int16)(-1) : (int16)(x > old) | (int16)(x != x);
        const int16 before = as_int16(lanes == 16 ? vload16(0, (__global float *)winner) : load_small((__global float *)winner, lanes));
        const int16 best = wins ? (int16)(p) : before;
        sum = wins ? x : old;
        if (lanes == 16) {
            vstore16(best, 0, winner);
        } else {
            store_small_int(best, winner, lanes);
        }
    } else if (MODE != Q_MODE_NONE) {
        sum = !WEIGHTED ? old + x : padded ? old + x * psw : fma((float16)(psw), x, old);
    }
    store_wide(sum, acc, lanes);
}

#if USES & USES_QUANT
static inline q_qparams qparams_wide(const bag_view v, __global const q_table *t, const long row, __global const float *w) {
    float16 low = (float16)(INFINITY);
    float16 high = (float16)(-INFINITY);
    float16 odd = (float16)(0.0f);
    for (int c = 0; c < t->dim; c += 16) {
        const float16 x = vload16(0, w + (c + 16 <= t->dim ? c : t->dim - 16));
        low = vmin16(x, low);
        high = vmax16(x, high);
        odd = fma(x, (float16)(0.0f), odd);
    }
    Q_RANGE(low, high, odd, lo, hi);
    return row_qparams(v, t, row, lo, hi);
}
#endif

static inline void CAT(forward_, BLOCKS)(const bag_view given, __global const q_table *t, const long begin, const long end, __global float *out,
                                         __global int *winner) {
    const int dim = DIM ? DIM : t->dim;
    bag_view v = given;
    v.dim = dim;
#if GROUPED
    if (FAKE_QUANTISES(t) && grouped(v, t, begin, end, out, winner, (dim + 15) / 16)) {
        return;
    }
#endif
    const long ahead = end + AHEAD <= v.lookups ? AHEAD : 0;
    long count = 0;
    for (int c = 0; c < dim; c++) {
        out[c] = 0.0f;
        if (MODE == Q_MODE_MAX) {
            winner[c] = -1;
        }
    }
    for (long p = begin; p < end; p++) {
        const long row = v.indices[p];
        prefetch_row(v, t, p + ahead);
        if (!counts(v, row)) {
            continue;
        }
        __global const float *w = row_of(v, t, row);
        q_qparams q = {1.0f, 0.0f, 1.0f, 0};
        float factor = 1.0f;
        int quant = 0;
#if USES & USES_QUANT
        quant = t->flags & Q_FAKE_QUANT_ON;
        if (quant) {
            q = qparams_wide(v, t, row, w);
        }
#endif
#if USES & USES_NORM
        factor = row_norm_factor(t, w, q, quant);
#endif
        const float psw = WEIGHTED ? v.weights[p] : 1.0f;
#if ADDS_CODES
        if (adds_codes(t)) {
            const float scale = psw * q.scale;
            const float bias = psw * q.zero;
            for (int c = 0; c < dim; c += 16) {
                const int lanes = dim - c < 16 ? dim - c : 16;
                const float16 code = q_packed_code(load_wide(w + c, lanes), q, t->qmin, t->qmax);
                const float16 sum = fma((float16)(scale), code, load_wide(out + c, lanes) + (float16)(bias));
                store_wide(sum, out + c, lanes);
            }
            count++;
            continue;
        }
#endif
        for (int c = 0; c < dim; c += 16) {
            const int lanes = dim - c < 16 ? dim - c : 16;
            float16 x = load_wide(w + c, lanes);
            x = quant ? q_fake_quant(x, q, t->qmin, t->qmax, ARITHMETIC(t)) : x;
            x = (USES & USES_NORM) ? x * factor : x;
            pool_wide(x, count == 0, psw, t->padding_idx >= 0, (int)p, out + c, winner + c, lanes);
        }
        count++;
    }
    for (int c = 0; MODE == Q_MODE_MEAN && count > 0 && c < dim; c++) {
        out[c] = Q_DIV(out[c], (float)count);
    }
}
#endif
