/* optimizer.h - an optimiser's settings and its state beside the tables of one module. */
#ifndef QEMB_CORE_OPTIMIZER_H
#define QEMB_CORE_OPTIMIZER_H

#include "core/training.h"

struct qemb_optimizer {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer_desc desc; /* defaults filled in */
    int64_t steps;
    bool dense; /* a step moves every row */
    int32_t num_arrays;
    bool is_m[2];         /* array k of the state dict is m, else v */
    qemb_buffer **m, **v; /* [slabs], NULL where the kind has none */
    bool row_wise;        /* v is one number a row */
};

/* The settings at the step after `steps`, as kernels take them. */
q_optimizer qemb__optimizer_at(const qemb_optimizer *optimizer);

#endif
