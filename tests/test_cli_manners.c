/* test_cli_manners.c - what holds for every command of `qemb`: help, refusals, what a terminal gets and what a pipe gets, JSON lines. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <pty.h>
#include <qemb/qemb_io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_files.h"
#include "support_program.h"

TestSuite(cli_manners, .init = support_folder_create, .fini = support_folder_remove);

enum { OUTPUT = 1 << 17, SCREEN_ROWS = 40, SCREEN_COLUMNS = 100 };
static char output[OUTPUT];

static const char *const commands[] = {"devices", "demo",    "train",  "serve-check", "ladder",
                                       "convert", "inspect", "lookup", "bench",       "tune"};
enum { NUM_COMMANDS = sizeof commands / sizeof *commands };

static int run(const char *format, const char *a, const char *b) {
    char command[4096];
    (void)snprintf(command, sizeof command, format, a, b);
    return support_shell(output, sizeof output, command);
}

/* Every line of the output is a JSON value; how many. */
static int json_lines(void) {
    int count = 0;
    for (char *rest = output, *line; (line = strsep(&rest, "\n")) != NULL && *line; count++) {
        json_error_t error;
        json_t *o = json_loads(line, 0, &error);
        cr_expect_not_null(o, "%s: %s", error.text, line);
        json_decref(o);
    }
    return count;
}

/* ---- help ---------------------------------------------------------------------------------------------------------------- */

static void expect_screen(const char *name) {
    int lines = 0;
    size_t longest = 0;
    for (char *rest = output, *line; (line = strsep(&rest, "\n")) != NULL; lines += rest != NULL) {
        longest = strlen(line) > longest ? strlen(line) : longest;
    }
    cr_expect(lines > 8 && lines <= SCREEN_ROWS && longest <= SCREEN_COLUMNS, "%s: %d lines, %zu columns", name, lines, longest);
}

Test(cli_manners, help, .description = "cli: every --help fits 40 rows of 100 columns, goes to stdout, and says what 0, 1 and 2 mean") {
    cr_expect_eq(run("QEMB --help 2>/dev/null%s%s", "", ""), 0);
    for (int i = 0; i < NUM_COMMANDS; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "\n  %-12s ", commands[i]);
        cr_expect_not_null(strstr(output, line), "qemb --help does not list %s", commands[i]);
    }
    int listed = 0;
    for (const char *p = output; (p = strstr(p, "\n  ")) != NULL; p++) {
        listed += islower((unsigned char)p[3]) && strncmp(p + 3, "qemb ", 5) != 0;
    }
    cr_expect_eq(listed, NUM_COMMANDS, "a command is not in the list of this test");
    expect_screen("qemb");
    for (int i = 0; i < NUM_COMMANDS; i++) {
        cr_expect_eq(run("QEMB %s --help 2>/dev/null%s", commands[i], ""), 0);
        const char *codes = strstr(output, "\nexit codes: 0 ");
        cr_expect(codes && strstr(codes, "; 1 ") && strstr(codes, "2 wrong command line\n"), "%s: %s", commands[i], output);
        cr_expect_not_null(strstr(output, "--json"), "%s", commands[i]);
        expect_screen(commands[i]);
    }
}

Test(cli_manners, pages,
     .description = "cli: the manual page holds every --help as it stands, the completion knows its commands and options") {
    cr_assert_eq(run("sh src/cli/man.sh '%s' '%s'", support_program(), support_path("qemb.1")), 0, "%s", output);
    size_t size = 0;
    char *page = support_read(support_path("qemb.1"), &size);
    cr_assert_not_null(page);
    for (int i = 0; i < NUM_COMMANDS; i++) {
        char section[64];
        int used = snprintf(section, sizeof section, ".SH \"QEMB %s\"\n.nf\nusage: qemb ", commands[i]);
        for (char *p = section + 10; *p != '"' && used > 0; p++) {
            *p = (char)toupper((unsigned char)*p);
        }
        cr_expect_not_null(strstr(page, section), "no section %s", section);
    }
    int codes = 0;
    for (const char *p = page; (p = strstr(p, "\nexit codes: 0 ")) != NULL; p++) {
        codes++;
    }
    cr_expect_eq(codes, NUM_COMMANDS + 1);
    free(page);
    static const char complete[] =
        "bash -c '. src/cli/completion.bash; COMP_WORDS=(\"$1\" %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _qemb; "
        "echo \"${COMPREPLY[@]}\"' bash '%s'";
    cr_expect_eq(run(complete, "se", support_program()), 0);
    cr_expect_str_eq(output, "serve-check\n");
    cr_expect_eq(run(complete, "convert --row", support_program()), 0);
    cr_expect_str_eq(output, "--row-alignment\n");
    cr_expect_eq(run(complete, "bench --device ref", support_program()), 0);
    cr_expect_str_eq(output, "reference\n");
}

/* ---- refusals ------------------------------------------------------------------------------------------------------------- */

Test(cli_manners, refusals,
     .description = "cli: an unknown option is one line on stderr that names command and help, exit code 2, nothing on stdout") {
    for (int i = 0; i < NUM_COMMANDS; i++) {
        char want[128];
        (void)snprintf(want, sizeof want, "qemb %s: unknown option --no-such-option; see `qemb %s --help`\n", commands[i], commands[i]);
        cr_expect_eq(run("QEMB %s --no-such-option 2>&1%s", commands[i], ""), 2, "%s", commands[i]);
        cr_expect_str_eq(output, want);
        cr_expect_eq(run("QEMB %s --no-such-option 2>/dev/null%s", commands[i], ""), 2);
        cr_expect_str_empty(output);
    }
    cr_expect_eq(run("QEMB dmeo 2>&1%s%s", "", ""), 2);
    cr_expect_str_eq(output, "qemb: unknown command \"dmeo\"; see `qemb --help`\n");
}

Test(cli_manners, full_disk, .description = "cli: results that a full disk did not take are a failure, exit code 1, in one line") {
    static const char *const lines[] = {"devices",
                                        "devices --json",
                                        "inspect '%s'",
                                        "inspect --json '%s'",
                                        "lookup '%s' --table emb_l.1 --indices 1",
                                        "bench sort --rows 101 --batch 16 --device reference --runs 2 --json"};
    const char *in = support_state_dict("in", 2, &(const float){1.0f});
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char command[512], arguments[256];
        (void)snprintf(arguments, sizeof arguments, lines[i], in);
        (void)snprintf(command, sizeof command, "QEMB %s 2>&1 >/dev/full", arguments);
        cr_expect_eq(support_shell(output, sizeof output, command), 1, "%s: %s", lines[i], output);
        cr_expect(strstr(output, ": the output could not be written\n"), "%s: %s", lines[i], output);
    }
}

/* ---- terminals and pipes -------------------------------------------------------------------------------------------------- */

/* Runs the program on a terminal of its own; what it sent there goes to `output`. */
static int on_terminal(const char *name, const char *value, const char *const *arguments) {
    int terminal = -1;
    const pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    cr_assert_geq(child, 0);
    if (child == 0) {
        (void)unsetenv("NO_COLOR");
        (void)setenv("TERM", "xterm", 1);
        if (name) {
            (void)setenv(name, value, 1);
        }
        char *words[16] = {(char *)(uintptr_t) "qemb"};
        for (int i = 0; arguments[i] && i < 14; i++) {
            words[i + 1] = (char *)(uintptr_t)arguments[i];
        }
        (void)execv(support_program(), words);
        _exit(127);
    }
    size_t used = 0;
    for (ssize_t n; used < OUTPUT - 1 && (n = read(terminal, output + used, OUTPUT - 1 - used)) > 0;) {
        used += (size_t)n;
    }
    output[used] = 0;
    (void)close(terminal);
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(cli_manners, terminal,
     .description = "cli: bold text and bars are for terminals, NO_COLOR and TERM=dumb switch them off, a pipe gets neither") {
    const char *in = support_state_dict("in", 2, &(const float){1.0f});
    const char *const inspect[] = {"inspect", in, NULL};
    cr_expect_eq(on_terminal(NULL, NULL, inspect), 0);
    cr_expect(strstr(output, "\033[1m") && strstr(output, "\033[0m"), "no bold text on a terminal: %s", output);
    cr_expect_eq(on_terminal("NO_COLOR", "1", inspect), 0);
    cr_expect_null(strchr(output, '\033'), "%s", output);
    cr_expect_eq(run("QEMB inspect '%s' 2>&1%s", in, ""), 0);
    cr_expect_null(strchr(output, '\033'), "%s", output);
    char out[512];
    (void)snprintf(out, sizeof out, "%s", support_path("out"));
    const char *const convert[] = {"convert", in, "--bits", "4", "--device", "reference", "-o", out, NULL};
    cr_expect_eq(on_terminal(NULL, NULL, convert), 0);
    cr_expect(strstr(output, "packing") && strstr(output, "100 %") && strstr(output, "\r\033[K"), "no bar on a terminal: %s", output);
    cr_expect_eq(on_terminal("TERM", "dumb", convert), 0);
    cr_expect(!strstr(output, "packing") && !strchr(output, '\033'), "%s", output);
    cr_expect_eq(run("QEMB convert '%s' --bits 4 --device reference -o '%s' 2>&1", in, out), 0);
    cr_expect(!strstr(output, "packing") && strchr(output, '\n') == output + strlen(output) - 1, "%s", output);
}

/* ---- JSON ----------------------------------------------------------------------------------------------------------------- */

Test(cli_manners, json_of_files, .description = "cli: convert --json is one object with the files and their bytes") {
    char out[512];
    const char *in = support_state_dict("in", 2, &(const float){1.0f});
    (void)snprintf(out, sizeof out, "%s", support_path("out"));
    cr_assert_eq(run("QEMB convert '%s' --bits 4 --device reference --json -o '%s'", in, out), 0, "%s", output);
    json_t *o = json_loads(output, 0, NULL);
    cr_assert_not_null(o, "%s", output);
    size_t bytes[2];
    free(support_read(in, &bytes[0]));
    free(support_read(out, &bytes[1]));
    cr_expect_str_eq(json_string_value(json_object_get(o, "op")), "convert");
    cr_expect_str_eq(json_string_value(json_object_get(o, "file")), out);
    cr_expect_eq(json_integer_value(json_object_get(o, "from_bytes")), (json_int_t)bytes[0]);
    cr_expect_eq(json_integer_value(json_object_get(o, "bytes")), (json_int_t)bytes[1]);
    cr_expect_eq(json_integer_value(json_object_get(o, "bits")), 4);
    json_decref(o);
}

Test(cli_manners, json_without_numbers, .description = "cli: NaN and infinity are null in JSON, which has no word for them") {
    const char *in = support_state_dict("in", 2, &(const float){NAN});
    cr_assert_eq(run("QEMB lookup '%s' --table emb_l.0 --indices 3,4 --json%s", in, ""), 0, "%s", output);
    cr_expect_eq(strncmp(output, "[null, null, null, null, null]\n[", 32), 0, "%s", output);
    cr_expect_eq(json_lines(), 2);
    cr_assert_eq(run("QEMB inspect '%s' --json%s", in, ""), 0, "%s", output);
    cr_expect(strstr(output, "\"rms_error_8_bits\":null") && strstr(output, "\"nonfinite_rows\":1,"), "%s", output);
    cr_expect_eq(json_lines(), 1 + 2 + 1 + 2); /* the file, tensors, the checksum, tables */
}

Test(cli_manners, json_of_tune,
     .description = "cli: tune --json is an object a choice, then the file; it does not share stdout with -o -") {
    char file[512];
    (void)snprintf(file, sizeof file, "%s", support_path("tuned"));
    cr_assert_eq(run("QEMB tune --quick --shape 'sort --rows 101 --batch 16' --json -o '%s'%s", file, ""), 0, "%s", output);
    json_t *o = json_loads(output, JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert_not_null(o, "%s", output);
    cr_expect_str_eq(json_string_value(json_object_get(o, "stem")), "row_sort");
    cr_expect(json_is_string(json_object_get(o, "variant")) && json_is_integer(json_object_get(o, "size")), "%s", output);
    json_decref(o);
    const char *last = strchr(output, '\n');
    cr_assert_not_null(last);
    o = json_loads(last + 1, JSON_DISABLE_EOF_CHECK, NULL);
    cr_expect_str_eq(json_string_value(json_object_get(o, "file")), file);
    cr_expect_eq(json_integer_value(json_object_get(o, "choices")), 1);
    json_decref(o);
    cr_expect_eq(json_lines(), 2);
    cr_expect_eq(run("QEMB tune --json -o - 2>&1%s%s", "", ""), 2);
    cr_expect_not_null(strstr(output, "give a file to -o"), "%s", output);
}
