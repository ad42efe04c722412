/* gradient.h - the gradient of one row, for bag_backward and row_update of the reference engine. */
#ifndef QEMB_REFERENCE_GRADIENT_H
#define QEMB_REFERENCE_GRADIENT_H

#include "core/training.h"
#include "reference/reference.h"
#include "kernels_cl/shared/row_kinds.h"
#include "kernels_cl/shared/optimizer.h"

/* A sorted batch as the reference engine walks over it. */
typedef struct ref_gradient {
    const qemb__gradient_args *args;
    const qemb__tables *tables;
    const float *output; /* the gradient of the output */
    float *work;         /* a row's tree */
    float *parts;        /* those of the longest run */
    q_i32 runs;
} ref_gradient;

qemb_status qemb__ref_gradient_begin(const qemb__gradient_args *args, ref_gradient *g);
void qemb__ref_gradient_end(ref_gradient *g);

/* Table and row of a run. */
int32_t qemb__ref_run_row(const ref_gradient *g, q_i32 run, int64_t *row);

/* Table of a row number of the module. */
int32_t qemb__ref_table_of(const qemb__tables *tables, int64_t number);

/* Sum over the lookups of a run, without the mask. */
void qemb__ref_run_gradient(const ref_gradient *g, q_i32 run, float *sum);

/* Multiplies by the straight-through mask of the last forward. */
void qemb__ref_mask(const ref_gradient *g, int32_t table, int64_t row, float *gradient);

/* Gradient row of bag `b` (over all features), at the feature's columns; its feature. */
const float *qemb__ref_output_row(const ref_gradient *g, int64_t bag, int32_t *feature);

/* What the gradient of a bag's row is multiplied by for a lookup at `position` of a row looked up `count` times. */
float qemb__ref_alpha(const ref_gradient *g, int64_t bag, int64_t position, int64_t count);

#endif
