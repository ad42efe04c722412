/* test_cli_errors.c - what the program says to words that make no sense, to files that cannot be read or written, and to odd ones that can.
 *
 * Tables of command lines, each with its exit code and a piece of what it prints; nearly all on the reference engine, which compiles nothing. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_files.h"
#include "support_program.h"

TestSuite(cli_errors, .init = support_folder_create, .fini = support_folder_remove, .timeout = 600);

#define OK(call)    cr_assert((call) == QEMB_OK, "%s", qemb_last_error())
#define SIZE(array) (sizeof(array) / sizeof *(array))

enum { OUTPUT = 1 << 17, ROWS = STATE_ROWS, DIM = STATE_DIM, WIDE = 1 << 20, WIDE_ROWS = 5 };
static char output[OUTPUT];

/* The program without the bandwidths, half a second a run (tests/faulty/faulty.c). */
#define MEASURES_NOTHING "tests/qemb_faulty"

typedef struct line {
    const char *arguments; /* of `qemb`, in the folder of the test; a shell reads them */
    int code;
    const char *says; /* in stdout or stderr */
} line;

/* Runs a command line in the folder of the test, with NAME=VALUE words in front of the program. */
static int run_with(const char *environment, const char *arguments) {
    char command[4096];
    (void)snprintf(command, sizeof command, "cd '%s' && env %s QEMB %s 2>&1", support_path(""), environment, arguments);
    return support_shell(output, sizeof output, command);
}

static void expect(const char *command, const line *lines, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char arguments[2048];
        (void)snprintf(arguments, sizeof arguments, "%s %s", command, lines[i].arguments);
        cr_expect_eq(run_with("", arguments), lines[i].code, "qemb %s: %s", arguments, output);
        cr_expect(strstr(output, lines[i].says), "qemb %s: %s", arguments, output);
        const bool one_line = strchr(output, '\n') == output + strlen(output) - 1;
        cr_expect(lines[i].code != 2 || one_line, "qemb %s: a refusal is one line: %s", arguments, output);
    }
}

/* A state dict of two tables, "in"; "packed": both with mode sum; "one": a single table without bags. */
static void write_tables(void) {
    (void)support_state_dict("in", 2, NULL);
    (void)support_state_dict("single", 1, NULL);
    cr_assert_eq(run_with("", "convert in --bits 8 --mode sum --device reference -o packed"), 0, "%s", output);
    cr_assert_eq(run_with("", "convert single --bits 8 --mode none --device reference -o one"), 0, "%s", output);
}

static void write_text(const char *name, const char *text) {
    (void)support_write(name, text, strlen(text));
}

/* ---- words ----------------------------------------------------------------------------------------------------------------- */

Test(cli_errors, bench_words, .description = "cli: bench refuses each value that its option does not have, and takes those that it has") {
    support_program_is(MEASURES_NOTHING);
    static const line lines[] = {
        {"forward --reuse 2", 2, "\"2\" is not a value of --reuse"},
        {"forward --flush x", 2, "--flush"},
        {"forward --seed -1", 2, "--seed"},
        {"forward --alignment 3", 2, "--alignment"},
        {"forward --alignment 99", 2, "--alignment"},
        {"forward --bits 9", 2, "--bits"},
        {"forward --tables 0", 2, "--tables"},
        {"forward --dim 0", 2, "--dim"},
        {"forward --batch 0", 2, "--batch"},
        {"forward --bag x", 2, "--bag"},
        {"forward --bag 1k2", 2, "--bag"},
        {"forward --bag 99999999999999999999", 2, "--bag"},
        {"forward --bag 9999999999999G", 2, "--bag"},
        {"forward --long -9999999999999G", 2, "--long"},
        {"forward --alpha 99", 2, "--alpha"},
        {"forward --alpha 1x", 2, "--alpha"},
        {"forward --alpha x", 2, "--alpha"},
        {"forward --alpha nan", 2, "--alpha"},
        {"forward --runs 0", 2, "--runs"},
        {"forward --arithmetic none", 2, "--arithmetic"},
        {"forward --layout none", 2, "--layout"},
        {"forward --mode none", 2, "--mode"},
        {"forward --optimizer none", 2, "--optimizer"},
        {"forward --qparams none", 2, "--qparams"},
        {"forward --output none", 2, "--output"},
        {"forward --compare none", 2, "--compare"},
        {"forward --rows=0", 2, "\"0\" is not a value of"},
        {"forward --rows kaggle:7", 2, "--rows"},
        {"forward --rows kaggles", 2, "--rows"},
        {"forward --rows $(printf '1,%.0s' $(seq 1024))1", 2, "--rows"},
        {"forward --rows $(printf '1,%.0s' $(seq 4096))1", 2, "--rows"},
        {"forward --batch 7 --long 8", 2, "--long 8"},
        {"forward --batch 7 --long 3 --bag 3", 2, "--long 3"},
        {"forward --batch 2G --bag 1 --tables 2", 2, "more than 2^31"},
        {"forward --compare yardstick --tables 2 --int32", 2, "yardstick"},
        {"forward --compare yardstick --int32 --weighted", 2, "yardstick"},
        {"forward --compare yardstick --int32 --mode mean", 2, "yardstick"},
        {"forward --rows 31,37 --dim 8 --mixed --seed 9 --reuse 0.5 --repeat --flush 1 --arithmetic torch_cuda --batch 7 --bag 4 --long 2 "
         "--runs 2 --device reference",
         0, "T=2 E=31..37"},
        {"forward --rows kaggle:0.000001 --dim 3 --tables 26 --batch 2 --bag 1 --runs 2 --device reference", 0, "T=26"},
        {"forward --rows kaggle --dim 3 --batch 2 --bag 1 --runs 0 --device reference", 2, "--runs"},
        {"forward --rows 31 --dim 3 --batch 7 --bag 1 --compare float --device reference", 0, " of float"},
        {"--help", 0, "usage: qemb bench"},
    };
    expect("bench", lines, SIZE(lines));
}

Test(cli_errors, file_words, .description = "cli: convert, inspect, lookup and tune refuse words that they do not have") {
    support_program_is(MEASURES_NOTHING);
    write_tables();
    static const line lines[] = {
        {"convert in --nope", 2, "--nope"},
        {"convert in -o", 2, "option -o wants a value"},
        {"convert in other --bits 4 -o x", 2, "unexpected \"other\""},
        {"convert --bits 4 -o x", 2, "which file?"},
        {"convert in --bits 4 --padding-idx x -o x", 2, "--padding-idx"},
        {"convert in --bits 4 --max-norm -1 -o x", 2, "--max-norm"},
        {"convert in --bits 9 -o x", 2, "--bits"},
        {"convert in --bits 4 --qparams x -o x", 2, "--qparams"},
        {"convert in --bits 4 --method x -o x", 2, "--method"},
        {"convert in --bits 4 --mode x -o x", 2, "--mode"},
        {"convert in --bits 4 --layout fbgemm --row-alignment 3 -o x", 2, "--row-alignment"},
        {"convert in --bits 4 --layout fbgemm --row-alignment 99 -o x", 2, "--row-alignment"},
        {"convert in --bits 4 --layout fbgemm --qparams fp32 -o x", 2, "planar"},
        {"convert in --bits 4 --device nowhere -o x", 1, "nowhere"},
        {"convert in --bits 4 --padding-idx 3 --max-norm 2.5 --as-peer --keep --device reference -o x", 0, "x: "},
        {"convert packed --prefix q --bits 4 --device reference -o x", 1, "q"},
        {"convert packed --bits 4 --device reference -o /nowhere/x", 1, "/nowhere/x"},
        {"inspect in other", 2, "unexpected \"other\""},
        {"inspect in --json=1", 2, "option"},
        {"inspect one", 0, "packed, 8 bits"},
        {"lookup", 2, "which file?"},
        {"lookup in other --indices 1", 2, "unexpected \"other\""},
        {"lookup in --nope", 2, "--nope"},
        {"lookup in --indices", 2, "--indices wants a value"},
        {"lookup nowhere --indices 1", 1, "nowhere"},
        {"lookup packed --indices 1 --offsets x", 2, "--offsets"},
        {"lookup packed --indices 1 --weights x", 2, "--weights"},
        {"lookup packed --indices 1 --weights ''", 2, "2 tables"},
        {"lookup packed --indices 1 --device nowhere --table emb_l.0", 1, "nowhere"},
        {"lookup packed --indices 1 --table q", 2, "no table \"q\""},
        {"lookup one --indices 1 --offsets 0", 2, "no bags"},
        {"lookup one --indices 1,2", 0, " "},
        {"lookup one --indices ''", 0, ""},
        {"lookup packed --table emb_l.1 --indices 9 --indices 7,30 --offsets 1 --offsets 0 --weights 2 --weights 1,0.5 --device reference",
         0, " "},
        {"lookup in --prefix emb_l.0. --indices 1", 0, " "},
        {"lookup in --prefix emb_l.7. --indices 1", 2, "neither packed tables nor a tensor"},
        {"lookup in --table emb_l.0 --indices 1 --weights 1", 2, "packed tables"},
        {"devices --nope", 2, "--nope"},
    };
    expect("", lines, SIZE(lines));
}

Test(cli_errors, tune_words, .description = "cli: tune refuses words that it does not have, and shapes that give nothing to choose") {
    support_program_is(MEASURES_NOTHING);
    write_text("in", "");
    static const line lines[] = {
        {"tune --help", 0, "usage: qemb tune"},
        {"tune -o", 2, "-o wants a value"},
        {"tune more", 2, "unexpected \"more\""},
        {"tune --shapes nowhere", 1, "cannot be read"},
        {"tune --shapes .", 1, "cannot be read"},
        {"tune --shapes in --shape 'sort --rows 9'", 2, "exclude each other"},
        {"tune $(printf -- '--shape x %.0s' $(seq 201))", 2, "more than 200 shapes"},
        {"tune --device nowhere --shape 'sort --rows 11'", 1, "nowhere"},
        {"tune --device reference --shape 'sort --rows 11 --batch 3 --bag 2' --shape '#'", 1, "nothing to choose"},
        {"tune --device reference --shape 'forward --rows 2G --dim 4096'", 1, "skipped"},
        {"tune --device reference --shape 'forward --rows 0'", 2, "--rows"},
        {"--version", 0, "qemb "},
        {"help", 0, "usage: qemb COMMAND"},
        {"-h", 0, "usage: qemb COMMAND"},
        {"", 0, "usage: qemb COMMAND"},
    };
    expect("", lines, SIZE(lines));
}

Test(cli_errors, model_words, .description = "cli: train and ladder read every option before they refuse one") {
    static const line lines[] = {
        {"train --synthetic 9 --bottom none --top 5-7 --ids first-seen --interaction cat --seed 3 --tables 2 --dim 4 --scale 0.5 --nope", 2,
         "--nope"},
        {"train --synthetic 9 --save a --save-every 5 --resume b --predictions c --epochs 2 --bits 32 --lr 0.5", 1, "b"},
        {"train --synthetic 9 --ids none", 2, "\"none\" is not a value"},
        {"train --synthetic 9 --interaction none", 2, "\"none\" is not a value"},
        {"train --synthetic 9 --seed -1", 2, "\"-1\" is not a value"},
        {"train --synthetic 9 --tables 27", 2, "\"27\" is not a value"},
        {"train --synthetic 9 --bottom x", 2, "\"x\" is not a value"},
        {"train --synthetic 9 --bottom 65537", 2, "\"65537\" is not a value"},
        {"train --synthetic 9 --bottom 5x", 2, "\"5x\" is not a value"},
        {"train --synthetic", 2, "--synthetic wants a value"},
        {"ladder --synthetic 9 extra", 2, "unexpected \"extra\""},
        {"ladder --synthetic 9 --from x", 2, "planted rows"},
        {"ladder --synthetic 9 --picture x --nope", 2, "--nope"},
        {"ladder --from x --data y", 2, "planted rows"},
        {"serve-check x --synthetic 9 --bits 8", 2, "--bits"},
        {"serve-check -h", 0, "usage: qemb serve-check"},
    };
    expect("", lines, SIZE(lines));
}

/* ---- files of shapes and of results ---------------------------------------------------------------------------------------- */

/* The only file of the newest version's results, with `more` behind it. */
static void append_results(const char *more) {
    char command[1024];
    (void)snprintf(command, sizeof command, "cd '%s' && printf '%s' | tee -a full/results/*/*.tsv", support_path(""), more);
    cr_assert_eq(support_shell(output, sizeof output, command), 0);
}

Test(cli_errors, shapes, .description = "cli: a line of a shapes file that is wrong is named, one that does not fit is left out") {
    support_program_is(MEASURES_NOTHING);
    write_text("wrong", "good sort --rows 11 --batch 3\nbad sort --rows 0\n");
    write_text("unknown", "bad nothing\n");
    write_text("large", "\nhuge forward --rows 2G --dim 4096\n\n# and a small one\nsmall sort --rows 11 --batch 3");
    write_text("long",
               "x sort --rows 11 --batch 3 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 "
               "--bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag 1 --bag "
               "1 --bag 1 --bag 1 --bag 1 --bag 1\n");
    static const line lines[] = {
        {"--shapes wrong --device reference --runs 2", 2, "bad: \"0\" is not a value of --rows"},
        {"--shapes unknown", 2, "unknown operation \"nothing\""},
        {"--shapes large --device reference --runs 2", 0, "huge skipped"},
        {"--shapes large --device reference --runs 2 --only tiny,,small", 0, "small: T=1"},
        {"--shapes long --device reference --runs 2", 0, "x: T=1"},
        {"--shapes /nowhere", 1, "/nowhere"},
    };
    cr_expect_eq(run_with("", "bench --shapes wrong --device reference --runs 2 2>/dev/null"), 2);
    cr_expect(strstr(output, "good"), "%s", output);
    for (size_t i = 1; i < SIZE(lines); i++) {
        expect("bench", lines + i, 1);
    }
}

Test(cli_errors, results,
     .description = "cli: bench --full keeps results by device, --only renews some, a folder that is none is refused") {
    support_program_is(MEASURES_NOTHING);
    cr_assert(mkdir(support_path("full"), 0777) == 0 && mkdir(support_path("full/shapes"), 0777) == 0);
    write_text("full/shapes/a.txt", "first sort --rows 11 --batch 3\nsecond forward --rows 13 --dim 3 --batch 3 --bag 1 --compare float\n");
    const char *again = "bench --full full --device reference --runs 15";
    cr_assert_eq(run_with("", again), 0, "%s", output);
    cr_expect(strstr(output, "results in full/results/"), "%s", output);
    append_results("junk\\na\\tb\\nc\\td\\tnoshape\\nsort\\tx\\tsecond: of another device\\nsort\\tx\\tthird: kept\\n");
    cr_assert_eq(run_with("", "bench --full full --device reference --runs 15 --only sec"), 0, "%s", output);
    cr_assert_eq(run_with("", "--version && cat full/results/*/*.tsv"), 0);
    cr_expect(strstr(output, "first: ") && strstr(output, "second: ") && strstr(output, "third: kept"), "%s", output);
    cr_expect(!strstr(output, "noshape") && !strstr(output, "another device"), "%s", output);
    /* columns of another version, then none kept at all */
    cr_assert_eq(run_with("", "--version && for f in full/results/*/*.tsv; do sed -i 1s/op/xx/ $f; done"), 0);
    cr_assert_eq(run_with("", "bench --full full --device reference --runs 15 --only second"), 0, "%s", output);
    cr_assert_eq(run_with("", "--version && cat full/results/*/*.tsv && rm -r full/results"), 0);
    cr_expect(!strstr(output, "first: ") && strstr(output, "second: "), "%s", output);
    cr_expect_eq(run_with("", "bench --full full --device reference --runs 15 --only second"), 0, "%s", output);
    cr_expect_eq(run_with("", "bench --full full --device reference --runs 15 --only none"), 0, "%s", output);
    /* a folder where the file should be, then a file where the folder should be */
    cr_assert_eq(run_with("", "--version && f=$(echo full/results/*/*.tsv) && rm $f && mkdir -p $f/x"), 0);
    cr_expect_eq(run_with("", again), 1);
    cr_expect(strstr(output, "results could not be written"), "%s", output);
    cr_assert_eq(run_with("", "--version && rm -r full/results && touch full/results"), 0);
    cr_expect_eq(run_with("", again), 1);
    cr_expect(strstr(output, "give a folder that can be written to"), "%s", output);
    write_text("full/shapes/a.txt", "first sort --rows 11 --batch 3\nsecond sort --rows 0\n");
    cr_assert_eq(run_with("", "--version && rm full/results"), 0);
    cr_expect_eq(run_with("", again), 2, "%s", output);
    cr_expect_eq(run_with("", "--version && ls full/results/*"), 0);
    cr_expect(!strstr(output, ".tsv"), "%s", output);
}

Test(cli_errors, tuning, .description = "cli: tune needs a place for its file, and says so") {
    support_program_is(MEASURES_NOTHING);
    const char *shape = "tune --quick --shape 'sort --rows 101 --batch 16'";
    char arguments[512];
    write_text("shapes", "# a comment\n\nname sort --rows 101 --batch 16\n");
    cr_expect_eq(run_with("", "tune --quick --shapes shapes -o -"), 0, "%s", output);
    cr_expect(strstr(output, "qemb-tune 1\ndevice "), "%s", output);
    cr_expect_eq(run_with("-u HOME -u XDG_CONFIG_HOME -u QEMB_TUNE", shape), 1, "%s", output);
    cr_expect(strstr(output, "no place for the file"), "%s", output);
    cr_expect_eq(run_with("-u QEMB_TUNE XDG_CONFIG_HOME=a/b", shape), 0, "%s", output);
    cr_expect(strstr(output, "choices in a/b/qemb/"), "%s", output);
    (void)snprintf(arguments, sizeof arguments, "%s -o /dev/null/x", shape);
    cr_expect_eq(run_with("", arguments), 1, "%s", output);
    cr_expect(strstr(output, "/dev/null/x.new"), "%s", output);
    (void)snprintf(arguments, sizeof arguments, "%s -o a", shape); /* a folder */
    cr_expect_eq(run_with("", arguments), 1, "%s", output);
    cr_expect(strstr(output, "the file could not be written"), "%s", output);
}

/* ---- odd files ------------------------------------------------------------------------------------------------------------- */

static void write_odd_tables(void) {
    static const int64_t flat[] = {7}, whole[] = {3, 2}, wide[] = {WIDE_ROWS, WIDE}, empty[] = {0, 5};
    static float values[14] = {1, 1, 2, 2, 3, -3};
    float *zeros = calloc((size_t)WIDE * WIDE_ROWS, sizeof *zeros);
    cr_assert_not_null(zeros);
    const qemb_tensor_desc odd[] = {{"flat.weight", flat, 1, QEMB_FILE_F32},   {"whole.weight", whole, 2, QEMB_FILE_I32},
                                    {"empty.weight", empty, 2, QEMB_FILE_F32}, {"w", whole, 2, QEMB_FILE_F32},
                                    {"some.bias", whole, 2, QEMB_FILE_F32},    {"row.weight", whole, 2, QEMB_FILE_F32}};
    OK(qemb_safetensors_save(support_path("odd"), odd, (const void *[]){values, values, values, values, values, values}, 6,
                             &(qemb_metadata){"short", "text"}, 1));
    values[3] = 1.0f / 0.0f;
    OK(qemb_safetensors_save(support_path("infinite"), odd + 5, (const void *[]){values}, 1, NULL, 0));
    values[1] = values[5] = 1.0f / 0.0f;
    OK(qemb_safetensors_save(support_path("nothing"), odd + 5, (const void *[]){values}, 1, NULL, 0));
    OK(qemb_safetensors_save(support_path("wide"), &(qemb_tensor_desc){"zero.weight", wide, 2, QEMB_FILE_F32}, (const void *[]){zeros}, 1,
                             NULL, 0));
    free(zeros);
}

/* Half of the rows of a table pruned away. */
static void write_pruned(void) {
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    int32_t map[ROWS];
    for (int i = 0; i < ROWS; i++) {
        map[i] = i % 2 ? -1 : i / 2;
    }
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_float(), .seed = 3}, &bag));
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.bits = 8}, .method = QEMB_PACK_MINMAX, .row_map = (const int32_t *[]){map}},
                          &packed));
    qemb_saver *saver = NULL;
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_packed(saver, NULL, packed));
    OK(qemb_saver_write(saver, support_path("pruned")));
    qemb_saver_destroy(saver);
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(cli_errors, odd_files,
     .description = "cli: tensors that are no tables are listed and no more; constant, infinite, very wide and pruned ones are figured") {
    write_odd_tables();
    write_pruned();
    static const line lines[] = {
        {"inspect odd", 0, "2 of one value, 0 with NaN or inf"},
        {"inspect odd --json --verify", 0, "\"verified\":true"},
        {"inspect infinite", 0, "1 of one value, 1 with NaN or inf"},
        {"inspect nothing", 0, "3 with NaN or inf"},
        {"inspect wide", 0, "4 of 5 rows"},
        {"inspect pruned", 0, "16 rows kept"},
        {"lookup odd --table flat --indices 1", 2, "\"flat.weight\" is not a table of F32"},
        {"lookup odd --table whole --indices 1", 2, "\"whole.weight\" is not a table of F32"},
        {"lookup pruned --indices 1,2", 0, "0 0 0 0 0\n"},
    };
    expect("", lines, SIZE(lines));
    /* a text that says packed tables follow, and none do */
    static const int64_t shape[] = {1};
    OK(qemb_safetensors_save(support_path("liar"), &(qemb_tensor_desc){"x", shape, 1, QEMB_FILE_F32}, (const void *[]){&(float){1}}, 1,
                             &(qemb_metadata){"qemb_packed", "version=1"}, 1));
    static const line liar[] = {{"inspect liar", 1, "qemb inspect: "},
                                {"lookup liar --indices 1", 1, "qemb lookup: "},
                                {"convert liar --bits 4 --device reference -o x", 1, "qemb convert: "}};
    expect("", liar, SIZE(liar));
}

/* ---- the demo ---------------------------------------------------------------------------------------------------------------- */

Test(cli_errors, demo, .description = "cli: the demo with a log of its own, of none, of bad rows, without a folder, with no full batch") {
    support_program_is(MEASURES_NOTHING);
    enum { LINE = 512 };
    static char good[20 * LINE], bad[20 * LINE + 16];
    char *p = good;
    for (int row = 0; row < 19; row++) {
        p += sprintf(p, "%d\t1\t2\t3\t4\t5\t6\t7\t8\t9\t10\t11\t12\t13", row % 2);
        for (int i = 0; i < QEMB_CLICK_SPARSE; i++) {
            p += sprintf(p, "\t%08x", (unsigned)(row * 7919 + i * 104729));
        }
        *p++ = '\n';
    }
    (void)sprintf(bad, "no row\n%s", good);
    write_text("good", good);
    write_text("bad", bad);
    write_text("worse", "no row\n");
    write_text("empty", "");
#define SMALL "--device reference --scale 0.0001 --dim 3 --batch 8 "
    static const line lines[] = {
        {"demo " SMALL "--log good --seed 5 --observer min_max", 0, "good, 19 rows"},
        {"demo " SMALL "--log bad", 0, "1 rows of bad left out, the first: line 1"},
        {"demo " SMALL "--rows 300", 0, "batches  38 of 8 samples"}, /* more than a chunk */
        {"demo " SMALL "--log bad --json", 0, "\"checked_batches\":1"},
        {"demo " SMALL "--log worse", 1, "no row could be read: line 1"},
        {"demo " SMALL "--log empty", 1, "empty: line 1, column 1: the file is empty"},
        {"demo " SMALL "--log good --batch 64", 0, "no full batch in the log"},
        {"demo " SMALL "--log good --batch 64 --json", 0, "\"runs\":0"},
        {"demo " SMALL "--seed x", 2, "\"x\" is not a value"},
        {"demo --device nowhere", 1, "nowhere"},
        {"demo -h", 0, "usage: qemb demo"},
    };
    expect("", lines, SIZE(lines));
    cr_expect_eq(run_with("QEMB_DEVICE=reference",
                          "train --tables 3 --dim 4 --bottom 5 --top 7 --batch 64 --scale 0.0001 --data good --ids first-seen"),
                 0, "%s", output);
    cr_expect(strstr(output, "17 to train on, 1 to test on, from good"), "%s", output);
    cr_expect_eq(run_with("QEMB_CRITEO=good", "demo " SMALL), 0, "%s", output);
    cr_expect(strstr(output, "log      good, 19 rows"), "%s", output);
    cr_expect_eq(run_with("QEMB_CRITEO= TMPDIR=", "demo " SMALL "--rows 9"), 0, "%s", output);
    cr_expect(strstr(output, "log      generated, 9 rows"), "%s", output);
    cr_expect_eq(run_with("", "demo --device reference --dim 1 --rows 7 --batch 7"), 0, "%s",
                 output); /* as many rows as the Kaggle set has */
    cr_expect(strstr(output, "Kaggle cardinalities, 33762577 rows of 1"), "%s", output);
    cr_expect_eq(run_with("TMPDIR=/nowhere", "demo " SMALL), 1, "%s", output);
    cr_expect(strstr(output, "set TMPDIR to a folder that can be written to"), "%s", output);
}

/* ---- the ladder -------------------------------------------------------------------------------------------------------------- */

static const char *const families[] = {"min/max, a row",  "greedy, a row", "min/max, a table",
                                       "greedy, a table", "QAT, a row",    "DQRM, a table"};

static char *result(char *p, const char *family, int bits, int seed) {
    return p +
           sprintf(p,
                   "{\"op\":\"ladder\",\"method\":\"%s\",\"bits\":%d,\"seed\":%d,\"auc\":%.4f,\"log_loss\":0.5,\"drop\":0.0,\"bytes\":%d,"
                   "\"seconds\":1.5,\"best_auc\":0.8,\"rows\":100,\"test_rows\":50}\n",
                   family, bits, seed, 0.7 + 0.001 * bits + 0.0001 * seed, 100 * bits);
}

static void write_results(const char *name, int seeds, int missing) {
    static char text[10 * 19 * 256];
    char *p = text;
    for (int seed = 0; seed < seeds; seed++) {
        p = result(p, "float", 32, seed);
        for (int i = missing; i < 18; i++) {
            p = result(p, families[i / 3], 8 >> i % 3, seed);
        }
    }
    write_text(name, text);
}

Test(cli_errors, ladder,
     .description = "cli: the ladder's lines are read back whole or refused; its picture is gnuplot's, or missing with a reason") {
    write_results("two", 2, 0);
    write_results("single", 1, 0);
    write_results("ten", 10, 0);
    write_results("short", 1, 1);
    write_text("foreign", "{\"op\":\"bench\"}\n");
    write_text("text", "no object\n");
    write_text("empty", "");
    char *p = result(output, "magic", 8, 1);
    *p = 0;
    write_text("magic", output);
    static const line lines[] = {
        {"--from two", 0, "QAT, a row, int4"},
        {"--from single", 0, "1 seeds"},
        {"--from ten", 1, "line 172: more than 9 seeds"},
        {"--from short", 1, "18 results of 1 seeds, want 19"},
        {"--from empty", 1, "0 results of 0 seeds"},
        {"--from foreign", 1, "line 1 is no result"},
        {"--from text", 1, "line 1 is no result"},
        {"--from magic", 1, "line 1 is no result"},
        {"--from nowhere", 1, "nowhere"},
        {"--from two --picture \"it's\"", 1, "a path with a quote"},
    };
    expect("ladder", lines, SIZE(lines));
    cr_expect_eq(run_with("PATH=/nowhere", "ladder --from two --picture picture"), 1, "%s", output);
    cr_expect(strstr(output, "gnuplot is missing or failed"), "%s", output);
    support_program_is(MEASURES_NOTHING);
    cr_expect_eq(run_with("QEMB_FAULT_CALL='3 0 0'", "ladder --from two --picture picture"), 1, "%s",
                 output); /* popen, after fopen and fclose */
    cr_expect(strstr(output, "qemb ladder: Too many open files"), "%s", output);
    write_text("gnuplot", "#!/bin/sh\ncat >asked\n"); /* takes down what the real one would be told */
    cr_assert_eq(chmod(support_path("gnuplot"), 0755), 0);
    for (int seeds = 1; seeds <= 2; seeds++) {
        char asked[4096] = "";
        size_t size = 0;
        cr_expect_eq(
            run_with("PATH=$PWD:$PATH", seeds == 1 ? "ladder --from single --picture picture" : "ladder --from two --picture picture"), 0,
            "%s", output);
        char *text = support_read(support_path("asked"), &size);
        cr_assert_not_null(text);
        (void)snprintf(asked, sizeof asked, "%s", text);
        free(text);
        cr_expect(strstr(asked, "set output 'picture'") && strstr(asked, "title 'QAT, a row', '-'"), "%s", asked);
        cr_expect(strstr(asked, seeds == 1 ? "\n1 0.704000000 0.000000000\n" : "\n1 0.704050000 0.0"), "%s", asked);
    }
}
