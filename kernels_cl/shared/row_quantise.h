/* row_quantise.h - packing one row: its qparams by any method, its codes; and its qparams read back.
 *
 * C11 and OpenCL C, after fake_quant.h. Rules: aten/src/ATen/native/quantized (qembeddingbag_prepack.cpp, AffineQuantizerBase.cpp,
 * QTensor.cpp choose_qparams_optimized), FBGEMM QuantUtils.cc. */
#ifndef Q_ROW_QUANTISE_H
#define Q_ROW_QUANTISE_H

typedef struct q_packing {
    q_qparams codes; /* what codes are taken with */
    float scale, bias; /* as stored */
    float qmax;
    q_i32 torch; /* code = rint(x / s + z), two roundings, as quantize_per_channel; else rint((x - bias) * inverse) */
} q_packing;

/* How a row whose range by the method is (min, max) becomes a row of `target`. Under torch arithmetic the observer's range is converted as
 * nnq.EmbeddingBag.from_float does: float zero point, bias = -(z * s). */
static inline q_packing q_packing_of(const Q_TABLE_SPACE q_table *source, const Q_TABLE_SPACE q_table *target, const q_i32 method,
                                     const float min_val, const float max_val) {
    q_packing k;
    k.qmax = (float)((1 << target->bits) - 1);
    k.torch = method == Q_PACK_OBSERVER && source->arithmetic != Q_PACKED;
    if (k.torch) {
        const q_i32 number = q_number(target->layout, target->bits, target->qparams);
        k.codes = q_qparams_torch(min_val, max_val, source->range, source->inverse_range, source->eps, source->arithmetic);
        k.qmax = source->qmax < k.qmax ? source->qmax : k.qmax;
        const float product = k.codes.zero * k.codes.scale;
        k.scale = q_round_number(k.codes.scale, number);
        k.bias = q_round_number(-product, number);
    } else {
        k.codes = q_qparams_packed(target, min_val, max_val);
        k.scale = k.codes.scale;
        k.bias = k.codes.zero;
    }
    return k;
}

static inline q_i32 q_packing_finite(const q_packing k) {
    return Q_ABS(k.scale) <= 3.4028234e38f && Q_ABS(k.bias) <= 3.4028234e38f;
}

/* Codes of elements as whole numbers; NaN, which only infinite qparams give, becomes 0 as in FBGEMM. */
static inline QV q_packing_code(const QV x, const q_packing k) {
    if (k.torch) {
        const QV product = x * Q_SPLAT(k.codes.inverse);
        const QV t = product + Q_SPLAT(k.codes.zero);
        return q_clamp(q_raw_code(t, 0.0f, k.qmax), 0.0f, k.qmax);
    }
    const QV q = q_packed_code(x, k.codes, 0.0f, k.qmax);
    return q >= Q_SPLAT(0.0f) ? q : Q_SPLAT(0.0f);
}

/* ---- qparams of packed rows ------------------------------------------------------------------------------------------ */

/* Scale and bias (in .zero) at `p`, the place of a row's qparams: numbers of one kind; `half_range` is 2^(bits - 1) of symmetric rows, else 0. */
static inline q_qparams q_load_qparams_as(const q_i32 number, const q_i32 half_range, const Q_TABLE_SPACE q_u8 *p) {
    q_qparams q;
    q.exact = 0;
    q.inverse = 0.0f; /* codes are there */
    q.scale = q_load_number(p, number);
    q.zero = half_range ? -(q.scale * (float)half_range) : q_load_number(p + (number == Q_NUMBER_FP32 ? 4 : 2), number);
    return q;
}

static inline q_qparams q_load_qparams(const Q_TABLE_SPACE q_table *t, const Q_TABLE_SPACE q_u8 *p) {
    return q_load_qparams_as(q_number(t->layout, t->bits, t->qparams), t->qparams & Q_SYMMETRIC ? 1 << (t->bits - 1) : 0, p);
}

static inline void q_store_qparams(const Q_TABLE_SPACE q_table *t, Q_TABLE_SPACE q_u8 *p, const float scale, const float bias) {
    const q_i32 number = q_number(t->layout, t->bits, t->qparams);
    q_store_number(p, scale, number);
    if (!(t->qparams & Q_SYMMETRIC)) {
        q_store_number(p + (number == Q_NUMBER_FP32 ? 4 : 2), bias, number);
    }
}

/* Whether the codes of a row of one format mean the same values in another: same width, and scale and bias survive its rounding. */
static inline q_i32 q_same_values(const Q_TABLE_SPACE q_table *from, const Q_TABLE_SPACE q_table *to, const q_qparams q) {
    const q_i32 number = q_number(to->layout, to->bits, to->qparams);
    const float bias = to->qparams & Q_SYMMETRIC ? -(q.scale * (float)(1 << (to->bits - 1))) : q_round_number(q.zero, number);
    return from->bits == to->bits && q_round_number(q.scale, number) == q.scale && bias == q.zero;
}

/* ---- greedy range search ---------------------------------------------------------------------------------------------- */

static inline float q_greedy_loss(const Q_TABLE_SPACE float *w, const q_i32 dim, const float levels, const float min_val, const float max_val) {
    const float a = q_half_value(q_half_bits(min_val));
    const float width = max_val - a;
    const float scale = width == 0.0f ? 1.0f : q_half_value(q_half_bits(Q_DIV(width, levels)));
    const float inverse = scale == 0.0f ? 1.0f : Q_DIV(1.0f, scale);
    float sum = 0.0f;
    for (q_i32 c = 0; c < dim; c++) {
        const float t = (w[c] - a) * inverse;
        const float low = t < -1.0f ? -1.0f : t;
        const float held = low > levels + 1.0f ? levels + 1.0f : low;
        const float rounded = (held + Q_ROUNDER) - Q_ROUNDER;
        const float q = rounded < 0.0f ? 0.0f : rounded > levels ? levels : rounded;
        const float product = q * scale;
        const float value = product + a;
        const float error = w[c] - value;
        const float square = error * error;
        sum = sum + square;
    }
    return Q_SQRT(sum);
}

/* choose_qparams_optimized with its defaults (200 bins, ratio 0.16): narrows the range from either end while the loss may fall. */
static inline void q_greedy_range(const Q_TABLE_SPACE float *w, const q_i32 dim, const q_i32 bits, float *min_val, float *max_val) {
    const float levels = (float)((1 << bits) - 1);
    const float step = Q_DIV(*max_val - *min_val, 200.0f);
    const float bins = 200.0f * (1.0f - 0.16f);
    const float threshold = bins * step;
    float low = *min_val;
    float high = *max_val;
    float loss = q_greedy_loss(w, dim, levels, low, high);
    float best = loss;
    while (low + threshold < high) {
        const float left = q_greedy_loss(w, dim, levels, low + step, high);
        const float right = q_greedy_loss(w, dim, levels, low, high - step);
        if (loss < left && loss < right && loss < best) {
            *min_val = low;
            *max_val = high;
            best = loss;
        }
        if (left < right) {
            low = low + step;
            loss = left;
        } else {
            high = high - step;
            loss = right;
        }
    }
}

#endif
