/* support_walk.c - see support_walk.h. */
#include "support_walk.h"

#include <qemb/qemb_io.h>
#include <qemb/qemb_opencl.h>

#include <stdio.h>
#include <string.h>

#define GO(call)                                                                                                                           \
    do {                                                                                                                                   \
        qemb_status go_ = (call);                                                                                                          \
        if (go_ != QEMB_OK) {                                                                                                              \
            return go_;                                                                                                                    \
        }                                                                                                                                  \
    } while (0)

enum { E = 13, D = 19, B = 5, N = 11, TE = 7, TB = 3, TN = 2 * WALK_TABLES * TB, EE = 11, ED = 5, EN = 7, PB = 3, PN = 7 };
static const int64_t table_dim[WALK_TABLES] = {3, 5, 7, 11, 13, 17, 19, 23, 29};
enum { COLUMNS = 127 };

static uint64_t mix(uint64_t h, const void *data, size_t bytes) {
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ p[i]) * 0x100000001b3u;
    }
    return h;
}

static void record(walk *w, const void *data, size_t bytes) {
    w->tape = mix(w->tape ? w->tape : 0xcbf29ce484222325u, data, bytes);
}

static void fill(float *values, int64_t count, unsigned seed) {
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int)(seed >> 8) * 0x1p-22f - 2.0f;
    }
}

static int64_t *ids(int64_t count, int64_t rows, unsigned seed) {
    static int64_t values[128];
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (int64_t)(seed >> 8) % rows;
    }
    return values;
}

static const int64_t bag_offsets[B] = {0, 3, 3, 4, 9};
static const int64_t packed_offsets[PB] = {0, 2, 5};

/* ---- context and memory ------------------------------------------------------------------------------------------------------------ */

static qemb_status s_context(walk *w) {
    return qemb_context_create(w->device, &w->ctx);
}

static qemb_status s_report(walk *w) {
    qemb_device_report report;
    GO(qemb_context_report(w->ctx, &report));
    record(w, report.engine, strlen(report.engine));
    return QEMB_OK;
}

static qemb_status s_bandwidth(walk *w) {
    double gbps = 0.0;
    return qemb_context_copy_bandwidth(w->ctx, 4099, &gbps);
}

static qemb_status make(walk *w, qemb_buffer **buffer, int64_t floats) {
    return *buffer ? QEMB_OK : qemb_buffer_create(w->ctx, (size_t)floats * 4, buffer);
}

static qemb_status s_buffers(walk *w) {
    for (int t = 0; t < WALK_TABLES; t++) {
        GO(make(w, &w->table[t], TE * table_dim[t]));
    }
    GO(make(w, &w->out[0], B * D));
    GO(make(w, &w->out[1], TB * COLUMNS));
    GO(make(w, &w->out[2], EN * ED));
    GO(make(w, &w->out[3], PB * D));
    GO(make(w, &w->grad[0], B * D));
    GO(make(w, &w->grad[1], TB * COLUMNS));
    GO(make(w, &w->grad[2], EN * ED));
    GO(make(w, &w->dense, TE * 29));
    GO(make(w, &w->coo_indices, 2 * EN));
    GO(make(w, &w->coo_values, EN * ED));
    GO(make(w, &w->coo_count, 2));
    GO(make(w, &w->weights_grad, TN));
    GO(make(w, &w->ids, 2 * N));
    return make(w, &w->offsets, 2 * B);
}

static qemb_status s_write(walk *w) {
    float values[TE * 29];
    for (int t = 0; t < WALK_TABLES; t++) {
        fill(values, TE * table_dim[t], 100u + (unsigned)t);
        GO(qemb_buffer_write(w->table[t], 0, (size_t)(TE * table_dim[t]) * 4, values));
    }
    fill(values, B * D, 7);
    GO(qemb_buffer_write(w->grad[0], 0, sizeof(float) * B * D, values));
    GO(qemb_buffer_write(w->ids, 0, sizeof(int64_t) * N, ids(N, E, 8)));
    return qemb_buffer_write(w->offsets, 0, sizeof bag_offsets, bag_offsets);
}

static qemb_status s_write_async(walk *w) {
    static float values[2][TB * COLUMNS];
    fill(values[0], TB * COLUMNS, 9);
    fill(values[1], EN * ED, 10);
    GO(qemb_buffer_write_async(w->grad[1], 0, sizeof values[0], values[0]));
    GO(qemb_buffer_write_async(w->grad[2], 0, sizeof(float) * EN * ED, values[1]));
    return qemb_context_finish(w->ctx);
}

/* ---- modules ------------------------------------------------------------------------------------------------------------------------- */

static qemb_status s_bag(walk *w) {
    return qemb_embedding_bag_create(
        w->ctx,
        &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .qconfig = qemb_qconfig_8bit(), .seed = 5, .name = "bag"},
        &w->bag);
}

static qemb_status s_collection(walk *w) {
    qemb_table_desc tables[WALK_TABLES];
    for (int t = 0; t < WALK_TABLES; t++) {
        tables[t] = (qemb_table_desc){
            .num_embeddings = TE, .embedding_dim = table_dim[t], .weight_buffer = w->table[t], .qconfig = qemb_qconfig_4bit()};
        tables[t].qconfig.observer = t % 2 ? QEMB_OBSERVER_MEMORYLESS : QEMB_OBSERVER_MIN_MAX;
        tables[t].has_padding_idx = t == 4;
        tables[t].padding_idx = t == 4 ? -2 : 0;
    }
    return qemb_embedding_bag_collection_create(
        w->ctx, &(qemb_collection_desc){.tables = tables, .num_tables = WALK_TABLES, .options = {.mode = QEMB_MODE_SUM}}, &w->collection);
}

static qemb_status s_embedding(walk *w) {
    static float weight[EE * ED];
    fill(weight, EE * ED, 6);
    return qemb_embedding_create(w->ctx,
                                 &(qemb_embedding_desc){.num_embeddings = EE,
                                                        .embedding_dim = ED,
                                                        .has_max_norm = true,
                                                        .max_norm = 1.25f,
                                                        .qconfig = qemb_qconfig_float(),
                                                        .weight = weight,
                                                        .sparse = true},
                                 &w->embedding);
}

static qemb_status s_to_float(walk *w) {
    return qemb_embedding_bag_to_float(w->bag, &w->plain);
}

static qemb_status s_from_float(walk *w) {
    const qemb_qconfig q = {.quant_max = 255, .observer = QEMB_OBSERVER_MEMORYLESS, .arithmetic = QEMB_ARITHMETIC_PACKED};
    return qemb_embedding_bag_from_float(w->plain, &q, &w->qat);
}

/* ---- lookups -------------------------------------------------------------------------------------------------------------------------- */

static qemb_status s_batches(walk *w) {
    for (int k = 0; k < WALK_OUTS; k++) {
        GO(w->batch[k] ? QEMB_OK : qemb_batch_create(w->ctx, &w->batch[k]));
    }
    return w->device_batch ? QEMB_OK : qemb_batch_create(w->ctx, &w->device_batch);
}

static qemb_status set_bag(walk *w, unsigned seed) {
    return qemb_batch_set(
        w->batch[0], w->bag,
        &(qemb_input){.indices = ids(N, E, seed), .num_indices = N, .indices_dtype = QEMB_INT64, .offsets = bag_offsets, .num_offsets = B});
}

static qemb_status s_set_bag(walk *w) {
    return set_bag(w, 21);
}

static qemb_status s_set_collection(walk *w) {
    float weights[TN];
    fill(weights, TN, 22);
    return qemb_batch_set(w->batch[1], w->collection,
                          &(qemb_input){.indices = ids(TN, TE, 23),
                                        .num_indices = TN,
                                        .indices_dtype = QEMB_INT64,
                                        .columns = 2,
                                        .per_sample_weights = weights,
                                        .num_per_sample_weights = TN});
}

static qemb_status s_set_embedding(walk *w) {
    return qemb_batch_set(w->batch[2], qemb_embedding_as_bag(w->embedding),
                          &(qemb_input){.indices = ids(EN, EE, 24), .num_indices = EN, .indices_dtype = QEMB_INT64});
}

static qemb_status s_forward_bag(walk *w) {
    return qemb_embedding_bag_forward(w->bag, w->batch[0], w->out[0]);
}

static qemb_status s_forward_collection(walk *w) {
    return qemb_embedding_bag_forward(w->collection, w->batch[1], w->out[1]);
}

static qemb_status s_forward_embedding(walk *w) {
    return qemb_embedding_forward(w->embedding, w->batch[2], w->out[2]);
}

static qemb_status read_out(walk *w, int k) {
    float values[TB * COLUMNS];
    const size_t bytes = qemb_buffer_bytes(w->out[k]);
    GO(qemb_buffer_read(w->out[k], 0, bytes, values));
    record(w, values, bytes);
    return QEMB_OK;
}

static qemb_status s_read_outs(walk *w) {
    walk copy = *w;
    for (int k = 0; k < 3; k++) {
        GO(read_out(&copy, k));
    }
    w->tape = copy.tape;
    return QEMB_OK;
}

static qemb_status s_read_async(walk *w) {
    static float values[B * D];
    GO(qemb_buffer_read_async(w->out[0], 0, sizeof values, values));
    GO(qemb_context_finish(w->ctx));
    record(w, values, sizeof values);
    return QEMB_OK;
}

/* ---- training ---------------------------------------------------------------------------------------------------------------------------- */

static qemb_status s_backward_dense(walk *w) {
    return qemb_embedding_bag_backward(w->collection, w->batch[1], w->grad[1],
                                       &(qemb_gradients){.table = 8, .dense = w->dense, .per_sample_weights = w->weights_grad});
}

static qemb_status s_backward_coo(walk *w) {
    return qemb_embedding_bag_backward(
        qemb_embedding_as_bag(w->embedding), w->batch[2], w->grad[2],
        &(qemb_gradients){.coo_indices = w->coo_indices, .coo_values = w->coo_values, .coo_count = w->coo_count});
}

static qemb_status s_sgd(walk *w) {
    return qemb_optimizer_create(w->ctx, w->collection, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.125, .momentum = 0.5}, &w->sgd);
}

static qemb_status s_adam(walk *w) {
    return qemb_optimizer_create(
        w->ctx, w->bag, &(qemb_optimizer_desc){.kind = QEMB_PARTIAL_ROWWISE_ADAM, .lr = 0.25, .clip = QEMB_CLIP_NORM, .clip_limit = 2.0},
        &w->adam);
}

static qemb_status s_prepare(walk *w) {
    return qemb_embedding_bag_prepare(w->collection,
                                      &(qemb_prepare_desc){.bags = TB, .lookups = TN, .per_sample_weights = true, .optimizer = w->sgd});
}

static qemb_status s_sort(walk *w) {
    return qemb_embedding_bag_sort(w->collection, w->batch[1]);
}

static qemb_status s_set_lr(walk *w) {
    return qemb_optimizer_set_lr(w->adam, 0.0625);
}

static qemb_status s_step_collection(walk *w) {
    return qemb_embedding_bag_step(w->collection, w->batch[1], w->grad[1], w->sgd);
}

static qemb_status s_step_bag(walk *w) {
    return qemb_embedding_bag_step(w->bag, w->batch[0], w->grad[0], w->adam);
}

static qemb_status s_set_again(walk *w) {
    return set_bag(w, 25);
}

static qemb_status s_set_device(walk *w) {
    return qemb_batch_set_device(
        w->device_batch, w->bag,
        &(qemb_device_input){.indices = w->ids, .num_indices = N, .indices_dtype = QEMB_INT64, .offsets = w->offsets, .num_offsets = B});
}

static qemb_status s_forward_device(walk *w) {
    return qemb_embedding_bag_forward(w->bag, w->device_batch, w->out[0]);
}

static qemb_status s_status(walk *w) {
    int64_t skipped = 0;
    GO(qemb_batch_status(w->device_batch, &skipped));
    record(w, &skipped, sizeof skipped);
    return QEMB_OK;
}

static qemb_status s_read_state(walk *w) {
    float values[E * D];
    GO(qemb_optimizer_read_state(w->adam, 0, 0, 0, E, values));
    record(w, values, sizeof values);
    return QEMB_OK;
}

static qemb_status s_write_state(walk *w) {
    float values[3 * 29];
    fill(values, 3 * 29, 31);
    return qemb_optimizer_write_state(w->sgd, 0, 8, 2, 3, values);
}

/* ---- rows, observers, switches ---------------------------------------------------------------------------------------------------------- */

static qemb_status s_read_weight(walk *w) {
    float values[E * D];
    GO(qemb_embedding_bag_read_weight(w->bag, 0, 0, E, values));
    record(w, values, sizeof values);
    return QEMB_OK;
}

static qemb_status s_write_weight(walk *w) {
    float values[2 * D];
    fill(values, 2 * D, 32);
    return qemb_embedding_bag_write_weight(w->bag, 0, 4, 2, values);
}

static qemb_status s_read_observer(walk *w) {
    float v[4][E];
    GO(qemb_embedding_bag_read_observer(w->bag, 0, 0, E, &(qemb_observer_rows){v[0], v[1], v[2], v[3]}));
    record(w, v, sizeof v);
    return QEMB_OK;
}

static qemb_status s_write_observer(walk *w) {
    float low[TE], high[TE];
    fill(low, TE, 33);
    for (int r = 0; r < TE; r++) {
        high[r] = low[r] + 3.0f;
    }
    return qemb_embedding_bag_write_observer(w->collection, 2, 0, TE, low, high);
}

static qemb_status s_fake_quantise(walk *w) {
    return qemb_embedding_bag_fake_quantise(w->bag, 0, 3, PB, w->out[3]);
}

static qemb_status s_observe_all(walk *w) {
    return qemb_embedding_bag_observe_all(w->bag);
}

static qemb_status s_observer_off(walk *w) {
    return qemb_embedding_bag_set_observer(w->collection, 1, false);
}

static qemb_status s_fake_quant_off(walk *w) {
    return qemb_embedding_bag_set_fake_quant(w->collection, QEMB_ALL_TABLES, false);
}

static qemb_status s_schedule(walk *w) {
    return qemb_embedding_bag_set_schedule(w->collection, QEMB_ALL_TABLES, 2, 3);
}

/* ---- packed ----------------------------------------------------------------------------------------------------------------------------------- */

static qemb_status s_pack(walk *w) {
    return qemb_packed_create(w->bag, NULL, &w->packed);
}

static qemb_status s_pack_pruned(walk *w) {
    static const int32_t map[E] = {0, 1, -1, 2, 3, 4, -1, 5, 5, 6, 7, -1, 8};
    return qemb_packed_create(
        w->bag, &(qemb_packed_desc){.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}, .row_map = (const int32_t *const[]){map}},
        &w->converted);
}

static qemb_status s_convert(walk *w) {
    qemb_packed_destroy(w->converted);
    w->converted = NULL;
    return qemb_packed_convert(w->packed, &(qemb_packed_format){.layout = QEMB_LAYOUT_FBGEMM, .bits = 8, .row_alignment = 16}, 0,
                               &w->converted);
}

static qemb_status s_import(walk *w) {
    unsigned char rows[E * (D + 8)];
    qemb_packed_table t;
    GO(qemb_packed_get_table(w->packed, 0, &t));
    GO(qemb_packed_read_rows(w->packed, 0, 0, E, rows, NULL));
    t.rows = rows;
    GO(qemb_packed_import(w->ctx, &(qemb_packed_import_desc){.tables = &t, .num_tables = 1, .options = {.mode = QEMB_MODE_SUM}},
                          &w->imported));
    record(w, rows, sizeof rows);
    return QEMB_OK;
}

static qemb_status s_packed_prepare(walk *w) {
    return qemb_packed_prepare(w->packed, NULL, QEMB_FLOAT32);
}

static qemb_status s_unpack(walk *w) {
    float values[E * D];
    GO(qemb_packed_unpack(w->imported, 0, 0, E, values));
    record(w, values, sizeof values);
    return QEMB_OK;
}

static qemb_status s_packed_set(walk *w) {
    return qemb_packed_batch_set(
        w->packed, w->batch[3],
        &(qemb_input){
            .indices = ids(PN, E, 41), .num_indices = PN, .indices_dtype = QEMB_INT64, .offsets = packed_offsets, .num_offsets = PB});
}

static qemb_status s_packed_forward(walk *w) {
    return qemb_packed_forward(w->packed, w->batch[3], w->out[3], QEMB_FLOAT32);
}

static qemb_status s_read_packed(walk *w) {
    return read_out(w, 3);
}

/* ---- files ---------------------------------------------------------------------------------------------------------------------------------------- */

static const char *model_path(const walk *w) {
    static char path[640];
    (void)snprintf(path, sizeof path, "%s/walk", w->folder);
    return path;
}

static qemb_status s_save(walk *w) {
    float values[E * D];
    GO(qemb_embedding_bag_read_weight(w->bag, 0, 0, E, values));
    return qemb_safetensors_save(model_path(w),
                                 &(qemb_tensor_desc){.name = "weight", .shape = (const int64_t[]){E, D}, .rank = 2, .dtype = QEMB_FILE_F32},
                                 (const void *[]){values}, 1, NULL, 0);
}

static qemb_status s_load(walk *w) {
    float values[E * D];
    qemb_safetensors *file = NULL;
    qemb_status st = qemb_safetensors_open(model_path(w), &file);
    st = st == QEMB_OK ? qemb_safetensors_verify(file) : st;
    st = st == QEMB_OK ? qemb_safetensors_read_rows(file, "weight", 0, E, values) : st;
    qemb_safetensors_close(file);
    if (st == QEMB_OK) {
        record(w, values, sizeof values);
    }
    return st;
}

static qemb_status s_saver(walk *w) {
    qemb_saver *saver = NULL;
    qemb_status st = qemb_saver_create(&saver);
    st = st == QEMB_OK ? qemb_saver_add_module(saver, "m.", w->collection) : st;
    st = st == QEMB_OK ? qemb_saver_add_optimizer(saver, "o.", w->adam) : st;
    st = st == QEMB_OK ? qemb_saver_add_packed(saver, "p.", w->packed) : st;
    st = st == QEMB_OK ? qemb_saver_write(saver, model_path(w)) : st;
    qemb_saver_destroy(saver);
    return st;
}

/* What was saved comes back: nothing changes, but half of it may have been written when a call fails (qemb_io.h). */
static qemb_status s_load_saved(walk *w) {
    qemb_safetensors *file = NULL;
    qemb_packed *packed = NULL;
    qemb_status st = qemb_safetensors_open(model_path(w), &file);
    st = st == QEMB_OK ? qemb_load_module(file, "m.", w->collection) : st;
    st = st == QEMB_OK ? qemb_load_optimizer(file, "o.", w->adam) : st;
    st = st == QEMB_OK ? qemb_load_packed(w->ctx, file, "p.", QEMB_LOAD_VERIFY, &packed) : st;
    qemb_packed_destroy(packed);
    packed = NULL;
    st = st == QEMB_OK ? qemb_load_packed(w->ctx, file, "p.", QEMB_LOAD_COPY, &packed) : st;
    qemb_packed_destroy(packed);
    qemb_safetensors_close(file);
    return st;
}

static qemb_status s_progress(walk *w) {
    qemb_table_progress p[WALK_TABLES];
    for (int t = 0; t < WALK_TABLES; t++) {
        GO(qemb_embedding_bag_get_progress(w->collection, t, &p[t]));
        p[t].observations = 0; /* and so no observer state to be written next */
    }
    return qemb_embedding_bag_set_progress(w->collection, 5, p);
}

/* ---- OpenCL ------------------------------------------------------------------------------------------------------------------------------------------ */

static qemb_status s_window(walk *w) {
    cl_mem memory = NULL;
    GO(qemb_buffer_cl_memory(w->out[0], &memory, NULL));
    return qemb_buffer_from_cl(w->ctx, memory, 3, 7, 4, &w->window);
}

static qemb_status s_event(walk *w) {
    cl_event event = NULL;
    GO(qemb_context_cl_event(w->ctx, &event));
    w->event = event;
    return QEMB_OK;
}

static qemb_status s_wait(walk *w) {
    return qemb_context_cl_wait(w->ctx, 1, &(cl_event){w->event});
}

static qemb_status s_second(walk *w) {
    cl_context context = NULL;
    cl_device_id device = NULL;
    cl_command_queue queue = NULL;
    GO(qemb_context_cl_objects(w->ctx, &context, &device, &queue));
    return qemb_context_from_cl(context, device, queue, &w->second);
}

static qemb_status s_counters(walk *w) {
    qemb_counters counters;
    return qemb_context_counters(w->ctx, &counters);
}

static qemb_status s_finish(walk *w) {
    return qemb_context_finish(w->ctx);
}

const walk_step walk_steps[] = {
    {"context_create", s_context, false, false},
    {"context_report", s_report, false, false},
    {"copy_bandwidth", s_bandwidth, false, false},
    {"buffer_create", s_buffers, false, true},
    {"buffer_write", s_write, false, true},
    {"buffer_write_async", s_write_async, false, true},
    {"embedding_bag_create", s_bag, false, false},
    {"collection_create", s_collection, false, false},
    {"embedding_create", s_embedding, false, false},
    {"to_float", s_to_float, false, false},
    {"from_float", s_from_float, false, false},
    {"batch_create", s_batches, false, true},
    {"batch_set", s_set_bag, false, false},
    {"batch_set (weights)", s_set_collection, false, false},
    {"batch_set (embedding)", s_set_embedding, false, false},
    {"forward", s_forward_bag, false, false},
    {"forward (collection)", s_forward_collection, false, false},
    {"forward (embedding)", s_forward_embedding, false, false},
    {"buffer_read", s_read_outs, false, false},
    {"buffer_read_async", s_read_async, false, false},
    {"backward (dense)", s_backward_dense, false, false},
    {"backward (coo)", s_backward_coo, false, false},
    {"optimizer_create (sgd)", s_sgd, false, false},
    {"optimizer_create (adam)", s_adam, false, false},
    {"prepare", s_prepare, false, false},
    {"sort", s_sort, false, false},
    {"set_lr", s_set_lr, false, false},
    {"step (collection)", s_step_collection, false, false},
    {"step", s_step_bag, false, false},
    {"batch_set (again)", s_set_again, false, false},
    {"batch_set_device", s_set_device, false, false},
    {"forward (device batch)", s_forward_device, false, false},
    {"batch_status", s_status, false, false},
    {"read_state", s_read_state, false, false},
    {"write_state", s_write_state, false, false},
    {"read_weight", s_read_weight, false, false},
    {"write_weight", s_write_weight, false, false},
    {"read_observer", s_read_observer, false, false},
    {"write_observer", s_write_observer, false, false},
    {"fake_quantise", s_fake_quantise, false, false},
    {"observe_all", s_observe_all, false, false},
    {"set_observer", s_observer_off, false, false},
    {"set_fake_quant", s_fake_quant_off, false, false},
    {"set_schedule", s_schedule, false, false},
    {"forward (switched)", s_forward_collection, false, false},
    {"forward (scheduled)", s_forward_collection, false, false},
    {"packed_create", s_pack, false, false},
    {"packed_create (pruned)", s_pack_pruned, false, false},
    {"packed_convert", s_convert, false, false},
    {"packed_import", s_import, false, false},
    {"packed_prepare", s_packed_prepare, false, false},
    {"packed_unpack", s_unpack, false, false},
    {"packed_batch_set", s_packed_set, false, false},
    {"packed_forward", s_packed_forward, false, false},
    {"buffer_read (packed)", s_read_packed, false, false},
    {"safetensors_save", s_save, false, false},
    {"safetensors_open", s_load, false, false},
    {"saver_write", s_saver, false, false},
    {"load (saved)", s_load_saved, false, true},
    {"set_progress", s_progress, false, false},
    {"buffer_from_cl", s_window, true, false},
    {"context_cl_event", s_event, true, false},
    {"context_cl_wait", s_wait, true, false},
    {"context_from_cl", s_second, true, false},
    {"context_counters", s_counters, false, false},
    {"context_finish", s_finish, false, false},
};
const int walk_step_count = sizeof walk_steps / sizeof *walk_steps;
