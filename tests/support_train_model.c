/* support_train_model.c - training as PyTorch and FBGEMM do it, in the plainest words: gradients of whole tables, then every optimiser written
 * out. Shares no code with the engines; the orders of addition are those that qemb.h promises.
 *
 * Rules: torch/optim/sgd.py, adagrad.py, sparse_adam.py, and FBGEMM's table of exact optimisers. */
#include <criterion/criterion.h>

#include "support_model.h"
#include "support_train.h"

typedef struct trainer {
    const op_row_update *op;
    model *m;
    op_lookups in;
    float *grad; /* of the output */
    int64_t steps, out_rows;
    float *gradient[256]; /* [E][D] of this step */
    bool *touched[256];
    float *first[256], *second[256]; /* optimiser state: m and v of the header */
    train_result result;
} trainer;

static float *zeros(int64_t count) {
    float *x = calloc((size_t)(count + 1), sizeof *x);
    cr_assert_not_null(x);
    return x;
}

/* x[0..n) padded with zeros to a power of two and halved; x has room for the padded length. */
static float tree_sum(float *x, int64_t n) {
    int64_t size = 1;
    while (size < n) {
        size *= 2;
    }
    for (int64_t i = n; i < size; i++) {
        x[i] = 0.0f;
    }
    while (size > 1) {
        size /= 2;
        for (int64_t i = 0; i < size; i++) {
            x[i] += x[i + size];
        }
    }
    return x[0];
}

static float sum_of_squares(const float *x, int64_t n) {
    float *work = zeros(2 * n);
    for (int64_t i = 0; i < n; i++) {
        work[i] = x[i] * x[i];
    }
    const float sum = tree_sum(work, n);
    free(work);
    return sum;
}

/* ---- gradients --------------------------------------------------------------------------------------------------------------- */

static int64_t bag_of(const trainer *r, int64_t position) {
    int64_t g = 0;
    if (r->op->backward.forward.mode == OP_MODE_NONE) {
        return position;
    }
    while (r->in.offsets[g + 1] <= position) {
        g++;
    }
    return g;
}

static int64_t grad_padding(const trainer *r, int64_t t) {
    return op_bag_forward_padding(&r->op->backward.forward, t);
}

/* Gradient of the output of the bag that a position of table t is in. */
static const float *grad_of(const trainer *r, int64_t t, int64_t position) {
    const op_bag_forward *f = &r->op->backward.forward;
    int64_t column = 0;
    for (int64_t k = 0; k < t; k++) {
        column += op_bag_forward_dim(f, k);
    }
    const int64_t bag = f->mode == OP_MODE_NONE ? position : bag_of(r, position) - t * f->B;
    return r->grad + bag * op_bag_forward_columns(f) + column;
}

static float alpha_of(const trainer *r, int64_t t, int64_t position, int64_t occurrences) {
    const op_bag_forward *f = &r->op->backward.forward;
    const float over = f->freq ? (float)occurrences : 1.0f;
    if (f->weighted) {
        return r->in.weights[position] / over;
    }
    if (f->mode != QEMB_MODE_MEAN) {
        return 1.0f / over;
    }
    const int64_t g = bag_of(r, position);
    int64_t count = 0;
    for (int64_t p = r->in.offsets[g]; p < r->in.offsets[g + 1]; p++) {
        count += r->in.indices[p] != grad_padding(r, t);
    }
    return 1.0f / (over * (float)count);
}

/* Whether `position` gave column c of its bag: the earliest of the largest, or the last NaN. */
static bool wins(const trainer *r, int64_t t, int64_t position, int64_t c) {
    const model_table *table = &r->m->t[t];
    const int64_t g = bag_of(r, position);
    float *value = zeros(table->dim);
    int64_t winner = -1;
    float best = 0.0f;
    for (int64_t p = r->in.offsets[g]; p < r->in.offsets[g + 1]; p++) {
        if (r->in.indices[p] == table->padding) {
            continue;
        }
        model_look_up(&r->op->backward.forward, table, r->in.indices[p], value);
        if (winner < 0 || value[c] > best || isnan(value[c])) {
            winner = p;
            best = value[c];
        }
    }
    free(value);
    return winner == position;
}

/* 1 where the element's code was inside the range before it was clamped. */
static float mask_of(const trainer *r, int64_t t, int64_t row, int64_t c) {
    const op_bag_forward *f = &r->op->backward.forward;
    const model_table *table = &r->m->t[t];
    float scale = 0.0f;
    float zero = 0.0f;
    if (!table->fake_quant_on) {
        return 1.0f;
    }
    model_qparams(f, table, row, &scale, &zero);
    const float inverse = 1.0f / scale;
    const double code = nearbyint((double)fmaf(table->w[row * table->dim + c], inverse, zero));
    return code >= (double)f->qmin && code <= (double)f->qmax ? 1.0f : 0.0f;
}

static void row_gradient(trainer *r, int64_t t, int64_t row) {
    const op_bag_forward *f = &r->op->backward.forward;
    const int64_t dim = r->m->t[t].dim;
    const int64_t begin = f->mode == OP_MODE_NONE ? 0 : r->in.offsets[t * f->B];
    const int64_t end = f->mode == OP_MODE_NONE ? r->in.num_indices : r->in.offsets[(t + 1) * f->B];
    float *part = zeros(2 * (end - begin) + 64);
    int64_t count = 0;
    for (int64_t p = begin; p < end; p++) {
        count += r->in.indices[p] == row;
    }
    for (int64_t c = 0; c < dim; c++) {
        int64_t seen = 0;
        memset(part, 0, (size_t)(count + 1) * sizeof *part);
        for (int64_t p = begin; p < end; p++) {
            if (r->in.indices[p] != row) {
                continue;
            }
            float *sum = &part[seen++ / 32];
            const float g = grad_of(r, t, p)[c];
            if (f->mode == QEMB_MODE_MAX) {
                *sum = wins(r, t, p, c) ? *sum + g : *sum;
            } else {
                *sum = fmaf(alpha_of(r, t, p, count), g, *sum);
            }
        }
        const float sum = tree_sum(part, (count + 31) / 32);
        r->gradient[t][row * dim + c] = sum * mask_of(r, t, row, c);
    }
    r->touched[t][row] = count > 0;
    free(part);
}

static void gradients(trainer *r) {
    for (int64_t t = 0; t < r->op->backward.forward.T; t++) {
        const model_table *table = &r->m->t[t];
        memset(r->gradient[t], 0, (size_t)(table->rows * table->dim) * sizeof(float));
        memset(r->touched[t], 0, (size_t)table->rows * sizeof(bool));
        for (int64_t row = 0; row < table->rows; row++) {
            if (row != grad_padding(r, t)) {
                row_gradient(r, t, row);
            }
        }
    }
}

/* ---- what a caller may ask for ------------------------------------------------------------------------------------------------- */

static void append_coo(trainer *r, int64_t step, int64_t t) {
    const op_bag_forward *f = &r->op->backward.forward;
    const int64_t dim = r->m->t[t].dim;
    const int64_t begin = f->mode == OP_MODE_NONE ? 0 : r->in.offsets[t * f->B];
    const int64_t end = f->mode == OP_MODE_NONE ? r->in.num_indices : r->in.offsets[(t + 1) * f->B];
    int64_t nnz = 0;
    for (int64_t p = begin; p < end; p++) {
        nnz += r->in.indices[p] != grad_padding(r, t);
    }
    float *rows = train_append(&r->result, "coo", step, t, nnz + nnz * dim);
    float *values = rows + nnz;
    for (int64_t p = begin; p < end; p++) {
        const int64_t row = r->in.indices[p];
        if (row == grad_padding(r, t)) {
            continue;
        }
        *rows++ = (float)row;
        const float alpha = alpha_of(r, t, p, 1);
        for (int64_t c = 0; c < dim; c++) {
            const float product = grad_of(r, t, p)[c] * alpha;
            *values++ = product * mask_of(r, t, row, c);
        }
    }
}

static void append_coalesced(trainer *r, int64_t step, int64_t t) {
    const model_table *table = &r->m->t[t];
    int64_t nnz = 0;
    for (int64_t row = 0; row < table->rows; row++) {
        nnz += r->touched[t][row];
    }
    float *rows = train_append(&r->result, "coalesced", step, t, nnz + nnz * table->dim);
    float *values = rows + nnz;
    for (int64_t row = 0; row < table->rows; row++) {
        if (r->touched[t][row]) {
            *rows++ = (float)row;
            memcpy(values, r->gradient[t] + row * table->dim, (size_t)table->dim * sizeof(float));
            values += table->dim;
        }
    }
}

static void append_weights(trainer *r, int64_t step) {
    const op_bag_forward *f = &r->op->backward.forward;
    float *out = train_append(&r->result, "per-sample weights", step, 0, r->in.num_indices);
    for (int64_t p = 0; p < r->in.num_indices; p++) {
        const int64_t t = bag_of(r, p) / f->B;
        const model_table *table = &r->m->t[t];
        float *value = zeros(2 * table->dim);
        model_look_up(f, table, r->in.indices[p], value);
        for (int64_t c = 0; c < table->dim; c++) {
            value[c] = grad_of(r, t, p)[c] * value[c];
        }
        out[p] = r->in.indices[p] == grad_padding(r, t) ? 0.0f : tree_sum(value, table->dim);
        free(value);
    }
}

static void append_gradients(trainer *r, int64_t step) {
    const int64_t want = op_bag_backward_can(&r->op->backward);
    for (int64_t t = 0; t < r->op->backward.forward.T; t++) {
        const int64_t elements = r->m->t[t].rows * r->m->t[t].dim;
        if (want & OP_WANT_COO) {
            append_coo(r, step, t);
        }
        if (want & OP_WANT_COALESCED) {
            append_coalesced(r, step, t);
        }
        if (want & OP_WANT_DENSE) {
            memcpy(train_append(&r->result, "dense", step, t, elements), r->gradient[t], (size_t)elements * sizeof(float));
        }
        if (t == 0 && want & OP_WANT_WEIGHTS) {
            append_weights(r, step);
        }
    }
}

/* ---- optimisers ------------------------------------------------------------------------------------------------------------------ */

/* The settings with their defaults, as float32 numbers, and what the step number makes of them. */
typedef struct settings {
    double lr, beta1, beta2, bias1, bias2;
    float eps, trust, weight_decay, momentum;
    bool dense;
} settings;

static settings settings_of(const trainer *r) {
    const op_row_update *o = r->op;
    const bool adagrads = o->opt == QEMB_ADAGRAD || o->opt == QEMB_ROWWISE_ADAGRAD;
    settings s = {.lr = o->lr != 0.0 ? o->lr
                        : adagrads   ? 1e-2
                                     : 1e-3,
                  .beta1 = o->beta1 != 0.0 ? o->beta1 : 0.9,
                  .beta2 = o->beta2 != 0.0 ? o->beta2 : 0.999,
                  .eps = (float)(o->eps != 0.0            ? o->eps
                                 : o->opt == QEMB_ADAGRAD ? 1e-10
                                                          : 1e-8),
                  .trust = (float)(o->trust != 0.0 ? o->trust : 1e-3),
                  .weight_decay = (float)o->weight_decay,
                  .momentum = (float)o->momentum,
                  .dense = o->opt == QEMB_SGD && o->form == QEMB_SGD_DENSE && (o->momentum != 0.0 || o->weight_decay != 0.0)};
    s.bias1 = 1.0 - pow(s.beta1, (double)r->steps);
    s.bias2 = 1.0 - pow(s.beta2, (double)r->steps);
    return s;
}

/* All gradients of the step clipped, then negated under maximize. The norm adds rows in blocks of 32, blocks to 256 sums in turn, and those in a tree. */
static void prepare(trainer *r) {
    const op_row_update *o = r->op;
    const float limit = (float)o->limit;
    float sums[256] = {0};
    float block = 0.0f;
    int64_t rows = 0;
    for (int64_t t = 0; t < o->backward.forward.T; t++) {
        for (int64_t row = 0; row < r->m->t[t].rows; row++) {
            if (r->touched[t][row]) {
                block += sum_of_squares(r->gradient[t] + row * r->m->t[t].dim, r->m->t[t].dim);
                if (++rows % 32 == 0) {
                    sums[(rows / 32 - 1) % 256] += block;
                    block = 0.0f;
                }
            }
        }
    }
    sums[rows / 32 % 256] += block;
    for (int half = 128; half > 0; half /= 2) {
        for (int k = 0; k < half; k++) {
            sums[k] += sums[k + half];
        }
    }
    float coefficient = limit / (sqrtf(sums[0]) + 1e-6f);
    coefficient = coefficient < 1.0f ? coefficient : 1.0f;
    for (int64_t t = 0; t < o->backward.forward.T; t++) {
        for (int64_t i = 0; i < r->m->t[t].rows * r->m->t[t].dim; i++) {
            float *g = &r->gradient[t][i];
            *g = o->clip == QEMB_CLIP_NORM ? *g * coefficient : o->clip == QEMB_CLIP_VALUE ? fmaxf(-limit, fminf(limit, *g)) : *g;
            *g = o->maximize ? -*g : *g;
        }
    }
}

static void sgd_row(const trainer *r, const settings *s, float *w, const float *g, float *buffer, int64_t dim) {
    const float keep = (float)(1.0 - r->op->dampening);
    const float rate = (float)-s->lr;
    for (int64_t c = 0; c < dim; c++) {
        const float decay = w[c] * s->weight_decay;
        const float x = s->weight_decay != 0.0f ? g[c] + decay : g[c];
        float direction = x;
        if (s->momentum != 0.0f) {
            const float old = buffer[c] * s->momentum;
            const float fresh = x * keep;
            buffer[c] = r->steps == 1 ? x : old + fresh;
            const float ahead = buffer[c] * s->momentum;
            direction = r->op->nesterov ? x + ahead : buffer[c];
        }
        const float moved = direction * rate;
        w[c] = w[c] + moved;
    }
}

static void adagrad_row(const trainer *r, const settings *s, float *w, const float *g, float *sum, int64_t dim) {
    const float rate = (float)(-s->lr / (1.0 + (double)(r->steps - 1) * r->op->lr_decay));
    for (int64_t c = 0; c < dim; c++) {
        const float square = g[c] * g[c];
        sum[c] += square;
        const float below = sqrtf(sum[c]) + s->eps;
        const float moved = g[c] / below * rate;
        w[c] += moved;
    }
}

static void rowwise_adagrad_row(const trainer *r, const settings *s, float *w, const float *g, float *sum, int64_t dim) {
    float *x = zeros(2 * dim);
    const float lr = (float)s->lr;
    for (int64_t c = 0; c < dim; c++) {
        const float decay = w[c] * s->weight_decay;
        x[c] = r->op->decay == QEMB_DECAY_L2 && s->weight_decay != 0.0f ? g[c] + decay : g[c];
    }
    *sum += sum_of_squares(x, dim) / (float)dim;
    const float rate = lr / (sqrtf(*sum) + s->eps);
    const float decay = (r->op->decay == QEMB_DECAY_L2 ? rate : lr) * s->weight_decay;
    const float keep = 1.0f - decay;
    for (int64_t c = 0; c < dim; c++) {
        const float kept = keep * w[c];
        const float moved = -rate * g[c];
        w[c] = kept + moved;
    }
    const float norm = sqrtf(sum_of_squares(w, dim));
    for (int64_t c = 0; c < dim && r->op->shrink > 0.0 && norm > (float)r->op->shrink; c++) {
        w[c] *= (float)r->op->shrink / norm;
    }
    free(x);
}

static void sparse_adam_row(const settings *s, float *w, const float *g, float *m, float *v, int64_t dim) {
    const float rate = (float)-(s->lr * sqrt(s->bias2) / s->bias1);
    for (int64_t c = 0; c < dim; c++) {
        const float square = g[c] * g[c];
        const float dm = (g[c] - m[c]) * (float)(1.0 - s->beta1);
        const float dv = (square - v[c]) * (float)(1.0 - s->beta2);
        m[c] = dm + m[c];
        v[c] = dv + v[c];
        const float moved = m[c] / (sqrtf(v[c]) + s->eps) * rate;
        w[c] += moved;
    }
}

/* ADAM, PARTIAL_ROWWISE_ADAM (v is one number) and LAMB. */
static void adam_row(const trainer *r, const settings *s, float *w, const float *g, float *m, float *v, int64_t dim) {
    const bool row_wise = r->op->opt == QEMB_PARTIAL_ROWWISE_ADAM;
    float *direction = zeros(dim);
    const float keep = (float)s->beta2;
    const float rest = (float)(1.0 - s->beta2);
    if (row_wise) {
        const float mean = sum_of_squares(g, dim) / (float)dim;
        const float old = keep * *v;
        const float fresh = rest * mean;
        *v = old + fresh;
    }
    for (int64_t c = 0; c < dim; c++) {
        const float old = m[c] * (float)s->beta1;
        const float fresh = g[c] * (float)(1.0 - s->beta1);
        m[c] = old + fresh;
        if (!row_wise) {
            const float square = g[c] * g[c];
            const float before = v[c] * keep;
            const float added = square * rest;
            v[c] = before + added;
        }
        const float below = sqrtf((row_wise ? *v : v[c]) / (float)s->bias2) + s->eps;
        const float decay = w[c] * s->weight_decay;
        const float ratio = m[c] / (float)s->bias1 / below;
        direction[c] = ratio + decay;
    }
    float rate = (float)-s->lr;
    const float length = sqrtf(sum_of_squares(w, dim));
    const float stride = sqrtf(sum_of_squares(direction, dim));
    if (r->op->opt == QEMB_LAMB && length > 0.0f && stride > 0.0f) {
        const float trust = length / stride;
        rate = rate * trust;
    }
    for (int64_t c = 0; c < dim; c++) {
        const float moved = direction[c] * rate;
        w[c] += moved;
    }
    free(direction);
}

static void lars_row(const settings *s, float *w, const float *g, float *buffer, int64_t dim) {
    const float length = sqrtf(sum_of_squares(w, dim));
    const float decayed = s->weight_decay * length;
    const float below = sqrtf(sum_of_squares(g, dim)) + decayed;
    const float rate = (float)s->lr * s->trust;
    const float above = rate * length;
    const float a = length > 0.0f && below > 0.0f ? above / below : (float)s->lr;
    for (int64_t c = 0; c < dim; c++) {
        const float decay = w[c] * s->weight_decay;
        const float x = g[c] + decay;
        const float old = buffer[c] * s->momentum;
        const float fresh = x * a;
        buffer[c] = old + fresh;
        w[c] -= buffer[c];
    }
}

/* What each kind keeps, under the names that it has in state dicts; NULL: nothing. */
typedef struct kept_state {
    const char *first, *second;
    bool row_wise; /* the second: one number a row */
} kept_state;

static kept_state kept_by(const op_row_update *o) {
    static const kept_state all[OP_OPTIMIZERS] = {
        [QEMB_SGD] = {"momentum_buffer", NULL, false},  [QEMB_ADAGRAD] = {NULL, "sum", false},
        [QEMB_ROWWISE_ADAGRAD] = {NULL, "sum", true},   [QEMB_SPARSE_ADAM] = {"exp_avg", "exp_avg_sq", false},
        [QEMB_ADAM] = {"exp_avg", "exp_avg_sq", false}, [QEMB_PARTIAL_ROWWISE_ADAM] = {"exp_avg", "exp_avg_sq", true},
        [QEMB_LAMB] = {"exp_avg", "exp_avg_sq", false}, [QEMB_LARS_SGD] = {"momentum_buffer", NULL, false},
    };
    return o->opt == OP_NO_OPTIMIZER || (o->opt == QEMB_SGD && o->momentum == 0.0) ? (kept_state){NULL, NULL, false} : all[o->opt];
}

static void update_row(const trainer *r, const settings *s, int64_t t, int64_t row) {
    const int64_t dim = r->m->t[t].dim;
    const bool row_wise = kept_by(r->op).row_wise;
    float *w = r->m->t[t].w + row * dim;
    const float *g = r->gradient[t] + row * dim;
    float *m = r->first[t] + row * dim;
    float *v = r->second[t] + (row_wise ? row : row * dim);
    switch ((qemb_optimizer_kind)r->op->opt) {
    case QEMB_SGD:
        sgd_row(r, s, w, g, m, dim);
        break;
    case QEMB_ADAGRAD:
        adagrad_row(r, s, w, g, v, dim);
        break;
    case QEMB_ROWWISE_ADAGRAD:
        rowwise_adagrad_row(r, s, w, g, v, dim);
        break;
    case QEMB_SPARSE_ADAM:
        sparse_adam_row(s, w, g, m, v, dim);
        break;
    case QEMB_LARS_SGD:
        lars_row(s, w, g, m, dim);
        break;
    case QEMB_ADAM:
    case QEMB_PARTIAL_ROWWISE_ADAM:
    case QEMB_LAMB:
        adam_row(r, s, w, g, m, v, dim);
        break;
    }
}

static void update(trainer *r) {
    r->steps++;
    const settings s = settings_of(r);
    prepare(r);
    for (int64_t t = 0; t < r->op->backward.forward.T; t++) {
        for (int64_t row = 0; row < r->m->t[t].rows; row++) {
            if (r->touched[t][row] || s.dense) {
                update_row(r, &s, t, row);
            }
        }
    }
}

/* ---- the script -------------------------------------------------------------------------------------------------------------------- */

static void step(trainer *r, int64_t k) {
    const op_bag_forward *f = &r->op->backward.forward;
    const int64_t before = r->m->result.out_count;
    cr_assert(op_bag_forward_fill(f, k, &r->in));
    model_event(r->m, k);
    model_forward(r->m, k);
    const int64_t count = r->m->result.out_count - before;
    memcpy(train_append(&r->result, "output", k, 0, count), r->m->result.out + before, (size_t)count * sizeof(float));
    r->grad = zeros(count);
    op_bag_backward_fill(&r->op->backward, k, r->grad, count);
    gradients(r);
    append_gradients(r, k);
    if (r->op->opt != OP_NO_OPTIMIZER) {
        update(r);
    }
    free(r->grad);
    op_lookups_free(&r->in);
}

static void final_state(trainer *r) {
    const op_row_update *o = r->op;
    const op_bag_forward *f = &o->backward.forward;
    const kept_state kept = kept_by(o);
    for (int64_t t = 0; t < f->T; t++) {
        const model_table *table = &r->m->t[t];
        const int64_t elements = table->rows * table->dim;
        memcpy(train_append(&r->result, "weight", f->steps, t, elements), table->w, (size_t)elements * sizeof(float));
        if (f->observer != QEMB_OBSERVER_MEMORYLESS) {
            float *out = train_append(&r->result, "observer", f->steps, t, 4 * table->rows);
            for (int64_t row = 0; row < table->rows; row++) {
                out[row] = table->min_val[row];
                out[table->rows + row] = table->max_val[row];
                model_qparams(f, table, row, &out[2 * table->rows + row], &out[3 * table->rows + row]);
            }
        }
        if (kept.first) {
            memcpy(train_append(&r->result, kept.first, f->steps, t, elements), r->first[t], (size_t)elements * sizeof(float));
        }
        if (kept.second) {
            const int64_t count = kept.row_wise ? table->rows : elements;
            memcpy(train_append(&r->result, kept.second, f->steps, t, count), r->second[t], (size_t)count * sizeof(float));
        }
    }
}

train_result train_model(const op_row_update *op) {
    trainer r = {.op = op, .m = calloc(1, sizeof *r.m)};
    cr_assert_not_null(r.m);
    model_open(r.m, &op->backward.forward);
    for (int64_t t = 0; t < op->backward.forward.T; t++) {
        const int64_t elements = r.m->t[t].rows * r.m->t[t].dim;
        r.gradient[t] = zeros(elements);
        r.first[t] = zeros(elements);
        r.second[t] = zeros(elements);
        r.touched[t] = calloc((size_t)r.m->t[t].rows, sizeof(bool));
        cr_assert_not_null(r.touched[t]);
        for (int64_t i = 0; i < elements; i++) {
            r.second[t][i] = (float)op->accumulator;
        }
    }
    for (int64_t k = 0; k < op->backward.forward.steps; k++) {
        step(&r, k);
    }
    final_state(&r);
    for (int64_t t = 0; t < op->backward.forward.T; t++) {
        free(r.gradient[t]);
        free(r.first[t]);
        free(r.second[t]);
        free(r.touched[t]);
    }
    bag_result_free(&r.m->result);
    model_close(r.m);
    free(r.m);
    return r.result;
}
