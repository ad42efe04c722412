/* bag_backward.h - the operation bag_backward as test and bench describe it: a forward (bag_forward.h), the gradient of its output, which
 * gradients are asked for, the bytes they must move, and their tolerance.
 *
 * Gradients of two engines are equal bit for bit (P5): the orders of addition are part of the contract. Against a gradient that another
 * program adds up in another order each element differs by at most n * 2^-24 * (sum of the magnitudes), n the lookups of the row. */
#ifndef QEMB_OPS_BAG_BACKWARD_H
#define QEMB_OPS_BAG_BACKWARD_H

#include "ops/bag_forward.h"

#define OP_BAG_BACKWARD_TOLERANCE 0.0

/* op_bag_backward.want: dense of each table, the sparse gradient in either form, of the per-sample weights. */
enum { OP_WANT_DENSE = 1, OP_WANT_COO = 2, OP_WANT_COALESCED = 4, OP_WANT_WEIGHTS = 8 };

typedef struct op_bag_backward {
    op_bag_forward forward;
    int64_t want;
} op_bag_backward;

static const op_key op_bag_backward_keys[] = {
    {"want", offsetof(op_bag_backward, want), false},
};
enum { OP_BAG_BACKWARD_KEYS = sizeof op_bag_backward_keys / sizeof *op_bag_backward_keys };

/* What of `want` the case can have: no COO with max or scale_grad_by_freq, no gradient of weights that are not there. */
static inline int64_t op_bag_backward_can(const op_bag_backward *op) {
    const op_bag_forward *f = &op->forward;
    int64_t can = OP_WANT_DENSE;
    can |= f->freq || f->mode == QEMB_MODE_MAX ? 0 : OP_WANT_COO | OP_WANT_COALESCED;
    can |= f->weighted ? OP_WANT_WEIGHTS : 0;
    return op->want & can;
}

/* The gradient of the output at step `step`: floats in (-1, 1) whose sums round, so that another order of addition shows. */
static inline void op_bag_backward_fill(const op_bag_backward *op, int64_t step, float *grad_output, int64_t count) {
    uint64_t state = (uint64_t)op->forward.seed * 2654435761u + (uint64_t)step * 97u + 5u;
    for (int64_t i = 0; i < count; i++) {
        grad_output[i] = op_uniform(&state);
    }
}

/* Where gradients of one table go; NULL: not wanted. */
typedef struct op_gradient_buffers {
    qemb_buffer *dense, *coo_indices, *coo_values, *coo_count, *weights;
} op_gradient_buffers;

/* Asks for the gradients of `want` (one bit of the two COO forms at most) of one table. */
static inline qemb_status op_bag_backward_run(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, int32_t table,
                                              int64_t want, const op_gradient_buffers *to) {
    const bool coo = (want & (OP_WANT_COO | OP_WANT_COALESCED)) != 0;
    const qemb_gradients gradients = {.table = table,
                                      .dense = want & OP_WANT_DENSE ? to->dense : NULL,
                                      .coo_indices = coo ? to->coo_indices : NULL,
                                      .coo_values = coo ? to->coo_values : NULL,
                                      .coo_count = coo ? to->coo_count : NULL,
                                      .coalesced = (want & OP_WANT_COALESCED) != 0,
                                      .per_sample_weights = want & OP_WANT_WEIGHTS ? to->weights : NULL};
    return qemb_embedding_bag_backward(bag, batch, grad_output, &gradients);
}

/* Fewest bytes of the gradient of the output and the ids of a batch: each read once. */
static inline double op_bag_backward_input_bytes(const op_bag_forward *op, double lookups, double columns) {
    return 4.0 * (double)op->B * columns + lookups * ((op->i64 ? 8.0 : 4.0) + (op->weighted ? 4.0 : 0.0));
}

/* Fewest bytes of the coalesced sparse gradient of all tables: of each distinct row a row is read for its mask and a gradient with its
 * id is written; `floats` are in those rows. */
static inline double op_bag_backward_bytes(const op_bag_forward *op, double lookups, double columns, double rows, double floats) {
    return 8.0 * floats + 8.0 * rows + op_bag_backward_input_bytes(op, lookups, columns);
}

#endif
