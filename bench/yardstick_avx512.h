/* yardstick_avx512.h - the forward as a specialist would write it by hand for this processor: what the library's kernels are measured
 * against. AVX-512 intrinsics, software prefetch, two passes over groups of rows, no checks, sum of bags, memoryless observer, torch_cpu
 * arithmetic, 8 bits; embedding_dim 16, 64, 128 or 256. The output has the same bits as the library's.
 *
 * Call these only where yardstick_available() (yardstick.h) has said yes. */
#ifndef QEMB_BENCH_YARDSTICK_AVX512_H
#define QEMB_BENCH_YARDSTICK_AVX512_H

#include "yardstick.h"

/* Bags [first, last) of the work. */
void yardstick_float_avx512(const yardstick_work *w, int64_t first, int64_t last);
void yardstick_qat_avx512(const yardstick_work *w, int64_t first, int64_t last);
/* Reads the rows of those bags as the float forward does and keeps nothing but one sum a bag: the bandwidth of random rows. */
void yardstick_rows_avx512(const yardstick_work *w, int64_t first, int64_t last);
/* out[first..last) = rows[first..last) past the caches, in blocks of 64 bytes; and the same without the writes. */
void yardstick_copy_avx512(const yardstick_work *w, int64_t first, int64_t last);
void yardstick_read_avx512(const yardstick_work *w, int64_t first, int64_t last);

#endif
