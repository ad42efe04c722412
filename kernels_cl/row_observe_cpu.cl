/* row_observe_cpu.cl - catches observer state up with the forwards so far: state[r] = state after `observations` of row r
 *
 * Shapes   tables[T], slab: W, state: one entry a row, result[4][count] (min, max, scale, zero point), events: Q_EVENTS counters of 64 bits, as words
 *          values[count][D]: the rows fake-quantised
 * Mapping  one work-item a row, float16 blocks
 * Moves    reads 4*count*D + 16*count, writes 16*count (store), 16*count (report), 4*count*D (values)
 * Knobs    DIM, or not defined: all rows have that many columns and the torch_cpu arithmetic, so that nothing is asked row by row;
 *          STATE 0: the table keeps none, the row's own range is reported;  VALUES 1: fake-quantised rows are wanted, 2: as whole blocks past the caches */
#if !defined(STATE) || !defined(VALUES)
#error "STATE and VALUES are set by src/opencl/row_observe.c"
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

__kernel void row_observe(__global const q_table *tables, __global const float *slab, __global q_state *state, __global float *result, __global float *values,
                          volatile __global uint *events, const q_row_observe a) {
    const long i = get_global_id(0);
    if (i >= a.count) {
        return;
    }
    __global const q_table *t = tables + a.table;
    const int dim = COLUMNS(t);
    __global const float *w = slab + t->base + (a.first + i) * dim;
    float16 low = (float16)(INFINITY);
    float16 high = (float16)(-INFINITY);
    float16 odd = (float16)(0.0f);
    for (int c = 0; c < dim; c += 16) {
        const float16 x = dim < 16 ? load_small(w, dim) : vload16(0, w + (c + 16 <= dim ? c : dim - 16));
        low = vmin16(x, low);
        high = vmax16(x, high);
        odd = fma(x, (float16)(0.0f), odd);
    }
    Q_RANGE(low, high, odd, lo, hi);
    q_state s = {lo, hi, a.observations};
#if STATE
    __global q_state *stored = state + t->state_base + a.first + i;
    s = *stored;
    const int observes = a.observations > s.count;
    const int repaired = q_catch_up(t->observer, t->averaging, lo, hi, a.observations, &s);
    if (a.store && observes) {
        *stored = s;
        if (lo != lo) {
            atomic_add(&events[0], 1u);
        }
        if (repaired) {
            atomic_add(&events[2], (uint)repaired);
        }
    }
#endif
    const q_qparams p = q_row_qparams(t, s.min_val, s.max_val, lo, hi);
#if VALUES
    write_values(t, w, p, values + a.values_at + i * dim);
#endif
    if (a.report) {
        const int seen = s.count > 0;
        __global float *r = result + a.result_at + i;
        r[0] = seen ? s.min_val : Q_NAN;
        r[a.result_stride] = seen ? s.max_val : Q_NAN;
        r[2 * a.result_stride] = seen ? p.scale : 1.0f;
        r[3 * a.result_stride] = seen ? p.zero : 0.0f;
    }
}
