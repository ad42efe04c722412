/* embedding_bag.h - the module: tables, switches, counters. */
#ifndef QEMB_CORE_EMBEDDING_BAG_H
#define QEMB_CORE_EMBEDDING_BAG_H

#include "core/batch.h"
#include "core/tables.h"

/* Switches that forwards turn, of one table (core/schedule.c). */
typedef struct qemb__schedule {
    int64_t fake_quant_from, observer_until; /* forwards, from 0; 0: not scheduled */
    q_i32 flags;                             /* of the table, and its observations, before the switches were turned last */
    q_i64 observed;
} qemb__schedule;

struct qemb_embedding_bag {
    qemb_context *ctx;
    uint64_t serial; /* what batches name it by */
    qemb__tables *tables;
    qemb_bag_options options;
    bool pooled;                  /* false: embedding, one output row a lookup */
    int64_t forwards;             /* forward calls so far: the step that observer state counts */
    qemb_buffer *winners;         /* mode max: the element each output was taken from, of the last forward */
    const qemb_batch *last_batch; /* of the last forward, with its generation: what a backward must name; NULL: none. Only compared */
    uint64_t last_generation;
    qemb_qconfig *qconfig;           /* [T] as created */
    struct qemb__training *training; /* core/training.h; made by the first call that needs it */
    qemb__schedule *schedule;        /* [T]; NULL: none */
};

/* Turns a switch of one table or QEMB_ALL_TABLES, inside the context. */
qemb_status qemb__bag_set_flag(qemb_embedding_bag *bag, int32_t table, int32_t flag, bool on);

/* Turns the switches that are due before the next forward; turns them back when that forward then fails. */
qemb_status qemb__bag_follow_schedule(qemb_embedding_bag *bag);
void qemb__bag_undo_schedule(qemb_embedding_bag *bag);

/* Bag, table and rows exist. */
qemb_status qemb__bag_check_rows(const qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, const char *call);

/* A module around checked descriptors; pooled false for an embedding. */
qemb_status qemb__bag_create(qemb_context *ctx, const qemb_collection_desc *desc, bool pooled, const char *call, qemb_embedding_bag **bag);

/* The module over the weights of `source` under one qconfig for every table (qemb_*_from_float, qemb_*_to_float). */
qemb_status qemb__bag_share(const qemb_embedding_bag *source, const qemb_qconfig *qconfig, const char *call, qemb_embedding_bag **bag);

#endif
