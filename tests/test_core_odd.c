/* test_core_odd.c - calls that are right or wrong in ways that programs rarely are: buffers that start inside an element, devices whose
 * largest allocation is small, tables without a row, batches forgotten in another order. On the reference engine; some turn a knob inside. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "core/context.h"
#include "core/packed.h"
#include "support_ok.h"

TestSuite(core_odd, .timeout = 60);

#define SIZE(array) (sizeof(array) / sizeof *(array))
enum { E = 11, D = 5, N = 7, B = 3, SMALL = 1 << 12 };

static const int64_t indices[N] = {1, 7, 7, 2, 10, 0, 3}, offsets[B] = {0, 2, 2};

typedef struct things {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *out, *grad, *spare;
} things;

static void open_things(things *t, qemb_mode mode, bool by_freq) {
    OK(qemb_context_create("reference", &t->ctx));
    OK(qemb_embedding_bag_create(
        t->ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = E, .embedding_dim = D, .mode = mode, .scale_grad_by_freq = by_freq, .qconfig = qemb_qconfig_8bit()},
        &t->bag));
    OK(qemb_batch_create(t->ctx, &t->batch));
    OK(qemb_buffer_create(t->ctx, 4096, &t->out));
    OK(qemb_buffer_create(t->ctx, 4096, &t->grad));
    OK(qemb_buffer_create(t->ctx, 4096, &t->spare));
    OK(qemb_batch_set(
        t->batch, t->bag,
        &(qemb_input){.indices = indices, .num_indices = N, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = B}));
    OK(qemb_embedding_bag_forward(t->bag, t->batch, t->out));
}

static void close_things(things *t) {
    qemb_buffer_destroy(t->out);
    qemb_buffer_destroy(t->grad);
    qemb_buffer_destroy(t->spare);
    qemb_batch_destroy(t->batch);
    qemb_embedding_bag_destroy(t->bag);
    qemb_context_destroy(t->ctx);
}

#define REFUSED(call, status, part)                                                                                                        \
    do {                                                                                                                                   \
        cr_expect_eq((call), (status), "%s: %s", #call, qemb_last_error());                                                                \
        cr_expect(strstr(qemb_last_error(), (part)), "%s", qemb_last_error());                                                             \
    } while (0)

/* ---- arguments ------------------------------------------------------------------------------------------------------------------- */

Test(core_odd, inside_an_element, .description = "buffer: one that starts inside an element is refused by every call that takes elements") {
    things t = {0};
    qemb_packed *packed = NULL;
    qemb_batch *lookups = NULL;
    qemb_embedding_bag *other = NULL;
    open_things(&t, QEMB_MODE_SUM, false);
    OK(qemb_packed_create(t.bag, &(qemb_packed_desc){.format = {.bits = 8}}, &packed));
    OK(qemb_batch_create(t.ctx, &lookups));
    OK(qemb_packed_batch_set(packed, lookups,
                             &(qemb_input){.indices = indices, .num_indices = N, .indices_dtype = QEMB_INT64, .columns = 1}));
    t.spare->offset += 2; /* a window that begins so, as qemb_buffer_from_cl does not make it */
    t.spare->bytes -= 2;
    const qemb_device_input by_indices = {.indices = t.spare, .num_indices = N, .indices_dtype = QEMB_INT32, .columns = 1};
    const qemb_device_input by_offsets = {
        .indices = t.grad, .num_indices = N, .indices_dtype = QEMB_INT64, .offsets = t.spare, .num_offsets = B};
    REFUSED(qemb_embedding_bag_forward(t.bag, t.batch, t.spare), QEMB_ERR_SHAPE, "out holds");
    REFUSED(qemb_embedding_bag_backward(t.bag, t.batch, t.grad, &(qemb_gradients){.dense = t.spare}), QEMB_ERR_SHAPE, "inside an item");
    REFUSED(qemb_embedding_bag_fake_quantise(t.bag, 0, 0, 1, t.spare), QEMB_ERR_SHAPE, "out holds");
    REFUSED(qemb_packed_forward(packed, lookups, t.spare, QEMB_FLOAT32), QEMB_ERR_SHAPE, "out holds");
    REFUSED(qemb_batch_set_device(t.batch, t.bag, &by_indices), QEMB_ERR_SHAPE, "inside an element");
    REFUSED(qemb_batch_set_device(t.batch, t.bag, &by_offsets), QEMB_ERR_SHAPE, "inside an element");
    REFUSED(
        qemb_embedding_bag_create(
            t.ctx,
            &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .weight_buffer = t.spare, .qconfig = qemb_qconfig_8bit()},
            &other),
        QEMB_ERR_SHAPE, "inside a float");
    t.spare->offset -= 2;
    t.spare->bytes += 2;
    qemb_batch_destroy(lookups);
    qemb_packed_destroy(packed);
    close_things(&t);
}

Test(core_odd, gradients,
     .description = "backward: sparse gradients that a mode has not, or whose three buffers are not all given, are refused") {
    for (int k = 0; k < 3; k++) {
        things t = {0};
        open_things(&t, k == 1 ? QEMB_MODE_MAX : QEMB_MODE_SUM, k == 2);
        const qemb_gradients all = {.coo_indices = t.spare, .coo_values = t.spare, .coo_count = t.spare};
        if (k == 0) {
            REFUSED(qemb_embedding_bag_backward(t.bag, t.batch, t.grad, &(qemb_gradients){.coo_count = t.spare}), QEMB_ERR_ARG,
                    "come together");
            REFUSED(qemb_embedding_bag_backward(t.bag, t.batch, t.grad, &(qemb_gradients){.coo_values = t.spare}), QEMB_ERR_ARG,
                    "come together");
            REFUSED(qemb_embedding_bag_backward(t.bag, t.batch, t.grad, &(qemb_gradients){.coo_indices = t.spare}), QEMB_ERR_ARG,
                    "come together");
        } else {
            REFUSED(qemb_embedding_bag_backward(t.bag, t.batch, t.grad, &all), QEMB_ERR_UNSUPPORTED,
                    k == 1 ? "mode max" : "scale_grad_by_freq");
        }
        close_things(&t);
    }
}

Test(core_odd, collections,
     .description = "collection: features may be counted without a table of them; rows of all tables together must fit in 63 bits") {
    enum { MANY = 600 };
    static qemb_table_desc tables[MANY];
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    OK(qemb_context_create("reference", &ctx));
    for (int t = 0; t < MANY; t++) {
        tables[t] = (qemb_table_desc){.num_embeddings = t < 2 ? E : INT64_C(1) << 54, .embedding_dim = 1, .qconfig = qemb_qconfig_float()};
    }
    OK(qemb_embedding_bag_collection_create(ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 2, .num_features = 2}, &bag));
    qemb_embedding_bag_destroy(bag);
    REFUSED(qemb_embedding_bag_collection_create(ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 2, .num_features = 1}, &bag),
            QEMB_ERR_SHAPE, "num_features=1");
    REFUSED(qemb_embedding_bag_collection_create(ctx, &(qemb_collection_desc){.tables = tables, .num_tables = MANY}, &bag),
            QEMB_ERR_OVERFLOW, "rows of all tables");
    qemb_context_destroy(ctx);
}

Test(core_odd, never_observed, .description = "fake_quantise: a table whose observer is off and that was never observed is STATE") {
    things t = {0};
    qemb_embedding_bag *fresh = NULL;
    open_things(&t, QEMB_MODE_SUM, false);
    qemb_qconfig qconfig = qemb_qconfig_8bit();
    qconfig.observer = QEMB_OBSERVER_MIN_MAX;
    qconfig.observer_off = true;
    OK(qemb_embedding_bag_create(t.ctx, &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .qconfig = qconfig}, &fresh));
    REFUSED(qemb_embedding_bag_fake_quantise(fresh, 0, 0, E, t.out), QEMB_ERR_STATE, "never observed");
    qemb_packed *packed = NULL;
    REFUSED(qemb_packed_create(fresh, &(qemb_packed_desc){.format = {.bits = 8}, .method = QEMB_PACK_OBSERVER}, &packed), QEMB_ERR_STATE,
            "never observed");
    const qemb_packed_desc symmetric = {.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 8, .symmetric = true},
                                        .method = QEMB_PACK_OBSERVER};
    const int32_t below[E] = {0, -2};
    REFUSED(qemb_packed_create(t.bag, &symmetric, &packed), QEMB_ERR_UNSUPPORTED, "");
    REFUSED(qemb_packed_create(t.bag, &(qemb_packed_desc){.format = {.bits = 8}, .row_map = (const int32_t *[]){below}}, &packed),
            QEMB_ERR_INDEX, "row_map[1]=-2");
    qemb_embedding_bag_destroy(fresh);
    close_things(&t);
}

Test(
    core_odd, dry_runs,
    .description = "prepare: weights where a mode has none are refused; modes without sparse gradients, and of no rows yet, are prepared") {
    for (int k = 0; k < 3; k++) {
        things t = {0};
        open_things(&t, k == 0 ? QEMB_MODE_MEAN : k == 1 ? QEMB_MODE_SUM : QEMB_MODE_MAX, k == 1);
        if (k == 0) {
            REFUSED(qemb_embedding_bag_prepare(t.bag, &(qemb_prepare_desc){.bags = 3, .per_sample_weights = true}), QEMB_ERR_UNSUPPORTED,
                    "");
        }
        if (k == 2) {
            qemb_embedding_bag *fresh = NULL;
            OK(qemb_embedding_bag_create(t.ctx,
                                         &(qemb_embedding_bag_desc){.num_embeddings = E,
                                                                    .embedding_dim = D,
                                                                    .mode = QEMB_MODE_MAX,
                                                                    .include_last_offset = true,
                                                                    .qconfig = qemb_qconfig_8bit()},
                                         &fresh));
            OK(qemb_batch_set(t.batch, fresh, &(qemb_input){.indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 1}));
            OK(qemb_embedding_bag_forward(fresh, t.batch, t.out));
            OK(qemb_embedding_bag_prepare(fresh, &(qemb_prepare_desc){.bags = 3, .lookups = 5}));
            qemb_embedding_bag_destroy(fresh);
        }
        OK(qemb_embedding_bag_prepare(t.bag, &(qemb_prepare_desc){.bags = 3, .lookups = 5, .calls = QEMB_PREPARE_BACKWARD}));
        close_things(&t);
    }
    /* an embedding that clips its weights looks up nothing */
    things t = {0};
    qemb_embedding *clipped = NULL;
    open_things(&t, QEMB_MODE_SUM, false);
    OK(qemb_embedding_create(
        t.ctx,
        &(qemb_embedding_desc){
            .num_embeddings = E, .embedding_dim = D, .has_max_norm = true, .max_norm = 1.0f, .qconfig = qemb_qconfig_float()},
        &clipped));
    OK(qemb_batch_set(t.batch, qemb_embedding_as_bag(clipped), &(qemb_input){.indices_dtype = QEMB_INT64}));
    OK(qemb_embedding_forward(clipped, t.batch, t.out));
    qemb_embedding_destroy(clipped);
    close_things(&t);
}

Test(core_odd, largest_element,
     .description = "embedding: max_norm by the largest element clips rows to it, on the way and in the weights") {
    static const float weight[E * D] = {1, -4, 2, 0, 3, 0.5f, 0.25f, -0.5f, 0, 0};
    static const int64_t ids[2] = {0, 1};
    things t = {0};
    float got[2 * D];
    qemb_embedding *clipped = NULL;
    qemb_embedding_bag *bag = NULL;
    open_things(&t, QEMB_MODE_SUM, false);
    qemb_qconfig quantised = qemb_qconfig_8bit();
    quantised.fake_quant_off = true;
    OK(qemb_embedding_create(t.ctx,
                             &(qemb_embedding_desc){.num_embeddings = E,
                                                    .embedding_dim = D,
                                                    .has_max_norm = true,
                                                    .max_norm = 2.0f,
                                                    .norm_type = INFINITY,
                                                    .qconfig = qemb_qconfig_float(),
                                                    .weight = weight},
                             &clipped));
    OK(qemb_embedding_bag_create(t.ctx,
                                 &(qemb_embedding_bag_desc){.num_embeddings = E,
                                                            .embedding_dim = D,
                                                            .mode = QEMB_MODE_SUM,
                                                            .has_max_norm = true,
                                                            .max_norm = 2.0f,
                                                            .norm_type = INFINITY,
                                                            .qconfig = quantised,
                                                            .weight = weight},
                                 &bag));
    const qemb_input in = {.indices = ids, .num_indices = 2, .indices_dtype = QEMB_INT64};
    for (int k = 0; k < 3; k++) { /* weights of an embedding, of a bag; quantised rows of the bag */
        qemb_input one = in;
        one.columns = k ? 1 : 0;
        if (k == 2) {
            OK(qemb_embedding_bag_write_weight(bag, 0, 0, E, weight));
            OK(qemb_embedding_bag_set_fake_quant(bag, 0, true));
        }
        OK(qemb_batch_set(t.batch, k ? bag : qemb_embedding_as_bag(clipped), &one));
        OK(qemb_embedding_bag_forward(k ? bag : qemb_embedding_as_bag(clipped), t.batch, t.out));
        OK(qemb_buffer_read(t.out, 0, sizeof got, got));
        for (int c = 0; c < D; c++) { /* 2 / (4 + 1e-7) is a half but for the last bits */
            cr_expect_float_eq(got[c], weight[c] * 0.5f, k == 2 ? 0.04f : 1e-6f, "%d: column %d: %g", k, c, (double)got[c]);
            cr_expect_float_eq(got[D + c], weight[D + c], k == 2 ? 0.04f : 0.0f, "%d: column %d", k, c);
        }
    }
    qemb_embedding_bag_destroy(bag);
    qemb_embedding_destroy(clipped);
    close_things(&t);
}

Test(core_odd, optimizers, .description = "optimizer: switches that go together, or do not") {
    const struct {
        qemb_optimizer_desc desc;
        qemb_status st;
    } rows[] = {
        {{.kind = QEMB_ROWWISE_ADAGRAD, .decay = QEMB_DECAY_DECOUPLED, .weight_decay = 0.5}, QEMB_OK},
        {{.kind = QEMB_ADAM, .decay = QEMB_DECAY_DECOUPLED}, QEMB_ERR_RANGE},
        {{.kind = QEMB_SGD, .form = QEMB_SGD_DENSE, .weight_decay = 0.5}, QEMB_OK},
        {{.kind = QEMB_SGD, .form = QEMB_SGD_DENSE}, QEMB_OK},
        {{.kind = QEMB_SGD, .momentum = 0.5, .nesterov = true}, QEMB_OK},
        {{.kind = QEMB_SGD, .momentum = 0.5, .dampening = 0.5, .nesterov = true}, QEMB_ERR_RANGE},
        {{.kind = QEMB_SGD, .nesterov = true}, QEMB_ERR_RANGE},
        {{.kind = QEMB_ADAGRAD, .nesterov = true}, QEMB_ERR_RANGE},
        {{.kind = QEMB_ADAGRAD, .initial_accumulator_value = 0.5}, QEMB_OK},
    };
    things t = {0};
    open_things(&t, QEMB_MODE_SUM, false);
    for (size_t i = 0; i < SIZE(rows); i++) {
        qemb_optimizer *o = NULL;
        cr_expect_eq(qemb_optimizer_create(t.ctx, t.bag, &rows[i].desc, &o), rows[i].st, "row %zu: %s", i, qemb_last_error());
        qemb_optimizer_destroy(o);
    }
    close_things(&t);
}

static void no_variant(void *user, const char *stem, const char *name, const char *options, bool fits) {
    (void)stem;
    (void)name;
    (void)options;
    ++*(int *)user;
    cr_expect(fits, "the reference engine has no variants");
}

Test(core_odd, words, .description = "context: what has no variants says so; QEMB_LOG takes whole words between commas") {
    things t = {0};
    int count = 0;
    open_things(&t, QEMB_MODE_SUM, false);
    cr_expect_str_eq(qemb_context_variant(t.ctx, "bag_forward"), "plain");
    cr_expect_str_eq(qemb_context_variant(t.ctx, NULL), "");
    cr_expect_str_eq(qemb_context_variant(NULL, "bag_forward"), "");
    cr_expect_str_eq(qemb_context_tuning_line(t.ctx, "bag_forward"), "");
    cr_expect_str_eq(qemb_context_tuning_line(NULL, NULL), "");
    OK(qemb_context_variants(t.ctx, no_variant, &count));
    cr_expect_eq(qemb_context_variants(NULL, no_variant, &count), QEMB_ERR_ARG);
    static const struct {
        const char *list;
        bool wanted;
    } rows[] = {{"pick", true},    {"pack", false},  {"pack,pick", true}, {"abc,pack", false},
                {"abc,all", true}, {"picks", false}, {"", false}};
    for (size_t i = 0; i < SIZE(rows); i++) {
        cr_assert_eq(setenv("QEMB_LOG", rows[i].list, 1), 0);
        cr_expect_eq(qemb__log_wants("pick"), rows[i].wanted, "%s", rows[i].list);
    }
    cr_assert_eq(unsetenv("QEMB_LOG"), 0);
    close_things(&t);
}

/* ---- batches ------------------------------------------------------------------------------------------------------------------------ */

Test(core_odd, batches, .description = "batch: none, long and device batches, destroyed in any order, look up what they should") {
    things t = {0};
    static int64_t long_ids[200], long_offsets[12] = {0, 3, 100};
    float few[B * D], many[12 * D];
    qemb_embedding_bag *last = NULL;
    qemb_batch *one = NULL, *two = NULL;
    open_things(&t, QEMB_MODE_SUM, false);
    /* bag 2 has nearly all lookups: a list of long bags is made, which changes no bit */
    for (int i = 0; i < 200; i++) {
        long_ids[i] = i % E;
    }
    for (int b = 3; b < 12; b++) {
        long_offsets[b] = 190 + b - 3;
    }
    qemb_input in = {.indices = long_ids, .num_indices = 200, .indices_dtype = QEMB_INT64, .offsets = long_offsets, .num_offsets = 12};
    OK(qemb_batch_set(t.batch, t.bag, &in));
    OK(qemb_embedding_bag_forward(t.bag, t.batch, t.out));
    OK(qemb_buffer_read(t.out, 0, sizeof many, many));
    in = (qemb_input){.indices = long_ids + 190, .num_indices = 1, .indices_dtype = QEMB_INT64, .columns = 1};
    OK(qemb_batch_set(t.batch, t.bag, &in));
    OK(qemb_embedding_bag_forward(t.bag, t.batch, t.out));
    OK(qemb_buffer_read(t.out, 0, sizeof few / B, few));
    cr_expect_arr_eq(few, many + 3 * D, sizeof few / B);
    /* no bags at all, with offsets */
    static const int64_t nothing[1] = {0};
    OK(qemb_embedding_bag_create(
        t.ctx,
        &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .include_last_offset = true, .qconfig = qemb_qconfig_8bit()},
        &last));
    OK(qemb_batch_set(t.batch, last, &(qemb_input){.indices_dtype = QEMB_INT64, .offsets = nothing, .num_offsets = 1}));
    OK(qemb_embedding_bag_forward(last, t.batch, t.out));
    /* two device batches that nobody has waited for: the first is destroyed first; then one is set on the host again */
    const qemb_device_input device = {.indices = t.spare, .num_indices = N, .indices_dtype = QEMB_INT64, .columns = 1};
    OK(qemb_buffer_write(t.spare, 0, sizeof indices, indices));
    OK(qemb_batch_create(t.ctx, &one));
    OK(qemb_batch_create(t.ctx, &two));
    OK(qemb_batch_set_device(one, t.bag, &device));
    OK(qemb_batch_set_device(two, t.bag, &device));
    OK(qemb_batch_set(two, t.bag, &in));
    OK(qemb_batch_set_device(two, t.bag, &device));
    qemb_batch_destroy(one);
    OK(qemb_context_finish(t.ctx));
    OK(qemb_batch_set_device(two, t.bag, &(qemb_device_input){.indices_dtype = QEMB_INT64, .columns = 1}));
    REFUSED(qemb_batch_set_device(two, t.bag,
                                  &(qemb_device_input){.indices = t.spare, .num_indices = 9999, .indices_dtype = QEMB_INT64, .columns = 1}),
            QEMB_ERR_SHAPE, "indices hold");
    t.grad->bytes = 4 * (N - 1);
    REFUSED(qemb_batch_set_device(two, t.bag,
                                  &(qemb_device_input){.indices = t.spare,
                                                       .num_indices = N,
                                                       .indices_dtype = QEMB_INT64,
                                                       .columns = 1,
                                                       .per_sample_weights = t.grad,
                                                       .num_per_sample_weights = N}),
            QEMB_ERR_SHAPE, "per_sample_weights hold");
    t.grad->bytes = 4096;
    qemb_batch_destroy(two);
    qemb_embedding_bag_destroy(last);
    close_things(&t);
}

/* ---- small devices ------------------------------------------------------------------------------------------------------------------- */

/* Four tables on a device that allocates `most` bytes at once; what a forward of them and of their packed forms gives. */
static void look_up_in_pieces(int64_t most, qemb_layout layout, float *values) {
    enum { ROWS = 400, FEW = 90, COLUMNS = 3 * D + 1 };
    static const int64_t ids[8] = {0, 399, 17, 88, 256, 255, 399, 128};
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL, *lookups = NULL;
    qemb_buffer *out = NULL;
    qemb_packed *packed = NULL;
    OK(qemb_context_create("reference", &ctx));
    const int64_t held = ctx->report.max_allocation_bytes;
    const qemb_table_desc tables[] = {
        {.num_embeddings = ROWS, .embedding_dim = D, .qconfig = qemb_qconfig_8bit(), .seed = 3},
        {.num_embeddings = FEW, .embedding_dim = D, .qconfig = qemb_qconfig_8bit(), .seed = 4},
        {.num_embeddings = ROWS, .embedding_dim = D, .qconfig = qemb_qconfig_8bit(), .seed = 5},
        {.num_embeddings = ROWS, .embedding_dim = 1, .qconfig = qemb_qconfig_8bit(), .seed = 6}}; /* its state is longer than its rows */
    ctx->report.max_allocation_bytes = most ? most : held;
    OK(qemb_embedding_bag_collection_create(ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 4}, &bag));
    ctx->report.max_allocation_bytes = most ? most / 3 : held; /* rows of codes are shorter */
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.layout = layout, .bits = 8}}, &packed));
    ctx->report.max_allocation_bytes = held;
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_batch_create(ctx, &lookups));
    OK(qemb_buffer_create(ctx, sizeof(float) * 2 * COLUMNS, &out));
    const qemb_input in = {.indices = ids, .num_indices = 8, .indices_dtype = QEMB_INT64, .columns = 1, .check = QEMB_SKIP};
    OK(qemb_batch_set(batch, bag, &in));
    OK(qemb_packed_batch_set(packed, lookups, &in));
    OK(qemb_embedding_bag_forward(bag, batch, out));
    OK(qemb_buffer_read(out, 0, sizeof(float) * 2 * COLUMNS, values));
    OK(qemb_packed_forward(packed, lookups, out, QEMB_FLOAT32));
    OK(qemb_buffer_read(out, 0, sizeof(float) * 2 * COLUMNS, values + 2 * COLUMNS));
    qemb_packed_destroy(packed);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(lookups);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(core_odd, small_device,
     .description =
         "tables: on a device of small allocations they lie in pieces and give the same bits; beyond eight pieces they are refused") {
    static const qemb_layout layouts[] = {QEMB_LAYOUT_PLANAR, QEMB_LAYOUT_TORCH_ROWWISE};
    float whole[2 * 2 * (3 * D + 1)], pieces[2 * 2 * (3 * D + 1)];
    for (size_t k = 0; k < SIZE(layouts); k++) {
        look_up_in_pieces(0, layouts[k], whole);
        look_up_in_pieces(SMALL, layouts[k], pieces);
        cr_expect_arr_eq(whole, pieces, sizeof whole);
    }
    things t = {0};
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    open_things(&t, QEMB_MODE_SUM, false);
    const qemb_embedding_bag_desc desc = {.num_embeddings = 10007, .embedding_dim = D, .qconfig = qemb_qconfig_8bit()};
    OK(qemb_embedding_bag_create(t.ctx, &desc, &bag));
    const int64_t held = t.ctx->report.max_allocation_bytes;
    t.ctx->report.max_allocation_bytes = SMALL;
    qemb_embedding_bag *other = NULL;
    REFUSED(qemb_embedding_bag_create(t.ctx, &desc, &other), QEMB_ERR_UNSUPPORTED, "largest size");
    REFUSED(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.bits = 8}}, &packed), QEMB_ERR_UNSUPPORTED, "largest size");
    t.ctx->report.max_allocation_bytes = 100;
    qemb_buffer *grown = NULL;
    OK(qemb__buffer_create(t.ctx, 64, &grown));
    OK(qemb__buffer_reserve(t.ctx, 70, &grown));
    cr_expect_eq(grown->bytes, 70, "half as much again would be beyond half of an allocation");
    t.ctx->report.max_allocation_bytes = held;
    OK(qemb__buffer_reserve(t.ctx, 71, &grown));
    cr_expect_eq(grown->bytes, 105);
    qemb__buffer_destroy(grown);
    qemb_embedding_bag_destroy(bag);
    close_things(&t);
}

Test(core_odd, pages, .description = "memory: large pieces that nobody has touched have no huge pages yet") {
    void *block = NULL;
    OK(qemb__pages_alloc(5 << 20, &block));
    cr_expect_eq(qemb__pages_size(block, 5 << 20), 4096);
    qemb__pages_free(block, 5 << 20);
}

/* ---- packed tables --------------------------------------------------------------------------------------------------------------------- */

Test(core_odd, all_pruned, .description = "packed: a table without a row left looks up zeros, and comes from the bytes of none") {
    static const int32_t gone[E] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    static const float zeros[D];
    static const qemb_layout layouts[] = {QEMB_LAYOUT_PLANAR, QEMB_LAYOUT_FBGEMM};
    for (size_t k = 0; k < SIZE(layouts); k++) {
        things t = {0};
        qemb_packed *packed = NULL, *imported = NULL;
        qemb_batch *lookups = NULL;
        qemb_packed_table table;
        float got[D];
        open_things(&t, QEMB_MODE_SUM, false);
        const qemb_packed_desc desc = {.format = {.layout = layouts[k], .bits = 8}, .row_map = (const int32_t *[]){gone}};
        OK(qemb_packed_create(t.bag, &desc, &packed));
        OK(qemb_packed_get_table(packed, 0, &table));
        cr_expect_eq(table.num_rows, 0);
        table.rows = table.qparams = NULL;
        OK(qemb_packed_import(t.ctx, &(qemb_packed_import_desc){.tables = &table, .num_tables = 1}, &imported));
        OK(qemb_batch_create(t.ctx, &lookups));
        OK(qemb_packed_batch_set(imported, lookups,
                                 &(qemb_input){.indices = indices, .num_indices = N, .indices_dtype = QEMB_INT64, .columns = N}));
        OK(qemb_packed_forward(imported, lookups, t.out, QEMB_FLOAT32));
        OK(qemb_buffer_read(t.out, 0, sizeof got, got));
        cr_expect_arr_eq(got, zeros, sizeof got);
        qemb_batch_destroy(lookups);
        qemb_packed_destroy(packed);
        qemb_packed_destroy(imported);
        close_things(&t);
    }
}

Test(core_odd, imports, .description = "packed_import: features and bytes that do not go with the tables are refused") {
    static const int32_t features[] = {0};
    things t = {0};
    qemb_packed *packed = NULL, *imported = NULL;
    qemb_packed_table table;
    unsigned char rows[E * D], qparams[E * 8];
    open_things(&t, QEMB_MODE_SUM, false);
    OK(qemb_packed_create(t.bag, &(qemb_packed_desc){.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 8}}, &packed));
    OK(qemb_packed_get_table(packed, 0, &table));
    OK(qemb_packed_read_rows(packed, 0, 0, E, rows, qparams));
    table.rows = rows;
    table.qparams = qparams;
    qemb_packed_import_desc d = {.tables = &table, .num_tables = 1, .num_features = 1};
    OK(qemb_packed_import(t.ctx, &d, &imported));
    cr_expect_eq(qemb_packed_feature_table(imported, 0), 0);
    cr_expect_eq(qemb_packed_feature_table(NULL, 0), -1);
    qemb_packed_destroy(imported);
    d.num_features = 2;
    REFUSED(qemb_packed_import(t.ctx, &d, &imported), QEMB_ERR_SHAPE, "num_features=2");
    d.feature_table = features;
    d.num_features = 0;
    REFUSED(qemb_packed_import(t.ctx, &d, &imported), QEMB_ERR_SHAPE, "num_features=0");
    d.num_features = 1;
    table.qparams = NULL;
    REFUSED(qemb_packed_import(t.ctx, &d, &imported), QEMB_ERR_ARG, "qparams is NULL");
    table.qparams = qparams;
    table.qparams_bytes--;
    REFUSED(qemb_packed_import(t.ctx, &d, &imported), QEMB_ERR_CORRUPT, "qparams_bytes=");
    table.qparams_bytes++;
    const qemb_packed_table vast = {.num_embeddings = INT64_C(1) << 58, .embedding_dim = 8, .format = {.bits = 8}};
    REFUSED(qemb_packed_import(t.ctx, &(qemb_packed_import_desc){.tables = &vast, .num_tables = 1}, &imported), QEMB_ERR_OVERFLOW,
            "63 bits");
    enum { MANY = 600 };
    static qemb_packed_table many[MANY]; /* in the caller's memory: what rows there are is compared later */
    for (int k = 0; k < MANY; k++) {
        many[k] = vast;
        many[k].num_embeddings = many[k].num_rows = INT64_C(1) << 54;
        many[k].rows = rows;
        many[k].rows_bytes = 16;
    }
    const qemb_packed_import_desc crowd = {.tables = many, .num_tables = MANY, .memory = rows, .memory_bytes = sizeof rows};
    REFUSED(qemb_packed_import(t.ctx, &crowd, &imported), QEMB_ERR_OVERFLOW, "rows of all tables");
    const qemb_packed_format other = {.layout = QEMB_LAYOUT_FBGEMM}; /* of the table's own width */
    OK(qemb_packed_convert(packed, &other, 0, &imported));
    qemb_packed_destroy(imported);
    table.has_padding_idx = true;
    table.padding_idx = -1;
    OK(qemb_packed_import(t.ctx, &d, &imported));
    qemb_packed_info info;
    OK(qemb_packed_get_info(imported, &info));
    qemb_packed_destroy(imported);
    qemb_packed_destroy(packed);
    close_things(&t);
}

/* One thing that a plan to use tables where they lie must not have. */
static void spoil(int k, qemb_context *ctx, qemb__packed_plan *p, qemb_packed_table *bad, const unsigned char *memory) {
    const qemb_packed_table good = *bad;
    *p = (qemb__packed_plan){.tables = bad,
                             .num_tables = 1,
                             .memory = k == 0 ? NULL : memory + (k == 10 ? 100 : 0),
                             .memory_bytes = k == 3    ? SIZE_MAX
                                             : k == 11 ? 100
                                             : k == 12 ? 140
                                                       : 4096};
    p->tables = k == 2 ? NULL : bad;
    ctx->report.host_memory = k != 1;
    ctx->report.max_allocation_bytes = k == 13 ? 200 : INT64_MAX;
    bad->rows = k == 4 ? NULL : k == 14 ? (const void *)(UINTPTR_MAX - 8) : good.rows;
    bad->rows_bytes = k == 5 ? 0 : k == 7 ? 4097 : good.rows_bytes;
    bad->qparams_bytes = k == 6 ? -1 : k == 8 ? 4097 : good.qparams_bytes;
    bad->qparams = k == 9 ? NULL : good.qparams;
}

Test(core_odd, borrowing,
     .description = "packed: tables are used where they lie if all of them lie inside memory of a device that reads the host's") {
    static unsigned char memory[4096];
    things t = {0};
    open_things(&t, QEMB_MODE_SUM, false);
    const qemb_device_report report = t.ctx->report;
    const qemb_packed_table good = {.num_embeddings = 4,
                                    .embedding_dim = 8,
                                    .num_rows = 4,
                                    .format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 8},
                                    .rows = memory + 64,
                                    .rows_bytes = 32,
                                    .qparams = memory + 128,
                                    .qparams_bytes = 32};
    qemb__packed_plan plan;
    for (int k = -1; k < 15; k++) {
        qemb_packed_table table = good;
        spoil(k, t.ctx, &plan, &table, memory);
        cr_expect_eq(qemb__packed_can_borrow(t.ctx, &plan), k < 0, "case %d", k);
    }
    qemb_packed_table lone = good; /* in the row's layouts there is no plane */
    spoil(-1, t.ctx, &plan, &lone, memory);
    lone.format.layout = QEMB_LAYOUT_TORCH_ROWWISE;
    lone.qparams = NULL;
    lone.qparams_bytes = 0;
    cr_expect(qemb__packed_can_borrow(t.ctx, &plan));
    t.ctx->report = report;
    close_things(&t);
}
