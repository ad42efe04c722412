/* row.c - rows, qparams, values, and the lookups of a batch, for every file of the reference engine.
 *
 * Qparams are derived at every use: stored state, caught up with the forwards so far by the row as it is. Nothing is kept between two
 * calls, for what is not kept cannot be stale, and this engine is what the others are measured with. */
#include "reference/reference.h"

#include <string.h>

void *qemb__ref_data(const qemb_buffer *buffer) {
    return (char *)buffer->host + buffer->offset;
}

float *qemb__ref_row(const qemb__tables *s, int32_t table, int64_t row) {
    const q_table *t = &s->table[table];
    int64_t count = 1;
    int64_t local = 0;
    int32_t slab = 0;
    qemb__tables_locate(s, table, row, &count, &slab, &local);
    return (float *)s->slab[slab].weight->host + t->base + local * t->dim;
}

q_state *qemb__ref_state(const qemb__tables *s, int32_t table, int64_t row) {
    const q_table *t = &s->table[table];
    int64_t count = 1;
    int64_t local = 0;
    int32_t slab = 0;
    if (!(t->flags & Q_HAS_STATE)) {
        return NULL;
    }
    qemb__tables_locate(s, table, row, &count, &slab, &local);
    return (q_state *)qemb__ref_data(s->slab[slab].state) + t->state_base + local;
}

/* One NaN or infinity makes the whole range NaN; + 0.0f makes +0 of -0, so that equal rows have equal bits. */
void qemb__ref_range(const float *x, int32_t dim, float *lo, float *hi) {
    *lo = INFINITY;
    *hi = -INFINITY;
    bool finite = true;
    for (int32_t c = 0; c < dim; c++) {
        *lo = x[c] < *lo ? x[c] : *lo;
        *hi = x[c] > *hi ? x[c] : *hi;
        finite = finite && isfinite(x[c]);
    }
    *lo = finite ? *lo + 0.0f : Q_NAN;
    *hi = finite ? *hi + 0.0f : Q_NAN;
}

q_qparams qemb__ref_qparams(const qemb__tables *s, int32_t table, int64_t row, int64_t step) {
    const q_table *t = &s->table[table];
    const q_state *stored = qemb__ref_state(s, table, row);
    q_state state = {0.0f, 0.0f, 0};
    float lo = 0.0f;
    float hi = 0.0f;
    qemb__ref_range(qemb__ref_row(s, table, row), t->dim, &lo, &hi);
    if (stored) {
        state = *stored;
        (void)q_catch_up(t->observer, t->averaging, lo, hi, qemb__table_observations(t, step), &state);
    } else {
        state.min_val = lo;
        state.max_val = hi;
    }
    return q_row_qparams(t, state.min_val, state.max_val, lo, hi);
}

/* The order of every sum along a row: padded with zeros to a power of two, then halved. Kernels with any number of lanes can keep it. */
float qemb__ref_tree_sum(float *work, int32_t dim) {
    int32_t padded = 1;
    while (padded < dim) {
        padded *= 2;
    }
    for (int32_t c = dim; c < padded; c++) {
        work[c] = 0.0f;
    }
    for (int32_t half = padded / 2; half > 0; half /= 2) {
        for (int32_t c = 0; c < half; c++) {
            work[c] = work[c] + work[c + half];
        }
    }
    return work[0];
}

void qemb__ref_clip(const q_table *t, float *values) {
    /* The padded tree runs in place over a copy behind the values. */
    float *work = values + t->dim;
    for (int32_t c = 0; c < t->dim; c++) {
        work[c] = q_norm_term(values[c], t->norm_type);
    }
    float total = isinf(t->norm_type) ? work[0] : 0.0f;
    for (int32_t c = 1; isinf(t->norm_type) && c < t->dim; c++) {
        total = work[c] > total || work[c] != work[c] ? work[c] : total;
    }
    total = isinf(t->norm_type) ? total : qemb__ref_tree_sum(work, t->dim);
    const float factor = q_norm_factor(total, t->norm_type, t->max_norm);
    for (int32_t c = 0; c < t->dim; c++) {
        values[c] = values[c] * factor;
    }
}

void qemb__ref_lookup(const qemb__tables *s, int32_t table, int64_t row, int64_t step, float *values) {
    const q_table *t = &s->table[table];
    const float *x = qemb__ref_row(s, table, row);
    if (t->flags & Q_FAKE_QUANT_ON) {
        const q_qparams p = qemb__ref_qparams(s, table, row, step);
        for (int32_t c = 0; c < t->dim; c++) {
            values[c] = q_fake_quant(x[c], p, t->qmin, t->qmax, t->arithmetic);
        }
    } else {
        memcpy(values, x, (size_t)t->dim * sizeof(float));
    }
    if (t->flags & Q_HAS_NORM) {
        qemb__ref_clip(t, values);
    }
}

void qemb__ref_bag(const qemb__batch_view *batch, int64_t g, int64_t *begin, int64_t *end) {
    const q_batch *b = &batch->shape;
    if (b->columns > 0) {
        *begin = g * b->columns;
        *end = *begin + b->columns;
        return;
    }
    const void *offsets = qemb__ref_data(batch->offsets);
    int64_t next = g + 1;
    *begin = batch->offsets_64 ? ((const int64_t *)offsets)[g] : ((const int32_t *)offsets)[g];
    *end = next >= b->num_offsets ? b->lookups : batch->offsets_64 ? ((const int64_t *)offsets)[next] : ((const int32_t *)offsets)[next];
}

int64_t qemb__ref_index(const qemb__batch_view *batch, int64_t position) {
    const void *indices = qemb__ref_data(batch->indices);
    return batch->indices_64 ? ((const int64_t *)indices)[position] : ((const int32_t *)indices)[position];
}

bool qemb__ref_refused(const qemb__batch_view *batch) {
    const q_u32 *words = qemb__ref_data(batch->status);
    return words[Q_STATUS_OFFSET] != Q_NO_ERROR || words[Q_STATUS_INDEX] != Q_NO_ERROR;
}
