/* packed_forward_cpu.cl - gather, dequantise, pool packed rows: out[b][:] = pool over the lookups of bag b of its rows' values
 *
 * One work-item computes one bag, for rows of up to CHUNKS * 16 code bytes (wider rows: one panel of them after the other); this file is
 * compiled once for each pair of BITS and CHUNKS that the tables need, in front of packed_forward_cpu_main.cl, which picks. A code becomes
 * a float by way of int16 (from uchar16 PoCL goes one by one); codes that share bytes are summed apart, low bits with low bits, and are interleaved once
 * at the end. Chunks are read whole: a table's bytes are followed by slack.
 * Moves    reads N * (ceil(D*BITS/8) + qparams) + 4*N + 4*(B+1), writes 4*B*D bytes (2 for half types)
 * Knobs    BITS 8|4|2;  CHUNKS 1..16 / PER;  and those of packed_forward_cpu_head.cl */
#if !defined(BITS) || !defined(CHUNKS)
#error "BITS and CHUNKS are set by src/opencl/packed_forward.c, never here"
#endif

#define CAT4_(a, b, c, d) a##b##c##d
#define CAT4(a, b, c, d)  CAT4_(a, b, c, d)
#define CAT2_(a, b)       a##b
#define CAT2(a, b)        CAT2_(a, b)
#define EACH(M)           CAT2(EACH_, CHUNKS)(M)

#define LOAD(k) const int16 b##k = convert_int16(vload16(0, codes + 16 * k));
#define CODE(k, j) convert_float16((b##k >> (int16)(BITS * j)) & (int16)((1 << BITS) - 1))
#define ACC(k, j)     acc##k##j
#define INIT1(k, j)   float16 acc##k##j = (float16)(0.0f);
#define DIVIDE1(k, j) acc##k##j = divide16(acc##k##j, (float16)((float)count));
#if SUMS
#define ADD1(k, j) acc##k##j = fma((float16)(scale), CODE(k, j), acc##k##j + (float16)(bias));
#endif
#define VALUE(k, j) fma((float16)(q.scale), CODE(k, j), (float16)(q.zero)) * factor
#if MODE == Q_MODE_NONE
#define POOL1(k, j) acc##k##j = VALUE(k, j);
#elif MODE == Q_MODE_MAX
#define POOL1(k, j)                                                                            \
    {                                                                                          \
        const float16 x = VALUE(k, j);                                                         \
        acc##k##j = count == 0 ? x : ((int16)(x > acc##k##j) | (int16)(x != x)) ? x : acc##k##j; \
    }
#elif WEIGHTED
#define POOL1(k, j)                                                                                   \
    {                                                                                                 \
        const float16 x = VALUE(k, j);                                                                \
        acc##k##j = t->padding_idx < 0 ? fma((float16)(psw), x, acc##k##j) : acc##k##j + x * psw;       \
    }
#else
#define POOL1(k, j) acc##k##j = acc##k##j + VALUE(k, j);
#endif

/* Every part of chunk k, and the chunk's columns in order. */
#if BITS == 8
#define PER 1
#define PARTS(M, k) M(k, 0)
#define STORE(k) store_columns(ACC(k, 0), out, first + 16 * k, dim);
#elif BITS == 4
#define PER 2
#define PARTS(M, k) M(k, 0) M(k, 1)
#define STORE(k)                                           \
    {                                                      \
        float16 r;                                         \
        r.even = ACC(k, 0).lo;                             \
        r.odd = ACC(k, 1).lo;                              \
        store_columns(r, out, first + 32 * k, dim);        \
        r.even = ACC(k, 0).hi;                             \
        r.odd = ACC(k, 1).hi;                              \
        store_columns(r, out, first + 32 * k + 16, dim);   \
    }
#else
#define PER 4
#define PARTS(M, k) M(k, 0) M(k, 1) M(k, 2) M(k, 3)
#define QUARTER(k, quarter, part)                                   \
    {                                                               \
        float16 r;                                                  \
        r.s048c = ACC(k, 0).quarter;                                \
        r.s159d = ACC(k, 1).quarter;                                \
        r.s26ae = ACC(k, 2).quarter;                                \
        r.s37bf = ACC(k, 3).quarter;                                \
        store_columns(r, out, first + 64 * k + 16 * part, dim);     \
    }
#define STORE(k) QUARTER(k, lo.lo, 0) QUARTER(k, lo.hi, 1) QUARTER(k, hi.lo, 2) QUARTER(k, hi.hi, 3)
#endif
#define INIT(k)   PARTS(INIT1, k)
#define ADD(k)    PARTS(ADD1, k)
#define POOL(k)   PARTS(POOL1, k)
#define DIVIDE(k) PARTS(DIVIDE1, k)

/* Columns [first, first + CHUNKS * 16 * PER) of one bag. */
static inline void CAT4(packed_, BITS, _, CHUNKS)(const packed_view v, __global const q_table *t, const long begin, const long end, const int first,
                                                  __global out_t *out) {
    const int dim = t->dim;
    int count = 0;
    EACH(INIT)
    for (long p = begin; p < end; p++) {
        const long row = packed_row(v, (long)v.indices[p]);
        if (first == 0) {
            prefetch_packed(v, t, p + AHEAD);
        }
        if (row < 0) {
            continue;
        }
        __global const uchar *slab = slab_of(v, t, row);
        const long slot = q_local(t, row);
        __global const uchar *start = slab + v.codes_at + slot * v.row_bytes;
        __global const uchar *codes = start + first / PER;
        const q_qparams q = load_qparams(v, slab + v.qparams_at + slot * v.qparams_step);
        const float psw = WEIGHTED ? v.weights[p] : 1.0f;
        EACH(LOAD)
#if SUMS
        if (!NORM || !(t->flags & Q_HAS_NORM)) {
            const float scale = psw * q.scale;
            const float bias = psw * q.zero;
            EACH(ADD)
            count++;
            continue;
        }
#endif
#if NORM
        const float factor = packed_norm_factor(t, start, q);
        EACH(POOL)
#elif !SUMS
        const float factor = 1.0f;
        EACH(POOL)
#endif
        count++;
    }
#if MODE == Q_MODE_MEAN
    if (count > 0) {
        EACH(DIVIDE)
    }
#endif
    EACH(STORE)
}

#undef EACH
#undef LOAD
#undef CODE
#undef ACC
#undef INIT1
#undef DIVIDE1
#undef ADD1
#undef VALUE
#undef POOL1
#undef PER
#undef PARTS
#undef QUARTER
#undef STORE
#undef INIT
#undef ADD
#undef POOL
#undef DIVIDE
