/* train.h - epochs over the training part, scores of the test part. */
#ifndef QEMB_DLRM_TRAIN_H
#define QEMB_DLRM_TRAIN_H

#include "dlrm/data.h"
#include "dlrm/model.h"
#include "dlrm/score.h"

/* Where training stands; with the model's tables and layers it is all that a resumed run needs. */
typedef struct dlrm_position {
    int64_t epoch, row; /* epochs done, rows of the next one done: a multiple of the batch */
    double loss_sum;    /* of the rows of this epoch */
} dlrm_position;

typedef struct dlrm_progress {
    const char *phase; /* "train", "test" */
    int64_t epoch, rows, total;
    double loss; /* mean of this epoch, 0 in tests */
} dlrm_progress;
/* Called a few times a second; false stops. */
typedef bool (*dlrm_watch)(void *user, const dlrm_progress *progress);

/* Trains from *position to the end of its epoch and moves *position there (the next epoch, row 0; loss_sum is left for the reader and
 * cleared by the next call). Stopped by `watch` it returns with *stopped set and *position in the middle. */
qemb_status dlrm_train_epoch(dlrm_model *model, const dlrm_data *data, dlrm_watch watch, void *user, dlrm_position *position,
                             bool *stopped);

/* Predictions of the test part, with trained or packed tables, and their labels: each [rows], to be freed by the caller. */
typedef struct dlrm_predictions {
    int64_t rows;
    float *predicted, *labels;
    double seconds;
} dlrm_predictions;
enum { DLRM_SCORE_BATCH = 4096 };
qemb_status dlrm_predict(dlrm_model *model, const dlrm_data *data, bool packed, dlrm_watch watch, void *user,
                         dlrm_predictions *predictions);
void dlrm_predictions_free(dlrm_predictions *predictions);
int64_t dlrm_predictions_differ(const dlrm_predictions *a, const dlrm_predictions *b); /* rows whose bits differ */
qemb_status dlrm_predictions_score(const dlrm_predictions *predictions, dlrm_score *score);

#endif
