/* packed.h - the packed object: descriptors and bytes of its tables, and a module without weights that batches are checked against. */
#ifndef QEMB_CORE_PACKED_H
#define QEMB_CORE_PACKED_H

#include "core/embedding_bag.h"

struct qemb_packed {
    qemb_context *ctx;
    qemb_embedding_bag shape;   /* tables are packed: weight buffers of the slabs hold bytes. Options, pooling, what a batch is set for */
    qemb_packed_format *format; /* [T] */
    int64_t *rows;              /* [T] packed rows; q_table.rows is what indices are checked against */
    int32_t **map;              /* [T] row maps on the host, NULL: none */
    qemb_buffer *maps;          /* all maps on the device, or NULL */
    bool borrowed;              /* the slabs lie in memory of the caller's: waited for before `release` */
    void (*release)(void *user);
    void *user;
};

/* What packed tables are made of, whoever makes them. */
typedef struct qemb__packed_plan {
    const qemb_packed_table *tables; /* sizes, formats, names, maps; bytes are not looked at */
    int32_t num_tables;
    const int32_t *feature_table;
    int32_t num_features;
    qemb_bag_options options;
    bool pooled;
    const void *memory; /* NULL, or slabs are to lie where the tables' rows and qparams are, inside these bytes */
    size_t memory_bytes;
} qemb__packed_plan;

/* Whether the tables of a plan can be used where they lie: in the device's memory, inside `memory`, none beyond one allocation. */
bool qemb__packed_can_borrow(qemb_context *ctx, const qemb__packed_plan *plan);

/* Slabs over the plan's memory for tables that are described already (packed_borrow.c). */
qemb_status qemb__packed_borrow(qemb__tables *tables, const qemb__packed_plan *plan, int32_t *group_of);

/* Where the first row's qparams lie when the rows begin at `base`, in layouts that keep them in the row. */
int64_t qemb__packed_qparams_base(const q_table *table, int64_t base);

/* Kernels read whole chunks of codes, up to this many bytes past a row. */
enum { QEMB__PACKED_OVERRUN = 256 };

/* Checks sizes, formats and maps; allocates zeroed slabs, uploads descriptors and maps, compiles the forward. */
qemb_status qemb__packed_plan_create(qemb_context *ctx, const qemb__packed_plan *plan, const char *call, qemb_packed **packed);

/* Tables without weights that describe packed rows (packed_tables.c); rows[t] packed rows of table t. */
qemb_status qemb__packed_tables_create(qemb_context *ctx, const qemb__packed_plan *plan, const char *call, qemb__tables **tables);

/* Moves bytes of packed rows [first, first + count) of a table: exactly one of source and target, with its plane of qparams if planar. */
typedef struct qemb__packed_bytes {
    const void *source, *source_qparams;
    void *target, *target_qparams;
} qemb__packed_bytes;
qemb_status qemb__packed_move(qemb_packed *packed, int32_t table, int64_t first, int64_t count, const qemb__packed_bytes *bytes);

/* INDEX unless table and rows [first, first + count) exist. */
qemb_status qemb__packed_check_rows(const qemb_packed *packed, int32_t table, int64_t first, int64_t count, const char *call);

/* A format that is one, or ARG with the field that is wrong. */
qemb_status qemb__packed_check_format(const qemb_packed_format *format, const char *call);

/* Reads the words of row_pack and row_convert: NONFINITE or RANGE with the row, counted from `first`. */
qemb_status qemb__packed_read_status(qemb_packed *packed, qemb_buffer *status, int32_t table, int64_t first, const char *call);

/* Device words for the above, nothing noted yet. */
qemb_status qemb__packed_new_status(qemb_context *ctx, qemb_buffer **status);

#endif
