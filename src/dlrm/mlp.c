/* mlp.c - see mlp.h. */
#include "dlrm/mlp.h"

#include <math.h>

#include "dlrm/gemm.h"
#include "dlrm/random.h"

static qemb_status layer_create(const dlrm_device *d, const dlrm_mlp_desc *desc, int index, dlrm_layer *l) {
    qemb_status st = QEMB_OK;
    float *values = NULL;
    l->in = desc->widths[index];
    l->out = desc->widths[index + 1];
    l->relu = index + 1 < desc->count || desc->last_relu;
    DLRM_REQUIRE(l->in > 0 && l->out > 0, QEMB_ERR_SHAPE, "dlrm: layer %d is %lld x %lld, want both > 0", index, (long long)l->in,
                 (long long)l->out);
    DLRM_NEW(values, l->in * l->out);
    DLRM_TRY(dlrm_memory_create(d, l->in * l->out, &l->weight));
    dlrm_normal(desc->seed, 2 * (uint64_t)index, (float)sqrt(2.0 / (double)(l->in + l->out)), values, l->in * l->out);
    DLRM_TRY(dlrm_memory_write(d, l->weight, l->in * l->out, values));
    DLRM_TRY(dlrm_memory_create(d, l->out, &l->bias));
    dlrm_normal(desc->seed, 2 * (uint64_t)index + 1, (float)sqrt(1.0 / (double)l->out), values, l->out);
    DLRM_TRY(dlrm_memory_write(d, l->bias, l->out, values));
    DLRM_TRY(dlrm_memory_create(d, desc->adagrad ? l->in * l->out : 1, &l->weight_sum));
    DLRM_TRY(dlrm_memory_create(d, desc->adagrad ? l->out : 1, &l->bias_sum));
    DLRM_TRY(dlrm_memory_create(d, desc->capacity * l->out, &l->output));
    DLRM_TRY(dlrm_memory_create(d, desc->capacity * l->out, &l->delta));
done:
    free(values);
    return st;
}

qemb_status dlrm_mlp_create(const dlrm_device *d, const dlrm_mlp_desc *desc, dlrm_mlp *mlp) {
    qemb_status st = QEMB_OK;
    int64_t largest = 1;
    *mlp = (dlrm_mlp){.count = desc->count};
    DLRM_REQUIRE(desc->count > 0 && desc->count <= DLRM_MAX_LAYERS, QEMB_ERR_SHAPE, "dlrm: an MLP of %d layers, want 1 .. %d", desc->count,
                 DLRM_MAX_LAYERS);
    for (int i = 0; i < desc->count; i++) {
        DLRM_TRY(layer_create(d, desc, i, &mlp->layer[i]));
        const int64_t size = mlp->layer[i].in * mlp->layer[i].out;
        largest = size > largest ? size : largest;
    }
    DLRM_TRY(dlrm_memory_create(d, desc->adagrad ? largest : 1, &mlp->gradient));
done:
    if (st != QEMB_OK) {
        dlrm_mlp_destroy(mlp);
    }
    return st;
}

void dlrm_mlp_destroy(dlrm_mlp *mlp) {
    for (int i = 0; i < DLRM_MAX_LAYERS; i++) {
        dlrm_layer *l = &mlp->layer[i];
        cl_mem *all[] = {&l->weight, &l->bias, &l->weight_sum, &l->bias_sum, &l->output, &l->delta};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            dlrm_memory_destroy(all[k]);
        }
    }
    dlrm_memory_destroy(&mlp->gradient);
}

cl_mem dlrm_mlp_output(const dlrm_mlp *mlp) {
    return mlp->layer[mlp->count - 1].output;
}

cl_mem dlrm_mlp_delta(const dlrm_mlp *mlp) {
    return mlp->layer[mlp->count - 1].delta;
}

qemb_status dlrm_mlp_forward(dlrm_device *d, const dlrm_mlp *mlp, cl_mem input, int64_t rows) {
    qemb_status st = QEMB_OK;
    for (int i = 0; i < mlp->count; i++) {
        const dlrm_layer *l = &mlp->layer[i];
        const cl_int n = (cl_int)l->out;
        const cl_int relu = l->relu;
        const cl_int count = (cl_int)rows;
        const dlrm_argument arguments[] = {DLRM_ARGUMENT(l->output), DLRM_ARGUMENT(l->bias), DLRM_ARGUMENT(n), DLRM_ARGUMENT(relu),
                                           DLRM_ARGUMENT(count)};
        DLRM_TRY(dlrm_gemm(d, &(dlrm_gemm_call){.rows = rows,
                                                .columns = l->out,
                                                .depth = l->in,
                                                .transpose_b = true,
                                                .alpha = 1.0f,
                                                .a = i == 0 ? input : mlp->layer[i - 1].output,
                                                .b = l->weight,
                                                .c = l->output}));
        DLRM_TRY(dlrm_launch(d, DLRM_KERNEL_bias_relu, rows, arguments, 5));
    }
done:
    return st;
}

/* delta becomes the gradient by the sums before ReLU; the bias moves. */
static qemb_status bias_backward(const dlrm_device *d, const dlrm_layer *l, const dlrm_dense_step *step, int64_t rows) {
    const cl_int n = (cl_int)l->out;
    const cl_int relu = l->relu;
    const cl_int count = (cl_int)rows;
    const cl_int adagrad = step->adagrad;
    const cl_float lr = step->lr;
    const cl_float eps = step->eps;
    const dlrm_argument arguments[] = {
        DLRM_ARGUMENT(l->delta), DLRM_ARGUMENT(l->output), DLRM_ARGUMENT(l->bias), DLRM_ARGUMENT(l->bias_sum), DLRM_ARGUMENT(n),
        DLRM_ARGUMENT(relu),     DLRM_ARGUMENT(count),     DLRM_ARGUMENT(adagrad), DLRM_ARGUMENT(lr),          DLRM_ARGUMENT(eps)};
    return dlrm_launch(d, DLRM_KERNEL_bias_backward, (l->out + 15) / 16, arguments, 10);
}

/* SGD is the product itself, W = W - lr * delta^T x; Adagrad needs the gradient by itself. */
static qemb_status weight_backward(dlrm_device *d, const dlrm_mlp *mlp, const dlrm_layer *l, const dlrm_dense_step *step,
                                   dlrm_gemm_call product) {
    qemb_status st = QEMB_OK;
    const cl_int count = (cl_int)(l->in * l->out);
    const cl_float lr = step->lr;
    const cl_float eps = step->eps;
    product.alpha = step->adagrad ? 1.0f : -step->lr;
    product.beta = step->adagrad ? 0.0f : 1.0f;
    product.c = step->adagrad ? mlp->gradient : l->weight;
    DLRM_TRY(dlrm_gemm(d, &product));
    if (step->adagrad) {
        const dlrm_argument arguments[] = {
            DLRM_ARGUMENT(l->weight), DLRM_ARGUMENT(l->weight_sum), DLRM_ARGUMENT(mlp->gradient), DLRM_ARGUMENT(count), DLRM_ARGUMENT(lr),
            DLRM_ARGUMENT(eps)};
        DLRM_TRY(dlrm_launch(d, DLRM_KERNEL_adagrad, (l->in * l->out + 15) / 16, arguments, 6));
    }
done:
    return st;
}

qemb_status dlrm_mlp_backward(dlrm_device *d, const dlrm_mlp *mlp, const dlrm_dense_step *step, cl_mem input, cl_mem input_delta,
                              int64_t rows) {
    qemb_status st = QEMB_OK;
    for (int i = mlp->count - 1; i >= 0; i--) {
        const dlrm_layer *l = &mlp->layer[i];
        const cl_mem down = i > 0 ? mlp->layer[i - 1].delta : input_delta;
        DLRM_TRY(bias_backward(d, l, step, rows));
        if (down) { /* before the weights move */
            DLRM_TRY(dlrm_gemm(
                d, &(dlrm_gemm_call){
                       .rows = rows, .columns = l->in, .depth = l->out, .alpha = 1.0f, .a = l->delta, .b = l->weight, .c = down}));
        }
        DLRM_TRY(weight_backward(d, mlp, l, step,
                                 (dlrm_gemm_call){.rows = l->out,
                                                  .columns = l->in,
                                                  .depth = rows,
                                                  .transpose_a = true,
                                                  .a = l->delta,
                                                  .b = i > 0 ? mlp->layer[i - 1].output : input}));
    }
done:
    return st;
}
