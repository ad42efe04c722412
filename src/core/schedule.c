/* schedule.c - switches that forwards turn by themselves.
 *
 * A forward turns what is due before it runs, and turns it back when it fails: a refused forward has changed nothing. Setting a schedule
 * turns each switch both ways once, so that kernels and state for either position exist and no forward compiles. */
#include "base/memory.h"
#include "core/embedding_bag.h"

/* Remembers the switches of all tables, for undo. */
static void remember(qemb_embedding_bag *bag) {
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        bag->schedule[t].flags = bag->tables->table[t].flags;
        bag->schedule[t].observed = bag->tables->table[t].observed;
    }
}

void qemb__bag_undo_schedule(qemb_embedding_bag *bag) {
    for (int32_t t = 0; bag->schedule && t < bag->tables->num_tables; t++) {
        q_table *table = &bag->tables->table[t];
        if (table->flags != bag->schedule[t].flags) { /* what was observed changes with them alone */
            table->flags = bag->schedule[t].flags;
            table->observed = bag->schedule[t].observed;
            bag->tables->stale = true;
        }
    }
}

qemb_status qemb__bag_follow_schedule(qemb_embedding_bag *bag) {
    qemb_status st = QEMB_OK;
    if (bag->schedule) {
        remember(bag);
    }
    for (int32_t t = 0; bag->schedule && t < bag->tables->num_tables; t++) {
        const qemb__schedule *s = &bag->schedule[t];
        if (s->fake_quant_from > 0 && s->fake_quant_from == bag->forwards) {
            TRY(qemb__bag_set_flag(bag, t, Q_FAKE_QUANT_ON, true));
        }
        if (s->observer_until > 0 && s->observer_until == bag->forwards) {
            TRY(qemb__bag_set_flag(bag, t, Q_OBSERVER_ON, false));
        }
    }
done:
    return st;
}

/* The switches as the schedule wants them now. Both forms of fake quantisation are compiled, and the state that a frozen observer needs is
 * there from now on. */
static qemb_status start(qemb_embedding_bag *bag, int32_t table, int64_t fake_quant_from, int64_t observer_until) {
    qemb_status st = QEMB_OK;
    if (fake_quant_from > 0) {
        TRY(qemb__bag_set_flag(bag, table, Q_FAKE_QUANT_ON, true));
        TRY(qemb__bag_set_flag(bag, table, Q_FAKE_QUANT_ON, bag->forwards >= fake_quant_from));
    }
    if (observer_until > 0) {
        TRY(qemb__bag_set_flag(bag, table, Q_OBSERVER_ON, false));
        TRY(qemb__bag_set_flag(bag, table, Q_OBSERVER_ON, bag->forwards < observer_until));
    }
done:
    return st;
}

/* start for all tables or one; when it breaks off, the switches are what they were. */
static qemb_status start_all(qemb_embedding_bag *bag, int32_t table, int64_t fake_quant_from, int64_t observer_until) {
    const qemb_batch *last_batch = bag->last_batch;
    qemb_status st = QEMB_OK;
    remember(bag);
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        if (table == QEMB_ALL_TABLES || table == t) {
            TRY(start(bag, t, fake_quant_from, observer_until));
        }
    }
done:
    if (st != QEMB_OK) {
        qemb__bag_undo_schedule(bag);
        bag->last_batch = last_batch;
    }
    return st;
}

qemb_status qemb_embedding_bag_set_schedule(qemb_embedding_bag *bag, int32_t table, int64_t fake_quant_from, int64_t observer_until) {
    qemb_status st = qemb__bag_check_rows(bag, table == QEMB_ALL_TABLES ? 0 : table, 0, 0, "embedding_bag_set_schedule");
    if (st != QEMB_OK || (st = qemb__enter(bag->ctx, "embedding_bag_set_schedule")) != QEMB_OK) {
        return st;
    }
    REQUIRE(fake_quant_from >= 0 && observer_until >= 0, QEMB_ERR_RANGE,
            "embedding_bag_set_schedule: fake_quant_from=%lld, observer_until=%lld, want both >= 0", (long long)fake_quant_from,
            (long long)observer_until);
    if (!bag->schedule) {
        TRY(qemb__calloc(bag->tables->num_tables, sizeof *bag->schedule, (void **)&bag->schedule));
    }
    TRY(start_all(bag, table, fake_quant_from, observer_until));
    for (int32_t t = 0; t < bag->tables->num_tables; t++) {
        if (table == QEMB_ALL_TABLES || table == t) {
            bag->schedule[t].fake_quant_from = fake_quant_from;
            bag->schedule[t].observer_until = observer_until;
        }
    }
done:
    qemb__leave(bag->ctx);
    return st;
}
