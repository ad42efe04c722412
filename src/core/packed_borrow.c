/* packed_borrow.c - packed tables used where they lie: slabs over the caller's memory, such as a mapped file. */
#include <stdint.h>

#include "base/checked.h"
#include "base/memory.h"
#include "core/packed.h"

enum { PAGE = 4096 };

/* Addresses as numbers: what is compared may not even lie in one object. */
typedef struct span {
    uintptr_t low, high;
} span;

/* From the first to behind the last byte of a table's rows and qparams. Empty tables have no place. */
static span span_of(const qemb_packed_table *d) {
    const uintptr_t rows = (uintptr_t)d->rows;
    span s = {rows, rows + (uintptr_t)d->rows_bytes};
    if (d->qparams_bytes > 0) {
        const uintptr_t plane = (uintptr_t)d->qparams;
        s.low = plane < s.low ? plane : s.low;
        s.high = plane + (uintptr_t)d->qparams_bytes > s.high ? plane + (uintptr_t)d->qparams_bytes : s.high;
    }
    return s;
}

/* `s` from a page's start on, as far as the memory goes back. */
static span paged(span s, const qemb__packed_plan *plan) {
    const uintptr_t start = (uintptr_t)plan->memory;
    const uintptr_t page = s.low & ~(uintptr_t)(PAGE - 1);
    s.low = page > start ? page : start;
    return s;
}

static bool fits(span s, int64_t limit) {
    return s.high - s.low + QEMB__PACKED_OVERRUN <= (uintptr_t)limit;
}

/* Whether `bytes` at `at` lie in the plan's memory. What lies below it is a large number here. */
static bool inside(const qemb__packed_plan *plan, const void *at, int64_t bytes) {
    const uintptr_t before = (uintptr_t)at - (uintptr_t)plan->memory;
    return before <= plan->memory_bytes && (size_t)bytes <= plan->memory_bytes - before;
}

bool qemb__packed_can_borrow(qemb_context *ctx, const qemb__packed_plan *plan) {
    bool can = plan->memory && ctx->report.host_memory && plan->tables && plan->memory_bytes <= UINTPTR_MAX - (uintptr_t)plan->memory;
    for (int32_t t = 0; can && t < plan->num_tables; t++) {
        const qemb_packed_table *d = &plan->tables[t];
        can = d->rows_bytes > 0 && d->qparams_bytes >= 0 && inside(plan, d->rows, d->rows_bytes) &&
              (d->qparams_bytes == 0 || inside(plan, d->qparams, d->qparams_bytes)) &&
              fits(paged(span_of(d), plan), ctx->report.max_allocation_bytes);
    }
    return can;
}

/* Tables in their order share a slab as long as one allocation spans them. */
qemb_status qemb__packed_borrow(qemb__tables *s, const qemb__packed_plan *plan, int32_t *group_of) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    TRY(qemb__calloc(plan->num_tables, sizeof(span), &block));
    span *slabs = block;
    for (int32_t t = 0, n = -1; t < plan->num_tables; t++) {
        const span own = paged(span_of(&plan->tables[t]), plan);
        span both = own;
        if (n >= 0) {
            both.low = slabs[n].low < own.low ? slabs[n].low : own.low;
            both.high = slabs[n].high > own.high ? slabs[n].high : own.high;
        }
        if (n < 0 || !fits(both, s->ctx->report.max_allocation_bytes)) {
            n = qemb__tables_new_slab(s, 1);
            both = own;
        }
        slabs[n] = both;
        s->slab_of[t] = n;
    }
    for (int32_t t = 0; t < plan->num_tables; t++) {
        const qemb_packed_table *d = &plan->tables[t];
        q_table *table = &s->table[t];
        const int32_t n = s->slab_of[t];
        table->base = (int64_t)((uintptr_t)d->rows - slabs[n].low);
        table->state_base = d->format.layout == QEMB_LAYOUT_PLANAR ? (int64_t)((uintptr_t)d->qparams - slabs[n].low)
                                                                   : qemb__packed_qparams_base(table, table->base);
        group_of[t] = qemb__tables_group_of(s, n);
        table->group = group_of[t];
        table->slab = n - s->group[group_of[t]].first_slab;
    }
    for (int32_t n = 0; n < s->num_slabs; n++) {
        const size_t bytes = (size_t)(slabs[n].high - slabs[n].low) + QEMB__PACKED_OVERRUN;
        const size_t before = (size_t)(slabs[n].low - (uintptr_t)plan->memory);
        s->slab[n] = (qemb__slab){.elements = (int64_t)bytes, .owned = true};
        TRY(qemb__buffer_borrow(s->ctx, (const char *)plan->memory + before, bytes, &s->slab[n].weight));
    }
done:
    qemb__free(block);
    return st;
}
