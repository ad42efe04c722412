/* gradient.c - options, arguments and first launches of every kernel that needs the gradient of a row.
 *
 * Two forms of such kernels exist side by side. On CPUs rows of whole float16 blocks are one work-item's, in a program that holds the
 * body once for each width there is (qemb__cl_block_kernel); all other rows, and every row on GPUs, are taken by lanes in one program
 * for any width. A module with tables of both kinds launches both, and each kernel leaves the other's rows alone (FAST, Q_IN_BLOCKS).
 * How many runs and parts there are only the device knows: launches are as large as the batch allows, and items without work end at
 * once. */
#include "opencl/gradient.h"

#include <stdio.h>

#include "base/checked.h"
#include "kernels_cl/shared/row_kinds.h"

enum {
    MAX_BLOCKS = 16,
    /* work-items of a launch in shares: PoCL gives a thread up to 32 a thread at a time, so that these are eight rounds */
    SHARES_A_THREAD = 256,
    SHARE_LEAST = 16 /* rows or parts of a share, at most so many that waking the other core does not pay */
};

bool qemb__cl_in_blocks(const qemb__pick *pick) {
    return pick->variant->needs & QEMB__SOME_BLOCKS;
}

const qemb__pick *qemb__cl_gradient_pick(qemb_context *ctx, qemb__stem stem, const qemb__tables *s, int32_t kind) {
    uint32_t facts = 0;
    for (int32_t t = 0; t < s->num_tables; t++) {
        facts |= kind != Q_CLIP_WEIGHT && Q_IN_BLOCKS(kind, s->table[t].dim) ? QEMB__SOME_BLOCKS : 0u;
    }
    return qemb__cl_pick(ctx, stem, facts, s);
}

unsigned qemb__cl_block_widths(const qemb__pick *pick, const qemb__tables *s, int32_t kind, bool *others) {
    unsigned widths = 0;
    *others = false;
    for (int32_t t = 0; t < s->num_tables; t++) {
        const int32_t dim = s->table[t].dim;
        if (qemb__cl_in_blocks(pick) && Q_IN_BLOCKS(kind, dim)) {
            widths |= 1u << (dim + 15) / 16;
        } else {
            *others = true;
        }
    }
    return widths;
}

qemb_status qemb__cl_block_kernel(qemb_context *ctx, unsigned widths, const char *body, const char *last, const char *name,
                                  const char *options, cl_kernel *kernel) {
    static const char *const defines[MAX_BLOCKS + 1] = {"",
                                                        "#define BLOCKS 1\n",
                                                        "#define BLOCKS 2\n",
                                                        "#define BLOCKS 3\n",
                                                        "#define BLOCKS 4\n",
                                                        "#define BLOCKS 5\n",
                                                        "#define BLOCKS 6\n",
                                                        "#define BLOCKS 7\n",
                                                        "#define BLOCKS 8\n",
                                                        "#define BLOCKS 9\n",
                                                        "#define BLOCKS 10\n",
                                                        "#define BLOCKS 11\n",
                                                        "#define BLOCKS 12\n",
                                                        "#define BLOCKS 13\n",
                                                        "#define BLOCKS 14\n",
                                                        "#define BLOCKS 15\n",
                                                        "#define BLOCKS 16\n"};
    const char *pieces[5 + 4 * MAX_BLOCKS] = {"row_sort_head.cl", "shared/row_kinds.h", "shared/optimizer.h", "bag_backward_head.cl"};
    char all[QEMB__CL_OPTIONS];
    int n = 4;
    for (int k = 1; k <= MAX_BLOCKS; k++) {
        if (widths >> k & 1) {
            pieces[n++] = defines[k];
            pieces[n++] = "bag_backward_cpu.cl";
            if (body) {
                pieces[n++] = body;
            }
            pieces[n++] = "#undef BLOCKS\n";
        }
    }
    pieces[n++] = last;
    (void)snprintf(all, sizeof all, "%s -DQV=float16 -DQ_VECTOR16 -DWIDTHS=%u", options, widths);
    return qemb__cl_kernel_pieces(ctx, pieces, n, name, all, kernel);
}

/* Lanes of a row: no more than it has columns, a power of two. */
int qemb__cl_gradient_lanes(const qemb__pick *pick, const qemb__tables *s) {
    int lanes = pick->variant->is_cpu ? 1 : 8;
    while (lanes < pick->knob[QEMB__KNOB_LANES] && lanes < s->max_dim) {
        lanes *= 2;
    }
    return lanes;
}

/* Kernels exist for one slab and for a whole group: the first have no selection of pointers at all. */
int qemb__cl_slabs(const qemb__tables *s, int32_t group) {
    return s->group[group].num_slabs == 1 ? 1 : QEMB__GROUP_SLABS;
}

void qemb__cl_gradient_options(const qemb__gradient_args *args, int slabs, char *options, size_t bytes) {
    const qemb__batch_view *b = args->batch;
    const bool wide = args->tables->total_rows > UINT32_MAX;
    (void)snprintf(options, bytes, "-DSLABS=%d -DINDEX=%s -DOFFSET=%s -DWIDE=%d -DMAP=0 -DMODE=%d -DWEIGHTED=%d -DFREQ=%d", slabs,
                   b && b->indices_64 ? "long" : "int", b && b->offsets_64 ? "long" : "int", wide, args->tables->mode, b && b->weights,
                   args->freq);
}

qemb_status qemb__cl_gradient_kernel(qemb_context *ctx, const qemb__gradient_args *args, int slabs, const char *name, cl_kernel *kernel) {
    static const char *const pieces[] = {"row_sort_head.cl", "shared/row_kinds.h", "shared/optimizer.h", "bag_backward_head.cl",
                                         "bag_backward_gpu.cl"};
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, args->tables, Q_SGD);
    char common[QEMB__CL_OPTIONS / 2];
    char options[QEMB__CL_OPTIONS];
    qemb__cl_gradient_options(args, slabs, common, sizeof common);
    (void)snprintf(options, sizeof options, "%s -DQV=float -DFAST=%d -DLANES=%d -DCHUNK=%d", common, qemb__cl_in_blocks(pick),
                   qemb__cl_gradient_lanes(pick, args->tables), QEMB__SLOT_CHUNK);
    return qemb__cl_kernel_pieces(ctx, pieces, 5, name, options, kernel);
}

q_gradient qemb__cl_gradient_arguments(const qemb__gradient_args *args, int32_t group) {
    const qemb__batch_view *b = args->batch;
    q_gradient a = {.batch = b->shape,
                    .out_at = args->grad_output ? (q_i64)(args->grad_output->offset / sizeof(float)) : 0,
                    .out_stride = args->tables->output_dim,
                    .winners_at = args->winners ? (q_i64)(args->winners->offset / sizeof(q_i32)) : 0,
                    .step = args->step,
                    .part_stride = args->work->part_stride,
                    .num_features = args->tables->num_features,
                    .num_tables = args->tables->num_tables,
                    .group = group,
                    .freq = args->freq};
    a.batch.indices_at = b->indices ? (q_i64)(b->indices->offset / (b->indices_64 ? 8 : 4)) : 0;
    a.batch.offsets_at = b->offsets ? (q_i64)(b->offsets->offset / (b->offsets_64 ? 8 : 4)) : 0;
    a.batch.weights_at = b->weights ? (q_i64)(b->weights->offset / sizeof(float)) : 0;
    return a;
}

void qemb__cl_gradient_add(qemb_context *ctx, qemb__cl_args *list, const qemb__gradient_args *args, int32_t group) {
    const qemb__tables *s = args->tables;
    const qemb__batch_view *b = args->batch;
    const qemb__training *w = args->work;
    const qemb__row_sort *sort = w->sort;
    const qemb__group *g = &s->group[group];
    const int slabs = qemb__cl_slabs(s, group);
    /* in the order of GRADIENT_PARAMETERS (bag_backward_head.cl); a kernel that does not read one still wants some buffer in its place */
    const qemb_buffer *const buffers[] = {s->table_buffer,
                                          sort->plan,
                                          w->columns,
                                          b->indices ? b->indices : b->status,
                                          b->offsets ? b->offsets : b->status,
                                          b->weights ? b->weights : b->status,
                                          args->grad_output ? args->grad_output : b->status,
                                          args->winners ? args->winners : b->status,
                                          b->status,
                                          sort->counts,
                                          sort->position,
                                          sort->run_start,
                                          sort->run_row,
                                          sort->bag_of,
                                          sort->part_first,
                                          sort->part_run,
                                          sort->part_slot,
                                          w->parts,
                                          w->bag_scale ? w->bag_scale : w->parts};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        qemb__cl_arg_buffer(list, buffers[i]);
    }
    for (int k = 0; k < slabs; k++) {
        qemb__cl_arg_buffer(list, s->slab[g->first_slab + (k < g->num_slabs ? k : 0)].weight);
    }
    for (int k = 0; k < slabs; k++) {
        const qemb_buffer *state = s->slab[g->first_slab + (k < g->num_slabs ? k : 0)].state;
        qemb__cl_arg_buffer(list, state ? state : ctx->events);
    }
}

qemb_status qemb__cl_launch_lanes(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *list, int64_t items, const qemb__pick *pick,
                                  int lanes) {
    const int local = pick->knob[QEMB__KNOB_LOCAL];
    const size_t group = pick->variant->is_cpu ? qemb__cl_local_cpu(ctx->engine, items, local) : (size_t)local;
    return qemb__cl_launch(ctx, kernel, list, items * lanes, group);
}

qemb_status qemb__cl_launch_shares(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *list, int64_t items) {
    const qemb__cl *cl = ctx->engine;
    const int64_t shares = qemb__min_i64(qemb__ceil_div(items, SHARE_LEAST), SHARES_A_THREAD * cl->compute_units);
    return qemb__cl_launch(ctx, kernel, list, qemb__max_i64(shares, 1), qemb__cl_local_cpu(cl, shares, 1));
}

/* How many lookups each bag has, for mode mean. */
static qemb_status scale_bags(qemb_context *ctx, const qemb__gradient_args *args) {
    const qemb__batch_view *b = args->batch;
    const q_gradient a = qemb__cl_gradient_arguments(args, 0);
    const int64_t bags = b->shape.bags * args->tables->num_features;
    qemb__cl_args list = {0};
    cl_kernel kernel = NULL;
    qemb_status st = QEMB_OK;
    TRY(qemb__cl_gradient_kernel(ctx, args, 1, "bag_scale", &kernel));
    qemb__cl_arg_buffer(&list, args->tables->table_buffer);
    qemb__cl_arg_buffer(&list, args->work->sort->plan);
    qemb__cl_arg_buffer(&list, b->indices ? b->indices : b->status);
    qemb__cl_arg_buffer(&list, b->offsets ? b->offsets : b->status);
    qemb__cl_arg_buffer(&list, b->status);
    qemb__cl_arg_buffer(&list, args->work->bag_scale);
    qemb__cl_arg(&list, sizeof a, &a);
    TRY(qemb__cl_launch_lanes(ctx, kernel, &list, bags, qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, args->tables, Q_SGD), 1));
done:
    return st;
}

/* Kernels for the parts of long runs: of rows in blocks, of other rows, and the tree; NULL where none is needed. */
static qemb_status parts_kernels(qemb_context *ctx, const qemb__gradient_args *args, q_i32 parts, cl_kernel kernels[3]) {
    const int slabs = qemb__cl_slabs(args->tables, 0);
    char options[QEMB__CL_OPTIONS];
    bool others = false;
    qemb_status st = QEMB_OK;
    const unsigned widths =
        qemb__cl_block_widths(qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, args->tables, Q_SGD), args->tables, Q_SGD, &others);
    kernels[0] = kernels[1] = kernels[2] = NULL;
    if (parts == Q_PARTS_UNSUMMED) {
        return QEMB_OK;
    }
    if (widths) {
        qemb__cl_gradient_options(args, slabs, options, sizeof options);
        TRY(qemb__cl_block_kernel(ctx, widths, NULL, "bag_backward_cpu_main.cl", "row_parts_blocks", options, &kernels[0]));
    }
    if (others) {
        TRY(qemb__cl_gradient_kernel(ctx, args, slabs, "row_parts", &kernels[1]));
    }
    if (parts == Q_PARTS_COMBINED) {
        TRY(qemb__cl_gradient_kernel(ctx, args, slabs, "parts_combine", &kernels[2]));
    }
done:
    return st;
}

qemb_status qemb__cl_gradient_begin(qemb_context *ctx, const qemb__gradient_args *args, q_i32 parts) {
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, args->tables, Q_SGD);
    const int lanes = qemb__cl_gradient_lanes(pick, args->tables);
    const q_gradient a = qemb__cl_gradient_arguments(args, 0);
    const int64_t lookups = args->batch->shape.lookups;
    cl_kernel kernels[3] = {NULL, NULL, NULL};
    qemb_status st = QEMB_OK;
    if (args->tables->mode == Q_MODE_MEAN && args->batch->shape.bags > 0) {
        TRY(scale_bags(ctx, args));
    }
    if (lookups > Q_PART) { /* fewer lookups have no long run */
        TRY(parts_kernels(ctx, args, parts, kernels));
    }
    for (int k = 0; k < 3; k++) { /* sums of parts, then their tree: the queue keeps the order */
        const int64_t most = qemb__row_sort_max_parts(lookups);
        qemb__cl_args list = {0};
        if (kernels[k]) {
            qemb__cl_gradient_add(ctx, &list, args, 0);
            qemb__cl_arg(&list, sizeof a, &a);
            TRY(k ? qemb__cl_launch_lanes(ctx, kernels[k], &list, most, pick, lanes)
                  : qemb__cl_launch_shares(ctx, kernels[k], &list, most));
        }
    }
done:
    return st;
}

qemb_status qemb__cl_gradient_prepare(qemb_context *ctx, const qemb__gradient_args *args, q_i32 parts) {
    qemb_status st = QEMB_OK;
    cl_kernel kernels[3];
    if (args->tables->mode == Q_MODE_MEAN) {
        TRY(qemb__cl_gradient_kernel(ctx, args, 1, "bag_scale", &kernels[0]));
    }
    TRY(parts_kernels(ctx, args, parts, kernels));
done:
    return st;
}

/* One work-item adds up what a launch of many left; the GPU family's update does it itself. */
static qemb_status norm_total(qemb_context *ctx, const qemb__gradient_args *args, float limit) {
    const cl_long blocks_at = args->batch->shape.lookups + 1;
    qemb__cl_args list = {0};
    cl_kernel kernel = NULL;
    qemb_status st = QEMB_OK;
    TRY(qemb__cl_gradient_kernel(ctx, args, 1, "norm_total", &kernel));
    qemb__cl_arg_buffer(&list, args->work->sort->counts);
    qemb__cl_arg_buffer(&list, args->work->squares);
    qemb__cl_arg(&list, sizeof blocks_at, &blocks_at);
    qemb__cl_arg(&list, sizeof limit, &limit);
    TRY(qemb__cl_launch(ctx, kernel, &list, 1, 1));
done:
    return st;
}

qemb_status qemb__cl_gradient_norm(qemb_context *ctx, const qemb__gradient_args *args, float limit) {
    const int64_t lookups = args->batch->shape.lookups;
    const int64_t blocks = qemb__ceil_div(lookups, Q_NORM_BLOCK);
    const qemb__pick *pick = qemb__cl_gradient_pick(ctx, QEMB__BAG_BACKWARD, args->tables, Q_SGD);
    const int lanes = qemb__cl_gradient_lanes(pick, args->tables);
    const int local = pick->knob[QEMB__KNOB_LOCAL];
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    for (int32_t g = 0; g < args->tables->num_groups && lookups > 0; g++) {
        const q_bag_backward a = {.source = qemb__cl_gradient_arguments(args, g),
                                  .out_at = lookups + 1,
                                  .form = g + 1 < args->tables->num_groups ? Q_INTO_SQUARES : Q_INTO_NORM};
        qemb__cl_args list = {0};
        TRY(qemb__cl_gradient_kernel(ctx, args, qemb__cl_slabs(args->tables, g), "norm_blocks", &kernel));
        qemb__cl_gradient_add(ctx, &list, args, g);
        qemb__cl_arg_buffer(&list, args->work->squares);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(lanes > 1 ? qemb__cl_launch(ctx, kernel, &list, blocks * local, (size_t)local)
                      : qemb__cl_launch_lanes(ctx, kernel, &list, blocks, pick, 1));
    }
    TRY(lanes > 1 ? QEMB_OK : norm_total(ctx, args, limit));
done:
    return st;
}
