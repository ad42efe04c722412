/* row_observe.h - the operation row_observe as test and bench describe it: the state and qparams of `rows` rows of `dim` columns, brought
 * up to the forwards so far. Results are equal bit for bit on every engine. */
#ifndef QEMB_OPS_ROW_OBSERVE_H
#define QEMB_OPS_ROW_OBSERVE_H

#include "ops/bag_forward.h"

#define OP_ROW_OBSERVE_TOLERANCE 0.0

/* Bytes that a sweep must move: each row read, its 16 bytes of state read and, when stored, written. */
static inline double op_row_observe_bytes(double rows, double dim, bool store) {
    return rows * (4.0 * dim + (store ? 32.0 : 16.0));
}

#endif
