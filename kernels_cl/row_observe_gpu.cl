/* row_observe_gpu.cl - catches observer state up with the forwards so far: state[r] = state after `observations` of row r
 *
 * Shapes   tables[T], slab: W, state: one entry a row, result[4][count] (min, max, scale, zero point), events: Q_EVENTS counters of 64 bits, as words
 *          values[count][D]: the rows fake-quantised
 * Mapping  LANES work-items a row, lane j has columns j, j + LANES, ...; lane 0 writes state and report
 * Moves    reads 4*count*D + 16*count, writes 16*count (store), 16*count (report), 4*count*D (values)
 * Knobs    STATE 0: the table keeps none, the row's own range is reported;  VALUES 1: fake-quantised rows are wanted;  LANES, GROUP, REDUCE (lanes_gpu.cl) */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
row_observe(__global const q_table *tables, __global const float *slab, __global q_state *state, __global float *result, __global float *values,
            volatile __global uint *events, const q_row_observe a) {
#if REDUCE == 0
    __local int scratch[2 * GROUP];
#else
    __local int *scratch = 0;
#endif
    const long i = (long)(get_global_id(0) / LANES);
    const int active = i < a.count;
    __global const q_table *t = tables + a.table;
    __global const float *w = slab + t->base + (a.first + (active ? i : 0)) * t->dim;
    const float2 range = range_of(w, active ? t->dim : 0, scratch);
    if (!active || (VALUES == 0 && LANE != 0)) {
        return;
    }
    const q_state s = observed(t, state + t->state_base + a.first + i, a, range, events, LANE == 0);
    const q_qparams p = q_row_qparams(t, s.min_val, s.max_val, range.s0, range.s1);
#if VALUES
    for (int c = LANE; c < t->dim; c += LANES) {
        values[a.values_at + i * t->dim + c] = q_fake_quant(w[c], p, t->qmin, t->qmax, t->arithmetic);
    }
#endif
    if (a.report && LANE == 0) {
        report_row(result + a.result_at + i, a.result_stride, s, p);
    }
}
