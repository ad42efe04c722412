/* checked.h - size arithmetic that says when it does not fit. Each returns false and leaves *out alone on overflow. */
#ifndef QEMB_BASE_CHECKED_H
#define QEMB_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool qemb__mul_i64(int64_t a, int64_t b, int64_t *out) {
    int64_t r;
    if (__builtin_mul_overflow(a, b, &r)) {
        return false;
    }
    *out = r;
    return true;
}

static inline bool qemb__add_i64(int64_t a, int64_t b, int64_t *out) {
    int64_t r;
    if (__builtin_add_overflow(a, b, &r)) {
        return false;
    }
    *out = r;
    return true;
}

/* count * size in bytes; count must not be negative. */
static inline bool qemb__bytes(int64_t count, size_t size, size_t *out) {
    size_t r;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &r) || r > (size_t)INT64_MAX) {
        return false;
    }
    *out = r;
    return true;
}

static inline int64_t qemb__max_i64(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static inline int64_t qemb__min_i64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t qemb__ceil_div(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

/* value rounded up to a multiple of `multiple` (a positive number); the caller knows that it fits. */
static inline int64_t qemb__round_up(int64_t value, int64_t multiple) {
    return qemb__ceil_div(value, multiple) * multiple;
}

#endif
