/* support_peer.c - see support_peer.h. */
#include "support_peer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 17 };
static const float UNTOUCHED = -777.0f;

void peer_ok(qemb_status st, const char *what) {
    cr_assert_eq(st, QEMB_OK, "%s: %s", what, qemb_last_error());
}

static void create(qemb_context *ctx, const peer_case *c, peer_objects *o) {
    const bool plain = c->qconfig.quant_max == 0;
    const qemb_qconfig q = plain ? qemb_qconfig_float() : c->qconfig;
    if (c->unpooled) {
        PEER_OK(qemb_embedding_create(ctx,
                                      &(qemb_embedding_desc){.num_embeddings = c->rows,
                                                             .embedding_dim = c->dim,
                                                             .weight = c->weight,
                                                             .qconfig = q,
                                                             .has_padding_idx = c->padding > 0,
                                                             .padding_idx = c->padding ? c->padding - 1 : 0,
                                                             .has_max_norm = c->max_norm > 0,
                                                             .max_norm = c->max_norm},
                                      &o->embedding));
        o->bag = qemb_embedding_as_bag(o->embedding);
        return;
    }
    PEER_OK(qemb_embedding_bag_create(ctx,
                                      &(qemb_embedding_bag_desc){.num_embeddings = c->rows,
                                                                 .embedding_dim = c->dim,
                                                                 .weight = c->weight,
                                                                 .qconfig = q,
                                                                 .mode = c->mode,
                                                                 .include_last_offset = c->last,
                                                                 .scale_grad_by_freq = c->freq,
                                                                 .has_padding_idx = c->padding > 0,
                                                                 .padding_idx = c->padding ? c->padding - 1 : 0,
                                                                 .has_max_norm = c->max_norm > 0,
                                                                 .max_norm = c->max_norm},
                                      &o->bag));
}

static int64_t bags_of(const peer_case *c) {
    return c->unpooled ? c->num_ids : c->offsets ? c->num_offsets - (c->last ? 1 : 0) : c->columns ? c->num_ids / c->columns : 0;
}

qemb_status peer_forward(qemb_context *ctx, const peer_case *c, peer_objects *o) {
    *o = (peer_objects){0};
    o->outputs = bags_of(c) > 0 ? bags_of(c) * c->dim : c->dim;
    float *values = malloc((size_t)o->outputs * sizeof *values);
    cr_assert_not_null(values);
    for (int64_t i = 0; i < o->outputs; i++) {
        values[i] = UNTOUCHED;
    }
    create(ctx, c, o);
    PEER_OK(qemb_batch_create(ctx, &o->batch));
    PEER_OK(qemb_buffer_create(ctx, (size_t)o->outputs * sizeof *values, &o->out));
    PEER_OK(qemb_buffer_create(ctx, (size_t)o->outputs * sizeof *values, &o->grad));
    PEER_OK(qemb_buffer_write(o->out, 0, (size_t)o->outputs * sizeof *values, values));
    qemb_status st = qemb_batch_set(o->batch, o->bag,
                                    &(qemb_input){.indices = c->ids,
                                                  .num_indices = c->num_ids,
                                                  .indices_dtype = QEMB_INT64,
                                                  .offsets = c->offsets,
                                                  .num_offsets = c->num_offsets,
                                                  .columns = c->columns,
                                                  .per_sample_weights = c->weights,
                                                  .num_per_sample_weights = c->weights ? c->num_ids : 0,
                                                  .check = c->check});
    st = st == QEMB_OK ? qemb_embedding_bag_forward(o->bag, o->batch, o->out) : st;
    if (st != QEMB_OK) {
        PEER_OK(qemb_buffer_read(o->out, 0, (size_t)o->outputs * sizeof *values, values));
        for (int64_t i = 0; i < o->outputs; i++) {
            cr_assert(values[i] == UNTOUCHED, "the output was touched");
        }
    }
    free(values);
    return st;
}

void peer_close(peer_objects *o) {
    qemb_buffer_destroy(o->out);
    qemb_buffer_destroy(o->grad);
    qemb_batch_destroy(o->batch);
    if (o->embedding) {
        qemb_embedding_destroy(o->embedding);
    } else {
        qemb_embedding_bag_destroy(o->bag);
    }
}

void peer_outputs(qemb_context *ctx, const peer_case *c, float *out, int64_t count) {
    peer_objects o;
    PEER_OK(peer_forward(ctx, c, &o));
    cr_assert_geq(o.outputs, count);
    PEER_OK(qemb_buffer_read(o.out, 0, (size_t)count * sizeof *out, out));
    peer_close(&o);
}

void peer_refused(qemb_context *ctx, const peer_case *c, qemb_status want) {
    static const float weight[6] = {1, 2, 3, 4, 5, 6};
    static const int64_t ids[3] = {2, 0, 2}, offsets[2] = {0, 1};
    const peer_case good = {
        .rows = 3, .dim = 2, .weight = weight, .mode = QEMB_MODE_SUM, .ids = ids, .num_ids = 3, .offsets = offsets, .num_offsets = 2};
    float out[4];
    peer_objects o;
    const qemb_status st = peer_forward(ctx, c, &o);
    cr_assert_eq(st, want, "%s, want %s (%s)", qemb_status_name(st), qemb_status_name(want), qemb_last_error());
    peer_close(&o);
    peer_outputs(ctx, &good, out, 4);
    cr_assert(out[0] == 5.0f && out[1] == 6.0f && out[2] == 6.0f && out[3] == 8.0f, "the next good forward is wrong");
}

void peer_gradient(qemb_context *ctx, const peer_case *c, const float *grad, float *dense) {
    static float ones[MOST];
    qemb_buffer *gradient = NULL;
    peer_objects o;
    PEER_OK(peer_forward(ctx, c, &o));
    cr_assert_leq(o.outputs, MOST);
    for (int64_t i = 0; i < o.outputs; i++) {
        ones[i] = grad ? grad[i] : 1.0f;
    }
    PEER_OK(qemb_buffer_write(o.grad, 0, (size_t)o.outputs * sizeof *ones, ones));
    PEER_OK(qemb_buffer_create(ctx, (size_t)(c->rows * c->dim) * sizeof *dense, &gradient));
    PEER_OK(qemb_embedding_bag_backward(o.bag, o.batch, o.grad, &(qemb_gradients){.dense = gradient}));
    PEER_OK(qemb_buffer_read(gradient, 0, (size_t)(c->rows * c->dim) * sizeof *dense, dense));
    qemb_buffer_destroy(gradient);
    peer_close(&o);
}
