/* bag_forward_cpu_group.cl - bags of fake-quantised rows of more than 32 columns, up to ROWS rows at a time.
 *
 * First the ranges of the group's rows: four rows share one transposed reduction, one set of divisions and their latency. Then their
 * elements, CHUNK columns at a time, so that no width needs more than 4 accumulators; the rows lie in the first-level cache by then. Both
 * passes prefetch. One row at a time, as in bag_forward_cpu.cl, waits for each row's chain of
 * reduction and division: 34 against 12 ns a row of 64 columns hot in cache (two Zen 4 cores).
 *
 * NaN is not looked for element by element: a NaN stays in its column's sum, an infinity makes its row's width infinite, and grouped()
 * then reports that the bag is to be done again with care. Hence not for the packed arithmetic, max_norm, or lookups without a pool.
 * Moves    as bag_forward_cpu.cl: the second reading of a row hits the first-level cache
 * Knobs    ROWS of a group, a multiple of 4; 0: this file is not used; AHEAD */
#if GROUPED && (WIDTHS >> 3)
#define CHUNK 64
#define OF1(M) M(0)
#define OF2(M) OF1(M) M(1)
#define OF3(M) OF2(M) M(2)
#define OF4(M) OF3(M) M(3)

typedef struct group {
    __global const float *row[ROWS];
#if USES & USES_STATE
    long id[ROWS];
#endif
    float scale[ROWS], zero[ROWS], minus[ROWS], inverse[ROWS];
#if WEIGHTED
    float weight[ROWS];
#endif
#if MODE == Q_MODE_MAX
    int position[ROWS];
#endif
} group;

/* A group's place in its bag. `tail` is what the last 16 columns held before it: they overlap the 16 before them where 16 does not divide
 * dim, and those are written first. */
typedef struct span {
    int dim, blocks;
    int n;         /* rows of the group */
    int begun;     /* out holds the pool of earlier groups */
    int exact;     /* no row needs clamping */
    float divisor; /* of the last group of a mean, else 0 */
    long ahead;    /* position to prefetch for the first row */
    float16 tail;
    int16 tail_winner;
} span;

/* For four rows from position p on, what prefetch_columns leaves out. */
static inline void prefetch_halves(const bag_view v, __global const q_table *t, const long p, const int dim) {
#if PREFETCH
    if (p + 4 > v.lookups) {
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        __global const float *w = prefetch_row_of(v, t, p + j, 0);
        for (int c = 0; c + 32 < dim; c += CHUNK) {
            PREFETCH_LINE(w + c);
            PREFETCH_LINE(w + c + 16);
        }
    }
#endif
}

/* Qparams of rows r to r + 3, as quad_qparams. Rows from position `ahead` on are prefetched. There are two blocks at least. */
static inline float4 group_qparams(group *g, const bag_view v, __global const q_table *t, const int r, const int dim, const int blocks, const long ahead) {
#define G_BEGIN(j)                                                                              \
    __global const float *w##j = g->row[r + j];                                                 \
    const float16 a##j = vload16(0, w##j), b##j = vload16(0, w##j + 16);                        \
    float16 low##j = vmin16(a##j, b##j), high##j = vmax16(a##j, b##j);
#define G_EXTEND(j)                                                                             \
    {                                                                                           \
        const float16 x = vload16(0, w##j + c);                                                 \
        low##j = vmin16(x, low##j), high##j = vmax16(x, high##j);                               \
    }
    OF4(G_BEGIN)
    prefetch_halves(v, t, ahead, dim);
    for (int k = 2; k < blocks; k++) {
        const int c = 16 * k + 16 <= dim ? 16 * k : dim - 16;
        OF4(G_EXTEND)
    }
#if USES & USES_STATE
    const long rows[4] = {g->id[r], g->id[r + 1], g->id[r + 2], g->id[r + 3]};
#else
    const long *rows = 0;
#endif
    return quad_qparams(v, t, rows, least4(low0, low1, low2, low3), greatest4(high0, high1, high2, high3), g->scale + r, g->zero + r,
                        g->minus + r, g->inverse + r);
}

/* Lines of the columns from c on that the second pass prefetches, of `wide` blocks: the first pass has the first two of four. Prefetches have to
 * be spread over all the time there is: with all of them in either pass the memory rests during the other (4 M rows of 64, two Xeon cores:
 * 1.62 against 1.42 times the float forward). */
static inline void prefetch_columns(const bag_view v, __global const q_table *t, const long p, const int c, const int wide) {
#if PREFETCH
    __global const float *w = prefetch_row_of(v, t, p, c == 0) + c;
#pragma unroll
    for (int k = wide > 2 ? 2 : 0; k < wide; k++) {
        PREFETCH_LINE(w + 16 * k);
    }
#endif
}

#define G_COLUMN(k)                                             \
    const int last##k = c + 16 * (k) + 16 >= s.dim;             \
    const int at##k = last##k ? s.dim - 16 : c + 16 * (k);
#define G_ACC(k) float16 acc##k = !s.begun ? (float16)(0.0f) : last##k ? s.tail : vload16(0, out + at##k);
#define G_BEST(k) int16 best##k = !s.begun ? (int16)(-1) : last##k ? s.tail_winner : vload16(0, winner + at##k);
#define G_EXACT(k) float16 x##k = q_fake_quant_exact_by(vload16(0, w + at##k), q, g->minus[i], ARITHMETIC(t));
#define G_CLAMPED(k) float16 x##k = q_fake_quant(vload16(0, w + at##k), q, t->qmin, t->qmax, ARITHMETIC(t));
#if MODE == Q_MODE_MAX
#define G_ADD(k)                                                                                                  \
    {                                                                                                             \
        const int16 wins = i == 0 && !s.begun ? (int16)(-1) : (int16)(x##k > acc##k) | (int16)(x##k != x##k);     \
        acc##k = wins ? x##k : acc##k;                                                                            \
        best##k = wins ? (int16)(g->position[i]) : best##k;                                                       \
    }
#elif WEIGHTED
#define G_ADD(k) acc##k = t->padding_idx < 0 ? fma((float16)(g->weight[i]), x##k, acc##k) : acc##k + x##k * g->weight[i];
#else
#define G_ADD(k) acc##k = acc##k + x##k;
#endif
#define G_NAN(k) odd = odd + (acc##k - acc##k);
#define G_DIVIDE(k) acc##k = acc##k / (float16)(s.divisor);
#define G_STORE(k)      vstore16(acc##k, 0, out + at##k);
#define G_STORE_BEST(k) vstore16(best##k, 0, winner + at##k);
#define G_ROWS(EACH_COLUMN, VALUE)                                                                    \
    for (int i = 0; i < s.n; i++) {                                                                   \
        const q_qparams q = {g->scale[i], g->zero[i], g->inverse[i], 1};                              \
        __global const float *w = g->row[i];                                                          \
        prefetch_columns(v, t, s.ahead + i, c, WIDE);                                                 \
        EACH_COLUMN(VALUE)                                                                            \
        EACH_COLUMN(G_ADD)                                                                            \
    }

/* Columns [c, c + 16 * WIDE) of a group's rows into out; 0 when a sum came out NaN or infinite. */
#if MODE == Q_MODE_MAX
#define G_IF_MAX(x) x
#else
#define G_IF_MAX(x)
#endif
#define COLUMNS(wide)                                                                                                        \
    static inline int columns_##wide(const group *g, const span s, const bag_view v, __global const q_table *t, const int c, \
                                     __global float *out, __global int *winner) {                                            \
        enum { WIDE = wide };                                                                                                \
        float16 odd = (float16)(0.0f);                                                                                       \
        OF##wide(G_COLUMN) OF##wide(G_ACC) G_IF_MAX(OF##wide(G_BEST))                                                        \
        if (s.exact) {                                                                                                       \
            G_ROWS(OF##wide, G_EXACT)                                                                                        \
        } else {                                                                                                             \
            G_ROWS(OF##wide, G_CLAMPED)                                                                                      \
        }                                                                                                                    \
        OF##wide(G_NAN)                                                                                                      \
        if (MODE == Q_MODE_MEAN && s.divisor > 0.0f) {                                                                       \
            OF##wide(G_DIVIDE)                                                                                               \
        }                                                                                                                    \
        OF##wide(G_STORE) G_IF_MAX(OF##wide(G_STORE_BEST))                                                                   \
        const float any = any_nan(odd);                                                                                      \
        return any == any;                                                                                                   \
    }
COLUMNS(1)
COLUMNS(2)
COLUMNS(3)
COLUMNS(4)

INLINED void take_row(group *g, const int n, const bag_view v, __global const q_table *t, const long p, const long row) {
    g->row[n] = row_of(v, t, row);
#if USES & USES_STATE
    g->id[n] = row;
#endif
#if WEIGHTED
    g->weight[n] = v.weights[p];
#endif
#if MODE == Q_MODE_MAX
    g->position[n] = (int)p;
#endif
}

/* The next rows of the bag that count, from position p on; the position behind them. Rows are filled up to a multiple of 4. */
static inline long group_fill(group *g, span *s, const bag_view v, __global const q_table *t, long p, const long end) {
    int n = 0;
    while (p + 4 <= end && n + 4 <= ROWS) { /* four at a time, unless one does not count */
        const long row0 = v.indices[p], row1 = v.indices[p + 1], row2 = v.indices[p + 2], row3 = v.indices[p + 3];
        if (!(counts_too(v, row0) & counts_too(v, row1) & counts_too(v, row2) & counts_too(v, row3))) {
            break;
        }
        take_row(g, n, v, t, p, row0), take_row(g, n + 1, v, t, p + 1, row1);
        take_row(g, n + 2, v, t, p + 2, row2), take_row(g, n + 3, v, t, p + 3, row3);
        n += 4;
        p += 4;
    }
    for (; p < end && n < ROWS; p++) {
        const long row = v.indices[p];
        if (!counts(v, row)) {
            continue;
        }
        take_row(g, n, v, t, p, row);
        n++;
    }
    for (int i = n; i & 3; i++) {
        g->row[i] = g->row[0];
#if USES & USES_STATE
        g->id[i] = g->id[0];
#endif
    }
    s->n = n;
    return p;
}

/* One bag; 0 when it holds what needs care and must be done again. */
static inline int grouped(const bag_view v, __global const q_table *t, const long begin, const long end, __global float *out,
                          __global int *winner, const int blocks) {
    group g;
    span s;
    int count = 0;
    int fine = 1;
    long p = begin;
    s.dim = v.dim;
    s.blocks = blocks;
    do {
        s.begun = count > 0;
        if (s.begun) {
            const int last = s.dim - 16;
            s.tail = vload16(0, out + last);
            s.tail_winner = MODE != Q_MODE_MAX ? (int16)(0) : vload16(0, winner + last);
        }
        p = group_fill(&g, &s, v, t, p, end);
        count += s.n;
        float4 far = (float4)(0.0f);
        for (int r = 0; r < s.n; r += 4) {
            far = far + group_qparams(&g, v, t, r, s.dim, blocks, p + AHEAD / 2 + r);
        }
        const int all_of = quad_flags(far, t->qmin == 0.0f ? GROUP_EXACT : 0);
        s.exact = all_of & GROUP_EXACT;
        fine &= all_of / GROUP_FINITE;
        s.ahead = p + AHEAD / 2 + s.n <= v.lookups ? p + AHEAD / 2 : p - s.n; /* at the end of the batch: rows that are here */
        s.divisor = MODE == Q_MODE_MEAN && p >= end ? (float)count : 0.0f;
        int c = 0;
        for (int k = 0; k + 4 <= blocks; k += 4, c += CHUNK) {
            fine &= columns_4(&g, s, v, t, c, out, winner);
        }
        switch (blocks & 3) {
        case 1:
            fine &= columns_1(&g, s, v, t, c, out, winner);
            break;
        case 2:
            fine &= columns_2(&g, s, v, t, c, out, winner);
            break;
        case 3:
            fine &= columns_3(&g, s, v, t, c, out, winner);
            break;
        }
    } while (p < end);
    return fine;
}
#endif
