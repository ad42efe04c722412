/* bench_packed_forward.c - `packed_forward`: the lookup of packed rows of the options' layout and bits; against the float lookup of the same rows. */
#include "bench.h"

#include <stdlib.h>

#include "ops/packed_forward.h"

typedef struct packed_lookup {
    bench_world *world;
    qemb_embedding_bag *bag, *owned; /* the float form */
    qemb_packed *packed;             /* the picked form, else NULL */
    bench_indices *indices;
    qemb_batch *batch;
    qemb_buffer *out;
    qemb_dtype output;
} packed_lookup;

static void packed_close(void *state) {
    packed_lookup *s = state;
    qemb_buffer_destroy(s->out);
    qemb_batch_destroy(s->batch);
    qemb_packed_destroy(s->packed);
    qemb_embedding_bag_destroy(s->owned);
    bench_indices_destroy(s->indices);
    free(s);
}

static qemb_status packed_open(bench_world *w, bench_form form, void **state) {
    const bench_options *o = w->options;
    qemb_status st = QEMB_OK;
    packed_lookup *s = bench_alloc(1, sizeof *s);
    *state = s;
    s->world = w;
    s->output = form == BENCH_PICKED ? o->output : QEMB_FLOAT32;
    s->indices = bench_indices_create(o);
    BENCH_TRY(bench_world_module(w, form, &s->bag, &s->owned));
    if (form == BENCH_PICKED) {
        const qemb_packed_desc desc = {.format = bench_packed_format(o), .flags = QEMB_PACK_AS_PEER};
        BENCH_TRY(qemb_packed_create(s->bag, &desc, &s->packed));
    }
    BENCH_TRY(qemb_batch_create(w->ctx, &s->batch));
    BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)(o->batch * bench_output_dim(o)) * sizeof(float), &s->out));
done:
    return st;
}

static qemb_status packed_fresh(void *state) {
    packed_lookup *s = state;
    qemb_input input;
    bench_indices_next(s->indices);
    bench_indices_input(s->indices, &input);
    return s->packed ? qemb_packed_batch_set(s->packed, s->batch, &input) : qemb_batch_set(s->batch, s->bag, &input);
}

static qemb_status packed_run(void *state) {
    packed_lookup *s = state;
    return s->packed ? qemb_packed_forward(s->packed, s->batch, s->out, s->output) : qemb_embedding_bag_forward(s->bag, s->batch, s->out);
}

static void packed_work(const void *state, bench_work *work) {
    const packed_lookup *s = state;
    const bench_options *o = s->world->options;
    const qemb_packed_format format = bench_packed_format(o);
    const op_bag_forward op = {.T = o->tables, .B = o->batch, .weighted = o->weighted, .i64 = !o->indices_32};
    const double out_bytes = s->output == QEMB_FLOAT32 ? 4.0 : 2.0;
    const double columns = (double)bench_output_dim(o);
    const double element_bytes = s->packed ? (double)o->bits / 8.0 : 4.0;
    double row_bytes = 0.0;
    for (int32_t t = 0; t < o->tables; t++) {
        const double all = op_row_pack_bytes(&format, 1.0, o->dim[t]);
        row_bytes += (s->packed ? all - 4.0 * (double)o->dim[t] : 4.0 * (double)o->dim[t]) / (double)o->tables;
    }
    work->items = (double)bench_lookups(o);
    work->bytes = op_packed_forward_bytes(&op, work->items, row_bytes, columns) - (4.0 - out_bytes) * (double)o->batch * columns;
    work->fbgemm_bytes = (double)o->batch * columns * (out_bytes + element_bytes * (double)o->bag); /* codes alone */
}

const bench_operation bench_packed_forward = {
    .name = "packed_forward",
    .summary = "the lookup of packed rows, or of the float rows they came from",
    .allowed = 1u << BENCH_WITH_FLOAT,
    .open = packed_open,
    .fresh = packed_fresh,
    .run = packed_run,
    .work = packed_work,
    .close = packed_close,
};
