/* test_cli_files.c - `qemb convert`, `inspect` and `lookup` as a user meets them. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"
#include "support_program.h"
#include "support_ok.h"

TestSuite(cli_files, .init = support_folder_create, .fini = support_folder_remove);

enum { OUTPUT = 1 << 17, DIM = STATE_DIM };
static char output[OUTPUT];

/* Runs build/bin/qemb; stdout and stderr go to `output`. */
static int run(const char *arguments) {
    char command[4096];
    (void)snprintf(command, sizeof command, "QEMB %s 2>&1", arguments);
    return support_shell(output, sizeof output, command);
}

static int run_on(const char *format, const char *a, const char *b) {
    char arguments[3000];
    (void)snprintf(arguments, sizeof arguments, format, a, b);
    return run(arguments);
}

Test(cli_files, a_state_dict_is_packed_inspected_and_looked_up) {
    const char *in = support_state_dict("in", 2, NULL);
    const char *out = support_path("out");
    cr_assert_eq(run_on("convert '%s' --bits 8 --qparams fp32 --mode sum -o '%s'", in, out), 0, "%s", output);
    cr_expect(strstr(output, "%)"), "%s", output);
    cr_assert_eq(run_on("inspect --verify '%s'%s", out, ""), 0, "%s", output);
    cr_expect(strstr(output, "verified") && strstr(output, "emb_l.1") && strstr(output, "planar fp32") && strstr(output, "####"), "%s",
              output);
    cr_assert_eq(run_on("inspect '%s'%s", in, ""), 0, "%s", output);
    cr_expect(strstr(output, "if packed") && strstr(output, "31 x 5"), "%s", output);
    /* a bag is the sum of its rows, and each row is near the float one */
    float rows[2][2][DIM], bag[DIM];
    for (int k = 0; k < 2; k++) {
        cr_assert_eq(run_on("lookup '%s' --table emb_l.1 --indices 7,30%s", k ? out : in, ""), 0, "%s", output);
        char *at = output;
        for (int i = 0; i < 2 * DIM; i++) {
            rows[k][i / DIM][i % DIM] = strtof(at, &at);
        }
    }
    cr_assert_eq(run_on("lookup '%s' --table emb_l.1 --indices 7,30 --offsets 0%s --json", out, ""), 0, "%s", output);
    json_t *o = json_loads(output, 0, NULL);
    cr_assert(json_array_size(o) == DIM, "%s", output);
    for (int c = 0; c < DIM; c++) {
        bag[c] = (float)json_number_value(json_array_get(o, (size_t)c));
        const float step = 101.0f / 16.0f / 255.0f;
        cr_expect(fabsf(rows[0][0][c] - rows[1][0][c]) <= step && fabsf(rows[0][1][c] - rows[1][1][c]) <= step, "column %d", c);
        cr_expect(fabsf(bag[c] - rows[1][0][c] - rows[1][1][c]) <= 3 * 0x1p-21f, "column %d", c); /* three roundings below 16 */
    }
    json_decref(o);
}

Test(cli_files, packed_tables_are_packed_anew_in_every_layout) {
    static const char *const forms[] = {"torch_rowwise --bits 4", "rowwise_half --bits 8", "fbgemm --row-alignment 16 --bits 2",
                                        "planar --symmetric --bits 4"};
    const char *in = support_state_dict("in", 2, NULL);
    cr_assert_eq(run_on("convert '%s' --bits 8 --layout torch_rowwise -o '%s'", in, support_path("a")), 0, "%s", output);
    for (int k = 0; k < 4; k++) {
        char format[256];
        (void)snprintf(format, sizeof format, "convert '%%s' --layout %s -o '%%s'", forms[k]);
        cr_assert_eq(run_on(format, support_path("a"), support_path("b")), 0, "%s", output);
        cr_assert_eq(run_on("inspect --verify --json '%s'%s", support_path("b"), ""), 0, "%s", output);
        for (char *rest = output, *line; (line = strsep(&rest, "\n")) != NULL && *line;) {
            json_t *o = json_loads(line, 0, NULL);
            cr_assert_not_null(o, "%s", line);
            json_decref(o);
        }
    }
}

Test(cli_files, refusals_name_the_file_the_place_and_the_reason_in_one_line) {
    const char *in = support_state_dict("in", 2, NULL);
    static const struct {
        const char *arguments;
        int code;
        const char *says;
    } cases[] = {
        {"convert '%s' --bits 3 -o x", 2, "8, 4 or 2"},
        {"convert '%s' --bits 4", 2, "-o is missing"},
        {"convert '%s' -o x", 2, "--bits is missing"},
        {"convert '%s' --bits 4 --layout rows -o x", 2, "--layout"},
        {"convert '%s' --bits 4 --layout fbgemm --symmetric -o x", 2, "planar"},
        {"convert '%s' --bits 4 --method observer -o /nowhere/x", 1, "emb_l.0"},
        {"convert '%s' --bits 4 -o /nowhere/x", 1, "/nowhere/x"},
        {"convert '%s.none' --bits 4 -o /nowhere/x", 1, "in.none"},
        {"convert '%s' --bits 4 --prefix q -o /nowhere/x", 1, "no tables"},
        {"inspect", 2, "which file"},
        {"inspect '%s' --loud", 2, "--loud"},
        {"inspect '%s.none'", 1, "in.none"},
        {"lookup '%s' --table emb_l.0", 2, "--indices"},
        {"lookup '%s' --table emb_l.0 --indices 1,x", 2, "numbers"},
        {"lookup '%s' --table emb_l.7 --indices 1", 2, "emb_l.7"},
        {"lookup '%s' --table emb_l.0 --indices 31", 1, "31"},
        {"lookup '%s' --table emb_l.0 --indices 1 --offsets 0", 2, "packed"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        cr_expect_eq(run_on(cases[k].arguments, in, ""), cases[k].code, "%s: %s", cases[k].arguments, output);
        cr_expect(strstr(output, cases[k].says), "%s: %s", cases[k].arguments, output);
        cr_expect(strchr(output, '\n') == output + strlen(output) - 1, "one line: %s", output);
    }
    cr_assert_eq(run_on("convert '%s' --bits 4 --mode sum -o '%s'", in, support_path("out")), 0, "%s", output);
    cr_expect_eq(run_on("lookup '%s' --table emb_l.0 --indices 31%s", support_path("out"), ""), 1);
    cr_expect(strstr(output, "31"), "%s", output);
    size_t count = 0;
    char *bytes = support_read(support_path("out"), &count);
    bytes[count - 5] = (char)(bytes[count - 5] ^ 1);
    cr_expect_eq(run_on("inspect --verify '%s'%s", support_write("bad", bytes, count), ""), 1, "%s", output);
    cr_expect(strstr(output, "checksum") && strstr(output, "bad"), "%s", output);
    bytes[9] = '[';
    cr_expect_eq(run_on("inspect '%s'%s", support_write("bad", bytes, count), ""), 1, "%s", output);
    cr_expect(strstr(output, "byte") && strstr(output, "bad"), "%s", output);
    free(bytes);
}
