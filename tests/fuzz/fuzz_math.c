/* fuzz_math.c - the arithmetic that host and kernels share, against the host's own and against the formats' definitions. */
#include <math.h>

#include "kernels_cl/shared/types.h"

#include "kernels_cl/shared/math.h"

#include "kernels_cl/shared/row_layout.h"

#include "fuzz.h"

/* The nearest value of a 16-bit format, ties to even, by the definition: try the neighbours. */
static double decode(uint32_t bits, int exponent_bits, int mantissa_bits) {
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    double mantissa = (double)(bits & ((1u << mantissa_bits) - 1)) / (double)(1u << mantissa_bits);
    double size = exponent ? ldexp(1.0 + mantissa, exponent - bias) : ldexp(mantissa, 1 - bias);
    return exponent == (1 << exponent_bits) - 1 ? (mantissa > 0 ? NAN : INFINITY) : size;
}

static void is_nearest(float x, uint32_t bits, int exponent_bits, int mantissa_bits) {
    double size = fabs((double)x), got;
    uint32_t low = bits & 0x7fffu, top = ((1u << exponent_bits) - 1) << mantissa_bits;
    PROMISE(bits <= 0xffffu);
    if (x != x) {
        PROMISE(low > top);
        return;
    }
    PROMISE((bits >> 15 != 0) == (signbit(x) != 0));
    got = decode(low, exponent_bits, mantissa_bits);
    if (low == top) { /* infinity: beyond the largest value and half a step */
        double largest = decode(top - 1, exponent_bits, mantissa_bits), below = decode(top - 2, exponent_bits, mantissa_bits);
        PROMISE(size >= largest + (largest - below) / 2);
        return;
    }
    PROMISE(low < top);
    double up = low + 1 < top ? decode(low + 1, exponent_bits, mantissa_bits) : 2 * got - decode(low - 1, exponent_bits, mantissa_bits);
    double down = low ? decode(low - 1, exponent_bits, mantissa_bits) : -up;
    double error = fabs(size - got);
    PROMISE(error <= fabs(up - size) && error <= fabs(size - down));
    PROMISE(low % 2 == 0 || (error < fabs(up - size) && error < fabs(size - down)));
}

int fuzz_math(const uint8_t *bytes, size_t count) {
    fuzz_stream s = {bytes, count};
    while (s.left >= 2 * sizeof(float)) {
        float a = fuzz_any_float(&s), b = fuzz_any_float(&s);
        volatile float quotient = a / b, root = sqrtf(a);
        float soft = q_div_soft(a, b), soft_root = q_sqrt_soft(a), expected = quotient, expected_root = root;
        PROMISE(fuzz_same(&soft, &expected, 1));
        PROMISE(fuzz_same(&soft_root, &expected_root, 1));
        is_nearest(a, q_half_bits(a), 5, 10);
        is_nearest(a, q_bfloat_bits(a), 8, 7);
        uint32_t half = q_bits(b) & 0xffffu;
        double value = decode(half & 0x7fffu, 5, 10);
        float read = q_half_value(half);
        PROMISE(value != value ? read != read : (double)read == (half & 0x8000u ? -value : value));
        if (a > 0 && isfinite(a) && b > 0 && b <= 64) {
            double power = pow((double)a, (double)b);
            float mine = q_pow(a, b);
            if (power < 3e38 && power > 2e-38) {
                double log_size = fabs(log2((double)a)) * (double)b;
                PROMISE(fabs((double)mine - power) <= power * (ldexp(1.0, -23) + ldexp(8 + log_size, -28) * (1 + (double)b)));
            }
        }
    }
    return 0;
}
