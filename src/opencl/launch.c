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

size_t qemb__cl_local_cpu(const qemb__cl *cl, int64_t items, int usual) {
    if (cl->force_local) {
        return cl->force_local;
    }
    return items >= 16 * usual * cl->compute_units ? (size_t)usual : 1;
}

static void drop_first(qemb__cl *cl) {
    (void)clReleaseEvent(cl->pending[cl->first_pending]);
    cl->first_pending = (cl->first_pending + 1) % QEMB__CL_PENDING;
    cl->num_pending--;
}

void qemb__cl_forget_events(qemb__cl *cl) {
    while (cl->num_pending) {
        drop_first(cl);
    }
}

static cl_int status_of(cl_event event, cl_int *status) {
    return clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof *status, status, NULL);
}

/* Looks at the commands that have ended since; the context is lost when one of them failed on the device. A finish says nothing of them.
 * `ended`: all have, although the driver may say so a little later (PoCL does of commands that fail), and then it is waited for. */
static qemb_status poll_events(qemb_context *ctx, bool ended) {
    qemb__cl *cl = ctx->engine;
    while (cl->num_pending) {
        cl_int status = CL_COMPLETE;
        cl_event event = cl->pending[cl->first_pending];
        cl_int error = status_of(event, &status);
        if (ended && error == CL_SUCCESS && status > CL_COMPLETE) {
            (void)clWaitForEvents(1, &event);
            error = status_of(event, &status);
        }
        if (error != CL_SUCCESS || status > CL_COMPLETE) {
            break; /* asked again at the next command */
        }
        drop_first(cl);
        if (status < 0) {
            return qemb__lose(ctx, qemb__fail(QEMB_ERR_DEVICE, "a command failed on the device, OpenCL says %d, %s", (int)status,
                                              qemb__cl_error_name(status)));
        }
    }
    return QEMB_OK;
}

qemb_status qemb__cl_waited(qemb_context *ctx, cl_int error, bool ended, const char *what) {
    qemb_status st = poll_events(ctx, ended);
    if (st == QEMB_OK && error != CL_SUCCESS) {
        st = qemb__cl_fail(error, what);
        st = st == QEMB_ERR_DEVICE ? qemb__lose(ctx, st) : st;
    }
    return st;
}

qemb_status qemb__cl_enqueued(qemb_context *ctx, cl_int error, cl_event event, const char *what) {
    qemb__cl *cl = ctx->engine;
    if (error != CL_SUCCESS) {
        return qemb__cl_fail(error, what);
    }
    ctx->counters.commands++;
    if (event && cl->num_pending == QEMB__CL_PENDING) {
        drop_first(cl); /* so far behind that the others must speak for it: those of an in-order queue fail with it */
    }
    if (event) {
        cl->pending[(cl->first_pending + cl->num_pending++) % QEMB__CL_PENDING] = event;
    }
    error = cl->out_of_order ? clEnqueueBarrierWithWaitList(cl->queue, 0, NULL, NULL) : CL_SUCCESS;
    return error == CL_SUCCESS ? poll_events(ctx, false) : qemb__cl_fail(error, "clEnqueueBarrierWithWaitList");
}

const qemb__pick *qemb__cl_pick(qemb_context *ctx, qemb__stem stem, uint32_t facts, const qemb__tables *s) {
    qemb__cl *cl = ctx->engine;
    const uint32_t quant = QEMB__USES_TORCH_CPU | QEMB__USES_TORCH_CUDA | QEMB__USES_PACKED;
    const qemb__case launch = {
        .stem = stem, .facts = facts, .dim = s->max_dim, .quant = (s->uses & quant) != 0, .size = 1 + (s->total_rows * s->max_dim >> 18)};
    return qemb__pick_for(&cl->picker, &launch);
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
    cl_event event = NULL;
    const cl_int error = clEnqueueNDRangeKernel(cl->queue, kernel, 1, NULL, &global, &local, 0, NULL, &event);
    return qemb__cl_enqueued(ctx, error, event, "clEnqueueNDRangeKernel");
}
