/* training.h - what the operations of a training step share: a module, a batch, a gradient of its output, an optimiser. */
#ifndef QEMB_BENCH_TRAINING_H
#define QEMB_BENCH_TRAINING_H

#include "bench.h"

typedef struct bench_training {
    bench_world *world;
    qemb_embedding_bag *bag, *owned;
    bench_indices *indices;
    qemb_batch *batch;
    qemb_buffer *out, *grad; /* [B][sum D] */
    qemb_optimizer *optimizer;
    bool keeps_state; /* the picked observer may */
    /* of `backward`: the sparse gradient of one table at a time */
    qemb_buffer *coo_indices, *coo_values, *coo_count;
} bench_training;

qemb_status bench_training_open(bench_world *world, bench_form form, bool with_optimizer, bench_training **training);
void bench_training_close(void *training);
qemb_status bench_training_set(bench_training *training);     /* the next batch */
qemb_status bench_training_forward(bench_training *training); /* out of it */

/* Bytes of the forward, of the coalesced gradient, and of the update: the rules of tests/ops. */
double bench_training_forward_bytes(const bench_training *training);
double bench_training_backward_bytes(const bench_training *training);
double bench_training_update_bytes(const bench_training *training);

#endif
