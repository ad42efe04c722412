/* training.c - sorts a batch once for everything that goes over its rows; work space; clipping of float tables. */
#include "core/training.h"

#include "base/checked.h"
#include "base/memory.h"

void qemb__training_destroy(qemb__training *t) {
    if (t) {
        qemb__row_sort_destroy(t->sort);
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
    TRY(qemb__row_sort_create(s, &t->sort));
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

static qemb_status reserve(const qemb__tables *s, qemb__training *t, int64_t bags, int64_t lookups) {
    const int64_t parts = qemb__row_sort_max_parts(lookups);
    qemb_status st = QEMB_OK;
    if (s->mode == Q_MODE_MEAN) {
        TRY(qemb__buffer_reserve(s->ctx, (size_t)(bags * s->num_features + 1) * sizeof(float), &t->bag_scale));
    }
    TRY(qemb__buffer_reserve(s->ctx, (size_t)(parts * t->part_stride) * sizeof(float), &t->parts));
done:
    return st;
}

qemb_status qemb__training_begin(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, qemb__gradient_args *args) {
    qemb_status st = QEMB_OK;
    if (!bag->training) {
        TRY(create(bag->tables, &bag->training));
    }
    qemb__training *t = bag->training;
    TRY(qemb__tables_flush(bag->tables));
    TRY(reserve(bag->tables, t, batch->bags, batch->view.shape.lookups));
    if (t->sorted != batch || t->sorted_generation != batch->generation) {
        t->sorted = NULL;
        TRY(qemb__row_sort_run(t->sort, &batch->view, false));
        t->sorted = batch;
        t->sorted_generation = batch->generation;
    }
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
