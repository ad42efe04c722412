/* support_bad_lookups.c - bad input of batches and forwards. */
#include "support_bad.h"

enum { ROWS = 13, N = 6, B = 4 };

typedef struct host {
    qemb_batch *batch;
    const qemb_embedding_bag *bag;
    const qemb_packed *packed;
    int64_t indices[N], offsets[B + 1];
    float weights[N];
    qemb_input input_is, *input;
} host;

static void good_host(walk *w, void *arguments) {
    host *a = arguments;
    *a = (host){.batch = w->batch[0], .bag = w->bag, .packed = w->packed, .indices = {0, 12, 5, 5, 1, 3}, .offsets = {0, 2, 2, 5}};
    a->input_is =
        (qemb_input){.indices = a->indices, .num_indices = N, .indices_dtype = QEMB_INT64, .offsets = a->offsets, .num_offsets = B};
    a->input = &a->input_is;
}

static void good_columns(walk *w, void *arguments) {
    host *a = arguments;
    good_host(w, arguments);
    a->input_is.offsets = NULL;
    a->input_is.num_offsets = 0;
    a->input_is.columns = 3;
}

/* One lookup for each bag of the nine features of the collection. */
typedef struct weighted {
    qemb_batch *batch;
    const qemb_embedding_bag *bag;
    int64_t indices[WALK_TABLES];
    float weights[WALK_TABLES];
    qemb_input input_is, *input;
} weighted;

static void good_weighted(walk *w, void *arguments) {
    weighted *a = arguments;
    *a = (weighted){.batch = w->batch[1], .bag = w->collection, .indices = {6, 0, 1, 2, 3, 4, 5, 0, 6}};
    a->input_is = (qemb_input){.indices = a->indices,
                               .num_indices = WALK_TABLES,
                               .indices_dtype = QEMB_INT64,
                               .columns = 1,
                               .per_sample_weights = a->weights,
                               .num_per_sample_weights = WALK_TABLES};
    a->input = &a->input_is;
}

static void good_unpooled(walk *w, void *arguments) {
    host *a = arguments;
    good_host(w, arguments);
    a->batch = w->batch[2];
    a->bag = qemb_embedding_as_bag(w->embedding);
    a->indices[1] = 10;
    a->input_is.offsets = NULL;
    a->input_is.num_offsets = 0;
}

static void good_packed_host(walk *w, void *arguments) {
    good_host(w, arguments);
    ((host *)arguments)->batch = w->batch[3];
}

static qemb_status run_host(walk *w, void *arguments) {
    host *a = arguments;
    (void)w;
    return qemb_batch_set(a->batch, a->bag, a->input);
}

static qemb_status run_weighted(walk *w, void *arguments) {
    weighted *a = arguments;
    (void)w;
    return qemb_batch_set(a->batch, a->bag, a->input);
}

static qemb_status run_packed_host(walk *w, void *arguments) {
    host *a = arguments;
    (void)w;
    return qemb_packed_batch_set(a->packed, a->batch, a->input);
}

#define DTYPES(type, field)                                                                                                                \
    INTEGER(type, field, QEMB_FLOAT16, QEMB_ERR_DTYPE), INTEGER(type, field, QEMB_BFLOAT16, QEMB_ERR_DTYPE),                               \
        INTEGER(type, field, QEMB_FLOAT64, QEMB_ERR_DTYPE), ENUM_VALUES(type, field, 6, QEMB_ERR_DTYPE)
#define SIZES(type)                                                                                                                        \
    INTEGER(type, input_is.num_indices, -1, QEMB_ERR_SHAPE), INTEGER(type, input_is.num_indices, INT64_MIN, QEMB_ERR_SHAPE),               \
        INTEGER(type, input_is.num_indices, INT64_C(1) << 31, QEMB_ERR_SHAPE),                                                             \
        INTEGER(type, input_is.num_indices, INT64_MAX, QEMB_ERR_SHAPE)
#define HOST_VALUES                                                                                                                        \
    NONE(host, batch), NONE(host, input), ALIEN(host, batch, batch[0], QEMB_ERR_ARG), NONE(host, input_is.indices), SIZES(host),           \
        DTYPES(host, input_is.indices_dtype), INTEGER(host, input_is.indices_dtype, QEMB_FLOAT32, QEMB_ERR_DTYPE),                         \
        ENUM_VALUES(host, input_is.check, 3, QEMB_ERR_ARG), INTEGER(host, indices[3], ROWS, QEMB_ERR_INDEX),                               \
        INTEGER(host, indices[0], -1, QEMB_ERR_INDEX), INTEGER(host, indices[5], INT64_MIN, QEMB_ERR_INDEX),                               \
        INTEGER(host, indices[5], INT64_MAX, QEMB_ERR_INDEX), INTEGER(host, indices[2], INT64_C(1) << 32, QEMB_ERR_INDEX),                 \
        INTEGER(host, indices[2], -INT64_C(4294967296), QEMB_ERR_INDEX), INTEGER(host, indices[4], 100000000, QEMB_ERR_INDEX),             \
        INTEGER(host, input_is.num_per_sample_weights, 1, QEMB_ERR_ARG), INTEGER(host, input_is.num_per_sample_weights, -1, QEMB_ERR_ARG)
#define OFFSET_VALUES                                                                                                                      \
    DTYPES(host, input_is.offsets_dtype), INTEGER(host, input_is.num_offsets, 0, QEMB_ERR_OFFSETS),                                        \
        INTEGER(host, input_is.num_offsets, -1, QEMB_ERR_OFFSETS), INTEGER(host, input_is.num_offsets, INT64_MIN, QEMB_ERR_OFFSETS),       \
        INTEGER(host, input_is.num_offsets, INT64_C(1) << 31, QEMB_ERR_SHAPE),                                                             \
        INTEGER(host, input_is.num_offsets, INT64_MAX, QEMB_ERR_SHAPE), INTEGER(host, input_is.columns, 1, QEMB_ERR_SHAPE),                \
        INTEGER(host, input_is.columns, -1, QEMB_ERR_SHAPE), INTEGER(host, offsets[0], 1, QEMB_ERR_OFFSETS),                               \
        INTEGER(host, offsets[0], -1, QEMB_ERR_OFFSETS), INTEGER(host, offsets[1], 3, QEMB_ERR_OFFSETS),                                   \
        INTEGER(host, offsets[1], -3, QEMB_ERR_OFFSETS), INTEGER(host, offsets[2], 1000000, QEMB_ERR_OFFSETS),                             \
        INTEGER(host, offsets[3], 7, QEMB_ERR_OFFSETS), INTEGER(host, offsets[3], INT64_MAX, QEMB_ERR_OFFSETS),                            \
        INTEGER(host, offsets[2], INT64_MIN, QEMB_ERR_OFFSETS), INTEGER(host, offsets[2], (INT64_C(1) << 32) + 2, QEMB_ERR_OFFSETS)

static const bad_value host_values[] = {HOST_VALUES, OFFSET_VALUES, NONE(host, bag), ALIEN(host, bag, bag, QEMB_ERR_ARG)};
static const bad_value packed_host_values[] = {HOST_VALUES, OFFSET_VALUES, NONE(host, packed), ALIEN(host, packed, packed, QEMB_ERR_ARG)};
static const bad_value columns_values[] = {HOST_VALUES,
                                           INTEGER(host, input_is.columns, 0, QEMB_ERR_SHAPE),
                                           INTEGER(host, input_is.columns, -1, QEMB_ERR_SHAPE),
                                           INTEGER(host, input_is.columns, INT64_MIN, QEMB_ERR_SHAPE),
                                           INTEGER(host, input_is.columns, 4, QEMB_ERR_SHAPE),
                                           INTEGER(host, input_is.columns, INT64_MAX, QEMB_ERR_SHAPE)};
static const bad_value unpooled_values[] = {NONE(host, batch),
                                            NONE(host, input),
                                            NONE(host, input_is.indices),
                                            SIZES(host),
                                            DTYPES(host, input_is.indices_dtype),
                                            INTEGER(host, indices[3], 11, QEMB_ERR_INDEX),
                                            INTEGER(host, indices[0], -1, QEMB_ERR_INDEX)};
/* clang-format off */
static const bad_value weighted_values[] = {
    NONE(weighted, input_is.per_sample_weights), SIZES(weighted), INTEGER(weighted, input_is.num_per_sample_weights, 8, QEMB_ERR_SHAPE),
    INTEGER(weighted, input_is.num_per_sample_weights, 0, QEMB_ERR_SHAPE), INTEGER(weighted, input_is.num_per_sample_weights, -1, QEMB_ERR_SHAPE),
    INTEGER(weighted, input_is.num_per_sample_weights, INT64_MAX, QEMB_ERR_SHAPE), OTHER(weighted, bag, bag, QEMB_ERR_UNSUPPORTED),
    INTEGER(weighted, input_is.columns, 3, QEMB_ERR_SHAPE), INTEGER(weighted, input_is.num_indices, 8, QEMB_ERR_SHAPE),
    INTEGER(weighted, indices[8], 7, QEMB_ERR_INDEX), INTEGER(weighted, indices[0], INT64_MIN, QEMB_ERR_INDEX)};

/* ---- on the device: what can be told without looking at the values -------------------------------------------------------------------- */

typedef struct device {
    qemb_batch *batch;
    const qemb_embedding_bag *bag;
    const qemb_packed *packed;
    qemb_device_input input_is, *input;
} device;
/* clang-format on */

static void good_device(walk *w, void *arguments) {
    device *a = arguments;
    *a = (device){.batch = w->device_batch, .bag = w->bag, .packed = w->packed};
    a->input_is =
        (qemb_device_input){.indices = w->ids, .num_indices = 11, .indices_dtype = QEMB_INT64, .offsets = w->offsets, .num_offsets = 5};
    a->input = &a->input_is;
}

static qemb_status run_device(walk *w, void *arguments) {
    device *a = arguments;
    (void)w;
    return qemb_batch_set_device(a->batch, a->bag, a->input);
}

static qemb_status run_packed_device(walk *w, void *arguments) {
    device *a = arguments;
    (void)w;
    return qemb_packed_batch_set_device(a->packed, a->batch, a->input);
}

#define DEVICE_VALUES                                                                                                                      \
    NONE(device, batch), NONE(device, input), ALIEN(device, batch, batch[0], QEMB_ERR_ARG), NONE(device, input_is.indices), SIZES(device), \
        DTYPES(device, input_is.indices_dtype), DTYPES(device, input_is.offsets_dtype),                                                    \
        INTEGER(device, input_is.indices_dtype, QEMB_FLOAT32, QEMB_ERR_DTYPE), ENUM_VALUES(device, input_is.check, 3, QEMB_ERR_ARG),       \
        ALIEN(device, input_is.indices, ids, QEMB_ERR_ARG), ALIEN(device, input_is.offsets, offsets, QEMB_ERR_ARG),                        \
        OTHER(device, input_is.indices, coo_count, QEMB_ERR_SHAPE), OTHER(device, input_is.offsets, coo_count, QEMB_ERR_SHAPE),            \
        INTEGER(device, input_is.num_indices, 12, QEMB_ERR_SHAPE), INTEGER(device, input_is.num_offsets, 6, QEMB_ERR_SHAPE),               \
        INTEGER(device, input_is.num_offsets, 0, QEMB_ERR_OFFSETS), INTEGER(device, input_is.num_offsets, -1, QEMB_ERR_OFFSETS),           \
        INTEGER(device, input_is.num_offsets, INT64_MAX, QEMB_ERR_SHAPE), INTEGER(device, input_is.columns, 1, QEMB_ERR_SHAPE),            \
        OTHER(device, input_is.per_sample_weights, weights_grad, QEMB_ERR_UNSUPPORTED),                                                    \
        INTEGER(device, input_is.num_per_sample_weights, 3, QEMB_ERR_ARG)
static const bad_value device_values[] = {DEVICE_VALUES, NONE(device, bag), ALIEN(device, bag, bag, QEMB_ERR_ARG)};
static const bad_value packed_device_values[] = {DEVICE_VALUES, NONE(device, packed), ALIEN(device, packed, packed, QEMB_ERR_ARG)};

/* ---- forwards --------------------------------------------------------------------------------------------------------------------------- */

typedef struct forward {
    qemb_embedding_bag *bag;
    qemb_embedding *embedding;
    qemb_packed *packed;
    qemb_batch *batch;
    qemb_buffer *out;
    int32_t dtype;
    int64_t *skipped;
} forward;

static void good_forward(walk *w, void *arguments) {
    *(forward *)arguments =
        (forward){.bag = w->bag, .embedding = w->embedding, .packed = w->packed, .batch = w->batch[0], .out = w->out[0]};
}

static void good_embedding_forward(walk *w, void *arguments) {
    good_forward(w, arguments);
    ((forward *)arguments)->batch = w->batch[2];
    ((forward *)arguments)->out = w->out[2];
}

static void good_packed_forward(walk *w, void *arguments) {
    good_forward(w, arguments);
    ((forward *)arguments)->batch = w->batch[3];
    ((forward *)arguments)->out = w->out[0];
}

static void good_status(walk *w, void *arguments) {
    good_forward(w, arguments);
    ((forward *)arguments)->batch = w->device_batch;
}

static qemb_status run_forward(walk *w, void *arguments) {
    forward *a = arguments;
    (void)w;
    return qemb_embedding_bag_forward(a->bag, a->batch, a->out);
}

static qemb_status run_embedding_forward(walk *w, void *arguments) {
    forward *a = arguments;
    (void)w;
    return qemb_embedding_forward(a->embedding, a->batch, a->out);
}

static qemb_status run_packed_forward(walk *w, void *arguments) {
    forward *a = arguments;
    (void)w;
    return qemb_packed_forward(a->packed, a->batch, a->out, (qemb_dtype)a->dtype);
}

static qemb_status run_status(walk *w, void *arguments) {
    forward *a = arguments;
    (void)w;
    return qemb_batch_status(a->batch, a->skipped);
}

#define FORWARD_VALUES(k)                                                                                                                  \
    NONE(forward, batch), NONE(forward, out), ALIEN(forward, batch, batch[k], QEMB_ERR_ARG), ALIEN(forward, out, out[k], QEMB_ERR_ARG),    \
        OTHER(forward, batch, batch[k == 1 ? 0 : 1], QEMB_ERR_STATE), OTHER(forward, out, coo_count, QEMB_ERR_SHAPE)
static const bad_value forward_values[] = {FORWARD_VALUES(0), NONE(forward, bag), ALIEN(forward, bag, bag, QEMB_ERR_ARG),
                                           OTHER(forward, bag, collection, QEMB_ERR_STATE)};
static const bad_value embedding_forward_values[] = {FORWARD_VALUES(2), NONE(forward, embedding),
                                                     ALIEN(forward, embedding, embedding, QEMB_ERR_ARG)};
static const bad_value packed_forward_values[] = {FORWARD_VALUES(3),
                                                  NONE(forward, packed),
                                                  ALIEN(forward, packed, packed, QEMB_ERR_ARG),
                                                  OTHER(forward, packed, imported, QEMB_ERR_STATE),
                                                  ENUM_VALUES(forward, dtype, 6, QEMB_ERR_DTYPE),
                                                  INTEGER(forward, dtype, QEMB_FLOAT64, QEMB_ERR_DTYPE),
                                                  INTEGER(forward, dtype, QEMB_INT32, QEMB_ERR_DTYPE)};
static const bad_value status_values[] = {NONE(forward, batch)};

const bad_call bad_lookups[] = {
    BAD_CALL("batch_set", host, good_host, run_host, host_values),
    BAD_CALL("batch_set", host, good_columns, run_host, columns_values),
    BAD_CALL("batch_set", host, good_unpooled, run_host, unpooled_values),
    BAD_CALL("batch_set", weighted, good_weighted, run_weighted, weighted_values),
    BAD_CALL("batch_set", host, good_packed_host, run_packed_host, packed_host_values),
    BAD_CALL("batch_set_device", device, good_device, run_device, device_values),
    BAD_CALL("embedding_bag_forward", forward, good_forward, run_forward, forward_values),
    BAD_CALL("forward", forward, good_embedding_forward, run_embedding_forward, embedding_forward_values),
    BAD_CALL("packed_forward", forward, good_packed_forward, run_packed_forward, packed_forward_values),
    BAD_CALL("batch_status", forward, good_status, run_status, status_values),
    BAD_CALL("batch_set_device", device, good_device, run_packed_device, packed_device_values),
};
const int bad_lookups_count = sizeof bad_lookups / sizeof *bad_lookups;
