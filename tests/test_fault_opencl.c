/* test_fault_opencl.c - every OpenCL call of a walk over the API fails: with every code of its page, once and for good, at once and on the
 * device. The layer of fault_layer.h stands between library and driver. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scoreboard.h"
#include "support_files.h"
#include "support_layer.h"
#include "support_torture.h"

static fault_state *layer;

static void open_layer(void) {
    support_folder_create();
    layer = support_layer_open();
}

TestSuite(fault_opencl, .init = open_layer, .fini = support_folder_remove);

static void arm(int64_t at, int code, torture_mode mode) {
    layer->calls = layer->fired = 0;
    layer->at = at;
    layer->code = code;
    layer->persistent = mode == TORTURE_FOR_GOOD;
    layer->asynchronous = mode == TORTURE_ASYNCHRONOUS;
    layer->late = layer->asynchronous && code % 2 == 0; /* drivers may tell how a command ended a little after its end */
    layer->armed = true;
}

static bool disarm(void) {
    layer->armed = false;
    layer->asynchronous = layer->late = false;
    return layer->fired > 0;
}

static int codes(void) {
    return support_entries[layer->last].codes;
}

static const char *site(void) {
    static char text[100];
    (void)snprintf(text, sizeof text, "%s call %lld gives %d", support_entries[layer->last].name, (long long)layer->at,
                   (int)layer->last_code);
    return text;
}

/* The status that a code becomes. For good, the first failure decides, and the layer only knows the last. */
static bool right(qemb_status st, torture_mode mode) {
    const cl_int code = layer->last_code;
    const bool memory = code == CL_OUT_OF_HOST_MEMORY || code == CL_MEM_OBJECT_ALLOCATION_FAILURE;
    if (mode == TORTURE_FOR_GOOD) {
        return st == QEMB_ERR_NOMEM || st == QEMB_ERR_DEVICE || st == QEMB_ERR_BUILD;
    }
    if (mode == TORTURE_ASYNCHRONOUS || layer->last == FAULT_clGetPlatformIDs || layer->last == FAULT_clGetDeviceIDs) {
        return st == QEMB_ERR_DEVICE;
    }
    if (layer->last == FAULT_clBuildProgram && !memory && code != CL_OUT_OF_RESOURCES) {
        return st == QEMB_ERR_BUILD;
    }
    if (layer->last == FAULT_clCreateKernel && code == CL_INVALID_KERNEL_NAME) {
        return st == QEMB_ERR_BUILD;
    }
    return st == (memory ? QEMB_ERR_NOMEM : QEMB_ERR_DEVICE);
}

static const char *leaks(void) {
    return support_layer_leaks(layer);
}

static const support_stacks *record(bool on, torture_mode mode) {
    if (on) {
        layer->calls_from.count = layer->commands_from.count = 0;
    }
    layer->recording = on;
    return mode == TORTURE_ASYNCHRONOUS ? &layer->commands_from : &layer->calls_from;
}

static const torture_faults opencl_faults = {arm, disarm, codes, right, site, leaks, record, true};

static void run(const char *label, const char *family) {
    const char *nightly = getenv("QEMB_NIGHTLY");
    const bool full = nightly && strcmp(nightly, "1") == 0;
    const bool all_ways = torture_all_ways();
    const torture_bounds bounds = full ? (torture_bounds){1, 1, true, false}
                                       : (torture_bounds){all_ways && !family ? 1
                                                          : family            ? 16
                                                                              : 4,
                                                          1, false, true};
    const walk start = {.device = "opencl", .folder = support_path("."), .opencl = true};
    torture_report report = {0};
    if (family) { /* and with programs from the library's own cache */
        cr_assert(setenv("QEMB_FAMILY", family, 1) == 0 && setenv("QEMB_CACHE", support_path("binaries"), 1) == 0);
    }
    torture(&start, &opencl_faults, &bounds, &report);
    (void)printf("%s: %lld faults, %lld refused, %lld absorbed, %lld contexts lost, %lld walks\n", label, (long long)report.injected,
                 (long long)report.refused, (long long)report.absorbed, (long long)report.lost, (long long)report.walks);
    scoreboard("R5", report.harmed == 0, label, "%lld faults of OpenCL calls survived, %lld harmed",
               (long long)(report.injected - report.harmed), (long long)report.harmed);
    scoreboard("R28", report.harmed == 0, label, "right after %lld faults of OpenCL calls", (long long)report.injected);
    cr_assert_eq(report.harmed, 0, "%lld times harmed:%s", (long long)report.harmed, report.text);
    cr_assert_gt(report.injected, full ? 10000 : family ? 50 : all_ways ? 1000 : 200);
}

Test(fault_opencl, gpu_family, .timeout = 3600, .description = "fault_opencl: the same in the GPU family") {
    run("OpenCL, GPU family", "gpu");
}

Test(fault_opencl, cpu_family, .timeout = 3600,
     .description = "fault_opencl: any call fails, any code, once or for good: refused, unchanged or lost, no leak") {
    run("OpenCL, CPU family", NULL);
}

/* What a small training step gives on a context; NaN when a call was refused, and then the sentence says why. */
static float probe(qemb_context *ctx) {
    static const int64_t ids[5] = {4, 0, 4, 2, 6}, offsets[2] = {0, 3};
    float out[2 * 11] = {0}, sum = NAN;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    qemb_optimizer *sgd = NULL;
    const qemb_embedding_bag_desc d = {
        .num_embeddings = 7, .embedding_dim = 11, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit(), .seed = 2};
    qemb_status st = qemb_embedding_bag_create(ctx, &d, &bag);
    st = st == QEMB_OK ? qemb_batch_create(ctx, &batch) : st;
    st = st == QEMB_OK ? qemb_buffer_create(ctx, sizeof out, &buffer) : st;
    st = st == QEMB_OK ? qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.5}, &sgd) : st;
    const qemb_input in = {.indices = ids, .num_indices = 5, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 2};
    st = st == QEMB_OK ? qemb_batch_set(batch, bag, &in) : st;
    for (int k = 0; k < 2 && st == QEMB_OK; k++) {
        st = qemb_embedding_bag_forward(bag, batch, buffer);
        st = st == QEMB_OK ? qemb_embedding_bag_step(bag, batch, buffer, sgd) : st;
    }
    st = st == QEMB_OK ? qemb_buffer_read(buffer, 0, sizeof out, out) : st;
    if (st == QEMB_OK) {
        sum = 0.0f;
        for (int k = 0; k < 22; k++) {
            sum += out[k] * (float)(k + 1);
        }
    }
    qemb_optimizer_destroy(sgd);
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    return sum;
}

Test(fault_opencl, odd_devices, .timeout = 600,
     .description = "fault_opencl: a device that tells odd things of itself, the same bits or a refusal") {
    static const struct {
        cl_uint question;
        uint64_t answers[5];
    } odd[] = {
        {CL_DEVICE_MAX_WORK_GROUP_SIZE, {0, 1, 16, 64, UINT64_MAX}},
        {CL_DEVICE_MAX_COMPUTE_UNITS, {0, 1, 7, 100000, UINT32_MAX}},
        {CL_DEVICE_MAX_MEM_ALLOC_SIZE, {0, 1, 1000, 1u << 20, UINT64_MAX}},
        {CL_DEVICE_GLOBAL_MEM_SIZE, {0, 1, 1u << 20, UINT64_MAX, INT64_MAX}},
        {CL_DEVICE_SINGLE_FP_CONFIG, {0, CL_FP_DENORM, CL_FP_FMA, UINT64_MAX, CL_FP_INF_NAN}},
        {CL_DEVICE_TYPE, {0, CL_DEVICE_TYPE_GPU, CL_DEVICE_TYPE_ACCELERATOR, CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU, UINT64_MAX}},
    };
    qemb_context *ctx = NULL;
    cr_assert_eq(qemb_context_create("reference", &ctx), QEMB_OK);
    const float want = probe(ctx);
    qemb_context_destroy(ctx);
    cr_assert(want == want);
    int right_ones = 0, refused = 0;
    const char *nightly = getenv("QEMB_NIGHTLY");
    const size_t questions = (nightly && strcmp(nightly, "1") == 0) || torture_all_ways()
                                 ? sizeof odd / sizeof *odd
                                 : 4; /* the last two are answered by other kernels */
    for (size_t q = 0; q < questions; q++) {
        for (int a = 0; a < 5; a++) {
            ctx = NULL;
            layer->fake_param = odd[q].question;
            layer->fake_value = odd[q].answers[a];
            const qemb_status st = qemb_context_create("opencl", &ctx);
            const float got = st == QEMB_OK ? probe(ctx) : NAN;
            layer->fake_param = 0;
            right_ones += got == want;
            refused += got != got;
            cr_expect(got == want || got != got, "question %#x answered by %#llx: %g, want %g", odd[q].question,
                      (unsigned long long)odd[q].answers[a], (double)got, (double)want);
            cr_expect(got == got || strlen(qemb_last_error()) > 10, "a refusal has a sentence");
            qemb_context_destroy(ctx);
            cr_expect_null(leaks(), "objects are left");
        }
    }
    (void)printf("odd devices: %d right, %d refused\n", right_ones, refused);
    cr_assert(right_ones >= 10 && refused >= 2);
}

Test(fault_opencl, build_logs, .timeout = 300,
     .description = "fault_opencl: kernels do not build and the log is empty, huge or without an end: BUILD, and a sentence") {
    for (int log = FAULT_LOG_UNENDED; log <= FAULT_LOG_HUGE; log++) {
        for (int k = 1; k <= 3; k += 2) { /* the first build of a context, and the first of a module */
            qemb_context *ctx = NULL;
            layer->log = (fault_log)log;
            arm(k, 2, TORTURE_FOR_GOOD); /* CL_BUILD_PROGRAM_FAILURE */
            layer->only = FAULT_clBuildProgram + 1;
            qemb_status st = qemb_context_create("opencl", &ctx);
            if (st == QEMB_OK) {
                const float got = probe(ctx);
                cr_expect(got != got);
                cr_expect_not_null(strstr(qemb_context_build_log(ctx), "with -"), "the log begins with the kernel and its options");
            } else {
                cr_expect_eq(st, QEMB_ERR_BUILD, "%s", qemb_status_name(st));
            }
            cr_expect(disarm());
            layer->only = 0;
            cr_expect_not_null(strstr(qemb_last_error(), "does not build"), "%s", qemb_last_error());
            if (ctx) {
                const float got = probe(ctx);
                cr_expect(got == got, "and builds later: %s", qemb_last_error());
            }
            qemb_context_destroy(ctx);
            cr_expect_null(leaks(), "objects are left");
        }
    }
}

Test(fault_opencl, builds_without_memory, .timeout = 300,
     .description =
         "fault_opencl: a build that fails for want of memory or of the device, twice: NOMEM or DEVICE, and not a kernel's fault") {
    static const struct {
        int code; /* of FAULT_ENTRIES: CL_OUT_OF_RESOURCES, CL_OUT_OF_HOST_MEMORY */
        qemb_status want;
    } cases[] = {{0, QEMB_ERR_DEVICE}, {1, QEMB_ERR_NOMEM}};
    for (int k = 0; k < 2; k++) {
        qemb_context *ctx = NULL;
        arm(1, cases[k].code, TORTURE_FOR_GOOD);
        layer->only = FAULT_clBuildProgram + 1;
        const qemb_status st = qemb_context_create("opencl", &ctx);
        cr_expect(disarm());
        layer->only = 0;
        cr_expect_eq(st, cases[k].want, "%s: %s", qemb_status_name(st), qemb_last_error());
        cr_expect_null(ctx);
        cr_expect_null(leaks(), "objects are left");
    }
}

Test(fault_opencl, borrowed_rows, .timeout = 300,
     .description =
         "fault_opencl: packed rows used where they lie, and the device refuses the buffer over them: refused, released only when taken") {
    enum { ROWS = 11, DIM = 7, ROW = DIM + 8 };
    static _Alignas(4096) unsigned char memory[4096 + 256];
    qemb_context *ctx = NULL;
    qemb_packed *packed = NULL;
    const float scale = 0.5f, bias = 1.0f;
    for (int r = 0; r < ROWS; r++) {
        memcpy(memory + r * ROW + DIM, &scale, 4);
        memcpy(memory + r * ROW + DIM + 4, &bias, 4);
    }
    const qemb_packed_table table = {.num_embeddings = ROWS,
                                     .embedding_dim = DIM,
                                     .format = {.layout = QEMB_LAYOUT_TORCH_ROWWISE, .bits = 8},
                                     .rows = memory,
                                     .rows_bytes = ROWS * ROW};
    const qemb_packed_import_desc desc = {.tables = &table, .num_tables = 1, .memory = memory, .memory_bytes = 4096};
    cr_assert_eq(qemb_context_create("opencl", &ctx), QEMB_OK, "%s", qemb_last_error());
    for (int at = 1;; at++) {
        arm(at, 0, TORTURE_ONCE);
        layer->only = FAULT_clCreateBuffer + 1;
        const qemb_status st = qemb_packed_import(ctx, &desc, &packed);
        const bool fired = disarm();
        layer->only = 0;
        if (!fired) {
            cr_assert_eq(st, QEMB_OK, "%s", qemb_last_error());
            cr_assert_gt(at, 1);
            break;
        }
        cr_expect_neq(st, QEMB_OK);
        cr_expect_null(packed);
    }
    qemb_packed_destroy(packed);
    qemb_context_destroy(ctx);
    cr_expect_null(leaks(), "objects are left");
}

Test(fault_opencl, kernels_from_a_folder, .timeout = 300,
     .description = "fault_opencl: QEMB_KERNEL_PATH names kernels: a folder without them is IO by name, the tree's own give the same bits; "
                    "builds are logged") {
    qemb_context *ctx = NULL;
    cr_assert_eq(qemb_context_create("opencl", &ctx), QEMB_OK, "%s", qemb_last_error());
    const float want = probe(ctx);
    qemb_context_destroy(ctx);
    ctx = NULL;
    cr_assert_eq(setenv("QEMB_KERNEL_PATH", support_path("nothing_here"), 1), 0);
    const qemb_status st = qemb_context_create("opencl", &ctx);
    cr_expect_eq(st, QEMB_ERR_IO, "%s: %s", qemb_status_name(st), qemb_last_error());
    cr_expect_not_null(strstr(qemb_last_error(), "nothing_here"), "%s", qemb_last_error());
    cr_expect_null(ctx);
    cr_assert_eq(setenv("QEMB_KERNEL_PATH", "kernels_cl", 1), 0);
    cr_assert_eq(setenv("QEMB_LOG", "build", 1), 0);
    cr_assert_eq(qemb_context_create("opencl", &ctx), QEMB_OK, "%s", qemb_last_error());
    const float got = probe(ctx);
    cr_expect(got == want, "%g, want %g: %s", (double)got, (double)want, qemb_last_error());
    qemb_context_destroy(ctx);
    cr_expect_null(leaks(), "objects are left");
}
