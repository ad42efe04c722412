/* bag_forward_cpu_head.cl - what the widths of bag_forward_cpu.cl share: the view of a launch, rows, qparams, norms.
 *
 * Compiled once, behind bag_forward_uses.cl. A launch sees one group of slabs; where its table lies in one slab, the bag's pointers are taken
 * there once and no row asks again.
 * Knobs    USES, MODE, SLABS 1|8, PREFETCH 0|1 (the driver takes prefetches), Q_SOFT_DIVISION where probe.cl found division inexact */
/* One bag's view of the launch: slab pointers are picked once where the table lies in one slab. */
typedef struct bag_view {
    __global const float *slab;
    __global const q_state *state;
#if SLABS > 1
    __global const float *slab0, *slab1, *slab2, *slab3, *slab4, *slab5, *slab6, *slab7;
    __global const q_state *state0, *state1, *state2, *state3, *state4, *state5, *state6, *state7;
#endif
    __global const INDEX *indices;
    __global const float *weights;
    long lookups;
    long rows, padding_idx;
    int dim; /* a constant where all tables of the width have it */
    long observations; /* of this table, this forward included */
} bag_view;

static inline __global const float *row_of(const bag_view v, __global const q_table *t, const long row) {
#if SLABS > 1
    __global const float *slab = t->row_shift >= 62 ? v.slab : SLAB_OF(v.slab, q_slab(t, row)) + t->base;
#else
    __global const float *slab = v.slab;
#endif
    return slab + q_local(t, row) * v.dim;
}

static inline __global const q_state *state_of(const bag_view v, __global const q_table *t, const long row) {
#if SLABS > 1
    __global const q_state *state = t->row_shift >= 62 ? v.state : SLAB_OF(v.state, q_slab(t, row)) + t->state_base;
#else
    __global const q_state *state = v.state;
#endif
    return state + q_local(t, row);
}

/* Neighbouring bags of a feature, and where they go. */
typedef struct bag_tile {
    q_batch batch;
    __global const OFFSET *offsets;
    long first; /* among all bags of the batch */
    int bags;
    long stride; /* from a bag's output to the next one's */
    __global float *out;
    __global int *winners;
} bag_tile;

static inline long tile_begin(const bag_tile c) {
    long begin, end;
    q_bag(c.batch, c.offsets, c.first, &begin, &end);
    return begin;
}

/* Behind the lookups of bag i of the tile. */
static inline long tile_end(const bag_tile c, const int i) {
    long begin, end;
    q_bag(c.batch, c.offsets, c.first + i, &begin, &end);
    return end;
}

/* Whether a lookup counts: inside its table, and not the padding row (which only a pool leaves out). */
static inline int counts(const bag_view v, const long row) {
    return (ulong)row < (ulong)v.rows && (MODE == Q_MODE_NONE || row != v.padding_idx);
}

#if USES & USES_QUANT
static inline q_qparams row_qparams(const bag_view v, __global const q_table *t, const long row, const float lo, const float hi) {
    q_state s = {lo, hi, 0};
#if USES & USES_STATE
    if (t->flags & Q_HAS_STATE) {
        s = *state_of(v, t, row);
        (void)q_catch_up(t->observer, t->averaging, lo, hi, v.observations, &s);
    }
#endif
    return q_row_qparams(t, s.min_val, s.max_val, lo, hi);
}
#endif

/* The row of lookup p, or of the last one: where to prefetch. For an id outside the table it is row 0: its address can be written down. */
static inline long row_ahead(const bag_view v, __global const q_table *t, const long p) {
    const long row = v.indices[p < v.lookups ? p : v.lookups - 1];
    return (ulong)row < (ulong)t->rows ? row : 0;
}

/* The row of lookup p, and its state, are asked for. In one slab an id outside the table makes an address that nobody reads. */
static inline void prefetch_row(const bag_view v, __global const q_table *t, const long p) {
#if PREFETCH
#if SLABS == 1
    const ulong row = (ulong)(long)v.indices[p];
    const ulong w = (ulong)v.slab + row * (ulong)v.dim * sizeof(float);
    const ulong state = (ulong)v.state + row * sizeof(q_state);
#else
    const long row = row_ahead(v, t, p);
    const ulong w = (ulong)row_of(v, t, row);
    const ulong state = (ulong)state_of(v, t, row);
#endif
    for (int c = 0; c < v.dim; c += 16) {
        PREFETCH_LINE(w + c * sizeof(float));
    }
#if USES & USES_STATE
    if (t->flags & Q_HAS_STATE) {
        PREFETCH_LINE(state);
    }
#endif
#endif
}

#if USES & USES_NORM
/* Factor of max_norm for a row, from its values (fake-quantised when quant). */
static inline float row_norm_factor(__global const q_table *t, __global const float *w, const q_qparams q, const int quant) {
    Q_WALK_NORM(t, quant ? q_fake_quant((float16)(w[c]), q, t->qmin, t->qmax, t->arithmetic).s0 : w[c])
}
#endif
