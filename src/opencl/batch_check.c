/* batch_check.c - device input checked by two kernels. */
#include <stdio.h>

#include "opencl/opencl.h"

qemb_status qemb__cl_batch_check(qemb_context *ctx, const qemb__batch_check_args *args) {
    const qemb__batch_view *b = args->batch;
    const qemb_buffer *offsets = b->offsets ? b->offsets : b->status;
    const qemb_buffer *indices = b->indices ? b->indices : b->status;
    qemb_status st = QEMB_OK;
    char options[128];
    cl_kernel kernel = NULL;
    q_batch_check a = {.batch = b->shape, .bags = args->bags, .num_features = args->tables->num_features, .check = (q_i32)args->check};
    a.batch.indices_at = b->indices ? (q_i64)(b->indices->offset / (b->indices_64 ? 8 : 4)) : 0;
    a.batch.offsets_at = b->offsets ? (q_i64)(b->offsets->offset / (b->offsets_64 ? 8 : 4)) : 0;
    (void)snprintf(options, sizeof options, "-DQV=float -DSLABS=1 -DINDEX=%s -DOFFSET=%s", b->indices_64 ? "long" : "int",
                   b->offsets_64 ? "long" : "int");
    if (b->shape.num_offsets > 0) {
        qemb__cl_args list = {0};
        TRY(qemb__cl_kernel_get(ctx, "batch_check.cl", "check_offsets", options, &kernel));
        qemb__cl_arg_buffer(&list, offsets);
        qemb__cl_arg_buffer(&list, b->status);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(qemb__cl_launch(ctx, kernel, &list, b->shape.num_offsets, 16));
    }
    if (args->check != QEMB_TRUST && args->bags > 0) {
        qemb__cl_args list = {0};
        TRY(qemb__cl_kernel_get(ctx, "batch_check.cl", "check_indices", options, &kernel));
        qemb__cl_arg_buffer(&list, args->tables->table_buffer);
        qemb__cl_arg_buffer(&list, args->tables->feature_buffer);
        qemb__cl_arg_buffer(&list, indices);
        qemb__cl_arg_buffer(&list, offsets);
        qemb__cl_arg_buffer(&list, b->status);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(qemb__cl_launch(ctx, kernel, &list, args->bags, 16));
    }
done:
    return st;
}
