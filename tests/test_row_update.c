/* test_row_update.c - optimisers: engine = engine = PyTorch's and FBGEMM's formulas, bit for bit. */
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
    {QEMB_MODE_SUM, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 0, 0, 1, 0.3},
    {QEMB_MODE_SUM, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 0, 0, 2, 0.3},
};
enum { NUM_FORMS = sizeof forms / sizeof *forms };

Test(row_update, random_cases,
     .description = "row_update: every optimiser with every term it has, random cases, every engine gives the bits of the model") {
    const char *nightly = getenv("QEMB_NIGHTLY");
    const int64_t variants = nightly && *nightly ? 120 : 6;
    bag_pocl_devices();
    qemb_context *ref = bag_context(&reference);
    qemb_context *ctx[NUM_ENGINES];
    for (int e = 0; e < NUM_ENGINES; e++) {
        ctx[e] = bag_context(&engines[e]);
    }
    for (int64_t kind = 0; kind < OP_OPTIMIZERS; kind++) {
        for (int64_t variant = 0; variant < variants; variant++) {
            op_row_update op = train_random(&forms[kind % NUM_FORMS], (uint64_t)(kind * 1000 + variant));
            op.backward.want = 0;
            op.backward.forward.steps = 4;
            train_optimizer(&op, kind, variant);
            train_result want = train_model(&op);
            train_result plain = train_run_in(ref, &op);
            train_expect_same(&op, "reference against the model", &plain, &want, 0.0);
            for (int e = 0; e < NUM_ENGINES; e++) {
                if (e != 1 || kind == QEMB_SGD || kind == QEMB_LAMB) {
                    train_result got = train_run_in(ctx[e], &op);
                    train_expect_same(&op, engines[e].label, &got, &want, OP_ROW_UPDATE_TOLERANCE);
                    train_result_free(&got);
                }
            }
            train_result_free(&want);
            train_result_free(&plain);
        }
    }
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context_destroy(ctx[e]);
    }
    qemb_context_destroy(ref);
}

Test(row_update, one_case, .description = "row_update: the case that QEMB_CASE names, every engine gives the bits of the model") {
    const op_row_update op = train_case_from_environment();
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
