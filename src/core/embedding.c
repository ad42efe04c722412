/* embedding.c - one table without pooling: a bag of mode none behind the names of torch's Embedding. */
#include "base/memory.h"
#include "core/embedding_bag.h"

struct qemb_embedding {
    qemb_embedding_bag *bag;
};

/* Puts an embedding around a module, or destroys the module when there is no memory for it. */
static qemb_status wrap(qemb_embedding_bag *bag, qemb_embedding **out) {
    void *block = NULL;
    qemb_status st = qemb__calloc(1, sizeof(qemb_embedding), &block);
    if (st != QEMB_OK) {
        qemb_embedding_bag_destroy(bag);
        return st;
    }
    *out = block;
    (*out)->bag = bag;
    return QEMB_OK;
}

qemb_status qemb_embedding_create(qemb_context *ctx, const qemb_embedding_desc *d, qemb_embedding **out) {
    qemb_embedding_bag *bag = NULL;
    if (!d || !out) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_create: %s is NULL", d ? "embedding" : "desc");
    }
    qemb_table_desc table = {
        d->num_embeddings, d->embedding_dim, d->has_padding_idx, d->padding_idx,   d->has_max_norm, d->max_norm, d->norm_type,
        d->dtype,          d->qconfig,       d->weight,          d->weight_buffer, d->seed,         d->name};
    qemb_collection_desc desc = {.tables = &table,
                                 .num_tables = 1,
                                 .options = {.mode = QEMB_MODE_SUM, .scale_grad_by_freq = d->scale_grad_by_freq, .sparse = d->sparse}};
    qemb_status st = qemb__bag_create(ctx, &desc, false, "embedding_create", &bag);
    return st == QEMB_OK ? wrap(bag, out) : st;
}

void qemb_embedding_destroy(qemb_embedding *embedding) {
    if (embedding) {
        qemb_embedding_bag_destroy(embedding->bag);
        qemb__free(embedding);
    }
}

qemb_embedding_bag *qemb_embedding_as_bag(qemb_embedding *embedding) {
    return embedding ? embedding->bag : NULL;
}

qemb_status qemb_embedding_from_float(const qemb_embedding *source, const qemb_qconfig *qconfig, qemb_embedding **out) {
    qemb_embedding_bag *bag = NULL;
    if (!source || !out) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_from_float: %s is NULL", source ? "embedding" : "source");
    }
    qemb_status st = qemb__bag_share(source->bag, qconfig, "embedding_from_float", &bag);
    return st == QEMB_OK ? wrap(bag, out) : st;
}

qemb_status qemb_embedding_to_float(const qemb_embedding *source, qemb_embedding **out) {
    const qemb_qconfig none = qemb_qconfig_float();
    qemb_embedding_bag *bag = NULL;
    if (!source || !out) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_to_float: %s is NULL", source ? "embedding" : "source");
    }
    qemb_status st = qemb__bag_share(source->bag, &none, "embedding_to_float", &bag);
    return st == QEMB_OK ? wrap(bag, out) : st;
}

qemb_status qemb_embedding_forward(qemb_embedding *embedding, qemb_batch *batch, qemb_buffer *out) {
    if (!embedding) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_forward: embedding is NULL");
    }
    return qemb_embedding_bag_forward(embedding->bag, batch, out);
}
