/* support_walk_look.c - what a walk's caller can see, and the end of a walk. */
#include "support_walk.h"

#include <qemb/qemb_opencl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(walk_snapshot *s, const char *name, int number, const void *data, size_t bytes) {
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ p[i]) * 0x100000001b3u;
    }
    if (s->count == WALK_PARTS) {
        abort();
    }
    (void)snprintf(s->name[s->count], sizeof s->name[0], "%s %d", name, number);
    s->hash[s->count++] = h;
}

static bool add_buffer(walk_snapshot *s, const char *name, int number, qemb_buffer *buffer) {
    unsigned char bytes[4096];
    const size_t count = qemb_buffer_bytes(buffer);
    if (!buffer) {
        return true;
    }
    if (count > sizeof bytes || qemb_buffer_read(buffer, 0, count, bytes) != QEMB_OK) {
        return false;
    }
    add(s, name, number, bytes, count);
    return true;
}

/* Weights, observers, switches and counters of a module. */
static bool add_module(walk_snapshot *s, const char *name, qemb_embedding_bag *bag) {
    static float values[4096];
    qemb_bag_info info;
    if (!bag) {
        return true;
    }
    if (qemb_embedding_bag_info(bag, &info) != QEMB_OK) {
        return false;
    }
    info.state_bytes = 0; /* memory, not meaning */
    add(s, name, -1, &info.forwards, sizeof info.forwards);
    uint64_t parts[16][3] = {{0}};
    walk_snapshot one = {.count = 0};
    for (int32_t t = 0; t < info.num_tables; t++) {
        qemb_table_desc d;
        if (qemb_embedding_bag_table(bag, t, &d) != QEMB_OK) {
            return false;
        }
        const int64_t n = d.num_embeddings;
        float *v = values;
        if (qemb_embedding_bag_read_weight(bag, t, 0, n, v) != QEMB_OK ||
            qemb_embedding_bag_read_observer(
                bag, t, 0, n, &(qemb_observer_rows){v + 1024, v + 1024 + n, v + 1024 + 2 * n, v + 1024 + 3 * n}) != QEMB_OK) {
            return false;
        }
        one.count = 0;
        add(&one, name, t, v, (size_t)(n * d.embedding_dim) * sizeof *v);
        add(&one, name, t, v + 1024, (size_t)(4 * n) * sizeof *v);
        const bool switches[2] = {d.qconfig.observer_off, d.qconfig.fake_quant_off};
        add(&one, name, t, switches, sizeof switches);
        memcpy(parts[t], one.hash, sizeof parts[t]);
    }
    add(s, name, 0, parts, sizeof parts);
    return true;
}

static bool add_optimizer(walk_snapshot *s, const char *name, qemb_optimizer *o, const qemb_embedding_bag *bag) {
    static float values[1024];
    qemb_optimizer_info info;
    qemb_bag_info shape;
    if (!o) {
        return true;
    }
    if (qemb_optimizer_info_get(o, &info) != QEMB_OK || qemb_embedding_bag_info(bag, &shape) != QEMB_OK) {
        return false;
    }
    add(s, name, -1, &info.steps, sizeof info.steps);
    add(s, name, -2, &info.lr, sizeof info.lr);
    for (int32_t a = 0; a < info.num_arrays; a++) {
        uint64_t parts[16] = {0};
        for (int32_t t = 0; t < shape.num_tables; t++) {
            qemb_table_desc d;
            walk_snapshot one = {.count = 0};
            if (qemb_embedding_bag_table(bag, t, &d) != QEMB_OK ||
                qemb_optimizer_read_state(o, a, t, 0, d.num_embeddings, values) != QEMB_OK) {
                return false;
            }
            add(&one, name, t, values, (size_t)(d.num_embeddings * (info.array_row_wise[a] ? 1 : d.embedding_dim)) * sizeof *values);
            parts[t] = one.hash[0];
        }
        add(s, name, a, parts, sizeof parts);
    }
    return true;
}

static bool add_packed(walk_snapshot *s, const char *name, qemb_packed *packed) {
    static unsigned char rows[4096], qparams[1024];
    qemb_packed_table t;
    if (!packed) {
        return true;
    }
    if (qemb_packed_get_table(packed, 0, &t) != QEMB_OK ||
        qemb_packed_read_rows(packed, 0, 0, t.num_rows, rows, t.qparams_bytes ? qparams : NULL) != QEMB_OK) {
        return false;
    }
    add(s, name, 0, rows, (size_t)t.rows_bytes);
    add(s, name, 1, qparams, (size_t)t.qparams_bytes);
    return true;
}

bool walk_look(walk *w, walk_snapshot *s) {
    bool good = true;
    s->count = 0;
    if (!w->ctx) {
        return true;
    }
    for (int t = 0; t < WALK_TABLES; t++) {
        good = good && add_buffer(s, "table", t, w->table[t]);
    }
    for (int k = 0; k < WALK_OUTS; k++) {
        good = good && add_buffer(s, "out", k, w->out[k]);
    }
    for (int k = 0; k < 3; k++) {
        good = good && add_buffer(s, "grad", k, w->grad[k]);
    }
    good = good && add_buffer(s, "dense", 0, w->dense) && add_buffer(s, "coo_indices", 0, w->coo_indices) &&
           add_buffer(s, "coo_values", 0, w->coo_values) && add_buffer(s, "coo_count", 0, w->coo_count) &&
           add_buffer(s, "weights_grad", 0, w->weights_grad) && add_buffer(s, "ids", 0, w->ids) && add_buffer(s, "offsets", 0, w->offsets);
    good = good && add_module(s, "bag", w->bag) && add_module(s, "collection", w->collection) && add_module(s, "plain", w->plain) &&
           add_module(s, "embedding", qemb_embedding_as_bag(w->embedding));
    good = good && add_optimizer(s, "sgd", w->sgd, w->collection) && add_optimizer(s, "adam", w->adam, w->bag);
    return good && add_packed(s, "packed", w->packed) && add_packed(s, "imported", w->imported);
}

const char *walk_difference(const walk_snapshot *a, const walk_snapshot *b) {
    for (int k = 0; k < a->count && k < b->count; k++) {
        if (a->hash[k] != b->hash[k] || strcmp(a->name[k], b->name[k]) != 0) {
            return a->name[k];
        }
    }
    return a->count != b->count ? "the number of parts" : NULL;
}

void walk_close(walk *w) {
    qemb_buffer *buffers[] = {w->dense, w->coo_indices, w->coo_values, w->coo_count, w->weights_grad, w->ids, w->offsets, w->window};
    if (w->event) {
        (void)clReleaseEvent(w->event);
    }
    qemb_packed_destroy(w->packed);
    qemb_packed_destroy(w->imported);
    qemb_packed_destroy(w->converted);
    qemb_optimizer_destroy(w->sgd);
    qemb_optimizer_destroy(w->adam);
    for (int k = 0; k < WALK_OUTS; k++) {
        qemb_batch_destroy(w->batch[k]);
        qemb_buffer_destroy(w->out[k]);
    }
    qemb_batch_destroy(w->device_batch);
    qemb_embedding_bag_destroy(w->qat);
    qemb_embedding_bag_destroy(w->plain);
    qemb_embedding_bag_destroy(w->bag);
    qemb_embedding_bag_destroy(w->collection);
    qemb_embedding_destroy(w->embedding);
    for (int t = 0; t < WALK_TABLES; t++) {
        qemb_buffer_destroy(w->table[t]);
    }
    for (int k = 0; k < 3; k++) {
        qemb_buffer_destroy(w->grad[k]);
    }
    for (size_t k = 0; k < sizeof buffers / sizeof *buffers; k++) {
        qemb_buffer_destroy(buffers[k]);
    }
    qemb_context_destroy(w->second);
    qemb_context_destroy(w->ctx);
    *w = (walk){.device = w->device, .folder = w->folder, .opencl = w->opencl};
}
