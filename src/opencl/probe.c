/* probe.c - runs probe.cl once a context and compares with the host, which rounds correctly. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "opencl/opencl.h"

enum { CASES = 2048 };

/* Hard operands: random bits, random mantissas of like exponents, subnormals; positive, so that sqrt has an answer. */
static void fill_cases(float *in) {
    for (int i = 0; i < CASES; i++) {
        for (int k = 0; k < 3; k++) {
            q_u32 bits = (q_u32)(qemb__random(7, (uint64_t)(3 * i + k)) >> 33);
            if (i % 4 == 1) {
                bits = (bits & 0x00ffffffu) | 0x3f000000u;
            } else if (i % 4 == 2 && k == 0) {
                bits &= 0x007fffffu;
            }
            if ((bits & 0x7f800000u) == 0x7f800000u) {
                bits &= 0x3fffffffu;
            }
            memcpy(&in[3 * i + k], &bits, sizeof bits);
        }
    }
}

static bool same(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void judge(qemb_context *ctx, const float *in, const float *out) {
    bool division = true;
    bool exact_fma = true;
    bool denormals = true;
    for (int i = 0; i < CASES; i++) {
        const float *x = &in[3 * i];
        volatile float quotient = x[0] / x[1];
        volatile float root = sqrtf(x[0]);
        volatile float fused = fmaf(x[0], x[1], x[2]);
        bool subnormal = fpclassify(x[0]) == FP_SUBNORMAL || fpclassify(quotient) == FP_SUBNORMAL || fpclassify(fused) == FP_SUBNORMAL;
        bool good = same(out[3 * i], quotient) && same(out[3 * i + 1], root);
        division = division && good;
        exact_fma = exact_fma && (subnormal || same(out[3 * i + 2], fused));
        denormals = denormals && (!subnormal || same(out[3 * i + 2], fused));
    }
    ctx->report.exact_division = division;
    ctx->report.exact_fma = exact_fma;
    ctx->report.denormals = denormals;
}

/* Options that every build on this device gets. */
static void base_options(qemb__cl *cl, bool rounding) {
    int n =
        snprintf(cl->base_options, sizeof cl->base_options, "-cl-std=CL1.2%s", rounding ? " -cl-fp32-correctly-rounded-divide-sqrt" : "");
    (void)snprintf(cl->base_options + n, sizeof cl->base_options - (size_t)n, " -DPREFETCH=%d%s", cl->is_pocl ? 1 : 0,
                   cl->exact_division ? "" : " -DQ_SOFT_DIVISION=1");
}

/* Whether the lane exchange `reduce` builds and gives the right ranges: 8 lanes together, half of the groups gone. */
static bool lanes_work(qemb_context *ctx, int reduce) {
    enum { GROUP = 64, LANES = 8 };
    static const char *const pieces[] = {"lanes_gpu.cl", "probe_lanes.cl"};
    qemb_buffer *in = NULL;
    qemb_buffer *out = NULL;
    cl_kernel kernel = NULL;
    cl_int values[GROUP];
    cl_int seen[2 * GROUP];
    char options[96];
    bool good = false;
    (void)snprintf(options, sizeof options, "-DQV=float -DLANES=%d -DGROUP=%d -DREDUCE=%d", LANES, GROUP, reduce);
    for (int i = 0; i < GROUP; i++) {
        values[i] = (cl_int)(qemb__random(9, (uint64_t)i) >> 32);
    }
    if (qemb__cl_kernel_pieces(ctx, pieces, 2, "probe_lanes", options, &kernel) == QEMB_OK &&
        qemb__buffer_create(ctx, sizeof values, &in) == QEMB_OK && qemb__buffer_create(ctx, sizeof seen, &out) == QEMB_OK &&
        qemb__buffer_write(in, 0, sizeof values, values, true) == QEMB_OK) {
        qemb__cl_args args = {0};
        qemb__cl_arg_buffer(&args, in);
        qemb__cl_arg_buffer(&args, out);
        good =
            qemb__cl_launch(ctx, kernel, &args, GROUP, GROUP) == QEMB_OK && qemb__buffer_read(out, 0, sizeof seen, seen, true) == QEMB_OK;
    }
    for (int i = 0; good && i < GROUP; i++) {
        cl_int low = values[i];
        cl_int high = values[i];
        for (int k = 0; k < LANES; k++) {
            cl_int other = values[i / LANES * LANES + k];
            low = other < low ? other : low;
            high = other > high ? other : high;
        }
        bool gone = i / LANES % 2 == 0;
        good = seen[i] == (gone ? 0 : low) && seen[GROUP + i] == (gone ? 0 : high);
    }
    qemb__buffer_destroy(in);
    qemb__buffer_destroy(out);
    return good;
}

/* The fastest lane exchange that works; $QEMB_SHUFFLE lowers it, for tests. */
static void probe_lanes(qemb_context *ctx) {
    qemb__cl *cl = ctx->engine;
    const char *limit = getenv("QEMB_SHUFFLE");
    int best = cl->is_nvidia && !cl->is_cpu ? 2 : 0;
    if (limit && strtol(limit, NULL, 10) < best) {
        best = strtol(limit, NULL, 10) < 0 ? 0 : (int)strtol(limit, NULL, 10);
    }
    while (best > 0 && !lanes_work(ctx, best)) {
        best--;
    }
    cl->shuffle = best;
    ctx->report.shuffle = best;
}

qemb_status qemb__cl_probe(qemb_context *ctx) {
    qemb__cl *cl = ctx->engine;
    qemb_status st = QEMB_OK;
    cl_device_fp_config config = 0;
    qemb_buffer *in = NULL;
    qemb_buffer *out = NULL;
    qemb_buffer *sizes = NULL;
    cl_kernel kernel = NULL;
    float cases[3 * CASES];
    float results[3 * CASES];
    cl_int count = CASES;
    cl_int seen[4] = {0};
    CL_TRY(clGetDeviceInfo(cl->device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config, &config, NULL), "clGetDeviceInfo");
    cl->exact_division = true;
    base_options(cl, (config & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0);
    TRY(qemb__cl_kernel_get(ctx, "probe.cl", "probe", "-DQV=float", &kernel));
    TRY(qemb__buffer_create(ctx, sizeof cases, &in));
    TRY(qemb__buffer_create(ctx, sizeof results, &out));
    TRY(qemb__buffer_create(ctx, sizeof seen, &sizes));
    fill_cases(cases);
    TRY(qemb__buffer_write(in, 0, sizeof cases, cases, true));
    qemb__cl_args args = {0};
    qemb__cl_arg_buffer(&args, in);
    qemb__cl_arg_buffer(&args, out);
    qemb__cl_arg_buffer(&args, sizes);
    qemb__cl_arg(&args, sizeof count, &count);
    TRY(qemb__cl_launch(ctx, kernel, &args, CASES, 16));
    TRY(qemb__buffer_read(out, 0, sizeof results, results, true));
    TRY(qemb__buffer_read(sizes, 0, sizeof seen, seen, true));
    REQUIRE(seen[0] == sizeof(q_table) && seen[1] == sizeof(q_feature) && seen[2] == sizeof(q_state) && seen[3] == sizeof(q_bag_forward),
            QEMB_ERR_DEVICE, "context_create: %s lays structs out in another way than the host", cl->name);
    judge(ctx, cases, results);
    cl->exact_division = ctx->report.exact_division;
    base_options(cl, (config & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0);
    probe_lanes(ctx);
done:
    qemb__buffer_destroy(in);
    qemb__buffer_destroy(out);
    qemb__buffer_destroy(sizes);
    return st;
}
