/* engine.c - the reference engine: buffers are host memory, every operation is done when its call returns. */
#include <string.h>

#include "base/memory.h"
#include "reference/reference.h"

static qemb_status buffer_create(qemb_buffer *buffer) {
    qemb_status st = qemb__pages_alloc(buffer->bytes, &buffer->memory);
    buffer->host = buffer->memory;
    return st;
}

static qemb_status buffer_borrow(qemb_buffer *buffer) {
    buffer->memory = buffer->host;
    return QEMB_OK;
}

static void buffer_destroy(qemb_buffer *buffer) {
    if (buffer->owned) {
        qemb__pages_free(buffer->memory, buffer->bytes);
    }
}

static qemb_status buffer_write(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source, bool wait) {
    (void)wait;
    memcpy((char *)qemb__ref_data(buffer) + offset, source, bytes);
    buffer->ctx->counters.commands++;
    return QEMB_OK;
}

static qemb_status buffer_read(qemb_buffer *buffer, size_t offset, size_t bytes, void *target, bool wait) {
    (void)wait;
    memcpy(target, (char *)qemb__ref_data(buffer) + offset, bytes);
    buffer->ctx->counters.commands++;
    return QEMB_OK;
}

static qemb_status buffer_upload(qemb_buffer *buffer, size_t bytes, const void *source, void **fence) {
    (void)fence;
    return buffer_write(buffer, 0, bytes, source, true);
}

static qemb_status fence_wait(qemb_context *ctx, void **fence) {
    (void)ctx;
    *fence = NULL;
    return QEMB_OK;
}

static void fence_drop(qemb_context *ctx, void **fence) {
    (void)ctx;
    *fence = NULL;
}

static qemb_status buffer_copy(qemb_buffer *target, size_t target_offset, qemb_buffer *source, size_t source_offset, size_t bytes) {
    memmove((char *)qemb__ref_data(target) + target_offset, (char *)qemb__ref_data(source) + source_offset, bytes);
    target->ctx->counters.commands++;
    return QEMB_OK;
}

static qemb_status finish(qemb_context *ctx) {
    (void)ctx;
    return QEMB_OK;
}

static void close_engine(qemb_context *ctx) {
    (void)ctx;
}

static const char *build_log(qemb_context *ctx) {
    (void)ctx;
    return "";
}

static qemb_status prepare(qemb_context *ctx, const qemb__tables *tables) {
    (void)ctx;
    (void)tables;
    return QEMB_OK;
}

static qemb_status packed_prepare(qemb_context *ctx, const qemb__tables *tables, bool mapped) {
    (void)mapped;
    return prepare(ctx, tables);
}

#define QEMB__ENTRY(name, type) , .name = qemb__ref_##name
static const qemb__ops reference_ops = {
    .name = "reference",
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
    .prepare = prepare,
    .packed_prepare = packed_prepare QEMB__OPERATIONS(QEMB__ENTRY),
};
#undef QEMB__ENTRY

qemb_status qemb__reference_open(qemb_context *ctx) {
    ctx->ops = &reference_ops;
    ctx->report = (qemb_device_report){
        .engine = "reference",
        .device = "reference engine (plain C)",
        .platform = "host",
        .driver = QEMB_VERSION_STRING,
        .family = "plain",
        .memory_bytes = INT64_MAX / 4,
        .max_allocation_bytes = INT64_MAX / 4,
        .max_work_group = 1,
        .compute_units = 1,
        .exact_division = true,
        .exact_fma = true,
        .denormals = true,
        .host_memory = true,
    };
    return QEMB_OK;
}
