/* replay_run.h - one case on its way through a module. */
#ifndef QEMB_REPLAY_RUN_H
#define QEMB_REPLAY_RUN_H

#include "replay.h"

typedef struct replay_run {
    qemb_context *ctx;
    const replay_case *c;
    replay_report *report;
    bool only_forward;
    qemb_embedding_bag *bag;
    qemb_embedding *embedding; /* NULL: bag is a bag, and owned */
    qemb_batch *batch;
    qemb_optimizer *optimizer;
    qemb_buffer *weight_buffer;
    replay_tensor weight;

    /* of the step that runs */
    replay_tensor indices, offsets, psw, grad_output;
    int64_t rows;      /* of the output */
    int64_t out_count; /* floats of out: the output, a row and a guard more */
    float *output;
    qemb_buffer *out;
    bool forward_done;
} replay_run;

/* ---- replay_train.c: the optimiser of the case, if it has one; backward and update of step k, compared where the case says what it gives
 */
qemb_status replay_optimizer_create(replay_run *r);
qemb_status replay_train_step(replay_run *r, int64_t k);

/* ---- replay_lookup.c: the input of the step that runs; whether output elements [from, out_count) still hold the canary (reads the output) */
qemb_input replay_input(const replay_run *r);
bool replay_is_untouched(replay_run *r, int64_t from);

/* ---- replay_pack.c */
qemb_status replay_pack(replay_run *r);

/* Everything of a module that a caller can see: weight, then min, max, scale, zero point of every row. */
typedef struct replay_state {
    float *values;
    int64_t count;
} replay_state;

#endif
