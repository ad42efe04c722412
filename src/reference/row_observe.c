/* row_observe.c - state and qparams of a range of rows, caught up with the forwards so far. */
#include "reference/reference.h"

qemb_status qemb__ref_row_observe(qemb_context *ctx, const qemb__row_observe_args *args) {
    const q_table *t = &args->tables->table[args->table];
    const int64_t count = qemb__table_observations(t, args->step);
    float *result = args->result ? qemb__ref_data(args->result) : NULL;
    float *values = args->values ? qemb__ref_data(args->values) : NULL;
    q_i64 *events = qemb__ref_data(ctx->events);
    for (int64_t i = 0; i < args->count; i++) {
        const int64_t row = args->first + i;
        q_state *stored = qemb__ref_state(args->tables, args->table, row);
        q_state state = stored ? *stored : (q_state){0.0f, 0.0f, 0};
        float lo = 0.0f;
        float hi = 0.0f;
        qemb__ref_range(qemb__ref_row(args->tables, args->table, row), t->dim, &lo, &hi);
        const bool observes = count > state.count;
        const q_i32 repaired = q_catch_up(stored ? t->observer : Q_MEMORYLESS, t->averaging, lo, hi, count, &state);
        if (args->store && stored && observes) {
            *stored = state;
            events[0] += lo != lo;
            events[1] += repaired;
        }
        const q_qparams p = q_row_qparams(t, state.min_val, state.max_val, lo, hi);
        for (int32_t c = 0; values && c < t->dim; c++) {
            values[i * t->dim + c] = q_fake_quant(qemb__ref_row(args->tables, args->table, row)[c], p, t->qmin, t->qmax, t->arithmetic);
        }
        if (result) {
            const bool seen = state.count > 0;
            result[i] = seen ? state.min_val : Q_NAN;
            result[args->count + i] = seen ? state.max_val : Q_NAN;
            result[2 * args->count + i] = seen ? p.scale : 1.0f;
            result[3 * args->count + i] = seen ? p.zero : 0.0f;
        }
    }
    ctx->counters.commands++;
    return QEMB_OK;
}
