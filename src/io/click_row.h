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

enum { QEMB__CLICK_LINE_BYTES = 4096 }; /* Criteo's longest possible line has under 400 */

typedef struct qemb__click_fault {
    int32_t column; /* from 1 */
    char reason[104];
} qemb__click_fault;

/* Parses the line [line, end), without its newline; *end is a newline or NUL, and 16 bytes behind it can be read. */
bool qemb__click_parse(const char *line, const char *end, qemb__click_row *row, qemb__click_fault *fault);

/* A record of the binary form can only be wrong in its label. */
bool qemb__click_check(const qemb__click_row *row, qemb__click_fault *fault);

#endif
