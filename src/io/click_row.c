/* click_row.c - see click_row.h.
 *
 * The parser reads a line once, a column at a time, and only says where it stopped; what is wrong there is worked out
 * afterwards, so that good lines do not pay for the sentence. */
#include "io/click_row.h"

#include <stdio.h>
#include <string.h>

#include "io/exact_math.h"

static const uint8_t hex_value[256] = {
    /* value + 1, so that zero means "not a digit" */
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11,
    ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* A decimal int32; leaves *at behind the last digit. An empty column is 0. */
static bool parse_count(const char **at, int32_t *value) {
    const char *s = *at;
    bool negative = *s == '-';
    s += negative;
    const char *first = s;
    uint64_t sum = 0;
    while ((unsigned char)(*s - '0') < 10 && s - first < 12) {
        sum = sum * 10 + (unsigned char)(*s++ - '0');
    }
    *at = s;
    if ((s == first && negative) || sum > (uint64_t)INT32_MAX + negative) {
        return false;
    }
    *value = negative ? (int32_t)(-(int64_t)sum) : (int32_t)sum;
    return true;
}

/* Up to seven hexadecimal digits, which what stands behind the line ends; an empty column is 0. */
static void parse_category(const char **at, uint32_t *value) {
    const unsigned char *s = (const unsigned char *)*at;
    uint32_t sum = 0;
    int digits = 0;
    while (hex_value[s[digits]]) {
        sum = sum << 4 | (hex_value[s[digits]] - 1u);
        digits++;
    }
    *at += digits;
    *value = sum;
}

/* The usual case of eight digits in one go: bytes to nibbles, then nibbles pushed together. Any other byte fails. */
static bool parse_eight(const char *s, uint32_t *value) {
    uint64_t t;
    memcpy(&t, s, 8);
    const uint64_t ones = 0x0101010101010101u;
    uint64_t letter = (t >> 6) & ones;
    uint64_t nibbles = (t & 0x0F * ones) + letter * 9;
    /* Back again: what these nibbles are written as must be what was read, but for the case of letters. */
    uint64_t above9 = ((nibbles + 6 * ones) >> 4) & ones;
    uint64_t again = nibbles + 0x30 * ones + above9 * 0x27;
    if (((again ^ t) & ~(letter << 5)) || (nibbles & 0xF0 * ones)) {
        return false;
    }
    nibbles = ((nibbles << 4) | (nibbles >> 8)) & 0x00FF00FF00FF00FFu;
    nibbles = ((nibbles << 8) | (nibbles >> 16)) & 0x0000FFFF0000FFFFu;
    *value = (uint32_t)((nibbles << 16) | (nibbles >> 32));
    return true;
}

/* The number of the column that stopped the parser, 0 if all is well. */
static int32_t parse(const char *s, const char *end, qemb__click_row *row) {
    if ((*s != '0' && *s != '1') || s[1] != '\t') {
        return 1;
    }
    row->label = *s - '0';
    s += 2;
    for (int32_t i = 0; i < QEMB_CLICK_DENSE; ++i, ++s) {
        if (!parse_count(&s, &row->counts[i]) || *s != '\t') { /* s never passes `end`, where no tab stands */
            return 2 + i;
        }
    }
    for (int32_t i = 0; i < QEMB_CLICK_SPARSE; ++i, ++s) {
        const bool last = i == QEMB_CLICK_SPARSE - 1;
        if (end - s >= 8 && parse_eight(s, &row->categories[i])) {
            s += 8;
        } else {
            parse_category(&s, &row->categories[i]);
        }
        if (last ? s != end : *s != '\t') {
            return 2 + QEMB_CLICK_DENSE + i;
        }
    }
    return 0;
}

/* Puts the column's text into `shown`, unprintable bytes as dots. */
static void show_column(const char *line, const char *end, int32_t column, char shown[25]) {
    size_t n = 0;
    for (int32_t c = 1; line < end && (c < column || *line != '\t'); ++line) {
        if (*line == '\t') {
            c++;
        } else if (c == column && n < 24) {
            shown[n++] = (char)(*line >= ' ' && *line < 0x7F ? *line : '.');
        }
    }
    shown[n] = '\0';
}

bool qemb__click_parse(const char *line, const char *end, qemb__click_row *row, qemb__click_fault *fault) {
    int32_t column = parse(line, end, row);
    if (column == 0) {
        return true;
    }
    int32_t columns = 1;
    for (const char *s = line; s < end; ++s) {
        columns += *s == '\t';
    }
    char shown[25];
    show_column(line, end, column, shown);
    if (columns != QEMB_CLICK_COLUMNS) {
        *fault = (qemb__click_fault){.column = columns < QEMB_CLICK_COLUMNS ? columns : QEMB_CLICK_COLUMNS + 1};
        (void)snprintf(fault->reason, sizeof fault->reason, "%d columns, want %d", columns, QEMB_CLICK_COLUMNS);
        return false;
    }
    const char *wanted = column == 1                      ? "the label 0 or 1"
                         : column <= 1 + QEMB_CLICK_DENSE ? "a decimal integer of 32 bits"
                                                          : "at most 8 hexadecimal digits";
    *fault = (qemb__click_fault){.column = column};
    (void)snprintf(fault->reason, sizeof fault->reason, "'%s', want %s", shown, wanted);
    return false;
}

bool qemb__click_check(const qemb__click_row *row, qemb__click_fault *fault) {
    if (row->label == 0 || row->label == 1) {
        return true;
    }
    *fault = (qemb__click_fault){.column = 1};
    (void)snprintf(fault->reason, sizeof fault->reason, "%d, want the label 0 or 1", row->label);
    return false;
}

static char *print_count(char *at, int32_t value) {
    char digits[12];
    int n = 0;
    uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
    if (value < 0) {
        *at++ = '-';
    }
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    while (n > 0) {
        *at++ = digits[--n];
    }
    return at;
}

size_t qemb__click_print(const qemb__click_row *row, uint64_t missing, char line[QEMB__CLICK_PRINT_BYTES]) {
    char *at = line;
    *at++ = (char)('0' + row->label);
    for (int i = 0; i < QEMB_CLICK_DENSE; ++i) {
        *at++ = '\t';
        if (!(missing >> (1 + i) & 1)) {
            at = print_count(at, row->counts[i]);
        }
    }
    for (int i = 0; i < QEMB_CLICK_SPARSE; ++i) {
        *at++ = '\t';
        if (!(missing >> (1 + QEMB_CLICK_DENSE + i) & 1)) {
            for (int shift = 28; shift >= 0; shift -= 4) {
                *at++ = "0123456789abcdef"[row->categories[i] >> shift & 15];
            }
        }
    }
    *at++ = '\n';
    return (size_t)(at - line);
}

void qemb__click_fill_logs(float logs[QEMB__CLICK_LOGS]) {
    for (int x = 0; x < QEMB__CLICK_LOGS; ++x) {
        logs[x] = (float)qemb__exact_log(1.0 + x);
    }
}

float qemb__click_dense(int32_t count, qemb_click_counts counts, const float *logs) {
    int32_t x = count > 0 ? count : 0;
    if (counts == QEMB_CLICK_RAW) {
        return (float)x;
    }
    return x < QEMB__CLICK_LOGS ? logs[x] : (float)qemb__exact_log(1.0 + x);
}
