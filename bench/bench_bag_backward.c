/* bench_bag_backward.c - `backward`: the coalesced sparse gradient of every table, behind a forward that is not timed. */
#include "training.h"

static qemb_status backward_open(bench_world *w, bench_form form, void **state) {
    const bench_options *o = w->options;
    bench_training *s = NULL;
    int64_t widest = 1;
    qemb_status st = bench_training_open(w, form, false, &s);
    *state = s;
    if (st != QEMB_OK) {
        return st;
    }
    for (int32_t t = 0; t < o->tables; t++) {
        widest = o->dim[t] > widest ? o->dim[t] : widest;
    }
    BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)bench_lookups(o) * sizeof(int64_t), &s->coo_indices));
    BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)bench_lookups(o) * (size_t)widest * sizeof(float), &s->coo_values));
    BENCH_TRY(qemb_buffer_create(w->ctx, sizeof(int64_t), &s->coo_count));
done:
    return st;
}

static qemb_status backward_fresh(void *state) {
    qemb_status st = QEMB_OK;
    BENCH_TRY(bench_training_set(state));
    BENCH_TRY(bench_training_forward(state));
done:
    return st;
}

static qemb_status backward_run(void *state) {
    bench_training *s = state;
    qemb_status st = QEMB_OK;
    for (int32_t t = 0; t < s->world->options->tables; t++) {
        const qemb_gradients want = {
            .table = t, .coo_indices = s->coo_indices, .coo_values = s->coo_values, .coo_count = s->coo_count, .coalesced = true};
        BENCH_TRY(qemb_embedding_bag_backward(s->bag, s->batch, s->grad, &want));
    }
done:
    return st;
}

static void backward_work(const void *state, bench_work *work) {
    const bench_training *s = state;
    work->items = (double)bench_lookups(s->world->options);
    work->bytes = bench_training_backward_bytes(s);
}

const bench_operation bench_bag_backward = {
    .name = "backward",
    .summary = "the coalesced sparse gradient of every table, behind a forward",
    .allowed = 1u << BENCH_WITH_FLOAT | 1u << BENCH_WITH_MEMORYLESS,
    .open = backward_open,
    .fresh = backward_fresh,
    .run = backward_run,
    .work = backward_work,
    .close = bench_training_close,
};
