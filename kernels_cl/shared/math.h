/* math.h - float32 functions that give the same bits on every engine and device, in integer arithmetic.
 *
 * C11 and OpenCL C. q_div_soft and q_sqrt_soft are correctly rounded (half to even), subnormals included: they replace / and sqrt where a
 * device rounds them otherwise. q_pow(a, p) is accurate to about 2^-28 * max(1, p) relative; it serves norms of any order. */
#ifndef Q_MATH_H
#define Q_MATH_H

#ifdef __OPENCL_VERSION__
#define q_bits(x)       as_uint(x)
#define q_from_bits(u)  as_float((uint)(u))
#define q_clz64(x)      ((int)clz((ulong)(x)))
#else
#include <string.h>
static inline q_u32 q_bits(const float x) {
    q_u32 u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float q_from_bits(const q_u32 u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
#define q_clz64(x) __builtin_clzll(x)
#endif

/* The one NaN that results are reported with. */
#define Q_NAN q_from_bits(0x7fc00000u)

/* mantissa * 2^exponent rounded to float32, half to even; mantissa > 0, `sticky` says that a little more follows below its last bit. */
static inline float q_assemble(const q_u32 sign, q_u64 mantissa, int exponent, const q_u32 sticky) {
    const int top = 63 - q_clz64(mantissa); /* bit of the leading one: value is in [2^(top+exponent), 2 * that) */
    int drop = top - 23;                    /* bits below a 24-bit mantissa */
    if (exponent + drop < -149) {
        drop = -149 - exponent; /* subnormal: the last place is 2^-149 */
    }
    q_u64 kept = mantissa;
    if (drop > 62) {
        kept = 0;
    } else if (drop > 0) {
        const q_u64 rest = mantissa & (((q_u64)1 << drop) - 1);
        const q_u64 middle = (q_u64)1 << (drop - 1);
        kept = mantissa >> drop;
        if (rest > middle || (rest == middle && (sticky != 0 || (kept & 1) != 0))) {
            kept++;
        }
    } else {
        kept = mantissa << -drop;
    }
    /* A carry out of the mantissa lands in the exponent field by itself; a subnormal has field 0. */
    const int field = exponent + drop + 149 + (kept >> 23 ? 1 : 0);
    if (field > 254 || (field == 254 && kept >> 24)) {
        return q_from_bits(sign | 0x7f800000u);
    }
    return q_from_bits(sign | (kept >> 23 ? ((q_u32)(field - 1) << 23) + (q_u32)kept : (q_u32)kept));
}

/* |x| = mantissa * 2^exponent with a mantissa of exactly 24 bits; x is finite and not 0. */
static inline q_u32 q_split(const q_u32 bits, int *exponent) {
    q_u32 mantissa = bits & 0x7fffffu;
    const int field = (int)((bits >> 23) & 0xffu);
    if (field) {
        *exponent = field - 150;
        return mantissa | 0x800000u;
    }
    const int shift = q_clz64((q_u64)mantissa) - 40;
    *exponent = -149 - shift;
    return mantissa << shift;
}

static inline float q_div_soft(const float a, const float b) {
    const q_u32 ua = q_bits(a);
    const q_u32 ub = q_bits(b);
    const q_u32 sign = (ua ^ ub) & 0x80000000u;
    const q_u32 ma = ua & 0x7fffffffu;
    const q_u32 mb = ub & 0x7fffffffu;
    if (ma > 0x7f800000u || mb > 0x7f800000u || (ma == 0 && mb == 0) || (ma == 0x7f800000u && mb == 0x7f800000u)) {
        return q_from_bits(0x7fc00000u);
    }
    if (ma == 0x7f800000u || mb == 0) {
        return q_from_bits(sign | 0x7f800000u);
    }
    if (ma == 0 || mb == 0x7f800000u) {
        return q_from_bits(sign);
    }
    int ea;
    int eb;
    const q_u64 numerator = (q_u64)q_split(ma, &ea) << 32;
    const q_u64 divisor = q_split(mb, &eb);
    const q_u64 quotient = numerator / divisor;
    return q_assemble(sign, quotient, ea - eb - 32, numerator != quotient * divisor);
}

static inline float q_sqrt_soft(const float a) {
    const q_u32 u = q_bits(a);
    if ((u & 0x7fffffffu) == 0 || (u & 0x7fffffffu) > 0x7f800000u || u == 0x7f800000u) {
        return a;
    }
    if (u & 0x80000000u) {
        return q_from_bits(0x7fc00000u);
    }
    int e;
    q_u64 m = (q_u64)q_split(u, &e) << 36;
    if (e & 1) {
        m <<= 1;
        e -= 1;
    }
    e -= 36;
    q_u64 root = 0;
    q_u64 rest = m;
    for (q_u64 bit = (q_u64)1 << 62; bit; bit >>= 2) { /* digit by digit, exact remainder */
        const int fits = rest >= root + bit;
        rest -= fits ? root + bit : 0;
        root = (root >> 1) + (fits ? bit : 0);
    }
    return q_assemble(0, root, e / 2, rest != 0);
}

/* log2 of a 24-bit mantissa m in [1, 2), as a fraction of 2^30: one bit for each squaring. */
static inline q_i64 q_log2_fraction(const q_u32 mantissa) {
    q_u64 x = (q_u64)mantissa << 8; /* 1.31 fixed point */
    q_i64 result = 0;
    for (int bit = 29; bit >= 0; bit--) {
        x = (x * x) >> 31;
        if (x >> 32) {
            x >>= 1;
            result |= (q_i64)1 << bit;
        }
    }
    return result;
}

/* 2^(f / 2^30) for 0 <= f < 2^30, in 2.62 fixed point: square roots of 2 multiplied for the bits that are set. */
static inline q_u64 q_exp2_fraction(const q_i64 f) {
    q_u64 root = (q_u64)1 << 63; /* 2 in 2.62 */
    q_u64 result = (q_u64)1 << 62;
    for (int bit = 29; bit >= 0; bit--) {
        /* root = sqrt(root): 32 good bits by digits */
        q_u64 rest = root;
        q_u64 r = 0;
        for (q_u64 b = (q_u64)1 << 62; b; b >>= 2) {
            const int fits = rest >= r + b;
            rest -= fits ? r + b : 0;
            r = (r >> 1) + (fits ? b : 0);
        }
        root = r << 31;
        if ((f >> bit) & 1) {
            result = (result >> 31) * (root >> 31);
        }
    }
    return result;
}

static inline float q_pow(const float a, const float p) {
    const q_u32 ua = q_bits(a);
    if (ua == 0 || ua >= 0x7f800000u) { /* 0, inf, NaN; p > 0 */
        return a;
    }
    int e;
    int pe;
    const q_u32 mantissa = q_split(ua, &e);
    const q_i64 log2a = (((q_i64)e + 23) * ((q_i64)1 << 30)) + q_log2_fraction(mantissa);
    const q_u32 mp = q_split(q_bits(p) & 0x7fffffffu, &pe);
    q_i64 product = log2a * (q_i64)mp; /* |log2a| < 2^38 */
    if (pe < 0) {
        product = pe < -62 ? 0 : product >> -pe;
    } else if (pe > 20) {
        product = product < 0 ? -((q_i64)400 << 30) : product > 0 ? (q_i64)400 << 30 : 0; /* 1 stays 1 */
    } else {
        product = product * ((q_i64)1 << pe);
    }
    const q_i64 whole = product >> 30;
    if (whole > 130) {
        return q_from_bits(0x7f800000u);
    }
    if (whole < -152) {
        return 0.0f;
    }
    return q_assemble(0, q_exp2_fraction(product & (((q_i64)1 << 30) - 1)), (int)whole - 62, 1);
}

#endif
