/* replay_lookup.c - runs the lookups of a case and compares what they give.
 *
 * A case that expects an error runs the same way: one of its calls must fail with a message, and what a caller can see is compared with
 * what it was before that step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay_run.h"

static const float canary = -12345.678f;

/* A float of a descriptor where 0 means the default: a case that says 0 means 0, which -0 stands for (and is refused). */
static float explicit_float(replay_number n) {
    return !n.given ? 0.0f : n.value == 0.0 ? -0.0f : (float)n.value;
}

static qemb_dtype dtype_of(qemb_file_dtype type) {
    switch (type) {
    case QEMB_FILE_I32:
        return QEMB_INT32;
    case QEMB_FILE_I64:
        return QEMB_INT64;
    case QEMB_FILE_F16:
        return QEMB_FLOAT16;
    case QEMB_FILE_BF16:
        return QEMB_BFLOAT16;
    case QEMB_FILE_F64:
        return QEMB_FLOAT64;
    default:
        return (qemb_dtype)99; /* none of qemb's: to be refused */
    }
}

static int64_t integer_of(replay_number n) {
    return n.value >= 9e18 ? INT64_MAX : n.value <= -9e18 ? INT64_MIN : (int64_t)n.value;
}

/* ---- the module ----------------------------------------------------------------------------------------------------- */

static qemb_status create_module(replay_run *r) {
    const replay_case *c = r->c;
    qemb_embedding_bag_desc d = {.num_embeddings = c->num_embeddings,
                                 .embedding_dim = c->embedding_dim,
                                 .has_padding_idx = c->padding_idx.given,
                                 .padding_idx = c->padding_idx.given ? integer_of(c->padding_idx) : 0,
                                 .has_max_norm = c->max_norm.given,
                                 .max_norm = c->max_norm.given ? (float)c->max_norm.value : 0.0f,
                                 .norm_type = explicit_float(c->norm_type),
                                 .dtype = r->weight.view.dtype == QEMB_FILE_F32 ? QEMB_FLOAT32 : dtype_of(r->weight.view.dtype),
                                 .name = c->name,
                                 .mode = (qemb_mode)c->mode,
                                 .scale_grad_by_freq = c->scale_grad_by_freq != 0,
                                 .sparse = c->sparse != 0,
                                 .include_last_offset = c->include_last_offset != 0};
    d.qconfig = (qemb_qconfig){.quant_min = (int32_t)c->quant_min,
                               .quant_max = (int32_t)c->quant_max,
                               .observer = (qemb_observer)c->observer,
                               .averaging_constant = explicit_float(c->averaging_constant),
                               .fake_quant_off = !c->fake_quant_enabled || c->enable_fake_quant_at.given};
    if (r->weight.view.count == c->num_embeddings * c->embedding_dim) {
        d.weight = r->weight.data;
    } else { /* a buffer has a size that can be refused, a pointer has none */
        qemb_status st = qemb_buffer_create(r->ctx, r->weight.view.bytes, &r->weight_buffer);
        if (st != QEMB_OK) {
            return st;
        }
        d.weight_buffer = r->weight_buffer;
    }
    if (c->op != REPLAY_EMBEDDING) {
        return qemb_embedding_bag_create(r->ctx, &d, &r->bag);
    }
    qemb_embedding_desc e = {
        d.num_embeddings, d.embedding_dim, d.has_padding_idx, d.padding_idx, d.has_max_norm, d.max_norm,           d.norm_type, d.dtype,
        d.qconfig,        d.weight,        d.weight_buffer,   d.seed,        d.name,         d.scale_grad_by_freq, d.sparse};
    qemb_status st = qemb_embedding_create(r->ctx, &e, &r->embedding);
    r->bag = qemb_embedding_as_bag(r->embedding);
    return st;
}

/* ---- one step ------------------------------------------------------------------------------------------------------- */

static bool read_step(replay_run *r, int64_t k) {
    r->indices = replay_tensor_step(r->c, k, "indices", r->report);
    r->offsets = replay_tensor_step(r->c, k, "offsets", r->report);
    r->psw = replay_tensor_step(r->c, k, "per_sample_weights", r->report);
    r->grad_output = replay_tensor_step(r->c, k, "grad_output", r->report);
    if (!r->indices.data) {
        replay_fail(r->report, "tensor step%lld.indices is missing", (long long)k);
    } else if (r->psw.data && r->psw.view.dtype != QEMB_FILE_F32) {
        replay_skip(r->report, "per_sample_weights of type %s", qemb_file_dtype_name(r->psw.view.dtype));
    }
    const qemb_tensor_view *in = &r->indices.view;
    r->rows = in->count;
    if (r->c->op != REPLAY_EMBEDDING) {
        r->rows = r->offsets.data ? r->offsets.view.count - r->c->include_last_offset : in->rank == 2 ? in->shape[0] : 0;
    }
    r->rows = r->rows > 0 ? r->rows : 0;
    return r->report->verdict == REPLAY_PASS;
}

static void free_step(replay_run *r) {
    free(r->indices.data);
    free(r->offsets.data);
    free(r->psw.data);
    free(r->grad_output.data);
    free(r->output);
    qemb_buffer_destroy(r->out);
    r->indices = r->offsets = r->psw = r->grad_output = (replay_tensor){0};
    r->output = NULL;
    r->out = NULL;
}

/* The output and a guard behind it, filled with a value that no case expects. */
static qemb_status make_output(replay_run *r) {
    r->out_count = (r->rows + 1) * r->c->embedding_dim + REPLAY_GUARD;
    r->output = malloc((size_t)r->out_count * sizeof(float));
    if (!r->output) {
        replay_fail(r->report, "no memory for the output");
        return QEMB_ERR_NOMEM;
    }
    for (int64_t i = 0; i < r->out_count; i++) {
        r->output[i] = canary;
    }
    qemb_status st = qemb_buffer_create(r->ctx, (size_t)r->out_count * sizeof(float), &r->out);
    return st != QEMB_OK ? st : qemb_buffer_write(r->out, 0, (size_t)r->out_count * sizeof(float), r->output);
}

qemb_input replay_input(const replay_run *r) {
    const qemb_tensor_view *in = &r->indices.view;
    return (qemb_input){.indices = r->indices.data,
                        .num_indices = in->count,
                        .indices_dtype = in->dtype == QEMB_FILE_F32 ? QEMB_FLOAT32 : dtype_of(in->dtype),
                        .offsets = r->offsets.data,
                        .num_offsets = r->offsets.data ? r->offsets.view.count : 0,
                        .offsets_dtype = r->offsets.data ? dtype_of(r->offsets.view.dtype) : 0,
                        .columns = r->c->op != REPLAY_EMBEDDING && in->rank == 2 ? in->shape[1] : 0,
                        .per_sample_weights = r->psw.data,
                        .num_per_sample_weights = r->psw.data ? r->psw.view.count : 0};
}

static qemb_status forward(replay_run *r) {
    const qemb_input input = replay_input(r);
    qemb_status st = qemb_batch_set(r->batch, r->bag, &input);
    if (st == QEMB_OK) {
        st = r->embedding ? qemb_embedding_forward(r->embedding, r->batch, r->out) : qemb_embedding_bag_forward(r->bag, r->batch, r->out);
    }
    return st != QEMB_OK ? st : qemb_context_finish(r->ctx);
}

/* Whether output elements [from, out_count) still hold the canary. */
bool replay_is_untouched(replay_run *r, int64_t from) {
    if (qemb_buffer_read(r->out, 0, (size_t)r->out_count * sizeof(float), r->output) != QEMB_OK) {
        replay_fail(r->report, "%s", qemb_last_error());
        return false;
    }
    for (int64_t i = from; i < r->out_count; i++) {
        if (memcmp(&r->output[i], &canary, sizeof canary) != 0) {
            replay_fail(r->report, "output element %lld is written, the output has %lld", (long long)i, (long long)from);
            return false;
        }
    }
    return true;
}

/* Runs step k; the status of the first call that fails. Compares if all succeed. */
static qemb_status run_step(replay_run *r, int64_t k) {
    const replay_case *c = r->c;
    qemb_status st = QEMB_OK;
    char name[64];
    if (c->op == REPLAY_PACK) {
        return replay_pack(r);
    }
    if (c->disable_observer_after.given && integer_of(c->disable_observer_after) == k) {
        st = qemb_embedding_bag_set_observer(r->bag, 0, false);
    }
    if (st == QEMB_OK && c->enable_fake_quant_at.given && integer_of(c->enable_fake_quant_at) == k) {
        st = qemb_embedding_bag_set_fake_quant(r->bag, 0, c->fake_quant_enabled != 0);
    }
    if (st == QEMB_OK) {
        st = forward(r);
    }
    if (st != QEMB_OK) {
        return st;
    }
    r->forward_done = true;
    if (replay_is_untouched(r, r->rows * c->embedding_dim)) {
        (void)snprintf(name, sizeof name, "step%lld.output", (long long)k);
        replay_compare(c, name, r->output, r->rows * c->embedding_dim, c->max_norm.given ? 2e-6 : REPLAY_EXACT, r->report);
    }
    return r->only_forward ? QEMB_OK : replay_train_step(r, k);
}

/* ---- state that a refused call must not change --------------------------------------------------------------------------- */

static qemb_status read_state(const replay_run *r, replay_state *s) {
    const int64_t rows = r->c->num_embeddings;
    const int64_t weights = rows * r->c->embedding_dim;
    s->count = weights + 4 * rows;
    s->values = malloc((size_t)(s->count ? s->count : 1) * sizeof(float));
    if (!s->values) {
        return QEMB_ERR_NOMEM;
    }
    float *o = s->values + weights;
    qemb_status st = qemb_embedding_bag_read_weight(r->bag, 0, 0, rows, s->values);
    const qemb_observer_rows observer = {o, o + rows, o + 2 * rows, o + 3 * rows};
    return st != QEMB_OK ? st : qemb_embedding_bag_read_observer(r->bag, 0, 0, rows, &observer);
}

static void check_unchanged(replay_run *r, const replay_state *before) {
    replay_state after = {0};
    if (read_state(r, &after) != QEMB_OK) {
        replay_fail(r->report, "%s", qemb_last_error());
    } else if (memcmp(before->values, after.values, (size_t)after.count * sizeof(float)) != 0) {
        replay_fail(r->report, "the refused call changed weight or observer state");
    }
    free(after.values);
    if (!r->forward_done) {
        (void)replay_is_untouched(r, 0);
    }
}

static void finish_case(replay_run *r) {
    const replay_case *c = r->c;
    replay_state state = {0};
    if (read_state(r, &state) != QEMB_OK) {
        replay_fail(r->report, "%s", qemb_last_error());
    } else {
        static const char *const names[] = {"final.min_val", "final.max_val", "final.scale", "final.zero_point"};
        const float *o = state.values + c->num_embeddings * c->embedding_dim;
        const bool clipped = c->max_norm.given && (!c->fake_quant_enabled || c->enable_fake_quant_at.given);
        if (!r->only_forward) {
            const bool exact = (c->optimizer == REPLAY_NONE || c->optimizer == REPLAY_SGD) && !clipped;
            replay_compare(c, "final.weight", state.values, c->num_embeddings * c->embedding_dim, exact ? REPLAY_EXACT : 2e-6, r->report);
        }
        for (int64_t k = 0; k < 4; k++) {
            replay_compare(c, names[k], o + k * c->num_embeddings, c->num_embeddings, REPLAY_EXACT, r->report);
        }
    }
    free(state.values);
}

/* A call failed in a case that expects an error, or in one that does not. `marker` is the message of the failure before this one. */
static void refused(replay_run *r, qemb_status st, const replay_state *before, const char *marker) {
    const char *message = qemb_last_error();
    if (!r->c->expect_error) {
        replay_fail(r->report, "%s: %s", qemb_status_name(st), message);
        return;
    }
    if (!*message || strcmp(message, marker) == 0) {
        replay_fail(r->report, "%s without a message", qemb_status_name(st));
    }
    if (before->values) {
        check_unchanged(r, before);
    }
    r->report->comparisons++;
}

void replay_run_case(qemb_context *ctx, const replay_case *c, bool only_forward, replay_report *report) {
    replay_run r = {.ctx = ctx, .c = c, .report = report, .only_forward = only_forward};
    replay_state before = {0};
    char marker[256];
    (void)qemb_buffer_create(NULL, 0, NULL); /* a failure on purpose: the next one must have another message */
    (void)snprintf(marker, sizeof marker, "%s", qemb_last_error());
    r.weight = replay_tensor_read(c, "weight", report);
    if (!r.weight.data || r.weight.view.rank != 2) {
        replay_fail(report, "tensor weight is missing, or not a matrix");
    }
    qemb_status st = report->verdict == REPLAY_PASS ? qemb_batch_create(ctx, &r.batch) : QEMB_OK;
    if (report->verdict == REPLAY_PASS && st == QEMB_OK) {
        st = create_module(&r);
    }
    if (report->verdict == REPLAY_PASS && st == QEMB_OK && !only_forward) {
        st = replay_optimizer_create(&r);
    }
    const char *rule = qemb_safetensors_metadata(c->file, "error");
    const int64_t steps = only_forward && c->steps > 1 ? 1 : c->steps;
    for (int64_t k = 0; k < steps && st == QEMB_OK && report->verdict == REPLAY_PASS; k++) {
        free_step(&r);
        free(before.values);
        before.values = NULL;
        r.forward_done = false;
        if (!read_step(&r, k)) {
            break;
        }
        st = make_output(&r);
        st = st != QEMB_OK || !c->expect_error ? st : read_state(&r, &before);
        st = st != QEMB_OK ? st : run_step(&r, k);
    }
    if (report->verdict == REPLAY_PASS && st != QEMB_OK) {
        refused(&r, st, &before, marker);
    } else if (report->verdict == REPLAY_PASS && c->expect_error) {
        replay_fail(report, "every call returned QEMB_OK, want an error (%s)", rule ? rule : "no rule named");
    } else if (report->verdict == REPLAY_PASS && c->op != REPLAY_PACK && !(only_forward && c->steps > 1)) {
        finish_case(&r);
    }
    free_step(&r);
    free(before.values);
    free(r.weight.data);
    qemb_optimizer_destroy(r.optimizer);
    qemb_batch_destroy(r.batch);
    if (r.embedding) {
        qemb_embedding_destroy(r.embedding);
    } else {
        qemb_embedding_bag_destroy(r.bag);
    }
    qemb_buffer_destroy(r.weight_buffer);
}
