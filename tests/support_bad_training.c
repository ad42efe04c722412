/* support_bad_training.c - bad input of gradients, optimisers and steps. Each call has a forward before it, so that it can succeed. */
#include "support_bad.h"

enum { ROWS = 13, COLUMNS = 19 };

typedef struct backward {
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *grad;
    qemb_gradients want_is, *want;
    qemb_optimizer *optimizer;
} backward;

static void forward(walk *w) {
    (void)qemb_embedding_bag_forward(w->collection, w->batch[1], w->out[1]);
    (void)qemb_embedding_forward(w->embedding, w->batch[2], w->out[2]);
}

static void good_backward(walk *w, void *arguments) {
    backward *a = arguments;
    *a = (backward){.bag = w->collection,
                    .batch = w->batch[1],
                    .grad = w->grad[1],
                    .want_is = {.table = 8, .dense = w->dense, .per_sample_weights = w->weights_grad},
                    .optimizer = w->sgd};
    a->want = &a->want_is;
}

static void good_coo(walk *w, void *arguments) {
    backward *a = arguments;
    *a = (backward){.bag = qemb_embedding_as_bag(w->embedding),
                    .batch = w->batch[2],
                    .grad = w->grad[2],
                    .want_is = {.coo_indices = w->coo_indices, .coo_values = w->coo_values, .coo_count = w->coo_count}};
    a->want = &a->want_is;
}

static qemb_status run_backward(walk *w, void *arguments) {
    backward *a = arguments;
    (void)w;
    return qemb_embedding_bag_backward(a->bag, a->batch, a->grad, a->want);
}

static qemb_status run_step(walk *w, void *arguments) {
    backward *a = arguments;
    (void)w;
    return qemb_embedding_bag_step(a->bag, a->batch, a->grad, a->optimizer);
}

#define GRADIENT_VALUES(k)                                                                                                                 \
    NONE(backward, bag), NONE(backward, batch), NONE(backward, grad), ALIEN(backward, batch, batch[k], QEMB_ERR_ARG),                      \
        ALIEN(backward, grad, grad[k], QEMB_ERR_ARG), OTHER(backward, grad, coo_count, QEMB_ERR_SHAPE),                                    \
        OTHER(backward, batch, batch[3], QEMB_ERR_STATE)
/* clang-format off */
static const bad_value backward_values[] = {
    GRADIENT_VALUES(1), NONE(backward, want), ALIEN(backward, bag, collection, QEMB_ERR_ARG), OTHER(backward, bag, qat, QEMB_ERR_STATE),
    INTEGER(backward, want_is.table, -1, QEMB_ERR_INDEX), INTEGER(backward, want_is.table, WALK_TABLES, QEMB_ERR_INDEX),
    INTEGER(backward, want_is.table, INT32_MAX, QEMB_ERR_INDEX), INTEGER(backward, want_is.table, INT32_MIN, QEMB_ERR_INDEX),
    ALIEN(backward, want_is.dense, dense, QEMB_ERR_ARG), OTHER(backward, want_is.dense, coo_count, QEMB_ERR_SHAPE),
    ALIEN(backward, want_is.per_sample_weights, weights_grad, QEMB_ERR_ARG), OTHER(backward, want_is.per_sample_weights, coo_count, QEMB_ERR_SHAPE),
    OTHER(backward, want_is.coo_indices, coo_indices, QEMB_ERR_ARG)};
static const bad_value coo_values[] = {
    GRADIENT_VALUES(2), NONE(backward, want_is.coo_indices), NONE(backward, want_is.coo_values), NONE(backward, want_is.coo_count),
    ALIEN(backward, want_is.coo_indices, coo_indices, QEMB_ERR_ARG), ALIEN(backward, want_is.coo_values, coo_values, QEMB_ERR_ARG),
    ALIEN(backward, want_is.coo_count, coo_count, QEMB_ERR_ARG), OTHER(backward, want_is.coo_indices, coo_count, QEMB_ERR_SHAPE),
    OTHER(backward, want_is.coo_values, coo_count, QEMB_ERR_SHAPE), OTHER(backward, want_is.per_sample_weights, weights_grad, QEMB_ERR_UNSUPPORTED)};
static const bad_value step_values[] = {GRADIENT_VALUES(1), NONE(backward, optimizer), OTHER(backward, optimizer, adam, QEMB_ERR_ARG),
                                        ALIEN(backward, optimizer, sgd, QEMB_ERR_ARG), ALIEN(backward, bag, collection, QEMB_ERR_ARG)};

/* ---- before their time ------------------------------------------------------------------------------------------------------------------ */

static qemb_status run_sort(walk *w, void *arguments) {
    backward *a = arguments;
    (void)w;
    return qemb_embedding_bag_sort(a->bag, a->batch);
}

typedef struct prepare {
    qemb_embedding_bag *bag;
    qemb_packed *packed;
    qemb_prepare_desc desc;
    qemb_dtype dtype;
} prepare;

static void good_prepare(walk *w, void *arguments) {
    *(prepare *)arguments = (prepare){.bag = w->collection, .desc = {.bags = 3, .lookups = 40, .optimizer = w->sgd}};
}

/* An embedding: no bags, no weights. */
static void good_prepare_embedding(walk *w, void *arguments) {
    *(prepare *)arguments = (prepare){.bag = qemb_embedding_as_bag(w->embedding), .desc = {.lookups = 5, .on_device = true}};
}

static void good_prepare_packed(walk *w, void *arguments) {
    *(prepare *)arguments = (prepare){.packed = w->packed, .desc = {.bags = 3, .lookups = 40}};
}

static qemb_status run_prepare(walk *w, void *arguments) {
    const prepare *a = arguments;
    (void)w;
    return qemb_embedding_bag_prepare(a->bag, &a->desc);
}

static qemb_status run_prepare_packed(walk *w, void *arguments) {
    const prepare *a = arguments;
    (void)w;
    return qemb_packed_prepare(a->packed, &a->desc, a->dtype);
}

#define SHAPE_VALUES                                                                                                                       \
    INTEGER(prepare, desc.lookups, -1, QEMB_ERR_SHAPE), INTEGER(prepare, desc.lookups, (int64_t)1 << 31, QEMB_ERR_SHAPE),                  \
        INTEGER(prepare, desc.lookups, INT64_MAX, QEMB_ERR_SHAPE), INTEGER(prepare, desc.lookups, INT64_MIN, QEMB_ERR_SHAPE),              \
        INTEGER(prepare, desc.bags, -1, QEMB_ERR_SHAPE), INTEGER(prepare, desc.bags, (int64_t)1 << 31, QEMB_ERR_SHAPE),                    \
        INTEGER(prepare, desc.bags, INT64_MAX, QEMB_ERR_SHAPE), INTEGER(prepare, desc.bags, INT64_MIN, QEMB_ERR_SHAPE),                    \
        INTEGER(prepare, desc.indices_dtype, QEMB_FLOAT16, QEMB_ERR_DTYPE), INTEGER(prepare, desc.offsets_dtype, -1, QEMB_ERR_DTYPE),      \
        INTEGER(prepare, desc.indices_dtype, INT32_MAX, QEMB_ERR_DTYPE)
static const bad_value prepare_values[] = {SHAPE_VALUES,
                                           NONE(prepare, bag),
                                           INTEGER(prepare, desc.indices_dtype, QEMB_INT64, QEMB_ERR_ARG),
                                           INTEGER(prepare, desc.offsets_dtype, QEMB_INT32, QEMB_ERR_ARG),
                                           INTEGER(prepare, desc.calls, 8, QEMB_ERR_ARG),
                                           INTEGER(prepare, desc.calls, -1, QEMB_ERR_ARG),
                                           OTHER(prepare, desc.optimizer, adam, QEMB_ERR_ARG),
                                           ALIEN(prepare, desc.optimizer, sgd, QEMB_ERR_ARG)};
static const bad_value prepare_embedding_values[] = {NONE(prepare, bag),
                                                     INTEGER(prepare, desc.bags, 1, QEMB_ERR_SHAPE),
                                                     INTEGER(prepare, desc.per_sample_weights, 1, QEMB_ERR_UNSUPPORTED),
                                                     INTEGER(prepare, desc.lookups, -1, QEMB_ERR_SHAPE),
                                                     INTEGER(prepare, desc.indices_dtype, QEMB_FLOAT64, QEMB_ERR_DTYPE),
                                                     INTEGER(prepare, desc.offsets_dtype, QEMB_BFLOAT16, QEMB_ERR_DTYPE)};
static const bad_value prepare_packed_values[] = {SHAPE_VALUES,
                                                  NONE(prepare, packed),
                                                  INTEGER(prepare, desc.calls, 1, QEMB_ERR_ARG),
                                                  OTHER(prepare, desc.optimizer, sgd, QEMB_ERR_ARG),
                                                  ENUM_VALUES(prepare, dtype, 3, QEMB_ERR_DTYPE),
                                                  INTEGER(prepare, dtype, QEMB_INT32, QEMB_ERR_DTYPE)};
static const bad_value sort_values[] = {NONE(backward, bag), NONE(backward, batch), ALIEN(backward, batch, batch[1], QEMB_ERR_ARG),
                                        OTHER(backward, batch, batch[3], QEMB_ERR_STATE),
                                        OTHER(backward, bag, qat, QEMB_ERR_STATE)};

/* ---- optimisers ------------------------------------------------------------------------------------------------------------------------ */

typedef struct create {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer_desc desc_is, *desc;
    qemb_optimizer *made, **optimizer;
} create;
/* clang-format on */

static void good_create(walk *w, void *arguments, qemb_optimizer_desc desc) {
    create *a = arguments;
    *a = (create){.ctx = w->ctx, .bag = w->bag, .desc_is = desc};
    a->desc = &a->desc_is;
    a->optimizer = &a->made;
}

static void good_sgd(walk *w, void *arguments) {
    good_create(w, arguments, (qemb_optimizer_desc){.kind = QEMB_SGD, .momentum = 0.5});
}

static void good_adam(walk *w, void *arguments) {
    good_create(w, arguments, (qemb_optimizer_desc){.kind = QEMB_ADAM, .clip = QEMB_CLIP_VALUE, .clip_limit = 1.0});
}

static void good_adagrad(walk *w, void *arguments) {
    good_create(w, arguments, (qemb_optimizer_desc){.kind = QEMB_ADAGRAD});
}

static void good_rowwise(walk *w, void *arguments) {
    good_create(w, arguments, (qemb_optimizer_desc){.kind = QEMB_ROWWISE_ADAGRAD, .max_norm = 1.0});
}

static void good_lars(walk *w, void *arguments) {
    good_create(w, arguments, (qemb_optimizer_desc){.kind = QEMB_LARS_SGD});
}

static qemb_status run_create(walk *w, void *arguments) {
    create *a = arguments;
    (void)w;
    const qemb_status st = qemb_optimizer_create(a->ctx, a->bag, a->desc, a->optimizer);
    qemb_optimizer_destroy(a->made);
    return st;
}

#define NUMBER(field)                                                                                                                      \
    REAL(create, desc_is.field, -1.0, QEMB_ERR_RANGE), REAL(create, desc_is.field, -1e-30, QEMB_ERR_RANGE),                                \
        REAL(create, desc_is.field, (double)NAN, QEMB_ERR_NONFINITE), REAL(create, desc_is.field, (double)INFINITY, QEMB_ERR_NONFINITE),   \
        REAL(create, desc_is.field, -(double)INFINITY, QEMB_ERR_NONFINITE)
#define UNUSED(field)                                                                                                                      \
    REAL(create, desc_is.field, 0.25, QEMB_ERR_RANGE), REAL(create, desc_is.field, -0.25, QEMB_ERR_RANGE),                                 \
        REAL(create, desc_is.field, (double)NAN, QEMB_ERR_NONFINITE)
#define COMMON                                                                                                                             \
    NONE(create, ctx), NONE(create, bag), NONE(create, desc), NONE(create, optimizer), ALIEN(create, bag, bag, QEMB_ERR_ARG),              \
        ENUM_VALUES(create, desc_is.kind, 8, QEMB_ERR_ARG), NUMBER(lr), ENUM_VALUES(create, desc_is.clip, 3, QEMB_ERR_ARG),                \
        ENUM_VALUES(create, desc_is.decay, 2, QEMB_ERR_ARG), ENUM_VALUES(create, desc_is.form, 2, QEMB_ERR_ARG)
static const bad_value sgd_values[] = {COMMON,
                                       UNUSED(lr_decay),
                                       UNUSED(initial_accumulator_value),
                                       UNUSED(eps),
                                       UNUSED(beta1),
                                       UNUSED(beta2),
                                       UNUSED(max_norm),
                                       UNUSED(trust),
                                       REAL(create, desc_is.momentum, -0.5, QEMB_ERR_RANGE),
                                       REAL(create, desc_is.momentum, (double)NAN, QEMB_ERR_NONFINITE),
                                       REAL(create, desc_is.dampening, -1.0, QEMB_ERR_RANGE),
                                       REAL(create, desc_is.weight_decay, -1.0, QEMB_ERR_RANGE),
                                       REAL(create, desc_is.weight_decay, (double)NAN, QEMB_ERR_NONFINITE),
                                       INTEGER(create, desc_is.clip, QEMB_CLIP_NORM, QEMB_ERR_RANGE),
                                       REAL(create, desc_is.clip_limit, 1.0, QEMB_ERR_RANGE),
                                       INTEGER(create, desc_is.decay, QEMB_DECAY_DECOUPLED, QEMB_ERR_RANGE)};
static const bad_value adam_values[] = {COMMON,
                                        UNUSED(momentum),
                                        UNUSED(dampening),
                                        UNUSED(lr_decay),
                                        UNUSED(trust),
                                        UNUSED(max_norm),
                                        NUMBER(eps),
                                        NUMBER(beta1),
                                        NUMBER(beta2),
                                        NUMBER(weight_decay),
                                        REAL(create, desc_is.beta1, 1.0, QEMB_ERR_RANGE),
                                        REAL(create, desc_is.beta2, 1.5, QEMB_ERR_RANGE),
                                        NUMBER(clip_limit),
                                        REAL(create, desc_is.clip_limit, 0.0, QEMB_ERR_RANGE),
                                        INTEGER(create, desc_is.form, QEMB_SGD_DENSE, QEMB_ERR_RANGE),
                                        INTEGER(create, desc_is.nesterov, 1, QEMB_ERR_RANGE)};
static const bad_value adagrad_values[] = {COMMON,        NUMBER(lr_decay),     NUMBER(initial_accumulator_value),
                                           NUMBER(eps),   UNUSED(weight_decay), UNUSED(momentum),
                                           UNUSED(beta1), UNUSED(beta2)};
static const bad_value rowwise_values[] = {COMMON, NUMBER(max_norm), NUMBER(eps), NUMBER(weight_decay), UNUSED(lr_decay), UNUSED(momentum)};
static const bad_value lars_values[] = {COMMON,
                                        NUMBER(trust),
                                        NUMBER(momentum),
                                        NUMBER(weight_decay),
                                        UNUSED(dampening),
                                        UNUSED(eps),
                                        INTEGER(create, desc_is.nesterov, 1, QEMB_ERR_RANGE)};

typedef struct state {
    qemb_optimizer *optimizer;
    double lr;
    int64_t steps, first, count;
    int32_t array, table;
    float values_is[ROWS * COLUMNS], *values;
    qemb_optimizer_info info_is, *info;
} state;

static void good_state(walk *w, void *arguments) {
    state *a = arguments;
    *a = (state){.optimizer = w->adam, .lr = 0.5, .steps = 7, .first = 2, .count = 3, .array = 0};
    a->values = a->values_is;
    a->info = &a->info_is;
}

#define STATE_RUN(name, call)                                                                                                              \
    static qemb_status name(walk *w, void *arguments) {                                                                                    \
        state *a = arguments;                                                                                                              \
        (void)w;                                                                                                                           \
        return call;                                                                                                                       \
    }
STATE_RUN(run_set_lr, qemb_optimizer_set_lr(a->optimizer, a->lr))
STATE_RUN(run_set_steps, qemb_optimizer_set_steps(a->optimizer, a->steps))
STATE_RUN(run_info, qemb_optimizer_info_get(a->optimizer, a->info))
STATE_RUN(run_read_state, qemb_optimizer_read_state(a->optimizer, a->array, a->table, a->first, a->count, a->values))
STATE_RUN(run_write_state, qemb_optimizer_write_state(a->optimizer, a->array, a->table, a->first, a->count, a->values))

static const bad_value set_lr_values[] = {NONE(state, optimizer),
                                          REAL(state, lr, -1.0, QEMB_ERR_RANGE),
                                          REAL(state, lr, -1e-300, QEMB_ERR_RANGE),
                                          REAL(state, lr, (double)NAN, QEMB_ERR_NONFINITE),
                                          REAL(state, lr, (double)INFINITY, QEMB_ERR_NONFINITE),
                                          REAL(state, lr, -(double)INFINITY, QEMB_ERR_NONFINITE)};
static const bad_value set_steps_values[] = {NONE(state, optimizer), INTEGER(state, steps, -1, QEMB_ERR_RANGE),
                                             INTEGER(state, steps, INT64_MIN, QEMB_ERR_RANGE)};
static const bad_value info_values[] = {NONE(state, optimizer), NONE(state, info)};
/* clang-format off */
static const bad_value state_values[] = {
    NONE(state, optimizer), NONE(state, values), ENUM_VALUES(state, array, 2, QEMB_ERR_INDEX), ENUM_VALUES(state, table, 1, QEMB_ERR_INDEX),
    INTEGER(state, first, -1, QEMB_ERR_INDEX), INTEGER(state, first, ROWS, QEMB_ERR_INDEX), INTEGER(state, first, INT64_MAX, QEMB_ERR_INDEX),
    INTEGER(state, first, INT64_MIN, QEMB_ERR_INDEX), INTEGER(state, count, -1, QEMB_ERR_INDEX), INTEGER(state, count, ROWS, QEMB_ERR_INDEX),
    INTEGER(state, count, INT64_MAX, QEMB_ERR_INDEX), INTEGER(state, count, INT64_MIN, QEMB_ERR_INDEX)};

const bad_call bad_training[] = {
    BAD_CALL("optimizer_create", create, good_sgd, run_create, sgd_values),
    BAD_CALL("optimizer_create", create, good_adam, run_create, adam_values),
    BAD_CALL("optimizer_create", create, good_adagrad, run_create, adagrad_values),
    BAD_CALL("optimizer_create", create, good_rowwise, run_create, rowwise_values),
    BAD_CALL("optimizer_create", create, good_lars, run_create, lars_values),
    BAD_CALL("optimizer_set_lr", state, good_state, run_set_lr, set_lr_values),
    BAD_CALL("optimizer_set_steps", state, good_state, run_set_steps, set_steps_values),
    BAD_CALL("optimizer_info_get", state, good_state, run_info, info_values),
    BAD_CALL("optimizer_read_state", state, good_state, run_read_state, state_values),
    BAD_CALL("optimizer_write_state", state, good_state, run_write_state, state_values),
    BAD_CALL_AFTER("embedding_bag_backward", backward, good_backward, run_backward, backward_values, forward),
    BAD_CALL_AFTER("embedding_bag_backward", backward, good_coo, run_backward, coo_values, forward),
    BAD_CALL_AFTER("embedding_bag_step", backward, good_backward, run_step, step_values, forward),
    BAD_CALL("embedding_bag_sort", backward, good_backward, run_sort, sort_values),
    BAD_CALL("embedding_bag_prepare", prepare, good_prepare, run_prepare, prepare_values),
    BAD_CALL("embedding_bag_prepare", prepare, good_prepare_embedding, run_prepare, prepare_embedding_values),
    BAD_CALL("packed_prepare", prepare, good_prepare_packed, run_prepare_packed, prepare_packed_values),
};
/* clang-format on */
const int bad_training_count = sizeof bad_training / sizeof *bad_training;
