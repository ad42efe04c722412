/* start.c - how long a program waits before its first steps: context, module, optimiser, prepare, first and second forward and step.
 * One line of milliseconds. bench/start/run.sh builds it and runs it with caches cold and warm. */
#include <qemb/qemb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRY(call)                                                                                                                          \
    do {                                                                                                                                   \
        if ((call) != QEMB_OK) {                                                                                                           \
            (void)fprintf(stderr, "start: %s\n", qemb_last_error());                                                                       \
            return 1;                                                                                                                      \
        }                                                                                                                                  \
    } while (0)

enum { ROWS = 1000, DIM = 64, BAGS = 2048, LENGTH = 20, LOOKUPS = BAGS * LENGTH, PHASES = 8 };

/* Milliseconds since the last call. */
static double lap(void) {
    static double last;
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    const double now = 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
    const double taken = now - last;
    last = now;
    return taken;
}

int main(int argc, char **argv) {
    static int64_t ids[LOOKUPS];
    const int prepares = argc > 1 && strcmp(argv[1], "prepare") == 0;
    double ms[PHASES], all = 0;
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_optimizer *sgd = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    (void)lap();
    TRY(qemb_context_create(NULL, &ctx));
    ms[0] = lap();
    TRY(qemb_embedding_bag_create(
        ctx,
        &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit()},
        &bag));
    ms[1] = lap();
    TRY(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.1}, &sgd));
    ms[2] = lap();
    if (prepares) {
        TRY(qemb_embedding_bag_prepare(bag, &(qemb_prepare_desc){.bags = BAGS, .lookups = LOOKUPS, .optimizer = sgd}));
    }
    TRY(qemb_context_finish(ctx));
    ms[3] = lap();
    for (int i = 0; i < LOOKUPS; i++) {
        ids[i] = i * INT64_C(7919) % ROWS;
    }
    TRY(qemb_batch_create(ctx, &batch));
    TRY(qemb_batch_set(batch, bag, &(qemb_input){.indices = ids, .num_indices = LOOKUPS, .indices_dtype = QEMB_INT64, .columns = LENGTH}));
    TRY(qemb_buffer_create(ctx, BAGS * DIM * sizeof(float), &out));
    TRY(qemb_context_finish(ctx));
    (void)lap();
    for (int k = 4; k < PHASES; k += 2) {
        TRY(qemb_embedding_bag_forward(bag, batch, out));
        TRY(qemb_context_finish(ctx));
        ms[k] = lap();
        TRY(qemb_embedding_bag_step(bag, batch, out, sgd));
        TRY(qemb_context_finish(ctx));
        ms[k + 1] = lap();
    }
    for (int k = 0; k < PHASES; k++) {
        all += k < 6 ? ms[k] : 0; /* up to the end of the first step */
        (void)printf("%9.1f", ms[k]);
    }
    (void)printf("%10.0f\n", all);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_optimizer_destroy(sgd);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    return 0;
}
