/* bag_backward_gpu.cl - gradients of rows and of per-sample weights, lane by lane: GPU family, and the CPU family's parts outside row_update.
 *
 *   bag_scale      1 / lookups of each bag (the lookups themselves under FREQ)
 *   row_parts      sums of the parts of long runs;  parts_combine: the tree over a run's parts, into its first
 *   row_gradient   the masked gradient of each run, as `form` says (Q_INTO_*);  zero: a dense gradient before it
 *   norm_blocks    squares of rows and their sums by blocks of Q_NORM_BLOCK runs;  norm_total: CPU family, those to the coefficient
 *   count_lookups, emit_lookups    one entry a lookup, input order: chunks of CHUNK positions
 *   weight_gradient            dot(gradient of the bag, row as looked up)
 * Shapes   those of bag_backward_head.cl; out: a dense gradient [E][D] or values [nnz][D] with rows, entries; squares: one a run, the coefficient, one a block;
 *          slots: lookups with a row, a chunk
 * Moves    row_gradient reads 4*D*(lookups + 1) bytes a run and writes 4*D; row_parts reads 4*D*lookups of a part and writes 4*D
 * Mapping  LANES work-items share a run or part, lane j has columns j, j + LANES, ...; each reads whole rows where it needs their range
 * Knobs    LANES, CHUNK; FAST 0|1: parts of rows in blocks are row_parts_blocks'; QV float; bag_backward_head.cl */
#if !defined(FAST) || !defined(LANES) || !defined(CHUNK)
#error "FAST, LANES and CHUNK are set by src/opencl/gradient.c"
#endif

__kernel void bag_scale(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets,
                        __global const uint *status, __global float *scale, const q_gradient a) {
    const long g = (long)get_global_id(0);
    if (g >= a.batch.bags * a.num_features || q_refused(status)) {
        return;
    }
    __global const q_table *t = tables + plan[a.num_tables + 1 + a.num_features + g / a.batch.bags];
    long begin;
    long end;
    q_bag(a.batch, offsets, g, &begin, &end);
    int count = 0;
    for (long p = begin; p < end; p++) {
        count += has_row(t, (long)indices[a.batch.indices_at + p]);
    }
    scale[g] = FREQ ? (float)count : count ? Q_DIV(1.0f, (float)count) : 0.0f;
}

__kernel void row_parts(GRADIENT_PARAMETERS, const q_gradient a) {
    const int part = (int)(get_global_id(0) / LANES);
    if (part >= counts[Q_SORT_PARTS]) {
        return;
    }
    const gradient_view v = GRADIENT_VIEW(a);
    const int run = part_run[part];
    const int from = part_slot[part];
    const int begin = run_start[run];
    const int end = run_start[run + 1];
    const int to = min(from + Q_PART, end);
    __global const q_table *t = tables + table_of(tables, a.num_tables, (long)run_row[run]);
    if (FAST && Q_IN_BLOCKS(Q_SGD, t->dim)) {
        return;
    }
    for (int c = (int)(get_global_id(0) % LANES); c < t->dim; c += LANES) {
        parts[(long)part * a.part_stride + c] = sum_slots(v, from, to, end - begin, c);
    }
}

__kernel void parts_combine(GRADIENT_PARAMETERS, const q_gradient a) {
    const int part = (int)(get_global_id(0) / LANES);
    if (part >= counts[Q_SORT_PARTS] || part_first[part_run[part]] != part) {
        return;
    }
    const int run = part_run[part];
    const int count = (run_start[run + 1] - run_start[run] + Q_PART - 1) / Q_PART;
    __global const q_table *t = tables + table_of(tables, a.num_tables, (long)run_row[run]);
    combine_parts(parts + part * a.part_stride, a.part_stride, count, t->dim, (int)(get_global_id(0) % LANES), LANES);
}

/* Qparams of a row in force at the last forward, from the row and its state (pointer to whatever where the table keeps none). */
static inline q_qparams row_qparams(__global const q_table *t, __global const float *w, __global const q_state *stored, const long step) {
    float lo;
    float hi;
    int repaired;
    row_range(w, t->dim, &lo, &hi);
    const q_state s = caught_up(t, stored, step, lo, hi, &repaired);
    return q_row_qparams(t, s.min_val, s.max_val, lo, hi);
}

#define MASKED(g, c) ((t->flags & Q_FAKE_QUANT_ON) ? (g)*q_mask(w[c], q, t->qmin, t->qmax, t->arithmetic) : (g))

__kernel void zero(__global float *out, __global const uint *status, const q_bag_backward a, const long count) {
    const long i = (long)get_global_id(0);
    if (i < count && !q_refused(status)) {
        out[a.out_at + i] = 0.0f;
    }
}

__kernel void row_gradient(GRADIENT_PARAMETERS, __global float *out, __global long *rows, __global long *entries, const q_bag_backward a) {
    const int run = (int)(get_global_id(0) / LANES);
    const int lane = (int)(get_global_id(0) % LANES);
    const int runs = counts[Q_SORT_RUNS];
    const gradient_view v = GRADIENT_VIEW(a.source);
    if (q_refused(status)) {
        return;
    }
    if (a.form == Q_INTO_RUNS && run == 0 && lane == 0 && tables[a.table].group == a.source.group) {
        entries[a.count_at] = first_run(run_row, runs, tables[a.table].row0 + tables[a.table].rows) - first_run(run_row, runs, tables[a.table].row0);
    }
    if (run >= runs) {
        return;
    }
    const int table = table_of(tables, a.source.num_tables, (long)run_row[run]);
    __global const q_table *t = tables + table;
    if (t->group != a.source.group || table != a.table) {
        return;
    }
    const long row = (long)run_row[run] - t->row0;
    __global const float *w = ROW_IN(slab, t, row);
    q_qparams q = {1.0f, 0.0f, 1.0f, 0};
    if (t->flags & Q_FAKE_QUANT_ON) {
        q = row_qparams(t, w, ENTRY_IN(state, t, row), a.source.step);
    }
    const int at = a.form == Q_INTO_RUNS ? run - first_run(run_row, runs, t->row0) : 0;
    if (a.form == Q_INTO_RUNS && lane == 0) {
        rows[a.rows_at + at] = row;
    }
    __global float *to = out + a.out_at + (a.form == Q_INTO_RUNS ? (long)at : row) * t->dim;
    for (int c = lane; c < t->dim; c += LANES) {
        to[c] = MASKED(run_gradient(v, run, c), c);
    }
}

/* Sum of squares of the masked gradient of a run's row; the parts of a long run have been combined. */
static inline float squares_of(const gradient_view v, __global const q_table *t, __global const float *w, __global const q_state *stored,
                               const int run, const long step) {
    q_qparams q = {1.0f, 0.0f, 1.0f, 0};
    float sum;
    if (t->flags & Q_FAKE_QUANT_ON) {
        q = row_qparams(t, w, stored, step);
    }
    TREE_SUM(sum, t->dim, square(MASKED(run_gradient(v, run, c), c)))
    return sum;
}

/* A group of work-items owns a block of runs, so that what it adds up is what it wrote (or, of other groups of slabs, a launch before): no
 * further launch, and no word of another group. With one lane a work-item is its own group. The first to ask for gradients of the step, it
 * also combines the parts of long runs. */
__kernel void norm_blocks(GRADIENT_PARAMETERS, __global float *squares, const q_bag_backward a) {
#if LANES > 1
    const int block = (int)get_group_id(0);
    const int lane = (int)get_local_id(0) % LANES;
    const int mine = (int)get_local_id(0) / LANES;
    const int at_once = (int)get_local_size(0) / LANES;
#else
    const int block = (int)get_global_id(0);
    const int lane = 0, mine = 0, at_once = 1;
#endif
    const gradient_view v = GRADIENT_VIEW(a.source);
    const int runs = counts[Q_SORT_RUNS];
    const int begin = block * Q_NORM_BLOCK;
    const int end = min(begin + Q_NORM_BLOCK, runs);
    if (begin >= runs || q_refused(status)) {
        return;
    }
    for (int base = begin; base < end; base += at_once) {
        const int run = min(base + mine, end - 1);
        __global const q_table *t = tables + table_of(tables, a.source.num_tables, (long)run_row[run]);
        const bool active = base + mine < end && t->group == a.source.group;
        if (active) {
            combine_run(v, run, t->dim, lane, LANES);
        }
#if LANES > 1
        barrier(CLK_GLOBAL_MEM_FENCE);
#endif
        if (active) {
            const long row = (long)run_row[run] - t->row0;
            const float sum = squares_of(v, t, ROW_IN(slab, t, row), ENTRY_IN(state, t, row), run, a.source.step);
            if (lane == 0) {
                squares[run] = sum;
            }
        }
    }
#if LANES > 1
    barrier(CLK_GLOBAL_MEM_FENCE);
#endif
    if (a.form == Q_INTO_NORM && mine == 0 && lane == 0) {
        float sum = 0.0f;
        for (int run = begin; run < end; run++) {
            sum = sum + squares[run];
        }
        squares[a.out_at + block] = sum;
    }
}

#if LANES == 1
/* Where one work-item is as good as many: the coefficient, in front of the sums of blocks. GPUs add them up in every group of the update. */
__kernel void norm_total(__global const int *counts, __global float *squares, const long blocks_at, const float limit) {
    const int blocks = (counts[Q_SORT_RUNS] + Q_NORM_BLOCK - 1) / Q_NORM_BLOCK;
    float sums[Q_NORM_SUMS];
    if (get_global_id(0) > 0) {
        return;
    }
    for (int s = 0; s < Q_NORM_SUMS; s++) {
        sums[s] = 0.0f;
    }
    for (int b = 0; b < blocks; b++) {
        sums[b % Q_NORM_SUMS] = sums[b % Q_NORM_SUMS] + squares[blocks_at + b];
    }
    for (int step = Q_NORM_SUMS / 2; step > 0; step /= 2) {
        for (int s = 0; s < step; s++) {
            sums[s] = sums[s] + sums[s + step];
        }
    }
    squares[blocks_at - 1] = q_clip_coefficient(sums[0], limit);
}
#endif

/* Whether the lookup at position p is one of the table's, with a row. */
static inline bool is_entry(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const int *bag_of,
                            const q_bag_backward a, const int p) {
    const int feature = bag_of[p] / (int)a.source.batch.bags;
    return plan[a.source.num_tables + 1 + a.source.num_features + feature] == a.table &&
           has_row(tables + a.table, (long)indices[a.source.batch.indices_at + p]);
}

__kernel void count_lookups(GRADIENT_PARAMETERS, __global int *slots, const q_bag_backward a) {
    const long begin = (long)get_global_id(0) * CHUNK;
    const long end = min(begin + CHUNK, a.source.batch.lookups);
    int count = 0;
    for (long p = begin; p < end && !q_refused(status); p++) {
        count += is_entry(tables, plan, indices, bag_of, a, (int)p);
    }
    if (begin < end) {
        slots[get_global_id(0)] = count;
    }
}

__kernel void emit_lookups(GRADIENT_PARAMETERS, __global const int *slots, __global float *out, __global long *rows, __global long *entries,
                           const q_bag_backward a) {
    const long begin = (long)get_global_id(0) * CHUNK;
    const long end = min(begin + CHUNK, a.source.batch.lookups);
    const gradient_view v = GRADIENT_VIEW(a.source);
    __global const q_table *t = tables + a.table;
    long slot = 0;
    if (begin > end || (begin == end && begin > 0) || q_refused(status)) {
        return;
    }
    for (long k = 0; k < (long)get_global_id(0); k++) {
        slot += slots[k];
    }
    for (long p = begin; p < end; p++) {
        if (!is_entry(tables, plan, indices, bag_of, a, (int)p)) {
            continue;
        }
        const long row = (long)indices[a.source.batch.indices_at + p];
        __global const float *w = ROW_IN(slab, t, row);
        q_qparams q = {1.0f, 0.0f, 1.0f, 0};
        if (t->flags & Q_FAKE_QUANT_ON) {
            q = row_qparams(t, w, ENTRY_IN(state, t, row), a.source.step);
        }
        const long from = output_at(v, bag_of[p]);
        const float alpha = alpha_of(v, bag_of[p], (int)p, 1);
        for (int c = 0; c < t->dim; c++) {
            out[a.out_at + slot * t->dim + c] = MASKED(v.output[from + c] * alpha, c);
        }
        rows[a.rows_at + slot++] = row;
    }
    if (end == a.source.batch.lookups) {
        entries[a.count_at] = slot;
    }
}

__kernel void weight_gradient(GRADIENT_PARAMETERS, __global float *out, const q_bag_backward a) {
    const long p = (long)get_global_id(0);
    if (p >= a.source.batch.lookups || q_refused(status)) {
        return;
    }
    const gradient_view v = GRADIENT_VIEW(a.source);
    __global const q_table *t = tables + plan[a.source.num_tables + 1 + a.source.num_features + bag_of[p] / (int)a.source.batch.bags];
    const long row = (long)indices[a.source.batch.indices_at + p];
    if (!has_row(t, row)) {
        if (a.source.group == 0) {
            out[a.out_at + p] = 0.0f;
        }
        return;
    }
    if (t->group != a.source.group) {
        return;
    }
    __global const float *w = ROW_IN(slab, t, row);
    const long from = output_at(v, bag_of[p]);
    const bool quant = (t->flags & Q_FAKE_QUANT_ON) != 0;
    q_qparams q = {1.0f, 0.0f, 1.0f, 0};
    float factor = 1.0f;
    float sum;
    if (quant) {
        q = row_qparams(t, w, ENTRY_IN(state, t, row), a.source.step);
    }
#define VALUE(c) (quant ? q_fake_quant(w[c], q, t->qmin, t->qmax, t->arithmetic) : w[c])
    if (t->flags & Q_HAS_NORM) {
        float largest = 0.0f;
        for (int c = 0; t->norm_type > 3.0e38f && c < t->dim; c++) {
            const float term = q_norm_term(VALUE(c), t->norm_type);
            largest = term > largest || term != term ? term : largest;
        }
        TREE_SUM(sum, t->dim, q_norm_term(VALUE(c), t->norm_type))
        factor = q_norm_factor(t->norm_type > 3.0e38f ? largest : sum, t->norm_type, t->max_norm);
    }
    TREE_SUM(sum, t->dim, v.output[from + c] * (VALUE(c) * factor))
    out[a.out_at + p] = sum;
}
