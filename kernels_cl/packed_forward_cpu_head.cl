/* packed_forward_cpu_head.cl - what the widths of packed_forward_cpu.cl share: the view of a launch, rows, stores, norms.
 *
 * Knobs    MODE 0 mean, 1 sum, 2 max, 3 none;  WEIGHTED 0|1;  NORM, MAPPED 1: some table has max_norm, a row map;  OUT 0 float32, 1 float16,
 *          2 bfloat16;  AHEAD lookups between a prefetch and its use;  INDEX, OFFSET, SLABS (batch.h) */
#if !defined(MODE) || !defined(WEIGHTED) || !defined(NORM) || !defined(MAPPED) || !defined(OUT) || !defined(AHEAD)
#error "MODE, WEIGHTED, NORM, MAPPED, OUT and AHEAD are set by src/opencl/packed_forward.c, never here"
#endif
#define SUMS (MODE == Q_MODE_SUM || MODE == Q_MODE_MEAN)

/* One bag's view of the launch. */
typedef struct packed_view {
    __global const uchar *slab; /* where the table lies in one */
#if SLABS > 1
    __global const uchar *slab0, *slab1, *slab2, *slab3, *slab4, *slab5, *slab6, *slab7;
#endif
    __global const INDEX *indices;
    __global const float *weights;
    __global const int *maps;
    long lookups;
} packed_view;

static inline __global const uchar *slab_of(const packed_view v, __global const q_table *t, const long row) {
#if SLABS > 1
    return t->row_shift >= 62 ? v.slab : SLAB_OF(v.slab, q_slab(t, row));
#else
    return v.slab;
#endif
}

/* Packed row of an index, or -1: it contributes nothing. */
static inline long packed_row(const packed_view v, __global const q_table *t, const long index) {
    if ((ulong)index >= (ulong)t->rows || (MODE != Q_MODE_NONE && index == t->padding_idx)) {
        return -1;
    }
#if MAPPED
    return Q_MAP_AT(t) < 0 ? index : (long)v.maps[Q_MAP_AT(t) + index];
#else
    return index;
#endif
}

/* The row of the lookup at position p, which is some lookups ahead. */
static inline void prefetch_packed(const packed_view v, __global const q_table *t, const long p) {
#if PREFETCH
    const long row = packed_row(v, t, (long)v.indices[p < v.lookups ? p : v.lookups - 1]);
    if (row >= 0) {
        __global const uchar *slab = slab_of(v, t, row);
        const long slot = q_local(t, row);
        const long first = t->base + slot * t->row_bytes;
        for (int c = 0; c < t->row_bytes; c += 64) {
            PREFETCH_LINE(slab + first + c);
        }
        PREFETCH_LINE(slab + first + t->row_bytes - 1);
        if (t->layout == Q_PLANAR) {
            PREFETCH_LINE(slab + q_qparams_of(t, slot));
        }
    }
#endif
}

#if OUT == 0
typedef float out_t;
typedef float16 out_v;
#define OUT_OF(x) (x)
#else
typedef ushort out_t;
typedef ushort16 out_v;
#if OUT == 1
#define OUT_OF(x) convert_ushort16(q_half_bits16(x))
#else
#define OUT_OF(x) convert_ushort16(q_bfloat_bits16(x))
#endif
#endif

/* out[column..] = x, as far as the row goes. */
static inline void store_columns(const float16 x, __global out_t *out, const int column, const int dim) {
    const int left = dim - column;
    if (left <= 0) { /* the last panel of a wide row is not full */
        return;
    }
    out_v v = OUT_OF(x);
    __global out_t *p = out + column;
    if (left >= 16) {
        vstore16(v, 0, p);
        return;
    }
    if (left & 8) {
        vstore8(v.lo, 0, p);
        v.lo = v.hi;
        p += 8;
    }
    if (left & 4) {
        vstore4(v.s0123, 0, p);
        v.s0123 = v.s4567;
        p += 4;
    }
    if (left & 2) {
        vstore2(v.s01, 0, p);
        v.s01 = v.s23;
        p += 2;
    }
    if (left & 1) {
        p[0] = v.s0;
    }
}

static inline float16 divide_lanes(const float16 a, const float b) {
#ifdef Q_SOFT_DIVISION
    float lanes[16];
    vstore16(a, 0, lanes);
    for (int k = 0; k < 16; k++) {
        lanes[k] = q_div_soft(lanes[k], b);
    }
    return vload16(0, lanes);
#else
    return a / b;
#endif
}

#if NORM
/* Factor of max_norm: the padded tree (c with c + P/2) in bit-reversed order, with a stack of partial sums. */
static inline float packed_norm_factor(__global const q_table *t, __global const uchar *codes, const q_qparams q) {
    float stack[24];
    float largest = 0.0f;
    int bits = 0;
    int depth = 0;
    if (!(t->flags & Q_HAS_NORM)) {
        return 1.0f;
    }
    while ((1 << bits) < t->dim) {
        bits++;
    }
    for (int i = 0; i < (1 << bits); i++) {
        int c = 0;
        for (int k = 0; k < bits; k++) {
            c |= ((i >> k) & 1) << (bits - 1 - k);
        }
        float term = 0.0f;
        if (c < t->dim) {
            term = q_norm_term(fma(q.scale, (float)q_load_code(codes, c, t->bits), q.zero), t->norm_type);
        }
        largest = term > largest || term != term ? term : largest;
        for (int k = 0; (i >> k) & 1; k++) {
            term = stack[--depth] + term;
        }
        stack[depth++] = term;
    }
    return q_norm_factor(t->norm_type > 3.0e38f ? largest : stack[0], t->norm_type, t->max_norm);
}
#endif
