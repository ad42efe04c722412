/* row_pack_head.cl - what both families of row_pack share: the range that a method takes, and a packed row in another format.
 *
 * Shapes, moves and needs as row_pack_cpu.cl. Mapping: of one row, one work-item in the CPU family, LANES in the GPU family.
 * Knobs    BITS 8|4|2 of the target (row_unpack: of the source);  METHOD Q_PACK_*;  STATE 1: the source keeps observer state */
#if !defined(BITS) || !defined(METHOD) || !defined(STATE)
#error "BITS, METHOD and STATE are set by src/opencl/row_pack.c"
#endif
#define PER (8 / BITS) /* codes a byte */

#ifdef Q_VECTOR16
#define LANES 1
#define LANE 0
static inline uint code_of(const float x, const q_packing k) {
    return (uint)q_packing_code((float16)(x), k).s0;
}
#else
static inline uint code_of(const float x, const q_packing k) {
    return (uint)q_packing_code(x, k);
}
#endif

/* Range by the method of the row at w, whose own is `own` and which is row i of the launch. */
static inline float2 method_range(__global const q_table *t, __global const q_state *state, __global const float *ranges, const q_row_pack a,
                                  __global const float *w, const long i, const float2 own) {
    float min_val = own.s0;
    float max_val = own.s1;
#if METHOD == Q_PACK_OBSERVER && STATE
    q_state s = state[t->state_base + a.first + i];
    (void)q_catch_up(t->observer, t->averaging, own.s0, own.s1, a.observations, &s);
    min_val = s.min_val;
    max_val = s.max_val;
#elif METHOD == Q_PACK_GREEDY
    q_greedy_range(w, t->dim, BITS, &min_val, &max_val);
#elif METHOD == Q_PACK_GIVEN
    min_val = ranges[2 * (a.ranges_at + i)];
    max_val = ranges[2 * (a.ranges_at + i) + 1];
#endif
    return (float2)(min_val, max_val);
}

/* Range of the values of a packed row, NaN where they are not finite; every lane takes it by itself. */
static inline float2 packed_range(__global const q_table *t, __global const uchar *codes, const q_qparams q) {
    float lo = INFINITY;
    float hi = -INFINITY;
    float odd = 0.0f;
    for (int c = 0; c < t->dim; c++) {
        const float x = fma(q.scale, (float)q_load_code(codes, c, t->bits), q.zero);
        lo = x < lo ? x : lo;
        hi = x > hi ? x : hi;
        odd = fma(x, 0.0f, odd);
    }
    return (float2)(lo + odd + 0.0f, hi + odd + 0.0f);
}

/* Row i of the launch: codes are kept where they mean the same in the target; else the row's values are packed anew. */
static inline void convert_row(__global const q_table *t, __global const q_table *d, __global const uchar *from, __global uchar *packed,
                               volatile __global uint *status, const q_row_unpack a, const long i) {
    __global const uchar *source = from + q_codes_of(t, a.first + i);
    __global uchar *codes = packed + q_codes_of(d, a.target + i);
    const q_qparams q = q_load_qparams(t, from + q_qparams_of(t, a.first + i));
    const int same = q_same_values(t, d, q);
    q_packing k;
    k.scale = q.scale;
    k.bias = q.zero;
    if (!same) {
        const float2 range = packed_range(t, source, q);
        const int odd = range.s0 != range.s0;
        k = q_packing_of(t, d, Q_PACK_MINMAX, range.s0, range.s1);
        if (odd || (!a.as_peer && !q_packing_finite(k))) {
            (void)atomic_min(&status[odd ? Q_PACK_NONFINITE : Q_PACK_INFINITE], (uint)(a.values_at + i));
            return;
        }
    }
    for (int c = LANE * PER; c < t->dim; c += LANES * PER) {
        uint byte = 0;
        for (int j = 0; j < PER && c + j < t->dim; j++) {
            const int code = q_load_code(source, c + j, t->bits);
            byte |= (same ? (uint)code : code_of(fma(q.scale, (float)code, q.zero), k)) << (j * BITS);
        }
        codes[c / PER] = (uchar)byte;
    }
    if (LANE == 0) {
        q_store_qparams(d, packed + q_qparams_of(d, a.target + i), k.scale, k.bias);
    }
}
