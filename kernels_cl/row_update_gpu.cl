/* row_update_gpu.cl - stores the observer state of a row, then changes the row: GPU family, and the rows that row_update_cpu.cl leaves out.
 *
 * Shapes   W, state, m, v in slabs; items: a row a run, or every row of all tables (DENSE), or for Q_CLIP_WEIGHT the padding row of each table
 *          and then a row a run
 * Mapping  LANES work-items share a row, lane j has columns j, j + LANES, ...; sums along a row are taken by each lane from the row as it was,
 *          so nothing is exchanged: one barrier between reading and writing
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

#define GRADIENT(c) q_prepare(a.optimizer, quant ? run_gradient(view, r.run, c) * q_mask(w[c], q, t->qmin, t->qmax, t->arithmetic) : run_gradient(view, r.run, c), coefficient)

/* Direction of one column from the row as it was; m and v are those of the column. */
#define STATE_M(c) (Q_HAS_M(KIND, MOMENTUM) ? m[c] : 0.0f)
#define STATE_V(c) (Q_HAS_V(KIND) ? v[c] : 0.0f)

static inline float direction_of(const q_optimizer o, const float g, const float w, const float root, float m, float v) {
    return q_direction(o, KIND, g, w, root, &m, &v);
}

__kernel void row_update(GRADIENT_PARAMETERS, SLAB_PARAMETERS(__global float *, first), SLAB_PARAMETERS(__global float *, second),
                         __global const float *norm, volatile __global uint *events, const q_row_update a) {
    const int lane = (int)(get_global_id(0) % LANES);
    const gradient_view view = GRADIENT_VIEW(a.source);
    row_item r = {0, 0, 0};
    const bool active = !q_refused(status) && find_item(tables, plan, indices, offsets, counts, run_row, a, (long)(get_global_id(0) / LANES), &r);
    __global const q_table *t = tables + r.table;
    __global float *w = ROW_IN(slab, t, r.row);
    __global q_state *stored = ENTRY_IN(state, t, r.row);
    __global float *m = ROW_IN(first, t, r.row);
    __global float *v = Q_HAS_ROW(KIND) ? ENTRY_IN(second, t, r.row) : ROW_IN(second, t, r.row);
    const bool quant = KIND != Q_CLIP_WEIGHT && (t->flags & Q_FAKE_QUANT_ON);
    const float coefficient = a.optimizer.clip == Q_CLIP_NORM ? norm[a.norm_at] : 1.0f;
    q_row_scalars s = {1.0f, 1.0f, 0.0f};
    q_qparams q = {1.0f, 0.0f, 1.0f, 0};
    q_state caught = {0.0f, 0.0f, 0};
    float row_state = 0.0f;
    float factor = 1.0f; /* of max_norm */
    bool commits = false;
    bool odd = false;
    int repaired = 0;
    if (active) {
        if (quant || (t->flags & Q_HAS_STATE)) {
            float lo;
            float hi;
            row_range(w, t->dim, &lo, &hi);
            odd = lo != lo;
            caught = caught_up(t, stored, a.source.step, lo, hi, &repaired);
            commits = (t->flags & Q_HAS_STATE) && caught.count > stored->count;
            q = q_row_qparams(t, caught.min_val, caught.max_val, lo, hi);
        }
#if KIND == Q_CLIP_WEIGHT
        float largest = 0.0f;
        for (int c = 0; t->norm_type > 3.0e38f && c < t->dim; c++) {
            const float term = q_norm_term(w[c], t->norm_type);
            largest = term > largest || term != term ? term : largest;
        }
        float sum;
        TREE_SUM(sum, t->dim, q_norm_term(w[c], t->norm_type))
        factor = q_norm_factor(t->norm_type > 3.0e38f ? largest : sum, t->norm_type, t->max_norm);
#else
        float squares = 0.0f;
        float weights = 0.0f;
        if (Q_SUMS_BEFORE(KIND)) {
            TREE_SUM(squares, t->dim, q_square_before(a.optimizer, KIND, GRADIENT(c), w[c]))
        }
        if (KIND == Q_LARS_SGD || Q_SUMS_AFTER(KIND)) {
            TREE_SUM(weights, t->dim, square(w[c]))
        }
        row_state = Q_HAS_ROW(KIND) ? *v : 0.0f;
        s = q_scalars_before(a.optimizer, KIND, squares, weights, t->dim, &row_state);
        if (Q_SUMS_AFTER(KIND)) {
            float directions;
            TREE_SUM(directions, t->dim, square(direction_of(a.optimizer, GRADIENT(c), w[c], s.root, STATE_M(c), STATE_V(c))))
            s.scale = q_scale_after(s.scale, weights, directions);
        }
        if (KIND == Q_ROWWISE_ADAGRAD && a.optimizer.max_norm >= 0.0f) {
            TREE_SUM(squares, t->dim, square(q_apply(s, w[c], direction_of(a.optimizer, GRADIENT(c), w[c], s.root, 0.0f, 0.0f))))
            factor = q_shrink(a.optimizer, squares);
        }
#endif
    }
#if LANES > 1
    barrier(CLK_GLOBAL_MEM_FENCE);
#endif
    if (!active) {
        return;
    }
    for (int c = lane; c < t->dim; c += LANES) {
#if KIND == Q_CLIP_WEIGHT
        w[c] = factor != 1.0f ? w[c] * factor : w[c];
#else
        float x = STATE_M(c);
        float y = STATE_V(c);
        const float d = q_direction(a.optimizer, KIND, GRADIENT(c), w[c], s.root, &x, &y);
        const float moved = q_apply(s, w[c], d);
        w[c] = factor != 1.0f ? moved * factor : moved;
        if (Q_HAS_M(KIND, MOMENTUM)) {
            m[c] = x;
        }
        if (Q_HAS_V(KIND)) {
            v[c] = y;
        }
#endif
    }
    if (lane == 0) {
        if (Q_HAS_ROW(KIND)) {
            *v = row_state;
        }
        if (commits) {
            *stored = caught;
            if (odd) {
                atomic_add(&events[0], 1u);
            }
            if (repaired) {
                atomic_add(&events[2], (uint)repaired);
            }
        }
    }
}
