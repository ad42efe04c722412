/* packed.c - packed tables as objects: made from a plan or from bytes, described, read, and what batches are set against.
 *
 * Both ways in go through one plan (qemb__packed_plan_create): what tables there are, in which format, over whose memory. Bytes from
 * outside are hostile until checked: sizes and formats always, because a kernel computes addresses from them, values unless the flags say
 * otherwise, because a wrong one gives a wrong number and nothing worse. */
#include "core/packed.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "kernels_cl/shared/math.h"
#include "kernels_cl/shared/row_layout.h"

/* Keeps the plan's maps on the host and brings them to the device one behind the other. */
static qemb_status take_maps(qemb_packed *p, const qemb__packed_plan *plan) {
    qemb_status st = QEMB_OK;
    int64_t entries = 0;
    for (int32_t t = 0; t < plan->num_tables; t++) {
        entries += plan->tables[t].row_map ? plan->tables[t].num_embeddings : 0;
    }
    if (entries) {
        TRY(qemb__buffer_create(p->ctx, (size_t)entries * sizeof(int32_t), &p->maps));
    }
    for (int32_t t = 0; t < plan->num_tables; t++) {
        const qemb_packed_table *d = &plan->tables[t];
        if (d->row_map) {
            const size_t bytes = (size_t)d->num_embeddings * sizeof(int32_t);
            TRY(qemb__calloc(d->num_embeddings, sizeof(int32_t), (void **)&p->map[t]));
            memcpy(p->map[t], d->row_map, bytes);
            TRY(qemb__buffer_write(p->maps, (size_t)Q_MAP_AT(&p->shape.tables->table[t]) * sizeof(int32_t), bytes, d->row_map, true));
        }
    }
done:
    return st;
}

qemb_status qemb__packed_plan_create(qemb_context *ctx, const qemb__packed_plan *plan, const char *call, qemb_packed **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    qemb_packed *p = NULL;
    REQUIRE(plan->tables, QEMB_ERR_ARG, "%s: tables is NULL", call);
    REQUIRE(plan->num_tables > 0, QEMB_ERR_SHAPE, "%s: num_tables=%d, want > 0", call, plan->num_tables);
    REQUIRE(plan->feature_table ? plan->num_features > 0 : plan->num_features == 0 || plan->num_features == plan->num_tables,
            QEMB_ERR_SHAPE, "%s: num_features=%d, want > 0 with feature_table, 0 without", call, plan->num_features);
    REQUIRE((unsigned)plan->options.mode <= QEMB_MODE_MAX, QEMB_ERR_ARG, "%s: mode=%d, want sum, mean or max", call,
            (int)plan->options.mode);
    for (int32_t f = 0; plan->feature_table && f < plan->num_features; f++) {
        REQUIRE(plan->feature_table[f] >= 0 && plan->feature_table[f] < plan->num_tables, QEMB_ERR_INDEX,
                "%s: feature_table[%d]=%d, want 0..%d", call, f, plan->feature_table[f], plan->num_tables - 1);
    }
    TRY(qemb__calloc(1, sizeof *p, &block));
    p = block;
    p->ctx = ctx;
    p->shape.ctx = ctx;
    p->shape.serial = qemb__serial(ctx);
    p->shape.options = plan->options;
    p->shape.pooled = plan->pooled;
    TRY(qemb__packed_tables_create(ctx, plan, call, &p->shape.tables));
    TRY(qemb__calloc(plan->num_tables, sizeof *p->format, (void **)&p->format));
    TRY(qemb__calloc(plan->num_tables, sizeof *p->rows, (void **)&p->rows));
    TRY(qemb__calloc(plan->num_tables, sizeof *p->map, (void **)&p->map));
    for (int32_t t = 0; t < plan->num_tables; t++) {
        const qemb_packed_table *d = &plan->tables[t];
        p->format[t] = d->format;
        p->rows[t] = d->num_rows || d->row_map ? d->num_rows : d->num_embeddings;
    }
    TRY(take_maps(p, plan));
    TRY(ctx->ops->packed_prepare(ctx, p->shape.tables, p->maps != NULL));
    *out = p;
    p = NULL;
done:
    qemb_packed_destroy(p);
    return st;
}

void qemb_packed_destroy(qemb_packed *p) {
    if (!p) {
        return;
    }
    for (int32_t t = 0; p->map && t < p->shape.tables->num_tables; t++) {
        qemb__free(p->map[t]);
    }
    if (p->borrowed) { /* the caller may unmap the memory as soon as it is released */
        (void)p->ctx->ops->finish(p->ctx);
    }
    qemb__buffer_destroy(p->maps);
    qemb__tables_destroy(p->shape.tables);
    if (p->release) {
        p->release(p->user);
    }
    qemb__free(p->map);
    qemb__free(p->rows);
    qemb__free(p->format);
    qemb__free(p);
}

qemb_status qemb__packed_check_rows(const qemb_packed *p, int32_t table, int64_t first, int64_t count, const char *call) {
    qemb_status st = QEMB_OK;
    REQUIRE(p, QEMB_ERR_ARG, "%s: packed is NULL", call);
    REQUIRE(table >= 0 && table < p->shape.tables->num_tables, QEMB_ERR_INDEX, "%s: table=%d, want 0..%d", call, table,
            p->shape.tables->num_tables - 1);
    const int64_t rows = p->rows[table];
    REQUIRE(first >= 0 && count >= 0 && first <= rows && count <= rows - first, QEMB_ERR_INDEX,
            "%s: rows %lld to %lld + %lld, want inside 0..%lld", call, (long long)first, (long long)first, (long long)count,
            (long long)rows);
done:
    return st;
}

/* One run of bytes between host and slab. */
static qemb_status move_run(qemb_buffer *slab, size_t at, size_t bytes, const char *source, char *target) {
    return source ? qemb__buffer_write(slab, at, bytes, source, true) : qemb__buffer_read(slab, at, bytes, target, true);
}

qemb_status qemb__packed_move(qemb_packed *p, int32_t table, int64_t first, int64_t rows, const qemb__packed_bytes *b) {
    const qemb__tables *s = p->shape.tables;
    const q_table *t = &s->table[table];
    const int64_t row_bytes = t->row_bytes;
    const int64_t plane = q_qparams_bytes(t->layout, t->bits, t->qparams);
    for (int64_t done = 0, count = 0; done < rows; done += count) {
        int32_t slab = 0;
        int64_t local = 0;
        count = rows - done;
        qemb__tables_locate(s, table, first + done, &count, &slab, &local);
        qemb_buffer *w = s->slab[slab].weight;
        const char *from = b->source ? (const char *)b->source + done * row_bytes : NULL;
        char *to = b->target ? (char *)b->target + done * row_bytes : NULL;
        qemb_status st = from || to ? move_run(w, (size_t)(t->base + local * row_bytes), (size_t)(count * row_bytes), from, to) : QEMB_OK;
        from = b->source_qparams ? (const char *)b->source_qparams + done * plane : NULL;
        to = b->target_qparams ? (char *)b->target_qparams + done * plane : NULL;
        if (st == QEMB_OK && (from || to)) {
            st = move_run(w, (size_t)q_qparams_of(t, local), (size_t)(count * plane), from, to);
        }
        if (st != QEMB_OK) {
            return st;
        }
    }
    return QEMB_OK;
}

/* Scale and bias at `p` are numbers that a packer makes. */
static bool usable(const q_table *t, const q_u8 *p) {
    const q_i32 number = q_number(t->layout, t->bits, t->qparams);
    const float scale = q_load_number(p, number);
    return isfinite(scale) && scale >= 0.0f &&
           (t->qparams & Q_SYMMETRIC || isfinite(q_load_number(p + (number == Q_NUMBER_FP32 ? 4 : 2), number)));
}

/* Bits behind the last code, and bytes up to the row's alignment, are zero. */
static bool is_clean(const q_table *t, const q_u8 *row) {
    const q_i32 used = (q_i32)((q_i64)t->dim * t->bits % 8);
    const q_i32 end = q_codes_at(t->layout) + q_code_bytes(t->dim, t->bits);
    bool clean = used == 0 || row[end - 1] >> used == 0;
    for (q_i32 k = end; t->layout == Q_FBGEMM && k < t->row_bytes; k++) {
        clean = clean && row[k] == 0;
    }
    return clean;
}

static qemb_status check_rows(const q_table *t, int64_t rows, const qemb_packed_table *d, const char *name) {
    qemb_status st = QEMB_OK;
    const bool planar = t->layout == Q_PLANAR;
    const int64_t plane = q_qparams_bytes(t->layout, t->bits, t->qparams);
    const q_u8 *row = d->rows;
    const q_u8 *at = planar ? d->qparams : row + qemb__packed_qparams_base(t, 0);
    for (int64_t r = 0; r < rows; r++, row += t->row_bytes, at += planar ? plane : t->row_bytes) {
        REQUIRE(usable(t, at), QEMB_ERR_CORRUPT,
                "packed_import: table %s, row %lld: scale or bias is infinite or NaN, or the scale negative", name, (long long)r);
        REQUIRE(is_clean(t, row), QEMB_ERR_CORRUPT, "packed_import: table %s, row %lld: spare bits are not zero", name, (long long)r);
    }
done:
    return st;
}

/* Sizes are exactly those of the rows; every row is one that a packer makes, unless the flags say otherwise. */
static qemb_status check_bytes(const qemb_packed *p, int32_t table, const qemb_packed_table *d, uint32_t flags) {
    qemb_status st = QEMB_OK;
    const q_table *t = &p->shape.tables->table[table];
    const char *name = p->shape.tables->name[table];
    const int64_t rows = p->rows[table];
    const bool planar = t->layout == Q_PLANAR;
    const int64_t plane = q_qparams_bytes(t->layout, t->bits, t->qparams);
    REQUIRE(d->rows || rows == 0, QEMB_ERR_ARG, "packed_import: table %s: rows is NULL", name);
    REQUIRE(d->rows_bytes == rows * t->row_bytes, QEMB_ERR_CORRUPT,
            "packed_import: table %s: rows_bytes=%lld, want %lld (%lld rows of %d bytes)", name, (long long)d->rows_bytes,
            (long long)(rows * t->row_bytes), (long long)rows, t->row_bytes);
    REQUIRE(!planar || d->qparams || rows == 0, QEMB_ERR_ARG,
            "packed_import: table %s: qparams is NULL, a planar table has a plane of them", name);
    REQUIRE(d->qparams_bytes == (planar ? rows * plane : 0), QEMB_ERR_CORRUPT, "packed_import: table %s: qparams_bytes=%lld, want %lld",
            name, (long long)d->qparams_bytes, (long long)(planar ? rows * plane : 0));
    TRY(flags ? QEMB_OK : check_rows(t, rows, d, name));
done:
    return st;
}

qemb_status qemb_packed_import(qemb_context *ctx, const qemb_packed_import_desc *d, qemb_packed **out) {
    qemb_packed *p = NULL;
    if (!d || !out) {
        return qemb__fail(QEMB_ERR_ARG, "packed_import: %s is NULL", d ? "packed" : "desc");
    }
    qemb_status st = qemb__enter(ctx, "packed_import");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE((d->flags & ~(QEMB_PACK_AS_PEER | QEMB_PACK_UNCHECKED)) == 0, QEMB_ERR_ARG,
            "packed_import: flags=%#x, want those of qemb_packed_import_desc", d->flags);
    qemb__packed_plan plan = {d->tables,  d->num_tables, d->feature_table, d->num_features,
                              d->options, !d->unpooled,  d->memory,        d->memory_bytes};
    if (!qemb__packed_can_borrow(ctx, &plan)) {
        plan.memory = NULL; /* copied instead, and released before the return */
    }
    TRY(qemb__packed_plan_create(ctx, &plan, "packed_import", &p));
    for (int32_t t = 0; t < d->num_tables; t++) {
        TRY(check_bytes(p, t, &d->tables[t], d->flags));
    }
    for (int32_t t = 0; t < d->num_tables && !plan.memory; t++) {
        const qemb__packed_bytes bytes = {.source = d->tables[t].rows, .source_qparams = d->tables[t].qparams};
        TRY(qemb__packed_move(p, t, 0, p->rows[t], &bytes));
    }
    p->borrowed = plan.memory != NULL;
    if (p->borrowed) {
        p->release = d->release;
        p->user = d->user;
    } else if (d->release) {
        d->release(d->user);
    }
    *out = p;
    p = NULL;
done:
    qemb_packed_destroy(p);
    qemb__leave(ctx);
    return st;
}

qemb_status qemb_packed_get_info(const qemb_packed *p, qemb_packed_info *info) {
    if (!p || !info) {
        return qemb__fail(QEMB_ERR_ARG, "packed_get_info: %s is NULL", p ? "info" : "packed");
    }
    const qemb__tables *s = p->shape.tables;
    *info = (qemb_packed_info){.num_tables = s->num_tables,
                               .num_features = s->num_features,
                               .output_dim = s->output_dim,
                               .options = p->shape.options,
                               .pooled = p->shape.pooled,
                               .bytes = p->maps ? (int64_t)p->maps->bytes : 0};
    for (int32_t t = 0; t < s->num_tables; t++) {
        const q_table *table = &s->table[t];
        const int64_t plane = table->layout == Q_PLANAR ? q_qparams_bytes(table->layout, table->bits, table->qparams) : 0;
        info->bytes += p->rows[t] * (table->row_bytes + plane);
    }
    return QEMB_OK;
}

qemb_status qemb_packed_get_table(const qemb_packed *p, int32_t table, qemb_packed_table *d) {
    qemb_status st = qemb__packed_check_rows(p, table, 0, 0, "packed_get_table");
    if (st != QEMB_OK || !d) {
        return st != QEMB_OK ? st : qemb__fail(QEMB_ERR_ARG, "packed_get_table: description is NULL");
    }
    const q_table *t = &p->shape.tables->table[table];
    const int64_t plane = t->layout == Q_PLANAR ? q_qparams_bytes(t->layout, t->bits, t->qparams) : 0;
    *d = (qemb_packed_table){.name = p->shape.tables->name[table],
                             .num_embeddings = t->rows,
                             .embedding_dim = t->dim,
                             .num_rows = p->rows[table],
                             .format = p->format[table],
                             .has_padding_idx = t->padding_idx >= 0,
                             .padding_idx = t->padding_idx >= 0 ? t->padding_idx : 0,
                             .has_max_norm = (t->flags & Q_HAS_NORM) != 0,
                             .max_norm = t->max_norm,
                             .norm_type = t->norm_type,
                             .rows_bytes = p->rows[table] * t->row_bytes,
                             .qparams_bytes = p->rows[table] * plane,
                             .row_map = p->map[table]};
    return QEMB_OK;
}

int32_t qemb_packed_feature_table(const qemb_packed *p, int32_t feature) {
    return p ? qemb__tables_feature(p->shape.tables, feature) : -1;
}

qemb_status qemb_packed_read_rows(qemb_packed *p, int32_t table, int64_t first, int64_t count, void *rows, void *qparams) {
    qemb_status st = qemb__packed_check_rows(p, table, first, count, "packed_read_rows");
    if (st != QEMB_OK || (st = qemb__enter(p->ctx, "packed_read_rows")) != QEMB_OK) {
        return st;
    }
    REQUIRE(!qparams || p->format[table].layout == QEMB_LAYOUT_PLANAR, QEMB_ERR_ARG,
            "packed_read_rows: qparams given, only planar tables have them apart");
    REQUIRE(rows || qparams || !count, QEMB_ERR_ARG, "packed_read_rows: rows is NULL for %lld rows", (long long)count);
    const qemb__packed_bytes bytes = {.target = rows, .target_qparams = qparams};
    TRY(qemb__packed_move(p, table, first, count, &bytes));
done:
    qemb__leave(p->ctx);
    return st;
}

qemb_status qemb_packed_batch_set(const qemb_packed *p, qemb_batch *batch, const qemb_input *input) {
    return qemb_batch_set(batch, p ? &p->shape : NULL, input);
}

qemb_status qemb_packed_batch_set_device(const qemb_packed *p, qemb_batch *batch, const qemb_device_input *input) {
    return qemb_batch_set_device(batch, p ? &p->shape : NULL, input);
}
