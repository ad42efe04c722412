/* row_update.h - the operation row_update as test and bench describe it: a backward (bag_backward.h) and an optimiser, the bytes that a step
 * must move, and its tolerance: weights, optimiser state and observer state of two engines are equal bit for bit (P5). */
#ifndef QEMB_OPS_ROW_UPDATE_H
#define QEMB_OPS_ROW_UPDATE_H

#include "ops/bag_backward.h"

#define OP_ROW_UPDATE_TOLERANCE 0.0

enum { OP_NO_OPTIMIZER = -1, OP_OPTIMIZERS = QEMB_LARS_SGD + 1 };

/* The fields of qemb_optimizer_desc; kind OP_NO_OPTIMIZER: forwards and gradients only. */
typedef struct op_row_update {
    op_bag_backward backward;
    int64_t opt, form, decay, clip, nesterov, maximize;
    double lr, momentum, dampening, weight_decay, lr_decay, accumulator, eps, beta1, beta2, shrink, trust, limit;
} op_row_update;

static const op_key op_row_update_keys[] = {
#define OP_INTEGER(k)                                                                                                                      \
    { #k, offsetof(op_row_update, k), false }
#define OP_REAL(k)                                                                                                                         \
    { #k, offsetof(op_row_update, k), true }
    OP_INTEGER(opt), OP_INTEGER(form),  OP_INTEGER(decay),  OP_INTEGER(clip),      OP_INTEGER(nesterov), OP_INTEGER(maximize),
    OP_REAL(lr),     OP_REAL(momentum), OP_REAL(dampening), OP_REAL(weight_decay), OP_REAL(lr_decay),    OP_REAL(accumulator),
    OP_REAL(eps),    OP_REAL(beta1),    OP_REAL(beta2),     OP_REAL(shrink),       OP_REAL(trust),       OP_REAL(limit),
#undef OP_INTEGER
#undef OP_REAL
};
enum { OP_ROW_UPDATE_KEYS = sizeof op_row_update_keys / sizeof *op_row_update_keys };

static inline const char *op_row_update_text(const op_row_update *op, char *text) {
    int n = op_words_text(op_bag_forward_keys, OP_BAG_FORWARD_KEYS, &op->backward.forward, text, 0);
    n = op_words_text(op_bag_backward_keys, OP_BAG_BACKWARD_KEYS, &op->backward, text, n);
    (void)op_words_text(op_row_update_keys, OP_ROW_UPDATE_KEYS, op, text, n);
    return text;
}

static inline bool op_row_update_parse(const char *text, op_row_update *op) {
    for (; *(text += strspn(text, " ")) != '\0'; text += strcspn(text, " ")) {
        if (!op_word_read(op_bag_forward_keys, OP_BAG_FORWARD_KEYS, &op->backward.forward, text) &&
            !op_word_read(op_bag_backward_keys, OP_BAG_BACKWARD_KEYS, &op->backward, text) &&
            !op_word_read(op_row_update_keys, OP_ROW_UPDATE_KEYS, op, text)) {
            return false;
        }
    }
    return true;
}

static inline qemb_optimizer_desc op_row_update_desc(const op_row_update *op) {
    return (qemb_optimizer_desc){.kind = (qemb_optimizer_kind)op->opt,
                                 .lr = op->lr,
                                 .momentum = op->momentum,
                                 .dampening = op->dampening,
                                 .weight_decay = op->weight_decay,
                                 .lr_decay = op->lr_decay,
                                 .initial_accumulator_value = op->accumulator,
                                 .eps = op->eps,
                                 .beta1 = op->beta1,
                                 .beta2 = op->beta2,
                                 .max_norm = op->shrink,
                                 .trust = op->trust,
                                 .clip_limit = op->limit,
                                 .clip = (qemb_clip)op->clip,
                                 .decay = (qemb_decay)op->decay,
                                 .form = (qemb_sgd_form)op->form,
                                 .nesterov = op->nesterov != 0,
                                 .maximize = op->maximize != 0};
}

/* Numbers that an optimiser keeps: of each element of a row, the weight itself among them, and of each row. */
static inline double op_row_update_element_numbers(qemb_optimizer_kind kind, bool momentum) {
    switch (kind) {
    case QEMB_SGD:
        return momentum ? 2.0 : 1.0;
    case QEMB_ROWWISE_ADAGRAD:
        return 1.0;
    case QEMB_ADAGRAD:
    case QEMB_LARS_SGD:
    case QEMB_PARTIAL_ROWWISE_ADAM:
        return 2.0;
    case QEMB_SPARSE_ADAM:
    case QEMB_ADAM:
    case QEMB_LAMB:
        break;
    }
    return 3.0;
}

static inline double op_row_update_row_numbers(qemb_optimizer_kind kind) {
    return kind == QEMB_ROWWISE_ADAGRAD || kind == QEMB_PARTIAL_ROWWISE_ADAM ? 1.0 : 0.0;
}

/* Fewest bytes of gradient and update together: the gradient of the output and the ids read, each distinct row with the optimiser's
 * numbers beside it read and written, its observer state written. `op` as op_bag_forward_bytes_of takes it. */
static inline double op_row_update_bytes(const op_bag_forward *op, qemb_optimizer_kind kind, double lookups, double columns, double rows,
                                         double floats) {
    const bool keeps_state = op->fake_quant && op->observer != QEMB_OBSERVER_MEMORYLESS;
    return 8.0 * (floats * op_row_update_element_numbers(kind, false) + rows * op_row_update_row_numbers(kind)) +
           (keeps_state ? 16.0 * rows : 0.0) + op_bag_backward_input_bytes(op, lookups, columns);
}

#endif
