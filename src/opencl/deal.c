/* deal.c - in which order the bags of a batch are computed: long ones first, and on CPUs by whichever thread is free. */
#include "opencl/opencl.h"

enum { SHARES = 32 };

/* A GPU starts work-groups in order, so tiles of long bags stand in front there. Runtimes of CPUs hand out neighbouring groups, up to a thread's
 * share of what is left: those in front would all be one thread's. There turns are dealt, once the longest bag is a noticeable part of a
 * thread's share. With twice as many work-items as turns, a thread that has been long at one bag finds no turns left, and not the rest of its
 * groups' bags to do. */
int64_t qemb__cl_deal(const qemb__cl *cl, const qemb__batch_view *b, int32_t features, q_i32 tile, q_deal *deal) {
    *deal = (q_deal){.tile = tile, .in_feature = (q_i32)((b->shape.bags + tile - 1) / tile)};
    if (b->num_long > 0 && (!cl->is_cpu || b->longest > b->shape.lookups / (SHARES * cl->compute_units))) {
        deal->long_at = (q_i64)(b->longs->offset / sizeof(q_i32));
        deal->num_long = b->num_long;
        deal->long_from = b->long_from;
        deal->dealt = cl->is_cpu;
    }
    const int64_t turns = (int64_t)deal->in_feature * features + deal->num_long;
    deal->turns = (q_i32)turns;
    return turns;
}

qemb_status qemb__cl_launch_bags(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *args, int local, const q_deal *deal) {
    const size_t size = qemb__cl_local_cpu(ctx->engine, deal->turns, local);
    return qemb__cl_launch(ctx, kernel, args, deal->dealt ? 2 * ((int64_t)deal->turns + 1) : deal->turns, size);
}
