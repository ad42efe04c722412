/* bag_backward.c - launches for the gradients that are asked for. */
#include "base/checked.h"
#include "opencl/gradient.h"

static q_bag_backward arguments(const qemb__bag_backward_args *args, int32_t group, int32_t form, const qemb_buffer *out) {
    const qemb_gradients *w = args->want;
    return (q_bag_backward){.source = qemb__cl_gradient_arguments(&args->source, group),
                            .out_at = (q_i64)(out->offset / sizeof(float)),
                            .rows_at = w->coo_indices ? (q_i64)(w->coo_indices->offset / sizeof(q_i64)) : 0,
                            .count_at = w->coo_count ? (q_i64)(w->coo_count->offset / sizeof(q_i64)) : 0,
                            .table = w->table,
                            .form = form};
}

static void add_target(qemb__cl_args *list, const qemb_gradients *w, qemb_buffer *out) {
    qemb__cl_arg_buffer(list, out);
    qemb__cl_arg_buffer(list, w->coo_indices ? w->coo_indices : out);
    qemb__cl_arg_buffer(list, w->coo_count ? w->coo_count : out);
}

/* One launch of row_gradient for the group that holds the table. */
static qemb_status launch_rows(qemb_context *ctx, const qemb__bag_backward_args *args, int32_t form, qemb_buffer *out) {
    const qemb__tables *s = args->source.tables;
    const int32_t group = s->table[args->want->table].group;
    const q_bag_backward a = arguments(args, group, form, out);
    qemb__cl_args list = {0};
    cl_kernel kernel = NULL;
    qemb_status st = QEMB_OK;
    TRY(qemb__cl_gradient_kernel(ctx, &args->source, qemb__cl_slabs(s, group), "row_gradient", &kernel));
    qemb__cl_gradient_add(ctx, &list, &args->source, group);
    add_target(&list, args->want, out);
    qemb__cl_arg(&list, sizeof a, &a);
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, s, Q_SGD);
    TRY(qemb__cl_launch_lanes(ctx, kernel, &list, qemb__max_i64(args->source.batch->shape.lookups, 1), pick,
                              qemb__cl_gradient_lanes(pick, s)));
done:
    return st;
}

static qemb_status dense(qemb_context *ctx, const qemb__bag_backward_args *args) {
    const q_table *t = &args->source.tables->table[args->want->table];
    const q_bag_backward a = arguments(args, 0, Q_INTO_TABLE, args->want->dense);
    const cl_long count = t->rows * t->dim;
    qemb__cl_args list = {0};
    cl_kernel kernel = NULL;
    qemb_status st = QEMB_OK;
    const qemb__tables plain = {0};
    const qemb__gradient_args any = {.tables = &plain}; /* one kernel for modules and batches of every form */
    TRY(qemb__cl_gradient_kernel(ctx, &any, 1, "zero", &kernel));
    qemb__cl_arg_buffer(&list, args->want->dense);
    qemb__cl_arg_buffer(&list, args->source.batch->status);
    qemb__cl_arg(&list, sizeof a, &a);
    qemb__cl_arg(&list, sizeof count, &count);
    TRY(qemb__cl_launch_lanes(ctx, kernel, &list, count, qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, args->source.tables, Q_SGD), 1));
    TRY(launch_rows(ctx, args, Q_INTO_TABLE, args->want->dense));
done:
    return st;
}

/* One entry a lookup: chunks counted, then written behind those before them. */
static qemb_status lookups(qemb_context *ctx, const qemb__bag_backward_args *args) {
    const qemb__tables *s = args->source.tables;
    const int32_t group = s->table[args->want->table].group;
    const q_bag_backward a = arguments(args, group, Q_INTO_LOOKUPS, args->want->coo_values);
    const int64_t chunks = qemb__max_i64(qemb__ceil_div(args->source.batch->shape.lookups, QEMB__SLOT_CHUNK), 1);
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, s, Q_SGD);
    qemb__cl_args count = {0};
    qemb__cl_args emit = {0};
    cl_kernel kernel = NULL;
    qemb_status st = QEMB_OK;
    TRY(qemb__cl_gradient_kernel(ctx, &args->source, qemb__cl_slabs(s, group), "count_lookups", &kernel));
    qemb__cl_gradient_add(ctx, &count, &args->source, group);
    qemb__cl_arg_buffer(&count, args->source.work->slots);
    qemb__cl_arg(&count, sizeof a, &a);
    TRY(qemb__cl_launch_lanes(ctx, kernel, &count, chunks, pick, 1));
    TRY(qemb__cl_gradient_kernel(ctx, &args->source, qemb__cl_slabs(s, group), "emit_lookups", &kernel));
    qemb__cl_gradient_add(ctx, &emit, &args->source, group);
    qemb__cl_arg_buffer(&emit, args->source.work->slots);
    add_target(&emit, args->want, args->want->coo_values);
    qemb__cl_arg(&emit, sizeof a, &a);
    TRY(qemb__cl_launch_lanes(ctx, kernel, &emit, chunks, pick, 1));
done:
    return st;
}

static qemb_status weights(qemb_context *ctx, const qemb__bag_backward_args *args) {
    const qemb__tables *s = args->source.tables;
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, s, Q_SGD);
    qemb_status st = QEMB_OK;
    for (int32_t group = 0; group < s->num_groups; group++) {
        const q_bag_backward a = arguments(args, group, 0, args->want->per_sample_weights);
        qemb__cl_args list = {0};
        cl_kernel kernel = NULL;
        TRY(qemb__cl_gradient_kernel(ctx, &args->source, qemb__cl_slabs(s, group), "weight_gradient", &kernel));
        qemb__cl_gradient_add(ctx, &list, &args->source, group);
        qemb__cl_arg_buffer(&list, args->want->per_sample_weights);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(qemb__cl_launch_lanes(ctx, kernel, &list, qemb__max_i64(args->source.batch->shape.lookups, 1), pick, 1));
    }
done:
    return st;
}

qemb_status qemb__cl_bag_backward(qemb_context *ctx, const qemb__bag_backward_args *args) {
    const qemb_gradients *w = args->want;
    qemb_status st = QEMB_OK;
    TRY(qemb__cl_gradient_begin(ctx, &args->source, Q_PARTS_COMBINED));
    qemb__harmless(ctx);
    if (w->dense) {
        TRY(dense(ctx, args));
    }
    if (w->coo_count) {
        TRY(w->coalesced ? launch_rows(ctx, args, Q_INTO_RUNS, w->coo_values) : lookups(ctx, args));
    }
    if (w->per_sample_weights) {
        TRY(weights(ctx, args));
    }
done:
    return st;
}
