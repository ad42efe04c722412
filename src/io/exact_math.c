/* exact_math.c - see exact_math.h. */
#include "io/exact_math.h"

#include <stdint.h>
#include <string.h>

/* log 2 in two parts; the first has 20 trailing zero bits, so that its product with an exponent is exact. */
static const double ln2_high = 0x1.62e42fefp-1, ln2_low = 0x1.473de6af278edp-34;

static const double inverse_factorials[15] = {
    1.0,         1.0,          1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,        1.0 / 720,        1.0 / 5040,
    1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800, 1.0 / 87178291200};

double qemb__exact_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, 8);
    if (m > 0x1.6a09e667f3bcdp0) { /* sqrt 2: m in (0.707, 1.414] */
        m *= 0.5;
        exponent++;
    }
    /* log m = 2 atanh z = 2 (z + z^3/3 + z^5/5 + ...), |z| <= 0.1716, so that the 11th term is below 2^-56 */
    double z = (m - 1.0) / (m + 1.0), square = z * z, sum = 0.0;
    for (int k = 21; k >= 3; k -= 2) {
        sum = (sum + 1.0 / k) * square;
    }
    double e = (double)exponent;
    return e * ln2_high + (2.0 * z + (2.0 * z * sum + e * ln2_low));
}

double qemb__exact_exp(double x) {
    double turns = x * 0x1.71547652b82fep0; /* 1 / log 2 */
    int64_t k = (int64_t)(turns + (turns < 0 ? -0.5 : 0.5));
    double n = (double)k, r = (x - n * ln2_high) - n * ln2_low; /* |r| <= 0.347 */
    double sum = inverse_factorials[14];
    for (int i = 13; i >= 0; --i) {
        sum = sum * r + inverse_factorials[i];
    }
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power;
    memcpy(&power, &bits, 8);
    return sum * power;
}

double qemb__exact_sigmoid(double x) {
    double clipped = x > 40.0 ? 40.0 : x < -40.0 ? -40.0 : x;
    return 1.0 / (1.0 + qemb__exact_exp(-clipped));
}
