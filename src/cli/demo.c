/* demo.c - `qemb demo`, the main job: a click log through 26 embedding tables, float and fake-quantised, timed and checked. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/demo.h"

static const char help[] = "usage: qemb demo [options]\n"
                           "\n"
                           "Streams a click log in Criteo's format through 26 embedding tables with the cardinalities of the\n"
                           "Kaggle set: a float gather, and the fused quantisation-aware lookup at 8 and 4 bits, over the same\n"
                           "tables. Prints the time of each, and compares a sample of the batches with the reference engine, bit\n"
                           "for bit.\n"
                           "\n"
                           "  --log PATH        a train.txt of your own (also gzip); else $QEMB_CRITEO; else a log is generated\n"
                           "  --rows N          rows of it to use (262144 of a generated log, 1048576 of your own)\n"
                           "  --batch N         samples of a batch (2048)\n"
                           "  --dim D           columns of every table (16)\n"
                           "  --scale S         cardinalities times S, 0 < S <= 1 (1, or what fits into memory)\n"
                           "  --observer WORD   memoryless (default), moving_average, min_max\n"
                           "  --device NAME     see `qemb devices`\n"
                           "  --seed N          of weights and log (1)\n"
                           "  --json            one object a variant\n"
                           "  --help            this text\n"
                           "\n"
                           "Bytes are the fewest a batch must move: each row once a lookup, ids, outputs. \"of copy\" divides by\n"
                           "the device's copy bandwidth, measured in the same run.\n"
                           "\n"
                           "exit codes: 0 done, every checked bit equal; 1 a bit differs, or something failed;\n"
                           "            2 wrong command line\n";

double demo_bytes(const demo *d, const demo_variant *v) {
    const double lookups = (double)(QEMB_CLICK_SPARSE * d->options.batch);
    const double state = v->bits < 32 && d->options.observer != QEMB_OBSERVER_MEMORYLESS ? 16.0 : 0.0;
    const double tables = v == &d->pipeline ? d->pipeline_bytes : 0.0;
    return tables + lookups * (8.0 * (double)d->options.dim + 4.0 + state); /* a row in, a row out, its id */
}

/* Figures of a variant; all 0 when the log had no full batch. */
typedef struct figures {
    double us, best_us, bytes, gbps, share, lookups_per_s;
} figures;

static figures figures_of(const demo *d, const demo_variant *v) {
    figures f = {.us = bench_median(v->us, v->times), .bytes = demo_bytes(d, v)};
    f.best_us = f.us;
    for (int32_t k = 0; k < v->times; k++) {
        f.best_us = v->us[k] < f.best_us ? v->us[k] : f.best_us;
    }
    if (f.us > 0.0) {
        f.gbps = 1e-3 * f.bytes / f.us;
        f.share = f.gbps / d->copy_gbps;
        f.lookups_per_s = 1e6 * (double)(QEMB_CLICK_SPARSE * d->options.batch) / f.us;
    }
    return f;
}

static void print_json_variant(const demo *d, const demo_variant *v) {
    char shape[256];
    const figures f = figures_of(d, v);
    (void)snprintf(shape, sizeof shape, "T=26 E=3..%lld D=%lld B=%lld L=1 %s", (long long)d->cardinalities[2], (long long)d->options.dim,
                   (long long)d->options.batch, d->options.log ? "log" : "generated");
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:I}", "op", "demo", "variant", v->op_variant,
                          "device", d->report.device, "shape", shape, "bits", (int)v->bits, "runs", (int)v->times, "best_us", f.best_us,
                          "median_us", f.us, "bytes", (json_int_t)f.bytes, "gbps", f.gbps, "copy_gbps", d->copy_gbps, "share", f.share,
                          "page_bytes", (json_int_t)d->page_bytes);
    json_t *rest =
        json_pack("{s:f, s:I, s:f, s:f, s:I, s:I, s:I}", "lookups_per_s", f.lookups_per_s, "rows", (json_int_t)d->rows_read,
                  "read_rows_per_s", (double)d->rows_read / d->read_seconds, "scale", d->scale, "checked_batches",
                  (json_int_t)d->checked_batches, "checked_values", (json_int_t)d->checked_values, "different", (json_int_t)d->different);
    (void)json_object_update(o, rest);
    json_decref(rest);
    cli_print_object(o, 6);
}

static void print_json(const demo *d) {
    if (d->pipeline.times) {
        print_json_variant(d, &d->pipeline);
    }
    for (int i = 0; i < DEMO_VARIANTS; i++) {
        print_json_variant(d, &d->variant[i]);
    }
}

static void print_heading(const demo *d) {
    char a[24], b[24];
    int64_t rows = 0;
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        rows += d->cardinalities[f];
    }
    (void)printf("%sqemb %s: a click log through 26 embedding tables%s\n", cli_bold(stdout), qemb_version(), cli_plain(stdout));
    (void)printf("device   %s (%s, %s kernels), copy %.1f GB/s%s\n", d->report.device, d->report.engine, d->report.family, d->copy_gbps,
                 d->page_bytes > 4096 ? ", pages of 2 MiB"
                 : d->page_bytes      ? ", pages of 4 KiB"
                                      : "");
    (void)printf("tables   26 with the Kaggle cardinalities%s, %lld rows of %lld, %s in float32\n", d->scale < 1.0 ? " scaled" : "",
                 (long long)rows, (long long)d->options.dim, cli_size((double)d->weight_bytes, a));
    if (d->scale < 1.0) {
        (void)printf("         scaled by %.3g%s\n", d->scale, d->options.scale > 0.0 ? " as asked" : ", because memory holds no more");
    }
    (void)printf("log      %s, %lld rows, %s read at %.2f million rows/s\n", d->options.log ? d->options.log : "generated",
                 (long long)d->rows_read, cli_size((double)d->log_bytes, b), 1e-6 * (double)d->rows_read / d->read_seconds);
    (void)printf("batches  %lld of %lld samples, %lld lookups each\n\n", (long long)d->batches, (long long)d->options.batch,
                 (long long)(QEMB_CLICK_SPARSE * d->options.batch));
}

static void print_row(const demo *d, const demo_variant *v) {
    const figures f = figures_of(d, v), base = figures_of(d, &d->variant[0]);
    if (v->times == 0) {
        (void)printf("%-20s no full batch in the log; take a smaller --batch\n", v->name);
        return;
    }
    (void)printf("%-20s %11.3f %11.3f %13.2f %8.2f %8.2f %9.2f x\n", v->name, 1e-3 * f.us, 1e-3 * f.best_us, 1e-6 * f.lookups_per_s, f.gbps,
                 f.share, f.us / base.us);
}

void demo_print(const demo *d) {
    print_heading(d);
    (void)printf("%s%-20s %11s %11s %13s %8s %8s %11s%s\n", cli_bold(stdout), "", "ms / batch", "best", "M lookups/s", "GB/s", "of copy",
                 "of float", cli_plain(stdout));
    for (int i = 0; i < DEMO_VARIANTS; i++) {
        print_row(d, &d->variant[i]);
    }
    if (d->pipeline_note) {
        (void)printf("%-20s %s\n", d->pipeline.name, d->pipeline_note);
    } else {
        print_row(d, &d->pipeline);
    }
    if (d->pipeline.times && d->variant[1].times) {
        (void)printf(
            "\nwhole tables: observe and fake-quantise every row of every table, then gather, as others do; the fused int8 lookup\n"
            "takes 1/%.0f of its time, and its answers are %s\n",
            bench_median(d->pipeline.us, d->pipeline.times) / bench_median(d->variant[1].us, d->variant[1].times),
            d->different ? "not all the same" : "the same bits");
    }
    (void)printf("\nchecked  %lld batches on the reference engine, %lld values of the three lookups: %s\n", (long long)d->checked_batches,
                 (long long)d->checked_values, d->different ? "BITS DIFFER" : "equal bit for bit");
    if (d->different) {
        (void)printf("         %lld differ; the first: %s\n", (long long)d->different, d->difference);
    }
}

static bool draw(void *user, int64_t done, int64_t total) {
    cli_progress_at(user, done, total);
    return true;
}

/* A generated log in a folder of its own; both go when the program ends, also where memory ends it. */
static char folder[512], path[600];

static void remove_log(void) {
    (void)remove(path);
    (void)rmdir(folder);
}

/* With the tables' cardinalities. */
static qemb_status generate(const demo *d) {
    qemb_click_generator *generator = NULL;
    qemb_status st = QEMB_OK;
    cli_progress bar;
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/qemb-demo-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(folder)) {
        return bench_fail(QEMB_ERR_IO, "%s: %s; set TMPDIR to a folder that can be written to", folder, strerror(errno));
    }
    (void)snprintf(path, sizeof path, "%s/train.txt", folder);
    (void)atexit(remove_log);
    BENCH_TRY(
        qemb_click_generator_create(&(qemb_click_generator_desc){.num_embeddings = d->cardinalities, .seed = d->options.seed}, &generator));
    cli_progress_begin(&bar, "generating a click log");
    st = qemb_click_generator_write(generator, path, 0, d->options.rows, draw, &bar, NULL);
    cli_progress_end(&bar);
done:
    qemb_click_generator_destroy(generator);
    return st;
}

static int run(demo *d) {
    const char *log = d->options.log;
    qemb_status st = demo_create(d);
    if (st == QEMB_OK && !log) {
        st = generate(d);
    }
    if (st == QEMB_OK) {
        st = demo_stream(d, log ? log : path);
    }
    if (st != QEMB_OK) {
        return cli_failed("demo", bench_last_error());
    }
    (d->options.json ? print_json : demo_print)(d);
    return d->different ? cli_failed("demo", d->difference) : CLI_DONE;
}

enum option_code { OPT_LOG = 256, OPT_ROWS, OPT_BATCH, OPT_DIM, OPT_SCALE, OPT_OBSERVER, OPT_DEVICE, OPT_SEED, OPT_JSON, OPT_HELP };

static const struct option long_options[] = {{"log", required_argument, NULL, OPT_LOG},
                                             {"rows", required_argument, NULL, OPT_ROWS},
                                             {"batch", required_argument, NULL, OPT_BATCH},
                                             {"dim", required_argument, NULL, OPT_DIM},
                                             {"scale", required_argument, NULL, OPT_SCALE},
                                             {"observer", required_argument, NULL, OPT_OBSERVER},
                                             {"device", required_argument, NULL, OPT_DEVICE},
                                             {"seed", required_argument, NULL, OPT_SEED},
                                             {"json", no_argument, NULL, OPT_JSON},
                                             {"help", no_argument, NULL, OPT_HELP},
                                             {0}};

/* False when the value is not one of the option. */
static bool set_option(int code, const char *text, demo_options *o) {
    static const char *const observers[] = {"moving_average", "min_max", "memoryless", NULL};
    int64_t seed = 0;
    switch (code) {
    case OPT_LOG:
        o->log = text;
        return true;
    case OPT_DEVICE:
        o->device = text;
        return true;
    case OPT_ROWS:
        return cli_integer(text, 1, INT64_MAX / 2, &o->rows);
    case OPT_BATCH:
        return cli_integer(text, 1, 1 << 20, &o->batch);
    case OPT_DIM:
        return cli_integer(text, 1, 1024, &o->dim);
    case OPT_SCALE:
        return cli_real(text, 1e-9, 1.0, &o->scale);
    case OPT_OBSERVER:
        o->observer = (qemb_observer)cli_choice(text, observers);
        return cli_choice(text, observers) >= 0;
    case OPT_SEED:
        if (!cli_integer(text, 0, INT64_MAX, &seed)) {
            return false;
        }
        o->seed = (uint64_t)seed;
        return true;
    default:
        o->json = true;
        return true;
    }
}

int cli_demo(int argc, char **argv) {
    demo_options o = {.batch = 2048, .dim = DEMO_DIM, .seed = 1, .observer = QEMB_OBSERVER_MEMORYLESS};
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", long_options, NULL)) != -1;) {
        if (c == '?' || c == ':') {
            return cli_bad_option("demo", argv, c);
        }
        if (c == OPT_HELP || c == 'h') {
            (void)fputs(help, stdout);
            return CLI_DONE;
        }
        if (!set_option(c, optarg, &o)) {
            return cli_usage("demo", "\"%s\" is not a value of that option", optarg);
        }
    }
    if (optind < argc) {
        return cli_usage("demo", "unexpected \"%s\"", argv[optind]);
    }
    if (!o.log) {
        const char *own = getenv("QEMB_CRITEO");
        o.log = own && *own ? own : NULL;
    }
    o.rows = o.rows ? o.rows : o.log ? 1 << 20 : 1 << 18;
    demo *d = bench_alloc(1, sizeof *d);
    d->options = o;
    int code = run(d);
    demo_destroy(d);
    free(d);
    return code;
}
