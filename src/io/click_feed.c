/* click_feed.c - a thread that keeps batches of a click log ready.
 *
 * A ring of slots between one producer and one consumer. Slot numbers only grow; `made` is the producer's, `taken` the
 * consumer's, both under the lock. The consumer's batch stays in its slot until the next call gives it back. */
#define _GNU_SOURCE
#include <qemb/qemb_io.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"

enum { DEFAULT_SLOTS = 4, MOST_SLOTS = 64 };

typedef struct slot {
    int64_t rows;
    qemb_status status;
    char sentence[512]; /* of status, for the caller's thread */
    int32_t *ids;
    float *dense, *labels;
} slot;

struct qemb_click_feed {
    qemb_click_feed_desc desc;
    slot slots[MOST_SLOTS];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* made, taken, held or stop */
    bool running;
    /* under the lock */
    int64_t made, taken;
    bool held; /* the slot before `taken` is in the caller's hands */
    bool stop;
};

static const char who[] = "click_feed";

/* ------------------------------------------------------------------------------------------------------------------
 * The producer
 * ---------------------------------------------------------------------------------------------------------------- */

static qemb_status fill(const qemb_click_feed *feed, int64_t number, slot *s) {
    const qemb_click_feed_desc *d = &feed->desc;
    if (d->reader) {
        return qemb_click_reader_next(d->reader, d->capacity, s->ids, s->dense, s->labels, &s->rows);
    }
    int64_t done = number < d->row_count / d->capacity + 1 ? number * d->capacity : d->row_count;
    s->rows = qemb__min_i64(d->capacity, d->row_count - done);
    return qemb_click_generator_rows(d->generator, d->first_row + done, s->rows, s->ids, s->dense, s->labels, NULL);
}

static void *produce(void *argument) {
    qemb_click_feed *feed = argument;
    bool more = true;
    while (more) {
        (void)pthread_mutex_lock(&feed->lock);
        while (!feed->stop && feed->made - feed->taken + feed->held >= feed->desc.slots) {
            (void)pthread_cond_wait(&feed->changed, &feed->lock);
        }
        int64_t number = feed->made;
        bool stop = feed->stop;
        (void)pthread_mutex_unlock(&feed->lock);
        if (stop) {
            break;
        }
        slot *s = &feed->slots[number % feed->desc.slots];
        s->status = fill(feed, number, s);
        if (s->status != QEMB_OK) {
            (void)snprintf(s->sentence, sizeof s->sentence, "%s", qemb_last_error());
        }
        more = s->status == QEMB_OK && s->rows > 0; /* the end and a failure are the last slot */
        (void)pthread_mutex_lock(&feed->lock);
        feed->made++;
        (void)pthread_cond_broadcast(&feed->changed);
        (void)pthread_mutex_unlock(&feed->lock);
    }
    return NULL;
}

static qemb_status start(qemb_click_feed *feed) {
    feed->made = feed->taken = 0;
    feed->held = feed->stop = false;
    int error = pthread_create(&feed->thread, NULL, produce, feed);
    if (error) {
        return qemb__fail(QEMB_ERR_NOMEM, "%s: cannot start a thread: %s", who, strerror(error));
    }
    feed->running = true;
    return QEMB_OK;
}

static void stop(qemb_click_feed *feed) {
    if (feed->running) {
        (void)pthread_mutex_lock(&feed->lock);
        feed->stop = true;
        (void)pthread_cond_broadcast(&feed->changed);
        (void)pthread_mutex_unlock(&feed->lock);
        (void)pthread_join(feed->thread, NULL);
        feed->running = false;
    }
}

/* ------------------------------------------------------------------------------------------------------------------
 * The consumer
 * ---------------------------------------------------------------------------------------------------------------- */

qemb_status qemb_click_feed_next(qemb_click_feed *feed, qemb_click_batch *batch) {
    qemb_status st = QEMB_OK;
    REQUIRE(feed && batch, QEMB_ERR_ARG, "%s_next: %s is NULL", who, feed ? "batch" : "feed");
    REQUIRE(feed->running, QEMB_ERR_STATE, "%s_next: the feed lost its thread in a rewind that failed", who);
    (void)pthread_mutex_lock(&feed->lock);
    feed->held = false;
    (void)pthread_cond_broadcast(&feed->changed);
    while (feed->made == feed->taken) {
        (void)pthread_cond_wait(&feed->changed, &feed->lock);
    }
    const slot *s = &feed->slots[feed->taken % feed->desc.slots];
    bool last = s->status != QEMB_OK || s->rows == 0;
    feed->taken += !last; /* the last slot is found again by the next call */
    feed->held = !last;
    (void)pthread_mutex_unlock(&feed->lock);
    REQUIRE(s->status == QEMB_OK, s->status, "%s", s->sentence);
    *batch = (qemb_click_batch){.rows = s->rows, .ids = s->ids, .dense = s->dense, .labels = s->labels};
done:
    return st;
}

qemb_status qemb_click_feed_rewind(qemb_click_feed *feed) {
    qemb_status st = QEMB_OK;
    REQUIRE(feed, QEMB_ERR_ARG, "%s_rewind: feed is NULL", who);
    stop(feed);
    TRY(feed->desc.reader ? qemb_click_reader_rewind(feed->desc.reader) : QEMB_OK);
    TRY(start(feed));
done:
    return st;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Life
 * ---------------------------------------------------------------------------------------------------------------- */

static qemb_status make_slots(qemb_click_feed *feed) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    int64_t ids = 0;
    REQUIRE(qemb__mul_i64(feed->desc.capacity, QEMB_CLICK_SPARSE, &ids), QEMB_ERR_OVERFLOW, "%s_create: capacity=%lld is too large", who,
            (long long)feed->desc.capacity);
    for (int32_t i = 0; i < feed->desc.slots; ++i) {
        slot *s = &feed->slots[i];
        TRY(qemb__calloc(ids, sizeof *s->ids, &block));
        s->ids = block;
        TRY(qemb__calloc(feed->desc.capacity * QEMB_CLICK_DENSE, sizeof *s->dense, &block));
        s->dense = block;
        TRY(qemb__calloc(feed->desc.capacity, sizeof *s->labels, &block));
        s->labels = block;
    }
done:
    return st;
}

qemb_status qemb_click_feed_create(const qemb_click_feed_desc *desc, qemb_click_feed **out) {
    qemb_status st = QEMB_OK;
    qemb_click_feed *feed = NULL;
    void *block = NULL;
    int64_t end = 0;
    REQUIRE(desc && out, QEMB_ERR_ARG, "%s_create: %s is NULL", who, desc ? "feed" : "desc");
    REQUIRE(!desc->reader != !desc->generator, QEMB_ERR_ARG, "%s_create: want a reader or a generator, and not both", who);
    REQUIRE(desc->capacity > 0, QEMB_ERR_RANGE, "%s_create: capacity=%lld, want > 0", who, (long long)desc->capacity);
    REQUIRE(desc->slots == 0 || (desc->slots >= 2 && desc->slots <= MOST_SLOTS), QEMB_ERR_RANGE, "%s_create: slots=%d, want 2 .. %d", who,
            desc->slots, MOST_SLOTS);
    REQUIRE(desc->first_row >= 0 && desc->row_count >= 0 && qemb__add_i64(desc->first_row, desc->row_count, &end), QEMB_ERR_RANGE,
            "%s_create: first_row=%lld, row_count=%lld, want both >= 0", who, (long long)desc->first_row, (long long)desc->row_count);
    TRY(qemb__calloc(1, sizeof *feed, &block));
    feed = block;
    feed->desc = *desc;
    feed->desc.slots = desc->slots ? desc->slots : DEFAULT_SLOTS;
    (void)pthread_mutex_init(&feed->lock, NULL); /* with default attributes neither can fail here */
    (void)pthread_cond_init(&feed->changed, NULL);
    TRY(make_slots(feed));
    TRY(start(feed));
    *out = feed;
    feed = NULL;
done:
    qemb_click_feed_destroy(feed);
    return st;
}

void qemb_click_feed_destroy(qemb_click_feed *feed) {
    if (!feed) {
        return;
    }
    stop(feed);
    for (int32_t i = 0; i < feed->desc.slots; ++i) {
        qemb__free(feed->slots[i].ids);
        qemb__free(feed->slots[i].dense);
        qemb__free(feed->slots[i].labels);
    }
    (void)pthread_cond_destroy(&feed->changed);
    (void)pthread_mutex_destroy(&feed->lock);
    qemb__free(feed);
}
