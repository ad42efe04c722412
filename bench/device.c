/* device.c - see the header.
 *
 * Random rows: an item reads ROWS of them, 64 MiB in all, and every run others: some last-level caches would hold
 * one run's. On CPUs an item reads whole rows (blocks of 16 columns); elsewhere neighbouring items read neighbouring columns. */
#include "device.h"

#include <qemb/qemb_opencl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { ROWS_AN_ITEM = 64, AHEAD = 32, RUNS = 7, LOCAL_CPU = 1, LOCAL_GPU = 64, OPTIONS = 256 };
static const int64_t most_bytes = (int64_t)1 << 30, least_read = (int64_t)64 << 20;

static const char kernel_text[] =
    "#if CPU\n"
    "__kernel void random_rows(__global const float *table, __global const int *indices, __global uint *out, const ulong start) {\n"
    "    const size_t first = start + get_global_id(0) * ROWS;\n"
    "    uint16 any = (uint16)(0);\n"
    "    for (size_t i = first; i < first + ROWS; i++) {\n"
    "        __global const float *w = table + (long)indices[i] * DIM;\n"
    "#if PREFETCH\n"
    "        __global const float *later = table + (long)indices[i + AHEAD] * DIM;\n"
    "        for (int c = 0; c < DIM; c += 16) {\n"
    "            __builtin_prefetch((const void *)(size_t)(later + c), 0, 2);\n"
    "        }\n"
    "#endif\n"
    "        for (int c = 0; c + 16 <= DIM; c += 16) {\n"
    "            any ^= as_uint16(vload16(0, w + c));\n"
    "        }\n"
    "        for (int c = DIM / 16 * 16; c < DIM; c++) {\n"
    "            any.s0 ^= as_uint(w[c]);\n"
    "        }\n"
    "    }\n"
    "    const uint8 a = any.lo ^ any.hi;\n"
    "    const uint4 b = a.lo ^ a.hi;\n"
    "    out[get_global_id(0)] = b.s0 ^ b.s1 ^ b.s2 ^ b.s3;\n"
    "}\n"
    "#else\n"
    "__kernel void random_rows(__global const float *table, __global const int *indices, __global uint *out, const ulong start) {\n"
    "    const size_t first = start + get_group_id(0) * ROWS;\n"
    "    uint any = 0;\n"
    "    for (int k = get_local_id(0); k < ROWS * DIM; k += get_local_size(0)) {\n"
    "        any ^= as_uint(table[(long)indices[first + k / DIM] * DIM + k % DIM]);\n"
    "    }\n"
    "    out[get_global_id(0)] = any;\n"
    "}\n"
    "#endif\n"
    "__kernel void row_copy(__global const float *table, __global uchar *out, const ulong rows, const int row_bytes) {\n"
    "    const ulong r = get_global_id(0);\n"
    "    if (r >= rows) {\n"
    "        return;\n"
    "    }\n"
    "    __global const float *w = table + r * DIM;\n"
    "    __global uchar *p = out + r * row_bytes;\n"
    "    int at = 0;\n"
    "#define EACH(n, store)                                                                   \\\n"
    "    for (int c = 0; c + 16 <= DIM; c += 16) {                                            \\\n"
    "        const uint16 x = as_uint16(vload16(0, w + c)) & (uint16)(0xffu);                 \\\n"
    "        store; at += n;                                                                  \\\n"
    "    }\n"
    "    if (row_bytes >= DIM) {\n"
    "        EACH(16, vstore16(convert_uchar16(x), 0, p + at))\n"
    "    } else if (2 * row_bytes >= DIM) {\n"
    "        EACH(8, vstore8(convert_uchar8(x.even ^ x.odd), 0, p + at))\n"
    "    } else {\n"
    "        EACH(4, const uint8 y = x.even ^ x.odd; vstore4(convert_uchar4(y.even ^ y.odd), 0, p + at))\n"
    "    }\n"
    "    for (; at < row_bytes; at++) {\n"
    "        p[at] = (uchar)at;\n"
    "    }\n"
    "}\n";

typedef struct own_kernel {
    cl_command_queue queue;
    cl_program program;
    cl_kernel kernel;
    bool is_cpu;
} own_kernel;

static qemb_status cl_check(cl_int error, const char *what) {
    return error == CL_SUCCESS ? QEMB_OK : bench_fail(QEMB_ERR_DEVICE, "the bench's kernels: %s fails with OpenCL %d", what, (int)error);
}

static void release(own_kernel *k) {
    if (k->kernel) {
        (void)clReleaseKernel(k->kernel);
    }
    if (k->program) {
        (void)clReleaseProgram(k->program);
    }
}

/* Whether the platform's compiler takes a prefetch of its own kind: the library's rule. */
static bool prefetches(cl_device_id device) {
    cl_platform_id platform = NULL;
    char name[128] = "";
    return clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL) == CL_SUCCESS &&
           clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL) == CL_SUCCESS &&
           strstr(name, "Portable Computing Language");
}

static qemb_status build(qemb_context *ctx, const char *name, int64_t dim, own_kernel *k) {
    qemb_status st = QEMB_OK;
    cl_context context = NULL;
    cl_device_id device = NULL;
    cl_device_type type = 0;
    cl_int error = CL_SUCCESS;
    const char *text = kernel_text;
    char options[OPTIONS];
    BENCH_TRY(qemb_context_cl_objects(ctx, &context, &device, &k->queue));
    BENCH_TRY(cl_check(clGetDeviceInfo(device, CL_DEVICE_TYPE, sizeof type, &type, NULL), "clGetDeviceInfo"));
    k->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    (void)snprintf(options, sizeof options, "-cl-std=CL1.2 -DDIM=%d -DROWS=%d -DAHEAD=%d -DCPU=%d -DPREFETCH=%d", (int)dim, ROWS_AN_ITEM,
                   AHEAD, k->is_cpu, prefetches(device));
    k->program = clCreateProgramWithSource(context, 1, &text, NULL, &error);
    BENCH_TRY(cl_check(error, "clCreateProgramWithSource"));
    BENCH_TRY(cl_check(clBuildProgram(k->program, 1, &device, options, NULL, NULL), "clBuildProgram"));
    k->kernel = clCreateKernel(k->program, name, &error);
    BENCH_TRY(cl_check(error, "clCreateKernel"));
done:
    return st;
}

static qemb_status set_memory(const own_kernel *k, cl_uint index, const qemb_buffer *buffer) {
    qemb_status st = QEMB_OK;
    cl_mem memory = NULL;
    BENCH_TRY(qemb_buffer_cl_memory(buffer, &memory, NULL));
    BENCH_TRY(cl_check(clSetKernelArg(k->kernel, index, sizeof memory, &memory), "clSetKernelArg"));
done:
    return st;
}

/* Values into all of a buffer, so that its pages are its own. */
static qemb_status fill(qemb_buffer *buffer) {
    enum { PIECE = 1 << 22 };
    qemb_status st = QEMB_OK;
    const size_t bytes = qemb_buffer_bytes(buffer);
    float *values = bench_alloc(PIECE, sizeof *values);
    uint64_t state = 7;
    for (int i = 0; i < PIECE; i++) {
        values[i] = (float)bench_uniform(&state);
    }
    for (size_t at = 0; at < bytes; at += PIECE * sizeof *values) {
        const size_t n = bytes - at < PIECE * sizeof *values ? bytes - at : PIECE * sizeof *values;
        BENCH_TRY(qemb_buffer_write(buffer, at, n, values));
    }
done:
    free(values);
    return st;
}

/* ---- random rows ---------------------------------------------------------------------------------------------------------- */

/* Row numbers for all reads of all runs, and for the prefetches behind the last. */
static qemb_status draw_rows(qemb_context *ctx, int64_t rows, int64_t reads, qemb_buffer **out) {
    qemb_status st = QEMB_OK;
    const int64_t count = reads + AHEAD;
    int32_t *numbers = bench_alloc(count, sizeof *numbers);
    uint64_t state = 11;
    for (int64_t i = 0; i < count; i++) {
        numbers[i] = (int32_t)(bench_uniform(&state) * (double)rows);
    }
    BENCH_TRY(qemb_buffer_create(ctx, (size_t)count * sizeof *numbers, out));
    BENCH_TRY(qemb_buffer_write(*out, 0, (size_t)count * sizeof *numbers, numbers));
done:
    free(numbers);
    return st;
}

/* Seconds of the fastest run. */
static qemb_status fastest(const own_kernel *k, size_t items, size_t local, int64_t reads, double *best) {
    qemb_status st = QEMB_OK;
    *best = 1e30;
    for (int run = 0; run < RUNS; run++) {
        const cl_ulong first = (cl_ulong)run * (cl_ulong)reads;
        BENCH_TRY(cl_check(clSetKernelArg(k->kernel, 3, sizeof first, &first), "clSetKernelArg"));
        const double start = bench_seconds();
        BENCH_TRY(cl_check(clEnqueueNDRangeKernel(k->queue, k->kernel, 1, NULL, &items, &local, 0, NULL, NULL), "clEnqueueNDRangeKernel"));
        BENCH_TRY(cl_check(clFinish(k->queue), "clFinish"));
        const double taken = bench_seconds() - start;
        *best = run && taken < *best ? taken : *best;
    }
done:
    return st;
}

qemb_status bench_rows_bandwidth(qemb_context *ctx, int64_t bytes, int64_t dim, double *gbps) {
    qemb_status st = QEMB_OK;
    own_kernel k = {0};
    qemb_device_report report;
    qemb_buffer *memory[3] = {NULL}; /* table, row numbers, out */
    const int64_t row_bytes = dim * (int64_t)sizeof(float);
    double best = 0.0;
    *gbps = 0.0;
    BENCH_TRY(qemb_context_report(ctx, &report));
    if (strcmp(report.engine, "reference") == 0) {
        return QEMB_OK;
    }
    int64_t held = bytes < most_bytes ? bytes : most_bytes;
    held = held < report.max_allocation_bytes ? held : report.max_allocation_bytes;
    held = held < row_bytes ? row_bytes : held;
    const int64_t items = (least_read / row_bytes + ROWS_AN_ITEM - 1) / ROWS_AN_ITEM;
    BENCH_TRY(build(ctx, "random_rows", dim, &k));
    const size_t local = k.is_cpu ? LOCAL_CPU : LOCAL_GPU;
    BENCH_TRY(qemb_buffer_create(ctx, (size_t)held, &memory[0]));
    BENCH_TRY(fill(memory[0]));
    BENCH_TRY(draw_rows(ctx, held / row_bytes, RUNS * items * ROWS_AN_ITEM, &memory[1]));
    BENCH_TRY(qemb_buffer_create(ctx, (size_t)items * local * sizeof(cl_uint), &memory[2]));
    for (cl_uint i = 0; i < 3; i++) {
        BENCH_TRY(set_memory(&k, i, memory[i]));
    }
    BENCH_TRY(fastest(&k, (size_t)items * local, local, items * ROWS_AN_ITEM, &best));
    *gbps = 1e-9 * (double)(items * ROWS_AN_ITEM * row_bytes) / best;
done:
    for (int i = 0; i < 3; i++) {
        qemb_buffer_destroy(memory[i]);
    }
    release(&k);
    return st;
}

/* ---- the reads and writes of packing ---------------------------------------------------------------------------------------- */

struct bench_row_copy {
    qemb_context *ctx;
    own_kernel own;
    qemb_buffer *from, *to;
    int64_t rows, row_bytes;
};

qemb_status bench_row_copy_create(qemb_context *ctx, int64_t rows, int64_t dim, int64_t row_bytes, bench_row_copy **out) {
    qemb_status st = QEMB_OK;
    const cl_ulong count = (cl_ulong)rows;
    const cl_int bytes = (cl_int)row_bytes;
    bench_row_copy *c = bench_alloc(1, sizeof *c);
    *c = (bench_row_copy){.ctx = ctx, .rows = rows, .row_bytes = row_bytes};
    if (dim < 16) {
        st = bench_fail(QEMB_ERR_UNSUPPORTED, "--compare copy takes --dim 16 or more");
        goto done;
    }
    BENCH_TRY(build(ctx, "row_copy", dim, &c->own));
    BENCH_TRY(qemb_buffer_create(ctx, (size_t)(rows * dim) * sizeof(float), &c->from));
    BENCH_TRY(fill(c->from));
    BENCH_TRY(set_memory(&c->own, 0, c->from));
    BENCH_TRY(cl_check(clSetKernelArg(c->own.kernel, 2, sizeof count, &count), "clSetKernelArg"));
    BENCH_TRY(cl_check(clSetKernelArg(c->own.kernel, 3, sizeof bytes, &bytes), "clSetKernelArg"));
    *out = c;
    c = NULL;
done:
    bench_row_copy_destroy(c);
    return st;
}

void bench_row_copy_destroy(bench_row_copy *c) {
    if (c) {
        qemb_buffer_destroy(c->from);
        qemb_buffer_destroy(c->to);
        release(&c->own);
        free(c);
    }
}

void bench_row_copy_forget(bench_row_copy *c) {
    qemb_buffer_destroy(c->to);
    c->to = NULL;
}

qemb_status bench_row_copy_run(bench_row_copy *c) {
    qemb_status st = QEMB_OK;
    const size_t local = c->own.is_cpu ? 16 : LOCAL_GPU;
    const size_t items = ((size_t)c->rows + local - 1) / local * local;
    BENCH_TRY(qemb_buffer_create(c->ctx, (size_t)(c->rows * c->row_bytes), &c->to));
    BENCH_TRY(set_memory(&c->own, 1, c->to));
    BENCH_TRY(
        cl_check(clEnqueueNDRangeKernel(c->own.queue, c->own.kernel, 1, NULL, &items, &local, 0, NULL, NULL), "clEnqueueNDRangeKernel"));
done:
    return st;
}

/* ---- host memory ------------------------------------------------------------------------------------------------------------ */

float *bench_host_memory(qemb_context *ctx, const qemb_buffer *buffer) {
    cl_command_queue queue = NULL;
    cl_mem memory = NULL;
    void *host = NULL;
    if (qemb_context_cl_objects(ctx, NULL, NULL, &queue) != QEMB_OK || qemb_buffer_cl_memory(buffer, &memory, NULL) != QEMB_OK ||
        clGetMemObjectInfo(memory, CL_MEM_HOST_PTR, sizeof host, &host, NULL) != CL_SUCCESS) {
        return NULL;
    }
    return host;
}
