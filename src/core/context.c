/* context.c - create, finish, report; the one-thread rule.
 *
 * A call is bracketed by qemb__enter and qemb__leave: an atomic flag refuses a second thread instead of making it wait, which would hide
 * the mistake. A failure after commands that change something were enqueued loses the context (qemb__harmless sets the mark, qemb__settle
 * compares): the host no longer knows what device memory holds, and says so at every later call instead of giving wrong numbers. */
#include "core/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "core/batch.h"
#include "core/ops.h"

enum { NOTHING_YET = -1 }; /* qemb_context.mark: no command of this call may change what the caller can see */

const char *qemb_version(void) {
    return QEMB_VERSION_STRING;
}

qemb_status qemb__enter(qemb_context *ctx, const char *call) {
    if (!ctx) {
        return qemb__fail(QEMB_ERR_ARG, "%s: context is NULL", call);
    }
    if (atomic_flag_test_and_set_explicit(&ctx->busy, memory_order_acquire)) {
        return qemb__fail(QEMB_ERR_BUSY, "%s: the context is in use by another thread; one thread at a time", call);
    }
    if (ctx->lost) {
        qemb__leave(ctx);
        return qemb__fail(QEMB_ERR_DEVICE, "%s: the context is lost, want a new one; it was lost when: %s", call, ctx->lost_by);
    }
    ctx->mark = NOTHING_YET;
    qemb__calling(call);
    return QEMB_OK;
}

uint64_t qemb__serial(qemb_context *ctx) {
    return ++ctx->serials;
}

qemb_status qemb__lose(qemb_context *ctx, qemb_status code) {
    if (!ctx->lost) {
        ctx->lost = true;
        (void)snprintf(ctx->lost_by, sizeof ctx->lost_by, "%s", qemb_last_error());
    }
    return code;
}

void qemb__harmless(qemb_context *ctx) {
    ctx->mark = ctx->counters.commands;
}

qemb_status qemb__settle(qemb_context *ctx, qemb_status st) {
    return st != QEMB_OK && ctx->mark != NOTHING_YET && ctx->counters.commands != ctx->mark ? qemb__lose(ctx, st) : st;
}

void qemb__leave(qemb_context *ctx) {
    qemb__calling(NULL);
    atomic_flag_clear_explicit(&ctx->busy, memory_order_release);
}

qemb_status qemb_context_create(const char *device, qemb_context **out) {
    qemb_status st = QEMB_OK;
    qemb_context *ctx = NULL;
    void *block = NULL;
    REQUIRE(out, QEMB_ERR_ARG, "context_create: ctx is NULL, want a place for the context");
    qemb__calling("context_create");
    if (!device) {
        device = getenv("QEMB_DEVICE");
    }
    if (!device || !*device) {
        device = "opencl";
    }
    TRY(qemb__calloc(1, sizeof *ctx, &block));
    ctx = block;
    atomic_flag_clear(&ctx->busy);
    if (strcmp(device, "reference") == 0) {
        TRY(qemb__reference_open(ctx));
    } else {
        TRY(qemb__opencl_open(ctx, device));
    }
    TRY(qemb__buffer_create(ctx, Q_EVENTS * sizeof(q_i64), &ctx->events));
    *out = ctx;
    ctx = NULL;
done:
    qemb__calling(NULL);
    qemb_context_destroy(ctx);
    return st;
}

void qemb_context_destroy(qemb_context *ctx) {
    if (!ctx) {
        return;
    }
    qemb__buffer_destroy(ctx->events);
    if (ctx->ops) {
        ctx->ops->close(ctx);
    }
    qemb__free(ctx);
}

qemb_status qemb__finish(qemb_context *ctx) {
    qemb_status st = ctx->ops->finish(ctx);
    /* batches from device memory whose check has not been read yet; the first error is the one reported */
    while (ctx->unchecked && !ctx->lost) {
        qemb_batch *batch = ctx->unchecked;
        ctx->unchecked = batch->next_unchecked;
        batch->next_unchecked = NULL;
        batch->is_unchecked = false;
        if (st == QEMB_OK) {
            st = qemb__batch_read_status(batch, NULL);
        }
    }
    return st;
}

qemb_status qemb_context_finish(qemb_context *ctx) {
    qemb_status st = qemb__enter(ctx, "context_finish");
    if (st == QEMB_OK) {
        st = qemb__finish(ctx);
        qemb__leave(ctx);
    }
    return st;
}

qemb_status qemb_context_report(qemb_context *ctx, qemb_device_report *report) {
    qemb_status st = qemb__enter(ctx, "context_report");
    if (st != QEMB_OK) {
        return st;
    }
    if (report) {
        *report = ctx->report;
    } else {
        st = qemb__fail(QEMB_ERR_ARG, "context_report: report is NULL");
    }
    qemb__leave(ctx);
    return st;
}

const char *qemb_context_build_log(qemb_context *ctx) {
    if (!ctx || atomic_flag_test_and_set_explicit(&ctx->busy, memory_order_acquire)) {
        return ""; /* another thread may be building right now */
    }
    const char *log = ctx->ops->build_log(ctx);
    qemb__leave(ctx);
    return log;
}

const char *qemb_context_variant(qemb_context *ctx, const char *stem) {
    const char *text = ctx && stem && ctx->ops->variant ? ctx->ops->variant(ctx, stem) : ctx && stem ? "plain" : "";
    return text ? text : "";
}

const char *qemb_context_tuning_line(qemb_context *ctx, const char *stem) {
    const char *text = ctx && stem && ctx->ops->tuning_line ? ctx->ops->tuning_line(ctx, stem) : "";
    return text ? text : "";
}

qemb_status qemb_context_force_variant(qemb_context *ctx, const char *variants) {
    qemb_status st = qemb__enter(ctx, "context_force_variant");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(ctx->ops->force_variant, QEMB_ERR_UNSUPPORTED, "context_force_variant: the reference engine has nothing to choose");
    TRY(ctx->ops->force_variant(ctx, variants));
done:
    qemb__leave(ctx);
    return st;
}

qemb_status qemb_context_variants(qemb_context *ctx, qemb_variant_visitor visit, void *user) {
    if (!visit) {
        return qemb__fail(QEMB_ERR_ARG, "context_variants: visit is NULL");
    }
    qemb_status st = qemb__enter(ctx, "context_variants");
    if (st == QEMB_OK) {
        if (ctx->ops->variants) {
            ctx->ops->variants(ctx, visit, user);
        }
        qemb__leave(ctx);
    }
    return st;
}

qemb_status qemb_devices(qemb_device_visitor visit, void *user) {
    if (!visit) {
        return qemb__fail(QEMB_ERR_ARG, "devices: visit is NULL");
    }
    return qemb__opencl_devices(visit, user);
}

qemb_status qemb_context_counters(qemb_context *ctx, qemb_counters *counters) {
    q_i64 events[2] = {0, 0};
    qemb_status st = qemb__enter(ctx, "context_counters");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(counters, QEMB_ERR_ARG, "context_counters: counters is NULL");
    const qemb_counters now = ctx->counters; /* before the read below, which is a command itself */
    TRY(ctx->ops->buffer_read(ctx->events, 0, sizeof events, events, true));
    *counters = now;
    counters->host_allocations = qemb__alloc_count();
    counters->nonfinite_rows = events[0];
    counters->repaired_rows = events[1];
done:
    qemb__leave(ctx);
    return st;
}
