/* row_update_cpu_main.cl - the kernel: a share of the rows a work-item, switching on the width of a row's table.
 *
 * Shapes   as row_update_gpu.cl, whose kernel takes the rows that come in no blocks; norm[norm_at - 1]: the coefficient of clipping by norm
 * Mapping  work-item i: its share of the runs of the sort, or of the rows of the module (DENSE), one after another. How many runs there are only the
 *          device knows, and a driver hands out many groups at a time: one item a run would leave the cores uneven. Rows of other groups of slabs
 *          are another launch's
 * Knobs    WIDTHS bit k set: some table takes k blocks; DENSE 0 a row a run, 1 every row of all tables; AHEAD rows between a prefetch and its use */
#if !defined(WIDTHS) || !defined(DENSE) || !defined(AHEAD)
#error "WIDTHS, DENSE and AHEAD are set by src/opencl/row_update.c"
#endif
#define CASE(k)                                                         \
    case k:                                                             \
        if (count > Q_PART && a.parts == Q_PARTS_UNSUMMED) {            \
            run_parts_##k(v, t->dim, run_start[run], count, first_part); \
        }                                                               \
        update_##k(v, t, run, at, a.optimizer, coefficient);            \
        break;

__kernel void row_update_blocks(GRADIENT_PARAMETERS, SLAB_PARAMETERS(__global float *, first), SLAB_PARAMETERS(__global float *, second),
                                __global const float *norm, volatile __global uint *events, const q_row_update a) {
    const int runs = counts[Q_SORT_RUNS];
    const long rows = DENSE ? a.items : runs;
    const long last = SHARE(rows, get_global_id(0) + 1);
    long item = SHARE(rows, get_global_id(0));
    if (item == last || q_refused(status)) {
        return;
    }
    const gradient_view v = GRADIENT_VIEW(a.source);
    const float coefficient = a.optimizer.clip == Q_CLIP_NORM ? norm[a.norm_at - 1] : 1.0f;
    int next_run = DENSE ? first_run(run_row, runs, item) : (int)item;
    __global const q_table *t = tables + table_of(tables, a.source.num_tables, DENSE ? item : (long)run_row[item]);
    for (; item < last; item++) {
        const long number = DENSE ? item : (long)run_row[item];
        const int run = !DENSE || (next_run < runs && (long)run_row[next_run] == number) ? next_run++ : -1;
        while (number - t->row0 >= t->rows) {
            t++;
        }
        if (t->group != a.source.group || !Q_IN_BLOCKS(KIND, t->dim)) {
            continue;
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
        const int count = run < 0 ? 0 : run_start[run + 1] - run_start[run];
        __global float *first_part = count > Q_PART ? parts + part_first[run] * a.source.part_stride : parts;
        if (count > Q_PART && a.parts == Q_PARTS_SUMMED) {
            combine_parts(first_part, a.source.part_stride, (count + Q_PART - 1) / Q_PART, t->dim, 0, 1);
        }
        const long row = number - t->row0;
        const row_place at = {ROW_IN(slab, t, row), ROW_IN(first, t, row), Q_HAS_ROW(KIND) ? ENTRY_IN(second, t, row) : ROW_IN(second, t, row),
                              ENTRY_IN(state, t, row), events, a.source.step};
        switch ((t->dim + 15) / 16) {
            EACH_WIDTH
        }
    }
}
