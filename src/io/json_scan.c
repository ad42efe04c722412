/* json_scan.c - see json_scan.h. */
#include "io/json_scan.h"

#include <string.h>

#include "base/status.h"

qemb_status qemb__scan_fail(const qemb__scan *scan, const char *reason) {
    return qemb__fail(QEMB_ERR_CORRUPT, "%s: %s: byte %lld: %s", scan->who, scan->path, (long long)scan->base + (long long)scan->at,
                      reason);
}

void qemb__scan_space(qemb__scan *scan) {
    for (; scan->at < scan->size; scan->at++) {
        char c = scan->text[scan->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            return;
        }
    }
}

bool qemb__scan_take(qemb__scan *scan, char c) {
    qemb__scan_space(scan);
    if (scan->at < scan->size && scan->text[scan->at] == c) {
        scan->at++;
        return true;
    }
    return false;
}

qemb_status qemb__scan_expect(qemb__scan *scan, char c) {
    if (qemb__scan_take(scan, c)) {
        return QEMB_OK;
    }
    const char reason[] = {'\'', c, '\'', ' ', 'e', 'x', 'p', 'e', 'c', 't', 'e', 'd', '\0'};
    return qemb__scan_fail(scan, scan->at < scan->size ? reason : "the header ends in the middle");
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits behind "\u"; -1 if they are not there. */
static int32_t hex_unit(const qemb__scan *scan, size_t at) {
    int32_t unit = 0;
    if (scan->size - at < 4) {
        return -1;
    }
    for (size_t i = 0; i < 4; ++i) {
        int digit = hex_digit(scan->text[at + i]);
        if (digit < 0) {
            return -1;
        }
        unit = unit * 16 + digit;
    }
    return unit;
}

static size_t encode_utf8(int32_t code, unsigned char out[4]) {
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xC0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xE0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (unsigned char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | code >> 18);
    out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (unsigned char)(0x80 | (code & 0x3F));
    return 4;
}

/* One escape, `at` behind the backslash; the decoded bytes are never more than the escape's own. */
static qemb_status scan_escape(qemb__scan *scan, unsigned char out[4], size_t *bytes) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = scan->at < scan->size ? scan->text[scan->at] : '\0';
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple) {
        scan->at++;
        out[0] = (unsigned char)to[simple - from];
        *bytes = 1;
        return QEMB_OK;
    }
    if (c != 'u') {
        return qemb__scan_fail(scan, "unknown escape in a string");
    }
    int32_t code = hex_unit(scan, scan->at + 1);
    if (code < 0) {
        return qemb__scan_fail(scan, "\\u without four hexadecimal digits");
    }
    if (code == 0) {
        return qemb__scan_fail(scan, "NUL in a string");
    }
    scan->at += 5;
    if (code >= 0xD800 && code < 0xDC00 && scan->size - scan->at >= 2 && scan->text[scan->at] == '\\' && scan->text[scan->at + 1] == 'u') {
        int32_t low = hex_unit(scan, scan->at + 2);
        if (low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            scan->at += 6;
        }
    }
    if (code >= 0xD800 && code < 0xE000) {
        return qemb__scan_fail(scan, "half of a surrogate pair in a string");
    }
    *bytes = encode_utf8(code, out);
    return QEMB_OK;
}

/* Length of the UTF-8 sequence at `at`, which is not ASCII; 0 if it is not one (overlong forms, surrogates and codes past 10FFFF included). */
static size_t utf8_sequence(const qemb__scan *scan, size_t at) {
    const unsigned char *s = (const unsigned char *)scan->text + at; /* the NUL behind the text ends every loop below */
    size_t length = s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3 : s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < length; ++i) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool too_big = (s[0] == 0xED && s[1] >= 0xA0) || (s[0] == 0xF4 && s[1] >= 0x90);
    return overlong || too_big ? 0 : length;
}

qemb_status qemb__scan_string(qemb__scan *scan, qemb__span *span) {
    qemb_status st = qemb__scan_expect(scan, '"');
    size_t start = scan->at, length = 0;
    if (st != QEMB_OK) {
        return st;
    }
    while (scan->at < scan->size && scan->text[scan->at] != '"') {
        unsigned char decoded[4] = {(unsigned char)scan->text[scan->at]};
        size_t bytes = 1;
        if (decoded[0] < 0x20) {
            return qemb__scan_fail(scan, "control character in a string");
        }
        if (decoded[0] < 0x80 && decoded[0] != '\\') {
            scan->at++; /* nearly always */
        } else if (decoded[0] == '\\') {
            scan->at++;
            st = scan_escape(scan, decoded, &bytes);
            if (st != QEMB_OK) {
                return st;
            }
        } else {
            bytes = utf8_sequence(scan, scan->at);
            if (bytes == 0) {
                return qemb__scan_fail(scan, "not UTF-8");
            }
            memcpy(decoded, scan->text + scan->at, bytes);
            scan->at += bytes;
        }
        if (scan->unescape) {
            memcpy(scan->text + start + length, decoded, bytes);
        }
        length += bytes;
    }
    if (scan->at >= scan->size) {
        return qemb__scan_fail(scan, "the header ends inside a string");
    }
    scan->at++;
    if (scan->unescape) {
        scan->text[start + length] = '\0'; /* at the latest on the closing quote */
    }
    *span = (qemb__span){.start = (uint32_t)start, .length = (uint32_t)length};
    return QEMB_OK;
}

qemb_status qemb__scan_integer(qemb__scan *scan, int64_t *value) {
    qemb__scan_space(scan);
    size_t start = scan->at;
    int64_t result = 0;
    for (; scan->at < scan->size && scan->text[scan->at] >= '0' && scan->text[scan->at] <= '9'; scan->at++) {
        int digit = scan->text[scan->at] - '0';
        if (__builtin_mul_overflow(result, (int64_t)10, &result) || __builtin_add_overflow(result, (int64_t)digit, &result)) {
            return qemb__scan_fail(scan, "number above 2^63 - 1");
        }
    }
    if (scan->at == start) {
        return qemb__scan_fail(scan, scan->at < scan->size ? "non-negative integer expected" : "the header ends in the middle");
    }
    if (scan->at - start > 1 && scan->text[start] == '0') {
        return qemb__scan_fail(scan, "number with a leading zero");
    }
    *value = result;
    return QEMB_OK;
}
