/* dlrm_options.c - the options of `qemb train`, `qemb serve-check` and `qemb ladder`. */
#include <stdlib.h>
#include <string.h>

#include "cli/dlrm_cli.h"

enum option_code {
    OPT_DATA = 256,
    OPT_SYNTHETIC,
    OPT_TEST_ROWS,
    OPT_SCALE,
    OPT_IDS,
    OPT_FAULTS, /* data */
    OPT_SEED,
    OPT_TABLES,
    OPT_DIM,
    OPT_BOTTOM,
    OPT_TOP,
    OPT_INTERACTION,
    OPT_BATCH,
    OPT_LR,
    OPT_OPTIMIZER, /* model */
    OPT_BITS,
    OPT_METHOD,
    OPT_EPOCHS,
    OPT_SAVE,
    OPT_SAVE_EVERY,
    OPT_RESUME, /* training */
    OPT_PREDICTIONS,
    OPT_SEEDS,
    OPT_PICTURE,
    OPT_FROM,
    OPT_DEVICE,
    OPT_JSON,
    OPT_HELP
};

/* letter: of dlrm_cli_parse; a: every command. */
static const struct {
    const char *name;
    int code;
    char letter;
    bool value;
} options[] = {
    {"data", OPT_DATA, 'd', true},
    {"synthetic", OPT_SYNTHETIC, 'd', true},
    {"test-rows", OPT_TEST_ROWS, 'd', true},
    {"scale", OPT_SCALE, 'd', true},
    {"ids", OPT_IDS, 'd', true},
    {"faults", OPT_FAULTS, 'd', true},
    {"seed", OPT_SEED, 'm', true},
    {"tables", OPT_TABLES, 'm', true},
    {"dim", OPT_DIM, 'm', true},
    {"bottom", OPT_BOTTOM, 'm', true},
    {"top", OPT_TOP, 'm', true},
    {"interaction", OPT_INTERACTION, 'm', true},
    {"batch", OPT_BATCH, 'm', true},
    {"optimizer", OPT_OPTIMIZER, 'm', true},
    {"lr", OPT_LR, 'm', true},
    {"bits", OPT_BITS, 't', true},
    {"method", OPT_METHOD, 't', true},
    {"epochs", OPT_EPOCHS, 't', true},
    {"save", OPT_SAVE, 't', true},
    {"save-every", OPT_SAVE_EVERY, 't', true},
    {"resume", OPT_RESUME, 't', true},
    {"seeds", OPT_SEEDS, 'l', true},
    {"picture", OPT_PICTURE, 'l', true},
    {"from", OPT_FROM, 'l', true},
    {"predictions", OPT_PREDICTIONS, 'p', true},
    {"device", OPT_DEVICE, 'a', true},
    {"json", OPT_JSON, 'a', false},
    {"help", OPT_HELP, 'a', false},
};
enum { NUM_OPTIONS = sizeof options / sizeof *options };

static const char *const method_names[] = {"qat", "ptq", "ptq-greedy", "per-table", NULL};

const char *dlrm_method_name(dlrm_method method) {
    return method_names[method];
}

/* "512-256-64", or "none". */
static bool widths(const char *text, int64_t *values, int *count) {
    *count = 0;
    if (strcmp(text, "none") == 0) {
        return true;
    }
    for (const char *p = text;; p++) {
        char *end = NULL;
        const long long v = strtoll(p, &end, 10);
        if (end == p || v < 1 || v > 65536 || *count >= DLRM_MAX_LAYERS - 1 || (*end && *end != '-')) {
            return false;
        }
        values[(*count)++] = v;
        if (!*end) {
            return true;
        }
        p = end;
    }
}

/* One of the words, into *at. */
static bool word(const char *text, const char *const *words, int *at) {
    *at = cli_choice(text, words);
    return *at >= 0;
}

static bool set_data(dlrm_data_desc *d, int code, const char *text) {
    static const char *const ids[] = {"modulo", "first-seen", NULL};
    static const char *const faults[] = {"refuse", "skip", NULL};
    int at = 0;
    bool good = true;
    switch (code) {
    case OPT_DATA:
        d->path = text;
        return true;
    case OPT_SYNTHETIC:
        return cli_integer(text, 1, INT64_C(1) << 40, &d->synthetic);
    case OPT_TEST_ROWS:
        return cli_integer(text, 1, INT64_C(1) << 40, &d->test_rows);
    case OPT_SCALE:
        return cli_real(text, 1e-9, 1.0, &d->scale);
    case OPT_IDS:
        good = word(text, ids, &at);
        d->ids = (qemb_click_ids)at;
        return good;
    default:
        good = word(text, faults, &at);
        d->faults = (qemb_click_faults)at;
        return good;
    }
}

static bool set_model(dlrm_cli *o, int code, const char *text) {
    static const char *const interactions[] = {"dot", "cat", NULL};
    static const char *const optimizers[] = {"sgd", "adagrad", NULL};
    dlrm_config *c = &o->config;
    int64_t number = 0;
    int at = 0;
    bool good = true;
    switch (code) {
    case OPT_SEED:
        good = cli_integer(text, 0, INT64_MAX / 8, &number);
        c->seed = o->data.seed = (uint64_t)number;
        return good;
    case OPT_TABLES:
        good = cli_integer(text, 1, QEMB_CLICK_SPARSE, &number);
        c->tables = (int32_t)number;
        return good;
    case OPT_DIM:
        return cli_integer(text, 1, 1024, &c->dim);
    case OPT_BOTTOM:
        return widths(text, c->bottom, &c->bottom_layers);
    case OPT_TOP:
        return widths(text, c->top, &c->top_layers);
    case OPT_INTERACTION:
        good = word(text, interactions, &at);
        c->interaction = (dlrm_interaction)at;
        return good;
    case OPT_BATCH:
        return cli_integer(text, 1, 1 << 20, &c->batch);
    case OPT_LR:
        return cli_real(text, 1e-12, 1e6, &o->lr);
    default:
        good = word(text, optimizers, &at);
        c->adagrad = at == 1;
        return good;
    }
}

static bool set_training(dlrm_cli *o, int code, const char *text) {
    static const char *const bits[] = {"32", "8", "4", "2", NULL};
    static const int32_t values[] = {32, 8, 4, 2};
    int at = 0;
    bool good = true;
    switch (code) {
    case OPT_BITS:
        good = word(text, bits, &at);
        o->config.bits = good ? values[at] : 32;
        return good;
    case OPT_METHOD:
        good = word(text, method_names, &at);
        o->config.method = (dlrm_method)at;
        return good;
    case OPT_EPOCHS:
        return cli_integer(text, 1, 1000000, &o->epochs);
    case OPT_SAVE:
        o->save = text;
        return true;
    case OPT_SAVE_EVERY:
        return cli_integer(text, 1, INT64_C(1) << 40, &o->save_every);
    case OPT_RESUME:
        o->resume = text;
        return true;
    case OPT_PREDICTIONS:
        o->predictions = text;
        return true;
    case OPT_SEEDS:
        return cli_integer(text, 1, 9, &o->seeds);
    case OPT_PICTURE:
        o->picture = text;
        return true;
    case OPT_FROM:
        o->from = text;
        return true;
    case OPT_DEVICE:
        o->device = text;
        return true;
    default:
        o->json = true;
        return true;
    }
}

static bool set_option(dlrm_cli *o, int code, const char *text) {
    return code <= OPT_FAULTS      ? set_data(&o->data, code, text)
           : code <= OPT_OPTIMIZER ? set_model(o, code, text)
                                   : set_training(o, code, text);
}

int dlrm_cli_parse(dlrm_cli *o, const char *letters, const char *help, int argc, char **argv) {
    struct option longs[NUM_OPTIONS + 1] = {{0}};
    int count = 0;
    for (int i = 0; i < NUM_OPTIONS; i++) {
        if (options[i].letter == 'a' || strchr(letters, options[i].letter)) {
            longs[count++] = (struct option){options[i].name, options[i].value ? required_argument : no_argument, NULL, options[i].code};
        }
    }
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
        if (c == '?' || c == ':') {
            return cli_bad_option(o->command, argv, c);
        }
        if (c == OPT_HELP || c == 'h') {
            (void)fputs(help, stdout);
            return -1;
        }
        if (!set_option(o, c, optarg)) {
            return cli_usage(o->command, "\"%s\" is not a value of that option", optarg);
        }
    }
    if (strchr(letters, 'd') && !o->from && !o->data.path == !o->data.synthetic) {
        return cli_usage(o->command, "want --data FILE or --synthetic N%s", o->data.path ? ", and not both" : "");
    }
    o->config.lr = o->lr > 0.0 ? o->lr : o->config.adagrad ? 0.01 : 0.1;
    return CLI_DONE;
}
