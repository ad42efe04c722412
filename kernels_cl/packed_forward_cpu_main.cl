/* packed_forward_cpu_main.cl - the kernel: one work-item a bag, by the width and bits of its table.
 *
 * Shapes   tables[T], features[F], slab: bytes (row_layout.h), idx[N], off[F*B+1], psw[N], maps, out[B][out_stride]
 * Mapping  as bag_forward_cpu_main.cl, with tiles of one bag
 * Knobs    PICK: `case BITS * 32 + CHUNKS:` of every pair that was compiled, through CASE */
#ifndef PICK
#error "PICK is set by src/opencl/packed_forward.c"
#endif

#define CASE(b, n)                                                           \
    case (b) * 32 + (n):                                                     \
        for (int first = 0; first < t->dim; first += (n) * 16 * (8 / (b))) { \
            packed_##b##_##n(v, t, begin, end, first, target);               \
        }                                                                    \
        break;

__kernel void packed_forward(__global const q_table *tables, __global const q_feature *features, SLAB_PARAMETERS(__global const uchar *, slab),
                             __global const INDEX *indices, __global const OFFSET *offsets, __global const float *weights, __global const int *maps,
                             __global out_t *out, __global const uint *status, __global const int *longs, volatile __global uint *events,
                             const q_packed_forward a) {
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
    const int bag = turn.bag;
    __global const q_feature *f = features + turn.feature;
    if (q_elsewhere(a.batch, a.deal, offsets, (long)f->index * bags, turn)) {
        return;
    }
    __global const q_table *t = tables + f->table;
    long begin;
    long end;
    q_bag(a.batch, offsets, (long)f->index * bags + bag, &begin, &end);
    packed_view v;
    v.indices = indices + a.batch.indices_at;
    v.weights = weights + a.batch.weights_at;
    v.maps = maps;
    v.lookups = a.batch.lookups;
    v.slab = SLAB_OF(slab, t->slab);
    view_table(&v, t);
#if SLABS > 1
    v.slab0 = slab0, v.slab1 = slab1, v.slab2 = slab2, v.slab3 = slab3, v.slab4 = slab4, v.slab5 = slab5, v.slab6 = slab6, v.slab7 = slab7;
#endif
    __global out_t *target = out + a.out_at + (long)bag * a.out_stride + f->column;
    const int per = 8 / t->bits;
    const int chunks = (t->dim + 16 * per - 1) / (16 * per);
    switch (t->bits * 32 + min(chunks, 16 / per)) {
        PICK
    }
}
