/* tune.c - `qemb tune`: measures the variants of every kernel and their knobs on this device, and writes what was fastest where the library
 * reads it.
 *
 * A shape is an operation of the bench; the stems that it launches are tuned one after another. For a stem every variant is timed against the
 * best so far, run by run in turns, then each knob of the winner goes through its range. A candidate wins when the median of its ratios is
 * 2 % better: noise does not move the choice. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/bench_cli.h"

enum { MAX_LINES = 200, LINE = 256, NAME = 64, MAX_CHOICES = 64, MAX_ROUNDS = 64 };
static const double better = 0.98;

static const char help[] = "usage: qemb tune [--quick] [--shape 'OPERATION options of qemb bench']... [options]\n"
                           "\n"
                           "Measures the variants of every kernel and their knobs on this device, and writes the fastest to the\n"
                           "file that the library reads: $QEMB_TUNE, else $XDG_CONFIG_HOME/qemb/DEVICE.tune, else\n"
                           "~/.config/qemb/DEVICE.tune. No result changes by a bit.\n"
                           "\n"
                           "  --quick          three small shapes, fewer runs: about a minute\n"
                           "  --shape WORDS    this shape instead of the built-in ones; may be given several times\n"
                           "  --shapes FILE    the shapes of a file (bench/shapes/*.txt)\n"
                           "  -o FILE          where to write; - for standard output\n"
                           "  --device NAME    as in QEMB_DEVICE\n"
                           "  --json           one object a choice, then one that names the file\n"
                           "\n"
                           "exit codes: 0 done; 1 a measurement failed; 2 wrong command line\n";

static const char *const quick_shapes[] = {"forward --rows 200k --dim 64", "sort --rows 1M", "step --rows 200k --dim 16 --batch 512", NULL};
static const char *const full_shapes[] = {"forward --rows 4M --dim 16",
                                          "forward --rows 4M --dim 64",
                                          "forward --rows 4M --dim 128",
                                          "forward --rows 50k --dim 64",
                                          "forward --rows 4M --dim 64 --float",
                                          "forward --rows 4M --dim 16 --float",
                                          "sort --rows 1M",
                                          "sort --rows 1M --batch 20480",
                                          "step --rows 1M --dim 64",
                                          "step --rows 1M --dim 16",
                                          "packed_forward --rows 1M --dim 128 --bits 4",
                                          NULL};

/* What an operation launches, and what is worth tuning there. */
static const struct {
    const char *operation, *stem;
} stems[] = {{"forward", "bag_forward"}, {"sort", "row_sort"},       {"step", "row_update"}, {"backward", "bag_backward"},
             {"update", "row_update"},   {"observe", "row_observe"}, {"pack", "row_pack"},   {"packed_forward", "packed_forward"}};

typedef struct tuner {
    const char *output, *device, *shapes_file;
    const char *shape[MAX_LINES];
    int num_shapes, rounds;
    bool quick, json;
    char line[MAX_LINES][LINE]; /* of the file */
    int num_lines, at;
    char device_name[128];
    cli_progress bar;
} tuner;

/* A stem's choices on one shape. */
typedef struct search {
    bench_world world;
    const bench_operation *operation;
    void *state;
    const char *stem;
    char name[MAX_CHOICES][NAME], knobs[MAX_CHOICES][160];
    int count;
    char best[LINE]; /* "NAME[:KNOB=N...]" */
} search;

static void collect(void *user, const char *stem, const char *name, const char *knobs, bool able) {
    search *s = user;
    if (able && strcmp(stem, s->stem) == 0 && s->count < MAX_CHOICES) {
        (void)snprintf(s->name[s->count], NAME, "%s", name);
        (void)snprintf(s->knobs[s->count], sizeof s->knobs[0], "%s", knobs);
        s->count++;
    }
}

/* One run under a choice; the first one after a change compiles, and is not timed. */
static qemb_status run_once(search *s, const char *choice, double *us) {
    char text[LINE + NAME];
    qemb_status st = QEMB_OK;
    (void)snprintf(text, sizeof text, "%s=%s", s->stem, choice);
    BENCH_TRY(qemb_context_force_variant(s->world.ctx, text));
    BENCH_TRY(s->operation->fresh(s->state));
    if (s->operation->ready) {
        BENCH_TRY(s->operation->ready(s->state));
    }
    BENCH_TRY(qemb_context_finish(s->world.ctx));
    const double start = bench_seconds();
    BENCH_TRY(s->operation->run(s->state));
    BENCH_TRY(qemb_context_finish(s->world.ctx));
    *us = 1e6 * (bench_seconds() - start);
done:
    return st;
}

/* Whether `choice` beats the best so far; it does not when it did not run at all. */
static qemb_status beats(search *s, const char *choice, int rounds, bool *yes) {
    double ratio[MAX_ROUNDS], mine = 0.0, theirs = 0.0;
    qemb_status st = QEMB_OK;
    *yes = false;
    BENCH_TRY(run_once(s, choice, &mine));
    const size_t length = strcspn(choice, ":");
    const char *ran = qemb_context_variant(s->world.ctx, s->stem);
    if (strncmp(ran, choice, length) != 0 || (ran[length] && ran[length] != ' ')) {
        return QEMB_OK; /* does not fit here */
    }
    BENCH_TRY(run_once(s, s->best, &theirs));
    for (int i = 0; i < rounds; i++) {
        BENCH_TRY(run_once(s, i % 2 ? choice : s->best, i % 2 ? &mine : &theirs));
        BENCH_TRY(run_once(s, i % 2 ? s->best : choice, i % 2 ? &theirs : &mine));
        ratio[i] = mine / theirs;
    }
    *yes = bench_median(ratio, rounds) < better;
done:
    return st;
}

/* Every value of one knob: powers of two, and what lies between them for a knob that is no power of two. */
static qemb_status try_knob(search *s, const char *knob, long least, long most, int rounds) {
    qemb_status st = QEMB_OK;
    const bool fine = strcmp(knob, "ahead") == 0;
    for (long n = least; n <= most; n = fine && n % 3 && n + n / 2 <= most && (n & (n - 1)) == 0 ? n + n / 2
                                        : fine && n % 3 == 0                                     ? n / 3 * 4
                                                                                                 : 2 * n) {
        char choice[LINE];
        bool yes = false;
        (void)snprintf(choice, sizeof choice, "%.150s:%s=%ld", s->best, knob, n); /* the last of two values of a knob counts */
        BENCH_TRY(beats(s, choice, rounds, &yes));
        if (yes) {
            (void)snprintf(s->best, sizeof s->best, "%s", choice);
        }
    }
done:
    return st;
}

static qemb_status try_knobs(search *s, int rounds) {
    qemb_status st = QEMB_OK;
    char knobs[160] = "";
    for (int k = 0; k < s->count; k++) {
        if (strncmp(s->best, s->name[k], strcspn(s->best, ":")) == 0 && s->name[k][strcspn(s->best, ":")] == 0) {
            (void)snprintf(knobs, sizeof knobs, "%s", s->knobs[k]);
        }
    }
    for (char *rest = knobs, *word; (word = strsep(&rest, " ")) != NULL;) {
        char name[NAME];
        long least = 0;
        long most = 0;
        if (sscanf(word, "%63[^=]=%ld..%ld", name, &least, &most) == 3 && least > 0) {
            BENCH_TRY(try_knob(s, name, least, most, rounds));
        }
    }
done:
    return st;
}

/* The best choice of a stem on the open world, as a line of the file. */
static qemb_status tune_stem(tuner *t, search *s) {
    qemb_status st = QEMB_OK;
    double us = 0.0;
    BENCH_TRY(qemb_context_variants(s->world.ctx, collect, s));
    BENCH_TRY(qemb_context_force_variant(s->world.ctx, NULL));
    BENCH_TRY(s->operation->fresh(s->state));
    if (s->operation->ready) {
        BENCH_TRY(s->operation->ready(s->state));
    }
    BENCH_TRY(s->operation->run(s->state));
    const char *first = qemb_context_variant(s->world.ctx, s->stem);
    (void)snprintf(s->best, sizeof s->best, "%.*s", (int)strcspn(first, " "), first);
    for (int k = 0; k < s->count; k++) {
        bool yes = false;
        if (strcmp(s->name[k], s->best) != 0) {
            BENCH_TRY(beats(s, s->name[k], t->rounds, &yes));
        }
        if (yes) {
            (void)snprintf(s->best, sizeof s->best, "%s", s->name[k]);
        }
    }
    BENCH_TRY(try_knobs(s, t->rounds));
    BENCH_TRY(run_once(s, s->best, &us));
    const char *line = qemb_context_tuning_line(s->world.ctx, s->stem);
    if (*line && t->num_lines < MAX_LINES) {
        (void)snprintf(t->line[t->num_lines++], LINE, "%s", line);
    }
done:
    return st;
}

/* "OPERATION options" (a line of a shapes file has a name in front). */
static int tune_shape(tuner *t, const char *text, bool named) {
    enum { MAX_WORDS = 64 };
    char copy[1024], *words[MAX_WORDS + 1] = {NULL};
    int count = named ? 0 : 1;
    bench_command *command = bench_alloc(1, sizeof *command);
    search *s = bench_alloc(1, sizeof *s);
    qemb_status st = QEMB_OK;
    int code = CLI_DONE;
    bench_options_default(&command->options);
    words[0] = copy + sizeof copy - 1;
    (void)snprintf(copy, sizeof copy - 1, "%s", text);
    copy[strcspn(copy, "#\n")] = 0;
    for (char *rest = copy, *word; (word = strsep(&rest, " \t")) != NULL;) {
        if (*word && count < MAX_WORDS) {
            words[count++] = word;
        }
    }
    if (count > 1 && (code = bench_parse(count, words, "tune", command)) == CLI_DONE) {
        command->options.device = t->device;
        command->options.compare = BENCH_ALONE;
        s->operation = command->operation;
        for (size_t k = 0; k < sizeof stems / sizeof *stems; k++) {
            s->stem = strcmp(stems[k].operation, s->operation->name) == 0 ? stems[k].stem : s->stem;
        }
        if (s->stem) {
            BENCH_TRY(bench_world_create(&command->options, &s->world));
            (void)snprintf(t->device_name, sizeof t->device_name, "%s", s->world.report.device);
            BENCH_TRY(s->operation->open(&s->world, BENCH_PICKED, &s->state));
            BENCH_TRY(tune_stem(t, s));
        }
    }
done:
    if (s->state) {
        s->operation->close(s->state);
    }
    bench_world_destroy(&s->world);
    if (st == QEMB_ERR_NOMEM || st == QEMB_ERR_UNSUPPORTED) {
        (void)fprintf(stderr, "qemb tune: %s skipped: %s\n", text, bench_last_error());
    } else if (st != QEMB_OK) {
        code = cli_failed("tune", bench_last_error());
    }
    free(s);
    free(command);
    return code;
}

/* Makes the folders of a path. */
static void make_folders(const char *path) {
    char folder[1024];
    for (size_t i = 1; i < sizeof folder - 1 && path[i]; i++) {
        if (path[i] == '/') {
            (void)snprintf(folder, sizeof folder, "%.*s", (int)i, path);
            (void)mkdir(folder, 0777);
        }
    }
}

/* A line of the file as an object: "STEM KEY=N ... variant=NAME[:KNOB=N...]". */
static json_t *choice_of(const char *line) {
    char copy[LINE], *rest = copy;
    (void)snprintf(copy, sizeof copy, "%s", line);
    json_t *o = json_pack("{s:s, s:s}", "op", "tune", "stem", strsep(&rest, " "));
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        char *value = strchr(word, '=');
        if (value) {
            char *end = NULL;
            *value++ = 0;
            const long long n = strtoll(value, &end, 10);
            (void)json_object_set_new(o, word, *value && !*end ? json_integer(n) : json_string(value));
        }
    }
    return o;
}

static void print_choices(const tuner *t, const char *path) {
    if (!t->json) {
        (void)printf("%d choices in %s\n", t->num_lines, path);
        return;
    }
    for (int i = 0; i < t->num_lines; i++) {
        cli_print_object(choice_of(t->line[i]), 0);
    }
    cli_print_object(json_pack("{s:s, s:s, s:s, s:i}", "op", "tuned", "device", t->device_name, "file", path, "choices", t->num_lines), 0);
}

static int write_file(const tuner *t) {
    char path[1024], temporary[1040];
    FILE *file = stdout;
    const bool to_file = !t->output || strcmp(t->output, "-") != 0;
    if (to_file) {
        if (t->output) {
            (void)snprintf(path, sizeof path, "%s", t->output);
        } else if (!qemb_tuning_path(t->device_name, path, sizeof path)) {
            return cli_failed("tune", "no place for the file: give -o FILE, or set XDG_CONFIG_HOME or HOME");
        }
        make_folders(path);
        (void)snprintf(temporary, sizeof temporary, "%s.new", path);
        file = fopen(temporary, "w");
        if (!file) {
            (void)fprintf(stderr, "qemb tune: %s: %s\n", temporary, strerror(errno));
            return CLI_FAILED;
        }
    }
    (void)fprintf(file, "qemb-tune 1\ndevice %s\n# qemb %s\n", t->device_name, qemb_version());
    for (int i = 0; i < t->num_lines; i++) {
        (void)fprintf(file, "%s\n", t->line[i]);
    }
    if (to_file) {
        const bool good = fclose(file) == 0 && rename(temporary, path) == 0;
        if (!good) {
            (void)remove(temporary);
            return cli_failed("tune", "the file could not be written");
        }
        print_choices(t, path);
    }
    return CLI_DONE;
}

/* The shapes of a file, as pointers into *text. */
static bool read_shapes(tuner *t, char **text) {
    enum { BYTES = 1 << 16 };
    FILE *file = fopen(t->shapes_file, "r");
    if (!file) {
        return false;
    }
    *text = bench_alloc(BYTES + 1, 1);
    const size_t got = fread(*text, 1, BYTES + 1, file);
    const bool whole = !ferror(file) && got <= BYTES;
    (void)fclose(file);
    if (!whole) {
        return false;
    }
    (*text)[got] = '\0';
    for (char *rest = *text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (*line && *line != '#' && t->num_shapes < MAX_LINES) {
            t->shape[t->num_shapes++] = line;
        }
    }
    return true;
}

static int parse(int argc, char **argv, tuner *t) {
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'},
                                            {"shape", required_argument, NULL, 's'},
                                            {"shapes", required_argument, NULL, 'f'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    opterr = 0;
    optind = 0;
    for (int code; (code = getopt_long(argc, argv, ":o:h", options, NULL)) != -1;) {
        switch (code) {
        case 'q':
            t->quick = true;
            break;
        case 's':
            if (t->num_shapes == MAX_LINES) {
                return cli_usage("tune", "more than %d shapes", MAX_LINES);
            }
            t->shape[t->num_shapes++] = optarg;
            break;
        case 'f':
            t->shapes_file = optarg;
            break;
        case 'd':
            t->device = optarg;
            break;
        case 'o':
            t->output = optarg;
            break;
        case 'j':
            t->json = true;
            break;
        case 'h':
            (void)fputs(help, stdout);
            return -1;
        default:
            return cli_bad_option("tune", argv, code);
        }
    }
    if (t->json && t->output && strcmp(t->output, "-") == 0) {
        return cli_usage("tune", "--json and -o - both want standard output: give a file to -o");
    }
    return optind < argc ? cli_usage("tune", "unexpected \"%s\"", argv[optind]) : CLI_DONE;
}

int cli_tune(int argc, char **argv) {
    tuner *t = bench_alloc(1, sizeof *t);
    char *text = NULL;
    int code = parse(argc, argv, t);
    if (code == CLI_DONE && t->shapes_file && (t->num_shapes || !read_shapes(t, &text))) {
        code =
            t->num_shapes ? cli_usage("tune", "--shape and --shapes exclude each other") : cli_failed("tune", "the shapes cannot be read");
    }
    for (const char *const *built_in = t->quick ? quick_shapes : full_shapes; code == CLI_DONE && !t->num_shapes && *built_in; built_in++) {
        t->shape[t->at++] = *built_in;
    }
    t->num_shapes = t->num_shapes ? t->num_shapes : t->at;
    t->rounds = t->quick ? 5 : 15;
    cli_progress_begin(&t->bar, "tune");
    for (int i = 0; code == CLI_DONE && i < t->num_shapes; i++) {
        cli_progress_at(&t->bar, i, t->num_shapes);
        code = tune_shape(t, t->shape[i], t->shapes_file != NULL);
    }
    cli_progress_end(&t->bar);
    if (code == CLI_DONE) {
        code = t->num_lines
                   ? write_file(t)
                   : cli_failed("tune", "nothing to choose: no shape could be measured, or the device has one variant of each kernel");
    }
    free(text);
    free(t);
    return code < 0 ? CLI_DONE : code;
}
