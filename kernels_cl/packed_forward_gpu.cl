/* packed_forward_gpu.cl - gather, dequantise, pool packed rows: out[b][:] = pool over the lookups of bag b of its rows' values
 *
 * Shapes   as packed_forward_cpu_main.cl
 * Mapping  LANES work-items share a bag; lane j owns columns 8j..8j+7, 8(j + LANES).. and so on, of which it holds 32 at a time and walks
 *          the bag once for every 32: the codes of 8 columns are 8, 4 or 2 neighbouring bytes. No lane needs another.
 * Moves    reads N * (ceil(D*bits/8) + qparams) + 4*N + 4*(B+1), writes 4*B*D bytes (2 for half types)
 * Needs    256 readable bytes behind a table's rows
 * Knobs    MODE 0 mean, 1 sum, 2 max, 3 none;  WEIGHTED 0|1;  NORM, MAPPED 1: some table has max_norm, a row map;  OUT 0 float32, 1 float16,
 *          2 bfloat16;  LANES;  INDEX, OFFSET, SLABS (batch.h) */
#if !defined(MODE) || !defined(WEIGHTED) || !defined(NORM) || !defined(MAPPED) || !defined(OUT) || !defined(LANES)
#error "MODE, WEIGHTED, NORM, MAPPED, OUT and LANES are set by src/opencl/packed_forward.c, never here"
#endif
#define SUMS (MODE == Q_MODE_SUM || MODE == Q_MODE_MEAN)
#define HELD 4 /* groups of 8 columns that a lane holds */

typedef struct packed_view {
    __global const uchar *slab;
#if SLABS > 1
    __global const uchar *slab0, *slab1, *slab2, *slab3, *slab4, *slab5, *slab6, *slab7;
#endif
    __global const INDEX *indices;
    __global const float *weights;
    __global const int *maps;
    long begin, end;
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

/* Codes of columns c..c+7 as floats; c is a multiple of 8. */
static inline float8 load_codes(__global const uchar *codes, const int c, const int bits) {
    uint8 u;
    if (bits == 8) {
        u = convert_uint8(vload8(0, codes + c));
    } else if (bits == 4) {
        const uint4 b = convert_uint4(vload4(0, codes + c / 2));
        u.even = b & 15u;
        u.odd = b >> 4;
    } else {
        const uint2 b = convert_uint2(vload2(0, codes + c / 4));
        uint4 pair;
        pair.even = b & 15u;
        pair.odd = b >> 4;
        u.even = pair & 3u;
        u.odd = pair >> 2;
    }
    return as_float8(u | (uint8)(0x4b000000u)) - (float8)(8388608.0f);
}

#if NORM
/* Factor of max_norm: every lane walks the whole tree. */
static inline float packed_norm_factor(__global const q_table *t, __global const uchar *codes, const q_qparams q) {
    Q_WALK_NORM(t, fma(q.scale, (float)q_load_code(codes, c, t->bits), q.zero))
}
#endif

/* acc with one more row; `code` as floats. */
static inline float8 pool(__global const q_table *t, const float8 acc, const float8 code, const q_qparams q, const float psw, const float factor,
                          const int first) {
#if SUMS
    if (!(t->flags & Q_HAS_NORM)) {
        return fma((float8)(psw * q.scale), code, acc + (float8)(psw * q.zero));
    }
#endif
    const float8 x = fma((float8)(q.scale), code, (float8)(q.zero)) * factor;
#if MODE == Q_MODE_NONE
    return x;
#elif MODE == Q_MODE_MAX
    return first ? x : ((int8)(x > acc) | (int8)(x != x)) ? x : acc;
#elif WEIGHTED
    return t->padding_idx < 0 ? fma((float8)(psw), x, acc) : acc + x * psw;
#else
    return acc + x;
#endif
}

#if OUT == 0
typedef float out_t;
#define OUT_OF(x) (x)
#elif OUT == 1
typedef ushort out_t;
#define OUT_OF(x) ((ushort)q_half_bits(x))
#else
typedef ushort out_t;
#define OUT_OF(x) ((ushort)q_bfloat_bits(x))
#endif

/* The lane's columns from `first` on: HELD groups of 8, LANES groups apart. */
static inline void packed_columns(const packed_view v, __global const q_table *t, const int first, __global out_t *out) {
    float8 acc[HELD];
    int count = 0;
    for (int k = 0; k < HELD; k++) {
        acc[k] = (float8)(0.0f);
    }
    for (long p = v.begin; p < v.end; p++) {
        const long row = packed_row(v, t, (long)v.indices[p]);
        if (row < 0) {
            continue;
        }
        __global const uchar *slab = slab_of(v, t, row);
        __global const uchar *codes = slab + q_codes_of(t, q_local(t, row));
        const q_qparams q = q_load_qparams(t, slab + q_qparams_of(t, q_local(t, row)));
        const float psw = WEIGHTED ? v.weights[p] : 1.0f;
#if NORM
        const float factor = packed_norm_factor(t, codes, q);
#else
        const float factor = 1.0f;
#endif
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const int c = first + k * LANES * 8;
            if (c < t->dim) {
                acc[k] = pool(t, acc[k], load_codes(codes, c, t->bits), q, psw, factor, count == 0);
            }
        }
        count++;
    }
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        const float8 a = acc[k];
        const float lane[8] = {a.s0, a.s1, a.s2, a.s3, a.s4, a.s5, a.s6, a.s7};
        const int c = first + k * LANES * 8;
        for (int j = 0; j < 8 && c + j < t->dim; j++) {
            out[c + j] = OUT_OF((MODE == Q_MODE_MEAN && count > 0 ? Q_DIV(lane[j], (float)count) : lane[j]));
        }
    }
}

__kernel void packed_forward(__global const q_table *tables, __global const q_feature *features, SLAB_PARAMETERS(__global const uchar *, slab),
                             __global const INDEX *indices, __global const OFFSET *offsets, __global const float *weights, __global const int *maps,
                             __global out_t *out, __global const uint *status, __global const int *longs, volatile __global uint *events,
                             const q_packed_forward a) {
    const int item = (int)(get_global_id(0) / LANES);
    const int bags = (int)a.batch.bags;
    if (item >= a.deal.turns || q_refused(status)) {
        return;
    }
    const q_turn turn = q_turn_of(a.deal, item, longs, bags, a.first_feature);
    const int bag = turn.bag;
    if (turn.feature < a.first_feature || turn.feature >= a.first_feature + a.num_features) {
        return; /* a long bag that another group of slabs has */
    }
    __global const q_feature *f = features + turn.feature;
    __global const q_table *t = tables + f->table;
    packed_view v;
    if (q_elsewhere(a.batch, a.deal, offsets, (long)f->index * bags, turn)) {
        return;
    }
    q_bag(a.batch, offsets, (long)f->index * bags + bag, &v.begin, &v.end);
    v.indices = indices + a.batch.indices_at;
    v.weights = weights + a.batch.weights_at;
    v.maps = maps;
    v.slab = SLAB_OF(slab, t->slab);
#if SLABS > 1
    v.slab0 = slab0, v.slab1 = slab1, v.slab2 = slab2, v.slab3 = slab3, v.slab4 = slab4, v.slab5 = slab5, v.slab6 = slab6, v.slab7 = slab7;
#endif
    __global out_t *target = out + a.out_at + (long)bag * a.out_stride + f->column;
    for (int first = 0; first < t->dim; first += LANES * 8 * HELD) {
        packed_columns(v, t, first + ((int)get_global_id(0) & (LANES - 1)) * 8, target);
    }
}
