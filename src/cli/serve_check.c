/* serve_check.c - `qemb serve-check`: a converted model, opened, scored, and compared with the trained one, bit for bit. */
#include <jansson.h>

#include "cli/dlrm_cli.h"
#include "dlrm/save.h"

static const char help[] = "usage: qemb serve-check FILE --data FILE | --synthetic N [options]\n"
                           "\n"
                           "Opens FILE, the converted model that `qemb train --save X` left as X.packed, scores the test part\n"
                           "with its packed tables, and compares every prediction with those of the trained model X beside it.\n"
                           "A model trained quantised (method qat or per-table) differs in none; one converted after training\n"
                           "(ptq) differs, and the exit code says so.\n"
                           "\n"
                           "  --data FILE, --synthetic N   what the model was trained on: the test part of it is scored\n"
                           "  --faults WORD       refuse (default) or skip, as for `qemb train`\n"
                           "  --predictions FILE  of the packed tables, an npy array [2][rows]: predictions, labels\n"
                           "  --device NAME       see `qemb devices`\n"
                           "  --json              one object\n"
                           "\n"
                           "exit codes: 0 done, no prediction differs; 1 some differ, or something failed;\n"
                           "            2 wrong command line\n";

typedef struct serve_run {
    dlrm_cli options;
    char checkpoint[DLRM_PATH];
    dlrm_device *device;
    dlrm_data *data;
    dlrm_cli_bar bar;
    dlrm_predictions packed, trained;
    dlrm_score score;
    double open_seconds;
    int64_t bytes, different;
} serve_run;

static qemb_status serve(serve_run *r, const char *path) {
    qemb_status st = QEMB_OK;
    dlrm_model *model = NULL;
    qemb_packed_info info;
    DLRM_TRY(dlrm_model_create(r->device, &r->options.config, DLRM_SCORE_BATCH, true, &model));
    const double began = dlrm_seconds();
    DLRM_TRY(dlrm_serve(model, path));
    r->open_seconds = dlrm_seconds() - began;
    DLRM_LIB(qemb_packed_get_info(model->tables.packed, &info));
    r->bytes = info.bytes;
    DLRM_TRY(dlrm_predict(model, r->data, true, dlrm_cli_watch, &r->bar, &r->packed));
    DLRM_TRY(dlrm_predictions_score(&r->packed, &r->score));
done:
    dlrm_model_destroy(model);
    return st;
}

static qemb_status score_trained(serve_run *r) {
    qemb_status st = QEMB_OK;
    dlrm_model *model = NULL;
    dlrm_position position;
    DLRM_TRY(dlrm_model_create(r->device, &r->options.config, DLRM_SCORE_BATCH, false, &model));
    DLRM_TRY(dlrm_resume(model, r->checkpoint, &position));
    DLRM_TRY(dlrm_predict(model, r->data, false, dlrm_cli_watch, &r->bar, &r->trained));
    r->different = dlrm_predictions_differ(&r->packed, &r->trained);
done:
    dlrm_model_destroy(model);
    return st;
}

static qemb_status check(serve_run *r, const char *path) {
    qemb_status st = QEMB_OK;
    dlrm_data_desc data = r->options.data;
    DLRM_TRY(dlrm_saved_config(path, &r->options.config, &data, r->checkpoint));
    DLRM_REQUIRE(r->checkpoint[0], QEMB_ERR_ARG, "dlrm: %s is no converted model; `qemb train --save X` leaves one as X.packed", path);
    DLRM_TRY(dlrm_data_open(&data, &r->data));
    dlrm_cli_report_faults(&r->options, r->data);
    DLRM_TRY(dlrm_device_create(r->options.device, &r->device));
    DLRM_TRY(serve(r, path));
    DLRM_TRY(score_trained(r));
    DLRM_TRY(dlrm_cli_keep_predictions(r->options.predictions, &r->packed));
done:
    dlrm_cli_bar_end(&r->bar);
    return st;
}

static void print(const serve_run *r) {
    char size[24];
    const dlrm_score *s = &r->score;
    const double speed = (double)r->packed.rows / r->packed.seconds;
    if (!r->options.json) {
        (void)printf("packed   %s at %d bits, open in %.1f ms\n", cli_size((double)r->bytes, size), (int)r->options.config.bits,
                     1e3 * r->open_seconds);
        (void)printf("score    AUC %.5f, log loss %.5f, accuracy %.5f, %.0f rows/s\n", s->auc, s->log_loss, s->accuracy, speed);
        (void)printf("differ   %lld of %lld\n", (long long)r->different, (long long)r->packed.rows);
        return;
    }
    json_t *o =
        json_pack("{s:s, s:i, s:s, s:o, s:o, s:f, s:f, s:I, s:f, s:I, s:I}", "op", "serve-check", "bits", (int)r->options.config.bits,
                  "method", dlrm_method_name(r->options.config.method), "auc", cli_number(s->auc), "log_loss", cli_number(s->log_loss),
                  "accuracy", s->accuracy, "rows_per_s", speed, "packed_bytes", (json_int_t)r->bytes, "open_seconds", r->open_seconds,
                  "different", (json_int_t)r->different, "rows", (json_int_t)r->packed.rows);
    cli_print_object(o, 0);
}

int cli_serve_check(int argc, char **argv) {
    static serve_run r;
    r.options = (dlrm_cli){.command = "serve-check", .config = dlrm_config_kaggle(), .data = {.seed = 1}};
    const int parsed = dlrm_cli_parse(&r.options, "dp", help, argc, argv);
    if (parsed != CLI_DONE) {
        return parsed == -1 ? CLI_DONE : parsed;
    }
    if (optind + 1 != argc) {
        return optind < argc ? cli_usage("serve-check", "unexpected \"%s\"", argv[optind + 1]) : cli_usage("serve-check", "which FILE?");
    }
    dlrm_cli_catch_interrupts();
    const qemb_status st = check(&r, argv[optind]);
    int code = CLI_DONE;
    if (st != QEMB_OK) {
        code = dlrm_cli_failed(&r.options);
    } else {
        print(&r);
        code = r.different ? CLI_FAILED : CLI_DONE;
    }
    dlrm_predictions_free(&r.packed);
    dlrm_predictions_free(&r.trained);
    dlrm_device_destroy(r.device);
    dlrm_data_close(r.data);
    return code;
}
