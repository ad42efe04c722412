/* train.c - see train.h. */
#include "dlrm/train.h"

#include <string.h>

static const double watch_seconds = 0.2;

qemb_status dlrm_train_epoch(dlrm_model *m, const dlrm_data *data, dlrm_watch watch, void *user, dlrm_position *at, bool *stopped) {
    qemb_status st = QEMB_OK;
    dlrm_feed feed = {NULL, NULL};
    qemb_click_batch batch = {0};
    const int64_t total = data->count[DLRM_TRAIN];
    const double began = dlrm_seconds();
    double looked = began;
    *stopped = false;
    at->loss_sum = at->row == 0 ? 0.0 : at->loss_sum;
    DLRM_TRY(dlrm_feed_open(data, DLRM_TRAIN, at->row, m->config.batch, &feed));
    for (;;) {
        DLRM_LIB(qemb_click_feed_next(feed.feed, &batch));
        if (batch.rows > 0) {
            DLRM_TRY(dlrm_model_train(m, &batch));
            at->row += batch.rows;
        }
        if (batch.rows == 0 || m->steps - m->losses_read == DLRM_LOSSES || dlrm_seconds() - looked > watch_seconds) {
            DLRM_TRY(dlrm_model_loss(m, &at->loss_sum));
            looked = dlrm_seconds();
            const dlrm_progress progress = {"train", at->epoch, at->row, total, at->row ? at->loss_sum / (double)at->row : 0.0};
            if (batch.rows == 0 || (watch && !watch(user, &progress))) {
                *stopped = batch.rows > 0 && at->row < total;
                break;
            }
        }
    }
    m->seconds += dlrm_seconds() - began;
    if (!*stopped) {
        at->epoch++;
        at->row = 0;
    }
done:
    dlrm_feed_close(&feed);
    return st;
}

qemb_status dlrm_predict(dlrm_model *m, const dlrm_data *data, bool packed, dlrm_watch watch, void *user, dlrm_predictions *out) {
    qemb_status st = QEMB_OK;
    dlrm_feed feed = {NULL, NULL};
    qemb_click_batch batch = {0};
    dlrm_predictions p = {0};
    const int64_t total = data->count[DLRM_TEST];
    const double began = dlrm_seconds();
    double looked = began;
    DLRM_NEW(p.predicted, total);
    DLRM_NEW(p.labels, total);
    DLRM_TRY(dlrm_feed_open(data, DLRM_TEST, 0, DLRM_SCORE_BATCH, &feed));
    for (;;) {
        DLRM_LIB(qemb_click_feed_next(feed.feed, &batch));
        if (batch.rows == 0) {
            break;
        }
        DLRM_TRY(dlrm_model_score(m, packed, &batch, p.predicted + p.rows));
        memcpy(p.labels + p.rows, batch.labels, (size_t)batch.rows * sizeof(float));
        p.rows += batch.rows;
        if (watch && dlrm_seconds() - looked > watch_seconds) {
            looked = dlrm_seconds();
            DLRM_REQUIRE(watch(user, &(dlrm_progress){"test", 0, p.rows, total, 0.0}), QEMB_ERR_STATE, "dlrm: stopped in the test part");
        }
    }
    p.seconds = dlrm_seconds() - began;
    *out = p;
    p = (dlrm_predictions){0};
done:
    dlrm_predictions_free(&p);
    dlrm_feed_close(&feed);
    return st;
}

void dlrm_predictions_free(dlrm_predictions *p) {
    free(p->predicted);
    free(p->labels);
    *p = (dlrm_predictions){0};
}

qemb_status dlrm_predictions_score(const dlrm_predictions *p, dlrm_score *score) {
    return dlrm_score_of(p->predicted, p->labels, p->rows, score);
}

int64_t dlrm_predictions_differ(const dlrm_predictions *a, const dlrm_predictions *b) {
    int64_t count = a->rows > b->rows ? a->rows - b->rows : b->rows - a->rows;
    for (int64_t i = 0; i < a->rows && i < b->rows; i++) {
        count += memcmp(&a->predicted[i], &b->predicted[i], sizeof *a->predicted) != 0;
    }
    return count;
}
