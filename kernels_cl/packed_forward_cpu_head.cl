/* packed_forward_cpu_head.cl - what the widths of packed_forward_cpu.cl share: the view of a launch, rows, stores, norms.
 *
 * Knobs    MODE 0 mean, 1 sum, 2 max, 3 none;  WEIGHTED 0|1;  NORM, MAPPED 1: some table has max_norm, a row map;  OUT 0 float32, 1 float16,
 *          2 bfloat16;  AHEAD lookups between a prefetch and its use;  NUMBER how all tables store qparams (Q_NUMBER_*), or -1: not all alike;
 *          INDEX, OFFSET, SLABS (batch.h) */
#if !defined(MODE) || !defined(WEIGHTED) || !defined(NORM) || !defined(MAPPED) || !defined(OUT) || !defined(AHEAD) || !defined(NUMBER)
#error "MODE, WEIGHTED, NORM, MAPPED, OUT, AHEAD and NUMBER are set by src/opencl/packed_forward.c, never here"
#endif
#define SUMS (MODE == Q_MODE_SUM || MODE == Q_MODE_MEAN)

typedef struct __attribute__((packed)) any_uint {
    uint value;
} any_uint;

/* One bag's view of the launch and of its table: fields of the table would be read again behind every prefetch, which may change memory for
 * all that the compiler knows. */
typedef struct packed_view {
    __global const uchar *slab; /* where the table lies in one */
#if SLABS > 1
    __global const uchar *slab0, *slab1, *slab2, *slab3, *slab4, *slab5, *slab6, *slab7;
#endif
    __global const INDEX *indices;
    __global const float *weights;
    __global const int *maps;
    long lookups;
    long rows, padding_idx, map_at; /* map_at -1: no map */
    long codes_at, qparams_at;      /* of the first row, in its slab */
    long row_bytes, qparams_step;
    int codes_first; /* from a row's start to its codes */
    int planar, number, half_range;
} packed_view;

static inline void view_table(packed_view *v, __global const q_table *t) {
    v->rows = t->rows;
    v->padding_idx = t->padding_idx;
    v->map_at = Q_MAP_AT(t);
    v->codes_at = q_codes_of(t, 0);
    v->codes_first = q_codes_at(t->layout);
    v->qparams_at = q_qparams_of(t, 0);
    v->row_bytes = t->row_bytes;
    v->planar = t->layout == Q_PLANAR;
    v->qparams_step = q_qparams_of(t, 1) - v->qparams_at;
    v->number = NUMBER >= 0 ? NUMBER : q_number(t->layout, t->bits, t->qparams);
    v->half_range = t->qparams & Q_SYMMETRIC ? 1 << (t->bits - 1) : 0;
}

static inline __global const uchar *slab_of(const packed_view v, __global const q_table *t, const long row) {
#if SLABS > 1
    return t->row_shift >= 62 ? v.slab : SLAB_OF(v.slab, q_slab(t, row));
#else
    return v.slab;
#endif
}

/* Packed row of an index, or -1: it contributes nothing. */
static inline long packed_row(const packed_view v, const long index) {
    if ((ulong)index >= (ulong)v.rows || (MODE != Q_MODE_NONE && index == v.padding_idx)) {
        return -1;
    }
#if MAPPED
    return v.map_at < 0 ? index : (long)v.maps[v.map_at + index];
#else
    return index;
#endif
}

/* Scale and bias at p. Two halves in one load, and in one step unless one is subnormal, zero, infinite or NaN: then as all do. */
static inline q_qparams load_qparams(const packed_view v, __global const uchar *p) {
#if NUMBER == Q_NUMBER_FP16
    const uint both = ((__global const any_uint *)p)->value;
    const uint exponents = (both & 0x7c007c00u) + 0x04000400u;
    if ((exponents & 0x7800u) && (exponents & 0x78000000u)) {
        q_qparams q;
        q.exact = 0;
        q.inverse = 0.0f;
        q.scale = as_float((both & 0x8000u) << 16 | (((both & 0x7fffu) << 13) + 0x38000000u));
        q.zero = as_float((both & 0x80000000u) | ((both >> 3 & 0x0fffe000u) + 0x38000000u));
        return q;
    }
#endif
    return q_load_qparams_as(v.number, v.half_range, p);
}

/* The row of the lookup at position p, which is some lookups ahead. */
static inline void prefetch_packed(const packed_view v, __global const q_table *t, const long p) {
#if PREFETCH
    const long row = packed_row(v, (long)v.indices[p < v.lookups ? p : v.lookups - 1]);
    if (row >= 0) {
        __global const uchar *slab = slab_of(v, t, row);
        const long slot = q_local(t, row);
        const size_t first = (size_t)(slab + v.codes_at - v.codes_first + slot * v.row_bytes);
        const size_t last = first + (size_t)v.row_bytes;
        for (size_t line = first & ~(size_t)63; line < last; line += 64) { /* each line once: rows of one size nearly always take as many */
            PREFETCH_LINE(line);
        }
        if (v.planar) {
            PREFETCH_LINE(slab + v.qparams_at + slot * v.qparams_step);
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

#if NORM
static inline float packed_norm_factor(__global const q_table *t, __global const uchar *codes, const q_qparams q) {
    Q_WALK_NORM(t, fma(q.scale, (float)q_load_code(codes, c, t->bits), q.zero))
}
#endif
