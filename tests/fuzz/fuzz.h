/* fuzz.h - targets that take any bytes. Each opens them as a file, walks whatever opens, and aborts on a broken promise.
 *
 * `sh tests/fuzz/run.sh [SECONDS]` runs them under libFuzzer with the sanitizers; test_io_fuzz replays the corpus and some
 * thousand mutations of it in every test run. */
#ifndef QEMB_TESTS_FUZZ_H
#define QEMB_TESTS_FUZZ_H

#include <qemb/qemb_io.h>

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

int fuzz_safetensors(const uint8_t *bytes, size_t count);
int fuzz_npy(const uint8_t *bytes, size_t count);
int fuzz_clicks(const uint8_t *bytes, size_t count);

#endif
