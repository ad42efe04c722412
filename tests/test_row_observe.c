/* test_row_observe.c - the observer: state derived when it is asked for equals that of a module which observes every row every forward. */
#include <criterion/criterion.h>

#include "ops/row_observe.h"
#include "support_bag.h"
#include "support_ok.h"

Test(row_observe, long_scripts,
     .description =
         "row_observe: forty steps of switches and rewritten rows, the statistics of a module that observes all rows every step") {
    static const struct {
        int64_t observer;
        double c;
    } kinds[] = {{QEMB_OBSERVER_MOVING_AVERAGE, 1.0},
                 {QEMB_OBSERVER_MOVING_AVERAGE, 0.01},
                 {QEMB_OBSERVER_MOVING_AVERAGE, 0.9},
                 {QEMB_OBSERVER_MIN_MAX, 1.0},
                 {QEMB_OBSERVER_MEMORYLESS, 1.0}};
    for (int k = 0; k < 15; k++) {
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        op.observer = kinds[k % 5].observer;
        op.c = kinds[k % 5].c;
        op.T = 2;
        op.vary = 1;
        op.E = 13;
        op.D = 9;
        op.B = 3;
        op.L = 2;
        op.steps = 40;
        op.events = 1;
        op.kind = k / 5;
        op.seed = 4000 + k;
        bag_check(&op, 1 << BAG_PTHREAD | 1 << BAG_GPU, 0.0);
    }
}

/* One row that becomes `next` after the first forward; its min, max after the second, and the counters. */
static void second_observation(const bag_engine *engine, const float first[2], const float next[2], float range[2],
                               qemb_counters *counters) {
    static const int32_t id = 0;
    qemb_context *ctx = bag_context(engine);
    qemb_embedding *embedding = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    OK(qemb_embedding_create(
        ctx, &(qemb_embedding_desc){.num_embeddings = 1, .embedding_dim = 2, .qconfig = qemb_qconfig_8bit(), .weight = first}, &embedding));
    qemb_embedding_bag *bag = qemb_embedding_as_bag(embedding);
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, 2 * sizeof(float), &out));
    OK(qemb_batch_set(batch, bag, &(qemb_input){.indices = &id, .num_indices = 1, .indices_dtype = QEMB_INT32}));
    OK(qemb_embedding_forward(embedding, batch, out));
    OK(qemb_embedding_bag_write_weight(bag, 0, 0, 1, next));
    OK(qemb_embedding_forward(embedding, batch, out));
    OK(qemb_embedding_bag_observe_all(bag));
    OK(qemb_embedding_bag_read_observer(bag, 0, 0, 1, &(qemb_observer_rows){.min_val = &range[0], .max_val = &range[1]}));
    OK(qemb_context_counters(ctx, counters));
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_destroy(embedding);
    qemb_context_destroy(ctx);
}

Test(row_observe, torch_examples,
     .description =
         "row_observe: PyTorch's two examples of a moving average by constant 1, the rounded state, and the repair that torch lacks") {
    for (int e = 0; e < BAG_FAMILIES; e++) {
        float range[2];
        qemb_counters counters;
        second_observation(&bag_families[e], (const float[]){1e8f, 2e8f}, (const float[]){1.0f, 3.0f}, range, &counters);
        cr_assert(range[0] == 0.0f && range[1] == 0.0f, "%s: %g %g", bag_families[e].label, (double)range[0], (double)range[1]);
        cr_assert_eq(counters.repaired_rows, 0);
        second_observation(&bag_families[e], (const float[]){1.7640524f, 2.2782993f}, (const float[]){-0.023357805f, -0.023357805f}, range,
                           &counters);
        cr_assert(range[0] == -0.023357805f && range[1] == -0.023357805f, "%s: %.9g %.9g", bag_families[e].label, (double)range[0],
                  (double)range[1]);
        cr_assert_eq(counters.repaired_rows, 1, "%lld", (long long)counters.repaired_rows);
        second_observation(&bag_families[e], (const float[]){1.0f, 2.0f}, (const float[]){1.0f, NAN}, range, &counters);
        cr_assert(isnan(range[0]) && isnan(range[1]));
        cr_assert_eq(counters.nonfinite_rows, 1, "%lld", (long long)counters.nonfinite_rows);
    }
}

Test(row_observe, many_missed_steps,
     .description = "row_observe: ten thousand forwards that look up one row, the others reach the fixed point, the same as by hand") {
    enum { STEPS = 10000 };
    for (int e = 0; e < BAG_FAMILIES; e++) {
        static const int32_t id = 1;
        qemb_context *ctx = bag_context(&bag_families[e]);
        qemb_embedding_bag *bag = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        float weight[4] = {0.0f, 1.0f, 3.0f, 4.0f};
        const float next[2] = {-2.0f, 0.3f};
        float low = 0.0f;
        float high = 1.0f;
        float got[2];
        qemb_qconfig q = qemb_qconfig_8bit();
        q.averaging_constant = 0.001f;
        OK(qemb_embedding_bag_create(
            ctx, &(qemb_embedding_bag_desc){.num_embeddings = 2, .embedding_dim = 2, .qconfig = q, .weight = weight}, &bag));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, 2 * sizeof(float), &out));
        OK(qemb_batch_set(batch, bag, &(qemb_input){.indices = &id, .num_indices = 1, .indices_dtype = QEMB_INT32, .columns = 1}));
        OK(qemb_embedding_bag_forward(bag, batch, out));
        OK(qemb_embedding_bag_write_weight(bag, 0, 0, 1, next));
        for (int step = 1; step < STEPS; step++) {
            OK(qemb_embedding_bag_forward(bag, batch, out));
            const float down = 0.001f * (next[0] - low);
            const float up = 0.001f * (next[1] - high);
            low = low + down;
            high = high + up;
        }
        OK(qemb_embedding_bag_read_observer(bag, 0, 0, 1, &(qemb_observer_rows){.min_val = &got[0], .max_val = &got[1]}));
        cr_assert(got[0] == low && got[1] == high, "%s: %a %a, want %a %a", bag_families[e].label, (double)got[0], (double)got[1],
                  (double)low, (double)high);
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}

Test(row_observe, state_in_and_out,
     .description = "row_observe: a state read from one module and written to another, the same outputs from there on") {
    for (int e = 0; e < BAG_FAMILIES; e++) {
        enum { ROWS = 17, DIM = 6 };
        static const int32_t ids[] = {3, 16, 3, 0};
        qemb_context *ctx = bag_context(&bag_families[e]);
        qemb_embedding_bag *bag[2] = {NULL, NULL};
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        float low[ROWS];
        float high[ROWS];
        float weight[ROWS * DIM];
        float got[2][2 * DIM];
        qemb_qconfig q = qemb_qconfig_4bit();
        q.averaging_constant = 0.25f;
        const qemb_input input = {.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT32, .columns = 2};
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, sizeof got[0], &out));
        OK(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = q, .seed = 1},
                                     &bag[0]));
        OK(qemb_batch_set(batch, bag[0], &input));
        OK(qemb_embedding_bag_forward(bag[0], batch, out));
        OK(qemb_embedding_bag_read_weight(bag[0], 0, 0, ROWS, weight));
        for (int i = 0; i < ROWS * DIM; i++) {
            weight[i] = 1.5f - 0.7f * weight[i];
        }
        OK(qemb_embedding_bag_write_weight(bag[0], 0, 0, ROWS, weight));
        OK(qemb_embedding_bag_read_observer(bag[0], 0, 0, ROWS, &(qemb_observer_rows){.min_val = low, .max_val = high}));
        OK(qemb_embedding_bag_create(
            ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = q, .weight = weight}, &bag[1]));
        OK(qemb_embedding_bag_write_observer(bag[1], 0, 0, ROWS, low, high));
        for (int k = 0; k < 2; k++) {
            OK(qemb_batch_set(batch, bag[k], &input));
            OK(qemb_embedding_bag_forward(bag[k], batch, out));
            OK(qemb_buffer_read(out, 0, sizeof got[k], got[k]));
        }
        cr_assert_arr_eq(got[0], got[1], sizeof got[0], "%s", bag_families[e].label);
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag[0]);
        qemb_embedding_bag_destroy(bag[1]);
        qemb_context_destroy(ctx);
    }
}
