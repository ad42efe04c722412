/* test_peak_memory.c - what a training run takes beside its table: at most 5 % and the observer state that was asked for.
 *
 * The kernel of the system keeps the peak of the resident memory and forgets it on request. A first module of the same shape makes the
 * context, the driver and the kernels take what they need once; then the peak is forgotten and a second one trains. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemb/qemb.h>

#include "support_ok.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define WATCHED 1
#endif
#endif
#ifndef WATCHED
#define WATCHED 0
#endif

enum { ROWS = 1000003, DIM = 64, BAGS = 2039, BAG = 19, STEPS = 5 };

/* Bytes behind a key of /proc/self/status. */
static double status_bytes(const char *key) {
    char line[256];
    double kib = 0.0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kib = strtod(line + strlen(key), NULL);
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return kib * 1024.0;
}

static void forget_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    cr_assert_not_null(file);
    cr_assert_gt(fputs("5", file), 0);
    cr_assert_eq(fclose(file), 0);
}

static void train(qemb_context *ctx, qemb_observer observer) {
    static int32_t ids[BAGS * BAG];
    const size_t bytes = sizeof(float) * BAGS * DIM;
    const qemb_input input = {.indices = ids, .num_indices = BAGS * BAG, .indices_dtype = QEMB_INT32, .columns = BAG};
    const qemb_optimizer_desc sgd = {.lr = 0.01};
    qemb_qconfig qconfig = qemb_qconfig_8bit();
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    qemb_buffer *grad = NULL;
    qemb_optimizer *optimizer = NULL;
    uint32_t state = 12345;
    qconfig.observer = observer;
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .mode = QEMB_MODE_SUM, .qconfig = qconfig, .seed = 1},
        &bag));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, bytes, &out));
    OK(qemb_buffer_create(ctx, bytes, &grad));
    OK(qemb_optimizer_create(ctx, bag, &sgd, &optimizer));
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < BAGS * BAG; i++) {
            state = state * 1664525u + 1013904223u;
            ids[i] = (int32_t)((uint64_t)state * ROWS >> 32);
        }
        OK(qemb_batch_set(batch, bag, &input));
        OK(qemb_embedding_bag_forward(bag, batch, out));
        OK(qemb_embedding_bag_step(bag, batch, grad, optimizer));
        OK(qemb_context_finish(ctx));
    }
    qemb_optimizer_destroy(optimizer);
    qemb_buffer_destroy(grad);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
}

static void expect_little(qemb_observer observer, double state_bytes_a_row) {
    qemb_context *ctx = NULL;
    const double table = sizeof(float) * (double)ROWS * DIM;
    OK(qemb_context_create(NULL, &ctx));
    train(ctx, observer);
    forget_peak();
    const double before = status_bytes("VmRSS:");
    train(ctx, observer);
    const double over = status_bytes("VmHWM:") - before - table;
    qemb_context_destroy(ctx);
    const double allowed = 0.05 * table + state_bytes_a_row * ROWS;
    cr_assert(WATCHED || over <= allowed, "%.1f MB over a table of %.1f MB, want at most %.1f", 1e-6 * over, 1e-6 * table, 1e-6 * allowed);
    cr_assert(over > -0.05 * table, "the table itself was not seen: %.1f MB of %.1f", 1e-6 * (over + table), 1e-6 * table);
    (void)printf("observer %d: %.2f MB over a table of %.1f MB\n", (int)observer, 1e-6 * over, 1e-6 * table);
}

Test(peak_memory, training_with_the_memoryless_observer_takes_five_percent_of_the_table_at_most) {
    expect_little(QEMB_OBSERVER_MEMORYLESS, 0.0);
}

Test(peak_memory, training_with_observer_state_takes_sixteen_bytes_a_row_more_at_most) {
    expect_little(QEMB_OBSERVER_MOVING_AVERAGE, 16.0);
}
