/* pipeline.c - see the header. Stands on qemb_opencl.h alone: a program of its own on the library's queue. */
#include "pipeline.h"

#include <qemb/qemb_opencl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { ROWS_AN_ITEM = 2048, FLOATS_AHEAD = 1024, LOCAL = 1, PIECE = 1 << 20 };

/* Four rows share one reduction and one set of divisions; the row's values come from the first-level cache in the second pass. */
static const char kernel_text[] =
    "#pragma OPENCL FP_CONTRACT OFF\n"
    "#define REDUCE4(name, before)                                                                                  \\\n"
    "    static float16 name##16(float16 a, float16 b) { return a before b ? a : b; }                               \\\n"
    "    static float4 name(float16 a, float16 b, float16 c, float16 d) {                                           \\\n"
    "        const float16 ab = name##16((float16)(a.lo, b.lo), (float16)(a.hi, b.hi));                             \\\n"
    "        const float16 cd = name##16((float16)(c.lo, d.lo), (float16)(c.hi, d.hi));                             \\\n"
    "        const float16 all = name##16((float16)(ab.s012389ab, cd.s012389ab), (float16)(ab.s4567cdef, cd.s4567cdef)); \\\n"
    "        const float16 two = name##16(all, all.s23016745ab89efcd);                                              \\\n"
    "        return name##16(two, two.s1032547698badcfe).s048c;                                                     \\\n"
    "    }\n"
    "REDUCE4(least, <)\n"
    "REDUCE4(most, >)\n"
    "static float16 block(__global const float *p) {\n"
    "    float16 x = (float16)(p[0]);\n"
    "    float lanes[16];\n"
    "    if (DIM >= 16) {\n"
    "        return vload16(0, p);\n"
    "    }\n"
    "    for (int k = 0; k < 16; k++) {\n"
    "        lanes[k] = p[k < DIM ? k : 0];\n"
    "    }\n"
    "    return vload16(0, lanes);\n"
    "}\n"
    "static void keep(float16 y, __global float *p) {\n"
    "    if (DIM % 16 == 0) {\n"
    "        __builtin_nontemporal_store(y, (__global float16 *)p);\n"
    "    } else if (DIM > 16) {\n"
    "        vstore16(y, 0, p);\n"
    "    } else {\n"
    "        float lanes[16];\n"
    "        vstore16(y, 0, lanes);\n"
    "        for (int k = 0; k < DIM; k++) {\n"
    "            p[k] = lanes[k];\n"
    "        }\n"
    "    }\n"
    "}\n"
    "#if defined(__has_builtin) && __has_builtin(__builtin_elementwise_roundeven)\n"
    "#define ROUND(t) __builtin_elementwise_roundeven(t)\n"
    "#else\n"
    "#define ROUND(t) (((t) + 12582912.0f) - 12582912.0f)\n"
    "#endif\n"
    "static float16 fake_quant(float16 x, float s, float z, float inv) {\n"
    "    const float16 q = ROUND(fma(x, (float16)(inv), (float16)(z)));\n"
    "    const float16 h = q - z;\n"
    "    return fma(h, (float16)(s), ((0.0f - z) - (h - q)) * s);\n"
    "}\n"
    "#define PUT(x, j)                                                                          \\\n"
    "    keep(fake_quant(x##0, s.s##j, z.s##j, inv.s##j), out + at[j]);                         \\\n"
    "    for (int k = 16; k < DIM; k += 16) {                                                   \\\n"
    "        const int col = k + 16 <= DIM ? k : DIM - 16;                                      \\\n"
    "        keep(fake_quant(block(table + at[j] + col), s.s##j, z.s##j, inv.s##j), out + at[j] + col); \\\n"
    "    }\n"
    "__kernel void fake_quant_table(__global const float *table, __global float *out, const long rows, const float codes) {\n"
    "    const long first = (long)get_global_id(0) * ROWS;\n"
    "    const long last = first + ROWS < rows ? first + ROWS : rows;\n"
    "    for (long r = first; r < last; r += 4) {\n"
    "        const long at[4] = {r * DIM, min(r + 1, last - 1) * DIM, min(r + 2, last - 1) * DIM, min(r + 3, last - 1) * DIM};\n"
    "        for (int k = 0; k < 4 * DIM; k += 16) {\n"
    "            __builtin_prefetch((const void *)(table + at[0] + AHEAD + k), 0, 3);\n"
    "        }\n"
    "        float16 a = block(table + at[0]), b = block(table + at[1]), c = block(table + at[2]), d = block(table + at[3]);\n"
    "        const float16 a0 = a, b0 = b, c0 = c, d0 = d;\n"
    "        float16 e = a, f = b, g = c, h = d;\n"
    "        for (int k = 16; k < DIM; k += 16) {\n"
    "            const int col = k + 16 <= DIM ? k : DIM - 16;\n"
    "            const float16 x = vload16(0, table + at[0] + col), y = vload16(0, table + at[1] + col);\n"
    "            const float16 z = vload16(0, table + at[2] + col), w = vload16(0, table + at[3] + col);\n"
    "            a = least16(a, x), b = least16(b, y), c = least16(c, z), d = least16(d, w);\n"
    "            e = most16(e, x), f = most16(f, y), g = most16(g, z), h = most16(h, w);\n"
    "        }\n"
    "        const float4 lo = least(a, b, c, d) + (float4)(0.0f), hi = most(e, f, g, h) + (float4)(0.0f);\n"
    "        const float4 s0 = (hi - lo) / (float4)(codes);\n"
    "        const float4 s = s0 > (float4)(0x1p-23f) ? s0 : (float4)(1.0f);\n"
    "        const float4 z = -lo / s, inv = (float4)(1.0f) / s;\n"
    "        PUT(a, 0) PUT(b, 1) PUT(c, 2) PUT(d, 3)\n"
    "    }\n"
    "}\n";

typedef struct pipeline_table {
    qemb_buffer *from, *to;
    cl_program program;
    cl_kernel kernel;
    int64_t rows, dim;
} pipeline_table;

struct bench_pipeline {
    qemb_context *ctx;
    cl_command_queue queue;
    qemb_embedding_bag *module;
    int32_t tables;
    pipeline_table *table;
    double bytes;
};

static qemb_status cl_check(cl_int error, const char *what) {
    return error == CL_SUCCESS ? QEMB_OK : bench_fail(QEMB_ERR_DEVICE, "the pipeline: %s fails with OpenCL %d", what, (int)error);
}

static qemb_status build_kernel(bench_pipeline *p, pipeline_table *t, float codes) {
    qemb_status st = QEMB_OK;
    const char *text = kernel_text;
    cl_context context = NULL;
    cl_device_id device = NULL;
    cl_mem from = NULL;
    cl_mem to = NULL;
    cl_int error = CL_SUCCESS;
    const cl_long rows = t->rows;
    char options[256];
    BENCH_TRY(qemb_context_cl_objects(p->ctx, &context, &device, &p->queue));
    BENCH_TRY(qemb_buffer_cl_memory(t->from, &from, NULL));
    BENCH_TRY(qemb_buffer_cl_memory(t->to, &to, NULL));
    t->program = clCreateProgramWithSource(context, 1, &text, NULL, &error);
    BENCH_TRY(cl_check(error, "clCreateProgramWithSource"));
    (void)snprintf(options, sizeof options, "-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt -DDIM=%d -DROWS=%d -DAHEAD=%d",
                   (int)t->dim, ROWS_AN_ITEM, FLOATS_AHEAD);
    BENCH_TRY(cl_check(clBuildProgram(t->program, 1, &device, options, NULL, NULL), "clBuildProgram"));
    t->kernel = clCreateKernel(t->program, "fake_quant_table", &error);
    BENCH_TRY(cl_check(error, "clCreateKernel"));
    error = clSetKernelArg(t->kernel, 0, sizeof from, &from);
    error = error ? error : clSetKernelArg(t->kernel, 1, sizeof to, &to);
    error = error ? error : clSetKernelArg(t->kernel, 2, sizeof rows, &rows);
    error = error ? error : clSetKernelArg(t->kernel, 3, sizeof codes, &codes);
    BENCH_TRY(cl_check(error, "clSetKernelArg"));
done:
    return st;
}

/* The weights of table `number` of the source into a buffer of the pipeline's own. */
static qemb_status copy_table(bench_pipeline *p, qemb_embedding_bag *source, int32_t number, float *staging) {
    qemb_status st = QEMB_OK;
    pipeline_table *t = &p->table[number];
    const size_t row_bytes = (size_t)t->dim * sizeof(float);
    const int64_t piece = PIECE / t->dim > 0 ? PIECE / t->dim : 1; /* rows at a time */
    BENCH_TRY(qemb_buffer_create(p->ctx, (size_t)t->rows * row_bytes, &t->from));
    BENCH_TRY(qemb_buffer_create(p->ctx, (size_t)t->rows * row_bytes, &t->to));
    for (int64_t r = 0; r < t->rows; r += piece) {
        const int64_t n = t->rows - r < piece ? t->rows - r : piece;
        BENCH_TRY(qemb_embedding_bag_read_weight(source, number, r, n, staging));
        BENCH_TRY(qemb_buffer_write(t->from, (size_t)r * row_bytes, (size_t)n * row_bytes, staging));
    }
done:
    return st;
}

static qemb_status create_tables(bench_pipeline *p, qemb_embedding_bag *source, const qemb_bag_info *info, float codes) {
    qemb_status st = QEMB_OK;
    int64_t widest = 1;
    float *staging = NULL;
    qemb_table_desc *desc = bench_alloc(info->num_tables, sizeof *desc);
    for (int32_t t = 0; t < info->num_tables; t++) {
        qemb_table_desc given;
        BENCH_TRY(qemb_embedding_bag_table(source, t, &given));
        p->table[t].rows = given.num_embeddings;
        p->table[t].dim = given.embedding_dim;
        p->bytes += 8.0 * (double)given.num_embeddings * (double)given.embedding_dim;
        widest = given.embedding_dim > widest ? given.embedding_dim : widest;
    }
    staging = bench_alloc(widest > PIECE ? widest : PIECE, sizeof *staging);
    for (int32_t t = 0; t < info->num_tables; t++) {
        BENCH_TRY(copy_table(p, source, t, staging));
        BENCH_TRY(build_kernel(p, &p->table[t], codes));
        desc[t] = (qemb_table_desc){.num_embeddings = p->table[t].rows,
                                    .embedding_dim = p->table[t].dim,
                                    .qconfig = qemb_qconfig_float(),
                                    .weight_buffer = p->table[t].to};
    }
    BENCH_TRY(qemb_embedding_bag_collection_create(
        p->ctx, &(qemb_collection_desc){.tables = desc, .num_tables = info->num_tables, .options = info->options}, &p->module));
done:
    free(staging);
    free(desc);
    return st;
}

qemb_status bench_pipeline_create(qemb_context *ctx, qemb_embedding_bag *source, int bits, bench_pipeline **out) {
    qemb_status st = QEMB_OK;
    qemb_device_report report;
    qemb_bag_info info;
    bench_pipeline *p = NULL;
    BENCH_TRY(qemb_context_report(ctx, &report));
    if (!report.host_memory) {
        st = bench_fail(QEMB_ERR_UNSUPPORTED, "the pipeline is written for CPU devices, and %s is none", report.device);
        goto done;
    }
    BENCH_TRY(qemb_embedding_bag_info(source, &info));
    if (info.num_features != info.num_tables) {
        st = bench_fail(QEMB_ERR_UNSUPPORTED, "the pipeline looks up one feature a table");
        goto done;
    }
    p = bench_alloc(1, sizeof *p);
    p->ctx = ctx;
    p->tables = info.num_tables;
    p->table = bench_alloc(p->tables, sizeof *p->table);
    BENCH_TRY(create_tables(p, source, &info, (float)((1 << bits) - 1)));
    *out = p;
    p = NULL;
done:
    bench_pipeline_destroy(p);
    return st;
}

void bench_pipeline_destroy(bench_pipeline *p) {
    if (!p) {
        return;
    }
    (void)qemb_context_finish(p->ctx);
    qemb_embedding_bag_destroy(p->module);
    for (int32_t t = 0; p->table && t < p->tables; t++) {
        if (p->table[t].kernel) {
            (void)clReleaseKernel(p->table[t].kernel);
        }
        if (p->table[t].program) {
            (void)clReleaseProgram(p->table[t].program);
        }
        qemb_buffer_destroy(p->table[t].from);
        qemb_buffer_destroy(p->table[t].to);
    }
    free(p->table);
    free(p);
}

qemb_embedding_bag *bench_pipeline_module(const bench_pipeline *p) {
    return p->module;
}

qemb_status bench_pipeline_quantise(bench_pipeline *p) {
    qemb_status st = QEMB_OK;
    for (int32_t t = 0; t < p->tables; t++) {
        const size_t local = LOCAL;
        const size_t items = (size_t)((p->table[t].rows + ROWS_AN_ITEM - 1) / ROWS_AN_ITEM);
        BENCH_TRY(cl_check(clEnqueueNDRangeKernel(p->queue, p->table[t].kernel, 1, NULL, &items, &local, 0, NULL, NULL),
                           "clEnqueueNDRangeKernel"));
    }
done:
    return st;
}

qemb_status bench_pipeline_forward(bench_pipeline *p, qemb_batch *batch, qemb_buffer *out) {
    qemb_status st = bench_pipeline_quantise(p);
    return st == QEMB_OK ? qemb_embedding_bag_forward(p->module, batch, out) : st;
}

double bench_pipeline_bytes(const bench_pipeline *p) {
    return p->bytes;
}
