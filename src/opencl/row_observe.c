/* row_observe.c - one launch for each slab that the rows lie in. */
#include <stdio.h>

#include "base/checked.h"
#include "opencl/opencl.h"

enum { LANES = 32, GROUP = 128 };

/* values: 0 not wanted, 1 wanted, 2 rows are whole aligned blocks that are stored past the caches (PoCL). */
static qemb_status observe_kernel(qemb_context *ctx, const q_table *t, bool has_state, int values, cl_kernel *kernel) {
    static const char *const pieces[] = {"lanes_gpu.cl", "row_observe_gpu.cl"};
    const qemb__cl *cl = ctx->engine;
    char options[128];
    if (cl->is_cpu) {
        int n = snprintf(options, sizeof options, "-DQV=float16 -DQ_VECTOR16 -DSTATE=%d -DVALUES=%d", has_state, values);
        if (values == 2 && t->dim <= 64 && t->arithmetic == Q_TORCH_CPU) { /* a pass over a whole table: small rows are worth a kernel of their own */
            (void)snprintf(options + n, sizeof options - (size_t)n, " -DDIM=%d", t->dim);
        }
        return qemb__cl_kernel_get(ctx, "row_observe_cpu.cl", "row_observe", options, kernel);
    }
    (void)snprintf(options, sizeof options, "-DQV=float -DSTATE=%d -DVALUES=%d -DLANES=%d -DGROUP=%d -DREDUCE=%d", has_state, values != 0, LANES, GROUP, cl->shuffle);
    return qemb__cl_kernel_pieces(ctx, pieces, 2, "row_observe", options, kernel);
}

qemb_status qemb__cl_row_observe(qemb_context *ctx, const qemb__row_observe_args *args) {
    const qemb__cl *cl = ctx->engine;
    const qemb__tables *s = args->tables;
    const q_table *t = &s->table[args->table];
    const bool has_state = (t->flags & Q_HAS_STATE) != 0;
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    const bool blocks = cl->is_pocl && args->values && t->dim % 16 == 0 && args->values->offset % 64 == 0;
    TRY(observe_kernel(ctx, t, has_state, blocks ? 2 : args->values != NULL, &kernel));
    for (int64_t done_rows = 0, count = 0; done_rows < args->count; done_rows += count) {
        int32_t slab = 0;
        q_row_observe a = {.table = args->table, .store = args->store, .report = args->result != NULL, .result_at = done_rows, .result_stride = args->count,
                           .values_at = args->values ? (q_i64)(args->values->offset / sizeof(float)) + done_rows * t->dim : 0,
                           .observations = qemb__table_observations(t, args->step)};
        count = args->count - done_rows;
        qemb__tables_locate(s, args->table, args->first + done_rows, &count, &slab, &a.first);
        a.count = count;
        qemb__cl_args list = {0};
        qemb__cl_arg_buffer(&list, s->table_buffer);
        qemb__cl_arg_buffer(&list, s->slab[slab].weight);
        qemb__cl_arg_buffer(&list, has_state ? s->slab[slab].state : ctx->events);
        qemb__cl_arg_buffer(&list, args->result ? args->result : ctx->events);
        qemb__cl_arg_buffer(&list, args->values ? args->values : ctx->events);
        qemb__cl_arg_buffer(&list, ctx->events);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(cl->is_cpu ? qemb__cl_launch(ctx, kernel, &list, count, qemb__cl_local_cpu(cl, count))
                       : qemb__cl_launch(ctx, kernel, &list, count * LANES, GROUP));
    }
done:
    return st;
}
