/* support_model.h - the tables of the model of PyTorch (support_model.c), for the models of forward and of training. */
#ifndef QEMB_SUPPORT_MODEL_H
#define QEMB_SUPPORT_MODEL_H

#include "support_bag.h"

typedef struct model_table {
    int64_t rows, dim, padding;
    float *w, *min_val, *max_val;
    bool observed, observer_on, fake_quant_on;
} model_table;

typedef struct model {
    const op_bag_forward *op;
    model_table t[256];
    bag_result result;
} model;

void model_open(model *m, const op_bag_forward *op);
void model_close(model *m); /* all but the result */
void model_event(model *m, int64_t step);
/* Appends the output of a step. */
void model_forward(model *m, int64_t step);

/* Of a row after the last observation: its qparams, what a lookup gives. */
void model_qparams(const op_bag_forward *op, const model_table *t, int64_t r, float *scale, float *zero);
void model_look_up(const op_bag_forward *op, const model_table *t, int64_t r, float *value);

#endif
