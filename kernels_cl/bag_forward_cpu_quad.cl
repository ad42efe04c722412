/* bag_forward_cpu_quad.cl - four fake-quantised rows at a time: one transposed reduction, one set of divisions, one catching up.
 *
 * One row at a time, as in bag_forward_cpu.cl, waits for each row's chain of reduction and division: 34 against 12 ns a row of 64 columns hot
 * in cache (two Zen 4 cores).
 * Knobs    ROWS 0: rows are not taken together; else bag_forward_cpu_stream.cl, or bag_forward_cpu_group.cl above 32 columns */
#ifndef ROWS
#error "ROWS is set by src/opencl/variants.inc, never here"
#elif ROWS > 0
#if !(USES & (USES_TORCH_CPU | USES_TORCH_CUDA)) || (USES & USES_NORM) || MODE == Q_MODE_NONE || defined(Q_SOFT_DIVISION)
#error "groups of rows: see above"
#endif
#define GROUPED 1
#define FAKE_QUANTISES(t) ((!(USES & USES_FLOAT) || ((t)->flags & Q_FAKE_QUANT_ON)) && ARITHMETIC(t) != Q_PACKED)
/* Called in the innermost loop: a call would save and reload every vector register. */
#define INLINED static inline __attribute__((always_inline))
#define GROUP_EXACT  1
#define GROUP_FINITE 2
#define GROUP_WHOLE  4 /* four lookups that count */

/* Below it the sum of |zero point| of rows says that each is exact (q_is_exact), more than one row at a time. */
#define QUAD_EXACT 1048576.0f

/* Qparams of four rows whose values lie in lo .. hi; of each |zero point|, QUAD_EXACT or more where it is not exact, NaN where the range is
 * infinite or NaN. */
INLINED float4 quad_qparams(const bag_view v, __global const q_table *t, const long *rows, const float4 least, const float4 greatest,
                            float *scales, float *zeros, float *minuses, float *inverses) {
    const float4 lo = least + (float4)(0.0f);
    const float4 hi = greatest + (float4)(0.0f);
    float4 min_val = lo, max_val = hi;
#if USES & USES_STATE
    if (t->flags & Q_HAS_STATE) {
        const q_state states[4] = {*state_of(v, t, rows[0]), *state_of(v, t, rows[1]), *state_of(v, t, rows[2]), *state_of(v, t, rows[3])};
        catch_up4(t->observer, t->averaging, v.observations, states, lo, hi, &min_val, &max_val);
    }
#endif
    float4 scale, zero, inverse;
    Q_QPARAMS(float4, min_val, max_val, t->range, t->inverse_range, t->eps, ARITHMETIC(t), scale, zero, inverse);
    vstore4(scale, 0, scales);
    vstore4(zero, 0, zeros);
    vstore4((float4)(0.0f) - zero, 0, minuses);
    vstore4(inverse, 0, inverses);
    const float4 far = fma(hi - lo, (float4)(0.0f), fabs(zero));
#if USES & USES_STATE
    return (lo >= min_val) & (hi <= max_val) ? far : far + (float4)(QUAD_EXACT);
#else
    return far;
#endif
}

/* What is true of all rows whose numbers from quad_qparams were added up; `exact` GROUP_EXACT if it can be, which wants qmin 0. */
INLINED int quad_flags(const float4 far, const int exact) {
    const float2 pair = far.lo + far.hi;
    const float sum = pair.s0 + pair.s1;
    return (sum < QUAD_EXACT ? exact : 0) | (sum == sum ? GROUP_FINITE : 0);
}

/* Two quads: one is observed while the other is pooled. */
typedef struct quads {
    __global const float *row[8]; /* 0: does not count */
    float scale[8], zero[8], minus[8], inverse[8];
} quads;

/* The first row from position p on that counts, or -1. */
static inline long first_counting(const bag_view v, long p, const long end) {
    for (; p < end; p++) {
        if (counts(v, v.indices[p])) {
            return v.indices[p];
        }
    }
    return -1;
}

/* counts(), without a branch. */
INLINED int counts_too(const bag_view v, const long row) {
    return ((ulong)row < (ulong)v.rows) & (row != v.padding_idx);
}

/* The row of lookup p, where to prefetch; `with_state`: its state is asked for here. An id outside the table makes an address that nobody reads. */
INLINED __global const float *prefetch_row_of(const bag_view v, __global const q_table *t, const long p, const int with_state) {
#if SLABS == 1
    const ulong ahead = (ulong)(long)v.indices[p];
#if USES & USES_STATE
    if (with_state && (t->flags & Q_HAS_STATE)) {
        PREFETCH_LINE((ulong)v.state + ahead * sizeof(q_state));
    }
#endif
    return (__global const float *)((ulong)v.slab + ahead * (ulong)v.dim * sizeof(float));
#else
    const long ahead = row_ahead(v, t, p);
#if USES & USES_STATE
    if (with_state && (t->flags & Q_HAS_STATE)) {
        PREFETCH_LINE(state_of(v, t, ahead));
    }
#endif
    return row_of(v, t, ahead);
#endif
}
#else
#define GROUPED 0
#endif
