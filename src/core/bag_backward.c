/* bag_backward.c - checks what gradients are wanted and hands it to the engine. */
#include "core/training.h"

/* A buffer of at least `count` items of `size`. */
static qemb_status check_buffer(const qemb_embedding_bag *bag, const qemb_buffer *b, int64_t count, size_t size, const char *name) {
    qemb_status st = QEMB_OK;
    REQUIRE(b->ctx == bag->ctx, QEMB_ERR_ARG, "embedding_bag_backward: %s is of another context", name);
    REQUIRE((int64_t)(b->bytes / size) >= count, QEMB_ERR_SHAPE, "embedding_bag_backward: %s holds %zu bytes, want %lld items of %zu", name,
            b->bytes, (long long)count, size);
    REQUIRE(b->offset % size == 0, QEMB_ERR_SHAPE, "embedding_bag_backward: %s starts inside an item", name);
done:
    return st;
}

static qemb_status check_coo(const qemb_embedding_bag *bag, const qemb_batch *batch, const qemb_gradients *w) {
    const int64_t lookups = batch->view.shape.lookups;
    const int64_t elements = lookups * bag->tables->table[w->table].dim; /* below 2^31 times 2^20 */
    qemb_status st = QEMB_OK;
    REQUIRE(w->coo_indices && w->coo_values && w->coo_count, QEMB_ERR_ARG,
            "embedding_bag_backward: coo_indices, coo_values and coo_count come together, some are NULL");
    REQUIRE(bag->tables->mode != Q_MODE_MAX, QEMB_ERR_UNSUPPORTED, "embedding_bag_backward: mode max has no sparse gradient");
    REQUIRE(!bag->options.scale_grad_by_freq, QEMB_ERR_UNSUPPORTED,
            "embedding_bag_backward: sparse gradients do not support scale_grad_by_freq");
    TRY(check_buffer(bag, w->coo_indices, lookups, sizeof(q_i64), "coo_indices"));
    TRY(check_buffer(bag, w->coo_values, elements, sizeof(float), "coo_values"));
    TRY(check_buffer(bag, w->coo_count, 1, sizeof(q_i64), "coo_count"));
done:
    return st;
}

static qemb_status check_wanted(const qemb_embedding_bag *bag, const qemb_batch *batch, const qemb_gradients *w) {
    const qemb__tables *s = bag->tables;
    qemb_status st = QEMB_OK;
    REQUIRE(w->table >= 0 && w->table < s->num_tables, QEMB_ERR_INDEX, "embedding_bag_backward: table=%d, want 0..%d", w->table,
            s->num_tables - 1);
    REQUIRE(w->dense || w->coo_indices || w->coo_values || w->coo_count || w->per_sample_weights, QEMB_ERR_ARG,
            "embedding_bag_backward: no gradient is wanted");
    if (w->dense) {
        TRY(check_buffer(bag, w->dense, s->table[w->table].rows * s->table[w->table].dim, sizeof(float), "dense"));
    }
    if (w->coo_indices || w->coo_values || w->coo_count) {
        TRY(check_coo(bag, batch, w));
    }
    if (w->per_sample_weights) {
        REQUIRE(batch->view.weights, QEMB_ERR_UNSUPPORTED, "embedding_bag_backward: the batch has no per_sample_weights");
        TRY(check_buffer(bag, w->per_sample_weights, batch->view.shape.lookups, sizeof(float), "per_sample_weights"));
    }
done:
    return st;
}

qemb_status qemb_embedding_bag_backward(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, const qemb_gradients *want) {
    qemb__bag_backward_args args = {.want = want};
    if (!bag || !batch || !grad_output || !want) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_backward: %s is NULL",
                          !bag           ? "bag"
                          : !batch       ? "batch"
                          : !grad_output ? "grad_output"
                                         : "want");
    }
    qemb_status st = qemb__enter(bag->ctx, "embedding_bag_backward");
    if (st != QEMB_OK) {
        return st;
    }
    TRY(qemb__training_check(bag, batch, grad_output, "embedding_bag_backward"));
    TRY(check_wanted(bag, batch, want));
    TRY(qemb__training_begin(bag, batch, grad_output, &args.source));
    if (want->coo_count && !want->coalesced) {
        TRY(qemb__training_reserve_slots(bag, batch->view.shape.lookups));
    }
    qemb__harmless(bag->ctx);
    TRY(bag->ctx->ops->bag_backward(bag->ctx, &args));
done:
    st = qemb__settle(bag->ctx, st);
    qemb__leave(bag->ctx);
    return st;
}
