/* double.h - stands before every file of the twin: the reference engine with double where it has float.
 *
 * The public types and descriptors change with it: a buffer of floats is a buffer of doubles. Rounding to integers moves up to where double
 * holds integers only. Functions on the bits of a float32 (kernels_cl/shared/math.h) go by way of a float32. Layouts that a device
 * shares do not hold here, and are not asserted. */
#ifndef QEMB_TWIN_DOUBLE_H
#define QEMB_TWIN_DOUBLE_H

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static inline uint32_t q_bits(const double x) {
    const float narrow = (float)x;
    uint32_t u;
    memcpy(&u, &narrow, sizeof u);
    return u;
}

static inline double q_from_bits(const uint32_t u) {
    float narrow;
    memcpy(&narrow, &u, sizeof narrow);
    return (double)narrow;
}

static inline double q_pow(const double a, const double p) {
    return pow(a, p);
}

#define Q_MATH_H
#define Q_NAN      ((double)NAN)
#define q_clz64(x) __builtin_clzll(x)
#define Q_ROUNDER  6755399441055744.0 /* 1.5 * 2^52 */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wkeyword-macro"
#endif
#define float double
#define fmaf  fma
#define sqrtf sqrt
#define fabsf fabs
#define _Static_assert(condition, text) extern int qemb_twin_layout

#endif
