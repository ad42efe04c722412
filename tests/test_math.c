/* test_math.c - division, square root and power of kernels_cl/shared/math.h: correctly rounded where they say so, close where they do not.
 */
#include <criterion/criterion.h>

#include <math.h>

#define QV float
#include "kernels_cl/shared/types.h"
#include "kernels_cl/shared/math.h"

#include "ops/bag_forward.h"

static bool same(float a, float b) {
    return q_bits(a) == q_bits(b) || (a != a && b != b);
}

/* A float with any bits, often near the ends of the range or with few bits set. */
static float any_float(uint64_t *state) {
    const uint32_t bits = (uint32_t)op_random(state);
    switch (op_below(state, 6)) {
    case 0:
        return q_from_bits(bits & 0x807fffffu); /* subnormal */
    case 1:
        return q_from_bits((bits & 0x807fffffu) | 0x7f000000u); /* huge */
    case 2:
        return q_from_bits(bits & 0xff800000u); /* a power of two, infinity, zero */
    case 3:
        return (float)(int32_t)(bits % 511u) - 255.0f;
    default:
        return q_from_bits(bits);
    }
}

static const float corners[] = {0.0f,
                                -0.0f,
                                1.0f,
                                -1.0f,
                                3.0f,
                                255.0f,
                                0x1p-149f,
                                0x1.fffffcp-127f,
                                0x1p-126f,
                                0x1.fffffep127f,
                                -0x1.fffffep127f,
                                INFINITY,
                                -INFINITY,
                                NAN,
                                0x1.000002p0f,
                                0x1.fffffep-1f};
enum { CORNERS = sizeof corners / sizeof *corners };

Test(math, division, .description = "math: q_div_soft, the bits of a correctly rounded division") {
    uint64_t state = 1;
    for (int i = 0; i < CORNERS; i++) {
        for (int k = 0; k < CORNERS; k++) {
            cr_assert(same(q_div_soft(corners[i], corners[k]), corners[i] / corners[k]), "%a / %a: got %a", (double)corners[i],
                      (double)corners[k], (double)q_div_soft(corners[i], corners[k]));
        }
    }
    for (int i = 0; i < 3000000; i++) {
        const float a = any_float(&state);
        const float b = any_float(&state);
        if (!same(q_div_soft(a, b), a / b)) {
            cr_assert_fail("%a / %a: got %a, want %a", (double)a, (double)b, (double)q_div_soft(a, b), (double)(a / b));
        }
    }
}

Test(math, square_root, .description = "math: q_sqrt_soft, the bits of a correctly rounded square root") {
    uint64_t state = 2;
    for (int i = 0; i < CORNERS; i++) {
        cr_assert(same(q_sqrt_soft(corners[i]), sqrtf(corners[i])), "sqrt %a: got %a", (double)corners[i], (double)q_sqrt_soft(corners[i]));
    }
    for (int i = 0; i < 3000000; i++) {
        const float a = any_float(&state);
        if (!same(q_sqrt_soft(a), sqrtf(a))) {
            cr_assert_fail("sqrt %a: got %a, want %a", (double)a, (double)q_sqrt_soft(a), (double)sqrtf(a));
        }
    }
}

Test(math, power, .description = "math: q_pow, within its stated error of the double power, for norms of any order") {
    static const float orders[] = {0.1f, 0.5f, 1.5f, 2.0f, 3.0f, 3.5f, 7.0f, 1.0f / 3.0f, 1.0f / 3.5f, 20.0f};
    uint64_t state = 3;
    for (int i = 0; i < 300000; i++) {
        const float a = fabsf(i % 2 ? any_float(&state) : 4.0f * op_uniform(&state));
        const float p = orders[i % 10];
        const double want = pow((double)a, (double)p);
        if (!isfinite(a) || want > 3e38 || want < 1.2e-38) {
            continue;
        }
        const double got = (double)q_pow(a, p);
        const double error = fabs(got - want) / want;
        /* 2^-28 times max(1, p), times what a value of many binary digits loses, and the rounding of the result */
        cr_assert_leq(error, 0x1p-24 * (1.0 + (double)(p > 1.0f ? p : 1.0f) * 0.5), "pow(%a, %g): got %a, want %a", (double)a, (double)p,
                      got, want);
    }
    cr_assert_float_eq(q_pow(0.0f, 3.5f), 0.0f, 0.0);
    cr_assert_float_eq(q_pow(1.0f, 3.5f), 1.0f, 0.0);
    cr_assert(isinf(q_pow(3e38f, 3.0f)));
    cr_assert(q_pow(1e-30f, 3.0f) >= 0.0f && q_pow(1e-30f, 3.0f) < 1e-37f);
}

Test(math, power_of_enormous_orders,
     .description = "math: q_pow with orders up to 2^60 ends in infinity, 0, 1 or next to 1, as the double power does") {
    static const float orders[] = {0x1p24f, 0x1p30f, 0x1p44f, 0x1p45f, 0x1p60f};
    for (int k = 0; k < 5; k++) {
        cr_expect(isinf(q_pow(1.5f, orders[k])), "1.5^%g", (double)orders[k]);
        cr_expect_eq(q_pow(0.5f, orders[k]), 0.0f, "0.5^%g", (double)orders[k]);
        cr_expect_eq(q_pow(1.0f, orders[k]), 1.0f, "1^%g", (double)orders[k]);
    }
    cr_expect_float_eq(q_pow(1.0f + 0x1p-23f, 0x1p23f), 2.718f, 0.02f); /* a quarter of the stated error there, 2^-28 * 2^23 of e */
    cr_expect_eq(q_pow(7.0f, 0x1p-90f), 1.0f);
}

Test(math, assemble, .description = "math: q_assemble of few bits is exact, and rounds half to even only where bits are dropped") {
    cr_expect_eq(q_assemble(0, 5, -1, 0), 2.5f);
    cr_expect_eq(q_assemble(0x80000000u, 1, 100, 0), -0x1p100f);
    cr_expect_eq(q_assemble(0, 1, -149, 0), 0x1p-149f);
    cr_expect_eq(q_assemble(0, 1, -200, 1), 0.0f);
    cr_expect_eq(q_assemble(0, UINT64_C(0x3000001), 0, 0), 0x1.800000p25f, "half, to even");
    cr_expect_eq(q_assemble(0, UINT64_C(0x3000002), 0, 1), 0x1.800002p25f, "a little more than half");
    cr_expect(isinf(q_assemble(0, 3, 127, 0)));
}
