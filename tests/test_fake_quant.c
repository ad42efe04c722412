/* test_fake_quant.c - the arithmetic of one row: golden vectors of PyTorch 1.13.1, and every engine against double and float32 models
 * written apart from the engines. */
#include <criterion/criterion.h>

#include <math.h>

#include "support_bag.h"
#include "support_ok.h"

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Looks up every row of `weights` once; values[rows][dim] and observer[4][rows]. */
static void look_up_all(const bag_engine *engine, const qemb_embedding_desc *desc, float *values, float *observer) {
    qemb_context *ctx = bag_context(engine);
    qemb_embedding *embedding = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    const int64_t rows = desc->num_embeddings;
    int64_t *ids = malloc((size_t)rows * sizeof *ids);
    const size_t bytes = (size_t)(rows * desc->embedding_dim) * sizeof(float);
    cr_assert_not_null(ids);
    for (int64_t r = 0; r < rows; r++) {
        ids[r] = r;
    }
    OK(qemb_embedding_create(ctx, desc, &embedding));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, bytes, &out));
    OK(qemb_batch_set(batch, qemb_embedding_as_bag(embedding),
                      &(qemb_input){.indices = ids, .num_indices = rows, .indices_dtype = QEMB_INT64}));
    OK(qemb_embedding_forward(embedding, batch, out));
    OK(qemb_buffer_read(out, 0, bytes, values));
    OK(qemb_embedding_bag_read_observer(qemb_embedding_as_bag(embedding), 0, 0, rows,
                                        &(qemb_observer_rows){observer, observer + rows, observer + 2 * rows, observer + 3 * rows}));
    free(ids);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_destroy(embedding);
    qemb_context_destroy(ctx);
}

/* ---- golden vectors: PyTorch 1.13.1 CPU, float32 bits, four rows of four ---------------------------------------------------------- */

static const uint32_t golden_weight[16] = {0xbf901a37, 0xbf9381d8, 0xbe804ea5, 0xbede2824, 0x3f194af5, 0xbfc70d84, 0xbeaecbfb, 0x3fed2f1b,
                                           0x41200000, 0x41280000, 0x41240000, 0x41300000, 0x00000000, 0x3727c5ac, 0x37a7c5ac, 0x37fba882};
static const struct {
    int32_t quant_max;
    uint32_t scale[4], zero_point[4], value[16];
} golden[2] = {
    {255,
     {0x3b67c422, 0x3c5af949, 0x3b808081, 0x3f800000},
     {0x43a2ee49, 0x42e8b5e9, 0xc51f5fff, 0x80000000},
     {0xbf8fe2c7, 0xbf9381d8, 0xbe804ea4, 0xbede7652, 0x3f18c014, 0xbfc70d84, 0xbead8127, 0x3fed2f1c, 0x41200000, 0x41280808, 0x41240404,
      0x41300000, 0, 0, 0, 0}},
    {15,
     {0x3d764064, 0x3e68a8de, 0x3d888889, 0x360637bd},
     {0x419958bd, 0x40db0590, 0xc315ffff, 0x80000000},
     {0xbf9381d8, 0xbf9381d8, 0xbe804ea3, 0xbedca6c9, 0x3efac1d7, 0xbfc70d84, 0xbed68fe5, 0x3fed2f1c, 0x411fffff, 0x41288888, 0x41244444,
      0x41300000, 0x00000000, 0x3727c5ac, 0x37a7c5ac, 0x37fba882}},
};

Test(fake_quant, golden_vectors, .description = "fake_quant: PyTorch's golden rows at 8 and 4 bits, its bits on every engine") {
    float weight[16];
    for (int i = 0; i < 16; i++) {
        weight[i] = from_bits(golden_weight[i]);
    }
    for (int e = 0; e < BAG_FAMILIES; e++) {
        for (int g = 0; g < 2; g++) {
            float values[16];
            float observer[16];
            look_up_all(&bag_families[e],
                        &(qemb_embedding_desc){
                            .num_embeddings = 4, .embedding_dim = 4, .qconfig = {.quant_max = golden[g].quant_max}, .weight = weight},
                        values, observer);
            for (int i = 0; i < 16; i++) {
                cr_assert(values[i] == from_bits(golden[g].value[i]), "%s, %d bits, element %d: %a", bag_families[e].label, g ? 4 : 8, i,
                          (double)values[i]);
            }
            for (int r = 0; r < 4; r++) {
                cr_assert(bag_same_bits(observer[8 + r], from_bits(golden[g].scale[r])), "scale %d: %a", r, (double)observer[8 + r]);
                cr_assert(bag_same_bits(observer[12 + r], from_bits(golden[g].zero_point[r])), "zero point %d: %a", r,
                          (double)observer[12 + r]);
            }
        }
    }
}

Test(fake_quant, near_a_tie,
     .description = "fake_quant: a value that only its tiny zero point takes off the middle of two floats, PyTorch's bits") {
    const float low = -0x1.bfbfcp+64f, high = 0x1.f0f0fp+113f, weight[4] = {low, high, low, high};
    for (int e = 0; e < BAG_FAMILIES; e++) {
        float values[4];
        float observer[4];
        look_up_all(&bag_families[e],
                    &(qemb_embedding_desc){.num_embeddings = 1, .embedding_dim = 4, .qconfig = {.quant_max = 15}, .weight = weight}, values,
                    observer);
        for (int i = 0; i < 4; i++) {
            cr_assert(values[i] == (i % 2 ? 0x1.f0f0eep+113f : low), "%s, element %d: %a", bag_families[e].label, i, (double)values[i]);
        }
    }
}

/* ---- many rows against the model ---------------------------------------------------------------------------------------------------- */

Test(fake_quant, many_values,
     .description = "fake_quant: a hundred thousand values of every size, the bits of double (torch_cpu) and float32 (torch_cuda)") {
    static const int64_t ranges[][2] = {{0, 255}, {0, 15}, {0, 3}, {-128, 127}, {-8, 7}, {0, 1}};
    for (int k = 0; k < 12; k++) {
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        op.mode = OP_MODE_NONE;
        op.E = 211;
        op.D = 47;
        op.B = 1;
        op.L = 400;
        op.arithmetic = k % 2 ? QEMB_ARITHMETIC_TORCH_CUDA : QEMB_ARITHMETIC_TORCH_CPU;
        op.qmin = ranges[k / 2][0];
        op.qmax = ranges[k / 2][1];
        op.kind = 1;
        op.seed = 900 + k;
        bag_check(&op, 1 << BAG_PTHREAD | 1 << BAG_GPU, 0.0);
    }
}

/* ---- rules for what is not a number, and for values outside the range ------------------------------------------------------------------
 */

Test(fake_quant, outside_the_range,
     .description = "fake_quant: qparams of another range, values clip to its ends, ties go to even, NaN stays, infinities to their end") {
    static const float row[] = {0.5f,   1.5f,   2.5f,  254.5f, 255.49f,  255.5f,    1e9f, -0.5f,
                                -0.51f, -3e38f, 3e38f, NAN,    INFINITY, -INFINITY, 7.0f};
    static const float want[] = {0.0f, 2.0f, 2.0f, 254.0f, 255.0f, 255.0f, 255.0f, 0.0f, 0.0f, 0.0f, 255.0f, NAN, 255.0f, 0.0f, 7.0f};
    enum { DIM = sizeof row / sizeof *row };
    static const float low = 0.0f;
    static const float high = 255.0f;
    static const int32_t id = 0;
    for (int e = 0; e < BAG_FAMILIES * 2; e++) {
        qemb_context *ctx = bag_context(&bag_families[e / 2]);
        qemb_embedding *embedding = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        float got[DIM];
        OK(qemb_embedding_create(
            ctx,
            &(qemb_embedding_desc){.num_embeddings = 1,
                                   .embedding_dim = DIM,
                                   .weight = row,
                                   .qconfig = {.quant_max = 255, .observer_off = true, .arithmetic = (qemb_arithmetic)(e % 2)}},
            &embedding));
        OK(qemb_embedding_bag_write_observer(qemb_embedding_as_bag(embedding), 0, 0, 1, &low, &high));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, sizeof got, &out));
        OK(qemb_batch_set(batch, qemb_embedding_as_bag(embedding),
                          &(qemb_input){.indices = &id, .num_indices = 1, .indices_dtype = QEMB_INT32}));
        OK(qemb_embedding_forward(embedding, batch, out));
        OK(qemb_buffer_read(out, 0, sizeof got, got));
        for (int c = 0; c < DIM; c++) {
            cr_assert(got[c] == want[c] || (isnan(got[c]) && isnan(want[c])), "%s: %g gives %g, want %g", bag_families[e / 2].label,
                      (double)row[c], (double)got[c], (double)want[c]);
        }
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_destroy(embedding);
        qemb_context_destroy(ctx);
    }
}

Test(fake_quant, observed_nan,
     .description = "fake_quant: a row that holds NaN or infinity when observed is a row of NaN and is counted; others are not touched") {
    static const float rows[4][3] = {{1.0f, NAN, 2.0f}, {INFINITY, 1.0f, 2.0f}, {0.0f, -INFINITY, 5.0f}, {0.0f, 1.0f, 255.0f}};
    for (int e = 0; e < BAG_FAMILIES; e++) {
        float values[12];
        float observer[16];
        look_up_all(&bag_families[e],
                    &(qemb_embedding_desc){.num_embeddings = 4, .embedding_dim = 3, .qconfig = qemb_qconfig_8bit(), .weight = &rows[0][0]},
                    values, observer);
        for (int i = 0; i < 9; i++) {
            cr_assert(isnan(values[i]), "%s: element %d is %g", bag_families[e].label, i, (double)values[i]);
        }
        for (int i = 0; i < 3; i++) {
            cr_assert_float_eq(values[9 + i], rows[3][i], 0.0);
            cr_assert(isnan(observer[i]) && isnan(observer[4 + i]));
        }
    }
}
