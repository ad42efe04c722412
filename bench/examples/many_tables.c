/* many_tables.c - three tables of different sizes, widths and bits, four features, one launch.
 *
 * Input is feature-major: all bags of the first feature, then all of the second, ... as TorchRec and FBGEMM have it. Output is one row a
 * sample with the features side by side. */
#include <qemb/qemb.h>
#include <stdio.h>
#define TRY(call) if ((call) != QEMB_OK) return fprintf(stderr, "many_tables: %s\n", qemb_last_error()), 1

enum { BATCH = 2, FEATURES = 4, OUTPUT = 8 + 3 + 8 + 5 };

int main(void) {
    /* Two features, what a user looked at and what a user bought, share the table of items. */
    const int32_t feature_table[FEATURES] = {0, 1, 0, 2};
    const char *const names[FEATURES] = {"viewed", "country", "bought", "hour"};
    const int32_t width[FEATURES] = {8, 3, 8, 5};
    const int32_t ids[] = {17, 4, 99, 17, /* viewed: sample 0 has 3, sample 1 has 1 */
                           6, 2,          /* country: one each */
                           4,             /* bought: none, one */
                           23, 11};       /* hour: one each */
    const int32_t offsets[] = {0, 3, 4, 5, 6, 6, 7, 8};
    float out[BATCH][OUTPUT];
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    qemb_table_desc tables[3] = {
        {.name = "items", .num_embeddings = 100003, .embedding_dim = 8, .qconfig = qemb_qconfig_4bit(), .seed = 1},
        {.name = "countries", .num_embeddings = 251, .embedding_dim = 3, .qconfig = qemb_qconfig_8bit(), .seed = 2},
        {.name = "hours", .num_embeddings = 24, .embedding_dim = 5, .qconfig = qemb_qconfig_float(), .seed = 3},
    };

    TRY(qemb_context_create(NULL, &ctx));
    TRY(qemb_embedding_bag_collection_create(ctx,
                                             &(qemb_collection_desc){.tables = tables,
                                                                     .num_tables = 3,
                                                                     .feature_table = feature_table,
                                                                     .num_features = FEATURES,
                                                                     .options = {.mode = QEMB_MODE_SUM}},
                                             &bag));
    TRY(qemb_batch_create(ctx, &batch));
    TRY(qemb_buffer_create(ctx, sizeof out, &buffer));
    TRY(qemb_batch_set(
        batch, bag,
        &(qemb_input){.indices = ids, .num_indices = 9, .indices_dtype = QEMB_INT32, .offsets = offsets, .num_offsets = FEATURES * BATCH}));
    TRY(qemb_embedding_bag_forward(bag, batch, buffer));
    TRY(qemb_buffer_read(buffer, 0, sizeof out, out));
    for (int b = 0; b < BATCH; b++) {
        printf("sample %d:", b);
        for (int f = 0, column = 0; f < FEATURES; column += width[f++]) {
            printf("  %s %.4f ...", names[f], out[b][column]);
        }
        printf("\n");
    }
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    return 0;
}
