/* row_range.cl - the range of a row of floats, NaN for both ends where it holds NaN or infinity: for row_observe and row_pack, whose files
 * say shapes, mapping and bytes.
 *
 * Knobs    in the CPU family none; in the GPU family those of lanes_gpu.cl, the piece before this one */
#ifdef Q_VECTOR16
static inline float2 range_of(__global const float *w, const int dim) {
    float16 low = (float16)(INFINITY);
    float16 high = (float16)(-INFINITY);
    float16 odd = (float16)(0.0f);
    for (int c = 0; c < dim; c += 16) {
        const float16 x = dim < 16 ? load_small(w, dim) : vload16(0, w + (c + 16 <= dim ? c : dim - 16));
        low = vmin16(x, low);
        high = vmax16(x, high);
        odd = fma(x, (float16)(0.0f), odd);
    }
    Q_RANGE(low, high, odd, lo, hi);
    return (float2)(lo, hi);
}
#else
#define LANE ((int)get_local_id(0) & (LANES - 1))

/* The lanes of this work-item's row within its warp. */
static inline uint lane_mask(void) {
    return LANES == 32 ? 0xffffffffu : ((1u << (LANES & 31)) - 1u) << ((int)get_local_id(0) & 31 & ~(LANES - 1));
}

/* Lane j reads columns j, j + LANES, ...; all lanes of a group call, those without a row with dim 0. */
static inline float2 range_of(__global const float *w, const int dim, __local int *scratch) {
    float low = INFINITY;
    float high = -INFINITY;
    float odd = 0.0f;
    float lo;
    float hi;
    for (int c = LANE; c < dim; c += LANES) {
        low = fmin(low, w[c]);
        high = fmax(high, w[c]);
        odd = fma(w[c], 0.0f, odd);
    }
    row_range(low, high, odd, lane_mask(), scratch, &lo, &hi);
    return (float2)(lo, hi);
}
#endif
