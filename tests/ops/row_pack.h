/* row_pack.h - the operation row_pack as test and bench describe it: formats, hostile and ordinary rows, packed bytes of a module, the
 * bytes that must move. Tolerance: none, packed bytes are exact. Everything random comes from `seed`. */
#ifndef QEMB_OPS_ROW_PACK_H
#define QEMB_OPS_ROW_PACK_H

#include "ops/bag_forward.h"

/* Every format there is: name, layout, row alignment, qparams, symmetric; each at 8, 4 and 2 bits. */
#define OP_FORMATS(X)                                                                                                                      \
    X("torch_rowwise", QEMB_LAYOUT_TORCH_ROWWISE, 1, QEMB_QPARAMS_FP32, false)                                                             \
    X("rowwise_half", QEMB_LAYOUT_ROWWISE_HALF, 1, QEMB_QPARAMS_FP32, false)                                                               \
    X("fbgemm", QEMB_LAYOUT_FBGEMM, 1, QEMB_QPARAMS_FP32, false)                                                                           \
    X("fbgemm16", QEMB_LAYOUT_FBGEMM, 16, QEMB_QPARAMS_FP32, false)                                                                        \
    X("planar", QEMB_LAYOUT_PLANAR, 1, QEMB_QPARAMS_FP32, false)                                                                           \
    X("planar_bf16", QEMB_LAYOUT_PLANAR, 1, QEMB_QPARAMS_BF16, false)                                                                      \
    X("planar_pow2", QEMB_LAYOUT_PLANAR, 1, QEMB_QPARAMS_POW2, false)                                                                      \
    X("planar_symmetric", QEMB_LAYOUT_PLANAR, 1, QEMB_QPARAMS_FP32, true)                                                                  \
    X("planar_bf16_symmetric", QEMB_LAYOUT_PLANAR, 1, QEMB_QPARAMS_BF16, true)

typedef struct op_format {
    const char *name;
    qemb_packed_format format;
} op_format;

static const op_format op_formats[] = {
#define OP_FORMAT(name, layout, alignment, qparams, symmetric)                                                                             \
    {name, {layout, 8, alignment, qparams, symmetric}}, {name, {layout, 4, alignment, qparams, symmetric}},                                \
        {name, {layout, 2, alignment, qparams, symmetric}},
    OP_FORMATS(OP_FORMAT)
#undef OP_FORMAT
};
enum { OP_NUM_FORMATS = sizeof op_formats / sizeof *op_formats };

/* Rows of every temper: magnitudes 2^-30 to 2^25 with offsets, constant rows, zeros, and with `hostile` ends that overflow fp16. */
static inline void op_row_pack_fill(float *w, int64_t rows, int64_t dim, uint64_t seed, bool hostile) {
    uint64_t state = seed;
    for (int64_t r = 0; r < rows; r++) {
        const int kind = (int)op_below(&state, 16);
        const int most = hostile ? 56 : 44; /* 2^14 stays inside fp16 */
        const float size = ldexpf(1.0f, (int)op_below(&state, most) - 30);
        const float offset = kind < 4 ? size * 3.0f * op_uniform(&state) : 0.0f;
        for (int64_t c = 0; c < dim; c++) {
            const float x = offset + size * op_uniform(&state);
            w[r * dim + c] = kind == 15 ? 0.0f : kind == 14 ? offset + size : x;
        }
        if (hostile && kind == 13) {
            w[r * dim] = 70000.0f;
            w[r * dim + dim - 1] = -1e38f;
        }
    }
}

/* Bytes that packing must move: the floats, the codes and the qparams. */
static inline double op_row_pack_bytes(const qemb_packed_format *format, double rows, int64_t dim) {
    int64_t row = 0;
    int64_t plane = 0;
    if (qemb_packed_row_bytes(format, dim, &row, &plane) != QEMB_OK) {
        return 0.0;
    }
    return rows * (4.0 * (double)dim + (double)(row + (format->layout == QEMB_LAYOUT_PLANAR ? plane : 0)));
}

/* A module of one table over `weight` (NULL: random), memoryless, of the arithmetic asked for. */
static inline qemb_status op_row_pack_module(qemb_context *ctx, const float *weight, int64_t rows, int64_t dim, qemb_qconfig qconfig,
                                             qemb_embedding_bag **bag) {
    return qemb_embedding_bag_create(ctx,
                                     &(qemb_embedding_bag_desc){.num_embeddings = rows,
                                                                .embedding_dim = dim,
                                                                .mode = QEMB_MODE_SUM,
                                                                .include_last_offset = true,
                                                                .qconfig = qconfig,
                                                                .weight = weight,
                                                                .seed = 7},
                                     bag);
}

#endif
