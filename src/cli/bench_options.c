/* bench_options.c - the options of `qemb bench`, and of a line of a shapes file. */
#include <qemb/qemb_io.h>

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_cli.h"

enum option_code {
    OPT_TABLES = 256,
    OPT_ROWS,
    OPT_DIM,
    OPT_MIXED,
    OPT_BATCH,
    OPT_BAG,
    OPT_LONG,
    OPT_ALPHA,
    OPT_REUSE,
    OPT_BITS,
    OPT_FLOAT,
    OPT_OBSERVER,
    OPT_ARITHMETIC,
    OPT_LAYOUT,
    OPT_QPARAMS,
    OPT_SYMMETRIC,
    OPT_ALIGNMENT,
    OPT_OUTPUT,
    OPT_MODE,
    OPT_WEIGHTED,
    OPT_INT32,
    OPT_OPTIMIZER,
    OPT_REPEAT,
    OPT_FLUSH,
    OPT_RUNS,
    OPT_SEED,
    OPT_COMPARE,
    OPT_DEVICE,
    OPT_JSON,
    OPT_SHAPES,
    OPT_ONLY,
    OPT_FULL,
    OPT_HELP
};

static const struct option long_options[] = {{"tables", required_argument, NULL, OPT_TABLES},
                                             {"rows", required_argument, NULL, OPT_ROWS},
                                             {"dim", required_argument, NULL, OPT_DIM},
                                             {"mixed", no_argument, NULL, OPT_MIXED},
                                             {"batch", required_argument, NULL, OPT_BATCH},
                                             {"bag", required_argument, NULL, OPT_BAG},
                                             {"long", required_argument, NULL, OPT_LONG},
                                             {"alpha", required_argument, NULL, OPT_ALPHA},
                                             {"reuse", required_argument, NULL, OPT_REUSE},
                                             {"bits", required_argument, NULL, OPT_BITS},
                                             {"float", no_argument, NULL, OPT_FLOAT},
                                             {"observer", required_argument, NULL, OPT_OBSERVER},
                                             {"arithmetic", required_argument, NULL, OPT_ARITHMETIC},
                                             {"layout", required_argument, NULL, OPT_LAYOUT},
                                             {"qparams", required_argument, NULL, OPT_QPARAMS},
                                             {"symmetric", no_argument, NULL, OPT_SYMMETRIC},
                                             {"alignment", required_argument, NULL, OPT_ALIGNMENT},
                                             {"output", required_argument, NULL, OPT_OUTPUT},
                                             {"mode", required_argument, NULL, OPT_MODE},
                                             {"weighted", no_argument, NULL, OPT_WEIGHTED},
                                             {"int32", no_argument, NULL, OPT_INT32},
                                             {"optimizer", required_argument, NULL, OPT_OPTIMIZER},
                                             {"repeat", no_argument, NULL, OPT_REPEAT},
                                             {"flush", required_argument, NULL, OPT_FLUSH},
                                             {"runs", required_argument, NULL, OPT_RUNS},
                                             {"seed", required_argument, NULL, OPT_SEED},
                                             {"compare", required_argument, NULL, OPT_COMPARE},
                                             {"device", required_argument, NULL, OPT_DEVICE},
                                             {"json", no_argument, NULL, OPT_JSON},
                                             {"shapes", required_argument, NULL, OPT_SHAPES},
                                             {"only", required_argument, NULL, OPT_ONLY},
                                             {"full", required_argument, NULL, OPT_FULL},
                                             {"help", no_argument, NULL, OPT_HELP},
                                             {0}};

static const char *const arithmetics[] = {"torch_cpu", "torch_cuda", "packed", NULL};
static const char *const outputs[] = {"float32", "float16", "bfloat16", NULL};
static const char *const modes[] = {"mean", "sum", "max", NULL};
static const char *const optimizers[] = {"sgd",      "adagrad", "rowwise_adagrad", "sparse_adam", "adam", "partial_rowwise_adam", "lamb",
                                         "lars_sgd", NULL};
static const char *const comparisons[] = {"float", "memoryless", "pipeline", "copy", "yardstick", NULL};

/* Values that stand in lists, until all options are read and their order no longer matters. */
typedef struct lists {
    int32_t rows, dim; /* entries given; 0: none */
    bool tables, mixed;
} lists;

/* "1000,20k,3M" into values; the number of entries, 0 if one is wrong. */
static int32_t parse_list(const char *text, int64_t high, int64_t *values) {
    char copy[8192];
    int32_t count = 0;
    char *rest = copy;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) {
        return 0;
    }
    for (char *item; (item = strsep(&rest, ",")) != NULL; count++) {
        if (count == BENCH_MAX_TABLES || !cli_integer(item, 1, high, &values[count])) {
            return 0;
        }
    }
    return count;
}

static int32_t parse_rows(const char *text, int64_t *values) {
    double scale = 1.0;
    if (strcmp(text, "kaggle") != 0 && !(strncmp(text, "kaggle:", 7) == 0 && cli_real(text + 7, 1e-9, 1.0, &scale))) {
        return parse_list(text, INT32_MAX, values);
    }
    qemb_click_cardinalities(scale, values);
    return QEMB_CLICK_SPARSE;
}

/* Numbers: 0 done, 1 the value is wrong, -1 not one of these options. */
static int set_number(int code, const char *text, bench_command *c, lists *given) {
    bench_options *o = &c->options;
    int64_t n = 0;
    bool good = true;
    switch (code) {
    case OPT_TABLES:
        good = given->tables = cli_integer(text, 1, BENCH_MAX_TABLES, &n);
        o->tables = (int32_t)n;
        break;
    case OPT_ROWS:
        good = (given->rows = parse_rows(text, o->rows)) > 0;
        break;
    case OPT_DIM:
        good = (given->dim = parse_list(text, 1 << 20, o->dim)) > 0;
        break;
    case OPT_BATCH:
        good = cli_integer(text, 1, INT32_MAX, &o->batch);
        break;
    case OPT_BAG:
        good = cli_integer(text, 1, INT32_MAX, &o->bag);
        break;
    case OPT_LONG:
        good = cli_integer(text, 0, INT32_MAX, &o->long_bags);
        break;
    case OPT_ALPHA:
        good = cli_real(text, 0.0, 16.0, &o->alpha);
        break;
    case OPT_REUSE:
        good = cli_real(text, 0.0, 1.0, &o->reuse);
        break;
    case OPT_BITS:
        good = cli_integer(text, 2, 8, &n) && (n == 2 || n == 4 || n == 8);
        o->bits = (int32_t)n;
        break;
    case OPT_ALIGNMENT:
        good = cli_integer(text, 1, 16, &n) && (n == 1 || n == 16);
        o->row_alignment = (int32_t)n;
        break;
    case OPT_FLUSH:
        good = cli_integer(text, 0, 4096, &o->flush_mib);
        break;
    case OPT_RUNS:
        good = cli_integer(text, 1, 4096, &n);
        o->runs = (int32_t)n;
        break;
    case OPT_SEED:
        good = cli_integer(text, 0, INT64_MAX, &n);
        o->seed = (uint64_t)n;
        break;
    default:
        return -1;
    }
    return good ? 0 : 1;
}

/* Words, as set_number. */
static int set_word(int code, const char *text, bench_command *c) {
    bench_options *o = &c->options;
    const char *const *words = NULL;
    switch (code) {
    case OPT_OBSERVER:
        words = bench_observers;
        o->observer = (qemb_observer)cli_choice(text, words);
        break;
    case OPT_ARITHMETIC:
        words = arithmetics;
        o->arithmetic = (qemb_arithmetic)cli_choice(text, words);
        break;
    case OPT_LAYOUT:
        words = bench_layouts;
        o->layout = (qemb_layout)cli_choice(text, words);
        break;
    case OPT_MODE:
        words = modes;
        o->mode = (qemb_mode)cli_choice(text, words);
        break;
    case OPT_OPTIMIZER:
        words = optimizers;
        o->optimizer = (qemb_optimizer_kind)cli_choice(text, words);
        break;
    case OPT_QPARAMS:
        words = bench_qparams;
        o->qparams = (qemb_qparams)cli_choice(text, words);
        break;
    case OPT_OUTPUT:
        words = outputs;
        o->output = (qemb_dtype)cli_choice(text, words);
        break;
    case OPT_COMPARE:
        words = comparisons;
        o->compare = (bench_compare)(cli_choice(text, words) + 1);
        break;
    case OPT_DEVICE:
        (void)snprintf(c->device, sizeof c->device, "%s", text);
        return 0;
    default:
        return -1;
    }
    return cli_choice(text, words) < 0 ? 1 : 0;
}

static void set_flag(int code, const char *text, bench_command *c, lists *given) {
    switch (code) {
    case OPT_SYMMETRIC:
        c->options.symmetric = true;
        break;
    case OPT_MIXED:
        given->mixed = true;
        break;
    case OPT_FLOAT:
        c->options.is_float = true;
        break;
    case OPT_WEIGHTED:
        c->options.weighted = true;
        break;
    case OPT_INT32:
        c->options.indices_32 = true;
        break;
    case OPT_REPEAT:
        c->options.repeat = true;
        break;
    case OPT_JSON:
        c->json = true;
        break;
    case OPT_SHAPES:
        c->shapes = text;
        break;
    case OPT_ONLY:
        c->only = text;
        break;
    case OPT_FULL:
        c->full = text;
        break;
    default:
        c->help = true;
        break;
    }
}

/* Gives every table its rows and columns. --mixed draws D from [D/2, 3D/2), rounded up to 4, as FBGEMM's benches do. */
static void settle_tables(bench_options *o, const lists *given) {
    uint64_t state = o->seed + 12345;
    int32_t longest = given->rows > given->dim ? given->rows : given->dim;
    if (!given->tables && longest > 1) {
        o->tables = longest;
    }
    for (int32_t t = 0; t < BENCH_MAX_TABLES; t++) {
        o->rows[t] = given->rows && t >= given->rows ? o->rows[t % given->rows] : o->rows[t];
        o->dim[t] = given->dim && t >= given->dim ? o->dim[t % given->dim] : o->dim[t];
    }
    for (int32_t t = 0; given->mixed && t < o->tables; t++) {
        o->dim[t] = ((int64_t)((double)o->dim[t] * (0.5 + bench_uniform(&state))) + 3) / 4 * 4;
    }
}

static int check(const bench_command *c) {
    const bench_options *o = &c->options;
    if (o->batch > INT32_MAX / o->bag || o->batch * o->bag > INT32_MAX / o->tables) {
        return cli_usage("bench", "%d tables x %lld bags x %lld lookups is more than 2^31; take fewer", o->tables, (long long)o->batch,
                         (long long)o->bag);
    }
    if (o->long_bags && (o->long_bags > o->batch || o->bag < 4)) {
        return cli_usage("bench", "--long %lld: want at most the %lld bags, and --bag 4 or more", (long long)o->long_bags,
                         (long long)o->batch);
    }
    if (o->weighted && o->mode != QEMB_MODE_SUM) {
        return cli_usage("bench", "--weighted goes with --mode sum");
    }
    if (o->compare == BENCH_WITH_YARDSTICK && (o->tables > 1 || !o->indices_32 || o->weighted || o->mode != QEMB_MODE_SUM)) {
        return cli_usage("bench", "--compare yardstick takes one table, --int32, --mode sum and no weights");
    }
    if (o->compare && o->runs && o->runs < BENCH_MIN_PAIRS) {
        return cli_usage("bench", "--runs %d: a comparison takes at least %d pairs", o->runs, BENCH_MIN_PAIRS);
    }
    if (!c->operation && !c->shapes && !c->full && !c->help) {
        return cli_usage("bench", "which operation? one of forward, step, ..., or --shapes FILE");
    }
    return CLI_DONE;
}

int bench_parse(int argc, char **argv, const char *shape, bench_command *c) {
    lists given = {0};
    opterr = 0;
    optind = 0; /* glibc: start again, also for argv of another line */
    for (int code; (code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1;) {
        if (code == '?' || code == ':') {
            return cli_bad_option("bench", argv, code);
        }
        int wrong = optarg ? set_number(code, optarg, c, &given) : -1;
        wrong = wrong < 0 && optarg ? set_word(code, optarg, c) : wrong;
        if (wrong > 0) {
            return cli_usage("bench", "%s%s\"%s\" is not a value of %s", shape ? shape : "", shape ? ": " : "", optarg,
                             argv[optind - 1] == optarg ? argv[optind - 2] : argv[optind - 1]);
        }
        if (wrong < 0) {
            set_flag(code, optarg, c, &given);
        }
    }
    for (; optind < argc; optind++) {
        if (c->operation && !shape) {
            return cli_usage("bench", "unexpected \"%s\"", argv[optind]);
        }
        c->operation = bench_operation_find(argv[optind]);
        if (!c->operation) {
            return cli_usage("bench", "unknown operation \"%s\"", argv[optind]);
        }
    }
    if (shape) {
        (void)snprintf(c->options.name, sizeof c->options.name, "%s", shape);
    }
    settle_tables(&c->options, &given);
    return check(c);
}
