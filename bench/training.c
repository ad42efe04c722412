/* training.c - the parts of a training step that several operations share. */
#include "training.h"

#include <stdlib.h>

#include "ops/row_update.h"

/* A gradient of the output, small, so that weights stay where they are over thousands of steps. */
static qemb_status fill_gradient(bench_training *s) {
    const int64_t count = (int64_t)(qemb_buffer_bytes(s->grad) / sizeof(float));
    float *values = bench_alloc(count, sizeof *values);
    uint64_t state = s->world->options->seed + 99;
    for (int64_t i = 0; i < count; i++) {
        values[i] = (float)(2e-3 * bench_uniform(&state) - 1e-3);
    }
    qemb_status st = qemb_buffer_write(s->grad, 0, (size_t)count * sizeof *values, values);
    free(values);
    return st;
}

qemb_status bench_training_open(bench_world *w, bench_form form, bool with_optimizer, bench_training **training) {
    const bench_options *o = w->options;
    const size_t bytes = (size_t)(o->batch * bench_output_dim(o)) * sizeof(float);
    const qemb_optimizer_desc desc = {.kind = o->optimizer, .lr = 0.01};
    qemb_status st = QEMB_OK;
    bench_training *s = bench_alloc(1, sizeof *s);
    *training = s;
    s->world = w;
    s->keeps_state = form == BENCH_PICKED && !o->is_float && o->observer != QEMB_OBSERVER_MEMORYLESS;
    s->indices = bench_indices_create(o);
    BENCH_TRY(bench_world_module(w, form, &s->bag, &s->owned));
    BENCH_TRY(qemb_batch_create(w->ctx, &s->batch));
    BENCH_TRY(qemb_buffer_create(w->ctx, bytes, &s->out));
    BENCH_TRY(qemb_buffer_create(w->ctx, bytes, &s->grad));
    BENCH_TRY(fill_gradient(s));
    if (with_optimizer) {
        BENCH_TRY(qemb_optimizer_create(w->ctx, s->bag, &desc, &s->optimizer));
    }
done:
    return st;
}

void bench_training_close(void *training) {
    bench_training *s = training;
    qemb_optimizer_destroy(s->optimizer);
    qemb_buffer_destroy(s->coo_indices);
    qemb_buffer_destroy(s->coo_values);
    qemb_buffer_destroy(s->coo_count);
    qemb_buffer_destroy(s->grad);
    qemb_buffer_destroy(s->out);
    qemb_batch_destroy(s->batch);
    qemb_embedding_bag_destroy(s->owned);
    bench_indices_destroy(s->indices);
    free(s);
}

qemb_status bench_training_set(bench_training *s) {
    qemb_input input;
    bench_indices_next(s->indices);
    bench_indices_input(s->indices, &input);
    return qemb_batch_set(s->batch, s->bag, &input);
}

qemb_status bench_training_forward(bench_training *s) {
    return qemb_embedding_bag_forward(s->bag, s->batch, s->out);
}

static op_bag_forward described(const bench_training *s) {
    const bench_options *o = s->world->options;
    return (op_bag_forward){.T = o->tables,
                            .B = o->batch,
                            .fake_quant = s->keeps_state,
                            .observer = o->observer,
                            .weighted = o->weighted,
                            .i64 = !o->indices_32};
}

double bench_training_forward_bytes(const bench_training *s) {
    const bench_options *o = s->world->options;
    const op_bag_forward op = described(s);
    return op_bag_forward_bytes_of(&op, (double)bench_lookups(o), (double)bench_output_dim(o));
}

double bench_training_backward_bytes(const bench_training *s) {
    const bench_options *o = s->world->options;
    const op_bag_forward op = described(s);
    double floats = 0.0, rows = bench_indices_distinct(s->indices, &floats);
    return op_bag_backward_bytes(&op, (double)bench_lookups(o), (double)bench_output_dim(o), rows, floats);
}

double bench_training_update_bytes(const bench_training *s) {
    const bench_options *o = s->world->options;
    const op_bag_forward op = described(s);
    double floats = 0.0, rows = bench_indices_distinct(s->indices, &floats);
    return op_row_update_bytes(&op, o->optimizer, (double)bench_lookups(o), (double)bench_output_dim(o), rows, floats);
}
