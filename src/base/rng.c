/* rng.c - see rng.h. */
#include "base/rng.h"

#include <math.h>

uint64_t qemb__random(uint64_t seed, uint64_t index) {
    uint64_t z = seed * 0xd1342543de82ef95u + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void qemb__normal_fill(uint64_t seed, uint64_t first, float *values, int64_t count) {
    /* Numbers 2k and 2k + 1 are the two of one Box-Muller pair. */
    for (int64_t i = 0; i < count; i++) {
        uint64_t number = first + (uint64_t)i;
        uint64_t pair = number / 2;
        double u = ((double)(qemb__random(seed, 2 * pair) >> 11) + 0.5) * 0x1p-53;
        double v = (double)(qemb__random(seed, 2 * pair + 1) >> 11) * 0x1p-53;
        double radius = sqrt(-2.0 * log(u));
        double angle = 6.283185307179586476925 * v;
        values[i] = (float)(radius * (number % 2 ? sin(angle) : cos(angle)));
        if (number % 2 == 0 && i + 1 < count) {
            values[++i] = (float)(radius * sin(angle));
        }
    }
}
