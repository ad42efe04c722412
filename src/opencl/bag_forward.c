/* bag_forward.c - builds the forward kernel for a module's widths and modes, and launches it: one launch a group of slabs.
 *
 * A module has one program: what its tables differ in (widths, arithmetics, switches) is in it, what they share is a constant. So tables of
 * all widths are one launch, and a module of one width pays for no other. */
#include <stdio.h>
#include <string.h>

#include "opencl/opencl.h"

enum { WIDE_BLOCKS = 17, MAX_PIECES = 4 * (WIDE_BLOCKS + 1) + 5, MAX_LANES = 32, MAX_CHUNKS = 8 };
enum { TILE_LOOKUPS = 64, TILES_A_THREAD = 256, MAX_TILE = 64, STREAM_COLUMNS = 32, PAIRS_TILE = 4, PAIRS_COLUMNS = 16 };
/* Lookups from which on staging a table is thought of; how often each row is looked up for it to pay, and each of a wide table, which soon fills a
 * core's cache. */
enum { STAGED_LOOKUPS = 16384, STAGED_TIMES = 4, STAGED_TIMES_WIDE = 6, STAGED_WIDE = 32 };

/* Blocks of 16 that a row takes in the CPU family: 0 below 16 columns, 17 above 256. */
static int blocks_of(int32_t dim) {
    return dim < 16 ? 0 : dim > 256 ? WIDE_BLOCKS : (dim + 15) / 16;
}

/* The CPU family's program: head, the body once for each width, the kernel. */
static qemb_status cpu_kernel(qemb_context *ctx, const qemb__tables *s, const qemb__pick *pick, const char *options, cl_kernel *kernel) {
    static const char *const defines[WIDE_BLOCKS + 1] = {
        "#define BLOCKS 0\n",  "#define BLOCKS 1\n",  "#define BLOCKS 2\n",  "#define BLOCKS 3\n",  "#define BLOCKS 4\n",
        "#define BLOCKS 5\n",  "#define BLOCKS 6\n",  "#define BLOCKS 7\n",  "#define BLOCKS 8\n",  "#define BLOCKS 9\n",
        "#define BLOCKS 10\n", "#define BLOCKS 11\n", "#define BLOCKS 12\n", "#define BLOCKS 13\n", "#define BLOCKS 14\n",
        "#define BLOCKS 15\n", "#define BLOCKS 16\n", "#define BLOCKS 17\n"};
    const char *pieces[MAX_PIECES];
    int n = 0;
    unsigned widths = 0;
    int32_t dims[WIDE_BLOCKS + 1] = {0}; /* of each width: a multiple of 16 that all its tables have, or 0 */
    for (int32_t t = 0; t < s->num_tables; t++) {
        const int k = blocks_of(s->table[t].dim);
        const bool one = !(widths >> k & 1) || dims[k] == s->table[t].dim;
        dims[k] = one && s->table[t].dim % 16 == 0 ? s->table[t].dim : 0;
        widths |= 1u << k;
    }
    pieces[n++] = "bag_forward_uses.cl";
    pieces[n++] = "bag_forward_cpu_head.cl";
    pieces[n++] = "bag_forward_cpu_quad.cl";
    pieces[n++] = "bag_forward_cpu_group.cl";
    for (int k = 0; k <= WIDE_BLOCKS; k++) {
        if (widths >> k & 1) {
            pieces[n++] = defines[k];
            pieces[n++] = "bag_forward_cpu.cl";
            pieces[n++] = "bag_forward_cpu_stream.cl";
            pieces[n++] = "#undef BLOCKS\n";
        }
    }
    pieces[n++] = "bag_forward_cpu_main.cl";
    char all[QEMB__CL_OPTIONS];
    int at = snprintf(all, sizeof all, "%s -DQV=float16 -DQ_VECTOR16 -DAHEAD=%d -DROWS=%d -DWIDTHS=%u", options,
                      pick->knob[QEMB__KNOB_AHEAD], pick->knob[QEMB__KNOB_ROWS], widths);
    for (int k = 0; k <= WIDE_BLOCKS; k++) {
        if (widths >> k & 1) {
            at += snprintf(all + at, sizeof all - (size_t)at, " -DDIM_%d=%d", k, (int)dims[k]);
        }
    }
    return qemb__cl_kernel_pieces(ctx, pieces, n, "bag_forward", all, kernel);
}

/* How the GPU family maps a module: lanes a bag, columns a lane. */
typedef struct gpu_shape {
    int lanes, vector, chunks, unroll;
} gpu_shape;

static gpu_shape shape_gpu(const qemb__pick *pick, const qemb__tables *s) {
    gpu_shape g = {.lanes = 1, .vector = pick->knob[QEMB__KNOB_VECTOR], .unroll = pick->knob[QEMB__KNOB_UNROLL]};
    while (g.lanes * g.vector < s->max_dim &&
           (g.lanes < pick->knob[QEMB__KNOB_LANES] || (g.lanes < MAX_LANES && s->max_dim > MAX_CHUNKS * g.lanes * g.vector))) {
        g.lanes *= 2;
    }
    g.chunks = pick->knob[QEMB__KNOB_WIDE] ? 0 : (s->max_dim + g.lanes * g.vector - 1) / (g.lanes * g.vector);
    g.unroll = g.unroll < 1 ? 1 : g.chunks > 2 && g.unroll > 2 ? 2 : g.unroll;
    return g;
}

static qemb_status gpu_kernel(qemb_context *ctx, const qemb__tables *s, const qemb__pick *pick, const char *options, cl_kernel *kernel) {
    static const char *const pieces[] = {"bag_forward_uses.cl", "lanes_gpu.cl", "bag_forward_gpu.cl", "bag_forward_gpu_main.cl"};
    const gpu_shape g = shape_gpu(pick, s);
    char all[QEMB__CL_OPTIONS + 128];
    (void)snprintf(all, sizeof all, "%s -DQV=float%s -DLANES=%d -DVEC=%d -DCHUNKS=%d -DUNROLL=%d -DGROUP=%d -DREDUCE=%d", options,
                   g.vector == 4 ? "4" : "", g.lanes, g.vector, g.chunks, g.unroll, pick->knob[QEMB__KNOB_LOCAL],
                   pick->knob[QEMB__KNOB_REDUCE]);
    return qemb__cl_kernel_pieces(ctx, pieces, 4, "bag_forward", all, kernel);
}

/* Facts of "staged": the table fits one launch of either kernel, and is worth a pass of its own. */
static uint32_t staged_facts(const qemb__tables *s, int64_t lookups) {
    const q_table *t = &s->table[0];
    const bool one = s->num_tables == 1 && s->num_slabs == 1 && t->base == 0 && (t->flags & Q_FAKE_QUANT_ON);
    const int64_t times = t->dim > STAGED_WIDE ? STAGED_TIMES_WIDE : STAGED_TIMES;
    const bool often = lookups >= STAGED_LOOKUPS && lookups / times >= t->rows;
    return (one ? QEMB__ONE_SLAB : 0u) | (one && often ? QEMB__SMALL_TABLE : 0u);
}

/* out_at: where the output starts, in floats. A caller's buffer may start anywhere. */
static const qemb__pick *pick_for(qemb_context *ctx, const qemb__tables *s, int64_t out_at, int64_t lookups) {
    const qemb__cl *cl = ctx->engine;
    const uint32_t torch = QEMB__USES_TORCH_CPU | QEMB__USES_TORCH_CUDA;
    uint32_t facts = out_at % 4 ? 0 : QEMB__ALIGNED;
    for (int32_t t = 0; t < s->num_tables; t++) {
        if (s->table[t].dim % 4 || s->table[t].base % 4) {
            facts = 0; /* a row may start anywhere: one float a load */
        }
    }
    facts |= staged_facts(s, lookups);
    facts |= (s->max_dim <= MAX_CHUNKS * MAX_LANES * 4 ? QEMB__NARROW4 : 0u) | (s->max_dim <= MAX_CHUNKS * MAX_LANES ? QEMB__NARROW1 : 0u);
    if ((s->uses & torch) && !(s->uses & QEMB__USES_NORM) && s->mode != Q_MODE_NONE && cl->exact_division) {
        facts |= QEMB__TORCH_POOL;
    }
    return qemb__cl_pick(ctx, QEMB__BAG_FORWARD, facts, s);
}

static qemb_status forward_kernel(qemb_context *ctx, const qemb__tables *s, const qemb__batch_view *b, int slabs, const qemb__pick *pick,
                                  cl_kernel *kernel) {
    char options[QEMB__CL_OPTIONS];
    (void)snprintf(options, sizeof options, "-DMODE=%d -DWEIGHTED=%d -DUSES=%u -DSLABS=%d -DINDEX=%s -DOFFSET=%s", s->mode,
                   b->weights != NULL, pick->knob[QEMB__KNOB_STAGED] ? (unsigned)QEMB__USES_FLOAT : s->uses, slabs,
                   b->indices_64 ? "long" : "int", b->offsets_64 ? "long" : "int");
    return pick->variant->is_cpu ? cpu_kernel(ctx, s, pick, options, kernel) : gpu_kernel(ctx, s, pick, options, kernel);
}

/* Compiles the forms that a batch from the host takes; others compile at their first use. */
qemb_status qemb__cl_bag_forward_prepare(qemb_context *ctx, const qemb__tables *s) {
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    const qemb__pick *pick = pick_for(ctx, s, 0, 0);
    for (int32_t g = 0; g < s->num_groups; g++) {
        const int slabs = s->group[g].num_slabs == 1 ? 1 : QEMB__GROUP_SLABS;
        const qemb__batch_view plain = {0};
        TRY(forward_kernel(ctx, s, &plain, slabs, pick, &kernel));
    }
done:
    return st;
}

/* Bags that one work-item of the CPU family takes: where rows are narrow and pass as one stream (bag_forward_cpu_stream.cl), enough lookups to
 * keep it running, and items enough for all threads. */
static q_i32 tile_of(const qemb__cl *cl, const qemb__tables *s, const qemb__pick *pick, const qemb__batch_view *b, int32_t features) {
    const int64_t bags = b->shape.bags * features;
    const int64_t enough = (int64_t)TILE_LOOKUPS * bags / (b->shape.lookups + 1);
    const int64_t shared = bags / ((int64_t)TILES_A_THREAD * cl->compute_units);
    const int64_t tile = enough < shared ? enough : shared;
    const bool cpu = pick->variant->is_cpu;
    const bool stream = cpu && pick->knob[QEMB__KNOB_ROWS] > 0 && s->max_dim <= STREAM_COLUMNS;
    const bool floats = pick->knob[QEMB__KNOB_STAGED] || s->uses == QEMB__USES_FLOAT;
    const bool pairs = cpu && floats && s->max_dim == PAIRS_COLUMNS && shared > 1; /* bag_forward_cpu_main.cl takes two bags at a time */
    return (q_i32)(pairs ? PAIRS_TILE : !stream || tile < 1 ? 1 : tile > MAX_TILE ? MAX_TILE : tile);
}

/* The table's rows as this forward has them, into cl->staged. */
static qemb_status stage(qemb_context *ctx, const qemb__bag_forward_args *args) {
    qemb__cl *cl = ctx->engine;
    const q_table *t = &args->tables->table[0];
    const qemb_status st = qemb__buffer_reserve(ctx, (size_t)(t->rows * t->dim) * sizeof(float), &cl->staged);
    const qemb__row_observe_args rows = {.tables = args->tables, .count = t->rows, .step = args->step, .values = cl->staged, .soon = true};
    return st == QEMB_OK ? qemb__cl_row_observe(ctx, &rows) : st;
}

qemb_status qemb__cl_bag_forward(qemb_context *ctx, const qemb__bag_forward_args *args) {
    const qemb__cl *cl = ctx->engine;
    const qemb__tables *s = args->tables;
    const qemb__batch_view *b = args->batch;
    qemb_status st = QEMB_OK;
    q_bag_forward a = {
        .batch = b->shape, .out_at = (q_i64)(args->out->offset / sizeof(float)), .out_stride = s->output_dim, .step = args->step};
    a.batch.indices_at = b->indices ? (q_i64)(b->indices->offset / (b->indices_64 ? 8 : 4)) : 0;
    a.batch.offsets_at = b->offsets ? (q_i64)(b->offsets->offset / (b->offsets_64 ? 8 : 4)) : 0;
    a.batch.weights_at = b->weights ? (q_i64)(b->weights->offset / sizeof(float)) : 0;
    const qemb__pick *pick = pick_for(ctx, s, a.out_at, b->shape.lookups);
    const bool staged = pick->knob[QEMB__KNOB_STAGED] != 0;
    if (staged) {
        TRY(stage(ctx, args));
        qemb__harmless(ctx);
    }
    for (int32_t g = 0; g < s->num_groups; g++) {
        const qemb__group *group = &s->group[g];
        const int slabs = group->num_slabs == 1 ? 1 : QEMB__GROUP_SLABS;
        cl_kernel kernel = NULL;
        qemb__cl_args list = {0};
        TRY(forward_kernel(ctx, s, b, slabs, pick, &kernel));
        qemb__cl_arg_buffer(&list, s->table_buffer);
        qemb__cl_arg_buffer(&list, s->feature_buffer);
        for (int k = 0; k < slabs; k++) {
            qemb__cl_arg_buffer(&list, staged ? cl->staged : s->slab[group->first_slab + (k < group->num_slabs ? k : 0)].weight);
        }
        for (int k = 0; k < slabs; k++) {
            const qemb_buffer *state = s->slab[group->first_slab + (k < group->num_slabs ? k : 0)].state;
            qemb__cl_arg_buffer(&list, state ? state : ctx->events);
        }
        qemb__cl_arg_buffer(&list, b->indices ? b->indices : b->status);
        qemb__cl_arg_buffer(&list, b->offsets ? b->offsets : b->status);
        qemb__cl_arg_buffer(&list, b->weights ? b->weights : b->status);
        qemb__cl_arg_buffer(&list, args->out);
        qemb__cl_arg_buffer(&list, args->winners ? args->winners : b->status);
        qemb__cl_arg_buffer(&list, b->status);
        qemb__cl_arg_buffer(&list, b->longs ? b->longs : b->status);
        qemb__cl_arg_buffer(&list, ctx->events);
        a.first_feature = group->first_feature;
        a.num_features = group->num_features;
        /* long bags first, and how many bags an item takes */
        const q_i32 tile = tile_of(cl, s, pick, b, group->num_features);
        const int64_t items = qemb__cl_deal(cl, b, group->num_features, tile, &a.deal);
        const int local = tile > PAIRS_TILE ? 1 : pick->knob[QEMB__KNOB_LOCAL] / tile;
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(cl->is_cpu ? qemb__cl_launch_bags(ctx, kernel, &list, local, &a.deal)
                       : qemb__cl_launch(ctx, kernel, &list, items * shape_gpu(pick, s).lanes, (size_t)local));
    }
done:
    return st;
}
