/* fuzz_state.c - any bytes as a saved training: a module's state and its optimiser's. Refused with a reason and nothing changed, or taken
 * whole: then the module still trains. */
#include "fuzz.h"

enum { ROWS = 5, DIM = 3, BAGS = 2 };

static void train(qemb_context *ctx, qemb_embedding_bag *bag, qemb_optimizer *optimizer) {
    static const int64_t ids[] = {0, 4, 2, 2}, offsets[BAGS] = {0, 3};
    static const float ones[BAGS * DIM] = {1, 1, 1, 1, 1, 1};
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL, *grad = NULL;
    const qemb_input input = {.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = BAGS};
    PROMISE(qemb_batch_create(ctx, &batch) == QEMB_OK && qemb_batch_set(batch, bag, &input) == QEMB_OK);
    PROMISE(qemb_buffer_create(ctx, sizeof ones, &out) == QEMB_OK && qemb_buffer_create(ctx, sizeof ones, &grad) == QEMB_OK);
    PROMISE(qemb_buffer_write(grad, 0, sizeof ones, ones) == QEMB_OK);
    qemb_status st = qemb_embedding_bag_forward(bag, batch, out);
    PROMISE(st == QEMB_OK || st == QEMB_ERR_STATE); /* a loaded switch may have the observer off with nothing observed */
    PROMISE(st != QEMB_OK || qemb_embedding_bag_step(bag, batch, grad, optimizer) == QEMB_OK);
    qemb_buffer_destroy(out);
    qemb_buffer_destroy(grad);
    qemb_batch_destroy(batch);
}

int fuzz_state(const uint8_t *bytes, size_t count) {
    static qemb_context *ctx;
    char path[64];
    float before[ROWS * DIM], after[ROWS * DIM], low[2][ROWS], high[2][ROWS];
    qemb_safetensors *file = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_optimizer *optimizer = NULL;
    PROMISE(ctx || qemb_context_create("reference", &ctx) == QEMB_OK);
    int fd = fuzz_file(bytes, count, path);
    if (qemb_safetensors_open(path, &file) == QEMB_OK) {
        const qemb_embedding_bag_desc desc = {.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_8bit(), .seed = 3};
        PROMISE(qemb_embedding_bag_create(ctx, &desc, &bag) == QEMB_OK);
        PROMISE(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_ADAGRAD, .lr = 0.1}, &optimizer) == QEMB_OK);
        train(ctx, bag, optimizer);
        PROMISE(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, before) == QEMB_OK);
        PROMISE(qemb_embedding_bag_read_observer(bag, 0, 0, ROWS, &(qemb_observer_rows){.min_val = low[0], .max_val = high[0]}) == QEMB_OK);
        qemb_status module = qemb_load_module(file, "m.", bag);
        if (module != QEMB_OK) {
            PROMISE(qemb_last_error()[0] != '\0');
            PROMISE(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, after) == QEMB_OK);
            PROMISE(qemb_embedding_bag_read_observer(bag, 0, 0, ROWS, &(qemb_observer_rows){.min_val = low[1], .max_val = high[1]}) ==
                    QEMB_OK);
            PROMISE(fuzz_same(before, after, ROWS * DIM) && fuzz_same(low[0], low[1], ROWS) && fuzz_same(high[0], high[1], ROWS));
        }
        qemb_status state = qemb_load_optimizer(file, "o.", optimizer);
        PROMISE(state == QEMB_OK || qemb_last_error()[0] != '\0');
        train(ctx, bag, optimizer);
    }
    qemb_optimizer_destroy(optimizer);
    qemb_embedding_bag_destroy(bag);
    qemb_safetensors_close(file);
    (void)close(fd);
    return 0;
}
