/* pipeline.h - the forward that everyone else has, as well as it can be written on a CPU device: fake-quantise every row of every table into
 * a second table, then look the batch up in that.
 *
 * Observation and fake quantisation are one kernel, so a table is read once and written once, past the caches: the bound is the copy
 * bandwidth. The lookup is the library's float forward. Memoryless observer, torch_cpu arithmetic, codes 0 .. 2^bits - 1. */
#ifndef QEMB_BENCH_PIPELINE_H
#define QEMB_BENCH_PIPELINE_H

#include <qemb/qemb.h>

typedef struct bench_pipeline bench_pipeline;

/* Over copies of the weights of `source`, with its tables, features and mode; twice its memory. UNSUPPORTED where the device is not a CPU under
 * OpenCL, NOMEM, BUILD. */
qemb_status bench_pipeline_create(qemb_context *ctx, qemb_embedding_bag *source, int bits, bench_pipeline **pipeline);
void bench_pipeline_destroy(bench_pipeline *pipeline);
/* The float module over the second tables: what batches are set for. */
qemb_embedding_bag *bench_pipeline_module(const bench_pipeline *pipeline);
/* Fake-quantises all tables. Returns before the device is done. */
qemb_status bench_pipeline_quantise(bench_pipeline *pipeline);
/* That, then the lookup. */
qemb_status bench_pipeline_forward(bench_pipeline *pipeline, qemb_batch *batch, qemb_buffer *out);
/* Bytes that one bench_pipeline_quantise moves: every table read and written. */
double bench_pipeline_bytes(const bench_pipeline *pipeline);

#endif
