/* random.h - the random numbers of tests and bench: SplitMix64 from a state that is a seed at first. */
#ifndef QEMB_OPS_RANDOM_H
#define QEMB_OPS_RANDOM_H

#include <stdint.h>

static inline uint64_t op_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline int64_t op_below(uint64_t *state, int64_t limit) {
    return (int64_t)(op_random(state) % (uint64_t)limit);
}

/* Uniform in [-1, 1), 24 bits. */
static inline float op_uniform(uint64_t *state) {
    return (float)((int64_t)(op_random(state) >> 40) - (1 << 23)) * 0x1p-23f;
}

#endif
