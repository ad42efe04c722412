/* row_update_gpu.cl - stores the observer state of a row, then changes the row: GPU family, and the rows that row_update_cpu.cl leaves out.
 *
 * Shapes   W, state, m, v in slabs; items: a row a run, or every row of all tables (DENSE), or for Q_CLIP_WEIGHT the padding row of each table
 *          and then a row a run
 * Mapping  LANES work-items share a row, lane j has columns j, j + LANES, ...; sums along a row are taken by each lane from the row as it was,
 *          so nothing is exchanged: one barrier between reading and writing. Under clipping by norm every group adds up the sums of blocks
 *          (bag_backward_gpu.cl) for itself, so there the launch is of few groups, each of which takes many rows
 * Moves    4*D*(lookups + 2 + 2 * state arrays) bytes a row
 * Knobs    KIND, MOMENTUM, DENSE 0|1; LANES; FAST 0|1: rows that come in blocks (Q_IN_BLOCKS) are the other kernel's; QV float; bag_backward_head.cl */
#if !defined(KIND) || !defined(MOMENTUM) || !defined(DENSE) || !defined(LANES) || !defined(FAST)
#error "KIND, MOMENTUM, DENSE, LANES and FAST are set by src/opencl/row_update.c"
#endif

/* The row of an item: its table, number and run; false when it is not this launch's. */
typedef struct row_item {
    int table, run;
    long row;
} row_item;

static inline bool find_item(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets,
                             __global const int *counts, __global const row_number *run_row, const q_row_update a, const long item, row_item *r) {
    const int runs = counts[Q_SORT_RUNS];
    r->run = (int)item;
#if KIND == Q_CLIP_WEIGHT
    if (item < a.source.num_tables) { /* the padding row, which has no run, when it occurs */
        __global const q_table *t = tables + item;
        r->table = (int)item;
        r->row = t->padding_idx;
        if (!(t->flags & Q_CLIPS_WEIGHT) || t->padding_idx < 0 || t->group != a.source.group) {
            return false;
        }
        for (int k = plan[item]; k < plan[item + 1]; k++) {
            const long g = (long)plan[a.source.num_tables + 1 + k] * a.source.batch.bags;
            const long end = bag_begin(a.source.batch, offsets, g + a.source.batch.bags);
            for (long p = bag_begin(a.source.batch, offsets, g); p < end; p++) {
                if ((long)indices[a.source.batch.indices_at + p] == t->padding_idx) {
                    return true;
                }
            }
        }
        return false;
    }
    r->run = (int)(item - a.source.num_tables);
#endif
    if (DENSE ? item >= a.items : r->run >= runs) {
        return false;
    }
    const long number = DENSE ? item : (long)run_row[r->run];
    if (DENSE) {
        const int run = first_run(run_row, runs, number);
        r->run = run < runs && (long)run_row[run] == number ? run : -1;
    }
    r->table = table_of(tables, a.source.num_tables, number);
    r->row = number - tables[r->table].row0;
    __global const q_table *t = tables + r->table;
    if (KIND == Q_CLIP_WEIGHT && !(t->flags & Q_CLIPS_WEIGHT)) {
        return false;
    }
    return t->group == a.source.group && !(FAST && Q_IN_BLOCKS(KIND, t->dim));
}

/* A row on its way: what it was, and what is the same for all of it. */
typedef struct row_work {
    gradient_view view;
    __global const q_table *t;
    __global float *w, *m, *v;
    int run;
    bool quant;
    float coefficient;
    q_qparams q;
    float row_state, factor; /* new state of the row; factor of max_norm */
} row_work;

/* The gradient of column c as the optimiser takes it. */
static inline float gradient_at(const row_work r, const q_optimizer o, const int c) {
    const float g = run_gradient(r.view, r.run, c);
    return q_prepare(o, r.quant ? g * q_mask(r.w[c], r.q, r.t->qmin, r.t->qmax, r.t->arithmetic) : g, r.coefficient);
}

/* Direction of column c from the row as it was. */
static inline float direction_at(const row_work r, const q_optimizer o, const float root, const int c) {
    float m = Q_HAS_M(KIND, MOMENTUM) ? r.m[c] : 0.0f;
    float v = Q_HAS_V(KIND) ? r.v[c] : 0.0f;
    return q_direction(o, KIND, gradient_at(r, o, c), r.w[c], root, &m, &v);
}

#if KIND == Q_CLIP_WEIGHT
static inline float clip_factor(__global const q_table *t, __global const float *w) {
    float largest = 0.0f;
    float sum;
    for (int c = 0; t->norm_type > 3.0e38f && c < t->dim; c++) {
        const float term = q_norm_term(w[c], t->norm_type);
        largest = term > largest || term != term ? term : largest;
    }
    TREE_SUM(sum, t->dim, q_norm_term(w[c], t->norm_type))
    return q_norm_factor(t->norm_type > 3.0e38f ? largest : sum, t->norm_type, t->max_norm);
}
#else
/* Sums along the row and what follows from them; reads the row, writes nothing. */
static inline q_row_scalars scalars_of(row_work *r, const q_optimizer o) {
    const int dim = r->t->dim;
    float squares = 0.0f;
    float weights = 0.0f;
    if (Q_SUMS_BEFORE(KIND)) {
        TREE_SUM(squares, dim, q_square_before(o, KIND, gradient_at(*r, o, c), r->w[c]))
    }
    if (KIND == Q_LARS_SGD || Q_SUMS_AFTER(KIND)) {
        TREE_SUM(weights, dim, square(r->w[c]))
    }
    r->row_state = Q_HAS_ROW(KIND) ? *r->v : 0.0f;
    q_row_scalars s = q_scalars_before(o, KIND, squares, weights, dim, &r->row_state);
    if (Q_SUMS_AFTER(KIND)) {
        float directions;
        TREE_SUM(directions, dim, square(direction_at(*r, o, s.root, c)))
        s.scale = q_scale_after(s.scale, weights, directions);
    }
    if (KIND == Q_ROWWISE_ADAGRAD && o.max_norm >= 0.0f) {
        TREE_SUM(squares, dim, square(q_apply(s, r->w[c], gradient_at(*r, o, c))))
        r->factor = q_shrink(o, squares);
    }
    return s;
}

static inline void write_row(const row_work r, const q_optimizer o, const q_row_scalars s, const int lane) {
    for (int c = lane; c < r.t->dim; c += LANES) {
        float x = Q_HAS_M(KIND, MOMENTUM) ? r.m[c] : 0.0f;
        float y = Q_HAS_V(KIND) ? r.v[c] : 0.0f;
        const float d = q_direction(o, KIND, gradient_at(r, o, c), r.w[c], s.root, &x, &y);
        const float moved = q_apply(s, r.w[c], d);
        r.w[c] = r.factor != 1.0f ? moved * r.factor : moved;
        if (Q_HAS_M(KIND, MOMENTUM)) {
            r.m[c] = x;
        }
        if (Q_HAS_V(KIND)) {
            r.v[c] = y;
        }
    }
    if (Q_HAS_ROW(KIND) && lane == 0) {
        *r.v = r.row_state;
    }
}
#endif

#if LANES > 1
/* The coefficient of clipping by norm from the sums of `blocks` blocks, by the whole group. */
static inline float group_coefficient(__global const float *sums, const int blocks, __local float *part, const float limit) {
    for (int s = (int)get_local_id(0); s < Q_NORM_SUMS; s += (int)get_local_size(0)) {
        float sum = 0.0f;
        for (int b = s; b < blocks; b += Q_NORM_SUMS) {
            sum = sum + sums[b];
        }
        part[s] = sum;
    }
    for (int step = Q_NORM_SUMS / 2; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int s = (int)get_local_id(0); s < step; s += (int)get_local_size(0)) {
            part[s] = part[s] + part[s + step];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return q_clip_coefficient(part[0], limit);
}
#endif

__kernel void row_update(GRADIENT_PARAMETERS, SLAB_PARAMETERS(__global float *, first), SLAB_PARAMETERS(__global float *, second),
                         __global const float *norm, volatile __global uint *events, const q_row_update a) {
#if KIND != Q_CLIP_WEIGHT && LANES > 1
    __local float part[Q_NORM_SUMS];
#endif
    const int lane = (int)(get_global_id(0) % LANES);
    const gradient_view v = GRADIENT_VIEW(a.source);
    float coefficient = 1.0f;
    if (q_refused(status)) {
        return;
    }
#if KIND != Q_CLIP_WEIGHT
    if (a.optimizer.clip == Q_CLIP_NORM) {
#if LANES > 1
        coefficient = group_coefficient(norm + a.norm_at, (counts[Q_SORT_RUNS] + Q_NORM_BLOCK - 1) / Q_NORM_BLOCK, part, a.optimizer.limit);
#else
        coefficient = norm[a.norm_at - 1];
#endif
    }
#endif
    for (long base = 0; base < a.items; base += (long)(get_global_size(0) / LANES)) { /* as often for every work-item of a group */
        row_item item = {0, 0, 0};
        const bool active = find_item(tables, plan, indices, offsets, counts, run_row, a, base + (long)(get_global_id(0) / LANES), &item);
        __global const q_table *t = tables + item.table;
        __global q_state *stored = ENTRY_IN(state, t, item.row);
        row_work r = {v, t, ROW_IN(slab, t, item.row), ROW_IN(first, t, item.row), ROW_IN(second, t, item.row), item.run,
                      KIND != Q_CLIP_WEIGHT && (t->flags & Q_FAKE_QUANT_ON), coefficient, {1.0f, 0.0f, 1.0f, 0}, 0.0f, 1.0f};
        q_row_scalars s = {1.0f, 1.0f, 0.0f};
        q_state caught = {0.0f, 0.0f, 0};
        float lo = 0.0f;
        bool commits = false;
        int repaired = 0;
        if (Q_HAS_ROW(KIND)) {
            r.v = ENTRY_IN(second, t, item.row);
        }
#if KIND != Q_CLIP_WEIGHT
        if (a.parts == Q_PARTS_SUMMED) {
            if (active) {
                combine_run(v, item.run, t->dim, lane, LANES);
            }
#if LANES > 1
            barrier(CLK_GLOBAL_MEM_FENCE);
#endif
        }
#endif
        if (active) {
            if (r.quant || (t->flags & Q_HAS_STATE)) {
                float hi;
                row_range(r.w, t->dim, &lo, &hi);
                caught = caught_up(t, stored, a.source.step, lo, hi, &repaired);
                commits = (t->flags & Q_HAS_STATE) && caught.count > stored->count;
                r.q = q_row_qparams(t, caught.min_val, caught.max_val, lo, hi);
            }
#if KIND == Q_CLIP_WEIGHT
            r.factor = clip_factor(t, r.w);
#else
            s = scalars_of(&r, a.optimizer);
#endif
        }
#if LANES > 1
        barrier(CLK_GLOBAL_MEM_FENCE);
#endif
        if (!active) {
            continue;
        }
#if KIND == Q_CLIP_WEIGHT
        for (int c = lane; r.factor != 1.0f && c < t->dim; c += LANES) {
            r.w[c] = r.w[c] * r.factor;
        }
#else
        write_row(r, a.optimizer, s, lane);
#endif
        if (lane == 0 && commits) {
            store_state(stored, caught, lo, repaired, events);
        }
    }
}
