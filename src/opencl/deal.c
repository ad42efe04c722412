/* deal.c - in which order the bags of a batch are computed: long ones first, and on CPUs by whichever thread is free. */
#include "opencl/opencl.h"

enum { SHARES = 32, GROUPS_A_THREAD = 4, TURN_LOOKUPS = 256, TURNS_A_THREAD = 64 };

/* A GPU starts work-groups in order, so long bags stand in front there. Runtimes of CPUs hand out neighbouring groups, up to a thread's share of
 * what is left: those in front would all be one thread's. There a few groups for each thread ask for turns, once the longest bag is a
 * noticeable part of a thread's share. */
int64_t qemb__cl_deal(const qemb__cl *cl, const qemb__batch_view *b, int32_t features, q_i32 tile, q_deal *deal) {
    const int64_t bags = b->shape.bags * features;
    const int64_t items = (b->shape.bags + tile - 1) / tile * features;
    *deal = (q_deal){.long_from = INT32_MAX, .turn = tile};
    if (b->num_long == 0 || (cl->is_cpu && b->longest <= b->shape.lookups / (SHARES * cl->compute_units))) {
        return items;
    }
    deal->long_at = (q_i64)(b->longs->offset / sizeof(q_i32));
    deal->num_long = b->num_long;
    deal->long_from = b->long_from;
    if (cl->is_cpu) {
        const int64_t enough = TURN_LOOKUPS * bags / (b->shape.lookups + 1);
        const int64_t shared = bags / (TURNS_A_THREAD * cl->compute_units);
        const int64_t turn = enough < shared ? enough : shared;
        deal->turn = (q_i32)(turn > tile ? turn / tile * tile : tile);
        deal->dealt = 1;
    }
    return items + b->num_long;
}

qemb_status qemb__cl_launch_bags(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *args, int64_t items, int local,
                                 const q_deal *deal) {
    const qemb__cl *cl = ctx->engine;
    const size_t size = qemb__cl_local_cpu(cl, items, local);
    return qemb__cl_launch(ctx, kernel, args, deal->dealt ? GROUPS_A_THREAD * cl->compute_units * (int64_t)size : items, size);
}
