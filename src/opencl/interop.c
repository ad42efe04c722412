/* interop.c - the public calls of qemb_opencl.h.
 *
 * A context over the caller's objects is opened as the library's own is (qemb__cl_open) and probed in the same way. A buffer over the
 * caller's memory keeps where it begins, and kernels are told: no sub-buffer is made, hence no rule of alignment. */
#include <qemb/qemb_opencl.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "opencl/opencl.h"

qemb_status qemb_context_from_cl(cl_context context, cl_device_id device, cl_command_queue queue, qemb_context **out) {
    qemb_status st = QEMB_OK;
    qemb_context *ctx = NULL;
    void *block = NULL;
    cl_context of_queue = NULL;
    cl_device_id at_queue = NULL;
    cl_platform_id platform = NULL;
    REQUIRE(context && device && queue && out, QEMB_ERR_ARG, "context_from_cl: %s is NULL",
            !context  ? "context"
            : !device ? "device"
            : !queue  ? "queue"
                      : "ctx");
    TRY(qemb__cl_load("context_from_cl"));
    CL_TRY(clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof of_queue, &of_queue, NULL), "context_from_cl: clGetCommandQueueInfo");
    CL_TRY(clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof at_queue, &at_queue, NULL), "context_from_cl: clGetCommandQueueInfo");
    REQUIRE(of_queue == context && at_queue == device, QEMB_ERR_ARG, "context_from_cl: the queue is of another %s",
            of_queue == context ? "device" : "context");
    CL_TRY(clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL), "context_from_cl: clGetDeviceInfo");
    TRY(qemb__calloc(1, sizeof *ctx, &block));
    ctx = block;
    atomic_flag_clear(&ctx->busy);
    TRY(qemb__cl_open(ctx, platform, device, context, queue));
    TRY(qemb__buffer_create(ctx, Q_EVENTS * sizeof(q_i64), &ctx->events));
    *out = ctx;
    ctx = NULL;
done:
    qemb_context_destroy(ctx);
    return st;
}

static qemb_status check_opencl(const qemb_context *ctx, const char *call) {
    if (strcmp(ctx->ops->name, "opencl") != 0) {
        return qemb__fail(QEMB_ERR_UNSUPPORTED, "%s: the context is of the reference engine, want an OpenCL one", call);
    }
    return QEMB_OK;
}

qemb_status qemb_buffer_from_cl(qemb_context *ctx, cl_mem memory, size_t offset, size_t count, size_t element_bytes, qemb_buffer **out) {
    void *block = NULL;
    cl_context of_memory = NULL;
    size_t held = 0;
    size_t bytes = 0;
    size_t start = 0;
    qemb_status st = qemb__enter(ctx, "buffer_from_cl");
    if (st != QEMB_OK) {
        return st;
    }
    TRY(check_opencl(ctx, "buffer_from_cl"));
    REQUIRE(memory && out, QEMB_ERR_ARG, "buffer_from_cl: %s is NULL", memory ? "buffer" : "memory");
    REQUIRE(element_bytes > 0, QEMB_ERR_ARG, "buffer_from_cl: element_bytes=0, want the size of an element");
    CL_TRY(clGetMemObjectInfo(memory, CL_MEM_CONTEXT, sizeof of_memory, &of_memory, NULL), "buffer_from_cl: clGetMemObjectInfo");
    CL_TRY(clGetMemObjectInfo(memory, CL_MEM_SIZE, sizeof held, &held, NULL), "buffer_from_cl: clGetMemObjectInfo");
    REQUIRE(of_memory == ((qemb__cl *)ctx->engine)->context, QEMB_ERR_ARG, "buffer_from_cl: memory is of another OpenCL context");
    REQUIRE(count <= INT64_MAX && offset <= INT64_MAX && qemb__bytes((int64_t)count, element_bytes, &bytes) &&
                qemb__bytes((int64_t)offset, element_bytes, &start),
            QEMB_ERR_OVERFLOW, "buffer_from_cl: %zu elements of %zu bytes from %zu on do not fit in 63 bits", count, element_bytes, offset);
    REQUIRE(start <= held && bytes <= held - start, QEMB_ERR_SHAPE, "buffer_from_cl: bytes %zu to %zu + %zu, want inside the memory's %zu",
            start, start, bytes, held);
    TRY(qemb__calloc(1, sizeof(qemb_buffer), &block));
    CL_TRY(clRetainMemObject(memory), "buffer_from_cl: clRetainMemObject");
    *(qemb_buffer *)block = (qemb_buffer){.ctx = ctx, .memory = memory, .bytes = bytes, .offset = start};
    *out = block;
    block = NULL;
done:
    qemb__free(block);
    qemb__leave(ctx);
    return st;
}

qemb_status qemb_context_cl_wait(qemb_context *ctx, cl_uint count, const cl_event *events) {
    qemb_status st = qemb__enter(ctx, "context_cl_wait");
    if (st != QEMB_OK) {
        return st;
    }
    TRY(check_opencl(ctx, "context_cl_wait"));
    REQUIRE(events || count == 0, QEMB_ERR_ARG, "context_cl_wait: events is NULL with count=%u", count);
    if (count > 0) {
        TRY(qemb__cl_enqueued(ctx, clEnqueueBarrierWithWaitList(((qemb__cl *)ctx->engine)->queue, count, events, NULL), NULL,
                              "context_cl_wait"));
    }
done:
    qemb__leave(ctx);
    return st;
}

qemb_status qemb_context_cl_event(qemb_context *ctx, cl_event *event) {
    qemb_status st = qemb__enter(ctx, "context_cl_event");
    if (st != QEMB_OK) {
        return st;
    }
    TRY(check_opencl(ctx, "context_cl_event"));
    REQUIRE(event, QEMB_ERR_ARG, "context_cl_event: event is NULL");
    TRY(qemb__cl_enqueued(ctx, clEnqueueMarkerWithWaitList(((qemb__cl *)ctx->engine)->queue, 0, NULL, event), NULL, "context_cl_event"));
done:
    qemb__leave(ctx);
    return st;
}

qemb_status qemb_context_cl_objects(qemb_context *ctx, cl_context *context, cl_device_id *device, cl_command_queue *queue) {
    if (!ctx) {
        return qemb__fail(QEMB_ERR_ARG, "context_cl_objects: ctx is NULL");
    }
    qemb_status st = check_opencl(ctx, "context_cl_objects");
    if (st == QEMB_OK) {
        const qemb__cl *cl = ctx->engine;
        if (context) {
            *context = cl->context;
        }
        if (device) {
            *device = cl->device;
        }
        if (queue) {
            *queue = cl->queue;
        }
    }
    return st;
}

qemb_status qemb_buffer_cl_memory(const qemb_buffer *buffer, cl_mem *memory, size_t *offset_bytes) {
    if (!buffer || !memory) {
        return qemb__fail(QEMB_ERR_ARG, "buffer_cl_memory: %s is NULL", buffer ? "memory" : "buffer");
    }
    qemb_status st = check_opencl(buffer->ctx, "buffer_cl_memory");
    if (st == QEMB_OK) {
        *memory = buffer->memory;
        if (offset_bytes) {
            *offset_bytes = buffer->offset;
        }
    }
    return st;
}
