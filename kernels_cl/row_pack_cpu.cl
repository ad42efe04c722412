/* row_pack_cpu.cl - float rows to packed rows and back, packed rows to another format; one work-item a row (row_pack: ROWS rows), blocks of 16
 * columns.
 *
 * Shapes   slab: W[rows][D] f32, state: one entry a row, ranges[count][2], packed: bytes (row_layout.h), values[count][D] f32,
 *          status[Q_PACK_WORDS]: the smallest row that cannot be packed
 * Mapping  one work-item a row; of row_pack one for ROWS neighbouring rows, whose reductions and divisions overlap
 * Moves    row_pack reads 4*count*D, writes count*(ceil(D*BITS/8) + qparams); row_unpack the other way round
 * Needs    packed buffers that began as zeros: bytes between a row's end and the next are never written
 * Knobs    ROWS an item of row_pack;  those of row_pack_head.cl */
#ifndef ROWS
#error "ROWS is set by src/opencl/row_pack.c"
#endif

static inline uint16 codes16(const float16 x, const q_packing k) {
    return as_uint16(q_packing_code(x, k) + (float16)(8388608.0f)) & (uint16)(0xffu); /* code + 2^23 holds the code in its low bits */
}

/* Bytes at any address in one store, where vstore8 of bytes is eight. */
typedef struct __attribute__((packed)) any_ulong {
    ulong value;
} any_ulong;

/* The 16 codes of a block, PER to a byte. */
static inline void store_block(const uint16 c, __global uchar *p) {
#if BITS == 8
    vstore16(convert_uchar16(c), 0, p);
#elif BITS == 4
    const ulong8 two = as_ulong8(c); /* neighbours share a lane, the first one in its low half: CPU devices are little endian */
    ((__global any_ulong *)p)->value = as_ulong(convert_uchar8((two | two >> 28) & (ulong8)(0xffu)));
#else
    const ulong8 two = as_ulong8(c);
    const ulong4 four = as_ulong4(convert_uint8((two | two >> 30) & (ulong8)(15u)));
    vstore4(convert_uchar4((four | four >> 28) & (ulong4)(0xffu)), 0, p);
#endif
}

static inline float16 load_block(__global const uchar *p) {
    uint16 c;
#if BITS == 8
    c = convert_uint16(vload16(0, p));
#elif BITS == 4
    const uint8 b = convert_uint8(vload8(0, p));
    c.even = b & 15u;
    c.odd = b >> 4;
#else
    const uint4 b = convert_uint4(vload4(0, p));
    uint8 pair;
    pair.even = b & 15u;
    pair.odd = b >> 4;
    c.even = pair & 3u;
    c.odd = pair >> 2;
#endif
    return as_float16(c | (uint16)(0x4b000000u)) - (float16)(8388608.0f);
}

/* Whether a row can be walked in blocks to its end: the last one, at D - 16, must start at a byte. */
static inline int whole_blocks(const int dim) {
    return dim >= 16 && dim % PER == 0;
}

static inline void store_codes(__global const float *w, const int dim, const q_packing k, __global uchar *codes) {
    const int blocks = whole_blocks(dim) ? dim : dim / 16 * 16;
    for (int c = 0; c < blocks; c += 16) {
        const int at = c + 16 <= dim ? c : dim - 16;
        store_block(codes16(vload16(0, w + at), k), codes + at / PER);
    }
    for (int c = blocks; c < dim; c += PER) {
        uint byte = 0;
        for (int j = 0; j < PER && c + j < dim; j++) {
            byte |= code_of(w[c + j], k) << (j * BITS);
        }
        codes[c / PER] = (uchar)byte;
    }
}

/* The ranges of four rows by one transposed reduction, unless one holds a NaN or infinity: then row by row. */
static inline void ranges_of4(__global const float *w, const int dim, float2 *range) {
    float16 low0 = (float16)(INFINITY), low1 = low0, low2 = low0, low3 = low0;
    float16 high0 = -low0, high1 = high0, high2 = high0, high3 = high0;
    float16 odd = (float16)(0.0f);
    for (int c = 0; c < dim; c += 16) {
        __global const float *column = w + (c + 16 <= dim ? c : dim - 16);
        const float16 x0 = vload16(0, column), x1 = vload16(0, column + dim), x2 = vload16(0, column + 2 * dim), x3 = vload16(0, column + 3 * dim);
        low0 = vmin16(x0, low0), low1 = vmin16(x1, low1), low2 = vmin16(x2, low2), low3 = vmin16(x3, low3);
        high0 = vmax16(x0, high0), high1 = vmax16(x1, high1), high2 = vmax16(x2, high2), high3 = vmax16(x3, high3);
        odd = fma(x0, (float16)(0.0f), fma(x1, (float16)(0.0f), fma(x2, (float16)(0.0f), fma(x3, (float16)(0.0f), odd))));
    }
    const float any = any_nan(odd);
    float lo[4], hi[4];
    vstore4(least4(low0, low1, low2, low3) + (float4)(0.0f), 0, lo);
    vstore4(greatest4(high0, high1, high2, high3) + (float4)(0.0f), 0, hi);
    for (int j = 0; j < 4; j++) {
        range[j] = any == any ? (float2)(lo[j], hi[j]) : range_of(w + (long)j * dim, dim);
    }
}

/* Three passes over ROWS rows: what one row must wait for, its range, then divisions, then codes, goes on for all of them at once. */
__kernel void row_pack(__global const q_table *sources, __global const q_table *targets, __global const float *slab, __global const q_state *state,
                       __global const float *ranges, __global uchar *packed, volatile __global uint *status, const q_row_pack a) {
    const long first = (long)get_global_id(0) * ROWS;
    const int rows = a.count - first < ROWS ? (int)(a.count - first) : ROWS;
    __global const q_table *t = sources + a.table;
    __global const q_table *d = targets + a.target_table;
    const int dim = t->dim;
    __global const float *w = slab + t->base + (a.first + first) * dim;
    float2 range[ROWS];
    q_packing k[ROWS];
    int r = 0;
    for (; dim >= 16 && r + 4 <= rows; r += 4) {
        ranges_of4(w + (long)r * dim, dim, range + r);
    }
    for (; r < rows; r++) {
        range[r] = range_of(w + (long)r * dim, dim);
    }
    for (r = 0; r < rows; r++) {
        const long i = first + r;
        if (range[r].s0 != range[r].s0) {
            (void)atomic_min(&status[Q_PACK_NONFINITE], (uint)(a.ranges_at + i));
            continue;
        }
        const float2 taken = method_range(t, state, ranges, a, w + (long)r * dim, i, range[r]);
        k[r] = q_packing_of(t, d, METHOD, taken.s0, taken.s1);
        if (!a.as_peer && !q_packing_finite(k[r])) {
            (void)atomic_min(&status[Q_PACK_INFINITE], (uint)(a.ranges_at + i));
        }
    }
    for (r = 0; r < rows; r++) {
        if (range[r].s0 != range[r].s0) {
            continue;
        }
#if PREFETCH
        for (int c = 0; c < dim; c += 16) { /* the rows of the next item: this pass has the arithmetic to hide them, the first has none */
            PREFETCH_LINE(w + (long)(r + ROWS) * dim + c);
        }
#endif
        store_codes(w + (long)r * dim, dim, k[r], packed + q_codes_of(d, a.target + first + r));
        q_store_qparams(d, packed + q_qparams_of(d, a.target + first + r), k[r].scale, k[r].bias);
    }
}

__kernel void row_unpack(__global const q_table *tables, __global const uchar *packed, __global float *values, const q_row_unpack a) {
    const long i = get_global_id(0);
    if (i >= a.count) {
        return;
    }
    __global const q_table *t = tables + a.table;
    const int dim = t->dim;
    __global const uchar *codes = packed + q_codes_of(t, a.first + i);
    __global float *out = values + a.values_at + i * dim;
    const q_qparams q = q_load_qparams(t, packed + q_qparams_of(t, a.first + i));
    const int blocks = whole_blocks(dim) ? dim : dim / 16 * 16;
    for (int c = 0; c < blocks; c += 16) {
        const int at = c + 16 <= dim ? c : dim - 16;
        vstore16(fma((float16)(q.scale), load_block(codes + at / PER), (float16)(q.zero)), 0, out + at);
    }
    for (int c = blocks; c < dim; c++) {
        out[c] = fma(q.scale, (float)q_load_code(codes, c, BITS), q.zero);
    }
}

__kernel void row_convert(__global const q_table *sources, __global const q_table *targets, __global const uchar *from, __global uchar *packed,
                          volatile __global uint *status, const q_row_unpack a) {
    const long i = get_global_id(0);
    if (i < a.count) {
        convert_row(sources + a.table, targets + a.target_table, from, packed, status, a, i);
    }
}
