/* support_model.c - the forward as PyTorch does it, in the plainest words: every forward observes the whole table, fake-quantises with
 * double (torch_cpu) or float32 (torch_cuda) and pools. Shares no code with the engines.
 *
 * Rules: spec of torch/ao/quantization/observer.py, QuantizedOpKernels.cpp, FakeQuantizeCore.cu, EmbeddingBag.cpp, Embedding.cpp. */
#include <criterion/criterion.h>

#include "support_model.h"

void model_open(model *m, const op_bag_forward *op) {
    m->op = op;
    for (int64_t t = 0; t < op->T; t++) {
        model_table *table = &m->t[t];
        table->rows = op_bag_forward_rows(op, t);
        table->dim = op_bag_forward_dim(op, t);
        table->padding = op->mode == OP_MODE_NONE ? -1 : op_bag_forward_padding(op, t);
        table->w = bag_weights(op, t, 0);
        table->min_val = calloc((size_t)table->rows, sizeof(float));
        table->max_val = calloc((size_t)table->rows, sizeof(float));
        cr_assert(table->min_val && table->max_val);
        table->observer_on = true;
        table->fake_quant_on = op->fake_quant != 0;
    }
}

void model_close(model *m) {
    for (int64_t t = 0; t < m->op->T; t++) {
        free(m->t[t].w);
        free(m->t[t].min_val);
        free(m->t[t].max_val);
    }
}

/* One observation of every row of a table. */
static void observe(const op_bag_forward *op, model_table *t) {
    const float c = (float)op->c;
    for (int64_t r = 0; r < t->rows; r++) {
        float lo = t->w[r * t->dim];
        float hi = lo;
        bool finite = true;
        for (int64_t k = 0; k < t->dim; k++) {
            const float x = t->w[r * t->dim + k];
            finite = finite && isfinite(x);
            lo = fminf(lo, x);
            hi = fmaxf(hi, x);
        }
        lo = finite ? lo + 0.0f : NAN;
        hi = finite ? hi + 0.0f : NAN;
        float *min_val = &t->min_val[r];
        float *max_val = &t->max_val[r];
        if (!t->observed || op->observer == QEMB_OBSERVER_MEMORYLESS) {
            *min_val = lo;
            *max_val = hi;
        } else if (op->observer == QEMB_OBSERVER_MIN_MAX) {
            *min_val = isnan(lo) || isnan(*min_val) ? NAN : lo < *min_val ? lo : *min_val;
            *max_val = isnan(hi) || isnan(*max_val) ? NAN : hi > *max_val ? hi : *max_val;
        } else {
            const float down = c * (lo - *min_val);
            const float up = c * (hi - *max_val);
            *min_val = *min_val + down;
            *max_val = *max_val + up;
            if (*min_val > *max_val) {
                *min_val = lo;
                *max_val = hi;
            }
        }
    }
    t->observed = true;
}

void model_event(model *m, int64_t step) {
    const bag_event e = bag_event_of(m->op, step);
    for (int64_t t = 0; t < m->op->T; t++) {
        if (e.table == -1 || e.table == t) {
            if (e.observer == 0 && m->t[t].observer_on && m->op->observer == QEMB_OBSERVER_MEMORYLESS) {
                observe(m->op, &m->t[t]); /* it keeps no statistics: those of the rows as they are now stay */
            }
            m->t[t].observer_on = e.observer >= 0 ? e.observer : m->t[t].observer_on;
            m->t[t].fake_quant_on = e.fake_quant >= 0 ? e.fake_quant : m->t[t].fake_quant_on;
        }
    }
    if (e.write_table >= 0) {
        model_table *t = &m->t[e.write_table];
        float *w = bag_weights(m->op, e.write_table, step);
        memcpy(t->w + e.first * t->dim, w + e.first * t->dim, (size_t)(e.count * t->dim) * sizeof(float));
        free(w);
    }
}

void model_qparams(const op_bag_forward *op, const model_table *t, int64_t r, float *scale, float *zero) {
    const float width = t->max_val[r] - t->min_val[r];
    const float steps = (float)(op->qmax - op->qmin);
    const float reciprocal = 1.0f / steps;
    const float s = op->arithmetic == QEMB_ARITHMETIC_TORCH_CUDA ? width * reciprocal : width / steps;
    *scale = s > 0x1p-23f ? s : 1.0f;
    *zero = -t->min_val[r] / *scale;
}

static float fake_quant(const op_bag_forward *op, float x, float scale, float zero) {
    const float inverse = 1.0f / scale;
    const double t = (double)fmaf(x, inverse, zero);
    if (isnan(t)) {
        return NAN;
    }
    double q = nearbyint(t);
    q = q < (double)op->qmin ? (double)op->qmin : q > (double)op->qmax ? (double)op->qmax : q;
    if (op->arithmetic == QEMB_ARITHMETIC_TORCH_CUDA) {
        const float d = (float)q - zero;
        return d * scale;
    }
    return (float)((q - (double)zero) * (double)scale);
}

/* x * min(1, max_norm / norm), the norm in double. */
static void clip(const op_bag_forward *op, float *x, int64_t dim) {
    double sum = 0.0;
    for (int64_t k = 0; k < dim; k++) {
        const double a = fabs((double)x[k]);
        sum = isinf(op->norm) ? (a > sum || isnan(a) ? a : sum) : sum + pow(a, op->norm);
    }
    const double norm = isinf(op->norm) ? sum : pow(sum, 1.0 / op->norm);
    if (norm > (double)(float)op->max_norm) {
        const float factor = (float)((double)(float)op->max_norm / (norm + 1e-7));
        for (int64_t k = 0; k < dim; k++) {
            x[k] = x[k] * factor;
        }
    }
}

void model_look_up(const op_bag_forward *op, const model_table *t, int64_t r, float *value) {
    float scale = 0.0f;
    float zero = 0.0f;
    model_qparams(op, t, r, &scale, &zero);
    for (int64_t k = 0; k < t->dim; k++) {
        value[k] = t->fake_quant_on ? fake_quant(op, t->w[r * t->dim + k], scale, zero) : t->w[r * t->dim + k];
    }
    if (op->max_norm >= 0.0) {
        clip(op, value, t->dim);
    }
}

/* Clipping a float table changes the table: every row that a step looks up, once. */
static void clip_master(const op_bag_forward *op, model_table *t, const op_lookups *in, int64_t table) {
    for (int64_t r = 0; r < t->rows; r++) {
        bool used = false;
        for (int64_t p = in->offsets[table * op->B]; p < in->offsets[(table + 1) * op->B]; p++) {
            used = used || in->indices[p] == r;
        }
        if (used) {
            clip(op, t->w + r * t->dim, t->dim);
        }
    }
}

static void pool(const op_bag_forward *op, const model_table *t, const op_lookups *in, int64_t g, float *out) {
    float *value = malloc((size_t)t->dim * sizeof *value);
    cr_assert_not_null(value);
    float count = 0.0f;
    memset(out, 0, (size_t)t->dim * sizeof *out);
    for (int64_t p = in->offsets[g]; p < in->offsets[g + 1]; p++) {
        if (in->indices[p] == t->padding) {
            continue;
        }
        model_look_up(op, t, in->indices[p], value);
        for (int64_t k = 0; k < t->dim; k++) {
            if (op->mode == QEMB_MODE_MAX) {
                out[k] = count == 0.0f || value[k] > out[k] || isnan(value[k]) ? value[k] : out[k];
            } else if (!op->weighted) {
                out[k] = out[k] + value[k];
            } else if (t->padding < 0) {
                out[k] = fmaf(in->weights[p], value[k], out[k]);
            } else {
                const float product = in->weights[p] * value[k];
                out[k] = out[k] + product;
            }
        }
        count += 1.0f;
    }
    for (int64_t k = 0; op->mode == QEMB_MODE_MEAN && count > 0.0f && k < t->dim; k++) {
        out[k] = out[k] / count;
    }
    free(value);
}

void model_forward(model *m, int64_t step) {
    const op_bag_forward *op = m->op;
    const int64_t columns = op_bag_forward_columns(op);
    op_lookups in;
    cr_assert(op_bag_forward_fill(op, step, &in));
    const bool pooled = op->mode != OP_MODE_NONE;
    const int64_t rows = pooled ? op->B : in.num_indices;
    float *out = realloc(m->result.out, (size_t)(m->result.out_count + rows * columns + 1) * sizeof *out);
    cr_assert_not_null(out);
    m->result.out = out;
    out += m->result.out_count;
    m->result.out_count += rows * columns;
    int64_t column = 0;
    for (int64_t t = 0; t < op->T; t++) {
        model_table *table = &m->t[t];
        if (table->observer_on) {
            observe(op, table);
        }
        if (!table->fake_quant_on && op->max_norm >= 0.0) {
            clip_master(op, table, &in, t);
        }
        for (int64_t b = 0; b < rows; b++) {
            if (pooled) {
                pool(op, table, &in, t * op->B + b, out + b * columns + column);
            } else {
                model_look_up(op, table, in.indices[b], out + b * columns);
            }
        }
        column += table->dim;
    }
    op_lookups_free(&in);
}

static void model_observer(model *m) {
    for (int64_t t = 0; t < m->op->T; t++) {
        const model_table *table = &m->t[t];
        float *o = realloc(m->result.observer, (size_t)(m->result.observer_count + 4 * table->rows) * sizeof *o);
        cr_assert_not_null(o);
        m->result.observer = o;
        o += m->result.observer_count;
        m->result.observer_count += 4 * table->rows;
        for (int64_t r = 0; r < table->rows; r++) {
            o[r] = table->min_val[r];
            o[table->rows + r] = table->max_val[r];
            model_qparams(m->op, table, r, &o[2 * table->rows + r], &o[3 * table->rows + r]);
        }
    }
}

bag_result bag_model(const op_bag_forward *op) {
    model *m = calloc(1, sizeof *m);
    cr_assert_not_null(m);
    cr_assert_leq(op->T, 256);
    model_open(m, op);
    for (int64_t step = 0; step < op->steps; step++) {
        model_event(m, step);
        model_forward(m, step);
        model_observer(m);
    }
    bag_result result = m->result;
    model_close(m);
    free(m);
    return result;
}
