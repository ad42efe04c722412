/* packed_forward.h - the operation packed_forward as test and bench describe it: the bytes a lookup of packed rows must move. Its cases are
 * those of bag_forward.h; outputs of two engines, and of training under the packed arithmetic, are equal bit for bit. */
#ifndef QEMB_OPS_PACKED_FORWARD_H
#define QEMB_OPS_PACKED_FORWARD_H

#include "ops/bag_forward.h"
#include "ops/row_pack.h"

#define OP_PACKED_FORWARD_TOLERANCE 0.0

/* Each row once a lookup, indices, offsets and weights, the float32 output; row_bytes is the mean over the tables, qparams included. */
static inline double op_packed_forward_bytes(const op_bag_forward *op, double lookups, double row_bytes, double columns) {
    const double index = op->i64 ? 8.0 : 4.0;
    return lookups * (row_bytes + index + (op->weighted ? 4.0 : 0.0)) + index * (double)(op->T * op->B + 1) + 4.0 * (double)op->B * columns;
}

#endif
