/* consumer.c - the smallest program of a user: the sum of two rows; or, on a machine without OpenCL, the sentence that says so. */
#include <qemb/qemb.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    const float weight[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    const int64_t ids[] = {0, 2}, offsets[] = {0};
    float out[2] = {0.0f, 0.0f};
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    qemb_embedding_bag_desc desc = {.num_embeddings = 3, .embedding_dim = 2, .mode = QEMB_MODE_SUM, .weight = weight, .qconfig = qemb_qconfig_8bit()};
    qemb_input input = {.indices = ids, .num_indices = 2, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 1};
    if (strcmp(qemb_version(), QEMB_VERSION_STRING) != 0) {
        printf("header %s, library %s\n", QEMB_VERSION_STRING, qemb_version());
        return 1;
    }
    if (qemb_context_create(argc > 1 ? argv[1] : NULL, &ctx) != QEMB_OK) {
        printf("%s\n", qemb_last_error());
        return 3;
    }
    if (qemb_embedding_bag_create(ctx, &desc, &bag) || qemb_batch_create(ctx, &batch) || qemb_batch_set(batch, bag, &input) ||
        qemb_buffer_create(ctx, sizeof out, &buffer) || qemb_embedding_bag_forward(bag, batch, buffer) ||
        qemb_buffer_read(buffer, 0, sizeof out, out)) {
        printf("%s\n", qemb_last_error());
        return 1;
    }
    printf("%.3f %.3f\n", out[0], out[1]);
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    return 0;
}
