/* training.c - sorts a batch once for everything that goes over its rows; work space; clipping of float tables.
 *
 * A sort belongs to a generation, the number of one set of one batch: a batch that is set again is another one, and a second step or
 * backward of the same finds its sort. Work space grows to the largest batch seen and stays. */
#include "core/training.h"

#include "base/checked.h"
#include "base/memory.h"

void qemb__training_destroy(qemb__training *t) {
    if (t) {
        for (int k = 0; k < t->num_sorted; k++) {
            qemb__row_sort_destroy(t->sorted[k].sort);
        }
        qemb_buffer *buffers[] = {t->columns, t->bag_scale, t->parts, t->squares, t->slots};
        for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
            qemb__buffer_destroy(buffers[i]);
        }
        qemb__free(t);
    }
}

static qemb_status create(const qemb__tables *s, qemb__training **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    void *columns = NULL;
    qemb__training *t = NULL;
    TRY(qemb__calloc(1, sizeof *t, &block));
    t = block;
    t->part_stride = qemb__round_up(s->max_dim, 16);
    TRY(qemb__row_sort_create(s, NULL, &t->sorted[0].sort));
    t->num_sorted = 1;
    TRY(qemb__calloc(s->num_features, sizeof(q_i64), &columns));
    for (int32_t k = 0; k < s->num_features; k++) {
        ((q_i64 *)columns)[s->feature[k].index] = s->feature[k].column;
    }
    TRY(qemb__buffer_create(s->ctx, (size_t)s->num_features * sizeof(q_i64), &t->columns));
    TRY(qemb__buffer_write(t->columns, 0, (size_t)s->num_features * sizeof(q_i64), columns, true));
    *out = t;
    t = NULL;
done:
    qemb__free(columns);
    qemb__training_destroy(t);
    return st;
}

qemb_status qemb__training_reserve(qemb_embedding_bag *bag, int64_t bags, int64_t lookups) {
    const qemb__tables *s = bag->tables;
    const int64_t parts = qemb__row_sort_max_parts(lookups);
    qemb_status st = QEMB_OK;
    if (!bag->training) {
        TRY(create(s, &bag->training));
    }
    qemb__training *t = bag->training;
    if (s->mode == Q_MODE_MEAN) {
        TRY(qemb__buffer_reserve(s->ctx, (size_t)(bags * s->num_features + 1) * sizeof(float), &t->bag_scale));
    }
    TRY(qemb__buffer_reserve(s->ctx, (size_t)(parts * t->part_stride) * sizeof(float), &t->parts));
done:
    return st;
}

qemb_status qemb__training_sorts(qemb_embedding_bag *bag, int count) {
    qemb__training *t = bag->training;
    qemb_status st = QEMB_OK;
    for (; t->num_sorted < count; t->num_sorted++) {
        TRY(qemb__row_sort_create(bag->tables, t->sorted[0].sort, &t->sorted[t->num_sorted].sort));
    }
done:
    return st;
}

qemb_status qemb__training_reserve_squares(qemb_embedding_bag *bag, int64_t lookups) {
    const int64_t words = lookups + qemb__ceil_div(lookups, Q_NORM_BLOCK) + 2;
    return qemb__buffer_reserve(bag->ctx, (size_t)words * sizeof(float), &bag->training->squares);
}

qemb_status qemb__training_reserve_slots(qemb_embedding_bag *bag, int64_t lookups) {
    const int64_t chunks = qemb__ceil_div(lookups, QEMB__SLOT_CHUNK) + 1;
    return qemb__buffer_reserve(bag->ctx, (size_t)chunks * sizeof(q_i32), &bag->training->slots);
}

/* Which sort makes room for another batch: an empty one, one whose step is done, one that is not the last forward's, the older. */
static qemb__sorted *make_room(const qemb_embedding_bag *bag) {
    qemb__training *t = bag->training;
    qemb__sorted *best = NULL;
    int best_rank = 0;
    for (int k = 0; k < t->num_sorted; k++) {
        qemb__sorted *s = &t->sorted[k];
        const bool current = bag->last_batch && s->generation == bag->last_generation;
        const int rank = !s->generation ? 4 : s->stepped ? 3 : !current ? 2 : 1;
        if (rank > best_rank || (rank == best_rank && s->generation < best->generation)) {
            best = s;
            best_rank = rank;
        }
    }
    return best;
}

/* The batch sorted, and that sort the one of t->sort. */
static qemb_status sort_batch(qemb_embedding_bag *bag, const qemb_batch *batch) {
    qemb__training *t = bag->training;
    qemb_status st = QEMB_OK;
    for (int k = 0; k < t->num_sorted; k++) {
        if (t->sorted[k].generation == batch->generation) {
            t->sort = t->sorted[k].sort;
            return QEMB_OK;
        }
    }
    qemb__sorted *s = make_room(bag);
    s->generation = 0;
    TRY(qemb__row_sort_run(s->sort, &batch->view, false));
    s->generation = batch->generation;
    s->stepped = false;
    t->sort = s->sort;
done:
    return st;
}

void qemb__training_stepped(qemb_embedding_bag *bag, const qemb_batch *batch) {
    for (int k = 0; k < bag->training->num_sorted; k++) {
        qemb__sorted *s = &bag->training->sorted[k];
        s->stepped = s->stepped || s->generation == batch->generation;
    }
}

qemb_status qemb_embedding_bag_sort(qemb_embedding_bag *bag, qemb_batch *batch) {
    if (!bag || !batch) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_sort: %s is NULL", !bag ? "bag" : "batch");
    }
    qemb_status st = qemb__enter(bag->ctx, "embedding_bag_sort");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(batch->ctx == bag->ctx, QEMB_ERR_ARG, "embedding_bag_sort: bag and batch are of different contexts");
    REQUIRE(batch->module == bag->serial, QEMB_ERR_STATE, "embedding_bag_sort: the batch was set for another module, or never");
    TRY(qemb__training_reserve(bag, batch->bags, batch->view.shape.lookups));
    TRY(qemb__training_sorts(bag, 2));
    TRY(qemb__tables_flush(bag->tables));
    TRY(sort_batch(bag, batch));
done:
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb__training_begin(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, qemb__gradient_args *args) {
    qemb_status st = QEMB_OK;
    TRY(qemb__training_reserve(bag, batch->bags, batch->view.shape.lookups));
    qemb__training *t = bag->training;
    TRY(qemb__tables_flush(bag->tables));
    TRY(sort_batch(bag, batch));
    *args = (qemb__gradient_args){.tables = bag->tables,
                                  .batch = &batch->view,
                                  .work = t,
                                  .grad_output = grad_output,
                                  .winners = bag->tables->mode == Q_MODE_MAX ? bag->winners : NULL,
                                  .step = bag->forwards,
                                  .freq = bag->options.scale_grad_by_freq};
done:
    return st;
}

/* A gradient is one of the last forward: its mask is computed from rows and state as they were then, so whatever changed them since
 * refuses. */
qemb_status qemb__training_check(const qemb_embedding_bag *bag, const qemb_batch *batch, const qemb_buffer *grad_output, const char *call) {
    qemb_status st = QEMB_OK;
    REQUIRE(batch->ctx == bag->ctx && grad_output->ctx == bag->ctx, QEMB_ERR_ARG,
            "%s: bag, batch and grad_output are of different contexts", call);
    REQUIRE(batch->module == bag->serial, QEMB_ERR_STATE, "%s: the batch was set for another module, or never", call);
    REQUIRE(bag->last_batch, QEMB_ERR_STATE, "%s: no forward since the module was made, stepped, switched or written to", call);
    REQUIRE(bag->last_batch == batch, QEMB_ERR_STATE, "%s: the last forward had another batch", call);
    REQUIRE(bag->last_generation == batch->generation, QEMB_ERR_STATE, "%s: the batch was set again after the forward", call);
    const int64_t rows = bag->pooled ? batch->bags : batch->view.shape.lookups;
    const int64_t elements = rows * bag->tables->output_dim; /* fits: the forward has checked it */
    REQUIRE(grad_output->bytes / sizeof(float) >= (size_t)elements, QEMB_ERR_SHAPE,
            "%s: grad_output holds %zu bytes, want %lld floats (%lld x %lld)", call, grad_output->bytes, (long long)elements,
            (long long)rows, (long long)bag->tables->output_dim);
    REQUIRE(grad_output->offset % sizeof(float) == 0, QEMB_ERR_SHAPE, "%s: grad_output starts inside a float", call);
done:
    return st;
}

/* max_norm of float tables: torch clips the looked-up rows of the weight itself before a forward. An update without a gradient, over the
 * same runs. */
qemb_status qemb__training_clip_weights(qemb_embedding_bag *bag, qemb_batch *batch) {
    qemb__row_update_args args = {.kind = Q_CLIP_WEIGHT};
    bool clips = false;
    qemb_status st = QEMB_OK;
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        clips = clips || (bag->tables->table[t].flags & Q_CLIPS_WEIGHT);
    }
    if (!clips || batch->view.shape.lookups == 0) {
        qemb__harmless(bag->ctx);
        return QEMB_OK;
    }
    TRY(qemb__training_begin(bag, batch, NULL, &args.source));
    args.source.step = bag->forwards + 1; /* torch observes, then clips, then looks up */
    qemb__harmless(bag->ctx);
    TRY(bag->ctx->ops->row_update(bag->ctx, &args));
done:
    return st;
}
