/* packed_tables.c - describes packed tables and lays their bytes out in slabs. */
#include "base/checked.h"
#include "base/memory.h"
#include "core/packed.h"
#include "kernels_cl/shared/math.h"
#include "kernels_cl/shared/row_layout.h"

#include <stdio.h>

/* SLACK: what kernels read past a row, and the alignment of the plane of qparams. */
enum { OVERRUN = QEMB__PACKED_OVERRUN, ONE_SLAB_SHIFT = 62, LINE_BYTES = 128, PLANE_ALIGNMENT = 64, SLACK = OVERRUN + PLANE_ALIGNMENT };

qemb_status qemb__packed_check_format(const qemb_packed_format *f, const char *call) {
    qemb_status st = QEMB_OK;
    REQUIRE(f->bits == 8 || f->bits == 4 || f->bits == 2, QEMB_ERR_ARG, "%s: bits=%d, want 8, 4 or 2", call, f->bits);
    TRY(qemb__check_layout(f->layout, f->qparams, f->symmetric, call));
    REQUIRE(f->row_alignment == 0 || f->row_alignment == 1 || (f->row_alignment == 16 && f->layout == QEMB_LAYOUT_FBGEMM), QEMB_ERR_ARG,
            "%s: row_alignment=%d, want 0 or 1, or 16 with the fbgemm layout", call, f->row_alignment);
done:
    return st;
}

static q_i32 qparams_word(const qemb_packed_format *f) {
    return qemb__qparams_word(f->layout, f->qparams, f->symmetric);
}

static int64_t row_bytes_of(const qemb_packed_format *f, int64_t dim) {
    const int64_t codes = q_code_bytes((q_i32)dim, f->bits);
    const int64_t bytes = codes + (f->layout == QEMB_LAYOUT_PLANAR ? 0 : q_qparams_bytes((q_i32)f->layout, f->bits, qparams_word(f)));
    return f->row_alignment > 1 ? qemb__round_up(bytes, f->row_alignment) : bytes;
}

qemb_status qemb_packed_row_bytes(const qemb_packed_format *f, int64_t dim, int64_t *row_bytes, int64_t *qparams_bytes) {
    qemb_status st = QEMB_OK;
    REQUIRE(f, QEMB_ERR_ARG, "packed_row_bytes: format is NULL");
    TRY(qemb__packed_check_format(f, "packed_row_bytes"));
    REQUIRE(dim > 0 && dim <= 1 << 20, QEMB_ERR_SHAPE, "packed_row_bytes: embedding_dim=%lld, want 1..2^20", (long long)dim);
    if (row_bytes) {
        *row_bytes = row_bytes_of(f, dim);
    }
    if (qparams_bytes) {
        *qparams_bytes = q_qparams_bytes((q_i32)f->layout, f->bits, qparams_word(f));
    }
done:
    return st;
}

static qemb_status check_table(const qemb_packed_table *p, int64_t num_rows, const char *call) {
    qemb_status st = QEMB_OK;
    int64_t bytes = 0;
    TRY(qemb__packed_check_format(&p->format, call));
    const qemb__table_words words = {p->num_embeddings, p->embedding_dim, p->padding_idx, p->has_padding_idx,
                                     p->has_max_norm,   p->max_norm,      p->norm_type};
    TRY(qemb__check_table_words(&words, call));
    REQUIRE(num_rows >= 0 && (p->row_map || num_rows == p->num_embeddings), QEMB_ERR_SHAPE,
            "%s: num_rows=%lld, want num_embeddings=%lld without row_map", call, (long long)num_rows, (long long)p->num_embeddings);
    REQUIRE(qemb__mul_i64(num_rows, row_bytes_of(&p->format, p->embedding_dim) + 8, &bytes) && bytes <= INT64_MAX / 16, QEMB_ERR_OVERFLOW,
            "%s: %lld rows of %lld do not fit in 63 bits of bytes", call, (long long)num_rows, (long long)p->embedding_dim);
    for (int64_t i = 0; p->row_map && i < p->num_embeddings; i++) {
        REQUIRE(p->row_map[i] >= -1 && p->row_map[i] < num_rows, QEMB_ERR_INDEX, "%s: row_map[%lld]=%d, want -1..%lld", call, (long long)i,
                p->row_map[i], (long long)num_rows - 1);
    }
done:
    return st;
}

/* `observed` holds where the row map starts, -1 for none (Q_MAP_AT): packed tables observe nothing. */
static void describe(const qemb_packed_table *p, q_table *t) {
    *t = (q_table){.rows = p->num_embeddings,
                   .dim = (q_i32)p->embedding_dim,
                   .padding_idx = -1,
                   .row_shift = ONE_SLAB_SHIFT,
                   .observed = -1,
                   .arithmetic = Q_PACKED,
                   .layout = (q_i32)p->format.layout,
                   .bits = p->format.bits,
                   .qparams = qparams_word(&p->format),
                   .row_bytes = (q_i32)row_bytes_of(&p->format, p->embedding_dim)};
    if (p->has_padding_idx) {
        t->padding_idx = p->padding_idx < 0 ? p->num_embeddings + p->padding_idx : p->padding_idx;
    }
    t->flags = p->has_max_norm ? Q_HAS_NORM : 0;
    t->max_norm = p->max_norm;
    t->norm_type = p->norm_type == 0.0f ? 2.0f : p->norm_type;
    t->qmax = (float)((1 << t->bits) - 1);
}

int64_t qemb__packed_qparams_base(const q_table *t, int64_t base) {
    return q_codes_at(t->layout) ? base : base + q_code_bytes(t->dim, t->bits);
}

/* Where a table's qparams begin when its rows begin at `base` and `rows` of them lie together. */
static int64_t qparams_base(const q_table *t, int64_t base, int64_t rows) {
    if (t->layout == Q_PLANAR) {
        return base + qemb__round_up(rows * t->row_bytes, PLANE_ALIGNMENT);
    }
    return qemb__packed_qparams_base(t, base);
}

/* Gives `rows` packed rows of table t their place: several slabs of their own, or the end of the slab filled last (*open, or -1). */
static qemb_status place(qemb__tables *s, int32_t t, int64_t rows, int32_t *open, int32_t *group_of) {
    q_table *table = &s->table[t];
    const int64_t limit = s->ctx->report.max_allocation_bytes;
    const int64_t plane = table->layout == Q_PLANAR ? q_qparams_bytes(table->layout, table->bits, table->qparams) : 0;
    const int64_t bytes = rows * (table->row_bytes + plane) + SLACK;
    if (bytes > limit) { /* as float tables: a power of two of rows a slab, with the qparams of the same rows */
        int32_t shift = 0;
        while (((int64_t)2 << shift) * (table->row_bytes + plane) + SLACK <= limit) {
            shift++;
        }
        const int64_t slabs = qemb__ceil_div(rows, (int64_t)1 << shift);
        if (slabs > QEMB__GROUP_SLABS) {
            return qemb__fail(QEMB_ERR_UNSUPPORTED,
                              "table %s: %lld packed rows need %lld allocations of the device's largest size, want at most %d", s->name[t],
                              (long long)rows, (long long)slabs, QEMB__GROUP_SLABS);
        }
        table->row_shift = shift;
        table->state_base = qparams_base(table, 0, (int64_t)1 << shift);
        for (int64_t k = 0; k < slabs; k++) {
            const int32_t n = qemb__tables_new_slab(s, k ? 1 : (int32_t)slabs);
            const int64_t here = qemb__min_i64((int64_t)1 << shift, rows - (k << shift));
            s->slab[n] = (qemb__slab){
                .rows = here, .elements = (plane ? table->state_base + here * plane : here * table->row_bytes) + OVERRUN, .owned = true};
            s->slab_of[t] = k ? s->slab_of[t] : n;
        }
    } else {
        int32_t n = *open;
        if (n < 0 || s->slab[n].elements + bytes > limit) {
            n = qemb__tables_new_slab(s, 1);
            s->slab[n] = (qemb__slab){.owned = true};
            *open = n;
        }
        table->base = s->slab[n].elements;
        table->state_base = qparams_base(table, table->base, rows);
        s->slab[n].elements = qemb__min_i64(qemb__round_up(table->base + bytes, LINE_BYTES), limit);
        s->slab[n].rows += rows;
        s->slab_of[t] = n;
    }
    group_of[t] = qemb__tables_group_of(s, s->slab_of[t]);
    table->group = group_of[t];
    table->slab = s->slab_of[t] - s->group[group_of[t]].first_slab;
    return QEMB_OK;
}

qemb_status qemb__packed_tables_create(qemb_context *ctx, const qemb__packed_plan *plan, const char *call, qemb__tables **out) {
    qemb_status st = QEMB_OK;
    qemb__tables *s = NULL;
    void *group_of = NULL;
    int32_t open = -1;
    int64_t map_at = 0;
    TRY(qemb__tables_allocate(ctx, plan->num_tables, plan->feature_table ? plan->num_features : plan->num_tables, &s));
    TRY(qemb__calloc(s->num_tables, sizeof(int32_t), &group_of));
    s->mode = plan->pooled ? (int32_t)plan->options.mode : Q_MODE_NONE;
    s->uses = QEMB__USES_PACKED;
    for (int32_t t = 0; t < s->num_tables; t++) {
        const qemb_packed_table *p = &plan->tables[t];
        const int64_t rows = p->num_rows || p->row_map ? p->num_rows : p->num_embeddings;
        char fallback[32];
        (void)snprintf(fallback, sizeof fallback, "table%d", t);
        TRY(qemb__strdup(p->name ? p->name : fallback, &s->name[t]));
        TRY(check_table(p, rows, call));
        describe(p, &s->table[t]);
        s->table[t].row0 = s->total_rows;
        if (p->row_map) {
            Q_MAP_AT(&s->table[t]) = map_at;
            map_at += p->num_embeddings;
        }
        s->uses |= s->table[t].flags & Q_HAS_NORM ? QEMB__USES_NORM : 0;
        REQUIRE(qemb__add_i64(s->total_rows, p->num_embeddings, &s->total_rows), QEMB_ERR_OVERFLOW,
                "%s: the rows of all tables do not fit in 63 bits", call);
        s->max_dim = s->table[t].dim > s->max_dim ? s->table[t].dim : s->max_dim;
        TRY(plan->memory ? QEMB_OK : place(s, t, rows, &open, group_of));
    }
    TRY(plan->memory ? qemb__packed_borrow(s, plan, group_of) : QEMB_OK);
    qemb__tables_order_features(s, plan->feature_table, group_of);
    for (int32_t n = 0; n < s->num_slabs && !plan->memory; n++) {
        TRY(qemb__buffer_create(ctx, (size_t)s->slab[n].elements, &s->slab[n].weight));
    }
    TRY(qemb__tables_upload(s));
    *out = s;
    s = NULL;
done:
    qemb__free(group_of);
    qemb__tables_destroy(s);
    return st;
}
