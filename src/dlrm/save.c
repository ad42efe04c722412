/* save.c - see save.h. */
#include "dlrm/save.h"

#include <stdio.h>
#include <string.h>

#include "dlrm/save_text.h"

static const char optimizer_prefix[] = "optimizer.";

/* ---- layers -------------------------------------------------------------------------------------------------------------- */

/* One array of a layer: its name in files, its place, its shape. */
typedef struct layer_array {
    char name[48];
    cl_mem memory;
    int64_t shape[2], count;
    int32_t rank;
} layer_array;

enum { LAYER_ARRAYS = 2 * DLRM_MAX_LAYERS * 4 };

/* All arrays of both MLPs; sums of squares only where `state`. */
static int layer_arrays(const dlrm_model *m, bool state, layer_array *arrays) {
    static const char *const parts[2] = {"bot_l", "top_l"};
    const dlrm_mlp *mlps[2] = {&m->bottom, &m->top};
    int count = 0;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < mlps[i]->count; k++) {
            const dlrm_layer *l = &mlps[i]->layer[k];
            const cl_mem memory[4] = {l->weight, l->bias, l->weight_sum, l->bias_sum};
            for (int a = 0; a < (state && m->config.adagrad ? 4 : 2); a++) {
                layer_array *x = &arrays[count++];
                const bool bias = a & 1;
                (void)snprintf(x->name, sizeof x->name, "%s%s.%d.%s%s", a < 2 ? "" : optimizer_prefix, parts[i], 2 * k,
                               bias ? "bias" : "weight", a < 2 ? "" : ".sum");
                x->memory = memory[a];
                x->shape[0] = l->out;
                x->shape[1] = l->in;
                x->rank = bias ? 1 : 2;
                x->count = bias ? l->out : l->out * l->in;
            }
        }
    }
    return count;
}

static qemb_status add_layers(qemb_saver *saver, const dlrm_model *m, bool state, float **copies) {
    qemb_status st = QEMB_OK;
    layer_array arrays[LAYER_ARRAYS];
    const int count = layer_arrays(m, state, arrays);
    for (int i = 0; i < count; i++) {
        const layer_array *a = &arrays[i];
        DLRM_NEW(copies[i], a->count);
        DLRM_TRY(dlrm_memory_read(m->device, a->memory, a->count, copies[i]));
        DLRM_LIB(qemb_saver_add_tensor(
            saver, &(qemb_tensor_desc){.name = a->name, .shape = a->shape, .rank = a->rank, .dtype = QEMB_FILE_F32}, copies[i]));
    }
done:
    return st;
}

static qemb_status load_layers(const qemb_safetensors *file, const char *path, dlrm_model *m, bool state) {
    qemb_status st = QEMB_OK;
    layer_array arrays[LAYER_ARRAYS];
    qemb_tensor_view view;
    float *copy = NULL;
    const int count = layer_arrays(m, state, arrays);
    for (int i = 0; i < count; i++) {
        const layer_array *a = &arrays[i];
        DLRM_LIB(qemb_safetensors_tensor(file, a->name, &view));
        DLRM_REQUIRE(view.dtype == QEMB_FILE_F32 && view.rank == a->rank && view.shape[0] == a->shape[0] && view.count == a->count,
                     QEMB_ERR_SHAPE, "dlrm: %s: tensor \"%s\" is not float32 of %lld x %lld", path, a->name, (long long)a->shape[0],
                     (long long)(a->count / a->shape[0]));
        DLRM_NEW(copy, a->count);
        DLRM_LIB(qemb_safetensors_read_rows(file, a->name, 0, a->shape[0], copy));
        DLRM_TRY(dlrm_memory_write(m->device, a->memory, a->count, copy));
        free(copy);
        copy = NULL;
    }
done:
    free(copy);
    return st;
}

/* ---- saving -------------------------------------------------------------------------------------------------------------- */

/* What both kinds of file begin with. */
static qemb_status begin(const dlrm_model *m, const dlrm_data_desc *data, bool state, float **copies, qemb_saver **saver) {
    qemb_status st = QEMB_OK;
    char *text = dlrm_config_text(&m->config, data);
    DLRM_REQUIRE(text, QEMB_ERR_NOMEM, "dlrm: no memory for the text of a model");
    DLRM_LIB(qemb_saver_create(saver));
    DLRM_LIB(qemb_saver_add_text(*saver, "dlrm", text));
    DLRM_TRY(add_layers(*saver, m, state, copies));
done:
    free(text);
    return st;
}

qemb_status dlrm_save(dlrm_model *m, const dlrm_data_desc *data, const dlrm_position *position, const char *path) {
    qemb_status st = QEMB_OK;
    qemb_saver *saver = NULL;
    float *copies[LAYER_ARRAYS] = {NULL};
    char *text = dlrm_position_text(position, m->tables.steps);
    DLRM_REQUIRE(text, QEMB_ERR_NOMEM, "dlrm: no memory for the text of a model");
    DLRM_TRY(begin(m, data, true, copies, &saver));
    DLRM_LIB(qemb_saver_add_text(saver, "dlrm_position", text));
    DLRM_LIB(qemb_saver_add_module(saver, "", m->tables.bag));
    DLRM_LIB(qemb_saver_add_optimizer(saver, optimizer_prefix, m->tables.optimizer));
    DLRM_LIB(qemb_saver_write(saver, path));
done:
    qemb_saver_destroy(saver);
    for (int i = 0; i < LAYER_ARRAYS; i++) {
        free(copies[i]);
    }
    free(text);
    return st;
}

qemb_status dlrm_save_packed(dlrm_model *m, const dlrm_data_desc *data, const char *checkpoint) {
    qemb_status st = QEMB_OK;
    qemb_saver *saver = NULL;
    float *copies[LAYER_ARRAYS] = {NULL};
    char path[DLRM_PATH];
    const char *slash = strrchr(checkpoint, '/');
    DLRM_REQUIRE(m->tables.packed, QEMB_ERR_STATE, "dlrm: nothing is converted");
    DLRM_REQUIRE((size_t)snprintf(path, sizeof path, "%s.packed", checkpoint) < sizeof path, QEMB_ERR_ARG,
                 "dlrm: a path of %zu letters is too long", strlen(checkpoint));
    DLRM_TRY(begin(m, data, false, copies, &saver));
    DLRM_LIB(qemb_saver_add_text(saver, "dlrm_trained", slash ? slash + 1 : checkpoint));
    DLRM_LIB(qemb_saver_add_packed(saver, "", m->tables.packed));
    DLRM_LIB(qemb_saver_write(saver, path));
done:
    qemb_saver_destroy(saver);
    for (int i = 0; i < LAYER_ARRAYS; i++) {
        free(copies[i]);
    }
    return st;
}

/* ---- loading ------------------------------------------------------------------------------------------------------------- */

qemb_status dlrm_saved_config(const char *path, dlrm_config *config, dlrm_data_desc *data, char *checkpoint) {
    qemb_status st = QEMB_OK;
    qemb_safetensors *file = NULL;
    const int64_t asked = data->synthetic;
    DLRM_LIB(qemb_safetensors_open(path, &file));
    DLRM_TRY(dlrm_config_parse(path, qemb_safetensors_metadata(file, "dlrm"), config, data));
    DLRM_REQUIRE(!data->path == (data->synthetic > 0), QEMB_ERR_ARG, "dlrm: %s was trained on %s: want %s", path,
                 data->synthetic ? "planted rows" : "a file", data->synthetic ? "--synthetic" : "--data");
    DLRM_REQUIRE(data->path || asked == data->synthetic, QEMB_ERR_ARG, "dlrm: %s was trained on %lld planted rows, not on %lld", path,
                 (long long)data->synthetic, (long long)asked);
    const char *trained = qemb_safetensors_metadata(file, "dlrm_trained");
    const char *slash = strrchr(path, '/');
    if (checkpoint) {
        const int folder = trained && slash ? (int)(slash + 1 - path) : 0;
        (void)snprintf(checkpoint, DLRM_PATH, "%.*s%s", folder, path, trained ? trained : "");
    }
done:
    qemb_safetensors_close(file);
    return st;
}

qemb_status dlrm_resume(dlrm_model *m, const char *path, dlrm_position *position) {
    qemb_status st = QEMB_OK;
    qemb_safetensors *file = NULL;
    DLRM_LIB(qemb_safetensors_open(path, &file));
    DLRM_TRY(dlrm_position_parse(path, qemb_safetensors_metadata(file, "dlrm_position"), position, &m->tables.steps));
    DLRM_TRY(load_layers(file, path, m, true));
    DLRM_LIB(qemb_load_module(file, "", m->tables.bag));
    DLRM_LIB(qemb_load_optimizer(file, optimizer_prefix, m->tables.optimizer));
done:
    qemb_safetensors_close(file);
    return st;
}

qemb_status dlrm_serve(dlrm_model *m, const char *path) {
    qemb_status st = QEMB_OK;
    qemb_safetensors *file = NULL;
    qemb_packed_info info;
    DLRM_LIB(qemb_safetensors_open(path, &file));
    DLRM_TRY(load_layers(file, path, m, false));
    qemb_packed_destroy(m->tables.packed);
    m->tables.packed = NULL;
    DLRM_LIB(qemb_load_packed(m->device->ctx, file, "", 0, &m->tables.packed));
    DLRM_LIB(qemb_packed_get_info(m->tables.packed, &info));
    DLRM_REQUIRE(info.num_features == m->tables.count && info.output_dim == m->tables.count * m->tables.dim, QEMB_ERR_SHAPE,
                 "dlrm: %s: %d packed tables of %lld columns in all, want %d of %lld", path, (int)info.num_features,
                 (long long)info.output_dim, (int)m->tables.count, (long long)m->tables.dim);
done:
    qemb_safetensors_close(file);
    return st;
}
