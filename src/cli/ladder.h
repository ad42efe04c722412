/* ladder.h - `qemb ladder`: every method on the same data, same initial weights, same order; what is measured, and how it is shown. */
#ifndef QEMB_CLI_LADDER_H
#define QEMB_CLI_LADDER_H

#include "cli/dlrm_cli.h"

enum { LADDER_SEEDS = 9, LADDER_METHODS = 32 };

/* One way to a model that is served: how it is trained (bits and method) and converted. */
typedef struct ladder_method {
    const char *family; /* a line of the picture: "QAT, a range a row" */
    int32_t bits, trained_bits;
    dlrm_method method;
    dlrm_conversion conversion;
} ladder_method;

/* What one seed gave. drop: AUC of the trained model minus that of the converted one. */
typedef struct ladder_result {
    double auc, log_loss, drop, seconds, tables_ms, layers_ms;
    int64_t bytes, different;
} ladder_result;

typedef struct ladder {
    dlrm_cli options;
    const ladder_method *methods;
    int count, seeds;
    ladder_result result[LADDER_METHODS][LADDER_SEEDS];
    double best_auc[LADDER_SEEDS]; /* of the planted truth */
    int64_t test_rows;
    double seconds; /* of everything */
} ladder;

/* The mean over the seeds of a result's member at `offset`, less that of the first method (float) where `paired`; *error is its standard
 * error. */
double ladder_mean(const ladder *l, int method, size_t offset, bool paired, double *error);

void ladder_print_seed(const ladder *l, int method, int seed); /* one JSON object */
qemb_status ladder_read(ladder *l, const char *path);          /* such objects, a line each: results, seeds, rows */
void ladder_print(const ladder *l);
/* AUC by bits, a line a family; false and a sentence on stderr when there is no gnuplot. */
bool ladder_draw(const ladder *l, const char *path);

#endif
