/* test_training.c - calls of a training step that must be refused, schedules against switches turned by hand, zero norms, the hot path. */
#include <criterion/criterion.h>

#include "core/optimizer.h"
#include "support_train.h"

static const bag_engine reference = {"reference", "reference", NULL, NULL, NULL};
static const bag_engine engines[] = {
    {"reference", "reference", NULL, NULL, NULL},
    {"PoCL pthread", "pthread", NULL, NULL, NULL},
    {"PoCL pthread, GPU kernels", "pthread", "gpu", NULL, NULL},
};
enum { NUM_ENGINES = sizeof engines / sizeof *engines };

/* One table of 13 rows and 19 columns, sums with weights. */
static op_row_update small_case(int64_t kind, int64_t steps) {
    op_row_update op = {.backward.forward = OP_BAG_FORWARD_DEFAULT};
    op.backward.forward.E = 13;
    op.backward.forward.D = 19;
    op.backward.forward.B = 7;
    op.backward.forward.ragged = 1;
    op.backward.forward.weighted = 1;
    op.backward.forward.qmax = 15;
    op.backward.forward.c = 0.3;
    op.backward.forward.steps = steps;
    train_optimizer(&op, kind, 1);
    return op;
}

/* ---- refused ------------------------------------------------------------------------------------------------------------------- */

static int64_t refusals;

/* The call failed with this status and a sentence of its own. */
static void expect_refused(qemb_status got, qemb_status want, const char *word) {
    const char *message = qemb_last_error();
    cr_assert_eq(got, want, "%s, want %s: %s", qemb_status_name(got), qemb_status_name(want), message);
    cr_assert_not_null(strstr(message, word), "\"%s\" does not say \"%s\"", message, word);
    refusals++;
}

typedef struct setting {
    train_runner r;
    op_lookups in;
    int64_t count; /* floats of the output */
    qemb_buffer *out, *grad, *small, *dense, *psw, *coo_indices, *coo_values, *coo_count;
} setting;

static qemb_buffer *filled(setting *s, int64_t bytes) {
    qemb_buffer *b = NULL;
    char *noise = malloc((size_t)bytes);
    memset(noise, 0x5a, (size_t)bytes);
    train_must(s->r.op, qemb_buffer_create(s->r.ctx, (size_t)bytes, &b));
    train_must(s->r.op, qemb_buffer_write(b, 0, (size_t)bytes, noise));
    free(noise);
    return b;
}

static bool is_filled(setting *s, qemb_buffer *b) {
    const size_t bytes = qemb_buffer_bytes(b);
    unsigned char *got = malloc(bytes);
    bool same = true;
    train_must(s->r.op, qemb_buffer_read(b, 0, bytes, got));
    for (size_t i = 0; i < bytes; i++) {
        same = same && got[i] == 0x5a;
    }
    free(got);
    return same;
}

static void open_setting(setting *s, const bag_engine *engine, const op_row_update *op) {
    const op_bag_forward *f = &op->backward.forward;
    *s = (setting){.count = f->B * f->D};
    train_open(&s->r, bag_kept_context(engine), op, NULL);
    cr_assert(op_bag_forward_fill(f, 0, &s->in));
    s->out = filled(s, s->count * 4);
    s->grad = filled(s, s->count * 4);
    s->small = filled(s, s->count * 4 - 4);
    s->dense = filled(s, f->E * f->D * 4);
    s->psw = filled(s, s->in.num_indices * 4);
    s->coo_indices = filled(s, s->in.num_indices * 8);
    s->coo_values = filled(s, s->in.num_indices * f->D * 4);
    s->coo_count = filled(s, 8);
}

static void close_setting(setting *s) {
    qemb_buffer *all[] = {s->out, s->grad, s->small, s->dense, s->psw, s->coo_indices, s->coo_values, s->coo_count};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        qemb_buffer_destroy(all[i]);
    }
    op_lookups_free(&s->in);
    train_close(&s->r);
    train_result_free(&s->r.result);
}

static void set_and_look_up(setting *s) {
    train_must(s->r.op, op_bag_forward_set(&s->r.op->backward.forward, &s->in, s->r.bag, s->r.batch));
    train_must(s->r.op, qemb_embedding_bag_forward(s->r.bag, s->r.batch, s->out));
}

/* Backward and step are both refused for this reason. */
static void both_refused(setting *s, qemb_batch *batch, qemb_buffer *grad, qemb_status want, const char *word) {
    const qemb_gradients gradients = {.dense = s->dense, .per_sample_weights = s->psw};
    expect_refused(qemb_embedding_bag_backward(s->r.bag, batch, grad, &gradients), want, word);
    expect_refused(qemb_embedding_bag_step(s->r.bag, batch, grad, s->r.optimizer), want, word);
}

static void refuse_states(setting *s) {
    const op_bag_forward *f = &s->r.op->backward.forward;
    qemb_batch *other = NULL;
    float row[64] = {0};
    train_must(s->r.op, qemb_batch_create(s->r.ctx, &other));
    both_refused(s, s->r.batch, s->grad, QEMB_ERR_STATE, "never");
    train_must(s->r.op, op_bag_forward_set(f, &s->in, s->r.bag, s->r.batch));
    both_refused(s, s->r.batch, s->grad, QEMB_ERR_STATE, "no forward");
    set_and_look_up(s);
    train_must(s->r.op, op_bag_forward_set(f, &s->in, s->r.bag, s->r.batch));
    both_refused(s, s->r.batch, s->grad, QEMB_ERR_STATE, "set again");
    set_and_look_up(s);
    both_refused(s, other, s->grad, QEMB_ERR_STATE, "another module, or never");
    train_must(s->r.op, op_bag_forward_set(f, &s->in, s->r.bag, other));
    both_refused(s, other, s->grad, QEMB_ERR_STATE, "another batch");
    both_refused(s, s->r.batch, s->small, QEMB_ERR_SHAPE, "holds");
    both_refused(s, NULL, s->grad, QEMB_ERR_ARG, "batch is NULL");
    both_refused(s, s->r.batch, NULL, QEMB_ERR_ARG, "grad_output is NULL");
    train_must(s->r.op, qemb_embedding_bag_read_weight(s->r.bag, 0, 0, 1, row));
    train_must(s->r.op, qemb_embedding_bag_write_weight(s->r.bag, 0, 0, 1, row));
    both_refused(s, s->r.batch, s->grad, QEMB_ERR_STATE, "written");
    set_and_look_up(s);
    train_must(s->r.op, qemb_embedding_bag_set_observer(s->r.bag, 0, false));
    both_refused(s, s->r.batch, s->grad, QEMB_ERR_STATE, "switched");
    train_must(s->r.op, qemb_embedding_bag_set_observer(s->r.bag, 0, true));
    qemb_batch_destroy(other);
}

static void refuse_gradients(setting *s) {
    const struct {
        qemb_gradients want;
        qemb_status status;
        const char *word;
    } cases[] = {
        {{.table = 0}, QEMB_ERR_ARG, "no gradient is wanted"},
        {{.table = 1, .dense = s->dense}, QEMB_ERR_INDEX, "table=1"},
        {{.table = -1, .dense = s->dense}, QEMB_ERR_INDEX, "table=-1"},
        {{.dense = s->small}, QEMB_ERR_SHAPE, "dense"},
        {{.per_sample_weights = s->coo_count}, QEMB_ERR_SHAPE, "per_sample_weights"},
        {{.coo_indices = s->coo_indices, .coo_values = s->coo_values}, QEMB_ERR_ARG, "come together"},
        {{.coo_count = s->coo_count}, QEMB_ERR_ARG, "come together"},
        {{.coo_indices = s->coo_count, .coo_values = s->coo_values, .coo_count = s->coo_count}, QEMB_ERR_SHAPE, "coo_indices"},
        {{.coo_indices = s->coo_indices, .coo_values = s->small, .coo_count = s->coo_count}, QEMB_ERR_SHAPE, "coo_values"},
    };
    set_and_look_up(s);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        expect_refused(qemb_embedding_bag_backward(s->r.bag, s->r.batch, s->grad, &cases[k].want), cases[k].status, cases[k].word);
    }
    expect_refused(qemb_embedding_bag_backward(s->r.bag, s->r.batch, s->grad, NULL), QEMB_ERR_ARG, "want is NULL");
    expect_refused(qemb_embedding_bag_backward(NULL, s->r.batch, s->grad, &cases[1].want), QEMB_ERR_ARG, "bag is NULL");
    expect_refused(qemb_embedding_bag_step(s->r.bag, s->r.batch, s->grad, NULL), QEMB_ERR_ARG, "optimizer is NULL");
}

static void refuse_foreign(setting *s) {
    qemb_optimizer *foreign = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_context *ctx = bag_context(&reference);
    qemb_buffer *far = NULL;
    train_must(s->r.op, qemb_buffer_create(ctx, (size_t)s->count * 4, &far));
    train_must(s->r.op, qemb_embedding_bag_create(
                            s->r.ctx,
                            &(qemb_embedding_bag_desc){
                                .num_embeddings = 3, .embedding_dim = 19, .qconfig = qemb_qconfig_8bit(), .mode = QEMB_MODE_SUM},
                            &bag));
    train_must(s->r.op, qemb_optimizer_create(s->r.ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD}, &foreign));
    set_and_look_up(s);
    expect_refused(qemb_embedding_bag_step(s->r.bag, s->r.batch, s->grad, foreign), QEMB_ERR_ARG, "another module");
    both_refused(s, s->r.batch, far, QEMB_ERR_ARG, "different contexts");
    qemb_optimizer_destroy(foreign);
    qemb_embedding_bag_destroy(bag);
    qemb_buffer_destroy(far);
    qemb_context_destroy(ctx);
}

Test(training, refused,
     .description =
         "training: backward and step at the wrong time, of the wrong shape or module, a status and a sentence, nothing changed") {
    bag_pocl_devices();
    for (int e = 0; e < NUM_ENGINES; e++) {
        const op_row_update op = small_case(QEMB_SGD, 1);
        setting s;
        open_setting(&s, &engines[e], &op);
        train_state(&s.r);
        refuse_states(&s);
        refuse_gradients(&s);
        refuse_foreign(&s);
        qemb_buffer *untouched[] = {s.grad, s.small, s.dense, s.psw, s.coo_indices, s.coo_values, s.coo_count};
        for (size_t i = 0; i < sizeof untouched / sizeof *untouched; i++) {
            cr_assert(is_filled(&s, untouched[i]), "%s: buffer %d is written", engines[e].label, (int)i);
        }
        const train_result before = s.r.result;
        s.r.result = (train_result){0};
        train_state(&s.r);
        const size_t elements = (size_t)(op.backward.forward.E * op.backward.forward.D);
        cr_assert_arr_eq(before.values, s.r.result.values, elements * sizeof(float), "%s: a refused call changed weights",
                         engines[e].label);
        const size_t momentum = (size_t)before.count - elements;
        cr_assert_arr_eq(before.values + momentum, s.r.result.values + momentum, elements * sizeof(float));
        /* The next good call is right. */
        set_and_look_up(&s);
        train_must(&op, qemb_embedding_bag_step(s.r.bag, s.r.batch, s.out, s.r.optimizer));
        both_refused(&s, s.r.batch, s.grad, QEMB_ERR_STATE, "stepped");
        train_result_free((train_result *)&before);
        close_setting(&s);
    }
    cr_assert_gt(refusals, 100);
}

static const struct {
    qemb_optimizer_desc d;
    qemb_status status;
    const char *word;
} impossible[] = {
    {{.kind = (qemb_optimizer_kind)8}, QEMB_ERR_ARG, "kind=8"},
    {{.kind = (qemb_optimizer_kind)-1}, QEMB_ERR_ARG, "kind=-1"},
    {{.lr = NAN}, QEMB_ERR_NONFINITE, "lr="},
    {{.lr = INFINITY}, QEMB_ERR_NONFINITE, "lr=inf"},
    {{.lr = -0.1}, QEMB_ERR_RANGE, "lr=-0.1"},
    {{.kind = QEMB_ADAGRAD, .eps = -1e-8}, QEMB_ERR_RANGE, "eps=-1e-08"},
    {{.kind = QEMB_ADAM, .eps = NAN}, QEMB_ERR_NONFINITE, "eps="},
    {{.kind = QEMB_ADAM, .beta1 = 1.0}, QEMB_ERR_RANGE, "beta1=1"},
    {{.kind = QEMB_ADAM, .beta2 = 1.5}, QEMB_ERR_RANGE, "beta2=1.5"},
    {{.kind = QEMB_ADAM, .beta2 = -0.5}, QEMB_ERR_RANGE, "beta2=-0.5"},
    {{.kind = QEMB_SGD, .momentum = -0.9}, QEMB_ERR_RANGE, "momentum=-0.9"},
    {{.kind = QEMB_SGD, .eps = 1e-8}, QEMB_ERR_RANGE, "eps=1e-08"},
    {{.kind = QEMB_ADAGRAD, .momentum = 0.9}, QEMB_ERR_RANGE, "momentum=0.9"},
    {{.kind = QEMB_ADAGRAD, .weight_decay = 0.1}, QEMB_ERR_RANGE, "weight_decay=0.1"},
    {{.kind = QEMB_ADAGRAD, .lr_decay = -0.1}, QEMB_ERR_RANGE, "lr_decay=-0.1"},
    {{.kind = QEMB_SGD, .lr_decay = 0.1}, QEMB_ERR_RANGE, "lr_decay=0.1"},
    {{.kind = QEMB_SGD, .initial_accumulator_value = 0.1}, QEMB_ERR_RANGE, "initial_accumulator_value"},
    {{.kind = QEMB_SGD, .max_norm = 1.0}, QEMB_ERR_RANGE, "max_norm"},
    {{.kind = QEMB_ROWWISE_ADAGRAD, .max_norm = NAN}, QEMB_ERR_NONFINITE, "max_norm"},
    {{.kind = QEMB_LARS_SGD, .trust = -1.0}, QEMB_ERR_RANGE, "trust=-1"},
    {{.kind = QEMB_SGD, .trust = 1.0}, QEMB_ERR_RANGE, "trust=1"},
    {{.kind = QEMB_SGD, .nesterov = true}, QEMB_ERR_RANGE, "nesterov"},
    {{.kind = QEMB_SGD, .nesterov = true, .momentum = 0.9, .dampening = 0.1}, QEMB_ERR_RANGE, "nesterov"},
    {{.kind = QEMB_SGD, .clip = (qemb_clip)3, .clip_limit = 1.0}, QEMB_ERR_ARG, "clip=3"},
    {{.kind = QEMB_SGD, .clip = QEMB_CLIP_NORM}, QEMB_ERR_RANGE, "clip_limit=0"},
    {{.kind = QEMB_SGD, .clip_limit = 1.0}, QEMB_ERR_RANGE, "clip_limit=1"},
    {{.kind = QEMB_SGD, .clip = QEMB_CLIP_VALUE, .clip_limit = INFINITY}, QEMB_ERR_NONFINITE, "clip_limit=inf"},
    {{.kind = QEMB_ADAM, .decay = QEMB_DECAY_DECOUPLED}, QEMB_ERR_RANGE, "decay=1"},
    {{.kind = QEMB_ROWWISE_ADAGRAD, .decay = (qemb_decay)2}, QEMB_ERR_ARG, "decay=2"},
    {{.kind = QEMB_ADAM, .form = QEMB_SGD_DENSE}, QEMB_ERR_RANGE, "form=1"},
    {{.kind = QEMB_SGD, .form = (qemb_sgd_form)2}, QEMB_ERR_ARG, "form=2"},
};

Test(
    training, refused_optimizers,
    .description = "training: optimisers with NaN, negative, unused or contradicting numbers, a status and a sentence, no optimiser made") {
    const op_row_update op = small_case(QEMB_PARTIAL_ROWWISE_ADAM, 1);
    setting s;
    open_setting(&s, &reference, &op);
    for (size_t k = 0; k < sizeof impossible / sizeof *impossible; k++) {
        qemb_optimizer *none = NULL;
        expect_refused(qemb_optimizer_create(s.r.ctx, s.r.bag, &impossible[k].d, &none), impossible[k].status, impossible[k].word);
        cr_assert_null(none);
    }
    qemb_optimizer_info info;
    float values[13 * 19] = {0};
    expect_refused(qemb_optimizer_set_lr(s.r.optimizer, NAN), QEMB_ERR_NONFINITE, "lr=");
    expect_refused(qemb_optimizer_set_lr(s.r.optimizer, -1.0), QEMB_ERR_RANGE, "lr=-1");
    expect_refused(qemb_optimizer_set_lr(NULL, 0.1), QEMB_ERR_ARG, "NULL");
    expect_refused(qemb_optimizer_set_steps(s.r.optimizer, -1), QEMB_ERR_RANGE, "steps=-1");
    expect_refused(qemb_optimizer_read_state(s.r.optimizer, 2, 0, 0, 1, values), QEMB_ERR_INDEX, "array=2");
    expect_refused(qemb_optimizer_write_state(s.r.optimizer, -1, 0, 0, 1, values), QEMB_ERR_INDEX, "array=-1");
    expect_refused(qemb_optimizer_write_state(s.r.optimizer, 0, 1, 0, 1, values), QEMB_ERR_INDEX, "table=1");
    expect_refused(qemb_optimizer_write_state(s.r.optimizer, 0, 0, 12, 2, values), QEMB_ERR_INDEX, "rows 12");
    expect_refused(qemb_optimizer_write_state(s.r.optimizer, 0, 0, 0, 1, NULL), QEMB_ERR_ARG, "NULL");
    expect_refused(qemb_embedding_bag_set_schedule(s.r.bag, 0, -1, 0), QEMB_ERR_RANGE, "fake_quant_from=-1");
    expect_refused(qemb_embedding_bag_set_schedule(s.r.bag, 1, 0, 0), QEMB_ERR_INDEX, "table=1");
    train_must(&op, qemb_optimizer_info_get(s.r.optimizer, &info));
    cr_assert(info.lr == op.lr && info.steps == 0);
    close_setting(&s);
}

/* ---- schedules ------------------------------------------------------------------------------------------------------------------ */

Test(training, schedule,
     .description =
         "training: fake quantisation from a step, observers frozen after one, as when the switches are turned by hand; per table") {
    enum { FAKE_QUANT_FROM = 2, OBSERVER_UNTIL = 4, STEPS = 7 };
    bag_pocl_devices();
    for (int e = 0; e < 2; e++) {
        qemb_context *ctx = bag_context(&engines[e]);
        op_row_update op = small_case(QEMB_ADAGRAD, STEPS);
        op.backward.forward.T = 3;
        train_runner by_hand;
        train_runner scheduled;
        train_open(&by_hand, ctx, &op, NULL);
        train_open(&scheduled, ctx, &op, NULL);
        train_must(&op, qemb_embedding_bag_set_schedule(scheduled.bag, 1, FAKE_QUANT_FROM, OBSERVER_UNTIL));
        train_must(&op, qemb_embedding_bag_set_fake_quant(scheduled.bag, 2, false)); /* one table off for good */
        train_must(&op, qemb_embedding_bag_set_fake_quant(by_hand.bag, 2, false));
        for (int64_t step = 0; step < STEPS; step++) {
            if (step == 0 || step == FAKE_QUANT_FROM) {
                train_must(&op, qemb_embedding_bag_set_fake_quant(by_hand.bag, 1, step != 0));
            }
            if (step == OBSERVER_UNTIL) {
                train_must(&op, qemb_embedding_bag_set_observer(by_hand.bag, 1, false));
            }
            train_step(&by_hand, step);
            train_step(&scheduled, step);
        }
        train_state(&by_hand);
        train_state(&scheduled);
        train_expect_same(&op, engines[e].label, &scheduled.result, &by_hand.result, 0.0);
        qemb_table_desc table;
        train_must(&op, qemb_embedding_bag_table(scheduled.bag, 1, &table));
        cr_assert(table.qconfig.observer_off && !table.qconfig.fake_quant_off, "the switches have turned");
        train_close(&by_hand);
        train_close(&scheduled);
        train_result_free(&by_hand.result);
        train_result_free(&scheduled.result);
        qemb_context_destroy(ctx);
    }
}

/* ---- the mask --------------------------------------------------------------------------------------------------------------------- */

/* Dense gradient of table 0 for random gradients of the output. */
static void dense_gradient(setting *s, float *target) {
    const op_bag_forward *f = &s->r.op->backward.forward;
    float *g = calloc((size_t)s->count, sizeof *g);
    uint64_t state = 5;
    for (int64_t i = 0; i < s->count; i++) {
        g[i] = (float)(int64_t)(op_random(&state) % 2001) / 128.0f - 7.8125f;
    }
    set_and_look_up(s);
    train_must(s->r.op, qemb_buffer_write(s->grad, 0, (size_t)s->count * sizeof *g, g));
    train_must(s->r.op, qemb_embedding_bag_backward(s->r.bag, s->r.batch, s->grad, &(qemb_gradients){.dense = s->dense}));
    train_must(s->r.op, qemb_buffer_read(s->dense, 0, (size_t)(f->E * f->D) * sizeof *target, target));
    free(g);
}

Test(training, stale_mask,
     .description =
         "bag_backward: observer frozen, rows grown since, the gradient is the float one times the mask of the stale qparams, bit "
         "for bit") {
    enum { E = 13, D = 19 };
    bag_pocl_devices();
    for (int e = 0; e < NUM_ENGINES; e++) {
        const op_row_update op = small_case(QEMB_SGD, 1);
        float w[E][D], got[E][D], plain[E][D], scale[E], zero[E];
        int64_t clipped = 0;
        int64_t passed = 0;
        setting s;
        open_setting(&s, &engines[e], &op);
        set_and_look_up(&s);
        train_must(&op, qemb_embedding_bag_set_observer(s.r.bag, 0, false));
        train_must(&op, qemb_embedding_bag_read_weight(s.r.bag, 0, 0, E, &w[0][0]));
        for (int i = 0; i < E * D; i++) {
            w[i / D][i % D] *= 2.5f;
        }
        train_must(&op, qemb_embedding_bag_write_weight(s.r.bag, 0, 0, E, &w[0][0]));
        dense_gradient(&s, &got[0][0]);
        train_must(&op, qemb_embedding_bag_read_observer(s.r.bag, 0, 0, E, &(qemb_observer_rows){.scale = scale, .zero_point = zero}));
        train_must(&op, qemb_embedding_bag_set_fake_quant(s.r.bag, 0, false));
        dense_gradient(&s, &plain[0][0]);
        for (int i = 0; i < E * D; i++) {
            const int r = i / D;
            const int c = i % D;
            const float inverse = 1.0f / scale[r];
            const double code = nearbyint((double)fmaf(w[r][c], inverse, zero[r]));
            const float mask = code >= (double)op.backward.forward.qmin && code <= (double)op.backward.forward.qmax ? 1.0f : 0.0f;
            plain[r][c] *= mask;
            clipped += plain[r][c] == 0.0f && mask == 0.0f;
            passed += plain[r][c] != 0.0f;
        }
        cr_assert_eq(memcmp(got, plain, sizeof got), 0, "%s: the gradients differ", engines[e].label);
        cr_assert(clipped > 40 && passed > 40, "%lld clipped and %lld passed: too few to tell", (long long)clipped, (long long)passed);
        close_setting(&s);
    }
}

/* ---- zero norms ------------------------------------------------------------------------------------------------------------------ */

/* Rows 0 to 3: weight zero or not, gradient zero or not. One lookup a row. */
static void train_zero_norms(qemb_context *ctx, int64_t kind, float w[4][19], float g[4][19]) {
    static const int32_t ids[] = {0, 1, 2, 3};
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    qemb_optimizer *optimizer = NULL;
    const op_row_update op = small_case(kind, 1);
    const qemb_optimizer_desc d = {.kind = (qemb_optimizer_kind)kind, .lr = 0.5};
    train_must(
        &op, qemb_embedding_bag_create(
                 ctx,
                 &(qemb_embedding_bag_desc){
                     .num_embeddings = 4, .embedding_dim = 19, .qconfig = qemb_qconfig_float(), .weight = &w[0][0], .mode = QEMB_MODE_SUM},
                 &bag));
    train_must(&op, qemb_batch_create(ctx, &batch));
    train_must(&op, qemb_buffer_create(ctx, 4 * 19 * sizeof(float), &buffer));
    train_must(&op, qemb_optimizer_create(ctx, bag, &d, &optimizer));
    train_must(&op, qemb_batch_set(batch, bag, &(qemb_input){.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT32, .columns = 1}));
    train_must(&op, qemb_embedding_bag_forward(bag, batch, buffer));
    train_must(&op, qemb_buffer_write(buffer, 0, 4 * 19 * sizeof(float), g));
    train_must(&op, qemb_embedding_bag_step(bag, batch, buffer, optimizer));
    train_must(&op, qemb_embedding_bag_read_weight(bag, 0, 0, 4, &w[0][0]));
    qemb_optimizer_destroy(optimizer);
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
}

Test(
    training, zero_norms,
    .description = "row_update: LAMB and LARS where weight, gradient or both are zero, the plain rate instead of 0/0, every engine alike") {
    bag_pocl_devices();
    for (int64_t kind = QEMB_LAMB; kind <= QEMB_LARS_SGD; kind++) {
        float want[4][19];
        for (int e = 0; e < NUM_ENGINES; e++) {
            qemb_context *ctx = bag_context(&engines[e]);
            float w[4][19];
            float g[4][19];
            for (int r = 0; r < 4; r++) {
                for (int c = 0; c < 19; c++) {
                    w[r][c] = r & 1 ? 0.25f * (float)(c + 1) : 0.0f;
                    g[r][c] = r & 2 ? 0.125f : 0.0f;
                }
            }
            train_zero_norms(ctx, kind, w, g);
            for (int c = 0; c < 19; c++) {
                const float plain = kind == QEMB_LAMB ? -0.5f : -0.0625f; /* lr * 1, its direction; lr * g */
                cr_assert_eq(w[0][c], 0.0f, "both zero: %g", (double)w[0][c]);
                cr_assert_eq(w[1][c], 0.25f * (float)(c + 1), "gradient zero: %g", (double)w[1][c]);
                /* LAMB: moments, their bias corrections, root, quotient and the rate are rounded, and eps moves the root of 0.125 */
                cr_assert_float_eq(w[2][c], plain, kind == QEMB_LAMB ? 0.5 * (10 * 0x1p-24 + 1e-8 / 0.125) : 0.0, "weight zero: %g",
                                   (double)w[2][c]);
                cr_assert(isfinite(w[3][c]) && w[3][c] < 0.25f * (float)(c + 1));
            }
            if (e == 0) {
                memcpy(want, w, sizeof want);
            }
            cr_assert_arr_eq(w, want, sizeof want, "%s", engines[e].label);
            qemb_context_destroy(ctx);
        }
    }
}

/* ---- the hot path ------------------------------------------------------------------------------------------------------------------ */

Test(training, hot_path,
     .description = "training: from the third step of a shape on no allocation, no buffer, no compiler, at most 12 commands a step") {
    static const int64_t kinds[] = {QEMB_SGD, QEMB_ADAGRAD, QEMB_LAMB};
    bag_pocl_devices();
    for (int e = 1; e < NUM_ENGINES; e++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            op_row_update op = small_case(kinds[k], 1);
            op.clip = QEMB_CLIP_NONE;
            op.limit = 0.0;
            setting s;
            qemb_counters before;
            qemb_counters after;
            open_setting(&s, &engines[e], &op);
            for (int step = 0; step < 5; step++) {
                train_must(&op, op_bag_forward_set(&op.backward.forward, &s.in, s.r.bag, s.r.batch));
                train_must(&op, qemb_context_finish(s.r.ctx));
                train_must(&op, qemb_context_counters(s.r.ctx, &before));
                train_must(&op, qemb_embedding_bag_forward(s.r.bag, s.r.batch, s.out));
                train_must(&op, qemb_embedding_bag_step(s.r.bag, s.r.batch, s.out, s.r.optimizer));
                train_must(&op, qemb_context_counters(s.r.ctx, &after));
                train_must(&op, qemb_context_finish(s.r.ctx));
                cr_assert_leq(after.commands - before.commands, 12, "%s: %lld commands", engines[e].label,
                              (long long)(after.commands - before.commands));
                if (step >= 2) {
                    cr_assert_eq(after.host_allocations, before.host_allocations, "%s: step %d allocates", engines[e].label, step);
                    cr_assert_eq(after.device_buffers, before.device_buffers, "%s: step %d makes a buffer", engines[e].label, step);
                    cr_assert_eq(after.programs_built, before.programs_built, "%s: step %d compiles", engines[e].label, step);
                }
            }
            close_setting(&s);
        }
    }
}
