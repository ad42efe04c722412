/* bag_forward_gpu_main.cl - the loop over a bag's lookups and the kernel. Knobs, mapping and bytes: bag_forward_gpu.cl.
 *
 * Shapes   as bag_forward_cpu_main.cl: both families give every argument the same meaning */

static inline QV gpu_divide(const QV a, const float b) {
#if VEC == 4
    return (QV)(Q_DIV(a.s0, b), Q_DIV(a.s1, b), Q_DIV(a.s2, b), Q_DIV(a.s3, b));
#else
    return Q_DIV(a, b);
#endif
}

/* acc = pool(acc, x); `first` is true until the bag has had a lookup. */
static inline QV gpu_pool(__global const q_table *t, const QV acc, const QV x, const float psw) {
#if MODE == Q_MODE_NONE
    return x;
#elif WEIGHTED
    return t->padding_idx < 0 ? fma((QV)(psw), x, acc) : acc + x * psw;
#else
    return acc + x;
#endif
}

#if CHUNKS > 0

/* Turns the loaded row into what the bag adds: values, or with ADDS_CODES codes and their qparams. Called by all lanes of a bag together (REDUCE 0: of a group). */
static inline void gpu_values(const gpu_view v, __global const q_table *t, const long row, QV x[CHUNKS], q_qparams *qparams) {
#if USES & USES_QUANT
    q_qparams q = {1.0f, 0.0f, 1.0f, 0};
    const int quant = !(USES & USES_FLOAT) || (t->flags & Q_FAKE_QUANT_ON);
    float low = INFINITY;
    float high = -INFINITY;
    QV odd = (QV)(0.0f);
    float lo;
    float hi;
#pragma unroll
    for (int k = 0; k < CHUNKS; k++) {
        if (v.column + k * LANES * VEC < v.dim) {
            low = fmin(low, LOWEST(x[k]));
            high = fmax(high, HIGHEST(x[k]));
            odd = fma(x[k], (QV)(0.0f), odd);
        }
    }
    row_range(low, high, TOTAL(odd), v.mask, v.scratch, &lo, &hi);
    if (row < 0) {
        return;
    }
    if (quant) {
        q = qparams_at(v, t, row, lo, hi);
    }
#if ADDS_CODES
    if (adds_codes(t)) {
        *qparams = q;
#pragma unroll
        for (int k = 0; k < CHUNKS; k++) {
            x[k] = q_packed_code(x[k], q, t->qmin, t->qmax);
        }
        return;
    }
#endif
#pragma unroll
    for (int k = 0; quant && k < CHUNKS; k++) {
        x[k] = q.exact ? q_fake_quant_exact(x[k], q, ARITHMETIC(t)) : q_fake_quant(x[k], q, t->qmin, t->qmax, ARITHMETIC(t));
    }
#else
    const q_qparams q = {1.0f, 0.0f, 1.0f, 0};
    const int quant = 0;
#endif
#if USES & USES_NORM
    if (row >= 0) {
        const float factor = norm_factor(t, row_at(v, t, row), q, quant);
#pragma unroll
        for (int k = 0; k < CHUNKS; k++) {
            x[k] = x[k] * factor;
        }
    }
#endif
}

static inline void gpu_bag(const gpu_view v, __global const q_table *t, __global float *out, __global int *winner) {
    QV acc[CHUNKS];
    lane_int best[CHUNKS];
    long count = 0;
#pragma unroll
    for (int k = 0; k < CHUNKS; k++) {
        acc[k] = (QV)(0.0f);
        best[k] = (lane_int)(-1);
    }
    for (long i = 0; i < v.trips; i += UNROLL) {
        QV x[UNROLL][CHUNKS];
        long row[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            row[u] = lookup(v, t, v.begin + i + u);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            __global const float *w = row_at(v, t, row[u] < 0 ? 0 : row[u]);
#pragma unroll
            for (int k = 0; k < CHUNKS; k++) {
                const int c = v.column + k * LANES * VEC;
                x[u][k] = row[u] >= 0 && c < v.dim ? READ(w + c) : (QV)(0.0f);
            }
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
#if REDUCE != 0
            if (row[u] < 0) {
                continue;
            }
#endif
            q_qparams q = {1.0f, 0.0f, 1.0f, 0};
            gpu_values(v, t, row[u], x[u], &q);
            if (row[u] < 0) {
                continue;
            }
            const float psw = WEIGHTED ? v.weights[v.begin + i + u] : 1.0f;
#pragma unroll
            for (int k = 0; k < CHUNKS; k++) {
#if MODE == Q_MODE_MAX
                const lane_int wins = count == 0 ? (lane_int)(-1) : (lane_int)((x[u][k] > acc[k]) | (x[u][k] != x[u][k]));
                acc[k] = wins ? x[u][k] : acc[k];
                best[k] = wins ? (lane_int)((int)(v.begin + i + u)) : best[k];
#elif ADDS_CODES
                acc[k] = adds_codes(t) ? fma((QV)(psw * q.scale), x[u][k], acc[k] + (QV)(psw * q.zero)) : gpu_pool(t, acc[k], x[u][k], psw);
#else
                acc[k] = gpu_pool(t, acc[k], x[u][k], psw);
#endif
            }
            count++;
        }
    }
#pragma unroll
    for (int k = 0; k < CHUNKS; k++) {
        const int c = v.column + k * LANES * VEC;
        if (c < v.dim && out) {
            WRITE(MODE == Q_MODE_MEAN && count > 0 ? gpu_divide(acc[k], (float)count) : acc[k], out + c);
#if MODE == Q_MODE_MAX
            WRITE_WINNER(best[k], winner + c);
#endif
        }
    }
}

#else /* rows of any width: two passes over the row, accumulators in the lane's own columns of the output row */

static inline void gpu_pool_wide(const gpu_view v, __global const q_table *t, const long p, const int first, const float psw, const q_qparams q,
                                 const float factor, __global const float *w, __global float *out, __global int *winner) {
    const int quant = (USES & USES_QUANT) != 0 && (!(USES & USES_FLOAT) || (t->flags & Q_FAKE_QUANT_ON));
    for (int c = v.column; c < v.dim; c += LANES * VEC) {
        QV x = READ(w + c);
#if ADDS_CODES
        if (adds_codes(t)) {
            WRITE(fma((QV)(psw * q.scale), q_packed_code(x, q, t->qmin, t->qmax), READ(out + c) + (QV)(psw * q.zero)), out + c);
            continue;
        }
#endif
        x = quant ? q_fake_quant(x, q, t->qmin, t->qmax, ARITHMETIC(t)) : x;
        x = (USES & USES_NORM) ? x * factor : x;
        const QV acc = READ(out + c);
#if MODE == Q_MODE_MAX
        const lane_int wins = first ? (lane_int)(-1) : (lane_int)((x > acc) | (x != x));
        WRITE(wins ? x : acc, out + c);
        WRITE_WINNER(wins ? (lane_int)((int)p) : READ_WINNER(winner + c), winner + c);
#else
        WRITE(gpu_pool(t, acc, x, psw), out + c);
#endif
    }
}

static inline void gpu_bag(const gpu_view v, __global const q_table *t, __global float *out, __global int *winner) {
    long count = 0;
    for (int c = v.column; out && c < v.dim; c += LANES * VEC) {
        WRITE((QV)(0.0f), out + c);
#if MODE == Q_MODE_MAX
        WRITE_WINNER((lane_int)(-1), winner + c);
#endif
    }
    for (long i = 0; i < v.trips; i++) {
        const long row = lookup(v, t, v.begin + i);
        __global const float *w = row_at(v, t, row < 0 ? 0 : row);
        q_qparams q = {1.0f, 0.0f, 1.0f, 0};
        float factor = 1.0f;
#if USES & USES_QUANT
        float low = INFINITY;
        float high = -INFINITY;
        float lo;
        float hi;
        QV odd = (QV)(0.0f);
        for (int c = v.column; row >= 0 && c < v.dim; c += LANES * VEC) {
            const QV x = READ(w + c);
            low = fmin(low, LOWEST(x));
            high = fmax(high, HIGHEST(x));
            odd = fma(x, (QV)(0.0f), odd);
        }
        if (REDUCE == 0 || row >= 0) {
            row_range(low, high, TOTAL(odd), v.mask, v.scratch, &lo, &hi);
        }
        if (row >= 0 && (!(USES & USES_FLOAT) || (t->flags & Q_FAKE_QUANT_ON))) {
            q = qparams_at(v, t, row, lo, hi);
        }
#endif
        if (row < 0) {
            continue;
        }
#if USES & USES_NORM
        factor = norm_factor(t, w, q, (USES & USES_QUANT) != 0 && (t->flags & Q_FAKE_QUANT_ON));
#endif
        gpu_pool_wide(v, t, v.begin + i, count == 0, WEIGHTED ? v.weights[v.begin + i] : 1.0f, q, factor, w, out, winner);
        count++;
    }
    for (int c = v.column; MODE == Q_MODE_MEAN && count > 0 && c < v.dim; c += LANES * VEC) {
        WRITE(gpu_divide(READ(out + c), (float)count), out + c);
    }
}
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
bag_forward(__global const q_table *tables, __global const q_feature *features, SLAB_PARAMETERS(__global const float *, slab),
            SLAB_PARAMETERS(__global const q_state *, state), __global const INDEX *indices, __global const OFFSET *offsets,
            __global const float *weights, __global float *out, __global int *winners, __global const uint *status,
            __global const int *longs, volatile __global uint *events, const q_bag_forward a) {
#if REDUCE == 0
    __local int scratch[2 * GROUP];
    __local int longest[GROUP];
#else
    __local int *scratch = 0;
#endif
    const int item = (int)(get_global_id(0) / LANES);
    const int bags = (int)a.batch.bags;
    int active = item < a.deal.turns && !q_refused(status);
    const q_turn turn = q_turn_of(a.deal, active ? item : a.deal.num_long, longs, bags, a.first_feature);
    active = active && turn.feature >= a.first_feature && turn.feature < a.first_feature + a.num_features;
    const int bag = turn.bag;
    __global const q_feature *f = features + (active ? turn.feature : a.first_feature);
    __global const q_table *t = tables + f->table;
    gpu_view v;
    v.begin = 0;
    v.end = 0;
    if (active) {
        q_bag(a.batch, offsets, (long)f->index * bags + bag, &v.begin, &v.end);
        active = !q_elsewhere(a.batch, a.deal, offsets, (long)f->index * bags, turn);
        v.end = active ? v.end : v.begin;
    }
    v.indices = indices + a.batch.indices_at;
    v.weights = weights + a.batch.weights_at;
    v.scratch = scratch;
    v.observations = (t->flags & Q_OBSERVER_ON) ? a.step + t->observed : t->observed;
    v.slab = SLAB_OF(slab, t->slab);
    v.state = SLAB_OF(state, t->slab);
#if SLABS > 1
    v.slab0 = slab0, v.slab1 = slab1, v.slab2 = slab2, v.slab3 = slab3, v.slab4 = slab4, v.slab5 = slab5, v.slab6 = slab6, v.slab7 = slab7;
    v.state0 = state0, v.state1 = state1, v.state2 = state2, v.state3 = state3;
    v.state4 = state4, v.state5 = state5, v.state6 = state6, v.state7 = state7;
#endif
    const int id = (int)get_local_id(0);
    v.column = (id & (LANES - 1)) * VEC;
    v.dim = t->dim;
    v.mask = LANES == 32 ? 0xffffffffu : ((1u << (LANES & 31)) - 1u) << (id & 31 & ~(LANES - 1));
    v.trips = v.end - v.begin;
#if REDUCE == 0
    longest[id] = (int)v.trips;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = 0; k < GROUP; k += LANES) {
        v.trips = max(v.trips, (long)longest[k]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    const long at = (long)bag * a.out_stride + f->column;
    __global float *target = active ? out + a.out_at + at : 0;
    gpu_bag(v, t, target, winners + at);
}
