/* first_lookup.c - a table of six rows, two bags, their means: what an embedding bag is.
 *
 * Prints the same under QEMB_DEVICE=reference and on any OpenCL device. */
#include <qemb/qemb.h>
#include <stdio.h>
#define TRY(call) if ((call) != QEMB_OK) return fprintf(stderr, "first_lookup: %s\n", qemb_last_error()), 1

int main(void) {
    const float weight[6][4] = {{0.0f, 0.1f, 0.2f, 0.3f}, {1.0f, 1.1f, 1.2f, 1.3f}, {2.0f, 2.1f, 2.2f, 2.3f},
                                {3.0f, 3.1f, 3.2f, 3.3f}, {4.0f, 4.1f, 4.2f, 4.3f}, {5.0f, 5.1f, 5.2f, 5.3f}};
    const int64_t ids[] = {1, 3, 5, 0};
    const int64_t offsets[] = {0, 3}; /* the first bag is rows 1, 3, 5; the second is row 0 */
    float out[2][4];
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;

    TRY(qemb_context_create(NULL, &ctx));
    TRY(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = 6, .embedding_dim = 4, .weight = weight[0], .qconfig = qemb_qconfig_8bit()}, &bag));
    TRY(qemb_batch_create(ctx, &batch));
    TRY(qemb_buffer_create(ctx, sizeof out, &buffer));
    TRY(qemb_batch_set(
        batch, bag,
        &(qemb_input){.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 2}));
    TRY(qemb_embedding_bag_forward(bag, batch, buffer)); /* mean is the default mode, as in PyTorch */
    TRY(qemb_buffer_read(buffer, 0, sizeof out, out));
    for (int b = 0; b < 2; b++) {
        printf("bag %d: %.4f %.4f %.4f %.4f\n", b, out[b][0], out[b][1], out[b][2], out[b][3]);
    }

    /* A wrong id is a status and a sentence, and changes nothing. */
    const int64_t wrong[] = {1, 6};
    if (qemb_batch_set(batch, bag, &(qemb_input){.indices = wrong, .num_indices = 2, .indices_dtype = QEMB_INT64, .columns = 1}) != QEMB_OK) {
        printf("%s\n", qemb_last_error());
    }
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    return 0;
}
