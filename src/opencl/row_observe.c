/* row_observe.c - one launch for each slab that the rows lie in. */
#include <stdio.h>

#include "base/checked.h"
#include "opencl/opencl.h"

qemb_status qemb__cl_row_observe(qemb_context *ctx, const qemb__row_observe_args *args) {
    const qemb__cl *cl = ctx->engine;
    const qemb__tables *s = args->tables;
    const q_table *t = &s->table[args->table];
    const bool has_state = (t->flags & Q_HAS_STATE) != 0;
    qemb_status st = QEMB_OK;
    char options[128];
    cl_kernel kernel = NULL;
    (void)snprintf(options, sizeof options, "-DQV=float16 -DQ_VECTOR16 -DSTATE=%d", has_state);
    TRY(qemb__cl_kernel_get(ctx, "row_observe_cpu.cl", "row_observe", options, &kernel));
    for (int64_t done_rows = 0, count = 0; done_rows < args->count; done_rows += count) {
        int32_t slab = 0;
        q_row_observe a = {.table = args->table, .store = args->store, .report = args->result != NULL, .result_at = done_rows, .result_stride = args->count,
                           .observations = qemb__table_observations(t, args->step)};
        count = args->count - done_rows;
        qemb__tables_locate(s, args->table, args->first + done_rows, &count, &slab, &a.first);
        a.count = count;
        qemb__cl_args list = {0};
        qemb__cl_arg_buffer(&list, s->table_buffer);
        qemb__cl_arg_buffer(&list, s->slab[slab].weight);
        qemb__cl_arg_buffer(&list, has_state ? s->slab[slab].state : ctx->events);
        qemb__cl_arg_buffer(&list, args->result ? args->result : ctx->events);
        qemb__cl_arg_buffer(&list, ctx->events);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(qemb__cl_launch(ctx, kernel, &list, count, qemb__cl_local_cpu(cl, count)));
    }
done:
    return st;
}
