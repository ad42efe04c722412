/* test_bad_input.c - every argument of the public functions with every bad value, on every engine (the tables are support_bad_*.c).
 *
 * Four assertions a call: the class of the status; a sentence with function, value seen and value wanted; nothing visible has changed; the
 * next good call gives what it gives on a walk that never saw a bad one. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scoreboard.h"
#include "support_bad.h"
#include "support_files.h"

static void walk_all(walk *w) {
    for (int k = 0; k < walk_step_count; k++) {
        if (!walk_steps[k].opencl || w->opencl) {
            cr_assert_eq(walk_steps[k].run(w), QEMB_OK, "%s: %s", walk_steps[k].name, qemb_last_error());
        }
    }
}

static void refuse_all(const char *device, const char *family, const char *label) {
    const char *nightly = getenv("QEMB_NIGHTLY");
    const bool all = nightly && strcmp(nightly, "1") == 0;
    const bool reference = strcmp(device, "reference") == 0; /* fast enough to look all the time */
    const bad_bounds bounds = {all ? 1 : 5, all || reference ? 1 : 8};
    bad_report report = {0};
    walk w = {.device = device, .folder = support_path(".")};
    walk twin = {.device = "reference", .folder = support_path(".")};
    const struct {
        const bad_call *calls;
        int count;
    } tables[] = {{bad_contexts, bad_contexts_count}, {bad_modules, bad_modules_count}, {bad_lookups, bad_lookups_count},
                  {bad_training, bad_training_count}, {bad_packed, bad_packed_count},   {bad_files, bad_files_count}};
    if (family) {
        cr_assert_eq(setenv("QEMB_FAMILY", family, 1), 0);
    }
    walk_all(&w);
    walk_all(&twin);
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) {
        bad_run(&w, &twin, tables[k].calls, tables[k].count, &bounds, &report);
    }
    (void)printf("%s: %lld single bad values, %lld pairs, %lld wrong\n", label, (long long)report.calls, (long long)report.pairs,
                 (long long)report.wrong);
    scoreboard("R4", report.wrong == 0, label, "%lld bad calls refused, %lld wrongly", (long long)(report.calls + report.pairs),
               (long long)report.wrong);
    int classes = 0;
    for (int k = 1; k <= 16; k++) {
        classes += report.classes[k] > 0;
    }
    scoreboard("R24", report.wrong == 0, label, "%d status classes, %lld sentences with function, value seen and wanted", classes,
               (long long)report.calls);
    scoreboard("R28", report.wrong == 0, label, "right after %lld bad calls", (long long)(report.calls + report.pairs));
    cr_assert_eq(report.wrong, 0, "%lld wrong:%s", (long long)report.wrong, report.text);
    cr_assert_geq(report.calls, 900);
    cr_assert_geq(report.calls + report.pairs, 3400);
    walk_close(&w);
    walk_close(&twin);
}

TestSuite(bad_input, .init = support_folder_create, .fini = support_folder_remove);

Test(bad_input, reference, .timeout = 900,
     .description = "bad_input: every argument x every bad value on the reference engine, refused and nothing changed") {
    refuse_all("reference", NULL, "reference engine");
}

Test(bad_input, opencl_cpu, .timeout = 900,
     .description = "bad_input: every argument x every bad value on OpenCL's CPU family, refused and nothing changed") {
    refuse_all("opencl", NULL, "OpenCL, CPU family");
}

Test(bad_input, opencl_gpu, .timeout = 900,
     .description = "bad_input: every argument x every bad value on OpenCL's GPU family, refused and nothing changed") {
    refuse_all("opencl", "gpu", "OpenCL, GPU family");
}
