/* bench_row_pack.c - `pack`: every row of the tables to the format of the options by minmax, the packed object made anew; against a kernel
 * that reads and writes as many bytes a row, into new memory too. */
#include "bench.h"

#include <stdlib.h>

#include "device.h"
#include "ops/row_pack.h"

typedef struct pack_state {
    bench_world *world;
    qemb_packed *packed;
    qemb_packed_desc desc;
    bench_row_copy **copy; /* [T] for the copy, else NULL */
} pack_state;

static void pack_close(void *state) {
    pack_state *s = state;
    for (int32_t t = 0; s->copy && t < s->world->options->tables; t++) {
        bench_row_copy_destroy(s->copy[t]);
    }
    free(s->copy);
    qemb_packed_destroy(s->packed);
    free(s);
}

/* Bytes of a packed row, wherever its qparams lie. */
static double row_bytes_of(const pack_state *s, int32_t t) {
    const int64_t dim = s->world->options->dim[t];
    return op_row_pack_bytes(&s->desc.format, 1.0, dim) - 4.0 * (double)dim;
}

static qemb_status pack_open(bench_world *w, bench_form form, void **state) {
    const bench_options *o = w->options;
    qemb_status st = QEMB_OK;
    pack_state *s = bench_alloc(1, sizeof *s);
    *state = s;
    s->world = w;
    s->desc = (qemb_packed_desc){.format = bench_packed_format(o), .flags = QEMB_PACK_AS_PEER};
    if (form == BENCH_COPY) {
        s->copy = bench_alloc(o->tables, sizeof(bench_row_copy *));
        for (int32_t t = 0; t < o->tables; t++) {
            BENCH_TRY(bench_row_copy_create(w->ctx, o->rows[t], o->dim[t], (int64_t)row_bytes_of(s, t), &s->copy[t]));
        }
    }
done:
    return st;
}

/* Memory of the last run goes back before every run, also of a repeated one. */
static qemb_status pack_ready(void *state) {
    pack_state *s = state;
    for (int32_t t = 0; s->copy && t < s->world->options->tables; t++) {
        bench_row_copy_forget(s->copy[t]);
    }
    qemb_packed_destroy(s->packed);
    s->packed = NULL;
    return QEMB_OK;
}

static qemb_status pack_run(void *state) {
    pack_state *s = state;
    qemb_status st = QEMB_OK;
    if (!s->copy) {
        return qemb_packed_create(s->world->base, &s->desc, &s->packed);
    }
    for (int32_t t = 0; t < s->world->options->tables; t++) {
        BENCH_TRY(bench_row_copy_run(s->copy[t]));
    }
done:
    return st;
}

static void pack_work(const void *state, bench_work *work) {
    const pack_state *s = state;
    const bench_options *o = s->world->options;
    *work = (bench_work){0};
    for (int32_t t = 0; t < o->tables; t++) {
        work->items += (double)o->rows[t];
        work->bytes += (double)o->rows[t] * (4.0 * (double)o->dim[t] + row_bytes_of(s, t));
    }
    work->fbgemm_bytes = work->bytes; /* in and out */
}

static qemb_status pack_fresh(void *state) {
    (void)state;
    return QEMB_OK; /* the tables are the input */
}

const bench_operation bench_row_pack = {
    .name = "pack",
    .summary = "float rows to packed rows, memory of the packed tables included",
    .allowed = 1u << BENCH_WITH_COPY,
    .open = pack_open,
    .fresh = pack_fresh,
    .ready = pack_ready,
    .run = pack_run,
    .work = pack_work,
    .close = pack_close,
};
