/* test_fault_memory.c - every allocation of a walk over the API fails, once and for good, on both engines.
 *
 * The linker sends the library's calls of calloc, posix_memalign, mmap and free here (--wrap); those of the driver stay its own. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "scoreboard.h"
#include "support_files.h"
#include "support_layer.h"
#include "support_torture.h"

static _Thread_local torture_counter counter;

static int64_t blocks; /* taken from the heap and not given back, by any thread */
static int64_t blocks_before;
static fault_state *layer;

static support_stacks ways;
static bool recording;

static bool fails(void) {
    if (recording) {
        support_stack_note(&ways);
    }
    return torture_counts(&counter);
}

static void count(int64_t by) {
    (void)__atomic_fetch_add(&blocks, by, __ATOMIC_RELAXED);
}

void *__real_calloc(size_t items, size_t size);
int __real_posix_memalign(void **block, size_t alignment, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void __real_free(void *block);
void *__wrap_calloc(size_t items, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void __wrap_free(void *block);

void *__wrap_calloc(size_t items, size_t size) {
    void *block = fails() ? NULL : __real_calloc(items, size);
    count(block != NULL);
    return block;
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes) {
    const int error = fails() ? ENOMEM : __real_posix_memalign(block, alignment, bytes);
    count(error == 0);
    return error;
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    const bool memory = (flags & MAP_ANONYMOUS) != 0; /* mapping a file is not memory: it fails in the tests of files */
    if (memory && fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, bytes, protection, flags, fd, offset);
}

void __wrap_free(void *block) {
    count(block ? -1 : 0);
    __real_free(block);
}

static void arm(int64_t at, int code, torture_mode mode) {
    (void)code;
    torture_arm(&counter, at, mode);
}

static bool disarm(void) {
    return torture_disarm(&counter);
}

static int codes(void) {
    return 1;
}

static bool right(qemb_status st, torture_mode mode) {
    (void)mode;
    return st == QEMB_ERR_NOMEM;
}

static const char *site(void) {
    static char text[60];
    (void)snprintf(text, sizeof text, "allocation %lld%s", (long long)counter.at, counter.for_good ? " and all after it" : "");
    return text;
}

static const char *leaks(void) {
    static char text[200];
    const char *objects = layer ? support_layer_leaks(layer) : NULL;
    int64_t more = __atomic_load_n(&blocks, __ATOMIC_RELAXED) - blocks_before;
    for (int tries = 0; tries < 2000 && more > 0 && blocks_before != 0; tries++) { /* a driver's thread gives buffers back a little later */
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        more = __atomic_load_n(&blocks, __ATOMIC_RELAXED) - blocks_before;
    }
    const bool first = blocks_before == 0; /* of all: the torture's own blocks are there to stay */
    blocks_before += more;
    (void)snprintf(text, sizeof text, "%lld blocks %s", (long long)more, objects ? objects : "");
    return (more && !first) || objects ? text : NULL;
}

static const support_stacks *record(bool on, torture_mode mode) {
    static const support_stacks none;
    if (on) {
        ways.count = 0;
    }
    recording = on;
    return mode == TORTURE_ASYNCHRONOUS ? &none : &ways;
}

static const torture_faults memory_faults = {arm, disarm, codes, right, site, leaks, record, false};

static void run(const char *device, const char *label) {
    const char *nightly = getenv("QEMB_NIGHTLY");
    const bool full = nightly && strcmp(nightly, "1") == 0;
    const bool each_way = !full && strcmp(device, "reference") != 0;
    torture_report report = {0};
    const walk start = {.device = device, .folder = support_path("."), .opencl = strcmp(device, "reference") != 0};
    torture(&start, &memory_faults, &(torture_bounds){!each_way || torture_all_ways() ? 1 : 4, 1, true, each_way}, &report);
    (void)printf("%s: %lld failed allocations, %lld refused, %lld absorbed, %lld contexts lost, %lld walks\n", label,
                 (long long)report.injected, (long long)report.refused, (long long)report.absorbed, (long long)report.lost,
                 (long long)report.walks);
    scoreboard("R6", report.harmed == 0, label, "%lld failed allocations survived, %lld harmed",
               (long long)(report.injected - report.harmed), (long long)report.harmed);
    scoreboard("R28", report.harmed == 0, label, "right after %lld failed allocations", (long long)report.injected);
    cr_assert_eq(report.harmed, 0, "%lld times harmed:%s", (long long)report.harmed, report.text);
    cr_assert_gt(report.injected, 100);
}

TestSuite(fault_memory, .init = support_folder_create, .fini = support_folder_remove);

Test(fault_memory, reference, .timeout = 1200,
     .description = "fault_memory: any allocation fails on the reference engine: NOMEM, unchanged, no leak") {
    run("reference", "reference engine");
}

Test(fault_memory, opencl, .timeout = 1200,
     .description = "fault_memory: any allocation of the library fails on OpenCL: NOMEM, unchanged, no leak") {
    layer = support_layer_open();
    run("opencl", "OpenCL engine");
}
