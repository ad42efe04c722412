/* bag_backward_cpu_main.cl - sums of the parts of long runs; other widths are row_parts' (bag_backward_gpu.cl).
 *
 * Shapes   parts[P][part_stride], first D of each written; the rest as bag_backward_head.cl
 * Mapping  each work-item sums its share of the parts, how many there are the host does not know
 * Moves    reads (4*D + 8) bytes a lookup of a part, writes 4*D*P
 * Knobs    WIDTHS bit k set: some table takes k blocks (bag_backward_cpu.cl was compiled for it) */
#ifndef WIDTHS
#error "WIDTHS is set by src/opencl/gradient.c"
#endif
#define CASE(k)                                                                        \
    case k:                                                                            \
        part_##k(v, t->dim, from, min(from + Q_PART, end), end - begin, to);           \
        break;

__kernel void row_parts_blocks(GRADIENT_PARAMETERS, const q_gradient a) {
    const long count = counts[Q_SORT_PARTS];
    const gradient_view v = GRADIENT_VIEW(a);
    const int last = (int)SHARE(count, get_global_id(0) + 1);
    for (int part = (int)SHARE(count, get_global_id(0)); part < last; part++) {
        const int run = part_run[part];
        const int from = part_slot[part];
        const int begin = run_start[run];
        const int end = run_start[run + 1];
        __global const q_table *t = tables + table_of(tables, a.num_tables, (long)run_row[run]);
        __global float *to = parts + (long)part * a.part_stride;
        if (Q_IN_BLOCKS(Q_SGD, t->dim)) {
            switch ((t->dim + 15) / 16) {
                EACH_WIDTH
            }
        }
    }
}
