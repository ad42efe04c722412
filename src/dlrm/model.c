/* model.c - see model.h.
 *
 * Layers and tables share a queue, so a step is a list of commands without a wait between them. Two slots of staging take turns: the host
 * fills one while the device reads the other, and waits for the step before the last at most. */
#include "dlrm/model.h"

#include <string.h>

#include "dlrm/gemm.h"

enum { DENSE = QEMB_CLICK_DENSE, TIMED_EVERY = 16, STREAM_TABLES = 1, STREAM_BOTTOM = 2, STREAM_TOP = 3 };

dlrm_config dlrm_config_kaggle(void) {
    return (dlrm_config){.tables = QEMB_CLICK_SPARSE,
                         .dim = 16,
                         .bottom_layers = 3,
                         .bottom = {512, 256, 64},
                         .top_layers = 2,
                         .top = {512, 256},
                         .bits = 32,
                         .lr = 0.1,
                         .batch = 128,
                         .seed = 1};
}

int32_t dlrm_trained_bits(const dlrm_config *c) {
    return c->method == DLRM_QAT || c->method == DLRM_PER_TABLE ? c->bits : 32;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static int64_t top_inputs(const dlrm_config *c) {
    const int64_t vectors = c->tables + 1;
    return c->interaction == DLRM_CAT ? vectors * c->dim : c->dim + vectors * (vectors - 1) / 2;
}

static qemb_status create_layers(dlrm_model *m) {
    qemb_status st = QEMB_OK;
    const dlrm_config *c = &m->config;
    int64_t widths[DLRM_MAX_LAYERS + 1] = {DENSE};
    memcpy(widths + 1, c->bottom, (size_t)c->bottom_layers * sizeof *widths);
    widths[c->bottom_layers + 1] = c->dim;
    DLRM_TRY(dlrm_mlp_create(m->device,
                             &(dlrm_mlp_desc){.widths = widths,
                                              .count = c->bottom_layers + 1,
                                              .capacity = m->capacity,
                                              .last_relu = true,
                                              .adagrad = c->adagrad,
                                              .seed = c->seed * 4 + STREAM_BOTTOM},
                             &m->bottom));
    widths[0] = top_inputs(c);
    memcpy(widths + 1, c->top, (size_t)c->top_layers * sizeof *widths);
    widths[c->top_layers + 1] = 1;
    DLRM_TRY(dlrm_mlp_create(
        m->device,
        &(dlrm_mlp_desc){
            .widths = widths, .count = c->top_layers + 1, .capacity = m->capacity, .adagrad = c->adagrad, .seed = c->seed * 4 + STREAM_TOP},
        &m->top));
done:
    return st;
}

static qemb_status create_memory(dlrm_model *m) {
    qemb_status st = QEMB_OK;
    DLRM_TRY(dlrm_memory_create(m->device, m->capacity * top_inputs(&m->config), &m->interaction));
    DLRM_TRY(dlrm_memory_create(m->device, m->capacity * top_inputs(&m->config), &m->interaction_delta));
    DLRM_TRY(dlrm_memory_create(m->device, m->capacity, &m->losses));
    DLRM_TRY(dlrm_memory_create(m->device, DLRM_LOSSES, &m->loss_sums));
    DLRM_TRY(dlrm_memory_create(m->device, m->capacity, &m->predictions));
    DLRM_NEW(m->loss_copy, DLRM_LOSSES);
    for (int i = 0; i < DLRM_SLOTS; i++) {
        DLRM_NEW(m->slot[i].staging, m->capacity * (DENSE + 1));
        DLRM_TRY(dlrm_memory_create(m->device, m->capacity * DENSE, &m->slot[i].dense));
        DLRM_TRY(dlrm_memory_create(m->device, m->capacity, &m->slot[i].labels));
    }
done:
    return st;
}

qemb_status dlrm_model_create(dlrm_device *device, const dlrm_config *config, int64_t capacity, bool serve_only, dlrm_model **out) {
    qemb_status st = QEMB_OK;
    dlrm_model *m = NULL;
    DLRM_REQUIRE(config->bottom_layers >= 0 && config->bottom_layers < DLRM_MAX_LAYERS && config->top_layers >= 0 &&
                     config->top_layers < DLRM_MAX_LAYERS && config->dim > 0 && capacity > 0,
                 QEMB_ERR_SHAPE, "dlrm: %d and %d hidden layers, %lld columns, batches of %lld: want at most %d layers, the others > 0",
                 config->bottom_layers, config->top_layers, (long long)config->dim, (long long)capacity, DLRM_MAX_LAYERS - 1);
    DLRM_NEW(m, 1);
    m->config = *config;
    m->device = device;
    m->capacity = capacity;
    DLRM_TRY(create_layers(m));
    DLRM_TRY(dlrm_tables_create(device,
                                &(dlrm_tables_desc){.count = config->tables,
                                                    .rows = config->rows,
                                                    .dim = config->dim,
                                                    .bits = dlrm_trained_bits(config),
                                                    .per_table = config->method == DLRM_PER_TABLE && config->bits < 32,
                                                    .optimizer = {.kind = config->adagrad ? QEMB_ADAGRAD : QEMB_SGD, .lr = config->lr},
                                                    .capacity = capacity,
                                                    .seed = config->seed * 4 + STREAM_TABLES,
                                                    .serve_only = serve_only},
                                &m->tables));
    DLRM_TRY(create_memory(m));
    *out = m;
    m = NULL;
done:
    dlrm_model_destroy(m);
    return st;
}

static void forget(cl_event *event) {
    if (*event) {
        (void)clReleaseEvent(*event);
        *event = NULL;
    }
}

void dlrm_model_destroy(dlrm_model *m) {
    if (!m) {
        return;
    }
    (void)clFinish(m->device->queue);
    dlrm_tables_destroy(&m->tables);
    dlrm_mlp_destroy(&m->bottom);
    dlrm_mlp_destroy(&m->top);
    cl_mem *all[] = {&m->interaction, &m->interaction_delta, &m->losses, &m->loss_sums, &m->predictions};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dlrm_memory_destroy(all[i]);
    }
    for (int i = 0; i < DLRM_SLOTS; i++) {
        free(m->slot[i].staging);
        dlrm_memory_destroy(&m->slot[i].dense);
        dlrm_memory_destroy(&m->slot[i].labels);
        forget(&m->slot[i].done);
    }
    for (int i = 0; i < 4; i++) {
        forget(&m->mark[i]);
    }
    free(m->loss_copy);
    free(m);
}

/* ---- time: of every 16th step, from marks between the commands of tables and layers ---------------------------------------- */

static qemb_status collect_times(dlrm_model *m) {
    qemb_status st = QEMB_OK;
    cl_ulong at[4] = {0};
    if (m->mark[3]) {
        DLRM_CL(clWaitForEvents(1, &m->mark[3]), "clWaitForEvents");
        for (int i = 0; i < 4; i++) {
            DLRM_CL(clGetEventProfilingInfo(m->mark[i], CL_PROFILING_COMMAND_END, sizeof *at, &at[i], NULL), "clGetEventProfilingInfo");
        }
        const double tables = 1e-9 * (double)(at[1] - at[0] + at[3] - at[2]);
        const double layers = 1e-9 * (double)(at[2] - at[1]);
        dlrm_times *t = &m->times;
        t->tables_best = t->steps == 0 || tables < t->tables_best ? tables : t->tables_best;
        t->layers_best = t->steps == 0 || layers < t->layers_best ? layers : t->layers_best;
        t->tables_seconds += tables;
        t->layers_seconds += layers;
        t->steps++;
    }
    for (int i = 0; i < 4; i++) {
        forget(&m->mark[i]);
    }
done:
    return st;
}

static qemb_status mark(dlrm_model *m, int index) {
    qemb_status st = QEMB_OK;
    if (m->steps % TIMED_EVERY == TIMED_EVERY - 1) {
        if (index == 0) {
            DLRM_TRY(collect_times(m));
        }
        DLRM_CL(clEnqueueMarkerWithWaitList(m->device->queue, 0, NULL, &m->mark[index]), "clEnqueueMarkerWithWaitList");
    }
done:
    return st;
}

/* ---- forward and backward ------------------------------------------------------------------------------------------------ */

/* ids, counts and labels to the device. */
static qemb_status upload(dlrm_model *m, bool packed, const qemb_click_batch *batch, dlrm_slot **out) {
    qemb_status st = QEMB_OK;
    dlrm_slot *s = &m->slot[m->steps % DLRM_SLOTS];
    const size_t dense = (size_t)batch->rows * DENSE * sizeof(float);
    const size_t labels = (size_t)batch->rows * sizeof(float);
    cl_command_queue queue = m->device->queue;
    DLRM_REQUIRE(batch->rows > 0 && batch->rows <= m->capacity, QEMB_ERR_SHAPE, "dlrm: a batch of %lld rows, want 1 .. %lld",
                 (long long)batch->rows, (long long)m->capacity);
    if (s->done) {
        DLRM_CL(clWaitForEvents(1, &s->done), "clWaitForEvents");
        forget(&s->done);
    }
    memcpy(s->staging, batch->dense, dense);
    memcpy(s->staging + m->capacity * DENSE, batch->labels, labels);
    DLRM_CL(clEnqueueWriteBuffer(queue, s->dense, CL_FALSE, 0, dense, s->staging, 0, NULL, NULL), "clEnqueueWriteBuffer");
    DLRM_CL(clEnqueueWriteBuffer(queue, s->labels, CL_FALSE, 0, labels, s->staging + m->capacity * DENSE, 0, NULL, NULL),
            "clEnqueueWriteBuffer");
    DLRM_TRY(dlrm_tables_set(&m->tables, packed, batch->ids, batch->rows));
    *out = s;
done:
    return st;
}

/* Bottom vector and bags to the input of the top MLP, or gradients the other way. */
static qemb_status interact(dlrm_model *m, bool backward, int64_t rows) {
    const dlrm_config *c = &m->config;
    const cl_mem bottom = dlrm_mlp_output(&m->bottom);
    const cl_mem bottom_delta = dlrm_mlp_delta(&m->bottom);
    const cl_int vectors = c->tables + 1;
    const cl_int dim = (cl_int)c->dim;
    const cl_int count = (cl_int)rows;
    const dlrm_argument forward[] = {DLRM_ARGUMENT(bottom),
                                     DLRM_ARGUMENT(m->tables.output_memory),
                                     DLRM_ARGUMENT(m->interaction),
                                     DLRM_ARGUMENT(vectors),
                                     DLRM_ARGUMENT(dim),
                                     DLRM_ARGUMENT(count)};
    const dlrm_argument back[] = {DLRM_ARGUMENT(bottom),
                                  DLRM_ARGUMENT(m->tables.output_memory),
                                  DLRM_ARGUMENT(m->interaction_delta),
                                  DLRM_ARGUMENT(bottom_delta),
                                  DLRM_ARGUMENT(m->tables.delta_memory),
                                  DLRM_ARGUMENT(vectors),
                                  DLRM_ARGUMENT(dim),
                                  DLRM_ARGUMENT(count)};
    const bool cat = c->interaction == DLRM_CAT;
    if (backward) {
        return cat ? dlrm_launch(m->device, DLRM_KERNEL_cat_backward, rows, back + 2, 6)
                   : dlrm_launch(m->device, DLRM_KERNEL_dot_backward, rows, back, 8);
    }
    return dlrm_launch(m->device, cat ? DLRM_KERNEL_cat_forward : DLRM_KERNEL_dot_forward, rows, forward, 6);
}

static qemb_status loss_backward(dlrm_model *m, const dlrm_slot *s, int64_t rows) {
    qemb_status st = QEMB_OK;
    const cl_mem logits = dlrm_mlp_output(&m->top);
    const cl_mem delta = dlrm_mlp_delta(&m->top);
    const cl_int count = (cl_int)rows;
    const cl_int place = (cl_int)(m->steps % DLRM_LOSSES);
    const dlrm_argument loss[] = {DLRM_ARGUMENT(logits), DLRM_ARGUMENT(s->labels), DLRM_ARGUMENT(m->losses), DLRM_ARGUMENT(delta),
                                  DLRM_ARGUMENT(count)};
    const dlrm_argument sum[] = {DLRM_ARGUMENT(m->losses), DLRM_ARGUMENT(m->loss_sums), DLRM_ARGUMENT(count), DLRM_ARGUMENT(place)};
    DLRM_TRY(dlrm_launch(m->device, DLRM_KERNEL_loss_backward, rows, loss, 5));
    DLRM_TRY(dlrm_launch(m->device, DLRM_KERNEL_loss_sum, 1, sum, 4));
done:
    return st;
}

static qemb_status forward(dlrm_model *m, bool packed, const dlrm_slot *s, int64_t rows, bool timed) {
    qemb_status st = QEMB_OK;
    DLRM_TRY(timed ? mark(m, 0) : QEMB_OK);
    DLRM_TRY(dlrm_tables_forward(&m->tables, packed, rows));
    DLRM_TRY(timed ? mark(m, 1) : QEMB_OK);
    DLRM_TRY(dlrm_mlp_forward(m->device, &m->bottom, s->dense, rows));
    DLRM_TRY(interact(m, false, rows));
    DLRM_TRY(dlrm_mlp_forward(m->device, &m->top, m->interaction, rows));
done:
    return st;
}

qemb_status dlrm_model_train(dlrm_model *m, const qemb_click_batch *batch) {
    qemb_status st = QEMB_OK;
    dlrm_slot *s = NULL;
    const int64_t rows = batch->rows;
    const dlrm_dense_step step = {.adagrad = m->config.adagrad, .lr = (float)m->config.lr, .eps = 1e-10f};
    DLRM_REQUIRE(m->tables.bag, QEMB_ERR_STATE, "dlrm: a converted model cannot be trained");
    DLRM_REQUIRE(m->steps - m->losses_read < DLRM_LOSSES, QEMB_ERR_STATE, "dlrm: the losses of %d steps were not asked for", DLRM_LOSSES);
    DLRM_TRY(upload(m, false, batch, &s));
    DLRM_TRY(forward(m, false, s, rows, true));
    DLRM_TRY(loss_backward(m, s, rows));
    DLRM_TRY(dlrm_mlp_backward(m->device, &m->top, &step, m->interaction, m->interaction_delta, rows));
    DLRM_TRY(interact(m, true, rows));
    DLRM_TRY(dlrm_mlp_backward(m->device, &m->bottom, &step, s->dense, NULL, rows));
    DLRM_TRY(mark(m, 2));
    DLRM_TRY(dlrm_tables_step(&m->tables, rows));
    DLRM_TRY(mark(m, 3));
    DLRM_CL(clEnqueueMarkerWithWaitList(m->device->queue, 0, NULL, &s->done), "clEnqueueMarkerWithWaitList");
    DLRM_CL(clFlush(m->device->queue), "clFlush");
    m->steps++;
done:
    return st;
}

qemb_status dlrm_model_loss(dlrm_model *m, double *sum) {
    qemb_status st = QEMB_OK;
    DLRM_TRY(dlrm_memory_read(m->device, m->loss_sums, DLRM_LOSSES, m->loss_copy));
    DLRM_LIB(qemb_context_finish(m->device->ctx));
    for (; m->losses_read < m->steps; m->losses_read++) {
        *sum += (double)m->loss_copy[m->losses_read % DLRM_LOSSES];
    }
    DLRM_TRY(collect_times(m));
done:
    return st;
}

qemb_status dlrm_model_score(dlrm_model *m, bool packed, const qemb_click_batch *batch, float *predictions) {
    qemb_status st = QEMB_OK;
    dlrm_slot *s = NULL;
    const cl_mem logits = dlrm_mlp_output(&m->top);
    const cl_int rows = (cl_int)batch->rows;
    const dlrm_argument arguments[] = {DLRM_ARGUMENT(logits), DLRM_ARGUMENT(m->predictions), DLRM_ARGUMENT(rows)};
    DLRM_REQUIRE(packed ? m->tables.packed != NULL : m->tables.bag != NULL, QEMB_ERR_STATE, "dlrm: the model has no %s tables",
                 packed ? "packed" : "trained");
    DLRM_TRY(upload(m, packed, batch, &s));
    DLRM_TRY(forward(m, packed, s, batch->rows, false));
    DLRM_TRY(dlrm_launch(m->device, DLRM_KERNEL_sigmoid, rows, arguments, 3));
    DLRM_TRY(dlrm_memory_read(m->device, m->predictions, rows, predictions));
    DLRM_LIB(qemb_context_finish(m->device->ctx));
done:
    return st;
}
