/* gemm.c - see gemm.h. */
#include "dlrm/gemm.h"

#include <clblast_c.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Found by trying on PoCL 3.1 with two cores of AVX-512, on the products of a training step (batch 128): 84 to 90 GFLOP/s, CLBlast's own
 * parameters 17. A tile of 32 x 8 keeps 16 vectors of sums in registers; work-groups of one item, for barriers cost PoCL 90x. */
static const dlrm_gemm_set cpu_sets[] = {
    {"cpu 32x8",
     {{"GemmRoutine", 1, {"XGEMM_MIN_INDIRECT_SIZE"}, {1}}, /* always the same kernel, so always the same bits */
      {"Xgemm",
       16,
       {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB", "NDIMC", "NWG", "SA", "SB", "STRM", "STRN", "VWM", "VWN"},
       {0, 1, 32, 8, 1, 1, 32, 1, 1, 8, 0, 0, 0, 0, 16, 8}},
      {"Transpose", 4, {"TRA_DIM", "TRA_PAD", "TRA_SHUFFLE", "TRA_WPT"}, {8, 0, 0, 4}},
      {"Padtranspose", 3, {"PADTRA_PAD", "PADTRA_TILE", "PADTRA_WPT"}, {0, 8, 4}},
      {"Pad", 4, {"PAD_DIMX", "PAD_DIMY", "PAD_WPTX", "PAD_WPTY"}, {32, 1, 1, 8}}}},
    {"cpu 16x4",
     {{"GemmRoutine", 1, {"XGEMM_MIN_INDIRECT_SIZE"}, {1}},
      {"Xgemm",
       16,
       {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB", "NDIMC", "NWG", "SA", "SB", "STRM", "STRN", "VWM", "VWN"},
       {0, 1, 16, 2, 1, 1, 16, 1, 1, 4, 0, 0, 0, 0, 4, 4}},
      {"Transpose", 4, {"TRA_DIM", "TRA_PAD", "TRA_SHUFFLE", "TRA_WPT"}, {8, 0, 0, 4}},
      {"Padtranspose", 3, {"PADTRA_PAD", "PADTRA_TILE", "PADTRA_WPT"}, {0, 8, 4}},
      {"Pad", 4, {"PAD_DIMX", "PAD_DIMY", "PAD_WPTX", "PAD_WPTY"}, {8, 8, 1, 1}}}},
};
/* GPUs are in CLBlast's database; what it gives is checked like the rest. */
static const dlrm_gemm_set gpu_sets[] = {
    {"CLBlast's own, one kernel for every size", {{"GemmRoutine", 1, {"XGEMM_MIN_INDIRECT_SIZE"}, {1}}}},
};

qemb_status dlrm_gemm(dlrm_device *d, const dlrm_gemm_call *g) {
    qemb_status st = QEMB_OK;
    cl_int error = CL_SUCCESS;
    size_t want = 0;
    const CLBlastTranspose ta = g->transpose_a ? CLBlastTransposeYes : CLBlastTransposeNo;
    const CLBlastTranspose tb = g->transpose_b ? CLBlastTransposeYes : CLBlastTransposeNo;
    const size_t m = (size_t)g->rows;
    const size_t n = (size_t)g->columns;
    const size_t k = (size_t)g->depth;
    const size_t lda = g->transpose_a ? m : k;
    const size_t ldb = g->transpose_b ? k : n;
    CLBlastStatusCode status = CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, ta, tb, m, n, k, 0, lda, 0, ldb, 0, n, &d->queue, &want);
    DLRM_REQUIRE(status == CLBlastSuccess, QEMB_ERR_DEVICE, "dlrm: CLBlastSGemmTempBufferSize(%zu x %zu x %zu): status %d", m, n, k,
                 (int)status);
    if (want > d->temporary_bytes || !d->temporary) {
        want = want > d->temporary_bytes ? want : sizeof(float);
        dlrm_memory_destroy(&d->temporary); /* commands that use it keep it */
        d->temporary_bytes = 0;
        d->temporary = clCreateBuffer(d->context, CL_MEM_READ_WRITE, want, NULL, &error);
        DLRM_CL(error, "clCreateBuffer (temporary memory of CLBlast)");
        d->temporary_bytes = want;
    }
    status = CLBlastSgemmWithTempBuffer(CLBlastLayoutRowMajor, ta, tb, m, n, k, g->alpha, g->a, 0, lda, g->b, 0, ldb, g->beta, g->c, 0, n,
                                        &d->queue, NULL, d->temporary);
    DLRM_REQUIRE(status == CLBlastSuccess, QEMB_ERR_DEVICE, "dlrm: CLBlastSgemm(%zu x %zu x %zu): status %d", m, n, k, (int)status);
done:
    return st;
}

/* ---- the check ----------------------------------------------------------------------------------------------------------- */

/* Distinct values of both signs that a sum does not forgive to be swapped. */
static void fill(float *values, int64_t count, int64_t salt) {
    for (int64_t i = 0; i < count; i++) {
        values[i] = (float)((i * 2654435761 + salt * 40503) % 2039 - 1019) / 1024.0f;
    }
}

static double at(const float *values, bool transposed, int64_t row, int64_t column, const int64_t size[2]) {
    return (double)(transposed ? values[column * size[0] + row] : values[row * size[1] + column]);
}

/* The worst difference of c from alpha * a * b + beta * before, in units of its bound. */
static double worst(const dlrm_gemm_call *g, const float *a, const float *b, const float *before, const float *c) {
    const int64_t of_a[2] = {g->rows, g->depth};
    const int64_t of_b[2] = {g->depth, g->columns};
    double most = 0.0;
    for (int64_t i = 0; i < g->rows; i++) {
        for (int64_t j = 0; j < g->columns; j++) {
            double sum = (double)g->beta * (double)before[i * g->columns + j];
            double size = fabs(sum);
            for (int64_t k = 0; k < g->depth; k++) {
                const double product = (double)g->alpha * at(a, g->transpose_a, i, k, of_a) * at(b, g->transpose_b, k, j, of_b);
                sum += product;
                size += fabs(product);
            }
            const double off = fabs((double)c[i * g->columns + j] - sum) / (size * (double)(g->depth + 2) * 0x1p-23 + 1e-30);
            most = off > most || isnan(off) ? off : most;
            if (isnan(most)) {
                return INFINITY;
            }
        }
    }
    return most;
}

static qemb_status check_one(dlrm_device *d, const char *set, dlrm_gemm_call g) {
    qemb_status st = QEMB_OK;
    const int64_t count[3] = {g.rows * g.depth, g.depth * g.columns, g.rows * g.columns};
    cl_mem *memory[3] = {&g.a, &g.b, &g.c};
    float *values[4] = {NULL, NULL, NULL, NULL};
    for (int i = 0; i < 3; i++) {
        DLRM_NEW(values[i], count[i]);
        fill(values[i], count[i], i + 1);
        DLRM_TRY(dlrm_memory_create(d, count[i], memory[i]));
        DLRM_TRY(dlrm_memory_write(d, *memory[i], count[i], values[i]));
    }
    DLRM_NEW(values[3], count[2]);
    DLRM_TRY(dlrm_gemm(d, &g));
    DLRM_TRY(dlrm_memory_read(d, g.c, count[2], values[3]));
    const double off = worst(&g, values[0], values[1], values[2], values[3]);
    DLRM_REQUIRE(off <= 1.0, QEMB_ERR_DEVICE,
                 "dlrm: CLBlast with the parameters \"%s\" is wrong for %lld x %lld x %lld: %.3g times the bound of rounding", set,
                 (long long)g.rows, (long long)g.columns, (long long)g.depth, off);
done:
    for (int i = 0; i < 4; i++) {
        free(values[i]);
    }
    for (int i = 0; i < 3; i++) {
        dlrm_memory_destroy(memory[i]);
    }
    return st;
}

qemb_status dlrm_gemm_try(dlrm_device *d, const dlrm_gemm_set *set) {
    /* Forward, gradient of the input, gradient of the weights; smaller and larger than a tile; a column; a weight update. */
    static const dlrm_gemm_call calls[] = {
        {.rows = 37, .columns = 29, .depth = 53, .transpose_b = true, .alpha = 1.0f},
        {.rows = 131, .columns = 97, .depth = 67, .alpha = 1.0f},
        {.rows = 61, .columns = 103, .depth = 128, .transpose_a = true, .alpha = -0.125f, .beta = 1.0f},
        {.rows = 128, .columns = 1, .depth = 256, .transpose_b = true, .alpha = 1.0f},
        {.rows = 64, .columns = 64, .depth = 32, .transpose_a = true, .alpha = 1.0f},
    };
    qemb_status st = QEMB_OK;
    for (int k = 0; k < DLRM_GEMM_KERNELS && set->kernels[k].count > 0; k++) {
        const dlrm_gemm_kernel *p = &set->kernels[k];
        const char *names[DLRM_GEMM_PARAMETERS];
        for (int i = 0; i < p->count; i++) {
            names[i] = p->name[i];
        }
        CLBlastStatusCode status =
            CLBlastOverrideParameters(d->device, p->kernel, CLBlastPrecisionSingle, (size_t)p->count, names, p->value);
        DLRM_REQUIRE(status == CLBlastSuccess, QEMB_ERR_DEVICE, "dlrm: CLBlast refuses the parameters \"%s\" of %s: status %d", set->name,
                     p->kernel, (int)status);
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        DLRM_TRY(check_one(d, set->name, calls[i]));
    }
done:
    return st;
}

const char *dlrm_gemm_options(const char *platform_version) {
    return strstr(platform_version, "PoCL 3.") ? NULL : "-DUSE_VECTOR_MAD=1 "; /* the blank: CLBlast's own options follow at once */
}

static qemb_status set_options(const dlrm_device *d) {
    qemb_status st = QEMB_OK;
    cl_platform_id platform = NULL;
    char version[1024] = "";
    DLRM_CL(clGetDeviceInfo(d->device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL), "clGetDeviceInfo");
    DLRM_CL(clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof version, version, NULL), "clGetPlatformInfo");
    const char *options = dlrm_gemm_options(version);
    if (options) {
        (void)setenv("CLBLAST_BUILD_OPTIONS", options, 0); /* without it the products are slow and right */
    }
done:
    return st;
}

qemb_status dlrm_gemm_choose(dlrm_device *d) {
    qemb_status st = QEMB_OK;
    cl_device_type type = 0;
    DLRM_CL(clGetDeviceInfo(d->device, CL_DEVICE_TYPE, sizeof type, &type, NULL), "clGetDeviceInfo");
    const bool cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    if (cpu) {
        DLRM_TRY(set_options(d));
    }
    const dlrm_gemm_set *sets = cpu ? cpu_sets : gpu_sets;
    const int count = cpu ? (int)(sizeof cpu_sets / sizeof *cpu_sets) : (int)(sizeof gpu_sets / sizeof *gpu_sets);
    st = QEMB_ERR_DEVICE;
    for (int i = 0; i < count && st != QEMB_OK; i++) {
        st = dlrm_gemm_try(d, &sets[i]);
    }
done:
    return st;
}
