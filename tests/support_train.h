/* support_train.h - trains one described module (tests/ops/row_update.h) on an engine, or on a model that shares no code with any.
 *
 * A run is a script: at each step what bag_event_of says happens (switches, rewritten rows), a forward, the gradients that are wanted, and
 * a step of the optimiser. What it gives is one list of numbers with the places where each kind begins, so that a difference is named. */
#ifndef QEMB_SUPPORT_TRAIN_H
#define QEMB_SUPPORT_TRAIN_H

#include "ops/row_update.h"
#include "support_bag.h"

enum { TRAIN_LINE = OP_TEXT, TRAIN_LABEL = 48 };

typedef struct train_part {
    char label[TRAIN_LABEL];
    int64_t first, count;
} train_part;

typedef struct train_result {
    float *values;
    int64_t count, room;
    train_part *parts;
    int64_t num_parts, parts_room;
} train_result;

void train_result_free(train_result *result);

/* Room for `count` more numbers, named. */
float *train_append(train_result *result, const char *label, int64_t step, int64_t table, int64_t count);

/* Equal bit for bit (a NaN is any NaN), or |got - want| <= tolerance * (|want| + 1); fails the test with the line of the case. */
void train_expect_same(const op_row_update *op, const char *who, const train_result *got, const train_result *want, double tolerance);

/* The sum of output times its gradient: a loss whose gradient is what the script feeds back. In double, position order. */
float train_loss(const float *output, const float *grad_output, int64_t count);

typedef struct train_runner {
    const op_row_update *op;
    qemb_context *ctx;
    qemb_embedding *embedding; /* mode none; else NULL */
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_optimizer *optimizer;
    train_result result;
    bool outputs, losses; /* what a step appends beside the gradients */
} train_runner;

/* Module and optimiser of the case, with the given tables (NULL: those of the case). */
void train_open(train_runner *r, qemb_context *ctx, const op_row_update *op, const float *const *weights);
void train_step(train_runner *r, int64_t step);
/* The same with lookups and a gradient of the output of the caller's; nothing of bag_event_of happens. */
void train_step_with(train_runner *r, int64_t step, const op_lookups *in, const float *grad_output, int64_t count);
/* Appends weights, observer state and optimiser state of every table. */
void train_state(train_runner *r);
void train_close(train_runner *r); /* all but the result */

/* The whole script, outputs, gradients and final state. */
train_result train_run_in(qemb_context *ctx, const op_row_update *op);
train_result train_run(const bag_engine *engine, const op_row_update *op);

/* The same as PyTorch and FBGEMM do it, whole tables at a time, orders of addition as the header promises (support_train_model.c). */
train_result train_model(const op_row_update *op);

/* The reference engine, and each of bag_engines whose bit is set, gives what the model gives, within tolerance. */
void train_check(const op_row_update *op, unsigned engines, double tolerance);

/* An optimiser of `kind` with settings that use every term it has; variant 0, 1, ... differ. */
void train_optimizer(op_row_update *op, int64_t kind, int64_t variant);

void train_must(const op_row_update *op, qemb_status st);

/* What decides the kernels that are compiled, which takes most of the time of such tests; everything else of a random case is drawn from
 * its seed. Widths of a class take the same kernels: 0 up to a lane group, 1 two blocks of 16, 2 whole blocks, 3 several a lane, 4 wide. */
typedef struct train_form {
    int64_t mode, weighted, arithmetic, observer, fake_quant, freq, i64, events, widths;
    double c;
} train_form;

op_row_update train_random(const train_form *form, uint64_t seed);

/* The case that $QEMB_CASE names, for reruns, or else `otherwise`. */
op_row_update train_case_from_environment(op_row_update otherwise);

#endif
