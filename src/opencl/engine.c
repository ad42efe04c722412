/* engine.c - the OpenCL engine: open, close, memory.
 *
 * Opening finds the device, makes context and queue (or retains the caller's), describes, probes, and reads what is asked for in the
 * environment; nothing compiles but the probe. Every command goes through qemb__cl_enqueued, which keeps its event: a command that fails
 * later is heard of by that event alone (launch.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/memory.h"
#include "opencl/opencl.h"
#include "opencl/tuning.h"

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
        cl_event event = NULL;
        error = clEnqueueFillBuffer(cl->queue, mem, &zero, 1, 0, bytes, 0, NULL, &event);
        TRY(qemb__cl_enqueued(buffer->ctx, error, event, "clEnqueueFillBuffer"));
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

/* Memory that is only read, such as a mapped file: read-only for the device too. */
static qemb_status buffer_borrow(qemb_buffer *buffer) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_int error = CL_SUCCESS;
    buffer->memory = clCreateBuffer(cl->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, buffer->bytes, buffer->host, &error);
    return error == CL_SUCCESS ? QEMB_OK : qemb__cl_fail(error, "clCreateBuffer");
}

/* The runtime keeps the memory until commands that use it are done, and then calls free_pages. */
static void buffer_destroy(qemb_buffer *buffer) {
    (void)clReleaseMemObject(buffer->memory);
}

/* A transfer that waits may speak of any command before it: see qemb__cl_waited. */
static qemb_status transferred(qemb_context *ctx, cl_int error, cl_event event, bool wait, const char *what) {
    if (error != CL_SUCCESS) {
        return wait ? qemb__cl_waited(ctx, error, false, what) : qemb__cl_fail(error, what);
    }
    const qemb_status st = qemb__cl_enqueued(ctx, error, event, what);
    return st == QEMB_OK && wait ? qemb__cl_waited(ctx, CL_SUCCESS, true, what) : st;
}

static qemb_status buffer_write(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source, bool wait) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_event event = NULL;
    cl_int error = clEnqueueWriteBuffer(cl->queue, buffer->memory, wait, buffer->offset + offset, bytes, source, 0, NULL, &event);
    return transferred(buffer->ctx, error, event, wait, "clEnqueueWriteBuffer");
}

static qemb_status buffer_read(qemb_buffer *buffer, size_t offset, size_t bytes, void *target, bool wait) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_event event = NULL;
    cl_int error = clEnqueueReadBuffer(cl->queue, buffer->memory, wait, buffer->offset + offset, bytes, target, 0, NULL, &event);
    return transferred(buffer->ctx, error, event, wait, "clEnqueueReadBuffer");
}

/* Until the fence is waited for, the copy reads `source`. It stays when the wait fails, unless the context is lost with it. */
static qemb_status fence_wait(qemb_context *ctx, void **fence) {
    qemb__cl *cl = ctx->engine;
    cl_event event = *fence;
    if (!event) {
        return QEMB_OK;
    }
    cl_int error = clWaitForEvents(1, &event);
    const bool finished = error != CL_SUCCESS && clFinish(cl->queue) == CL_SUCCESS;
    error = finished ? CL_SUCCESS : error; /* ended all the same; the poll says how */
    const qemb_status st = qemb__cl_waited(ctx, error, finished, "clWaitForEvents");
    if (st == QEMB_OK || ctx->lost) {
        (void)clReleaseEvent(event);
        *fence = NULL;
    }
    return st;
}

/* The memory that the copy reads is freed after this. A device that refuses every wait gets some time instead, once. */
static void fence_drop(qemb_context *ctx, void **fence) {
    enum { PATIENCE_MS = 100 };
    qemb__cl *cl = ctx->engine;
    cl_event event = *fence;
    if (!event) {
        return;
    }
    cl_int error = clWaitForEvents(1, &event);
    for (int k = 0; error != CL_SUCCESS && error != CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST && k < PATIENCE_MS && !cl->unwaitable;
         k++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        error = clFinish(cl->queue);
        cl->unwaitable = error != CL_SUCCESS && k + 1 == PATIENCE_MS;
    }
    (void)clReleaseEvent(event);
    *fence = NULL;
}

static qemb_status buffer_upload(qemb_buffer *buffer, size_t bytes, const void *source, void **fence) {
    qemb__cl *cl = buffer->ctx->engine;
    cl_event event = NULL;
    cl_int error = clEnqueueWriteBuffer(cl->queue, buffer->memory, CL_FALSE, buffer->offset, bytes, source, 0, NULL, &event);
    if (error == CL_SUCCESS) {
        *fence = event;
        event = clRetainEvent(event) == CL_SUCCESS ? event : NULL; /* one for the fence; and one to hear how it ends, if there can be */
    }
    return qemb__cl_enqueued(buffer->ctx, error, event, "clEnqueueWriteBuffer");
}

static qemb_status buffer_copy(qemb_buffer *target, size_t target_offset, qemb_buffer *source, size_t source_offset, size_t bytes) {
    qemb__cl *cl = target->ctx->engine;
    cl_event event = NULL;
    cl_int error = clEnqueueCopyBuffer(cl->queue, source->memory, target->memory, source->offset + source_offset,
                                       target->offset + target_offset, bytes, 0, NULL, &event);
    return qemb__cl_enqueued(target->ctx, error, event, "clEnqueueCopyBuffer");
}

static qemb_status finish(qemb_context *ctx) {
    qemb__cl *cl = ctx->engine;
    const cl_int error = clFinish(cl->queue);
    return qemb__cl_waited(ctx, error, error == CL_SUCCESS, "clFinish");
}

static const char *build_log(qemb_context *ctx) {
    const qemb__cl *cl = ctx->engine;
    return cl->log ? cl->log : "";
}

static void close_engine(qemb_context *ctx) {
    qemb__cl *cl = ctx->engine;
    if (cl->queue) {
        (void)clFinish(cl->queue);
    }
    qemb__cl_forget_events(cl);
    qemb__buffer_destroy(cl->staged);
    qemb__cl_kernels_free(cl);
    qemb__free(cl->picker.tuning);
    if (cl->queue) {
        (void)clReleaseCommandQueue(cl->queue);
    }
    if (cl->context) {
        (void)clReleaseContext(cl->context);
    }
    qemb__free(cl);
    ctx->engine = NULL;
}

static const char *variant(qemb_context *ctx, const char *stem) {
    qemb__cl *cl = ctx->engine;
    return qemb__pick_text(&cl->picker, stem);
}

static const char *tuning_line(qemb_context *ctx, const char *stem) {
    qemb__cl *cl = ctx->engine;
    return qemb__pick_line(&cl->picker, stem);
}

static qemb_status force_variant(qemb_context *ctx, const char *text) {
    qemb__cl *cl = ctx->engine;
    return qemb__pick_force(&cl->picker, text);
}

static void variants(qemb_context *ctx, qemb_variant_visitor visit, void *user) {
    const qemb__picker *p = &((qemb__cl *)ctx->engine)->picker;
    for (int i = 0; i < qemb__variant_count; i++) {
        const qemb__variant *v = &qemb__variants[i];
        const uint32_t lacks = v->needs & QEMB__DEVICE_FACTS & ~p->device_facts;
        if (v->is_cpu == p->is_cpu) {
            char knobs[160] = "";
            for (int k = 0, at = 0; k < QEMB__KNOBS; k++) {
                if (v->knob[k].least < v->knob[k].most) {
                    at += snprintf(knobs + at, sizeof knobs - (size_t)at, "%s%s=%d..%d", at ? " " : "", qemb__knob_text((qemb__knob_name)k),
                                   v->knob[k].least, v->knob[k].most);
                }
            }
            visit(user, qemb__stem_text(v->stem), v->name, knobs, lacks == 0);
        }
    }
}

#define QEMB__ENTRY(name, type) , .name = qemb__cl_##name
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
    .fence_drop = fence_drop,
    .buffer_copy = buffer_copy,
    .prepare = qemb__cl_bag_forward_prepare,
    .packed_prepare = qemb__cl_packed_prepare,
    .row_update_prepare = qemb__cl_row_update_prepare,
    .variant = variant,
    .tuning_line = tuning_line,
    .force_variant = force_variant,
    .variants = variants QEMB__OPERATIONS(QEMB__ENTRY),
};
#undef QEMB__ENTRY

/* What the device adds to the facts of every launch; what is asked for in the environment. */
static qemb_status open_picker(qemb__cl *cl) {
    cl_ulong local_bytes = 0;
    (void)clGetDeviceInfo(cl->device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local_bytes, &local_bytes, NULL);
    cl->picker.is_cpu = cl->is_cpu;
    cl->picker.log = qemb__log_wants("pick");
    cl->picker.max_local = cl->max_local < 1024 ? (int)cl->max_local : 1024;
    cl->picker.device_facts = (cl->shuffle >= 1 ? QEMB__WARP_SHUFFLE : 0u) | (cl->shuffle >= 2 ? QEMB__WARP_REDUCE : 0u) |
                              (cl->max_local >= 256 && local_bytes >= 32768 ? QEMB__LOCAL_32K : 0u);
    const qemb_status st = qemb__tuning_open(cl->name, cl->platform_name, cl->is_cpu, &cl->picker.tuning);
    return st == QEMB_OK ? qemb__pick_force(&cl->picker, getenv("QEMB_VARIANT")) : st;
}

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
    cl->log_builds = qemb__log_wants("build");
    qemb__cl_binary_open(cl);
    TRY(qemb__cl_probe(ctx));
    TRY(open_picker(cl));
done:
    return st;
}

qemb_status qemb__opencl_open(qemb_context *ctx, const char *selector) {
    cl_platform_id platform = NULL;
    cl_device_id device = NULL;
    qemb_status st = qemb__cl_select(selector, &platform, &device);
    return st == QEMB_OK ? qemb__cl_open(ctx, platform, device, NULL, NULL) : st;
}
