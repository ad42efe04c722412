/* replay_train.c - the backward and optimiser half of a step. */
#include <stdio.h>
#include <stdlib.h>

#include "replay_run.h"

/* A number that a descriptor cannot tell from its default. */
static bool is_plain_zero(replay_number n) {
    return n.given && n.value == 0.0;
}

qemb_status replay_optimizer_create(replay_run *r) {
    const replay_case *c = r->c;
    qemb_optimizer_desc d = {.lr = c->lr.value, .momentum = c->momentum.value};
    if (c->optimizer == REPLAY_NONE) {
        return QEMB_OK;
    }
    if (is_plain_zero(c->eps) || is_plain_zero(c->beta1) || is_plain_zero(c->beta2)) {
        replay_skip(r->report, "eps, beta1 or beta2 of 0");
        return QEMB_OK;
    }
    if (c->optimizer == REPLAY_SGD) {
        d.kind = QEMB_SGD;
        d.form = c->momentum.value != 0.0 ? QEMB_SGD_DENSE : QEMB_SGD_TOUCHED; /* the same without momentum */
    } else {
        d.kind = c->optimizer == REPLAY_ADAGRAD ? QEMB_ADAGRAD : QEMB_SPARSE_ADAM;
        d.eps = c->eps.value;
        d.beta1 = c->beta1.value;
        d.beta2 = c->beta2.value;
    }
    qemb_status st = qemb_optimizer_create(r->ctx, r->bag, &d, &r->optimizer);
    return st == QEMB_OK && is_plain_zero(c->lr) ? qemb_optimizer_set_lr(r->optimizer, 0.0) : st;
}

/* Device memory that lives for one step. */
typedef struct step_buffers {
    qemb_buffer *grad_output, *dense, *psw, *coo_indices, *coo_values, *coo_count;
    float *host; /* [V][D], or [N] */
} step_buffers;

static void free_buffers(step_buffers *b) {
    qemb_buffer_destroy(b->grad_output);
    qemb_buffer_destroy(b->dense);
    qemb_buffer_destroy(b->psw);
    qemb_buffer_destroy(b->coo_indices);
    qemb_buffer_destroy(b->coo_values);
    qemb_buffer_destroy(b->coo_count);
    free(b->host);
}

static int64_t at_least_one(int64_t n) {
    return n > 0 ? n : 1;
}

/* Reads `count` floats and compares them with the tensor `part` of step k. */
static qemb_status compare_step(replay_run *r, int64_t k, const char *part, qemb_buffer *buffer, step_buffers *b, int64_t count) {
    char name[64];
    (void)snprintf(name, sizeof name, "step%lld.%s", (long long)k, part);
    qemb_status st = qemb_buffer_read(buffer, 0, (size_t)count * sizeof(float), b->host);
    if (st == QEMB_OK) {
        replay_compare(r->c, name, b->host, count, 1e-5, r->report);
    }
    return st;
}

/* Adds up a COO gradient and compares it with the dense one that the case expects. */
static qemb_status compare_coo(replay_run *r, int64_t k, step_buffers *b) {
    const int64_t n = r->indices.view.count;
    const int64_t dim = r->c->embedding_dim;
    char name[64];
    int64_t nnz = 0;
    int64_t *rows = malloc((size_t)at_least_one(n) * sizeof *rows);
    float *values = malloc((size_t)at_least_one(n * dim) * sizeof *values);
    qemb_status st = rows && values ? qemb_buffer_read(b->coo_count, 0, sizeof nnz, &nnz) : QEMB_ERR_NOMEM;
    if (st == QEMB_OK && (nnz < 0 || nnz > n)) {
        replay_fail(r->report, "step%lld: a COO gradient of %lld entries for %lld lookups", (long long)k, (long long)nnz, (long long)n);
        nnz = 0;
    }
    st = st != QEMB_OK ? st : qemb_buffer_read(b->coo_indices, 0, (size_t)nnz * sizeof *rows, rows);
    st = st != QEMB_OK ? st : qemb_buffer_read(b->coo_values, 0, (size_t)(nnz * dim) * sizeof *values, values);
    for (int64_t i = 0; i < r->c->num_embeddings * dim; i++) {
        b->host[i] = 0.0f;
    }
    for (int64_t i = 0; st == QEMB_OK && i < nnz; i++) {
        if (rows[i] < 0 || rows[i] >= r->c->num_embeddings) {
            replay_fail(r->report, "step%lld: COO row %lld of %lld", (long long)k, (long long)rows[i], (long long)r->c->num_embeddings);
            break;
        }
        for (int64_t c = 0; c < dim; c++) {
            b->host[rows[i] * dim + c] += values[i * dim + c];
        }
    }
    if (st == QEMB_OK) {
        (void)snprintf(name, sizeof name, "step%lld.grad_weight", (long long)k);
        replay_compare(r->c, name, b->host, r->c->num_embeddings * dim, 1e-5, r->report);
    }
    free(rows);
    free(values);
    return st;
}

static qemb_status make_buffers(replay_run *r, step_buffers *b, bool coo) {
    const int64_t n = at_least_one(r->indices.view.count);
    const int64_t elements = r->c->num_embeddings * r->c->embedding_dim;
    const struct {
        bool wanted;
        int64_t bytes;
        qemb_buffer **buffer;
    } all[] = {
        {true, at_least_one((int64_t)r->grad_output.view.bytes), &b->grad_output},
        {true, elements * 4, &b->dense},
        {r->psw.data != NULL, n * 4, &b->psw},
        {coo, n * 8, &b->coo_indices},
        {coo, n * r->c->embedding_dim * 4, &b->coo_values},
        {coo, 8, &b->coo_count},
    };
    qemb_status st = QEMB_OK;
    b->host = malloc((size_t)(elements > n ? elements : n) * sizeof(float));
    for (size_t i = 0; i < sizeof all / sizeof *all && st == QEMB_OK; i++) {
        st = all[i].wanted ? qemb_buffer_create(r->ctx, (size_t)all[i].bytes, all[i].buffer) : QEMB_OK;
    }
    return !b->host        ? QEMB_ERR_NOMEM
           : st != QEMB_OK ? st
                           : qemb_buffer_write(b->grad_output, 0, r->grad_output.view.bytes, r->grad_output.data);
}

qemb_status replay_train_step(replay_run *r, int64_t k) {
    const replay_case *c = r->c;
    step_buffers b = {0};
    if (!r->grad_output.data) {
        return QEMB_OK;
    }
    if (r->grad_output.view.dtype != QEMB_FILE_F32) {
        replay_skip(r->report, "grad_output of type %s", qemb_file_dtype_name(r->grad_output.view.dtype));
        return QEMB_OK;
    }
    const bool coo = c->sparse && !c->scale_grad_by_freq && (c->mode != QEMB_MODE_MAX || c->op == REPLAY_EMBEDDING);
    qemb_status st = make_buffers(r, &b, coo);
    if (st == QEMB_OK) {
        const qemb_gradients want = {.dense = b.dense,
                                     .coo_indices = b.coo_indices,
                                     .coo_values = b.coo_values,
                                     .coo_count = b.coo_count,
                                     .per_sample_weights = b.psw};
        st = qemb_embedding_bag_backward(r->bag, r->batch, b.grad_output, &want);
    }
    if (st == QEMB_OK) {
        st = compare_step(r, k, "grad_weight", b.dense, &b, c->num_embeddings * c->embedding_dim);
    }
    if (st == QEMB_OK && b.psw) {
        st = compare_step(r, k, "grad_per_sample_weights", b.psw, &b, r->indices.view.count);
    }
    if (st == QEMB_OK && coo) {
        st = compare_coo(r, k, &b);
    }
    if (st == QEMB_OK && r->optimizer) {
        st = qemb_embedding_bag_step(r->bag, r->batch, b.grad_output, r->optimizer);
    }
    st = st != QEMB_OK ? st : qemb_context_finish(r->ctx);
    free_buffers(&b);
    return st;
}
