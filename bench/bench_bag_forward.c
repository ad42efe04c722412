/* bench_bag_forward.c - `forward`: the fused lookup, or the float gather, of a fresh batch. */
#include "bench.h"

#include <stdlib.h>

#include "ops/bag_forward.h"

typedef struct forward_state {
    bench_world *world;
    qemb_embedding_bag *bag, *owned;
    bench_indices *indices;
    qemb_batch *batch;
    qemb_buffer *out;
    bool keeps_state; /* the picked observer may */
} forward_state;

static void forward_close(void *state) {
    forward_state *s = state;
    qemb_buffer_destroy(s->out);
    qemb_batch_destroy(s->batch);
    qemb_embedding_bag_destroy(s->owned);
    bench_indices_destroy(s->indices);
    free(s);
}

static qemb_status forward_open(bench_world *w, bench_form form, void **state) {
    const bench_options *o = w->options;
    qemb_status st = QEMB_OK;
    forward_state *s = bench_alloc(1, sizeof *s);
    *state = s;
    s->world = w;
    s->keeps_state = form == BENCH_PICKED && !o->is_float;
    s->indices = bench_indices_create(o);
    BENCH_TRY(bench_world_module(w, form, &s->bag, &s->owned));
    BENCH_TRY(qemb_batch_create(w->ctx, &s->batch));
    BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)(o->batch * bench_output_dim(o)) * sizeof(float), &s->out));
done:
    return st;
}

static qemb_status forward_fresh(void *state) {
    forward_state *s = state;
    qemb_input input;
    bench_indices_next(s->indices);
    bench_indices_input(s->indices, &input);
    return qemb_batch_set(s->batch, s->bag, &input);
}

static qemb_status forward_run(void *state) {
    forward_state *s = state;
    return qemb_embedding_bag_forward(s->bag, s->batch, s->out);
}

static void forward_work(const void *state, bench_work *work) {
    const forward_state *s = state;
    const bench_options *o = s->world->options;
    const double columns = (double)bench_output_dim(o); /* of one sample */
    const op_bag_forward op = {.T = o->tables,
                               .B = o->batch,
                               .fake_quant = s->keeps_state,
                               .observer = o->observer,
                               .weighted = o->weighted,
                               .i64 = !o->indices_32};
    work->items = (double)bench_lookups(o);
    work->bytes = op_bag_forward_bytes_of(&op, work->items, columns);
    work->fbgemm_bytes = 4.0 * (double)o->batch * columns * (double)(o->bag + 1);
}

const bench_operation bench_bag_forward = {
    .name = "forward",
    .summary = "look up a batch: observe, fake-quantise, pool (or gather, with --float)",
    .allowed = BENCH_WITH_MEMORYLESS,
    .open = forward_open,
    .fresh = forward_fresh,
    .run = forward_run,
    .work = forward_work,
    .close = forward_close,
};
