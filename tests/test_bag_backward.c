/* test_bag_backward.c - gradients of rows and of per-sample weights: engine = engine = a model of whole tables, bit for bit. */
#include <criterion/criterion.h>

#include "support_train.h"

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
static const unsigned engines_of[NUM_FORMS] = {1 << BAG_PTHREAD | 1 << BAG_GPU, 1 << BAG_PTHREAD | 1 << BAG_GPU, BAG_EVERYWHERE,
                                               1 << BAG_PTHREAD, 1 << BAG_PTHREAD | 1 << BAG_GPU};

Test(bag_backward, random_cases,
     .description = "bag_backward: random cases, dense, COO, coalesced and of the weights, every engine gives the bits of the model") {
    enum { CASES = 12 };
    const char *nightly = getenv("QEMB_NIGHTLY");
    const int cases = nightly && *nightly ? 40 * CASES : CASES;
    bag_pocl_devices();
    for (int k = 0; k < NUM_FORMS * cases; k++) {
        const op_row_update op = train_random(&forms[k % NUM_FORMS], (uint64_t)k * 31u + 11u);
        train_check(&op, engines_of[k % NUM_FORMS], OP_BAG_BACKWARD_TOLERANCE);
    }
}

Test(bag_backward, one_case,
     .description =
         "bag_backward: the case that QEMB_CASE names, or else one of the random ones, every engine gives the bits of the model") {
    const op_row_update op = train_case_from_environment(train_random(&forms[0], 11));
    bag_pocl_devices();
    train_check(&op, BAG_EVERYWHERE, 0.0);
}
