/* device.h - kernels of the bench's own, beside the library's on the same queue: the bandwidth of random rows, and a kernel that reads and
 * writes what packing does. They stand on qemb_opencl.h alone. */
#ifndef QEMB_BENCH_DEVICE_H
#define QEMB_BENCH_DEVICE_H

#include <qemb/qemb.h>

/* Rows of `dim` floats read at random from a table of about `bytes` bytes, in GB/s of the rows alone: the best of some runs. 0 on the
 * reference engine and where the program does not build. */
qemb_status bench_rows_bandwidth(qemb_context *ctx, int64_t bytes, int64_t dim, double *gbps);

/* Reads `rows` rows of `dim` floats, at least 16, and writes `row_bytes` bytes for each: the low bits of what it read. */
typedef struct bench_row_copy bench_row_copy;
qemb_status bench_row_copy_create(qemb_context *ctx, int64_t rows, int64_t dim, int64_t row_bytes, bench_row_copy **copy);
void bench_row_copy_destroy(bench_row_copy *copy);
/* Into new memory, as qemb_packed_create does; the memory of the run before is given back by bench_row_copy_forget. */
qemb_status bench_row_copy_run(bench_row_copy *copy);
void bench_row_copy_forget(bench_row_copy *copy);

/* The host's address of a mapped buffer; NULL where its memory is not the host's. */
float *bench_host_memory(qemb_context *ctx, const qemb_buffer *buffer);

#endif
