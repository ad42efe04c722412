/* test_tuning.c - tuning files: what is taken, what is passed over, and that no file changes a result. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "opencl/tuning.h"
#include "support_bag.h"
#include "support_ok.h"

static qemb__tuning *parsed(const char *text) {
    static qemb__tuning tuning;
    memset(&tuning, 0, sizeof tuning);
    qemb__tuning_parse(text, strlen(text), "cpu", true, "test", &tuning);
    return &tuning;
}

#define HEAD "qemb-tune 1\ndevice cpu\n"
#define GOOD "bag_forward dim=64 size=1000 quant=1 variant=grouped ahead=48 local=16 rows=8\n"

/* clang-format off */
Test(tuning, lines, .description = "tuning: good lines are taken, lines that make no sense are passed over one by one") {
    static const char *const wrong[] = {"bag_forward", "bag_forward dim=64", "bag_forward dim=64 size=1 variant=nothing", "nothing dim=1 size=1 variant=grouped",
                                        "bag_forward dim=-1 size=1 variant=grouped", "bag_forward dim=1 size=0 variant=grouped",
                                        "bag_forward dim=64 size=1 variant=vec4-local", "bag_forward dim=64 size=1 variant=grouped ahead=x",
                                        "bag_forward dim=99999999999999999999 size=1 variant=grouped", "bag_forward dim=64 size=1 variant=grouped nonsense=1", "=", "dim=1"};
    char text[400];
    cr_expect_eq(parsed(HEAD GOOD "# a remark\n\n" GOOD)->count, 2);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        (void)snprintf(text, sizeof text, HEAD "%s\n" GOOD, wrong[i]);
        cr_expect_eq(parsed(text)->count, 1, "%s", wrong[i]);
        cr_expect_eq(parsed(text)->ignored, 1, "%s", wrong[i]);
    }
}
/* clang-format on */

/* clang-format off */
Test(tuning, heads, .description = "tuning: another version, another device or a cut head take nothing; a line that was cut off is left out") {
    static const char *const none[] = {"", "\n", "qemb-tune 1", "qemb-tune 2\ndevice cpu\n" GOOD, "device cpu\n" GOOD, "qemb-tune 1\ndevice other\n" GOOD,
                                       "qemb-tune 1\ndevice cpu2\n" GOOD, "qemb-tune 1\ndevice\n" GOOD};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        cr_expect_eq(parsed(none[i])->count, 0, "%zu", i);
    }
    const char *whole = HEAD GOOD;
    for (size_t n = 0; n < strlen(whole); n++) {
        static qemb__tuning tuning;
        tuning.count = 0;
        qemb__tuning_parse(whole, n, "cpu", true, "test", &tuning);
        cr_expect_eq(tuning.count, 0, "cut after %zu bytes", n);
    }
}
/* clang-format on */

Test(tuning, nearest, .description = "tuning: the nearest line of the same stem and quant that fits; none where all are far") {
    const qemb__tuning *t =
        parsed(HEAD GOOD "bag_forward dim=128 size=1000 quant=1 variant=single ahead=8\nrow_sort dim=1 size=41 quant=0 variant=buckets\n");
    qemb__case c = {.stem = QEMB__BAG_FORWARD, .dim = 64, .quant = true, .size = 700};
    cr_expect_eq(qemb__tuning_find(t, &c, ~0u), &t->line[0]);
    c.dim = 120;
    cr_expect_eq(qemb__tuning_find(t, &c, ~0u), &t->line[1]);
    c.dim = 64;
    cr_expect_eq(qemb__tuning_find(t, &c, 0), &t->line[1], "grouped does not fit");
    c.quant = false;
    cr_expect_null(qemb__tuning_find(t, &c, ~0u));
    c = (qemb__case){.stem = QEMB__BAG_FORWARD, .dim = 64, .quant = true, .size = 10};
    cr_expect_null(qemb__tuning_find(t, &c, ~0u), "100 times smaller");
    c = (qemb__case){.stem = QEMB__ROW_SORT, .dim = 1, .size = 200};
    cr_expect_null(qemb__tuning_find(t, &c, ~0u), "a sort five times as large");
    cr_expect_null(qemb__tuning_find(NULL, &c, ~0u));
}

/* Runs a lookup with a tuning file of this text; gives what ran. */
static void run_with(const char *text, bag_result *result, char what[80]) {
    const bag_engine engine = {"cpu", "pthread", "cpu", NULL, NULL};
    op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
    char path[64] = "/tmp/qemb-tuning-XXXXXX";
    const int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
    (void)setenv("QEMB_TUNE", path, 1);
    bag_pocl_devices();
    op.D = 64;
    op.E = 101;
    qemb_context *ctx = bag_context(&engine);
    *result = bag_run_in(ctx, &op);
    (void)snprintf(what, 80, "%s", qemb_context_variant(ctx, "bag_forward"));
    qemb_context_destroy(ctx);
    (void)unlink(path);
}

Test(tuning, files, .description = "tuning: a file changes which variant runs and no bit; one of nonsense changes nothing") {
    const bag_engine engine = {"cpu", "pthread", "cpu", NULL, NULL};
    op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
    qemb_device_report report;
    bag_result plain, tuned, wild;
    char what[3][80], text[600];
    bag_pocl_devices();
    qemb_context *ctx = bag_context(&engine);
    OK(qemb_context_report(ctx, &report));
    (void)snprintf(text, sizeof text, "qemb-tune 1\ndevice %.128s\n", report.device);
    qemb_context_destroy(ctx);
    op.D = 64;
    op.E = 101;
    run_with("no tuning file at all \x01\xff\n\n\n====", &plain, what[0]);
    cr_expect_null(strstr(what[0], "single"), "%s", what[0]);
    const size_t head = strlen(text);
    (void)snprintf(text + head, sizeof text - head, "bag_forward dim=64 size=1 quant=1 variant=single ahead=12 local=4\n");
    run_with(text, &tuned, what[1]);
    cr_expect_str_eq(what[1], "single ahead=12 local=4");
    (void)snprintf(text + head, sizeof text - head,
                   "bag_forward dim=64 size=1 quant=1 variant=grouped ahead=32767 local=32767 rows=32767\n");
    run_with(text, &wild, what[2]);
    cr_expect_str_eq(what[2], "grouped ahead=96 local=64 rows=64");
    bag_expect_same(&op, "tuned", &tuned, &plain, 0.0);
    bag_expect_same(&op, "wild", &wild, &plain, 0.0);
    bag_result_free(&plain);
    bag_result_free(&tuned);
    bag_result_free(&wild);
}

Test(tuning, paths,
     .description = "tuning: QEMB_TUNE, else the folder of settings, device names made safe; a folder or nothing there is no error") {
    char path[256];
    (void)setenv("QEMB_TUNE", "/somewhere/else", 1);
    cr_expect(qemb_tuning_path("a/b", path, sizeof path));
    cr_expect_str_eq(path, "/somewhere/else");
    (void)setenv("QEMB_TUNE", "", 1);
    cr_expect_not(qemb_tuning_path("a/b", path, sizeof path));
    (void)unsetenv("QEMB_TUNE");
    (void)setenv("XDG_CONFIG_HOME", "/c", 1);
    cr_expect(qemb_tuning_path("a/../b (x)", path, sizeof path));
    cr_expect_str_eq(path, "/c/qemb/a____b__x_.tune");
    (void)unsetenv("XDG_CONFIG_HOME");
    (void)setenv("HOME", "/h", 1);
    cr_expect(qemb_tuning_path("d", path, sizeof path));
    cr_expect_str_eq(path, "/h/.config/qemb/d.tune");
    cr_expect_not(qemb_tuning_path("d", path, 8), "no room");
    cr_expect_not(qemb_tuning_path(NULL, path, sizeof path));
    qemb__tuning *tuning = NULL;
    (void)setenv("QEMB_TUNE", "/", 1);
    OK(qemb__tuning_open("d", "none", true, &tuning));
    cr_assert_not_null(tuning);
    cr_expect_eq(tuning->count, 0);
    free(tuning);
    (void)setenv("QEMB_TUNE", "/nowhere/at/all", 1);
    OK(qemb__tuning_open("d", "Portable Computing Language", true, &tuning));
    cr_expect_geq(tuning->count, 1, "the table for known devices");
    free(tuning);
}
