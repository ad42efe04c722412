/* ladder.c - `qemb ladder`: trains and converts. See ladder.h. */
#include "cli/ladder.h"

#include <string.h>

static const char help[] = "usage: qemb ladder --synthetic N | --from FILE [options]\n"
                           "\n"
                           "How good is each way to quantise embedding tables? Trains and converts models on the same planted\n"
                           "rows, from the same initial weights, in the same order, once for each of three seeds, and scores\n"
                           "what would be served on N other rows:\n"
                           "  float                              the float model\n"
                           "  QAT, 8 4 2 bits                    trained through fake quantisation, a range a row\n"
                           "  DQRM, 8 4 2 bits                   trained with one scale a table, renewed every 200 steps\n"
                           "  min/max, greedy; a row, a table    the float model, converted after training, 8 4 2 bits\n"
                           "One table: AUC and log loss, the difference from float with its standard error over the seeds\n"
                           "(paired), bytes of the tables, training time against float, and the AUC that conversion loses.\n"
                           "\n"
                           "  --seeds N           how many (3)   --seed N   the first (1)\n"
                           "  --test-rows N       rows to score on (as many as to train on)\n"
                           "  --bottom 64-32  --top 128-64   layers, here smaller than those of `qemb train`, for time\n"
                           "  --optimizer adagrad  --lr 0.02  --batch 512   what teaches most in one epoch of a million rows\n"
                           "  --dim D  --scale S  --tables N  --interaction WORD   as for `qemb train`\n"
                           "  --picture FILE      AUC by bits as SVG; needs gnuplot\n"
                           "  --device NAME       see `qemb devices`\n"
                           "  --json              one object a method and seed instead of the table, as soon as it is known\n"
                           "  --from FILE         such objects of earlier runs: their table and picture, nothing is trained\n"
                           "\n"
                           "exit codes: 0 done; 1 something failed; 2 wrong command line\n";

/* Float first: every model of bits 32 below is the same one, and is trained once. */
/* clang-format off */
#define AFTER_TRAINING(name, conversion) {name, 8, 32, DLRM_QAT, conversion}, {name, 4, 32, DLRM_QAT, conversion}, {name, 2, 32, DLRM_QAT, conversion}
/* clang-format on */
#define IN_TRAINING(name, method)                                                                                                          \
    {name, 8, 8, method, DLRM_CONVERT_TRAINED}, {name, 4, 4, method, DLRM_CONVERT_TRAINED}, {                                              \
        name, 2, 2, method, DLRM_CONVERT_TRAINED                                                                                           \
    }
static const ladder_method methods[] = {
    {"float", 32, 32, DLRM_QAT, DLRM_CONVERT_TRAINED},
    AFTER_TRAINING("min/max, a row", DLRM_CONVERT_ROW_MINMAX),
    AFTER_TRAINING("greedy, a row", DLRM_CONVERT_ROW_GREEDY),
    AFTER_TRAINING("min/max, a table", DLRM_CONVERT_TABLE_MINMAX),
    AFTER_TRAINING("greedy, a table", DLRM_CONVERT_TABLE_GREEDY),
    IN_TRAINING("QAT, a row", DLRM_QAT),
    IN_TRAINING("DQRM, a table", DLRM_PER_TABLE),
};

typedef struct ladder_run {
    ladder *ladder;
    int seed;
    dlrm_device *device;
    dlrm_data *data;
    dlrm_model *model; /* the last one trained */
    dlrm_score trained;
    dlrm_cli_bar bar;
} ladder_run;

/* A model of a method, trained for an epoch and scored. */
static qemb_status train(ladder_run *r, const ladder_method *method) {
    qemb_status st = QEMB_OK;
    dlrm_config config = r->ladder->options.config;
    dlrm_position position = {0};
    dlrm_predictions predictions = {0};
    bool stopped = false;
    dlrm_model_destroy(r->model);
    r->model = NULL;
    memcpy(config.rows, r->data->rows, sizeof config.rows);
    config.seed += (uint64_t)r->seed;
    config.bits = method->trained_bits;
    config.method = method->method;
    DLRM_TRY(dlrm_model_create(r->device, &config, config.batch > DLRM_SCORE_BATCH ? config.batch : DLRM_SCORE_BATCH, false, &r->model));
    DLRM_TRY(dlrm_train_epoch(r->model, r->data, dlrm_cli_watch, &r->bar, &position, &stopped));
    DLRM_REQUIRE(!stopped, QEMB_ERR_STATE, "dlrm: stopped");
    DLRM_TRY(dlrm_predict(r->model, r->data, false, dlrm_cli_watch, &r->bar, &predictions));
    DLRM_TRY(dlrm_predictions_score(&predictions, &r->trained));
done:
    dlrm_predictions_free(&predictions);
    return st;
}

/* The trained model converted, scored, and written down. */
static qemb_status convert(ladder_run *r, int index) {
    qemb_status st = QEMB_OK;
    const ladder_method *method = &r->ladder->methods[index];
    ladder_result *result = &r->ladder->result[index][r->seed];
    const dlrm_times *t = &r->model->times;
    dlrm_predictions predictions = {0};
    dlrm_score score = r->trained;
    for (int i = 0; method->bits == 32 && i < r->model->tables.count; i++) {
        result->bytes += 4 * r->model->tables.rows[i] * r->model->tables.dim;
    }
    if (method->bits < 32) {
        DLRM_TRY(dlrm_convert(r->model, method->conversion, method->bits, &result->bytes));
        DLRM_TRY(dlrm_predict(r->model, r->data, true, dlrm_cli_watch, &r->bar, &predictions));
        DLRM_TRY(dlrm_predictions_score(&predictions, &score));
    }
    result->auc = score.auc;
    result->log_loss = score.log_loss;
    result->drop = r->trained.auc - score.auc;
    result->seconds = r->model->seconds;
    result->tables_ms = t->steps ? 1e3 * t->tables_seconds / (double)t->steps : 0.0;
    result->layers_ms = t->steps ? 1e3 * t->layers_seconds / (double)t->steps : 0.0;
    if (r->ladder->options.json) {
        dlrm_cli_bar_end(&r->bar);
        ladder_print_seed(r->ladder, index, r->seed);
    }
done:
    dlrm_predictions_free(&predictions);
    return st;
}

static qemb_status run_seed(ladder_run *r) {
    qemb_status st = QEMB_OK;
    ladder *l = r->ladder;
    dlrm_data_desc data = l->options.data;
    data.seed += (uint64_t)r->seed;
    DLRM_TRY(dlrm_data_open(&data, &r->data));
    l->best_auc[r->seed] = r->data->best.auc;
    l->test_rows = r->data->count[DLRM_TEST];
    for (int i = 0; i < l->count; i++) {
        if (i == 0 || l->methods[i].trained_bits < 32) {
            DLRM_TRY(train(r, &l->methods[i]));
        }
        DLRM_TRY(convert(r, i));
    }
done:
    dlrm_cli_bar_end(&r->bar);
    dlrm_model_destroy(r->model);
    r->model = NULL;
    dlrm_data_close(r->data);
    r->data = NULL;
    return st;
}

static qemb_status run(ladder *l) {
    qemb_status st = QEMB_OK;
    ladder_run r = {.ladder = l};
    const double began = dlrm_seconds();
    DLRM_TRY(dlrm_device_create(l->options.device, &r.device));
    for (r.seed = 0; r.seed < l->seeds; r.seed++) {
        DLRM_TRY(run_seed(&r));
    }
    l->seconds = dlrm_seconds() - began;
done:
    dlrm_device_destroy(r.device);
    return st;
}

int cli_ladder(int argc, char **argv) {
    static ladder l = {.methods = methods, .count = sizeof methods / sizeof *methods};
    l.options = (dlrm_cli){.command = "ladder", .config = dlrm_config_kaggle(), .data = {.seed = 1}, .seeds = 3, .lr = 0.02};
    l.options.config.adagrad = true;
    l.options.config.batch = 512;
    l.options.config.bottom_layers = l.options.config.top_layers = 2;
    memcpy(l.options.config.bottom, (int64_t[]){64, 32}, 2 * sizeof(int64_t));
    memcpy(l.options.config.top, (int64_t[]){128, 64}, 2 * sizeof(int64_t));
    const int parsed = dlrm_cli_parse(&l.options, "dml", help, argc, argv);
    if (parsed != CLI_DONE || optind < argc) {
        return parsed == -1 ? CLI_DONE : parsed != CLI_DONE ? parsed : cli_usage("ladder", "unexpected \"%s\"", argv[optind]);
    }
    if (!l.options.data.synthetic == !l.options.from || l.options.data.path) {
        return cli_usage("ladder", "want planted rows, --synthetic N, or --from FILE");
    }
    l.seeds = (int)l.options.seeds;
    dlrm_cli_catch_interrupts();
    if ((l.options.from ? ladder_read(&l, l.options.from) : run(&l)) != QEMB_OK) {
        return dlrm_cli_failed(&l.options);
    }
    if (!l.options.json || l.options.from) {
        ladder_print(&l);
    }
    return l.options.picture && !ladder_draw(&l, l.options.picture) ? CLI_FAILED : CLI_DONE;
}
