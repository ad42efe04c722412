/* bench_row_pack.c - `pack`: every row of the tables to the layout and bits of the options by minmax, the packed object made anew. */
#include "bench.h"

#include <stdlib.h>

#include "ops/row_pack.h"

typedef struct pack_state {
    bench_world *world;
    qemb_packed *packed;
    qemb_packed_desc desc;
} pack_state;

static void pack_close(void *state) {
    pack_state *s = state;
    qemb_packed_destroy(s->packed);
    free(s);
}

static qemb_status pack_open(bench_world *w, bench_form form, void **state) {
    pack_state *s = bench_alloc(1, sizeof *s);
    (void)form;
    *state = s;
    s->world = w;
    s->desc = (qemb_packed_desc){.format = {.layout = w->options->layout, .bits = w->options->bits}, .flags = QEMB_PACK_AS_PEER};
    return QEMB_OK;
}

static qemb_status pack_fresh(void *state) {
    pack_state *s = state;
    qemb_packed_destroy(s->packed);
    s->packed = NULL;
    return QEMB_OK;
}

static qemb_status pack_run(void *state) {
    pack_state *s = state;
    return qemb_packed_create(s->world->base, &s->desc, &s->packed);
}

static void pack_work(const void *state, bench_work *work) {
    const pack_state *s = state;
    const bench_options *o = s->world->options;
    *work = (bench_work){0};
    for (int32_t t = 0; t < o->tables; t++) {
        work->items += (double)o->rows[t];
        work->bytes += op_row_pack_bytes(&s->desc.format, (double)o->rows[t], o->dim[t]);
    }
}

const bench_operation bench_row_pack = {
    .name = "pack",
    .summary = "float rows to packed rows, memory of the packed tables included",
    .allowed = BENCH_ALONE,
    .open = pack_open,
    .fresh = pack_fresh,
    .run = pack_run,
    .work = pack_work,
    .close = pack_close,
};
