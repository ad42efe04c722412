/* test_program_calls.c - the qemb program when one of its own calls fails: of the library, of OpenCL, of the system.
 *
 * Each command runs once unharmed, which tells every way by which it comes to such a call (tests/faulty/faulty.c); then once a way with
 * that call failing, in turns with another status, and with every call from there on. It ends by itself: with the right answer, or with a
 * sentence and exit code 1; a sentence of the library's reaches the user; a file is whole or not there. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scoreboard.h"
#include "support_files.h"
#include "support_program.h"
#include "support_torture.h"

TestSuite(program_calls, .init = support_folder_create, .fini = support_folder_remove, .timeout = 1200);

enum { OUTPUT = 1 << 16, MOST_WAYS = 1024, CODES = 4 };

typedef enum promise { ENDS, ANSWERS } promise; /* ANSWERS: what is printed with exit code 0 is what is printed unharmed */

typedef struct run {
    int code;
    char output[OUTPUT];
    long given;
    int ways;
    long first[MOST_WAYS];
    char name[MOST_WAYS][64];
    char *file; /* what it wrote into `out`; NULL: it is not there */
    size_t bytes;
} run;

static void run_program(const char *arguments, long at, int code, int for_good, run *r) {
    char command[4096];
    (void)remove(support_path("out"));
    (void)snprintf(command, sizeof command, "cd '%s' && QEMB_FAULT_CALL='%ld %d %d' QEMB_FAULT_WAYS=ways timeout -k 5 300 QEMB %s 2>&1",
                   support_path(""), at, code, for_good, arguments);
    r->code = support_shell(r->output, sizeof r->output, command);
    r->ways = 0;
    FILE *ways = fopen(support_path("ways"), "r");
    cr_assert_not_null(ways, "qemb %s, QEMB_FAULT_CALL='%ld %d %d' ended by a signal: %s", arguments, at, code, for_good, r->output);
    cr_assert_eq(fscanf(ways, "%ld", &r->given), 1);
    while (r->ways < MOST_WAYS && fscanf(ways, "%ld %63s", &r->first[r->ways], r->name[r->ways]) == 2) {
        r->ways++;
    }
    (void)fclose(ways);
    (void)remove(support_path("ways"));
    r->file = access(support_path("out"), R_OK) == 0 ? support_read(support_path("out"), &r->bytes) : NULL;
}

static bool survived(const char *what, const run *good, const run *r, promise says) {
    const bool same = r->file && good->file && r->bytes == good->bytes && memcmp(r->file, good->file, good->bytes) == 0;
    const bool ended = r->code == 0 || (r->code == 1 && strstr(r->output, "qemb"));
    const bool right = r->code != 0 || says == ENDS || strcmp(r->output, good->output) == 0;
    const bool whole = !good->file || says == ENDS || (r->code == 0 ? same : !r->file);
    const bool sentence = !strstr(r->output, "(null)");
    cr_expect(ended, "%s: exit code %d, '%s'", what, r->code, r->output);
    cr_expect(right, "%s: another answer: %s", what, r->output);
    cr_expect(whole, "%s: exit code %d and %s file", what, r->code, !r->file ? "no" : same ? "the whole" : "another");
    cr_expect(sentence, "%s: %s", what, r->output);
    return ended && right && whole && sentence;
}

/* One way in `stride` in the default run; when all are asked for all of them, or of a long command one in `sparse`, outside nightly runs. */
static void some_ways(const char *arguments, promise says, int stride, int sparse) {
    static run good, r;
    int met = 0, harmed = 0;
    run_program(arguments, 0, 0, 0, &good);
    cr_assert_eq(good.code, 0, "%s: %s", arguments, good.output);
    cr_assert_gt(good.ways, 0, "%s", arguments);
    const int step = getenv("QEMB_NIGHTLY") ? 1 : torture_all_ways() ? sparse : stride;
    for (int way = (int)(strlen(arguments) % (size_t)step) % good.ways; way < good.ways; way += step) {
        char what[512];
        const int for_good = way % 3 == 2;
        (void)snprintf(what, sizeof what, "qemb %s, QEMB_FAULT_CALL='%ld %d %d' (%s)", arguments, good.first[way], way % CODES, for_good,
                       good.name[way]);
        run_program(arguments, good.first[way], way % CODES, for_good, &r);
        harmed += !survived(what, &good, &r, says);
        met += r.given > 0;
        free(r.file);
    }
    free(good.file);
    cr_expect_gt(met, 0, "%s: no call was made to fail", arguments);
    scoreboard("R5", harmed == 0, arguments, "%d of %d ways to the program's calls failed, %d harmed", met, good.ways, harmed);
}

static void every_way(const char *arguments, promise says, int stride) {
    some_ways(arguments, says, stride, 1);
}

/* Two tables that torch could have written, "in"; packed, "packed". */
static void write_tables(void) {
    (void)support_state_dict("in", 2, NULL);
    static run r;
    run_program("convert in --bits 8 --mode sum --device reference -o packed", 0, 0, 0, &r);
    cr_assert_eq(r.code, 0, "%s", r.output);
}

Test(program_calls, files,
     .description = "program: lookup, inspect and convert, each way to a call failing: the right answer or a sentence") {
    support_program_is("tests/qemb_faulty");
    write_tables();
    every_way("lookup packed --table emb_l.1 --indices 7,30,2 --offsets 0,2 --weights 1,2,3", ANSWERS, 7);
    every_way("lookup in --table emb_l.1 --indices 7,30,2 --json", ANSWERS, 7);
    every_way("inspect in --verify", ANSWERS, 11);
    every_way("inspect packed --verify --json", ANSWERS, 11);
    every_way("convert in --bits 4 --device reference --mode sum -o out", ANSWERS, 7);
    every_way("convert packed --bits 4 --device reference -o out --json", ANSWERS, 7);
}

Test(program_calls, bench, .description = "program: bench, each way to a call failing, ends by itself") {
    static const char *const operations[] = {"forward --compare pipeline",
                                             "step --optimizer adagrad",
                                             "backward",
                                             "update",
                                             "sort",
                                             "observe --observer min_max",
                                             "pack",
                                             "packed_forward"};
    support_program_is("tests/qemb_faulty");
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        char arguments[256];
        (void)snprintf(arguments, sizeof arguments, "bench %s --device reference --rows 101 --dim 5 --batch 7 --bag 3 --json",
                       operations[i]);
        every_way(arguments, ENDS, 41);
    }
    static const char shapes[] = "first sort --rows 11 --batch 3\n";
    cr_assert(mkdir(support_path("full"), 0777) == 0 && mkdir(support_path("full/shapes"), 0777) == 0);
    (void)support_write("full/shapes/a.txt", shapes, sizeof shapes - 1);
    every_way("bench --full full --device reference --runs 2 --only first", ENDS, 11);
}

Test(program_calls, demo, .description = "program: demo, each way to a call failing, ends by itself and leaves no log behind") {
    support_program_is("tests/qemb_faulty");
    cr_assert_eq(setenv("TMPDIR", support_path(""), 1), 0);
    every_way("demo --device reference --scale 0.0001 --dim 3 --batch 8 --rows 19", ENDS, 23);
    cr_expect_eq(support_count_files("qemb-demo"), 0, "a log is left");
}

Test(program_calls, device, .description = "program: devices and tune, each way to a call failing, end by themselves") {
    support_program_is("tests/qemb_faulty");
    every_way("devices", ENDS, 3);
    every_way("devices --json", ENDS, 5);
    every_way("tune --quick --shape 'sort --rows 101 --batch 16' -o out", ENDS, 83);
    if (torture_all_ways()) { /* compiles a kernel for every value of a knob */
        some_ways("tune --quick --shape 'update --rows 101 --dim 5 --batch 7 --bag 3' -o out", ENDS, 1, 97);
    }
    every_way("bench forward --rows 101 --dim 16 --batch 7 --bag 3 --runs 1", ENDS, 61);
}

#define MODEL "--tables 3 --dim 4 --bottom 5 --top 7 --batch 64 "
#define DATA  "--synthetic 130 --test-rows 66 --scale 0.0001 "

Test(program_calls, model,
     .description = "program: train, resume, serve-check and ladder, each way to a call failing: a whole model or none") {
    support_program_is("tests/qemb_faulty");
    some_ways("train " MODEL DATA "--bits 8 --save model --predictions p", ENDS, 127, 2);
    if (torture_all_ways()) {
        some_ways("train " DATA "--resume model --epochs 1", ENDS, 1, 29);
        some_ways("train " DATA "--resume model --epochs 2 --json", ENDS, 1, 7);
        some_ways("serve-check model.packed " DATA, ENDS, 1, 3);
        some_ways("ladder " MODEL DATA "--seeds 1", ENDS, 1, 11);
    }
}
