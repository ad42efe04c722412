/* test_fault_opencl.c - every OpenCL call of a walk over the API fails: with every code of its page, once and for good, at once and on the
 * device. The layer of fault_layer.h stands between library and driver. */
#include <criterion/criterion.h>

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
    layer->armed = true;
}

static bool disarm(void) {
    layer->armed = false;
    layer->asynchronous = false;
    return layer->fired > 0;
}

#define ENTRY(name, ...) {#name, (int)(sizeof((const cl_int[]){__VA_ARGS__}) / sizeof(cl_int))},
static const struct {
    const char *name;
    int codes;
} entries[] = {FAULT_ENTRIES(ENTRY)};
#undef ENTRY

static int codes(void) {
    return entries[layer->last].codes;
}

static const char *site(void) {
    static char text[100];
    (void)snprintf(text, sizeof text, "%s call %lld gives %d", entries[layer->last].name, (long long)layer->at, (int)layer->last_code);
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

static const torture_faults opencl_faults = {arm, disarm, codes, right, site, leaks, true};

static void run(const char *label, const char *family) {
    const char *nightly = getenv("QEMB_NIGHTLY");
    const bool full = nightly && strcmp(nightly, "1") == 0;
    const torture_bounds bounds = full ? (torture_bounds){1, 1, true} : (torture_bounds){23, 1 + (family ? 5 : 0), false};
    const walk start = {.device = "opencl", .folder = support_path("."), .opencl = true};
    torture_report report = {0};
    if (family) {
        cr_assert_eq(setenv("QEMB_FAMILY", family, 1), 0);
    }
    torture(&start, &opencl_faults, &bounds, &report);
    (void)printf("%s: %lld faults, %lld refused, %lld absorbed, %lld contexts lost, %lld walks\n", label, (long long)report.injected,
                 (long long)report.refused, (long long)report.absorbed, (long long)report.lost, (long long)report.walks);
    scoreboard("R5", report.harmed == 0, label, "%lld faults of OpenCL calls survived, %lld harmed", (long long)(report.injected - report.harmed),
               (long long)report.harmed);
    scoreboard("R28", report.harmed == 0, label, "right after %lld faults of OpenCL calls", (long long)report.injected);
    cr_assert_eq(report.harmed, 0, "%lld times harmed:%s", (long long)report.harmed, report.text);
    cr_assert_gt(report.injected, full ? 10000 : 200);
}

Test(fault_opencl, cpu_family, .timeout = 3600, .description = "fault_opencl: any call fails, any code, once or for good: refused, unchanged or lost, no leak") {
    run("OpenCL, CPU family", NULL);
}
