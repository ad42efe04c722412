/* row_update.c - stores the observer state of a row, then changes the row: an optimiser's step, or the clip of a float table.
 *
 * Row after row, and in each: gradient, mask, observer state, update. In that order, because mask and state are those of the row before it
 * changes. All memory is taken before the first row is touched. */
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "reference/gradient.h"

typedef struct ref_update {
    const qemb__row_update_args *args;
    ref_gradient g;
    float *gradient, *direction; /* a row each */
    float coefficient;           /* of the clip by norm */
    qemb_context *ctx;
} ref_update;

/* Brings a row's stored state up to the last forward, while the row still is what those forwards saw. */
static void commit(const ref_update *u, int32_t table, int64_t row) {
    const q_table *t = &u->g.tables->table[table];
    q_state *stored = qemb__ref_state(u->g.tables, table, row);
    q_i64 *events = qemb__ref_data(u->ctx->events);
    const int64_t count = qemb__table_observations(t, u->args->source.step);
    float lo = 0.0f;
    float hi = 0.0f;
    if (stored && count > stored->count) {
        qemb__ref_range(qemb__ref_row(u->g.tables, table, row), t->dim, &lo, &hi);
        events[1] += q_catch_up(t->observer, t->averaging, lo, hi, count, stored);
        events[0] += lo != lo;
    }
}

static float sum_of_squares(const ref_update *u, const float *x, int32_t dim) {
    for (int32_t c = 0; c < dim; c++) {
        u->g.work[c] = x[c] * x[c];
    }
    return qemb__ref_tree_sum(u->g.work, dim);
}

/* Where a row's optimiser state lies; `wide` one number an element. */
static float *state_of(const ref_update *u, qemb_buffer *const *arrays, int32_t table, int64_t row, bool wide) {
    const q_table *t = &u->g.tables->table[table];
    int64_t count = 1;
    int64_t local = 0;
    int32_t slab = 0;
    if (!arrays) {
        return NULL;
    }
    qemb__tables_locate(u->g.tables, table, row, &count, &slab, &local);
    return (float *)qemb__ref_data(arrays[slab]) + (wide ? t->base + local * t->dim : t->state_base + local);
}

static q_row_scalars scalars_before(const ref_update *u, int32_t dim, const float *w, float *row) {
    const q_optimizer o = u->args->optimizer;
    const int32_t kind = u->args->kind;
    float squares = 0.0f;
    if (Q_SUMS_BEFORE(kind)) {
        for (int32_t c = 0; c < dim; c++) {
            u->g.work[c] = q_square_before(o, kind, u->gradient[c], w[c]);
        }
        squares = qemb__ref_tree_sum(u->g.work, dim);
    }
    return q_scalars_before(o, kind, squares, kind == Q_LARS_SGD ? sum_of_squares(u, w, dim) : 0.0f, dim, row);
}

/* One row with its gradient (masked) in u->gradient. */
static void update_row(const ref_update *u, int32_t table, int64_t row) {
    const q_optimizer o = u->args->optimizer;
    const int32_t kind = u->args->kind;
    const int32_t dim = u->g.tables->table[table].dim;
    float *w = qemb__ref_row(u->g.tables, table, row);
    float *m = state_of(u, u->args->m, table, row, true);
    float *v = state_of(u, u->args->v, table, row, !Q_HAS_ROW(kind));
    float none = 0.0f;
    for (int32_t c = 0; c < dim; c++) {
        u->gradient[c] = q_prepare(o, u->gradient[c], u->coefficient);
    }
    q_row_scalars r = scalars_before(u, dim, w, Q_HAS_ROW(kind) ? v : &none);
    for (int32_t c = 0; c < dim; c++) {
        u->direction[c] = q_direction(o, kind, u->gradient[c], w[c], r.root, m ? m + c : &none, v && !Q_HAS_ROW(kind) ? v + c : &none);
    }
    if (Q_SUMS_AFTER(kind)) {
        const float weights = sum_of_squares(u, w, dim);
        r.scale = q_scale_after(r.scale, weights, sum_of_squares(u, u->direction, dim));
    }
    for (int32_t c = 0; c < dim; c++) {
        w[c] = q_apply(r, w[c], u->direction[c]);
    }
    if (kind == Q_ROWWISE_ADAGRAD && o.max_norm >= 0.0f) {
        const float factor = q_shrink(o, sum_of_squares(u, w, dim));
        for (int32_t c = 0; c < dim && factor != 1.0f; c++) {
            w[c] = w[c] * factor;
        }
    }
}

/* ---- clip by norm: squares of rows, summed in blocks, blocks in Q_NORM_SUMS sums, those in a tree */

static void clip_coefficient(ref_update *u) {
    float sums[Q_NORM_SUMS] = {0};
    u->coefficient = 1.0f;
    for (q_i32 block = 0; block * Q_NORM_BLOCK < u->g.runs && u->args->optimizer.clip == Q_CLIP_NORM; block++) {
        const q_i32 end = (q_i32)qemb__min_i64((int64_t)(block + 1) * Q_NORM_BLOCK, u->g.runs);
        float sum = 0.0f;
        for (q_i32 run = block * Q_NORM_BLOCK; run < end; run++) {
            int64_t row = 0;
            const int32_t table = qemb__ref_run_row(&u->g, run, &row);
            qemb__ref_run_gradient(&u->g, run, u->gradient);
            qemb__ref_mask(&u->g, table, row, u->gradient);
            sum = sum + sum_of_squares(u, u->gradient, u->g.tables->table[table].dim);
        }
        sums[block % Q_NORM_SUMS] += sum;
    }
    u->coefficient = q_clip_coefficient(qemb__ref_tree_sum(sums, Q_NORM_SUMS), u->args->optimizer.limit);
}

/* ---- max_norm of float tables */

static void clip_row(const ref_update *u, int32_t table, int64_t row) {
    const q_table *t = &u->g.tables->table[table];
    float *w = qemb__ref_row(u->g.tables, table, row);
    float largest = 0.0f;
    commit(u, table, row);
    for (int32_t c = 0; c < t->dim; c++) {
        const float term = q_norm_term(w[c], t->norm_type);
        largest = term > largest || term != term ? term : largest;
        u->g.work[c] = term;
    }
    const float sum = qemb__ref_tree_sum(u->g.work, t->dim);
    const float factor = q_norm_factor(isinf(t->norm_type) ? largest : sum, t->norm_type, t->max_norm);
    for (int32_t c = 0; c < t->dim && factor != 1.0f; c++) {
        w[c] = w[c] * factor;
    }
}

/* The padding row has no run, but is clipped when it occurs. */
static void clip_padding(const ref_update *u) {
    const qemb__batch_view *b = u->args->source.batch;
    const qemb__tables *s = u->g.tables;
    for (int32_t k = 0; k < s->num_tables; k++) {
        bool occurs = false;
        for (int32_t f = 0; f < s->num_features && (s->table[k].flags & Q_CLIPS_WEIGHT) && s->table[k].padding_idx >= 0; f++) {
            for (int64_t bag = 0; bag < b->shape.bags && s->feature[f].table == k && !occurs; bag++) {
                int64_t begin = 0;
                int64_t end = 0;
                qemb__ref_bag(b, s->feature[f].index * b->shape.bags + bag, &begin, &end);
                for (int64_t p = begin; p < end && !occurs; p++) {
                    occurs = qemb__ref_index(b, p) == s->table[k].padding_idx;
                }
            }
        }
        if (occurs) {
            clip_row(u, k, s->table[k].padding_idx);
        }
    }
}

static void clip_weights(const ref_update *u) {
    for (q_i32 run = 0; run < u->g.runs; run++) {
        int64_t row = 0;
        const int32_t table = qemb__ref_run_row(&u->g, run, &row);
        if (u->g.tables->table[table].flags & Q_CLIPS_WEIGHT) {
            clip_row(u, table, row);
        }
    }
    clip_padding(u);
}

/* ---- the operation */

static void update_run(const ref_update *u, q_i32 run) {
    int64_t row = 0;
    const int32_t table = qemb__ref_run_row(&u->g, run, &row);
    qemb__ref_run_gradient(&u->g, run, u->gradient);
    qemb__ref_mask(&u->g, table, row, u->gradient);
    commit(u, table, row);
    update_row(u, table, row);
}

/* Every row of every table; those without a run have the gradient 0. */
static void update_all(const ref_update *u) {
    q_i32 run = 0;
    for (int32_t table = 0; table < u->g.tables->num_tables; table++) {
        for (int64_t row = 0; row < u->g.tables->table[table].rows; row++) {
            int64_t next = -1;
            if (run < u->g.runs && qemb__ref_run_row(&u->g, run, &next) == table && next == row) {
                update_run(u, run++);
                continue;
            }
            memset(u->gradient, 0, (size_t)u->g.tables->table[table].dim * sizeof(float));
            commit(u, table, row);
            update_row(u, table, row);
        }
    }
}

qemb_status qemb__ref_row_update(qemb_context *ctx, const qemb__row_update_args *args) {
    ref_update u = {.args = args, .ctx = ctx};
    void *block = NULL;
    qemb_status st = QEMB_OK;
    if (qemb__ref_refused(args->source.batch)) {
        return QEMB_OK;
    }
    TRY(qemb__ref_gradient_begin(&args->source, &u.g));
    TRY(qemb__calloc(2 * (int64_t)u.g.tables->max_dim, sizeof(float), &block));
    u.gradient = block;
    u.direction = u.gradient + u.g.tables->max_dim;
    ctx->counters.commands++;
    if (args->kind == Q_CLIP_WEIGHT) {
        clip_weights(&u);
        goto done;
    }
    clip_coefficient(&u);
    if (args->dense) {
        update_all(&u);
    }
    for (q_i32 run = 0; run < u.g.runs && !args->dense; run++) {
        update_run(&u, run);
    }
done:
    qemb__ref_gradient_end(&u.g);
    qemb__free(block);
    return st;
}
