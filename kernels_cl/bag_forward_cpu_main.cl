/* bag_forward_cpu_main.cl - the kernel: one work-item a tile of neighbouring bags of a feature, switching on the width of its table.
 *
 * Shapes   tables[T], features[F], slab: W, state: one entry a row, idx[N], off[F*B+1], psw[N], out[B][out_stride], winners like out
 *          longs: the list of q_deal
 * Mapping  turn i is a tile with a bag of the list, or tile i % n of feature first_feature + i / n, where n = ceil(B / tile)
 * Knobs    WIDTHS bit k set: some table takes k blocks (bag_forward_cpu.cl was compiled for it) */
#ifndef WIDTHS
#error "WIDTHS is set by src/opencl/bag_forward.c"
#endif

#if GROUPED
#define STREAM(k) FAKE_QUANTISES(t) && stream_##k(v, t, tile)
#else
#define STREAM(k) 0
#endif
#define BAGS(k)                                                                                                    \
    for (int i = 0; i < tile.bags; i++) {                                                                          \
        long begin, end;                                                                                           \
        q_bag(a.batch, offsets, tile.first + i, &begin, &end);                                                     \
        forward_##k(v, t, begin, end, tile.out + i * tile.stride, tile.winners + i * tile.stride);                 \
    }
#define CASE(k) \
    case k:     \
        BAGS(k) \
        break;
#define STREAMED(k)         \
    case k:                 \
        if (!(STREAM(k))) { \
            BAGS(k)         \
        }                   \
        break;

__kernel void bag_forward(__global const q_table *tables, __global const q_feature *features, SLAB_PARAMETERS(__global const float *, slab),
                          SLAB_PARAMETERS(__global const q_state *, state), __global const INDEX *indices, __global const OFFSET *offsets,
                          __global const float *weights, __global float *out, __global int *winners, __global const uint *status,
                          __global const int *longs, volatile __global uint *events, const q_bag_forward a) {
    const int bags = (int)a.batch.bags;
    if (q_refused(status)) {
        return;
    }
    const int i = q_turn_number(a.deal, events);
    if (i >= a.deal.turns) {
        return;
    }
    const q_turn turn = q_turn_of(a.deal, i, longs, bags, a.first_feature);
    if (turn.feature < a.first_feature || turn.feature >= a.first_feature + a.num_features) {
        return; /* a long bag that another group of slabs has */
    }
    __global const q_feature *f = features + turn.feature;
    const long first = (long)f->index * bags;
    if (q_elsewhere(a.batch, a.deal, offsets, first, turn)) {
        return;
    }
    __global const q_table *t = tables + f->table;
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
    const long at = (long)turn.bag * a.out_stride + f->column;
    bag_tile tile;
    tile.batch = a.batch;
    tile.offsets = offsets;
    tile.first = first + turn.bag;
    tile.bags = turn.end - turn.bag;
    tile.stride = a.out_stride;
    tile.out = out + a.out_at + at;
    tile.winners = winners + at;
    const int blocks = t->dim < 16 ? 0 : t->dim > 256 ? 17 : (t->dim + 15) / 16;
    switch (blocks) {
#if WIDTHS & (1 << 0)
        STREAMED(0)
#endif
#if WIDTHS & (1 << 1)
        STREAMED(1)
#endif
#if WIDTHS & (1 << 2)
        STREAMED(2)
#endif
        EACH_WIDE_WIDTH
#if WIDTHS & (1 << 17)
        CASE(17)
#endif
    }
}
