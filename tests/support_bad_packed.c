/* support_bad_packed.c - bad input of packed tables, contexts and buffers. */
#include "support_bad.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 13, COLUMNS = 19, ROW_BYTES = COLUMNS + 8 };

typedef struct pack {
    qemb_embedding_bag *bag;
    qemb_packed *source;
    qemb_packed_desc desc_is, *desc;
    qemb_packed_format format_is, *format;
    int64_t dim, row_bytes, qparams_bytes;
    uint32_t flags;
    int32_t map[ROWS], *maps[1];
    float ranges_is[2 * ROWS], *ranges[1];
    qemb_packed *made, **packed;
} pack;

static void good_pack(walk *w, void *arguments) {
    pack *a = arguments;
    *a = (pack){.bag = w->bag,
                .source = w->packed,
                .desc_is = {.format = {.layout = QEMB_LAYOUT_TORCH_ROWWISE, .bits = 4}},
                .dim = COLUMNS,
                .format_is = {.layout = QEMB_LAYOUT_FBGEMM, .bits = 8}};
    a->desc = &a->desc_is;
    a->format = &a->format_is;
    a->packed = &a->made;
    for (int r = 0; r < ROWS; r++) {
        a->map[r] = r % 3 ? r % 5 : -1;
        a->ranges_is[2 * r + 1] = 1.0f;
    }
    a->maps[0] = a->map;
    a->ranges[0] = a->ranges_is;
}

static void good_given(walk *w, void *arguments) {
    pack *a = arguments;
    good_pack(w, arguments);
    a->desc_is.method = QEMB_PACK_GIVEN;
    a->desc_is.ranges = (const float *const *)a->ranges;
}

static void good_mapped(walk *w, void *arguments) {
    pack *a = arguments;
    good_pack(w, arguments);
    a->desc_is.row_map = (const int32_t *const *)a->maps;
}

static qemb_status run_pack(walk *w, void *arguments) {
    pack *a = arguments;
    (void)w;
    const qemb_status st = qemb_packed_create(a->bag, a->desc, a->packed);
    qemb_packed_destroy(a->made);
    return st;
}

static qemb_status run_convert(walk *w, void *arguments) {
    pack *a = arguments;
    (void)w;
    const qemb_status st = qemb_packed_convert(a->source, a->format, a->flags, a->packed);
    qemb_packed_destroy(a->made);
    return st;
}

static qemb_status run_row_bytes(walk *w, void *arguments) {
    pack *a = arguments;
    (void)w;
    return qemb_packed_row_bytes(a->format, a->dim, &a->row_bytes, &a->qparams_bytes);
}

#define BITS(type, at, zero)                                                                                                               \
    INTEGER(type, at.bits, 3, zero), INTEGER(type, at.bits, 16, zero), INTEGER(type, at.bits, -8, zero),                                   \
        INTEGER(type, at.bits, INT32_MAX, zero), INTEGER(type, at.bits, INT32_MIN, zero)
#define FORMAT(type, at)                                                                                                                   \
    BITS(type, at, QEMB_ERR_ARG), ENUM_VALUES(type, at.layout, 4, QEMB_ERR_ARG), ENUM_VALUES(type, at.qparams, 3, QEMB_ERR_ARG),           \
        INTEGER(type, at.qparams, QEMB_QPARAMS_BF16, QEMB_ERR_ARG), INTEGER(type, at.symmetric, 1, QEMB_ERR_ARG),                          \
        INTEGER(type, at.row_alignment, 2, QEMB_ERR_ARG), INTEGER(type, at.row_alignment, -1, QEMB_ERR_ARG),                               \
        INTEGER(type, at.row_alignment, 32, QEMB_ERR_ARG), INTEGER(type, at.row_alignment, INT32_MIN, QEMB_ERR_ARG)

static const bad_value pack_values[] = {NONE(pack, bag),
                                        NONE(pack, packed),
                                        FORMAT(pack, desc_is.format),
                                        ENUM_VALUES(pack, desc_is.method, 4, QEMB_ERR_ARG),
                                        INTEGER(pack, desc_is.method, QEMB_PACK_GIVEN, QEMB_ERR_ARG),
                                        INTEGER(pack, desc_is.flags, 2, QEMB_ERR_ARG),
                                        INTEGER(pack, desc_is.flags, -1, QEMB_ERR_ARG),
                                        INTEGER(pack, desc_is.format.row_alignment, 16, QEMB_ERR_ARG)};
static const bad_value given_values[] = {NONE(pack, desc_is.ranges),
                                         NONE(pack, ranges[0]),
                                         INTEGER(pack, desc_is.method, QEMB_PACK_MINMAX, QEMB_ERR_ARG),
                                         REAL(pack, ranges_is[5], (double)NAN, QEMB_ERR_RANGE),
                                         REAL(pack, ranges_is[4], (double)NAN, QEMB_ERR_RANGE),
                                         REAL(pack, ranges_is[5], (double)INFINITY, QEMB_ERR_RANGE),
                                         REAL(pack, ranges_is[6], -(double)INFINITY, QEMB_ERR_RANGE),
                                         REAL(pack, ranges_is[8], 2.0, QEMB_ERR_RANGE),
                                         REAL(pack, ranges_is[25], 3e38, QEMB_ERR_RANGE)};
static const bad_value mapped_values[] = {INTEGER(pack, map[3], -2, QEMB_ERR_INDEX), INTEGER(pack, map[3], INT32_MIN, QEMB_ERR_INDEX),
                                          INTEGER(pack, map[4], 6, QEMB_ERR_ARG), INTEGER(pack, map[12], 1000, QEMB_ERR_ARG)};
static const bad_value convert_values[] = {NONE(pack, source),
                                           NONE(pack, format),
                                           NONE(pack, packed),
                                           FORMAT(pack, format_is),
                                           INTEGER(pack, flags, 2, QEMB_ERR_ARG),
                                           INTEGER(pack, flags, INT32_MIN, QEMB_ERR_ARG)};
static const bad_value row_bytes_values[] = {NONE(pack, format),
                                             FORMAT(pack, format_is),
                                             INTEGER(pack, format_is.bits, 0, QEMB_ERR_ARG),
                                             INTEGER(pack, dim, 0, QEMB_ERR_SHAPE),
                                             INTEGER(pack, dim, -1, QEMB_ERR_SHAPE),
                                             INTEGER(pack, dim, (1 << 20) + 1, QEMB_ERR_SHAPE),
                                             INTEGER(pack, dim, INT64_MAX, QEMB_ERR_SHAPE),
                                             INTEGER(pack, dim, INT64_MIN, QEMB_ERR_SHAPE)};

/* ---- from bytes, to bytes ---------------------------------------------------------------------------------------------------------------- */

typedef struct import {
    qemb_context *ctx;
    qemb_packed_table table;
    int32_t feature[2];
    qemb_packed_import_desc desc_is, *desc;
    unsigned char rows[ROWS][ROW_BYTES];
    qemb_packed *made, **packed;
} import;

static void good_import(walk *w, void *arguments) {
    import *a = arguments;
    *a = (import){.ctx = w->ctx,
                  .table = {.num_embeddings = ROWS,
                            .embedding_dim = COLUMNS,
                            .format = {.bits = 8},
                            .has_padding_idx = true,
                            .padding_idx = 2,
                            .has_max_norm = true,
                            .max_norm = 1.0f,
                            .norm_type = 2.0f,
                            .rows_bytes = ROWS * ROW_BYTES},
                  .desc_is = {.num_tables = 1, .num_features = 2, .options = {.mode = QEMB_MODE_SUM}}};
    a->table.rows = a->rows;
    a->desc_is.tables = &a->table;
    a->desc_is.feature_table = a->feature;
    a->desc = &a->desc_is;
    a->packed = &a->made;
}

static qemb_status run_import(walk *w, void *arguments) {
    import *a = arguments;
    (void)w;
    const qemb_status st = qemb_packed_import(a->ctx, a->desc, a->packed);
    qemb_packed_destroy(a->made);
    return st;
}

/* The scale of row 5 (bytes 19 to 22), as NaN, inf, -inf. */
/* clang-format off */
#define SCALE(bits, want) {"rows", offsetof(import, rows[5][COLUMNS]) , 4, BAD_INTEGER, (bits), 0, 0, {want, want}}
/* clang-format on */
static const bad_value import_values[] = {NONE(import, ctx),
                                          NONE(import, desc),
                                          NONE(import, packed),
                                          NONE(import, desc_is.tables),
                                          NONE(import, table.rows),
                                          FORMAT(import, table.format),
                                          INTEGER(import, table.format.bits, 0, QEMB_ERR_ARG),
                                          INTEGER(import, table.format.bits, 4, QEMB_ERR_CORRUPT),
                                          INTEGER(import, table.num_embeddings, 0, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.num_embeddings, -1, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.num_embeddings, INT64_MIN, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.num_embeddings, INT64_MAX, QEMB_ERR_OVERFLOW),
                                          INTEGER(import, table.num_embeddings, ROWS + 1, QEMB_ERR_CORRUPT),
                                          INTEGER(import, table.embedding_dim, 0, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.embedding_dim, -1, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.embedding_dim, INT64_MAX, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.embedding_dim, (1 << 20) + 1, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.embedding_dim, COLUMNS + 1, QEMB_ERR_CORRUPT),
                                          INTEGER(import, table.num_rows, ROWS - 1, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.num_rows, -1, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.num_rows, INT64_MAX, QEMB_ERR_SHAPE),
                                          INTEGER(import, table.padding_idx, ROWS, QEMB_ERR_RANGE),
                                          INTEGER(import, table.padding_idx, -ROWS - 1, QEMB_ERR_RANGE),
                                          INTEGER(import, table.padding_idx, INT64_MIN, QEMB_ERR_RANGE),
                                          INTEGER(import, table.has_padding_idx, 0, QEMB_ERR_ARG),
                                          INTEGER(import, table.has_max_norm, 0, QEMB_ERR_ARG),
                                          REALS_BELOW_0(import, table.max_norm, QEMB_ERR_RANGE),
                                          REAL(import, table.max_norm, (double)NAN, QEMB_ERR_RANGE),
                                          REAL(import, table.max_norm, (double)INFINITY, QEMB_ERR_RANGE),
                                          REALS_BELOW_0(import, table.norm_type, QEMB_ERR_RANGE),
                                          REAL(import, table.norm_type, (double)NAN, QEMB_ERR_RANGE),
                                          REAL(import, table.norm_type, -0.0, QEMB_ERR_RANGE),
                                          INTEGER(import, table.rows_bytes, 0, QEMB_ERR_CORRUPT),
                                          INTEGER(import, table.rows_bytes, ROWS *ROW_BYTES - 1, QEMB_ERR_CORRUPT),
                                          INTEGER(import, table.rows_bytes, -1, QEMB_ERR_CORRUPT),
                                          INTEGER(import, table.rows_bytes, INT64_MAX, QEMB_ERR_CORRUPT),
                                          INTEGER(import, table.qparams_bytes, 1, QEMB_ERR_CORRUPT),
                                          INTEGER(import, desc_is.num_tables, 0, QEMB_ERR_SHAPE),
                                          INTEGER(import, desc_is.num_tables, -1, QEMB_ERR_SHAPE),
                                          INTEGER(import, desc_is.num_features, 0, QEMB_ERR_SHAPE),
                                          INTEGER(import, desc_is.num_features, -1, QEMB_ERR_SHAPE),
                                          INTEGER(import, feature[1], 1, QEMB_ERR_INDEX),
                                          INTEGER(import, feature[0], -1, QEMB_ERR_INDEX),
                                          INTEGER(import, feature[0], INT32_MIN, QEMB_ERR_INDEX),
                                          ENUM_VALUES(import, desc_is.options.mode, 3, QEMB_ERR_ARG),
                                          INTEGER(import, desc_is.flags, 64, QEMB_ERR_ARG),
                                          SCALE(0x7fc00000, QEMB_ERR_CORRUPT),
                                          SCALE(0x7f800000, QEMB_ERR_CORRUPT),
                                          SCALE(-8388608 /* 0xff800000 */, QEMB_ERR_CORRUPT)};

typedef struct bytes {
    qemb_packed *packed;
    int32_t table;
    int64_t first, count;
    unsigned char rows_is[ROWS * ROW_BYTES], *qparams;
    void *rows;
    float values_is[ROWS * COLUMNS], *values;
    qemb_packed_info info_is, *info;
    qemb_packed_table table_is, *description;
} bytes;

static void good_bytes(walk *w, void *arguments) {
    bytes *a = arguments;
    *a = (bytes){.packed = w->packed, .first = 4, .count = 5};
    a->rows = a->rows_is;
    a->values = a->values_is;
    a->info = &a->info_is;
    a->description = &a->table_is;
}

#define BYTES_RUN(name, call)                                                                                                              \
    static qemb_status name(walk *w, void *arguments) {                                                                                    \
        bytes *a = arguments;                                                                                                              \
        (void)w;                                                                                                                           \
        return call;                                                                                                                       \
    }
BYTES_RUN(run_read_rows, qemb_packed_read_rows(a->packed, a->table, a->first, a->count, a->rows, a->qparams))
BYTES_RUN(run_unpack, qemb_packed_unpack(a->packed, a->table, a->first, a->count, a->values))
BYTES_RUN(run_get_info, qemb_packed_get_info(a->packed, a->info))
BYTES_RUN(run_get_table, qemb_packed_get_table(a->packed, a->table, a->description))

#define RANGE_VALUES                                                                                                                       \
    NONE(bytes, packed), ENUM_VALUES(bytes, table, 1, QEMB_ERR_INDEX), INTEGER(bytes, first, -1, QEMB_ERR_INDEX),                          \
        INTEGER(bytes, first, ROWS, QEMB_ERR_INDEX), INTEGER(bytes, first, INT64_MAX, QEMB_ERR_INDEX),                                     \
        INTEGER(bytes, first, INT64_MIN, QEMB_ERR_INDEX), INTEGER(bytes, count, -1, QEMB_ERR_INDEX),                                       \
        INTEGER(bytes, count, ROWS, QEMB_ERR_INDEX), INTEGER(bytes, count, INT64_MAX, QEMB_ERR_INDEX),                                     \
        INTEGER(bytes, count, INT64_MIN, QEMB_ERR_INDEX)
static const bad_value read_rows_values[] = {RANGE_VALUES, NONE(bytes, rows), OTHER(bytes, qparams, bag, QEMB_ERR_ARG)};
static const bad_value unpack_values[] = {RANGE_VALUES, NONE(bytes, values)};
static const bad_value get_info_values[] = {NONE(bytes, packed), NONE(bytes, info)};
static const bad_value get_table_values[] = {NONE(bytes, packed), NONE(bytes, description), ENUM_VALUES(bytes, table, 1, QEMB_ERR_INDEX)};

const bad_call bad_packed[] = {
    BAD_CALL("packed_create", pack, good_pack, run_pack, pack_values),
    BAD_CALL("packed_create", pack, good_given, run_pack, given_values),
    BAD_CALL("packed_create", pack, good_mapped, run_pack, mapped_values),
    BAD_CALL("packed_convert", pack, good_pack, run_convert, convert_values),
    BAD_CALL("packed_row_bytes", pack, good_pack, run_row_bytes, row_bytes_values),
    BAD_CALL("packed_import", import, good_import, run_import, import_values),
    BAD_CALL("packed_read_rows", bytes, good_bytes, run_read_rows, read_rows_values),
    BAD_CALL("packed_unpack", bytes, good_bytes, run_unpack, unpack_values),
    BAD_CALL("packed_get_info", bytes, good_bytes, run_get_info, get_info_values),
    BAD_CALL("packed_get_table", bytes, good_bytes, run_get_table, get_table_values),
};
const int bad_packed_count = sizeof bad_packed / sizeof *bad_packed;

/* ---- contexts and buffers -------------------------------------------------------------------------------------------------------------------- */

typedef struct memory {
    qemb_context *ctx;
    size_t bytes, offset, count;
    qemb_buffer *buffer, *made, **place;
    unsigned char data_is[64], *data;
    qemb_device_report report_is, *report;
    qemb_counters counters_is, *counters;
    double gbps_is, *gbps;
    qemb_batch *batch_made, **batch;
    const char *device;
    qemb_context *context_made, **context;
} memory;

static void good_memory(walk *w, void *arguments) {
    memory *a = arguments;
    *a = (memory){.ctx = w->ctx, .bytes = 64, .offset = 8, .count = 16, .buffer = w->out[0], .device = "reference"};
    a->place = &a->made;
    a->data = a->data_is;
    a->report = &a->report_is;
    a->counters = &a->counters_is;
    a->gbps = &a->gbps_is;
    a->batch = &a->batch_made;
    a->context = &a->context_made;
}

#define MEMORY_RUN(name, call, undo)                                                                                                       \
    static qemb_status name(walk *w, void *arguments) {                                                                                    \
        memory *a = arguments;                                                                                                             \
        (void)w;                                                                                                                           \
        const qemb_status st = call;                                                                                                       \
        undo;                                                                                                                              \
        return st;                                                                                                                         \
    }
MEMORY_RUN(run_context, qemb_context_create(a->device, a->context), qemb_context_destroy(a->context_made))
MEMORY_RUN(run_finish, qemb_context_finish(a->ctx), (void)0)
MEMORY_RUN(run_report, qemb_context_report(a->ctx, a->report), (void)0)
MEMORY_RUN(run_counters, qemb_context_counters(a->ctx, a->counters), (void)0)
MEMORY_RUN(run_bandwidth, qemb_context_copy_bandwidth(a->ctx, a->bytes, a->gbps), (void)0)
MEMORY_RUN(run_buffer, qemb_buffer_create(a->ctx, a->bytes, a->place), qemb_buffer_destroy(a->made))
MEMORY_RUN(run_write, qemb_buffer_write(a->buffer, a->offset, a->count, a->data), (void)0)
MEMORY_RUN(run_read, qemb_buffer_read(a->buffer, a->offset, a->count, a->data), (void)0)
MEMORY_RUN(run_write_async, qemb_buffer_write_async(a->buffer, a->offset, a->count, a->data), (void)qemb_context_finish(a->ctx))
MEMORY_RUN(run_read_async, qemb_buffer_read_async(a->buffer, a->offset, a->count, a->data), (void)qemb_context_finish(a->ctx))
MEMORY_RUN(run_batch, qemb_batch_create(a->ctx, a->batch), qemb_batch_destroy(a->batch_made))

static const bad_value context_values[] = {NONE(memory, context)};
static const bad_value ctx_values[] = {NONE(memory, ctx)};
static const bad_value report_values[] = {NONE(memory, ctx), NONE(memory, report)};
static const bad_value counters_values[] = {NONE(memory, ctx), NONE(memory, counters)};
static const bad_value bandwidth_values[] = {NONE(memory, ctx), NONE(memory, gbps), INTEGER(memory, bytes, -1, QEMB_ERR_UNSUPPORTED),
                                             INTEGER(memory, bytes, INT64_MAX, QEMB_ERR_UNSUPPORTED)};
static const bad_value buffer_values[] = {NONE(memory, ctx), NONE(memory, place), INTEGER(memory, bytes, -1, QEMB_ERR_UNSUPPORTED),
                                          INTEGER(memory, bytes, INT64_MAX, QEMB_ERR_UNSUPPORTED),
                                          INTEGER(memory, bytes, INT64_MIN, QEMB_ERR_UNSUPPORTED)};
static const bad_value transfer_values[] = {NONE(memory, buffer),
                                            NONE(memory, data),
                                            INTEGER(memory, offset, 380, QEMB_ERR_SHAPE),
                                            INTEGER(memory, offset, 365, QEMB_ERR_SHAPE),
                                            INTEGER(memory, offset, -1, QEMB_ERR_SHAPE),
                                            INTEGER(memory, offset, INT64_MAX, QEMB_ERR_SHAPE),
                                            INTEGER(memory, count, 381, QEMB_ERR_SHAPE),
                                            INTEGER(memory, count, -1, QEMB_ERR_SHAPE),
                                            INTEGER(memory, count, INT64_MIN, QEMB_ERR_SHAPE),
                                            INTEGER(memory, count, -8, QEMB_ERR_SHAPE)};
static const bad_value batch_values[] = {NONE(memory, ctx), NONE(memory, batch)};

const bad_call bad_contexts[] = {
    BAD_CALL("context_create", memory, good_memory, run_context, context_values),
    BAD_CALL("context_finish", memory, good_memory, run_finish, ctx_values),
    BAD_CALL("context_report", memory, good_memory, run_report, report_values),
    BAD_CALL("context_counters", memory, good_memory, run_counters, counters_values),
    BAD_CALL("context_copy_bandwidth", memory, good_memory, run_bandwidth, bandwidth_values),
    BAD_CALL("buffer_create", memory, good_memory, run_buffer, buffer_values),
    BAD_CALL("buffer_write", memory, good_memory, run_write, transfer_values),
    BAD_CALL("buffer_read", memory, good_memory, run_read, transfer_values),
    BAD_CALL("buffer_write_async", memory, good_memory, run_write_async, transfer_values),
    BAD_CALL("buffer_read_async", memory, good_memory, run_read_async, transfer_values),
    BAD_CALL("batch_create", memory, good_memory, run_batch, batch_values),
};
const int bad_contexts_count = sizeof bad_contexts / sizeof *bad_contexts;
