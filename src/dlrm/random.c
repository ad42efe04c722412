/* random.c - see random.h. The mixer is SplitMix64's [Steele, Lea, Flood 2014]. */
#include "dlrm/random.h"

#include <math.h>

static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* In (0, 1). */
static double unit(uint64_t key, uint64_t position) {
    return ((double)(mix(key + position * UINT64_C(0xD1342543DE82EF95)) >> 11) + 0.5) * 0x1p-53;
}

void dlrm_uniform(uint64_t seed, uint64_t stream, float bound, float *values, int64_t count) {
    const uint64_t key = mix(mix(seed) + stream);
    for (int64_t i = 0; i < count; i++) {
        values[i] = bound * (float)(2.0 * unit(key, (uint64_t)i) - 1.0);
    }
}

void dlrm_normal(uint64_t seed, uint64_t stream, float deviation, float *values, int64_t count) {
    const uint64_t key = mix(mix(seed) + stream);
    for (int64_t i = 0; i < count; i++) { /* Box and Muller */
        const double radius = sqrt(-2.0 * log(unit(key, 2 * (uint64_t)i)));
        values[i] = deviation * (float)(radius * cos(6.283185307179586 * unit(key, 2 * (uint64_t)i + 1)));
    }
}
