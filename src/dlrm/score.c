/* score.c - see score.h. */
#include "dlrm/score.h"

#include <math.h>
#include <string.h>

/* A prediction in 0..1 as its bits, which sort as it does, with the label below. */
static uint32_t key_of(float prediction, float label) {
    uint32_t bits = 0;
    const float positive = prediction + 0.0f; /* -0 is 0 */
    memcpy(&bits, &positive, sizeof bits);
    return bits << 1 | (label > 0.5f);
}

/* Radix sort, four passes of eight bits. */
static void sort(uint32_t *keys, uint32_t *other, int64_t count) {
    for (int shift = 0; shift < 32; shift += 8) {
        int64_t at[257] = {0};
        for (int64_t i = 0; i < count; i++) {
            at[(keys[i] >> shift & 255) + 1]++;
        }
        for (int k = 0; k < 256; k++) {
            at[k + 1] += at[k];
        }
        for (int64_t i = 0; i < count; i++) {
            other[at[keys[i] >> shift & 255]++] = keys[i];
        }
        uint32_t *swap = keys;
        keys = other;
        other = swap;
    }
}

/* Twice the pairs (clicked, other) in which the clicked row is ahead, a tie once: below 2^63 for 3 * 10^9 rows. */
static uint64_t twice_wins(const uint32_t *keys, int64_t rows) {
    uint64_t wins = 0;
    uint64_t below = 0;
    for (int64_t i = 0; i < rows;) {
        uint64_t count[2] = {0, 0};
        const uint32_t same = keys[i] >> 1;
        for (; i < rows && keys[i] >> 1 == same; i++) {
            count[keys[i] & 1]++;
        }
        wins += count[1] * (2 * below + count[0]);
        below += count[0];
    }
    return wins;
}

qemb_status dlrm_score_of(const float *predictions, const float *labels, int64_t rows, dlrm_score *score) {
    qemb_status st = QEMB_OK;
    uint32_t *keys = NULL;
    int64_t positives = 0;
    int64_t right = 0;
    double loss = 0.0;
    double lost = 0.0; /* what the sum has rounded off [Kahan] */
    DLRM_NEW(keys, 2 * rows);
    for (int64_t i = 0; i < rows; i++) {
        DLRM_REQUIRE(isfinite(predictions[i]), QEMB_ERR_NONFINITE, "dlrm: prediction %lld is %g", (long long)i, (double)predictions[i]);
        DLRM_REQUIRE(predictions[i] >= 0.0f && predictions[i] <= 1.0f, QEMB_ERR_RANGE, "dlrm: prediction %lld is %g, want 0..1",
                     (long long)i, (double)predictions[i]);
        const bool clicked = labels[i] > 0.5f;
        const double p = fmin(fmax((double)predictions[i], 0x1p-52), 1.0 - 0x1p-52);
        const double term = -log(clicked ? p : 1.0 - p) - lost;
        const double next = loss + term;
        lost = (next - loss) - term;
        loss = next;
        positives += clicked;
        right += (predictions[i] > 0.5f) == clicked;
        keys[i] = key_of(predictions[i], labels[i]);
    }
    sort(keys, keys + rows, rows);
    const double pairs = (double)positives * (double)(rows - positives);
    *score = (dlrm_score){.rows = rows,
                          .positives = positives,
                          .auc = pairs > 0.0 ? 0.5 * (double)twice_wins(keys, rows) / pairs : (double)NAN,
                          .log_loss = rows > 0 ? loss / (double)rows : 0.0,
                          .accuracy = rows > 0 ? (double)right / (double)rows : 0.0};
done:
    free(keys);
    return st;
}
