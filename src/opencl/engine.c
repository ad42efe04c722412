/* engine.c - the OpenCL engine: open, close, memory. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "opencl/opencl.h"

typedef struct host_pages {
    void *memory;
    size_t bytes;
} host_pages;

/* The runtime calls this when the last command that uses a buffer is done and the buffer is gone. */
static void CL_CALLBACK free_pages(cl_mem mem, void *user) {
    host_pages *pages = user;
    (void)mem;
    qemb__pages_free(pages->memory, pages->bytes);
    qemb__free(pages);
}

/* CPU devices work in the library's own huge-page memory; others allocate, and a fill makes the memory zero. */
static qemb_status buffer_create(qemb_buffer *buffer) {
    qemb__cl *cl = buffer->ctx->engine;
    qemb_status st = QEMB_OK;
    cl_int error = CL_SUCCESS;
    void *block = NULL;
    cl_mem mem = NULL;
    host_pages *pages = NULL;
    size_t bytes = buffer->bytes ? buffer->bytes : 1;
    if (buffer->ctx->report.host_memory) {
        TRY(qemb__calloc(1, sizeof *pages, &block));
        pages = block;
        TRY(qemb__pages_alloc(bytes, &pages->memory));
        pages->bytes = bytes;
        mem = clCreateBuffer(cl->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, bytes, pages->memory, &error);
        CL_TRY(error, "clCreateBuffer");
        CL_TRY(clSetMemObjectDestructorCallback(mem, free_pages, pages), "clSetMemObjectDestructorCallback");
        buffer->host = pages->memory;
        pages = NULL;
    } else {
        const q_u8 zero = 0;
        mem = clCreateBuffer(cl->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
        CL_TRY(error, "clCreateBuffer");
        TRY(qemb__cl_enqueued(buffer->ctx, clEnqueueFillBuffer(cl->queue, mem, &zero, 1, 0, bytes, 0, NULL, NULL), "clEnqueueFillBuffer"));
    }
    buffer->memory = mem;
    mem = NULL;
done:
    if (mem) {
        (void)clReleaseMemObject(mem);
    }
    if (pages) {
        qemb__pages_free(pages->memory, pages->bytes);
        qemb__free(pages);
    }
    return st;
}

static qemb_status buffer_borrow(qemb_buffer *buffer) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_int error = CL_SUCCESS;
    buffer->memory = clCreateBuffer(cl->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, buffer->bytes, buffer->host, &error);
    return error == CL_SUCCESS ? QEMB_OK : qemb__cl_fail(error, "clCreateBuffer");
}

static void buffer_destroy(qemb_buffer *buffer) {
    (void)clReleaseMemObject(buffer->memory);
}

static qemb_status buffer_write(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source, bool wait) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_int error = clEnqueueWriteBuffer(cl->queue, buffer->memory, wait, buffer->offset + offset, bytes, source, 0, NULL, NULL);
    return qemb__cl_enqueued(buffer->ctx, error, "clEnqueueWriteBuffer");
}

static qemb_status buffer_read(qemb_buffer *buffer, size_t offset, size_t bytes, void *target, bool wait) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_int error = clEnqueueReadBuffer(cl->queue, buffer->memory, wait, buffer->offset + offset, bytes, target, 0, NULL, NULL);
    return qemb__cl_enqueued(buffer->ctx, error, "clEnqueueReadBuffer");
}

static qemb_status buffer_upload(qemb_buffer *buffer, size_t bytes, const void *source, void **fence) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_event event = NULL;
    cl_int error = clEnqueueWriteBuffer(cl->queue, buffer->memory, CL_FALSE, buffer->offset, bytes, source, 0, NULL, &event);
    qemb_status st = qemb__cl_enqueued(buffer->ctx, error, "clEnqueueWriteBuffer");
    *fence = event;
    return st;
}

static void fence_wait(qemb_context *ctx, void **fence) {
    cl_event event = *fence;
    (void)ctx;
    if (event) {
        (void)clWaitForEvents(1, &event);
        (void)clReleaseEvent(event);
        *fence = NULL;
    }
}

static qemb_status buffer_copy(qemb_buffer *target, size_t target_offset, qemb_buffer *source, size_t source_offset, size_t bytes) {
    qemb__cl *cl = target->ctx->engine;
    cl_int error = clEnqueueCopyBuffer(cl->queue, source->memory, target->memory, source->offset + source_offset, target->offset + target_offset, bytes,
                                       0, NULL, NULL);
    return qemb__cl_enqueued(target->ctx, error, "clEnqueueCopyBuffer");
}

static qemb_status finish(qemb_context *ctx) {
    qemb__cl *cl = ctx->engine;
    cl_int error = clFinish(cl->queue);
    return error == CL_SUCCESS ? QEMB_OK : qemb__cl_fail(error, "clFinish");
}

static const char *build_log(qemb_context *ctx) {
    const qemb__cl *cl = ctx->engine;
    return cl->log ? cl->log : "";
}

static void close_engine(qemb_context *ctx) {
    qemb__cl *cl = ctx->engine;
    if (!cl) {
        return;
    }
    if (cl->queue) {
        (void)clFinish(cl->queue);
    }
    qemb__cl_kernels_free(cl);
    if (cl->queue) {
        (void)clReleaseCommandQueue(cl->queue);
    }
    if (cl->context) {
        (void)clReleaseContext(cl->context);
    }
    qemb__free(cl);
    ctx->engine = NULL;
}

static const qemb__ops opencl_ops = {
    .name = "opencl",
    .close = close_engine,
    .finish = finish,
    .build_log = build_log,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_borrow = buffer_borrow,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .buffer_upload = buffer_upload,
    .fence_wait = fence_wait,
    .buffer_copy = buffer_copy,
    .prepare = qemb__cl_bag_forward_prepare,
    .batch_check = qemb__cl_batch_check,
    .bag_forward = qemb__cl_bag_forward,
    .row_observe = qemb__cl_row_observe,
    .row_pack = qemb__cl_row_pack,
    .row_unpack = qemb__cl_row_unpack,
    .row_convert = qemb__cl_row_convert,
    .packed_prepare = qemb__cl_packed_prepare,
    .packed_forward = qemb__cl_packed_forward,
    .row_sort = qemb__cl_row_sort,
    .bag_backward = qemb__cl_bag_backward,
    .row_update = qemb__cl_row_update,
    .row_update_prepare = qemb__cl_row_update_prepare,
};

qemb_status qemb__cl_open(qemb_context *ctx, cl_platform_id platform, cl_device_id device, cl_context context, cl_command_queue queue) {
    qemb_status st = QEMB_OK;
    cl_int error = CL_SUCCESS;
    void *block = NULL;
    TRY(qemb__calloc(1, sizeof(qemb__cl), &block));
    qemb__cl *cl = block;
    ctx->engine = cl;
    ctx->ops = &opencl_ops; /* from here on close_engine undoes whatever is done */
    cl->platform = platform;
    cl->device = device;
    if (context) {
        CL_TRY(clRetainContext(context), "clRetainContext");
        cl->context = context;
        CL_TRY(clRetainCommandQueue(queue), "clRetainCommandQueue");
        cl->queue = queue;
    } else {
        cl->context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
        CL_TRY(error, "clCreateContext");
        cl->queue = clCreateCommandQueue(cl->context, device, 0, &error);
        CL_TRY(error, "clCreateCommandQueue");
    }
    TRY(qemb__cl_describe(ctx));
    TRY(qemb__cl_probe(ctx));
done:
    return st;
}

qemb_status qemb__opencl_open(qemb_context *ctx, const char *selector) {
    cl_platform_id platform = NULL;
    cl_device_id device = NULL;
    qemb_status st = qemb__cl_select(selector, &platform, &device);
    return st == QEMB_OK ? qemb__cl_open(ctx, platform, device, NULL, NULL) : st;
}
