/* mlp.h - dense layers:  y = relu(x W^T + b), the last one without ReLU where asked.  W[out][in], as torch.nn.Linear keeps it. */
#ifndef QEMB_DLRM_MLP_H
#define QEMB_DLRM_MLP_H

#include "dlrm/device.h"

enum { DLRM_MAX_LAYERS = 8 };

/* SGD w -= lr*g; Adagrad as torch.optim.Adagrad. */
typedef struct dlrm_dense_step {
    bool adagrad;
    float lr, eps;
} dlrm_dense_step;

typedef struct dlrm_layer {
    int64_t in, out;
    bool relu;
    cl_mem weight, bias;         /* [out][in], [out] */
    cl_mem weight_sum, bias_sum; /* Adagrad's sums of squares */
    cl_mem output, delta;        /* [capacity][out]: the last forward, and the gradient of the loss by it */
} dlrm_layer;

typedef struct dlrm_mlp {
    int count;
    dlrm_layer layer[DLRM_MAX_LAYERS];
    cl_mem gradient; /* Adagrad: of the largest weight */
} dlrm_mlp;

/* widths[count + 1]: input, hidden layers, output. Weights start as W ~ N(0, sqrt(2 / (in + out))), b ~ N(0, sqrt(1 / out)), from seed. */
typedef struct dlrm_mlp_desc {
    const int64_t *widths;
    int count;
    int64_t capacity; /* rows of the largest batch */
    bool last_relu, adagrad;
    uint64_t seed;
} dlrm_mlp_desc;
qemb_status dlrm_mlp_create(const dlrm_device *device, const dlrm_mlp_desc *desc, dlrm_mlp *mlp);
void dlrm_mlp_destroy(dlrm_mlp *mlp);

cl_mem dlrm_mlp_output(const dlrm_mlp *mlp); /* [capacity][widths[count]] */
cl_mem dlrm_mlp_delta(const dlrm_mlp *mlp);  /* where its gradient goes before backward */

/* Both enqueue. backward takes the gradient from dlrm_mlp_delta, writes that of the input to input_delta (unless NULL), updates. */
qemb_status dlrm_mlp_forward(dlrm_device *device, const dlrm_mlp *mlp, cl_mem input, int64_t rows);
qemb_status dlrm_mlp_backward(dlrm_device *device, const dlrm_mlp *mlp, const dlrm_dense_step *step, cl_mem input, cl_mem input_delta,
                              int64_t rows);

#endif
