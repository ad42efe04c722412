/* support_peer_numbers.c - padding, weights, frequency, norm; determinism; reduced precision; fake quantisation. */
#include "support_peer.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IDS(...) .ids = (const int64_t[]){__VA_ARGS__}, .num_ids = (int64_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static const float W[5][3] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {-1, -2, -3}, {0.5f, 0.25f, 0}};
#define TABLE .rows = 5, .dim = 3, .weight = &W[0][0]

/* ---- padding, weights, frequency, norm ----------------------------------------------------------------------------------------------------- */

static void pd_1(qemb_context *ctx) {
    enum { MOST = 5003 };
    static int64_t ids[MOST];
    float dense[15];
    static const int64_t counts[] = {1, 767, 769, 1024, MOST};
    for (int i = 0; i < MOST; i++) {
        ids[i] = i % 7 == 3 ? 1 : 2;
    }
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        peer_gradient(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, .padding = 3, .ids = ids, .num_ids = counts[k], .columns = counts[k]},
                      NULL, dense);
        cr_assert(dense[6] == 0.0f && dense[7] == 0.0f && dense[8] == 0.0f, "the padding row gets a gradient with %lld ids",
                  (long long)counts[k]);
    }
}

static void pd_2(qemb_context *ctx) {
    peer_objects o;
    qemb_buffer *rows = NULL, *values = NULL, *count = NULL;
    int64_t found[3], nnz = 0;
    static const float grad[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    PEER_OK(peer_forward(ctx, &(peer_case){TABLE, .unpooled = true, .padding = 3, IDS(2, 1, 2)}, &o));
    PEER_OK(qemb_buffer_write(o.grad, 0, sizeof grad, grad));
    PEER_OK(qemb_buffer_create(ctx, sizeof found, &rows));
    PEER_OK(qemb_buffer_create(ctx, sizeof grad, &values));
    PEER_OK(qemb_buffer_create(ctx, sizeof nnz, &count));
    PEER_OK(qemb_embedding_bag_backward(o.bag, o.batch, o.grad,
                                        &(qemb_gradients){.coo_indices = rows, .coo_values = values, .coo_count = count}));
    PEER_OK(qemb_buffer_read(rows, 0, sizeof found, found));
    PEER_OK(qemb_buffer_read(count, 0, sizeof nnz, &nnz));
    cr_assert(nnz == 1 && found[0] == 1, "padding has no entry");
    qemb_buffer_destroy(rows);
    qemb_buffer_destroy(values);
    qemb_buffer_destroy(count);
    peer_close(&o);
}

static void pd_3(qemb_context *ctx) {
    float row[3];
    peer_objects o;
    PEER_OK(peer_forward(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, .padding = 2, IDS(0), .columns = 1}, &o));
    PEER_OK(qemb_embedding_bag_read_weight(o.bag, 0, 1, 1, row));
    cr_assert_arr_eq(row, W[1], sizeof row);
    peer_close(&o);
}

static void pd_4(qemb_context *ctx) {
    static const int64_t bad[] = {5, -6, INT64_MAX, INT64_MIN};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        qemb_embedding_bag *bag = NULL;
        cr_assert_eq(qemb_embedding_bag_create(ctx,
                                               &(qemb_embedding_bag_desc){.num_embeddings = 5,
                                                                          .embedding_dim = 3,
                                                                          .has_padding_idx = true,
                                                                          .padding_idx = bad[k],
                                                                          .qconfig = qemb_qconfig_8bit()},
                                               &bag),
                     QEMB_ERR_RANGE);
    }
}

static void pd_5(qemb_context *ctx) {
    static const float psw[3] = {0.5f, 2.0f, -1.0f}, grad[3] = {1.0f, 0.5f, -2.0f};
    float got[3];
    qemb_buffer *out = NULL;
    peer_objects o;
    PEER_OK(peer_forward(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, IDS(0, 1, 4), .columns = 3, .weights = psw}, &o));
    PEER_OK(qemb_buffer_create(ctx, sizeof got, &out));
    PEER_OK(qemb_buffer_write(o.grad, 0, sizeof grad, grad));
    PEER_OK(qemb_embedding_bag_backward(o.bag, o.batch, o.grad, &(qemb_gradients){.per_sample_weights = out}));
    PEER_OK(qemb_buffer_read(out, 0, sizeof got, got));
    cr_assert(got[0] == -4.0f && got[1] == -5.5f && got[2] == 0.625f, "the weights' gradient alone: %g %g %g", (double)got[0],
              (double)got[1], (double)got[2]);
    qemb_buffer_destroy(out);
    peer_close(&o);
}

static void pd_6(qemb_context *ctx) {
    float dense[15];
    static const int64_t offsets[2] = {0, 3};
    peer_gradient(ctx, &(peer_case){TABLE, .mode = QEMB_MODE_SUM, .freq = true, IDS(1, 2, 1, 1, 0), .offsets = offsets, .num_offsets = 2},
                  NULL, dense);
    cr_assert(dense[0] == 1.0f && fabsf(dense[3] - 1.0f) <= 3 * 0x1p-24f && /* three thirds */ dense[6] == 1.0f,
              "counts over the whole batch: %g %g %g", (double)dense[0], (double)dense[3], (double)dense[6]);
}

static void pd_7(qemb_context *ctx) {
    float row[3], out[9];
    peer_objects o;
    PEER_OK(peer_forward(ctx, &(peer_case){TABLE, .unpooled = true, .max_norm = 1.0f, IDS(1, 1, 4)}, &o));
    PEER_OK(qemb_embedding_bag_read_weight(o.bag, 0, 1, 1, row));
    PEER_OK(qemb_buffer_read(o.out, 0, sizeof out, out));
    const double norm = sqrt((double)row[0] * (double)row[0] + (double)row[1] * (double)row[1] + (double)row[2] * (double)row[2]);
    /* squares, tree, root, quotient, product: 8 roundings; and the 1e-7 that torch adds to the norm */
    cr_assert(fabs(norm - 1.0) <= 8 * 0x1p-24 + 1e-7, "clipped once: %g", norm);
    cr_assert_arr_eq(out, row, sizeof row);
    cr_assert_arr_eq(out + 3, row, sizeof row);
    cr_assert(out[6] == 0.5f && out[7] == 0.25f);
    peer_close(&o);
}

static void pd_8(qemb_context *ctx) {
    static const float grad[3] = {1.0f, 2.0f, 3.0f};
    static const float mixed[3][3] = {{9, 1, 5}, {3, 8, 5}, {1, 2, 7}};
    float dense[9];
    peer_gradient(ctx, &(peer_case){.rows = 3, .dim = 3, .weight = &mixed[0][0], .mode = QEMB_MODE_MAX, IDS(0, 1, 2), .columns = 3}, grad,
                  dense);
    static const float want[9] = {1, 0, 0, 0, 2, 0, 0, 0, 3};
    cr_assert_arr_eq(dense, want, sizeof want);
}

static void pd_9(qemb_context *ctx) {
    static const float rows[3][2] = {{1, 5}, {NAN, 1}, {3, NAN}};
    static const int64_t orders[3][3] = {{0, 1, 2}, {1, 2, 0}, {2, 0, 1}};
    for (int k = 0; k < 3; k++) {
        float out[2];
        peer_outputs(
            ctx,
            &(peer_case){.rows = 3, .dim = 2, .weight = &rows[0][0], .mode = QEMB_MODE_MAX, .ids = orders[k], .num_ids = 3, .columns = 3},
            out, 2);
        cr_assert(isnan(out[0]) && isnan(out[1]), "NaN wins wherever it stands");
    }
}

/* ---- determinism ------------------------------------------------------------------------------------------------------------------------------ */

static void repeated(qemb_context *ctx, qemb_mode mode) {
    enum { ROWS = 37, DIM = 11, COUNT = 2003 };
    static float weight[ROWS * DIM], first[ROWS * DIM], again[ROWS * DIM], grad[COUNT * DIM];
    static int64_t ids[COUNT];
    const char *nightly = getenv("QEMB_NIGHTLY");
    unsigned seed = 5;
    for (int i = 0; i < COUNT * DIM; i++) {
        seed = seed * 1664525u + 1013904223u;
        grad[i] = (float)(seed >> 8) * 0x1p-20f - 5.0f;
        ids[i % COUNT] = (int64_t)(seed >> 8) % ROWS;
        weight[i % (ROWS * DIM)] = grad[i];
    }
    const peer_case c = {.rows = ROWS, .dim = DIM, .weight = weight, .mode = mode, .ids = ids, .num_ids = COUNT - 3, .columns = 4};
    peer_gradient(ctx, &c, grad, first);
    for (int k = nightly && strcmp(nightly, "1") == 0 ? 100 : 10; k > 0; k--) {
        peer_gradient(ctx, &c, grad, again);
        cr_assert_arr_eq(first, again, sizeof first);
    }
}

static void dt_1(qemb_context *ctx) {
    repeated(ctx, QEMB_MODE_MAX);
}

static void dt_2(qemb_context *ctx) {
    repeated(ctx, QEMB_MODE_SUM);
    repeated(ctx, QEMB_MODE_MEAN);
}

static void dt_4(qemb_context *ctx) {
    enum { ROWS = 7, DIM = 5 };
    static float weight[ROWS * DIM], dense[ROWS * DIM];
    static const int64_t ids[6] = {6, 0, 3, 3, 1, 6};
    for (int k = 0; k < 50; k++) {
        peer_gradient(
            ctx, &(peer_case){.rows = ROWS, .dim = DIM, .weight = weight, .mode = QEMB_MODE_SUM, .ids = ids, .num_ids = 6, .columns = 3},
            NULL, dense);
        for (int i = 0; i < ROWS * DIM; i++) {
            cr_assert(isfinite(dense[i]));
        }
    }
}

/* ---- reduced precision: packed tables whose output is rounded at the end ------------------------------------------------------------------ */

/* A bag of `count` lookups of a row of ones, in a type of 2 bytes; a guard lies behind the output. */
static uint16_t ones(qemb_context *ctx, int64_t count, qemb_dtype dtype) {
    enum { DIM = 5 };
    static const float weight[2 * DIM] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    int64_t *ids = calloc((size_t)count, sizeof *ids);
    uint16_t out[DIM + 64];
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    cr_assert_not_null(ids);
    memset(out, 0x5a, sizeof out);
    PEER_OK(qemb_embedding_bag_create(
        ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = 2, .embedding_dim = DIM, .weight = weight, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit()},
        &bag));
    PEER_OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.bits = 8}}, &packed));
    PEER_OK(qemb_batch_create(ctx, &batch));
    PEER_OK(qemb_buffer_create(ctx, sizeof out, &buffer));
    PEER_OK(qemb_buffer_write(buffer, 0, sizeof out, out));
    PEER_OK(qemb_packed_batch_set(packed, batch,
                                  &(qemb_input){.indices = ids, .num_indices = count, .indices_dtype = QEMB_INT64, .columns = count}));
    PEER_OK(qemb_packed_forward(packed, batch, buffer, dtype));
    PEER_OK(qemb_buffer_read(buffer, 0, sizeof out, out));
    for (int k = DIM; k < DIM + 64; k++) {
        cr_assert_eq(out[k], 0x5a5a, "written behind the output");
    }
    for (int k = 1; k < DIM; k++) {
        cr_assert_eq(out[k], out[0]);
    }
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
    free(ids);
    return out[0];
}

static void fp_1(qemb_context *ctx) {
    cr_assert_eq(ones(ctx, 4096, QEMB_FLOAT16), 0x6c00, "4096 ones are 4096 in half precision");
    cr_assert_eq(ones(ctx, 2049, QEMB_FLOAT16), 0x6800, "2049 rounds to 2048 at the end, and not before");
    cr_assert_eq(ones(ctx, 70000, QEMB_FLOAT16), 0x7c00, "70000 is infinite on the way out");
}

static void fp_2(qemb_context *ctx) {
    cr_assert_eq(ones(ctx, 257, QEMB_BFLOAT16), 0x4380, "257 rounds to 256");
    cr_assert_eq(ones(ctx, 2049, QEMB_BFLOAT16), 0x4500, "2049 rounds to 2048");
    cr_assert_eq(ones(ctx, 65537, QEMB_BFLOAT16), 0x4780, "65537 rounds to 65536");
}

static void fp_5(qemb_context *ctx) {
    static const float rows[2][2] = {{0, 1}, {-70000, 70000}};
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    PEER_OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = 2, .embedding_dim = 2, .weight = &rows[0][0], .qconfig = qemb_qconfig_4bit()},
        &bag));
    cr_assert_eq(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.bits = 4}}, &packed), QEMB_ERR_RANGE);
    cr_assert(strstr(qemb_last_error(), "row 1"), "%s", qemb_last_error());
    qemb_embedding_bag_destroy(bag);
}

/* ---- fake quantisation -------------------------------------------------------------------------------------------------------------------------- */

/* Fake-quantised rows under qparams that come from [low, high], not from the rows. */
static void frozen(qemb_context *ctx, const float *rows, int64_t count, int64_t dim, float low, float high, float *out) {
    qemb_embedding_bag *bag = NULL;
    qemb_buffer *buffer = NULL;
    float *lows = malloc((size_t)count * sizeof *lows), *highs = malloc((size_t)count * sizeof *highs);
    cr_assert(lows && highs);
    for (int64_t r = 0; r < count; r++) {
        lows[r] = low;
        highs[r] = high;
    }
    PEER_OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = count, .embedding_dim = dim, .weight = rows, .qconfig = qemb_qconfig_8bit()},
        &bag));
    PEER_OK(qemb_embedding_bag_write_observer(bag, 0, 0, count, lows, highs));
    PEER_OK(qemb_embedding_bag_set_observer(bag, 0, false));
    PEER_OK(qemb_buffer_create(ctx, (size_t)(count * dim) * sizeof *out, &buffer));
    PEER_OK(qemb_embedding_bag_fake_quantise(bag, 0, 0, count, buffer));
    PEER_OK(qemb_buffer_read(buffer, 0, (size_t)(count * dim) * sizeof *out, out));
    qemb_buffer_destroy(buffer);
    qemb_embedding_bag_destroy(bag);
    free(lows);
    free(highs);
}

/* Rows under their own qparams, as the next forward has them. */
static void observed(qemb_context *ctx, const float *rows, int64_t count, int64_t dim, float *out) {
    qemb_embedding_bag *bag = NULL;
    qemb_buffer *buffer = NULL;
    PEER_OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = count, .embedding_dim = dim, .weight = rows, .qconfig = qemb_qconfig_8bit()},
        &bag));
    PEER_OK(qemb_buffer_create(ctx, (size_t)(count * dim) * sizeof *out, &buffer));
    PEER_OK(qemb_embedding_bag_fake_quantise(bag, 0, 0, count, buffer));
    PEER_OK(qemb_buffer_read(buffer, 0, (size_t)(count * dim) * sizeof *out, out));
    qemb_buffer_destroy(buffer);
    qemb_embedding_bag_destroy(bag);
}

static void fq_1(qemb_context *ctx) {
    static const float rows[5] = {INFINITY, -INFINITY, 3.0f, 300.0f, -300.0f};
    float out[5];
    frozen(ctx, rows, 1, 5, 0.0f, 255.0f, out);
    cr_assert(out[0] == 255.0f && out[1] == 0.0f && out[2] == 3.0f && out[3] == 255.0f && out[4] == 0.0f,
              "each inf goes to the end of its sign");
}

static void fq_2(qemb_context *ctx) {
    static const float rows[3] = {NAN, 1.0f, 2.0f};
    float out[3];
    frozen(ctx, rows, 1, 3, 0.0f, 255.0f, out);
    cr_assert(isnan(out[0]) && out[1] == 1.0f && out[2] == 2.0f);
}

static void fq_3(qemb_context *ctx) {
    static const float rows[4] = {FLT_MAX, -FLT_MAX, 1e30f, 2e-5f};
    float out[4];
    frozen(ctx, rows, 1, 4, 0.0f, 255e-7f * 2, out); /* a scale of 2e-7 */
    cr_assert(out[0] > 5.0e-5f && out[0] < 5.2e-5f && out[1] == 0.0f && out[2] == out[0] && fabsf(out[3] - 2e-5f) < 2e-7f, /* a step */
              "clamped before the conversion");
}

/* x times 1/s and then one rounding: 757.5 / 15 is the tie 50.5 by division, and 51 by the float32 reciprocal. */
static void fq_4(qemb_context *ctx) {
    static const float rows[2] = {757.5f, 750.0f};
    float out[2];
    frozen(ctx, rows, 1, 2, 0.0f, 255.0f * 15.0f, out);
    cr_assert(out[0] == 15.0f * rintf(fmaf(757.5f, 1.0f / 15.0f, 0.0f)) && out[1] == 750.0f, "%g", (double)out[0]);
}

static void fq_5(qemb_context *ctx) {
    float rows[251], out[251];
    for (int k = 0; k < 251; k++) {
        rows[k] = (float)k + 0.5f;
    }
    frozen(ctx, rows, 1, 251, 0.0f, 255.0f, out);
    for (int k = 0; k < 251; k++) {
        cr_assert(out[k] == (float)(k % 2 ? k + 1 : k), "%d.5 becomes %g", k, (double)out[k]);
    }
}

static void fq_8(qemb_context *ctx) {
    static const float rows[3][3] = {{7, 7, 7}, {0, 0, 0}, {-3, -3, -3}};
    float out[9];
    observed(ctx, &rows[0][0], 3, 3, out);
    cr_assert(fabsf(out[0] - 7.0f) < 0.02f && out[3] == 0.0f && fabsf(out[6] + 3.0f) < 0.02f, "%g %g %g", (double)out[0], (double)out[3],
              (double)out[6]);
}

static void fq_9(qemb_context *ctx) {
    static const float rows[2][2] = {{1, INFINITY}, {1, 2}};
    float out[4];
    observed(ctx, &rows[0][0], 2, 2, out);
    cr_assert(isnan(out[0]) && isnan(out[1]) && fabsf(out[2] - 1.0f) < 0.01f && fabsf(out[3] - 2.0f) < 0.01f,
              "a row of NaN, and no other row");
}

/* A scale that is not above eps is 1: nothing is divided by it, nothing becomes NaN. */
static void fq_10(qemb_context *ctx) {
    for (int e = -149; e <= -40; e++) {
        const float rows[2] = {0.0f, ldexpf(1.0f, e)};
        float out[2];
        observed(ctx, rows, 1, 2, out);
        cr_assert(out[0] == 0.0f && out[1] == 0.0f, "2^%d becomes %g", e, (double)out[1]);
    }
}

static void fq_12(qemb_context *ctx) {
    qemb_embedding_bag *bag = NULL;
    static const qemb_dtype types[] = {QEMB_FLOAT16, QEMB_BFLOAT16, QEMB_FLOAT64, QEMB_INT32, QEMB_INT64};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        cr_assert_eq(
            qemb_embedding_bag_create(
                ctx, &(qemb_embedding_bag_desc){.num_embeddings = 2, .embedding_dim = 2, .dtype = types[k], .qconfig = qemb_qconfig_8bit()},
                &bag),
            QEMB_ERR_UNSUPPORTED);
    }
}

/* Every column of every width, whether in a block of a vector or behind the last one. */
static void fq_15(qemb_context *ctx) {
    for (int dim = 1; dim <= 37; dim += 4) {
        float rows[37], out[37];
        for (int c = 0; c < dim; c++) {
            rows[c] = (float)c * 6.7f + 0.49999f;
        }
        frozen(ctx, rows, 1, dim, 0.0f, 255.0f, out);
        for (int c = 0; c < dim; c++) {
            cr_assert(out[c] == rintf(rows[c]), "column %d of %d: %g becomes %g", c, dim, (double)rows[c], (double)out[c]);
        }
    }
}

const peer_bug peer_numbers[] = {
    {"PD-1", "26302, 28716: more than 768 ids with padding", pd_1, NULL, NULL},
    {"PD-2", "3506: a sparse gradient of padding", pd_2, NULL, NULL},
    {"PD-3", "53368: a given padding row becomes zero", pd_3, NULL, NULL},
    {"PD-4", "93950: a padding index beyond the table", pd_4, NULL, NULL},
    {"PD-5", "136457: only the weights' gradient is wanted", pd_5, NULL, NULL},
    {"PD-6", "190063: scale_grad_by_freq divides by another count", pd_6, NULL, NULL},
    {"PD-7", "943, 7947: max_norm with duplicates", pd_7, NULL, NULL},
    {"PD-8", "FlagGems 5220: max has the gradient of mean", pd_8, NULL, NULL},
    {"PD-9", "7645, tvm 19518: NaN is lost inside max", pd_9, NULL, NULL},
    {"DT-1", "PR 55574: other bits each run with max", dt_1, NULL, NULL},
    {"DT-2", "101890: a nondeterministic backward", dt_2, NULL, NULL},
    {"DT-3", "PR 187687: a barrier is missing", NULL, "tests/lanes/oclgrind.sh", "--data-races"},
    {"DT-4", "mxnet 11314: gradients that are NaN now and then", dt_4, NULL, NULL},
    {"FP-1", "mxnet 17703: sums in half precision", fp_1, NULL, NULL},
    {"FP-2", "tt-metal 36341: bfloat16 stalls at 256", fp_2, NULL, NULL},
    {"FP-3", "mlx PR 3909: the order of a half precision sum", fp_1, NULL, NULL},
    {"FP-4", "FBGEMM PR 5622: written behind a half precision output", fp_1, NULL, NULL},
    {"FP-5", "vllm PR 55532: a bias that half precision cannot hold", fp_5, NULL, NULL},
    {"FQ-1", "154328: +inf becomes the lowest code", fq_1, NULL, NULL},
    {"FQ-2", "153341: NaN differs between engines", fq_2, NULL, NULL},
    {"FQ-3", "195343: large x over a small scale", fq_3, NULL, NULL},
    {"FQ-4", "139464: 757.5 / 15", fq_4, NULL, NULL},
    {"FQ-5", "torch-xpu-ops 5231: exact ties", fq_5, NULL, NULL},
    {"FQ-6", "tt-metal 56525: half-way values", fq_5, NULL, NULL},
    {"FQ-7", "PR 113861: the peer's rounding may change", NULL, "tests/tests.cmake", "qemb-replay --device opencl"},
    {"FQ-8", "36888: min equals max", fq_8, NULL, NULL},
    {"FQ-9", "100051: inf reaches an observer", fq_9, NULL, NULL},
    {"FQ-10", "FBGEMM PR 107: a scale whose inverse is infinite", fq_10, NULL, NULL},
    {"FQ-11", "mlx PR 1028: rows of zeros and subnormals", fq_10, NULL, NULL},
    {"FQ-12", "120903: a float64 scale", fq_12, NULL, NULL},
    {"FQ-14", "XNNPACK 5935: odd widths of packed rows", NULL, "tests/test_row_pack.c",
     "the_cpu_family_packs_random_and_hostile_rows_as_the_reference"},
    {"FQ-15", "PR 37188: the tail of a vector rounds in another way", fq_15, NULL, NULL},
};
const int peer_numbers_count = sizeof peer_numbers / sizeof *peer_numbers;
