/* ops.h - the table of operations an engine fills, and what each one is given.
 *
 * The core validates, sizes workspaces and calls one entry here; the reference engine runs it in plain C at once, the OpenCL engine
 * enqueues it. Arguments are already checked: an engine reports only failures of its own (NOMEM, DEVICE, BUILD). */
#ifndef QEMB_CORE_OPS_H
#define QEMB_CORE_OPS_H

#include "core/context.h"
#include "kernels_cl/shared/types.h"

/* The lookups of a batch on the device (struct q_batch in kernels_cl/shared/types.h says how they are read). */
typedef struct qemb__batch_view {
    q_batch shape;
    qemb_buffer *indices;
    qemb_buffer *offsets; /* NULL: fixed columns */
    qemb_buffer *weights; /* NULL: all 1 */
    qemb_buffer *status;  /* Q_STATUS_WORDS words */
    bool indices_64, offsets_64;
    qemb_buffer *longs; /* the list of struct q_deal, NULL where it is not known; a hint: any order gives the same bits */
    int32_t num_long, long_from;
    int64_t longest; /* lookups of the longest bag, where the list is known */
} qemb__batch_view;

typedef struct qemb__bag_forward_args {
    const qemb__tables *tables;
    const qemb__batch_view *batch;
    qemb_buffer *out;     /* [B][output_dim], or [N][D] for mode none */
    qemb_buffer *winners; /* mode max: int32 [B][output_dim], position of the element taken, -1 for an empty bag; else NULL */
    int64_t step;
} qemb__bag_forward_args;

typedef struct qemb__row_observe_args {
    const qemb__tables *tables;
    int32_t table;
    int64_t first, count; /* rows of the table */
    int64_t step;         /* forwards so far */
    bool store;           /* write the caught-up state back; else only report */
    qemb_buffer *result;  /* float [4][count]: min, max, scale, zero point; or NULL */
    qemb_buffer *values;  /* float [count][D]: the rows fake-quantised with these qparams; or NULL */
    bool soon;            /* values are read soon: they are best left in the caches */
} qemb__row_observe_args;

typedef struct qemb__batch_check_args {
    const qemb__tables *tables;
    const qemb__batch_view *batch;
    int64_t bags; /* F * B */
    qemb_check check;
} qemb__batch_check_args;

typedef struct qemb__row_sort_args {
    const qemb__batch_view *batch;
    struct qemb__row_sort *sort; /* core/row_sort.h: tables, results, the engine's work space */
    bool with_map;
} qemb__row_sort_args;

/* Where the gradient of a row comes from: a sorted batch and the gradient of its output. */
typedef struct qemb__gradient_args {
    const qemb__tables *tables;
    const qemb__batch_view *batch;
    struct qemb__training *work; /* core/training.h: the sorted batch, work space */
    qemb_buffer *grad_output;    /* like the output of bag_forward */
    qemb_buffer *winners;        /* mode max, else NULL */
    int64_t step;                /* forwards so far */
    bool freq;                   /* scale_grad_by_freq */
} qemb__gradient_args;

typedef struct qemb__bag_backward_args {
    qemb__gradient_args source;
    const qemb_gradients *want;
} qemb__bag_backward_args;

typedef struct qemb__row_update_args {
    qemb__gradient_args source;
    int32_t kind; /* Q_SGD ... Q_LARS_SGD, Q_CLIP_WEIGHT */
    bool dense;   /* every row of all tables, not only those of the batch */
    bool has_momentum;
    q_optimizer optimizer;
    qemb_buffer *const *m; /* [slabs] state: one number an element; NULL: none */
    qemb_buffer *const *v; /* one number an element, or a row */
} qemb__row_update_args;
/* Source rows [first, first + count) become packed rows [target_first, target_first + count). */
typedef struct qemb__row_pack_args {
    const qemb__tables *source;
    int32_t source_table;
    int64_t first;
    const qemb__tables *target; /* packed: the slabs' weight buffers hold bytes */
    int32_t table;
    int64_t target_first, count;
    int32_t method; /* Q_PACK_* */
    bool as_peer;
    int64_t step;        /* of the observation that method observer includes */
    qemb_buffer *ranges; /* float [count][2], method given; else NULL */
    qemb_buffer *status; /* Q_PACK_WORDS words: smallest bad row, counted from first */
} qemb__row_pack_args;

/* row_unpack: values[count][dim] of packed rows. row_convert: the same rows into `target`; values is work for one row of the reference. */
typedef struct qemb__row_unpack_args {
    const qemb__tables *source;
    const qemb__tables *target;
    int32_t table;
    int64_t first, count;
    qemb_buffer *values;
    qemb_buffer *status;
    bool as_peer;
} qemb__row_unpack_args;

typedef struct qemb__packed_forward_args {
    const qemb__tables *tables;
    const qemb__batch_view *batch;
    const qemb_buffer *maps; /* int32, Q_MAP_AT; NULL: no table has one */
    qemb_buffer *out;
    qemb_dtype dtype;
} qemb__packed_forward_args;

/* The operations that every engine has, in a journey's order: X(name, the type of its arguments). An engine names its functions
 * qemb__<engine>_<name>, and declares and lists them by this list. */
#define QEMB__OPERATIONS(X)                                                                                                                \
    X(batch_check, qemb__batch_check_args)                                                                                                 \
    X(bag_forward, qemb__bag_forward_args)                                                                                                 \
    X(row_observe, qemb__row_observe_args)                                                                                                 \
    X(row_sort, qemb__row_sort_args)                                                                                                       \
    X(bag_backward, qemb__bag_backward_args)                                                                                               \
    X(row_update, qemb__row_update_args)                                                                                                   \
    X(row_pack, qemb__row_pack_args)                                                                                                       \
    X(row_unpack, qemb__row_unpack_args)                                                                                                   \
    X(row_convert, qemb__row_unpack_args)                                                                                                  \
    X(packed_forward, qemb__packed_forward_args)

struct qemb__ops {
    const char *name;
    void (*close)(qemb_context *ctx);
    qemb_status (*finish)(qemb_context *ctx);
    const char *(*build_log)(qemb_context *ctx);

    /* memory: create fills memory and host of a buffer whose ctx and bytes are set */
    qemb_status (*buffer_create)(qemb_buffer *buffer);
    void (*buffer_destroy)(qemb_buffer *buffer);
    /* the same over `host` memory of the caller, which is only read; for devices with report.host_memory */
    qemb_status (*buffer_borrow)(qemb_buffer *buffer);
    qemb_status (*buffer_write)(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source, bool wait);
    qemb_status (*buffer_read)(qemb_buffer *buffer, size_t offset, size_t bytes, void *target, bool wait);
    /* write from the start without waiting; *fence (NULL at first) then stands for the end of the copy. fence_wait waits, clears it and says
     * how the copy ended; fence_drop clears it whatever the device says */
    qemb_status (*buffer_upload)(qemb_buffer *buffer, size_t bytes, const void *source, void **fence);
    qemb_status (*fence_wait)(qemb_context *ctx, void **fence);
    void (*fence_drop)(qemb_context *ctx, void **fence);
    qemb_status (*buffer_copy)(qemb_buffer *target, size_t target_offset, qemb_buffer *source, size_t source_offset, size_t bytes);

#define QEMB__OPERATION(name, type) qemb_status (*name)(qemb_context * ctx, const type *args);
    QEMB__OPERATIONS(QEMB__OPERATION)
#undef QEMB__OPERATION

    /* compiles what the operations on these tables need; calls after it compile nothing */
    qemb_status (*prepare)(qemb_context *ctx, const qemb__tables *tables);

    /* compiles what row_update takes for batches from the host; NULL where there is nothing to compile */
    qemb_status (*row_update_prepare)(qemb_context *ctx, const qemb__row_update_args *args);

    /* compiles what a forward of these packed tables needs */
    qemb_status (*packed_prepare)(qemb_context *ctx, const qemb__tables *tables, bool mapped);

    /* as the calls of qemb.h; NULL where there is nothing to choose */
    const char *(*variant)(qemb_context *ctx, const char *stem); /* NULL: no such stem */
    const char *(*tuning_line)(qemb_context *ctx, const char *stem);
    qemb_status (*force_variant)(qemb_context *ctx, const char *text);
    void (*variants)(qemb_context *ctx, qemb_variant_visitor visit, void *user);
};

/* Opens an engine into a context: fills ops, engine, report. */
qemb_status qemb__reference_open(qemb_context *ctx);
qemb_status qemb__opencl_open(qemb_context *ctx, const char *selector);
qemb_status qemb__opencl_devices(qemb_device_visitor visit, void *user);

#endif
