/* dlrm.cl - what a DLRM needs beside tables and matrix products: bias and ReLU, interaction, loss, dense Adagrad, forward and backward.
 *
 * Shapes   row-major float32; R rows of a batch, n columns of a layer, F vectors of D that interact (the bottom MLP's and the tables')
 * Order    every sum runs in one fixed order inside one work-item: the same bits every time on a device
 * Mapping  one work-item a sample, or 16 columns where a sum goes down the batch */
#pragma OPENCL FP_CONTRACT OFF

/* n <= 16 values, zeros behind them. */
static float16 load16(__global const float *p, int n) {
    if (n >= 16) {
        return vload16(0, p);
    }
    float t[16];
    for (int k = 0; k < 16; k++) {
        t[k] = k < n ? p[k] : 0.0f;
    }
    return vload16(0, t);
}

static void store16(float16 v, int n, __global float *p) {
    if (n >= 16) {
        vstore16(v, 0, p);
        return;
    }
    float t[16];
    vstore16(v, 0, t);
    for (int k = 0; k < n; k++) {
        p[k] = t[k];
    }
}

static float add_up(float16 v) {
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.x + c.y;
}

/* y[R][n] = y + bias, below 0 made 0 where `relu`. A work-item a row. */
__kernel void bias_relu(__global float *y, __global const float *bias, int n, int relu, int rows) {
    const int row = (int)get_global_id(0);
    if (row >= rows) {
        return;
    }
    __global float *p = y + (long)row * n;
    for (int c = 0; c < n; c += 16) {
        float16 v = load16(p + c, n - c) + load16(bias + c, n - c);
        v = relu ? select(v, (float16)(0.0f), v < (float16)(0.0f)) : v;
        store16(v, n - c, p + c);
    }
}

/* delta[R][n]: made 0 where ReLU gave 0; its sum over the batch is the gradient g of the bias, which is updated:
 *   SGD      bias -= lr*g                    (sum_sq unused)
 *   Adagrad  h += g*g; bias -= lr*(g / (sqrt(h) + eps))
 * A work-item 16 columns. */
__kernel void bias_backward(__global float *delta, __global const float *y, __global float *bias, __global float *sum_sq, int n, int relu,
                            int rows, int adagrad, float lr, float eps) {
    const int c = (int)get_global_id(0) * 16;
    if (c >= n) {
        return;
    }
    float16 g = (float16)(0.0f);
    for (int row = 0; row < rows; row++) {
        __global float *p = delta + (long)row * n + c;
        float16 v = load16(p, n - c);
        if (relu) {
            v = select((float16)(0.0f), v, load16(y + (long)row * n + c, n - c) > (float16)(0.0f));
            store16(v, n - c, p);
        }
        g += v;
    }
    float16 change = lr * g;
    if (adagrad) {
        const float16 h = load16(sum_sq + c, n - c) + g * g;
        store16(h, n - c, sum_sq + c);
        change = lr * (g / (sqrt(h) + eps));
    }
    store16(load16(bias + c, n - c) - change, n - c, bias + c);
}

/* w[count], its gradient g, and the sum of squares h: h += g*g; w -= lr*(g / (sqrt(h) + eps)). A work-item 16 weights. */
__kernel void adagrad(__global float *w, __global float *h, __global const float *g, int count, float lr, float eps) {
    const int c = (int)get_global_id(0) * 16;
    if (c >= count) {
        return;
    }
    const float16 d = load16(g + c, count - c);
    const float16 sum = load16(h + c, count - c) + d * d;
    store16(sum, count - c, h + c);
    store16(load16(w + c, count - c) - lr * (d / (sqrt(sum) + eps)), count - c, w + c);
}

/* Vector i of a sample: 0 is the bottom MLP's, the others are bags. */
static __global const float *vector_of(__global const float *bottom, __global const float *bags, int row, int i, int count, int dim) {
    return i == 0 ? bottom + (long)row * dim : bags + ((long)row * (count - 1) + i - 1) * dim;
}

/* out[R][D + F(F-1)/2]: the bottom vector, then dot(v_i, v_j) for i = 1..F-1, j < i. A work-item a sample. */
__kernel void dot_forward(__global const float *bottom, __global const float *bags, __global float *out, int count, int dim, int rows) {
    const int row = (int)get_global_id(0);
    if (row >= rows) {
        return;
    }
    __global float *p = out + (long)row * (dim + count * (count - 1) / 2);
    for (int c = 0; c < dim; c += 16) {
        store16(load16(bottom + (long)row * dim + c, dim - c), dim - c, p + c);
    }
    p += dim;
    for (int i = 1; i < count; i++) {
        __global const float *a = vector_of(bottom, bags, row, i, count, dim);
        for (int j = 0; j < i; j++) {
            __global const float *b = vector_of(bottom, bags, row, j, count, dim);
            float16 sum = load16(a, dim) * load16(b, dim);
            for (int c = 16; c < dim; c += 16) {
                sum += load16(a + c, dim - c) * load16(b + c, dim - c);
            }
            *p++ = add_up(sum);
        }
    }
}

/* The gradients of bottom[R][D] and bags[R][F-1][D] from delta, which has the shape of dot_forward's out. A work-item a sample. */
__kernel void dot_backward(__global const float *bottom, __global const float *bags, __global const float *delta,
                           __global float *bottom_delta, __global float *bags_delta, int count, int dim, int rows) {
    const int row = (int)get_global_id(0);
    if (row >= rows) {
        return;
    }
    __global const float *own = delta + (long)row * (dim + count * (count - 1) / 2);
    __global const float *dots = own + dim;
    for (int i = 0; i < count; i++) {
        __global float *target = i == 0 ? bottom_delta + (long)row * dim : bags_delta + ((long)row * (count - 1) + i - 1) * dim;
        for (int c = 0; c < dim; c += 16) {
            float16 sum = i == 0 ? load16(own + c, dim - c) : (float16)(0.0f);
            for (int j = 0; j < i; j++) {
                sum += dots[i * (i - 1) / 2 + j] * load16(vector_of(bottom, bags, row, j, count, dim) + c, dim - c);
            }
            for (int j = i + 1; j < count; j++) {
                sum += dots[j * (j - 1) / 2 + i] * load16(vector_of(bottom, bags, row, j, count, dim) + c, dim - c);
            }
            store16(sum, dim - c, target + c);
        }
    }
}

/* out[R][F*D]: the vectors behind each other; and back. A work-item a sample. */
__kernel void cat_forward(__global const float *bottom, __global const float *bags, __global float *out, int count, int dim, int rows) {
    const int row = (int)get_global_id(0);
    if (row >= rows) {
        return;
    }
    for (int k = 0; k < count * dim; k++) {
        out[(long)row * count * dim + k] = k < dim ? bottom[(long)row * dim + k] : bags[(long)row * (count - 1) * dim + k - dim];
    }
}

__kernel void cat_backward(__global const float *delta, __global float *bottom_delta, __global float *bags_delta, int count, int dim,
                           int rows) {
    const int row = (int)get_global_id(0);
    if (row >= rows) {
        return;
    }
    for (int k = 0; k < count * dim; k++) {
        const float g = delta[(long)row * count * dim + k];
        if (k < dim) {
            bottom_delta[(long)row * dim + k] = g;
        } else {
            bags_delta[(long)row * (count - 1) * dim + k - dim] = g;
        }
    }
}

/* z a logit, y its label: loss = max(z,0) - z*y + log(1 + exp(-|z|)), d mean loss / dz = (sigmoid(z) - y) / R. A work-item a sample. */
__kernel void loss_backward(__global const float *logits, __global const float *labels, __global float *losses, __global float *delta,
                            int rows) {
    const int row = (int)get_global_id(0);
    if (row >= rows) {
        return;
    }
    const float z = logits[row];
    const float y = labels[row];
    const float e = exp(-fabs(z));
    losses[row] = fmax(z, 0.0f) - z * y + log1p(e);
    delta[row] = ((z >= 0.0f ? 1.0f : e) / (1.0f + e) - y) / (float)rows;
}

/* sums[slot] = losses[0] + ... + losses[R-1], sixteen sums side by side. One work-item. */
__kernel void loss_sum(__global const float *losses, __global float *sums, int rows, int slot) {
    float16 sum = (float16)(0.0f);
    for (int k = 0; k < rows; k += 16) {
        sum += load16(losses + k, rows - k);
    }
    sums[slot] = add_up(sum);
}

/* out[row] = 1 / (1 + exp(-z)). A work-item a sample. */
__kernel void sigmoid(__global const float *logits, __global float *out, int rows) {
    const int row = (int)get_global_id(0);
    if (row < rows) {
        const float z = logits[row];
        const float e = exp(-fabs(z));
        out[row] = (z >= 0.0f ? 1.0f : e) / (1.0f + e);
    }
}
