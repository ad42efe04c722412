/* memory.c - heap and page memory; see memory.h. */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/status.h"

enum { HUGE_PAGE = 2 << 20, LINE = 128 };

static _Atomic int64_t alloc_count;

int64_t qemb__alloc_count(void) {
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

qemb_status qemb__calloc(int64_t count, size_t size, void **out) {
    size_t bytes = 0;
    if (!qemb__bytes(count, size, &bytes)) {
        return qemb__fail(QEMB_ERR_OVERFLOW, "allocation of %lld items of %zu bytes does not fit in 63 bits", (long long)count, size);
    }
    void *block = calloc(1, bytes ? bytes : 1);
    if (!block) {
        return qemb__fail(QEMB_ERR_NOMEM, "allocation of %zu bytes failed", bytes);
    }
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    *out = block;
    return QEMB_OK;
}

qemb_status qemb__grow(void **block, int64_t *capacity, int64_t count, size_t size) {
    if (count <= *capacity) {
        return QEMB_OK;
    }
    int64_t wanted = qemb__max_i64(count, *capacity + *capacity / 2);
    void *bigger = NULL;
    qemb_status st = qemb__calloc(wanted, size, &bigger);
    if (st != QEMB_OK) {
        return st;
    }
    if (*block) {
        memcpy(bigger, *block, (size_t)*capacity * size);
        free(*block);
    }
    *block = bigger;
    *capacity = wanted;
    return QEMB_OK;
}

void qemb__free(void *block) {
    free(block);
}

qemb_status qemb__strdup(const char *text, char **out) {
    size_t length = strlen(text) + 1;
    void *copy = NULL;
    qemb_status st = qemb__calloc((int64_t)length, 1, &copy);
    if (st == QEMB_OK) {
        memcpy(copy, text, length);
        *out = copy;
    }
    return st;
}

qemb_status qemb__pages_alloc(size_t bytes, void **out) {
    void *block = NULL;
    if (bytes > (size_t)INT64_MAX - 2 * HUGE_PAGE) {
        return qemb__fail(QEMB_ERR_OVERFLOW, "allocation of %zu bytes does not fit in 63 bits", bytes);
    }
    if (bytes < HUGE_PAGE) {
        size_t rounded = (size_t)qemb__round_up((int64_t)(bytes ? bytes : 1), LINE);
        if (posix_memalign(&block, LINE, rounded) != 0) {
            return qemb__fail(QEMB_ERR_NOMEM, "allocation of %zu bytes failed", bytes);
        }
        memset(block, 0, rounded);
    } else {
        /* Map 2 MiB too much, then give back what lies before and behind the aligned part. */
        size_t rounded = (size_t)qemb__round_up((int64_t)bytes, HUGE_PAGE);
        char *raw = mmap(NULL, rounded + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (raw == MAP_FAILED) {
            return qemb__fail(QEMB_ERR_NOMEM, "mapping of %zu bytes failed", rounded);
        }
        size_t head = (HUGE_PAGE - (size_t)((uintptr_t)raw % HUGE_PAGE)) % HUGE_PAGE;
        if (head) {
            (void)munmap(raw, head);
        }
        (void)munmap(raw + head + rounded, HUGE_PAGE - head);
        block = raw + head;
        (void)madvise(block, rounded, MADV_HUGEPAGE); /* advice: refused where huge pages are off, and that is fine */
    }
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    *out = block;
    return QEMB_OK;
}

void qemb__pages_free(void *block, size_t bytes) {
    if (!block) {
        return;
    }
    if (bytes < HUGE_PAGE) {
        free(block);
    } else {
        (void)munmap(block, (size_t)qemb__round_up((int64_t)bytes, HUGE_PAGE));
    }
}

size_t qemb__pages_size(const void *block, size_t bytes) {
    unsigned long long from = 0, to = 0, kib = 0, size = 0;
    uintptr_t first = (uintptr_t)block;
    char line[512];
    int inside = 0;
    size_t result = 4096;
    FILE *maps = fopen("/proc/self/smaps", "r");
    if (!maps) {
        return result;
    }
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%llx-%llx", &from, &to) == 2) {
            inside = first >= from && first < to;
            size = to - from; /* now: the A of the next lines' names is a digit too, and becomes `from` */
        } else if (inside && sscanf(line, "AnonHugePages: %llu", &kib) == 1) {
            result = kib * 1024 * 2 >= (bytes < size ? bytes : size) ? HUGE_PAGE : 4096;
            break;
        }
    }
    (void)fclose(maps);
    return result;
}
