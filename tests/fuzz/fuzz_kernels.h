/* fuzz_kernels.h - the kernels of a family, compiled as C for this processor with the sanitizers, against the reference engine: the same
 * module, the same batch, the same gradient, the same bits. The bytes are data: ids, offsets, weights, rows; so few programs are compiled.
 * Wants the native device (tests/native) as the OpenCL driver. */
#ifndef QEMB_TESTS_FUZZ_KERNELS_H
#define QEMB_TESTS_FUZZ_KERNELS_H

#include "fuzz.h"

enum { ROWS = 23, DIM = 19, BAGS = 5, MOST = 96, KINDS = 4 };

typedef struct outcome {
    float out[BAGS * DIM], weight[ROWS * DIM], low[ROWS], high[ROWS], packed[BAGS * DIM];
    qemb_status packed_status;
} outcome;

typedef struct plan {
    int kind, count, padding;
    float weight[ROWS * DIM], grad[BAGS * DIM], psw[MOST];
    int64_t ids[MOST], offsets[BAGS];
} plan;

static inline plan read_plan(fuzz_stream *s) {
    plan p = {.kind = fuzz_below(s, KINDS), .count = fuzz_below(s, MOST), .padding = fuzz_below(s, ROWS)};
    int at = 0;
    for (int b = 0; b < BAGS; b++) {
        p.offsets[b] = at;
        at += fuzz_below(s, 33);
        at = at > p.count ? p.count : at;
    }
    for (int i = 0; i < p.count; i++) {
        p.ids[i] = fuzz_below(s, ROWS);
        p.psw[i] = fuzz_float(s);
    }
    for (int i = 0; i < BAGS * DIM; i++) {
        p.grad[i] = fuzz_float(s);
    }
    for (int i = 0; i < ROWS * DIM; i++) {
        uint8_t kind = fuzz_byte(s);
        p.weight[i] = kind < 240 ? fuzz_float(s) : fuzz_any_float(s);
    }
    return p;
}

static inline void serve_packed(qemb_context *ctx, qemb_embedding_bag *bag, const qemb_input *input, outcome *o) {
    qemb_packed *packed = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    const qemb_packed_desc desc = {.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}};
    o->packed_status = qemb_packed_create(bag, &desc, &packed);
    if (o->packed_status == QEMB_OK) {
        PROMISE(qemb_batch_create(ctx, &batch) == QEMB_OK && qemb_packed_batch_set(packed, batch, input) == QEMB_OK);
        PROMISE(qemb_buffer_create(ctx, sizeof o->packed, &out) == QEMB_OK);
        PROMISE(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32) == QEMB_OK);
        PROMISE(qemb_buffer_read(out, 0, sizeof o->packed, o->packed) == QEMB_OK);
    }
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_packed_destroy(packed);
}

static inline void run_plan(qemb_context *ctx, const plan *p, outcome *o) {
    static const qemb_mode modes[KINDS] = {QEMB_MODE_SUM, QEMB_MODE_SUM, QEMB_MODE_MEAN, QEMB_MODE_MAX};
    static const qemb_optimizer_kind kinds[KINDS] = {QEMB_SGD, QEMB_ROWWISE_ADAGRAD, QEMB_ADAM, QEMB_ADAGRAD};
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_optimizer *optimizer = NULL;
    qemb_buffer *out = NULL, *grad = NULL;
    const qemb_embedding_bag_desc desc = {.num_embeddings = ROWS,
                                          .embedding_dim = DIM,
                                          .weight = p->weight,
                                          .mode = modes[p->kind],
                                          .has_padding_idx = p->kind == 2,
                                          .padding_idx = p->kind == 2 ? p->padding : 0,
                                          .qconfig = p->kind == 0 ? qemb_qconfig_8bit() : qemb_qconfig_4bit()};
    const qemb_optimizer_desc update = {.kind = kinds[p->kind], .lr = 0.125};
    const qemb_input input = {.indices = p->ids,
                              .num_indices = p->count,
                              .indices_dtype = QEMB_INT64,
                              .offsets = p->offsets,
                              .num_offsets = BAGS,
                              .per_sample_weights = p->kind == 1 ? p->psw : NULL,
                              .num_per_sample_weights = p->kind == 1 ? p->count : 0};
    memset(o, 0, sizeof *o);
    PROMISE(qemb_embedding_bag_create(ctx, &desc, &bag) == QEMB_OK && qemb_batch_create(ctx, &batch) == QEMB_OK);
    PROMISE(qemb_optimizer_create(ctx, bag, &update, &optimizer) == QEMB_OK);
    PROMISE(qemb_buffer_create(ctx, sizeof o->out, &out) == QEMB_OK && qemb_buffer_create(ctx, sizeof o->out, &grad) == QEMB_OK);
    PROMISE(qemb_buffer_write(grad, 0, sizeof p->grad, p->grad) == QEMB_OK && qemb_batch_set(batch, bag, &input) == QEMB_OK);
    PROMISE(qemb_embedding_bag_forward(bag, batch, out) == QEMB_OK && qemb_embedding_bag_step(bag, batch, grad, optimizer) == QEMB_OK);
    PROMISE(qemb_embedding_bag_forward(bag, batch, out) == QEMB_OK);
    PROMISE(qemb_buffer_read(out, 0, sizeof o->out, o->out) == QEMB_OK);
    PROMISE(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, o->weight) == QEMB_OK);
    PROMISE(qemb_embedding_bag_read_observer(bag, 0, 0, ROWS, &(qemb_observer_rows){.min_val = o->low, .max_val = o->high}) == QEMB_OK);
    serve_packed(ctx, bag, &input, o);
    qemb_buffer_destroy(out);
    qemb_buffer_destroy(grad);
    qemb_optimizer_destroy(optimizer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
}

static inline int fuzz_family(const char *family, const uint8_t *bytes, size_t count) {
    static qemb_context *device, *reference;
    static outcome got, want;
    fuzz_stream s = {bytes, count};
    if (!device) {
        PROMISE(setenv("QEMB_FAMILY", family, 1) == 0);
        PROMISE(qemb_context_create("native", &device) == QEMB_OK && qemb_context_create("reference", &reference) == QEMB_OK);
    }
    const plan p = read_plan(&s);
    run_plan(device, &p, &got);
    run_plan(reference, &p, &want);
    PROMISE(fuzz_same(got.out, want.out, BAGS * DIM) && fuzz_same(got.weight, want.weight, ROWS * DIM));
    PROMISE(fuzz_same(got.low, want.low, ROWS) && fuzz_same(got.high, want.high, ROWS));
    PROMISE(got.packed_status == want.packed_status && fuzz_same(got.packed, want.packed, BAGS * DIM));
    return 0;
}

#endif
