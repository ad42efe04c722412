/* zipf.h - ranks 0 .. n-1 with probabilities proportional to (rank + 1 + shift)^-alpha (Zipf-Mandelbrot), by integer search.
 *
 * The first 128 ranks are exact; behind them ranks share a bucket of 1/64 of their size, inside which they are equally
 * likely (at most 0.9 % * alpha off). The table has under a thousand buckets for any n, built with exact_math.h, so that a
 * random word gives the same rank on every machine. */
#ifndef QEMB_IO_ZIPF_H
#define QEMB_IO_ZIPF_H

#include <qemb/qemb.h>

enum { QEMB__ZIPF_GUIDE = 256 };

typedef struct qemb__zipf {
    uint32_t *start;                  /* [buckets + 1]: first rank of each bucket, n at the end */
    uint32_t *limit;                  /* [buckets]: a word below limit[b], and not below limit[b - 1], falls into b */
    uint32_t guide[QEMB__ZIPF_GUIDE]; /* the bucket of the smallest word with these top bits */
    uint32_t buckets;
} qemb__zipf;

/* n in [1, 2^31), alpha in [0, 8], shift >= 0. */
qemb_status qemb__zipf_create(int64_t n, double alpha, double shift, qemb__zipf *zipf);
void qemb__zipf_destroy(qemb__zipf *zipf);

static inline uint32_t qemb__zipf_rank(const qemb__zipf *zipf, uint64_t random) {
    uint32_t word = (uint32_t)(random >> 32), b = zipf->guide[word >> 24];
    while (word >= zipf->limit[b] && b + 1 < zipf->buckets) {
        b++;
    }
    uint64_t width = zipf->start[b + 1] - zipf->start[b];
    return zipf->start[b] + (uint32_t)((random & 0xFFFFFFFFu) * width >> 32);
}

#endif
