/* test_program_faults.c - the qemb program when OpenCL calls fail: it ends by itself, with a sentence or with the right answer.
 *
 * Each command runs once unharmed, which tells how often it calls each entry point; then once for each fault, the layer of fault_layer.h
 * told by the environment. Of some 1,400 faults, each a second of a processor, the default run takes one in 61, the scoreboard and the
 * coverage lane one in 7, the nightly run all. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scoreboard.h"
#include "support_files.h"
#include "support_layer.h"
#include "support_program.h"
#include "support_torture.h"

TestSuite(program_faults, .init = support_folder_create, .fini = support_folder_remove, .timeout = 3600);

enum { OUTPUT = 1 << 16 };

typedef struct fault {
    int entry;            /* -1: of all */
    long long at;         /* the call that fails, from 1 */
    int code, persistent; /* number of the code in the entry's list; every call from that one on */
} fault;

typedef struct run {
    int code; /* 124: had to be ended */
    char output[OUTPUT];
    long long fired, reached[FAULT_ENTRY_COUNT];
    char *file; /* what the command wrote into `out`; NULL: it is not there */
    size_t file_bytes;
} run;

static void free_run(run *r) {
    free(r->file);
    r->file = NULL;
}

static void run_program(const char *arguments, const fault *f, run *r) {
    char command[4096];
    (void)remove(support_path("out"));
    (void)snprintf(command, sizeof command,
                   "cd '%s' && QEMB_FAULT='%d %lld %d %d' QEMB_FAULT_REPORT=report "
                   "OPENCL_LAYERS=" QEMB_FAULT_LAYER " timeout -k 5 300 QEMB %s 2>&1",
                   support_path(""), f->entry + 1, f->at, f->code, f->persistent, arguments);
    r->code = support_shell(r->output, sizeof r->output, command);
    FILE *report = fopen(support_path("report"), "r");
    cr_assert_not_null(report, "qemb %s, QEMB_FAULT='%d %lld %d %d' ended by a signal: %s", arguments, f->entry + 1, f->at, f->code,
                       f->persistent, r->output);
    cr_assert_eq(fscanf(report, "%lld", &r->fired), 1);
    for (int e = 0; e < FAULT_ENTRY_COUNT; e++) {
        cr_assert_eq(fscanf(report, "%lld", &r->reached[e]), 1);
    }
    (void)fclose(report);
    (void)remove(support_path("report"));
    r->file = access(support_path("out"), R_OK) == 0 ? support_read(support_path("out"), &r->file_bytes) : NULL;
}

/* What is promised besides an end: what is printed; that a file is whole before the end, so that what fails behind it leaves it. */
enum { SAYS = 1, SAVES_EARLY = 2 };

/* One faulted run against the unharmed one. */
static bool survived(const char *arguments, const fault *f, const run *good, const run *r, int promises) {
    char what[512];
    (void)snprintf(what, sizeof what, "qemb %s, QEMB_FAULT='%d %lld %d %d' (%s)", arguments, f->entry + 1, f->at, f->code, f->persistent,
                   support_entries[f->entry].name);
    const bool same = r->file && r->file_bytes == good->file_bytes && memcmp(r->file, good->file, good->file_bytes) == 0;
    const bool ended = r->code == 0 || (r->code == 1 && strstr(r->output, "qemb"));
    const bool right = r->code != 0 || !(promises & SAYS) || strcmp(r->output, good->output) == 0;
    const bool whole = !good->file || (r->code == 0 ? same : !r->file || (same && (promises & SAVES_EARLY)));
    cr_expect(ended, "%s: exit code %d, '%s'", what, r->code, r->output);
    cr_expect(right, "%s: another answer: %s", what, r->output);
    cr_expect(whole, "%s: exit code %d and %s file", what, r->code, !r->file ? "no" : same ? "the whole" : "another");
    return ended && right && whole;
}

static void every_fault(const char *arguments, int promises) {
    static run good, r;
    const int stride = getenv("QEMB_NIGHTLY") ? 1 : torture_all_ways() ? 7 : 61;
    int number = 0, met = 0, harmed = 0;
    run_program(arguments, &(fault){-1, 1LL << 40, 0, 0}, &good);
    cr_assert_eq(good.code, 0, "%s: %s", arguments, good.output);
    for (int e = 0; e < FAULT_ENTRY_COUNT; e++) {
        const long long last = good.reached[e];
        const long long places[] = {1, 2, (last + 1) / 2, last};
        for (int k = 0; k < 8 && last > 0; k++) { /* once, and from then on */
            const fault f = {e, places[k / 2], number, k % 2};
            const bool again = f.at > last || (k / 2 > 0 && f.at <= places[k / 2 - 1]);
            if (again || number++ % stride != 7 % stride) {
                continue;
            }
            run_program(arguments, &f, &r);
            harmed += !survived(arguments, &f, &good, &r, promises);
            met += r.fired > 0;
            free_run(&r);
        }
    }
    free_run(&good);
    cr_expect_gt(met, 0, "%s: no fault was met", arguments);
    scoreboard("R5", harmed == 0, arguments, "%d faulted runs of the program, %d harmed", met, harmed);
}

#define MODEL "--tables 3 --dim 4 --bottom 5 --top 7 --batch 64 --synthetic 500 --test-rows 90 --scale 0.0001 "

Test(program_faults, lookup_gives_the_right_rows_or_a_sentence) {
    (void)support_state_dict("in", 2, NULL);
    run r;
    run_program("convert in --bits 8 --mode sum -o packed", &(fault){-1, 1LL << 40, 0, 0}, &r);
    cr_assert_eq(r.code, 0, "%s", r.output);
    every_fault("lookup packed --device opencl --table emb_l.1 --indices 7,30,2 --offsets 0,2", SAYS);
}

Test(program_faults, convert_writes_the_right_file_or_none) {
    (void)support_state_dict("in", 2, NULL);
    every_fault("convert in --bits 4 --device opencl --mode sum -o out", 0);
}

Test(program_faults, bench_ends_by_itself) {
    every_fault("bench step --device opencl --rows 101 --dim 5 --batch 7 --bag 3 --runs 1", 0);
}

Test(program_faults, demo_ends_by_itself) {
    every_fault("demo --device opencl --scale 0.0001 --rows 130 --batch 64 --dim 5", 0);
}

Test(program_faults, devices_ends_by_itself) {
    every_fault("devices", 0);
}

Test(program_faults, train_ends_by_itself_and_saves_a_whole_model_or_none) {
    every_fault("train " MODEL "--bits 8 --device opencl --save out", SAVES_EARLY);
}
