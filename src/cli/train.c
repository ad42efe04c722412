/* train.c - `qemb train`: a DLRM on a click log, its tables quantised or not. */
#include <jansson.h>
#include <string.h>

#include "cli/dlrm_cli.h"
#include "dlrm/save.h"

static const char help[] = "usage: qemb train --data FILE | --synthetic N [options]\n"
                           "\n"
                           "Trains a DLRM (13 counts, 26 embedding tables) to predict clicks, scores it on the test part after\n"
                           "every epoch, converts its tables to packed rows and scores those. FILE is Criteo's train.txt (also\n"
                           "gzip), or the MLPerf loader's 40 x int32; six days of seven are trained on. --synthetic plants N\n"
                           "rows and N more to test on, whose best possible score is known.\n"
                           "\n"
                           "  --bits 32|8|4|2     of the tables (32: float)\n"
                           "  --method WORD       qat (default): trained quantised; ptq, ptq-greedy: trained in float,\n"
                           "                      converted by minimum and maximum, or by a greedy search;\n"
                           "                      per-table: DQRM's, one scale a table, renewed every 200 steps\n"
                           "  --epochs N (1)   --batch N (128)   --seed N (1)\n"
                           "  --optimizer sgd|adagrad   --lr X (0.1; adagrad 0.01)\n"
                           "  --dim D (16)   --bottom 512-256-64   --top 512-256   --interaction dot|cat   --tables N (26)\n"
                           "  --scale S           table sizes: Kaggle's times S (1; planted rows: as many rows an id as there)\n"
                           "  --test-rows N       planted rows to test on\n"
                           "  --ids WORD          modulo (default), first-seen\n"
                           "  --faults WORD       of a row that does not parse: refuse (default) ends the run; skip leaves it\n"
                           "                      out, counts and names it\n"
                           "  --save FILE         after every epoch and on Ctrl-C; converted tables go to FILE.packed\n"
                           "  --save-every N      also after every N rows\n"
                           "  --resume FILE       goes on from a saved run, with the same data: the end is the same, bit for bit\n"
                           "  --predictions FILE  of the test part, an npy array [2][rows]: predictions, labels\n"
                           "  --device NAME       see `qemb devices`; reference: the tables there, the layers on OpenCL\n"
                           "  --json              one object an epoch, one at the end\n"
                           "\n"
                           "exit codes: 0 done; 1 something failed, or stopped by Ctrl-C; 2 wrong command line\n";

typedef struct train_run {
    dlrm_cli options;
    dlrm_device *device;
    dlrm_data *data;
    dlrm_model *model;
    dlrm_position position;
    dlrm_cli_bar bar;
    int64_t saved; /* rows of all epochs when it was last saved */
    qemb_status failed;
    dlrm_predictions trained;
    dlrm_score score;
} train_run;

/* ---- output -------------------------------------------------------------------------------------------------------------- */

static void print_heading(const train_run *r) {
    const dlrm_config *c = &r->model->config;
    const dlrm_data *d = r->data;
    char size[24];
    int64_t rows = 0;
    qemb_device_report report = {0};
    (void)qemb_context_report(r->device->ctx, &report);
    for (int i = 0; i < c->tables; i++) {
        rows += c->rows[i];
    }
    (void)printf("%sqemb %s: a DLRM, %d tables of %lld columns, %s%s%s\n", cli_bold(stdout), qemb_version(), (int)c->tables,
                 (long long)c->dim, c->bits == 32 ? "float" : dlrm_method_name(c->method),
                 c->bits == 8   ? " int8"
                 : c->bits == 4 ? " int4"
                 : c->bits == 2 ? " int2"
                                : "",
                 cli_plain(stdout));
    (void)printf("tables   %lld rows, %s in float32, on %s\n", (long long)rows, cli_size(4.0 * (double)rows * (double)c->dim, size),
                 report.device);
    (void)printf("rows     %lld to train on, %lld to test on, from %s\n", (long long)d->count[DLRM_TRAIN], (long long)d->count[DLRM_TEST],
                 d->desc.path ? d->desc.path : "the generator");
    if (d->generator) {
        (void)printf("best     AUC %.5f, log loss %.5f: the planted truth itself on the test rows\n", d->best.auc, d->best.log_loss);
    }
    (void)printf("\n%s%5s %10s %10s %10s %10s %10s%s\n", cli_bold(stdout), "epoch", "rows/s", "loss", "test AUC", "log loss", "accuracy",
                 cli_plain(stdout));
}

static void print_epoch(const train_run *r, double loss, double speed) {
    const dlrm_score *s = &r->score;
    if (!r->options.json) {
        (void)printf("%5lld %10.0f %10.5f %10.5f %10.5f %10.5f\n", (long long)r->position.epoch, speed, loss, s->auc, s->log_loss,
                     s->accuracy);
    } else {
        json_t *o = json_pack("{s:s, s:I, s:f, s:o, s:o, s:o, s:f, s:I}", "op", "train", "epoch", (json_int_t)r->position.epoch,
                              "rows_per_s", speed, "loss", cli_number(loss), "auc", cli_number(s->auc), "log_loss", cli_number(s->log_loss),
                              "accuracy", s->accuracy, "test_rows", (json_int_t)s->rows);
        cli_print_object(o, 0);
    }
}

/* What the whole run gave; packed NULL for float tables. */
static void print_end(const train_run *r, const dlrm_score *packed, int64_t bytes, int64_t different) {
    const dlrm_times *t = &r->model->times;
    const double tables = t->steps ? 1e3 * t->tables_seconds / (double)t->steps : 0.0;
    const double layers = t->steps ? 1e3 * t->layers_seconds / (double)t->steps : 0.0;
    char size[24];
    if (!r->options.json) {
        (void)printf("\ntime     tables %.3f ms a step, dense layers %.3f ms: device time, mean of %lld steps; best %.3f and %.3f ms\n",
                     tables, layers, (long long)t->steps, 1e3 * t->tables_best, 1e3 * t->layers_best);
        if (packed) {
            (void)printf("packed   %s, AUC %.5f, log loss %.5f; %lld of %lld predictions differ from the trained ones\n",
                         cli_size((double)bytes, size), packed->auc, packed->log_loss, (long long)different, (long long)packed->rows);
        }
        return;
    }
    json_t *o = json_pack("{s:s, s:i, s:s, s:I, s:o, s:o, s:f, s:f, s:f, s:f, s:f}", "op", "trained", "bits", (int)r->model->config.bits,
                          "method", dlrm_method_name(r->model->config.method), "seed", (json_int_t)r->model->config.seed, "auc",
                          cli_number(r->score.auc), "log_loss", cli_number(r->score.log_loss), "tables_ms", tables, "layers_ms", layers,
                          "tables_best_ms", 1e3 * t->tables_best, "layers_best_ms", 1e3 * t->layers_best, "seconds", r->model->seconds);
    if (packed) {
        json_t *rest = json_pack("{s:I, s:o, s:o, s:I, s:I}", "packed_bytes", (json_int_t)bytes, "packed_auc", cli_number(packed->auc),
                                 "packed_log_loss", cli_number(packed->log_loss), "different", (json_int_t)different, "rows",
                                 (json_int_t)packed->rows);
        (void)json_object_update(o, rest);
        json_decref(rest);
    }
    if (r->data->generator) {
        (void)json_object_set_new(o, "best_auc", json_real(r->data->best.auc));
        (void)json_object_set_new(o, "best_log_loss", json_real(r->data->best.log_loss));
    }
    cli_print_object(o, 0);
}

/* ---- the run ------------------------------------------------------------------------------------------------------------- */

static int64_t rows_done(const train_run *r) {
    return r->position.epoch * r->data->count[DLRM_TRAIN] + r->position.row;
}

static qemb_status save(train_run *r) {
    r->saved = rows_done(r);
    return r->options.save ? dlrm_save(r->model, &r->data->desc, &r->position, r->options.save) : QEMB_OK;
}

/* The bar, and --save-every. */
static bool watch(void *user, const dlrm_progress *progress) {
    train_run *r = user;
    if (r->options.save_every > 0 && r->position.row > 0 && rows_done(r) - r->saved >= r->options.save_every) {
        r->failed = save(r);
    }
    return dlrm_cli_watch(&r->bar, progress) && r->failed == QEMB_OK;
}

static qemb_status start(train_run *r) {
    qemb_status st = QEMB_OK;
    dlrm_cli *o = &r->options;
    dlrm_data_desc data = o->data;
    if (o->resume) {
        DLRM_TRY(dlrm_saved_config(o->resume, &o->config, &data, NULL));
    }
    DLRM_TRY(dlrm_data_open(&data, &r->data));
    dlrm_cli_report_faults(o, r->data);
    if (!o->resume) {
        memcpy(o->config.rows, r->data->rows, sizeof o->config.rows);
    }
    DLRM_TRY(dlrm_device_create(o->device, &r->device));
    DLRM_TRY(dlrm_model_create(r->device, &o->config, o->config.batch > DLRM_SCORE_BATCH ? o->config.batch : DLRM_SCORE_BATCH, false,
                               &r->model));
    if (o->resume) {
        DLRM_TRY(dlrm_resume(r->model, o->resume, &r->position));
    }
    r->saved = rows_done(r);
done:
    return st;
}

/* Epochs up to the last. *stopped: by Ctrl-C, and saved where asked. */
static qemb_status epochs(train_run *r, bool *stopped) {
    qemb_status st = QEMB_OK;
    *stopped = false;
    while (r->position.epoch < r->options.epochs && !*stopped) {
        const double before = r->model->seconds;
        const int64_t first = r->position.row;
        DLRM_TRY(dlrm_train_epoch(r->model, r->data, watch, r, &r->position, stopped));
        DLRM_TRY(r->failed);
        dlrm_cli_bar_end(&r->bar);
        DLRM_TRY(save(r));
        if (!*stopped) {
            const double rows = (double)r->data->count[DLRM_TRAIN];
            dlrm_predictions_free(&r->trained);
            DLRM_TRY(dlrm_predict(r->model, r->data, false, dlrm_cli_watch, &r->bar, &r->trained));
            dlrm_cli_bar_end(&r->bar);
            DLRM_TRY(dlrm_predictions_score(&r->trained, &r->score));
            print_epoch(r, r->position.loss_sum / rows, (rows - (double)first) / (r->model->seconds - before));
        }
    }
done:
    return st;
}

/* Conversion, its score, its file. */
static qemb_status finish(train_run *r) {
    qemb_status st = QEMB_OK;
    const int32_t bits = r->model->config.bits;
    dlrm_predictions packed = {0};
    dlrm_score score = {0};
    int64_t bytes = 0;
    int64_t different = 0;
    if (r->trained.rows == 0) { /* resumed after the last epoch */
        DLRM_TRY(dlrm_predict(r->model, r->data, false, dlrm_cli_watch, &r->bar, &r->trained));
        DLRM_TRY(dlrm_predictions_score(&r->trained, &r->score));
    }
    if (bits < 32) {
        DLRM_TRY(dlrm_convert(r->model, dlrm_conversion_of(&r->model->config), bits, &bytes));
        DLRM_TRY(dlrm_predict(r->model, r->data, true, dlrm_cli_watch, &r->bar, &packed));
        DLRM_TRY(dlrm_predictions_score(&packed, &score));
        different = dlrm_predictions_differ(&packed, &r->trained);
        DLRM_TRY(r->options.save ? dlrm_save_packed(r->model, &r->data->desc, r->options.save) : QEMB_OK);
    }
    dlrm_cli_bar_end(&r->bar);
    print_end(r, bits < 32 ? &score : NULL, bytes, different);
    DLRM_TRY(dlrm_cli_keep_predictions(r->options.predictions, &r->trained));
done:
    dlrm_cli_bar_end(&r->bar);
    dlrm_predictions_free(&packed);
    return st;
}

static int run(train_run *r) {
    bool stopped = false;
    qemb_status st = start(r);
    if (st == QEMB_OK && !r->options.json) {
        print_heading(r);
    }
    st = st == QEMB_OK ? epochs(r, &stopped) : st;
    st = st == QEMB_OK && !stopped ? finish(r) : st;
    dlrm_cli_bar_end(&r->bar);
    if (st != QEMB_OK) {
        return dlrm_cli_failed(&r->options);
    }
    if (stopped) {
        char text[256];
        (void)snprintf(text, sizeof text, "stopped after %lld rows of epoch %lld%s%.160s", (long long)r->position.row,
                       (long long)r->position.epoch + 1, r->options.save ? "; go on with --resume " : ", nothing is saved (no --save)",
                       r->options.save ? r->options.save : "");
        return cli_failed("train", text);
    }
    return CLI_DONE;
}

int cli_train(int argc, char **argv) {
    static train_run r;
    r.options = (dlrm_cli){.command = "train", .epochs = 1, .config = dlrm_config_kaggle(), .data = {.seed = 1}};
    const int parsed = dlrm_cli_parse(&r.options, "dmtp", help, argc, argv);
    if (parsed != CLI_DONE || optind < argc) {
        return parsed == -1 ? CLI_DONE : parsed != CLI_DONE ? parsed : cli_usage("train", "unexpected \"%s\"", argv[optind]);
    }
    dlrm_cli_catch_interrupts();
    const int code = run(&r);
    dlrm_predictions_free(&r.trained);
    dlrm_model_destroy(r.model);
    dlrm_device_destroy(r.device);
    dlrm_data_close(r.data);
    return code;
}
