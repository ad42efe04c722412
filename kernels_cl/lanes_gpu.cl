/* lanes_gpu.cl - how the lanes that share a row or bag agree on its range.
 *
 * REDUCE   0 local memory: any device; every work-item of the group must call
 *          1 PTX shfl.sync, 2 PTX redux.sync (sm_80 and newer): only the lanes in `mask` must call. Taken where src/opencl/probe.c saw them work
 * Knobs    LANES (power of two, at most 32), GROUP (work-items of a group), REDUCE */
#if !defined(LANES) || !defined(GROUP) || !defined(REDUCE)
#error "LANES, GROUP and REDUCE are set by src/opencl"
#endif

/* Integers in the order of the floats; NaN lies outside the infinities. */
static inline int ordered(const float x) {
    const int i = as_int(x);
    return i ^ ((i >> 31) & 0x7fffffff);
}
static inline float unordered(const int i) {
    return as_float(i ^ ((i >> 31) & 0x7fffffff));
}

#if REDUCE == 1
static inline int shuffle_xor(const int value, const uint distance, const uint mask) {
    int other;
    __asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, %3;" : "=r"(other) : "r"(value), "r"(distance), "r"(mask));
    return other;
}
static inline void reduce_range(int *low, int *high, const uint mask, __local int *scratch) {
#pragma unroll
    for (uint d = LANES / 2; d > 0; d /= 2) {
        *low = min(*low, shuffle_xor(*low, d, mask));
        *high = max(*high, shuffle_xor(*high, d, mask));
    }
}
#elif REDUCE == 2
static inline void reduce_range(int *low, int *high, const uint mask, __local int *scratch) {
    int a;
    int b;
    __asm volatile("redux.sync.min.s32 %0, %1, %2;" : "=r"(a) : "r"(*low), "r"(mask));
    __asm volatile("redux.sync.max.s32 %0, %1, %2;" : "=r"(b) : "r"(*high), "r"(mask));
    *low = a;
    *high = b;
}
#else
static inline void reduce_range(int *low, int *high, const uint mask, __local int *scratch) {
    const int id = (int)get_local_id(0);
    const int first = id & ~(LANES - 1);
    scratch[id] = *low;
    scratch[GROUP + id] = *high;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = 0; k < LANES; k++) {
        *low = min(*low, scratch[first + k]);
        *high = max(*high, scratch[GROUP + first + k]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}
#endif

/* Range of a row from the lanes' own ranges; NaN for both ends when the row holds NaN or inf. */
static inline void row_range(const float lane_low, const float lane_high, const float odd, const uint mask, __local int *scratch, float *lo, float *hi) {
    int low = ordered(lane_low);
    int high = odd != odd ? 0x7fffffff : ordered(lane_high);
    reduce_range(&low, &high, mask, scratch);
    const int finite = high < 0x7f800000;
    *lo = finite ? unordered(low) + 0.0f : Q_NAN;
    *hi = finite ? unordered(high) + 0.0f : Q_NAN;
}
