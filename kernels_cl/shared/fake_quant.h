/* fake_quant.h - the arithmetic of a fake-quantised row, written once for every engine and kernel family.
 *
 * C11 and OpenCL C. The includer defines QV, the type that holds elements: float in C, float4 or float16 in kernels. One rounding
 * for each written operation, Q_FMA where the contract has a fused one; nothing may be contracted or reordered.
 *
 * Rules: torch/ao/quantization/observer.py (qparams), aten/.../QuantizedOpKernels.cpp (torch_cpu), FakeQuantizeCore.cu (torch_cuda). */
#ifndef Q_FAKE_QUANT_H
#define Q_FAKE_QUANT_H

#ifndef QV
#error "QV, the type that holds elements, is defined by the includer"
#endif

#ifdef __OPENCL_VERSION__
#define Q_FMA(a, b, c) fma((a), (b), (c))
#define Q_ABS(x)       fabs(x)
#else
#include <math.h>
#define Q_FMA(a, b, c) fmaf((a), (b), (c))
#define Q_ABS(x)       fabsf(x)
#endif
#define Q_SPLAT(s) ((QV)(s))

/* Division and square root correctly rounded: the operators where the device has them so (probed), else integer arithmetic. */
#ifdef Q_SOFT_DIVISION
#define Q_DIV(a, b) q_div_soft((a), (b))
#define Q_SQRT(a)   q_sqrt_soft(a)
#else
#define Q_DIV(a, b) ((a) / (b))
#ifdef __OPENCL_VERSION__
#define Q_SQRT(a) sqrt(a)
#else
#define Q_SQRT(a) sqrtf(a)
#endif
#endif

/* How elements of one row become codes and values. For torch arithmetics zero is the zero point z; for packed it is the bias. */
typedef struct q_qparams {
    float scale, zero;
    float inverse; /* of the scale: what elements are multiplied by */
    q_i32 exact;   /* no element can leave the code range and |z| < 2^20: the short forms below give the same bits */
} q_qparams;

/* ---- observers ---------------------------------------------------------------------------------------------------- */

/* One observation of a row whose current range is (lo, hi), of float or float4. repaired, 0 before, says that rounding gave min > max and both
 * were set to the row's. */
#define Q_OBSERVE(observer, averaging, lo, hi, min_val, max_val, repaired)               \
    do {                                                                                 \
        if ((observer) == Q_MIN_MAX) {                                                   \
            min_val = (((lo) < min_val) | ((lo) != (lo))) ? (lo) : min_val;              \
            max_val = (((hi) > max_val) | ((hi) != (hi))) ? (hi) : max_val;              \
        } else {                                                                         \
            min_val = min_val + (averaging) * ((lo)-min_val);                            \
            max_val = max_val + (averaging) * ((hi)-max_val);                            \
            repaired = min_val > max_val;                                                \
            min_val = repaired ? (lo) : min_val;                                         \
            max_val = repaired ? (hi) : max_val;                                         \
        }                                                                                \
    } while (0)

/* The state of a row after `count` observations, given the stored state and the row's current range (lo, hi): every observation that
 * the stored state misses saw the row as it is now, because whatever changes a row stores its state first. Stops at the fixed point:
 * at most two applications for constant 1 and for min_max. A memoryless state is a snapshot of the last observation. Returns how often
 * rounding had to be repaired. */
static inline q_i32 q_catch_up(const q_i32 observer, const float averaging, const float lo, const float hi, const q_i64 count, q_state *state) {
    q_i64 missed = count - state->count;
    q_i32 repaired = 0;
    if (missed > 0 && (state->count == 0 || observer == Q_MEMORYLESS)) {
        state->min_val = lo;
        state->max_val = hi;
        missed = observer == Q_MEMORYLESS ? 0 : missed - 1;
    }
    for (; missed > 0; missed--) {
        const float old_min = state->min_val;
        const float old_max = state->max_val;
        q_i32 turned = 0;
        Q_OBSERVE(observer, averaging, lo, hi, state->min_val, state->max_val, turned);
        repaired += turned;
        if ((state->min_val == old_min && state->max_val == old_max) || state->min_val != state->min_val) {
            break;
        }
    }
    state->count = count > state->count ? count : state->count;
    return repaired;
}

/* ---- qparams ------------------------------------------------------------------------------------------------------ */

/* s = (max - min) / Q, 1 where that is not above eps; z = -min / s; inverse = 1 / s. S is float, or float4 for four rows at once. A NaN
 * range gives s = 1, z = NaN: a row of NaN. */
#define Q_QPARAMS(S, min_val, max_val, range, inverse_range, eps, arithmetic, scale, zero, inverse)                        \
    do {                                                                                                                   \
        const S width_ = (max_val) - (min_val);                                                                            \
        const S s0_ = (arithmetic) == Q_TORCH_CUDA ? width_ * (S)(inverse_range) : Q_DIV(width_, (S)(range));              \
        scale = s0_ > (S)(eps) ? s0_ : (S)(1.0f);                                                                          \
        zero = Q_DIV(-(min_val), scale);                                                                                   \
        inverse = Q_DIV((S)(1.0f), scale);                                                                                 \
    } while (0)

static inline q_qparams q_qparams_torch(const float min_val, const float max_val, const float range, const float inverse_range, const float eps,
                                        const q_i32 arithmetic) {
    q_qparams p;
    Q_QPARAMS(float, min_val, max_val, range, inverse_range, eps, arithmetic, p.scale, p.zero, p.inverse);
    p.exact = 0;
    return p;
}

/* The smallest power of two that is at least |x|, with x's sign; 2^-126 at the least. */
static inline float q_power_of_two(const float x) {
    const q_u32 u = q_bits(x);
    return x == 0.0f || x != x ? x : q_from_bits((u & 0x80000000u) | (((u & 0x7fffffffu) + 0x7fffffu) & 0x7f800000u));
}

/* Scale, bias and code inverse as the packer of a layout makes them from a row's range, scale and bias as the layout stores them. PyTorch's
 * 8-bit rows have a rule of their own (the 1e-8, scale 0 for a constant row); all others take codes with the stored numbers. A bias that
 * rounds above the only value of a constant row gives a negative scale, as it does in FBGEMM; codes and values come out right. */
static inline q_qparams q_qparams_packed(const Q_TABLE_SPACE q_table *t, const float min_val, const float max_val) {
    q_qparams p;
    p.exact = 0;
    if (t->layout == Q_TORCH_ROWWISE && t->bits == 8) {
        const float range = max_val - min_val;
        p.scale = Q_DIV(range, 255.0f);
        p.zero = min_val;
        p.inverse = Q_DIV(255.0f, range + 1e-8f);
        return p;
    }
    const q_i32 number = q_number(t->layout, t->bits, t->qparams);
    const float middle = (float)(1 << (t->bits - 1));
    const float bias = q_round_number(min_val, number);
    const float largest = max_val > -min_val ? max_val : -min_val;
    const float range = t->qparams & Q_SYMMETRIC ? largest : max_val - bias;
    const float steps = t->qparams & Q_SYMMETRIC ? middle - 1.0f : 2.0f * middle - 1.0f;
    const float ideal = range == 0.0f ? 1.0f : Q_DIV(range, steps);
    const float scale = q_round_number((t->qparams & Q_QPARAMS_KIND) == Q_QPARAMS_POW2 ? q_power_of_two(ideal) : ideal, number);
    const float inverse = Q_DIV(1.0f, scale);
    const q_i32 usable = scale != 0.0f && !(Q_ABS(inverse) > 3.4028234e38f);
    p.scale = usable ? scale : 1.0f;
    p.inverse = usable ? inverse : 1.0f;
    p.zero = t->qparams & Q_SYMMETRIC ? -(p.scale * middle) : bias;
    return p;
}

/* Whether every element of a row with range (lo, hi) has a code in range without clamping: the code of x is rint((x - min)/s) up to an
 * error below 2^-22 |z| + 2^-14, which is below 1/2 while |z| < 2^20. */
static inline q_i32 q_is_exact(const q_qparams p, const float qmin, const float min_val, const float max_val, const float lo, const float hi) {
    return qmin == 0.0f && lo >= min_val && hi <= max_val && Q_ABS(p.zero) < 1048576.0f;
}

/* Qparams of a row from its observed range; (lo, hi) is what the row holds now. */
static inline q_qparams q_row_qparams(const Q_TABLE_SPACE q_table *t, const float min_val, const float max_val, const float lo, const float hi) {
    if (t->arithmetic == Q_PACKED) {
        return q_qparams_packed(t, min_val, max_val);
    }
    q_qparams p = q_qparams_torch(min_val, max_val, t->range, t->inverse_range, t->eps, t->arithmetic);
    p.exact = q_is_exact(p, t->qmin, min_val, max_val, lo, hi);
    return p;
}

/* ---- max_norm ------------------------------------------------------------------------------------------------------ */

/* What one element adds to the p-norm; the sum runs in the tree order of P5 (largest instead of sum for p = inf). */
static inline float q_norm_term(const float x, const float p) {
    const float a = Q_ABS(x);
    return p == 2.0f ? x * x : p == 1.0f || p > 3.0e38f ? a : q_pow(a, p);
}

/* max_norm / (norm + 1e-7) where the norm exceeds max_norm, else 1 [aten Embedding.cpp, embedding_renorm_]. */
static inline float q_norm_factor(const float total, const float p, const float max_norm) {
    const float norm = p == 2.0f ? Q_SQRT(total) : p == 1.0f || p > 3.0e38f ? total : q_pow(total, Q_DIV(1.0f, p));
    const float shifted = norm + 1e-7f;
    return norm > max_norm ? Q_DIV(max_norm, shifted) : 1.0f;
}

/* The body of a kernel's function that gives the factor of max_norm of a row of table t; VALUE is column c. The sum of the padded tree (c with
 * c + P/2) is taken in bit-reversed order with a stack of partial sums, so that rows of any length need no array. */
#define Q_WALK_NORM(t, VALUE)                                                                           \
    float stack[24];                                                                                    \
    float largest = 0.0f;                                                                               \
    int bits = 0;                                                                                       \
    int depth = 0;                                                                                      \
    if (!((t)->flags & Q_HAS_NORM)) {                                                                   \
        return 1.0f;                                                                                    \
    }                                                                                                   \
    while ((1 << bits) < (t)->dim) {                                                                    \
        bits++;                                                                                         \
    }                                                                                                   \
    for (int i = 0; i < (1 << bits); i++) {                                                             \
        int c = 0;                                                                                      \
        for (int k = 0; k < bits; k++) {                                                                \
            c |= ((i >> k) & 1) << (bits - 1 - k);                                                      \
        }                                                                                               \
        float term = 0.0f;                                                                              \
        if (c < (t)->dim) {                                                                             \
            term = q_norm_term(VALUE, (t)->norm_type);                                                  \
        }                                                                                               \
        largest = term > largest || term != term ? term : largest;                                      \
        for (int k = 0; (i >> k) & 1; k++) {                                                            \
            term = stack[--depth] + term;                                                               \
        }                                                                                               \
        stack[depth++] = term;                                                                          \
    }                                                                                                   \
    return q_norm_factor((t)->norm_type > 3.0e38f ? largest : stack[0], (t)->norm_type, (t)->max_norm);

/* ---- elements ------------------------------------------------------------------------------------------------------ */

/* Half to even, exact while |t| < 2^22: above 1.5 * 2^23 a float32 holds integers only. */
#ifndef Q_ROUNDER
#define Q_ROUNDER 12582912.0f
#endif
static inline QV q_round(const QV t) {
    return (t + Q_SPLAT(Q_ROUNDER)) - Q_SPLAT(Q_ROUNDER);
}

/* The rounded code before clamping to [qmin, qmax], itself held to [qmin - 1, qmax + 1]; outside [qmin, qmax] means masked. NaN stays NaN. */
static inline QV q_raw_code(const QV t, const float qmin, const float qmax) {
    const QV low = Q_SPLAT(qmin - 1.0f);
    const QV high = Q_SPLAT(qmax + 1.0f);
    const QV a = t < low ? low : t;
    return q_round(a > high ? high : a);
}

static inline QV q_clamp(const QV r, const float qmin, const float qmax) {
    const QV a = r < Q_SPLAT(qmin) ? Q_SPLAT(qmin) : r;
    return a > Q_SPLAT(qmax) ? Q_SPLAT(qmax) : a;
}

/* RN32(((double)q - (double)z) * (double)s) without double: h + l = q - z exactly, and h * s is rounded once, together with l * s, whose
 * error is below 2^-49 of the value. Where that (or double's own rounding) decides between two floats, the answers are neighbours: none of 4 * 10^9
 * elements of rows about as far below 0 as above it, 4 in 10^8 of rows with one end 2^-20 of the other. */
static inline QV q_dequant_cpu(const QV q, const float zero, const float scale) {
    const QV z = Q_SPLAT(zero);
    const QV s = Q_SPLAT(scale);
    const QV h = q - z;
    const QV b = h - q;
    const QV l = (q - (h - b)) - (z + b);
    return Q_FMA(h, s, l * s);
}

/* The same value for integer q and |z| < 2^24: then q is a multiple of ulp(z), and the short difference is exact too. minus: 0 - z. */
static inline QV q_dequant_cpu_exact(const QV q, const float zero, const float minus, const float scale) {
    const QV z = Q_SPLAT(zero);
    const QV s = Q_SPLAT(scale);
    const QV h = q - z;
    const QV b = h - q;
    const QV l = Q_SPLAT(minus) - b; /* the rounding error of h; +0, never -0, where there is none */
    return Q_FMA(h, s, l * s);
}

/* Codes as the packers take them. */
static inline QV q_packed_code(const QV x, const q_qparams p, const float qmin, const float qmax) {
    const QV t = (x - Q_SPLAT(p.zero)) * Q_SPLAT(p.inverse);
    return q_clamp(q_raw_code(t, qmin, qmax), qmin, qmax);
}

/* Fake-quantised elements of a row, for any qparams. */
static inline QV q_fake_quant(const QV x, const q_qparams p, const float qmin, const float qmax, const q_i32 arithmetic) {
    if (arithmetic == Q_PACKED) {
        return Q_FMA(Q_SPLAT(p.scale), q_packed_code(x, p, qmin, qmax), Q_SPLAT(p.zero));
    }
    const QV t = Q_FMA(x, Q_SPLAT(p.inverse), Q_SPLAT(p.zero));
    const QV q = q_clamp(q_raw_code(t, qmin, qmax), qmin, qmax);
    return arithmetic == Q_TORCH_CPU ? q_dequant_cpu(q, p.zero, p.scale) : (q - Q_SPLAT(p.zero)) * Q_SPLAT(p.scale);
}

/* q_round in one operation on PoCL, whose compiler has it as a builtin. It gives -0 for (-0.5, -0], where q_round gives +0:
 * q_dequant_cpu_exact does not show the difference (it adds +0), the product of torch_cuda would. */
#if defined(__OPENCL_VERSION__) && defined(Q_VECTOR16) && PREFETCH && defined(__has_builtin)
#if __has_builtin(__builtin_elementwise_roundeven)
#define Q_ROUND_CPU(t) __builtin_elementwise_roundeven(t)
#endif
#endif
#ifndef Q_ROUND_CPU
#define Q_ROUND_CPU(t) q_round(t)
#endif

/* The same bits where p.exact, in 7 operations instead of 15; minus: 0 - p.zero, which four rows make at once. The reference engine never
 * takes it: it checks the claim. */
static inline QV q_fake_quant_exact_by(const QV x, const q_qparams p, const float minus, const q_i32 arithmetic) {
    const QV t = Q_FMA(x, Q_SPLAT(p.inverse), Q_SPLAT(p.zero));
    const QV q = arithmetic == Q_TORCH_CPU ? Q_ROUND_CPU(t) : q_round(t);
    return arithmetic == Q_TORCH_CPU ? q_dequant_cpu_exact(q, p.zero, minus, p.scale) : (q - Q_SPLAT(p.zero)) * Q_SPLAT(p.scale);
}

static inline QV q_fake_quant_exact(const QV x, const q_qparams p, const q_i32 arithmetic) {
    return q_fake_quant_exact_by(x, p, 0.0f - p.zero, arithmetic);
}

/* 1 where the element was inside the code range before clamping (its gradient passes), else 0. */
static inline QV q_mask(const QV x, const q_qparams p, const float qmin, const float qmax, const q_i32 arithmetic) {
    const QV t = arithmetic == Q_PACKED ? (x - Q_SPLAT(p.zero)) * Q_SPLAT(p.inverse) : Q_FMA(x, Q_SPLAT(p.inverse), Q_SPLAT(p.zero));
    const QV r = q_raw_code(t, qmin, qmax);
    const QV above = r >= Q_SPLAT(qmin) ? Q_SPLAT(1.0f) : Q_SPLAT(0.0f);
    return r <= Q_SPLAT(qmax) ? above : Q_SPLAT(0.0f);
}

#endif
