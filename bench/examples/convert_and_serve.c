/* convert_and_serve.c - a trained table becomes a 4-bit file, and another context serves it from the mapped file: the same bits. */
#include <qemb/qemb_io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define TRY(call) if ((call) != QEMB_OK) return fprintf(stderr, "convert_and_serve: %s\n", qemb_last_error()), 1

enum { ROWS = 10007, DIM = 32, BAGS = 7, LENGTH = 5 };

static int32_t ids[BAGS * LENGTH];
static const qemb_input input = {.indices = ids, .num_indices = BAGS * LENGTH, .indices_dtype = QEMB_INT32, .columns = LENGTH};

/* Looks up under the arithmetic that is served, packs the table and writes it down. */
static int convert(const char *path, float *answer, size_t bytes) {
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    qemb_packed *packed = NULL;
    qemb_saver *saver = NULL;
    qemb_embedding_bag_desc desc = {.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_4bit(), .seed = 5, .name = "items"};
    desc.qconfig.arithmetic = QEMB_ARITHMETIC_PACKED;
    desc.qconfig.layout = QEMB_LAYOUT_PLANAR; /* codes and qparams in planes of their own: nothing is padded */
    TRY(qemb_context_create(NULL, &ctx));
    TRY(qemb_embedding_bag_create(ctx, &desc, &bag));
    TRY(qemb_batch_create(ctx, &batch));
    TRY(qemb_buffer_create(ctx, bytes, &buffer));
    TRY(qemb_batch_set(batch, bag, &input));
    TRY(qemb_embedding_bag_forward(bag, batch, buffer)); /* a trained program would have made many of these, with steps between */
    TRY(qemb_buffer_read(buffer, 0, bytes, answer));
    TRY(qemb_packed_create(bag, NULL, &packed));
    TRY(qemb_saver_create(&saver));
    TRY(qemb_saver_add_packed(saver, "model.", packed));
    TRY(qemb_saver_write(saver, path));
    qemb_packed_info info;
    TRY(qemb_packed_get_info(packed, &info));
    printf("float %d bytes, packed %lld bytes\n", ROWS * DIM * 4, (long long)info.bytes);
    qemb_saver_destroy(saver);
    qemb_packed_destroy(packed);
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    return 0;
}

static int serve(const char *path, float *answer, size_t bytes) {
    qemb_context *ctx = NULL;
    qemb_safetensors *file = NULL;
    qemb_packed *packed = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    TRY(qemb_context_create(NULL, &ctx));
    TRY(qemb_safetensors_open(path, &file));
    TRY(qemb_load_packed(ctx, file, "model.", 0, &packed)); /* milliseconds for any size: rows are used where they lie in the file */
    TRY(qemb_batch_create(ctx, &batch));
    TRY(qemb_buffer_create(ctx, bytes, &buffer));
    TRY(qemb_packed_batch_set(packed, batch, &input));
    TRY(qemb_packed_forward(packed, batch, buffer, QEMB_FLOAT32));
    TRY(qemb_buffer_read(buffer, 0, bytes, answer));
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_packed_destroy(packed);
    qemb_safetensors_close(file);
    qemb_context_destroy(ctx);
    return 0;
}

int main(void) {
    static float trained[BAGS][DIM], served[BAGS][DIM];
    for (int i = 0; i < BAGS * LENGTH; i++) ids[i] = i * 283 % ROWS;
    if (convert("items.safetensors", trained[0], sizeof trained) || serve("items.safetensors", served[0], sizeof served)) return 1;
    puts(memcmp(trained, served, sizeof trained) ? "served: other bits" : "served: the bits of the training");
    return remove("items.safetensors");
}
