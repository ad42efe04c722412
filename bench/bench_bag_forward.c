/* bench_bag_forward.c - `forward`: the fused lookup, the float gather, or the pipeline everyone else has, of a fresh batch.
 *
 * The pipeline is what a module does that fake-quantises its weight and then looks up: every table is observed and fake-quantised whole
 * into a second one (in one pass over the rows, stored past the caches: 2 x the table's bytes), and rows are gathered from there. */
#include "bench.h"

#include <stdlib.h>

#include "ops/bag_forward.h"

typedef struct forward_state {
    bench_world *world;
    qemb_embedding_bag *bag, *owned; /* what is looked up; what is to be destroyed */
    bench_indices *indices;
    qemb_batch *batch;
    qemb_buffer *out;
    qemb_buffer **quantised; /* pipeline: [T], else NULL */
    qemb_embedding_bag *master; /* pipeline: the module whose tables are fake-quantised */
    bool keeps_state;           /* the picked observer may */
} forward_state;

static void forward_close(void *state) {
    forward_state *s = state;
    qemb_buffer_destroy(s->out);
    qemb_batch_destroy(s->batch);
    if (s->quantised) {
        qemb_embedding_bag_destroy(s->bag);
        for (int32_t t = 0; t < s->world->options->tables; t++) {
            qemb_buffer_destroy(s->quantised[t]);
        }
        free(s->quantised);
    }
    qemb_embedding_bag_destroy(s->owned);
    bench_indices_destroy(s->indices);
    free(s);
}

/* A second table for each, and a float module over them. */
static qemb_status open_pipeline(forward_state *s) {
    const bench_options *o = s->world->options;
    qemb_status st = QEMB_OK;
    qemb_table_desc *tables = bench_alloc(o->tables, sizeof *tables);
    BENCH_TRY(bench_world_module(s->world, BENCH_MEMORYLESS, &s->master, &s->owned));
    s->quantised = bench_alloc(o->tables, sizeof(qemb_buffer *));
    for (int32_t t = 0; t < o->tables; t++) {
        BENCH_TRY(qemb_buffer_create(s->world->ctx, (size_t)(o->rows[t] * o->dim[t]) * sizeof(float), &s->quantised[t]));
        tables[t] = (qemb_table_desc){
            .num_embeddings = o->rows[t], .embedding_dim = o->dim[t], .qconfig = qemb_qconfig_float(), .weight_buffer = s->quantised[t]};
    }
    const qemb_collection_desc desc = {.tables = tables, .num_tables = o->tables, .options = {.mode = o->mode}};
    BENCH_TRY(qemb_embedding_bag_collection_create(s->world->ctx, &desc, &s->bag));
done:
    free(tables);
    return st;
}

static qemb_status forward_open(bench_world *w, bench_form form, void **state) {
    const bench_options *o = w->options;
    qemb_status st = QEMB_OK;
    forward_state *s = bench_alloc(1, sizeof *s);
    *state = s;
    s->world = w;
    s->keeps_state = form == BENCH_PICKED && !o->is_float;
    s->indices = bench_indices_create(o);
    BENCH_TRY(form == BENCH_PIPELINE ? open_pipeline(s) : bench_world_module(w, form, &s->bag, &s->owned));
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
    for (int32_t t = 0; s->quantised && t < s->world->options->tables; t++) {
        qemb_status st = qemb_embedding_bag_fake_quantise(s->master, t, 0, s->world->options->rows[t], s->quantised[t]);
        if (st != QEMB_OK) {
            return st;
        }
    }
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
    work->bytes += s->quantised ? 2.0 * (double)bench_weight_bytes(o) : 0.0;
    work->fbgemm_bytes = 4.0 * (double)o->batch * columns * (double)(o->bag + 1);
}

const bench_operation bench_bag_forward = {
    .name = "forward",
    .summary = "look up a batch: observe, fake-quantise, pool (or gather, with --float)",
    .allowed = BENCH_WITH_PIPELINE,
    .open = forward_open,
    .fresh = forward_fresh,
    .run = forward_run,
    .work = forward_work,
    .close = forward_close,
};
