/* bench_row_update.c - `update`: gradient and optimiser of the rows of a batch, behind a forward that is not timed; `step`: a whole
 * training step, forward, sort, backward and update. */
#include "training.h"

static qemb_status update_open(bench_world *w, bench_form form, void **state) {
    bench_training *s = NULL;
    qemb_status st = bench_training_open(w, form, true, &s);
    *state = s;
    return st;
}

static qemb_status update_fresh(void *state) {
    return bench_training_set(state);
}

/* A step wants a forward of its own, also when the batch is repeated. */
static qemb_status update_ready(void *state) {
    return bench_training_forward(state);
}

static qemb_status update_run(void *state) {
    bench_training *s = state;
    return qemb_embedding_bag_step(s->bag, s->batch, s->grad, s->optimizer);
}

static qemb_status step_run(void *state) {
    qemb_status st = QEMB_OK;
    BENCH_TRY(bench_training_forward(state));
    BENCH_TRY(update_run(state));
done:
    return st;
}

static void update_work(const void *state, bench_work *work) {
    const bench_training *s = state;
    const bench_options *o = s->world->options;
    work->items = (double)bench_lookups(o);
    work->bytes = bench_training_update_bytes(s);
    work->fbgemm_bytes = 2.0 * 4.0 * (double)o->batch * (double)bench_output_dim(o) * (double)(o->bag + 1);
}

static void step_work(const void *state, bench_work *work) {
    update_work(state, work);
    work->bytes += bench_training_forward_bytes(state);
    work->fbgemm_bytes *= 1.5;
}

const bench_operation bench_row_update = {
    .name = "update",
    .summary = "gradient and optimiser of a batch's rows, behind a forward (--optimizer)",
    .allowed = 1u << BENCH_WITH_FLOAT | 1u << BENCH_WITH_MEMORYLESS,
    .open = update_open,
    .fresh = update_fresh,
    .ready = update_ready,
    .run = update_run,
    .work = update_work,
    .close = bench_training_close,
};

const bench_operation bench_step = {
    .name = "step",
    .summary = "a training step: forward, sort, backward and update (--optimizer)",
    .allowed = 1u << BENCH_WITH_FLOAT | 1u << BENCH_WITH_MEMORYLESS,
    .open = update_open,
    .fresh = update_fresh,
    .run = step_run,
    .work = step_work,
    .close = bench_training_close,
};
