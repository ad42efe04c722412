/* score.h - how good predictions are.
 *
 *   auc       chance that a random clicked row has the higher prediction than a random other one, ties half: the area under the ROC curve,
 *             from integer counts, as sklearn.metrics.roc_auc_score; NaN if a class is empty
 *   log_loss  mean of -log P(label), predictions kept 2^-52 away from 0 and 1, as sklearn.metrics.log_loss of float64
 *   accuracy  share of rows where (prediction > 0.5) is the label */
#ifndef QEMB_DLRM_SCORE_H
#define QEMB_DLRM_SCORE_H

#include "dlrm/dlrm.h"

typedef struct dlrm_score {
    int64_t rows, positives;
    double auc, log_loss, accuracy;
} dlrm_score;

/* labels are 0 or 1. Takes 4 bytes a row for the time of the call. Errors NONFINITE, RANGE (a prediction outside 0..1), NOMEM. */
qemb_status dlrm_score_of(const float *predictions, const float *labels, int64_t rows, dlrm_score *score);

#endif
