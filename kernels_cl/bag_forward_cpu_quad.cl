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

#if USES & USES_STATE
/* q_catch_up, of four rows. */
static inline void quad_catch_up(const bag_view v, __global const q_table *t, const long *rows, const float4 lo, const float4 hi, float4 *min_val,
                                 float4 *max_val) {
    float mins[4], maxs[4];
    int missed[4];
    for (int j = 0; j < 4; j++) {
        const q_state s = *state_of(v, t, rows[j]);
        const long m = v.observations - s.count;
        const int fresh = m > 0 && (s.count == 0 || t->observer == Q_MEMORYLESS);
        mins[j] = s.min_val;
        maxs[j] = s.max_val;
        missed[j] = (int)(m < 0 ? 0 : m > 0x7fffffff ? 0x7fffffff : m);
        missed[j] = !fresh ? missed[j] : t->observer == Q_MEMORYLESS ? -0x7fffffff : -missed[j];
    }
    const int4 given = vload4(0, missed);
    const int4 fresh = given < 0; /* takes the row's range as its first observation */
    float4 low = fresh ? lo : vload4(0, mins);
    float4 high = fresh ? hi : vload4(0, maxs);
    int4 left = fresh ? -given - 1 : given;
    int4 active = t->observer == Q_MEMORYLESS ? (int4)(0) : left > 0;
    while (any(active)) {
        float4 new_low = low, new_high = high;
        int4 repaired = (int4)(0);
        Q_OBSERVE(t->observer, t->averaging, lo, hi, new_low, new_high, repaired);
        const int4 moved = (new_low != low) | (new_high != high);
        low = active ? new_low : low;
        high = active ? new_high : high;
        left -= 1;
        active = active & moved & (left > 0) & (low == low);
    }
    *min_val = low;
    *max_val = high;
}
#endif

/* Qparams of four rows whose values lie in lo .. hi; what is true of all four. */
INLINED int quad_qparams(const bag_view v, __global const q_table *t, const long *rows, const float4 least, const float4 greatest,
                               float *scales, float *zeros, float *inverses) {
    const float4 lo = least + (float4)(0.0f);
    const float4 hi = greatest + (float4)(0.0f);
    float4 min_val = lo, max_val = hi;
#if USES & USES_STATE
    if (t->flags & Q_HAS_STATE) {
        quad_catch_up(v, t, rows, lo, hi, &min_val, &max_val);
    }
#endif
    float4 scale, zero, inverse;
    Q_QPARAMS(float4, min_val, max_val, t->range, t->inverse_range, t->eps, ARITHMETIC(t), scale, zero, inverse);
    vstore4(scale, 0, scales);
    vstore4(zero, 0, zeros);
    vstore4(inverse, 0, inverses);
    /* q_is_exact, of four rows */
    const int4 exact = (lo >= min_val) & (hi <= max_val) & (fabs(zero) < (float4)(1048576.0f));
    const int4 finite = hi - lo < (float4)(INFINITY);
    const int4 flags = (exact & GROUP_EXACT) | (finite & GROUP_FINITE);
    const int2 pair = flags.lo & flags.hi;
    return pair.s0 & pair.s1 & (t->qmin == 0.0f ? GROUP_EXACT | GROUP_FINITE : GROUP_FINITE);
}

/* Two quads: one is observed while the other is pooled. */
typedef struct quads {
    __global const float *row[8]; /* 0: does not count */
    float scale[8], zero[8], inverse[8];
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

/* The row of lookup p, where to prefetch; its state is asked for here. An id outside the table makes an address that nobody reads. */
INLINED __global const float *prefetch_row_of(const bag_view v, __global const q_table *t, const long p) {
#if SLABS == 1
    const ulong ahead = (ulong)(long)v.indices[p];
#if USES & USES_STATE
    if (t->flags & Q_HAS_STATE) {
        PREFETCH_LINE((ulong)v.state + ahead * sizeof(q_state));
    }
#endif
    return (__global const float *)((ulong)v.slab + ahead * (ulong)v.dim * sizeof(float));
#else
    const long ahead = row_ahead(v, t, p);
#if USES & USES_STATE
    if (t->flags & Q_HAS_STATE) {
        PREFETCH_LINE(state_of(v, t, ahead));
    }
#endif
    return row_of(v, t, ahead);
#endif
}
#else
#define GROUPED 0
#endif
