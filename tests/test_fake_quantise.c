/* test_fake_quantise.c - the fake-quantised table on request: the rows that a forward looks up, on every engine and kernel family. */
#include <criterion/criterion.h>
#include <string.h>

#include "support_bag.h"
#include "support_ok.h"

enum { E = 97 };

static const int dims[] = {1, 2, 3, 7, 8, 13, 16, 31, 48, 67, 300};

/* values[E][D] by qemb_embedding_bag_fake_quantise, and by a lookup of every row. */
static void both_ways(const bag_engine *engine, int dim, qemb_qconfig qconfig, float *table, float *lookup) {
    qemb_context *ctx = bag_kept_context(engine);
    qemb_embedding *embedding;
    qemb_batch *batch;
    qemb_buffer *a, *b;
    int32_t all[E];
    const size_t bytes = (size_t)(E * dim) * sizeof(float);
    for (int i = 0; i < E; i++) {
        all[i] = i;
    }
    OK(qemb_embedding_create(ctx, &(qemb_embedding_desc){.num_embeddings = E, .embedding_dim = dim, .qconfig = qconfig, .seed = 3},
                             &embedding));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_batch_set(batch, qemb_embedding_as_bag(embedding),
                      &(qemb_input){.indices = all, .num_indices = E, .indices_dtype = QEMB_INT32}));
    OK(qemb_buffer_create(ctx, bytes, &a));
    OK(qemb_buffer_create(ctx, bytes, &b));
    OK(qemb_embedding_forward(embedding, batch, b)); /* so that there is state to catch up with */
    OK(qemb_embedding_bag_fake_quantise(qemb_embedding_as_bag(embedding), 0, 0, E, a));
    OK(qemb_embedding_forward(embedding, batch, b));
    OK(qemb_buffer_read(a, 0, bytes, table));
    OK(qemb_buffer_read(b, 0, bytes, lookup));
    cr_expect_eq(qemb_embedding_bag_fake_quantise(qemb_embedding_as_bag(embedding), 0, 1, E, a), QEMB_ERR_INDEX, "rows past the end");
    cr_expect_eq(qemb_embedding_bag_fake_quantise(qemb_embedding_as_bag(embedding), 0, 0, E, NULL), QEMB_ERR_ARG, "no buffer");
    qemb_buffer_destroy(a);
    OK(qemb_buffer_create(ctx, bytes - 1, &a));
    cr_expect_eq(qemb_embedding_bag_fake_quantise(qemb_embedding_as_bag(embedding), 0, 0, E, a), QEMB_ERR_SHAPE, "a buffer too small");
    qemb_buffer_destroy(a);
    qemb_buffer_destroy(b);
    qemb_batch_destroy(batch);
    qemb_embedding_destroy(embedding);
}

static void compare_all(const char *family) {
    const bag_engine reference_engine = {"reference", "reference", NULL, NULL, NULL};
    const bag_engine engine = {"OpenCL", "opencl", family, NULL, NULL};
    static float reference[E * 300], table[E * 300], lookup[E * 300];
    qemb_qconfig configs[3] = {qemb_qconfig_8bit(), qemb_qconfig_4bit(), qemb_qconfig_8bit()};
    configs[1].observer = QEMB_OBSERVER_MEMORYLESS;
    configs[2].arithmetic = QEMB_ARITHMETIC_TORCH_CUDA;
    configs[2].quant_min = -128;
    configs[2].quant_max = 127;
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        for (int k = 0; k < 3; k++) {
            const size_t bytes = (size_t)(E * dims[d]) * sizeof(float);
            both_ways(&reference_engine, dims[d], configs[k], reference, lookup);
            cr_expect_eq(memcmp(reference, lookup, bytes), 0, "D=%d config %d: the reference's table is not what it looks up", dims[d], k);
            both_ways(&engine, dims[d], configs[k], table, lookup);
            cr_expect_eq(memcmp(table, reference, bytes), 0, "D=%d config %d: another table than the reference's", dims[d], k);
            cr_expect_eq(memcmp(table, lookup, bytes), 0, "D=%d config %d: the table is not what a forward looks up", dims[d], k);
        }
    }
}

Test(fake_quantise, cpu_family_table_equals_lookups_and_reference) {
    compare_all("cpu");
}

Test(fake_quantise, gpu_family_table_equals_lookups_and_reference) {
    compare_all("gpu");
}
