/* batch.c - the only place where indices and offsets are validated.
 *
 * Host input is checked and narrowed in one pass into a staging block [offsets int32 | weights | indices int32 or int64], which one
 * copy brings to the device. Long bags, which are to be computed first, are found on the way, and their list travels in the same block. Device
 * input is checked by a kernel (ops->batch_check), its bags are taken in order: the host would have to wait to know how many are long. */
#include "core/batch.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "core/embedding_bag.h"

/* One form of host and device input, for the checks that both need. */
typedef struct shape_input {
    int64_t num_indices, num_offsets, columns, num_weights;
    qemb_dtype indices_dtype, offsets_dtype;
    bool has_offsets, has_indices, has_weights;
    qemb_check check;
    const char *call;
} shape_input;

static bool is_integer(qemb_dtype type) {
    return type == QEMB_INT32 || type == QEMB_INT64;
}

static qemb_status check_arguments(const qemb_embedding_bag *bag, const shape_input *in) {
    qemb_status st = QEMB_OK;
    REQUIRE(in->num_indices >= 0 && in->num_indices <= INT32_MAX, QEMB_ERR_SHAPE, "%s: num_indices=%lld, want 0..2^31-1", in->call,
            (long long)in->num_indices);
    REQUIRE(in->has_indices || in->num_indices == 0, QEMB_ERR_ARG, "%s: indices is NULL with num_indices=%lld", in->call,
            (long long)in->num_indices);
    REQUIRE(is_integer(in->indices_dtype), QEMB_ERR_DTYPE, "%s: indices_dtype=%d, want QEMB_INT32 or QEMB_INT64", in->call,
            (int)in->indices_dtype);
    REQUIRE(!in->has_offsets || is_integer(in->offsets_dtype), QEMB_ERR_DTYPE, "%s: offsets_dtype=%d, want QEMB_INT32 or QEMB_INT64",
            in->call, (int)in->offsets_dtype);
    REQUIRE((unsigned)in->check <= QEMB_TRUST, QEMB_ERR_ARG, "%s: check=%d, want QEMB_CHECK, QEMB_SKIP or QEMB_TRUST", in->call,
            (int)in->check);
    REQUIRE(in->has_weights || in->num_weights == 0, QEMB_ERR_ARG, "%s: per_sample_weights is NULL with num_per_sample_weights=%lld",
            in->call, (long long)in->num_weights);
    if (in->has_weights) {
        REQUIRE(bag->pooled, QEMB_ERR_UNSUPPORTED, "%s: per_sample_weights given, an embedding has none", in->call);
        REQUIRE(bag->options.mode == QEMB_MODE_SUM, QEMB_ERR_UNSUPPORTED,
                "%s: per_sample_weights given and the module's mode is %s, want sum", in->call,
                bag->options.mode == QEMB_MODE_MEAN ? "mean" : "max");
        REQUIRE(in->num_weights == in->num_indices, QEMB_ERR_SHAPE, "%s: num_per_sample_weights=%lld, want num_indices=%lld", in->call,
                (long long)in->num_weights, (long long)in->num_indices);
    }
    REQUIRE(!in->has_offsets || bag->pooled, QEMB_ERR_SHAPE, "%s: offsets given, an embedding takes indices alone", in->call);
    REQUIRE(!in->has_offsets || in->columns == 0, QEMB_ERR_SHAPE, "%s: offsets given with columns=%lld, want one of them", in->call,
            (long long)in->columns);
done:
    return st;
}

/* How many bags there are, and how positions map to them; fills everything of q_batch but the buffer offsets. */
static qemb_status shape_of(const qemb_embedding_bag *bag, const shape_input *in, q_batch *shape, int64_t *all_bags) {
    qemb_status st = QEMB_OK;
    const int32_t features = bag->tables->num_features;
    int64_t total = 0;
    *shape = (q_batch){.lookups = in->num_indices};
    if (!bag->pooled) {
        shape->columns = 1;
        total = in->num_indices;
    } else if (in->has_offsets) {
        const int64_t extra = bag->options.include_last_offset ? 1 : 0;
        REQUIRE(in->num_offsets >= extra, QEMB_ERR_OFFSETS, "%s: num_offsets=%lld, want at least %lld (include_last_offset)", in->call,
                (long long)in->num_offsets, (long long)extra);
        total = in->num_offsets - extra;
        shape->num_offsets = in->num_offsets;
        REQUIRE(total > 0 || in->num_indices == 0, QEMB_ERR_OFFSETS, "%s: num_offsets=%lld, want bags for %lld indices", in->call,
                (long long)in->num_offsets, (long long)in->num_indices);
    } else {
        REQUIRE(in->columns > 0 || in->num_indices == 0, QEMB_ERR_SHAPE,
                "%s: offsets is NULL and columns=%lld, want offsets or columns > 0", in->call, (long long)in->columns);
        REQUIRE(in->columns > 0, QEMB_ERR_SHAPE, "%s: columns=%lld, want > 0 where offsets is NULL", in->call, (long long)in->columns);
        REQUIRE(in->num_indices % in->columns == 0, QEMB_ERR_SHAPE, "%s: num_indices=%lld, want a multiple of columns=%lld", in->call,
                (long long)in->num_indices, (long long)in->columns);
        shape->columns = in->columns;
        total = in->num_indices / in->columns;
    }
    REQUIRE(total <= INT32_MAX, QEMB_ERR_SHAPE, "%s: %lld bags, want fewer than 2^31", in->call, (long long)total);
    REQUIRE(total % features == 0, QEMB_ERR_SHAPE, "%s: %lld bags, want a multiple of the %d features", in->call, (long long)total,
            features);
    shape->bags = total / features;
    *all_bags = total;
done:
    return st;
}

static int64_t load(const void *values, qemb_dtype type, int64_t i) {
    return type == QEMB_INT64 ? ((const int64_t *)values)[i] : ((const int32_t *)values)[i];
}

/* Copies the offsets; *longest: lookups of the longest bag. */
static qemb_status check_offsets(const qemb_embedding_bag *bag, const qemb_input *in, qemb_dtype type, int32_t *target, int64_t *longest) {
    qemb_status st = QEMB_OK;
    int64_t before = 0;
    for (int64_t i = 0; i < in->num_offsets; i++) {
        int64_t value = load(in->offsets, type, i);
        REQUIRE(i != 0 || value == 0, QEMB_ERR_OFFSETS, "batch_set: offsets[0]=%lld, want 0", (long long)value);
        REQUIRE(value >= before, QEMB_ERR_OFFSETS, "batch_set: offsets[%lld]=%lld, want at least the %lld before it", (long long)i,
                (long long)value, (long long)before);
        REQUIRE(value <= in->num_indices, QEMB_ERR_OFFSETS, "batch_set: offsets[%lld]=%lld, want at most num_indices=%lld", (long long)i,
                (long long)value, (long long)in->num_indices);
        *longest = value - before > *longest ? value - before : *longest;
        before = value;
        target[i] = (int32_t)value;
    }
    *longest = in->num_indices - before > *longest ? in->num_indices - before : *longest;
    REQUIRE(!bag->options.include_last_offset || before == in->num_indices, QEMB_ERR_OFFSETS,
            "batch_set: the last of %lld offsets is %lld, want num_indices=%lld (include_last_offset)", (long long)in->num_offsets,
            (long long)before, (long long)in->num_indices);
done:
    return st;
}

/* First position in [from, to) whose index is outside [0, rows), or `to`; copies the indices, narrowed where `narrow`. Ids of 64 bits
 * outside become -1 where they are narrowed, which could make them good ones; others stay as they are: kernels test the range. */
static int64_t copy_indices(const qemb_input *in, int64_t from, int64_t to, int64_t rows, bool narrow, void *target) {
    uint64_t limit = (uint64_t)rows;
    uint64_t bad = 0;
    if (narrow && in->indices_dtype == QEMB_INT32) {
        const int32_t *source = in->indices;
        int32_t *out = target;
        for (int64_t i = from; i < to; i++) {
            bad |= (uint64_t)((uint32_t)source[i] >= limit);
            out[i] = source[i];
        }
    } else if (narrow) {
        const int64_t *source = in->indices;
        int32_t *out = target;
        for (int64_t i = from; i < to; i++) {
            bool outside = (uint64_t)source[i] >= limit;
            bad |= outside;
            out[i] = outside ? -1 : (int32_t)source[i];
        }
    } else {
        int64_t *out = target;
        for (int64_t i = from; i < to; i++) {
            out[i] = load(in->indices, in->indices_dtype, i);
            bad |= (uint64_t)out[i] >= limit;
        }
    }
    if (!bad) {
        return to;
    }
    while ((uint64_t)load(in->indices, in->indices_dtype, from) < limit) {
        from++;
    }
    return from;
}

/* Checks and copies all indices, feature after feature. */
static qemb_status check_indices(const qemb_embedding_bag *bag, const qemb_input *in, const q_batch *shape, const int32_t *offsets,
                                 bool narrow, void *target, int64_t *skipped) {
    const qemb__tables *tables = bag->tables;
    *skipped = 0;
    for (int32_t k = 0; k < tables->num_features; k++) {
        const q_feature *f = &tables->feature[k];
        const int64_t rows = tables->table[f->table].rows;
        const int64_t first_bag = (int64_t)f->index * shape->bags;
        const int64_t end_bag = first_bag + shape->bags;
        int64_t from = offsets ? 0 : first_bag * shape->columns;
        int64_t to = offsets ? 0 : end_bag * shape->columns;
        if (offsets && shape->bags > 0) {
            from = offsets[first_bag];
            to = end_bag < shape->num_offsets ? offsets[end_bag] : in->num_indices;
        }
        int64_t bad = copy_indices(in, from, to, rows, narrow, target);
        if (bad < to && in->check == QEMB_CHECK) {
            return qemb__fail(QEMB_ERR_INDEX, "batch_set: indices[%lld]=%lld, want 0..%lld (table %s)", (long long)bad,
                              (long long)load(in->indices, in->indices_dtype, bad), (long long)rows - 1, tables->name[f->table]);
        }
        for (; bad < to && in->check == QEMB_SKIP; bad++) {
            *skipped += (uint64_t)load(in->indices, in->indices_dtype, bad) >= (uint64_t)rows;
        }
    }
    return QEMB_OK;
}

enum { LONG_TIMES = 8, LONG_LEAST = 64 };

/* Lookups from which on a bag is long: a multiple of the mean, so that no more than bags / LONG_TIMES can be. */
static int64_t long_from(const q_batch *shape, int64_t bags) {
    const int64_t times = (LONG_TIMES * shape->lookups + bags - 1) / (bags > 0 ? bags : 1);
    return times > LONG_LEAST ? times : LONG_LEAST;
}

static int64_t bag_length(const q_batch *shape, const int32_t *offsets, int64_t g) {
    return (g + 1 < shape->num_offsets ? offsets[g + 1] : shape->lookups) - offsets[g];
}

/* The list of struct q_deal, the longest first as far as the power of two below a length tells. */
static void list_long_bags(const qemb__tables *tables, const q_batch *shape, const int32_t *offsets, int32_t *list,
                           qemb__batch_view *view) {
    enum { CLASSES = 32 };
    const int64_t bags = shape->bags;
    const int64_t least = long_from(shape, bags * tables->num_features);
    if (view->longest < least) {
        return;
    }
    int32_t at[CLASSES + 1] = {0}; /* bags of class k, then the place of the next one; class k: lengths from 2^(31 - k) on */
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t f = 0; f < tables->num_features; f++) {
            const int64_t first = (int64_t)tables->feature[f].index * bags;
            for (int64_t b = 0; b < bags; b++) {
                const int64_t length = bag_length(shape, offsets, first + b);
                if (length >= least) {
                    int k = 0;
                    while (length >> (CLASSES - 1 - k) == 0) {
                        k++;
                    }
                    if (pass == 0) {
                        at[k + 1]++;
                    } else {
                        list[at[k]++] = (int32_t)(f * bags + b);
                    }
                }
            }
        }
        for (int k = 0; pass == 0 && k < CLASSES; k++) {
            at[k + 1] += at[k];
        }
    }
    view->num_long = at[CLASSES];
    view->long_from = (int32_t)least;
}

/* A window of `bytes` at `offset` of the store. */
static qemb_buffer window(const qemb_buffer *store, size_t offset, size_t bytes) {
    qemb_buffer w = *store;
    w.offset += offset;
    w.bytes = bytes;
    w.owned = false;
    return w;
}

/* Clears the spare status words. */
static qemb_status reset_status(qemb_batch *b) {
    static const q_u32 clear[Q_STATUS_WORDS] = {Q_NO_ERROR, Q_NO_ERROR, 0, 0};
    return qemb__buffer_write(b->spare, 0, sizeof clear, clear, false);
}

/* From here on the batch's status words are the spare ones. */
static void swap_status(qemb_batch *b) {
    qemb_buffer *status = b->view.status;
    b->view.status = b->spare;
    b->spare = status;
}

/* Where things lie in a staging block and a store. */
typedef struct block_layout {
    size_t offsets_bytes, weights_bytes, indices_bytes, longs_at, longs_bytes;
    bool weighted;
} block_layout;

static block_layout layout_of(const qemb_embedding_bag *bag, const qemb_input *in, const q_batch *shape, bool narrow) {
    block_layout l = {
        .offsets_bytes = (size_t)qemb__round_up(shape->num_offsets * (int64_t)sizeof(int32_t), 64),
        .weights_bytes = (size_t)qemb__round_up(in->per_sample_weights ? in->num_indices * (int64_t)sizeof(float) : 0, 64),
        .indices_bytes = (size_t)in->num_indices * (narrow ? sizeof(int32_t) : sizeof(int64_t)),
        .weighted = in->per_sample_weights != NULL,
    };
    l.longs_at = (size_t)qemb__round_up((int64_t)(l.offsets_bytes + l.weights_bytes + l.indices_bytes), 64);
    l.longs_bytes = shape->num_offsets ? (size_t)(shape->bags * bag->tables->num_features / LONG_TIMES) * sizeof(int32_t) : 0;
    return l;
}

/* The view of the store that was filled last. */
static void view_store(qemb_batch *b, const q_batch *shape, const block_layout *l, const qemb__batch_view *longs, bool narrow) {
    qemb_buffer *store = b->store[b->turn];
    b->view_offsets = window(store, 0, l->offsets_bytes);
    b->view_weights = window(store, l->offsets_bytes, l->weights_bytes);
    b->view_indices = window(store, l->offsets_bytes + l->weights_bytes, l->indices_bytes);
    b->view_longs = window(store, l->longs_at, (size_t)longs->num_long * sizeof(int32_t));
    b->view = (qemb__batch_view){.shape = *shape,
                                 .indices = &b->view_indices,
                                 .offsets = shape->num_offsets ? &b->view_offsets : NULL,
                                 .weights = l->weighted ? &b->view_weights : NULL,
                                 .status = b->view.status,
                                 .indices_64 = !narrow,
                                 .longs = longs->num_long ? &b->view_longs : NULL,
                                 .num_long = longs->num_long,
                                 .long_from = longs->long_from,
                                 .longest = longs->longest};
}

static qemb_status set_host(qemb_batch *b, const qemb_embedding_bag *bag, const qemb_input *in, const q_batch *shape) {
    qemb_status st = QEMB_OK;
    const qemb_dtype offsets_dtype = in->offsets_dtype ? in->offsets_dtype : in->indices_dtype;
    const int turn = 1 - b->turn;
    bool narrow = true;
    int64_t skipped = 0;
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        narrow = narrow && bag->tables->table[t].rows <= INT32_MAX;
    }
    const block_layout l = layout_of(bag, in, shape, narrow);
    qemb__batch_view longs = {0};
    size_t bytes = l.offsets_bytes + l.weights_bytes + l.indices_bytes;
    size_t want = l.longs_at + l.longs_bytes ? l.longs_at + l.longs_bytes : 1;
    TRY(b->ctx->ops->fence_wait(b->ctx, &b->fence[turn]));
    TRY(qemb__grow(&b->staging[turn], &b->staging_bytes[turn], (int64_t)want, 1));
    TRY(qemb__buffer_reserve(b->ctx, want, &b->store[turn]));
    char *staging = b->staging[turn];
    int32_t *offsets = shape->num_offsets ? (int32_t *)(void *)staging : NULL;
    if (offsets) {
        TRY(check_offsets(bag, in, offsets_dtype, offsets, &longs.longest));
        list_long_bags(bag->tables, shape, offsets, (int32_t *)(void *)(staging + l.longs_at), &longs);
    }
    TRY(check_indices(bag, in, shape, offsets, narrow, staging + l.offsets_bytes + l.weights_bytes, &skipped));
    if (in->per_sample_weights) {
        memcpy(staging + l.offsets_bytes, in->per_sample_weights, (size_t)in->num_indices * sizeof(float));
    }
    bytes = longs.num_long ? l.longs_at + (size_t)longs.num_long * sizeof(int32_t) : bytes;
    if (b->status_dirty) {
        TRY(reset_status(b));
    }
    if (bytes) {
        TRY(b->ctx->ops->buffer_upload(b->store[turn], bytes, staging, &b->fence[turn]));
    }
    if (b->status_dirty) {
        swap_status(b);
        b->status_dirty = false;
    }
    b->turn = turn;
    view_store(b, shape, &l, &longs, narrow);
    b->on_device = false;
    b->skipped = skipped;
done:
    return st;
}

static void forget_unchecked(qemb_batch *b) {
    if (b->is_unchecked) {
        qemb_batch **p = &b->ctx->unchecked;
        while (*p != b) {
            p = &(*p)->next_unchecked;
        }
        *p = b->next_unchecked;
        b->is_unchecked = false;
    }
    b->next_unchecked = NULL;
}

qemb_status qemb_batch_create(qemb_context *ctx, qemb_batch **out) {
    void *block = NULL;
    qemb_batch *b = NULL;
    qemb_status st = qemb__enter(ctx, "batch_create");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(out, QEMB_ERR_ARG, "batch_create: batch is NULL");
    TRY(qemb__calloc(1, sizeof *b, &block));
    b = block;
    b->ctx = ctx;
    TRY(qemb__buffer_create(ctx, Q_STATUS_WORDS * sizeof(q_u32), &b->view.status));
    TRY(qemb__buffer_create(ctx, Q_STATUS_WORDS * sizeof(q_u32), &b->spare));
    TRY(reset_status(b));
    swap_status(b);
    *out = b;
    b = NULL;
done:
    if (b) {
        qemb__buffer_destroy(b->view.status);
        qemb__buffer_destroy(b->spare);
        qemb__free(b);
    }
    qemb__leave(ctx);
    return st;
}

void qemb_batch_destroy(qemb_batch *b) {
    if (!b) {
        return;
    }
    forget_unchecked(b);
    for (int k = 0; k < 2; k++) {
        b->ctx->ops->fence_drop(b->ctx, &b->fence[k]);
        qemb__buffer_destroy(b->store[k]);
        qemb__free(b->staging[k]);
    }
    qemb__buffer_destroy(b->view.status);
    qemb__buffer_destroy(b->spare);
    qemb__free(b);
}

qemb_status qemb_batch_set(qemb_batch *b, const qemb_embedding_bag *bag, const qemb_input *in) {
    q_batch shape;
    int64_t all_bags = 0;
    if (!b || !bag || !in) {
        return qemb__fail(QEMB_ERR_ARG, "batch_set: %s is NULL", !b ? "batch" : !bag ? "bag" : "input");
    }
    qemb_status st = qemb__enter(b->ctx, "batch_set");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(bag->ctx == b->ctx, QEMB_ERR_ARG, "batch_set: batch and bag are of different contexts");
    shape_input common = {in->num_indices,
                          in->num_offsets,
                          in->columns,
                          in->num_per_sample_weights,
                          in->indices_dtype,
                          in->offsets_dtype ? in->offsets_dtype : in->indices_dtype,
                          in->offsets != NULL,
                          in->indices != NULL,
                          in->per_sample_weights != NULL,
                          in->check,
                          "batch_set"};
    TRY(check_arguments(bag, &common));
    TRY(shape_of(bag, &common, &shape, &all_bags));
    TRY(set_host(b, bag, in, &shape));
    if (b->is_unchecked) {
        forget_unchecked(b);
    }
    b->module = bag->serial;
    b->bags = shape.bags;
    b->check = in->check;
    b->generation = qemb__serial(b->ctx);
done:
    qemb__leave(b->ctx);
    return st;
}

static qemb_status check_device_buffers(const qemb_embedding_bag *bag, const qemb_device_input *in, qemb_dtype offsets_dtype) {
    qemb_status st = QEMB_OK;
    const qemb_buffer *all[3] = {in->indices, in->offsets, in->per_sample_weights};
    for (int k = 0; k < 3; k++) {
        REQUIRE(!all[k] || all[k]->ctx == bag->ctx, QEMB_ERR_ARG, "batch_set_device: a buffer of another context");
    }
    size_t index_size = in->indices_dtype == QEMB_INT64 ? 8 : 4;
    size_t offset_size = offsets_dtype == QEMB_INT64 ? 8 : 4;
    REQUIRE(!in->indices || (int64_t)(in->indices->bytes / index_size) >= in->num_indices, QEMB_ERR_SHAPE,
            "batch_set_device: indices hold %zu bytes, want %lld items of %zu", in->indices->bytes, (long long)in->num_indices, index_size);
    REQUIRE(!in->offsets || (int64_t)(in->offsets->bytes / offset_size) >= in->num_offsets, QEMB_ERR_SHAPE,
            "batch_set_device: offsets hold %zu bytes, want %lld items of %zu", in->offsets->bytes, (long long)in->num_offsets,
            offset_size);
    REQUIRE(!in->per_sample_weights || (int64_t)(in->per_sample_weights->bytes / 4) >= in->num_indices, QEMB_ERR_SHAPE,
            "batch_set_device: per_sample_weights hold %zu bytes, want %lld floats", in->per_sample_weights->bytes,
            (long long)in->num_indices);
    REQUIRE((!in->indices || in->indices->offset % index_size == 0) && (!in->offsets || in->offsets->offset % offset_size == 0),
            QEMB_ERR_SHAPE, "batch_set_device: a buffer starts inside an element");
done:
    return st;
}

qemb_status qemb_batch_set_device(qemb_batch *b, const qemb_embedding_bag *bag, const qemb_device_input *in) {
    q_batch shape;
    int64_t all_bags = 0;
    if (!b || !bag || !in) {
        return qemb__fail(QEMB_ERR_ARG, "batch_set_device: %s is NULL", !b ? "batch" : !bag ? "bag" : "input");
    }
    qemb_status st = qemb__enter(b->ctx, "batch_set_device");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(bag->ctx == b->ctx, QEMB_ERR_ARG, "batch_set_device: batch and bag are of different contexts");
    qemb_dtype offsets_dtype = in->offsets_dtype ? in->offsets_dtype : in->indices_dtype;
    shape_input common = {in->num_indices,   in->num_offsets,     in->columns,         in->num_per_sample_weights,     in->indices_dtype,
                          offsets_dtype,     in->offsets != NULL, in->indices != NULL, in->per_sample_weights != NULL, in->check,
                          "batch_set_device"};
    TRY(check_arguments(bag, &common));
    TRY(shape_of(bag, &common, &shape, &all_bags));
    TRY(check_device_buffers(bag, in, offsets_dtype));
    qemb__batch_view view = {.shape = shape,
                             .indices = in->indices,
                             .offsets = in->offsets,
                             .weights = in->per_sample_weights,
                             .status = b->spare,
                             .indices_64 = in->indices_dtype == QEMB_INT64,
                             .offsets_64 = in->offsets && offsets_dtype == QEMB_INT64};
    TRY(reset_status(b));
    qemb__batch_check_args args = {bag->tables, &view, all_bags, in->check};
    TRY(b->ctx->ops->batch_check(b->ctx, &args));
    swap_status(b);
    b->view = view;
    b->status_dirty = true;
    b->on_device = true;
    b->module = bag->serial;
    b->bags = shape.bags;
    b->check = in->check;
    b->generation = qemb__serial(b->ctx);
    if (!b->is_unchecked) {
        b->is_unchecked = true;
        b->next_unchecked = b->ctx->unchecked;
        b->ctx->unchecked = b;
    }
done:
    qemb__leave(b->ctx);
    return st;
}

qemb_status qemb__batch_read_status(qemb_batch *b, int64_t *skipped) {
    q_u32 words[Q_STATUS_WORDS];
    qemb_status st = b->ctx->ops->buffer_read(b->view.status, 0, sizeof words, words, true);
    if (st != QEMB_OK) {
        return st;
    }
    if (skipped) {
        *skipped = b->on_device ? words[Q_STATUS_SKIPS] : b->skipped;
    }
    if (words[Q_STATUS_OFFSET] != Q_NO_ERROR) {
        return qemb__fail(QEMB_ERR_OFFSETS, "batch: offsets[%u] on the device does not start at 0, decreases, or misses num_indices=%lld",
                          words[Q_STATUS_OFFSET], (long long)b->view.shape.lookups);
    }
    if (words[Q_STATUS_INDEX] != Q_NO_ERROR) {
        return qemb__fail(QEMB_ERR_INDEX, "batch: indices[%u] on the device is outside its table", words[Q_STATUS_INDEX]);
    }
    return QEMB_OK;
}

qemb_status qemb_batch_status(qemb_batch *b, int64_t *skipped) {
    if (!b) {
        return qemb__fail(QEMB_ERR_ARG, "batch_status: batch is NULL");
    }
    qemb_status st = qemb__enter(b->ctx, "batch_status");
    if (st == QEMB_OK) {
        st = b->module ? qemb__batch_read_status(b, skipped) : qemb__fail(QEMB_ERR_STATE, "batch_status: the batch was never set");
        forget_unchecked(b);
        qemb__leave(b->ctx);
    }
    return st;
}
