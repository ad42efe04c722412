/* buffer.c - device memory and transfers. */
#include "base/memory.h"
#include "core/context.h"
#include "core/ops.h"

#include <time.h>

qemb_status qemb__buffer_create(qemb_context *ctx, size_t bytes, qemb_buffer **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    qemb_buffer *buffer = NULL;
    REQUIRE((int64_t)bytes >= 0 && (int64_t)bytes <= ctx->report.max_allocation_bytes, QEMB_ERR_UNSUPPORTED,
            "buffer_create: %zu bytes, want at most %lld, the device's largest single allocation", bytes,
            (long long)ctx->report.max_allocation_bytes);
    TRY(qemb__calloc(1, sizeof *buffer, &block));
    buffer = block;
    buffer->ctx = ctx;
    buffer->bytes = bytes;
    buffer->owned = true;
    TRY(ctx->ops->buffer_create(buffer));
    ctx->counters.device_buffers++;
    *out = buffer;
    buffer = NULL;
done:
    qemb__free(buffer);
    return st;
}

qemb_status qemb__buffer_borrow(qemb_context *ctx, const void *memory, size_t bytes, qemb_buffer **out) {
    void *block = NULL;
    qemb_status st = qemb__calloc(1, sizeof(qemb_buffer), &block);
    if (st != QEMB_OK) {
        return st;
    }
    qemb_buffer *buffer = block;
    *buffer = (qemb_buffer){.ctx = ctx, .host = (void *)(uintptr_t)memory, .bytes = bytes};
    st = ctx->ops->buffer_borrow(buffer);
    if (st != QEMB_OK) {
        qemb__free(buffer);
        return st;
    }
    ctx->counters.device_buffers++;
    *out = buffer;
    return QEMB_OK;
}

void qemb__buffer_destroy(qemb_buffer *buffer) {
    if (buffer) {
        buffer->ctx->ops->buffer_destroy(buffer);
        qemb__free(buffer);
    }
}

qemb_status qemb__buffer_reserve(qemb_context *ctx, size_t bytes, qemb_buffer **buffer) {
    if (*buffer && (*buffer)->bytes >= bytes) {
        return QEMB_OK;
    }
    qemb_buffer *larger = NULL;
    size_t held = *buffer ? (*buffer)->bytes : 0;
    size_t wanted = bytes > held + held / 2 || bytes > (size_t)ctx->report.max_allocation_bytes / 2 ? bytes : held + held / 2;
    qemb_status st = qemb__buffer_create(ctx, wanted, &larger);
    if (st == QEMB_OK) {
        qemb__buffer_destroy(*buffer); /* the engine keeps memory that enqueued work still uses */
        *buffer = larger;
    }
    return st;
}

static qemb_status check_range(const qemb_buffer *buffer, size_t offset, size_t bytes, const void *host, const char *call) {
    if (offset > buffer->bytes || bytes > buffer->bytes - offset) {
        return qemb__fail(QEMB_ERR_SHAPE, "%s: bytes %zu to %zu + %zu, want inside the buffer's %zu", call, offset, offset, bytes,
                          buffer->bytes);
    }
    if (bytes && !host) {
        return qemb__fail(QEMB_ERR_ARG, "%s: host memory is NULL for %zu bytes", call, bytes);
    }
    return QEMB_OK;
}

qemb_status qemb__buffer_write(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source, bool wait) {
    qemb_status st = check_range(buffer, offset, bytes, source, "buffer_write");
    return st != QEMB_OK || bytes == 0 ? st : buffer->ctx->ops->buffer_write(buffer, offset, bytes, source, wait);
}

qemb_status qemb__buffer_read(qemb_buffer *buffer, size_t offset, size_t bytes, void *target, bool wait) {
    qemb_status st = check_range(buffer, offset, bytes, target, "buffer_read");
    return st != QEMB_OK || bytes == 0 ? st : buffer->ctx->ops->buffer_read(buffer, offset, bytes, target, wait);
}

qemb_status qemb_buffer_create(qemb_context *ctx, size_t bytes, qemb_buffer **buffer) {
    qemb_status st = qemb__enter(ctx, "buffer_create");
    if (st != QEMB_OK) {
        return st;
    }
    st = buffer ? qemb__buffer_create(ctx, bytes, buffer) : qemb__fail(QEMB_ERR_ARG, "buffer_create: buffer is NULL");
    qemb__leave(ctx);
    return st;
}

void qemb_buffer_destroy(qemb_buffer *buffer) {
    qemb__buffer_destroy(buffer);
}

size_t qemb_buffer_bytes(const qemb_buffer *buffer) {
    return buffer ? buffer->bytes : 0;
}

/* What the four public transfers have in common. */
static qemb_status enter(qemb_buffer *buffer, size_t offset, size_t bytes, const void *host, const char *call) {
    if (!buffer) {
        return qemb__fail(QEMB_ERR_ARG, "%s: buffer is NULL", call);
    }
    const qemb_status st = check_range(buffer, offset, bytes, host, call);
    return st == QEMB_OK ? qemb__enter(buffer->ctx, call) : st;
}

static qemb_status write_to(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source, bool wait) {
    qemb_status st = enter(buffer, offset, bytes, source, wait ? "buffer_write" : "buffer_write_async");
    if (st == QEMB_OK) {
        st = qemb__buffer_write(buffer, offset, bytes, source, wait);
        qemb__leave(buffer->ctx);
    }
    return st;
}

static qemb_status read_from(qemb_buffer *buffer, size_t offset, size_t bytes, void *target, bool wait) {
    qemb_status st = enter(buffer, offset, bytes, target, wait ? "buffer_read" : "buffer_read_async");
    if (st == QEMB_OK) {
        st = qemb__buffer_read(buffer, offset, bytes, target, wait);
        qemb__leave(buffer->ctx);
    }
    return st;
}

qemb_status qemb_buffer_write(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source) {
    return write_to(buffer, offset, bytes, source, true);
}

qemb_status qemb_buffer_write_async(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source) {
    return write_to(buffer, offset, bytes, source, false);
}

qemb_status qemb_buffer_read(qemb_buffer *buffer, size_t offset, size_t bytes, void *target) {
    return read_from(buffer, offset, bytes, target, true);
}

qemb_status qemb_buffer_read_async(qemb_buffer *buffer, size_t offset, size_t bytes, void *target) {
    return read_from(buffer, offset, bytes, target, false);
}

static double seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

qemb_status qemb_context_copy_bandwidth(qemb_context *ctx, size_t bytes, double *gbps) {
    qemb_buffer *from = NULL;
    qemb_buffer *to = NULL;
    qemb_status st = qemb__enter(ctx, "context_copy_bandwidth");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(gbps, QEMB_ERR_ARG, "context_copy_bandwidth: gbps is NULL");
    bytes = bytes ? bytes : (size_t)256 << 20;
    REQUIRE(bytes <= (size_t)ctx->report.max_allocation_bytes, QEMB_ERR_UNSUPPORTED, "context_copy_bandwidth: bytes=%zu, want at most %lld",
            bytes, (long long)ctx->report.max_allocation_bytes);
    TRY(qemb__buffer_create(ctx, bytes, &from));
    TRY(qemb__buffer_create(ctx, bytes, &to));
    double best = 1e30;
    TRY(ctx->ops->buffer_copy(from, 0, to, 0, bytes)); /* memory never written to may all be one page of zeros, and that stays in a cache */
    for (int run = 0; run < 6; run++) {                /* the first run takes the pages from the system and does not count */
        double start = seconds();
        TRY(ctx->ops->buffer_copy(to, 0, from, 0, bytes));
        TRY(qemb__finish(ctx));
        double taken = seconds() - start;
        best = run && taken < best ? taken : best;
    }
    *gbps = 2e-9 * (double)bytes / best;
done:
    qemb__buffer_destroy(from);
    qemb__buffer_destroy(to);
    qemb__leave(ctx);
    return st;
}
