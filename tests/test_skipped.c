/* test_skipped.c - lookups outside their table that QEMB_SKIP passes over have no gradient; and packed arithmetic that is switched off is none. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>

#include <string.h>

#include "support_ok.h"

#define SIZE(array) (sizeof(array) / sizeof *(array))
enum { E = 11, D = 5, N = 7, B = 3 };

static const int64_t ids[N] = {1, -1, 7, E, 7, 2, 10}, offsets[B] = {0, 2, 4};
static const float ones[N] = {1, 1, 1, 1, 1, 1, 1};

typedef struct things {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *out, *grad, *dense, *indices, *values, *count, *weights;
} things;

static void each_buffer(things *t, bool open) {
    qemb_buffer **const all[] = {&t->out, &t->grad, &t->dense, &t->indices, &t->values, &t->count, &t->weights};
    for (size_t i = 0; i < SIZE(all); i++) {
        if (open) {
            OK(qemb_buffer_create(t->ctx, 512, all[i]));
        } else {
            qemb_buffer_destroy(*all[i]);
        }
    }
}

/* A forward of the ids above. */
static void open_things(things *t, bool by_freq, qemb_arithmetic arithmetic) {
    qemb_qconfig qconfig = qemb_qconfig_8bit();
    qconfig.arithmetic = arithmetic;
    qconfig.quant_max = arithmetic == QEMB_ARITHMETIC_PACKED ? 255 : qconfig.quant_max;
    qconfig.observer = arithmetic == QEMB_ARITHMETIC_PACKED ? QEMB_OBSERVER_MEMORYLESS : qconfig.observer;
    const qemb_embedding_bag_desc desc = {
        .num_embeddings = E, .embedding_dim = D, .mode = QEMB_MODE_SUM, .scale_grad_by_freq = by_freq, .qconfig = qconfig, .seed = 7};
    const qemb_input in = {.indices = ids,
                           .num_indices = N,
                           .indices_dtype = QEMB_INT64,
                           .offsets = offsets,
                           .num_offsets = B,
                           .per_sample_weights = ones,
                           .num_per_sample_weights = N,
                           .check = QEMB_SKIP};
    OK(qemb_context_create("reference", &t->ctx));
    OK(qemb_embedding_bag_create(t->ctx, &desc, &t->bag));
    OK(qemb_batch_create(t->ctx, &t->batch));
    each_buffer(t, true);
    OK(qemb_batch_set(t->batch, t->bag, &in));
}

static void close_things(things *t) {
    each_buffer(t, false);
    qemb_batch_destroy(t->batch);
    qemb_embedding_bag_destroy(t->bag);
    qemb_context_destroy(t->ctx);
}

Test(skipped, gradients, .description = "backward: lookups that are skipped have no gradient, in any form") {
    for (int by_freq = 0; by_freq < 2; by_freq++) {
        things t = {0};
        float rows[E * D], grad[B * D], weights[N];
        int64_t found = 0;
        open_things(&t, by_freq == 1, QEMB_ARITHMETIC_TORCH_CPU);
        for (int i = 0; i < B * D; i++) {
            grad[i] = 1.0f;
        }
        OK(qemb_embedding_bag_forward(t.bag, t.batch, t.out));
        OK(qemb_buffer_write(t.grad, 0, sizeof grad, grad));
        qemb_gradients want = {.dense = t.dense, .per_sample_weights = t.weights};
        if (by_freq == 0) {
            want = (qemb_gradients){
                .dense = t.dense, .coo_indices = t.indices, .coo_values = t.values, .coo_count = t.count, .per_sample_weights = t.weights};
        }
        OK(qemb_embedding_bag_backward(t.bag, t.batch, t.grad, &want));
        OK(qemb_buffer_read(t.dense, 0, sizeof rows, rows));
        OK(qemb_buffer_read(t.weights, 0, sizeof weights, weights));
        cr_expect(rows[0] == 0.0f && rows[1 * D] == 1.0f, "%g, %g", (double)rows[0], (double)rows[D]);
        cr_expect_eq(rows[7 * D], by_freq ? 1.0f : 2.0f);
        cr_expect(weights[1] == 0.0f && weights[3] == 0.0f && weights[0] != 0.0f);
        if (by_freq == 0) {
            OK(qemb_buffer_read(t.count, 0, sizeof found, &found));
            cr_expect_eq(found, N - 2, "%lld", (long long)found);
        }
        close_things(&t);
    }
}

Test(skipped, switched_off, .description = "forward: in each arithmetic, without fake quantisation the weights themselves are added") {
    static const qemb_arithmetic all[] = {QEMB_ARITHMETIC_TORCH_CPU, QEMB_ARITHMETIC_TORCH_CUDA, QEMB_ARITHMETIC_PACKED};
    for (size_t k = 0; k < SIZE(all); k++) {
        things t = {0};
        float weight[E * D], got[B * D];
        open_things(&t, false, all[k]);
        OK(qemb_embedding_bag_read_weight(t.bag, 0, 0, E, weight));
        OK(qemb_embedding_bag_set_fake_quant(t.bag, 0, false));
        OK(qemb_embedding_bag_forward(t.bag, t.batch, t.out));
        OK(qemb_buffer_read(t.out, 0, sizeof got, got));
        cr_expect_arr_eq(got, weight + D, D * sizeof *got, "the first bag has one row");
        close_things(&t);
    }
}

Test(skipped, switched_on,
     .description = "set_progress: a table that kept no state because all of it was off gets it when its observer is on again") {
    const qemb_table_progress wanted[] = {{.eps = 1.0f, .observer_on = true}, {.eps = 1.0f, .observer_on = false}};
    for (size_t k = 0; k < SIZE(wanted); k++) {
        qemb_context *ctx = NULL;
        qemb_embedding_bag *bag = NULL;
        qemb_table_progress got;
        qemb_qconfig qconfig = qemb_qconfig_8bit();
        qconfig.observer = QEMB_OBSERVER_MIN_MAX;
        qconfig.observer_off = qconfig.fake_quant_off = true;
        OK(qemb_context_create("reference", &ctx));
        OK(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .qconfig = qconfig}, &bag));
        OK(qemb_embedding_bag_set_progress(bag, 0, &wanted[k]));
        OK(qemb_embedding_bag_get_progress(bag, 0, &got));
        cr_expect(got.observer_on == wanted[k].observer_on && !got.fake_quant_on && got.observations == 0);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}
