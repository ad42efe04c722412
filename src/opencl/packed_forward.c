/* packed_forward.c - builds the forward of packed rows for the widths and bits there are, and launches it: one launch a group of slabs. */
#include <stdio.h>

#include "opencl/opencl.h"

#include "kernels_cl/shared/math.h"
#include "kernels_cl/shared/row_layout.h"

enum { COLUMNS = 256, CHUNK_BYTES = 16, MAX_VARIANTS = 28, PIECE = 64 };

/* Chunks of 16 code bytes that the CPU family holds at once: 256 columns at most. */
static int chunks_of(const q_table *t) {
    const int per = 8 / t->bits;
    const int chunks = (t->dim + CHUNK_BYTES * per - 1) / (CHUNK_BYTES * per);
    return chunks < COLUMNS / CHUNK_BYTES / per ? chunks : COLUMNS / CHUNK_BYTES / per;
}

/* How all tables store scale and bias, or -1. */
static int number_of(const qemb__tables *s) {
    const int first = q_number(s->table[0].layout, s->table[0].bits, s->table[0].qparams);
    for (int32_t t = 1; t < s->num_tables; t++) {
        if (q_number(s->table[t].layout, s->table[t].bits, s->table[t].qparams) != first) {
            return -1;
        }
    }
    return first;
}

/* The CPU family's program: head, the body once for each pair of bits and chunks, the kernel. */
static qemb_status cpu_kernel(qemb_context *ctx, const qemb__tables *s, const qemb__pick *pick, const char *options, cl_kernel *kernel) {
    const char *pieces[3 * MAX_VARIANTS + 2];
    char defines[MAX_VARIANTS][PIECE];
    char all[QEMB__CL_OPTIONS];
    int n = 0;
    int variants = 0;
    int length = snprintf(all, sizeof all, "%s -DQV=float16 -DQ_VECTOR16 -DAHEAD=%d -DNUMBER=%d -DPICK=", options,
                          pick->knob[QEMB__KNOB_AHEAD], number_of(s));
    pieces[n++] = "packed_forward_cpu_head.cl";
    for (int bits = 8; bits >= 2; bits /= 2) {
        for (int chunks = 1; chunks <= CHUNK_BYTES; chunks++) {
            bool wanted = false;
            for (int32_t t = 0; t < s->num_tables; t++) {
                wanted = wanted || (s->table[t].bits == bits && chunks_of(&s->table[t]) == chunks);
            }
            if (wanted) {
                (void)snprintf(defines[variants], PIECE, "#define BITS %d\n#define CHUNKS %d\n", bits, chunks);
                pieces[n++] = defines[variants++];
                pieces[n++] = "packed_forward_cpu.cl";
                pieces[n++] = "#undef BITS\n#undef CHUNKS\n";
                length += snprintf(all + length, sizeof all - (size_t)length, "CASE(%d,%d)", bits, chunks);
            }
        }
    }
    pieces[n++] = "packed_forward_cpu_main.cl";
    return qemb__cl_kernel_pieces(ctx, pieces, n, "packed_forward", all, kernel);
}

static qemb_status forward_kernel(qemb_context *ctx, const qemb__packed_forward_args *args, int slabs, const qemb__pick *pick,
                                  cl_kernel *kernel) {
    const qemb__tables *s = args->tables;
    const qemb__batch_view *b = args->batch;
    char options[256];
    char all[QEMB__CL_OPTIONS];
    (void)snprintf(options, sizeof options, "-DMODE=%d -DWEIGHTED=%d -DNORM=%d -DMAPPED=%d -DOUT=%d -DSLABS=%d -DINDEX=%s -DOFFSET=%s",
                   s->mode, b->weights != NULL, (s->uses & QEMB__USES_NORM) != 0, args->maps != NULL, (int)args->dtype, slabs,
                   b->indices_64 ? "long" : "int", b->offsets_64 ? "long" : "int");
    if (pick->variant->is_cpu) {
        return cpu_kernel(ctx, s, pick, options, kernel);
    }
    (void)snprintf(all, sizeof all, "%s -DQV=float -DLANES=%d", options, pick->knob[QEMB__KNOB_LANES]);
    return qemb__cl_kernel_get(ctx, "packed_forward_gpu.cl", "packed_forward", all, kernel);
}

static int slabs_of(const qemb__group *group) {
    return group->num_slabs == 1 ? 1 : QEMB__GROUP_SLABS;
}

/* Compiles the form that a batch from the host without weights and float32 output take; others compile at their first use. */
qemb_status qemb__cl_packed_prepare(qemb_context *ctx, const qemb__tables *s, bool mapped) {
    const qemb__batch_view plain = {0};
    const qemb_buffer none = {0};
    const qemb__packed_forward_args args = {.tables = s, .batch = &plain, .maps = mapped ? &none : NULL};
    const qemb__pick *pick = qemb__cl_pick(ctx, QEMB__PACKED_FORWARD, 0, s);
    for (int32_t g = 0; g < s->num_groups; g++) {
        cl_kernel kernel = NULL;
        qemb_status st = forward_kernel(ctx, &args, slabs_of(&s->group[g]), pick, &kernel);
        if (st != QEMB_OK) {
            return st;
        }
    }
    return QEMB_OK;
}

qemb_status qemb__cl_packed_forward(qemb_context *ctx, const qemb__packed_forward_args *args) {
    const qemb__cl *cl = ctx->engine;
    const qemb__tables *s = args->tables;
    const qemb__batch_view *b = args->batch;
    qemb_status st = QEMB_OK;
    q_packed_forward a = {
        .batch = b->shape, .out_at = (q_i64)(args->out->offset / (args->dtype == QEMB_FLOAT32 ? 4 : 2)), .out_stride = s->output_dim};
    a.batch.indices_at = b->indices ? (q_i64)(b->indices->offset / (b->indices_64 ? 8 : 4)) : 0;
    a.batch.offsets_at = b->offsets ? (q_i64)(b->offsets->offset / (b->offsets_64 ? 8 : 4)) : 0;
    a.batch.weights_at = b->weights ? (q_i64)(b->weights->offset / sizeof(float)) : 0;
    const qemb__pick *pick = qemb__cl_pick(ctx, QEMB__PACKED_FORWARD, 0, s);
    const int local = pick->knob[QEMB__KNOB_LOCAL];
    for (int32_t g = 0; g < s->num_groups; g++) {
        const qemb__group *group = &s->group[g];
        cl_kernel kernel = NULL;
        qemb__cl_args list = {0};
        TRY(forward_kernel(ctx, args, slabs_of(group), pick, &kernel));
        qemb__cl_arg_buffer(&list, s->table_buffer);
        qemb__cl_arg_buffer(&list, s->feature_buffer);
        for (int k = 0; k < slabs_of(group); k++) {
            qemb__cl_arg_buffer(&list, s->slab[group->first_slab + (k < group->num_slabs ? k : 0)].weight);
        }
        qemb__cl_arg_buffer(&list, b->indices ? b->indices : b->status);
        qemb__cl_arg_buffer(&list, b->offsets ? b->offsets : b->status);
        qemb__cl_arg_buffer(&list, b->weights ? b->weights : b->status);
        qemb__cl_arg_buffer(&list, args->maps ? args->maps : b->status);
        qemb__cl_arg_buffer(&list, args->out);
        qemb__cl_arg_buffer(&list, b->status);
        qemb__cl_arg_buffer(&list, b->longs ? b->longs : b->status);
        qemb__cl_arg_buffer(&list, ctx->events);
        a.first_feature = group->first_feature;
        a.num_features = group->num_features;
        const int64_t items = qemb__cl_deal(cl, b, group->num_features, 1, &a.deal);
        qemb__cl_arg(&list, sizeof a, &a);
        TRY(cl->is_cpu ? qemb__cl_launch_bags(ctx, kernel, &list, local, &a.deal)
                       : qemb__cl_launch(ctx, kernel, &list, items * pick->knob[QEMB__KNOB_LANES], (size_t)local));
    }
done:
    return st;
}
