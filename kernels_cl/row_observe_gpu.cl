/* row_observe_gpu.cl - catches observer state up with the forwards so far: state[r] = state after `observations` of row r
 *
 * Shapes   tables[T], slab: W, state: one entry a row, result[4][count] (min, max, scale, zero point), events: Q_EVENTS counters of 64 bits, as words
 *          values[count][D]: the rows fake-quantised
 * Mapping  LANES work-items a row, lane j has columns j, j + LANES, ...; lane 0 writes state and report
 * Moves    reads 4*count*D + 16*count, writes 16*count (store), 16*count (report), 4*count*D (values)
 * Knobs    STATE 0: the table keeps none, the row's own range is reported;  VALUES 1: fake-quantised rows are wanted;  LANES, GROUP, REDUCE (lanes_gpu.cl) */
#if !defined(STATE) || !defined(VALUES)
#error "STATE and VALUES are set by src/opencl/row_observe.c"
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
row_observe(__global const q_table *tables, __global const float *slab, __global q_state *state, __global float *result, __global float *values,
            volatile __global uint *events, const q_row_observe a) {
#if REDUCE == 0
    __local int scratch[2 * GROUP];
#else
    __local int *scratch = 0;
#endif
    const long i = (long)(get_global_id(0) / LANES);
    const int id = (int)get_local_id(0);
    const int lane = id & (LANES - 1);
    const int active = i < a.count;
    const uint mask = LANES == 32 ? 0xffffffffu : ((1u << (LANES & 31)) - 1u) << (id & 31 & ~(LANES - 1));
    __global const q_table *t = tables + a.table;
    __global const float *w = slab + t->base + (a.first + (active ? i : 0)) * t->dim;
    float low = INFINITY;
    float high = -INFINITY;
    float odd = 0.0f;
    float lo;
    float hi;
    for (int c = lane; active && c < t->dim; c += LANES) {
        low = fmin(low, w[c]);
        high = fmax(high, w[c]);
        odd = fma(w[c], 0.0f, odd);
    }
    row_range(low, high, odd, mask, scratch, &lo, &hi);
    if (!active || (VALUES == 0 && lane != 0)) {
        return;
    }
    q_state s = {lo, hi, a.observations};
#if STATE
    __global q_state *stored = state + t->state_base + a.first + i;
    s = *stored;
    const int observes = a.observations > s.count;
    const int repaired = q_catch_up(t->observer, t->averaging, lo, hi, a.observations, &s);
    if (a.store && observes && lane == 0) {
        *stored = s;
        if (lo != lo) {
            atomic_add(&events[0], 1u);
        }
        if (repaired) {
            atomic_add(&events[2], (uint)repaired);
        }
    }
#endif
    const q_qparams p = q_row_qparams(t, s.min_val, s.max_val, lo, hi);
#if VALUES
    for (int c = lane; c < t->dim; c += LANES) {
        values[a.values_at + i * t->dim + c] = q_fake_quant(w[c], p, t->qmin, t->qmax, t->arithmetic);
    }
#endif
    if (a.report && lane == 0) {
        const int seen = s.count > 0;
        __global float *r = result + a.result_at + i;
        r[0] = seen ? s.min_val : Q_NAN;
        r[a.result_stride] = seen ? s.max_val : Q_NAN;
        r[2 * a.result_stride] = seen ? p.scale : 1.0f;
        r[3 * a.result_stride] = seen ? p.zero : 0.0f;
    }
}
