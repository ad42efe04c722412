/* bench_row_observe.c - `observe`: the one pass over the tables, which brings the stored observer state of every row up to date. */
#include "bench.h"

#include <stdlib.h>

typedef struct observe_state {
    bench_world *world;
    qemb_embedding_bag *bag, *owned;
    bench_indices *indices;
    qemb_batch *batch;
    qemb_buffer *out;
} observe_state;

static void observe_close(void *state) {
    observe_state *s = state;
    qemb_buffer_destroy(s->out);
    qemb_batch_destroy(s->batch);
    qemb_embedding_bag_destroy(s->owned);
    bench_indices_destroy(s->indices);
    free(s);
}

static qemb_status observe_open(bench_world *w, bench_form form, void **state) {
    const bench_options *o = w->options;
    qemb_status st = QEMB_OK;
    if (o->is_float || o->observer == QEMB_OBSERVER_MEMORYLESS) {
        return bench_fail(QEMB_ERR_ARG, "observe: a memoryless table keeps no state; add --observer moving_average or min_max");
    }
    observe_state *s = bench_alloc(1, sizeof *s);
    *state = s;
    s->world = w;
    s->indices = bench_indices_create(o);
    BENCH_TRY(bench_world_module(w, form, &s->bag, &s->owned));
    BENCH_TRY(qemb_batch_create(w->ctx, &s->batch));
    BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)(o->batch * bench_output_dim(o)) * sizeof(float), &s->out));
done:
    return st;
}

/* A forward makes an observation, so that there is one to bring up to date. */
static qemb_status observe_fresh(void *state) {
    observe_state *s = state;
    qemb_input input;
    qemb_status st = QEMB_OK;
    bench_indices_next(s->indices);
    bench_indices_input(s->indices, &input);
    BENCH_TRY(qemb_batch_set(s->batch, s->bag, &input));
    BENCH_TRY(qemb_embedding_bag_forward(s->bag, s->batch, s->out));
done:
    return st;
}

static qemb_status observe_run(void *state) {
    observe_state *s = state;
    return qemb_embedding_bag_observe_all(s->bag);
}

/* Every row is read, and its 16 bytes of state are read and written. */
static void observe_work(const void *state, bench_work *work) {
    const observe_state *s = state;
    const bench_options *o = s->world->options;
    for (int32_t t = 0; t < o->tables; t++) {
        work->items += (double)o->rows[t];
    }
    work->bytes = (double)bench_weight_bytes(o) + 32.0 * work->items;
}

const bench_operation bench_row_observe = {
    .name = "observe",
    .summary = "bring the observer state of all rows up to date (--observer not memoryless)",
    .allowed = 0,
    .open = observe_open,
    .fresh = observe_fresh,
    .run = observe_run,
    .work = observe_work,
    .close = observe_close,
};
