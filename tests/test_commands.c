/* test_commands.c - how many commands a forward and a step enqueue: the counters of the context, for batches small and large, both families. */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "support_bag.h"
#include "support_ok.h"

enum { TABLES = 2, LENGTH = 37, MOST_FORWARD = 2, MOST_STEP = 12 };

/* A sort makes passes by the rows of the module (GPU family: 8 bits of their numbers each), and ways of its own for large batches. */
typedef struct size_case {
    int64_t rows, bags;
} size_case;

static int64_t commands(qemb_context *ctx) {
    qemb_counters c;
    OK(qemb_context_counters(ctx, &c));
    return c.commands;
}

/* Forward and step of the second batch: nothing is prepared any more. Mode mean and long runs: every launch that a step may have. */
static void count_commands(const bag_engine *engine, size_case size, qemb_clip clip, int64_t *forward, int64_t *step) {
    static const int64_t dims[TABLES] = {1, 16};
    const int64_t columns = 1 + 16, lookups = TABLES * size.bags * LENGTH;
    qemb_context *ctx = bag_context(engine);
    qemb_table_desc tables[TABLES];
    qemb_embedding_bag *bag = NULL;
    qemb_optimizer *optimizer = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    int64_t *indices = calloc((size_t)lookups, sizeof *indices);
    for (int t = 0; t < TABLES; t++) {
        tables[t] = (qemb_table_desc){.num_embeddings = t == 0 ? size.rows : 997,
                                      .embedding_dim = dims[t],
                                      .qconfig = t == 0 ? qemb_qconfig_float() : qemb_qconfig_8bit(),
                                      .seed = 3};
    }
    for (int64_t i = 0; i < lookups; i++) {
        indices[i] = i * i % 997;
    }
    OK(qemb_embedding_bag_collection_create(
        ctx, &(qemb_collection_desc){.tables = tables, .num_tables = TABLES, .options = {.mode = QEMB_MODE_MEAN}}, &bag));
    OK(qemb_optimizer_create(
        ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .momentum = 0.5, .clip = clip, .clip_limit = clip ? 1.0 : 0.0}, &optimizer));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, (size_t)(size.bags * columns) * sizeof(float), &out));
    for (int k = 0; k < 2; k++) {
        OK(qemb_batch_set(batch, bag,
                          &(qemb_input){.indices = indices, .num_indices = lookups, .indices_dtype = QEMB_INT64, .columns = LENGTH}));
        const int64_t before = commands(ctx) + 1; /* the counters are read by a command */
        OK(qemb_embedding_bag_forward(bag, batch, out));
        const int64_t between = commands(ctx) + 1;
        OK(qemb_embedding_bag_step(bag, batch, out, optimizer));
        *forward = between - 1 - before;
        *step = commands(ctx) - between;
    }
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_optimizer_destroy(optimizer);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    free(indices);
}

Test(commands, few,
     .description =
         "commands: a forward is at most 2, a step with its sort at most 12, with a clip by norm, large batches and tables too, in both "
         "families") {
    static const bag_engine engines[] = {{"cpu", "pthread", "cpu", NULL, NULL}, {"gpu", "pthread", "gpu", NULL, NULL}};
    static const size_case sizes[] = {{997, 61}, {65537, 907}, {16777259, 61}};
    bag_pocl_devices();
    for (int e = 0; e < 2; e++) {
        for (int k = 0; k < 6; k++) {
            const size_case size = sizes[k / 2];
            const bool clips = k % 2 == 1;
            int64_t forward = 0;
            int64_t step = 0;
            count_commands(&engines[e], size, clips ? QEMB_CLIP_NORM : QEMB_CLIP_NONE, &forward, &step);
            cr_log_info("%s, %lld rows, %lld bags%s: forward %lld, step %lld", engines[e].label, (long long)size.rows, (long long)size.bags,
                        clips ? ", clip by norm" : "", (long long)forward, (long long)step);
            cr_expect(forward >= 1 && forward <= MOST_FORWARD, "%s, %lld rows: forward %lld", engines[e].label, (long long)size.rows,
                      (long long)forward);
            cr_expect(step >= 2 && step <= MOST_STEP, "%s, %lld rows%s: step %lld", engines[e].label, (long long)size.rows,
                      clips ? ", clip by norm" : "", (long long)step);
        }
    }
}
