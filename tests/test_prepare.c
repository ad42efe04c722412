/* test_prepare.c - what can be done before its time: kernels compiled and work space taken before the first step, the next batch sorted while
 * this one computes; and steps that wait for nothing. */
#include <criterion/criterion.h>

#include <qemb/qemb_opencl.h>
#include <stdlib.h>
#include <string.h>

#include "support_bag.h"
#include "support_ok.h"

enum { E = 13, D = 19, B = 7, N = 83, BATCHES = 3, WEIGHTS = E * D };

/* A module with an optimiser, lookups of three steps, and what is written to. */
typedef struct trainer {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_batch *batch[BATCHES];
    qemb_buffer *out, *grad, *dense, *psw, *coo_indices, *coo_values, *coo_count;
} trainer;

static qemb_buffer *new_buffer(qemb_context *ctx, size_t bytes) {
    qemb_buffer *b = NULL;
    OK(qemb_buffer_create(ctx, bytes, &b));
    return b;
}

static void open_trainer(trainer *t, const bag_engine *engine, qemb_mode mode, qemb_clip clip) {
    float g[B * D];
    *t = (trainer){.ctx = bag_context(engine)};
    qemb_qconfig q = qemb_qconfig_4bit();
    q.averaging_constant = 0.3f;
    OK(qemb_embedding_bag_create(
        t->ctx, &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .mode = mode, .qconfig = q, .seed = 5}, &t->bag));
    OK(qemb_optimizer_create(
        t->ctx, t->bag,
        &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.125, .momentum = 0.5, .clip = clip, .clip_limit = clip ? 0.5 : 0.0},
        &t->optimizer));
    for (int k = 0; k < BATCHES; k++) {
        OK(qemb_batch_create(t->ctx, &t->batch[k]));
    }
    for (int i = 0; i < B * D; i++) {
        g[i] = (float)(i * 37 % 101 - 50) / 64.0f;
    }
    t->out = new_buffer(t->ctx, sizeof g);
    t->grad = new_buffer(t->ctx, sizeof g);
    t->dense = new_buffer(t->ctx, WEIGHTS * sizeof(float));
    t->psw = new_buffer(t->ctx, N * sizeof(float));
    t->coo_indices = new_buffer(t->ctx, N * sizeof(int64_t));
    t->coo_values = new_buffer(t->ctx, N * D * sizeof(float));
    t->coo_count = new_buffer(t->ctx, sizeof(int64_t));
    OK(qemb_buffer_write(t->grad, 0, sizeof g, g));
}

static void close_trainer(trainer *t) {
    qemb_buffer *const buffers[] = {t->out, t->grad, t->dense, t->psw, t->coo_indices, t->coo_values, t->coo_count};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        qemb_buffer_destroy(buffers[i]);
    }
    for (int k = 0; k < BATCHES; k++) {
        qemb_batch_destroy(t->batch[k]);
    }
    qemb_optimizer_destroy(t->optimizer);
    qemb_embedding_bag_destroy(t->bag);
    qemb_context_destroy(t->ctx);
}

/* Lookups of step `step`: N of them, most of few rows, so that runs are longer than a part. */
static void set(trainer *t, int k, int step, bool weighted) {
    int32_t ids[N], offsets[B];
    float weights[N];
    for (int i = 0; i < N; i++) {
        ids[i] = i % 2 ? 3 + step : (i * i + 5 * step) % E;
        weights[i] = 1.0f + (float)(i % 5) / 8.0f;
    }
    for (int b = 0; b < B; b++) {
        offsets[b] = b * b + b * step;
    }
    OK(qemb_batch_set(t->batch[k], t->bag,
                      &(qemb_input){.indices = ids,
                                    .num_indices = N,
                                    .indices_dtype = QEMB_INT32,
                                    .offsets = offsets,
                                    .num_offsets = B,
                                    .per_sample_weights = weighted ? weights : NULL,
                                    .num_per_sample_weights = weighted ? N : 0}));
}

static qemb_counters counters(const trainer *t) {
    qemb_counters c;
    OK(qemb_context_counters(t->ctx, &c));
    return c;
}

static void expect_same_weights(const trainer *t, const float want[WEIGHTS], const char *who) {
    float got[WEIGHTS];
    OK(qemb_embedding_bag_read_weight(t->bag, 0, 0, E, got));
    cr_expect_arr_eq(got, want, sizeof got, "%s: other weights", who);
}

/* The weights after `steps` plain steps on the reference engine. */
static void plain_steps(qemb_mode mode, qemb_clip clip, int steps, float weights[WEIGHTS]) {
    trainer t;
    open_trainer(&t, &bag_families[0], mode, clip);
    for (int s = 0; s < steps; s++) {
        set(&t, 0, s, mode == QEMB_MODE_SUM);
        OK(qemb_embedding_bag_forward(t.bag, t.batch[0], t.out));
        OK(qemb_embedding_bag_step(t.bag, t.batch[0], t.grad, t.optimizer));
    }
    OK(qemb_embedding_bag_read_weight(t.bag, 0, 0, E, weights));
    close_trainer(&t);
}

/* ---- compiled ahead -------------------------------------------------------------------------------------------------------------- */

static void all_gradients(trainer *t, int k) {
    OK(qemb_embedding_bag_backward(t->bag, t->batch[k], t->grad, &(qemb_gradients){.dense = t->dense, .per_sample_weights = t->psw}));
    for (int coalesced = 0; coalesced < 2; coalesced++) {
        OK(qemb_embedding_bag_backward(
            t->bag, t->batch[k], t->grad,
            &(qemb_gradients){
                .coo_indices = t->coo_indices, .coo_values = t->coo_values, .coo_count = t->coo_count, .coalesced = coalesced}));
    }
}

Test(prepare, first_step, .timeout = 120,
     .description = "prepare: the first forward, gradients and step compile nothing, take no memory, and give the bits they always give") {
    float want[WEIGHTS];
    bag_pocl_devices();
    plain_steps(QEMB_MODE_SUM, QEMB_CLIP_NORM, 1, want);
    for (int e = 0; e < BAG_FAMILIES; e++) {
        trainer t;
        open_trainer(&t, &bag_families[e], QEMB_MODE_SUM, QEMB_CLIP_NORM);
        OK(qemb_embedding_bag_prepare(t.bag, &(qemb_prepare_desc){.bags = B,
                                                                  .lookups = N,
                                                                  .per_sample_weights = true,
                                                                  .optimizer = t.optimizer,
                                                                  .calls = QEMB_PREPARE_BACKWARD | QEMB_PREPARE_SORT | QEMB_PREPARE_ROWS}));
        set(&t, 0, 0, true);
        const qemb_counters before = counters(&t);
        OK(qemb_embedding_bag_sort(t.bag, t.batch[0]));
        OK(qemb_embedding_bag_forward(t.bag, t.batch[0], t.out));
        all_gradients(&t, 0);
        OK(qemb_embedding_bag_step(t.bag, t.batch[0], t.grad, t.optimizer));
        const qemb_counters after = counters(&t);
        cr_expect_eq(after.programs_built, before.programs_built, "%s compiles", bag_families[e].label);
        cr_expect_eq(after.device_buffers, before.device_buffers, "%s makes buffers", bag_families[e].label);
        cr_expect(e == 0 || after.host_allocations == before.host_allocations, "%s allocates", bag_families[e].label);
        expect_same_weights(&t, want, bag_families[e].label);
        close_trainer(&t);
    }
}

Test(prepare, between, .timeout = 120,
     .description = "prepare: between a forward and its step, for larger batches, the step goes on as if nothing had been") {
    static const qemb_mode modes[] = {QEMB_MODE_SUM, QEMB_MODE_MAX};
    bag_pocl_devices();
    for (int m = 0; m < 2; m++) {
        float want[WEIGHTS];
        plain_steps(modes[m], QEMB_CLIP_NONE, 2, want);
        for (int e = 0; e < (m ? 1 : BAG_FAMILIES); e++) {
            trainer t;
            open_trainer(&t, &bag_families[e], modes[m], QEMB_CLIP_NONE);
            for (int s = 0; s < 2; s++) {
                set(&t, 0, s, m == 0);
                OK(qemb_embedding_bag_forward(t.bag, t.batch[0], t.out));
                OK(qemb_embedding_bag_prepare(
                    t.bag,
                    &(qemb_prepare_desc){.bags = 50 + 50 * s, .lookups = 1000, .per_sample_weights = m == 0, .optimizer = t.optimizer}));
                OK(qemb_embedding_bag_step(t.bag, t.batch[0], t.grad, t.optimizer));
            }
            expect_same_weights(&t, want, bag_families[e].label);
            close_trainer(&t);
        }
    }
}

Test(prepare, forms,
     .description = "prepare: embeddings, device batches of all types, packed tables, float tables with max_norm, nothing said") {
    const qemb_dtype types[] = {0, QEMB_INT32, QEMB_INT64};
    qemb_context *ctx = bag_context(&bag_families[0]);
    qemb_embedding *embedding = NULL;
    qemb_embedding_bag *clipped = NULL;
    qemb_packed *packed = NULL;
    float before[WEIGHTS], after[WEIGHTS];
    qemb_embedding_desc d = {.num_embeddings = E, .embedding_dim = D, .qconfig = qemb_qconfig_8bit(), .seed = 5};
    OK(qemb_embedding_create(ctx, &d, &embedding));
    qemb_embedding_bag *bag = qemb_embedding_as_bag(embedding);
    OK(qemb_embedding_bag_create(ctx,
                                 &(qemb_embedding_bag_desc){.num_embeddings = E,
                                                            .embedding_dim = D,
                                                            .mode = QEMB_MODE_SUM,
                                                            .qconfig = qemb_qconfig_float(),
                                                            .has_max_norm = true,
                                                            .max_norm = 0.5f,
                                                            .seed = 5},
                                 &clipped));
    OK(qemb_packed_create(bag, NULL, &packed));
    OK(qemb_embedding_bag_read_weight(clipped, 0, 0, E, before));
    OK(qemb_embedding_bag_prepare(bag, NULL));
    OK(qemb_embedding_bag_prepare(clipped, NULL));
    OK(qemb_packed_prepare(packed, NULL, QEMB_FLOAT32));
    OK(qemb_embedding_bag_prepare(bag, &(qemb_prepare_desc){.lookups = 97, .calls = QEMB_PREPARE_BACKWARD}));
    for (int k = 0; k < 9; k++) {
        const qemb_prepare_desc form = {.lookups = 41, .on_device = true, .indices_dtype = types[k / 3], .offsets_dtype = types[k % 3]};
        OK(qemb_embedding_bag_prepare(bag, &form));
        OK(qemb_embedding_bag_prepare(clipped, &form));
        OK(qemb_packed_prepare(packed, &form, k % 2 ? QEMB_FLOAT16 : QEMB_BFLOAT16));
    }
    OK(qemb_embedding_bag_read_weight(clipped, 0, 0, E, after));
    cr_expect_arr_eq(before, after, sizeof before, "rows beyond max_norm were clipped by a batch that nobody gave");
    qemb_bag_info info;
    OK(qemb_embedding_bag_info(bag, &info));
    cr_expect_eq(info.forwards, 0);
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(clipped);
    qemb_embedding_destroy(embedding);
    qemb_context_destroy(ctx);
}

/* ---- sorted ahead ------------------------------------------------------------------------------------------------------------------ */

Test(prepare, sort_ahead, .timeout = 120,
     .description =
         "prepare: batches sorted before their turn, in any order, set again, left out: the bits of plain steps, and shorter steps") {
    enum { STEPS = 6 };
    float want[WEIGHTS];
    bag_pocl_devices();
    plain_steps(QEMB_MODE_SUM, QEMB_CLIP_NONE, STEPS, want);
    for (int e = 0; e < BAG_FAMILIES; e++) {
        int64_t took[STEPS];
        trainer t;
        open_trainer(&t, &bag_families[e], QEMB_MODE_SUM, QEMB_CLIP_NONE);
        set(&t, 0, 0, true);
        for (int s = 0; s < STEPS; s++) {
            const int now = s % BATCHES, next = (s + 1) % BATCHES, after = (s + 2) % BATCHES;
            OK(qemb_embedding_bag_forward(t.bag, t.batch[now], t.out));
            set(&t, next, s + 1, true);
            if (s < 3) { /* the next one between forward and step; from then on more than are kept, set again behind their sort */
                OK(qemb_embedding_bag_sort(t.bag, t.batch[next]));
            } else if (s == 3) {
                set(&t, after, 7, true);
                OK(qemb_embedding_bag_sort(t.bag, t.batch[next]));
                OK(qemb_embedding_bag_sort(t.bag, t.batch[after]));
                OK(qemb_embedding_bag_sort(t.bag, t.batch[next]));
                set(&t, next, s + 1, true);
            }
            const int64_t before = counters(&t).commands;
            OK(qemb_embedding_bag_step(t.bag, t.batch[now], t.grad, t.optimizer));
            took[s] = counters(&t).commands - before;
        }
        expect_same_weights(&t, want, bag_families[e].label);
        cr_expect(took[1] == took[2] && took[1] < took[0] && took[3] == took[1],
                  "%s: steps of sorted batches take %lld %lld %lld commands, others %lld", bag_families[e].label, (long long)took[1],
                  (long long)took[2], (long long)took[3], (long long)took[0]);
        cr_expect(took[4] == took[0] && took[5] == took[0], "%s: %lld %lld commands of batches set again, and never sorted",
                  bag_families[e].label, (long long)took[4], (long long)took[5]);
        close_trainer(&t);
    }
}

/* ---- no step waits ----------------------------------------------------------------------------------------------------------------- */

Test(prepare, held_back, .timeout = 120,
     .description = "prepare: behind an event that nobody has completed yet, ten forwards, sorts, gradients and steps return") {
    enum { STEPS = 10 };
    float want[WEIGHTS];
    bag_pocl_devices();
    for (int e = 1; e < BAG_FAMILIES; e++) {
        trainer t;
        cl_context context = NULL;
        cl_int error = CL_SUCCESS;
        float got[WEIGHTS];
        for (int held = 0; held < 2; held++) {
            open_trainer(&t, &bag_families[e], QEMB_MODE_SUM, QEMB_CLIP_NORM);
            for (int k = 0; k < 2; k++) {
                set(&t, k, k, true);
            }
            OK(qemb_embedding_bag_prepare(
                t.bag, &(qemb_prepare_desc){.bags = B, .lookups = N, .per_sample_weights = true, .optimizer = t.optimizer}));
            OK(qemb_context_finish(t.ctx));
            OK(qemb_context_cl_objects(t.ctx, &context, NULL, NULL));
            cl_event gate = clCreateUserEvent(context, &error);
            cr_assert_eq(error, CL_SUCCESS);
            if (held) {
                OK(qemb_context_cl_wait(t.ctx, 1, &gate));
            }
            for (int s = 0; s < STEPS; s++) {
                OK(qemb_embedding_bag_forward(t.bag, t.batch[s % 2], t.out));
                OK(qemb_embedding_bag_sort(t.bag, t.batch[1 - s % 2]));
                all_gradients(&t, s % 2);
                OK(qemb_embedding_bag_step(t.bag, t.batch[s % 2], t.grad, t.optimizer));
            }
            cr_assert_eq(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
            cr_assert_eq(clReleaseEvent(gate), CL_SUCCESS);
            OK(qemb_embedding_bag_read_weight(t.bag, 0, 0, E, held ? got : want));
            close_trainer(&t);
        }
        cr_expect_arr_eq(got, want, sizeof got, "%s", bag_families[e].label);
    }
}
