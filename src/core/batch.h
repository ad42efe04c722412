/* batch.h - the lookups of one step, validated, on the device. */
#ifndef QEMB_CORE_BATCH_H
#define QEMB_CORE_BATCH_H

#include "core/ops.h"

struct qemb_batch {
    qemb_context *ctx;
    uint64_t module; /* serial of the module it was set for; 0 before the first set */
    qemb__batch_view view;
    int64_t bags; /* of one feature */
    qemb_check check;
    bool on_device;      /* view's buffers are the caller's */
    int64_t skipped;     /* host input under QEMB_SKIP */
    uint64_t generation; /* serial of the last set: a backward, and a sort, belong to the forward of the same generation */

    /* host input travels in one copy through one of two staging blocks into one of two stores, so that a set need not wait for the
     * step that still reads the last one */
    qemb_buffer *store[2];
    void *staging[2];
    int64_t staging_bytes[2];
    void *fence[2];                                                   /* end of the copy out of staging */
    qemb_buffer view_indices, view_offsets, view_weights, view_longs; /* windows into store[turn] */
    int turn;

    qemb_buffer *spare; /* status words for the next set, so that one that fails leaves those of the last as they are */
    bool status_dirty;  /* the status words may hold an error of device input */
    bool is_unchecked;  /* device input whose status has not been read */
    qemb_batch *next_unchecked;
};

/* Waits for the device, reads the status words: INDEX or OFFSETS with the first bad position. */
qemb_status qemb__batch_read_status(qemb_batch *batch, int64_t *skipped);

#endif
