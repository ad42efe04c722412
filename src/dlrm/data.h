/* data.h - where the rows come from: a click log, or the generator of planted ones, each with a training part and a test part.
 *
 * A file   is cut as facebookresearch/dlrm cuts Kaggle's: seven days of equal length (the first ones a row longer), six to train on, of the
 *          last the first half to test on and the rest for validation (not used here). Rows are read in the order of the file.
 * Planted  rows [0, N) of the generator to train on, [N, N + M) to test on. Its tables are Kaggle's times N / 39,291,958 unless a scale is
 *          given: as many rows an id as Kaggle's log has. */
#ifndef QEMB_DLRM_DATA_H
#define QEMB_DLRM_DATA_H

#include <qemb/qemb_io.h>

#include "dlrm/dlrm.h"

typedef enum dlrm_part { DLRM_TRAIN = 0, DLRM_TEST = 1 } dlrm_part;

typedef struct dlrm_data_desc {
    const char *path;   /* NULL: planted rows */
    int64_t synthetic;  /* N */
    int64_t test_rows;  /* M; 0: as many as N */
    double scale;       /* of the tables; 0: 1 for a file, as above for planted rows */
    uint64_t seed;      /* of planted rows */
    qemb_click_ids ids; /* of a file */
    qemb_click_faults faults;
    qemb_click_form form;
} dlrm_data_desc;

typedef struct dlrm_data {
    dlrm_data_desc desc;
    qemb_click_generator *generator;
    int64_t rows[QEMB_CLICK_SPARSE]; /* of the tables */
    int64_t first[2], count[2];      /* of the parts */
    qemb_click_report best;          /* planted rows: what the truth itself scores on the test part */
    int64_t faults;                  /* rows of the file that were left out, and where and why the first ones */
    char fault[QEMB_CLICK_NAMED_FAULTS][160];
} dlrm_data;

/* Reads a file once, to count it. Errors: those of the reader, with line and column; SHAPE when there are not rows for every part. */
qemb_status dlrm_data_open(const dlrm_data_desc *desc, dlrm_data **data);
void dlrm_data_close(dlrm_data *data);

/* Batches of a part from its row `skip` on, made by a thread of their own ahead of time. */
typedef struct dlrm_feed {
    qemb_click_reader *reader;
    qemb_click_feed *feed;
} dlrm_feed;
qemb_status dlrm_feed_open(const dlrm_data *data, dlrm_part part, int64_t skip, int64_t batch, dlrm_feed *feed);
void dlrm_feed_close(dlrm_feed *feed);

#endif
