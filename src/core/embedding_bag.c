/* embedding_bag.c - modules: checks of the constructor, weights, observer state, switches.
 *
 * A call that changes something has this shape: arguments are checked, the context is entered (one thread), what may fail without a
 * trace comes first, then qemb__harmless marks that from here on a failure has changed something, and qemb__settle turns such a failure
 * into a lost context. Calls that change rows store the rows' observer state before: afterwards nobody could tell what the missed
 * observations saw. */
#include "core/embedding_bag.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "core/training.h"

qemb_qconfig qemb_qconfig_8bit(void) {
    return (qemb_qconfig){.quant_min = 0, .quant_max = 255};
}

qemb_qconfig qemb_qconfig_4bit(void) {
    return (qemb_qconfig){.quant_min = 0, .quant_max = 15};
}

qemb_qconfig qemb_qconfig_2bit(void) {
    return (qemb_qconfig){.quant_min = 0, .quant_max = 3};
}

qemb_qconfig qemb_qconfig_float(void) {
    return (qemb_qconfig){
        .quant_min = 0, .quant_max = 255, .observer = QEMB_OBSERVER_MEMORYLESS, .observer_off = true, .fake_quant_off = true};
}

static qemb_status check_qconfig(const qemb_qconfig *q, const char *call) {
    qemb_status st = QEMB_OK;
    const bool none = q->quant_min == 0 && q->quant_max == 0;
    REQUIRE(!none, QEMB_ERR_RANGE, "%s: quant_min=quant_max=0, want a qconfig (qemb_qconfig_8bit(), or qemb_qconfig_float() for none)",
            call);
    REQUIRE(q->quant_min < q->quant_max, QEMB_ERR_RANGE, "%s: quant_min=%d, want less than quant_max=%d", call, q->quant_min, q->quant_max);
    REQUIRE(q->quant_min <= 0 && q->quant_max >= 0, QEMB_ERR_RANGE, "%s: quant_min=%d, quant_max=%d, want 0 between them", call,
            q->quant_min, q->quant_max);
    REQUIRE((q->quant_min >= 0 && q->quant_max <= 255) || (q->quant_min >= -128 && q->quant_max <= 127), QEMB_ERR_RANGE,
            "%s: quant_min=%d, quant_max=%d, want both in 0..255 or both in -128..127", call, q->quant_min, q->quant_max);
    REQUIRE((unsigned)q->observer <= QEMB_OBSERVER_MEMORYLESS, QEMB_ERR_ARG, "%s: observer=%d, want one of qemb_observer", call,
            (int)q->observer);
    REQUIRE((unsigned)q->arithmetic <= QEMB_ARITHMETIC_PACKED, QEMB_ERR_ARG, "%s: arithmetic=%d, want one of qemb_arithmetic", call,
            (int)q->arithmetic);
    TRY(qemb__check_layout(q->layout, q->qparams, q->symmetric, call));
    REQUIRE(!signbit(q->averaging_constant) && q->averaging_constant <= 1.0f, QEMB_ERR_RANGE, "%s: averaging_constant=%g, want 0 < c <= 1",
            call, (double)q->averaging_constant);
    REQUIRE(q->eps >= 0.0f && isfinite(q->eps), QEMB_ERR_RANGE, "%s: eps=%g, want a finite number above 0", call, (double)q->eps);
    REQUIRE(q->arithmetic != QEMB_ARITHMETIC_PACKED || q->quant_min == 0, QEMB_ERR_RANGE, "%s: quant_min=%d, the packed arithmetic wants 0",
            call, q->quant_min);
    REQUIRE(q->arithmetic != QEMB_ARITHMETIC_PACKED || q->quant_max == 255 || q->quant_max == 15 || q->quant_max == 3, QEMB_ERR_RANGE,
            "%s: quant_max=%d, the packed arithmetic wants 255, 15 or 3", call, q->quant_max);
done:
    return st;
}

static qemb_status check_table(const qemb_context *ctx, const qemb_table_desc *d, const char *call) {
    qemb_status st = QEMB_OK;
    int64_t elements = 0;
    const qemb__table_words words = {d->num_embeddings, d->embedding_dim, d->padding_idx, d->has_padding_idx,
                                     d->has_max_norm,   d->max_norm,      d->norm_type};
    TRY(qemb__check_table_words(&words, call));
    REQUIRE(qemb__mul_i64(d->num_embeddings, d->embedding_dim, &elements) && elements <= INT64_MAX / 16, QEMB_ERR_OVERFLOW,
            "%s: %lld rows of %lld do not fit in 63 bits of bytes", call, (long long)d->num_embeddings, (long long)d->embedding_dim);
    REQUIRE(d->dtype == QEMB_FLOAT32, QEMB_ERR_UNSUPPORTED, "%s: dtype=%d, want QEMB_FLOAT32: master weights are float32", call,
            (int)d->dtype);
    REQUIRE(!d->weight || !d->weight_buffer, QEMB_ERR_ARG, "%s: weight and weight_buffer are both given, want one", call);
    if (d->weight_buffer) {
        const qemb_buffer *w = d->weight_buffer;
        REQUIRE(w->ctx == ctx, QEMB_ERR_ARG, "%s: weight_buffer is of another context", call);
        REQUIRE(w->bytes / sizeof(float) >= (size_t)elements, QEMB_ERR_SHAPE, "%s: weight_buffer holds %zu bytes, want %lld floats", call,
                w->bytes, (long long)elements);
        REQUIRE(w->offset % sizeof(float) == 0, QEMB_ERR_SHAPE, "%s: weight_buffer starts inside a float", call);
    }
    TRY(check_qconfig(&d->qconfig, call));
done:
    return st;
}

static qemb_status check_options(const qemb_bag_options *o, const char *call) {
    qemb_status st = QEMB_OK;
    REQUIRE((unsigned)o->mode <= QEMB_MODE_MAX, QEMB_ERR_ARG, "%s: mode=%d, want sum, mean or max", call, (int)o->mode);
    REQUIRE(o->mode != QEMB_MODE_MAX || !o->scale_grad_by_freq, QEMB_ERR_UNSUPPORTED, "%s: mode max does not support scale_grad_by_freq",
            call);
    REQUIRE(o->mode != QEMB_MODE_MAX || !o->sparse, QEMB_ERR_UNSUPPORTED, "%s: mode max does not support sparse gradients", call);
done:
    return st;
}

static qemb_status check_collection(const qemb_context *ctx, const qemb_collection_desc *d, const char *call) {
    qemb_status st = QEMB_OK;
    int64_t rows = 0;
    REQUIRE(d->tables, QEMB_ERR_ARG, "%s: tables is NULL", call);
    REQUIRE(d->num_tables > 0, QEMB_ERR_SHAPE, "%s: num_tables=%d, want > 0", call, d->num_tables);
    REQUIRE(d->feature_table || d->num_features == 0 || d->num_features == d->num_tables, QEMB_ERR_SHAPE,
            "%s: num_features=%d without feature_table, want 0", call, d->num_features);
    REQUIRE(!d->feature_table || d->num_features > 0, QEMB_ERR_SHAPE, "%s: num_features=%d, want > 0", call, d->num_features);
    for (int32_t f = 0; d->feature_table && f < d->num_features; f++) {
        REQUIRE(d->feature_table[f] >= 0 && d->feature_table[f] < d->num_tables, QEMB_ERR_INDEX, "%s: feature_table[%d]=%d, want 0..%d",
                call, f, d->feature_table[f], d->num_tables - 1);
    }
    for (int32_t t = 0; t < d->num_tables; t++) {
        TRY(check_table(ctx, &d->tables[t], call));
        REQUIRE(qemb__add_i64(rows, d->tables[t].num_embeddings, &rows), QEMB_ERR_OVERFLOW,
                "%s: the rows of all tables do not fit in 63 bits", call);
    }
    TRY(check_options(&d->options, call));
done:
    return st;
}

qemb_status qemb__bag_create(qemb_context *ctx, const qemb_collection_desc *desc, bool pooled, const char *call, qemb_embedding_bag **out) {
    void *block = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_status st = qemb__enter(ctx, call);
    if (st != QEMB_OK) {
        return st;
    }
    REQUIRE(out, QEMB_ERR_ARG, "%s: the place for the module is NULL", call);
    TRY(check_collection(ctx, desc, call));
    TRY(qemb__calloc(1, sizeof *bag, &block));
    bag = block;
    bag->ctx = ctx;
    bag->serial = qemb__serial(ctx);
    bag->options = desc->options;
    bag->pooled = pooled;
    TRY(qemb__calloc(desc->num_tables, sizeof *bag->qconfig, (void **)&bag->qconfig));
    for (int32_t t = 0; t < desc->num_tables; t++) {
        bag->qconfig[t] = desc->tables[t].qconfig;
    }
    TRY(qemb__tables_create(ctx, desc, pooled ? (int32_t)desc->options.mode : Q_MODE_NONE, &bag->tables));
    TRY(ctx->ops->prepare(ctx, bag->tables));
    *out = bag;
    bag = NULL;
done:
    qemb_embedding_bag_destroy(bag);
    qemb__leave(ctx);
    return st;
}

/* Another module over the same slabs. The source is borrowed for its life: whoever destroys it first takes the weights along. */
qemb_status qemb__bag_share(const qemb_embedding_bag *source, const qemb_qconfig *qconfig, const char *call, qemb_embedding_bag **out) {
    void *block = NULL;
    qemb_embedding_bag *bag = NULL;
    if (!source || !qconfig || !out) {
        return qemb__fail(QEMB_ERR_ARG, "%s: %s is NULL", call, !source ? "source" : !qconfig ? "qconfig" : "the place for the module");
    }
    qemb_status st = qemb__enter(source->ctx, call);
    if (st != QEMB_OK) {
        return st;
    }
    TRY(check_qconfig(qconfig, call));
    TRY(qemb__calloc(1, sizeof *bag, &block));
    bag = block;
    bag->ctx = source->ctx;
    bag->serial = qemb__serial(source->ctx);
    bag->options = source->options;
    bag->pooled = source->pooled;
    TRY(qemb__calloc(source->tables->num_tables, sizeof *bag->qconfig, (void **)&bag->qconfig));
    for (int32_t t = 0; t < source->tables->num_tables; t++) {
        bag->qconfig[t] = *qconfig;
    }
    TRY(qemb__tables_share(source->tables, bag->qconfig, &bag->tables));
    TRY(bag->ctx->ops->prepare(bag->ctx, bag->tables));
    *out = bag;
    bag = NULL;
done:
    qemb_embedding_bag_destroy(bag);
    qemb__leave(source->ctx);
    return st;
}

qemb_status qemb_embedding_bag_from_float(const qemb_embedding_bag *source, const qemb_qconfig *qconfig, qemb_embedding_bag **bag) {
    return qemb__bag_share(source, qconfig, "embedding_bag_from_float", bag);
}

qemb_status qemb_embedding_bag_to_float(const qemb_embedding_bag *source, qemb_embedding_bag **bag) {
    const qemb_qconfig none = qemb_qconfig_float();
    return qemb__bag_share(source, &none, "embedding_bag_to_float", bag);
}

void qemb_embedding_bag_destroy(qemb_embedding_bag *bag) {
    if (bag) {
        qemb__tables_destroy(bag->tables);
        qemb__buffer_destroy(bag->winners);
        qemb__training_destroy(bag->training);
        qemb__free(bag->schedule);
        qemb__free(bag->qconfig);
        qemb__free(bag);
    }
}

qemb_status qemb_embedding_bag_create(qemb_context *ctx, const qemb_embedding_bag_desc *d, qemb_embedding_bag **bag) {
    if (!d) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_create: desc is NULL");
    }
    qemb_table_desc table = {
        d->num_embeddings, d->embedding_dim, d->has_padding_idx, d->padding_idx,   d->has_max_norm, d->max_norm, d->norm_type,
        d->dtype,          d->qconfig,       d->weight,          d->weight_buffer, d->seed,         d->name};
    qemb_collection_desc desc = {
        .tables = &table, .num_tables = 1, .options = {d->mode, d->scale_grad_by_freq, d->sparse, d->include_last_offset}};
    return qemb__bag_create(ctx, &desc, true, "embedding_bag_create", bag);
}

qemb_status qemb_embedding_bag_collection_create(qemb_context *ctx, const qemb_collection_desc *desc, qemb_embedding_bag **bag) {
    if (!desc) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_collection_create: desc is NULL");
    }
    return qemb__bag_create(ctx, desc, true, "embedding_bag_collection_create", bag);
}

qemb_status qemb_embedding_bag_info(const qemb_embedding_bag *bag, qemb_bag_info *info) {
    if (!bag || !info) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_info: %s is NULL", bag ? "info" : "bag");
    }
    const qemb_status st = qemb__enter(bag->ctx, "embedding_bag_info");
    if (st != QEMB_OK) {
        return st;
    }
    const qemb__tables *s = bag->tables;
    *info = (qemb_bag_info){.num_tables = s->num_tables,
                            .num_features = s->num_features,
                            .output_dim = s->output_dim,
                            .options = bag->options,
                            .pooled = bag->pooled,
                            .forwards = bag->forwards};
    for (int32_t n = 0; n < s->num_slabs; n++) {
        info->weight_bytes += s->slab[n].elements * (int64_t)sizeof(float);
        info->state_bytes += s->slab[n].state ? s->slab[n].rows * (int64_t)sizeof(q_state) : 0;
    }
    qemb__leave(bag->ctx);
    return QEMB_OK;
}

qemb_status qemb__bag_check_rows(const qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, const char *call) {
    qemb_status st = QEMB_OK;
    REQUIRE(bag, QEMB_ERR_ARG, "%s: bag is NULL", call);
    REQUIRE(table >= 0 && table < bag->tables->num_tables, QEMB_ERR_INDEX, "%s: table=%d, want 0..%d", call, table,
            bag->tables->num_tables - 1);
    const int64_t rows = bag->tables->table[table].rows;
    REQUIRE(first >= 0 && count >= 0 && first <= rows && count <= rows - first, QEMB_ERR_INDEX,
            "%s: rows %lld to %lld + %lld, want inside 0..%lld", call, (long long)first, (long long)first, (long long)count,
            (long long)rows);
done:
    return st;
}

qemb_status qemb_embedding_bag_table(const qemb_embedding_bag *bag, int32_t table, qemb_table_desc *d) {
    qemb_status st = qemb__bag_check_rows(bag, table, 0, 0, "embedding_bag_table");
    if (st != QEMB_OK || !d) {
        return st != QEMB_OK ? st : qemb__fail(QEMB_ERR_ARG, "embedding_bag_table: desc is NULL");
    }
    st = qemb__enter(bag->ctx, "embedding_bag_table");
    if (st != QEMB_OK) {
        return st;
    }
    const q_table *t = &bag->tables->table[table];
    *d = (qemb_table_desc){.num_embeddings = t->rows,
                           .embedding_dim = t->dim,
                           .has_padding_idx = t->padding_idx >= 0,
                           .name = bag->tables->name[table],
                           .padding_idx = t->padding_idx >= 0 ? t->padding_idx : 0,
                           .has_max_norm = (t->flags & (Q_HAS_NORM | Q_CLIPS_WEIGHT)) != 0,
                           .max_norm = t->max_norm,
                           .norm_type = t->norm_type,
                           .qconfig = bag->qconfig[table]};
    d->qconfig.observer_off = !(t->flags & Q_OBSERVER_ON);
    d->qconfig.fake_quant_off = !(t->flags & Q_FAKE_QUANT_ON);
    qemb__leave(bag->ctx);
    return QEMB_OK;
}

/* Stores the state of rows that are about to change. Rows of a memoryless table have none. */
static qemb_status commit_rows(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count) {
    if (!(bag->tables->table[table].flags & Q_HAS_STATE) || count == 0) {
        return QEMB_OK;
    }
    qemb__row_observe_args args = {bag->tables, table, first, count, bag->forwards, true, NULL, NULL, false};
    return bag->ctx->ops->row_observe(bag->ctx, &args);
}

/* Moves rows between the host and the slabs; exactly one of source and target is given. */
static qemb_status move_rows(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t rows, const float *source, float *target) {
    const q_table *t = &bag->tables->table[table];
    for (int64_t done = 0, count = 0; done < rows; done += count) {
        int32_t slab = 0;
        int64_t local = 0;
        count = rows - done;
        qemb__tables_locate(bag->tables, table, first + done, &count, &slab, &local);
        size_t at = qemb__tables_at(bag->tables, table, slab, local);
        size_t bytes = (size_t)(count * t->dim) * sizeof(float);
        qemb_buffer *w = bag->tables->slab[slab].weight;
        qemb_status st = source ? qemb__buffer_write(w, at, bytes, source + done * t->dim, true)
                                : qemb__buffer_read(w, at, bytes, target + done * t->dim, true);
        if (st != QEMB_OK) {
            return st;
        }
    }
    return QEMB_OK;
}

qemb_status qemb_embedding_bag_read_weight(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, float *target) {
    qemb_status st = qemb__bag_check_rows(bag, table, first, count, "embedding_bag_read_weight");
    if (st != QEMB_OK || (st = qemb__enter(bag->ctx, "embedding_bag_read_weight")) != QEMB_OK) {
        return st;
    }
    st = target || !count ? move_rows(bag, table, first, count, NULL, target)
                          : qemb__fail(QEMB_ERR_ARG, "embedding_bag_read_weight: target is NULL");
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb_embedding_bag_write_weight(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, const float *source) {
    qemb_status st = qemb__bag_check_rows(bag, table, first, count, "embedding_bag_write_weight");
    if (st != QEMB_OK || (st = qemb__enter(bag->ctx, "embedding_bag_write_weight")) != QEMB_OK) {
        return st;
    }
    REQUIRE(source || !count, QEMB_ERR_ARG, "embedding_bag_write_weight: source is NULL");
    TRY(qemb__tables_flush(bag->tables));
    TRY(commit_rows(bag, table, first, count));
    qemb__harmless(bag->ctx);
    TRY(move_rows(bag, table, first, count, source, NULL));
    bag->last_batch = NULL; /* a backward would take the mask of the new weights */
done:
    st = qemb__settle(bag->ctx, st);
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb_embedding_bag_read_observer(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count,
                                             const qemb_observer_rows *rows) {
    enum { CHUNK = 1 << 18 };
    qemb_buffer *result = NULL;
    qemb_status st = qemb__bag_check_rows(bag, table, first, count, "embedding_bag_read_observer");
    if (st != QEMB_OK || (st = qemb__enter(bag->ctx, "embedding_bag_read_observer")) != QEMB_OK) {
        return st;
    }
    REQUIRE(rows, QEMB_ERR_ARG, "embedding_bag_read_observer: rows is NULL");
    TRY(qemb__tables_flush(bag->tables));
    int64_t chunk = qemb__min_i64(count, CHUNK);
    TRY(qemb__buffer_create(bag->ctx, (size_t)qemb__max_i64(chunk, 1) * 4 * sizeof(float), &result));
    for (int64_t done = 0; done < count; done += chunk) {
        int64_t n = qemb__min_i64(chunk, count - done);
        float *targets[4] = {rows->min_val, rows->max_val, rows->scale, rows->zero_point};
        qemb__row_observe_args args = {bag->tables, table, first + done, n, bag->forwards, false, result, NULL, false};
        TRY(bag->ctx->ops->row_observe(bag->ctx, &args));
        for (int k = 0; k < 4; k++) {
            if (targets[k]) {
                TRY(qemb__buffer_read(result, (size_t)(k * n) * sizeof(float), (size_t)n * sizeof(float), targets[k] + done, true));
            }
        }
    }
done:
    qemb__buffer_destroy(result);
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb_embedding_bag_write_observer(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, const float *min_val,
                                              const float *max_val) {
    enum { CHUNK = 1 << 14 };
    void *block = NULL;
    qemb_status st = qemb__bag_check_rows(bag, table, first, count, "embedding_bag_write_observer");
    if (st != QEMB_OK || (st = qemb__enter(bag->ctx, "embedding_bag_write_observer")) != QEMB_OK) {
        return st;
    }
    q_table *t = &bag->tables->table[table];
    const q_table before = *t;
    REQUIRE((min_val && max_val) || !count, QEMB_ERR_ARG, "embedding_bag_write_observer: min_val or max_val is NULL");
    for (int64_t i = 0; i < count; i++) {
        REQUIRE(!(min_val[i] > max_val[i]), QEMB_ERR_RANGE, "embedding_bag_write_observer: min_val[%lld]=%g, want at most max_val=%g",
                (long long)i, (double)min_val[i], (double)max_val[i]);
    }
    TRY(qemb__calloc(CHUNK, sizeof(q_state), &block));
    TRY(qemb__tables_need_state(bag->tables, table));
    if (qemb__table_observations(t, bag->forwards) == 0) {
        t->observed++; /* the state stands for one observation at least */
    }
    TRY(qemb__tables_flush(bag->tables));
    qemb__harmless(bag->ctx);
    q_state *states = block;
    for (int64_t done = 0, n = 0; done < count; done += n) {
        int32_t slab = 0;
        int64_t local = 0;
        n = qemb__min_i64(CHUNK, count - done);
        qemb__tables_locate(bag->tables, table, first + done, &n, &slab, &local);
        for (int64_t i = 0; i < n; i++) {
            states[i] = (q_state){min_val[done + i], max_val[done + i], qemb__table_observations(t, bag->forwards)};
        }
        TRY(qemb__buffer_write(bag->tables->slab[slab].state, (size_t)(t->state_base + local) * sizeof(q_state),
                               (size_t)n * sizeof(q_state), states, true));
    }
done:
    if (st != QEMB_OK) {
        t->flags = before.flags;
        t->observed = before.observed;
        bag->tables->stale = true;
    }
    st = qemb__settle(bag->ctx, st);
    qemb__free(block);
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb_embedding_bag_fake_quantise(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, qemb_buffer *out) {
    qemb_status st = qemb__bag_check_rows(bag, table, first, count, "embedding_bag_fake_quantise");
    if (st != QEMB_OK || (st = qemb__enter(bag->ctx, "embedding_bag_fake_quantise")) != QEMB_OK) {
        return st;
    }
    const q_table *t = &bag->tables->table[table];
    REQUIRE(out && out->ctx == bag->ctx, QEMB_ERR_ARG, "embedding_bag_fake_quantise: out is %s", out ? "of another context" : "NULL");
    REQUIRE(out->bytes / sizeof(float) / (size_t)t->dim >= (size_t)count && out->offset % sizeof(float) == 0, QEMB_ERR_SHAPE,
            "embedding_bag_fake_quantise: out holds %zu bytes, want %lld x %d floats", out->bytes, (long long)count, t->dim);
    REQUIRE(qemb__table_observations(t, bag->forwards + 1) > 0, QEMB_ERR_STATE,
            "embedding_bag_fake_quantise: table %s has its observer off and was never observed", bag->tables->name[table]);
    TRY(qemb__tables_flush(bag->tables));
    qemb__harmless(bag->ctx);
    if (count > 0) {
        qemb__row_observe_args args = {bag->tables, table, first, count, bag->forwards + 1, false, NULL, out, false};
        TRY(bag->ctx->ops->row_observe(bag->ctx, &args));
    }
done:
    st = qemb__settle(bag->ctx, st);
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb_embedding_bag_observe_all(qemb_embedding_bag *bag) {
    if (!bag) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_observe_all: bag is NULL");
    }
    qemb_status st = qemb__enter(bag->ctx, "embedding_bag_observe_all");
    if (st != QEMB_OK) {
        return st;
    }
    TRY(qemb__tables_flush(bag->tables));
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        TRY(commit_rows(bag, t, 0, bag->tables->table[t].rows));
    }
done:
    qemb__leave(bag->ctx);
    return st;
}

/* Switches a flag of one or all tables. Turning an observer keeps the count of observations so far; a memoryless table whose observer
 * goes off needs state from then on, because its rows may change while their qparams must not. */
qemb_status qemb__bag_set_flag(qemb_embedding_bag *bag, int32_t table, int32_t flag, bool on) {
    qemb__tables *s = bag->tables;
    qemb_status st = QEMB_OK;
    const uint32_t before = s->uses;
#define CONCERNED(k) ((table == QEMB_ALL_TABLES || table == (k)) && ((s->table[k].flags & flag) != 0) != on)
    /* what may fail comes first: memory for state, kernels for the new switches */
    for (int32_t k = 0; k < s->num_tables; k++) {
        const q_table *t = &s->table[k];
        if (CONCERNED(k)) {
            if (flag == Q_OBSERVER_ON && !(t->flags & Q_HAS_STATE)) {
                TRY(qemb__tables_need_state(s, k));
            }
            s->uses |= flag == Q_FAKE_QUANT_ON && !on ? QEMB__USES_FLOAT : t->flags & Q_HAS_STATE ? QEMB__USES_STATE : 0;
            s->uses |= t->arithmetic == Q_TORCH_CPU    ? QEMB__USES_TORCH_CPU
                       : t->arithmetic == Q_TORCH_CUDA ? QEMB__USES_TORCH_CUDA
                                                       : QEMB__USES_PACKED;
        }
    }
    TRY(bag->ctx->ops->prepare(bag->ctx, s));
    for (int32_t k = 0; k < s->num_tables; k++) {
        q_table *t = &s->table[k];
        if (CONCERNED(k)) {
            if (flag == Q_OBSERVER_ON) {
                int64_t seen = qemb__table_observations(t, bag->forwards);
                t->observed = on ? seen - bag->forwards : seen;
            }
            t->flags = on ? t->flags | flag : t->flags & ~flag;
            t->flags = (t->flags & ~(Q_HAS_NORM | Q_CLIPS_WEIGHT)) | qemb__norm_flag(t->flags, (t->flags & Q_FAKE_QUANT_ON) != 0);
            bag->last_batch = NULL; /* a backward would take the mask of the new switches */
            s->stale = true;
        }
    }
#undef CONCERNED
done:
    if (st != QEMB_OK) {
        s->uses = before;
    }
    return st;
}

static qemb_status set_switch(qemb_embedding_bag *bag, int32_t table, int32_t flag, bool on, const char *call) {
    qemb_status st = qemb__bag_check_rows(bag, table == QEMB_ALL_TABLES ? 0 : table, 0, 0, call);
    if (st != QEMB_OK || (st = qemb__enter(bag->ctx, call)) != QEMB_OK) {
        return st;
    }
    st = qemb__bag_set_flag(bag, table, flag, on);
    qemb__leave(bag->ctx);
    return st;
}

qemb_status qemb_embedding_bag_set_observer(qemb_embedding_bag *bag, int32_t table, bool on) {
    return set_switch(bag, table, Q_OBSERVER_ON, on, "embedding_bag_set_observer");
}

qemb_status qemb_embedding_bag_set_fake_quant(qemb_embedding_bag *bag, int32_t table, bool on) {
    return set_switch(bag, table, Q_FAKE_QUANT_ON, on, "embedding_bag_set_fake_quant");
}
