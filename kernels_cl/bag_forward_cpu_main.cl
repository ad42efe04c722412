/* bag_forward_cpu_main.cl - the kernel: one work-item a tile of neighbouring bags of a feature, switching on the width of its table.
 *
 * Shapes   tables[T], features[F], slab: W, state: one entry a row, idx[N], off[F*B+1], psw[N], out[B][out_stride], winners like out
 *          longs: the list of q_deal
 * Mapping  turn i is a tile with a bag of the list, or tile i % n of feature first_feature + i / n, where n = ceil(B / tile). Float rows of 16
 *          columns: two bags of a tile at a time
 * Knobs    WIDTHS bit k set: some table takes k blocks (bag_forward_cpu.cl was compiled for it) */
#ifndef WIDTHS
#error "WIDTHS is set by src/opencl/bag_forward.c"
#endif

#if GROUPED
#define STREAM(k) FAKE_QUANTISES(t) && stream_##k(v, t, tile)
#else
#define STREAM(k) 0
#endif
#if (WIDTHS & (1 << 1)) && USES == USES_FLOAT && !WEIGHTED && (MODE == Q_MODE_SUM || MODE == Q_MODE_MEAN)
#define PAIRED 1
#define PAIR_ADD(bag, at)                                   \
    {                                                       \
        const long p = at;                                  \
        const long row = v.indices[p];                      \
        prefetch_row(v, t, p + ahead);                      \
        if (counts(v, row)) {                               \
            sum##bag = sum##bag + vload16(0, row_of(v, t, row)); \
            count##bag++;                                   \
        }                                                   \
    }
/* Two neighbouring bags: a single one of 16 columns waits for its one chain of additions, 4 cycles a row. */
static inline void forward_pair(const bag_view given, __global const q_table *t, const long begin, const long middle, const long end,
                                __global float *out0, __global float *out1) {
    bag_view v = given;
    v.dim = 16;
    const long both = middle - begin < end - middle ? middle - begin : end - middle;
    /* rows of pairs to come, so many positions further on that both bags ask for the same place of theirs; of long bags for their own */
    const long n = end - begin;
    const long far = n > 0 && n <= 3 * AHEAD ? n * (1 + AHEAD / n) : AHEAD;
    const long ahead = end + far <= v.lookups ? far : 0;
    float16 sum0 = (float16)(0.0f), sum1 = sum0;
    long count0 = 0, count1 = 0;
    for (long j = 0; j < both; j++) {
        PAIR_ADD(0, begin + j)
        PAIR_ADD(1, middle + j)
    }
    for (long k = begin + both; k < middle; k++) {
        PAIR_ADD(0, k)
    }
    for (long k = middle + both; k < end; k++) {
        PAIR_ADD(1, k)
    }
    if (MODE == Q_MODE_MEAN && count0 > 0) {
        sum0 = divide16(sum0, (float16)((float)count0));
    }
    if (MODE == Q_MODE_MEAN && count1 > 0) {
        sum1 = divide16(sum1, (float16)((float)count1));
    }
    vstore16(sum0, 0, out0);
    vstore16(sum1, 0, out1);
}

/* The pairs of a tile; how many bags they were. */
static inline int forward_pairs(const bag_view v, __global const q_table *t, const bag_tile c) {
    long begin = tile_begin(c);
    int i = 0;
    for (; i + 2 <= c.bags; i += 2) {
        const long middle = tile_end(c, i), end = tile_end(c, i + 1);
        __global float *out = c.out + i * c.stride;
        forward_pair(v, t, begin, middle, end, out, out + c.stride);
        begin = end;
    }
    return i;
}
#endif

#define BAGS(k, from)                                                                                              \
    for (int i = (from); i < tile.bags; i++) {                                                                     \
        long begin, end;                                                                                           \
        q_bag(a.batch, offsets, tile.first + i, &begin, &end);                                                     \
        forward_##k(v, t, begin, end, tile.out + i * tile.stride, tile.winners + i * tile.stride);                 \
    }
#define CASE(k)    \
    case k:        \
        BAGS(k, 0) \
        break;
#define STREAMED(k, from)      \
    case k:                    \
        if (!(STREAM(k))) {    \
            BAGS(k, from)      \
        }                      \
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
        STREAMED(0, 0)
#endif
#if WIDTHS & (1 << 1)
#ifdef PAIRED
        STREAMED(1, forward_pairs(v, t, tile))
#else
        STREAMED(1, 0)
#endif
#endif
#if WIDTHS & (1 << 2)
        STREAMED(2, 0)
#endif
        EACH_WIDE_WIDTH
#if WIDTHS & (1 << 17)
        CASE(17)
#endif
    }
}
