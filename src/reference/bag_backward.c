/* bag_backward.c - gradients as they are asked for: dense, sparse, of the per-sample weights. */
#include <string.h>

#include "base/memory.h"
#include "reference/gradient.h"

/* The runs of a table: dense rows, or coalesced entries. */
static void write_runs(const ref_gradient *g, const qemb_gradients *want, float *gradient) {
    const q_table *t = &g->tables->table[want->table];
    float *dense = want->dense ? qemb__ref_data(want->dense) : NULL;
    q_i64 entries = 0;
    if (dense) {
        memset(dense, 0, (size_t)(t->rows * t->dim) * sizeof(float));
    }
    for (q_i32 run = 0; run < g->runs; run++) {
        int64_t row = 0;
        if (qemb__ref_run_row(g, run, &row) != want->table) {
            continue;
        }
        qemb__ref_run_gradient(g, run, gradient);
        qemb__ref_mask(g, want->table, row, gradient);
        if (dense) {
            memcpy(dense + row * t->dim, gradient, (size_t)t->dim * sizeof(float));
        }
        if (want->coo_count && want->coalesced) {
            ((q_i64 *)qemb__ref_data(want->coo_indices))[entries] = row;
            memcpy((float *)qemb__ref_data(want->coo_values) + entries * t->dim, gradient, (size_t)t->dim * sizeof(float));
        }
        entries++;
    }
    if (want->coo_count && want->coalesced) {
        *(q_i64 *)qemb__ref_data(want->coo_count) = entries;
    }
}

/* One entry a lookup, in input order. */
static void write_lookups(const ref_gradient *g, const qemb_gradients *want) {
    const qemb__batch_view *b = g->args->batch;
    const q_table *t = &g->tables->table[want->table];
    q_i64 *rows = qemb__ref_data(want->coo_indices);
    q_i64 entries = 0;
    for (int64_t bag = 0; bag < b->shape.bags * g->tables->num_features; bag++) {
        int32_t feature = 0;
        int64_t begin = 0;
        int64_t end = 0;
        const float *out = qemb__ref_output_row(g, bag, &feature);
        const q_i32 *table_of =
            (const q_i32 *)qemb__ref_data(g->args->work->sort->plan) + g->tables->num_tables + 1 + g->tables->num_features;
        qemb__ref_bag(b, bag, &begin, &end);
        for (int64_t p = begin; table_of[feature] == want->table && p < end; p++) {
            const int64_t row = qemb__ref_index(b, p);
            if ((uint64_t)row >= (uint64_t)t->rows || row == t->padding_idx) {
                continue;
            }
            const float alpha = qemb__ref_alpha(g, bag, p, 1);
            float *value = (float *)qemb__ref_data(want->coo_values) + entries * t->dim;
            for (int32_t c = 0; c < t->dim; c++) {
                value[c] = out[c] * alpha;
            }
            qemb__ref_mask(g, want->table, row, value);
            rows[entries++] = row;
        }
    }
    *(q_i64 *)qemb__ref_data(want->coo_count) = entries;
}

/* dot(g[bag(i)], the row as looked up). */
static void write_weights(const ref_gradient *g, float *out, float *value) {
    const qemb__batch_view *b = g->args->batch;
    const qemb__tables *s = g->tables;
    for (int64_t bag = 0; bag < b->shape.bags * s->num_features; bag++) {
        int32_t feature = 0;
        int64_t begin = 0;
        int64_t end = 0;
        const float *row_gradient = qemb__ref_output_row(g, bag, &feature);
        const int32_t table = ((const q_i32 *)qemb__ref_data(g->args->work->sort->plan))[s->num_tables + 1 + s->num_features + feature];
        const q_table *t = &s->table[table];
        qemb__ref_bag(b, bag, &begin, &end);
        for (int64_t p = begin; p < end; p++) {
            const int64_t row = qemb__ref_index(b, p);
            out[p] = 0.0f;
            if ((uint64_t)row < (uint64_t)t->rows && row != t->padding_idx) {
                qemb__ref_lookup(s, table, row, g->args->step, value);
                for (int32_t c = 0; c < t->dim; c++) {
                    g->work[c] = row_gradient[c] * value[c];
                }
                out[p] = qemb__ref_tree_sum(g->work, t->dim);
            }
        }
    }
}

qemb_status qemb__ref_bag_backward(qemb_context *ctx, const qemb__bag_backward_args *args) {
    const qemb_gradients *want = args->want;
    ref_gradient g = {0};
    void *row = NULL;
    qemb_status st = QEMB_OK;
    if (qemb__ref_refused(args->source.batch)) {
        return QEMB_OK;
    }
    TRY(qemb__ref_gradient_begin(&args->source, &g));
    TRY(qemb__calloc(3 * (int64_t)g.tables->max_dim + 1, sizeof(float), &row));
    if (want->dense || (want->coo_count && want->coalesced)) {
        write_runs(&g, want, row);
    }
    if (want->coo_count && !want->coalesced) {
        write_lookups(&g, want);
    }
    if (want->per_sample_weights) {
        write_weights(&g, qemb__ref_data(want->per_sample_weights), row);
    }
    ctx->counters.commands++;
done:
    qemb__ref_gradient_end(&g);
    qemb__free(row);
    return st;
}
