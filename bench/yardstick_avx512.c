/* yardstick_avx512.c - see the header. Each function is compiled once a width: `blocks`, the vectors of 16 columns in a row, is a constant
 * wherever the body is inlined, so that loops over it unroll and accumulators live in registers.
 *
 * The fake-quantised bag takes up to GROUP rows at a time. First their ranges, four rows sharing one transposed reduction and one set of
 * divisions; then their elements, 64 columns at a time, so that no width needs more than 4 accumulators. Rows are prefetched in the
 * second pass, which has the arithmetic to hide it. Whole rows of NaN, infinities and |zero point| >= 2^20 are seen by the outcome
 * and done again one row at a time, with clamping and the long difference. */
#include "yardstick_avx512.h"

#ifdef __AVX512F__
#include <immintrin.h>
#include <math.h>
#include <stddef.h>

enum { GROUP = 32, AHEAD_FLOAT = 40, AHEAD_QAT = 32 };

#define EPS     0x1p-23f
#define QMAX    255.0f
#define TOO_FAR 1048576.0f
#define INLINE  static inline __attribute__((always_inline))

INLINE void prefetch_row(const float *w, int blocks) {
    for (int k = 0; k < blocks; k++) {
        _mm_prefetch((const char *)(w + 16 * k), _MM_HINT_T1);
    }
}

INLINE int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- float ------------------------------------------------------------------------------------------------------------- */

INLINE void float_bags(const yardstick_work *w, int64_t first, int64_t last, int blocks) {
    const int64_t ahead = w->ahead ? w->ahead : AHEAD_FLOAT;
    const int64_t end_of_all = w->offsets[w->bags] - 1;
    const ptrdiff_t dim = 16 * blocks;
    for (int64_t b = first; b < last; b++) {
        __m512 acc[16];
        for (int k = 0; k < blocks; k++) {
            acc[k] = _mm512_setzero_ps();
        }
        for (int64_t p = w->offsets[b]; p < w->offsets[b + 1]; p++) {
            const float *x = w->rows + w->indices[p] * dim;
            prefetch_row(w->rows + w->indices[smaller(p + ahead, end_of_all)] * dim, blocks);
            for (int k = 0; k < blocks; k++) {
                acc[k] = _mm512_add_ps(acc[k], _mm512_loadu_ps(x + 16 * k));
            }
        }
        for (int k = 0; k < blocks; k++) {
            _mm512_storeu_ps(w->out + b * dim + 16 * k, acc[k]);
        }
    }
}

/* ---- fake-quantised ---------------------------------------------------------------------------------------------------- */

/* Four rows' lanewise minima (or maxima) to one number a row. */
#define REDUCE4(name, op)                                                                                                                  \
    INLINE __m128 name(__m512 a, __m512 b, __m512 c, __m512 d) {                                                                           \
        const __m512 ab = _mm512_##op##_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));                                            \
        const __m512 cd = _mm512_##op##_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));                                            \
        const __m512 all = _mm512_##op##_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));                             \
        const __m256 half = _mm256_##op##_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));                                 \
        return _mm_##op##_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));                                                \
    }
REDUCE4(least4, min)
REDUCE4(greatest4, max)

typedef struct group {
    const float *row[GROUP];
    float scale[GROUP], zero[GROUP], inverse[GROUP];
} group;

/* Qparams of rows r .. r + 3; false when one of them needs the careful form. */
INLINE int qparams4(group *g, int r, int blocks) {
    __m512 lo[4];
    __m512 hi[4];
    for (int i = 0; i < 4; i++) {
        lo[i] = hi[i] = _mm512_loadu_ps(g->row[r + i]);
        for (int k = 1; k < blocks; k++) {
            const __m512 x = _mm512_loadu_ps(g->row[r + i] + 16 * k);
            lo[i] = _mm512_min_ps(lo[i], x);
            hi[i] = _mm512_max_ps(hi[i], x);
        }
    }
    const __m128 zero = _mm_setzero_ps();
    const __m128 one = _mm_set1_ps(1.0f);
    const __m128 low = _mm_add_ps(least4(lo[0], lo[1], lo[2], lo[3]), zero);
    const __m128 high = _mm_add_ps(greatest4(hi[0], hi[1], hi[2], hi[3]), zero);
    const __m128 width = _mm_sub_ps(high, low);
    const __m128 s0 = _mm_div_ps(width, _mm_set1_ps(QMAX));
    const __m128 s = _mm_mask_mov_ps(one, _mm_cmp_ps_mask(s0, _mm_set1_ps(EPS), _CMP_GT_OQ), s0);
    const __m128 z = _mm_div_ps(_mm_xor_ps(low, _mm_set1_ps(-0.0f)), s);
    _mm_storeu_ps(g->scale + r, s);
    _mm_storeu_ps(g->zero + r, z);
    _mm_storeu_ps(g->inverse + r, _mm_div_ps(one, s));
    const __mmask8 near = _mm_cmp_ps_mask(_mm_andnot_ps(_mm_set1_ps(-0.0f), z), _mm_set1_ps(TOO_FAR), _CMP_LT_OQ);
    return (near & _mm_cmp_ps_mask(width, _mm_set1_ps(INFINITY), _CMP_LT_OQ)) == 15;
}

INLINE __m512 fake_quant(__m512 x, __m512 s, __m512 z, __m512 inv) {
    const __m512 q = _mm512_roundscale_ps(_mm512_fmadd_ps(x, inv, z), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 h = _mm512_sub_ps(q, z);
    const __m512 l = _mm512_sub_ps(_mm512_sub_ps(_mm512_setzero_ps(), z), _mm512_sub_ps(h, q)); /* the rounding error of h */
    return _mm512_fmadd_ps(h, s, _mm512_mul_ps(l, s));
}

/* The same value for any row, one element at a time, and as in the definition: in double. */
static void careful_row(const float *x, int dim, float *acc) {
    float lo = INFINITY;
    float hi = -INFINITY;
    int odd = 0;
    for (int c = 0; c < dim; c++) {
        odd |= !(x[c] - x[c] == 0.0f);
        lo = x[c] < lo ? x[c] : lo;
        hi = x[c] > hi ? x[c] : hi;
    }
    lo = odd ? NAN : lo + 0.0f;
    hi = odd ? NAN : hi + 0.0f;
    const float s0 = (hi - lo) / QMAX;
    const float s = s0 > EPS ? s0 : 1.0f;
    const float z = -lo / s;
    const float inv = 1.0f / s;
    for (int c = 0; c < dim; c++) {
        float q = rintf(fmaf(x[c], inv, z));
        q = q < 0.0f ? 0.0f : q > QMAX ? QMAX : q;
        acc[c] += (float)(((double)q - (double)z) * (double)s);
    }
}

static __attribute__((noinline)) void careful_bag(const yardstick_work *w, int64_t b, int dim) {
    float *out = w->out + b * dim;
    for (int c = 0; c < dim; c++) {
        out[c] = 0.0f;
    }
    for (int64_t p = w->offsets[b]; p < w->offsets[b + 1]; p++) {
        careful_row(w->rows + (ptrdiff_t)w->indices[p] * dim, dim, out);
    }
}

/* A group's place: position of its first lookup, rows, columns, whether out holds sums of groups before it. Constants where inlined. */
typedef struct span {
    int64_t p;
    int n, wide, dim, begun;
} span;

/* Columns c .. c + 16 * wide of the rows of a group, added to out; false when a sum is NaN. */
INLINE int add_columns(const group *g, const yardstick_work *w, const span at, int c, float *out) {
    const int wide = at.wide;
    const int64_t ahead = w->ahead ? w->ahead : AHEAD_QAT;
    const int64_t end_of_all = w->offsets[w->bags] - 1;
    __m512 acc[4];
    for (int k = 0; k < wide; k++) {
        acc[k] = at.begun ? _mm512_loadu_ps(out + c + 16 * k) : _mm512_setzero_ps();
    }
    for (int i = 0; i < at.n; i++) {
        const __m512 s = _mm512_set1_ps(g->scale[i]);
        const __m512 z = _mm512_set1_ps(g->zero[i]);
        const __m512 inv = _mm512_set1_ps(g->inverse[i]);
        const float *x = g->row[i] + c;
        prefetch_row(w->rows + (ptrdiff_t)w->indices[smaller(at.p + i + ahead, end_of_all)] * at.dim + c, wide);
        for (int k = 0; k < wide; k++) {
            acc[k] = _mm512_add_ps(acc[k], fake_quant(_mm512_loadu_ps(x + 16 * k), s, z, inv));
        }
    }
    __mmask16 bad = 0;
    for (int k = 0; k < wide; k++) {
        bad |= _mm512_cmp_ps_mask(acc[k], acc[k], _CMP_UNORD_Q);
        _mm512_storeu_ps(out + c + 16 * k, acc[k]);
    }
    return bad == 0;
}

INLINE int qat_bag(const yardstick_work *w, int64_t b, int blocks, group *g) {
    const int dim = 16 * blocks;
    const int64_t begin = w->offsets[b];
    const int64_t end = w->offsets[b + 1];
    float *out = w->out + b * dim;
    int fine = 1;
    for (int64_t p = begin; p < end || p == begin; p += GROUP) {
        const int n = (int)smaller(end - p, GROUP);
        for (int i = 0; i < n; i++) {
            g->row[i] = w->rows + (ptrdiff_t)w->indices[p + i] * dim;
        }
        for (int i = n; i & 3; i++) {
            g->row[i] = g->row[0]; /* NOLINT(clang-analyzer-core.uninitialized.Assign): n is no multiple of 4, so row 0 is set */
        }
        for (int i = 0; i < n; i += 4) {
            fine &= qparams4(g, i, blocks);
        }
        for (int c = 0; c < dim; c += 64) {
            fine &= add_columns(g, w, (span){p, n, blocks < 4 ? blocks : 4, dim, p > begin}, c, out);
        }
    }
    return fine;
}

INLINE void qat_bags(const yardstick_work *w, int64_t first, int64_t last, int blocks) {
    group g;
    for (int64_t b = first; b < last; b++) {
        if (!qat_bag(w, b, blocks, &g)) {
            careful_bag(w, b, 16 * blocks);
        }
    }
}

/* ---- bandwidth --------------------------------------------------------------------------------------------------------- */

INLINE void row_bags(const yardstick_work *w, int64_t first, int64_t last, int blocks) {
    const int64_t ahead = w->ahead ? w->ahead : AHEAD_FLOAT;
    const int64_t end_of_all = w->offsets[w->bags] - 1;
    const ptrdiff_t dim = 16 * blocks;
    for (int64_t b = first; b < last; b++) {
        __m512i any = _mm512_setzero_si512();
        for (int64_t p = w->offsets[b]; p < w->offsets[b + 1]; p++) {
            const float *x = w->rows + w->indices[p] * dim;
            prefetch_row(w->rows + w->indices[smaller(p + ahead, end_of_all)] * dim, blocks);
            for (int k = 0; k < blocks; k++) {
                any = _mm512_xor_si512(any, _mm512_loadu_si512(x + 16 * k));
            }
        }
        w->out[b * dim] = (float)_mm512_reduce_add_epi32(any);
    }
}

void yardstick_copy_avx512(const yardstick_work *w, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) {
        _mm512_stream_ps(w->out + 16 * i, _mm512_load_ps(w->rows + 16 * i));
    }
    _mm_sfence();
}

void yardstick_read_avx512(const yardstick_work *w, int64_t first, int64_t last) {
    __m512i any[4];
    for (int k = 0; k < 4; k++) {
        any[k] = _mm512_setzero_si512();
    }
    for (int64_t i = first; i + 4 <= last; i += 4) {
        for (int k = 0; k < 4; k++) {
            any[k] = _mm512_xor_si512(any[k], _mm512_load_si512(w->rows + 16 * (i + k)));
        }
    }
    const __m512i all = _mm512_xor_si512(_mm512_xor_si512(any[0], any[1]), _mm512_xor_si512(any[2], any[3]));
    w->out[16 * first] = (float)_mm512_reduce_add_epi32(all);
}

/* ---- one copy a width -------------------------------------------------------------------------------------------------- */

#define FOR_EVERY_WIDTH(name, body)                                                                                                        \
    void name(const yardstick_work *w, int64_t first, int64_t last) {                                                                      \
        switch (w->dim) {                                                                                                                  \
        case 16:                                                                                                                           \
            body(w, first, last, 1);                                                                                                       \
            break;                                                                                                                         \
        case 64:                                                                                                                           \
            body(w, first, last, 4);                                                                                                       \
            break;                                                                                                                         \
        case 128:                                                                                                                          \
            body(w, first, last, 8);                                                                                                       \
            break;                                                                                                                         \
        case 256:                                                                                                                          \
            body(w, first, last, 16);                                                                                                      \
            break;                                                                                                                         \
        default:                                                                                                                           \
            break;                                                                                                                         \
        }                                                                                                                                  \
    }
FOR_EVERY_WIDTH(yardstick_float_avx512, float_bags)
FOR_EVERY_WIDTH(yardstick_qat_avx512, qat_bags)
FOR_EVERY_WIDTH(yardstick_rows_avx512, row_bags)

#else
typedef int yardstick_needs_avx512;
#endif
