/* launch.c - the only place that enqueues a kernel. */
#include "base/checked.h"
#include "opencl/opencl.h"

void qemb__cl_arg(qemb__cl_args *args, size_t size, const void *value) {
    args->size[args->count] = size;
    args->value[args->count] = value;
    args->count++;
}

void qemb__cl_arg_buffer(qemb__cl_args *args, const qemb_buffer *buffer) {
    qemb__cl_arg(args, sizeof(cl_mem), &buffer->memory);
}

size_t qemb__cl_local_cpu(const qemb__cl *cl, int64_t items) {
    if (cl->force_local) {
        return cl->force_local;
    }
    return items >= 16 * 16 * cl->compute_units ? 16 : 1;
}

qemb_status qemb__cl_enqueued(qemb_context *ctx, cl_int error, const char *what) {
    qemb__cl *cl = ctx->engine;
    if (error == CL_SUCCESS) {
        ctx->counters.commands++;
        error = cl->out_of_order ? clEnqueueBarrierWithWaitList(cl->queue, 0, NULL, NULL) : CL_SUCCESS;
    }
    return error == CL_SUCCESS ? QEMB_OK : qemb__cl_fail(error, what);
}

qemb_status qemb__cl_launch(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *args, int64_t items, size_t local) {
    qemb__cl *cl = ctx->engine;
    for (int i = 0; i < args->count; i++) {
        cl_int error = clSetKernelArg(kernel, (cl_uint)i, args->size[i], args->value[i]);
        if (error != CL_SUCCESS) {
            return qemb__cl_fail(error, "clSetKernelArg");
        }
    }
    local = local < cl->max_local ? local : cl->max_local;
    size_t global = (size_t)qemb__round_up(items, (int64_t)local);
    return qemb__cl_enqueued(ctx, clEnqueueNDRangeKernel(cl->queue, kernel, 1, NULL, &global, &local, 0, NULL, NULL), "clEnqueueNDRangeKernel");
}
