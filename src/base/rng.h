/* rng.h - counter-based random numbers: value i of a seed is the same whatever was drawn before. */
#ifndef QEMB_BASE_RNG_H
#define QEMB_BASE_RNG_H

#include <stdint.h>

/* 64 mixed bits of (seed, index); splitmix64's finaliser over a Weyl sequence. */
uint64_t qemb__random(uint64_t seed, uint64_t index);

/* values[i] = N(0,1) number (first + i) of the seed (Box-Muller in double, so libm's last bit rarely shows in float32). */
void qemb__normal_fill(uint64_t seed, uint64_t first, float *values, int64_t count);

#endif
