/* fields.c - see fields.h. */
#define _GNU_SOURCE
#include "io/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"

enum { LONGEST_NUMBER = 48, VERSION = 1 };

/* The caller's locale may write a comma where files have a point. */
static void print_real(double value, char *text) {
    (void)snprintf(text, LONGEST_NUMBER, "%.17g", value);
    for (char *c = text; *c; ++c) {
        if (!strchr("+-.0123456789einf", *c)) {
            *c = '.';
        }
    }
}

static bool parse_real(const char *text, size_t length, double *value) {
    char copy[LONGEST_NUMBER + 8];
    char *end = NULL;
    const char *point = localeconv()->decimal_point;
    if (length == 0 || length >= LONGEST_NUMBER || strspn(text, "+-.0123456789einf") < length || strlen(point) != 1) {
        return false;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    for (char *c = copy; *c; ++c) {
        *c = *c == '.' ? *point : *c;
    }
    *value = strtod(copy, &end);
    return end == copy + length;
}

static bool parse_integer(const char *text, size_t length, int64_t *value) {
    char copy[LONGEST_NUMBER];
    size_t sign = length && *text == '-';
    if (length == sign || length >= sizeof copy || strspn(text + sign, "0123456789") < length - sign) {
        return false;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    errno = 0;
    *value = strtoll(copy, NULL, 10);
    return errno == 0;
}

qemb_status qemb__fields_write(const qemb__field *fields, const void *values, char **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    size_t longest = LONGEST_NUMBER;
    for (const qemb__field *f = fields; f->name; ++f) {
        const void *at = (const char *)values + f->offset;
        longest += strlen(f->name) + 2 + LONGEST_NUMBER + (f->kind == QEMB__FIELD_TEXT ? strlen(*(const char *const *)at) : 0);
    }
    TRY(qemb__calloc((int64_t)longest, 1, &block));
    char *text = block;
    size_t used = (size_t)snprintf(text, longest, "version=%d", VERSION);
    for (const qemb__field *f = fields; f->name; ++f) {
        const void *at = (const char *)values + f->offset;
        char number[LONGEST_NUMBER];
        const char *value = number;
        switch (f->kind) {
        case QEMB__FIELD_INTEGER:
            (void)snprintf(number, sizeof number, "%" PRId64, *(const int64_t *)at);
            break;
        case QEMB__FIELD_WORD:
            value = f->words[*(const int64_t *)at];
            break;
        case QEMB__FIELD_REAL:
            print_real(*(const double *)at, number);
            break;
        case QEMB__FIELD_TEXT:
            value = *(const char *const *)at;
            break;
        }
        used += (size_t)snprintf(text + used, longest - used, " %s=%s", f->name, value);
    }
    *out = text;
    block = NULL;
done:
    qemb__free(block);
    return st;
}

static bool parse_value(const qemb__field *f, const char *text, size_t length, void *at) {
    switch (f->kind) {
    case QEMB__FIELD_INTEGER:
        return parse_integer(text, length, at) && *(int64_t *)at >= f->low && *(int64_t *)at <= f->high;
    case QEMB__FIELD_WORD:
        for (int64_t k = 0; f->words[k]; ++k) {
            if (strlen(f->words[k]) == length && memcmp(f->words[k], text, length) == 0) {
                *(int64_t *)at = k;
                return true;
            }
        }
        return false;
    case QEMB__FIELD_REAL:
        return parse_real(text, length, at);
    case QEMB__FIELD_TEXT:
        break;
    }
    *(const char **)at = text;
    return true;
}

qemb_status qemb__fields_read(const char *who, const char *path, const char *key, const char *text, const qemb__field *fields,
                              void *values) {
    qemb_status st = QEMB_OK;
    static const char word[] = "version=";
    const char *at = text + sizeof word - 1;
    int64_t version = 0;
    REQUIRE(strncmp(text, word, sizeof word - 1) == 0 && parse_integer(at, strcspn(at, " "), &version) && at[strcspn(at, " ")],
            QEMB_ERR_CORRUPT, "%s: %s: text '%.200s', byte 0: want '%s' and a number", who, path, key, word);
    REQUIRE(version == VERSION, QEMB_ERR_UNSUPPORTED, "%s: %s: text '%.200s' is of version %lld, this library reads version %d", who, path,
            key, (long long)version, VERSION);
    at += strcspn(at, " ") + 1;
    for (const qemb__field *f = fields; f->name; ++f) {
        const size_t name = strlen(f->name);
        REQUIRE(strncmp(at, f->name, name) == 0 && at[name] == '=', QEMB_ERR_CORRUPT, "%s: %s: text '%.200s', byte %lld: want '%s='", who,
                path, key, (long long)(at - text), f->name);
        at += name + 1;
        const size_t length = f->kind == QEMB__FIELD_TEXT ? strlen(at) : strcspn(at, " ");
        REQUIRE(parse_value(f, at, length, (char *)values + f->offset), QEMB_ERR_CORRUPT,
                "%s: %s: text '%.200s', byte %lld: %s=%.*s is not an allowed value", who, path, key, (long long)(at - text), f->name,
                (int)(length < 40 ? length : 40), at);
        at += length;
        const bool last = !f[1].name;
        REQUIRE(*at == (last ? '\0' : ' '), QEMB_ERR_CORRUPT, "%s: %s: text '%.200s', byte %lld: want %s", who, path, key,
                (long long)(at - text), last ? "its end" : "a space");
        at += !last;
    }
done:
    return st;
}
