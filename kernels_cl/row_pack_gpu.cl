/* row_pack_gpu.cl - float rows to packed rows and back, packed rows to another format; LANES work-items a row, each every LANES-th byte.
 *
 * Only a row's range crosses lanes, as the smallest and largest of integers in the order of the floats, through local memory.
 * Shapes, moves and needs as row_pack_cpu.cl.
 * Knobs    BITS 8|4|2 of the target (row_unpack: of the source);  METHOD Q_PACK_*;  STATE 1: the source keeps observer state;  LANES;  GROUP
 *          (lanes_gpu.cl, with REDUCE) */
#if !defined(BITS) || !defined(METHOD) || !defined(STATE)
#error "BITS, METHOD and STATE are set by src/opencl/row_pack.c"
#endif
#define PER (8 / BITS) /* codes a byte */
#define LANE ((int)get_local_id(0) & (LANES - 1))

static inline uint lane_mask(void) {
    return LANES == 32 ? 0xffffffffu : ((1u << (LANES & 31)) - 1u) << ((int)get_local_id(0) & 31 & ~(LANES - 1));
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
row_pack(__global const q_table *sources, __global const q_table *targets, __global const float *slab, __global const q_state *state,
         __global const float *ranges, __global uchar *packed, volatile __global uint *status, const q_row_pack a) {
#if REDUCE == 0
    __local int scratch[2 * GROUP];
#else
    __local int *scratch = 0;
#endif
    const long i = (long)(get_global_id(0) / LANES);
    const int active = i < a.count;
    __global const q_table *t = sources + a.table;
    __global const q_table *d = targets + a.target_table;
    __global const float *w = slab + t->base + (a.first + (active ? i : 0)) * t->dim;
    float low = INFINITY;
    float high = -INFINITY;
    float odd = 0.0f;
    float min_val;
    float max_val;
    for (int c = LANE; active && c < t->dim; c += LANES) {
        low = fmin(low, w[c]);
        high = fmax(high, w[c]);
        odd = fma(w[c], 0.0f, odd);
    }
    row_range(low, high, odd, lane_mask(), scratch, &min_val, &max_val);
    if (!active) {
        return;
    }
    if (min_val != min_val) {
        (void)atomic_min(&status[Q_PACK_NONFINITE], (uint)(a.ranges_at + i));
        return;
    }
#if METHOD == Q_PACK_OBSERVER && STATE
    q_state s = state[t->state_base + a.first + i];
    (void)q_catch_up(t->observer, t->averaging, min_val, max_val, a.observations, &s);
    min_val = s.min_val;
    max_val = s.max_val;
#elif METHOD == Q_PACK_GREEDY
    q_greedy_range(w, t->dim, BITS, &min_val, &max_val);
#elif METHOD == Q_PACK_GIVEN
    min_val = ranges[2 * (a.ranges_at + i)];
    max_val = ranges[2 * (a.ranges_at + i) + 1];
#endif
    const q_packing k = q_packing_of(t, d, METHOD, min_val, max_val);
    if (!a.as_peer && !q_packing_finite(k)) {
        (void)atomic_min(&status[Q_PACK_INFINITE], (uint)(a.ranges_at + i));
    }
    __global uchar *codes = packed + q_codes_of(d, a.target + i);
    for (int c = LANE * PER; c < t->dim; c += LANES * PER) {
        uint byte = 0;
        for (int j = 0; j < PER && c + j < t->dim; j++) {
            byte |= (uint)q_packing_code(w[c + j], k) << (j * BITS);
        }
        codes[c / PER] = (uchar)byte;
    }
    if (LANE == 0) {
        q_store_qparams(d, packed + q_qparams_of(d, a.target + i), k.scale, k.bias);
    }
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
row_unpack(__global const q_table *tables, __global const uchar *packed, __global float *values, const q_row_unpack a) {
    const long i = (long)(get_global_id(0) / LANES);
    if (i >= a.count) {
        return;
    }
    __global const q_table *t = tables + a.table;
    __global const uchar *codes = packed + q_codes_of(t, a.first + i);
    const q_qparams q = q_load_qparams(t, packed + q_qparams_of(t, a.first + i));
    for (int c = LANE; c < t->dim; c += LANES) {
        values[a.values_at + i * t->dim + c] = fma(q.scale, (float)q_load_code(codes, c, BITS), q.zero);
    }
}

/* Codes are kept where they mean the same in the target; else the row's values are packed anew. Every lane takes the range by itself. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
row_convert(__global const q_table *sources, __global const q_table *targets, __global const uchar *from, __global uchar *packed,
            volatile __global uint *status, const q_row_unpack a) {
    const long i = (long)(get_global_id(0) / LANES);
    if (i >= a.count) {
        return;
    }
    __global const q_table *t = sources + a.table;
    __global const q_table *d = targets + a.target_table;
    __global const uchar *source = from + q_codes_of(t, a.first + i);
    __global uchar *codes = packed + q_codes_of(d, a.target + i);
    const q_qparams q = q_load_qparams(t, from + q_qparams_of(t, a.first + i));
    const int same = q_same_values(t, d, q);
    q_packing k;
    k.scale = q.scale;
    k.bias = q.zero;
    if (!same) {
        float lo = INFINITY;
        float hi = -INFINITY;
        float odd = 0.0f;
        for (int c = 0; c < t->dim; c++) {
            const float x = fma(q.scale, (float)q_load_code(source, c, t->bits), q.zero);
            lo = x < lo ? x : lo;
            hi = x > hi ? x : hi;
            odd = fma(x, 0.0f, odd);
        }
        lo = lo + odd + 0.0f;
        hi = hi + odd + 0.0f;
        k = q_packing_of(t, d, Q_PACK_MINMAX, lo, hi);
        if (lo != lo || (!a.as_peer && !q_packing_finite(k))) {
            (void)atomic_min(&status[lo != lo ? Q_PACK_NONFINITE : Q_PACK_INFINITE], (uint)(a.values_at + i));
            return;
        }
    }
    for (int c = LANE * PER; c < t->dim; c += LANES * PER) {
        uint byte = 0;
        for (int j = 0; j < PER && c + j < t->dim; j++) {
            const int code = q_load_code(source, c + j, t->bits);
            byte |= (same ? (uint)code : (uint)q_packing_code(fma(q.scale, (float)code, q.zero), k)) << (j * BITS);
        }
        codes[c / PER] = (uchar)byte;
    }
    if (LANE == 0) {
        q_store_qparams(d, packed + q_qparams_of(d, a.target + i), k.scale, k.bias);
    }
}
