/* gradient.c - gradients of rows in the order that every engine keeps.
 *
 * The order of additions is decided here: lookups of a row by position, one fma each; more than Q_PART of them in parts of Q_PART,
 * counted from the run's own start, and the parts in a tree (k with k + half, half the largest power of two below their number, then
 * halved). Nothing in it depends on tables beside it, on lanes or on work-groups, so kernels can keep it, and a collection gives the
 * bits of its tables alone. */
#include "reference/gradient.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

/* Everything is allocated here: what comes after it changes tables and gradients, and must not break off. */
qemb_status qemb__ref_gradient_begin(const qemb__gradient_args *args, ref_gradient *g) {
    const q_i32 *start = qemb__ref_data(args->work->sort->run_start);
    const q_i32 runs = ((const q_i32 *)qemb__ref_data(args->work->sort->counts))[Q_SORT_RUNS];
    const int64_t dim = args->tables->max_dim;
    int64_t parts = 0;
    void *block = NULL;
    for (q_i32 run = 0; run < runs; run++) {
        parts = qemb__max_i64(parts, qemb__ceil_div(start[run + 1] - start[run], Q_PART));
    }
    qemb_status st = qemb__calloc((6 + parts) * dim + 1, sizeof(float), &block);
    *g = (ref_gradient){.args = args,
                        .tables = args->tables,
                        .output = args->grad_output ? qemb__ref_data(args->grad_output) : NULL,
                        .work = block,
                        .parts = block ? (float *)block + 6 * dim + 1 : NULL,
                        .runs = runs};
    return st;
}

void qemb__ref_gradient_end(ref_gradient *g) {
    qemb__free(g->work);
}

int32_t qemb__ref_table_of(const qemb__tables *s, int64_t number) {
    int32_t t = 0;
    while (t + 1 < s->num_tables && s->table[t + 1].row0 <= number) {
        t++;
    }
    return t;
}

int32_t qemb__ref_run_row(const ref_gradient *g, q_i32 run, int64_t *row) {
    const qemb__row_sort *sort = g->args->work->sort;
    const void *rows = qemb__ref_data(sort->run_row);
    const int64_t number = sort->wide ? (int64_t)((const q_u64 *)rows)[run] : (int64_t)((const q_u32 *)rows)[run];
    const int32_t table = qemb__ref_table_of(g->tables, number);
    *row = number - g->tables->table[table].row0;
    return table;
}

const float *qemb__ref_output_row(const ref_gradient *g, int64_t bag, int32_t *feature) {
    const int64_t bags = g->args->batch->shape.bags;
    const q_i64 *columns = qemb__ref_data(g->args->work->columns);
    *feature = (int32_t)(bag / bags);
    return g->output + bag % bags * g->tables->output_dim + columns[*feature];
}

/* Lookups of a bag that are inside the table and not padding. */
static int64_t bag_count(const ref_gradient *g, int64_t bag) {
    const qemb__batch_view *b = g->args->batch;
    const q_i32 *plan = qemb__ref_data(g->args->work->sort->plan);
    const q_table *t = &g->tables->table[plan[g->tables->num_tables + 1 + g->tables->num_features + bag / b->shape.bags]];
    int64_t begin = 0;
    int64_t end = 0;
    int64_t count = 0;
    qemb__ref_bag(b, bag, &begin, &end);
    for (int64_t p = begin; p < end; p++) {
        const int64_t row = qemb__ref_index(b, p);
        count += (uint64_t)row < (uint64_t)t->rows && row != t->padding_idx;
    }
    return count;
}

/* What a lookup's gradient is multiplied with. One division in each form: a product of two
 * quotients would round twice. */
float qemb__ref_alpha(const ref_gradient *g, int64_t bag, int64_t position, int64_t count) {
    const qemb__batch_view *b = g->args->batch;
    const float over = g->args->freq ? (float)count : 1.0f;
    if (b->weights) {
        return ((const float *)qemb__ref_data(b->weights))[position] / over;
    }
    return 1.0f / (g->tables->mode == Q_MODE_MEAN ? over * (float)bag_count(g, bag) : over);
}

/* Sum over slots [from, to) of a run of `count` lookups. */
static void sum_slots(const ref_gradient *g, q_i32 from, q_i32 to, int64_t count, int32_t dim, float *sum) {
    const qemb__row_sort *sort = g->args->work->sort;
    const q_i32 *positions = qemb__ref_data(sort->position);
    const q_i32 *bag_of = qemb__ref_data(sort->bag_of);
    memset(sum, 0, (size_t)dim * sizeof(float));
    for (q_i32 slot = from; slot < to; slot++) {
        const q_i32 p = positions[slot];
        int32_t feature = 0;
        const float *row = qemb__ref_output_row(g, bag_of[p], &feature);
        if (g->tables->mode == Q_MODE_MAX) {
            const q_i32 *winner = (const q_i32 *)qemb__ref_data(g->args->winners) + (row - g->output);
            for (int32_t c = 0; c < dim; c++) {
                sum[c] = winner[c] == p ? sum[c] + row[c] : sum[c];
            }
            continue;
        }
        const float alpha = qemb__ref_alpha(g, bag_of[p], p, count);
        for (int32_t c = 0; c < dim; c++) {
            sum[c] = Q_FMA(alpha, row[c], sum[c]);
        }
    }
}

void qemb__ref_run_gradient(const ref_gradient *g, q_i32 run, float *sum) {
    const q_i32 *start = qemb__ref_data(g->args->work->sort->run_start);
    const q_i32 count = start[run + 1] - start[run];
    const q_i32 parts = (count + Q_PART - 1) / Q_PART;
    int64_t row = 0;
    const int32_t dim = g->tables->table[qemb__ref_run_row(g, run, &row)].dim;
    if (parts == 1) {
        sum_slots(g, start[run], start[run + 1], count, dim, sum);
        return;
    }
    float *part = g->parts;
    q_i32 half = 1;
    for (q_i32 k = 0; k < parts; k++) {
        const q_i32 from = start[run] + k * Q_PART;
        sum_slots(g, from, from + Q_PART < start[run + 1] ? from + Q_PART : start[run + 1], count, dim, part + (int64_t)k * dim);
    }
    while (2 * half < parts) { /* the tree: as if padded with zeros to a power of two, without adding them (-0 stays) */
        half *= 2;
    }
    for (; half > 0; half /= 2) {
        for (q_i32 k = 0; k < half && k + half < parts; k++) {
            for (int32_t c = 0; c < dim; c++) {
                part[(int64_t)k * dim + c] += part[(int64_t)(k + half) * dim + c];
            }
        }
    }
    memcpy(sum, part, (size_t)dim * sizeof(float));
}

/* Straight-through: by the qparams that the last forward used, which `step` finds again. */
void qemb__ref_mask(const ref_gradient *g, int32_t table, int64_t row, float *gradient) {
    const q_table *t = &g->tables->table[table];
    if (!(t->flags & Q_FAKE_QUANT_ON)) {
        return;
    }
    const q_qparams p = qemb__ref_qparams(g->tables, table, row, g->args->step);
    const float *x = qemb__ref_row(g->tables, table, row);
    for (int32_t c = 0; c < t->dim; c++) {
        gradient[c] = gradient[c] * q_mask(x[c], p, t->qmin, t->qmax, t->arithmetic);
    }
}
