/* training.c - the parts of a training step that several operations share. */
#include "training.h"

#include <stdlib.h>

#include "ops/bag_forward.h"

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

double bench_training_forward_bytes(const bench_training *s) {
    const bench_options *o = s->world->options;
    const op_bag_forward op = {.T = o->tables,
                               .B = o->batch,
                               .fake_quant = s->keeps_state,
                               .observer = o->observer,
                               .weighted = o->weighted,
                               .i64 = !o->indices_32};
    return op_bag_forward_bytes_of(&op, (double)bench_lookups(o), (double)bench_output_dim(o));
}

double bench_training_update_bytes(const bench_training *s) {
    const bench_options *o = s->world->options;
    double row_numbers = 0.0, element_numbers = 1.0; /* of a distinct row, of each of its elements: the weight itself */
    double floats = 0.0, rows = bench_indices_distinct(s->indices, &floats);
    switch (o->optimizer) {
    case QEMB_SGD:
        break;
    case QEMB_ADAGRAD:
    case QEMB_LARS_SGD:
        element_numbers = 2.0;
        break;
    case QEMB_ROWWISE_ADAGRAD:
        row_numbers = 1.0;
        break;
    case QEMB_PARTIAL_ROWWISE_ADAM:
        row_numbers = 1.0;
        element_numbers = 2.0;
        break;
    case QEMB_SPARSE_ADAM:
    case QEMB_ADAM:
    case QEMB_LAMB:
        element_numbers = 3.0;
        break;
    }
    return 8.0 * (floats * element_numbers + rows * row_numbers) + (s->keeps_state ? 16.0 * rows : 0.0) +
           4.0 * (double)(o->batch * bench_output_dim(o)) +
           (double)bench_lookups(o) * ((o->indices_32 ? 4.0 : 8.0) + (o->weighted ? 4.0 : 0.0));
}
