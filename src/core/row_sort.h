/* row_sort.h - the lookups of a batch grouped by row: made once a batch, shared by everything that goes over rows.
 *
 * With N lookups of which V have a row (inside their table and not padding), U distinct rows among them:
 *   counts     int32 [4]: U, V, P (Q_SORT_*): on the device, the host does not wait for them
 *   position   int32 [V]: positions by (row, position);  slots from V on mean nothing
 *   run_start  int32 [U + 1]: first slot of each run (one run a distinct row), V at the end
 *   run_row    row number in the module (row0 of its table + index), ascending: uint32 [U], uint64 when `wide`
 *   run_of     int32 [N]: run of a position, -1 for one without a row (on request)
 *   bag_of     int32 [N]: bag of a position, f * B + b
 *   part_*     runs longer than Q_PART slots are summed in parts of Q_PART, counted from the run's own start: P parts in all; part p
 *              lies in run part_run[p] and starts at slot part_slot[p]; part_first[r] is the first part of run r, written for such runs
 * A batch that was refused on the device has U = V = P = 0. */
#ifndef QEMB_CORE_ROW_SORT_H
#define QEMB_CORE_ROW_SORT_H

#include "core/ops.h"
#include "core/tables.h"

enum {
    QEMB__ROW_SORT_WORK = 6,
    QEMB__ROW_SORT_REACH = 16 /* elements behind the results that an engine may write to */
};

typedef struct qemb__row_sort {
    qemb_context *ctx;
    const qemb__tables *tables;
    bool wide;
    qemb_buffer *plan; /* int32: first list entry of each table [T + 1]; list [F] of input features by table, ascending; table_of [F] */
    qemb_buffer *counts, *position, *run_start, *run_row, *run_of, *bag_of, *part_first, *part_run, *part_slot;
    qemb_buffer *work[QEMB__ROW_SORT_WORK]; /* the engine's */
} qemb__row_sort;

/* A sort for batches of these tables, which must outlive it. Given one of the same tables already (else NULL), it waits for nothing. */
qemb_status qemb__row_sort_create(const qemb__tables *tables, const qemb__row_sort *like, qemb__row_sort **out);
void qemb__row_sort_destroy(qemb__row_sort *sort);

/* Sorts a batch; returns before the device is done. Buffers grow with the largest batch seen, nothing else is allocated. with_map: run_of
 * is wanted (a random write a lookup). */
qemb_status qemb__row_sort_run(qemb__row_sort *sort, const qemb__batch_view *batch, bool with_map);

/* The most parts that n lookups can have: a run of Q_PART + 1 has two. */
static inline int64_t qemb__row_sort_max_parts(int64_t n) {
    return 2 * n / (Q_PART + 1) + 1;
}

#endif
