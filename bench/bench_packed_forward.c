/* bench_packed_forward.c - `serve`: the lookup of packed rows of the options' layout and bits; against the float lookup of the same rows. */
#include "bench.h"

#include <stdlib.h>

#include "ops/packed_forward.h"

typedef struct serve_state {
    bench_world *world;
    qemb_embedding_bag *bag, *owned; /* the float form */
    qemb_packed *packed;             /* the picked form, else NULL */
    bench_indices *indices;
    qemb_batch *batch;
    qemb_buffer *out;
} serve_state;

static void serve_close(void *state) {
    serve_state *s = state;
    qemb_buffer_destroy(s->out);
    qemb_batch_destroy(s->batch);
    qemb_packed_destroy(s->packed);
    qemb_embedding_bag_destroy(s->owned);
    bench_indices_destroy(s->indices);
    free(s);
}

static qemb_status serve_open(bench_world *w, bench_form form, void **state) {
    const bench_options *o = w->options;
    qemb_status st = QEMB_OK;
    serve_state *s = bench_alloc(1, sizeof *s);
    *state = s;
    s->world = w;
    s->indices = bench_indices_create(o);
    BENCH_TRY(bench_world_module(w, form, &s->bag, &s->owned));
    if (form == BENCH_PICKED) {
        const qemb_packed_desc desc = {.format = {.layout = o->layout, .bits = o->bits}, .flags = QEMB_PACK_AS_PEER};
        BENCH_TRY(qemb_packed_create(s->bag, &desc, &s->packed));
    }
    BENCH_TRY(qemb_batch_create(w->ctx, &s->batch));
    BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)(o->batch * bench_output_dim(o)) * sizeof(float), &s->out));
done:
    return st;
}

static qemb_status serve_fresh(void *state) {
    serve_state *s = state;
    qemb_input input;
    bench_indices_next(s->indices);
    bench_indices_input(s->indices, &input);
    return s->packed ? qemb_packed_batch_set(s->packed, s->batch, &input) : qemb_batch_set(s->batch, s->bag, &input);
}

static qemb_status serve_run(void *state) {
    serve_state *s = state;
    return s->packed ? qemb_packed_forward(s->packed, s->batch, s->out, QEMB_FLOAT32) : qemb_embedding_bag_forward(s->bag, s->batch, s->out);
}

static void serve_work(const void *state, bench_work *work) {
    const serve_state *s = state;
    const bench_options *o = s->world->options;
    const qemb_packed_format format = {.layout = o->layout, .bits = o->bits};
    const op_bag_forward op = {.T = o->tables, .B = o->batch, .weighted = o->weighted, .i64 = !o->indices_32};
    double row_bytes = 0.0;
    for (int32_t t = 0; t < o->tables; t++) {
        const double all = op_row_pack_bytes(&format, 1.0, o->dim[t]);
        row_bytes += (s->packed ? all - 4.0 * (double)o->dim[t] : 4.0 * (double)o->dim[t]) / (double)o->tables;
    }
    work->items = (double)bench_lookups(o);
    work->bytes = op_packed_forward_bytes(&op, work->items, row_bytes, (double)bench_output_dim(o));
    work->fbgemm_bytes = 0;
}

const bench_operation bench_packed_forward = {
    .name = "serve",
    .summary = "the lookup of packed rows, or of the float rows they came from",
    .allowed = BENCH_WITH_FLOAT,
    .open = serve_open,
    .fresh = serve_fresh,
    .run = serve_run,
    .work = serve_work,
    .close = serve_close,
};
