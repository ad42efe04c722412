/* test_dlrm_cli.c - qemb train, serve-check and ladder as a user meets them: faults in the data, a killed run, served bits, scores. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <qemb/qemb_io.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"
#include "support_program.h"

TestSuite(dlrm_cli, .init = support_folder_create, .fini = support_folder_remove, .timeout = 600);

enum { OUTPUT = 1 << 16 };
static char output[OUTPUT];

/* A model that takes milliseconds. */
#define SMALL "--tables 5 --dim 5 --bottom 7 --top 11 --batch 64 "

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...) {
    char command[4096];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(command, sizeof command, format, args);
    va_end(args);
    return support_shell(output, sizeof output, command);
}

/* The last line of the output as an object. */
static json_t *last_object(void) {
    size_t n = strlen(output);
    cr_assert(n > 1 && output[n - 1] == '\n', "%s", output);
    output[n - 1] = 0;
    char *line = strrchr(output, '\n');
    json_t *o = json_loads(line ? line + 1 : output, 0, NULL);
    cr_assert_not_null(o, "%s", output);
    return o;
}

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    cr_assert(json_is_number(v), "no number \"%s\"", key);
    return json_number_value(v);
}

/* ---- what is refused ----------------------------------------------------------------------------------------------------- */

Test(dlrm_cli, wrong_command_lines_end_with_2_and_one_line) {
    static const char *const wrong[] = {"train",
                                        "train --data x --synthetic 5",
                                        "train --synthetic 0",
                                        "train --synthetic 9 --bits 3",
                                        "train --synthetic 9 --method lsq",
                                        "train --synthetic 9 --bottom 5-",
                                        "train --synthetic 9 --top 0",
                                        "train --synthetic 9 --top 1-2-3-4-5-6-7-8",
                                        "train --synthetic 9 --optimizer adam",
                                        "train --synthetic 9 --lr 0",
                                        "train --synthetic 9 --faults ignore",
                                        "train --synthetic 9 --seeds 3",
                                        "train --synthetic 9 extra",
                                        "serve-check --synthetic 9",
                                        "serve-check a b --synthetic 9",
                                        "serve-check a",
                                        "ladder",
                                        "ladder --data x",
                                        "ladder --synthetic 9 --seeds 0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(run("QEMB %s 2>&1", wrong[i]), 2, "%s: %s", wrong[i], output);
        const char *end = strchr(output, '\n');
        cr_expect(strncmp(output, "qemb ", 5) == 0 && end && end[1] == 0, "%s: %s", wrong[i], output);
    }
}

/* A log of 70 good rows; row `bad` (from 1) is replaced by `text`. */
static void write_log(const char *name, int bad, const char *text) {
    char *log = calloc(1, 70 * 512);
    cr_assert_not_null(log);
    for (int row = 1; row <= 70; row++) {
        char *p = log + strlen(log);
        if (row == bad) {
            (void)sprintf(p, "%s", text);
            continue;
        }
        p += sprintf(p, "%d", row % 4 == 0);
        for (int i = 0; i < 13; i++) {
            p += sprintf(p, "\t%d", (row * 7 + i * 3) % 50 - 1);
        }
        for (int i = 0; i < 26; i++) {
            p += sprintf(p, "\t%08x", (unsigned)row * 2654435761u + (unsigned)i * 40503u);
        }
        (void)sprintf(p, "\n");
    }
    (void)support_write(name, log, strlen(log));
    free(log);
}

#define COUNTS "1\t2\t3\t4\t5\t6\t7\t8\t9\t10\t11\t12\t13"
#define IDS_24 "a\tb\tc\td\te\tf\t1\t2\t3\t4\t5\t6\t7\t8\t9\ta0\tb0\tc0\td0\te0\tf0\t10\t20\t30"

Test(dlrm_cli, planted_errors_are_refused_with_line_and_column_or_counted) {
    static const struct {
        const char *text, *place;
    } faults[] = {{"1\t" COUNTS "\t" IDS_24 "\t40\n", "line 23"},                   /* 39 columns */
                  {"1\t" COUNTS "\t" IDS_24 "\t40\t50\t60\n", "line 23"},           /* 41 columns */
                  {"1\t" COUNTS "\t" IDS_24 "\t40\tzebra\n", "line 23, column 40"}, /* no hexadecimal number */
                  {"7\t" COUNTS "\t" IDS_24 "\t40\t50\n", "line 23, column 1"}};    /* a label of 7 */
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        write_log("log", 23, faults[i].text);
        cr_expect_eq(run("QEMB train " SMALL "--data %s 2>&1", support_path("log")), 1, "%zu: %s", i, output);
        cr_expect(strstr(output, faults[i].place) && strstr(output, "column"), "%zu: %s", i, output);
    }
    /* counted: the first and the last, in one run */
    cr_expect_eq(run("QEMB train " SMALL "--scale 0.0001 --faults skip --json --data %s 2>&1", support_path("log")), 0, "%s", output);
    cr_expect(strstr(output, "1 rows do not parse") && strstr(output, "line 23, column 1"), "%s", output);
    json_t *o = last_object();
    cr_expect_eq(json_integer_value(json_object_get(o, "seed")), 1);
    json_decref(o);
}

Test(dlrm_cli, a_cut_an_empty_a_short_and_a_missing_file_are_refused) {
    write_log("log", 70, "1\t" COUNTS "\t" IDS_24 "\t40\t5"); /* the last digits are not there */
    cr_expect_eq(run("QEMB train " SMALL "--data %s 2>&1", support_path("log")), 1);
    cr_expect(strstr(output, "line 70, column"), "%s", output);
    (void)support_write("empty", "", 0);
    cr_expect_eq(run("QEMB train " SMALL "--data %s 2>&1", support_path("empty")), 1);
    cr_expect_not_null(strstr(output, "empty"), "%s", output);
    (void)support_write("short", "1\t" COUNTS "\t" IDS_24 "\t40\t50\n", strlen("1\t" COUNTS "\t" IDS_24 "\t40\t50\n"));
    cr_expect_eq(run("QEMB train " SMALL "--data %s 2>&1", support_path("short")), 1);
    cr_expect_not_null(strstr(output, "1 rows"), "%s", output);
    cr_expect_eq(run("QEMB train " SMALL "--data /nowhere/log 2>&1"), 1);
    cr_expect_not_null(strstr(output, "/nowhere/log"), "%s", output);
    cr_expect_eq(run("QEMB serve-check %s --synthetic 100 2>&1", support_path("empty")), 1);
}

/* ---- a run on a file, its predictions, its scores ------------------------------------------------------------------------ */

/* Kaggle's split of 70 rows: 60 to train on, 5 to test on; of 1000: 858 and 71. */
Test(dlrm_cli, a_file_is_split_into_seven_days_and_scored_as_the_definitions_say) {
    qemb_click_generator *generator = NULL;
    cr_assert_eq(qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001, .seed = 5}, &generator), QEMB_OK);
    cr_assert_eq(qemb_click_generator_write(generator, support_path("log"), 0, 9001, NULL, NULL, NULL), QEMB_OK);
    qemb_click_generator_destroy(generator);
    cr_assert_eq(run("gzip -k %s && QEMB train " SMALL "--scale 0.0001 --data %s.gz --bits 4 --json --predictions %s", support_path("log"),
                     support_path("log"), support_path("p.npy")),
                 0, "%s", output);
    json_t *o = last_object();
    /* 9001 = 7 * 1285 + 6: the last day has 1285 rows, its first half 643 */
    cr_expect_eq(number(o, "rows"), 643);
    cr_expect_eq(number(o, "different"), 0);
    qemb_npy *npy = NULL;
    qemb_tensor_view view;
    cr_assert_eq(qemb_npy_open(support_path("p.npy"), &npy, &view), QEMB_OK);
    cr_assert(view.rank == 2 && view.shape[0] == 2 && view.shape[1] == 643);
    const float *p = view.data, *y = p + 643;
    double wins = 0, pairs = 0;
    long double loss = 0;
    for (int i = 0; i < 643; i++) {
        loss -= logl(y[i] > 0.5f ? (long double)p[i] : 1.0L - (long double)p[i]);
        for (int j = 0; j < 643; j++) {
            if (y[i] > y[j]) {
                wins += p[i] > p[j] ? 1.0 : p[i] == p[j] ? 0.5 : 0.0;
                pairs += 1.0;
            }
        }
    }
    /* counts are whole numbers; a logarithm is off by 2^-53 for its argument and an ulp of its own, the compensated sum by two */
    cr_expect(number(o, "auc") == wins / pairs &&
                  fabs(number(o, "log_loss") - (double)(loss / 643)) < 0x1p-53 * (1.0 + 6.0 * (double)loss / 643),
              "%.17g %.17g", number(o, "auc"), number(o, "log_loss"));
    /* And by scikit-learn itself, where there is one: 0 equal, 3 none here. */
    const double auc = number(o, "auc"), log_loss = number(o, "log_loss");
    const int code = run("command -v python3 >/dev/null || exit 3; python3 tests/score_sklearn.py %s %.17g %.17g 2>&1",
                         support_path("p.npy"), auc, log_loss);
    cr_expect(code == 0 || code == 3, "%d: %s", code, output);
    qemb_npy_close(npy);
    json_decref(o);
}

/* ---- killed and resumed -------------------------------------------------------------------------------------------------- */

static void expect_same_file(const char *a, const char *b) {
    size_t sizes[2];
    char *bytes[2] = {support_read(support_path(a), &sizes[0]), support_read(support_path(b), &sizes[1])};
    cr_assert(bytes[0] && bytes[1], "%s, %s", a, b);
    cr_expect(sizes[0] == sizes[1] && memcmp(bytes[0], bytes[1], sizes[0]) == 0, "%s and %s differ", a, b);
    free(bytes[0]);
    free(bytes[1]);
}

Test(dlrm_cli, a_killed_and_an_interrupted_run_resume_to_the_same_bits) {
#define RUN SMALL "--synthetic 60000 --test-rows 500 --scale 0.0005 --bits 4 --epochs 2 "
    char a[512], b[512], c[512];
    (void)snprintf(a, sizeof a, "%s", support_path("a"));
    (void)snprintf(b, sizeof b, "%s", support_path("b"));
    (void)snprintf(c, sizeof c, "%s", support_path("c"));
    cr_assert_eq(run("QEMB train " RUN "--save %s 2>&1", a), 0, "%s", output);
    /* killed as soon as there is something to go on from */
    cr_expect_neq(run("{ QEMB train " RUN
                      "--save %s --save-every 64 & pid=$!; while [ ! -e %s ]; do sleep 0.01; done; kill -9 $pid; wait $pid; } 2>&1",
                      b, b),
                  0);
    cr_assert_eq(run("QEMB train " RUN "--resume %s --save %s 2>&1", b, b), 0, "%s", output);
    expect_same_file("a", "b");
    /* Ctrl-C: it saves by itself, says so, and ends with 1 */
    cr_expect_eq(run("{ QEMB train " RUN
                     "--save %s --save-every 64 & pid=$!; while [ ! -e %s ]; do sleep 0.01; done; kill -TERM $pid; wait $pid; } 2>&1",
                     c, c),
                 1);
    cr_expect(strstr(output, "stopped after") && strstr(output, "--resume"), "%s", output);
    cr_assert_eq(run("QEMB train " RUN "--resume %s --save %s 2>&1", c, c), 0, "%s", output);
    expect_same_file("a", "c");
    /* other data than it was trained on */
    cr_expect_eq(run("QEMB train " SMALL "--synthetic 50000 --resume %s 2>&1", a), 1);
    cr_expect_not_null(strstr(output, "60000"), "%s", output);
    cr_expect_eq(run("QEMB train " SMALL "--synthetic 60000 --resume %s.packed 2>&1", a), 1);
}

/* ---- served -------------------------------------------------------------------------------------------------------------- */

Test(dlrm_cli, serve_check_finds_no_difference_after_training_quantised_and_some_after_ptq) {
    char a[512];
    (void)snprintf(a, sizeof a, "%s", support_path("m"));
    cr_assert_eq(run("QEMB train " SMALL "--synthetic 3000 --test-rows 701 --bits 8 --save %s --json", a), 0, "%s", output);
    json_t *trained = last_object();
    cr_assert_eq(run("QEMB serve-check %s.packed --synthetic 3000", a), 0, "%s", output);
    cr_expect_not_null(strstr(output, "differ   0 of 701"), "%s", output);
    cr_assert_eq(run("QEMB serve-check %s.packed --synthetic 3000 --json --device reference", a), 0, "%s", output);
    json_t *served = last_object();
    cr_expect_eq(number(served, "auc"), number(trained, "auc"));
    cr_expect_eq(number(served, "different"), 0);
    cr_expect_eq(run("QEMB serve-check %s --synthetic 3000 2>&1", a), 1); /* a checkpoint is no converted model */
    cr_expect_not_null(strstr(output, "X.packed"), "%s", output);
    cr_assert_eq(run("QEMB train " SMALL "--synthetic 3000 --test-rows 701 --bits 2 --method ptq --save %s --json", a), 0, "%s", output);
    cr_expect_eq(run("QEMB serve-check %s.packed --synthetic 3000", a), 1, "%s", output);
    cr_expect_null(strstr(output, "differ   0 of"), "%s", output);
    json_decref(trained);
    json_decref(served);
}

/* ---- the ladder ---------------------------------------------------------------------------------------------------------- */

Test(dlrm_cli, the_ladder_has_every_method_and_its_table_is_that_of_its_lines) {
    cr_assert_eq(run("QEMB ladder --tables 3 --dim 4 --bottom 5 --top 7 --synthetic 2000 --test-rows 500 --seeds 2 --json >%s",
                     support_path("lines")),
                 0);
    size_t size = 0;
    char *lines = support_read(support_path("lines"), &size);
    cr_assert_not_null(lines);
    int count = 0, in_training = 0;
    double float_auc = 0.0;
    for (char *rest = lines, *line; (line = strsep(&rest, "\n")) != NULL && *line; count++) {
        json_t *o = json_loads(line, 0, NULL);
        cr_assert_not_null(o, "%s", line);
        const char *method = json_string_value(json_object_get(o, "method"));
        if (strncmp(method, "QAT", 3) == 0 || strncmp(method, "DQRM", 4) == 0) {
            cr_expect_eq(number(o, "drop"), 0.0, "%s", line);
            in_training++;
        }
        float_auc += strcmp(method, "float") == 0 ? number(o, "auc") / 2 : 0.0;
        json_decref(o);
    }
    free(lines);
    cr_expect(count == 2 * 19 && in_training == 2 * 6, "%d lines, %d trained quantised", count, in_training);
    cr_assert_eq(run("QEMB ladder --from %s", support_path("lines")), 0, "%s", output);
    char want[64];
    (void)snprintf(want, sizeof want, "\nfloat                    %9.5f", float_auc);
    cr_expect(strstr(output, want) && strstr(output, "conversion drop 0\n"), "want%s\n%s", want, output);
    cr_expect_eq(run("QEMB ladder --from /nowhere/lines 2>&1"), 1);
}
