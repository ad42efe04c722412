/* row_observe.c - one launch for each slab that the rows lie in. */
#include <stdio.h>

#include "base/checked.h"
#include "opencl/opencl.h"

enum { SMALL_ROW = 64 };

/* Whole blocks are stored past the caches (PoCL); small rows are worth a kernel of their own in a pass over a whole table. */
static const qemb__pick *pick_for(qemb_context *ctx, const qemb__row_observe_args *args) {
    const qemb__cl *cl = ctx->engine;
    const q_table *t = &args->tables->table[args->table];
    const bool blocks = cl->is_pocl && args->values && !args->soon && t->dim % 16 == 0 && args->values->offset % 64 == 0;
    const bool small = t->dim <= SMALL_ROW && t->arithmetic == Q_TORCH_CPU;
    return qemb__cl_pick(ctx, QEMB__ROW_OBSERVE, (blocks ? QEMB__WHOLE_BLOCKS : 0u) | (small ? QEMB__SMALL_TORCH_CPU : 0u), args->tables);
}

static int rows_an_item(const qemb__pick *pick) {
    return pick->knob[QEMB__KNOB_ROWS] > 0 ? pick->knob[QEMB__KNOB_ROWS] : 1;
}

static qemb_status observe_kernel(qemb_context *ctx, const qemb__row_observe_args *args, const qemb__pick *pick, cl_kernel *kernel) {
    static const char *const gpu[] = {"lanes_gpu.cl", "row_range.cl", "row_observe_head.cl", "row_observe_gpu.cl"};
    static const char *const cpu[] = {"row_range.cl", "row_observe_head.cl", "row_observe_cpu.cl"};
    const q_table *t = &args->tables->table[args->table];
    const uint32_t needs = pick->variant->needs;
    const int values = needs & QEMB__WHOLE_BLOCKS ? 2 : args->values != NULL;
    char options[160];
    int n = snprintf(options, sizeof options, "-DSTATE=%d -DVALUES=%d", (t->flags & Q_HAS_STATE) != 0, values);
    if (pick->variant->is_cpu) {
        n += snprintf(options + n, sizeof options - (size_t)n, " -DQV=float16 -DQ_VECTOR16 -DROWS=%d", rows_an_item(pick));
        if (needs & QEMB__SMALL_TORCH_CPU) {
            (void)snprintf(options + n, sizeof options - (size_t)n, " -DDIM=%d", t->dim);
        }
        return qemb__cl_kernel_pieces(ctx, cpu, 3, "row_observe", options, kernel);
    }
    (void)snprintf(options + n, sizeof options - (size_t)n, " -DQV=float -DLANES=%d -DGROUP=%d -DREDUCE=%d", pick->knob[QEMB__KNOB_LANES],
                   pick->knob[QEMB__KNOB_LOCAL], pick->knob[QEMB__KNOB_REDUCE]);
    return qemb__cl_kernel_pieces(ctx, gpu, 4, "row_observe", options, kernel);
}

qemb_status qemb__cl_row_observe(qemb_context *ctx, const qemb__row_observe_args *args) {
    const qemb__cl *cl = ctx->engine;
    const qemb__tables *s = args->tables;
    const q_table *t = &s->table[args->table];
    const bool has_state = (t->flags & Q_HAS_STATE) != 0;
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    const qemb__pick *pick = pick_for(ctx, args);
    const int local = pick->knob[QEMB__KNOB_LOCAL];
    TRY(observe_kernel(ctx, args, pick, &kernel));
    for (int64_t done_rows = 0, count = 0; done_rows < args->count; done_rows += count) {
        int32_t slab = 0;
        q_row_observe a = {.table = args->table,
                           .store = args->store,
                           .report = args->result != NULL,
                           .result_at = done_rows,
                           .result_stride = args->count,
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
        const int64_t items = (count + rows_an_item(pick) - 1) / rows_an_item(pick);
        TRY(cl->is_cpu ? qemb__cl_launch(ctx, kernel, &list, items, qemb__cl_local_cpu(cl, items, local))
                       : qemb__cl_launch(ctx, kernel, &list, count * pick->knob[QEMB__KNOB_LANES], (size_t)local));
    }
done:
    return st;
}
