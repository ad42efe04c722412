/* bag_forward_cpu_stream.cl - a tile of bags whose rows are fake-quantised, up to 32 columns: four rows are observed while the four before
 * them are quantised and pooled.
 *
 * The lookups of a tile's bags are neighbours, so they are taken as one stream, whatever the bags' lengths: bags of one lookup cost what
 * those of twenty do. The range and qparams of a quad of rows are a long dependent chain (a transposed reduction, two divisions), the
 * elements of the quad before it are plain throughput, and rows AHEAD are asked for between them. Two Xeon cores, 16 columns, 10 M rows: 1.00
 * of the float lookup's time against 1.37 in groups within a bag, 1.22 against 2.39 with one lookup a bag. From 64 columns on groups are
 * better (1.34 against 1.47): their first pass has the prefetches that four rows' lines would pile up here.
 *
 * NaN is not looked for element by element: a NaN stays in its column's sum, an infinity makes its row's width infinite, and the tile is then
 * done again with care (bag_forward_cpu.cl). Hence not for the packed arithmetic, max_norm, or lookups without a pool.
 * Mapping  one work-item a tile of bags; Moves as bag_forward_cpu.cl
 * Knobs    as bag_forward_cpu.cl, whose macros for one width this file uses */
#if GROUPED && BLOCKS <= 2

#undef LOAD_FROM
#if BLOCKS == 0
#define LOAD_FROM(w, k) load_small(w, dim)
#else
#define LOAD_FROM(w, k) vload16(0, (w) + AT(k))
#endif

/* Observes the rows of positions [p, p + 4) into places at .. at + 3; a position that does not count is given row `held`. */
INLINED int CAT(observe_quad_, BLOCKS)(quads *g, const int at, const bag_view v, __global const q_table *t, const long p, const long end,
                                       const long held, const int exact) {
    const int dim = DIM ? DIM : t->dim;
    __global const float *w[4];
    long rows[4];
    int whole = 0;
    if (p + 4 <= end) {
        rows[0] = v.indices[p], rows[1] = v.indices[p + 1], rows[2] = v.indices[p + 2], rows[3] = v.indices[p + 3];
        whole = counts(v, rows[0]) && counts(v, rows[1]) && counts(v, rows[2]) && counts(v, rows[3]);
    }
    if (whole) {
        w[0] = row_of(v, t, rows[0]), w[1] = row_of(v, t, rows[1]), w[2] = row_of(v, t, rows[2]), w[3] = row_of(v, t, rows[3]);
        g->row[at] = w[0], g->row[at + 1] = w[1], g->row[at + 2] = w[2], g->row[at + 3] = w[3];
    } else {
        for (int j = 0; j < 4; j++) {
            const long row = v.indices[p + j < end ? p + j : end - 1];
            const int ok = counts(v, row);
            rows[j] = ok ? row : held;
            w[j] = row_of(v, t, rows[j]);
            g->row[at + j] = ok ? w[j] : 0;
        }
    }
    float16 low0 = LOAD_FROM(w[0], 0), low1 = LOAD_FROM(w[1], 0), low2 = LOAD_FROM(w[2], 0), low3 = LOAD_FROM(w[3], 0);
    float16 high0 = low0, high1 = low1, high2 = low2, high3 = low3;
#pragma unroll
    for (int k = 1; k < BLOCKS; k++) {
        const float16 x0 = LOAD_FROM(w[0], k), x1 = LOAD_FROM(w[1], k), x2 = LOAD_FROM(w[2], k), x3 = LOAD_FROM(w[3], k);
        low0 = vmin16(x0, low0), low1 = vmin16(x1, low1), low2 = vmin16(x2, low2), low3 = vmin16(x3, low3);
        high0 = vmax16(x0, high0), high1 = vmax16(x1, high1), high2 = vmax16(x2, high2), high3 = vmax16(x3, high3);
    }
    return (whole ? GROUP_WHOLE : 0) | quad_flags(quad_qparams(v, t, rows, least4(low0, low1, low2, low3), greatest4(high0, high1, high2, high3),
                                                               g->scale + at, g->zero + at, g->minus + at, g->inverse + at), exact);
}

#define PREFETCH_BLOCK(k) PREFETCH_LINE(next + 16 * (k));
#define S_EXACT(k)                                                     \
    {                                                                  \
        float16 x##k = LOAD_FROM(w, k);                                \
        x##k = q_fake_quant_exact_by(x##k, q, g.minus[at + j], ARITHMETIC(t)); \
        ADD(k)                                                         \
        PREFETCH_BLOCK(k)                                              \
    }
#define S_CLAMPED(k)                                                   \
    {                                                                  \
        float16 x##k = LOAD_FROM(w, k);                                \
        x##k = q_fake_quant(x##k, q, t->qmin, t->qmax, ARITHMETIC(t)); \
        ADD(k)                                                         \
        PREFETCH_BLOCK(k)                                              \
    }
#define S_CLEAR(k) acc##k = (float16)(0.0f);
#define S_ODD(k)   odd = odd + (acc##k - acc##k);

#if MODE == Q_MODE_MEAN
#define S_POOLED        \
    if (count > 0) {    \
        EACH(DIVIDE)    \
    }
#else
#define S_POOLED
#endif
#if MODE == Q_MODE_MAX
#define S_CLEAR_BEST(k) best##k = (int16)(-1);
#define S_WINNERS                            \
    {                                        \
        __global int *winner = c.winners;    \
        EACH(STORE_WINNER)                   \
        EACH(S_CLEAR_BEST)                   \
        c.winners += c.stride;               \
    }
#else
#define S_WINNERS
#endif
/* The bag is complete: its pool out, the next one begun. */
#define FINISH_BAG                  \
    {                               \
        __global float *out = c.out; \
        EACH(S_ODD)                 \
        S_POOLED                    \
        EACH(STORE)                 \
        EACH(S_CLEAR)               \
        S_WINNERS                   \
        c.out += c.stride;          \
        count = 0;                  \
        bag++;                      \
    }

#if WEIGHTED
#define S_WEIGHT const float psw = v.weights[p + j];
#else
#define S_WEIGHT
#endif
#if MODE == Q_MODE_MAX
#define S_PLACE                   \
    const int first = count == 0; \
    const long position = p + j;
#else
#define S_PLACE
#endif
#define STREAM_ROW(VALUE)                                                                     \
    {                                                                                         \
        __global const float *w = g.row[at + j];                                              \
        __global const float *next = prefetch_row_of(v, t, ahead + j, 1);                        \
        const q_qparams q = {g.scale[at + j], g.zero[at + j], g.inverse[at + j], 1};          \
        S_WEIGHT                                                                              \
        S_PLACE                                                                               \
        EACH(VALUE)                                                                           \
        count++;                                                                              \
    }

/* The bags of a tile; 0 when it holds what needs care and must be done again. */
INLINED int CAT(stream_, BLOCKS)(const bag_view given, __global const q_table *t, const bag_tile given_tile) {
    const int dim = DIM ? DIM : t->dim;
    bag_tile c = given_tile;
    bag_view v = given;
    quads g;
    v.dim = dim;
    long count = 0;
    int bag = 0;
    int all = GROUP_FINITE;
    float16 odd = (float16)(0.0f);
    EACH(INIT)
#if MODE == Q_MODE_MAX
    EACH(INIT_BEST)
#endif
    const long begin = tile_begin(c);
    const long end = tile_end(c, c.bags - 1);
    const long held = first_counting(v, begin, end);
    long bag_end = tile_end(c, 0);
    if (held >= 0) {
        const int exact = t->qmin == 0.0f ? GROUP_EXACT : 0;
        int at = 0;
        int flags = CAT(observe_quad_, BLOCKS)(&g, 0, v, t, begin, end, held, exact);
        for (long p = begin; p < end; p += 4) {
            const int here = flags;
            const int n = end - p < 4 ? (int)(end - p) : 4;
            all &= flags;
            if (p + 4 < end) {
                flags = CAT(observe_quad_, BLOCKS)(&g, at ^ 4, v, t, p + 4, end, held, exact);
            }
            const long ahead = p + AHEAD + 4 <= v.lookups ? p + AHEAD : p;
            while (p >= bag_end) {
                FINISH_BAG
                bag_end = tile_end(c, bag);
            }
            if (here == (GROUP_EXACT | GROUP_FINITE | GROUP_WHOLE) && p + 4 <= bag_end) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    STREAM_ROW(S_EXACT)
                }
                at ^= 4;
                continue;
            }
            for (int j = 0; j < n; j++) {
                while (p + j >= bag_end) {
                    FINISH_BAG
                    bag_end = tile_end(c, bag);
                }
                if (g.row[at + j]) {
                    STREAM_ROW(S_CLAMPED)
                }
            }
            at ^= 4;
        }
    }
    while (bag < c.bags) {
        FINISH_BAG
    }
    const float any = any_nan(odd);
    return any == any && (all & GROUP_FINITE);
}
#endif
