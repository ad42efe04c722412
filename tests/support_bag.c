/* support_bag.c - scripts of bag_forward on the engines. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "support_bag.h"

const bag_engine bag_engines[BAG_ENGINES] = {
    [BAG_REFERENCE] = {"reference", "reference", NULL, NULL, NULL},
    [BAG_PTHREAD] = {"PoCL pthread", "pthread", NULL, NULL, NULL},
    [BAG_BASIC] = {"PoCL basic", "basic", NULL, NULL, NULL},
    [BAG_GPU] = {"PoCL pthread, GPU kernels", "pthread", "gpu", NULL, NULL},
};

const bag_engine bag_families[BAG_FAMILIES] = {
    {"reference", "reference", NULL, NULL, NULL},
    {"PoCL pthread", "pthread", NULL, NULL, NULL},
    {"PoCL pthread, GPU kernels", "pthread", "gpu", NULL, NULL},
};

void bag_pocl_devices(void) {
    cr_assert_eq(setenv("POCL_DEVICES", "pthread basic", 1), 0);
}

/* PoCL up to 3.1 calls its devices basic and pthread, later ones call them cpu-minimal and cpu; all number the one before the other. */
static const char *device_name(const char *device) {
    const char *listed = getenv("QEMB_NATIVE_SOURCE") ? NULL : getenv("POCL_DEVICES"); /* tests/native has one device for both */
    if (strcmp(device, "pthread") == 0) {
        return listed && strchr(listed, ' ') ? "opencl:0:1" : "opencl:0:0";
    }
    return strcmp(device, "basic") == 0 ? "opencl:0:0" : device;
}

static void knob(const char *name, const char *value) {
    cr_assert_eq(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

qemb_context *bag_context(const bag_engine *engine) {
    qemb_context *ctx = NULL;
    knob("QEMB_FAMILY", engine->family);
    knob("QEMB_LOCAL_SIZE", engine->local);
    knob("QEMB_MAX_ALLOCATION", engine->allocation);
    qemb_status st = qemb_context_create(device_name(engine->device), &ctx);
    knob("QEMB_FAMILY", NULL);
    knob("QEMB_LOCAL_SIZE", NULL);
    knob("QEMB_MAX_ALLOCATION", NULL);
    cr_assert_eq(st, QEMB_OK, "%s: %s", engine->label, qemb_last_error());
    return ctx;
}

/* Whatever opens a context compiles the device's probe, and PoCL reads its library of built-in functions anew for the first program. */
enum { MAX_KEPT = 16 };
static struct {
    bag_engine engine;
    qemb_context *ctx;
} kept[MAX_KEPT];

static void destroy_kept(void) {
    for (int i = 0; i < MAX_KEPT; i++) {
        qemb_context_destroy(kept[i].ctx);
        kept[i].ctx = NULL;
    }
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

qemb_context *bag_kept_context(const bag_engine *engine) {
    int i = 0;
    while (i < MAX_KEPT && kept[i].ctx &&
           !(same_text(kept[i].engine.device, engine->device) && same_text(kept[i].engine.family, engine->family) &&
             same_text(kept[i].engine.local, engine->local) && same_text(kept[i].engine.allocation, engine->allocation))) {
        i++;
    }
    cr_assert_lt(i, MAX_KEPT, "more engines than a test may keep");
    if (!kept[i].ctx) {
        kept[i].engine = *engine;
        kept[i].ctx = bag_context(engine);
        if (i == 0) { /* after the driver's own, hence before them */
            cr_assert_eq(atexit(destroy_kept), 0);
        }
    }
    return kept[i].ctx;
}

void bag_result_free(bag_result *result) {
    free(result->out);
    free(result->observer);
    *result = (bag_result){0};
}

bool bag_case_from_environment(op_bag_forward *op) {
    const char *text = getenv("QEMB_CASE");
    *op = OP_BAG_FORWARD_DEFAULT;
    return text && *text && op_bag_forward_parse(text, op);
}

/* ---- the script ------------------------------------------------------------------------------------------------------ */

bag_event bag_event_of(const op_bag_forward *op, int64_t step) {
    uint64_t state = (uint64_t)op->seed * 7919u + (uint64_t)step;
    bag_event e = {.observer = -1, .fake_quant = -1, .table = -1, .write_table = -1};
    if (!op->events || step == 0) {
        return e;
    }
    e.table = (int32_t)op_below(&state, op->T + 1) - 1;
    if (op_below(&state, 3) == 0) {
        e.observer = (int)op_below(&state, 2);
    }
    if (op_below(&state, 4) == 0) {
        e.fake_quant = (int)op_below(&state, 2);
    }
    e.observe_all = op_below(&state, 5) == 0;
    if (op_below(&state, 5) < 3) {
        e.write_table = (int32_t)op_below(&state, op->T);
        const int64_t rows = op_bag_forward_rows(op, e.write_table);
        e.first = op_below(&state, rows);
        e.count = 1 + op_below(&state, rows - e.first);
    }
    return e;
}

/* One awkward row: `form` chooses constant, zero, tiny ranges around the smallest scale, large offsets, subnormals, huge, NaN, infinity. */
static void awkward_row(uint64_t *state, int64_t form, float *row, int64_t dim) {
    static const float offsets[] = {0.0f, 10.0f, -0.023357805f, 1e8f, 0.0f, 65504.0f, 0.0f, 3e5f};
    static const float sizes[] = {1.0f, 1.5e-5f, 0.0f, 1e3f, 1e-39f, 0.3f, 3e38f, 1e-1f};
    const float offset = offsets[form % 8];
    const float size = sizes[form % 8];
    for (int64_t c = 0; c < dim; c++) {
        row[c] = offset + size * op_uniform(state);
        row[c] = form == 9 ? (c % 2 ? -0.0f : 0.0f) : row[c];
    }
    if (form >= 10) {
        static const float bad[] = {NAN, INFINITY, -INFINITY};
        row[op_below(state, dim)] = bad[form % 3];
    }
}

float *bag_weights(const op_bag_forward *op, int64_t table, int64_t step) {
    const int64_t rows = op_bag_forward_rows(op, table);
    const int64_t dim = op_bag_forward_dim(op, table);
    float *w = malloc((size_t)(rows * dim) * sizeof *w);
    cr_assert_not_null(w);
    uint64_t state = (uint64_t)op->seed * 65537u + (uint64_t)(table * 1009 + step);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t form = op->kind == 0 ? 0 : op_below(&state, op->kind == 1 ? 10 : 13);
        if (form != 0 && op_below(&state, 2) == 0) {
            awkward_row(&state, form, w + r * dim, dim);
            continue;
        }
        const float shift = op_uniform(&state);
        for (int64_t c = 0; c < dim; c++) {
            w[r * dim + c] = op_uniform(&state) + op_uniform(&state) + shift;
        }
    }
    return w;
}

/* ---- an engine runs it ------------------------------------------------------------------------------------------------ */

typedef struct bag_runner {
    const op_bag_forward *op;
    qemb_context *ctx;
    qemb_embedding *embedding;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    bag_result result;
    char text[OP_TEXT];
} bag_runner;

static void must(bag_runner *r, qemb_status st) {
    cr_assert_eq(st, QEMB_OK, "%s: %s\nQEMB_CASE=\"%s\"", qemb_status_name(st), qemb_last_error(), op_bag_forward_text(r->op, r->text));
}

qemb_status bag_module(qemb_context *ctx, const op_bag_forward *op, const float *const *weights, qemb_embedding **embedding,
                       qemb_embedding_bag **bag) {
    const qemb_table_desc d = op_bag_forward_table(op, 0);
    if (op->mode != OP_MODE_NONE) {
        return op_bag_forward_create(ctx, op, weights, bag);
    }
    const qemb_embedding_desc e = {.num_embeddings = d.num_embeddings,
                                   .embedding_dim = d.embedding_dim,
                                   .has_padding_idx = d.has_padding_idx,
                                   .padding_idx = d.padding_idx,
                                   .has_max_norm = d.has_max_norm,
                                   .max_norm = d.max_norm,
                                   .norm_type = d.norm_type,
                                   .qconfig = d.qconfig,
                                   .weight = weights[0],
                                   .scale_grad_by_freq = op->freq != 0};
    const qemb_status st = qemb_embedding_create(ctx, &e, embedding);
    *bag = st == QEMB_OK ? qemb_embedding_as_bag(*embedding) : NULL;
    return st;
}

static void create(bag_runner *r) {
    float *weights[256];
    const op_bag_forward *op = r->op;
    cr_assert_leq(op->T, 256);
    for (int64_t t = 0; t < op->T; t++) {
        weights[t] = bag_weights(op, t, 0);
    }
    must(r, bag_module(r->ctx, op, (const float *const *)weights, &r->embedding, &r->bag));
    must(r, qemb_batch_create(r->ctx, &r->batch));
    for (int64_t t = 0; t < op->T; t++) {
        free(weights[t]);
    }
}

qemb_status bag_apply_event(qemb_embedding_bag *bag, const op_bag_forward *op, int64_t step) {
    const bag_event e = bag_event_of(op, step);
    qemb_status st = QEMB_OK;
    if (e.observer >= 0) {
        st = qemb_embedding_bag_set_observer(bag, e.table, e.observer);
    }
    if (st == QEMB_OK && e.fake_quant >= 0) {
        st = qemb_embedding_bag_set_fake_quant(bag, e.table, e.fake_quant);
    }
    if (st == QEMB_OK && e.observe_all) {
        st = qemb_embedding_bag_observe_all(bag);
    }
    if (st == QEMB_OK && e.write_table >= 0) {
        float *w = bag_weights(op, e.write_table, step);
        st = qemb_embedding_bag_write_weight(bag, e.write_table, e.first, e.count, w + e.first * op_bag_forward_dim(op, e.write_table));
        free(w);
    }
    return st;
}

/* Appends the observer's columns of all tables. */
static void append_observer(bag_runner *r) {
    for (int64_t t = 0; t < r->op->T; t++) {
        const int64_t rows = op_bag_forward_rows(r->op, t);
        float *o = realloc(r->result.observer, (size_t)(r->result.observer_count + 4 * rows) * sizeof *o);
        cr_assert_not_null(o);
        r->result.observer = o;
        o += r->result.observer_count;
        must(r,
             qemb_embedding_bag_read_observer(r->bag, (int32_t)t, 0, rows, &(qemb_observer_rows){o, o + rows, o + 2 * rows, o + 3 * rows}));
        r->result.observer_count += 4 * rows;
    }
}

static void run_step(bag_runner *r, int64_t step) {
    enum { GUARD = 37 };
    const op_bag_forward *op = r->op;
    op_lookups in;
    qemb_buffer *out = NULL;
    cr_assert(op_bag_forward_fill(op, step, &in));
    const bool pooled = op->mode != OP_MODE_NONE;
    const int64_t count = (pooled ? op->B : in.num_indices) * op_bag_forward_columns(op);
    float *o = realloc(r->result.out, (size_t)(r->result.out_count + count + GUARD) * sizeof *o);
    cr_assert_not_null(o);
    r->result.out = o;
    o += r->result.out_count;
    for (int64_t i = 0; i < count + GUARD; i++) {
        o[i] = -777.0f - (float)(i % 3);
    }
    must(r, qemb_buffer_create(r->ctx, (size_t)(count + GUARD) * sizeof *o, &out));
    must(r, qemb_buffer_write(out, 0, (size_t)(count + GUARD) * sizeof *o, o));
    if (pooled) {
        must(r, op_bag_forward_set(op, &in, r->bag, r->batch));
    } else {
        must(r, qemb_batch_set(r->batch, r->bag,
                               &(qemb_input){.indices = in.indices, .num_indices = in.num_indices, .indices_dtype = QEMB_INT64}));
    }
    must(r, r->embedding ? qemb_embedding_forward(r->embedding, r->batch, out) : qemb_embedding_bag_forward(r->bag, r->batch, out));
    must(r, qemb_buffer_read(out, 0, (size_t)(count + GUARD) * sizeof *o, o));
    for (int64_t i = count; i < count + GUARD; i++) {
        cr_assert_float_eq(o[i], -777.0f - (float)(i % 3), 0.0, "written behind the output\nQEMB_CASE=\"%s\"",
                           op_bag_forward_text(op, r->text));
    }
    r->result.out_count += count;
    qemb_buffer_destroy(out);
    op_lookups_free(&in);
}

bag_result bag_run_in(qemb_context *ctx, const op_bag_forward *op) {
    bag_runner r = {.op = op, .ctx = ctx};
    create(&r);
    for (int64_t step = 0; step < op->steps; step++) {
        must(&r, bag_apply_event(r.bag, r.op, step));
        run_step(&r, step);
        append_observer(&r);
    }
    must(&r, qemb_context_finish(ctx));
    qemb_batch_destroy(r.batch);
    if (r.embedding) {
        qemb_embedding_destroy(r.embedding);
    } else {
        qemb_embedding_bag_destroy(r.bag);
    }
    return r.result;
}

bag_result bag_run(const bag_engine *engine, const op_bag_forward *op) {
    return bag_run_in(bag_kept_context(engine), op);
}

/* ---- comparing --------------------------------------------------------------------------------------------------------- */

bool bag_same_bits(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

static void expect_same(const op_bag_forward *op, const char *what, const float *got, const float *want, int64_t count) {
    char text[OP_TEXT];
    for (int64_t i = 0; i < count; i++) {
        if (!bag_same_bits(got[i], want[i])) {
            cr_assert_fail("%s element %lld: got %a (%g), want %a (%g)\nQEMB_CASE=\"%s\"", what, (long long)i, (double)got[i],
                           (double)got[i], (double)want[i], (double)want[i], op_bag_forward_text(op, text));
        }
    }
}

void bag_expect_same(const op_bag_forward *op, const char *who, const bag_result *got, const bag_result *want, double tolerance) {
    char what[128];
    char text[OP_TEXT];
    cr_assert_eq(got->out_count, want->out_count);
    cr_assert_eq(got->observer_count, want->observer_count);
    (void)snprintf(what, sizeof what, "%s: observer", who);
    expect_same(op, what, got->observer, want->observer, want->observer_count);
    (void)snprintf(what, sizeof what, "%s: output", who);
    if (tolerance == 0.0) {
        expect_same(op, what, got->out, want->out, want->out_count);
        return;
    }
    for (int64_t i = 0; i < want->out_count; i++) {
        const double g = (double)got->out[i];
        const double w = (double)want->out[i];
        if (!bag_same_bits(got->out[i], want->out[i]) && !(fabs(g - w) <= tolerance * (fabs(w) + 1.0))) {
            cr_assert_fail("%s element %lld: got %g, want %g\nQEMB_CASE=\"%s\"", what, (long long)i, g, w, op_bag_forward_text(op, text));
        }
    }
}

void bag_check(const op_bag_forward *op, unsigned engines, double tolerance) {
    bag_result want = bag_model(op);
    bag_result plain = bag_run(&bag_engines[BAG_REFERENCE], op);
    bag_expect_same(op, "reference against the model", &plain, &want, tolerance);
    for (int e = BAG_REFERENCE + 1; e < BAG_ENGINES; e++) {
        if (engines & 1u << e) {
            bag_result got = bag_run(&bag_engines[e], op);
            bag_expect_same(op, bag_engines[e].label, &got, &plain, 0.0);
            bag_result_free(&got);
        }
    }
    bag_result_free(&want);
    bag_result_free(&plain);
}
