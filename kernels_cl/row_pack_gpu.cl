/* row_pack_gpu.cl - float rows to packed rows and back, packed rows to another format; LANES work-items a row, each every LANES-th byte.
 *
 * Only a row's range crosses lanes, as the smallest and largest of integers in the order of the floats, through local memory.
 * Shapes, moves and needs as row_pack_cpu.cl.
 * Knobs    those of row_pack_head.cl;  LANES;  GROUP (lanes_gpu.cl, with REDUCE) */
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
    const float2 own = range_of(w, active ? t->dim : 0, scratch);
    if (!active) {
        return;
    }
    if (own.s0 != own.s0) {
        (void)atomic_min(&status[Q_PACK_NONFINITE], (uint)(a.ranges_at + i));
        return;
    }
    const float2 taken = method_range(t, state, ranges, a, w, i, own);
    const q_packing k = q_packing_of(t, d, METHOD, taken.s0, taken.s1);
    if (!a.as_peer && !q_packing_finite(k)) {
        (void)atomic_min(&status[Q_PACK_INFINITE], (uint)(a.ranges_at + i));
    }
    __global uchar *codes = packed + q_codes_of(d, a.target + i);
    for (int c = LANE * PER; c < t->dim; c += LANES * PER) {
        uint byte = 0;
        for (int j = 0; j < PER && c + j < t->dim; j++) {
            byte |= code_of(w[c + j], k) << (j * BITS);
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

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
row_convert(__global const q_table *sources, __global const q_table *targets, __global const uchar *from, __global uchar *packed,
            volatile __global uint *status, const q_row_unpack a) {
    const long i = (long)(get_global_id(0) / LANES);
    if (i < a.count) {
        convert_row(sources + a.table, targets + a.target_table, from, packed, status, a, i);
    }
}
