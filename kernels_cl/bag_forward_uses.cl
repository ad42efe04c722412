/* bag_forward_uses.cl - the bits of USES (src/core/tables.h) by name, and the arithmetic of a table, for both families.
 *
 * What no table of a module has is not in its program: fewer registers, and no branch where there is nothing to choose.
 * Knobs    USES, MODE */
#ifndef USES
#error "USES is set by src/opencl"
#endif
#define USES_FLOAT 1
#define USES_TORCH_CPU 2
#define USES_TORCH_CUDA 4
#define USES_PACKED 8
#define USES_STATE 16
#define USES_NORM 32
#define USES_QUANT (USES_TORCH_CPU | USES_TORCH_CUDA | USES_PACKED)

/* The arithmetic of a table: known when compiling where all tables have the same. */
#if (USES & USES_QUANT) == USES_TORCH_CPU
#define ARITHMETIC(t) Q_TORCH_CPU
#elif (USES & USES_QUANT) == USES_TORCH_CUDA
#define ARITHMETIC(t) Q_TORCH_CUDA
#elif (USES & USES_QUANT) == USES_PACKED
#define ARITHMETIC(t) Q_PACKED
#else
#define ARITHMETIC(t) ((t)->arithmetic)
#endif


/* Sums of fake-quantised rows under the packed arithmetic run as the packed forward's: acc = fma(w * scale, code, acc + w * bias). */
#define ADDS_CODES ((USES & USES_PACKED) && MODE != Q_MODE_MAX && MODE != Q_MODE_NONE)
static inline int adds_codes(__global const q_table *t) {
    return ARITHMETIC(t) == Q_PACKED && (t->flags & Q_FAKE_QUANT_ON) && !(t->flags & Q_HAS_NORM);
}
