/* row_observe_cpu.cl - catches observer state up with the forwards so far: state[r] = state after `observations` of row r
 *
 * Shapes   tables[T], slab: W, state: one entry a row, result[4][count] (min, max, scale, zero point), events: Q_EVENTS counters of 64 bits, as words
 *          values[count][D]: the rows fake-quantised
 * Mapping  one work-item ROWS rows, float16 blocks; four rows at once where values are wanted and nothing else
 * Moves    reads 4*count*D + 16*count, writes 16*count (store), 16*count (report), 4*count*D (values)
 * Knobs    DIM, or not defined: all rows have that many columns and the torch_cpu arithmetic, so that nothing is asked row by row;
 *          STATE 0: the table keeps none, the row's own range is reported;  VALUES 1: fake-quantised rows are wanted, 2: as whole blocks past the caches;
 *          ROWS an item */
#ifndef ROWS
#error "ROWS is set by src/opencl/row_observe.c"
#endif

#ifdef DIM
#define COLUMNS(t) DIM
#define ARITHMETIC(t) Q_TORCH_CPU
#else
#define COLUMNS(t) (t)->dim
#define ARITHMETIC(t) (t)->arithmetic
#endif

#if VALUES
/* The row again, from the first-level cache, fake-quantised. */
static inline void write_values(__global const q_table *t, __global const float *w, const q_qparams p, __global float *out) {
    const int dim = COLUMNS(t);
    for (int c = 0; c < dim; c += 16) {
        const int at = dim < 16 ? 0 : c + 16 <= dim ? c : dim - 16;
        const float16 x = dim < 16 ? load_small(w, dim) : vload16(0, w + at);
        const float16 y = p.exact ? q_fake_quant_exact(x, p, ARITHMETIC(t)) : q_fake_quant(x, p, t->qmin, t->qmax, ARITHMETIC(t));
#if VALUES == 2
        __builtin_nontemporal_store(y, (__global float16 *)(out + at));
#else
        if (dim < 16) {
            store_small(y, out, dim);
        } else {
            vstore16(y, 0, out + at);
        }
#endif
    }
}
#endif

#if VALUES && ROWS == 4 && !defined(Q_SOFT_DIVISION)
/* Four rows: one transposed reduction, one catching up, one set of divisions. 0: one of them holds a NaN or infinity, and nothing is written. */
static inline int four_rows(__global const q_table *t, __global const float *w, __global const q_state *state, const long observations,
                            __global float *out) {
    const int dim = COLUMNS(t);
    float16 low0 = vload16(0, w), low1 = vload16(0, w + dim), low2 = vload16(0, w + 2 * dim), low3 = vload16(0, w + 3 * dim);
    float16 high0 = low0, high1 = low1, high2 = low2, high3 = low3;
    float16 odd = (low0 - low0) + (low1 - low1) + (low2 - low2) + (low3 - low3);
    for (int k = 16; k < dim; k += 16) {
        __global const float *column = w + (k + 16 <= dim ? k : dim - 16);
        const float16 x0 = vload16(0, column), x1 = vload16(0, column + dim), x2 = vload16(0, column + 2 * dim), x3 = vload16(0, column + 3 * dim);
        low0 = vmin16(x0, low0), low1 = vmin16(x1, low1), low2 = vmin16(x2, low2), low3 = vmin16(x3, low3);
        high0 = vmax16(x0, high0), high1 = vmax16(x1, high1), high2 = vmax16(x2, high2), high3 = vmax16(x3, high3);
        odd = odd + (x0 - x0) + (x1 - x1) + (x2 - x2) + (x3 - x3);
    }
    const float4 lo = least4(low0, low1, low2, low3) + (float4)(0.0f);
    const float4 hi = greatest4(high0, high1, high2, high3) + (float4)(0.0f);
    const float any = any_nan(odd);
    float4 min_val = lo, max_val = hi;
#if STATE
    const q_state states[4] = {state[0], state[1], state[2], state[3]};
    catch_up4(t->observer, t->averaging, observations, states, lo, hi, &min_val, &max_val);
#endif
    float4 scale, zero, inverse;
    Q_QPARAMS(float4, min_val, max_val, t->range, t->inverse_range, t->eps, ARITHMETIC(t), scale, zero, inverse);
    const int4 exact = (lo >= min_val) & (hi <= max_val) & (fabs(zero) < (float4)(1048576.0f)) & (int4)(t->qmin == 0.0f ? -1 : 0);
    if (any != any) {
        return 0;
    }
    float scales[4], zeros[4], inverses[4];
    int exacts[4];
    vstore4(scale, 0, scales);
    vstore4(zero, 0, zeros);
    vstore4(inverse, 0, inverses);
    vstore4(exact, 0, exacts);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const q_qparams p = {scales[j], zeros[j], inverses[j], exacts[j]};
        write_values(t, w + j * dim, p, out + j * dim);
    }
    return 1;
}
#define FOUR_ROWS(t, w, state, observations, out) ((t)->arithmetic != Q_PACKED && COLUMNS(t) >= 16 && four_rows(t, w, state, observations, out))
#else
#define FOUR_ROWS(t, w, state, observations, out) 0
#endif

__kernel void row_observe(__global const q_table *tables, __global const float *slab, __global q_state *state, __global float *result, __global float *values,
                          volatile __global uint *events, const q_row_observe a) {
    const long begin = (long)get_global_id(0) * ROWS;
    const long end = min(begin + ROWS, (long)a.count);
    __global const q_table *t = tables + a.table;
    const int dim = COLUMNS(t);
    if (begin + ROWS == end && !a.report && !a.store &&
        FOUR_ROWS(t, slab + t->base + (a.first + begin) * dim, state + t->state_base + a.first + begin, a.observations,
                  values + a.values_at + begin * dim)) {
        return;
    }
    for (long i = begin; i < end; i++) {
        __global const float *w = slab + t->base + (a.first + i) * dim;
        const float2 range = range_of(w, dim);
        const q_state s = observed(t, state + t->state_base + a.first + i, a, range, events, 1);
        const q_qparams p = q_row_qparams(t, s.min_val, s.max_val, range.s0, range.s1);
#if VALUES
        write_values(t, w, p, values + a.values_at + i * dim);
#endif
        if (a.report) {
            report_row(result + a.result_at + i, a.result_stride, s, p);
        }
    }
}
