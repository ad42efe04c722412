/* test_bag_backward.c - gradients of rows and of per-sample weights: engine = engine = a model of whole tables, bit for bit. */
#include <criterion/criterion.h>

#include "support_train.h"

static const bag_engine reference = {"reference", "reference", NULL, NULL, NULL};
static const bag_engine engines[] = {
    {"PoCL pthread", "pthread", NULL, NULL, NULL},
    {"PoCL basic", "basic", NULL, NULL, NULL},
    {"PoCL pthread, GPU kernels", "pthread", "gpu", NULL, NULL},
};
enum { NUM_ENGINES = sizeof engines / sizeof *engines };

/* mode, weighted, arithmetic, observer, fake quantisation, freq, int64, events, widths, constant */
static const train_form forms[] = {
    {QEMB_MODE_SUM, 1, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 0, 1, 1, 0.3},
    {QEMB_MODE_MEAN, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 1, 1, 0, 3, 1.0},
    {QEMB_MODE_MAX, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MIN_MAX, 1, 0, 0, 0, 0, 1.0},
    {OP_MODE_NONE, 0, QEMB_ARITHMETIC_TORCH_CUDA, QEMB_OBSERVER_MEMORYLESS, 1, 0, 1, 1, 2, 1.0},
    {QEMB_MODE_MEAN, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MEMORYLESS, 0, 0, 0, 0, 4, 1.0},
};
enum { NUM_FORMS = sizeof forms / sizeof *forms };

/* Compiling takes most of the time: the first engine runs every form, the others enough of them to meet each mode. */
static bool runs_on(int engine, int form) {
    static const bool some[NUM_ENGINES][NUM_FORMS] = {{1, 1, 1, 1, 1}, {0, 0, 1, 0, 0}, {1, 1, 1, 0, 1}};
    return some[engine][form];
}

static void run_everywhere(const op_row_update *op, qemb_context *ref, qemb_context *const *ctx, int form) {
    train_result want = train_model(op);
    train_result plain = train_run_in(ref, op);
    train_expect_same(op, "reference against the model", &plain, &want, 0.0);
    for (int e = 0; e < NUM_ENGINES; e++) {
        if (runs_on(e, form)) {
            train_result got = train_run_in(ctx[e], op);
            train_expect_same(op, engines[e].label, &got, &want, OP_BAG_BACKWARD_TOLERANCE);
            train_result_free(&got);
        }
    }
    train_result_free(&want);
    train_result_free(&plain);
}

Test(bag_backward, random_cases,
     .description = "bag_backward: random cases, dense, COO, coalesced and of the weights, every engine gives the bits of the model") {
    enum { CASES = 12 };
    const char *nightly = getenv("QEMB_NIGHTLY");
    const int cases = nightly && *nightly ? 40 * CASES : CASES;
    bag_pocl_devices();
    qemb_context *ref = bag_context(&reference);
    qemb_context *ctx[NUM_ENGINES];
    for (int e = 0; e < NUM_ENGINES; e++) {
        ctx[e] = bag_context(&engines[e]);
    }
    for (int k = 0; k < NUM_FORMS * cases; k++) {
        const op_row_update op = train_random(&forms[k % NUM_FORMS], (uint64_t)k * 31u + 11u);
        run_everywhere(&op, ref, ctx, k % NUM_FORMS);
    }
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context_destroy(ctx[e]);
    }
    qemb_context_destroy(ref);
}

Test(bag_backward, one_case,
     .description =
         "bag_backward: the case that QEMB_CASE names, or else one of the random ones, every engine gives the bits of the model") {
    const op_row_update op = train_case_from_environment(train_random(&forms[0], 11));
    bag_pocl_devices();
    train_result want = train_model(&op);
    train_result plain = train_run(&reference, &op);
    train_expect_same(&op, "reference against the model", &plain, &want, 0.0);
    for (int e = 0; e < NUM_ENGINES; e++) {
        train_result got = train_run(&engines[e], &op);
        train_expect_same(&op, engines[e].label, &got, &want, 0.0);
        train_result_free(&got);
    }
    train_result_free(&want);
    train_result_free(&plain);
}
