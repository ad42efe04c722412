/* fuzz.h - targets that take any bytes. Each opens them as a file, walks whatever opens, and aborts on a broken promise.
 *
 * `sh tests/fuzz/run.sh [SECONDS]` runs them under libFuzzer with the sanitizers; test_fuzz replays the corpus and some
 * thousand mutations of it in every test run. */
#ifndef QEMB_TESTS_FUZZ_H
#define QEMB_TESTS_FUZZ_H

#include <qemb/qemb_io.h>
#include <stdbool.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file in memory with these bytes; its path goes to `path`. */
static inline int fuzz_file(const uint8_t *bytes, size_t count, char path[64]) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || (count && write(fd, bytes, count) != (ssize_t)count)) {
        perror("memfd");
        abort();
    }
    (void)snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

#define PROMISE(condition)                                                                                                                 \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            (void)fprintf(stderr, "broken promise: %s\n", #condition);                                                                     \
            abort();                                                                                                                       \
        }                                                                                                                                  \
    } while (0)

/* A refusal has one of three codes and a sentence. */
static inline void fuzz_refused(qemb_status st) {
    PROMISE(st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED || st == QEMB_ERR_IO);
    PROMISE(qemb_last_error()[0] != '\0');
}

/* ---- a stream of choices: what is past its end is zero ---- */
typedef struct fuzz_stream {
    const uint8_t *at;
    size_t left;
} fuzz_stream;

static inline void fuzz_take(fuzz_stream *s, void *target, size_t bytes) {
    size_t have = bytes < s->left ? bytes : s->left;
    memset(target, 0, bytes);
    if (have) {
        memcpy(target, s->at, have);
        s->at += have;
        s->left -= have;
    }
}

static inline uint8_t fuzz_byte(fuzz_stream *s) {
    uint8_t value;
    fuzz_take(s, &value, sizeof value);
    return value;
}

/* 0 .. count - 1 */
static inline int fuzz_below(fuzz_stream *s, int count) {
    return fuzz_byte(s) % count;
}

/* Any float there is: NaN, infinities and subnormals too. */
static inline float fuzz_any_float(fuzz_stream *s) {
    float value;
    fuzz_take(s, &value, sizeof value);
    return value;
}

/* A finite float of ordinary size, often a round one. */
static inline float fuzz_float(fuzz_stream *s) {
    int16_t value;
    fuzz_take(s, &value, sizeof value);
    return value % 5 == 0 ? (float)(value / 256) : (float)value / 1024.0f;
}

static inline bool fuzz_same(const float *a, const float *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && (a[i] == a[i] || b[i] == b[i])) {
            return false;
        }
    }
    return true;
}

int fuzz_safetensors(const uint8_t *bytes, size_t count);
int fuzz_npy(const uint8_t *bytes, size_t count);
int fuzz_clicks(const uint8_t *bytes, size_t count);
int fuzz_batch(const uint8_t *bytes, size_t count);
int fuzz_api(const uint8_t *bytes, size_t count);
int fuzz_packed_import(const uint8_t *bytes, size_t count);
int fuzz_optimizer(const uint8_t *bytes, size_t count);
int fuzz_state(const uint8_t *bytes, size_t count);
int fuzz_packed_file(const uint8_t *bytes, size_t count);
int fuzz_math(const uint8_t *bytes, size_t count);
int fuzz_quantise(const uint8_t *bytes, size_t count);
int fuzz_device(const uint8_t *bytes, size_t count);
int fuzz_options(const uint8_t *bytes, size_t count);
int fuzz_kernels_cpu(const uint8_t *bytes, size_t count);
int fuzz_kernels_gpu(const uint8_t *bytes, size_t count);
int fuzz_tuning(const uint8_t *bytes, size_t count);

#endif
