/* tables.c - see tables.h. */
#include "dlrm/tables.h"

#include <math.h>
#include <stdio.h>

#include "dlrm/random.h"

qemb_packed_format dlrm_format(int32_t bits) {
    return bits == 8 ? (qemb_packed_format){.layout = QEMB_LAYOUT_TORCH_ROWWISE, .bits = 8}
                     : (qemb_packed_format){.layout = QEMB_LAYOUT_PLANAR, .bits = bits, .qparams = QEMB_QPARAMS_BF16};
}

qemb_qconfig dlrm_qconfig(int32_t bits, bool per_table) {
    if (bits == 32) {
        return qemb_qconfig_float();
    }
    const qemb_packed_format format = dlrm_format(bits);
    return (qemb_qconfig){.quant_max = (1 << bits) - 1,
                          .observer = per_table ? QEMB_OBSERVER_MIN_MAX : QEMB_OBSERVER_MEMORYLESS,
                          .observer_off = per_table,
                          .arithmetic = QEMB_ARITHMETIC_PACKED,
                          .layout = format.layout,
                          .qparams = format.qparams};
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static qemb_status create_module(dlrm_tables *t, const dlrm_tables_desc *desc) {
    qemb_status st = QEMB_OK;
    qemb_table_desc tables[DLRM_MAX_TABLES] = {{0}};
    char names[DLRM_MAX_TABLES][24];
    float *weights[DLRM_MAX_TABLES] = {NULL};
    for (int32_t i = 0; i < t->count; i++) {
        (void)snprintf(names[i], sizeof names[i], "emb_l.%d", (int)i);
        DLRM_NEW(weights[i], t->rows[i] * t->dim);
        dlrm_uniform(desc->seed, (uint64_t)i, (float)sqrt(1.0 / (double)t->rows[i]), weights[i], t->rows[i] * t->dim);
        tables[i] = (qemb_table_desc){.num_embeddings = t->rows[i],
                                      .embedding_dim = t->dim,
                                      .qconfig = dlrm_qconfig(t->bits, t->per_table),
                                      .weight = weights[i],
                                      .name = names[i]};
    }
    DLRM_LIB(qemb_embedding_bag_collection_create(
        t->device->ctx, &(qemb_collection_desc){.tables = tables, .num_tables = t->count, .options = {.mode = QEMB_MODE_SUM}}, &t->bag));
    DLRM_LIB(qemb_optimizer_create(t->device->ctx, t->bag, &desc->optimizer, &t->optimizer));
    DLRM_TRY(dlrm_tables_renew_scales(t));
done:
    for (int32_t i = 0; i < DLRM_MAX_TABLES; i++) {
        free(weights[i]);
    }
    return st;
}

/* Output and gradient, where the tables and where the layers see them. */
static qemb_status create_exchange(dlrm_tables *t, int64_t capacity) {
    qemb_status st = QEMB_OK;
    const int64_t count = capacity * t->count * t->dim;
    DLRM_TRY(dlrm_memory_create(t->device, count, &t->output_memory));
    DLRM_TRY(dlrm_memory_create(t->device, count, &t->delta_memory));
    if (t->device->shared) {
        DLRM_LIB(qemb_buffer_from_cl(t->device->ctx, t->output_memory, 0, (size_t)count, sizeof(float), &t->output));
        DLRM_LIB(qemb_buffer_from_cl(t->device->ctx, t->delta_memory, 0, (size_t)count, sizeof(float), &t->delta));
    } else {
        DLRM_NEW(t->exchange, count);
        DLRM_LIB(qemb_buffer_create(t->device->ctx, (size_t)count * sizeof(float), &t->output));
        DLRM_LIB(qemb_buffer_create(t->device->ctx, (size_t)count * sizeof(float), &t->delta));
    }
done:
    return st;
}

qemb_status dlrm_tables_create(dlrm_device *device, const dlrm_tables_desc *desc, dlrm_tables *t) {
    qemb_status st = QEMB_OK;
    *t = (dlrm_tables){.device = device, .count = desc->count, .bits = desc->bits, .dim = desc->dim, .per_table = desc->per_table};
    DLRM_REQUIRE(desc->count > 0 && desc->count <= DLRM_MAX_TABLES, QEMB_ERR_SHAPE, "dlrm: %d tables, want 1 .. %d", (int)desc->count,
                 DLRM_MAX_TABLES);
    for (int32_t i = 0; i < desc->count; i++) {
        t->rows[i] = desc->rows[i];
    }
    if (!desc->serve_only) {
        DLRM_TRY(create_module(t, desc));
    }
    DLRM_LIB(qemb_batch_create(device->ctx, &t->batch));
    DLRM_TRY(create_exchange(t, desc->capacity));
done:
    if (st != QEMB_OK) {
        dlrm_tables_destroy(t);
    }
    return st;
}

void dlrm_tables_destroy(dlrm_tables *t) {
    qemb_batch_destroy(t->batch);
    qemb_optimizer_destroy(t->optimizer);
    qemb_packed_destroy(t->packed);
    qemb_embedding_bag_destroy(t->bag);
    qemb_buffer_destroy(t->output);
    qemb_buffer_destroy(t->delta);
    dlrm_memory_destroy(&t->output_memory);
    dlrm_memory_destroy(&t->delta_memory);
    free(t->exchange);
    *t = (dlrm_tables){0};
}

/* ---- a step -------------------------------------------------------------------------------------------------------------- */

qemb_status dlrm_tables_set(dlrm_tables *t, bool packed, const int32_t *ids, int64_t rows) {
    qemb_status st = QEMB_OK;
    const qemb_input input = {.indices = ids, .num_indices = t->count * rows, .indices_dtype = QEMB_INT32, .columns = 1};
    DLRM_LIB(packed ? qemb_packed_batch_set(t->packed, t->batch, &input) : qemb_batch_set(t->batch, t->bag, &input));
done:
    return st;
}

qemb_status dlrm_tables_forward(dlrm_tables *t, bool packed, int64_t rows) {
    qemb_status st = QEMB_OK;
    DLRM_LIB(packed ? qemb_packed_forward(t->packed, t->batch, t->output, QEMB_FLOAT32)
                    : qemb_embedding_bag_forward(t->bag, t->batch, t->output));
    if (!t->device->shared) {
        DLRM_LIB(qemb_buffer_read(t->output, 0, (size_t)(rows * t->count * t->dim) * sizeof(float), t->exchange));
        DLRM_TRY(dlrm_memory_write(t->device, t->output_memory, rows * t->count * t->dim, t->exchange));
    }
done:
    return st;
}

qemb_status dlrm_tables_step(dlrm_tables *t, int64_t rows) {
    qemb_status st = QEMB_OK;
    if (!t->device->shared) {
        DLRM_TRY(dlrm_memory_read(t->device, t->delta_memory, rows * t->count * t->dim, t->exchange));
        DLRM_LIB(qemb_buffer_write(t->delta, 0, (size_t)(rows * t->count * t->dim) * sizeof(float), t->exchange));
    }
    DLRM_LIB(qemb_embedding_bag_step(t->bag, t->batch, t->delta, t->optimizer));
    t->steps++;
    if (t->steps % DLRM_SCALE_PERIOD == 0) {
        DLRM_TRY(dlrm_tables_renew_scales(t));
    }
done:
    return st;
}

/* ---- whole tables -------------------------------------------------------------------------------------------------------- */

qemb_status dlrm_tables_read(dlrm_tables *t, int32_t table, float **values) {
    qemb_status st = QEMB_OK;
    float *copy = NULL;
    DLRM_NEW(copy, t->rows[table] * t->dim);
    DLRM_LIB(qemb_embedding_bag_read_weight(t->bag, table, 0, t->rows[table], copy));
    *values = copy;
    copy = NULL;
done:
    free(copy);
    return st;
}

/* S = max|W| / (2^(b-1) - 1): codes -2^(b-1) .. 2^(b-1)-1 times S are the range [-2^(b-1) * S, (2^(b-1) - 1) * S]. */
static qemb_status renew_scale(dlrm_tables *t, int32_t table) {
    qemb_status st = QEMB_OK;
    float *values = NULL;
    float *range = NULL;
    float most = 0.0f;
    const int64_t rows = t->rows[table];
    DLRM_TRY(dlrm_tables_read(t, table, &values));
    for (int64_t i = 0; i < rows * t->dim; i++) {
        const float size = fabsf(values[i]);
        most = size > most ? size : most;
    }
    const float half = (float)(1 << (t->bits - 1));
    const float scale = most / (half - 1.0f);
    DLRM_NEW(range, 2 * rows);
    for (int64_t i = 0; i < rows; i++) {
        range[i] = -half * scale;
        range[rows + i] = (half - 1.0f) * scale;
    }
    DLRM_LIB(qemb_embedding_bag_write_observer(t->bag, table, 0, rows, range, range + rows));
done:
    free(range);
    free(values);
    return st;
}

qemb_status dlrm_tables_renew_scales(dlrm_tables *t) {
    qemb_status st = QEMB_OK;
    for (int32_t i = 0; t->per_table && i < t->count; i++) {
        DLRM_TRY(renew_scale(t, i));
    }
done:
    return st;
}
