/* yardstick.h - runs the hand-written AVX-512 forward and the bandwidth probes over threads of its own.
 *
 * Lives on the same memory as the library's tables: pass the host pointer of a mapped buffer. */
#ifndef QEMB_BENCH_YARDSTICK_H
#define QEMB_BENCH_YARDSTICK_H

#include <stdbool.h>
#include <stdint.h>

typedef enum yardstick_kind {
    YARDSTICK_FLOAT, /* out[b][:] = sum of the rows of bag b */
    YARDSTICK_QAT,   /* the same of fake-quantised rows: memoryless observer, torch_cpu, 8 bits, eps 2^-23 */
    YARDSTICK_ROWS,  /* random rows read, one float a bag written: the bandwidth of random rows */
    YARDSTICK_COPY,  /* num_rows * dim floats of rows copied to out, streaming stores */
    YARDSTICK_READ   /* the same floats read in order, a few words of out (as large as rows) written */
} yardstick_kind;

typedef struct yardstick_work {
    const float *rows; /* [num_rows][dim]; 64-byte aligned */
    int64_t num_rows;
    int32_t dim; /* 16, 64, 128 or 256 */
    const int32_t *indices;
    const int32_t *offsets; /* [bags + 1] */
    int64_t bags;
    int64_t ahead; /* lookups between a prefetch and its use; 0: the distance that was best in bench/results */
    float *out;    /* [bags][dim] */
} yardstick_work;

typedef struct yardstick yardstick;

/* Whether this processor runs the yardstick and has a kernel for the width. */
bool yardstick_available(int32_t dim);
/* Threads that wait for work; NULL when they cannot be made. */
yardstick *yardstick_create(int threads);
void yardstick_destroy(yardstick *y);
/* Runs the work to its end. */
void yardstick_run(yardstick *y, yardstick_kind kind, const yardstick_work *work);

#endif
