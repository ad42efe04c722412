/* test_row_observe.c - the observer: state derived when it is asked for equals that of a module which observes every row every forward. */
#include <criterion/criterion.h>

#include "ops/row_observe.h"
#include "support_bag.h"

static const bag_engine engines[] = {
    {"reference", "reference", NULL, NULL, NULL},
    {"PoCL pthread", "pthread", NULL, NULL, NULL},
    {"PoCL pthread, GPU kernels", "pthread", "gpu", NULL, NULL},
};
enum { NUM_ENGINES = sizeof engines / sizeof *engines };

static void ok(qemb_status st) {
    cr_assert_eq(st, QEMB_OK, "%s: %s", qemb_status_name(st), qemb_last_error());
}

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
    ok(qemb_embedding_create(
        ctx, &(qemb_embedding_desc){.num_embeddings = 1, .embedding_dim = 2, .qconfig = qemb_qconfig_8bit(), .weight = first}, &embedding));
    qemb_embedding_bag *bag = qemb_embedding_as_bag(embedding);
    ok(qemb_batch_create(ctx, &batch));
    ok(qemb_buffer_create(ctx, 2 * sizeof(float), &out));
    ok(qemb_batch_set(batch, bag, &(qemb_input){.indices = &id, .num_indices = 1, .indices_dtype = QEMB_INT32}));
    ok(qemb_embedding_forward(embedding, batch, out));
    ok(qemb_embedding_bag_write_weight(bag, 0, 0, 1, next));
    ok(qemb_embedding_forward(embedding, batch, out));
    ok(qemb_embedding_bag_observe_all(bag));
    ok(qemb_embedding_bag_read_observer(bag, 0, 0, 1, &(qemb_observer_rows){.min_val = &range[0], .max_val = &range[1]}));
    ok(qemb_context_counters(ctx, counters));
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_destroy(embedding);
    qemb_context_destroy(ctx);
}

Test(row_observe, torch_examples,
     .description =
         "row_observe: PyTorch's two examples of a moving average by constant 1, the rounded state, and the repair that torch lacks") {
    for (int e = 0; e < NUM_ENGINES; e++) {
        float range[2];
        qemb_counters counters;
        second_observation(&engines[e], (const float[]){1e8f, 2e8f}, (const float[]){1.0f, 3.0f}, range, &counters);
        cr_assert(range[0] == 0.0f && range[1] == 0.0f, "%s: %g %g", engines[e].label, (double)range[0], (double)range[1]);
        cr_assert_eq(counters.repaired_rows, 0);
        second_observation(&engines[e], (const float[]){1.7640524f, 2.2782993f}, (const float[]){-0.023357805f, -0.023357805f}, range,
                           &counters);
        cr_assert(range[0] == -0.023357805f && range[1] == -0.023357805f, "%s: %.9g %.9g", engines[e].label, (double)range[0],
                  (double)range[1]);
        cr_assert_eq(counters.repaired_rows, 1, "%lld", (long long)counters.repaired_rows);
        second_observation(&engines[e], (const float[]){1.0f, 2.0f}, (const float[]){1.0f, NAN}, range, &counters);
        cr_assert(isnan(range[0]) && isnan(range[1]));
        cr_assert_eq(counters.nonfinite_rows, 1, "%lld", (long long)counters.nonfinite_rows);
    }
}

Test(row_observe, many_missed_steps,
     .description = "row_observe: ten thousand forwards that look up one row, the others reach the fixed point, the same as by hand") {
    enum { STEPS = 10000 };
    for (int e = 0; e < NUM_ENGINES; e++) {
        static const int32_t id = 1;
        qemb_context *ctx = bag_context(&engines[e]);
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
        ok(qemb_embedding_bag_create(
            ctx, &(qemb_embedding_bag_desc){.num_embeddings = 2, .embedding_dim = 2, .qconfig = q, .weight = weight}, &bag));
        ok(qemb_batch_create(ctx, &batch));
        ok(qemb_buffer_create(ctx, 2 * sizeof(float), &out));
        ok(qemb_batch_set(batch, bag, &(qemb_input){.indices = &id, .num_indices = 1, .indices_dtype = QEMB_INT32, .columns = 1}));
        ok(qemb_embedding_bag_forward(bag, batch, out));
        ok(qemb_embedding_bag_write_weight(bag, 0, 0, 1, next));
        for (int step = 1; step < STEPS; step++) {
            ok(qemb_embedding_bag_forward(bag, batch, out));
            const float down = 0.001f * (next[0] - low);
            const float up = 0.001f * (next[1] - high);
            low = low + down;
            high = high + up;
        }
        ok(qemb_embedding_bag_read_observer(bag, 0, 0, 1, &(qemb_observer_rows){.min_val = &got[0], .max_val = &got[1]}));
        cr_assert(got[0] == low && got[1] == high, "%s: %a %a, want %a %a", engines[e].label, (double)got[0], (double)got[1], (double)low,
                  (double)high);
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}

Test(row_observe, state_in_and_out,
     .description = "row_observe: a state read from one module and written to another, the same outputs from there on") {
    for (int e = 0; e < NUM_ENGINES; e++) {
        enum { ROWS = 17, DIM = 6 };
        static const int32_t ids[] = {3, 16, 3, 0};
        qemb_context *ctx = bag_context(&engines[e]);
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
        ok(qemb_batch_create(ctx, &batch));
        ok(qemb_buffer_create(ctx, sizeof got[0], &out));
        ok(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = q, .seed = 1},
                                     &bag[0]));
        ok(qemb_batch_set(batch, bag[0], &input));
        ok(qemb_embedding_bag_forward(bag[0], batch, out));
        ok(qemb_embedding_bag_read_weight(bag[0], 0, 0, ROWS, weight));
        for (int i = 0; i < ROWS * DIM; i++) {
            weight[i] = 1.5f - 0.7f * weight[i];
        }
        ok(qemb_embedding_bag_write_weight(bag[0], 0, 0, ROWS, weight));
        ok(qemb_embedding_bag_read_observer(bag[0], 0, 0, ROWS, &(qemb_observer_rows){.min_val = low, .max_val = high}));
        ok(qemb_embedding_bag_create(
            ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = q, .weight = weight}, &bag[1]));
        ok(qemb_embedding_bag_write_observer(bag[1], 0, 0, ROWS, low, high));
        for (int k = 0; k < 2; k++) {
            ok(qemb_batch_set(batch, bag[k], &input));
            ok(qemb_embedding_bag_forward(bag[k], batch, out));
            ok(qemb_buffer_read(out, 0, sizeof got[k], got[k]));
        }
        cr_assert_arr_eq(got[0], got[1], sizeof got[0], "%s", engines[e].label);
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag[0]);
        qemb_embedding_bag_destroy(bag[1]);
        qemb_context_destroy(ctx);
    }
}
