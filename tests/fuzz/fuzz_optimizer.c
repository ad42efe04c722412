/* fuzz_optimizer.c - any hyper-parameters, any gradients: refused with a reason, or a step moves only the rows of its batch. */
#include <math.h>

#include "fuzz.h"
#include "ops/row_update.h"

enum { ROWS = 6, DIM = 5, BAGS = 3, MOST = 12 };

static double parameter(fuzz_stream *s) {
    static const double common[] = {0, 0, 0, 0.001, 0.1, 0.5, 0.9, 0.999, 1, 2, -1, 1e-8, 1e300, INFINITY, NAN, -0.0};
    uint8_t kind = fuzz_byte(s);
    double any;
    if (kind < 224) {
        return common[kind % 16];
    }
    fuzz_take(s, &any, sizeof any);
    return any;
}

static qemb_optimizer_desc read_desc(fuzz_stream *s) {
    qemb_optimizer_desc d = {.kind = (qemb_optimizer_kind)fuzz_below(s, OP_OPTIMIZERS + 1)};
    uint16_t given;
    fuzz_take(s, &given, sizeof given);
    double *fields[] = {&d.lr,  &d.momentum, &d.dampening, &d.weight_decay, &d.lr_decay, &d.initial_accumulator_value,
                        &d.eps, &d.beta1,    &d.beta2,     &d.max_norm,     &d.trust};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        *fields[i] = given >> i & 1 ? parameter(s) : 0;
    }
    d.nesterov = given >> 11 & 1;
    d.maximize = given >> 12 & 1;
    d.clip = (qemb_clip)(given >> 13 & 3);
    d.clip_limit = d.clip ? parameter(s) : 0;
    d.form = given >> 15 ? QEMB_SGD_DENSE : QEMB_SGD_TOUCHED;
    return d;
}

/* One forward and step on random lookups; rows that are not in the batch keep their bits, unless the form is dense. */
static void step(qemb_context *ctx, qemb_embedding_bag *bag, qemb_batch *batch, qemb_optimizer *optimizer, bool dense, fuzz_stream *s) {
    int64_t ids[MOST], offsets[BAGS];
    bool in_batch[ROWS] = {0};
    float before[ROWS * DIM], after[ROWS * DIM], grad[BAGS * DIM];
    int count = fuzz_below(s, MOST);
    qemb_buffer *out = NULL, *gradient = NULL;
    for (int i = 0; i < count; i++) {
        ids[i] = fuzz_below(s, ROWS);
        in_batch[ids[i]] = true;
    }
    for (int b = 0; b < BAGS; b++) {
        offsets[b] = b * count / BAGS;
    }
    for (int i = 0; i < BAGS * DIM; i++) {
        grad[i] = fuzz_byte(s) < 250 ? fuzz_float(s) : fuzz_any_float(s);
    }
    const qemb_input input = {.indices = ids, .num_indices = count, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = BAGS};
    PROMISE(qemb_batch_set(batch, bag, &input) == QEMB_OK);
    PROMISE(qemb_buffer_create(ctx, sizeof grad, &out) == QEMB_OK && qemb_buffer_create(ctx, sizeof grad, &gradient) == QEMB_OK);
    PROMISE(qemb_buffer_write(gradient, 0, sizeof grad, grad) == QEMB_OK);
    PROMISE(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, before) == QEMB_OK);
    PROMISE(qemb_embedding_bag_step(bag, batch, gradient, optimizer) == QEMB_ERR_STATE); /* no forward yet */
    PROMISE(qemb_embedding_bag_forward(bag, batch, out) == QEMB_OK && qemb_embedding_bag_step(bag, batch, gradient, optimizer) == QEMB_OK);
    PROMISE(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, after) == QEMB_OK);
    for (int r = 0; r < ROWS; r++) {
        PROMISE(dense || in_batch[r] || memcmp(before + r * DIM, after + r * DIM, DIM * sizeof *before) == 0);
    }
    qemb_buffer_destroy(out);
    qemb_buffer_destroy(gradient);
}

int fuzz_optimizer(const uint8_t *bytes, size_t count) {
    static qemb_context *ctx;
    fuzz_stream s = {bytes, count};
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_optimizer *optimizer = NULL;
    float weight[ROWS * DIM];
    PROMISE(ctx || qemb_context_create("reference", &ctx) == QEMB_OK);
    qemb_optimizer_desc desc = read_desc(&s);
    uint8_t shape = fuzz_byte(&s);
    for (int i = 0; i < ROWS * DIM; i++) {
        weight[i] = fuzz_float(&s);
    }
    const qemb_embedding_bag_desc module = {.num_embeddings = ROWS,
                                            .embedding_dim = DIM,
                                            .weight = weight,
                                            .mode = (qemb_mode)(shape & 3) % 3,
                                            .qconfig = shape & 4 ? qemb_qconfig_float() : qemb_qconfig_4bit(),
                                            .scale_grad_by_freq = (shape & 3) % 3 != 2 && shape & 8};
    PROMISE(qemb_embedding_bag_create(ctx, &module, &bag) == QEMB_OK && qemb_batch_create(ctx, &batch) == QEMB_OK);
    qemb_status st = qemb_optimizer_create(ctx, bag, &desc, &optimizer);
    PROMISE((st == QEMB_OK) == (optimizer != NULL));
    if (st == QEMB_OK) {
        bool numbers = isfinite(desc.lr) && desc.lr >= 0 && isfinite(desc.momentum) && isfinite(desc.weight_decay) && isfinite(desc.eps) &&
                       desc.eps >= 0;
        PROMISE(numbers && (int)desc.kind < OP_OPTIMIZERS);
        for (int i = 1 + (shape >> 6); i > 0; i--) {
            step(ctx, bag, batch, optimizer, desc.form == QEMB_SGD_DENSE, &s);
        }
    } else {
        PROMISE(st == QEMB_ERR_RANGE || st == QEMB_ERR_NONFINITE || st == QEMB_ERR_ARG || st == QEMB_ERR_UNSUPPORTED);
        PROMISE(qemb_last_error()[0] != '\0');
    }
    qemb_optimizer_destroy(optimizer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    return 0;
}
