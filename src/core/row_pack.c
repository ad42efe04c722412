/* row_pack.c - from modules to packed tables, from packed to float, from one format to another. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "core/packed.h"
#include "kernels_cl/shared/math.h"
#include "kernels_cl/shared/row_layout.h"

enum { PACK_ROWS = 1 << 28, RANGE_ROWS = 1 << 20, UNPACK_FLOATS = 1 << 24 };

qemb_status qemb__packed_new_status(qemb_context *ctx, qemb_buffer **status) {
    static const q_u32 clear[Q_PACK_WORDS] = {Q_NO_ERROR, Q_NO_ERROR};
    qemb_status st = qemb__buffer_create(ctx, sizeof clear, status);
    return st == QEMB_OK ? qemb__buffer_write(*status, 0, sizeof clear, clear, true) : st;
}

qemb_status qemb__packed_read_status(qemb_packed *p, qemb_buffer *status, int32_t table, int64_t first, const char *call) {
    q_u32 words[Q_PACK_WORDS];
    qemb_status st = QEMB_OK;
    const char *name = p->shape.tables->name[table];
    TRY(qemb__buffer_read(status, 0, sizeof words, words, true));
    REQUIRE(words[Q_PACK_NONFINITE] == Q_NO_ERROR, QEMB_ERR_NONFINITE, "%s: table %s, row %lld holds NaN or inf", call, name,
            (long long)(first + words[Q_PACK_NONFINITE]));
    REQUIRE(words[Q_PACK_INFINITE] == Q_NO_ERROR, QEMB_ERR_RANGE,
            "%s: table %s, row %lld: scale or bias does not fit the format (fp16 ends at 65504), want a wider one or QEMB_PACK_AS_PEER",
            call, name, (long long)(first + words[Q_PACK_INFINITE]));
done:
    return st;
}

/* ---- create ----------------------------------------------------------------------------------------------------------- */

/* The observer's range of a table can be converted to `format`. */
static qemb_status check_observer(const qemb_embedding_bag *bag, int32_t t, const qemb_packed_format *f) {
    qemb_status st = QEMB_OK;
    const q_table *table = &bag->tables->table[t];
    const char *name = bag->tables->name[t];
    REQUIRE(qemb__table_observations(table, bag->forwards + 1) > 0, QEMB_ERR_STATE,
            "packed_create: table %s was never observed and its observer is off", name);
    if (table->arithmetic != Q_PACKED) {
        REQUIRE(table->qmin == 0.0f && table->qmax < (float)(1 << f->bits), QEMB_ERR_UNSUPPORTED,
                "packed_create: table %s has codes %g..%g, method observer wants 0..%d for %d bits", name, (double)table->qmin,
                (double)table->qmax, (1 << f->bits) - 1, f->bits);
        REQUIRE(!(qemb__qparams_word(f->layout, f->qparams, f->symmetric) & Q_SYMMETRIC), QEMB_ERR_UNSUPPORTED,
                "packed_create: table %s is affine under its torch arithmetic, the target is symmetric", name);
    }
done:
    return st;
}

static qemb_status check_ranges(const float *ranges, int64_t rows, const char *name) {
    qemb_status st = QEMB_OK;
    REQUIRE(ranges, QEMB_ERR_ARG, "packed_create: table %s: ranges is NULL with method given", name);
    for (int64_t r = 0; r < rows; r++) {
        REQUIRE(isfinite(ranges[2 * r]) && isfinite(ranges[2 * r + 1]) && ranges[2 * r] <= ranges[2 * r + 1], QEMB_ERR_RANGE,
                "packed_create: table %s: ranges[%lld]={%g, %g}, want finite min <= max", name, (long long)r, (double)ranges[2 * r],
                (double)ranges[2 * r + 1]);
    }
done:
    return st;
}

static qemb_status check_create(const qemb_embedding_bag *bag, const qemb_packed_desc *d, const qemb_packed_table *tables) {
    qemb_status st = QEMB_OK;
    REQUIRE((unsigned)d->method <= QEMB_PACK_GIVEN, QEMB_ERR_ARG, "packed_create: method=%d, want one of qemb_pack_method", (int)d->method);
    REQUIRE((d->flags & ~QEMB_PACK_AS_PEER) == 0, QEMB_ERR_ARG, "packed_create: flags=%#x, want 0 or QEMB_PACK_AS_PEER", d->flags);
    REQUIRE((d->method == QEMB_PACK_GIVEN) == (d->ranges != NULL), QEMB_ERR_ARG,
            "packed_create: ranges belong to method given, and only to it");
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        TRY(qemb__packed_check_format(&tables[t].format, "packed_create"));
        if (d->method == QEMB_PACK_OBSERVER) {
            TRY(check_observer(bag, t, &tables[t].format));
        }
        if (d->ranges) {
            TRY(check_ranges(d->ranges[t], tables[t].num_embeddings, bag->tables->name[t]));
        }
    }
done:
    return st;
}

/* What the packed tables of a module look like; num_rows from the maps. */
static qemb_status describe(const qemb_embedding_bag *bag, const qemb_packed_desc *d, bool as_trained, qemb_packed_table *tables) {
    qemb_status st = QEMB_OK;
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        const q_table *table = &bag->tables->table[t];
        const qemb_qconfig *q = &bag->qconfig[t];
        qemb_packed_table *p = &tables[t];
        *p = (qemb_packed_table){.name = bag->tables->name[t],
                                 .num_embeddings = table->rows,
                                 .embedding_dim = table->dim,
                                 .num_rows = table->rows,
                                 .format = d->format,
                                 .has_padding_idx = table->padding_idx >= 0,
                                 .padding_idx = table->padding_idx >= 0 ? table->padding_idx : 0,
                                 .has_max_norm = (table->flags & Q_HAS_NORM) != 0,
                                 .max_norm = table->flags & Q_HAS_NORM ? table->max_norm : 0.0f,
                                 .norm_type = table->norm_type};
        if (as_trained) {
            p->format = (qemb_packed_format){.layout = q->layout, .qparams = q->qparams, .symmetric = q->symmetric};
        }
        p->format.bits = p->format.bits ? p->format.bits : table->bits;
        p->row_map = d->row_map ? d->row_map[t] : NULL;
        if (p->row_map) {
            p->num_rows = 0;
            for (int64_t r = 0; r < table->rows; r++) {
                REQUIRE(p->row_map[r] >= -1, QEMB_ERR_INDEX, "packed_create: table %s: row_map[%lld]=%d, want -1 or a row", p->name,
                        (long long)r, p->row_map[r]);
                p->num_rows = qemb__max_i64(p->num_rows, (int64_t)p->row_map[r] + 1);
            }
        }
    }
done:
    return st;
}

/* All rows of one table, in launches that a status word can number. */
static qemb_status pack_table(qemb_embedding_bag *bag, const qemb_packed_desc *d, int32_t t, qemb_packed *p) {
    qemb_status st = QEMB_OK;
    qemb_buffer *status = NULL;
    qemb_buffer *ranges = NULL;
    const int64_t rows = bag->tables->table[t].rows;
    const int64_t chunk = qemb__min_i64(rows, d->ranges ? RANGE_ROWS : PACK_ROWS);
    TRY(qemb__packed_new_status(bag->ctx, &status));
    if (d->ranges) {
        TRY(qemb__buffer_create(bag->ctx, (size_t)chunk * 2 * sizeof(float), &ranges));
    }
    for (int64_t first = 0; first < rows; first += chunk) {
        qemb__row_pack_args args = {.source = bag->tables,
                                    .source_table = t,
                                    .first = first,
                                    .target = p->shape.tables,
                                    .table = t,
                                    .target_first = first,
                                    .count = qemb__min_i64(chunk, rows - first),
                                    .method = (int32_t)d->method,
                                    .as_peer = (d->flags & QEMB_PACK_AS_PEER) != 0,
                                    .step = bag->forwards + 1,
                                    .ranges = ranges,
                                    .status = status};
        if (ranges) {
            TRY(qemb__buffer_write(ranges, 0, (size_t)args.count * 2 * sizeof(float), d->ranges[t] + 2 * first, true));
        }
        TRY(bag->ctx->ops->row_pack(bag->ctx, &args));
        TRY(qemb__packed_read_status(p, status, t, first, "packed_create"));
    }
done:
    qemb__buffer_destroy(ranges);
    qemb__buffer_destroy(status);
    return st;
}

/* Rows of `full` to the places that the map of `p` gives them. */
static qemb_status prune_table(qemb_packed *full, qemb_packed *p, int32_t table) {
    qemb_status st = QEMB_OK;
    const q_table *t = &p->shape.tables->table[table];
    const bool planar = p->format[table].layout == QEMB_LAYOUT_PLANAR;
    int64_t row_bytes = 0;
    int64_t plane = 0;
    void *block[5] = {NULL};
    TRY(qemb_packed_row_bytes(&p->format[table], t->dim, &row_bytes, &plane));
    plane = planar ? plane : 0;
    TRY(qemb__calloc(t->rows, (size_t)row_bytes, &block[0]));
    TRY(qemb__calloc(t->rows, (size_t)plane, &block[1]));
    TRY(qemb__calloc(p->rows[table], (size_t)row_bytes, &block[2]));
    TRY(qemb__calloc(p->rows[table], (size_t)plane, &block[3]));
    TRY(qemb__calloc(p->rows[table], 1, &block[4]));
    char *seen = block[4]; /* the first row that names a place fills it */
    int64_t kept = 0;
    TRY(qemb__packed_move(full, table, 0, t->rows, &(qemb__packed_bytes){.target = block[0], .target_qparams = planar ? block[1] : NULL}));
    for (int64_t r = 0; r < t->rows; r++) {
        const int64_t m = p->map[table][r];
        if (m >= 0 && !seen[m]) {
            seen[m] = 1;
            kept++;
            memcpy((char *)block[2] + m * row_bytes, (const char *)block[0] + r * row_bytes, (size_t)row_bytes);
            memcpy((char *)block[3] + m * plane, (const char *)block[1] + r * plane, (size_t)plane);
        }
    }
    REQUIRE(kept == p->rows[table], QEMB_ERR_ARG, "packed_create: table %s: row_map names %lld of %lld packed rows, want all",
            p->shape.tables->name[table], (long long)kept, (long long)p->rows[table]);
    TRY(qemb__packed_move(p, table, 0, p->rows[table],
                          &(qemb__packed_bytes){.source = block[2], .source_qparams = planar ? block[3] : NULL}));
done:
    for (int k = 0; k < 5; k++) {
        qemb__free(block[k]);
    }
    return st;
}

/* The tables with the maps of `plan`, their rows taken from `*full`, which is replaced by them. */
static qemb_status prune(qemb_context *ctx, const qemb__packed_plan *plan, qemb_packed **full) {
    qemb_status st = QEMB_OK;
    qemb_packed *p = NULL;
    TRY(qemb__packed_plan_create(ctx, plan, "packed_create", &p));
    for (int32_t t = 0; t < plan->num_tables; t++) {
        if (p->map[t]) {
            TRY(prune_table(*full, p, t));
            continue;
        }
        for (int64_t row = 0, count = 0; row < p->rows[t]; row += count) {
            const q_table *from = &(*full)->shape.tables->table[t];
            const q_table *to = &p->shape.tables->table[t];
            int32_t slab[2] = {0};
            int64_t local[2] = {0};
            count = p->rows[t] - row;
            qemb__tables_locate((*full)->shape.tables, t, row, &count, &slab[0], &local[0]);
            qemb__tables_locate(p->shape.tables, t, row, &count, &slab[1], &local[1]);
            qemb_buffer *source = (*full)->shape.tables->slab[slab[0]].weight;
            qemb_buffer *target = p->shape.tables->slab[slab[1]].weight;
            TRY(ctx->ops->buffer_copy(target, (size_t)(to->base + local[1] * to->row_bytes), source,
                                      (size_t)(from->base + local[0] * from->row_bytes), (size_t)(count * to->row_bytes)));
            if (to->layout == Q_PLANAR) {
                int64_t plane = 0;
                TRY(qemb_packed_row_bytes(&p->format[t], to->dim, NULL, &plane));
                TRY(ctx->ops->buffer_copy(target, (size_t)(to->state_base + local[1] * plane), source,
                                          (size_t)(from->state_base + local[0] * plane), (size_t)(count * plane)));
            }
        }
    }
    qemb_packed_destroy(*full);
    *full = p;
    p = NULL;
done:
    qemb_packed_destroy(p);
    return st;
}

/* features of a module in input order, for a plan: table of feature f. */
static qemb_status features_of(const qemb__tables *s, void **out) {
    qemb_status st = qemb__calloc(s->num_features, sizeof(int32_t), out);
    for (int32_t k = 0; st == QEMB_OK && k < s->num_features; k++) {
        ((int32_t *)*out)[s->feature[k].index] = s->feature[k].table;
    }
    return st;
}

qemb_status qemb_packed_create(qemb_embedding_bag *bag, const qemb_packed_desc *desc, qemb_packed **out) {
    const qemb_packed_desc as_trained = {.method = QEMB_PACK_OBSERVER};
    const qemb_packed_desc *d = desc ? desc : &as_trained;
    qemb_packed *p = NULL;
    void *block = NULL;
    void *features = NULL;
    if (!bag || !out) {
        return qemb__fail(QEMB_ERR_ARG, "packed_create: %s is NULL", bag ? "packed" : "bag");
    }
    qemb_status st = qemb__enter(bag->ctx, "packed_create");
    if (st != QEMB_OK) {
        return st;
    }
    const qemb__tables *s = bag->tables;
    TRY(qemb__calloc(s->num_tables, sizeof(qemb_packed_table), &block));
    TRY(features_of(s, &features));
    qemb_packed_table *tables = block;
    /* everything that can be refused is refused before memory is taken */
    TRY(describe(bag, d, !desc, tables));
    TRY(check_create(bag, d, tables));
    TRY(qemb__tables_flush(bag->tables));
    qemb__packed_plan plan = {tables, s->num_tables, features, s->num_features, bag->options, bag->pooled, NULL, 0};
    for (int32_t t = 0; t < s->num_tables; t++) { /* all rows first: maps choose among them */
        tables[t].row_map = NULL;
        tables[t].num_rows = tables[t].num_embeddings;
    }
    TRY(qemb__packed_plan_create(bag->ctx, &plan, "packed_create", &p));
    for (int32_t t = 0; t < s->num_tables; t++) {
        TRY(pack_table(bag, d, t, p));
    }
    if (d->row_map) {
        TRY(describe(bag, d, !desc, tables));
        TRY(prune(bag->ctx, &plan, &p));
    }
    *out = p;
    p = NULL;
done:
    qemb_packed_destroy(p);
    qemb__free(features);
    qemb__free(block);
    qemb__leave(bag->ctx);
    return st;
}

/* ---- convert, unpack ---------------------------------------------------------------------------------------------------- */

static qemb_status convert_table(qemb_packed *source, qemb_packed *target, int32_t t, bool as_peer) {
    qemb_status st = QEMB_OK;
    qemb_buffer *status = NULL;
    qemb_buffer *values = NULL;
    TRY(qemb__packed_new_status(source->ctx, &status));
    TRY(qemb__buffer_create(source->ctx, (size_t)source->shape.tables->table[t].dim * sizeof(float), &values));
    for (int64_t first = 0; first < source->rows[t]; first += PACK_ROWS) {
        qemb__row_unpack_args args = {.source = source->shape.tables,
                                      .target = target->shape.tables,
                                      .table = t,
                                      .first = first,
                                      .count = qemb__min_i64(PACK_ROWS, source->rows[t] - first),
                                      .values = values,
                                      .status = status,
                                      .as_peer = as_peer};
        TRY(source->ctx->ops->row_convert(source->ctx, &args));
        TRY(qemb__packed_read_status(target, status, t, first, "packed_convert"));
    }
done:
    qemb__buffer_destroy(values);
    qemb__buffer_destroy(status);
    return st;
}

qemb_status qemb_packed_convert(qemb_packed *source, const qemb_packed_format *format, uint32_t flags, qemb_packed **out) {
    qemb_packed *p = NULL;
    void *block = NULL;
    void *features = NULL;
    if (!source || !format || !out) {
        return qemb__fail(QEMB_ERR_ARG, "packed_convert: %s is NULL", !source ? "source" : !format ? "format" : "packed");
    }
    qemb_status st = qemb__enter(source->ctx, "packed_convert");
    if (st != QEMB_OK) {
        return st;
    }
    const qemb__tables *s = source->shape.tables;
    REQUIRE((flags & ~QEMB_PACK_AS_PEER) == 0, QEMB_ERR_ARG, "packed_convert: flags=%#x, want 0 or QEMB_PACK_AS_PEER", flags);
    TRY(qemb__calloc(s->num_tables, sizeof(qemb_packed_table), &block));
    TRY(features_of(s, &features));
    qemb_packed_table *tables = block;
    for (int32_t t = 0; t < s->num_tables; t++) {
        TRY(qemb_packed_get_table(source, t, &tables[t]));
        tables[t].format = *format;
        tables[t].format.bits = format->bits ? format->bits : source->format[t].bits;
    }
    const qemb__packed_plan plan = {tables, s->num_tables, features, s->num_features, source->shape.options, source->shape.pooled, NULL, 0};
    TRY(qemb__packed_plan_create(source->ctx, &plan, "packed_convert", &p));
    for (int32_t t = 0; t < s->num_tables; t++) {
        TRY(convert_table(source, p, t, (flags & QEMB_PACK_AS_PEER) != 0));
    }
    *out = p;
    p = NULL;
done:
    qemb_packed_destroy(p);
    qemb__free(features);
    qemb__free(block);
    qemb__leave(source->ctx);
    return st;
}

qemb_status qemb_packed_unpack(qemb_packed *p, int32_t table, int64_t first, int64_t count, float *target) {
    qemb_buffer *values = NULL;
    qemb_status st = qemb__packed_check_rows(p, table, first, count, "packed_unpack");
    if (st != QEMB_OK || (st = qemb__enter(p->ctx, "packed_unpack")) != QEMB_OK) {
        return st;
    }
    const int64_t dim = p->shape.tables->table[table].dim;
    const int64_t floats = qemb__min_i64(UNPACK_FLOATS, p->ctx->report.max_allocation_bytes / (int64_t)sizeof(float));
    const int64_t chunk = qemb__min_i64(count, qemb__max_i64(1, floats / dim));
    REQUIRE(target || !count, QEMB_ERR_ARG, "packed_unpack: values is NULL");
    TRY(qemb__buffer_create(p->ctx, (size_t)(qemb__max_i64(chunk, 1) * dim) * sizeof(float), &values));
    for (int64_t done = 0; done < count; done += chunk) {
        qemb__row_unpack_args args = {.source = p->shape.tables,
                                      .table = table,
                                      .first = first + done,
                                      .count = qemb__min_i64(chunk, count - done),
                                      .values = values};
        TRY(p->ctx->ops->row_unpack(p->ctx, &args));
        TRY(qemb__buffer_read(values, 0, (size_t)(args.count * dim) * sizeof(float), target + done * dim, true));
    }
done:
    qemb__buffer_destroy(values);
    qemb__leave(p->ctx);
    return st;
}
