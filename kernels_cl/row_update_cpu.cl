/* row_update_cpu.cl - gradient, observer state and update of one row while it is in registers: CPU family.
 *
 * A row of BLOCKS float16 blocks is one work-item's, which adds the gradients of the row's lookups, reads the row once, derives its range,
 * qparams and mask, stores its observer state, and writes the row. Compiled once for each BLOCKS, behind bag_backward_cpu.cl.
 * Shapes, mapping of items to rows: row_update_cpu_main.cl. The order of additions is bag_backward_cpu.cl's.
 * Moves    4*D*(lookups + 2 + 2 * state arrays) bytes a row, 32 of observer state
 * Knobs    KIND, MOMENTUM 0|1, STATE 0|1 (a table keeps observer state), QUANT 0|1 (a table may fake-quantise); bag_backward_cpu.cl */
#if !defined(KIND) || !defined(MOMENTUM) || !defined(STATE) || !defined(QUANT)
#error "KIND, MOMENTUM, STATE and QUANT are set by src/opencl/row_update.c"
#endif
#ifndef LOAD_W
#define HAS_M      Q_HAS_M(KIND, MOMENTUM)
#define LOAD_W(k)  const float16 w##k = vload16(0, w + AT(k));
#define RANGE(k)               \
    low = vmin16(w##k, low);   \
    high = vmax16(w##k, high); \
    odd = fma(w##k, (float16)(0.0f), odd);
#define MASK(k)     g##k = g##k * q_mask(w##k, q, t->qmin, t->qmax, t->arithmetic);
#define PREPARE(k)  g##k = q_prepare(o, g##k, coefficient);
#define LOAD_M(k)   float16 m##k = HAS_M ? vload16(0, m + AT(k)) : (float16)(0.0f);
#define LOAD_V(k)   float16 v##k = Q_HAS_V(KIND) ? vload16(0, second + AT(k)) : (float16)(0.0f);
#define DIRECT(k)   const float16 d##k = q_direction(o, KIND, g##k, w##k, s.root, &m##k, &v##k);
#define APPLY(k)    float16 x##k = q_apply(s, w##k, d##k);
#define SHRINK(k)   x##k = x##k * factor;
#define STORE_W(k)  vstore16(x##k, 0, w + AT(k));
#define STORE_M(k)  vstore16(m##k, 0, m + AT(k));
#define STORE_V(k)  vstore16(v##k, 0, second + AT(k));
#define TERM_B(k)   terms[k] = q_square_before(o, KIND, g##k, w##k);
#define TERM_W(k)   terms[k] = w##k * w##k;
#define TERM_D(k)   terms[k] = d##k * d##k;
#define TERM_X(k)   terms[k] = x##k * x##k;

/* Sum of whole blocks in the tree of P5: blocks padded to a power of two and halved, then the lanes. */
static inline float sum_blocks(float16 *terms, const int blocks) {
    int step = 1;
    while (2 * step < blocks) {
        step *= 2;
    }
    for (; step > 0 && blocks > 1; step /= 2) {
        for (int k = 0; k < step && k + step < blocks; k++) {
            terms[k] = terms[k] + terms[k + step];
        }
    }
    const float8 a = terms[0].lo + terms[0].hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.s0 + c.s1;
}

/* Where a row and what runs beside it lie. */
typedef struct row_place {
    __global float *w, *m, *second;
    __global q_state *stored;
    volatile __global uint *events;
    long step;
} row_place;
#endif

static inline void CAT(update_, BLOCKS)(const gradient_view v, __global const q_table *t, const int run, const row_place at_row, const q_optimizer o,
                                        const float coefficient) {
    const int dim = t->dim;
    __global float *w = at_row.w, *m = at_row.m, *second = at_row.second;
    EACH(CLEAR_G)
    const int begin = run < 0 ? 0 : v.run_start[run];
    const int end = run < 0 ? 0 : v.run_start[run + 1];
    if (end - begin > Q_PART) {
        __global const float *from_part = v.parts + (long)v.part_first[run] * v.part_stride;
        EACH(LOAD_G)
    } else {
        GATHER(begin, end, end - begin)
    }
    EACH(LOAD_W)
#if QUANT || STATE
    const bool quant = QUANT && (t->flags & Q_FAKE_QUANT_ON);
    if (quant || (t->flags & Q_HAS_STATE)) {
        float16 low = (float16)(INFINITY), high = (float16)(-INFINITY), odd = (float16)(0.0f);
        int repaired;
        EACH(RANGE)
        Q_RANGE(low, high, odd, lo, hi);
        const q_state caught = caught_up(t, at_row.stored, at_row.step, lo, hi, &repaired);
        const q_qparams q = q_row_qparams(t, caught.min_val, caught.max_val, lo, hi);
        if (quant && !q.exact) {
            EACH(MASK)
        }
#if STATE
        if ((t->flags & Q_HAS_STATE) && caught.count > at_row.stored->count) {
            store_state(at_row.stored, caught, lo, repaired, at_row.events);
        }
#endif
    }
#endif
    EACH(PREPARE)
    EACH(LOAD_M)
    EACH(LOAD_V)
    float squares = 0.0f, weights = 0.0f;
    float row = Q_HAS_ROW(KIND) ? second[0] : 0.0f;
#if Q_SUMS_BEFORE(KIND) || Q_SUMS_AFTER(KIND)
    float16 terms[BLOCKS];
    if (Q_SUMS_BEFORE(KIND)) {
        EACH(TERM_B)
        squares = sum_blocks(terms, BLOCKS);
    }
    if (KIND == Q_LARS_SGD || Q_SUMS_AFTER(KIND)) {
        EACH(TERM_W)
        weights = sum_blocks(terms, BLOCKS);
    }
#endif
    q_row_scalars s = q_scalars_before(o, KIND, squares, weights, dim, &row);
    EACH(DIRECT)
#if Q_SUMS_AFTER(KIND)
    EACH(TERM_D)
    s.scale = q_scale_after(s.scale, weights, sum_blocks(terms, BLOCKS));
#endif
    EACH(APPLY)
#if KIND == Q_ROWWISE_ADAGRAD
    if (o.max_norm >= 0.0f) {
        EACH(TERM_X)
        const float factor = q_shrink(o, sum_blocks(terms, BLOCKS));
        if (factor != 1.0f) {
            EACH(SHRINK)
        }
    }
#endif
    EACH(STORE_W)
#if Q_HAS_M(KIND, MOMENTUM)
    EACH(STORE_M)
#endif
#if Q_HAS_V(KIND)
    EACH(STORE_V)
#endif
#if Q_HAS_ROW(KIND)
    second[0] = row;
#endif
}
