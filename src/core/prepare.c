/* prepare.c - the first step of a shape before there is one: every operation that is asked for runs once on a batch that the device has
 * refused. Kernels then write nothing, whatever else happens as in earnest: the same choice of kernels, the same launches, the same work
 * space. Some drivers compile at a kernel's first launch, so nothing less would do. */
#include "base/checked.h"
#include "core/optimizer.h"
#include "core/packed.h"
#include "core/training.h"

enum { SMALL_BAG = 64 }; /* lookups of a bag where the caller says nothing: more than a part of a run */

/* The batch: all of its ids and offsets are 0, its status says that it was refused. */
typedef struct dry_batch {
    qemb__batch_view view;
    int64_t all_bags;
    qemb_buffer *indices, *offsets, *weights, *refused, *clear;
    qemb_buffer *target; /* what a kernel would write to: a row, and more */
} dry_batch;

static void close_batch(dry_batch *d) {
    qemb_buffer *all[] = {d->indices, d->offsets, d->weights, d->refused, d->clear, d->target};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        qemb__buffer_destroy(all[i]);
    }
}

static qemb_status check_types(const qemb_prepare_desc *d, const char *call) {
    qemb_status st = QEMB_OK;
    const qemb_dtype types[2] = {d->indices_dtype, d->offsets_dtype};
    for (int k = 0; k < 2; k++) {
        REQUIRE(types[k] == 0 || types[k] == QEMB_INT32 || types[k] == QEMB_INT64, QEMB_ERR_DTYPE,
                "%s: %s=%d, want 0, QEMB_INT32 or QEMB_INT64", call, k ? "offsets_dtype" : "indices_dtype", (int)types[k]);
        REQUIRE(types[k] == 0 || d->on_device, QEMB_ERR_ARG, "%s: %s=%d without on_device, want 0", call,
                k ? "offsets_dtype" : "indices_dtype", (int)types[k]);
    }
done:
    return st;
}

/* The shape of a batch of these bags and lookups. */
static qemb_status check_shape(const qemb_embedding_bag *bag, const qemb_prepare_desc *d, q_batch *shape, const char *call) {
    qemb_status st = QEMB_OK;
    const int64_t features = bag->tables->num_features;
    const int64_t bags = d->bags ? d->bags : 1;
    int64_t all_bags = 0;
    REQUIRE(d->bags >= 0 && qemb__mul_i64(bags, features, &all_bags) && all_bags <= INT32_MAX, QEMB_ERR_SHAPE,
            "%s: bags=%lld, want 0..2^31-1 bags of all %lld features", call, (long long)d->bags, (long long)features);
    REQUIRE(bag->pooled || d->bags == 0, QEMB_ERR_SHAPE, "%s: bags=%lld, an embedding has none, want 0", call, (long long)d->bags);
    REQUIRE(d->lookups >= 0 && d->lookups <= INT32_MAX, QEMB_ERR_SHAPE, "%s: lookups=%lld, want 0..2^31-1", call, (long long)d->lookups);
    const int64_t lookups = d->lookups ? d->lookups : qemb__min_i64(SMALL_BAG * all_bags, INT32_MAX);
    *shape = bag->pooled ? (q_batch){.lookups = lookups, .bags = bags, .num_offsets = all_bags}
                         : (q_batch){.lookups = lookups, .bags = lookups, .columns = 1};
    REQUIRE(!d->per_sample_weights || (bag->pooled && bag->options.mode == QEMB_MODE_SUM), QEMB_ERR_UNSUPPORTED,
            "%s: per_sample_weights=true, want false: only bags of mode sum have weights", call);
done:
    return st;
}

/* A batch as qemb_batch_set (or, on_device, qemb_batch_set_device) makes it. */
static qemb_status open_batch(const qemb_embedding_bag *bag, const qemb_prepare_desc *desc, const q_batch *shape, dry_batch *d) {
    static const q_u32 refused[Q_STATUS_WORDS] = {0, 0, 0, 0};
    static const q_u32 clear[Q_STATUS_WORDS] = {Q_NO_ERROR, Q_NO_ERROR, 0, 0};
    const qemb__tables *s = bag->tables;
    qemb_context *ctx = bag->ctx;
    bool wide = desc->on_device && desc->indices_dtype != QEMB_INT32;
    const bool wide_offsets = desc->on_device && (desc->offsets_dtype ? desc->offsets_dtype == QEMB_INT64 : wide);
    qemb_status st = QEMB_OK;
    for (int32_t t = 0; t < s->num_tables && !desc->on_device; t++) {
        wide = wide || s->table[t].rows > INT32_MAX;
    }
    d->all_bags = shape->bags * s->num_features;
    TRY(qemb__buffer_create(ctx, (size_t)(shape->lookups + 1) * (wide ? 8 : 4), &d->indices));
    TRY(qemb__buffer_create(ctx, (size_t)(shape->num_offsets + 1) * (wide_offsets ? 8 : 4), &d->offsets));
    TRY(qemb__buffer_create(ctx, (size_t)(desc->per_sample_weights ? shape->lookups + 1 : 1) * sizeof(float), &d->weights));
    TRY(qemb__buffer_create(ctx, sizeof refused, &d->refused));
    TRY(qemb__buffer_create(ctx, sizeof clear, &d->clear));
    TRY(qemb__buffer_create(ctx, ((size_t)s->max_dim + 64) * sizeof(float), &d->target));
    TRY(qemb__buffer_write(d->refused, 0, sizeof refused, refused, false));
    TRY(qemb__buffer_write(d->clear, 0, sizeof clear, clear, false));
    d->view = (qemb__batch_view){.shape = *shape,
                                 .indices = d->indices,
                                 .offsets = shape->num_offsets ? d->offsets : NULL,
                                 .weights = desc->per_sample_weights ? d->weights : NULL,
                                 .status = d->clear,
                                 .indices_64 = wide,
                                 .offsets_64 = shape->num_offsets && wide_offsets};
    if (desc->on_device) {
        const qemb__batch_check_args args = {s, &d->view, d->all_bags, QEMB_CHECK};
        TRY(ctx->ops->batch_check(ctx, &args));
    }
    d->view.status = d->refused;
done:
    return st;
}

/* Mode max: more room for winners, those of the last forward kept. */
static qemb_status reserve_winners(qemb_embedding_bag *bag, const dry_batch *d) {
    qemb_buffer *larger = NULL;
    const int64_t bags = bag->pooled ? d->view.shape.bags : d->view.shape.lookups;
    qemb_status st = QEMB_OK;
    if (bag->tables->mode != Q_MODE_MAX) {
        return QEMB_OK;
    }
    const int64_t words = bags * bag->tables->output_dim; /* below 2^31 bags of all features times 2^20 columns */
    if (bag->winners && bag->winners->bytes >= (size_t)words * sizeof(q_i32)) {
        return QEMB_OK;
    }
    TRY(qemb__buffer_reserve(bag->ctx, (size_t)words * sizeof(q_i32), &larger));
    if (bag->winners && bag->winners->bytes) {
        TRY(bag->ctx->ops->buffer_copy(larger, 0, bag->winners, 0, bag->winners->bytes));
    }
    qemb__buffer_destroy(bag->winners);
    bag->winners = larger;
    larger = NULL;
done:
    qemb__buffer_destroy(larger);
    return st;
}

/* Sorts the batch, and gives what gradients of it are asked with. Every sort that is kept gets its room; what they held is sorted again. */
static qemb_status begin_training(qemb_embedding_bag *bag, const dry_batch *d, bool ahead, qemb__gradient_args *args) {
    const q_batch *shape = &d->view.shape;
    qemb_status st = QEMB_OK;
    TRY(qemb__training_reserve(bag, shape->bags, shape->lookups));
    qemb__training *t = bag->training;
    TRY(qemb__training_sorts(bag, ahead ? 2 : 1));
    for (int k = 0; k < t->num_sorted; k++) {
        t->sorted[k].generation = 0;
        TRY(qemb__row_sort_run(t->sorted[k].sort, &d->view, false));
        t->sort = t->sorted[k].sort;
    }
    *args = (qemb__gradient_args){.tables = bag->tables,
                                  .batch = &d->view,
                                  .work = t,
                                  .grad_output = d->target,
                                  .winners = bag->tables->mode == Q_MODE_MAX ? bag->winners : NULL,
                                  .step = bag->forwards,
                                  .freq = bag->options.scale_grad_by_freq};
done:
    return st;
}

static qemb_status forward(qemb_embedding_bag *bag, const dry_batch *d) {
    const qemb__bag_forward_args args = {bag->tables, &d->view, d->target, bag->tables->mode == Q_MODE_MAX ? bag->winners : NULL,
                                         bag->forwards + 1};
    qemb__row_update_args clip = {.kind = Q_CLIP_WEIGHT};
    bool clips = false;
    qemb_status st = QEMB_OK;
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        clips = clips || (bag->tables->table[t].flags & Q_CLIPS_WEIGHT);
    }
    if (clips) {
        TRY(begin_training(bag, d, false, &clip.source));
        TRY(bag->ctx->ops->row_update(bag->ctx, &clip));
    }
    TRY(bag->ctx->ops->bag_forward(bag->ctx, &args));
done:
    return st;
}

/* Gradients in every form, of the first table of each group of slabs. */
static qemb_status backward(qemb_embedding_bag *bag, const dry_batch *d, const qemb__gradient_args *source) {
    const bool coo = bag->tables->mode != Q_MODE_MAX && !bag->options.scale_grad_by_freq;
    qemb_status st = QEMB_OK;
    int32_t group = -1;
    TRY(qemb__training_reserve_slots(bag, d->view.shape.lookups));
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        qemb_gradients want = {.table = t, .dense = d->target, .per_sample_weights = d->view.weights ? d->target : NULL};
        const qemb__bag_backward_args args = {*source, &want};
        if (bag->tables->table[t].group == group) {
            continue;
        }
        group = bag->tables->table[t].group;
        TRY(bag->ctx->ops->bag_backward(bag->ctx, &args));
        want = (qemb_gradients){.table = t, .coo_indices = d->target, .coo_values = d->target, .coo_count = d->target};
        for (int k = 0; k < 2 && coo; k++) {
            want.coalesced = k == 1;
            TRY(bag->ctx->ops->bag_backward(bag->ctx, &args));
        }
    }
done:
    return st;
}

static qemb_status step(qemb_embedding_bag *bag, const dry_batch *d, const qemb__gradient_args *source, const qemb_optimizer *o) {
    const qemb__row_update_args args = {.source = *source,
                                        .kind = (int32_t)o->desc.kind,
                                        .dense = o->dense,
                                        .has_momentum = o->desc.momentum != 0.0,
                                        .optimizer = qemb__optimizer_at(o),
                                        .m = o->m,
                                        .v = o->v};
    qemb_status st = QEMB_OK;
    if (o->desc.clip == QEMB_CLIP_NORM) {
        TRY(qemb__training_reserve_squares(bag, d->view.shape.lookups));
    }
    TRY(bag->ctx->ops->row_update(bag->ctx, &args));
done:
    return st;
}

/* Row by row: the range and the values of a row of each table, read. */
static qemb_status rows(qemb_embedding_bag *bag, const dry_batch *d) {
    qemb_status st = QEMB_OK;
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        for (int k = 0; k < 2; k++) {
            const qemb__row_observe_args args = {.tables = bag->tables,
                                                 .table = t,
                                                 .count = 1,
                                                 .step = bag->forwards,
                                                 .result = k ? NULL : d->target,
                                                 .values = k ? d->target : NULL};
            TRY(bag->ctx->ops->row_observe(bag->ctx, &args));
        }
    }
done:
    return st;
}

qemb_status qemb_embedding_bag_prepare(qemb_embedding_bag *bag, const qemb_prepare_desc *desc) {
    static const char call[] = "embedding_bag_prepare";
    const qemb_prepare_desc d = desc ? *desc : (qemb_prepare_desc){0};
    const uint32_t all = QEMB_PREPARE_BACKWARD | QEMB_PREPARE_ROWS | QEMB_PREPARE_SORT;
    const bool trains = d.optimizer || (d.calls & (QEMB_PREPARE_BACKWARD | QEMB_PREPARE_SORT));
    dry_batch batch = {0};
    qemb__gradient_args source;
    q_batch shape = {0};
    if (!bag) {
        return qemb__fail(QEMB_ERR_ARG, "%s: bag is NULL", call);
    }
    qemb_status st = qemb__enter(bag->ctx, call);
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE((d.calls & ~all) == 0, QEMB_ERR_ARG, "%s: calls=%#x, want QEMB_PREPARE_* alone", call, d.calls);
    REQUIRE(!d.optimizer || d.optimizer->bag == bag, QEMB_ERR_ARG, "%s: the optimizer is of another module", call);
    TRY(check_types(&d, call));
    TRY(check_shape(bag, &d, &shape, call));
    TRY(qemb__tables_flush(bag->tables));
    TRY(open_batch(bag, &d, &shape, &batch));
    TRY(reserve_winners(bag, &batch));
    TRY(forward(bag, &batch));
    if (trains) {
        TRY(begin_training(bag, &batch, (d.calls & QEMB_PREPARE_SORT) != 0, &source));
    }
    if (d.calls & QEMB_PREPARE_BACKWARD) {
        TRY(backward(bag, &batch, &source));
    }
    if (d.optimizer) {
        TRY(step(bag, &batch, &source, d.optimizer));
    }
    if (d.calls & QEMB_PREPARE_ROWS) {
        TRY(rows(bag, &batch));
    }
done:
    close_batch(&batch);
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb_packed_prepare(qemb_packed *p, const qemb_prepare_desc *desc, qemb_dtype dtype) {
    static const char call[] = "packed_prepare";
    const qemb_prepare_desc d = desc ? *desc : (qemb_prepare_desc){0};
    dry_batch batch = {0};
    q_batch shape = {0};
    if (!p) {
        return qemb__fail(QEMB_ERR_ARG, "%s: packed is NULL", call);
    }
    qemb_status st = qemb__enter(p->ctx, call);
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(d.calls == 0 && !d.optimizer, QEMB_ERR_ARG,
            "%s: calls=%#x and optimizer=%p, want 0 and NULL: packed tables have a forward alone", call, d.calls, (void *)d.optimizer);
    REQUIRE(dtype == QEMB_FLOAT32 || dtype == QEMB_FLOAT16 || dtype == QEMB_BFLOAT16, QEMB_ERR_DTYPE,
            "%s: dtype=%d, want QEMB_FLOAT32, QEMB_FLOAT16 or QEMB_BFLOAT16", call, (int)dtype);
    TRY(check_types(&d, call));
    TRY(check_shape(&p->shape, &d, &shape, call));
    TRY(open_batch(&p->shape, &d, &shape, &batch));
    const qemb__packed_forward_args args = {p->shape.tables, &batch.view, p->maps, batch.target, dtype};
    TRY(p->ctx->ops->packed_forward(p->ctx, &args));
done:
    close_batch(&batch);
    qemb__leave(p->ctx);
    return st;
}
