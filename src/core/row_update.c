/* row_update.c - one step of an optimiser: numbers that are the same for all rows are taken in double here. */
#include <math.h>

#include "base/checked.h"
#include "core/optimizer.h"

/* The numbers of step t = steps + 1. Powers and quotients are taken in double, as torch takes them in Python, and rounded once. */
q_optimizer qemb__optimizer_at(const qemb_optimizer *optimizer) {
    const qemb_optimizer_desc *d = &optimizer->desc;
    const int64_t t = optimizer->steps + 1;
    const double bias1 = 1.0 - pow(d->beta1, (double)t);
    const double bias2 = 1.0 - pow(d->beta2, (double)t);
    double rate = d->lr;
    if (d->kind == QEMB_ADAGRAD) {
        rate = d->lr / (1.0 + (double)(t - 1) * d->lr_decay);
    } else if (d->kind == QEMB_SPARSE_ADAM) {
        rate = d->lr * sqrt(bias2) / bias1;
    } else if (d->kind == QEMB_LARS_SGD) {
        rate = 1.0; /* the rate is inside the momentum */
    }
    return (q_optimizer){.scale = (float)-rate,
                         .lr = (float)d->lr,
                         .momentum = (float)d->momentum,
                         .keep = (float)(1.0 - d->dampening),
                         .weight_decay = (float)d->weight_decay,
                         .eps = (float)d->eps,
                         .beta1 = (float)d->beta1,
                         .rest1 = (float)(1.0 - d->beta1),
                         .beta2 = (float)d->beta2,
                         .rest2 = (float)(1.0 - d->beta2),
                         .bias1 = (float)bias1,
                         .bias2 = (float)bias2,
                         .max_norm = d->max_norm > 0.0 ? (float)d->max_norm : -1.0f,
                         .trust = (float)d->trust,
                         .limit = (float)d->clip_limit,
                         .first = optimizer->steps == 0,
                         .nesterov = d->nesterov,
                         .maximize = d->maximize,
                         .decoupled = d->decay == QEMB_DECAY_DECOUPLED,
                         .clip = (q_i32)d->clip};
}

qemb_status qemb_embedding_bag_step(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, qemb_optimizer *optimizer) {
    if (!bag || !batch || !grad_output || !optimizer) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_step: %s is NULL",
                          !bag           ? "bag"
                          : !batch       ? "batch"
                          : !grad_output ? "grad_output"
                                         : "optimizer");
    }
    qemb_status st = qemb__enter(bag->ctx, "embedding_bag_step");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(optimizer->bag == bag, QEMB_ERR_ARG, "embedding_bag_step: the optimizer is of another module");
    TRY(qemb__training_check(bag, batch, grad_output, "embedding_bag_step"));
    qemb__row_update_args args = {.kind = (int32_t)optimizer->desc.kind,
                                  .dense = optimizer->dense,
                                  .has_momentum = optimizer->desc.momentum != 0.0,
                                  .optimizer = qemb__optimizer_at(optimizer),
                                  .m = optimizer->m,
                                  .v = optimizer->v};
    TRY(qemb__training_begin(bag, batch, grad_output, &args.source));
    if (optimizer->desc.clip == QEMB_CLIP_NORM) {
        TRY(qemb__training_reserve_squares(bag, batch->view.shape.lookups));
    }
    qemb__harmless(bag->ctx);
    TRY(bag->ctx->ops->row_update(bag->ctx, &args));
    optimizer->steps++;
    qemb__training_stepped(bag, batch);
    bag->last_batch = NULL; /* the rows that a second backward would look at are gone */
done:
    st = qemb__settle(bag->ctx, st);
    qemb__leave(bag->ctx);
    return st;
}
