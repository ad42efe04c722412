/* tables.h - the tables of a module: descriptors, slabs, and the arrays that run beside them.
 *
 * All tables of a module lie in slabs, each no larger than the device's largest allocation. A launch sees the slabs of one group of up
 * to 8; a table lies inside one group. Observer state and row-wise optimiser state have slabs of their own with the same row numbers,
 * element-wise optimiser state slabs with the same element numbers as the weights. */
#ifndef QEMB_CORE_TABLES_H
#define QEMB_CORE_TABLES_H

#include "core/context.h"
#include "kernels_cl/shared/types.h"

enum { QEMB__GROUP_SLABS = 8 };

/* What the tables of a module need from a kernel; a kernel is compiled for just these. */
enum {
    QEMB__USES_FLOAT = 1, /* a table may look up float rows */
    QEMB__USES_TORCH_CPU = 2,
    QEMB__USES_TORCH_CUDA = 4,
    QEMB__USES_PACKED = 8,
    QEMB__USES_STATE = 16, /* stored observer state is read */
    QEMB__USES_NORM = 32
};

typedef struct qemb__slab {
    qemb_buffer *weight;
    qemb_buffer *state; /* q_state a row; NULL until a table in this slab needs it */
    int64_t rows;       /* entries of row-wise arrays */
    int64_t elements;   /* entries of element-wise arrays */
    bool owned;         /* weight is the library's, not the caller's */
} qemb__slab;

/* Features whose tables share a group of slabs: one launch. Consecutive in `feature`. */
typedef struct qemb__group {
    int32_t first_feature, num_features;
    int32_t first_slab, num_slabs;
} qemb__group;

struct qemb__tables {
    qemb_context *ctx;
    int32_t num_tables, num_features, num_slabs, num_groups;
    q_table *table;     /* [T], host copy; q_table.slab counts within the group */
    q_feature *feature; /* [F], ordered by group */
    int32_t *slab_of;   /* [T] first slab of a table, counted over all groups */
    char **name;        /* [T] */
    qemb__slab *slab;
    qemb__group *group;
    qemb_buffer *table_buffer, *feature_buffer; /* device copies */
    bool stale;                                 /* the device copies lag behind */
    int32_t mode;                               /* Q_MODE_* */
    uint32_t uses;                              /* QEMB__USES_* over all tables, for every switch position they may take */
    int64_t total_rows, output_dim;
    int32_t max_dim;
};

/* What a caller says of a table, of float rows or of packed ones, and the check of it. */
typedef struct qemb__table_words {
    int64_t num_embeddings, embedding_dim, padding_idx;
    bool has_padding_idx, has_max_norm;
    float max_norm, norm_type;
} qemb__table_words;
qemb_status qemb__check_table_words(const qemb__table_words *words, const char *call);

/* What a caller says of a layout: the check, and q_table.qparams for it. */
qemb_status qemb__check_layout(qemb_layout layout, qemb_qparams qparams, bool symmetric, const char *call);
q_i32 qemb__qparams_word(qemb_layout layout, qemb_qparams qparams, bool symmetric);

/* Builds tables for `num_tables` checked descriptors; allocates slabs and fills them with the initial weights. */
qemb_status qemb__tables_create(qemb_context *ctx, const qemb_collection_desc *desc, int32_t mode, qemb__tables **out);

/* The same tables over the same slabs (weights shared, state of its own) under another qconfig each. */
qemb_status qemb__tables_share(const qemb__tables *source, const qemb_qconfig *qconfig, qemb__tables **out);
void qemb__tables_destroy(qemb__tables *tables);

/* For whoever describes tables of its own (packed_tables.c): the empty object; a slab more (a new group begins when the last has no room for
 * `together`), its number; the group of a slab; features in their order, once group_of each table is known; the device copies. */
qemb_status qemb__tables_allocate(qemb_context *ctx, int32_t num_tables, int32_t num_features, qemb__tables **out);
int32_t qemb__tables_new_slab(qemb__tables *tables, int32_t together);
int32_t qemb__tables_group_of(const qemb__tables *tables, int32_t slab);
void qemb__tables_order_features(qemb__tables *tables, const int32_t *feature_table, const int32_t *group_of);
qemb_status qemb__tables_upload(qemb__tables *tables);

/* Uploads descriptors if they changed. */
qemb_status qemb__tables_flush(qemb__tables *tables);

/* Observer state for the slabs of one table (all zero: never observed). */
qemb_status qemb__tables_need_state(qemb__tables *tables, int32_t table);

/* Where rows [row, row + *count) of a table lie: cuts *count to what is contiguous, gives slab (over all groups) and row within it. */
void qemb__tables_locate(const qemb__tables *tables, int32_t table, int64_t row, int64_t *count, int32_t *slab, int64_t *local);

/* Byte offset of row `local` of slab `slab` within the slab's weight buffer. */
size_t qemb__tables_at(const qemb__tables *tables, int32_t table, int32_t slab, int64_t local);

/* Table of feature `index` of the input, -1 if there is none. */
int32_t qemb__tables_feature(const qemb__tables *tables, int32_t index);

/* Where max_norm acts under this switch: on what a lookup gives (Q_HAS_NORM), or on the weights of a float table (Q_CLIPS_WEIGHT). */
int32_t qemb__norm_flag(int32_t flags, bool fake_quant);

/* Observations that a table has seen after `step` forwards. */
int64_t qemb__table_observations(const q_table *table, int64_t step);

#endif
