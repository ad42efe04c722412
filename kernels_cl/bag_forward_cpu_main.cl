/* bag_forward_cpu_main.cl - the kernel: one work-item a bag, switching on the width of its table.
 *
 * Shapes   tables[T], features[F], slab: W, state: one entry a row, idx[N], off[F*B+1], psw[N], out[B][out_stride], winners like out
 * Mapping  item i is bag i % B of feature first_feature + i / B
 * Knobs    WIDTHS bit k set: some table takes k blocks (bag_forward_cpu.cl was compiled for it) */
#ifndef WIDTHS
#error "WIDTHS is set by src/opencl/bag_forward.c"
#endif

#define CASE(k)                                        \
    case k:                                            \
        forward_##k(v, t, begin, end, target, winner); \
        break;

__kernel void bag_forward(__global const q_table *tables, __global const q_feature *features, SLAB_PARAMETERS(__global const float *, slab),
                          SLAB_PARAMETERS(__global const q_state *, state), __global const INDEX *indices, __global const OFFSET *offsets,
                          __global const float *weights, __global float *out, __global int *winners, __global const uint *status,
                          const q_bag_forward a) {
    const int item = (int)get_global_id(0);
    const int bags = (int)a.batch.bags;
    if (item >= bags * a.num_features || q_refused(status)) {
        return;
    }
    const int slot = item / bags;
    const int bag = item - slot * bags;
    __global const q_feature *f = features + a.first_feature + slot;
    __global const q_table *t = tables + f->table;
    long begin;
    long end;
    q_bag(a.batch, offsets, (long)f->index * bags + bag, &begin, &end);
    bag_view v;
    v.indices = indices + a.batch.indices_at;
    v.weights = weights + a.batch.weights_at;
    v.lookups = a.batch.lookups;
    v.observations = (t->flags & Q_OBSERVER_ON) ? a.step + t->observed : t->observed;
    v.slab = SLAB_OF(slab, t->slab) + t->base;
    v.state = SLAB_OF(state, t->slab) + t->state_base;
    v.rows = t->rows;
    v.padding_idx = t->padding_idx;
#if SLABS > 1
    v.slab0 = slab0, v.slab1 = slab1, v.slab2 = slab2, v.slab3 = slab3, v.slab4 = slab4, v.slab5 = slab5, v.slab6 = slab6, v.slab7 = slab7;
    v.state0 = state0, v.state1 = state1, v.state2 = state2, v.state3 = state3;
    v.state4 = state4, v.state5 = state5, v.state6 = state6, v.state7 = state7;
#endif
    const long at = (long)bag * a.out_stride + f->column;
    __global float *target = out + a.out_at + at;
    __global int *winner = winners + at;
    const int blocks = t->dim < 16 ? 0 : t->dim > 256 ? 17 : (t->dim + 15) / 16;
    switch (blocks) {
#if WIDTHS & (1 << 0)
        CASE(0)
#endif
#if WIDTHS & (1 << 1)
        CASE(1)
#endif
#if WIDTHS & (1 << 2)
        CASE(2)
#endif
#if WIDTHS & (1 << 3)
        CASE(3)
#endif
#if WIDTHS & (1 << 4)
        CASE(4)
#endif
#if WIDTHS & (1 << 5)
        CASE(5)
#endif
#if WIDTHS & (1 << 6)
        CASE(6)
#endif
#if WIDTHS & (1 << 7)
        CASE(7)
#endif
#if WIDTHS & (1 << 8)
        CASE(8)
#endif
#if WIDTHS & (1 << 9)
        CASE(9)
#endif
#if WIDTHS & (1 << 10)
        CASE(10)
#endif
#if WIDTHS & (1 << 11)
        CASE(11)
#endif
#if WIDTHS & (1 << 12)
        CASE(12)
#endif
#if WIDTHS & (1 << 13)
        CASE(13)
#endif
#if WIDTHS & (1 << 14)
        CASE(14)
#endif
#if WIDTHS & (1 << 15)
        CASE(15)
#endif
#if WIDTHS & (1 << 16)
        CASE(16)
#endif
#if WIDTHS & (1 << 17)
        CASE(17)
#endif
    }
}
