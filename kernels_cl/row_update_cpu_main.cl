/* row_update_cpu_main.cl - the kernel: one work-item a row, switching on the width of its table.
 *
 * Shapes   as row_update_gpu.cl, whose kernel takes the rows that come in no blocks; norm[norm_at]: the coefficient of clipping by norm
 * Mapping  work-item i: run i of the sort, or row i of the module (DENSE); rows of other groups of slabs are another launch's
 * Knobs    WIDTHS bit k set: some table takes k blocks; DENSE 0 a row a run, 1 every row of all tables; AHEAD rows between a prefetch and its use */
#if !defined(WIDTHS) || !defined(DENSE) || !defined(AHEAD)
#error "WIDTHS, DENSE and AHEAD are set by src/opencl/row_update.c"
#endif
#define CASE(k)                                                    \
    case k:                                                        \
        update_##k(v, t, run, at, a.optimizer, coefficient);       \
        break;

__kernel void row_update_blocks(GRADIENT_PARAMETERS, SLAB_PARAMETERS(__global float *, first), SLAB_PARAMETERS(__global float *, second),
                                __global const float *norm, volatile __global uint *events, const q_row_update a) {
    const long item = (long)get_global_id(0);
    const int runs = counts[Q_SORT_RUNS];
    if (item >= (DENSE ? a.items : runs) || q_refused(status)) {
        return;
    }
    const gradient_view v = GRADIENT_VIEW(a.source);
    int run = (int)item;
    const long number = DENSE ? item : (long)run_row[run];
    if (DENSE) {
        run = first_run(run_row, runs, number);
        run = run < runs && (long)run_row[run] == number ? run : -1;
    }
    __global const q_table *t = tables + table_of(tables, a.source.num_tables, number);
    if (t->group != a.source.group || !Q_IN_BLOCKS(KIND, t->dim)) {
        return;
    }
#if PREFETCH && !DENSE
    if (run + AHEAD < runs && (long)run_row[run + AHEAD] - t->row0 < t->rows) {
        const long ahead = (long)run_row[run + AHEAD] - t->row0;
        __global const float *line = ROW_IN(slab, t, ahead);
        for (int c = 0; c < t->dim; c += 16) {
            PREFETCH_LINE(line + c);
        }
#if STATE
        if (t->flags & Q_HAS_STATE) {
            PREFETCH_LINE(ENTRY_IN(state, t, ahead));
        }
#endif
    }
#endif
    const long row = number - t->row0;
    const row_place at = {ROW_IN(slab, t, row), ROW_IN(first, t, row), Q_HAS_ROW(KIND) ? ENTRY_IN(second, t, row) : ROW_IN(second, t, row),
                          ENTRY_IN(state, t, row), events, a.source.step};
    const float coefficient = a.optimizer.clip == Q_CLIP_NORM ? norm[a.norm_at] : 1.0f;
    switch ((t->dim + 15) / 16) {
        EACH_WIDTH
    }
}
