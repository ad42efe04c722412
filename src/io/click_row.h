/* click_row.h - one row of a click log, and how it is read from and written as a line of text. */
#ifndef QEMB_IO_CLICK_ROW_H
#define QEMB_IO_CLICK_ROW_H

#include <qemb/qemb_io.h>

/* Exactly the record of the binary form. */
typedef struct qemb__click_row {
    int32_t label;
    int32_t counts[QEMB_CLICK_DENSE]; /* as read, negative ones too; missing: 0 */
    uint32_t categories[QEMB_CLICK_SPARSE];
} qemb__click_row;

_Static_assert(sizeof(qemb__click_row) == 4 * QEMB_CLICK_COLUMNS, "a record is 40 words");

enum {
    QEMB__CLICK_LINE_BYTES = 4096, /* read at most */
    QEMB__CLICK_PRINT_BYTES = 512, /* printed at most: 2 + 13 * 12 + 26 * 9 = 392 */
    QEMB__CLICK_LOGS = 4096
};

typedef struct qemb__click_fault {
    int32_t column; /* from 1 */
    char reason[104];
} qemb__click_fault;

/* Parses the line [line, end), without its newline; *end is a newline or NUL, and 16 bytes behind it can be read. */
bool qemb__click_parse(const char *line, const char *end, qemb__click_row *row, qemb__click_fault *fault);

/* A record of the binary form can only be wrong in its label. */
bool qemb__click_check(const qemb__click_row *row, qemb__click_fault *fault);

/* Writes the row as a line with its newline and returns its length. Bit c of `missing` leaves column c (from 0, the label)
 * empty. */
size_t qemb__click_print(const qemb__click_row *row, uint64_t missing, char line[QEMB__CLICK_PRINT_BYTES]);

/* log(1 + max(x, 0)), or max(x, 0): what readers and the generator give for a count. `logs` holds the logarithms of the
 * first QEMB__CLICK_LOGS. */
void qemb__click_fill_logs(float logs[QEMB__CLICK_LOGS]);
float qemb__click_dense(int32_t count, qemb_click_counts counts, const float *logs);

#endif
