/* support_dlrm.c - see support_dlrm.h. One sample after the other, gradients by the chain rule. */
#include "support_dlrm.h"

#include <math.h>
#include <string.h>

enum { INPUT = 512 };

/* y[k+1] = relu(W y[k] + b). */
static void mlp_forward(const plain_layer *layer, int count, double y[PLAIN_LAYERS + 1][INPUT]) {
    for (int k = 0; k < count; k++) {
        for (int o = 0; o < layer[k].out; o++) {
            double sum = layer[k].bias[o];
            for (int i = 0; i < layer[k].in; i++) {
                sum += layer[k].weight[o][i] * y[k][i];
            }
            y[k + 1][o] = layer[k].relu && sum < 0.0 ? 0.0 : sum;
        }
    }
}

/* g: the gradient of the output, then of the input. */
static void mlp_backward(plain_layer *layer, int count, double y[PLAIN_LAYERS + 1][INPUT], double g[INPUT]) {
    for (int k = count - 1; k >= 0; k--) {
        double down[INPUT] = {0};
        for (int o = 0; o < layer[k].out; o++) {
            const double d = layer[k].relu && !(y[k + 1][o] > 0.0) ? 0.0 : g[o];
            layer[k].bias_grad[o] += d;
            for (int i = 0; i < layer[k].in; i++) {
                layer[k].weight_grad[o][i] += d * y[k][i];
                down[i] += d * layer[k].weight[o][i];
            }
        }
        memcpy(g, down, sizeof down);
    }
}

/* v[0] the bottom vector, v[1..] the rows; z what goes into the top MLP. */
static void interact(const plain_dlrm *m, double v[PLAIN_TABLES + 1][PLAIN_WIDTH], double z[INPUT]) {
    int at = 0;
    for (int c = 0; c < m->dim; c++) {
        z[at++] = v[0][c];
    }
    for (int i = 1; i <= m->tables; i++) {
        for (int c = 0; m->cat && c < m->dim; c++) {
            z[at++] = v[i][c];
        }
        for (int j = 0; !m->cat && j < i; j++) {
            double dot = 0.0;
            for (int c = 0; c < m->dim; c++) {
                dot += v[i][c] * v[j][c];
            }
            z[at++] = dot;
        }
    }
}

static void interact_backward(const plain_dlrm *m, double v[PLAIN_TABLES + 1][PLAIN_WIDTH], const double g[INPUT],
                              double dv[PLAIN_TABLES + 1][PLAIN_WIDTH]) {
    int at = 0;
    memset(dv, 0, (PLAIN_TABLES + 1) * sizeof *dv);
    for (int c = 0; c < m->dim; c++) {
        dv[0][c] = g[at++];
    }
    for (int i = 1; i <= m->tables; i++) {
        for (int c = 0; m->cat && c < m->dim; c++) {
            dv[i][c] = g[at++];
        }
        for (int j = 0; !m->cat && j < i; j++, at++) {
            for (int c = 0; c < m->dim; c++) {
                dv[i][c] += g[at] * v[j][c];
                dv[j][c] += g[at] * v[i][c];
            }
        }
    }
}

double plain_dlrm_step(plain_dlrm *m, int samples, const double *dense, const double *const *rows, double *const *row_grads,
                       const double *labels, double *probabilities) {
    double loss = 0.0;
    for (int side = 0; side < 2; side++) {
        for (int k = 0; k < PLAIN_LAYERS; k++) {
            memset(m->layer[side][k].weight_grad, 0, sizeof m->layer[side][k].weight_grad);
            memset(m->layer[side][k].bias_grad, 0, sizeof m->layer[side][k].bias_grad);
        }
    }
    for (int b = 0; b < samples; b++) {
        static double y[2][PLAIN_LAYERS + 1][INPUT];
        double v[PLAIN_TABLES + 1][PLAIN_WIDTH], dv[PLAIN_TABLES + 1][PLAIN_WIDTH], g[INPUT] = {0};
        memcpy(y[0][0], dense + 13 * b, 13 * sizeof(double));
        mlp_forward(m->layer[0], m->bottom, y[0]);
        memcpy(v[0], y[0][m->bottom], (size_t)m->dim * sizeof(double));
        for (int t = 0; t < m->tables; t++) {
            memcpy(v[t + 1], rows[b * m->tables + t], (size_t)m->dim * sizeof(double));
        }
        interact(m, v, y[1][0]);
        mlp_forward(m->layer[1], m->top, y[1]);
        const double p = 1.0 / (1.0 + exp(-y[1][m->top][0]));
        probabilities[b] = p;
        loss -= (labels[b] > 0.5 ? log(p) : log(1.0 - p)) / samples;
        g[0] = (p - labels[b]) / samples;
        mlp_backward(m->layer[1], m->top, y[1], g);
        interact_backward(m, v, g, dv);
        for (int t = 0; t < m->tables; t++) {
            memcpy(row_grads[b * m->tables + t], dv[t + 1], (size_t)m->dim * sizeof(double));
        }
        memset(g, 0, sizeof g);
        memcpy(g, dv[0], (size_t)m->dim * sizeof(double));
        mlp_backward(m->layer[0], m->bottom, y[0], g);
    }
    return loss;
}
