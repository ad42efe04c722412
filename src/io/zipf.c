/* zipf.c - see zipf.h. */
#include "io/zipf.h"

#include "base/checked.h"
#include "base/memory.h"
#include "io/exact_math.h"

static int64_t bucket_width(int64_t start, int64_t n) {
    return qemb__min_i64(qemb__max_i64(1, start / 64), n - start);
}

static double bucket_mass(int64_t start, int64_t width, double alpha, double shift) {
    double middle = (double)start + 0.5 * (double)(width - 1) + 1.0 + shift;
    return (double)width * qemb__exact_exp(-alpha * qemb__exact_log(middle));
}

qemb_status qemb__zipf_create(int64_t n, double alpha, double shift, qemb__zipf *zipf) {
    qemb__zipf z = {0};
    qemb_status st = QEMB_OK;
    void *block = NULL;
    double total = 0.0, sum = 0.0;
    for (int64_t start = 0; start < n; start += bucket_width(start, n)) {
        total += bucket_mass(start, bucket_width(start, n), alpha, shift);
        z.buckets++;
    }
    st = qemb__calloc((int64_t)z.buckets + 1, sizeof *z.start, &block);
    if (st != QEMB_OK) {
        return st;
    }
    z.start = block;
    st = qemb__calloc(z.buckets, sizeof *z.limit, &block);
    if (st != QEMB_OK) {
        qemb__zipf_destroy(&z);
        return st;
    }
    z.limit = block;
    int64_t start = 0;
    for (uint32_t b = 0, cell = 0; b < z.buckets; ++b) {
        int64_t width = bucket_width(start, n);
        sum += bucket_mass(start, width, alpha, shift);
        double limit = sum / total * 0x1p32;
        z.start[b] = (uint32_t)start;
        z.limit[b] = limit < 0x1p32 - 1.0 && b + 1 < z.buckets ? (uint32_t)limit : UINT32_MAX;
        for (; cell < QEMB__ZIPF_GUIDE && (cell << 24) < z.limit[b]; ++cell) {
            z.guide[cell] = b;
        }
        start += width;
    }
    z.start[z.buckets] = (uint32_t)start;
    *zipf = z;
    return QEMB_OK;
}

void qemb__zipf_destroy(qemb__zipf *zipf) {
    qemb__free(zipf->start);
    qemb__free(zipf->limit);
    *zipf = (qemb__zipf){0};
}
