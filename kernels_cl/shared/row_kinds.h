/* row_kinds.h - what each kind of update needs: state arrays, sums along the row, blocks. C11 and OpenCL C, preprocessor included. */
#ifndef Q_ROW_KINDS_H
#define Q_ROW_KINDS_H

/* Which state a kind keeps: `m` one number an element, `v` one an element or one a row. */
#define Q_HAS_M(kind, momentum)                                                                                                            \
    (((kind) == Q_SGD && (momentum)) || (kind) == Q_SPARSE_ADAM || (kind) == Q_ADAM || (kind) == Q_PARTIAL_ROWWISE_ADAM ||                 \
     (kind) == Q_LAMB || (kind) == Q_LARS_SGD)
#define Q_HAS_V(kind)   ((kind) == Q_ADAGRAD || (kind) == Q_SPARSE_ADAM || (kind) == Q_ADAM || (kind) == Q_LAMB)
#define Q_HAS_ROW(kind) ((kind) == Q_ROWWISE_ADAGRAD || (kind) == Q_PARTIAL_ROWWISE_ADAM)
/* Sums along the row: before the direction of g and w, or after it of w and d. */
#define Q_SUMS_BEFORE(kind) ((kind) == Q_ROWWISE_ADAGRAD || (kind) == Q_PARTIAL_ROWWISE_ADAM || (kind) == Q_LARS_SGD)
#define Q_SUMS_AFTER(kind)  ((kind) == Q_LAMB)

/* Rows that the CPU family takes in float16 blocks; a sum along the row wants whole blocks. */
#define Q_IN_BLOCKS(kind, dim) ((dim) >= 16 && (dim) <= 256 && ((dim) % 16 == 0 || !(Q_SUMS_BEFORE(kind) || Q_SUMS_AFTER(kind))))

#endif
