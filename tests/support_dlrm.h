/* support_dlrm.h - a DLRM in plain C and double precision, written from the paper and from nothing in src/dlrm: a step of a small model. */
#ifndef QEMB_SUPPORT_DLRM_H
#define QEMB_SUPPORT_DLRM_H

#include <stdbool.h>
#include <stdint.h>

enum { PLAIN_LAYERS = 4, PLAIN_WIDTH = 64, PLAIN_TABLES = 5 };

typedef struct plain_layer {
    int in, out;
    bool relu;
    double weight[PLAIN_WIDTH][PLAIN_WIDTH], bias[PLAIN_WIDTH];           /* [out][in] */
    double weight_grad[PLAIN_WIDTH][PLAIN_WIDTH], bias_grad[PLAIN_WIDTH]; /* of the mean loss */
} plain_layer;

typedef struct plain_dlrm {
    int tables, dim, bottom, top; /* layers of the MLPs */
    bool cat;
    plain_layer layer[2][PLAIN_LAYERS]; /* bottom, top */
} plain_dlrm;

/* rows[b][t] points at the table row that sample b looks up, row_grads[b][t] at [dim] numbers for its gradient (of the mean loss). Fills
 * those and the gradients of the layers; gives the mean loss, and each sample's probability. */
double plain_dlrm_step(plain_dlrm *m, int samples, const double *dense, const double *const *rows, double *const *row_grads,
                       const double *labels, double *probabilities);

#endif
