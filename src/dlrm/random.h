/* random.h - random numbers by position: value i of a stream depends on (seed, stream, i) alone. */
#ifndef QEMB_DLRM_RANDOM_H
#define QEMB_DLRM_RANDOM_H

#include <stdint.h>

void dlrm_uniform(uint64_t seed, uint64_t stream, float bound, float *values, int64_t count); /* in (-bound, bound) */
void dlrm_normal(uint64_t seed, uint64_t stream, float deviation, float *values, int64_t count);

#endif
