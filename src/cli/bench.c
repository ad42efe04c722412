/* bench.c - `qemb bench`: one operation on one shape, a file of shapes, or all of them into the kept results. */
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/bench_cli.h"

static const char help_head[] = "usage: qemb bench OPERATION [options]       one shape\n"
                                "       qemb bench --shapes FILE [options]   each line of FILE: a name, an operation, options\n"
                                "       qemb bench --full FOLDER [options]   FOLDER/shapes/*.txt into FOLDER/results/*/*.tsv\n"
                                "\n"
                                "Times an operation from enqueue to finish, after warm-up, with a fresh batch every run.\n"
                                "\n";
static const char help_tail[] = "\n"
                                "shape    --tables 1  --rows 1M (or E1,E2,... or kaggle[:SCALE])  --dim 64 (or D1,D2,...)  --mixed\n"
                                "         --batch 2048  --bag 20  --mode sum (mean, max)  --weighted\n"
                                "         --long 0 (else as many bags have most of the lookups, the others 0 to 3)\n"
                                "ids      --alpha 1 (uniform; above 1: Zipf)  --reuse 0  --int32 (else int64)  --seed 1\n"
                                "module   --bits 8 (4, 2)  --float  --observer memoryless (moving_average, min_max)\n"
                                "         --arithmetic torch_cpu (torch_cuda, packed)\n"
                                "         --optimizer sgd (adagrad, rowwise_adagrad, sparse_adam, adam, partial_rowwise_adam, lamb,\n"
                                "         lars_sgd)\n"
                                "packed   --layout torch_rowwise (rowwise_half, fbgemm, planar)  --output float32 (float16, bfloat16)\n"
                                "         planar: --qparams fp32 (bf16, pow2)  --symmetric;  fbgemm: --alignment 1 (16)\n"
                                "timing   --runs N (30, fewer when slow)  --repeat (one batch, hot caches)  --flush MIB (cold caches)\n"
                                "         --compare float|memoryless|pipeline|copy|yardstick   15 pairs or more, in turns; ratio:\n"
                                "         median of time / time of the other (a 16th of it or less: five runs a turn, their\n"
                                "         median). copy has the reads and writes of packing; yardstick is hand-written AVX-512\n"
                                "         on the same memory (D = 16, 64, 128, 256; --int32)\n"
                                "output   --json (one object a line, the picked variant last)  --device NAME\n"
                                "         --only TEXT,... (shapes whose name holds one; --full keeps the other results)\n"
                                "\n"
                                "GB/s counts the fewest bytes the work must move; share and rows divide by the bandwidth of a copy\n"
                                "and of random rows as wide as the table's, measured in the same run; FBGEMM is GB/s by its rule.\n"
                                "\n"
                                "exit codes: 0 done; 1 a measurement failed; 2 wrong command line\n";

static void print_help(void) {
    (void)fputs(help_head, stdout);
    for (int i = 0; bench_operations[i]; i++) {
        (void)printf("  %-15s %s\n", bench_operations[i]->name, bench_operations[i]->summary);
    }
    (void)fputs(help_tail, stdout);
}

/* Where results go besides stdout. */
typedef struct sink {
    bool json;
    const char *folder; /* of --full, NULL otherwise */
    FILE *file;
    char path[1200], temporary[1232];
} sink;

/* FOLDER/results/VERSION/DEVICE.tsv, opened when the first result names the device. */
static bool open_results(sink *s, const char *device) {
    char folder[1024], name[64];
    size_t n = 0;
    for (const char *p = device; *p && n + 1 < sizeof name; p++) {
        bool good = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '.' || *p == '-';
        if (good || (n && name[n - 1] != '_')) {
            name[n++] = good ? *p : '_';
        }
    }
    name[n] = 0;
    (void)snprintf(folder, sizeof folder, "%s/results", s->folder);
    (void)mkdir(folder, 0777);
    (void)snprintf(folder, sizeof folder, "%s/results/%s", s->folder, qemb_version());
    (void)mkdir(folder, 0777);
    (void)snprintf(s->path, sizeof s->path, "%s/%s.tsv", folder, name);
    (void)snprintf(s->temporary, sizeof s->temporary, "%s.new", s->path);
    s->file = fopen(s->temporary, "w");
    if (s->file) {
        bench_write_tsv_header(s->file);
    }
    return s->file != NULL;
}

static int measure(const bench_command *c, sink *s) {
    bench_options options = c->options;
    bench_report *report = bench_alloc(1, sizeof *report);
    options.device = c->device[0] ? c->device : NULL;
    int code = CLI_DONE;
    qemb_status st = bench_run(c->operation, &options, report);
    if ((st == QEMB_ERR_NOMEM || st == QEMB_ERR_UNSUPPORTED) && options.name[0]) {
        (void)fprintf(stderr, "qemb bench: %s skipped: %s\n", options.name, bench_last_error());
    } else if (st != QEMB_OK) {
        code = cli_failed("bench", bench_last_error());
    } else {
        (s->json ? bench_print_json : bench_print_text)(report);
        if (s->folder && !s->file && !open_results(s, report->device)) {
            (void)fprintf(stderr, "qemb bench: %s: %s; give a folder that can be written to\n", s->temporary, strerror(errno));
            code = CLI_FAILED;
        }
        if (s->file) {
            bench_write_tsv(s->file, report);
        }
    }
    free(report);
    return code;
}

/* Whether one of the texts, separated by commas, is in the name. */
static bool named(const char *name, const char *texts) {
    char copy[512];
    (void)snprintf(copy, sizeof copy, "%s", texts);
    for (char *rest = copy, *text; (text = strsep(&rest, ",")) != NULL;) {
        if (*text && strstr(name, text)) {
            return true;
        }
    }
    return false;
}

/* A line "NAME OPERATION options" under the options of the command line; '#' starts a comment. */
static int run_line(char *line, const bench_command *base, sink *s) {
    enum { MAX_WORDS = 64 };
    char *words[MAX_WORDS + 1];
    int count = 0;
    line[strcspn(line, "#\n")] = 0;
    for (char *rest = line, *word; (word = strsep(&rest, " \t")) != NULL;) {
        if (*word && count < MAX_WORDS) {
            words[count++] = word;
        }
    }
    if (count == 0 || (base->only && !named(words[0], base->only))) {
        return CLI_DONE;
    }
    words[count] = NULL;
    bench_command *command = bench_alloc(1, sizeof *command);
    *command = *base;
    command->operation = NULL;
    int code = bench_parse(count, words, words[0], command);
    code = code == CLI_DONE ? measure(command, s) : code;
    free(command);
    return code;
}

static int run_file(const char *path, const bench_command *base, sink *s) {
    char line[4096];
    int code = CLI_DONE;
    FILE *file = fopen(path, "r");
    if (!file) {
        (void)fprintf(stderr, "qemb bench: %s: %s\n", path, strerror(errno));
        return CLI_FAILED;
    }
    while (code == CLI_DONE && fgets(line, sizeof line, file)) {
        code = run_line(line, base, s);
    }
    (void)fclose(file);
    return code;
}

/* Rows of the results kept so far whose shapes were not measured anew go behind the new ones; results of other columns are dropped. */
static void keep_other_shapes(const sink *s) {
    char line[2048], header[2048], mark[160];
    FILE *kept = fopen(s->path, "r");
    FILE *new_rows = fopen(s->temporary, "r");
    char *text = bench_alloc(1 << 22, 1);
    if (kept && new_rows) {
        text[fread(text, 1, (1 << 22) - 1, new_rows)] = 0;
        const bool same_columns = fgets(header, sizeof header, kept) && strncmp(text, header, strlen(header)) == 0;
        while (same_columns && fgets(line, sizeof line, kept)) {
            const char *shape = strchr(line, '\t');
            shape = shape ? strchr(shape + 1, '\t') : NULL;
            const char *end = shape ? strchr(shape, ':') : NULL;
            if (end && end - shape < 128) {
                (void)snprintf(mark, sizeof mark, "%.*s", (int)(end - shape) + 1, shape);
                if (!strstr(text, mark)) {
                    (void)fputs(line, s->file);
                }
            }
        }
    }
    if (kept) {
        (void)fclose(kept);
    }
    if (new_rows) {
        (void)fclose(new_rows);
    }
    free(text);
}

static int run_full(const bench_command *base, sink *s) {
    char pattern[1024];
    glob_t found = {0};
    int code = CLI_DONE;
    (void)snprintf(pattern, sizeof pattern, "%s/shapes/*.txt", base->full);
    if (glob(pattern, 0, NULL, &found) != 0) {
        return cli_usage("bench", "no %s; --full wants the folder that holds shapes/", pattern);
    }
    for (size_t i = 0; code == CLI_DONE && i < found.gl_pathc; i++) {
        code = run_file(found.gl_pathv[i], base, s);
    }
    globfree(&found);
    if (s->file) {
        if (base->only) {
            keep_other_shapes(s);
        }
        bool good = fclose(s->file) == 0 && code == CLI_DONE;
        if (!good || rename(s->temporary, s->path) != 0) {
            (void)remove(s->temporary);
            return code ? code : cli_failed("bench", "the results could not be written");
        }
        (void)fprintf(stderr, "qemb bench: results in %s\n", s->path);
    }
    return code;
}

int cli_bench(int argc, char **argv) {
    bench_command *command = bench_alloc(1, sizeof *command);
    bench_options_default(&command->options);
    int code = bench_parse(argc, argv, NULL, command);
    sink s = {.json = command->json, .folder = command->full};
    if (code == CLI_DONE && command->help) {
        print_help();
    } else if (code == CLI_DONE && command->full) {
        code = run_full(command, &s);
    } else if (code == CLI_DONE && command->shapes) {
        code = run_file(command->shapes, command, &s);
    } else if (code == CLI_DONE) {
        code = measure(command, &s);
    }
    free(command);
    return code;
}
