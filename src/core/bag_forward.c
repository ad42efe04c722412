/* bag_forward.c - checks a forward and hands it to the engine. */
#include "core/training.h"

/* A table that fake-quantises needs an observation: this forward's, or an earlier one. */
static qemb_status check_observed(const qemb_embedding_bag *bag) {
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        const q_table *table = &bag->tables->table[t];
        if ((table->flags & Q_FAKE_QUANT_ON) && qemb__table_observations(table, bag->forwards + 1) == 0) {
            return qemb__fail(QEMB_ERR_STATE, "embedding_bag_forward: table %s fake-quantises with its observer off and was never observed",
                              bag->tables->name[t]);
        }
    }
    return QEMB_OK;
}

/* The forward itself, of `rows` output rows; when it breaks off, the switches and the last batch are what they were. */
static qemb_status look_up(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *out, int64_t rows) {
    const bool max = bag->tables->mode == Q_MODE_MAX;
    const qemb_batch *last_batch = bag->last_batch;
    qemb_status st = QEMB_OK;
    TRY(qemb__bag_follow_schedule(bag));
    TRY(check_observed(bag));
    TRY(qemb__tables_flush(bag->tables));
    if (max) {
        TRY(qemb__buffer_reserve(bag->ctx, (size_t)(rows * bag->tables->output_dim) * sizeof(q_i32), &bag->winners));
    }
    TRY(qemb__training_clip_weights(bag, batch));
    if (rows > 0) {
        qemb__bag_forward_args args = {bag->tables, &batch->view, out, max ? bag->winners : NULL, bag->forwards + 1};
        TRY(bag->ctx->ops->bag_forward(bag->ctx, &args));
    }
done:
    if (st != QEMB_OK) {
        qemb__bag_undo_schedule(bag);
        bag->last_batch = last_batch; /* nothing was launched, or else the context is lost */
    }
    return qemb__settle(bag->ctx, st);
}

qemb_status qemb_embedding_bag_forward(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *out) {
    if (!bag || !batch || !out) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_forward: %s is NULL", !bag ? "bag" : !batch ? "batch" : "out");
    }
    qemb_status st = qemb__enter(bag->ctx, "embedding_bag_forward");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(batch->ctx == bag->ctx && out->ctx == bag->ctx, QEMB_ERR_ARG,
            "embedding_bag_forward: bag, batch and out are of different contexts");
    REQUIRE(batch->module == bag->serial, QEMB_ERR_STATE, "embedding_bag_forward: the batch was set for another module, or never");
    int64_t rows = bag->pooled ? batch->bags : batch->view.shape.lookups;
    const int64_t elements = rows * bag->tables->output_dim; /* below 2^31 bags of all features times 2^20 columns */
    REQUIRE(out->bytes / sizeof(float) >= (size_t)elements && out->offset % sizeof(float) == 0, QEMB_ERR_SHAPE,
            "embedding_bag_forward: out holds %zu bytes, want %lld floats (%lld x %lld)", out->bytes, (long long)elements, (long long)rows,
            (long long)bag->tables->output_dim);
    TRY(look_up(bag, batch, out, rows));
    bag->forwards++;
    bag->last_batch = batch;
    bag->last_generation = batch->generation;
done:
    qemb__leave(bag->ctx);
    return st;
}
