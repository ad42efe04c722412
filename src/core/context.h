/* context.h - the context and its buffers, as the core and the engines see them. */
#ifndef QEMB_CORE_CONTEXT_H
#define QEMB_CORE_CONTEXT_H

#include <stdatomic.h>

#include "base/status.h"
#include <qemb/qemb.h>

typedef struct qemb__ops qemb__ops;
typedef struct qemb__tables qemb__tables;

struct qemb_context {
    const qemb__ops *ops; /* filled by the engine's open */
    void *engine;         /* the engine's own state */
    atomic_flag busy;     /* set while a call is inside */
    qemb_device_report report;
    qemb_counters counters;
    qemb_buffer *events;   /* Q_EVENTS words on the device */
    qemb_batch *unchecked; /* batches with device input whose status has not been read yet, linked by next_unchecked */
    uint64_t serials;      /* given so far, see qemb__serial */
    int64_t mark;          /* counters.commands before the first command of this call that changes what the caller can see */
    bool lost;             /* such a call broke off in the middle, or a command failed on the device: see qemb__lose */
    char lost_by[512];     /* the sentence of that failure */
};

/* Device memory. `memory` is the engine's handle; `host` the same bytes where the host may touch them (reference engine, CPU devices). */
struct qemb_buffer {
    qemb_context *ctx;
    void *memory;
    void *host; /* where `memory` starts */
    size_t bytes;
    size_t offset; /* of the buffer's first byte within `memory`: windows, and a caller's cl_mem, may start anywhere */
    bool owned;
};

/* One thread at a time: BUSY with the caller's name, else the context is taken until qemb__leave. DEVICE once it is lost. */
qemb_status qemb__enter(qemb_context *ctx, const char *call);
void qemb__leave(qemb_context *ctx);

/* A number that this context gives once: what names a module, or what a batch was set to, when another may lie at the same address. Never 0. */
uint64_t qemb__serial(qemb_context *ctx);

/* From here on nobody knows what the device's memory holds, so every call but a destroy says DEVICE and what happened. Keeps the sentence
 * recorded last, returns `code`. */
qemb_status qemb__lose(qemb_context *ctx, qemb_status code);

/* For calls that change in several commands what the caller can see. harmless: the commands of this call so far changed nothing of that
 * kind, the next ones may. settle: `st`, and the context lost when it is an error that came after some of those. */
qemb_status qemb__settle(qemb_context *ctx, qemb_status st);
void qemb__harmless(qemb_context *ctx);

/* As the public calls, for callers that are inside the context already. */
qemb_status qemb__buffer_create(qemb_context *ctx, size_t bytes, qemb_buffer **buffer);
void qemb__buffer_destroy(qemb_buffer *buffer);
/* A buffer over memory that somebody else keeps and nobody writes; only where report.host_memory. */
qemb_status qemb__buffer_borrow(qemb_context *ctx, const void *memory, size_t bytes, qemb_buffer **buffer);
qemb_status qemb__buffer_write(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source, bool wait);
qemb_status qemb__buffer_read(qemb_buffer *buffer, size_t offset, size_t bytes, void *target, bool wait);
qemb_status qemb__finish(qemb_context *ctx);

/* A buffer that grows: replaced by a larger one (contents lost, zero) when it holds fewer than `bytes`. */
qemb_status qemb__buffer_reserve(qemb_context *ctx, size_t bytes, qemb_buffer **buffer);

#endif
