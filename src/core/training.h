/* training.h - what a module needs to train: the sorted batch, and work space that grows with the largest batch. */
#ifndef QEMB_CORE_TRAINING_H
#define QEMB_CORE_TRAINING_H

#include "core/embedding_bag.h"
#include "core/row_sort.h"

/* A sorted batch. */
typedef struct qemb__sorted {
    qemb__row_sort *sort; /* NULL: not made yet */
    uint64_t generation;  /* of the batch that it holds; 0: none */
    bool stepped;         /* a step has used it: the first to make room */
} qemb__sorted;

typedef struct qemb__training {
    qemb__row_sort *sort;   /* that of the batch which gradients are asked of */
    qemb__sorted sorted[2]; /* the second from the first batch on that is sorted before its turn */
    int num_sorted;
    qemb_buffer *columns;   /* int64 [F]: first output column of each input feature */
    qemb_buffer *bag_scale; /* mode mean, float [F*B]: 1 / lookups of a bag (the lookups themselves under scale_grad_by_freq) */
    qemb_buffer *parts;     /* float [P][part_stride]: gradients of the parts of long runs */
    qemb_buffer *squares;   /* clip by norm: float [N + N/32 + 2]: sums of squares of rows, the coefficient, sums of blocks of rows */
    qemb_buffer *slots;     /* COO: int32 [N / Q_CHUNK + 1] */
    int64_t part_stride;    /* max_dim rounded up to a float16 */
} qemb__training;

enum { QEMB__SLOT_CHUNK = 1024 };

void qemb__training_destroy(qemb__training *training);

/* Makes training if there is none, and work space for a batch of this many bags of a feature and lookups. */
qemb_status qemb__training_reserve(qemb_embedding_bag *bag, int64_t bags, int64_t lookups);

/* As many sorts as are kept at once, 1 or 2. */
qemb_status qemb__training_sorts(qemb_embedding_bag *bag, int count);

/* Clip by norm and COO: room for what they need beside. */
qemb_status qemb__training_reserve_squares(qemb_embedding_bag *bag, int64_t lookups);
qemb_status qemb__training_reserve_slots(qemb_embedding_bag *bag, int64_t lookups);

/* Arguments for gradients of this batch: sorts it if that was not done yet. */
qemb_status qemb__training_begin(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, qemb__gradient_args *args);

/* A step of this batch was enqueued. */
void qemb__training_stepped(qemb_embedding_bag *bag, const qemb_batch *batch);

/* Whether a gradient can be asked for now. */
qemb_status qemb__training_check(const qemb_embedding_bag *bag, const qemb_batch *batch, const qemb_buffer *grad_output, const char *call);

/* Float tables with max_norm: clips the looked-up rows of the master weight for good, before a forward; their state, this forward's
 * observation included, is stored first. Nothing to do for other modules. From here on a forward changes what the caller can see. */
qemb_status qemb__training_clip_weights(qemb_embedding_bag *bag, qemb_batch *batch);

#endif
