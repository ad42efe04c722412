/* bag_backward_head.cl - what the kernels of bag_backward and row_update share: a sorted batch, the gradient of a row, sums along a row.
 * Compiled behind row_sort_head.cl (row_number, has_row, bag_begin) and in front of either family.
 *
 * Shapes   output[B][out_stride]: gradient of the output; the results of row_sort; parts[P][part_stride]; bag_scale[F*B]
 * Knobs    MODE 0 mean, 1 sum, 2 max, 3 none; WEIGHTED, FREQ 0|1; those of row_sort_head.cl and batch.h */
#if !defined(MODE) || !defined(WEIGHTED) || !defined(FREQ)
#error "MODE, WEIGHTED and FREQ are set by src/opencl/gradient.c"
#endif

#define GRADIENT_PARAMETERS                                                                                                                \
    __global const q_table *tables, __global const int *plan, __global const long *columns, __global const INDEX *indices,                 \
        __global const OFFSET *offsets, __global const float *weights, __global const float *output, __global const int *winners,          \
        __global const uint *status, __global const int *counts, __global const int *position, __global const int *run_start,              \
        __global const row_number *run_row, __global const int *bag_of, __global const int *part_first, __global const int *part_run,      \
        __global const int *part_slot, __global float *parts, __global float *bag_scale, SLAB_PARAMETERS(__global float *, slab),          \
        SLAB_PARAMETERS(__global q_state *, state)

/* What a gradient is computed from. */
typedef struct gradient_view {
    __global const float *weights, *output, *bag_scale;
    __global float *parts;
    __global const int *winners, *position, *run_start, *bag_of, *part_first;
    __global const long *columns;
    long out_stride, part_stride;
    int bags, num_features, last_slot;
} gradient_view;

#define GRADIENT_VIEW(a)                                                                                                                   \
    {                                                                                                                                      \
        weights + (a).batch.weights_at, output + (a).out_at, bag_scale, parts, winners + (a).winners_at, position, run_start, bag_of,      \
            part_first, columns, (a).out_stride, (a).part_stride, (int)(a).batch.bags, (a).num_features, counts[Q_SORT_LOOKUPS] - 1        \
    }

/* Where a row of a table starts in arrays with one number an element; its entry in arrays with one a row. */
#define ROW_IN(name, t, row) (SLAB_OF(name, q_slab(t, row)) + (t)->base + q_local(t, row) * (t)->dim)
#define ENTRY_IN(name, t, row) (SLAB_OF(name, q_slab(t, row)) + (t)->state_base + q_local(t, row))

/* The table that holds row `number` of the module. */
static inline int table_of(__global const q_table *tables, const int num_tables, const long number) {
    int low = 0;
    int high = num_tables;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        const bool right = tables[middle].row0 <= number;
        low = right ? middle : low;
        high = right ? high : middle;
    }
    return low;
}

/* Where the share of work-item i of `count` things begins: shares follow each other, and work-item n, one past the last, begins at count. */
#define SHARE(count, i) ((long)(count) * (long)(i) / (long)get_global_size(0))

/* First element of the gradient row of bag g, counted over all features. */
static inline long output_at(const gradient_view v, const int g) {
    if (v.num_features == 1) {
        return (long)g * v.out_stride;
    }
    const int f = g / v.bags;
    return (long)(g - f * v.bags) * v.out_stride + v.columns[f];
}

/* What the gradient of bag g is multiplied by for the lookup at position p of a row looked up `count` times. */
static inline float alpha_of(const gradient_view v, const int g, const int p, const int count) {
#if WEIGHTED
    return FREQ ? Q_DIV(v.weights[p], (float)count) : v.weights[p];
#elif MODE == Q_MODE_MEAN
    return FREQ ? Q_DIV(1.0f, (float)count * v.bag_scale[g]) : v.bag_scale[g];
#else
    return FREQ ? Q_DIV(1.0f, (float)count) : 1.0f;
#endif
}

/* Sum over slots [from, to) of a run of `count` lookups, one column. */
static inline float sum_slots(const gradient_view v, const int from, const int to, const int count, const int c) {
    float sum = 0.0f;
    for (int slot = from; slot < to; slot++) {
        const int p = v.position[slot];
        const int g = v.bag_of[p];
        const long at = output_at(v, g) + c;
#if MODE == Q_MODE_MAX
        sum = v.winners[at] == p ? sum + v.output[at] : sum;
#else
        sum = fma(alpha_of(v, g, p, count), v.output[at], sum);
#endif
    }
    return sum;
}

/* The sum of `count` parts into the first one, columns lane, lane + lanes, ...: the tree of P5, k with k + step. */
static inline void combine_parts(__global float *part, const long stride, const int count, const int dim, const int lane, const int lanes) {
    int step = 1;
    while (2 * step < count) {
        step *= 2;
    }
    for (; step > 0; step /= 2) {
        for (int k = 0; k < step && k + step < count; k++) {
            __global float *to = part + k * stride;
            for (int c = lane; c < dim; c += lanes) {
                to[c] = to[c] + to[step * stride + c];
            }
        }
    }
}

/* Likewise for the parts of a run, none where it is short; each lane touches its own columns alone. */
static inline void combine_run(const gradient_view v, const int run, const int dim, const int lane, const int lanes) {
    const int count = run < 0 ? 0 : v.run_start[run + 1] - v.run_start[run];
    if (count > Q_PART) {
        combine_parts(v.parts + (long)v.part_first[run] * v.part_stride, v.part_stride, (count + Q_PART - 1) / Q_PART, dim, lane, lanes);
    }
}

/* Gradient of a run's row, one column, without the mask; a run of parts has been combined in its first part. -1: no run. */
static inline float run_gradient(const gradient_view v, const int run, const int c) {
    if (run < 0) {
        return 0.0f;
    }
    const int from = v.run_start[run];
    const int to = v.run_start[run + 1];
    return to - from > Q_PART ? v.parts[(long)v.part_first[run] * v.part_stride + c] : sum_slots(v, from, to, to - from, c);
}

/* sum = tree sum of TERM (an expression of the column c) over c < dim: padded to a power of two, c with c + P/2. Taken in bit-reversed
 * order with a stack of partial sums, so that rows of any length need no array. */
#define TREE_SUM(sum, dim, TERM)                                                                                                           \
    {                                                                                                                                      \
        float stack_[24];                                                                                                                  \
        int bits_ = 0;                                                                                                                     \
        int depth_ = 0;                                                                                                                    \
        while ((1 << bits_) < (dim)) {                                                                                                     \
            bits_++;                                                                                                                       \
        }                                                                                                                                  \
        for (int i_ = 0; i_ < (1 << bits_); i_++) {                                                                                        \
            int c = 0;                                                                                                                     \
            for (int k_ = 0; k_ < bits_; k_++) {                                                                                           \
                c |= ((i_ >> k_) & 1) << (bits_ - 1 - k_);                                                                                 \
            }                                                                                                                              \
            float term_ = c < (dim) ? (TERM) : 0.0f;                                                                                       \
            for (int k_ = 0; (i_ >> k_) & 1; k_++) {                                                                                       \
                term_ = stack_[--depth_] + term_;                                                                                          \
            }                                                                                                                              \
            stack_[depth_++] = term_;                                                                                                      \
        }                                                                                                                                  \
        (sum) = stack_[0];                                                                                                                 \
    }

/* The caught-up state of a row whose range is (lo, hi); `stored` is NULL where the table keeps none. */
static inline q_state caught_up(__global const q_table *t, __global const q_state *stored, const long step, const float lo, const float hi,
                                int *repaired) {
    q_state s = {lo, hi, 0};
    *repaired = 0;
    if (t->flags & Q_HAS_STATE) {
        s = *stored;
        *repaired = q_catch_up(t->observer, t->averaging, lo, hi, (t->flags & Q_OBSERVER_ON) ? step + t->observed : t->observed, &s);
    }
    return s;
}

/* Range of a row, read column by column. */
static inline void row_range(__global const float *w, const int dim, float *lo, float *hi) {
    float low = INFINITY;
    float high = -INFINITY;
    float odd = 0.0f;
    for (int c = 0; c < dim; c++) {
        const float x = w[c];
        low = x < low ? x : low;
        high = x > high ? x : high;
        odd = fma(x, 0.0f, odd);
    }
    *lo = low + odd + 0.0f;
    *hi = high + odd + 0.0f;
}

static inline float square(const float x) {
    return x * x;
}

/* First run whose row number is not below `number`. */
static inline int first_run(__global const row_number *run_row, const int runs, const long number) {
    int low = 0;
    int high = runs;
    while (low < high) {
        const int middle = (low + high) / 2;
        const bool below = (long)run_row[middle] < number;
        low = below ? middle + 1 : low;
        high = below ? high : middle;
    }
    return low;
}

/* Stores the caught-up state of a row whose minimum is lo, before the row changes. */
static inline void store_state(__global q_state *stored, const q_state caught, const float lo, const int repaired, volatile __global uint *events) {
    *stored = caught;
    if (lo != lo) {
        atomic_add(&events[0], 1u);
    }
    if (repaired) {
        atomic_add(&events[2], (uint)repaired);
    }
}
