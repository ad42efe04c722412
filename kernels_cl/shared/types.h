/* types.h - what host and device both see: fixed-width integers, table and feature descriptors, observer state, arguments.
 *
 * C11 and OpenCL C. No pointer travels in a buffer; every struct has the same layout on both sides, which the host asserts
 * (src/core/tables.c) and a kernel checks once a context (src/opencl/probe.c). */
#ifndef Q_TYPES_H
#define Q_TYPES_H

#ifdef __OPENCL_VERSION__
typedef char q_i8;
typedef uchar q_u8;
typedef short q_i16;
typedef ushort q_u16;
typedef int q_i32;
typedef uint q_u32;
typedef long q_i64;
typedef ulong q_u64;
#else
#include <stdint.h>
typedef int8_t q_i8;
typedef uint8_t q_u8;
typedef int16_t q_i16;
typedef uint16_t q_u16;
typedef int32_t q_i32;
typedef uint32_t q_u32;
typedef int64_t q_i64;
typedef uint64_t q_u64;
#endif

/* Address space of tables: descriptors and packed rows. */
#ifdef __OPENCL_VERSION__
#define Q_TABLE_SPACE __global
#else
#define Q_TABLE_SPACE
#endif

/* q_table.flags */
#define Q_OBSERVER_ON   1  /* a forward observes the rows it reads */
#define Q_FAKE_QUANT_ON 2  /* a forward fake-quantises; else it looks up float rows */
#define Q_HAS_STATE     4  /* stored min and max exist: qparams come from state and row, else from the row alone */
#define Q_HAS_NORM      8  /* max_norm, applied to what a lookup gives */
#define Q_CLIPS_WEIGHT  16 /* max_norm of a float table: a forward clips the looked-up rows themselves first */

/* q_table.observer, .arithmetic, .layout: the values of the enums in qemb.h */
#define Q_MOVING_AVERAGE 0
#define Q_MIN_MAX        1
#define Q_MEMORYLESS     2
#define Q_TORCH_CPU      0
#define Q_TORCH_CUDA     1
#define Q_PACKED         2

#define Q_MODE_MEAN 0
#define Q_MODE_SUM  1
#define Q_MODE_MAX  2
#define Q_MODE_NONE 3

/* A run of lookups of one row longer than this is summed in parts of this many, and the parts are combined in a fixed tree. */
#define Q_PART 32

/* Clip by norm: squares of rows are summed in blocks of so many runs, in order; block b goes to sum b % Q_NORM_SUMS, in order; and those sums are
 * halved, s with s + half. */
#define Q_NORM_BLOCK 32
#define Q_NORM_SUMS  256

/* One table, 128 bytes. Row r lies in slab (slab + (r >> row_shift)) at element base + (r & mask) * dim, and in the arrays with one
 * entry a row at state_base + (r & mask); mask = 2^row_shift - 1. A table in one slab has row_shift 62. */
typedef struct q_table {
    q_i64 rows;
    q_i64 padding_idx; /* -1: none */
    q_i64 row0;        /* rows of all tables before this one: row r has number row0 + r in the module */
    q_i64 base;
    q_i64 state_base;
    q_i64 observed; /* observations so far are step + observed while the observer is on, observed while it is off */
    q_i32 dim;
    q_i32 slab;
    q_i32 row_shift;
    q_i32 flags; /* 64 bytes: all that a float lookup reads */
    float qmin, qmax;
    float range;         /* qmax - qmin */
    float inverse_range; /* 1 / range, for torch_cuda */
    float eps;
    float averaging; /* averaging constant */
    float max_norm, norm_type;
    q_i32 observer, arithmetic, layout, bits;
    q_i32 group;     /* of slabs: which launch sees the table */
    q_i32 row_bytes; /* packed tables: from one row to the next. base and state_base count bytes there (row_layout.h) */
    q_i32 qparams;   /* of the planar layout: Q_QPARAMS_*, Q_SYMMETRIC */
    q_i32 spare;
} q_table;

/* One feature, 16 bytes: which table, which number in the input, which first column of the output. */
typedef struct q_feature {
    q_i32 table;
    q_i32 index;
    q_i64 column;
} q_feature;

/* Observer state of one row, 16 bytes, one load. count 0: never observed. */
typedef struct q_state {
    float min_val, max_val;
    q_i64 count; /* observations that min_val and max_val include */
} q_state;

/* Status words of a batch; a kernel of the batch does nothing when one of the first two is not Q_NO_ERROR. */
#define Q_NO_ERROR      0xffffffffu
#define Q_STATUS_OFFSET 0 /* smallest bad position in offsets */
#define Q_STATUS_INDEX  1 /* smallest bad position in indices (QEMB_CHECK only) */
#define Q_STATUS_SKIPS  2 /* ids left out (QEMB_SKIP) */
#define Q_STATUS_WORDS  4

/* A context's own words on the device, as q_i64: rows counted by kernels that store state (nonfinite, repaired), and the turn (q_deal). */
#define Q_EVENTS     3
#define Q_EVENT_TURN 4 /* as words of 32 bits: turns taken so far, 0 between launches */

/* The lookups of a batch as kernels read them. Bag b of feature f is g = f * bags + b; it covers positions
 * [offsets[g], g + 1 < num_offsets ? offsets[g + 1] : lookups), or [g * columns, (g + 1) * columns) when columns > 0.
 * The *_at are element offsets into the buffers. */
typedef struct q_batch {
    q_i64 bags; /* of one feature */
    q_i64 lookups;
    q_i64 columns;
    q_i64 num_offsets;
    q_i64 indices_at, offsets_at, weights_at;
} q_batch;

/* Long bags first: bags of long_from lookups and more stand in a list at long_at, each as (its place among the features) * bags + bag. A
 * work-item is a turn: a tile of neighbouring bags of a feature, those that hold a bag of the list first. dealt (CPU family): a work-item takes
 * the next turn when it begins, there are more of them than turns. */
typedef struct q_deal {
    q_i64 long_at;
    q_i32 num_long, long_from;     /* 0: no list */
    q_i32 tile, in_feature, turns; /* bags of a tile; tiles of a feature; turns of the launch, the list included */
    q_i32 dealt;
} q_deal;

/* bag_forward: features [first_feature, first_feature + num_features) of the launch. */
typedef struct q_bag_forward {
    q_batch batch;
    q_deal deal;
    q_i64 out_at, out_stride;
    q_i64 step; /* number of this forward, from 1 */
    q_i32 first_feature, num_features;
} q_bag_forward;

/* row_observe: rows [first, first + count) of the slab that the launch is given. */
typedef struct q_row_observe {
    q_i64 first, count;
    q_i64 result_at, result_stride; /* result[k * stride + at + i]: k = min, max, scale, zero point */
    q_i64 observations;             /* that the state must include */
    q_i64 values_at;                /* where the first row's values go, in floats */
    q_i32 table, store, report;
    q_i32 spare;
} q_row_observe;

/* batch_check: offsets first (bags = F * B), then indices. */
typedef struct q_batch_check {
    q_batch batch;
    q_i64 bags;
    q_i32 num_features, check;
} q_batch_check;

/* Where the gradient of rows comes from: grad_output at out_at with out_stride columns a bag, runs of row_sort, winners like grad_output. */
typedef struct q_gradient {
    q_batch batch;
    q_i64 out_at, out_stride, winners_at;
    q_i64 step;        /* forwards so far */
    q_i64 part_stride; /* columns of a row of `parts` */
    q_i32 num_features, num_tables;
    q_i32 group; /* of slabs, that this launch sees */
    q_i32 freq;  /* scale_grad_by_freq */
} q_gradient;

/* bag_backward: what becomes of a row's gradient. */
#define Q_INTO_TABLE   0 /* out[row][D] of one table */
#define Q_INTO_RUNS    1 /* out[run - first run of the table][D], and its row number */
#define Q_INTO_SQUARES 2 /* squares of rows of all tables (norm_blocks) */
#define Q_INTO_LOOKUPS 3 /* out[slot][D], one a lookup of the table in input order, and its row number */
#define Q_INTO_NORM    4 /* squares of rows, and the sums of blocks: the last group of slabs */
typedef struct q_bag_backward {
    q_gradient source;
    q_i64 out_at, rows_at, count_at;
    q_i32 table, form;
} q_bag_backward;

/* row_update.kind: the values of qemb_optimizer_kind, and the clipping of float tables to max_norm. */
#define Q_SGD                  0
#define Q_ADAGRAD              1
#define Q_ROWWISE_ADAGRAD      2
#define Q_SPARSE_ADAM          3
#define Q_ADAM                 4
#define Q_PARTIAL_ROWWISE_ADAM 5
#define Q_LAMB                 6
#define Q_LARS_SGD             7
#define Q_CLIP_WEIGHT          100 /* apart from the kinds, so that a new one takes the next number */

#define Q_CLIP_NONE  0
#define Q_CLIP_VALUE 1
#define Q_CLIP_NORM  2

/* An optimiser at one step. What torch takes in double arrives rounded once. */
typedef struct q_optimizer {
    float scale;                                 /* what the direction is multiplied by: -lr and its like */
    float lr, momentum, keep, weight_decay, eps; /* keep: 1 - dampening */
    float beta1, rest1, beta2, rest2;            /* rest: 1 - beta */
    float bias1, bias2;                          /* 1 - beta^t */
    float max_norm, trust, limit;                /* max_norm < 0: none; limit of the clip */
    q_i32 first;                                 /* the first step */
    q_i32 nesterov, maximize, decoupled, clip;
} q_optimizer;

/* q_row_update.parts: combined; summed, and the launch combines them; the launch does both, which rows in blocks alone can. */
#define Q_PARTS_COMBINED 0
#define Q_PARTS_SUMMED   1
#define Q_PARTS_UNSUMMED 2

/* row_update: a row a run, or every row of all tables (dense). */
typedef struct q_row_update {
    q_gradient source;
    q_optimizer optimizer;
    q_i64 items;   /* dense: rows of all tables */
    q_i64 norm_at; /* clip by norm: where the sums of blocks are; the coefficient, where a launch before made it, lies in front of them */
    q_i32 parts;   /* of long runs, as the launch finds them: Q_PARTS_* */
    q_i32 spare;
} q_row_update;

/* row_sort (kernels_cl/row_sort_cpu.cl, row_sort_gpu.cl). counters: words of all passes. CPU: a table has 2^split buckets; alone: one
 * work-item does everything. GPU: slots of a group, number of the pass. */
typedef struct q_row_sort {
    q_batch batch;
    q_i64 total_rows, counters;
    q_i32 num_features, num_tables;
    q_i32 split, alone;
    q_i32 span, pass, last;
    q_i32 spare;
} q_row_sort;

/* What row_sort counts. */
#define Q_SORT_RUNS    0 /* distinct rows */
#define Q_SORT_LOOKUPS 1 /* lookups that have a row */
#define Q_SORT_PARTS   2 /* parts of runs longer than Q_PART */

/* row_pack: source rows [first, first + count) of one slab become packed rows [target, target + count) of one slab. */
typedef struct q_row_pack {
    q_i64 first, target, count;
    q_i64 observations; /* that the observer state must include */
    q_i64 ranges_at;    /* method `given`: ranges[ranges_at + 2 i] = min, then max */
    q_i32 table, target_table, method;
    q_i32 as_peer; /* infinite scales and biases are stored */
} q_row_pack;

/* Status words of row_pack: the first row of the launch that cannot be packed. */
#define Q_PACK_NONFINITE 0 /* holds NaN or inf */
#define Q_PACK_INFINITE  1 /* its scale or bias would be stored as infinity */
#define Q_PACK_WORDS     2

/* q_row_pack.method: the values of qemb_pack_method. */
#define Q_PACK_MINMAX   0
#define Q_PACK_OBSERVER 1
#define Q_PACK_GREEDY   2
#define Q_PACK_GIVEN    3

/* row_unpack: values[count][dim] of packed rows [first, first + count) of one slab; row_convert: packed rows to packed rows. */
typedef struct q_row_unpack {
    q_i64 first, target, count;
    q_i64 values_at;
    q_i32 table, target_table;
    q_i32 as_peer, spare;
} q_row_unpack;

/* packed_forward: features [first_feature, first_feature + num_features). */
typedef struct q_packed_forward {
    q_batch batch;
    q_deal deal;
    q_i64 out_at, out_stride;
    q_i32 first_feature, num_features;
} q_packed_forward;

#endif
