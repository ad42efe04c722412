/* test_batch.c - input from host and device: what is refused, with which status and sentence, and that nothing changes then. */
#include <criterion/criterion.h>

#include "support_bag.h"
#include "support_ok.h"

static const bag_engine engines[] = {
    {"reference", "reference", NULL, NULL, NULL},
    {"PoCL pthread", "pthread", NULL, NULL, NULL},
    {"PoCL pthread, GPU kernels", "pthread", "gpu", NULL, NULL},
    {"another context of the first", "reference", "", NULL, NULL},
};
enum { ANOTHER = sizeof engines / sizeof *engines - 1, NUM_ENGINES = ANOTHER, ROWS = 11, DIM = 6, CANARY_FLOATS = 64 };

typedef struct fixture {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *out;
    float canary[CANARY_FLOATS];
} fixture;

static void open_bag(fixture *f, int engine, qemb_bag_options options, int32_t tables) {
    qemb_table_desc d[2];
    *f = (fixture){.ctx = bag_kept_context(&engines[engine])};
    for (int t = 0; t < tables; t++) {
        d[t] = (qemb_table_desc){.num_embeddings = ROWS + 2 * t, .embedding_dim = DIM, .qconfig = qemb_qconfig_8bit(), .seed = 3};
    }
    OK(qemb_embedding_bag_collection_create(f->ctx, &(qemb_collection_desc){.tables = d, .num_tables = tables, .options = options},
                                            &f->bag));
    OK(qemb_batch_create(f->ctx, &f->batch));
    OK(qemb_buffer_create(f->ctx, sizeof f->canary, &f->out));
    for (int i = 0; i < CANARY_FLOATS; i++) {
        f->canary[i] = -1e9f - (float)i * 64.0f;
    }
}

static void close_bag(fixture *f) {
    qemb_buffer_destroy(f->out);
    qemb_batch_destroy(f->batch);
    qemb_embedding_bag_destroy(f->bag);
}

static void paint(fixture *f) {
    OK(qemb_buffer_write(f->out, 0, sizeof f->canary, f->canary));
}

/* The output is as it was painted, but for the first `written` floats, which are not. */
static void expect_painted(fixture *f, int64_t written) {
    float now[CANARY_FLOATS];
    OK(qemb_buffer_read(f->out, 0, sizeof now, now));
    for (int64_t i = 0; i < CANARY_FLOATS; i++) {
        cr_assert_eq(now[i] == f->canary[i], i >= written, "float %d is %g", (int)i, (double)now[i]);
    }
}

/* A lookup of two bags, (1, 10) and (4), must give what a module by itself gives; after any failure. */
static void expect_usable(fixture *f) {
    static const int32_t indices[] = {1, 10, 4};
    static const int32_t offsets[] = {0, 2, 3};
    float now[2 * DIM];
    qemb_bag_info info;
    OK(qemb_embedding_bag_info(f->bag, &info));
    const int64_t n = info.num_features == 1 ? (info.options.include_last_offset ? 3 : 2) : 2;
    OK(qemb_batch_set(
        f->batch, f->bag,
        &(qemb_input){.indices = indices, .num_indices = 3, .indices_dtype = QEMB_INT32, .offsets = offsets, .num_offsets = n}));
    paint(f);
    OK(qemb_embedding_bag_forward(f->bag, f->batch, f->out));
    OK(qemb_context_finish(f->ctx));
    OK(qemb_batch_status(f->batch, NULL));
    expect_painted(f, 2 * DIM);
    OK(qemb_buffer_read(f->out, 0, sizeof now, now));
    float w[ROWS * DIM];
    OK(qemb_embedding_bag_read_weight(f->bag, 0, 4, 1, w));
    const float *second = info.num_features == 1 && info.options.mode != QEMB_MODE_MAX ? now + DIM : NULL;
    for (int c = 0; second && c < DIM; c++) {
        cr_assert_float_eq(second[c], w[c], 0.02, "column %d", c); /* one lookup: the row itself, within a step of 255 */
    }
}

/* ---- host input --------------------------------------------------------------------------------------------------------- */

typedef struct refusal {
    qemb_input in;
    qemb_status want;
    const char *says; /* part of the sentence */
    bool last;
    qemb_mode mode;
} refusal;

static const int64_t three[] = {1, 10, 4};
static const int64_t past[] = {1, 11, 4};
static const int64_t negative[] = {1, 2, -1};
static const int64_t wide[] = {4294967296, 2, 3};
static const int64_t lowest[] = {INT64_MIN, 2, 3};
static const int32_t past32[] = {0, 3, INT32_MAX};
static const int32_t negative32[] = {0, INT32_MIN, 3};
static const int64_t zero_two[] = {0, 2};
static const int64_t one_two[] = {1, 2};
static const int64_t falling[] = {0, 3, 1};
static const int64_t far[] = {0, 1000000, 3};
static const int64_t below[] = {0, -3, 3};
static const int64_t four[] = {0, 4};
static const float weights[] = {1.0f, 2.0f, 3.0f};

#define I64 .indices_dtype = QEMB_INT64, .num_indices = 3
#define OFF .offsets = zero_two, .num_offsets = 2
static const refusal refusals[] = {
    {{.indices = past, I64, OFF}, QEMB_ERR_INDEX, "indices[1]=11", 0, QEMB_MODE_SUM},
    {{.indices = negative, I64, OFF}, QEMB_ERR_INDEX, "indices[2]=-1", 0, QEMB_MODE_SUM},
    {{.indices = wide, I64, OFF}, QEMB_ERR_INDEX, "indices[0]=4294967296", 0, QEMB_MODE_MEAN},
    {{.indices = lowest, I64, OFF}, QEMB_ERR_INDEX, "indices[0]=-9223372036854775808", 0, QEMB_MODE_MAX},
    {{.indices = past32, .indices_dtype = QEMB_INT32, .num_indices = 3, OFF, .offsets_dtype = QEMB_INT64},
     QEMB_ERR_INDEX,
     "indices[2]=2147483647",
     0,
     QEMB_MODE_SUM},
    {{.indices = negative32, .indices_dtype = QEMB_INT32, .num_indices = 3, OFF, .offsets_dtype = QEMB_INT64},
     QEMB_ERR_INDEX,
     "indices[1]=-2147483648",
     0,
     QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = one_two, .num_offsets = 2}, QEMB_ERR_OFFSETS, "offsets[0]=1", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = falling, .num_offsets = 3}, QEMB_ERR_OFFSETS, "offsets[2]=1", 0, QEMB_MODE_MAX},
    {{.indices = three, I64, .offsets = far, .num_offsets = 3}, QEMB_ERR_OFFSETS, "offsets[1]=1000000", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = far, .num_offsets = 3}, QEMB_ERR_OFFSETS, "offsets[1]=1000000", 1, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = below, .num_offsets = 3}, QEMB_ERR_OFFSETS, "offsets[1]=-3", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = four, .num_offsets = 2}, QEMB_ERR_OFFSETS, "offsets[1]=4", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = four, .num_offsets = 2}, QEMB_ERR_OFFSETS, "offsets[1]=4", 1, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = zero_two, .num_offsets = 2}, QEMB_ERR_OFFSETS, "num_indices=3", 1, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = zero_two, .num_offsets = 1},
     QEMB_ERR_OFFSETS,
     "num_offsets=1, want bags for 3 indices",
     1,
     QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = zero_two, .num_offsets = 0},
     QEMB_ERR_OFFSETS,
     "num_offsets=0, want bags for 3 indices",
     0,
     QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = zero_two, .num_offsets = 0}, QEMB_ERR_OFFSETS, "num_offsets=0", 1, QEMB_MODE_SUM},
    {{.indices = three, I64, .offsets = zero_two, .num_offsets = -2}, QEMB_ERR_OFFSETS, "num_offsets=-2", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, OFF, .columns = 3}, QEMB_ERR_SHAPE, "columns=3", 0, QEMB_MODE_SUM},
    {{.indices = three, I64}, QEMB_ERR_SHAPE, "columns=0", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, .columns = 2}, QEMB_ERR_SHAPE, "multiple of columns=2", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, .columns = -3}, QEMB_ERR_SHAPE, "columns=-3", 0, QEMB_MODE_SUM},
    {{.indices = three, .indices_dtype = QEMB_INT64, .num_indices = -1, OFF}, QEMB_ERR_SHAPE, "num_indices=-1", 0, QEMB_MODE_SUM},
    {{.indices = three, .indices_dtype = QEMB_INT64, .num_indices = (int64_t)1 << 31, OFF},
     QEMB_ERR_SHAPE,
     "num_indices=2147483648",
     0,
     QEMB_MODE_SUM},
    {{.indices = NULL, I64, OFF}, QEMB_ERR_ARG, "indices is NULL", 0, QEMB_MODE_SUM},
    {{.indices = three, .num_indices = 3, OFF}, QEMB_ERR_DTYPE, "indices_dtype=0", 0, QEMB_MODE_SUM},
    {{.indices = three, .num_indices = 3, .indices_dtype = QEMB_FLOAT64, OFF}, QEMB_ERR_DTYPE, "indices_dtype=3", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, OFF, .offsets_dtype = QEMB_FLOAT16}, QEMB_ERR_DTYPE, "offsets_dtype=1", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, OFF, .offsets_dtype = (qemb_dtype)77}, QEMB_ERR_DTYPE, "offsets_dtype=77", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, OFF, .check = (qemb_check)3}, QEMB_ERR_ARG, "check=3", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, OFF, .per_sample_weights = weights, .num_per_sample_weights = 2},
     QEMB_ERR_SHAPE,
     "num_per_sample_weights=2",
     0,
     QEMB_MODE_SUM},
    {{.indices = three, I64, OFF, .num_per_sample_weights = 3}, QEMB_ERR_ARG, "per_sample_weights is NULL", 0, QEMB_MODE_SUM},
    {{.indices = three, I64, OFF, .per_sample_weights = weights, .num_per_sample_weights = 3},
     QEMB_ERR_UNSUPPORTED,
     "mode is mean, want sum",
     0,
     QEMB_MODE_MEAN},
    {{.indices = three, I64, OFF, .per_sample_weights = weights, .num_per_sample_weights = 3},
     QEMB_ERR_UNSUPPORTED,
     "mode is max, want sum",
     0,
     QEMB_MODE_MAX},
};

Test(batch, refused_from_the_host,
     .description = "batch: bad input from the host, its status and a sentence with the value; the batch before it stays") {
    for (int e = 0; e < NUM_ENGINES; e++) {
        for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++) {
            const refusal *r = &refusals[k];
            fixture f;
            if (e == 2 && k > 3) {
                break; /* the same code of the core; only forwards after it differ */
            }
            open_bag(&f, e, (qemb_bag_options){.mode = r->mode, .include_last_offset = r->last}, 1);
            expect_usable(&f); /* the batch that must stay */
            paint(&f);
            const qemb_status st = qemb_batch_set(f.batch, f.bag, &r->in);
            cr_assert_eq(st, r->want, "%s: case %d gives %s: %s", engines[e].label, (int)k, qemb_status_name(st), qemb_last_error());
            cr_assert(strstr(qemb_last_error(), r->says), "case %d says: %s", (int)k, qemb_last_error());
            expect_painted(&f, 0);
            OK(qemb_embedding_bag_forward(f.bag, f.batch, f.out)); /* the batch is what it was */
            expect_painted(&f, 2 * DIM);
            expect_usable(&f);
            close_bag(&f);
        }
    }
}

Test(batch, wrong_number_of_features, .description = "batch: bags that the features do not divide, SHAPE") {
    fixture f;
    open_bag(&f, 0, (qemb_bag_options){.mode = QEMB_MODE_SUM}, 2);
    cr_assert_eq(qemb_batch_set(f.batch, f.bag, &(qemb_input){.indices = three, I64, .columns = 1}), QEMB_ERR_SHAPE);
    cr_assert(strstr(qemb_last_error(), "multiple of the 2 features"), "%s", qemb_last_error());
    expect_usable(&f);
    close_bag(&f);
}

Test(batch, index_of_its_feature, .description = "batch: an index that only the other feature's table has, INDEX; in its own table, fine") {
    static const int64_t mixed[] = {10, 12};
    static const int64_t swapped[] = {12, 10};
    for (int e = 0; e < NUM_ENGINES; e++) {
        fixture f;
        open_bag(&f, e, (qemb_bag_options){.mode = QEMB_MODE_SUM}, 2); /* 11 and 13 rows */
        OK(qemb_batch_set(f.batch, f.bag, &(qemb_input){.indices = mixed, .num_indices = 2, .indices_dtype = QEMB_INT64, .columns = 1}));
        cr_assert_eq(
            qemb_batch_set(f.batch, f.bag, &(qemb_input){.indices = swapped, .num_indices = 2, .indices_dtype = QEMB_INT64, .columns = 1}),
            QEMB_ERR_INDEX);
        cr_assert(strstr(qemb_last_error(), "indices[0]=12") && strstr(qemb_last_error(), "0..10"), "%s", qemb_last_error());
        close_bag(&f);
    }
}

Test(batch, empty_input,
     .description = "batch: no lookups, no bags, empty bags: zeros where there is an output, untouched where there is none") {
    static const int64_t zeros[] = {0, 0, 0};
    for (int e = 0; e < NUM_ENGINES; e++) {
        for (int mode = 0; mode < 3; mode++) {
            fixture f;
            float now[CANARY_FLOATS];
            open_bag(&f, e, (qemb_bag_options){.mode = (qemb_mode)mode}, 1);
            OK(qemb_batch_set(f.batch, f.bag, &(qemb_input){.indices_dtype = QEMB_INT64, .offsets = zeros, .num_offsets = 3}));
            paint(&f);
            OK(qemb_embedding_bag_forward(f.bag, f.batch, f.out));
            OK(qemb_buffer_read(f.out, 0, sizeof now, now));
            for (int i = 0; i < CANARY_FLOATS; i++) {
                cr_assert_float_eq(now[i], i < 3 * DIM ? 0.0f : f.canary[i], 0.0);
            }
            OK(qemb_batch_set(f.batch, f.bag, &(qemb_input){.indices_dtype = QEMB_INT32, .offsets = zeros, .num_offsets = 0}));
            paint(&f);
            OK(qemb_embedding_bag_forward(f.bag, f.batch, f.out));
            expect_painted(&f, 0);
            OK(qemb_batch_set(f.batch, f.bag, &(qemb_input){.indices_dtype = QEMB_INT32, .columns = 4}));
            OK(qemb_embedding_bag_forward(f.bag, f.batch, f.out));
            expect_painted(&f, 0);
            expect_usable(&f);
            close_bag(&f);
        }
    }
}

Test(batch, skip_and_trust, .description = "batch: ids outside the table under SKIP and TRUST, left out; counted under SKIP") {
    static const int64_t dirty[] = {1, 99, 10, -5, 4, INT64_MIN, 2147483648, 4294967297};
    static const int64_t offsets[] = {0, 4, 6};
    for (int k = 0; k < 2 * NUM_ENGINES; k++) {
        fixture f;
        float want[3 * DIM];
        float got[3 * DIM];
        int64_t skipped = -1;
        const qemb_check check = k % 2 ? QEMB_TRUST : QEMB_SKIP;
        open_bag(&f, k / 2, (qemb_bag_options){.mode = QEMB_MODE_MEAN}, 1);
        expect_usable(&f); /* bags (1, 10) and (4) */
        OK(qemb_buffer_read(f.out, 0, sizeof want, want));
        OK(qemb_batch_set(
            f.batch, f.bag,
            &(qemb_input){
                .indices = dirty, .num_indices = 8, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 3, .check = check}));
        paint(&f);
        OK(qemb_embedding_bag_forward(f.bag, f.batch, f.out));
        OK(qemb_context_finish(f.ctx));
        OK(qemb_batch_status(f.batch, &skipped));
        cr_assert_eq(skipped, check == QEMB_SKIP ? 5 : 0, "%s: %lld", engines[k / 2].label, (long long)skipped);
        OK(qemb_buffer_read(f.out, 0, sizeof got, got));
        cr_assert_arr_eq(got, want, 2 * DIM * sizeof(float), "%s", engines[k / 2].label);
        for (int c = 0; c < DIM; c++) {
            cr_assert_float_eq(got[2 * DIM + c], 0.0f, 0.0);
        }
        close_bag(&f);
    }
}

/* ---- device input --------------------------------------------------------------------------------------------------------- */

static qemb_buffer *upload(qemb_context *ctx, const void *values, size_t bytes) {
    qemb_buffer *buffer = NULL;
    OK(qemb_buffer_create(ctx, bytes ? bytes : 4, &buffer));
    OK(qemb_buffer_write(buffer, 0, bytes, values));
    return buffer;
}

/* The case's input from the device, form & 1: int64 indices, & 2: int64 offsets, & 4: weighted. Expects the host's bits. */
static void expect_as_from_host(qemb_context *ctx, const op_bag_forward *op, int form, const char *who) {
    enum { MOST = 512 };
    op_lookups in;
    int32_t narrow[2][MOST];
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    float host[16 * 40];
    float device[16 * 40];
    int64_t skipped = -1;
    cr_assert(op_bag_forward_fill(op, 0, &in));
    cr_assert_leq(in.num_indices, MOST);
    for (int64_t i = 0; i < MOST; i++) {
        narrow[0][i] = i < in.num_indices ? (int32_t)in.indices[i] : 0;
        narrow[1][i] = i < in.num_offsets ? (int32_t)in.offsets[i] : 0;
    }
    OK(op_bag_forward_create(ctx, op, NULL, &bag));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, sizeof host, &out));
    OK(op_bag_forward_set(op, &in, bag, batch));
    OK(qemb_embedding_bag_forward(bag, batch, out));
    OK(qemb_buffer_read(out, 0, sizeof host, host));
    qemb_device_input input = {.num_indices = in.num_indices,
                               .indices_dtype = form & 1 ? QEMB_INT64 : QEMB_INT32,
                               .num_offsets = in.num_offsets - (op->last ? 0 : 1),
                               .offsets_dtype = form & 2 ? QEMB_INT64 : QEMB_INT32};
    input.indices = upload(ctx, form & 1 ? (const void *)in.indices : narrow[0], (size_t)in.num_indices * (form & 1 ? 8 : 4));
    input.offsets = upload(ctx, form & 2 ? (const void *)in.offsets : narrow[1], (size_t)input.num_offsets * (form & 2 ? 8 : 4));
    if (form & 4) {
        input.per_sample_weights = upload(ctx, in.weights, (size_t)in.num_indices * 4);
        input.num_per_sample_weights = in.num_indices;
    }
    OK(qemb_batch_set_device(batch, bag, &input));
    OK(qemb_embedding_bag_forward(bag, batch, out));
    OK(qemb_context_finish(ctx));
    OK(qemb_batch_status(batch, &skipped));
    cr_assert_eq(skipped, 0);
    OK(qemb_buffer_read(out, 0, sizeof device, device));
    cr_assert_arr_eq(host, device, sizeof host, "%s, form %d", who, form);
    qemb_buffer_destroy(input.indices);
    qemb_buffer_destroy(input.offsets);
    qemb_buffer_destroy(input.per_sample_weights);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    op_lookups_free(&in);
}

Test(batch, device_input,
     .description = "batch: input on the device in every pair of integer types, weighted or not, the bits of host input") {
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context *ctx = bag_kept_context(&engines[e]);
        for (int form = 0; form < 8; form++) {
            op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
            op.D = 20;
            op.T = 2;
            op.ragged = 1;
            op.weighted = form >> 2;
            op.last = form % 3 == 0;
            if (e < 2 || form == 7) {
                expect_as_from_host(ctx, &op, form, engines[e].label);
            }
        }
    }
}

/* Device input of one bad kind: the status, at finish or when asked; the output untouched; the context usable. */
static void expect_refused_on_device(fixture *f, const qemb_device_input *input, qemb_status want, const char *says, bool ask) {
    paint(f);
    OK(qemb_batch_set_device(f->batch, f->bag, input));
    OK(qemb_embedding_bag_forward(f->bag, f->batch, f->out));
    const qemb_status st = ask ? qemb_batch_status(f->batch, NULL) : qemb_context_finish(f->ctx);
    cr_assert_eq(st, want, "%s: %s", qemb_status_name(st), qemb_last_error());
    cr_assert(strstr(qemb_last_error(), says), "%s", qemb_last_error());
    expect_painted(f, 0);
    OK(qemb_context_finish(f->ctx)); /* reported once */
    cr_assert_eq(qemb_batch_status(f->batch, NULL), want);
    expect_usable(f);
}

Test(batch, refused_on_the_device,
     .description = "batch: bad ids and offsets on the device, no kernel writes, the status comes at finish and when asked") {
    static const struct {
        const int64_t *indices, *offsets;
        int64_t num_offsets;
        bool last;
        qemb_check check;
        qemb_status want;
        const char *says;
    } cases[] = {
        {past, zero_two, 2, false, QEMB_CHECK, QEMB_ERR_INDEX, "indices[1]"},
        {negative, zero_two, 2, false, QEMB_CHECK, QEMB_ERR_INDEX, "indices[2]"},
        {wide, zero_two, 2, false, QEMB_CHECK, QEMB_ERR_INDEX, "indices[0]"},
        {lowest, zero_two, 2, false, QEMB_CHECK, QEMB_ERR_INDEX, "indices[0]"},
        {three, one_two, 2, false, QEMB_SKIP, QEMB_ERR_OFFSETS, "offsets[0]"},
        {three, falling, 3, false, QEMB_CHECK, QEMB_ERR_OFFSETS, "offsets[2]"},
        {three, far, 3, false, QEMB_TRUST, QEMB_ERR_OFFSETS, "offsets[1]"},
        {three, below, 3, false, QEMB_CHECK, QEMB_ERR_OFFSETS, "offsets[1]"},
        {three, four, 2, false, QEMB_SKIP, QEMB_ERR_OFFSETS, "offsets[1]"},
        {three, zero_two, 2, true, QEMB_CHECK, QEMB_ERR_OFFSETS, "offsets[1]"},
        {past, falling, 3, false, QEMB_CHECK, QEMB_ERR_OFFSETS, "offsets[2]"},
    };
    for (int e = 0; e < NUM_ENGINES; e++) {
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            fixture f;
            open_bag(&f, e, (qemb_bag_options){.mode = QEMB_MODE_SUM, .include_last_offset = cases[k].last}, 1);
            qemb_buffer *indices = upload(f.ctx, cases[k].indices, 3 * sizeof(int64_t));
            qemb_buffer *offsets = upload(f.ctx, cases[k].offsets, (size_t)cases[k].num_offsets * sizeof(int64_t));
            const qemb_device_input input = {.indices = indices,
                                             .num_indices = 3,
                                             .indices_dtype = QEMB_INT64,
                                             .offsets = offsets,
                                             .num_offsets = cases[k].num_offsets,
                                             .check = cases[k].check};
            expect_refused_on_device(&f, &input, cases[k].want, cases[k].says, k % 2);
            qemb_buffer_destroy(indices);
            qemb_buffer_destroy(offsets);
            close_bag(&f);
        }
    }
}

Test(batch, first_bad_position_of_many, .description = "batch: many bad ids on the device, the smallest position is named") {
    enum { N = 3000 };
    int32_t ids[N];
    for (int e = 0; e < NUM_ENGINES; e++) {
        fixture f;
        open_bag(&f, e, (qemb_bag_options){.mode = QEMB_MODE_SUM}, 1);
        for (int i = 0; i < N; i++) {
            ids[i] = i >= 1234 && i % 2 == 0 ? 11 + i : i % ROWS;
        }
        qemb_buffer *indices = upload(f.ctx, ids, sizeof ids);
        const qemb_device_input input = {.indices = indices, .num_indices = N, .indices_dtype = QEMB_INT32, .columns = N};
        expect_refused_on_device(&f, &input, QEMB_ERR_INDEX, "indices[1234]", e % 2);
        qemb_buffer_destroy(indices);
        close_bag(&f);
    }
}

Test(batch, skip_on_the_device, .description = "batch: bad ids on the device under SKIP and TRUST, left out; counted under SKIP") {
    static const int64_t dirty[] = {1, 99, 10, -5, 4, INT64_MIN};
    static const int64_t offsets[] = {0, 4};
    for (int k = 0; k < 2 * NUM_ENGINES; k++) {
        fixture f;
        float want[2 * DIM];
        float got[2 * DIM];
        int64_t skipped = -1;
        const qemb_check check = k % 2 ? QEMB_TRUST : QEMB_SKIP;
        open_bag(&f, k / 2, (qemb_bag_options){.mode = QEMB_MODE_MAX}, 1);
        expect_usable(&f);
        OK(qemb_buffer_read(f.out, 0, sizeof want, want));
        qemb_buffer *i = upload(f.ctx, dirty, sizeof dirty);
        qemb_buffer *o = upload(f.ctx, offsets, sizeof offsets);
        OK(qemb_batch_set_device(
            f.batch, f.bag,
            &(qemb_device_input){
                .indices = i, .num_indices = 6, .indices_dtype = QEMB_INT64, .offsets = o, .num_offsets = 2, .check = check}));
        OK(qemb_embedding_bag_forward(f.bag, f.batch, f.out));
        OK(qemb_batch_status(f.batch, &skipped));
        cr_assert_eq(skipped, check == QEMB_SKIP ? 3 : 0);
        OK(qemb_buffer_read(f.out, 0, sizeof got, got));
        cr_assert_arr_eq(got, want, sizeof got, "%s", engines[k / 2].label);
        qemb_buffer_destroy(i);
        qemb_buffer_destroy(o);
        close_bag(&f);
    }
}

Test(batch, device_buffers_too_small, .description = "batch: device buffers that are too small or of another context, SHAPE and ARG") {
    fixture f;
    fixture other;
    open_bag(&f, 0, (qemb_bag_options){.mode = QEMB_MODE_SUM}, 1);
    open_bag(&other, ANOTHER, (qemb_bag_options){.mode = QEMB_MODE_SUM}, 1);
    qemb_buffer *three_ids = upload(f.ctx, three, sizeof three);
    qemb_buffer *foreign = upload(other.ctx, three, sizeof three);
    qemb_buffer *two = upload(f.ctx, zero_two, sizeof zero_two);
    const qemb_device_input good = {.indices = three_ids, .num_indices = 3, .indices_dtype = QEMB_INT64, .offsets = two, .num_offsets = 2};
    qemb_device_input in = good;
    in.num_indices = 4;
    cr_assert_eq(qemb_batch_set_device(f.batch, f.bag, &in), QEMB_ERR_SHAPE);
    in = good;
    in.num_offsets = 3;
    cr_assert_eq(qemb_batch_set_device(f.batch, f.bag, &in), QEMB_ERR_SHAPE);
    in = good;
    in.per_sample_weights = two; /* 16 bytes hold 4 floats, enough */
    in.num_per_sample_weights = 3;
    OK(qemb_batch_set_device(f.batch, f.bag, &in));
    in.num_per_sample_weights = 4;
    cr_assert_eq(qemb_batch_set_device(f.batch, f.bag, &in), QEMB_ERR_SHAPE);
    in = good;
    in.indices = foreign;
    cr_assert_eq(qemb_batch_set_device(f.batch, f.bag, &in), QEMB_ERR_ARG);
    in = good;
    in.indices = NULL;
    cr_assert_eq(qemb_batch_set_device(f.batch, f.bag, &in), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_set_device(f.batch, other.bag, &good), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_set_device(f.batch, f.bag, NULL), QEMB_ERR_ARG);
    expect_usable(&f);
    qemb_buffer_destroy(three_ids);
    qemb_buffer_destroy(foreign);
    qemb_buffer_destroy(two);
    close_bag(&f);
    close_bag(&other);
}

Test(batch, states,
     .description = "batch: never set, set for another module, NULL arguments, an output too small: a status, output untouched") {
    fixture f;
    fixture other;
    qemb_batch *fresh = NULL;
    qemb_buffer *small = NULL;
    open_bag(&f, 0, (qemb_bag_options){.mode = QEMB_MODE_SUM}, 1);
    open_bag(&other, ANOTHER, (qemb_bag_options){.mode = QEMB_MODE_SUM}, 1);
    OK(qemb_batch_create(f.ctx, &fresh));
    OK(qemb_buffer_create(f.ctx, (2 * DIM - 1) * sizeof(float), &small));
    paint(&f);
    cr_assert_eq(qemb_embedding_bag_forward(f.bag, fresh, f.out), QEMB_ERR_STATE);
    cr_assert_eq(qemb_batch_status(fresh, NULL), QEMB_ERR_STATE);
    cr_assert_eq(qemb_embedding_bag_forward(NULL, fresh, f.out), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_bag_forward(f.bag, NULL, f.out), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_bag_forward(f.bag, fresh, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_forward(NULL, fresh, f.out), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_set(NULL, f.bag, &refusals[0].in), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_set(f.batch, NULL, &refusals[0].in), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_set(f.batch, f.bag, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_set(f.batch, other.bag, &(qemb_input){.indices = three, I64, OFF}), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_status(NULL, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_batch_create(f.ctx, NULL), QEMB_ERR_ARG);
    expect_painted(&f, 0);
    expect_usable(&f);
    cr_assert_eq(qemb_embedding_bag_forward(f.bag, f.batch, small), QEMB_ERR_SHAPE);
    cr_assert_eq(qemb_embedding_bag_forward(f.bag, f.batch, other.out), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_bag_forward(other.bag, f.batch, f.out), QEMB_ERR_ARG);
    expect_usable(&f);
    qemb_batch_destroy(fresh);
    qemb_batch_destroy(NULL);
    qemb_buffer_destroy(small);
    close_bag(&f);
    close_bag(&other);
}
