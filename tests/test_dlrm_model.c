/* test_dlrm_model.c - GEMM parameters, a step against a model in plain C, the same bits on both engines, after a resume and after conversion. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "dlrm/convert.h"
#include "dlrm/gemm.h"
#include "dlrm/save.h"
#include "support_dlrm.h"
#include "support_files.h"

#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        const qemb_status ok_ = (call);                                                                                                    \
        cr_assert_eq(ok_, QEMB_OK, "%s: %s", #call, dlrm_last_error());                                                                    \
    } while (0)

enum { TABLES = PLAIN_TABLES, BATCH = 19 };

/* Five tables of five columns: nothing fits a vector of sixteen. */
static dlrm_config small_config(const dlrm_data *data) {
    dlrm_config c = dlrm_config_kaggle();
    c.tables = TABLES;
    c.dim = 5;
    c.bottom_layers = 2;
    c.bottom[0] = 23;
    c.bottom[1] = 7;
    c.top_layers = 1;
    c.top[0] = 17;
    c.batch = BATCH;
    c.seed = 3;
    memcpy(c.rows, data->rows, sizeof c.rows);
    return c;
}

static dlrm_data *small_data(int64_t rows) {
    dlrm_data *data = NULL;
    OK(dlrm_data_open(&(dlrm_data_desc){.synthetic = rows, .test_rows = 211, .scale = 0.0001, .seed = 5}, &data));
    return data;
}

/* A test keeps its devices: each would compile programs of its own. */
static dlrm_device *kept[2];

static dlrm_device *device_of(const char *name) {
    dlrm_device **device = &kept[strcmp(name, "opencl") == 0];
    if (!*device) {
        OK(dlrm_device_create(name, device));
    }
    return *device;
}

static void clean_up(void) {
    dlrm_device_destroy(kept[0]);
    dlrm_device_destroy(kept[1]);
    support_folder_remove();
}

TestSuite(dlrm_model, .init = support_folder_create, .fini = clean_up, .timeout = 300);

/* ---- GEMM ---------------------------------------------------------------------------------------------------------------- */

Test(dlrm_model, a_set_of_parameters_that_gives_wrong_products_is_refused_with_its_name) {
    dlrm_device *device = device_of("opencl");
    const dlrm_gemm_set wrong = {
        "wrong on purpose",
        {{"Xgemm",
          16,
          {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB", "NDIMC", "NWG", "SA", "SB", "STRM", "STRN", "VWM", "VWN"},
          {1, 1, 16, 1, 1, 1, 16, 1, 1, 8, 0, 0, 0, 0, 4, 8}}}};
    cr_expect_neq(dlrm_gemm_try(device, &wrong), QEMB_OK);
    cr_expect_not_null(strstr(dlrm_last_error(), "CLBlast"), "%s", dlrm_last_error());
    OK(dlrm_gemm_choose(device));
}

Test(dlrm_model, products_are_compiled_as_vectors_but_where_lanes_are_faster) {
    cr_expect_null(
        dlrm_gemm_options("OpenCL 3.0 PoCL 3.1+debian  Linux, None+Asserts, RELOC, SPIR, LLVM 15.0.6, SLEEF, DISTRO, POCL_DEBUG"));
    cr_expect_str_eq(
        dlrm_gemm_options("OpenCL 3.0 PoCL 5.0+debian  Linux, None+Asserts, RELOC, SPIR, LLVM 16.0.6, SLEEF, DISTRO, POCL_DEBUG"),
        "-DUSE_VECTOR_MAD=1 ");
    cr_expect_str_eq(dlrm_gemm_options("OpenCL 3.0 LINUX"), "-DUSE_VECTOR_MAD=1 ");
}

/* The products of both forms have the same bits on this machine or not: either is right by plain C. */
Test(dlrm_model, products_are_right_as_vectors_too) {
    cr_assert_eq(setenv("CLBLAST_BUILD_OPTIONS", dlrm_gemm_options("another"), 1), 0);
    dlrm_device *device = NULL;
    OK(dlrm_device_create("opencl", &device));
    dlrm_device_destroy(device);
}

/* ---- a step against plain C ---------------------------------------------------------------------------------------------- */

static void read_layer(const dlrm_model *m, const dlrm_layer *from, plain_layer *to) {
    static float weight[PLAIN_WIDTH * PLAIN_WIDTH], bias[PLAIN_WIDTH];
    OK(dlrm_memory_read(m->device, from->weight, from->in * from->out, weight));
    OK(dlrm_memory_read(m->device, from->bias, from->out, bias));
    to->in = (int)from->in;
    to->out = (int)from->out;
    to->relu = from->relu;
    for (int o = 0; o < to->out; o++) {
        to->bias[o] = (double)bias[o];
        for (int i = 0; i < to->in; i++) {
            to->weight[o][i] = (double)weight[o * to->in + i];
        }
    }
}

static void read_model(const dlrm_model *m, plain_dlrm *plain) {
    *plain = (plain_dlrm){.tables = TABLES,
                          .dim = (int)m->config.dim,
                          .bottom = m->bottom.count,
                          .top = m->top.count,
                          .cat = m->config.interaction == DLRM_CAT};
    for (int k = 0; k < m->bottom.count; k++) {
        read_layer(m, &m->bottom.layer[k], &plain->layer[0][k]);
    }
    for (int k = 0; k < m->top.count; k++) {
        read_layer(m, &m->top.layer[k], &plain->layer[1][k]);
    }
}

/* A number moved as the optimiser says it moves: SGD by lr*g, Adagrad at its first step by lr*sign(g), nearly. Behind a gradient lie at most 10
 * sums, 5 layers forward and back, of at most 200 float32 products: 2000 roundings of 2^-24 bound its error by 1.2e-4 of the magnitudes that
 * meet in it, so that 1e-4 of the gradient itself is the strictest that can be asked; 1e-6 is the weight's own rounding. A gradient below
 * 1e-5 may be error alone, and Adagrad moves by lr whatever its size: there even the sign is open. */
static void expect_moved(double before, double after, double g, bool adagrad, double lr, const char *what) {
    const double want = adagrad ? before - lr * g / (fabs(g) + 1e-10) : before - lr * g;
    const double tolerance = adagrad ? (fabs(g) < 1e-5 ? 2.0 * lr : 1e-4 * lr + 1e-6) : lr * (1e-6 + 1e-4 * fabs(g)) + 1e-6 * fabs(before);
    cr_expect(fabs(after - want) <= tolerance, "%s: %.9g became %.9g, want %.9g (gradient %.9g)", what, before, after, want, g);
}

static void check_layers(const plain_dlrm *before, const plain_dlrm *after, const dlrm_config *c) {
    const int counts[2] = {before->bottom, before->top};
    for (int side = 0; side < 2; side++) {
        for (int k = 0; k < counts[side]; k++) {
            const plain_layer *a = &before->layer[side][k], *b = &after->layer[side][k];
            char what[64];
            (void)snprintf(what, sizeof what, "%s MLP, layer %d", side ? "top" : "bottom", k);
            for (int o = 0; o < a->out; o++) {
                expect_moved(a->bias[o], b->bias[o], a->bias_grad[o], c->adagrad, c->lr, what);
                for (int i = 0; i < a->in; i++) {
                    expect_moved(a->weight[o][i], b->weight[o][i], a->weight_grad[o][i], c->adagrad, c->lr, what);
                }
            }
        }
    }
}

/* All rows of all tables, and where sample b's row of table t is. */
typedef struct all_rows {
    float *table[TABLES];
    double row[BATCH * TABLES][PLAIN_WIDTH], grad[BATCH * TABLES][PLAIN_WIDTH];
    const double *rows[BATCH * TABLES];
    double *grads[BATCH * TABLES];
} all_rows;

static void read_rows(dlrm_model *m, const qemb_click_batch *batch, all_rows *all) {
    for (int t = 0; t < TABLES; t++) {
        OK(dlrm_tables_read(&m->tables, t, &all->table[t]));
        for (int b = 0; b < BATCH; b++) {
            const int at = b * TABLES + t;
            all->rows[at] = all->row[at];
            all->grads[at] = all->grad[at];
            for (int c = 0; c < m->config.dim; c++) {
                all->row[at][c] = (double)all->table[t][batch->ids[t * BATCH + b] * m->config.dim + c];
            }
        }
    }
}

static void check_rows(const dlrm_model *m, const qemb_click_batch *batch, const all_rows *before, const all_rows *after) {
    const dlrm_config *c = &m->config;
    for (int t = 0; t < TABLES; t++) {
        for (int64_t row = 0; row < m->tables.rows[t]; row++) {
            for (int k = 0; k < c->dim; k++) {
                double g = 0.0;
                bool touched = false;
                for (int b = 0; b < BATCH; b++) {
                    if (batch->ids[t * BATCH + b] == row) {
                        g += before->grad[b * TABLES + t][k];
                        touched = true;
                    }
                }
                const double old = (double)before->table[t][row * c->dim + k], new = (double)after->table[t][row * c->dim + k];
                if (touched) {
                    expect_moved(old, new, g, c->adagrad, c->lr, "a row that was looked up");
                } else {
                    cr_expect(old == new, "table %d, row %lld was not looked up and moved", t, (long long)row);
                }
            }
        }
    }
}

static void step_case(bool adagrad, dlrm_interaction interaction) {
    dlrm_data *data = small_data(100);
    dlrm_device *device = device_of("opencl");
    dlrm_config config = small_config(data);
    dlrm_model *m = NULL;
    dlrm_feed feed;
    qemb_click_batch batch;
    static plain_dlrm before, after;
    static all_rows rows_before, rows_after;
    double dense[BATCH * 13], labels[BATCH], p[BATCH], loss = 0.0;
    float predictions[BATCH];
    config.adagrad = adagrad;
    config.interaction = interaction;
    config.lr = 0.25;
    OK(dlrm_model_create(device, &config, 64, false, &m));
    OK(dlrm_feed_open(data, DLRM_TRAIN, 0, BATCH, &feed));
    cr_assert_eq(qemb_click_feed_next(feed.feed, &batch), QEMB_OK);
    for (int i = 0; i < BATCH * 13; i++) {
        dense[i] = (double)batch.dense[i];
    }
    for (int b = 0; b < BATCH; b++) {
        labels[b] = (double)batch.labels[b];
    }
    read_model(m, &before);
    read_rows(m, &batch, &rows_before);
    const double want = plain_dlrm_step(&before, BATCH, dense, rows_before.rows, rows_before.grads, labels, p);
    OK(dlrm_model_score(m, false, &batch, predictions));
    OK(dlrm_model_train(m, &batch));
    OK(dlrm_model_loss(m, &loss));
    /* behind a logit of about 1 lie 5 sums of at most 200 float32 products: 6e-5 by the bound, a sixth of it is asked */
    cr_expect(fabs(loss / BATCH - want) < 1e-5, "loss %.9g, want %.9g", loss / BATCH, want);
    for (int b = 0; b < BATCH; b++) {
        cr_expect(fabs((double)predictions[b] - p[b]) < 1e-5, "sample %d: %.9g, want %.9g", b, (double)predictions[b], p[b]);
    }
    read_model(m, &after);
    read_rows(m, &batch, &rows_after);
    check_layers(&before, &after, &config);
    check_rows(m, &batch, &rows_before, &rows_after);
    for (int t = 0; t < TABLES; t++) {
        free(rows_before.table[t]);
        free(rows_after.table[t]);
    }
    dlrm_feed_close(&feed);
    dlrm_model_destroy(m);
    dlrm_data_close(data);
}

Test(dlrm_model, a_step_of_sgd_with_dot_products_moves_every_number_as_plain_c_does) {
    step_case(false, DLRM_DOT);
}

Test(dlrm_model, a_step_of_adagrad_with_concatenation_moves_every_number_as_plain_c_does) {
    step_case(true, DLRM_CAT);
}

/* ---- bits ---------------------------------------------------------------------------------------------------------------- */

/* Stops when `row` is reached. */
static bool until(void *user, const dlrm_progress *progress) {
    return progress->rows < *(const int64_t *)user;
}

/* Trains `rows` planted rows and saves to a file of `name`; with stop_after > 0 in two lives: killed there, resumed in another process's place. */
static char *train_and_save(const char *device_name, const dlrm_config *change, int64_t stop_after, const char *name, size_t *size) {
    dlrm_data *data = small_data(499);
    dlrm_config config = small_config(data);
    dlrm_position position = {0};
    bool stopped = false;
    config.bits = change->bits;
    config.method = change->method;
    config.adagrad = change->adagrad;
    for (int life = stop_after > 0 ? 0 : 1; life < 2; life++) {
        dlrm_device *device = device_of(device_name);
        dlrm_model *m = NULL;
        OK(dlrm_model_create(device, &config, 64, false, &m));
        if (life == 1 && stop_after > 0) {
            OK(dlrm_resume(m, support_path(name), &position));
        }
        if (life == 0) { /* a step at a time, so that the stop is where it is asked for */
            dlrm_feed feed;
            qemb_click_batch batch;
            OK(dlrm_feed_open(data, DLRM_TRAIN, 0, config.batch, &feed));
            for (; position.row < stop_after; position.row += batch.rows) {
                cr_assert_eq(qemb_click_feed_next(feed.feed, &batch), QEMB_OK);
                OK(dlrm_model_train(m, &batch));
            }
            OK(dlrm_model_loss(m, &position.loss_sum));
            dlrm_feed_close(&feed);
        } else {
            OK(dlrm_train_epoch(m, data, NULL, NULL, &position, &stopped));
        }
        OK(dlrm_save(m, &data->desc, &position, support_path(name)));
        dlrm_model_destroy(m);
    }
    dlrm_data_close(data);
    return support_read(support_path(name), size);
}

static const dlrm_config variants[] = {{.bits = 32},
                                       {.bits = 8, .adagrad = true},
                                       {.bits = 4},
                                       {.bits = 4, .method = DLRM_PER_TABLE},
                                       {.bits = 2, .method = DLRM_PTQ_GREEDY, .adagrad = true}};
enum { VARIANTS = sizeof variants / sizeof *variants };

Test(dlrm_model, the_reference_engine_and_opencl_end_with_the_same_file_and_so_does_a_resumed_run) {
    for (size_t i = 0; i < VARIANTS; i++) {
        size_t sizes[3];
        char *files[3] = {train_and_save("opencl", &variants[i], 0, "opencl", &sizes[0]),
                          train_and_save("reference", &variants[i], 0, "reference", &sizes[1]),
                          train_and_save("opencl", &variants[i], 7 * BATCH, "resumed", &sizes[2])};
        for (int k = 1; k < 3; k++) {
            cr_expect(sizes[k] == sizes[0] && memcmp(files[k], files[0], sizes[0]) == 0, "variant %zu: %s", i,
                      k == 1 ? "reference" : "resumed");
        }
        for (int k = 0; k < 3; k++) {
            free(files[k]);
        }
    }
}

Test(dlrm_model, another_seed_ends_with_another_file) {
    size_t sizes[2];
    dlrm_config other = variants[2];
    char *a = train_and_save("opencl", &variants[2], 0, "a", &sizes[0]);
    other.adagrad = true;
    char *b = train_and_save("opencl", &other, 0, "b", &sizes[1]);
    cr_expect(sizes[0] != sizes[1] || memcmp(a, b, sizes[0]) != 0, "the comparison cannot fail");
    free(a);
    free(b);
}

Test(dlrm_model, trained_quantised_no_prediction_changes_by_conversion_saving_and_opening) {
    for (size_t i = 0; i < VARIANTS; i++) {
        size_t size = 0;
        int64_t bytes = 0;
        const bool in_training = variants[i].method == DLRM_QAT || variants[i].method == DLRM_PER_TABLE;
        free(train_and_save("opencl", &variants[i], 0, "model", &size));
        dlrm_data *data = small_data(499);
        dlrm_data_desc desc = data->desc;
        dlrm_config config;
        dlrm_device *device = device_of("opencl");
        dlrm_model *m = NULL, *served = NULL;
        dlrm_position position;
        dlrm_predictions trained, converted, opened;
        char checkpoint[DLRM_PATH];
        if (variants[i].bits == 32) {
            dlrm_data_close(data);
            continue;
        }
        OK(dlrm_saved_config(support_path("model"), &config, &desc, checkpoint));
        cr_expect_str_eq(checkpoint, "");
        OK(dlrm_model_create(device, &config, DLRM_SCORE_BATCH, false, &m));
        OK(dlrm_resume(m, support_path("model"), &position));
        cr_expect(position.epoch == 1 && position.row == 0);
        OK(dlrm_convert(m, dlrm_conversion_of(&config), config.bits, &bytes));
        OK(dlrm_save_packed(m, &desc, support_path("model")));
        OK(dlrm_predict(m, data, false, NULL, NULL, &trained));
        OK(dlrm_predict(m, data, true, NULL, NULL, &converted));
        OK(dlrm_saved_config(support_path("model.packed"), &config, &desc, checkpoint));
        cr_expect_str_eq(checkpoint, support_path("model"));
        OK(dlrm_model_create(device, &config, DLRM_SCORE_BATCH, true, &served));
        OK(dlrm_serve(served, support_path("model.packed")));
        OK(dlrm_predict(served, data, true, NULL, NULL, &opened));
        cr_expect_eq(trained.rows, 211);
        cr_expect_eq(dlrm_predictions_differ(&converted, &opened), 0, "variant %zu", i);
        cr_expect(in_training == (dlrm_predictions_differ(&trained, &opened) == 0), "variant %zu: %lld differ", i,
                  (long long)dlrm_predictions_differ(&trained, &opened));
        dlrm_predictions_free(&trained);
        dlrm_predictions_free(&converted);
        dlrm_predictions_free(&opened);
        dlrm_model_destroy(m);
        dlrm_model_destroy(served);
        dlrm_data_close(data);
    }
}

Test(dlrm_model, a_watch_stops_an_epoch_where_it_can_go_on) {
    dlrm_data *data = small_data(300000);
    dlrm_config config = small_config(data);
    dlrm_device *device = device_of("opencl");
    dlrm_model *m = NULL;
    dlrm_position position = {0};
    bool stopped = false;
    int64_t limit = 1;
    OK(dlrm_model_create(device, &config, 64, false, &m));
    OK(dlrm_train_epoch(m, data, until, &limit, &position, &stopped));
    cr_expect(stopped && position.epoch == 0 && position.row > 0 && position.row % BATCH == 0 && position.row < 300000);
    dlrm_model_destroy(m);
    dlrm_data_close(data);
}

/* ---- one range for a table ----------------------------------------------------------------------------------------------- */

static double squared_error(const float *values, int count, int32_t bits, double low, double high) {
    const double most = (1 << bits) - 1, scale = (high - low) / most;
    double error = 0.0;
    for (int i = 0; i < count; i++) {
        double code = rint(((double)values[i] - low) / scale);
        code = code < 0 ? 0 : code > most ? most : code;
        error += (low + scale * code - (double)values[i]) * (low + scale * code - (double)values[i]);
    }
    return error;
}

Test(dlrm_model, the_greedy_range_of_a_table_loses_less_than_the_whole_range_where_values_are_outliers) {
    enum { N = 4001 };
    static float values[N];
    for (int i = 0; i < N; i++) {
        values[i] = (float)(sin(i * 12.9898) * 0.01);
    }
    values[7] = 1.0f;
    values[11] = -0.7f;
    for (int32_t bits = 8; bits >= 2; bits /= 2) {
        float low = -0.7f, high = 1.0f;
        OK(dlrm_greedy_range(values, N, bits, &low, &high));
        cr_expect(low >= -0.7f && high <= 1.0f && low < high);
        cr_expect(squared_error(values, N, bits, (double)low, (double)high) <= squared_error(values, N, bits, -0.7, 1.0),
                  "%d bits: %g .. %g", bits, (double)low, (double)high);
    }
    float low = 0.5f, high = 0.5f; /* all the same */
    OK(dlrm_greedy_range(values, N, 4, &low, &high));
    cr_expect(low == 0.5f && high == 0.5f);
}
