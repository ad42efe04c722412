/* json_scan.h - the few tokens of JSON that a safetensors header is made of, as RFC 8259 spells them. */
#ifndef QEMB_IO_JSON_SCAN_H
#define QEMB_IO_JSON_SCAN_H

#include <qemb/qemb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qemb__scan {
    const char *who, *path; /* for sentences */
    char *text;             /* size bytes and a NUL */
    size_t size, at;
    int64_t base;  /* what to add to `at` to name a byte of the file */
    bool unescape; /* true: strings are decoded in place and NUL-ended, which a second scan of them would not understand */
} qemb__scan;

typedef struct qemb__span {
    uint32_t start, length; /* in text: decoded if `unescape`, as written otherwise; `length` is always the decoded one */
} qemb__span;

/* CORRUPT with file, byte and reason. */
qemb_status qemb__scan_fail(const qemb__scan *scan, const char *reason);

void qemb__scan_space(qemb__scan *scan);

/* Skips space, then takes `c` if it is next and says whether it was. */
bool qemb__scan_take(qemb__scan *scan, char c);

/* Skips space, then `c` must be next. */
qemb_status qemb__scan_expect(qemb__scan *scan, char c);

/* A string: valid UTF-8, no raw control character, no NUL (also not as \u0000), no lone surrogate. */
qemb_status qemb__scan_string(qemb__scan *scan, qemb__span *span);

/* A non-negative integer without sign, fraction, exponent or leading zero, at most INT64_MAX. */
qemb_status qemb__scan_integer(qemb__scan *scan, int64_t *value);

#endif
