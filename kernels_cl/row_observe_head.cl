/* row_observe_head.cl - what both families of row_observe do with a row's range: the state caught up and stored, the row of the report.
 *
 * Shapes, mapping, moves and knobs as row_observe_cpu.cl. */
#if !defined(STATE) || !defined(VALUES)
#error "STATE and VALUES are set by src/opencl/row_observe.c"
#endif

/* State of a row after the observations so far; `writes`: this work-item stores it where that is wanted, and counts what happened. */
static inline q_state observed(__global const q_table *t, __global q_state *entry, const q_row_observe a, const float2 range,
                               volatile __global uint *events, const int writes) {
    q_state s = {range.s0, range.s1, a.observations};
#if STATE
    s = *entry;
    const int observes = a.observations > s.count;
    const int repaired = q_catch_up(t->observer, t->averaging, range.s0, range.s1, a.observations, &s);
    if (a.store && observes && writes) {
        *entry = s;
        if (range.s0 != range.s0) {
            atomic_add(&events[0], 1u);
        }
        if (repaired) {
            atomic_add(&events[2], (uint)repaired);
        }
    }
#endif
    return s;
}

static inline void report_row(__global float *r, const long stride, const q_state s, const q_qparams p) {
    const int seen = s.count > 0;
    r[0] = seen ? s.min_val : Q_NAN;
    r[stride] = seen ? s.max_val : Q_NAN;
    r[2 * stride] = seen ? p.scale : 1.0f;
    r[3 * stride] = seen ? p.zero : 0.0f;
}
