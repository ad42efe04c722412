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

/* Quotients and square roots: operators where they round correctly, else lane by lane. */
#ifdef Q_SOFT_DIVISION
static inline float16 divide16(const float16 a, const float16 b) {
    float x[16];
    float y[16];
    vstore16(a, 0, x);
    vstore16(b, 0, y);
    for (int k = 0; k < 16; k++) {
        x[k] = q_div_soft(x[k], y[k]);
    }
    return vload16(0, x);
}
static inline float16 root16(const float16 a) {
    float x[16];
    vstore16(a, 0, x);
    for (int k = 0; k < 16; k++) {
        x[k] = q_sqrt_soft(x[k]);
    }
    return vload16(0, x);
}
#else
static inline float16 divide16(const float16 a, const float16 b) {
    return a / b;
}
static inline float16 root16(const float16 a) {
    return sqrt(a);
}
#endif

/* Into the second-level cache: the first level has too few fill buffers to wait in (Zen 4: 24 against 16 GB/s of random 256-byte rows). */
#ifndef PREFETCH
#error "PREFETCH is set by src/opencl/probe.c"
#endif
#if PREFETCH
#define PREFETCH_LINE(p) __builtin_prefetch((const void *)(size_t)(p), 0, 2)
#else
#define PREFETCH_LINE(p)
#endif

/* Range of a row from its lanewise minima and maxima; `odd` has NaN lanes where the row holds NaN or inf. */
#define Q_RANGE(low, high, odd, lo, hi)      \
    const float odd_ = any_nan(odd);         \
    const float lo = least(low) + odd_ + 0.0f; \
    const float hi = greatest(high) + odd_ + 0.0f

/* Four rows' lanewise minima, or maxima, to one number a row. */
#define REDUCE4(name, best)                                                                    \
    static inline float4 name(const float16 a, const float16 b, const float16 c, const float16 d) { \
        const float16 ab = best((float16)(a.lo, b.lo), (float16)(a.hi, b.hi));                 \
        const float16 cd = best((float16)(c.lo, d.lo), (float16)(c.hi, d.hi));                 \
        const float16 all = best((float16)(ab.s012389ab, cd.s012389ab), (float16)(ab.s4567cdef, cd.s4567cdef)); \
        const float16 two = best(all, all.s23016745ab89efcd);                                  \
        return best(two, two.s1032547698badcfe).s048c;                                         \
    }
REDUCE4(least4, vmin16)
REDUCE4(greatest4, vmax16)

/* q_catch_up, of four rows: the range of each after `observations`. */
static inline void catch_up4(const int observer, const float averaging, const long observations, const q_state *states, const float4 lo,
                             const float4 hi, float4 *min_val, float4 *max_val) {
    float mins[4], maxs[4];
    int missed[4];
    for (int j = 0; j < 4; j++) {
        const q_state s = states[j];
        const long m = observations - s.count;
        const int fresh = m > 0 && (s.count == 0 || observer == Q_MEMORYLESS);
        mins[j] = s.min_val;
        maxs[j] = s.max_val;
        missed[j] = (int)(m < 0 ? 0 : m > 0x7fffffff ? 0x7fffffff : m);
        missed[j] = !fresh ? missed[j] : observer == Q_MEMORYLESS ? -0x7fffffff : -missed[j];
    }
    const int4 given = vload4(0, missed);
    const int4 fresh = given < 0; /* takes the row's range as its first observation */
    float4 low = fresh ? lo : vload4(0, mins);
    float4 high = fresh ? hi : vload4(0, maxs);
    int4 left = fresh ? -given - 1 : given;
    int4 active = observer == Q_MEMORYLESS ? (int4)(0) : left > 0;
    while (any(active)) {
        float4 new_low = low, new_high = high;
        int4 repaired = (int4)(0);
        Q_OBSERVE(observer, averaging, lo, hi, new_low, new_high, repaired);
        const int4 moved = (new_low != low) | (new_high != high);
        low = active ? new_low : low;
        high = active ? new_high : high;
        left -= 1;
        active = active & moved & (left > 0) & (low == low);
    }
    *min_val = low;
    *max_val = high;
}

/* M(0) ... M(n - 1): code for each block of a row, unrolled by name. */
#define EACH_1(M) M(0)
#define EACH_2(M) EACH_1(M) M(1)
#define EACH_3(M) EACH_2(M) M(2)
#define EACH_4(M) EACH_3(M) M(3)
#define EACH_5(M) EACH_4(M) M(4)
#define EACH_6(M) EACH_5(M) M(5)
#define EACH_7(M) EACH_6(M) M(6)
#define EACH_8(M) EACH_7(M) M(7)
#define EACH_9(M) EACH_8(M) M(8)
#define EACH_10(M) EACH_9(M) M(9)
#define EACH_11(M) EACH_10(M) M(10)
#define EACH_12(M) EACH_11(M) M(11)
#define EACH_13(M) EACH_12(M) M(12)
#define EACH_14(M) EACH_13(M) M(13)
#define EACH_15(M) EACH_14(M) M(14)
#define EACH_16(M) EACH_15(M) M(15)

/* CASE(k) for each width k = 1..16 that WIDTHS has a bit for. */
#ifdef WIDTHS
#if WIDTHS & (1 << 1)
#define CASE_1 CASE(1)
#else
#define CASE_1
#endif
#if WIDTHS & (1 << 2)
#define CASE_2 CASE(2)
#else
#define CASE_2
#endif
#if WIDTHS & (1 << 3)
#define CASE_3 CASE(3)
#else
#define CASE_3
#endif
#if WIDTHS & (1 << 4)
#define CASE_4 CASE(4)
#else
#define CASE_4
#endif
#if WIDTHS & (1 << 5)
#define CASE_5 CASE(5)
#else
#define CASE_5
#endif
#if WIDTHS & (1 << 6)
#define CASE_6 CASE(6)
#else
#define CASE_6
#endif
#if WIDTHS & (1 << 7)
#define CASE_7 CASE(7)
#else
#define CASE_7
#endif
#if WIDTHS & (1 << 8)
#define CASE_8 CASE(8)
#else
#define CASE_8
#endif
#if WIDTHS & (1 << 9)
#define CASE_9 CASE(9)
#else
#define CASE_9
#endif
#if WIDTHS & (1 << 10)
#define CASE_10 CASE(10)
#else
#define CASE_10
#endif
#if WIDTHS & (1 << 11)
#define CASE_11 CASE(11)
#else
#define CASE_11
#endif
#if WIDTHS & (1 << 12)
#define CASE_12 CASE(12)
#else
#define CASE_12
#endif
#if WIDTHS & (1 << 13)
#define CASE_13 CASE(13)
#else
#define CASE_13
#endif
#if WIDTHS & (1 << 14)
#define CASE_14 CASE(14)
#else
#define CASE_14
#endif
#if WIDTHS & (1 << 15)
#define CASE_15 CASE(15)
#else
#define CASE_15
#endif
#if WIDTHS & (1 << 16)
#define CASE_16 CASE(16)
#else
#define CASE_16
#endif
#define EACH_WIDE_WIDTH CASE_3 CASE_4 CASE_5 CASE_6 CASE_7 CASE_8 CASE_9 CASE_10 CASE_11 CASE_12 CASE_13 CASE_14 CASE_15 CASE_16
#define EACH_WIDTH CASE_1 CASE_2 EACH_WIDE_WIDTH
#endif

#endif
#endif
