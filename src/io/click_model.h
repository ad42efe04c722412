/* click_model.h - the planted truth behind generated click logs: what rows look like and how likely each is a click.
 *
 *   logit = bias + signal * (s_d * dense + s_m * mains + s_p * pairs),  each part scaled to mean 0 and deviation 1
 *   dense = sum_i w_i log(1 + max(count_i, 0))          13 counts, log-normal
 *   mains = sum_f a_f u_f[id_f]                         26 categories, Zipf-Mandelbrot
 *   pairs = sum_{f<g} b_f b_g <v_f[id_f], v_g[id_g]>    planted factors of factor_dim columns
 *   P(click) = 1 / (1 + exp(-logit))
 *
 * u and v are hashes of (seed, feature, id): nothing is stored, tables of any size cost nothing, and row r is a function of
 * (seed, r) alone. Id 0 of every feature is the missing value. */
#ifndef QEMB_IO_CLICK_MODEL_H
#define QEMB_IO_CLICK_MODEL_H

#include "io/click_row.h"
#include "io/zipf.h"

enum { QEMB__CLICK_FACTORS = 8, QEMB__CLICK_PARTS = 3 };

typedef struct qemb__click_feature {
    qemb__zipf zipf;        /* of the ids 1 .. num_embeddings - 1 */
    int64_t num_embeddings; /* E */
    uint64_t key;           /* of this feature's hashes */
    uint32_t mask, shift;   /* of the permutation of ranks */
    double main, pair;      /* a_f, b_f */
} qemb__click_feature;

typedef struct qemb__click_model {
    qemb__click_feature features[QEMB_CLICK_SPARSE];
    double dense_weight[QEMB_CLICK_DENSE];
    double mean[QEMB__CLICK_PARTS], gain[QEMB__CLICK_PARTS], bias;
    uint64_t seed;
    int32_t factor_dim;
    float *logs;
} qemb__click_model;

/* One generated row. */
typedef struct qemb__click_sample {
    qemb__click_row row;
    uint64_t missing; /* as qemb__click_print wants it */
    int32_t ids[QEMB_CLICK_SPARSE];
    double probability; /* of a click, given what the row shows */
} qemb__click_sample;

/* `signal` is the deviation of the logit. Draws a fixed sample of rows to scale the parts and to place the bias. */
qemb_status qemb__click_model_create(const int64_t num_embeddings[QEMB_CLICK_SPARSE], double alpha, double signal, int32_t factor_dim,
                                     uint64_t seed, qemb__click_model *model);
void qemb__click_model_destroy(qemb__click_model *model);

void qemb__click_model_sample(const qemb__click_model *model, int64_t row, qemb__click_sample *sample);

#endif
