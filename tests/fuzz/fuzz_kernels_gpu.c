/* fuzz_kernels_gpu.c - kernels of the GPU family against the reference engine; see fuzz_kernels.h. */
#include "fuzz_kernels.h"

int fuzz_kernels_gpu(const uint8_t *bytes, size_t count) {
    return fuzz_family("gpu", bytes, count);
}
