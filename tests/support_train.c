/* support_train.c - see support_train.h. */
#include <criterion/criterion.h>

#include "support_train.h"

/* ---- results ------------------------------------------------------------------------------------------------------------ */

void train_result_free(train_result *r) {
    free(r->values);
    free(r->parts);
    *r = (train_result){0};
}

float *train_append(train_result *r, const char *label, int64_t step, int64_t table, int64_t count) {
    if (r->num_parts == r->parts_room) {
        r->parts_room = 2 * r->parts_room + 64;
        r->parts = realloc(r->parts, (size_t)r->parts_room * sizeof *r->parts);
        cr_assert_not_null(r->parts);
    }
    if (r->count + count >= r->room) {
        r->room = 2 * r->room + count + 1024;
        r->values = realloc(r->values, (size_t)r->room * sizeof *r->values);
        cr_assert_not_null(r->values);
    }
    train_part *part = &r->parts[r->num_parts++];
    *part = (train_part){.first = r->count, .count = count};
    (void)snprintf(part->label, sizeof part->label, "%s, step %lld, table %lld", label, (long long)step, (long long)table);
    r->count += count;
    return r->values + part->first;
}

void train_expect_same(const op_row_update *op, const char *who, const train_result *got, const train_result *want, double tolerance) {
    char text[TRAIN_LINE];
    cr_assert_eq(got->num_parts, want->num_parts, "%s: %lld parts, want %lld", who, (long long)got->num_parts, (long long)want->num_parts);
    for (int64_t k = 0; k < want->num_parts; k++) {
        const train_part *a = &got->parts[k];
        const train_part *b = &want->parts[k];
        cr_assert(a->count == b->count && strcmp(a->label, b->label) == 0, "%s: %s [%lld], want %s [%lld]\nQEMB_CASE=\"%s\"", who, a->label,
                  (long long)a->count, b->label, (long long)b->count, op_row_update_text(op, text));
        for (int64_t i = 0; i < b->count; i++) {
            const float g = got->values[a->first + i];
            const float w = want->values[b->first + i];
            const bool near = tolerance > 0.0 && fabs((double)g - (double)w) <= tolerance * (fabs((double)w) + 1.0);
            if (!bag_same_bits(g, w) && !near) {
                cr_assert_fail("%s: %s, element %lld: got %a (%g), want %a (%g)\nQEMB_CASE=\"%s\"", who, b->label, (long long)i, (double)g,
                               (double)g, (double)w, (double)w, op_row_update_text(op, text));
            }
        }
    }
}

float train_loss(const float *output, const float *grad_output, int64_t count) {
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)output[i] * (double)grad_output[i];
    }
    return (float)sum;
}

void train_must(const op_row_update *op, qemb_status st) {
    char text[TRAIN_LINE];
    cr_assert_eq(st, QEMB_OK, "%s: %s\nQEMB_CASE=\"%s\"", qemb_status_name(st), qemb_last_error(), op_row_update_text(op, text));
}

/* ---- an engine runs it -------------------------------------------------------------------------------------------------------- */

static void must(const train_runner *r, qemb_status st) {
    train_must(r->op, st);
}

void train_open(train_runner *r, qemb_context *ctx, const op_row_update *op, const float *const *given) {
    const op_bag_forward *f = &op->backward.forward;
    float *own[256] = {NULL};
    const float *weights[256];
    *r = (train_runner){.op = op, .ctx = ctx, .outputs = true};
    cr_assert_leq(f->T, 256);
    for (int64_t t = 0; t < f->T; t++) {
        own[t] = given ? NULL : bag_weights(f, t, 0);
        weights[t] = given ? given[t] : own[t];
    }
    must(r, bag_module(ctx, f, weights, &r->embedding, &r->bag));
    must(r, qemb_batch_create(ctx, &r->batch));
    if (op->opt != OP_NO_OPTIMIZER) {
        const qemb_optimizer_desc desc = op_row_update_desc(op);
        must(r, qemb_optimizer_create(ctx, r->bag, &desc, &r->optimizer));
    }
    for (int64_t t = 0; t < f->T; t++) {
        free(own[t]);
    }
}

void train_close(train_runner *r) {
    must(r, qemb_context_finish(r->ctx));
    qemb_optimizer_destroy(r->optimizer);
    qemb_batch_destroy(r->batch);
    if (r->embedding) {
        qemb_embedding_destroy(r->embedding);
    } else {
        qemb_embedding_bag_destroy(r->bag);
    }
    r->optimizer = NULL;
    r->batch = NULL;
    r->embedding = NULL;
    r->bag = NULL;
}

static void set_batch(train_runner *r, const op_lookups *in) {
    if (r->op->backward.forward.mode == OP_MODE_NONE) {
        must(r, qemb_batch_set(r->batch, r->bag,
                               &(qemb_input){.indices = in->indices, .num_indices = in->num_indices, .indices_dtype = QEMB_INT64}));
    } else {
        must(r, op_bag_forward_set(&r->op->backward.forward, in, r->bag, r->batch));
    }
}

static qemb_buffer *buffer_of(train_runner *r, int64_t bytes) {
    qemb_buffer *b = NULL;
    must(r, qemb_buffer_create(r->ctx, (size_t)(bytes > 0 ? bytes : 1), &b));
    return b;
}

static void read_floats(train_runner *r, qemb_buffer *from, float *to, int64_t count) {
    must(r, qemb_buffer_read(from, 0, (size_t)count * sizeof *to, to));
}

/* One COO gradient: its rows as floats, which are small enough to be exact, then its values. */
static void append_coo(train_runner *r, const op_gradient_buffers *b, const char *label, int64_t step, int64_t t) {
    const int64_t dim = op_bag_forward_dim(&r->op->backward.forward, t);
    int64_t nnz = 0;
    must(r, qemb_buffer_read(b->coo_count, 0, sizeof nnz, &nnz));
    cr_assert(nnz >= 0 && nnz <= (int64_t)(qemb_buffer_bytes(b->coo_indices) / sizeof(int64_t)), "%lld entries", (long long)nnz);
    float *values = train_append(&r->result, label, step, t, nnz + nnz * dim);
    int64_t *rows = malloc((size_t)(nnz + 1) * sizeof *rows);
    cr_assert_not_null(rows);
    must(r, qemb_buffer_read(b->coo_indices, 0, (size_t)nnz * sizeof *rows, rows));
    read_floats(r, b->coo_values, values + nnz, nnz * dim);
    for (int64_t i = 0; i < nnz; i++) {
        values[i] = (float)rows[i];
    }
    free(rows);
}

static void append_gradients(train_runner *r, qemb_buffer *grad, const op_lookups *in, int64_t step) {
    const op_bag_forward *f = &r->op->backward.forward;
    const int64_t want = op_bag_backward_can(&r->op->backward);
    for (int64_t t = 0; t < f->T && want; t++) {
        const int64_t elements = op_bag_forward_rows(f, t) * op_bag_forward_dim(f, t);
        op_gradient_buffers b = {.dense = buffer_of(r, elements * 4),
                                 .coo_indices = buffer_of(r, in->num_indices * 8),
                                 .coo_values = buffer_of(r, in->num_indices * op_bag_forward_dim(f, t) * 4),
                                 .coo_count = buffer_of(r, 8),
                                 .weights = buffer_of(r, in->num_indices * 4)};
        if (want & OP_WANT_COO) {
            must(r, op_bag_backward_run(r->bag, r->batch, grad, (int32_t)t, OP_WANT_COO, &b));
            append_coo(r, &b, "coo", step, t);
        }
        const int64_t rest = want & ~(int64_t)(OP_WANT_COO | (t ? OP_WANT_WEIGHTS : 0));
        if (rest) {
            must(r, op_bag_backward_run(r->bag, r->batch, grad, (int32_t)t, rest, &b));
        }
        if (rest & OP_WANT_COALESCED) {
            append_coo(r, &b, "coalesced", step, t);
        }
        if (rest & OP_WANT_DENSE) {
            read_floats(r, b.dense, train_append(&r->result, "dense", step, t, elements), elements);
        }
        if (rest & OP_WANT_WEIGHTS) {
            read_floats(r, b.weights, train_append(&r->result, "per-sample weights", step, t, in->num_indices), in->num_indices);
        }
        qemb_buffer_destroy(b.dense);
        qemb_buffer_destroy(b.coo_indices);
        qemb_buffer_destroy(b.coo_values);
        qemb_buffer_destroy(b.coo_count);
        qemb_buffer_destroy(b.weights);
    }
}

void train_step_with(train_runner *r, int64_t step, const op_lookups *in, const float *grad_output, int64_t count) {
    qemb_buffer *out = buffer_of(r, count * 4);
    qemb_buffer *grad = buffer_of(r, count * 4);
    float *values = malloc((size_t)(count + 1) * sizeof *values);
    cr_assert_not_null(values);
    must(r, qemb_buffer_write(grad, 0, (size_t)count * 4, grad_output));
    set_batch(r, in);
    must(r, r->embedding ? qemb_embedding_forward(r->embedding, r->batch, out) : qemb_embedding_bag_forward(r->bag, r->batch, out));
    if (r->outputs || r->losses) {
        read_floats(r, out, values, count);
    }
    if (r->outputs) {
        memcpy(train_append(&r->result, "output", step, 0, count), values, (size_t)count * sizeof *values);
    }
    if (r->losses) {
        *train_append(&r->result, "loss", step, 0, 1) = train_loss(values, grad_output, count);
    }
    append_gradients(r, grad, in, step);
    if (r->optimizer) {
        must(r, qemb_embedding_bag_step(r->bag, r->batch, grad, r->optimizer));
    }
    must(r, qemb_context_finish(r->ctx));
    qemb_buffer_destroy(out);
    qemb_buffer_destroy(grad);
    free(values);
}

void train_step(train_runner *r, int64_t step) {
    const op_bag_forward *f = &r->op->backward.forward;
    op_lookups in;
    cr_assert(op_bag_forward_fill(f, step, &in));
    must(r, bag_apply_event(r->bag, &r->op->backward.forward, step));
    const int64_t count = (f->mode != OP_MODE_NONE ? f->B : in.num_indices) * op_bag_forward_columns(f);
    float *grad = malloc((size_t)(count + 1) * sizeof *grad);
    cr_assert_not_null(grad);
    op_bag_backward_fill(&r->op->backward, step, grad, count);
    train_step_with(r, step, &in, grad, count);
    free(grad);
    op_lookups_free(&in);
}

void train_state(train_runner *r) {
    const op_bag_forward *f = &r->op->backward.forward;
    qemb_optimizer_info info = {0};
    if (r->optimizer) {
        must(r, qemb_optimizer_info_get(r->optimizer, &info));
    }
    for (int64_t t = 0; t < f->T; t++) {
        const int64_t rows = op_bag_forward_rows(f, t);
        const int64_t dim = op_bag_forward_dim(f, t);
        must(r, qemb_embedding_bag_read_weight(r->bag, (int32_t)t, 0, rows, train_append(&r->result, "weight", f->steps, t, rows * dim)));
        if (f->observer != QEMB_OBSERVER_MEMORYLESS) {
            float *o = train_append(&r->result, "observer", f->steps, t, 4 * rows);
            must(r, qemb_embedding_bag_read_observer(r->bag, (int32_t)t, 0, rows,
                                                     &(qemb_observer_rows){o, o + rows, o + 2 * rows, o + 3 * rows}));
        }
        for (int32_t k = 0; k < info.num_arrays; k++) {
            const int64_t width = info.array_row_wise[k] ? 1 : dim;
            must(r, qemb_optimizer_read_state(r->optimizer, k, (int32_t)t, 0, rows,
                                              train_append(&r->result, info.array_name[k], f->steps, t, rows * width)));
        }
    }
}

train_result train_run_in(qemb_context *ctx, const op_row_update *op) {
    train_runner r;
    train_open(&r, ctx, op, NULL);
    for (int64_t step = 0; step < op->backward.forward.steps; step++) {
        train_step(&r, step);
    }
    train_state(&r);
    train_close(&r);
    return r.result;
}

train_result train_run(const bag_engine *engine, const op_row_update *op) {
    return train_run_in(bag_kept_context(engine), op);
}

void train_check(const op_row_update *op, unsigned engines, double tolerance) {
    train_result want = train_model(op);
    for (int e = 0; e < BAG_ENGINES; e++) {
        if (e == BAG_REFERENCE || (engines & 1u << e)) {
            train_result got = train_run(&bag_engines[e], op);
            train_expect_same(op, bag_engines[e].label, &got, &want, e == BAG_REFERENCE ? 0.0 : tolerance);
            train_result_free(&got);
        }
    }
    train_result_free(&want);
}

/* ---- settings ------------------------------------------------------------------------------------------------------------------ */

void train_optimizer(op_row_update *op, int64_t kind, int64_t variant) {
    const bool odd = variant % 2 != 0;
    const bool adam = kind == QEMB_SPARSE_ADAM || kind == QEMB_ADAM || kind == QEMB_PARTIAL_ROWWISE_ADAM || kind == QEMB_LAMB;
    const bool decays = kind != QEMB_ADAGRAD && kind != QEMB_SPARSE_ADAM;
    *op = (op_row_update){.backward = op->backward, .opt = kind, .lr = odd ? 0.3 : 0.05};
    op->weight_decay = decays && variant % 3 != 2 ? 0.01 : 0.0;
    op->maximize = variant % 5 == 4;
    op->clip = variant % 3;
    op->limit = op->clip == QEMB_CLIP_VALUE ? 0.7 : op->clip == QEMB_CLIP_NORM ? 2.5 : 0.0;
    if (kind == QEMB_SGD) {
        op->momentum = variant == 0 ? 0.0 : 0.9;
        op->nesterov = variant % 4 == 1;
        op->dampening = variant % 4 == 3 ? 0.1 : 0.0;
        op->form = variant % 4 >= 2 ? QEMB_SGD_DENSE : QEMB_SGD_TOUCHED;
    } else if (kind == QEMB_ADAGRAD) {
        op->lr_decay = odd ? 0.05 : 0.0;
        op->accumulator = odd ? 0.1 : 0.0;
        op->eps = odd ? 1e-5 : 0.0;
    } else if (kind == QEMB_ROWWISE_ADAGRAD) {
        op->decay = odd ? QEMB_DECAY_DECOUPLED : QEMB_DECAY_L2;
        op->shrink = odd ? 1.5 : 0.0;
    } else if (adam) {
        op->beta1 = odd ? 0.8 : 0.0;
        op->beta2 = odd ? 0.95 : 0.0;
        op->eps = odd ? 1e-6 : 0.0;
    } else if (kind == QEMB_LARS_SGD) {
        op->momentum = odd ? 0.9 : 0.0;
        op->trust = odd ? 0.02 : 0.0;
    }
}

#define PICK(state, list) ((list)[op_below((state), (int64_t)(sizeof(list) / sizeof *(list)))])

op_row_update train_random(const train_form *form, uint64_t seed) {
    static const int64_t dims[5][3] = {{5, 6, 7}, {19, 23, 31}, {32, 32, 32}, {67, 71, 79}, {257, 263, 4093}};
    static const int64_t ranges[][2] = {{0, 255}, {0, 15}, {0, 3}, {0, 1}, {-128, 127}, {-8, 7}};
    static const int64_t tables[] = {1, 1, 3};
    uint64_t state = seed;
    op_row_update op = {.backward.forward = OP_BAG_FORWARD_DEFAULT, .opt = OP_NO_OPTIMIZER};
    op_bag_forward *f = &op.backward.forward;
    f->mode = form->mode;
    f->weighted = form->weighted;
    f->arithmetic = form->arithmetic;
    f->observer = form->observer;
    f->fake_quant = form->fake_quant;
    f->c = form->c;
    f->events = form->events;
    f->T = form->mode == OP_MODE_NONE ? 1 : PICK(&state, tables);
    f->D = PICK(&state, dims[form->widths]);
    f->freq = form->freq;
    f->i64 = form->i64;
    f->E = op_below(&state, 3) == 0 ? 1 + op_below(&state, 3) : 1 + op_below(&state, 43); /* few rows: runs of several parts */
    f->B = 7 + op_below(&state, 17);
    f->L = 3 + op_below(&state, 9);
    f->ragged = op_below(&state, 4) != 0;
    const int64_t *range = ranges[op_below(&state, (int64_t)(sizeof ranges / sizeof *ranges))];
    f->qmin = range[0];
    f->qmax = range[1];
    f->padding = op_below(&state, 2) ? op_below(&state, f->E) : -1;
    f->last = op_below(&state, 2);
    f->two_d = !f->ragged && op_below(&state, 2);
    f->kind = op_below(&state, 2);
    f->steps = 1 + op_below(&state, 3);
    f->seed = (int64_t)(op_random(&state) >> 40);
    op.backward.want = OP_WANT_DENSE | OP_WANT_COO | OP_WANT_COALESCED | OP_WANT_WEIGHTS;
    return op;
}

op_row_update train_case_from_environment(op_row_update otherwise) {
    const char *text = getenv("QEMB_CASE");
    op_row_update op = {.backward = {.forward = OP_BAG_FORWARD_DEFAULT}, .opt = OP_NO_OPTIMIZER};
    cr_assert(!text || !*text || op_row_update_parse(text, &op), "QEMB_CASE holds a word that is not known");
    return text && *text ? op : otherwise;
}
