/* row_update.c - launches of an optimiser's step: one a group of slabs, of the kernels that its widths need.
 *
 * A step is, in this order: what a mean divides by, sums of the parts of long runs (where the update does not make them itself), under
 * clipping by norm a pass that only measures, and the update. The first to ask for a row's gradient combines its parts. Until the update is enqueued nothing that the caller can see
 * has changed (qemb__harmless): a failure up to there is a status, a failure behind it loses the context. */
#include <stdio.h>

#include "base/checked.h"
#include "opencl/gradient.h"

enum {
    PARTS_HERE = 1 << 16, /* lookups of a batch up to which the update sums the parts of long runs */
    NORM_GROUPS = 16      /* GPU: groups a compute unit when each adds up the norm for itself */
};

/* The CPU family's kernel for rows in blocks. */
static qemb_status blocks_kernel(qemb_context *ctx, const qemb__row_update_args *args, int32_t group, unsigned widths, cl_kernel *kernel) {
    const qemb__tables *s = args->source.tables;
    char common[QEMB__CL_OPTIONS / 2];
    char options[QEMB__CL_OPTIONS - 64];
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__ROW_UPDATE, s, args->kind);
    bool state = false;
    for (int32_t k = 0; k < s->group[group].num_slabs; k++) {
        state = state || s->slab[s->group[group].first_slab + k].state;
    }
    qemb__cl_gradient_options(&args->source, qemb__cl_slabs(s, group), common, sizeof common);
    (void)snprintf(options, sizeof options, "%s -DKIND=%d -DMOMENTUM=%d -DDENSE=%d -DSTATE=%d -DQUANT=%d -DAHEAD=%d", common, args->kind,
                   args->has_momentum, args->dense, state, (s->uses & ~(uint32_t)(QEMB__USES_FLOAT | QEMB__USES_NORM)) != 0,
                   pick->knob[QEMB__KNOB_AHEAD]);
    return qemb__cl_block_kernel(ctx, widths, "row_update_cpu.cl", "row_update_cpu_main.cl", "row_update_blocks", options, kernel);
}

/* A kernel for one group whose lanes take any row; on CPUs one lane. */
static qemb_status lanes_kernel(qemb_context *ctx, const qemb__row_update_args *args, int slabs, cl_kernel *kernel) {
    static const char *const pieces[] = {"row_sort_head.cl", "shared/row_kinds.h", "shared/optimizer.h", "bag_backward_head.cl",
                                         "row_update_gpu.cl"};
    char common[QEMB__CL_OPTIONS / 2];
    char options[QEMB__CL_OPTIONS];
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__ROW_UPDATE, args->source.tables, args->kind);
    qemb__cl_gradient_options(&args->source, slabs, common, sizeof common);
    (void)snprintf(options, sizeof options, "%s -DQV=float -DLANES=%d -DKIND=%d -DMOMENTUM=%d -DDENSE=%d -DFAST=%d", common,
                   qemb__cl_gradient_lanes(pick, args->source.tables), args->kind, args->has_momentum, args->dense,
                   qemb__cl_in_blocks(pick));
    return qemb__cl_kernel_pieces(ctx, pieces, 5, "row_update", options, kernel);
}

static void add_state(qemb_context *ctx, qemb__cl_args *list, const qemb__row_update_args *args, int32_t group) {
    const qemb__group *g = &args->source.tables->group[group];
    qemb_buffer *const *const arrays[2] = {args->m, args->v};
    for (int a = 0; a < 2; a++) {
        for (int k = 0; k < qemb__cl_slabs(args->source.tables, group); k++) {
            qemb__cl_arg_buffer(list, arrays[a] ? arrays[a][g->first_slab + (k < g->num_slabs ? k : 0)] : ctx->events);
        }
    }
}

/* How many rows a launch looks at: a batch has at most as many distinct rows as lookups. */
static int64_t items_of(const qemb__row_update_args *args) {
    const int64_t lookups = args->source.batch->shape.lookups;
    return args->dense                   ? args->source.tables->total_rows
           : args->kind == Q_CLIP_WEIGHT ? lookups + args->source.tables->num_tables
                                         : lookups;
}

/* How the update finds the parts of long runs: combined where something else asked for the gradient before. Where all rows are one work-item's it
 * sums them too in a batch that is not large: another core has other rows meanwhile, and to call both for the parts alone takes 20 to 40 us. */
static q_i32 parts_of(qemb_context *ctx, const qemb__row_update_args *args) {
    bool others = false;
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__ROW_UPDATE, args->source.tables, args->kind);
    (void)qemb__cl_block_widths(pick, args->source.tables, args->kind, &others);
    return args->optimizer.clip == Q_CLIP_NORM                                                ? Q_PARTS_COMBINED
           : others || (args->source.batch && args->source.batch->shape.lookups > PARTS_HERE) ? Q_PARTS_SUMMED
                                                                                              : Q_PARTS_UNSUMMED;
}

/* Rows that a launch by lanes has work-items for: all, but few groups where each adds up the norm first. */
static int64_t rows_at_once(qemb_context *ctx, const qemb__row_update_args *args, const qemb__pick *pick, int lanes) {
    const qemb__cl *cl = ctx->engine;
    const int64_t items = items_of(args);
    const bool few = lanes > 1 && args->optimizer.clip == Q_CLIP_NORM;
    return few ? qemb__min_i64(items, (int64_t)NORM_GROUPS * cl->compute_units * pick->knob[QEMB__KNOB_LOCAL] / lanes) : items;
}

static qemb_status launch_group(qemb_context *ctx, const qemb__row_update_args *args, int32_t group, cl_kernel kernel, bool by_lanes) {
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__ROW_UPDATE, args->source.tables, args->kind);
    const int lanes = qemb__cl_gradient_lanes(pick, args->source.tables);
    const int64_t items = items_of(args);
    const q_row_update a = {.source = qemb__cl_gradient_arguments(&args->source, group),
                            .optimizer = args->optimizer,
                            .items = items,
                            .norm_at = args->source.batch->shape.lookups + 1,
                            .parts = parts_of(ctx, args)};
    qemb__cl_args list = {0};
    qemb__cl_gradient_add(ctx, &list, &args->source, group);
    add_state(ctx, &list, args, group);
    qemb__cl_arg_buffer(&list, args->optimizer.clip == Q_CLIP_NORM ? args->source.work->squares : ctx->events);
    qemb__cl_arg_buffer(&list, ctx->events);
    qemb__cl_arg(&list, sizeof a, &a);
    return !items     ? QEMB_OK
           : by_lanes ? qemb__cl_launch_lanes(ctx, kernel, &list, rows_at_once(ctx, args, pick, lanes), pick, lanes)
                      : qemb__cl_launch_shares(ctx, kernel, &list, items);
}

/* The kernels that a group's rows need: in blocks, and by lanes; NULL where none is needed. */
static qemb_status group_kernels(qemb_context *ctx, const qemb__row_update_args *args, int32_t group, cl_kernel kernels[2]) {
    bool others = false;
    qemb_status st = QEMB_OK;
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__ROW_UPDATE, args->source.tables, args->kind);
    const unsigned widths = qemb__cl_block_widths(pick, args->source.tables, args->kind, &others);
    kernels[0] = kernels[1] = NULL;
    if (widths) {
        TRY(blocks_kernel(ctx, args, group, widths, &kernels[0]));
    }
    if (others) {
        TRY(lanes_kernel(ctx, args, qemb__cl_slabs(args->source.tables, group), &kernels[1]));
    }
done:
    return st;
}

qemb_status qemb__cl_row_update(qemb_context *ctx, const qemb__row_update_args *args) {
    const qemb__tables *s = args->source.tables;
    qemb_status st = QEMB_OK;
    cl_kernel kernels[2];
    if (args->kind != Q_CLIP_WEIGHT) {
        const q_i32 parts = parts_of(ctx, args);
        TRY(qemb__cl_gradient_begin(ctx, &args->source, parts == Q_PARTS_COMBINED ? Q_PARTS_SUMMED : parts));
    }
    if (args->optimizer.clip == Q_CLIP_NORM) {
        TRY(qemb__cl_gradient_norm(ctx, &args->source, args->optimizer.limit));
    }
    qemb__harmless(ctx);
    for (int32_t g = 0; g < s->num_groups; g++) {
        TRY(group_kernels(ctx, args, g, kernels));
        for (int k = 0; k < 2; k++) {
            TRY(kernels[k] ? launch_group(ctx, args, g, kernels[k], k == 1) : QEMB_OK);
        }
    }
done:
    return st;
}

qemb_status qemb__cl_row_update_prepare(qemb_context *ctx, const qemb__row_update_args *args) {
    const qemb__tables *s = args->source.tables;
    qemb_status st = QEMB_OK;
    cl_kernel kernels[2];
    TRY(qemb__cl_gradient_prepare(ctx, &args->source, Q_PARTS_SUMMED)); /* batches of any size */
    for (int32_t g = 0; g < s->num_groups; g++) {
        TRY(group_kernels(ctx, args, g, kernels));
    }
done:
    return st;
}
