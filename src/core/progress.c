/* progress.c - where a module stands: switches, schedules, counts. Read out and put in for state dicts. */
#include <math.h>

#include "base/checked.h"
#include "base/memory.h"
#include "core/embedding_bag.h"

qemb_status qemb_embedding_bag_get_progress(const qemb_embedding_bag *bag, int32_t table, qemb_table_progress *progress) {
    qemb_status st = qemb__bag_check_rows(bag, table, 0, 0, "embedding_bag_get_progress");
    if (st != QEMB_OK || !progress) {
        return st != QEMB_OK ? st : qemb__fail(QEMB_ERR_ARG, "embedding_bag_get_progress: progress is NULL");
    }
    st = qemb__enter(bag->ctx, "embedding_bag_get_progress");
    if (st != QEMB_OK) {
        return st;
    }
    const q_table *t = &bag->tables->table[table];
    *progress = (qemb_table_progress){.observations = qemb__table_observations(t, bag->forwards),
                                      .eps = t->eps,
                                      .observer_on = (t->flags & Q_OBSERVER_ON) != 0,
                                      .fake_quant_on = (t->flags & Q_FAKE_QUANT_ON) != 0};
    if (bag->schedule) {
        progress->fake_quant_from = bag->schedule[table].fake_quant_from;
        progress->observer_until = bag->schedule[table].observer_until;
    }
    qemb__leave(bag->ctx);
    return QEMB_OK;
}

static qemb_status check(const qemb_embedding_bag *bag, int64_t forwards, const qemb_table_progress *p) {
    qemb_status st = QEMB_OK;
    REQUIRE(forwards >= 0, QEMB_ERR_RANGE, "embedding_bag_set_progress: forwards=%lld, want >= 0", (long long)forwards);
    REQUIRE(forwards <= INT64_MAX / 4, QEMB_ERR_RANGE, "embedding_bag_set_progress: forwards=%lld is beyond 2^61", (long long)forwards);
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        const char *name = bag->tables->name[t];
        REQUIRE(p[t].observations >= 0 && p[t].observations <= INT64_MAX / 4, QEMB_ERR_RANGE,
                "embedding_bag_set_progress: table %s: observations=%lld, want 0..2^61", name, (long long)p[t].observations);
        REQUIRE(p[t].fake_quant_from >= 0 && p[t].observer_until >= 0, QEMB_ERR_RANGE,
                "embedding_bag_set_progress: table %s: fake_quant_from=%lld, observer_until=%lld, want both >= 0", name,
                (long long)p[t].fake_quant_from, (long long)p[t].observer_until);
        REQUIRE(p[t].eps > 0.0f && isfinite(p[t].eps), QEMB_ERR_RANGE,
                "embedding_bag_set_progress: table %s: eps=%g, want a finite number above 0", name, (double)p[t].eps);
    }
done:
    return st;
}

/* What may fail: memory for state, kernels for every position that the switches are given or a schedule will give them. */
static qemb_status prepare(qemb_embedding_bag *bag, const qemb_table_progress *p) {
    static const uint32_t arithmetic[] = {QEMB__USES_TORCH_CPU, QEMB__USES_TORCH_CUDA, QEMB__USES_PACKED};
    qemb__tables *s = bag->tables;
    qemb_status st = QEMB_OK;
    const uint32_t before = s->uses;
    bool scheduled = false;
    for (int32_t t = 0; t < s->num_tables; t++) {
        const q_table *table = &s->table[t];
        const bool quantises = p[t].fake_quant_on || p[t].fake_quant_from > 0;
        const bool freezes = !p[t].observer_on || p[t].observer_until > 0;
        const bool used = quantises || p[t].observations > 0 || (p[t].observer_on && table->observer != Q_MEMORYLESS);
        if (!(table->flags & Q_HAS_STATE) && used && (freezes || table->observer != Q_MEMORYLESS)) {
            TRY(qemb__tables_need_state(s, t));
        }
        s->uses |= (quantises ? arithmetic[table->arithmetic] : 0) | (!p[t].fake_quant_on ? QEMB__USES_FLOAT : 0) |
                   (table->flags & Q_HAS_STATE ? QEMB__USES_STATE : 0);
        scheduled = scheduled || p[t].fake_quant_from > 0 || p[t].observer_until > 0;
    }
    if (scheduled && !bag->schedule) {
        TRY(qemb__calloc(s->num_tables, sizeof *bag->schedule, (void **)&bag->schedule));
    }
    TRY(bag->ctx->ops->prepare(bag->ctx, s));
done:
    if (st != QEMB_OK) {
        s->uses = before;
    }
    return st;
}

/* Every row of a table as never observed. */
static qemb_status empty_state(qemb_embedding_bag *bag, int32_t table) {
    enum { CHUNK = 1 << 16 };
    const q_table *t = &bag->tables->table[table];
    void *zeros = NULL;
    qemb_status st = qemb__calloc(CHUNK, sizeof(q_state), &zeros);
    for (int64_t row = 0, count = 0; st == QEMB_OK && row < t->rows; row += count) {
        int32_t slab = 0;
        int64_t local = 0;
        count = qemb__min_i64(CHUNK, t->rows - row);
        qemb__tables_locate(bag->tables, table, row, &count, &slab, &local);
        st = qemb__buffer_write(bag->tables->slab[slab].state, (size_t)(t->state_base + local) * sizeof(q_state),
                                (size_t)count * sizeof(q_state), zeros, true);
    }
    qemb__free(zeros);
    return st;
}

static void apply(qemb_embedding_bag *bag, int32_t table, const qemb_table_progress *p) {
    q_table *t = &bag->tables->table[table];
    t->flags &= ~(Q_OBSERVER_ON | Q_FAKE_QUANT_ON);
    t->flags |= (p->observer_on ? Q_OBSERVER_ON : 0) | (p->fake_quant_on ? Q_FAKE_QUANT_ON : 0);
    t->flags = (t->flags & ~(Q_HAS_NORM | Q_CLIPS_WEIGHT)) | qemb__norm_flag(t->flags, p->fake_quant_on);
    t->observed = p->observer_on ? p->observations - bag->forwards : p->observations;
    t->eps = p->eps;
    bag->qconfig[table].eps = p->eps;
    if (bag->schedule) {
        bag->schedule[table] = (qemb__schedule){.fake_quant_from = p->fake_quant_from, .observer_until = p->observer_until};
    }
}

qemb_status qemb_embedding_bag_set_progress(qemb_embedding_bag *bag, int64_t forwards, const qemb_table_progress *tables) {
    if (!bag || !tables) {
        return qemb__fail(QEMB_ERR_ARG, "embedding_bag_set_progress: %s is NULL", bag ? "tables" : "bag");
    }
    qemb_status st = qemb__enter(bag->ctx, "embedding_bag_set_progress");
    if (st != QEMB_OK) {
        return st;
    }
    TRY(check(bag, forwards, tables));
    TRY(prepare(bag, tables));
    qemb__harmless(bag->ctx);
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        if (bag->tables->table[t].flags & Q_HAS_STATE) {
            TRY(empty_state(bag, t));
        }
    }
    bag->forwards = forwards;
    bag->last_batch = NULL; /* a backward would take the mask of other weights */
    bag->tables->stale = true;
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        apply(bag, t, &tables[t]);
    }
done:
    st = qemb__settle(bag->ctx, st);
    qemb__leave(bag->ctx);
    return st;
}

int32_t qemb_embedding_bag_feature_table(const qemb_embedding_bag *bag, int32_t feature) {
    return bag ? qemb__tables_feature(bag->tables, feature) : -1;
}
