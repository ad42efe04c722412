/* fuzz_quantise.c - any floats as rows of a table, any qconfig: the fake-quantised rows of the reference engine against the formulas of
 * qemb.h written here once more, in the same roundings; and packing: codes stay in range, unpacked values are near, packing is a fixed point. */
#include <math.h>

#include "fuzz.h"

enum { ROWS = 3, MOST_DIM = 19 };

/* Whether two neighbours are both right: the value lies in their middle but for what two floats cannot hold (2^-48 of it). */
static bool in_the_middle(float a, float b, double value) {
    return isfinite(a) && isfinite(b) && nextafterf(a, b) == b && fabs(value - ((double)a + (double)b) / 2) <= fabs(value) * 0x1p-48;
}

/* One row under torch_cpu or torch_cuda with the memoryless observer. */
static void expected_row(const float *w, int dim, const qemb_qconfig *q, const float *got, float *out) {
    float lo = INFINITY, hi = -INFINITY, range = (float)(q->quant_max - q->quant_min), eps = q->eps > 0 ? q->eps : 0x1p-23f;
    bool finite = true;
    for (int c = 0; c < dim; c++) {
        finite = finite && isfinite(w[c]);
        lo = w[c] < lo ? w[c] : lo;
        hi = w[c] > hi ? w[c] : hi;
    }
    lo += 0.0f;
    hi += 0.0f;
    volatile float width = hi - lo;
    volatile float inverse_range = 1.0f / range;
    volatile float scale = q->arithmetic == QEMB_ARITHMETIC_TORCH_CUDA ? width * inverse_range : width / range;
    scale = scale > eps ? scale : 1.0f;
    volatile float zero = -lo / scale;
    volatile float inverse = 1.0f / scale;
    for (int c = 0; c < dim; c++) {
        float code = rintf(fmaf(w[c], inverse, zero)) + 0.0f; /* a code is an integer: it has no -0 */
        code = code < (float)q->quant_min ? (float)q->quant_min : code > (float)q->quant_max ? (float)q->quant_max : code;
        volatile float single = code - zero;
        single = single * scale;
        double wide = ((double)code - (double)zero) * (double)scale;
        out[c] = !finite ? NAN : q->arithmetic == QEMB_ARITHMETIC_TORCH_CUDA ? single : (float)wide;
        if (q->arithmetic == QEMB_ARITHMETIC_TORCH_CPU && in_the_middle(got[c], out[c], wide)) {
            out[c] = got[c];
        }
    }
}

static void check_packing(qemb_embedding_bag *bag, const float *weight, int dim, fuzz_stream *s) {
    static const int widths[] = {8, 4, 2};
    const qemb_packed_desc desc = {.format = {.layout = (qemb_layout)fuzz_below(s, 4), .bits = widths[fuzz_below(s, 3)]},
                                   .flags = fuzz_byte(s) & 1};
    qemb_packed *packed = NULL, *again = NULL;
    qemb_status st = qemb_packed_create(bag, &desc, &packed);
    if (st != QEMB_OK) {
        PROMISE(st == QEMB_ERR_NONFINITE || st == QEMB_ERR_RANGE);
        PROMISE(qemb_last_error()[0] != '\0' && packed == NULL);
        return;
    }
    float values[ROWS * MOST_DIM];
    uint8_t rows[ROWS * 64], rows_again[ROWS * 64];
    int64_t row_bytes = 0, qparams_bytes = 0;
    PROMISE(qemb_packed_row_bytes(&desc.format, dim, &row_bytes, &qparams_bytes) == QEMB_OK && row_bytes <= 64);
    PROMISE(qemb_packed_unpack(packed, 0, 0, ROWS, values) == QEMB_OK);
    if (desc.format.layout != QEMB_LAYOUT_PLANAR) {
        /* the same format again keeps every byte */
        PROMISE(qemb_packed_read_rows(packed, 0, 0, ROWS, rows, NULL) == QEMB_OK);
        st = qemb_packed_convert(packed, &desc.format, desc.flags, &again);
        PROMISE(st == QEMB_OK && qemb_packed_read_rows(again, 0, 0, ROWS, rows_again, NULL) == QEMB_OK);
        PROMISE(memcmp(rows, rows_again, (size_t)(row_bytes * ROWS)) == 0);
    } else {
        for (int r = 0; r < ROWS; r++) {
            float lo = INFINITY, hi = -INFINITY;
            for (int c = 0; c < dim; c++) {
                lo = fminf(lo, weight[r * dim + c]);
                hi = fmaxf(hi, weight[r * dim + c]);
            }
            if (isinf(hi - lo)) {
                continue; /* AS_PEER takes such a row, and makes it one of NaN as the peer does */
            }
            double step = ((double)hi - (double)lo) / ((1 << desc.format.bits) - 1), size = fmax(fabs((double)lo), fabs((double)hi));
            for (int c = 0; c < dim && step < 1e37 && step > 1e-30; c++) {
                PROMISE(fabs((double)values[r * dim + c] - (double)weight[r * dim + c]) <= step * 0.5001 + size * 0x1p-20);
            }
        }
    }
    qemb_packed_destroy(again);
    qemb_packed_destroy(packed);
}

int fuzz_quantise(const uint8_t *bytes, size_t count) {
    static qemb_context *ctx;
    fuzz_stream s = {bytes, count};
    PROMISE(ctx || qemb_context_create("reference", &ctx) == QEMB_OK);
    int dim = 1 + fuzz_below(&s, MOST_DIM), bits = 1 + fuzz_below(&s, 8), below = fuzz_byte(&s) & 1 ? 1 << (bits - 1) : 0;
    const qemb_qconfig q = {.quant_min = -below,
                            .quant_max = (1 << bits) - 1 - below,
                            .observer = QEMB_OBSERVER_MEMORYLESS,
                            .arithmetic = (qemb_arithmetic)fuzz_below(&s, 2),
                            .eps = fuzz_byte(&s) & 1 ? 0.0f : 0.125f};
    float weight[ROWS * MOST_DIM], got[ROWS * MOST_DIM], want[ROWS * MOST_DIM];
    qemb_embedding_bag *bag = NULL;
    qemb_buffer *out = NULL;
    size_t size = (size_t)(ROWS * dim) * sizeof *got;
    for (int i = 0; i < ROWS * MOST_DIM; i++) {
        uint8_t kind = fuzz_byte(&s);
        weight[i] = kind < 192 ? fuzz_float(&s) : fuzz_any_float(&s);
    }
    const qemb_embedding_bag_desc desc = {.num_embeddings = ROWS, .embedding_dim = dim, .qconfig = q, .weight = weight};
    PROMISE(qemb_embedding_bag_create(ctx, &desc, &bag) == QEMB_OK && qemb_buffer_create(ctx, size, &out) == QEMB_OK);
    PROMISE(qemb_embedding_bag_fake_quantise(bag, 0, 0, ROWS, out) == QEMB_OK && qemb_buffer_read(out, 0, size, got) == QEMB_OK);
    for (int r = 0; r < ROWS; r++) {
        expected_row(weight + r * dim, dim, &q, got + r * dim, want + r * dim);
    }
    PROMISE(fuzz_same(got, want, (size_t)(ROWS * dim)));
    check_packing(bag, weight, dim, &s);
    qemb_buffer_destroy(out);
    qemb_embedding_bag_destroy(bag);
    return 0;
}
