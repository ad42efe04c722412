/* bench_bag_forward.c - `forward`: the fused lookup, the float gather, or the pipeline everyone else has, of a fresh batch.
 *
 * The pipeline is what a module does that fake-quantises its weight and then looks up: every table is observed and fake-quantised whole
 * into a second one (in one pass over the rows, stored past the caches: 2 x the table's bytes), and rows are gathered from there.
 * The yardstick is hand-written AVX-512 over the same memory with as many threads; its outputs must be the library's, bit for bit. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "ops/bag_forward.h"
#include "yardstick.h"

typedef struct forward_state {
    bench_world *world;
    qemb_embedding_bag *bag, *owned; /* what is looked up; what is to be destroyed */
    bench_indices *indices;
    qemb_batch *batch;
    qemb_buffer *out;
    qemb_buffer **quantised;    /* pipeline: [T], else NULL */
    qemb_embedding_bag *master; /* pipeline: the module whose tables are fake-quantised */
    bool keeps_state;           /* the picked observer may */
    yardstick *yard;            /* yardstick, else NULL */
    yardstick_work work;
    yardstick_kind kind;
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
    yardstick_destroy(s->yard);
    bench_indices_destroy(s->indices);
    free(s);
}

/* The next ids as both sides take them. */
static qemb_status forward_fresh(void *state) {
    forward_state *s = state;
    qemb_input input;
    bench_indices_next(s->indices);
    bench_indices_input(s->indices, &input);
    if (s->yard) {
        s->work.indices = input.indices;
        s->work.offsets = bench_indices_ends(s->indices);
    }
    return qemb_batch_set(s->batch, s->bag, &input);
}

/* Threads on the tables' own memory, and one batch through both: they must agree. */
static qemb_status open_yardstick(forward_state *s) {
    const bench_options *o = s->world->options;
    qemb_status st = QEMB_OK;
    const size_t bytes = qemb_buffer_bytes(s->out);
    const float *rows = s->world->weight ? bench_host_memory(s->world->ctx, s->world->weight) : NULL;
    float *want = bench_alloc((int64_t)bytes, 1);
    s->kind = o->is_float ? YARDSTICK_FLOAT : YARDSTICK_QAT;
    if (!rows || !yardstick_available((int32_t)o->dim[0]) || !(s->yard = yardstick_create(s->world->report.compute_units))) {
        st = bench_fail(QEMB_ERR_UNSUPPORTED, "the yardstick takes AVX-512, a CPU device, and D = 16, 64, 128 or 256");
        goto done;
    }
    if (!o->is_float && (o->bits != 8 || o->observer != QEMB_OBSERVER_MEMORYLESS || o->arithmetic != QEMB_ARITHMETIC_TORCH_CPU)) {
        st = bench_fail(QEMB_ERR_UNSUPPORTED,
                        "the yardstick fake-quantises to 8 bits with the memoryless observer and torch_cpu arithmetic");
        goto done;
    }
    s->work = (yardstick_work){
        .rows = rows, .num_rows = o->rows[0], .dim = (int32_t)o->dim[0], .bags = o->batch, .out = bench_host_memory(s->world->ctx, s->out)};
    BENCH_TRY(forward_fresh(s));
    BENCH_TRY(qemb_embedding_bag_forward(s->bag, s->batch, s->out));
    BENCH_TRY(qemb_buffer_read(s->out, 0, bytes, want));
    memset(s->work.out, 0xff, bytes);
    yardstick_run(s->yard, s->kind, &s->work);
    if (memcmp(want, s->work.out, bytes) != 0) {
        st = bench_fail(QEMB_ERR_STATE, "the yardstick and the library differ");
    }
done:
    free(want);
    return st;
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
    BENCH_TRY(form == BENCH_YARDSTICK ? open_yardstick(s) : QEMB_OK);
done:
    return st;
}

static qemb_status forward_run(void *state) {
    forward_state *s = state;
    if (s->yard) {
        yardstick_run(s->yard, s->kind, &s->work);
        return QEMB_OK;
    }
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
    .allowed = 1u << BENCH_WITH_FLOAT | 1u << BENCH_WITH_MEMORYLESS | 1u << BENCH_WITH_PIPELINE | 1u << BENCH_WITH_YARDSTICK,
    .open = forward_open,
    .fresh = forward_fresh,
    .run = forward_run,
    .work = forward_work,
    .close = forward_close,
};
