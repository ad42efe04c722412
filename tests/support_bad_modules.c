/* support_bad_modules.c - bad input of contexts, buffers, modules, their rows and switches. */
#include "support_bad.h"

enum { ROWS = 13, COLUMNS = 19 };

/* ---- constructors --------------------------------------------------------------------------------------------------------------------- */

#define QCONFIG_VALUES(type, at)                                                                                                           \
    INTEGER(type, at.quant_min, 1, QEMB_ERR_RANGE), INTEGER(type, at.quant_min, 256, QEMB_ERR_RANGE),                                      \
        INTEGER(type, at.quant_min, -1, QEMB_ERR_RANGE), INTEGER(type, at.quant_min, -129, QEMB_ERR_RANGE),                                \
        INTEGER(type, at.quant_min, INT32_MIN, QEMB_ERR_RANGE), INTEGER(type, at.quant_min, INT32_MAX, QEMB_ERR_RANGE),                    \
        INTEGER(type, at.quant_max, 0, QEMB_ERR_RANGE), INTEGER(type, at.quant_max, -1, QEMB_ERR_RANGE),                                   \
        INTEGER(type, at.quant_max, 256, QEMB_ERR_RANGE), INTEGER(type, at.quant_max, INT32_MAX, QEMB_ERR_RANGE),                          \
        INTEGER(type, at.quant_max, INT32_MIN, QEMB_ERR_RANGE), ENUM_VALUES(type, at.observer, 3, QEMB_ERR_ARG),                           \
        ENUM_VALUES(type, at.arithmetic, 3, QEMB_ERR_ARG), ENUM_VALUES(type, at.layout, 4, QEMB_ERR_ARG),                                  \
        ENUM_VALUES(type, at.qparams, 3, QEMB_ERR_ARG), INTEGER(type, at.qparams, 1, QEMB_ERR_ARG),                                        \
        INTEGER(type, at.symmetric, 1, QEMB_ERR_ARG), REALS_BELOW_0(type, at.averaging_constant, QEMB_ERR_RANGE),                          \
        REAL(type, at.averaging_constant, (double)NAN, QEMB_ERR_RANGE),                                                                    \
        REAL(type, at.averaging_constant, (double)INFINITY, QEMB_ERR_RANGE), REAL(type, at.averaging_constant, 1.5, QEMB_ERR_RANGE),       \
        REAL(type, at.averaging_constant, -0.0, QEMB_ERR_RANGE), REALS_BELOW_0(type, at.eps, QEMB_ERR_RANGE),                              \
        REAL(type, at.eps, (double)NAN, QEMB_ERR_RANGE), REAL(type, at.eps, (double)INFINITY, QEMB_ERR_RANGE)

#define TABLE_VALUES(type, at)                                                                                                             \
    INTEGER(type, at.num_embeddings, 0, QEMB_ERR_SHAPE), INTEGER(type, at.num_embeddings, -1, QEMB_ERR_SHAPE),                             \
        INTEGER(type, at.num_embeddings, INT64_MIN, QEMB_ERR_SHAPE), INTEGER(type, at.num_embeddings, INT64_MAX, QEMB_ERR_OVERFLOW),       \
        INTEGER(type, at.num_embeddings, INT64_MAX / COLUMNS, QEMB_ERR_OVERFLOW),                                                          \
        INTEGER(type, at.num_embeddings, INT64_MAX / COLUMNS + 1, QEMB_ERR_OVERFLOW),                                                      \
        INTEGER2(type, at.num_embeddings, INT64_C(1) << 52, QEMB_ERR_UNSUPPORTED, QEMB_ERR_NOMEM),                                         \
        INTEGER(type, at.embedding_dim, 0, QEMB_ERR_SHAPE), INTEGER(type, at.embedding_dim, -1, QEMB_ERR_SHAPE),                           \
        INTEGER(type, at.embedding_dim, INT64_MIN, QEMB_ERR_SHAPE), INTEGER(type, at.embedding_dim, INT64_MAX, QEMB_ERR_SHAPE),            \
        INTEGER(type, at.embedding_dim, (1 << 20) + 1, QEMB_ERR_SHAPE), INTEGER(type, at.embedding_dim, INT64_C(1) << 32, QEMB_ERR_SHAPE), \
        INTEGER(type, at.has_padding_idx, 0, QEMB_ERR_ARG), INTEGER(type, at.padding_idx, ROWS, QEMB_ERR_RANGE),                           \
        INTEGER(type, at.padding_idx, -ROWS - 1, QEMB_ERR_RANGE), INTEGER(type, at.padding_idx, INT64_MAX, QEMB_ERR_RANGE),                \
        INTEGER(type, at.padding_idx, INT64_MIN, QEMB_ERR_RANGE), INTEGER(type, at.has_max_norm, 0, QEMB_ERR_ARG),                         \
        REALS_BELOW_0(type, at.max_norm, QEMB_ERR_RANGE), REAL(type, at.max_norm, (double)NAN, QEMB_ERR_RANGE),                            \
        REAL(type, at.max_norm, (double)INFINITY, QEMB_ERR_RANGE), REALS_BELOW_0(type, at.norm_type, QEMB_ERR_RANGE),                      \
        REAL(type, at.norm_type, (double)NAN, QEMB_ERR_RANGE), REAL(type, at.norm_type, -0.0, QEMB_ERR_RANGE),                             \
        ENUM_VALUES(type, at.dtype, 6, QEMB_ERR_UNSUPPORTED), INTEGER(type, at.dtype, QEMB_FLOAT16, QEMB_ERR_UNSUPPORTED),                 \
        INTEGER(type, at.dtype, QEMB_FLOAT64, QEMB_ERR_UNSUPPORTED), INTEGER(type, at.dtype, QEMB_INT64, QEMB_ERR_UNSUPPORTED),            \
        ALIEN(type, at.weight_buffer, out[0], QEMB_ERR_ARG), OTHER(type, at.weight_buffer, coo_count, QEMB_ERR_SHAPE),                     \
        QCONFIG_VALUES(type, at.qconfig)

#define GOOD_TABLE                                                                                                                         \
    .num_embeddings = ROWS, .embedding_dim = COLUMNS, .has_padding_idx = true, .padding_idx = 2, .has_max_norm = true, .max_norm = 1.5f,   \
    .norm_type = 2.0f, .qconfig = qemb_qconfig_8bit(), .seed = 3

typedef struct create_bag {
    qemb_context *ctx;
    qemb_embedding_bag_desc desc_is, *desc;
    qemb_embedding_bag *made, **bag;
} create_bag;

static void good_bag(walk *w, void *arguments) {
    create_bag *a = arguments;
    *a = (create_bag){.ctx = w->ctx, .desc_is = {GOOD_TABLE, .mode = QEMB_MODE_SUM}};
    a->desc = &a->desc_is;
    a->bag = &a->made;
}

static void good_max(walk *w, void *arguments) {
    good_bag(w, arguments);
    ((create_bag *)arguments)->desc_is.mode = QEMB_MODE_MAX;
}

static qemb_status run_bag(walk *w, void *arguments) {
    create_bag *a = arguments;
    (void)w;
    const qemb_status st = qemb_embedding_bag_create(a->ctx, a->desc, a->bag);
    qemb_embedding_bag_destroy(a->made);
    return st;
}

static const bad_value bag_values[] = {NONE(create_bag, ctx), NONE(create_bag, desc), NONE(create_bag, bag),
                                       ENUM_VALUES(create_bag, desc_is.mode, 3, QEMB_ERR_ARG), TABLE_VALUES(create_bag, desc_is)};
static const bad_value max_values[] = {INTEGER(create_bag, desc_is.scale_grad_by_freq, 1, QEMB_ERR_UNSUPPORTED),
                                       INTEGER(create_bag, desc_is.sparse, 1, QEMB_ERR_UNSUPPORTED)};

typedef struct create_embedding {
    qemb_context *ctx;
    qemb_embedding_desc desc_is, *desc;
    qemb_embedding *made, **embedding;
} create_embedding;

static void good_embedding(walk *w, void *arguments) {
    create_embedding *a = arguments;
    *a = (create_embedding){.ctx = w->ctx, .desc_is = {GOOD_TABLE}};
    a->desc = &a->desc_is;
    a->embedding = &a->made;
}

static qemb_status run_embedding(walk *w, void *arguments) {
    create_embedding *a = arguments;
    (void)w;
    const qemb_status st = qemb_embedding_create(a->ctx, a->desc, a->embedding);
    qemb_embedding_destroy(a->made);
    return st;
}

static const bad_value embedding_values[] = {NONE(create_embedding, ctx), NONE(create_embedding, desc), NONE(create_embedding, embedding),
                                             TABLE_VALUES(create_embedding, desc_is)};

typedef struct create_collection {
    qemb_context *ctx;
    qemb_table_desc table[2];
    int32_t feature[3];
    qemb_collection_desc desc_is, *desc;
    qemb_embedding_bag *made, **bag;
} create_collection;

static void good_collection(walk *w, void *arguments) {
    create_collection *a = arguments;
    *a = (create_collection){.ctx = w->ctx,
                             .table = {{GOOD_TABLE}, {GOOD_TABLE}},
                             .feature = {1, 0, 1},
                             .desc_is = {.num_tables = 2, .num_features = 3, .options = {.mode = QEMB_MODE_SUM}}};
    a->desc_is.tables = a->table;
    a->desc_is.feature_table = a->feature;
    a->desc = &a->desc_is;
    a->bag = &a->made;
}

static qemb_status run_collection(walk *w, void *arguments) {
    create_collection *a = arguments;
    (void)w;
    const qemb_status st = qemb_embedding_bag_collection_create(a->ctx, a->desc, a->bag);
    qemb_embedding_bag_destroy(a->made);
    return st;
}

/* clang-format off */
static const bad_value collection_values[] = {
    NONE(create_collection, ctx), NONE(create_collection, desc), NONE(create_collection, bag), NONE(create_collection, desc_is.tables),
    INTEGER(create_collection, desc_is.num_tables, 0, QEMB_ERR_SHAPE), INTEGER(create_collection, desc_is.num_tables, -1, QEMB_ERR_SHAPE),
    INTEGER(create_collection, desc_is.num_tables, INT32_MIN, QEMB_ERR_SHAPE), INTEGER(create_collection, desc_is.num_tables, 1, QEMB_ERR_INDEX),
    INTEGER(create_collection, desc_is.num_features, 0, QEMB_ERR_SHAPE), INTEGER(create_collection, desc_is.num_features, -1, QEMB_ERR_SHAPE),
    INTEGER(create_collection, desc_is.num_features, INT32_MIN, QEMB_ERR_SHAPE),
    INTEGER(create_collection, feature[2], 2, QEMB_ERR_INDEX), INTEGER(create_collection, feature[0], -1, QEMB_ERR_INDEX),
    INTEGER(create_collection, feature[1], INT32_MAX, QEMB_ERR_INDEX), INTEGER(create_collection, feature[1], INT32_MIN, QEMB_ERR_INDEX),
    ENUM_VALUES(create_collection, desc_is.options.mode, 3, QEMB_ERR_ARG), TABLE_VALUES(create_collection, table[0]),
    TABLE_VALUES(create_collection, table[1])};

typedef struct share {
    qemb_embedding_bag *source;
    qemb_qconfig qconfig_is, *qconfig;
    qemb_embedding_bag *made, **module;
} share;
/* clang-format on */

static void good_share(walk *w, void *arguments) {
    share *a = arguments;
    *a = (share){.source = w->bag, .qconfig_is = qemb_qconfig_4bit()};
    a->qconfig_is.quant_max = 255;
    a->qconfig = &a->qconfig_is;
    a->module = &a->made;
}

static qemb_status run_from_float(walk *w, void *arguments) {
    share *a = arguments;
    (void)w;
    const qemb_status st = qemb_embedding_bag_from_float(a->source, a->qconfig, a->module);
    qemb_embedding_bag_destroy(a->made);
    return st;
}

static qemb_status run_to_float(walk *w, void *arguments) {
    share *a = arguments;
    (void)w;
    const qemb_status st = qemb_embedding_bag_to_float(a->source, a->module);
    qemb_embedding_bag_destroy(a->made);
    return st;
}

static const bad_value from_float_values[] = {NONE(share, source), NONE(share, qconfig), NONE(share, module),
                                              QCONFIG_VALUES(share, qconfig_is)};
static const bad_value to_float_values[] = {NONE(share, source), NONE(share, module)};

typedef struct share_embedding {
    qemb_embedding *source;
    qemb_qconfig qconfig_is, *qconfig;
    qemb_embedding *made, **embedding;
} share_embedding;

static void good_share_embedding(walk *w, void *arguments) {
    share_embedding *a = arguments;
    *a = (share_embedding){.source = w->embedding, .qconfig_is = qemb_qconfig_8bit()};
    a->qconfig = &a->qconfig_is;
    a->embedding = &a->made;
}

static qemb_status run_embedding_from_float(walk *w, void *arguments) {
    share_embedding *a = arguments;
    (void)w;
    const qemb_status st = qemb_embedding_from_float(a->source, a->qconfig, a->embedding);
    qemb_embedding_destroy(a->made);
    return st;
}

static qemb_status run_embedding_to_float(walk *w, void *arguments) {
    share_embedding *a = arguments;
    (void)w;
    const qemb_status st = qemb_embedding_to_float(a->source, a->embedding);
    qemb_embedding_destroy(a->made);
    return st;
}

static const bad_value embedding_from_float_values[] = {NONE(share_embedding, source), NONE(share_embedding, qconfig),
                                                        NONE(share_embedding, embedding), QCONFIG_VALUES(share_embedding, qconfig_is)};
static const bad_value embedding_to_float_values[] = {NONE(share_embedding, source), NONE(share_embedding, embedding)};

/* ---- rows and switches ---------------------------------------------------------------------------------------------------------------------- */

typedef struct rows {
    qemb_embedding_bag *bag;
    int32_t table;
    int64_t first, count;
    float values_is[ROWS * COLUMNS], high_is[ROWS];
    float *values, *high;
    qemb_observer_rows rows_is, *rows_at;
    qemb_buffer *out;
    qemb_bag_info info_is, *info;
    qemb_table_desc desc_is, *desc;
    int64_t fake_quant_from, observer_until;
} rows;

static void good_rows(walk *w, void *arguments) {
    rows *a = arguments;
    *a = (rows){.bag = w->bag, .table = 0, .first = 3, .count = 5, .out = w->out[0], .fake_quant_from = 2, .observer_until = 900};
    a->values = a->values_is;
    a->high = a->high_is;
    a->rows_is = (qemb_observer_rows){a->values_is, a->high_is, NULL, NULL};
    a->rows_at = &a->rows_is;
    a->info = &a->info_is;
    a->desc = &a->desc_is;
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        a->values_is[i] = (float)(i % 7) * 0.25f - 1.0f;
    }
    for (int i = 0; i < ROWS; i++) {
        a->high_is[i] = 2.0f;
    }
}

static void good_whole(walk *w, void *arguments) {
    good_rows(w, arguments);
    ((rows *)arguments)->first = 0;
    ((rows *)arguments)->count = ROWS;
}

#define ROWS_RUN(name, call)                                                                                                               \
    static qemb_status name(walk *w, void *arguments) {                                                                                    \
        rows *a = arguments;                                                                                                               \
        (void)w;                                                                                                                           \
        return call;                                                                                                                       \
    }
ROWS_RUN(run_read_weight, qemb_embedding_bag_read_weight(a->bag, a->table, a->first, a->count, a->values))
ROWS_RUN(run_write_weight, qemb_embedding_bag_write_weight(a->bag, a->table, a->first, a->count, a->values))
ROWS_RUN(run_read_observer, qemb_embedding_bag_read_observer(a->bag, a->table, a->first, a->count, a->rows_at))
ROWS_RUN(run_write_observer, qemb_embedding_bag_write_observer(a->bag, a->table, a->first, a->count, a->values, a->high))
ROWS_RUN(run_fake_quantise, qemb_embedding_bag_fake_quantise(a->bag, a->table, a->first, a->count, a->out))
ROWS_RUN(run_observe_all, qemb_embedding_bag_observe_all(a->bag))
ROWS_RUN(run_set_observer, qemb_embedding_bag_set_observer(a->bag, a->table, true))
ROWS_RUN(run_set_fake_quant, qemb_embedding_bag_set_fake_quant(a->bag, a->table, true))
ROWS_RUN(run_set_schedule, qemb_embedding_bag_set_schedule(a->bag, a->table, a->fake_quant_from, a->observer_until))
ROWS_RUN(run_info, qemb_embedding_bag_info(a->bag, a->info))
ROWS_RUN(run_table, qemb_embedding_bag_table(a->bag, a->table, a->desc))

#define TABLE_NUMBER                                                                                                                       \
    INTEGER(rows, table, 1, QEMB_ERR_INDEX), INTEGER(rows, table, -2, QEMB_ERR_INDEX), INTEGER(rows, table, INT32_MAX, QEMB_ERR_INDEX),    \
        INTEGER(rows, table, INT32_MIN, QEMB_ERR_INDEX)
#define RANGE_VALUES                                                                                                                       \
    NONE(rows, bag), TABLE_NUMBER, INTEGER(rows, table, -1, QEMB_ERR_INDEX), INTEGER(rows, first, -1, QEMB_ERR_INDEX),                     \
        INTEGER(rows, first, ROWS, QEMB_ERR_INDEX), INTEGER(rows, first, INT64_MAX, QEMB_ERR_INDEX),                                       \
        INTEGER(rows, first, INT64_MIN, QEMB_ERR_INDEX), INTEGER(rows, count, -1, QEMB_ERR_INDEX),                                         \
        INTEGER(rows, count, ROWS + 1, QEMB_ERR_INDEX), INTEGER(rows, count, INT64_MAX, QEMB_ERR_INDEX),                                   \
        INTEGER(rows, count, INT64_MIN, QEMB_ERR_INDEX)
static const bad_value values_values[] = {RANGE_VALUES, NONE(rows, values)};
static const bad_value read_observer_values[] = {RANGE_VALUES, NONE(rows, rows_at)};
static const bad_value write_observer_values[] = {RANGE_VALUES, NONE(rows, values), NONE(rows, high),
                                                  REAL(rows, high_is[2], -7.0, QEMB_ERR_RANGE),
                                                  REAL(rows, values_is[1], (double)INFINITY, QEMB_ERR_RANGE)};
static const bad_value fake_quantise_values[] = {RANGE_VALUES, NONE(rows, out), ALIEN(rows, out, out[0], QEMB_ERR_ARG),
                                                 OTHER(rows, out, coo_count, QEMB_ERR_SHAPE)};
static const bad_value bag_only[] = {NONE(rows, bag)};
static const bad_value switch_values[] = {NONE(rows, bag), TABLE_NUMBER};
static const bad_value schedule_values[] = {NONE(rows, bag),
                                            TABLE_NUMBER,
                                            INTEGER(rows, fake_quant_from, -1, QEMB_ERR_RANGE),
                                            INTEGER(rows, fake_quant_from, INT64_MIN, QEMB_ERR_RANGE),
                                            INTEGER(rows, observer_until, -1, QEMB_ERR_RANGE),
                                            INTEGER(rows, observer_until, INT64_MIN, QEMB_ERR_RANGE)};
static const bad_value info_values[] = {NONE(rows, bag), NONE(rows, info)};
static const bad_value table_values[] = {NONE(rows, bag), NONE(rows, desc), TABLE_NUMBER, INTEGER(rows, table, -1, QEMB_ERR_INDEX)};

const bad_call bad_modules[] = {
    BAD_CALL("embedding_bag_create", create_bag, good_bag, run_bag, bag_values),
    BAD_CALL("embedding_bag_create", create_bag, good_max, run_bag, max_values),
    BAD_CALL("embedding_create", create_embedding, good_embedding, run_embedding, embedding_values),
    BAD_CALL("embedding_bag_collection_create", create_collection, good_collection, run_collection, collection_values),
    BAD_CALL("embedding_bag_from_float", share, good_share, run_from_float, from_float_values),
    BAD_CALL("embedding_bag_to_float", share, good_share, run_to_float, to_float_values),
    BAD_CALL("embedding_from_float", share_embedding, good_share_embedding, run_embedding_from_float, embedding_from_float_values),
    BAD_CALL("embedding_to_float", share_embedding, good_share_embedding, run_embedding_to_float, embedding_to_float_values),
    BAD_CALL("embedding_bag_read_weight", rows, good_rows, run_read_weight, values_values),
    BAD_CALL("embedding_bag_write_weight", rows, good_rows, run_write_weight, values_values),
    BAD_CALL("embedding_bag_read_observer", rows, good_rows, run_read_observer, read_observer_values),
    BAD_CALL("embedding_bag_write_observer", rows, good_whole, run_write_observer, write_observer_values),
    BAD_CALL("embedding_bag_fake_quantise", rows, good_rows, run_fake_quantise, fake_quantise_values),
    BAD_CALL("embedding_bag_observe_all", rows, good_rows, run_observe_all, bag_only),
    BAD_CALL("embedding_bag_set_observer", rows, good_rows, run_set_observer, switch_values),
    BAD_CALL("embedding_bag_set_fake_quant", rows, good_rows, run_set_fake_quant, switch_values),
    BAD_CALL("embedding_bag_set_schedule", rows, good_rows, run_set_schedule, schedule_values),
    BAD_CALL("embedding_bag_info", rows, good_rows, run_info, info_values),
    BAD_CALL("embedding_bag_table", rows, good_rows, run_table, table_values),
};
const int bad_modules_count = sizeof bad_modules / sizeof *bad_modules;
