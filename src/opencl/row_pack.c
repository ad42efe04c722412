/* row_pack.c - one launch for each pair of slabs that the rows lie in. */
#include <stdio.h>

#include "base/checked.h"
#include "opencl/opencl.h"

/* A kernel of the device's family, for rows of `bits`. */
static qemb_status pack_kernel(qemb_context *ctx, const qemb__pick *pick, const char *name, int bits, int method, bool state,
                               cl_kernel *kernel) {
    static const char *const gpu[] = {"lanes_gpu.cl", "row_range.cl", "row_pack_head.cl", "row_pack_gpu.cl"};
    static const char *const cpu[] = {"row_range.cl", "row_pack_head.cl", "row_pack_cpu.cl"};
    const bool is_cpu = pick->variant->is_cpu;
    char options[192];
    int n = snprintf(options, sizeof options, "-DBITS=%d -DMETHOD=%d -DSTATE=%d", bits, method, state);
    if (is_cpu) {
        (void)snprintf(options + n, sizeof options - (size_t)n, " -DQV=float16 -DQ_VECTOR16 -DROWS=%d", pick->knob[QEMB__KNOB_ROWS]);
    } else {
        (void)snprintf(options + n, sizeof options - (size_t)n, " -DQV=float -DLANES=%d -DGROUP=%d -DREDUCE=%d",
                       pick->knob[QEMB__KNOB_LANES], pick->knob[QEMB__KNOB_LOCAL], pick->knob[QEMB__KNOB_REDUCE]);
    }
    return qemb__cl_kernel_pieces(ctx, is_cpu ? cpu : gpu, is_cpu ? 3 : 4, name, options, kernel);
}

/* Enqueues for `rows` rows (row_pack on CPUs: groups of them): one work-item each on CPUs, `lanes` of them on GPUs. */
static qemb_status launch_rows(qemb_context *ctx, const qemb__pick *pick, cl_kernel kernel, const qemb__cl_args *list, int64_t rows) {
    const qemb__cl *cl = ctx->engine;
    const int local = pick->knob[QEMB__KNOB_LOCAL];
    return cl->is_cpu ? qemb__cl_launch(ctx, kernel, list, rows, qemb__cl_local_cpu(cl, rows, local))
                      : qemb__cl_launch(ctx, kernel, list, rows * pick->knob[QEMB__KNOB_LANES], (size_t)local);
}

qemb_status qemb__cl_row_pack(qemb_context *ctx, const qemb__row_pack_args *args) {
    const qemb__tables *s = args->source;
    const qemb__tables *p = args->target;
    const q_table *t = &s->table[args->source_table];
    const bool has_state = (t->flags & Q_HAS_STATE) != 0;
    const qemb__pick *pick = qemb__cl_pick(ctx, QEMB__ROW_PACK, 0, s);
    const int64_t together = pick->variant->is_cpu ? pick->knob[QEMB__KNOB_ROWS] : 1;
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    TRY(pack_kernel(ctx, pick, "row_pack", p->table[args->table].bits, args->method, has_state, &kernel));
    for (int64_t done_rows = 0, count = 0; done_rows < args->count; done_rows += count) {
        int32_t from = 0;
        int32_t to = 0;
        q_row_pack a = {.table = args->source_table,
                        .target_table = args->table,
                        .method = args->method,
                        .as_peer = args->as_peer,
                        .ranges_at = done_rows,
                        .observations = qemb__table_observations(t, args->step)};
        count = args->count - done_rows;
        qemb__tables_locate(s, args->source_table, args->first + done_rows, &count, &from, &a.first);
        qemb__tables_locate(p, args->table, args->target_first + done_rows, &count, &to, &a.target);
        a.count = count;
        qemb__cl_args list = {0};
        qemb__cl_arg_buffer(&list, s->table_buffer);
        qemb__cl_arg_buffer(&list, p->table_buffer);
        qemb__cl_arg_buffer(&list, s->slab[from].weight);
        qemb__cl_arg_buffer(&list, has_state ? s->slab[from].state : ctx->events);
        qemb__cl_arg_buffer(&list, args->ranges ? args->ranges : ctx->events);
        qemb__cl_arg_buffer(&list, p->slab[to].weight);
        qemb__cl_arg_buffer(&list, args->status);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(launch_rows(ctx, pick, kernel, &list, qemb__ceil_div(count, together)));
    }
done:
    return st;
}

qemb_status qemb__cl_row_unpack(qemb_context *ctx, const qemb__row_unpack_args *args) {
    const qemb__tables *s = args->source;
    const q_table *t = &s->table[args->table];
    const qemb__pick *pick = qemb__cl_pick(ctx, QEMB__ROW_PACK, 0, s);
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    TRY(pack_kernel(ctx, pick, "row_unpack", t->bits, Q_PACK_MINMAX, false, &kernel));
    for (int64_t done_rows = 0, count = 0; done_rows < args->count; done_rows += count) {
        int32_t slab = 0;
        q_row_unpack a = {.table = args->table, .values_at = (q_i64)(args->values->offset / sizeof(float)) + done_rows * t->dim};
        count = args->count - done_rows;
        qemb__tables_locate(s, args->table, args->first + done_rows, &count, &slab, &a.first);
        a.count = count;
        qemb__cl_args list = {0};
        qemb__cl_arg_buffer(&list, s->table_buffer);
        qemb__cl_arg_buffer(&list, s->slab[slab].weight);
        qemb__cl_arg_buffer(&list, args->values);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(launch_rows(ctx, pick, kernel, &list, count));
    }
done:
    return st;
}

qemb_status qemb__cl_row_convert(qemb_context *ctx, const qemb__row_unpack_args *args) {
    const qemb__tables *s = args->source;
    const qemb__tables *p = args->target;
    const qemb__pick *pick = qemb__cl_pick(ctx, QEMB__ROW_PACK, 0, s);
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    TRY(pack_kernel(ctx, pick, "row_convert", p->table[args->table].bits, Q_PACK_MINMAX, false, &kernel));
    for (int64_t done_rows = 0, count = 0; done_rows < args->count; done_rows += count) {
        int32_t from = 0;
        int32_t to = 0;
        q_row_unpack a = {.table = args->table, .target_table = args->table, .values_at = done_rows, .as_peer = args->as_peer};
        count = args->count - done_rows;
        qemb__tables_locate(s, args->table, args->first + done_rows, &count, &from, &a.first);
        qemb__tables_locate(p, args->table, args->first + done_rows, &count, &to, &a.target);
        a.count = count;
        qemb__cl_args list = {0};
        qemb__cl_arg_buffer(&list, s->table_buffer);
        qemb__cl_arg_buffer(&list, p->table_buffer);
        qemb__cl_arg_buffer(&list, s->slab[from].weight);
        qemb__cl_arg_buffer(&list, p->slab[to].weight);
        qemb__cl_arg_buffer(&list, args->status);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(launch_rows(ctx, pick, kernel, &list, count));
    }
done:
    return st;
}
