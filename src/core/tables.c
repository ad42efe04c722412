/* tables.c - lays tables out in slabs and fills them.
 *
 * In three steps: every table is described and given a place, then memory is taken for the slabs, then rows are written and descriptors
 * sent. Small tables share a slab, one behind the other; a table beyond one allocation has slabs of its own, a power of two of rows in
 * each, so that a kernel finds a row by a shift and a mask. */
#include "core/tables.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/rng.h"
#include "core/ops.h"
#include "kernels_cl/shared/math.h"
#include "kernels_cl/shared/row_layout.h"

qemb_status qemb__check_table_words(const qemb__table_words *w, const char *call) {
    qemb_status st = QEMB_OK;
    REQUIRE(w->num_embeddings > 0, QEMB_ERR_SHAPE, "%s: num_embeddings=%lld, want > 0", call, (long long)w->num_embeddings);
    REQUIRE(w->embedding_dim > 0 && w->embedding_dim <= 1 << 20, QEMB_ERR_SHAPE, "%s: embedding_dim=%lld, want 1..2^20", call,
            (long long)w->embedding_dim);
    REQUIRE(w->has_padding_idx || w->padding_idx == 0, QEMB_ERR_ARG, "%s: padding_idx=%lld without has_padding_idx", call,
            (long long)w->padding_idx);
    REQUIRE(!w->has_padding_idx || (w->padding_idx >= -w->num_embeddings && w->padding_idx < w->num_embeddings), QEMB_ERR_RANGE,
            "%s: padding_idx=%lld, want %lld..%lld", call, (long long)w->padding_idx, -(long long)w->num_embeddings,
            (long long)w->num_embeddings - 1);
    REQUIRE(w->has_max_norm || w->max_norm == 0.0f, QEMB_ERR_ARG, "%s: max_norm=%g without has_max_norm", call, (double)w->max_norm);
    REQUIRE(!w->has_max_norm || (w->max_norm >= 0.0f && isfinite(w->max_norm)), QEMB_ERR_RANGE,
            "%s: max_norm=%g, want a finite number >= 0", call, (double)w->max_norm);
    REQUIRE(w->norm_type >= 0.0f && !signbit(w->norm_type), QEMB_ERR_RANGE, "%s: norm_type=%g, want > 0 (0 means 2)", call,
            (double)w->norm_type);
done:
    return st;
}

qemb_status qemb__check_layout(qemb_layout layout, qemb_qparams qparams, bool symmetric, const char *call) {
    qemb_status st = QEMB_OK;
    REQUIRE((unsigned)layout <= QEMB_LAYOUT_PLANAR, QEMB_ERR_ARG, "%s: layout=%d, want one of qemb_layout", call, (int)layout);
    REQUIRE((unsigned)qparams <= QEMB_QPARAMS_POW2, QEMB_ERR_ARG, "%s: qparams=%d, want one of qemb_qparams", call, (int)qparams);
    REQUIRE(layout == QEMB_LAYOUT_PLANAR || (qparams == QEMB_QPARAMS_FP32 && !symmetric), QEMB_ERR_ARG,
            "%s: qparams=%d, symmetric=%d belong to the planar layout, layout=%d", call, (int)qparams, symmetric, (int)layout);
done:
    return st;
}

/* A layout with but one form of qparams has it here. */
q_i32 qemb__qparams_word(qemb_layout layout, qemb_qparams qparams, bool symmetric) {
    return layout == QEMB_LAYOUT_PLANAR ? (q_i32)qparams | (symmetric ? Q_SYMMETRIC : 0) : 0;
}

_Static_assert(sizeof(q_table) == 128, "q_table is 128 bytes on both sides");
_Static_assert(sizeof(q_feature) == 16, "q_feature is 16 bytes on both sides");
_Static_assert(sizeof(q_state) == 16, "q_state is 16 bytes on both sides");

enum { ONE_SLAB_SHIFT = 62, LINE_FLOATS = 32 };

/* `observed` is relative to the count of forwards while the observer is on, and absolute while it is off: a switch converts one into the
 * other, and no forward has to count for each table. */
int64_t qemb__table_observations(const q_table *table, int64_t step) {
    return table->flags & Q_OBSERVER_ON ? step + table->observed : table->observed;
}

void qemb__tables_locate(const qemb__tables *tables, int32_t table, int64_t row, int64_t *count, int32_t *slab, int64_t *local) {
    const q_table *t = &tables->table[table];
    int64_t mask = ((int64_t)1 << t->row_shift) - 1;
    *slab = tables->slab_of[table] + (int32_t)(row >> t->row_shift);
    *local = row & mask;
    *count = qemb__min_i64(*count, mask + 1 - *local);
}

/* Bytes from the start of a slab's buffer: kernels count from the start of the memory, and a caller's buffer may begin inside it. */
size_t qemb__tables_at(const qemb__tables *s, int32_t table, int32_t slab, int64_t local) {
    const q_table *t = &s->table[table];
    return (size_t)(t->base + local * t->dim) * sizeof(float) - s->slab[slab].weight->offset;
}

int32_t qemb__tables_feature(const qemb__tables *s, int32_t index) {
    for (int32_t k = 0; k < s->num_features; k++) {
        if (s->feature[k].index == index) {
            return s->feature[k].table;
        }
    }
    return -1;
}

/* torch clips the weight itself before it looks up; under fake quantisation that weight is a temporary, so only the looked-up values
 * change. */
int32_t qemb__norm_flag(int32_t flags, bool fake_quant) {
    return !(flags & (Q_HAS_NORM | Q_CLIPS_WEIGHT)) ? 0 : fake_quant ? Q_HAS_NORM : Q_CLIPS_WEIGHT;
}

/* What a qconfig says of a table, and what the table's kernels must be able to do. */
static uint32_t describe_quantisation(const qemb_qconfig *q, q_table *t) {
    static const uint32_t arithmetic[] = {QEMB__USES_TORCH_CPU, QEMB__USES_TORCH_CUDA, QEMB__USES_PACKED};
    t->flags =
        (q->observer_off ? 0 : Q_OBSERVER_ON) | (q->fake_quant_off ? 0 : Q_FAKE_QUANT_ON) | qemb__norm_flag(t->flags, !q->fake_quant_off);
    t->observed = 0;
    t->qmin = (float)q->quant_min;
    t->qmax = (float)q->quant_max;
    t->range = t->qmax - t->qmin;
    t->inverse_range = 1.0f / t->range;
    t->eps = q->eps == 0.0f ? 0x1p-23f : q->eps;
    t->averaging = q->averaging_constant == 0.0f ? 1.0f : q->averaging_constant;
    t->observer = (q_i32)q->observer;
    t->arithmetic = (q_i32)q->arithmetic;
    t->layout = (q_i32)q->layout;
    t->qparams = qemb__qparams_word(q->layout, q->qparams, q->symmetric);
    int32_t codes = q->quant_max - q->quant_min;
    t->bits = codes <= 3 ? 2 : codes <= 15 ? 4 : 8;
    uint32_t uses = q->fake_quant_off ? QEMB__USES_FLOAT : arithmetic[q->arithmetic];
    uses |= !q->fake_quant_off && q->observer != QEMB_OBSERVER_MEMORYLESS ? QEMB__USES_STATE : 0;
    return uses | (t->flags & (Q_HAS_NORM | Q_CLIPS_WEIGHT) ? QEMB__USES_NORM : 0);
}

static uint32_t describe(const qemb_table_desc *d, q_table *t) {
    *t = (q_table){.rows = d->num_embeddings, .dim = (q_i32)d->embedding_dim, .padding_idx = -1, .row_shift = ONE_SLAB_SHIFT};
    if (d->has_padding_idx) {
        t->padding_idx = d->padding_idx < 0 ? d->num_embeddings + d->padding_idx : d->padding_idx;
    }
    t->flags = d->has_max_norm ? Q_HAS_NORM : 0;
    t->max_norm = d->max_norm;
    t->norm_type = d->norm_type == 0.0f ? 2.0f : d->norm_type;
    return describe_quantisation(&d->qconfig, t);
}

/* Whether a table needs stored state from the start. */
static bool keeps_state(const qemb_qconfig *q) {
    return q->observer != QEMB_OBSERVER_MEMORYLESS && !(q->observer_off && q->fake_quant_off);
}

/* Adds an empty slab and returns its number. A new group begins when the last one has no room for `together` slabs. */
int32_t qemb__tables_new_slab(qemb__tables *s, int32_t together) {
    qemb__group *g = s->num_groups ? &s->group[s->num_groups - 1] : NULL;
    if (!g || g->num_slabs + together > QEMB__GROUP_SLABS) {
        g = &s->group[s->num_groups++];
        *g = (qemb__group){.first_slab = s->num_slabs};
    }
    g->num_slabs++;
    return s->num_slabs++;
}

int32_t qemb__tables_group_of(const qemb__tables *s, int32_t slab) {
    int32_t g = 0;
    while (slab >= s->group[g].first_slab + s->group[g].num_slabs) {
        g++;
    }
    return g;
}

/* Gives table `t` its place: the caller's buffer, several slabs of its own, or the end of the slab filled last (*open, or -1). */
static qemb_status place(qemb__tables *s, int32_t t, const qemb_table_desc *d, int32_t *open, int32_t *group_of) {
    q_table *table = &s->table[t];
    const int64_t limit = s->ctx->report.max_allocation_bytes / (int64_t)sizeof(float);
    const int64_t state_limit = s->ctx->report.max_allocation_bytes / (int64_t)sizeof(q_state);
    const int64_t elements = table->rows * table->dim;
    if (d->weight_buffer) {
        int32_t n = qemb__tables_new_slab(s, 1);
        s->slab[n] = (qemb__slab){.weight = d->weight_buffer, .rows = table->rows, .elements = elements};
        s->slab_of[t] = n;
        table->base = (int64_t)(d->weight_buffer->offset / sizeof(float)); /* kernels see the memory, not the buffer's start */
    } else if (elements > limit || table->rows > state_limit) {
        /* too large for one allocation: the most rows a slab that are a power of two */
        int32_t shift = 0;
        while (((int64_t)2 << shift) * table->dim <= limit && ((int64_t)2 << shift) <= state_limit) {
            shift++;
        }
        int64_t slabs = qemb__ceil_div(table->rows, (int64_t)1 << shift);
        if (slabs > QEMB__GROUP_SLABS) {
            return qemb__fail(QEMB_ERR_UNSUPPORTED,
                              "table %s: %lld rows of %d need %lld allocations of the device's largest size, want at most %d", s->name[t],
                              (long long)table->rows, table->dim, (long long)slabs, QEMB__GROUP_SLABS);
        }
        for (int64_t k = 0; k < slabs; k++) {
            int32_t n = qemb__tables_new_slab(s, k ? 1 : (int32_t)slabs);
            int64_t rows = qemb__min_i64((int64_t)1 << shift, table->rows - (k << shift));
            s->slab[n] = (qemb__slab){.rows = rows, .elements = rows * table->dim, .owned = true};
            s->slab_of[t] = k ? s->slab_of[t] : n;
        }
        table->row_shift = shift;
    } else {
        /* behind the table before it, if both its rows and its state fit there too */
        int32_t n = *open;
        if (n < 0 || s->slab[n].elements + elements > limit || s->slab[n].rows + table->rows > state_limit) {
            n = qemb__tables_new_slab(s, 1);
            s->slab[n] = (qemb__slab){.owned = true};
            *open = n;
        }
        table->base = s->slab[n].elements;
        table->state_base = s->slab[n].rows;
        /* The next table starts on a cache line of its own. */
        s->slab[n].elements = qemb__min_i64(qemb__round_up(table->base + elements, LINE_FLOATS), limit);
        s->slab[n].rows += table->rows;
        s->slab_of[t] = n;
    }
    group_of[t] = qemb__tables_group_of(s, s->slab_of[t]);
    table->group = group_of[t];
    table->slab = s->slab_of[t] - s->group[group_of[t]].first_slab;
    return QEMB_OK;
}

/* Features in input order, then brought together by group (stable). */
void qemb__tables_order_features(qemb__tables *s, const int32_t *feature_table, const int32_t *group_of) {
    int32_t n = 0;
    for (int32_t g = 0; g < s->num_groups; g++) {
        int64_t column = 0;
        s->group[g].first_feature = n;
        for (int32_t f = 0; f < s->num_features; f++) {
            int32_t t = feature_table ? feature_table[f] : f;
            if (group_of[t] == g) {
                s->feature[n++] = (q_feature){.table = t, .index = f, .column = column};
            }
            column += s->table[t].dim;
        }
        s->group[g].num_features = n - s->group[g].first_feature;
        s->output_dim = column;
    }
}

static qemb_status fill_random(qemb__tables *s, int32_t t, uint64_t seed) {
    enum { CHUNK = 1 << 16 };
    qemb_status st = QEMB_OK;
    void *block = NULL;
    q_table *table = &s->table[t];
    /* values by number: chunks and slabs cannot be seen in them, and the same seed gives the same table everywhere */
    int64_t rows_at_once = qemb__max_i64(1, CHUNK / table->dim);
    TRY(qemb__calloc(rows_at_once * table->dim, sizeof(float), &block));
    float *values = block;
    for (int64_t row = 0; row < table->rows;) {
        int64_t count = qemb__min_i64(rows_at_once, table->rows - row);
        int32_t slab = 0;
        int64_t local = 0;
        qemb__tables_locate(s, t, row, &count, &slab, &local);
        qemb__normal_fill(seed, (uint64_t)row * (uint64_t)table->dim, values, count * table->dim);
        if (table->padding_idx >= row && table->padding_idx < row + count) {
            memset(values + (table->padding_idx - row) * table->dim, 0, (size_t)table->dim * sizeof(float));
        }
        size_t at = qemb__tables_at(s, t, slab, local);
        TRY(qemb__buffer_write(s->slab[slab].weight, at, (size_t)(count * table->dim) * sizeof(float), values, true));
        row += count;
    }
done:
    qemb__free(block);
    return st;
}

static qemb_status fill(qemb__tables *s, int32_t t, const qemb_table_desc *d) {
    const q_table *table = &s->table[t];
    if (d->weight_buffer) {
        return QEMB_OK;
    }
    if (!d->weight) {
        return fill_random(s, t, d->seed);
    }
    for (int64_t row = 0, count = 0; row < table->rows; row += count) {
        int32_t slab = 0;
        int64_t local = 0;
        count = table->rows - row;
        qemb__tables_locate(s, t, row, &count, &slab, &local);
        size_t at = qemb__tables_at(s, t, slab, local);
        size_t bytes = (size_t)(count * table->dim) * sizeof(float);
        qemb_status st = qemb__buffer_write(s->slab[slab].weight, at, bytes, d->weight + row * table->dim, true);
        if (st != QEMB_OK) {
            return st;
        }
    }
    return QEMB_OK;
}

/* State is taken by slab, for all tables that lie in it: a second table that needs some finds it there. Zeroed memory says: no
 * observation yet. */
qemb_status qemb__tables_need_state(qemb__tables *s, int32_t t) {
    const q_table *table = &s->table[t];
    int64_t count = table->rows;
    for (int64_t row = 0; row < table->rows; row += count, count = table->rows - row) {
        int32_t slab = 0;
        int64_t local = 0;
        qemb__tables_locate(s, t, row, &count, &slab, &local);
        if (!s->slab[slab].state) {
            qemb_status st = qemb__buffer_create(s->ctx, (size_t)s->slab[slab].rows * sizeof(q_state), &s->slab[slab].state);
            if (st != QEMB_OK) {
                return st;
            }
        }
    }
    s->table[t].flags |= Q_HAS_STATE;
    s->stale = true;
    return QEMB_OK;
}

/* Descriptors change on the host and are sent before the next launch that reads them: a switch costs a copy once, a forward none. */
qemb_status qemb__tables_flush(qemb__tables *s) {
    qemb_status st = QEMB_OK;
    if (s->stale) {
        TRY(qemb__buffer_write(s->table_buffer, 0, (size_t)s->num_tables * sizeof(q_table), s->table, true));
        TRY(qemb__buffer_write(s->feature_buffer, 0, (size_t)s->num_features * sizeof(q_feature), s->feature, true));
        s->stale = false;
    }
done:
    return st;
}

qemb_status qemb__tables_allocate(qemb_context *ctx, int32_t num_tables, int32_t num_features, qemb__tables **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    qemb__tables *s = NULL;
    TRY(qemb__calloc(1, sizeof *s, &block));
    s = block;
    s->ctx = ctx;
    s->num_tables = num_tables;
    s->num_features = num_features;
    TRY(qemb__calloc(s->num_tables, sizeof *s->table, (void **)&s->table));
    TRY(qemb__calloc(s->num_features, sizeof *s->feature, (void **)&s->feature));
    TRY(qemb__calloc(s->num_tables, sizeof *s->slab_of, (void **)&s->slab_of));
    TRY(qemb__calloc(s->num_tables, sizeof *s->name, (void **)&s->name));
    TRY(qemb__calloc((int64_t)s->num_tables * QEMB__GROUP_SLABS, sizeof *s->slab, (void **)&s->slab));
    TRY(qemb__calloc((int64_t)s->num_tables + 1, sizeof *s->group, (void **)&s->group));
    *out = s;
    s = NULL;
done:
    qemb__tables_destroy(s);
    return st;
}

qemb_status qemb__tables_upload(qemb__tables *s) {
    qemb_status st = QEMB_OK;
    TRY(qemb__buffer_create(s->ctx, (size_t)s->num_tables * sizeof(q_table), &s->table_buffer));
    TRY(qemb__buffer_create(s->ctx, (size_t)s->num_features * sizeof(q_feature), &s->feature_buffer));
    s->stale = true;
    TRY(qemb__tables_flush(s));
done:
    return st;
}

qemb_status qemb__tables_share(const qemb__tables *source, const qemb_qconfig *qconfig, qemb__tables **out) {
    qemb_status st = QEMB_OK;
    qemb__tables *s = NULL;
    TRY(qemb__tables_allocate(source->ctx, source->num_tables, source->num_features, &s));
    s->mode = source->mode;
    s->total_rows = source->total_rows;
    s->output_dim = source->output_dim;
    s->max_dim = source->max_dim;
    s->num_groups = source->num_groups;
    s->num_slabs = source->num_slabs;
    memcpy(s->group, source->group, (size_t)s->num_groups * sizeof *s->group);
    memcpy(s->feature, source->feature, (size_t)s->num_features * sizeof *s->feature);
    for (int32_t n = 0; n < s->num_slabs; n++) {
        s->slab[n] = source->slab[n]; /* the very weights; state is each module's own */
        s->slab[n].owned = false;
        s->slab[n].state = NULL;
    }
    for (int32_t t = 0; t < s->num_tables; t++) {
        TRY(qemb__strdup(source->name[t], &s->name[t]));
        s->table[t] = source->table[t];
        s->slab_of[t] = source->slab_of[t];
        s->uses |= describe_quantisation(&qconfig[t], &s->table[t]);
    }
    for (int32_t t = 0; t < s->num_tables; t++) {
        if (keeps_state(&qconfig[t])) {
            TRY(qemb__tables_need_state(s, t));
        }
    }
    TRY(qemb__tables_upload(s));
    *out = s;
    s = NULL;
done:
    qemb__tables_destroy(s);
    return st;
}

qemb_status qemb__tables_create(qemb_context *ctx, const qemb_collection_desc *desc, int32_t mode, qemb__tables **out) {
    qemb_status st = QEMB_OK;
    qemb__tables *s = NULL;
    void *group_of = NULL;
    int32_t open = -1;
    TRY(qemb__tables_allocate(ctx, desc->num_tables, desc->feature_table ? desc->num_features : desc->num_tables, &s));
    TRY(qemb__calloc(s->num_tables, sizeof(int32_t), &group_of));
    s->mode = mode;
    for (int32_t t = 0; t < s->num_tables; t++) {
        const qemb_table_desc *d = &desc->tables[t];
        char fallback[32];
        (void)snprintf(fallback, sizeof fallback, "table%d", t);
        TRY(qemb__strdup(d->name ? d->name : fallback, &s->name[t]));
        s->uses |= describe(d, &s->table[t]);
        s->table[t].row0 = s->total_rows;
        s->total_rows += d->num_embeddings;
        s->max_dim = s->table[t].dim > s->max_dim ? s->table[t].dim : s->max_dim;
        TRY(place(s, t, d, &open, group_of));
    }
    qemb__tables_order_features(s, desc->feature_table, group_of);
    for (int32_t n = 0; n < s->num_slabs; n++) {
        if (s->slab[n].owned) {
            TRY(qemb__buffer_create(ctx, (size_t)s->slab[n].elements * sizeof(float), &s->slab[n].weight));
        }
    }
    for (int32_t t = 0; t < s->num_tables; t++) {
        TRY(fill(s, t, &desc->tables[t]));
        if (keeps_state(&desc->tables[t].qconfig)) {
            TRY(qemb__tables_need_state(s, t));
        }
    }
    TRY(qemb__tables_upload(s));
    *out = s;
    s = NULL;
done:
    qemb__free(group_of);
    qemb__tables_destroy(s);
    return st;
}

void qemb__tables_destroy(qemb__tables *s) {
    if (!s) {
        return;
    }
    for (int32_t n = 0; n < s->num_slabs; n++) {
        qemb__buffer_destroy(s->slab[n].state);
        if (s->slab[n].owned) {
            qemb__buffer_destroy(s->slab[n].weight);
        }
    }
    for (int32_t t = 0; s->name && t < s->num_tables; t++) {
        qemb__free(s->name[t]);
    }
    qemb__buffer_destroy(s->table_buffer);
    qemb__buffer_destroy(s->feature_buffer);
    qemb__free(s->table);
    qemb__free(s->feature);
    qemb__free(s->slab_of);
    qemb__free(s->name);
    qemb__free(s->slab);
    qemb__free(s->group);
    qemb__free(s);
}
