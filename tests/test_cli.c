/* test_cli.c - the program as a user meets it: exit codes, one-line errors, JSON that parses. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support_program.h"

enum { OUTPUT = 1 << 16 };

/* Runs build/bin/qemb; stdout (with stderr behind `2>&1`) goes to `output`. */
static int run(const char *arguments, char *output) {
    char command[2048];
    (void)snprintf(command, sizeof command, "QEMB %s", arguments);
    return support_shell(output, OUTPUT, command);
}

/* The last line of JSON lines. */
static json_t *last_line(char *output) {
    size_t n = strlen(output);
    cr_assert_gt(n, 1);
    cr_assert_eq(output[n - 1], '\n');
    output[n - 1] = 0;
    char *line = strrchr(output, '\n');
    json_error_t error;
    json_t *o = json_loads(line ? line + 1 : output, 0, &error);
    cr_assert_not_null(o, "%s: %s", error.text, line ? line + 1 : output);
    return o;
}

Test(cli, devices_lists_the_reference_engine_and_one_default) {
    static char output[OUTPUT];
    cr_assert_eq(run("devices --json", output), 0, "%s", output);
    int defaults = 0, lines = 0;
    for (char *rest = output, *line; (line = strsep(&rest, "\n")) != NULL && *line; lines++) {
        json_t *o = json_loads(line, 0, NULL);
        cr_assert_not_null(o, "%s", line);
        cr_assert(json_is_string(json_object_get(o, "selector")));
        defaults += json_is_true(json_object_get(o, "default"));
        if (lines == 0) {
            cr_assert_str_eq(json_string_value(json_object_get(o, "selector")), "reference");
            cr_assert(json_is_true(json_object_get(o, "exact_fma")));
        }
        json_decref(o);
    }
    cr_assert_geq(lines, 1);
    cr_assert_eq(defaults, 1);
    cr_assert_eq(run("devices", output), 0);
    cr_assert_not_null(strstr(output, "reference engine"));
}

Test(cli, bench_prints_an_object_a_line_with_every_promised_key_and_the_picked_variant_last) {
    static char output[OUTPUT];
    static const char *const keys[] = {"op",        "variant", "device", "shape",     "bits",  "runs",       "best_us",
                                       "median_us", "bytes",   "gbps",   "copy_gbps", "share", "page_bytes", "ratio"};
    cr_assert_eq(
        run("bench forward --tables 2 --rows 97,89 --dim 5 --batch 7 --bag 3 --alpha 1.2 --bits 4 --weighted --compare float --json",
            output),
        0, "%s", output);
    json_t *o = last_line(output);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        cr_assert_not_null(json_object_get(o, keys[i]), "no %s", keys[i]);
    }
    cr_assert_str_eq(json_string_value(json_object_get(o, "variant")), "memoryless");
    cr_assert_eq(json_integer_value(json_object_get(o, "bits")), 4);
    cr_assert_geq(json_integer_value(json_object_get(o, "runs")), 15);
    /* rows 2*7*3*5*4, outputs 7*10*4, ids and weights 42*(8+4), offsets 15*8 */
    cr_assert_eq(json_integer_value(json_object_get(o, "bytes")), 840 + 280 + 504 + 120);
    cr_assert_gt(json_real_value(json_object_get(o, "ratio")), 0.0);
    json_decref(o);
}

Test(cli, bench_refuses_what_it_does_not_know_with_exit_2_and_one_line) {
    static char output[OUTPUT];
    static const char *const wrong[] = {"",
                                        "nothing",
                                        "forward --rows 0",
                                        "forward --rows 4x",
                                        "forward --bits 3",
                                        "forward --what",
                                        "forward --rows",
                                        "forward twice",
                                        "forward --observer none",
                                        "forward --weighted --mode max",
                                        "forward --batch 2G --bag 2G",
                                        "forward --compare float --runs 3",
                                        "--full /nowhere"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char arguments[256];
        (void)snprintf(arguments, sizeof arguments, "bench %s 2>&1", wrong[i]);
        cr_expect_eq(run(arguments, output), 2, "%s: %s", wrong[i], output);
        char *end = strchr(output, '\n');
        cr_expect(strncmp(output, "qemb bench: ", 12) == 0 && end && end[1] == 0, "%s: %s", wrong[i], output);
    }
    cr_expect_eq(run("nothing 2>&1", output), 2);
    cr_expect_eq(run("devices extra 2>&1", output), 2);
}

Test(cli, bench_reports_a_failure_of_the_work_with_exit_1) {
    static char output[OUTPUT];
    cr_expect_eq(run("bench forward --device no-such-device 2>&1", output), 1);
    cr_expect_not_null(strstr(output, "reference"), "%s", output);
    cr_expect_eq(run("bench forward --rows 2G --dim 4096 --device reference 2>&1", output), 1);
    cr_expect_not_null(strstr(output, "GB"), "%s", output);
    cr_expect_eq(run("bench --shapes /nowhere/file 2>&1", output), 1);
}

Test(cli, bench_runs_the_lines_of_a_shapes_file_and_names_them) {
    static char output[OUTPUT];
    char path[] = "/tmp/qemb-shapes-XXXXXX";
    char arguments[256];
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    FILE *f = fdopen(file, "w");
    (void)fputs("# comment\n\nfirst forward --rows 101 --dim 3 --batch 5\nsecond observe --rows 103 --observer min_max # behind\n", f);
    (void)fclose(f);
    (void)snprintf(arguments, sizeof arguments, "bench --shapes %s --runs 2 --json --device reference", path);
    cr_expect_eq(run(arguments, output), 0, "%s", output);
    cr_expect_not_null(strstr(output, "first: T=1 E=101 D=3 B=5"), "%s", output);
    json_t *o = last_line(output);
    cr_expect_str_eq(json_string_value(json_object_get(o, "op")), "observe");
    cr_expect_eq(json_integer_value(json_object_get(o, "bytes")), 103 * (64 * 4 + 32));
    json_decref(o);
    (void)unlink(path);
}

Test(cli, demo_checks_a_generated_log_on_the_reference_engine_and_finds_no_bit_different) {
    static char output[OUTPUT];
    cr_assert_eq(run("demo --scale 0.0001 --rows 1237 --batch 64 --dim 5 --json", output), 0, "%s", output);
    json_t *o = last_line(output);
    cr_expect_str_eq(json_string_value(json_object_get(o, "variant")), "qat");
    cr_expect_eq(json_integer_value(json_object_get(o, "bits")), 4);
    cr_expect_eq(json_integer_value(json_object_get(o, "rows")), 1237);
    cr_expect_eq(json_integer_value(json_object_get(o, "different")), 0);
    /* the last batch has 1237 - 19 * 64 = 21 rows and is the only one checked of a log of one chunk: 21 rows of 26 * 5 values, three
     * variants */
    cr_expect_eq(json_integer_value(json_object_get(o, "checked_batches")), 1);
    cr_expect_eq(json_integer_value(json_object_get(o, "checked_values")), 3 * 21 * 26 * 5);
    json_decref(o);
    cr_expect_eq(run("demo --scale 0.0001 --rows 300 --batch 64", output), 0);
    cr_expect_not_null(strstr(output, "scaled by 0.0001 as asked"), "%s", output);
    cr_expect_not_null(strstr(output, "equal bit for bit"), "%s", output);
}

Test(cli, demo_refuses_wrong_options_with_exit_2_and_missing_logs_with_exit_1) {
    static char output[OUTPUT];
    static const char *const wrong[] = {"--rows none", "--scale 2", "--what", "--batch", "--observer x", "extra"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char arguments[256];
        (void)snprintf(arguments, sizeof arguments, "demo %s 2>&1", wrong[i]);
        cr_expect_eq(run(arguments, output), 2, "%s: %s", wrong[i], output);
        cr_expect(strncmp(output, "qemb demo: ", 11) == 0, "%s", output);
    }
    cr_expect_eq(run("demo --scale 0.0001 --log /nowhere/train.txt 2>&1", output), 1);
    cr_expect_not_null(strstr(output, "/nowhere/train.txt"), "%s", output);
}

Test(cli, bench_times_every_operation_of_a_training_step_on_the_reference_engine) {
    static char output[OUTPUT];
    static const char *const operations[] = {"step", "backward", "update", "sort"};
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        char arguments[256];
        (void)snprintf(arguments, sizeof arguments,
                       "bench %s --device reference --rows 1 --dim 5 --batch 7 --bag 3 --optimizer rowwise_adagrad --runs 2 --json",
                       operations[i]);
        cr_expect_eq(run(arguments, output), 0, "%s", operations[i]);
        json_t *o = last_line(output);
        cr_expect_str_eq(json_string_value(json_object_get(o, "op")), operations[i]);
        if (i == 2) { /* one distinct row of 5 weights and a moment, read and written; 7*5 gradients, 21 ids of 8 bytes */
            cr_expect_eq(json_integer_value(json_object_get(o, "bytes")), 8 * (5 + 1) + 7 * 5 * 4 + 21 * 8);
        }
        json_decref(o);
    }
}

Test(cli, bench_times_packed_rows_and_counts_the_bytes_of_their_format) {
    static char output[OUTPUT];
    static const struct {
        const char *arguments;
        json_int_t bytes;
    } rows[] = {
        /* 21 rows of 4 + 4 bytes, as many ids of 8; 8 offsets; 7 x 8 floats */
        {"packed_forward --bits 4", 21 * (8 + 8) + 8 * 8 + 4 * 7 * 8},
        {"packed_forward --bits 4 --output float16", 21 * (8 + 8) + 8 * 8 + 2 * 7 * 8},
        {"packed_forward --bits 2 --layout planar --qparams bf16 --symmetric --int32", 21 * (2 + 2 + 4) + 4 * 8 + 4 * 7 * 8},
        {"packed_forward --bits 4 --layout fbgemm --alignment 16", 21 * (16 + 8) + 8 * 8 + 4 * 7 * 8},
        {"pack --bits 4", 101 * (32 + 8)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char arguments[256];
        (void)snprintf(arguments, sizeof arguments, "bench %s --device reference --rows 101 --dim 8 --batch 7 --bag 3 --runs 2 --json",
                       rows[i].arguments);
        cr_assert_eq(run(arguments, output), 0, "%s", rows[i].arguments);
        json_t *o = last_line(output);
        cr_expect_eq(json_integer_value(json_object_get(o, "bytes")), rows[i].bytes, "%s: %s", rows[i].arguments, output);
        json_decref(o);
    }
}

Test(cli, bench_compares_with_the_copy_and_with_the_yardstick_whose_bits_are_the_library_s) {
    static char output[OUTPUT];
    cr_expect_eq(run("bench pack --rows 211 --dim 48 --bits 4 --compare copy --json", output), 0, "%s", output);
    json_t *o = last_line(output);
    cr_expect_str_eq(json_string_value(json_object_get(o, "compare")), "copy");
    cr_expect_gt(json_real_value(json_object_get(o, "rows_gbps")), 0.0);
    json_decref(o);
    /* the yardstick refuses when one bit of a batch differs from the library's, and where there is no AVX-512 */
    for (int quantised = 0; quantised < 2; quantised++) {
        char arguments[128];
        (void)snprintf(arguments, sizeof arguments,
                       "bench forward --rows 521 --dim 16 --batch 67 --bag 5 --int32 --compare yardstick --json%s 2>&1",
                       quantised ? "" : " --float");
        const int code = run(arguments, output);
        cr_expect(code == 0 ? strstr(output, "\"compare\":\"yardstick\"") != NULL : code == 1 && strstr(output, "AVX-512"), "%d: %s", code,
                  output);
    }
    cr_expect_eq(run("bench forward --compare yardstick 2>&1", output), 2);
    cr_expect_eq(run("bench sort --rows 101 --compare float 2>&1", output), 1);
}

Test(cli, the_whole_table_pipeline_is_timed_and_gives_the_bits_of_the_fused_lookup) {
    static char output[OUTPUT];
    cr_expect_eq(run("demo --scale 0.0001 --rows 640 --batch 64 --json", output), 0, "%s", output);
    output[strcspn(output, "\n")] = 0;
    json_t *o = json_loads(output, 0, NULL);
    cr_assert_not_null(o, "%s", output);
    cr_expect_str_eq(json_string_value(json_object_get(o, "variant")), "pipeline");
    cr_expect_eq(json_integer_value(json_object_get(o, "runs")), 5);
    cr_expect_eq(json_integer_value(json_object_get(o, "different")), 0);
    json_decref(o);
    cr_expect_eq(run("bench forward --rows 1009 --dim 16 --batch 8 --bag 3 --compare pipeline --json", output), 0);
    o = last_line(output);
    cr_expect_str_eq(json_string_value(json_object_get(o, "compare")), "pipeline");
    json_decref(o);
}

Test(cli, tune_writes_a_file_that_the_library_then_reads) {
    static char output[OUTPUT];
    char path[64] = "/tmp/qemb-tune-XXXXXX", command[256], text[1024] = "";
    const int fd = mkstemp(path);
    cr_assert(fd >= 0 && close(fd) == 0);
    (void)snprintf(command, sizeof command, "tune --quick --shape 'sort --rows 101 --batch 16' -o %s 2>&1", path);
    cr_assert_eq(run(command, output), 0, "%s", output);
    cr_expect_not_null(strstr(output, "1 choices in "), "%s", output);
    FILE *file = fopen(path, "r");
    cr_assert(file && fread(text, 1, sizeof text - 1, file) > 0 && fclose(file) == 0);
    cr_expect_eq(strncmp(text, "qemb-tune 1\ndevice ", 19), 0, "%s", text);
    cr_expect_not_null(strstr(text, "\nrow_sort dim=1 size=1 quant=0 variant="), "%s", text);
    cr_assert(setenv("QEMB_LOG", "pick", 1) == 0 && setenv("QEMB_TUNE", path, 1) == 0);
    cr_assert_eq(run("bench sort --rows 101 --batch 16 --runs 1 2>&1", output), 0, "%s", output);
    cr_expect_not_null(strstr(output, "(tuning file)"), "%s", output);
    cr_expect_eq(unlink(path), 0);
}
