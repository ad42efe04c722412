/* train_a_bag.c - a 4-bit table learns that every bag shall sum to ones, is packed, and serves the bits that it trained with. */
#include <qemb/qemb.h>
#include <stdio.h>
#include <string.h>
#define TRY(call) if ((call) != QEMB_OK) return fprintf(stderr, "%s\n", qemb_last_error()), 1

int main(void) {
    qemb_context *ctx; qemb_embedding_bag *bag; qemb_optimizer *sgd; qemb_batch *batch; qemb_buffer *buffer; qemb_packed *packed;
    const int32_t ids[] = {3, 14, 159, 2, 653}, offsets[] = {0, 3};  // two bags: rows 3, 14, 159 and rows 2, 653
    const qemb_input input = {.indices = ids, .num_indices = 5, .indices_dtype = QEMB_INT32, .offsets = offsets, .num_offsets = 2};
    float out[16], grad[16], served[16];
    qemb_embedding_bag_desc table = {.num_embeddings = 1000, .embedding_dim = 8, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_4bit()};
    table.qconfig.arithmetic = QEMB_ARITHMETIC_PACKED;  // train with the very numbers that will be served
    TRY(qemb_context_create(NULL, &ctx));  // $QEMB_DEVICE, else the best OpenCL device
    TRY(qemb_embedding_bag_create(ctx, &table, &bag));
    TRY(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.1}, &sgd));
    TRY(qemb_batch_create(ctx, &batch));
    TRY(qemb_batch_set(batch, bag, &input));  // checked here, once
    TRY(qemb_buffer_create(ctx, sizeof out, &buffer));
    for (int step = 0; step <= 20; step++) {
        float loss = 0;
        TRY(qemb_embedding_bag_forward(bag, batch, buffer));  // reads each row once: observes, quantises, adds
        TRY(qemb_buffer_read(buffer, 0, sizeof out, out));
        for (int i = 0; i < 16; i++) loss += (out[i] - 1) * (grad[i] = out[i] - 1) / 2;
        if (step % 5 == 0) printf("step %2d  loss %.6f\n", step, loss);
        TRY(qemb_buffer_write(buffer, 0, sizeof grad, grad));
        if (step < 20) TRY(qemb_embedding_bag_step(bag, batch, buffer, sgd));  // moves the five rows, no others
    }
    TRY(qemb_packed_create(bag, NULL, &packed));  // 4-bit codes with a scale and a bias a row: what is deployed
    TRY(qemb_packed_batch_set(packed, batch, &input));
    TRY(qemb_packed_forward(packed, batch, buffer, QEMB_FLOAT32));
    TRY(qemb_buffer_read(buffer, 0, sizeof served, served));
    puts(memcmp(served, out, sizeof out) ? "served: other bits" : "served: the bits of the last forward");
    return 0;  // a longer program destroys what it created, the context last
}
