/* row_layout.h - packed rows: where codes and qparams lie, and 16-bit floating point by integer code, so that subnormals survive anywhere.
 *
 * C11 and OpenCL C. A packed table stores E rows of D codes of `bits` bits, element 0 in the lowest bits of byte 0, and for every row a
 * scale and the bias, the value of code 0. Little endian, any alignment.
 *   torch_rowwise  codes | scale | bias, fp32 at 8 bits, fp16 at 4 and 2    (PyTorch qembeddingbag_prepack.cpp, FBGEMM QuantUtils.cc)
 *   rowwise_half   codes | scale | bias, fp16 at every width                (FBGEMM N-bit)
 *   fbgemm         scale | bias | codes | zeros up to the row alignment, fp16                            (FBGEMM inference TBE)
 *   planar         codes of all rows, then scale and bias of all rows, fp32 or bf16; symmetric rows store the scale alone      (qemb) */
#ifndef Q_ROW_LAYOUT_H
#define Q_ROW_LAYOUT_H

/* q_table.layout: the values of qemb_layout. */
#define Q_TORCH_ROWWISE 0
#define Q_ROWWISE_HALF  1
#define Q_FBGEMM        2
#define Q_PLANAR        3

/* q_table.qparams: the values of qemb_qparams, and a flag. */
#define Q_QPARAMS_FP32 0
#define Q_QPARAMS_BF16 1
#define Q_QPARAMS_POW2 2 /* bf16, the scale a power of two */
#define Q_QPARAMS_KIND 3
#define Q_SYMMETRIC    4

/* Where the row map of a packed table starts, -1: it has none. Packed tables observe nothing, and the field is free. */
#define Q_MAP_AT(t) ((t)->observed)

/* How a scale or bias is stored. */
#define Q_NUMBER_FP32 0
#define Q_NUMBER_FP16 1
#define Q_NUMBER_BF16 2

/* ---- 16-bit floating point ------------------------------------------------------------------------------------------ */

/* float32 to fp16, half to even; defined for one element, and for 16 where elements are float16. `u` is |x|: from 2^-14 on the mantissa
 * is rounded in place, below it adding 0.5 leaves the subnormal in the low bits. */
#define Q_DEFINE_HALF_BITS(name, F, U, BITS, FROM)                                                             \
    static inline U name(const F x) {                                                                          \
        const U sign = (BITS(x) >> 16) & (U)(0x8000u);                                                         \
        const U u = BITS(x) & (U)(0x7fffffffu);                                                                \
        const U normal = (u + (U)(0xfffu) + ((u >> 13) & (U)(1u)) - (U)(0x38000000u)) >> 13;                   \
        const U tiny = BITS((FROM(u) + (F)(0.5f))) - (U)(0x3f000000u);                                         \
        const U finite = u < (U)(0x38800000u) ? tiny : normal;                                                 \
        const U large = u > (U)(0x7f800000u) ? (U)(0x7e00u) : (U)(0x7c00u);                                    \
        return sign | (u < (U)(0x477ff000u) ? finite : large);                                                 \
    }

/* float32 to bfloat16, half to even. */
#define Q_DEFINE_BFLOAT_BITS(name, F, U, BITS)                                                                 \
    static inline U name(const F x) {                                                                          \
        const U u = BITS(x);                                                                                   \
        const U rounded = (u + (U)(0x7fffu) + ((u >> 16) & (U)(1u))) >> 16;                                    \
        return (u & (U)(0x7fffffffu)) > (U)(0x7f800000u) ? (U)(0x7fc0u) : rounded;                             \
    }

Q_DEFINE_HALF_BITS(q_half_bits, float, q_u32, q_bits, q_from_bits)
Q_DEFINE_BFLOAT_BITS(q_bfloat_bits, float, q_u32, q_bits)
#ifdef Q_VECTOR16
Q_DEFINE_HALF_BITS(q_half_bits16, float16, uint16, as_uint16, as_float16)
Q_DEFINE_BFLOAT_BITS(q_bfloat_bits16, float16, uint16, as_uint16)
#endif

static inline float q_half_value(const q_u32 half_bits) {
    const q_u32 sign = (half_bits & 0x8000u) << 16;
    const q_u32 u = (half_bits & 0x7fffu) << 13;
    if ((half_bits & 0x7c00u) == 0x7c00u) {
        return q_from_bits(sign | (u + 0x70000000u));
    }
    if ((half_bits & 0x7c00u) == 0) {
        const float tiny = q_from_bits(u + 0x38800000u) - q_from_bits(0x38800000u); /* 2^-14 taken off again: exact */
        return q_from_bits(sign | q_bits(tiny));
    }
    return q_from_bits(sign | (u + 0x38000000u));
}

/* x as it is read back after it was stored. */
static inline float q_round_number(const float x, const q_i32 number) {
    return number == Q_NUMBER_FP32 ? x : number == Q_NUMBER_FP16 ? q_half_value(q_half_bits(x)) : q_from_bits(q_bfloat_bits(x) << 16);
}

/* ---- sizes and places ------------------------------------------------------------------------------------------------ */

static inline q_i32 q_number(const q_i32 layout, const q_i32 bits, const q_i32 qparams) {
    if (layout == Q_PLANAR) {
        return (qparams & Q_QPARAMS_KIND) == Q_QPARAMS_FP32 ? Q_NUMBER_FP32 : Q_NUMBER_BF16;
    }
    return layout == Q_TORCH_ROWWISE && bits == 8 ? Q_NUMBER_FP32 : Q_NUMBER_FP16;
}

static inline q_i32 q_code_bytes(const q_i32 dim, const q_i32 bits) {
    return (q_i32)(((q_i64)dim * bits + 7) / 8);
}

/* Scale and bias of one row. */
static inline q_i32 q_qparams_bytes(const q_i32 layout, const q_i32 bits, const q_i32 qparams) {
    return (q_number(layout, bits, qparams) == Q_NUMBER_FP32 ? 4 : 2) * (qparams & Q_SYMMETRIC ? 1 : 2);
}

/* From a row's start to its codes. */
static inline q_i32 q_codes_at(const q_i32 layout) {
    return layout == Q_FBGEMM ? 4 : 0;
}

/* Codes of packed row `slot` (within its slab). */
static inline q_i64 q_codes_of(const Q_TABLE_SPACE q_table *t, const q_i64 slot) {
    return t->base + slot * t->row_bytes + q_codes_at(t->layout);
}

/* Qparams of packed row `slot`: state_base is where the first row's lie. */
static inline q_i64 q_qparams_of(const Q_TABLE_SPACE q_table *t, const q_i64 slot) {
    return t->state_base + slot * (t->layout == Q_PLANAR ? q_qparams_bytes(t->layout, t->bits, t->qparams) : t->row_bytes);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------ */

static inline float q_load_number(const Q_TABLE_SPACE q_u8 *p, const q_i32 number) {
    const q_u32 low = (q_u32)p[0] | (q_u32)p[1] << 8;
    if (number == Q_NUMBER_FP32) {
        return q_from_bits(low | (q_u32)p[2] << 16 | (q_u32)p[3] << 24);
    }
    return number == Q_NUMBER_FP16 ? q_half_value(low) : q_from_bits(low << 16);
}

static inline void q_store_number(Q_TABLE_SPACE q_u8 *p, const float x, const q_i32 number) {
    const q_u32 u = number == Q_NUMBER_FP32 ? q_bits(x) : number == Q_NUMBER_FP16 ? q_half_bits(x) : q_bfloat_bits(x);
    p[0] = (q_u8)u;
    p[1] = (q_u8)(u >> 8);
    if (number == Q_NUMBER_FP32) {
        p[2] = (q_u8)(u >> 16);
        p[3] = (q_u8)(u >> 24);
    }
}

/* Code of column c. */
static inline q_i32 q_load_code(const Q_TABLE_SPACE q_u8 *codes, const q_i32 c, const q_i32 bits) {
    const q_i64 bit = (q_i64)c * bits;
    return (codes[bit >> 3] >> (bit & 7)) & ((1 << bits) - 1);
}

#endif
