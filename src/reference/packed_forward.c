/* packed_forward.c - out[b] = pool over the lookups of bag b of packed rows, in position order. */
#include <string.h>

#include "base/memory.h"
#include "reference/reference.h"

/* Packed row of an index, -1: it contributes nothing. */
static int64_t row_of(const qemb__packed_forward_args *args, const q_table *t, int64_t index) {
    if ((uint64_t)index >= (uint64_t)t->rows || (index == t->padding_idx && args->tables->mode != Q_MODE_NONE)) {
        return -1;
    }
    return Q_MAP_AT(t) < 0 ? index : ((const q_i32 *)qemb__ref_data(args->maps))[Q_MAP_AT(t) + index];
}

/* acc = acc with one more lookup. */
static void pool(const q_table *t, int32_t mode, const float *weight, bool first, const float *value, float *acc) {
    for (int32_t c = 0; c < t->dim; c++) {
        if (mode == Q_MODE_NONE) {
            acc[c] = value[c];
        } else if (mode == Q_MODE_MAX) {
            acc[c] = first || value[c] > acc[c] || value[c] != value[c] ? value[c] : acc[c];
        } else if (!weight) {
            acc[c] = acc[c] + value[c];
        } else if (t->padding_idx < 0) {
            acc[c] = Q_FMA(*weight, value[c], acc[c]);
        } else {
            const float product = value[c] * *weight;
            acc[c] = acc[c] + product;
        }
    }
}

static void add_row(const qemb__packed_forward_args *args, int32_t table, int64_t row, const float *weight, bool first, float *acc) {
    const qemb__tables *s = args->tables;
    const q_table *t = &s->table[table];
    float *value = acc + t->dim;
    int64_t one = 1;
    int64_t local = 0;
    int32_t slab = 0;
    qemb__tables_locate(s, table, row, &one, &slab, &local);
    const q_u8 *bytes = qemb__ref_data(s->slab[slab].weight);
    const q_u8 *codes = bytes + q_codes_of(t, local);
    const q_qparams q = q_load_qparams(t, bytes + q_qparams_of(t, local));
    if (!(t->flags & Q_HAS_NORM) && (s->mode == Q_MODE_SUM || s->mode == Q_MODE_MEAN)) {
        const float w = weight ? *weight : 1.0f;
        const float scale = w * q.scale;
        const float bias = w * q.zero;
        for (int32_t c = 0; c < t->dim; c++) {
            acc[c] = Q_FMA(scale, (float)q_load_code(codes, c, t->bits), acc[c] + bias);
        }
        return;
    }
    for (int32_t c = 0; c < t->dim; c++) {
        value[c] = Q_FMA(q.scale, (float)q_load_code(codes, c, t->bits), q.zero);
    }
    if (t->flags & Q_HAS_NORM) {
        qemb__ref_clip(t, value);
    }
    pool(t, s->mode, weight, first, value, acc);
}

static void store(const qemb__packed_forward_args *args, const float *acc, int64_t at, int32_t dim) {
    void *out = qemb__ref_data(args->out);
    for (int32_t c = 0; c < dim; c++) {
        if (args->dtype == QEMB_FLOAT32) {
            ((float *)out)[at + c] = acc[c];
        } else {
            ((q_u16 *)out)[at + c] = (q_u16)(args->dtype == QEMB_FLOAT16 ? q_half_bits(acc[c]) : q_bfloat_bits(acc[c]));
        }
    }
}

static void forward_bag(const qemb__packed_forward_args *args, const q_feature *f, int64_t bag, float *acc) {
    const q_table *t = &args->tables->table[f->table];
    const qemb__batch_view *b = args->batch;
    const float *weights = b->weights ? qemb__ref_data(b->weights) : NULL;
    int64_t begin = 0;
    int64_t end = 0;
    int64_t count = 0;
    qemb__ref_bag(b, f->index * b->shape.bags + bag, &begin, &end);
    memset(acc, 0, (size_t)t->dim * sizeof(float));
    for (int64_t p = begin; p < end; p++) {
        const int64_t row = row_of(args, t, qemb__ref_index(b, p));
        if (row >= 0) {
            add_row(args, f->table, row, weights ? &weights[p] : NULL, count == 0, acc);
            count++;
        }
    }
    for (int32_t c = 0; args->tables->mode == Q_MODE_MEAN && count > 0 && c < t->dim; c++) {
        acc[c] = acc[c] / (float)count;
    }
    store(args, acc, bag * args->tables->output_dim + f->column, t->dim);
}

qemb_status qemb__ref_packed_forward(qemb_context *ctx, const qemb__packed_forward_args *args) {
    const qemb__tables *s = args->tables;
    void *work = NULL;
    qemb_status st = QEMB_OK;
    if (qemb__ref_refused(args->batch)) {
        return QEMB_OK;
    }
    /* sums, a row, and twice its length for the padded tree of its norm */
    st = qemb__calloc(4 * (int64_t)s->max_dim + 1, sizeof(float), &work);
    for (int32_t f = 0; st == QEMB_OK && f < s->num_features; f++) {
        for (int64_t bag = 0; bag < args->batch->shape.bags; bag++) {
            forward_bag(args, &s->feature[f], bag, work);
        }
    }
    qemb__free(work);
    ctx->counters.commands += st == QEMB_OK;
    return st;
}
