/* bag_forward.c - out[b] = pool over the lookups of bag b, in position order. */
#include <string.h>

#include "base/memory.h"
#include "reference/reference.h"

/* Sums of fake-quantised rows under the packed arithmetic run as the packed forward's: acc = fma(w * scale, code, acc + w * bias). */
static bool adds_codes(const qemb__tables *s, const q_table *t) {
    return t->arithmetic == Q_PACKED && (t->flags & Q_FAKE_QUANT_ON) && !(t->flags & Q_HAS_NORM) &&
           (s->mode == Q_MODE_SUM || s->mode == Q_MODE_MEAN);
}

static void add_codes(const qemb__bag_forward_args *args, int32_t table, int64_t row, float weight, float *out) {
    const q_table *t = &args->tables->table[table];
    const float *x = qemb__ref_row(args->tables, table, row);
    const q_qparams q = qemb__ref_qparams(args->tables, table, row, args->step);
    const float scale = weight * q.scale;
    const float bias = weight * q.zero;
    for (int32_t c = 0; c < t->dim; c++) {
        out[c] = Q_FMA(scale, q_packed_code(x[c], q, t->qmin, t->qmax), out[c] + bias);
    }
}

/* One bag of one feature. `value` has room for a row and its norm tree. */
static void forward_bag(const qemb__bag_forward_args *args, const q_feature *f, int64_t bag, float *value) {
    const qemb__tables *s = args->tables;
    const q_table *t = &s->table[f->table];
    const qemb__batch_view *b = args->batch;
    const float *weights = b->weights ? qemb__ref_data(b->weights) : NULL;
    float *out = (float *)qemb__ref_data(args->out) + bag * s->output_dim + f->column;
    q_i32 *winner = args->winners ? (q_i32 *)qemb__ref_data(args->winners) + bag * s->output_dim + f->column : NULL;
    int64_t begin = 0;
    int64_t end = 0;
    int64_t count = 0;
    qemb__ref_bag(b, f->index * b->shape.bags + bag, &begin, &end);
    for (int32_t c = 0; c < t->dim; c++) {
        out[c] = 0.0f;
        if (winner) {
            winner[c] = -1;
        }
    }
    for (int64_t p = begin; p < end; p++) {
        const int64_t row = qemb__ref_index(b, p);
        if ((uint64_t)row >= (uint64_t)t->rows || (row == t->padding_idx && s->mode != Q_MODE_NONE)) {
            continue;
        }
        if (adds_codes(s, t)) {
            add_codes(args, f->table, row, weights ? weights[p] : 1.0f, out);
            count++;
            continue;
        }
        qemb__ref_lookup(s, f->table, row, args->step, value);
        for (int32_t c = 0; c < t->dim; c++) {
            if (s->mode == Q_MODE_NONE) {
                out[c] = value[c];
            } else if (s->mode == Q_MODE_MAX) {
                if (count == 0 || value[c] > out[c] || value[c] != value[c]) {
                    out[c] = value[c];
                    winner[c] = (q_i32)p;
                }
            } else if (!weights) {
                out[c] = out[c] + value[c];
            } else if (t->padding_idx < 0) {
                out[c] = Q_FMA(weights[p], value[c], out[c]);
            } else {
                const float product = value[c] * weights[p];
                out[c] = out[c] + product;
            }
        }
        count++;
    }
    for (int32_t c = 0; s->mode == Q_MODE_MEAN && count > 0 && c < t->dim; c++) {
        out[c] = out[c] / (float)count;
    }
}

qemb_status qemb__ref_bag_forward(qemb_context *ctx, const qemb__bag_forward_args *args) {
    const qemb__tables *s = args->tables;
    void *value = NULL;
    qemb_status st = QEMB_OK;
    if (qemb__ref_refused(args->batch)) {
        return QEMB_OK;
    }
    /* a row, and twice its length for the padded tree of its norm */
    st = qemb__calloc(3 * (int64_t)s->max_dim + 1, sizeof(float), &value);
    for (int32_t f = 0; st == QEMB_OK && f < s->num_features; f++) {
        for (int64_t bag = 0; bag < args->batch->shape.bags; bag++) {
            forward_bag(args, &s->feature[f], bag, value);
        }
    }
    qemb__free(value);
    ctx->counters.commands += st == QEMB_OK;
    return st;
}
