/* fuzz_kernels_cpu.c - kernels of the CPU family against the reference engine; see fuzz_kernels.h. */
#include "fuzz_kernels.h"

int fuzz_kernels_cpu(const uint8_t *bytes, size_t count) {
    return fuzz_family("cpu", bytes, count);
}
