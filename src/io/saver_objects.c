/* saver_objects.c - what modules, optimisers and packed tables become in a file: tensors under their names, and texts.
 *
 * format.md says the same to readers. Everything is asked through the public calls: what a file needs, a program can have too. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "io/saver.h"
#include "io/state_texts.h"

/* One tensor under prefix + name + "." + key. */
typedef struct place {
    qemb__contents *contents;
    const char *prefix, *name;
} place;

static qemb_status add(const place *at, const char *key, const qemb__item *item, int32_t rank, qemb_file_dtype dtype) {
    char *full = NULL;
    qemb_status st = qemb__state_key(at->prefix, at->name, key, &full);
    return st == QEMB_OK ? qemb__contents_add(at->contents, full, item, rank, dtype) : st;
}

static qemb_status add_text(const place *at, const char *key, const qemb__field *fields, const void *values) {
    char *full = NULL;
    char *text = NULL;
    qemb_status st = qemb__state_key(at->prefix, at->name, key, &full);
    if (st == QEMB_OK && (st = qemb__fields_write(fields, values, &text)) == QEMB_OK) {
        return qemb__contents_add_text(at->contents, full, text);
    }
    qemb__free(full);
    return st;
}

/* "0,1,1": the table of each feature; "" where each feature has its own. */
static qemb_status features_text(int32_t num_features, int32_t num_tables, int32_t (*table_of)(const void *, int32_t), const void *object,
                                 char **out) {
    enum { LONGEST = 12 };
    qemb_status st = QEMB_OK;
    void *block = NULL;
    bool plain = num_features == num_tables;
    size_t used = 0;
    TRY(qemb__calloc((int64_t)num_features + 1, LONGEST, &block));
    char *text = block;
    for (int32_t f = 0; f < num_features; ++f) {
        const int32_t t = table_of(object, f);
        plain = plain && t == f;
        used += (size_t)snprintf(text + used, LONGEST, "%s%d", f ? "," : "", t);
    }
    text[plain ? 0 : used] = '\0';
    *out = text;
done:
    return st;
}

/* ---- modules ---------------------------------------------------------------------------------------------------------- */

qemb_status qemb__is_float_table(const qemb_embedding_bag *bag, int32_t table, bool *is_float) {
    qemb_table_desc d;
    qemb_table_progress p;
    qemb_status st = qemb_embedding_bag_table(bag, table, &d);
    if (st == QEMB_OK && (st = qemb_embedding_bag_get_progress(bag, table, &p)) == QEMB_OK) {
        *is_float = d.qconfig.observer == QEMB_OBSERVER_MEMORYLESS && !p.observer_on && !p.fake_quant_on && p.observations == 0 &&
                    p.fake_quant_from == 0;
    }
    return st;
}

static qemb__item small_item(const void *bytes, size_t count) {
    qemb__item item = {.kind = QEMB__ITEM_SMALL, .shape = {1}};
    memcpy(item.small, bytes, count);
    return item;
}

/* Torch's buffers behind the weight. */
static qemb_status add_fake_quant(const place *at, qemb_embedding_bag *bag, int32_t table, int64_t rows, const qemb_table_progress *p) {
    qemb_status st = QEMB_OK;
    const float scale = 1.0f;
    const float zero_point = 0.0f;
    const unsigned char switches[2] = {p->fake_quant_on, p->observer_on};
    const qemb__item eps = small_item(&p->eps, sizeof p->eps);
    for (int k = 0; k < 2; ++k) {
        const qemb__item item = small_item(&switches[k], 1);
        TRY(add(at, qemb__module_keys[QEMB__FAKE_QUANT + k], &item, 1, QEMB_FILE_U8));
    }
    TRY(add(at, qemb__module_keys[QEMB__EPS], &eps, 1, QEMB_FILE_F32));
    static const int keys[4] = {QEMB__SCALE, QEMB__ZERO_POINT, QEMB__MIN, QEMB__MAX};
    for (int k = 0; k < 4; ++k) {
        qemb__item item = {
            .kind = k ? QEMB__ITEM_OBSERVED : QEMB__ITEM_OBSERVER, .object = bag, .table = table, .rows = rows, .shape = {rows}};
        if (p->observations == 0) {
            item = small_item(k ? &zero_point : &scale, sizeof(float));
            item.shape[0] = k < 2;
        }
        TRY(add(at, qemb__module_keys[keys[k]], &item, 1, QEMB_FILE_F32));
    }
done:
    return st;
}

static qemb_status add_table_text(const place *at, int32_t table, const qemb_table_desc *d, const qemb_table_progress *p,
                                  int64_t forwards) {
    const qemb_qconfig *q = &d->qconfig;
    const qemb__table_text text = {.table = table,
                                   .forwards = forwards,
                                   .observations = p->observations,
                                   .fake_quant_from = p->fake_quant_from,
                                   .observer_until = p->observer_until,
                                   .quant_min = q->quant_min,
                                   .quant_max = q->quant_max,
                                   .observer = q->observer,
                                   .arithmetic = q->arithmetic,
                                   .layout = q->layout,
                                   .qparams = q->qparams,
                                   .symmetric = q->symmetric,
                                   .has_padding_idx = d->has_padding_idx,
                                   .padding_idx = d->padding_idx,
                                   .has_max_norm = d->has_max_norm,
                                   .averaging_constant = (double)(q->averaging_constant == 0.0f ? 1.0f : q->averaging_constant),
                                   .max_norm = (double)d->max_norm,
                                   .norm_type = (double)d->norm_type,
                                   .name = d->name};
    return add_text(at, QEMB__KEY_TABLE, qemb__table_fields, &text);
}

static int32_t feature_of_bag(const void *bag, int32_t feature) {
    return qemb_embedding_bag_feature_table(bag, feature);
}

static int32_t feature_of_packed(const void *packed, int32_t feature) {
    return qemb_packed_feature_table(packed, feature);
}

static qemb_status add_object_text(const place *at, const char *key, qemb__object_text *text, const qemb_bag_options *o, char *features) {
    text->mode = o->mode;
    text->include_last_offset = o->include_last_offset;
    text->scale_grad_by_freq = o->scale_grad_by_freq;
    text->sparse = o->sparse;
    text->features = features;
    qemb_status st = add_text(at, key, qemb__object_fields, text);
    qemb__free(features);
    return st;
}

qemb_status qemb__contents_add_module(qemb__contents *c, const char *prefix, qemb_embedding_bag *bag) {
    qemb_status st = QEMB_OK;
    qemb_bag_info info;
    char *features = NULL;
    TRY(qemb_embedding_bag_info(bag, &info));
    for (int32_t t = 0; t < info.num_tables; ++t) {
        qemb_table_desc d;
        qemb_table_progress p;
        bool is_float = false;
        TRY(qemb_embedding_bag_table(bag, t, &d));
        TRY(qemb_embedding_bag_get_progress(bag, t, &p));
        TRY(qemb__is_float_table(bag, t, &is_float));
        const place at = {c, prefix, info.num_tables > 1 ? d.name : NULL};
        const qemb__item weight = {.kind = QEMB__ITEM_WEIGHT,
                                   .object = bag,
                                   .table = t,
                                   .rows = d.num_embeddings,
                                   .row_bytes = d.embedding_dim * (int64_t)sizeof(float),
                                   .shape = {d.num_embeddings, d.embedding_dim}};
        TRY(add(&at, qemb__module_keys[QEMB__WEIGHT], &weight, 2, QEMB_FILE_F32));
        TRY(is_float ? QEMB_OK : add_fake_quant(&at, bag, t, d.num_embeddings, &p));
        TRY(add_table_text(&at, t, &d, &p, info.forwards));
    }
    const place at = {c, prefix, NULL};
    TRY(features_text(info.num_features, info.num_tables, feature_of_bag, bag, &features));
    qemb__object_text text = {.tables = info.num_tables, .output_dim = info.output_dim, .pooled = info.pooled};
    TRY(add_object_text(&at, QEMB__KEY_MODULE, &text, &info.options, features));
done:
    return st;
}

/* ---- optimisers ------------------------------------------------------------------------------------------------------- */

qemb_status qemb__contents_add_optimizer(qemb__contents *c, const char *prefix, qemb_optimizer *optimizer) {
    qemb_status st = QEMB_OK;
    qemb_optimizer_info info;
    qemb_bag_info bag;
    qemb__optimizer_text text;
    const place at = {c, prefix, NULL};
    TRY(qemb_optimizer_info_get(optimizer, &info));
    TRY(qemb_embedding_bag_info(info.bag, &bag));
    for (int32_t t = 0; t < bag.num_tables; ++t) {
        qemb_table_desc d;
        char key[96];
        const qemb__item step = small_item(&info.steps, sizeof info.steps);
        TRY(qemb_embedding_bag_table(info.bag, t, &d));
        (void)snprintf(key, sizeof key, "state.%d.step", t);
        TRY(add(&at, key, &step, 0, QEMB_FILE_I64));
        for (int32_t k = 0; k < info.num_arrays; ++k) {
            const int64_t width = info.array_row_wise[k] ? 1 : d.embedding_dim;
            const qemb__item item = {.kind = QEMB__ITEM_STATE,
                                     .object = optimizer,
                                     .table = t,
                                     .array = k,
                                     .rows = d.num_embeddings,
                                     .row_bytes = width * (int64_t)sizeof(float),
                                     .shape = {d.num_embeddings, width}};
            (void)snprintf(key, sizeof key, "state.%d.%s", t, info.array_name[k]);
            TRY(add(&at, key, &item, info.array_row_wise[k] ? 1 : 2, QEMB_FILE_F32));
        }
    }
    qemb__optimizer_text_of(&info.desc, &text);
    TRY(add_text(&at, QEMB__KEY_OPTIMIZER, qemb__optimizer_fields, &text));
done:
    return st;
}

/* ---- packed tables ---------------------------------------------------------------------------------------------------- */

static qemb_status add_packed_table(const place *at, qemb_packed *packed, int32_t t, const qemb_packed_table *d) {
    qemb_status st = QEMB_OK;
    int64_t row_bytes = 0;
    int64_t plane = 0;
    const bool fp32 = d->format.qparams == QEMB_QPARAMS_FP32;
    TRY(qemb_packed_row_bytes(&d->format, d->embedding_dim, &row_bytes, &plane));
    qemb__item item = {.kind = QEMB__ITEM_ROWS,
                       .object = packed,
                       .table = t,
                       .rows = d->num_rows,
                       .row_bytes = row_bytes,
                       .shape = {d->num_rows, row_bytes}};
    TRY(add(at, "rows", &item, 2, QEMB_FILE_U8));
    if (d->format.layout == QEMB_LAYOUT_PLANAR) {
        item.kind = QEMB__ITEM_QPARAMS;
        item.row_bytes = plane;
        item.shape[1] = d->format.symmetric ? 1 : 2;
        TRY(add(at, "qparams", &item, 2, fp32 ? QEMB_FILE_F32 : QEMB_FILE_BF16));
    }
    if (d->row_map) {
        item = (qemb__item){.kind = QEMB__ITEM_DATA, .data = d->row_map, .shape = {d->num_embeddings}};
        TRY(add(at, "row_map", &item, 1, QEMB_FILE_I32));
    }
done:
    return st;
}

qemb_status qemb__contents_add_packed(qemb__contents *c, const char *prefix, qemb_packed *packed) {
    qemb_status st = QEMB_OK;
    qemb_packed_info info;
    char *features = NULL;
    const place top = {c, prefix, NULL};
    TRY(qemb_packed_get_info(packed, &info));
    for (int32_t t = 0; t < info.num_tables; ++t) {
        qemb_packed_table d;
        char key[32];
        TRY(qemb_packed_get_table(packed, t, &d));
        const place at = {c, prefix, d.name};
        TRY(add_packed_table(&at, packed, t, &d));
        const qemb__packed_text text = {.layout = d.format.layout,
                                        .bits = d.format.bits,
                                        .qparams = d.format.qparams,
                                        .symmetric = d.format.symmetric,
                                        .row_alignment = d.format.row_alignment,
                                        .num_embeddings = d.num_embeddings,
                                        .embedding_dim = d.embedding_dim,
                                        .num_rows = d.num_rows,
                                        .pruned = d.row_map != NULL,
                                        .has_padding_idx = d.has_padding_idx,
                                        .padding_idx = d.padding_idx,
                                        .has_max_norm = d.has_max_norm,
                                        .max_norm = (double)d.max_norm,
                                        .norm_type = (double)d.norm_type,
                                        .name = d.name};
        (void)snprintf(key, sizeof key, QEMB__KEY_PACKED ".%d", t);
        TRY(add_text(&top, key, qemb__packed_fields, &text));
    }
    TRY(features_text(info.num_features, info.num_tables, feature_of_packed, packed, &features));
    qemb__object_text text = {.tables = info.num_tables, .output_dim = info.output_dim, .pooled = info.pooled};
    TRY(add_object_text(&top, QEMB__KEY_PACKED, &text, &info.options, features));
done:
    return st;
}
