/* optimizer.h - the arithmetic of a row's update, written once for every engine and kernel family.
 *
 * C11 and OpenCL C; QV as in fake_quant.h. An update is w = keep * w + scale * d, d the direction that q_direction makes of the gradient
 * and the row's state; keep, scale and `root` (a denominator or rate of the whole row) come from sums along the row, where the kind has
 * any. One rounding for each written operation. Rules: torch/optim, and FBGEMM's table of optimisers (exact forms). */
#ifndef Q_OPTIMIZER_H
#define Q_OPTIMIZER_H

#if defined(__OPENCL_VERSION__) && defined(Q_VECTOR16)
#define q_divide divide16
#define q_root   root16
#else
static inline QV q_divide(const QV a, const QV b) {
    return Q_DIV(a, b);
}
static inline QV q_root(const QV a) {
    return Q_SQRT(a);
}
#endif

/* What is the same for a whole row. */
typedef struct q_row_scalars {
    float keep, scale, root;
} q_row_scalars;

/* The gradient as the optimiser takes it: clipped, then negated under maximize. coefficient: of the clip by norm. */
static inline QV q_prepare(const q_optimizer o, const QV g, const float coefficient) {
    QV x = g;
    if (o.clip == Q_CLIP_VALUE) {
        x = x > Q_SPLAT(o.limit) ? Q_SPLAT(o.limit) : x;
        x = x < Q_SPLAT(-o.limit) ? Q_SPLAT(-o.limit) : x;
    } else if (o.clip == Q_CLIP_NORM) {
        x = x * coefficient;
    }
    return o.maximize ? -x : x;
}

/* min(1, limit / (norm + 1e-6)) from the sum of squares. */
static inline float q_clip_coefficient(const float squares, const float limit) {
    const float shifted = Q_SQRT(squares) + 1e-6f;
    const float c = Q_DIV(limit, shifted);
    return c < 1.0f ? c : 1.0f;
}

/* What an element adds to the first sum of Q_SUMS_BEFORE. */
static inline QV q_square_before(const q_optimizer o, const q_i32 kind, const QV g, const QV w) {
    if (kind == Q_ROWWISE_ADAGRAD && o.weight_decay != 0.0f && !o.decoupled) {
        const QV decay = w * o.weight_decay;
        const QV x = g + decay;
        return x * x;
    }
    return g * g;
}

/* Scalars of a row before the direction. squares: of g (or as q_square_before says), weights: of w (LARS); row: the state of the row. */
static inline q_row_scalars q_scalars_before(const q_optimizer o, const q_i32 kind, const float squares, const float weights,
                                             const q_i32 dim, float *row) {
    q_row_scalars r = {1.0f, o.scale, 0.0f};
    if (kind == Q_ROWWISE_ADAGRAD) {
        const float mean = Q_DIV(squares, (float)dim);
        *row = *row + mean;
        const float root = Q_SQRT(*row) + o.eps;
        const float rate = Q_DIV(o.lr, root);
        const float decay = (o.decoupled ? o.lr : rate) * o.weight_decay;
        r.keep = 1.0f - decay;
        r.scale = -rate;
    } else if (kind == Q_PARTIAL_ROWWISE_ADAM) {
        const float mean = Q_DIV(squares, (float)dim);
        const float old = o.beta2 * *row;
        const float fresh = o.rest2 * mean;
        *row = old + fresh;
        r.root = Q_SQRT(Q_DIV(*row, o.bias2)) + o.eps;
    } else if (kind == Q_LARS_SGD) {
        const float w = Q_SQRT(weights);
        const float decay = o.weight_decay * w;
        const float below = Q_SQRT(squares) + decay;
        const float rate = o.lr * o.trust;
        const float above = rate * w;
        r.root = w > 0.0f && below > 0.0f ? Q_DIV(above, below) : o.lr;
    }
    return r;
}

/* LAMB: the rate times |w| / |d|, from both sums of squares. */
static inline float q_scale_after(const float scale, const float weights, const float directions) {
    const float w = Q_SQRT(weights);
    const float d = Q_SQRT(directions);
    return w > 0.0f && d > 0.0f ? scale * Q_DIV(w, d) : scale;
}

/* The direction of an element; moves its state. */
static inline QV q_direction(const q_optimizer o, const q_i32 kind, const QV g, const QV w, const float root, QV *m, QV *v) {
    if (kind == Q_SGD) {
        QV x = g;
        if (o.weight_decay != 0.0f) {
            const QV decay = w * o.weight_decay;
            x = x + decay;
        }
        if (o.momentum == 0.0f) {
            return x;
        }
        const QV old = *m * o.momentum;
        const QV fresh = x * o.keep;
        *m = o.first ? x : old + fresh;
        const QV ahead = *m * o.momentum;
        return o.nesterov ? x + ahead : *m;
    }
    if (kind == Q_ADAGRAD) {
        const QV square = g * g;
        *v = *v + square;
        return q_divide(g, q_root(*v) + Q_SPLAT(o.eps));
    }
    if (kind == Q_SPARSE_ADAM) {
        const QV square = g * g;
        const QV dm = (g - *m) * o.rest1;
        const QV dv = (square - *v) * o.rest2;
        *m = dm + *m;
        *v = dv + *v;
        return q_divide(*m, q_root(*v) + Q_SPLAT(o.eps));
    }
    if (kind == Q_LARS_SGD) {
        const QV decay = w * o.weight_decay;
        const QV x = g + decay;
        const QV old = *m * o.momentum;
        const QV fresh = x * root;
        *m = old + fresh;
        return *m;
    }
    if (kind == Q_ADAM || kind == Q_LAMB || kind == Q_PARTIAL_ROWWISE_ADAM) {
        const QV old = *m * o.beta1;
        const QV fresh = g * o.rest1;
        *m = old + fresh;
        QV below = Q_SPLAT(root);
        if (kind != Q_PARTIAL_ROWWISE_ADAM) {
            const QV square = g * g;
            const QV old2 = *v * o.beta2;
            const QV fresh2 = square * o.rest2;
            *v = old2 + fresh2;
            below = q_root(q_divide(*v, Q_SPLAT(o.bias2))) + Q_SPLAT(o.eps);
        }
        const QV ratio = q_divide(q_divide(*m, Q_SPLAT(o.bias1)), below);
        const QV decay = w * o.weight_decay;
        return ratio + decay;
    }
    return g; /* row-wise Adagrad: the rate is the row's */
}

static inline QV q_apply(const q_row_scalars r, const QV w, const QV d) {
    const QV kept = w * r.keep;
    const QV moved = d * r.scale;
    return kept + moved;
}

/* Row-wise Adagrad's max_norm: what a row is multiplied by after the update, from its sum of squares. */
static inline float q_shrink(const q_optimizer o, const float squares) {
    const float norm = Q_SQRT(squares);
    return o.max_norm >= 0.0f && norm > o.max_norm ? Q_DIV(o.max_norm, norm) : 1.0f;
}

#endif
