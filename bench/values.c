/* values.c - table values for gigabytes of weights at the price of one block: the block's pages are mapped again and again. */
#include "bench.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK_FLOATS = 16 << 20 };
static const size_t block_bytes = BLOCK_FLOATS * sizeof(float);

struct bench_values {
    char *memory;
    size_t bytes;
};

static void fill(float *block, uint64_t seed) {
    uint64_t state = seed;
    for (int64_t i = 0; i < BLOCK_FLOATS; i++) {
        block[i] = (float)(2.0 * bench_uniform(&state) - 1.0);
    }
}

bench_values *bench_values_create(int64_t count, uint64_t seed) {
    const size_t blocks = (size_t)count / BLOCK_FLOATS + 2; /* one more, because tables start anywhere in the first */
    bench_values *v = NULL;
    int file = memfd_create("values", MFD_CLOEXEC);
    if (file < 0) {
        return NULL;
    }
    char *memory = ftruncate(file, (off_t)block_bytes) == 0
                       ? mmap(NULL, blocks * block_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                       : MAP_FAILED;
    bool good = memory != MAP_FAILED;
    for (size_t i = 0; good && i < blocks; i++) {
        int protection = i ? PROT_READ : PROT_READ | PROT_WRITE;
        good = mmap(memory + i * block_bytes, block_bytes, protection, MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED;
    }
    (void)close(file);
    if (good) {
        fill((float *)(void *)memory, seed);
        v = bench_alloc(1, sizeof *v);
        *v = (bench_values){memory, blocks * block_bytes};
    } else if (memory != MAP_FAILED) {
        (void)munmap(memory, blocks * block_bytes);
    }
    return v;
}

const float *bench_values_at(const bench_values *v, int64_t first) {
    return (const float *)(const void *)v->memory + first % BLOCK_FLOATS;
}

void bench_values_destroy(bench_values *v) {
    if (v) {
        (void)munmap(v->memory, v->bytes);
        free(v);
    }
}
