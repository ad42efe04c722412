/* test_dlrm_score.c - AUC, log loss and accuracy against computations that share no step with them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlrm/score.h"

static uint64_t state;
static double uniform(void) {
    uint64_t x = state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return ((double)((x ^ (x >> 31)) >> 11) + 0.5) * 0x1p-53;
}

/* The definition: all pairs, a tie half. */
static double auc_of_pairs(const float *p, const float *y, int n) {
    double wins = 0, pairs = 0;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            if (y[i] > 0.5f && y[j] < 0.5f) {
                wins += p[i] > p[j] ? 1.0 : p[i] == p[j] ? 0.5 : 0.0;
                pairs += 1.0;
            }
        }
    }
    return wins / pairs;
}

static void check(const float *p, const float *y, int n, const char *what) {
    dlrm_score s;
    long double loss = 0.0L;
    int right = 0, positives = 0;
    for (int i = 0; i < n; i++) {
        double q = (double)p[i];
        q = q < 0x1p-52 ? 0x1p-52 : q > 1.0 - 0x1p-52 ? 1.0 - 0x1p-52 : q;
        loss -= logl(y[i] > 0.5f ? (long double)q : 1.0L - (long double)q);
        right += (p[i] > 0.5f ? 1.0f : 0.0f) == y[i];
        positives += y[i] > 0.5f;
    }
    cr_assert_eq(dlrm_score_of(p, y, n, &s), QEMB_OK, "%s: %s", what, dlrm_last_error());
    /* counts are whole numbers; a logarithm is off by 2^-53 for its argument and an ulp of its own, the compensated sum by two */
    cr_expect(s.auc == auc_of_pairs(p, y, n) || (isnan(s.auc) && isnan(auc_of_pairs(p, y, n))), "%s: AUC %.17g, pairs say %.17g", what,
              s.auc, auc_of_pairs(p, y, n));
    cr_expect(fabs(s.log_loss - (double)(loss / n)) < 0x1p-53 * (1.0 + 6.0 * (double)loss / n), "%s: log loss %.17g, want %.17g", what,
              s.log_loss, (double)(loss / n));
    cr_expect(s.accuracy == (double)right / n && s.positives == positives && s.rows == n, "%s", what);
}

Test(dlrm_score, random_predictions_with_and_without_ties_score_as_the_definition_says) {
    enum { N = 2003 };
    static float p[N], y[N];
    static const int levels[] = {0, 1, 2, 7, 101, 65536};
    for (size_t k = 0; k < sizeof levels / sizeof *levels; k++) {
        state = k;
        for (int i = 0; i < N; i++) {
            const double u = uniform();
            p[i] = (float)(levels[k] ? floor(u * (levels[k] + 1)) / (levels[k] + 1) : u);
            y[i] = uniform() < 0.2 + 0.5 * (double)p[i] ? 1.0f : 0.0f;
        }
        char what[32];
        (void)snprintf(what, sizeof what, "%d levels", levels[k]);
        check(p, y, N, what);
    }
}

Test(dlrm_score, predictions_of_0_and_1_subnormal_and_minus_0_count_as_they_compare) {
    static const float p[] = {0.0f, -0.0f, 1e-45f, 1.0f, 1.0f, 0.99999994f, 0x1p-126f, 0.5f, 0.5f, 0.50000006f, 0.0f};
    static const float y[] = {0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 1};
    check(p, y, sizeof p / sizeof *p, "extremes");
}

Test(dlrm_score, one_class_has_no_auc_and_nonsense_is_refused) {
    dlrm_score s;
    const float one[] = {1, 1, 1}, p[] = {0.1f, 0.2f, 0.3f}, bad[] = {0.1f, NAN, 0.3f}, large[] = {0.1f, 0.2f, 1.5f}, y[] = {0, 1, 0};
    cr_assert_eq(dlrm_score_of(p, one, 3, &s), QEMB_OK);
    cr_expect(isnan(s.auc) && s.positives == 3);
    cr_expect_eq(dlrm_score_of(bad, y, 3, &s), QEMB_ERR_NONFINITE);
    cr_expect_not_null(strstr(dlrm_last_error(), "prediction 1"));
    cr_expect_eq(dlrm_score_of(large, y, 3, &s), QEMB_ERR_RANGE);
    cr_assert_eq(dlrm_score_of(p, y, 0, &s), QEMB_OK);
    cr_expect_eq(s.rows, 0);
}
