/* support_peer_lookups.c - indices, offsets, sizes. What is fed, and the right answer; threads are of pytorch/pytorch unless named. */
#include "support_peer.h"

#include <criterion/criterion.h>
#include <string.h>

#define REFUSED(ctx, want, ...) peer_refused(ctx, &(peer_case){__VA_ARGS__}, want)
#define IDS(...)                .ids = (const int64_t[]){__VA_ARGS__}, .num_ids = (int64_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define OFFSETS(...)                                                                                                                       \
    .offsets = (const int64_t[]){__VA_ARGS__}, .num_offsets = (int64_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static const float W[5][3] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {-1, -2, -3}, {0.5f, 0.25f, 0}};
#define TABLE .rows = 5, .dim = 3, .weight = &W[0][0]
static const qemb_mode modes[3] = {QEMB_MODE_SUM, QEMB_MODE_MEAN, QEMB_MODE_MAX};

static void ids_refused(qemb_context *ctx, int64_t bad) {
    for (int m = 0; m < 3; m++) {
        REFUSED(ctx, QEMB_ERR_INDEX, TABLE, .mode = modes[m], IDS(0, 4, bad), OFFSETS(0, 1));
    }
    REFUSED(ctx, QEMB_ERR_INDEX, TABLE, .unpooled = true, IDS(1, bad));
    REFUSED(ctx, QEMB_ERR_INDEX, TABLE, .mode = QEMB_MODE_SUM, .max_norm = 1.0f, IDS(bad), .columns = 1);
}

static void ix_1(qemb_context *ctx) {
    static const int64_t ids[1] = {5};
    const peer_case c = {TABLE, .mode = QEMB_MODE_SUM, .ids = ids, .num_ids = 1, .columns = 1};
    peer_objects o;
    cr_assert_eq(peer_forward(ctx, &c, &o), QEMB_ERR_INDEX);
    cr_assert_eq(qemb_embedding_bag_backward(o.bag, o.batch, o.grad, &(qemb_gradients){.dense = o.out}), QEMB_ERR_STATE,
                 "no backward without a forward");
    peer_close(&o);
}

static void ix_2(qemb_context *ctx) {
    ids_refused(ctx, 6);
    ids_refused(ctx, -1);
}

static void ix_3(qemb_context *ctx) {
    ids_refused(ctx, 1000000000);
    ids_refused(ctx, -5000000);
}

static void ix_4(qemb_context *ctx) {
    ids_refused(ctx, 5);
}

/* Garbage on the device: the status word says it, nothing is written, the context stays usable. */
static void on_the_device(qemb_context *ctx, const int64_t *ids, int64_t count, const int64_t *offsets, int64_t bags, qemb_status want) {
    static const int64_t good[1] = {1};
    peer_objects o;
    qemb_buffer *id_buffer = NULL, *offset_buffer = NULL;
    float before[6], after[6];
    PEER_OK(peer_forward(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, .ids = good, .num_ids = 1, OFFSETS(0, 1)}, &o));
    PEER_OK(qemb_buffer_read(o.out, 0, sizeof before, before));
    PEER_OK(qemb_buffer_create(ctx, (size_t)count * 8, &id_buffer));
    PEER_OK(qemb_buffer_write(id_buffer, 0, (size_t)count * 8, ids));
    PEER_OK(qemb_buffer_create(ctx, (size_t)bags * 8, &offset_buffer));
    PEER_OK(qemb_buffer_write(offset_buffer, 0, (size_t)bags * 8, offsets));
    PEER_OK(qemb_batch_set_device(
        o.batch, o.bag,
        &(qemb_device_input){
            .indices = id_buffer, .num_indices = count, .indices_dtype = QEMB_INT64, .offsets = offset_buffer, .num_offsets = bags}));
    PEER_OK(qemb_embedding_bag_forward(o.bag, o.batch, o.out));
    cr_assert_eq(qemb_context_finish(ctx), want, "%s", qemb_last_error());
    PEER_OK(qemb_buffer_read(o.out, 0, sizeof after, after));
    cr_assert_arr_eq(before, after, sizeof before);
    PEER_OK(qemb_batch_set(o.batch, o.bag, &(qemb_input){.indices = good, .num_indices = 1, .indices_dtype = QEMB_INT64, .columns = 1}));
    PEER_OK(qemb_embedding_bag_forward(o.bag, o.batch, o.out));
    PEER_OK(qemb_buffer_read(o.out, 0, sizeof after, after));
    cr_assert(after[0] == 4.0f && after[1] == 5.0f && after[2] == 6.0f);
    qemb_buffer_destroy(id_buffer);
    qemb_buffer_destroy(offset_buffer);
    peer_close(&o);
}

static void ix_5(qemb_context *ctx) {
    static const int64_t zero[1] = {0};
    static const int64_t bad[][2] = {{0, 5}, {-1, 0}, {2, 1000000}, {INT64_MIN, 1}, {1, INT64_MAX}, {INT64_C(1) << 32, 0}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        on_the_device(ctx, bad[k], 2, zero, 1, QEMB_ERR_INDEX);
    }
}

static void ix_6(qemb_context *ctx) {
    ids_refused(ctx, INT64_MIN);
}

static void ix_7(qemb_context *ctx) {
    static const int64_t ids[3] = {INT64_C(0x4141414141414141), -7, 3};
    static const int64_t offsets[][2] = {{0, INT64_C(0x4242424242424242)}, {5, 0}, {0, -1}, {INT64_MIN, INT64_MAX}};
    for (size_t k = 0; k < sizeof offsets / sizeof *offsets; k++) {
        on_the_device(ctx, ids, 3, offsets[k], 2, QEMB_ERR_OFFSETS);
    }
}

static void ix_8(qemb_context *ctx) {
    ids_refused(ctx, 77);
    peer_objects o;
    cr_assert_eq(peer_forward(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, IDS(0, 1, 2, 77), .columns = 2}, &o), QEMB_ERR_INDEX);
    cr_assert(strstr(qemb_last_error(), "indices[3]=77") && strstr(qemb_last_error(), "0..4"), "%s", qemb_last_error());
    peer_close(&o);
}

static void ix_9(qemb_context *ctx) {
    static const int64_t ids[1] = {5};
    for (int32_t bits = 2; bits <= 8; bits *= 2) {
        qemb_embedding *embedding = NULL;
        qemb_packed *packed = NULL;
        qemb_batch *batch = NULL;
        PEER_OK(qemb_embedding_create(
            ctx, &(qemb_embedding_desc){.num_embeddings = 5, .embedding_dim = 3, .weight = &W[0][0], .qconfig = qemb_qconfig_8bit()},
            &embedding));
        PEER_OK(qemb_packed_create(qemb_embedding_as_bag(embedding), &(qemb_packed_desc){.format = {.bits = bits}}, &packed));
        PEER_OK(qemb_batch_create(ctx, &batch));
        cr_assert_eq(qemb_packed_batch_set(packed, batch, &(qemb_input){.indices = ids, .num_indices = 1, .indices_dtype = QEMB_INT64}),
                     QEMB_ERR_INDEX);
        qemb_batch_destroy(batch);
        qemb_packed_destroy(packed);
        qemb_embedding_destroy(embedding);
    }
}

static void ix_10(qemb_context *ctx) {
    ids_refused(ctx, INT64_C(1) << 32);
    ids_refused(ctx, (INT64_C(1) << 32) + 1);
    ids_refused(ctx, INT64_MAX);
}

/* A step over ids with these gradients of the rows of its output; the weights after it. */
static void step(qemb_context *ctx, qemb_optimizer_kind kind, const int64_t *ids, int64_t count, const float *grad, float *weight) {
    peer_objects o;
    qemb_optimizer *optimizer = NULL;
    PEER_OK(peer_forward(ctx, &(peer_case){TABLE, .unpooled = true, .ids = ids, .num_ids = count}, &o));
    PEER_OK(qemb_optimizer_create(ctx, o.bag, &(qemb_optimizer_desc){.kind = kind, .lr = 0.125}, &optimizer));
    PEER_OK(qemb_buffer_write(o.grad, 0, (size_t)count * 3 * sizeof *grad, grad));
    PEER_OK(qemb_embedding_bag_step(o.bag, o.batch, o.grad, optimizer));
    PEER_OK(qemb_embedding_bag_read_weight(o.bag, 0, 0, 5, weight));
    qemb_optimizer_destroy(optimizer);
    peer_close(&o);
}

/* Every kind on the reference engine; those of the threads on OpenCL, where each is a kernel to compile. */
static int kinds_of(qemb_context *ctx, qemb_optimizer_kind kinds[8]) {
    static const qemb_optimizer_kind all[8] = {
        QEMB_ADAGRAD, QEMB_SPARSE_ADAM, QEMB_ROWWISE_ADAGRAD, QEMB_SGD, QEMB_ADAM, QEMB_PARTIAL_ROWWISE_ADAM, QEMB_LAMB, QEMB_LARS_SGD};
    qemb_device_report report;
    PEER_OK(qemb_context_report(ctx, &report));
    memcpy(kinds, all, sizeof all);
    return strcmp(report.engine, "reference") == 0 ? 8 : 3;
}

static void ix_11(qemb_context *ctx) {
    float weight[15];
    qemb_optimizer_kind kinds[8];
    for (int k = kinds_of(ctx, kinds) - 1; k >= 0; k--) {
        step(ctx, kinds[k], NULL, 0, NULL, weight);
        cr_assert_arr_eq(weight, W, sizeof W);
    }
}

static void ix_12(qemb_context *ctx) {
    static const int64_t twice[2] = {2, 2}, once[1] = {2};
    static const float grads[6] = {0.5f, -1.0f, 0.25f, 0.25f, 0.5f, -1.0f}, sum[3] = {0.75f, -0.5f, -0.75f};
    float a[15], b[15];
    qemb_optimizer_kind kinds[8];
    for (int k = kinds_of(ctx, kinds) - 1; k >= 0; k--) {
        step(ctx, kinds[k], twice, 2, grads, a);
        step(ctx, kinds[k], once, 1, sum, b);
        cr_assert_arr_eq(a, b, sizeof a);
    }
}

/* ---- offsets ------------------------------------------------------------------------------------------------------------------------------ */

static void of_1(qemb_context *ctx) {
    for (int m = 0; m < 3; m++) {
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], IDS(0, 1, 2), OFFSETS(0, 1000000, 3));
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], IDS(0, 1, 2), OFFSETS(0, 4));
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], IDS(0, 1, 2), OFFSETS(0, -3, 2));
    }
}

static void of_2(qemb_context *ctx) {
    for (int m = 0; m < 3; m++) {
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], IDS(0, 1, 2), OFFSETS(0, 3, 1));
    }
}

static void of_3(qemb_context *ctx) {
    for (int m = 0; m < 3; m++) {
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], .last = true, IDS(0, 1, 2), OFFSETS(0, 1, 4));
    }
}

static void of_4(qemb_context *ctx) {
    for (int m = 0; m < 3; m++) {
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], .last = true, IDS(0, 1, 2, 3), OFFSETS(0, 1, 2));
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], .last = true, IDS(0, 1), OFFSETS(0));
    }
}

static void of_6(qemb_context *ctx) {
    float out[6];
    peer_outputs(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_MAX, .last = true, IDS(0, 2, 3), OFFSETS(0, 2, 3)}, out, 6);
    cr_assert(out[0] == 7.0f && out[2] == 9.0f && out[3] == -1.0f && out[5] == -3.0f, "the last bag is its own");
}

static void of_7(qemb_context *ctx) {
    static const int64_t none[1] = {0};
    REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = QEMB_MODE_SUM, .last = true, IDS(1), .offsets = none, .num_offsets = 0);
    REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = QEMB_MODE_SUM, .last = true, .offsets = none, .num_offsets = 0);
}

static void of_8(qemb_context *ctx) {
    float out[6];
    peer_outputs(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, IDS(0, 1, 2), OFFSETS(0, 2)}, out, 6);
    cr_assert(out[0] == 5.0f && out[3] == 7.0f);
    peer_outputs(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, IDS(0, 1, 2), OFFSETS(0, 3)}, out, 6);
    cr_assert(out[0] == 12.0f && out[3] == 0.0f, "a last offset of numel is an empty bag");
}

static void of_9(qemb_context *ctx) {
    static const int64_t ids[2] = {0, 1}, offsets[2] = {1, 2};
    for (int m = 0; m < 3; m++) {
        REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = modes[m], IDS(0, 1, 2), OFFSETS(1, 2));
    }
    on_the_device(ctx, ids, 2, offsets, 2, QEMB_ERR_OFFSETS);
}

static void of_10(qemb_context *ctx) {
    float out[9];
    peer_outputs(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, .last = true, IDS(0, 1, 2, 3, 4, 4), .columns = 2}, out, 9);
    cr_assert(out[0] == 5.0f && out[3] == 6.0f && out[6] == 1.0f, "three bags, none is dropped");
}

static void of_11(qemb_context *ctx) {
    static const int64_t none[1] = {0};
    qemb_embedding_bag *bag = NULL;
    REFUSED(ctx, QEMB_ERR_OFFSETS, TABLE, .mode = QEMB_MODE_SUM, IDS(1, 2), .offsets = none, .num_offsets = 0);
    cr_assert_eq(
        qemb_embedding_bag_create(
            ctx, &(qemb_embedding_bag_desc){.num_embeddings = 5, .embedding_dim = 3, .qconfig = qemb_qconfig_8bit(), .mode = (qemb_mode)9},
            &bag),
        QEMB_ERR_ARG);
}

static void of_12(qemb_context *ctx) {
    float out[6];
    for (int m = 0; m < 3; m++) {
        peer_outputs(ctx, &(peer_case){TABLE, .mode = modes[m], OFFSETS(0, 0)}, out, 6);
        for (int k = 0; k < 6; k++) {
            cr_assert(out[k] == 0.0f);
        }
        peer_objects o;
        PEER_OK(peer_forward(ctx, &(peer_case){TABLE, .unpooled = true}, &o));
        peer_close(&o);
    }
}

static void of_13(qemb_context *ctx) {
    float out[9];
    for (int m = 0; m < 3; m++) {
        peer_outputs(ctx, &(peer_case){TABLE, .mode = modes[m], IDS(3, 3), OFFSETS(0, 0, 2)}, out, 9);
        cr_assert(out[0] == 0.0f && out[1] == 0.0f && out[6] == 0.0f && out[3] == (modes[m] == QEMB_MODE_SUM ? -2.0f : -1.0f));
    }
}

static void of_14(qemb_context *ctx) {
    float out[6], dense[15];
    const peer_case c = {TABLE, .mode = QEMB_MODE_SUM, IDS(1, -5, 2, 900), OFFSETS(0, 2), .check = QEMB_SKIP};
    peer_outputs(ctx, &c, out, 6);
    cr_assert(out[0] == 4.0f && out[3] == 7.0f, "ids outside contribute nothing in the forward");
    peer_gradient(ctx, &c, NULL, dense);
    for (int r = 0; r < 5; r++) {
        cr_assert(dense[3 * r] == (r == 1 || r == 2 ? 1.0f : 0.0f), "and in the backward, row 0 too");
    }
}

/* ---- sizes ------------------------------------------------------------------------------------------------------------------------------------ */

/* A table of 2^31 + 48 elements whose pages are taken from the system when they are touched; only its last rows are. Devices that cannot
 * allocate that much at once do nothing here. */
static void ov_4(qemb_context *ctx) {
    enum { DIM = 16 };
    static const int64_t rows = (INT64_C(1) << 27) + 3;
    static const float grad[DIM] = {1, -1, 2}, ones[DIM] = {1, 1, 1};
    const int64_t ids[2] = {rows - 1, rows - 2};
    qemb_device_report report;
    PEER_OK(qemb_context_report(ctx, &report));
    if (report.max_allocation_bytes < rows * DIM * 4 || strcmp(report.engine, "reference") != 0) {
        return;
    }
    for (int m = 0; m < 3; m++) {
        qemb_buffer *table = NULL, *out = NULL, *gradient = NULL;
        qemb_embedding_bag *bag = NULL;
        qemb_batch *batch = NULL;
        qemb_optimizer *sgd = NULL;
        float row[DIM];
        PEER_OK(qemb_buffer_create(ctx, (size_t)rows * DIM * 4, &table));
        PEER_OK(qemb_buffer_write(table, (size_t)(rows - 1) * DIM * 4, sizeof ones, ones));
        PEER_OK(qemb_buffer_create(ctx, sizeof row, &out));
        PEER_OK(qemb_buffer_create(ctx, sizeof row, &gradient));
        PEER_OK(qemb_buffer_write(gradient, 0, sizeof grad, grad));
        PEER_OK(qemb_embedding_bag_create(
            ctx,
            &(qemb_embedding_bag_desc){
                .num_embeddings = rows, .embedding_dim = DIM, .weight_buffer = table, .mode = modes[m], .qconfig = qemb_qconfig_float()},
            &bag));
        PEER_OK(qemb_batch_create(ctx, &batch));
        PEER_OK(qemb_batch_set(batch, bag, &(qemb_input){.indices = ids, .num_indices = 2, .indices_dtype = QEMB_INT64, .columns = 2}));
        PEER_OK(qemb_embedding_bag_forward(bag, batch, out));
        PEER_OK(qemb_buffer_read(out, 0, sizeof row, row));
        cr_assert(row[0] == (modes[m] == QEMB_MODE_MEAN ? 0.5f : 1.0f) && row[3] == 0.0f, "the last row is another");
        PEER_OK(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 1.0}, &sgd));
        PEER_OK(qemb_embedding_bag_step(bag, batch, gradient, sgd));
        PEER_OK(qemb_embedding_bag_read_weight(bag, 0, rows - 1, 1, row));
        cr_assert(row[0] == (modes[m] == QEMB_MODE_MEAN ? 0.5f : 0.0f), "the last row is stepped as another");
        PEER_OK(qemb_embedding_bag_read_weight(bag, 0, 2, 1, row));
        cr_assert(row[0] == 0.0f, "row 2, which a product of 32 bits would mean");
        qemb_optimizer_destroy(sgd);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag);
        qemb_buffer_destroy(gradient);
        qemb_buffer_destroy(out);
        qemb_buffer_destroy(table);
    }
}

static void ov_5(qemb_context *ctx) {
    qemb_embedding_bag *bag = NULL;
    REFUSED(ctx, QEMB_ERR_SHAPE, TABLE, .mode = QEMB_MODE_SUM, IDS(1, 2), .columns = 0);
    REFUSED(ctx, QEMB_ERR_SHAPE, TABLE, .mode = QEMB_MODE_SUM, .columns = 0);
    cr_assert_eq(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){.num_embeddings = 5, .qconfig = qemb_qconfig_8bit()}, &bag),
                 QEMB_ERR_SHAPE);
    cr_assert_eq(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){.embedding_dim = 5, .qconfig = qemb_qconfig_8bit()}, &bag),
                 QEMB_ERR_SHAPE);
}

static void ov_6(qemb_context *ctx) {
    qemb_packed *packed = NULL;
    qemb_packed_table t = {.num_embeddings = INT64_MAX, .embedding_dim = 1 << 20, .format = {.bits = 8}, .rows = W, .rows_bytes = 1};
    const qemb_packed_import_desc d = {.tables = &t, .num_tables = 1, .options = {.mode = QEMB_MODE_SUM}};
    cr_assert_eq(qemb_packed_import(ctx, &d, &packed), QEMB_ERR_OVERFLOW);
    t.num_embeddings = INT64_MAX / (1 << 20) + 1;
    cr_assert_eq(qemb_packed_import(ctx, &d, &packed), QEMB_ERR_OVERFLOW);
}

const peer_bug peer_lookups[] = {
    {"IX-1", "70170: ids beyond the table, then backward", ix_1, NULL, NULL},
    {"IX-2", "71094: bag ids out of range are read", ix_2, NULL, NULL},
    {"IX-3", "145267: a dense backward with wild ids", ix_3, NULL, NULL},
    {"IX-4", "189971: an id equal to the number of rows", ix_4, NULL, NULL},
    {"IX-5", "163630, 123119: bad ids on the device, silent", ix_5, NULL, NULL},
    {"IX-6", "115416: INT64_MIN with max_norm", ix_6, NULL, NULL},
    {"IX-7", "66750: garbage poisons the context", ix_7, NULL, NULL},
    {"IX-8", "99221: the message names neither id nor position", ix_8, NULL, NULL},
    {"IX-9", "FBGEMM PR 6215: unpooled packed rows accept id = rows", ix_9, NULL, NULL},
    {"IX-10", "FBGEMM PR 5523: row counts that wrap", ix_10, NULL, NULL},
    {"IX-11", "18404, 82486: an optimiser gets an empty gradient", ix_11, NULL, NULL},
    {"IX-12", "dgl PR 2451: duplicates update the state twice", ix_12, NULL, NULL},
    {"OF-1", "175368: an interior offset beyond the ids", of_1, NULL, NULL},
    {"OF-2", "55549: decreasing offsets", of_2, NULL, NULL},
    {"OF-3", "52851: include_last beyond the end", of_3, NULL, NULL},
    {"OF-4", "89677: include_last with ids behind the end", of_4, NULL, NULL},
    {"OF-5", "191965: include_last before the end, modes disagree", of_4, NULL, NULL},
    {"OF-6", "106374: include_last with max merges the last bag", of_6, NULL, NULL},
    {"OF-7", "190044: include_last with too few offsets", of_7, NULL, NULL},
    {"OF-8", "178614: the last offset is ignored", of_8, NULL, NULL},
    {"OF-9", "170370: offsets[0] is not 0", of_9, NULL, NULL},
    {"OF-10", "167974: 2-D ids with include_last are one bag short", of_10, NULL, NULL},
    {"OF-11", "175370, 143483: empty offsets; a mode that is none", of_11, NULL, NULL},
    {"OF-12", "46572: no ids at all", of_12, NULL, NULL},
    {"OF-13", "4169, 11739: empty bags of mean and max", of_13, NULL, NULL},
    {"OF-14", "FBGEMM PR 3979: the check's mode does not reach the second kernel", of_14, NULL, NULL},
    {"OV-1", "130806: outputs of 2^31 elements", NULL, NULL, "an output of 8.6 GB, which machines of this size cannot hold"},
    {"OV-2", "188467: max with more than 2^31 elements", ov_4, NULL, NULL},
    {"OV-3", "PR 165095: global ids of 32 bits", NULL, NULL, "more than 2^32 work-items, which take a simulator days"},
    {"OV-4", "FBGEMM: the last row beyond 2^31 elements", ov_4, NULL, NULL},
    {"OV-5", "116351: sizes that make a divisor 0", ov_5, NULL, NULL},
    {"OV-6", "55396: packing extreme shapes", ov_6, NULL, NULL},
};
const int peer_lookups_count = sizeof peer_lookups / sizeof *peer_lookups;
