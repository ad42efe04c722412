/* convert.c - float tables of a file to packed ones of another, a piece of rows at a time. */
#include "io/convert.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/safetensors_file.h"

static const char who[] = "convert";

enum { PIECE_BYTES = 32 << 20 };

/* Rows on their way: one piece of a table, and a module around it. */
typedef struct piece {
    int64_t rows; /* of a piece */
    float *values, *low, *high;
    unsigned char *packed, *qparams;
} piece;

static void free_piece(piece *p) {
    qemb__free(p->values);
    qemb__free(p->low);
    qemb__free(p->high);
    qemb__free(p->packed);
    qemb__free(p->qparams);
}

static qemb_status make_piece(const qemb__convert *c, const qemb__convert_table *t, piece *p) {
    qemb_status st = QEMB_OK;
    int64_t row_bytes = 0;
    int64_t plane = 0;
    const int64_t dim = t->weight.shape[1];
    TRY(qemb_packed_row_bytes(&c->desc->format, dim, &row_bytes, &plane));
    p->rows = qemb__min_i64(t->weight.shape[0], qemb__max_i64(1, PIECE_BYTES / (dim * (int64_t)sizeof(float))));
    TRY(qemb__calloc(p->rows, (size_t)dim * sizeof(float), (void **)&p->values));
    TRY(qemb__calloc(p->rows, sizeof(float), (void **)&p->low));
    TRY(qemb__calloc(p->rows, sizeof(float), (void **)&p->high));
    TRY(qemb__calloc(p->rows, (size_t)row_bytes, (void **)&p->packed));
    TRY(qemb__calloc(p->rows, (size_t)plane, (void **)&p->qparams));
done:
    return st;
}

/* The quantiser of the table: the one it was trained with, or torch's of the width. */
static qemb_qconfig qconfig_of(const qemb__convert *c, const qemb__convert_table *t) {
    const qemb__table_text *x = &t->text;
    if (!t->has_text) {
        return (qemb_qconfig){.quant_max = (1 << c->desc->format.bits) - 1, .eps = t->eps};
    }
    return (qemb_qconfig){.quant_min = (int32_t)x->quant_min,
                          .quant_max = (int32_t)x->quant_max,
                          .observer = (qemb_observer)x->observer,
                          .averaging_constant = (float)x->averaging_constant,
                          .eps = t->eps,
                          .arithmetic = (qemb_arithmetic)x->arithmetic,
                          .layout = (qemb_layout)x->layout,
                          .qparams = (qemb_qparams)x->qparams,
                          .symmetric = x->symmetric == 1};
}

/* Puts the observer of rows [first, first + count) where the file's module stands. */
static qemb_status put_observer(const qemb__convert *c, const qemb__convert_table *t, const piece *p, int64_t first, int64_t count,
                                qemb_embedding_bag *bag) {
    qemb_status st = QEMB_OK;
    if (c->desc->method != QEMB_PACK_OBSERVER || !t->min.name) {
        goto done;
    }
    const int64_t seen = t->has_text ? t->text.observations : 1;
    const qemb_table_progress progress = {
        .observations = seen > 0 ? seen : 1, .eps = t->eps, .observer_on = t->observer_on, .fake_quant_on = true};
    TRY(qemb_safetensors_read_rows(c->file, t->min.name, first, count, p->low));
    TRY(qemb_safetensors_read_rows(c->file, t->max.name, first, count, p->high));
    TRY(qemb_embedding_bag_set_progress(bag, 0, &progress));
    TRY(qemb_embedding_bag_write_observer(bag, 0, 0, count, p->low, p->high));
done:
    return st;
}

static qemb_status convert_rows(qemb__convert *c, const qemb__convert_table *t, const piece *p, int64_t first, int64_t count,
                                qemb_safetensors_writer *writer) {
    qemb_status st = QEMB_OK;
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    int64_t row_bytes = 0;
    int64_t plane = 0;
    const qemb_packed_desc desc = {.format = c->desc->format, .method = c->desc->method, .flags = c->desc->flags};
    const bool planar = desc.format.layout == QEMB_LAYOUT_PLANAR;
    TRY(qemb_safetensors_read_rows(c->file, t->weight.name, first, count, p->values));
    TRY(qemb_embedding_bag_create(c->ctx,
                                  &(qemb_embedding_bag_desc){.num_embeddings = count,
                                                             .embedding_dim = t->weight.shape[1],
                                                             .qconfig = qconfig_of(c, t),
                                                             .weight = p->values,
                                                             .name = t->name},
                                  &bag));
    TRY(put_observer(c, t, p, first, count, bag));
    st = qemb_packed_create(bag, &desc, &packed);
    if (st == QEMB_ERR_NONFINITE || st == QEMB_ERR_RANGE) {
        char sentence[300];
        (void)strncpy(sentence, qemb_last_error(), sizeof sentence - 1);
        sentence[sizeof sentence - 1] = '\0';
        st = qemb__fail(st, "%s: %s: tensor '%.200s' at byte %lld, rows from %lld on: %s", who, c->file->path, t->weight.name,
                        (long long)t->weight.offset, (long long)first, sentence);
    }
    TRY(st);
    TRY(qemb_packed_row_bytes(&desc.format, t->weight.shape[1], &row_bytes, &plane));
    TRY(qemb_packed_read_rows(packed, 0, 0, count, p->packed, planar ? p->qparams : NULL));
    TRY(qemb_safetensors_writer_append(writer, t->rows_index, p->packed, (size_t)(count * row_bytes)));
    TRY(planar ? qemb_safetensors_writer_append(writer, t->qparams_index, p->qparams, (size_t)(count * plane)) : QEMB_OK);
done:
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
    return st;
}

static qemb_status convert_table(qemb__convert *c, const qemb__convert_table *t, qemb_safetensors_writer *writer) {
    qemb_status st = QEMB_OK;
    piece p = {0};
    TRY(make_piece(c, t, &p));
    for (int64_t first = 0, count = 0; first < t->weight.shape[0]; first += count) {
        count = qemb__min_i64(p.rows, t->weight.shape[0] - first);
        TRY(convert_rows(c, t, &p, first, count, writer));
        c->done += count * t->weight.shape[1] * (int64_t)sizeof(float);
        REQUIRE(!c->desc->progress || c->desc->progress(c->desc->user, c->done, c->total), QEMB_ERR_STATE, "%s: stopped", who);
    }
done:
    free_piece(&p);
    return st;
}

static void free_plan(qemb__convert *c) {
    for (int64_t t = 0; t < c->count; ++t) {
        qemb__free(c->tables[t].stem);
        qemb__free(c->tables[t].name);
    }
    qemb__free(c->tables);
    qemb__contents_free(&c->contents);
}

qemb_status qemb_convert(qemb_context *ctx, const qemb_safetensors *file, const qemb_convert_desc *desc, const char *path) {
    qemb_status st = QEMB_OK;
    qemb_safetensors_writer *writer = NULL;
    qemb__convert c = {.ctx = ctx, .file = file, .desc = desc};
    REQUIRE(ctx && file && desc, QEMB_ERR_ARG, "%s: %s is NULL", who, !ctx ? "ctx" : file ? "desc" : "file");
    REQUIRE((unsigned)desc->method <= QEMB_PACK_GREEDY, QEMB_ERR_ARG, "%s: method=%d, want minmax, observer or greedy", who,
            (int)desc->method);
    TRY(qemb__convert_plan(&c));
    for (int64_t t = 0; t < c.count; ++t) {
        REQUIRE(desc->method != QEMB_PACK_OBSERVER || c.tables[t].min.name || (c.tables[t].has_text && c.tables[t].text.observations > 0),
                QEMB_ERR_STATE, "%s: %s: table '%.200s' has no observer state, want method minmax or greedy", who, file->path,
                c.tables[t].name);
    }
    TRY(qemb_safetensors_writer_create(path, c.contents.tensors, c.contents.tensor_count, c.contents.texts, c.contents.text_count,
                                       &writer));
    for (int64_t t = 0; t < c.count; ++t) {
        TRY(convert_table(&c, &c.tables[t], writer));
    }
    for (int64_t i = 0; i < c.contents.tensor_count; ++i) { /* what is kept as it is */
        const qemb__item *item = &c.contents.items[i];
        const int64_t at = item->data ? qemb_safetensors_find(file, c.contents.tensors[i].name) : -1;
        qemb_tensor_view view;
        if (at >= 0) {
            TRY(qemb_safetensors_at(file, at, &view));
            TRY(qemb_safetensors_writer_append(writer, i, view.data, view.bytes));
        }
    }
    TRY(qemb_safetensors_writer_finish(writer));
done:
    qemb_safetensors_writer_destroy(writer);
    free_plan(&c);
    return qemb__named(st, "convert");
}
