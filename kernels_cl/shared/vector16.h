/* vector16.h - rows as float16 blocks, for the CPU family. OpenCL C only, where QV is float16.
 *
 * A row of D >= 16 columns is read as ceil(D/16) blocks, the last one at D - 16: it overlaps the one before, which is harmless for
 * minima, maxima and stores of equal values, and costs no mask. A row of D < 16 is put together from two overlapping halves. */
#ifndef Q_VECTOR16_H
#define Q_VECTOR16_H
#if defined(__OPENCL_VERSION__) && defined(Q_VECTOR16)

static inline float16 load_small(__global const float *p, const int dim) {
    if (dim >= 8) {
        return (float16)(vload8(0, p), vload8(0, p + dim - 8));
    }
    if (dim >= 4) {
        const float8 v = (float8)(vload4(0, p), vload4(0, p + dim - 4));
        return (float16)(v, v);
    }
    if (dim >= 2) {
        const float4 v = (float4)(vload2(0, p), vload2(0, p + dim - 2));
        return (float16)(v, v, v, v);
    }
    return (float16)(p[0]);
}

static inline void store_small(const float16 v, __global float *p, const int dim) {
    if (dim >= 8) {
        vstore8(v.lo, 0, p);
        vstore8(v.hi, 0, p + dim - 8);
    } else if (dim >= 4) {
        vstore4(v.lo.lo, 0, p);
        vstore4(v.lo.hi, 0, p + dim - 4);
    } else if (dim >= 2) {
        vstore2(v.s01, 0, p);
        vstore2(v.s23, 0, p + dim - 2);
    } else {
        p[0] = v.s0;
    }
}

static inline void store_small_int(const int16 v, __global int *p, const int dim) {
    store_small(as_float16(v), (__global float *)p, dim);
}

static inline float16 vmin16(const float16 a, const float16 b) {
    return a < b ? a : b;
}
static inline float16 vmax16(const float16 a, const float16 b) {
    return a > b ? a : b;
}

static inline float least(const float16 v) {
    const float8 a = v.lo < v.hi ? v.lo : v.hi;
    const float4 b = a.lo < a.hi ? a.lo : a.hi;
    const float2 c = b.lo < b.hi ? b.lo : b.hi;
    return c.s0 < c.s1 ? c.s0 : c.s1;
}

static inline float greatest(const float16 v) {
    const float8 a = v.lo > v.hi ? v.lo : v.hi;
    const float4 b = a.lo > a.hi ? a.lo : a.hi;
    const float2 c = b.lo > b.hi ? b.lo : b.hi;
    return c.s0 > c.s1 ? c.s0 : c.s1;
}

/* NaN when any lane is NaN, else 0, for lanes that are 0 or NaN. */
static inline float any_nan(const float16 v) {
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.s0 + c.s1;
}

#if PREFETCH
#define PREFETCH_LINE(p) __builtin_prefetch((const void *)(size_t)(p))
#else
#define PREFETCH_LINE(p)
#endif

/* Range of a row from its lanewise minima and maxima; `odd` has NaN lanes where the row holds NaN or inf. */
#define Q_RANGE(low, high, odd, lo, hi)      \
    const float odd_ = any_nan(odd);         \
    const float lo = least(low) + odd_ + 0.0f; \
    const float hi = greatest(high) + odd_ + 0.0f

#endif
#endif
