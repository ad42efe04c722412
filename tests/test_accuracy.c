/* test_accuracy.c - how far results are from the exact ones, which long double gives: sums of bags within (n - 1) roundings of the sum of
 * magnitudes, looked-up values within one unit in the last place of their formula. */
#include <criterion/criterion.h>

#include <float.h>
#include <math.h>

#include <qemb/qemb.h>

#include "ops/bag_forward.h"
#include "scoreboard.h"

enum { ROWS = 503, DIM = 17, BAGS = 61, LOOKUPS = 6007 };

typedef struct data {
    float weight[ROWS * DIM], out[BAGS * DIM];
    int64_t ids[LOOKUPS], offsets[BAGS];
} data;

static void fill(data *d) {
    uint64_t state = 20;
    for (int i = 0; i < ROWS * DIM; i++) {
        d->weight[i] = ldexpf(2.0f * op_uniform(&state) - 1.0f, (int)op_below(&state, 21) - 10); /* magnitudes that cancel badly */
    }
    for (int i = 0; i < LOOKUPS; i++) {
        d->ids[i] = (int64_t)op_below(&state, ROWS);
    }
    for (int b = 0; b < BAGS; b++) {
        d->offsets[b] = (int64_t)b * b * LOOKUPS / ((int64_t)BAGS * BAGS); /* bags of 0 to 196 lookups */
    }
}

static void forward(const char *device, data *d, qemb_qconfig qconfig) {
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    const qemb_embedding_bag_desc desc = {
        .num_embeddings = ROWS, .embedding_dim = DIM, .weight = d->weight, .mode = QEMB_MODE_SUM, .qconfig = qconfig};
    const qemb_input input = {
        .indices = d->ids, .num_indices = LOOKUPS, .indices_dtype = QEMB_INT64, .offsets = d->offsets, .num_offsets = BAGS};
    cr_assert_eq(qemb_context_create(device, &ctx), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_embedding_bag_create(ctx, &desc, &bag), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_batch_create(ctx, &batch), QEMB_OK);
    cr_assert_eq(qemb_buffer_create(ctx, sizeof d->out, &out), QEMB_OK);
    cr_assert_eq(qemb_batch_set(batch, bag, &input), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_embedding_bag_forward(bag, batch, out), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_buffer_read(out, 0, sizeof d->out, d->out), QEMB_OK);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

/* The worst error of the sums as a share of its bound. */
static double worst_sum(const data *d) {
    double worst = 0;
    for (int b = 0; b < BAGS; b++) {
        int64_t end = b + 1 < BAGS ? d->offsets[b + 1] : LOOKUPS;
        for (int c = 0; c < DIM; c++) {
            long double exact = 0, size = 0;
            for (int64_t i = d->offsets[b]; i < end; i++) {
                exact += (long double)d->weight[d->ids[i] * DIM + c];
                size += fabsl((long double)d->weight[d->ids[i] * DIM + c]);
            }
            long double n = (long double)(end - d->offsets[b]), error = fabsl((long double)d->out[b * DIM + c] - exact);
            long double bound = n > 1 ? (n - 1) * 0x1p-24L * size : 0;
            cr_assert(error <= bound, "bag %d column %d: error %Lg, bound %Lg", b, c, error, bound);
            worst = bound > 0 && (double)(error / bound) > worst ? (double)(error / bound) : worst;
        }
    }
    return worst;
}

static void sums(const char *device) {
    static data d;
    fill(&d);
    forward(device, &d, qemb_qconfig_float());
    double worst = worst_sum(&d);
    cr_assert(worst > 0, "nothing was rounded: the data test nothing");
    scoreboard("R14", true, device, "%d sums, worst %.3f of (n - 1) eps sum|x|", BAGS * DIM, worst);
}

Test(accuracy, sums_of_the_reference_engine_stay_within_their_bound) {
    sums("reference");
}

Test(accuracy, sums_of_the_device_stay_within_their_bound) {
    sums("opencl");
}

/* (q - z) * s with the row's s and z as the exact operands, against what a bag of one lookup gives. */
Test(accuracy, looked_up_values_are_within_one_unit_of_their_formula) {
    static data d;
    double worst = 0;
    fill(&d);
    for (int b = 0; b < BAGS; b++) {
        d.offsets[b] = b; /* one lookup a bag, the last bag has the rest */
    }
    forward("opencl", &d, qemb_qconfig_8bit());
    for (int b = 0; b < BAGS - 1; b++) {
        const float *w = d.weight + d.ids[b] * DIM;
        float lo = INFINITY, hi = -INFINITY;
        for (int c = 0; c < DIM; c++) {
            lo = fminf(lo, w[c]);
            hi = fmaxf(hi, w[c]);
        }
        volatile float scale = (hi - lo) / 255.0f, zero = -lo / scale, inverse = 1.0f / scale;
        for (int c = 0; c < DIM; c++) {
            float code = rintf(fmaf(w[c], inverse, zero));
            code = code < 0.0f ? 0.0f : code > 255.0f ? 255.0f : code;
            long double exact = ((long double)code - (long double)zero) * (long double)scale;
            float near = (float)exact, unit = nextafterf(fabsf(near), INFINITY) - fabsf(near);
            double error = (double)(fabsl((long double)d.out[b * DIM + c] - exact) / (long double)unit);
            cr_assert(error <= 1.0, "bag %d column %d: %g units in the last place", b, c, error);
            worst = error > worst ? error : worst;
        }
    }
    scoreboard("R14", worst <= 1.0, "PoCL", "%d look-ups, worst %.3f ulp", (BAGS - 1) * DIM, worst);
}
