/* inspect.h - figures of one table, however it is stored. */
#ifndef QEMB_CLI_INSPECT_H
#define QEMB_CLI_INSPECT_H

#include <qemb/qemb_io.h>

enum { INSPECT_BINS = 24, INSPECT_WIDTHS = 3 };

/* Rows are read where they are wanted: those looked at are spread evenly over the table: blocks of neighbours, all rows of a small table. */
typedef struct inspect_figures {
    int64_t rows, seen;           /* of the table; looked at */
    double low, high;             /* smallest and largest value */
    double mean_range, max_range; /* max - min of a row */
    int64_t constant;             /* rows of one value */
    int64_t nonfinite;            /* rows with NaN or inf; not in the other figures */
    int64_t bins[INSPECT_BINS];   /* values between low and high */
    double error[INSPECT_WIDTHS]; /* float tables: root mean square error if packed by minmax to 8, 4, 2 bits (planar, fp32) */
    double signal;                /* root mean square of the values */
} inspect_figures;

/* Gives rows [first, first + count) as floats. */
typedef qemb_status (*inspect_reader)(void *user, int64_t first, int64_t count, float *values);
qemb_status inspect_rows(int64_t rows, int64_t dim, inspect_reader read, void *user, inspect_figures *figures);

/* The errors of packing, over the same rows. */
qemb_status inspect_errors(qemb_context *ctx, int64_t rows, int64_t dim, inspect_reader read, void *user, inspect_figures *figures);

#endif
