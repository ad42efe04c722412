/* test_threads.c - several threads storm one context: every call is right or says BUSY, and nothing is ever corrupt; storms on contexts of
 * their own do not meet. The thread sanitizer's lane runs this too. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <qemb/qemb.h>

#include "scoreboard.h"
#include "support_ok.h"

enum { E = 397, D = 37, B = 5, N = 613, THREADS = 4, CALLS = 18, ENOUGH = 100, MOST_SECONDS = 20 };

typedef struct shared {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_packed *packed;
    float golden[B * D], golden_packed[B * D], weight[E * D];
    _Atomic int64_t done, busy, wrong, forwards;
    int64_t rounds;
    char first_wrong[400];
} shared;

typedef struct own {
    shared *s;
    qemb_batch *batch, *packed_batch;
    qemb_buffer *out;
    unsigned seed;
} own;

static const int64_t offsets[B] = {0, 3, 3, 307, 308};

static void input_of(qemb_input *in, int64_t *ids) {
    for (int i = 0; i < N; i++) {
        ids[i] = (i * 29 + 3) % E;
    }
    *in = (qemb_input){.indices = ids, .num_indices = N, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = B};
}

static void open_shared(shared *s, const char *device) {
    unsigned seed = 3;
    for (int i = 0; i < E * D; i++) {
        seed = seed * 1664525u + 1013904223u;
        s->weight[i] = (float)(seed >> 8) * 0x1p-22f - 2.0f;
    }
    OK(qemb_context_create(device, &s->ctx));
    OK(qemb_embedding_bag_create(
        s->ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = E, .embedding_dim = D, .weight = s->weight, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit()},
        &s->bag));
    OK(qemb_optimizer_create(s->ctx, s->bag, &(qemb_optimizer_desc){.kind = QEMB_ADAGRAD}, &s->optimizer));
    OK(qemb_packed_create(s->bag, &(qemb_packed_desc){.format = {.bits = 4}}, &s->packed));
}

static void open_own(own *o, shared *s, unsigned seed) {
    qemb_input in;
    int64_t ids[N];
    input_of(&in, ids);
    *o = (own){.s = s, .seed = seed};
    OK(qemb_batch_create(s->ctx, &o->batch));
    OK(qemb_batch_create(s->ctx, &o->packed_batch));
    OK(qemb_buffer_create(s->ctx, sizeof s->golden, &o->out));
    OK(qemb_batch_set(o->batch, s->bag, &in));
    OK(qemb_packed_batch_set(s->packed, o->packed_batch, &in));
}

static void close_own(own *o) {
    qemb_buffer_destroy(o->out);
    qemb_batch_destroy(o->batch);
    qemb_batch_destroy(o->packed_batch);
}

/* BUSY is tried again until the call is let in. */
static bool read_out(own *o, float *values) {
    qemb_status st = QEMB_ERR_BUSY;
    while (st == QEMB_ERR_BUSY) {
        st = qemb_buffer_read(o->out, 0, sizeof o->s->golden, values);
        o->s->busy += st == QEMB_ERR_BUSY;
    }
    return st == QEMB_OK;
}

/* A forward of either kind, whose output must be the golden bits. */
static qemb_status forward(own *o, bool packed, bool *right) {
    float values[B * D];
    const qemb_status st = packed ? qemb_packed_forward(o->s->packed, o->packed_batch, o->out, QEMB_FLOAT32)
                                  : qemb_embedding_bag_forward(o->s->bag, o->batch, o->out);
    if (st == QEMB_OK) {
        o->s->forwards += !packed;
        *right = read_out(o, values) && memcmp(values, packed ? o->s->golden_packed : o->s->golden, sizeof values) == 0;
    }
    return st;
}

static qemb_status rows(own *o, bool write, bool *right) {
    float values[3 * D];
    if (write) {
        return qemb_embedding_bag_write_weight(o->s->bag, 0, 5, 3, o->s->weight + 5 * D); /* what is there already */
    }
    const qemb_status st = qemb_embedding_bag_read_weight(o->s->bag, 0, 5, 3, values);
    *right = st != QEMB_OK || memcmp(values, o->s->weight + 5 * D, sizeof values) == 0;
    return st;
}

static qemb_status call(own *o, unsigned which, bool *right) {
    float v[4][E];
    int64_t ids[N];
    qemb_input in;
    qemb_bag_info info;
    qemb_table_desc table;
    qemb_counters counters;
    qemb_device_report report;
    qemb_optimizer_info optimizer;
    qemb_packed_info packed;
    shared *s = o->s;
    *right = true;
    switch (which) {
    case 0:
    case 1:
    case 2:
        return forward(o, false, right);
    case 3:
        return forward(o, true, right);
    case 4:
        return rows(o, true, right);
    case 5:
        return rows(o, false, right);
    case 6:
        return qemb_context_finish(s->ctx);
    case 7:
        return qemb_context_report(s->ctx, &report);
    case 8:
        return qemb_context_counters(s->ctx, &counters);
    case 9:
        return qemb_embedding_bag_info(s->bag, &info);
    case 10:
        return qemb_embedding_bag_table(s->bag, 0, &table);
    case 11:
        return qemb_embedding_bag_read_observer(s->bag, 0, 0, E, &(qemb_observer_rows){v[0], v[1], v[2], v[3]});
    case 12:
        return qemb_embedding_bag_observe_all(s->bag);
    case 13:
        return qemb_optimizer_set_lr(s->optimizer, 0.5);
    case 14:
        return qemb_optimizer_info_get(s->optimizer, &optimizer);
    case 15:
        return qemb_packed_get_info(s->packed, &packed);
    case 16:
        return qemb_context_build_log(s->ctx)[0] == '\0' ? QEMB_OK : QEMB_ERR_BUILD;
    default:
        input_of(&in, ids);
        return qemb_batch_set(o->batch, s->bag, &in);
    }
}

static void *storm(void *user) {
    own *o = user;
    const time_t end = time(NULL) + MOST_SECONDS;
    for (int64_t k = 0; k < o->s->rounds || (o->s->busy < ENOUGH && time(NULL) < end); k++) { /* until they have met often enough */
        bool right = true;
        o->seed = o->seed * 1664525u + 1013904223u;
        const unsigned which = (o->seed >> 10) % CALLS;
        const qemb_status st = call(o, which, &right);
        o->s->done += st == QEMB_OK;
        o->s->busy += st == QEMB_ERR_BUSY;
        if ((st != QEMB_OK && st != QEMB_ERR_BUSY) || !right) {
            if (o->s->wrong++ == 0) {
                (void)snprintf(o->s->first_wrong, sizeof o->s->first_wrong, "call %u: %s (%s)", which, qemb_status_name(st),
                               right ? qemb_last_error() : "other bits");
            }
        }
    }
    return NULL;
}

static void storm_on(const char *device, const char *label) {
    static shared s;
    own owns[THREADS];
    pthread_t threads[THREADS];
    qemb_bag_info info;
    float values[B * D];
    const char *nightly = getenv("QEMB_NIGHTLY");
    memset(&s, 0, sizeof s);
    s.rounds = nightly && strcmp(nightly, "1") == 0 ? 20000 : 500;
    open_shared(&s, device);
    for (int k = 0; k < THREADS; k++) {
        open_own(&owns[k], &s, 17u + (unsigned)k);
    }
    OK(qemb_embedding_bag_forward(s.bag, owns[0].batch, owns[0].out));
    OK(qemb_buffer_read(owns[0].out, 0, sizeof s.golden, s.golden));
    OK(qemb_packed_forward(s.packed, owns[0].packed_batch, owns[0].out, QEMB_FLOAT32));
    OK(qemb_buffer_read(owns[0].out, 0, sizeof s.golden_packed, s.golden_packed));
    s.forwards = 1;
    for (int k = 0; k < THREADS; k++) {
        cr_assert_eq(pthread_create(&threads[k], NULL, storm, &owns[k]), 0);
    }
    for (int k = 0; k < THREADS; k++) {
        cr_assert_eq(pthread_join(threads[k], NULL), 0);
    }
    cr_assert_eq(s.wrong, 0, "%lld calls went wrong, first %s", (long long)s.wrong, s.first_wrong);
    OK(qemb_embedding_bag_info(s.bag, &info));
    cr_assert_eq(info.forwards, s.forwards, "%lld forwards counted, %lld made", (long long)info.forwards, (long long)s.forwards);
    OK(qemb_embedding_bag_forward(s.bag, owns[1].batch, owns[1].out));
    OK(qemb_buffer_read(owns[1].out, 0, sizeof values, values));
    cr_assert_arr_eq(values, s.golden, sizeof values);
    (void)printf("%s: %lld calls let in, %lld refused as BUSY\n", label, (long long)s.done, (long long)s.busy);
    scoreboard("R16", true, label, "%d threads on one context: %lld calls right, %lld BUSY, none corrupt", (int)THREADS, (long long)s.done,
               (long long)s.busy);
    cr_assert(s.done > 100 && s.busy > 0);
    for (int k = 0; k < THREADS; k++) {
        close_own(&owns[k]);
    }
    qemb_packed_destroy(s.packed);
    qemb_optimizer_destroy(s.optimizer);
    qemb_embedding_bag_destroy(s.bag);
    qemb_context_destroy(s.ctx);
}

Test(threads, storm_on_the_reference_engine, .timeout = 600,
     .description = "threads: four threads storm one context of the reference engine, right or BUSY") {
    storm_on("reference", "reference engine");
}

Test(threads, storm_on_opencl, .timeout = 900, .description = "threads: four threads storm one OpenCL context, right or BUSY") {
    storm_on("opencl", "OpenCL");
}
