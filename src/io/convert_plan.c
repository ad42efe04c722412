/* convert_plan.c - which tensors of a file are tables, what stands beside them, and what the new file holds. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/convert.h"
#include "io/load.h"
#include "io/safetensors_file.h"

static const char who[] = "convert";

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text);
    const size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* "weight", or anything and ".weight", of floats in rows. */
static bool may_be_table(const qemb_tensor_view *v, const char *prefix) {
    return v->dtype == QEMB_FILE_F32 && v->rank == 2 && v->count > 0 && (strcmp(v->name, "weight") == 0 || ends_with(v->name, ".weight")) &&
           (!prefix || strncmp(v->name, prefix, strlen(prefix)) == 0);
}

/* The tensor or text STEM + key. */
static qemb_status beside(const qemb__convert *c, const char *stem, const char *key, qemb_tensor_view *view) {
    return qemb__load_find(&(qemb__load){c->file, who, stem, NULL}, key, view);
}

/* Whether a module saved the tensor: torch's buffers or this library's text stand beside it. */
static qemb_status is_saved(const qemb__convert *c, const char *stem, bool *saved) {
    qemb_tensor_view view;
    const char *text = NULL;
    qemb_status st = beside(c, stem, qemb__module_keys[QEMB__SCALE], &view);
    if (st == QEMB_OK && (st = qemb__load_text(&(qemb__load){c->file, who, stem, NULL}, QEMB__KEY_TABLE, &text)) == QEMB_OK) {
        *saved = view.name || text;
    }
    return st;
}

static qemb_status stem_of(const qemb_tensor_view *v, char **stem) {
    qemb_status st = qemb__strdup(v->name, stem);
    if (st == QEMB_OK) {
        (*stem)[strlen(*stem) - strlen("weight")] = '\0';
    }
    return st;
}

/* What torch's module of the table holds beside the weight. */
static qemb_status read_state(const qemb__convert *c, qemb__convert_table *t) {
    qemb_status st = QEMB_OK;
    const qemb__load at = {c->file, who, t->stem, NULL};
    const char *text = NULL;
    qemb_tensor_view view;
    int64_t on = 1;
    TRY(qemb__load_text(&at, QEMB__KEY_TABLE, &text));
    t->has_text = text != NULL;
    TRY(text ? qemb__fields_read(who, c->file->path, QEMB__KEY_TABLE, text, qemb__table_fields, &t->text) : QEMB_OK);
    t->eps = 0x1p-23f;
    TRY(qemb__load_find(&at, qemb__module_keys[QEMB__MIN], &t->min));
    if (!t->min.name || t->min.count == 0) {
        t->min.name = NULL;
        goto done;
    }
    TRY(qemb__load_want(&at, qemb__module_keys[QEMB__MIN], QEMB_FILE_F32, 1, t->weight.shape, &t->min));
    TRY(qemb__load_want(&at, qemb__module_keys[QEMB__MAX], QEMB_FILE_F32, 1, t->weight.shape, &t->max));
    TRY(qemb__load_find(&at, qemb__module_keys[QEMB__OBSERVER], &view));
    TRY(view.name ? qemb__load_integer(&at, &view, &on) : QEMB_OK);
    t->observer_on = on != 0;
    TRY(qemb__load_find(&at, qemb__module_keys[QEMB__EPS], &view));
    if (view.name && view.dtype == QEMB_FILE_F32 && view.count == 1) {
        memcpy(&t->eps, view.data, sizeof t->eps);
    }
done:
    return st;
}

static qemb_status add_table(qemb__convert *c, const qemb_tensor_view *v) {
    qemb_status st = QEMB_OK;
    qemb__convert_table *t = NULL;
    char fallback[32];
    TRY(qemb__grow((void **)&c->tables, &c->capacity, c->count + 1, sizeof *c->tables));
    t = &c->tables[c->count++];
    *t = (qemb__convert_table){.weight = *v};
    TRY(stem_of(v, &t->stem));
    TRY(read_state(c, t));
    (void)snprintf(fallback, sizeof fallback, "table%lld", (long long)(c->count - 1));
    const size_t length = strlen(t->stem);
    TRY(qemb__strdup(t->has_text ? t->text.name : length > 1 ? t->stem : fallback, &t->name));
    if (!t->has_text && length > 1) {
        t->name[length - 1] = '\0'; /* the dot */
    }
    REQUIRE(v->shape[1] <= 1 << 20, QEMB_ERR_UNSUPPORTED, "%s: %s: tensor '%.200s': %lld columns, at most 2^20", who, c->file->path,
            v->name, (long long)v->shape[1]);
    c->total += (int64_t)v->bytes;
done:
    return st;
}

/* Tables that modules saved, or else all that may be one. */
static qemb_status find_tables(qemb__convert *c) {
    qemb_status st = QEMB_OK;
    for (int pass = 0; pass < 2 && c->count == 0; ++pass) {
        for (int64_t i = 0; i < qemb_safetensors_count(c->file); ++i) {
            qemb_tensor_view v;
            char *stem = NULL;
            bool saved = false;
            TRY(qemb_safetensors_at(c->file, i, &v));
            if (!may_be_table(&v, c->desc->prefix)) {
                continue;
            }
            TRY(stem_of(&v, &stem));
            st = is_saved(c, stem, &saved);
            qemb__free(stem);
            TRY(st);
            TRY(saved || pass ? add_table(c, &v) : QEMB_OK);
        }
    }
    REQUIRE(c->count > 0, QEMB_ERR_ARG, "%s: %s: no tables: want F32 tensors of rank 2 called weight%s%s", who, c->file->path,
            c->desc->prefix ? ", under " : "", c->desc->prefix ? c->desc->prefix : "");
done:
    return st;
}

/* The module's own order of tables, which its features count by. */
static qemb_status order_tables(qemb__convert *c) {
    qemb_status st = QEMB_OK;
    REQUIRE(c->count == c->object.tables, QEMB_ERR_CORRUPT, "%s: %s: the module's text speaks of %lld tables, the file has %lld", who,
            c->file->path, (long long)c->object.tables, (long long)c->count);
    for (int64_t t = 0; t < c->count; ++t) {
        int64_t k = t;
        while (k < c->count && !(c->tables[k].has_text && c->tables[k].text.table == t)) {
            ++k;
        }
        REQUIRE(k < c->count, QEMB_ERR_CORRUPT, "%s: %s: no text says which is table %lld of the module", who, c->file->path, (long long)t);
        const qemb__convert_table swap = c->tables[t];
        c->tables[t] = c->tables[k];
        c->tables[k] = swap;
    }
done:
    return st;
}

/* Options and features of the one module that this library saved in the file; the descriptor's otherwise. */
static qemb_status find_options(qemb__convert *c) {
    qemb_status st = QEMB_OK;
    const qemb_bag_options *o = &c->desc->options;
    int64_t modules = 0;
    c->object = (qemb__object_text){.mode = o->mode,
                                    .pooled = !c->desc->unpooled,
                                    .include_last_offset = o->include_last_offset,
                                    .scale_grad_by_freq = o->scale_grad_by_freq,
                                    .sparse = o->sparse,
                                    .features = ""};
    for (int64_t i = 0; i < qemb_safetensors_metadata_count(c->file); ++i) {
        const char *key = NULL;
        const char *text = NULL;
        TRY(qemb_safetensors_metadata_at(c->file, i, &key, &text));
        if (ends_with(key, QEMB__KEY_MODULE) && (!c->desc->prefix || strncmp(key, c->desc->prefix, strlen(c->desc->prefix)) == 0)) {
            TRY(qemb__fields_read(who, c->file->path, key, text, qemb__object_fields, &c->object));
            modules++;
        }
    }
    REQUIRE(modules <= 1, QEMB_ERR_ARG, "%s: %s: %lld modules, want the prefix of one", who, c->file->path, (long long)modules);
    TRY(modules ? order_tables(c) : QEMB_OK);
    if (!modules) {
        c->object.tables = c->count;
        c->object.output_dim = 0;
        for (int64_t t = 0; t < c->count; ++t) {
            c->object.output_dim += c->tables[t].weight.shape[1];
        }
    }
done:
    return st;
}

/* ---- the new file ----------------------------------------------------------------------------------------------------- */

static qemb_status add_text(qemb__convert *c, const char *key, const qemb__field *fields, const void *values) {
    char *text = NULL;
    char *copy = NULL;
    qemb_status st = qemb__fields_write(fields, values, &text);
    if (st == QEMB_OK && (st = qemb__strdup(key, &copy)) == QEMB_OK) {
        return qemb__contents_add_text(&c->contents, copy, text);
    }
    qemb__free(text);
    return st;
}

static qemb_status add_tensor(qemb__convert *c, const char *name, const char *key, const int64_t *shape, qemb_file_dtype dtype,
                              int64_t *index) {
    char *full = NULL;
    qemb__item item = {.kind = QEMB__ITEM_DATA, .shape = {shape[0], shape[1]}};
    qemb_status st = qemb__state_key("", name, key, &full);
    *index = c->contents.tensor_count;
    return st == QEMB_OK ? qemb__contents_add(&c->contents, full, &item, 2, dtype) : st;
}

static qemb_status describe_table(qemb__convert *c, int64_t index) {
    qemb_status st = QEMB_OK;
    qemb__convert_table *t = &c->tables[index];
    const qemb_convert_desc *d = c->desc;
    const qemb_packed_format *f = &d->format;
    int64_t row_bytes = 0;
    char key[48];
    const int64_t rows = t->weight.shape[0];
    const bool padding = t->has_text ? t->text.has_padding_idx : d->has_padding_idx;
    const bool norm = t->has_text ? t->text.has_max_norm : d->has_max_norm;
    int64_t padding_idx = !padding ? 0 : t->has_text ? t->text.padding_idx : d->padding_idx;
    padding_idx += padding_idx < 0 ? rows : 0;
    REQUIRE(padding_idx >= 0 && padding_idx < rows, QEMB_ERR_RANGE, "%s: %s: table '%.200s': padding_idx=%lld, it has %lld rows", who,
            c->file->path, t->name, (long long)padding_idx, (long long)rows);
    const double norm_type = t->has_text ? t->text.norm_type : (double)d->norm_type;
    TRY(qemb_packed_row_bytes(f, t->weight.shape[1], &row_bytes, NULL));
    const int64_t shape[] = {rows, row_bytes};
    TRY(add_tensor(c, t->name, "rows", shape, QEMB_FILE_U8, &t->rows_index));
    if (f->layout == QEMB_LAYOUT_PLANAR) {
        const int64_t plane[] = {rows, f->symmetric ? 1 : 2};
        TRY(add_tensor(c, t->name, "qparams", plane, f->qparams == QEMB_QPARAMS_FP32 ? QEMB_FILE_F32 : QEMB_FILE_BF16, &t->qparams_index));
    }
    const qemb__packed_text text = {.layout = f->layout,
                                    .bits = f->bits,
                                    .qparams = f->qparams,
                                    .symmetric = f->symmetric,
                                    .row_alignment = f->row_alignment,
                                    .num_embeddings = rows,
                                    .embedding_dim = t->weight.shape[1],
                                    .num_rows = rows,
                                    .has_padding_idx = padding,
                                    .padding_idx = padding_idx,
                                    .has_max_norm = norm,
                                    .max_norm = !norm         ? 0.0
                                                : t->has_text ? t->text.max_norm
                                                              : (double)d->max_norm,
                                    .norm_type = norm && norm_type != 0.0 ? norm_type : 2.0,
                                    .name = t->name};
    (void)snprintf(key, sizeof key, QEMB__KEY_PACKED ".%lld", (long long)index);
    TRY(add_text(c, key, qemb__packed_fields, &text));
done:
    return st;
}

/* Whether a tensor belongs to a table that is converted: its weight, or a buffer beside it. */
static bool is_of_table(const qemb__convert *c, const char *name) {
    for (int64_t t = 0; t < c->count; ++t) {
        const size_t stem = strlen(c->tables[t].stem);
        if (strncmp(name, c->tables[t].stem, stem) == 0 && strncmp(name + stem, "weight", 6) == 0) {
            return true;
        }
    }
    return false;
}

/* The other tensors, and the texts that speak of nothing that was converted. */
static qemb_status keep_rest(qemb__convert *c) {
    qemb_status st = QEMB_OK;
    for (int64_t i = 0; i < qemb_safetensors_count(c->file); ++i) {
        qemb_tensor_view v;
        char *name = NULL;
        TRY(qemb_safetensors_at(c->file, i, &v));
        if (!is_of_table(c, v.name)) {
            qemb__item item = {.kind = QEMB__ITEM_DATA, .data = v.data};
            memcpy(item.shape, v.shape, sizeof item.shape);
            TRY(qemb__strdup(v.name, &name));
            TRY(qemb__contents_add(&c->contents, name, &item, v.rank, v.dtype));
        }
    }
    for (int64_t i = 0; i < qemb_safetensors_metadata_count(c->file); ++i) {
        const char *key = NULL;
        const char *text = NULL;
        char *copies[2] = {NULL, NULL};
        TRY(qemb_safetensors_metadata_at(c->file, i, &key, &text));
        if (ends_with(key, QEMB__KEY_TABLE) || ends_with(key, QEMB__KEY_MODULE) || strcmp(key, QEMB_FILE_CHECKSUM_KEY) == 0) {
            continue;
        }
        TRY(qemb__strdup(key, &copies[0]));
        st = qemb__strdup(text, &copies[1]);
        if (st != QEMB_OK) {
            qemb__free(copies[0]);
            goto done;
        }
        TRY(qemb__contents_add_text(&c->contents, copies[0], copies[1]));
    }
done:
    return st;
}

qemb_status qemb__convert_plan(qemb__convert *c) {
    qemb_status st = QEMB_OK;
    TRY(find_tables(c));
    TRY(find_options(c));
    for (int64_t t = 0; t < c->count; ++t) {
        TRY(describe_table(c, t));
    }
    TRY(add_text(c, QEMB__KEY_PACKED, qemb__object_fields, &c->object));
    TRY(c->desc->keep ? keep_rest(c) : QEMB_OK);
    for (int64_t i = 0; i < c->contents.tensor_count; ++i) {
        c->contents.tensors[i].shape = c->contents.items[i].shape;
    }
done:
    return st;
}
