/* fuzz_packed_file.c - any bytes as a file of packed tables: refused with a reason, or served whole, whatever the flags. */
#include "fuzz.h"

static void serve(qemb_context *ctx, qemb_packed *packed) {
    qemb_packed_info info;
    qemb_packed_table table;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    PROMISE(qemb_packed_get_info(packed, &info) == QEMB_OK && qemb_packed_get_table(packed, 0, &table) == QEMB_OK);
    if (info.num_features != 1 || info.output_dim > 4096) {
        return;
    }
    const int64_t ids[] = {0, -1, table.num_embeddings - 1, table.num_embeddings, 1};
    const qemb_input input = {.indices = ids, .num_indices = 5, .indices_dtype = QEMB_INT64, .columns = 1, .check = QEMB_SKIP};
    PROMISE(qemb_batch_create(ctx, &batch) == QEMB_OK && qemb_packed_batch_set(packed, batch, &input) == QEMB_OK);
    PROMISE(qemb_buffer_create(ctx, 5 * (size_t)info.output_dim * sizeof(float), &out) == QEMB_OK);
    PROMISE(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32) == QEMB_OK && qemb_context_finish(ctx) == QEMB_OK);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
}

int fuzz_packed_file(const uint8_t *bytes, size_t count) {
    static qemb_context *ctx;
    char path[64];
    qemb_safetensors *file = NULL;
    PROMISE(ctx || qemb_context_create("reference", &ctx) == QEMB_OK);
    uint8_t flags = count ? bytes[0] & 7u : 0;
    int fd = fuzz_file(bytes + (count > 0), count - (count > 0), path);
    if (qemb_safetensors_open(path, &file) == QEMB_OK) {
        qemb_packed *packed = NULL;
        qemb_status st = qemb_load_packed(ctx, file, "p.", flags, &packed);
        PROMISE((st == QEMB_OK) == (packed != NULL));
        PROMISE(st == QEMB_OK || qemb_last_error()[0] != '\0');
        qemb_safetensors_close(file); /* the tables keep it open */
        if (packed) {
            serve(ctx, packed);
        }
        qemb_packed_destroy(packed);
    }
    (void)close(fd);
    return 0;
}
