/* optimizer.c - optimisers: settings, their checks, state beside the tables.
 *
 * What distinguishes the kinds on the host is one row of `traits` each: defaults, which fields may be set, and how their state is called in
 * files. A field that a kind does not use must be 0, so that a wrong word in a program does not pass unseen. The formulas are in
 * kernels_cl/shared/optimizer.h. */
#include "core/optimizer.h"

#include <math.h>

#include "base/checked.h"
#include "base/memory.h"

typedef struct kind_traits {
    double lr, eps, beta1, beta2, trust;                                     /* what 0 means; 0: the field is not used */
    bool momentum, dampening, weight_decay, lr_decay, accumulator, max_norm; /* fields that may be set */
    const char *m, *v;                                                       /* names of state in state dicts; NULL: none */
    bool row_wise;
} kind_traits;

static const kind_traits traits[] = {
    [QEMB_SGD] = {.lr = 1e-3, .momentum = true, .dampening = true, .weight_decay = true, .m = "momentum_buffer"},
    [QEMB_ADAGRAD] = {.lr = 1e-2, .eps = 1e-10, .lr_decay = true, .accumulator = true, .v = "sum"},
    [QEMB_ROWWISE_ADAGRAD] = {.lr = 1e-2, .eps = 1e-8, .weight_decay = true, .max_norm = true, .v = "sum", .row_wise = true},
    [QEMB_SPARSE_ADAM] = {.lr = 1e-3, .eps = 1e-8, .beta1 = 0.9, .beta2 = 0.999, .m = "exp_avg", .v = "exp_avg_sq"},
    [QEMB_ADAM] = {.lr = 1e-3, .eps = 1e-8, .beta1 = 0.9, .beta2 = 0.999, .weight_decay = true, .m = "exp_avg", .v = "exp_avg_sq"},
    [QEMB_PARTIAL_ROWWISE_ADAM] =
        {.lr = 1e-3, .eps = 1e-8, .beta1 = 0.9, .beta2 = 0.999, .weight_decay = true, .m = "exp_avg", .v = "exp_avg_sq", .row_wise = true},
    [QEMB_LAMB] = {.lr = 1e-3, .eps = 1e-8, .beta1 = 0.9, .beta2 = 0.999, .weight_decay = true, .m = "exp_avg", .v = "exp_avg_sq"},
    [QEMB_LARS_SGD] = {.lr = 1e-3, .trust = 1e-3, .momentum = true, .weight_decay = true, .m = "momentum_buffer"},
};

/* A number that must be finite, at least 0, and 0 where the kind does not use it. */
static qemb_status check_number(double value, const char *name, bool used) {
    qemb_status st = QEMB_OK;
    REQUIRE(isfinite(value), QEMB_ERR_NONFINITE, "optimizer_create: %s=%g, want a finite number", name, value);
    REQUIRE(value >= 0.0, QEMB_ERR_RANGE, "optimizer_create: %s=%g, want >= 0", name, value);
    REQUIRE(used || value == 0.0, QEMB_ERR_RANGE, "optimizer_create: %s=%g, want 0: this kind does not use it", name, value);
done:
    return st;
}

static qemb_status check_switches(const qemb_optimizer_desc *d) {
    qemb_status st = QEMB_OK;
    REQUIRE((unsigned)d->clip <= QEMB_CLIP_NORM, QEMB_ERR_ARG, "optimizer_create: clip=%d, want one of qemb_clip", (int)d->clip);
    REQUIRE((unsigned)d->decay <= QEMB_DECAY_DECOUPLED, QEMB_ERR_ARG, "optimizer_create: decay=%d, want one of qemb_decay", (int)d->decay);
    REQUIRE((unsigned)d->form <= QEMB_SGD_DENSE, QEMB_ERR_ARG, "optimizer_create: form=%d, want one of qemb_sgd_form", (int)d->form);
    REQUIRE(d->decay == QEMB_DECAY_L2 || d->kind == QEMB_ROWWISE_ADAGRAD, QEMB_ERR_RANGE,
            "optimizer_create: decay=%d, want 0: this kind does not use it", (int)d->decay);
    REQUIRE(d->form == QEMB_SGD_TOUCHED || d->kind == QEMB_SGD, QEMB_ERR_RANGE,
            "optimizer_create: form=%d, want 0: this kind does not use it", (int)d->form);
    REQUIRE(!d->nesterov || (d->kind == QEMB_SGD && d->momentum > 0.0 && d->dampening == 0.0), QEMB_ERR_RANGE,
            "optimizer_create: nesterov with momentum=%g, dampening=%g, want SGD with momentum > 0 and dampening 0", d->momentum,
            d->dampening);
    REQUIRE((d->clip != QEMB_CLIP_NONE) == (d->clip_limit > 0.0), QEMB_ERR_RANGE,
            "optimizer_create: clip=%d with clip_limit=%g, want both or none", (int)d->clip, d->clip_limit);
done:
    return st;
}

static qemb_status check_desc(const qemb_optimizer_desc *d) {
    qemb_status st = QEMB_OK;
    REQUIRE((size_t)d->kind < sizeof traits / sizeof *traits, QEMB_ERR_ARG, "optimizer_create: kind=%d, want one of qemb_optimizer_kind",
            (int)d->kind);
    const kind_traits *k = &traits[d->kind];
    TRY(check_number(d->lr, "lr", true));
    TRY(check_number(d->momentum, "momentum", k->momentum));
    TRY(check_number(d->dampening, "dampening", k->dampening));
    TRY(check_number(d->weight_decay, "weight_decay", k->weight_decay));
    TRY(check_number(d->lr_decay, "lr_decay", k->lr_decay));
    TRY(check_number(d->initial_accumulator_value, "initial_accumulator_value", k->accumulator));
    TRY(check_number(d->eps, "eps", k->eps > 0.0));
    TRY(check_number(d->beta1, "beta1", k->beta1 > 0.0));
    TRY(check_number(d->beta2, "beta2", k->beta2 > 0.0));
    TRY(check_number(d->max_norm, "max_norm", k->max_norm));
    TRY(check_number(d->trust, "trust", k->trust > 0.0));
    TRY(check_number(d->clip_limit, "clip_limit", true));
    REQUIRE(d->beta1 < 1.0 && d->beta2 < 1.0, QEMB_ERR_RANGE, "optimizer_create: beta1=%g, beta2=%g, want both below 1", d->beta1,
            d->beta2);
    TRY(check_switches(d));
done:
    return st;
}

static double or_default(double value, double fallback) {
    return value == 0.0 ? fallback : value;
}

/* State for every slab: as many items as the slab's weights are counted with, or its rows. */
static qemb_status take_state(qemb_optimizer *o, qemb_buffer ***arrays, bool row_wise) {
    const qemb__tables *s = o->bag->tables;
    qemb_status st = QEMB_OK;
    TRY(qemb__calloc(s->num_slabs, sizeof **arrays, (void **)arrays));
    for (int32_t n = 0; n < s->num_slabs; n++) {
        const qemb__slab *slab = &s->slab[n];
        const int64_t items = row_wise ? slab->rows : slab->elements + (int64_t)(slab->weight->offset / sizeof(float));
        TRY(qemb__buffer_create(o->ctx, (size_t)items * sizeof(float), &(*arrays)[n]));
    }
done:
    return st;
}

/* State beyond zero, for initial_accumulator_value alone: fresh memory is zero already. */
static qemb_status fill_state(const qemb_optimizer *o, qemb_buffer *const *arrays, float value) {
    enum { CHUNK = 1 << 16 };
    qemb_status st = QEMB_OK;
    void *block = NULL;
    TRY(qemb__calloc(CHUNK, sizeof(float), &block));
    for (int64_t i = 0; i < CHUNK; i++) {
        ((float *)block)[i] = value;
    }
    for (int32_t n = 0; n < o->bag->tables->num_slabs; n++) {
        const int64_t items = (int64_t)(arrays[n]->bytes / sizeof(float));
        for (int64_t at = 0; at < items; at += CHUNK) {
            TRY(qemb__buffer_write(arrays[n], (size_t)at * sizeof(float), (size_t)qemb__min_i64(CHUNK, items - at) * sizeof(float), block,
                                   true));
        }
    }
done:
    qemb__free(block);
    return st;
}

static void set_up(qemb_optimizer *o, qemb_context *ctx, qemb_embedding_bag *bag, const qemb_optimizer_desc *desc) {
    const kind_traits *k = &traits[desc->kind];
    o->ctx = ctx;
    o->bag = bag;
    o->desc = *desc;
    o->desc.lr = or_default(desc->lr, k->lr);
    o->desc.eps = or_default(desc->eps, k->eps);
    o->desc.beta1 = or_default(desc->beta1, k->beta1);
    o->desc.beta2 = or_default(desc->beta2, k->beta2);
    o->desc.trust = or_default(desc->trust, k->trust);
    /* without momentum and decay a row without a gradient stays as it is: nothing to pass over */
    o->dense = desc->form == QEMB_SGD_DENSE && (desc->momentum != 0.0 || desc->weight_decay != 0.0);
    o->row_wise = k->row_wise;
    if (k->m && (desc->kind != QEMB_SGD || desc->momentum != 0.0)) {
        o->is_m[o->num_arrays++] = true;
    }
    if (k->v) {
        o->is_m[o->num_arrays++] = false;
    }
}

/* Compiles the update, so that the first step need not. */
static qemb_status prepare(const qemb_optimizer *o) {
    const qemb_embedding_bag *bag = o->bag;
    if (!bag->ctx->ops->row_update_prepare) {
        return QEMB_OK;
    }
    const qemb__row_update_args args = {.source = {.tables = bag->tables, .freq = bag->options.scale_grad_by_freq},
                                        .kind = (int32_t)o->desc.kind,
                                        .dense = o->dense,
                                        .has_momentum = o->desc.momentum != 0.0,
                                        .optimizer = qemb__optimizer_at(o)};
    return bag->ctx->ops->row_update_prepare(bag->ctx, &args);
}

qemb_status qemb_optimizer_create(qemb_context *ctx, qemb_embedding_bag *bag, const qemb_optimizer_desc *desc, qemb_optimizer **out) {
    void *block = NULL;
    qemb_optimizer *o = NULL;
    qemb_status st = qemb__enter(ctx, "optimizer_create");
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(bag && desc && out, QEMB_ERR_ARG, "optimizer_create: %s is NULL",
            !bag    ? "bag"
            : !desc ? "desc"
                    : "the place for the optimizer");
    REQUIRE(bag->ctx == ctx, QEMB_ERR_ARG, "optimizer_create: the module is of another context");
    TRY(check_desc(desc));
    TRY(qemb__calloc(1, sizeof *o, &block));
    o = block;
    set_up(o, ctx, bag, desc);
    for (int32_t k = 0; k < o->num_arrays; k++) {
        TRY(take_state(o, o->is_m[k] ? &o->m : &o->v, !o->is_m[k] && o->row_wise));
    }
    if (desc->initial_accumulator_value != 0.0) {
        TRY(fill_state(o, o->v, (float)desc->initial_accumulator_value));
    }
    TRY(qemb__training_reserve(bag, 0, 0)); /* here, because it waits, and a step must not */
    TRY(prepare(o));
    *out = o;
    o = NULL;
done:
    qemb_optimizer_destroy(o);
    qemb__leave(ctx);
    return st;
}

void qemb_optimizer_destroy(qemb_optimizer *o) {
    if (!o) {
        return;
    }
    for (int32_t n = 0; n < o->bag->tables->num_slabs; n++) {
        qemb__buffer_destroy(o->m ? o->m[n] : NULL);
        qemb__buffer_destroy(o->v ? o->v[n] : NULL);
    }
    qemb__free(o->m);
    qemb__free(o->v);
    qemb__free(o);
}

qemb_status qemb_optimizer_set_lr(qemb_optimizer *o, double lr) {
    qemb_status st = QEMB_OK;
    REQUIRE(o, QEMB_ERR_ARG, "optimizer_set_lr: optimizer is NULL");
    REQUIRE(isfinite(lr), QEMB_ERR_NONFINITE, "optimizer_set_lr: lr=%g, want a finite number", lr);
    REQUIRE(lr >= 0.0, QEMB_ERR_RANGE, "optimizer_set_lr: lr=%g, want >= 0", lr);
    TRY(qemb__enter(o->ctx, "optimizer_set_lr"));
    o->desc.lr = lr;
    qemb__leave(o->ctx);
done:
    return st;
}

qemb_status qemb_optimizer_set_steps(qemb_optimizer *o, int64_t steps) {
    qemb_status st = QEMB_OK;
    REQUIRE(o, QEMB_ERR_ARG, "optimizer_set_steps: optimizer is NULL");
    REQUIRE(steps >= 0, QEMB_ERR_RANGE, "optimizer_set_steps: steps=%lld, want >= 0", (long long)steps);
    TRY(qemb__enter(o->ctx, "optimizer_set_steps"));
    o->steps = steps;
    qemb__leave(o->ctx);
done:
    return st;
}

qemb_status qemb_optimizer_info_get(const qemb_optimizer *o, qemb_optimizer_info *info) {
    if (!o || !info) {
        return qemb__fail(QEMB_ERR_ARG, "optimizer_info_get: %s is NULL", o ? "info" : "optimizer");
    }
    const qemb_status st = qemb__enter(o->ctx, "optimizer_info_get");
    if (st != QEMB_OK) {
        return st;
    }
    *info = (qemb_optimizer_info){
        .bag = o->bag, .kind = o->desc.kind, .lr = o->desc.lr, .steps = o->steps, .desc = o->desc, .num_arrays = o->num_arrays};
    for (int32_t k = 0; k < o->num_arrays; k++) {
        qemb_buffer *const *arrays = o->is_m[k] ? o->m : o->v;
        info->array_name[k] = o->is_m[k] ? traits[o->desc.kind].m : traits[o->desc.kind].v;
        info->array_row_wise[k] = !o->is_m[k] && o->row_wise;
        for (int32_t n = 0; n < o->bag->tables->num_slabs; n++) {
            info->state_bytes += (int64_t)arrays[n]->bytes;
        }
    }
    qemb__leave(o->ctx);
    return QEMB_OK;
}

/* Moves rows of one state array between the host and the slabs; exactly one of source and target is given. */
static qemb_status move_state(qemb_optimizer *o, int32_t array, int32_t table, int64_t first, int64_t rows, const float *source,
                              float *target) {
    const qemb__tables *s = o->bag->tables;
    const q_table *t = &s->table[table];
    const bool row_wise = !o->is_m[array] && o->row_wise;
    const int64_t width = row_wise ? 1 : t->dim;
    for (int64_t done = 0, count = 0; done < rows; done += count) {
        int32_t slab = 0;
        int64_t local = 0;
        count = rows - done;
        qemb__tables_locate(s, table, first + done, &count, &slab, &local);
        qemb_buffer *b = (o->is_m[array] ? o->m : o->v)[slab];
        const size_t at = (size_t)((row_wise ? t->state_base : t->base) + local * width) * sizeof(float);
        const size_t bytes = (size_t)(count * width) * sizeof(float);
        qemb_status st = source ? qemb__buffer_write(b, at, bytes, source + done * width, true)
                                : qemb__buffer_read(b, at, bytes, target + done * width, true);
        if (st != QEMB_OK) {
            return st;
        }
    }
    return QEMB_OK;
}

typedef struct state_range {
    int32_t array, table;
    int64_t first, count;
} state_range;

static qemb_status access_state(qemb_optimizer *o, state_range r, const float *source, float *target, const char *call) {
    if (!o) {
        return qemb__fail(QEMB_ERR_ARG, "%s: optimizer is NULL", call);
    }
    qemb_status st = qemb__bag_check_rows(o->bag, r.table, r.first, r.count, call);
    if (st != QEMB_OK || (st = qemb__enter(o->ctx, call)) != QEMB_OK) {
        return st;
    }
    REQUIRE(r.array >= 0 && r.array < o->num_arrays, QEMB_ERR_INDEX, "%s: array=%d, want 0..%d", call, r.array, o->num_arrays - 1);
    REQUIRE(source || target || !r.count, QEMB_ERR_ARG, "%s: the values are NULL", call);
    qemb__harmless(o->ctx);
    TRY(r.count ? move_state(o, r.array, r.table, r.first, r.count, source, target) : QEMB_OK);
done:
    st = source ? qemb__settle(o->ctx, st) : st;
    qemb__leave(o->ctx);
    return st;
}

qemb_status qemb_optimizer_read_state(qemb_optimizer *o, int32_t array, int32_t table, int64_t first, int64_t count, float *target) {
    return access_state(o, (state_range){array, table, first, count}, NULL, target, "optimizer_read_state");
}

qemb_status qemb_optimizer_write_state(qemb_optimizer *o, int32_t array, int32_t table, int64_t first, int64_t count, const float *source) {
    return access_state(o, (state_range){array, table, first, count}, source, NULL, "optimizer_write_state");
}
