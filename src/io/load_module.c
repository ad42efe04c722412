/* load_module.c - the state of a module, from a file of this library or of torch. Everything is checked before anything is changed. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/load.h"
#include "io/safetensors_file.h"
#include "io/saver.h"
#include "io/state_texts.h"

static const char who[] = "load_module";

/* One table of the module: what the file has for it. */
typedef struct table_state {
    qemb_tensor_view weight, min, max;
    qemb_table_desc desc;
    bool quantised; /* the file has torch's buffers, and the table uses them */
    bool has_text;
    qemb__table_text text;
} table_state;

static qemb_status switch_value(const qemb__load *at, int key, bool *on) {
    qemb_status st = QEMB_OK;
    qemb_tensor_view view;
    int64_t value = 0;
    TRY(qemb__load_find(at, qemb__module_keys[key], &view));
    REQUIRE(view.name, QEMB_ERR_ARG, "%s: %s: no tensor '%s%s%s%s'", who, at->file->path, at->prefix, at->name ? at->name : "",
            at->name ? "." : "", qemb__module_keys[key]);
    TRY(qemb__load_integer(at, &view, &value));
    REQUIRE(value == 0 || value == 1, QEMB_ERR_CORRUPT, "%s: %s: tensor '%.200s' at byte %lld is %lld, want 0 or 1", who, at->file->path,
            view.name, (long long)view.offset, (long long)value);
    *on = value == 1;
done:
    return st;
}

/* min[i] <= max[i] (or NaN) for all rows, read beside each other. */
static qemb_status check_min_max(const qemb__load *at, const qemb_tensor_view *min, const qemb_tensor_view *max) {
    enum { PIECE = QEMB__LOAD_PIECE / 8 };
    qemb_status st = QEMB_OK;
    void *block = NULL;
    TRY(qemb__calloc(2 * qemb__min_i64(PIECE, qemb__max_i64(min->count, 1)), sizeof(float), &block));
    const float *low = block;
    for (int64_t first = 0, count = 0; first < min->count; first += count) {
        count = qemb__min_i64(PIECE, min->count - first);
        const float *high = low + count;
        TRY(qemb_safetensors_read_rows(at->file, min->name, first, count, block));
        TRY(qemb_safetensors_read_rows(at->file, max->name, first, count, (float *)block + count));
        for (int64_t i = 0; i < count; ++i) {
            REQUIRE(!(low[i] > high[i]), QEMB_ERR_CORRUPT, "%s: %s: row %lld: min_val=%g is above max_val=%g (bytes %lld and %lld)", who,
                    at->file->path, (long long)(first + i), (double)low[i], (double)high[i], (long long)(min->offset + 4 * (first + i)),
                    (long long)(max->offset + 4 * (first + i)));
        }
    }
done:
    qemb__free(block);
    return st;
}

/* The observer's buffers: all [E], or as torch makes them before the first forward. */
static qemb_status check_observer(const qemb__load *at, table_state *s, qemb_table_progress *p) {
    static const int keys[] = {QEMB__SCALE, QEMB__ZERO_POINT, QEMB__MAX};
    qemb_status st = QEMB_OK;
    const int64_t rows = s->desc.num_embeddings;
    const int64_t one = 1;
    qemb_tensor_view view;
    TRY(qemb__load_find(at, qemb__module_keys[QEMB__MIN], &view));
    const bool fresh = view.name && view.rank == 1 && view.count == 0;
    const int64_t count = fresh ? 0 : rows;
    TRY(qemb__load_want(at, qemb__module_keys[QEMB__MIN], QEMB_FILE_F32, 1, &count, &s->min));
    for (int k = 0; k < 3; ++k) {
        const int64_t *shape = keys[k] == QEMB__MAX ? &count : fresh ? &one : &rows;
        TRY(qemb__load_want(at, qemb__module_keys[keys[k]], QEMB_FILE_F32, 1, shape, &s->max));
    }
    TRY(check_min_max(at, &s->min, &s->max));
    p->observations = fresh ? 0 : s->has_text ? s->text.observations : 1;
    REQUIRE(fresh || p->observations > 0, QEMB_ERR_CORRUPT, "%s: %s: table '%.200s': observations=0, but '%.200s' has rows", who,
            at->file->path, s->desc.name, s->min.name);
done:
    return st;
}

static qemb_status check_buffers(const qemb__load *at, table_state *s, qemb_table_progress *p) {
    qemb_status st = QEMB_OK;
    const int64_t one = 1;
    qemb_tensor_view view;
    *p = (qemb_table_progress){0};
    TRY(switch_value(at, QEMB__FAKE_QUANT, &p->fake_quant_on));
    TRY(switch_value(at, QEMB__OBSERVER, &p->observer_on));
    TRY(qemb__load_want(at, qemb__module_keys[QEMB__EPS], QEMB_FILE_F32, 1, &one, &view));
    memcpy(&p->eps, view.data, sizeof p->eps);
    REQUIRE(p->eps > 0.0f && isfinite(p->eps), QEMB_ERR_CORRUPT, "%s: %s: tensor '%.200s' at byte %lld is %g, want a finite number above 0",
            who, at->file->path, view.name, (long long)view.offset, (double)p->eps);
    TRY(check_observer(at, s, p));
    if (s->has_text) {
        p->fake_quant_from = s->text.fake_quant_from;
        p->observer_until = s->text.observer_until;
    }
done:
    return st;
}

/* Finds and checks all that the file has for a table, and says where the table will stand. */
static qemb_status check_table(const qemb__load *at, const qemb_embedding_bag *bag, int32_t t, table_state *s, qemb_table_progress *p) {
    qemb_status st = QEMB_OK;
    const char *text = NULL;
    bool is_float = false;
    qemb_tensor_view view;
    TRY(qemb_embedding_bag_table(bag, t, &s->desc));
    const int64_t shape[] = {s->desc.num_embeddings, s->desc.embedding_dim};
    TRY(qemb__load_want(at, qemb__module_keys[QEMB__WEIGHT], QEMB_FILE_F32, 2, shape, &s->weight));
    TRY(qemb__load_text(at, QEMB__KEY_TABLE, &text));
    s->has_text = text != NULL;
    TRY(text ? qemb__fields_read(at->who, at->file->path, QEMB__KEY_TABLE, text, qemb__table_fields, &s->text) : QEMB_OK);
    TRY(qemb__is_float_table(bag, t, &is_float));
    TRY(qemb__load_find(at, qemb__module_keys[QEMB__FAKE_QUANT], &view));
    s->quantised = view.name && !is_float;
    TRY(qemb_embedding_bag_get_progress(bag, t, p));
    p->observations = 0;
    TRY(s->quantised ? check_buffers(at, s, p) : QEMB_OK);
done:
    return st;
}

/* A place of a table that rows go to. */
typedef struct row_target {
    qemb_embedding_bag *bag;
    int32_t table;
    const qemb__load *at;
    const qemb_tensor_view *max;
    float *high;
} row_target;

static qemb_status take_weight(void *user, int64_t first, int64_t count, const float *rows) {
    const row_target *to = user;
    return qemb_embedding_bag_write_weight(to->bag, to->table, first, count, rows);
}

static qemb_status take_min(void *user, int64_t first, int64_t count, const float *rows) {
    const row_target *to = user;
    qemb_status st = qemb_safetensors_read_rows(to->at->file, to->max->name, first, count, to->high);
    return st == QEMB_OK ? qemb_embedding_bag_write_observer(to->bag, to->table, first, count, rows, to->high) : st;
}

static qemb_status take_tables(const qemb__load *at, qemb_embedding_bag *bag, const table_state *s, const qemb_table_progress *p,
                               int64_t forwards) {
    qemb_status st = QEMB_OK;
    void *high = NULL;
    qemb_bag_info info;
    TRY(qemb_embedding_bag_info(bag, &info));
    TRY(qemb__calloc(QEMB__LOAD_PIECE, 1, &high));
    TRY(qemb_embedding_bag_set_progress(bag, forwards, p)); /* what may be refused, first: kernels, memory for state */
    for (int32_t t = 0; t < info.num_tables; ++t) {
        row_target to = {.bag = bag, .table = t};
        TRY(qemb__load_rows(at, &s[t].weight, take_weight, &to));
    }
    TRY(qemb_embedding_bag_set_progress(bag, forwards, p)); /* a write of weights stores the state of the rows before: emptied again */
    for (int32_t t = 0; t < info.num_tables; ++t) {
        row_target to = {.bag = bag, .table = t, .at = at, .max = &s[t].max, .high = high};
        const bool derived = s[t].desc.qconfig.observer == QEMB_OBSERVER_MEMORYLESS && p[t].observer_on && p[t].observer_until == 0;
        TRY(p[t].observations && !derived ? qemb__load_rows(at, &s[t].min, take_min, &to) : QEMB_OK);
    }
done:
    qemb__free(high);
    return st;
}

qemb_status qemb_load_module(const qemb_safetensors *file, const char *prefix, qemb_embedding_bag *bag) {
    qemb_status st = QEMB_OK;
    void *states = NULL;
    void *progress = NULL;
    qemb_bag_info info;
    int64_t forwards = -1;
    REQUIRE(file && bag, QEMB_ERR_ARG, "%s: %s is NULL", who, file ? "bag" : "file");
    TRY(qemb_embedding_bag_info(bag, &info));
    TRY(qemb__calloc(info.num_tables, sizeof(table_state), &states));
    TRY(qemb__calloc(info.num_tables, sizeof(qemb_table_progress), &progress));
    table_state *s = states;
    for (int32_t t = 0; t < info.num_tables; ++t) {
        qemb_table_desc d;
        TRY(qemb_embedding_bag_table(bag, t, &d));
        const qemb__load at = {file, who, prefix ? prefix : "", info.num_tables > 1 ? d.name : NULL};
        TRY(check_table(&at, bag, t, &s[t], (qemb_table_progress *)progress + t));
        REQUIRE(!s[t].has_text || forwards < 0 || s[t].text.forwards == forwards, QEMB_ERR_CORRUPT,
                "%s: %s: table '%.200s' stands at forward %lld, the tables before it at %lld", who, file->path, d.name,
                (long long)s[t].text.forwards, (long long)forwards);
        forwards = s[t].has_text ? s[t].text.forwards : forwards;
    }
    const qemb__load at = {file, who, prefix ? prefix : "", NULL};
    TRY(take_tables(&at, bag, s, progress, forwards < 0 ? 0 : forwards));
done:
    qemb__free(states);
    qemb__free(progress);
    return st;
}
