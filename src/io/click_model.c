/* click_model.c - see click_model.h. All arithmetic is integer or exact_math.h, in a fixed order. */
#include "io/click_model.h"

#include "base/checked.h"
#include "base/memory.h"
#include "io/exact_math.h"

enum { CALIBRATION_ROWS = 16384 };

/* Zipf-Mandelbrot's shift: the first few ids are about equally hot, as in Criteo's columns. */
static const double zipf_shift = 2.0;

/* Share of the logit's variance: counts, single categories, pairs of categories. */
static const double part_share[QEMB__CLICK_PARTS] = {0.25, 0.55, 0.20};

static const double click_rate = 0.256;

/* Missing values of a column in 1/1000, as in Criteo's log. */
static const uint16_t count_missing[QEMB_CLICK_DENSE] = {454, 0, 215, 217, 26, 224, 43, 1, 43, 454, 43, 765, 217};
static const uint16_t category_missing[QEMB_CLICK_SPARSE] = {0, 0, 34, 34, 0, 121, 0,   0,  0,   0, 0,  34,  0,
                                                             0, 0, 34, 0,  0, 440, 440, 34, 762, 0, 34, 440, 440};

/* Log-normal counts: mean and deviation of the logarithm. The second column goes below zero, as Criteo's does. */
static const double count_location[QEMB_CLICK_DENSE] = {0.8, 2.5, 2.0, 1.6, 7.5, 3.3, 1.8, 2.0, 3.8, -0.5, 0.7, -0.3, 1.6};
static const double count_spread[QEMB_CLICK_DENSE] = {1.0, 2.0, 1.3, 0.9, 2.2, 1.6, 1.4, 1.0, 1.3, 0.6, 0.9, 0.8, 1.0};

/* ------------------------------------------------------------------------------------------------------------------
 * Random words: a counter through a mixer (the finaliser of SplitMix64, variant 13 of Stafford's)
 * ---------------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static uint64_t word(uint64_t key, uint64_t counter) {
    return mix(key + counter * 0xD1342543DE82EF95u);
}

/* Uniform in (-sqrt 3, sqrt 3): mean 0, deviation 1. */
static double unit(uint64_t random, int part) {
    return ((double)(random >> (16 * part) & 0xFFFF) - 32767.5) * (1.7320508075688772 / 32768.0);
}

/* Nearly normal: the sum of four uniform numbers, deviation 1. */
static double bell(uint64_t random) {
    return 0.5 * (unit(random, 0) + unit(random, 1) + unit(random, 2) + unit(random, 3));
}

/* ------------------------------------------------------------------------------------------------------------------
 * Rows
 * ---------------------------------------------------------------------------------------------------------------- */

/* Rank to id: a permutation of [0, n) made of invertible steps on the next power of two, repeated until it falls inside. */
static uint32_t permute(const qemb__click_feature *f, uint32_t rank) {
    uint32_t n = (uint32_t)(f->num_embeddings - 1), x = rank;
    do {
        x = (x * ((uint32_t)f->key | 1u) + (uint32_t)(f->key >> 32)) & f->mask;
        x ^= x >> f->shift;
        x = (x * 0x9E3779B1u + (uint32_t)(f->key >> 16)) & f->mask;
        x ^= x >> f->shift;
    } while (x >= n);
    return x;
}

static void draw_categories(const qemb__click_model *m, uint64_t key, qemb__click_sample *s) {
    for (int i = 0; i < QEMB_CLICK_SPARSE; ++i) {
        const qemb__click_feature *f = &m->features[i];
        uint64_t missing = word(key, (uint64_t)i * 2 + 101) >> 32;
        s->ids[i] = 0;
        s->row.categories[i] = 0;
        if (f->num_embeddings < 2 || missing * 1000 >> 32 < category_missing[i]) {
            s->missing |= UINT64_C(1) << (1 + QEMB_CLICK_DENSE + i);
            continue;
        }
        uint32_t rank = qemb__zipf_rank(&f->zipf, word(key, (uint64_t)i * 2 + 100));
        uint32_t id = 1 + permute(f, rank);
        /* The written value is a hash that leaves the id behind when it is divided by the table's size. */
        uint64_t multiples = (UINT64_C(1) << 32) / (uint64_t)f->num_embeddings;
        uint64_t multiple = (word(f->key, id) >> 32) * multiples >> 32;
        s->ids[i] = (int32_t)id;
        s->row.categories[i] = (uint32_t)(id + multiple * (uint64_t)f->num_embeddings);
    }
}

static void draw_counts(uint64_t key, qemb__click_sample *s) {
    for (int i = 0; i < QEMB_CLICK_DENSE; ++i) {
        uint64_t missing = word(key, (uint64_t)i * 2 + 1) >> 32;
        s->row.counts[i] = 0;
        if (missing * 1000 >> 32 < count_missing[i]) {
            s->missing |= UINT64_C(1) << (1 + i);
            continue;
        }
        double value = qemb__exact_exp(count_location[i] + count_spread[i] * bell(word(key, (uint64_t)i * 2)));
        s->row.counts[i] = (int32_t)value - (i == 1 ? 2 : 0);
    }
}

/* The three parts of the logit, not yet scaled. */
static void measure(const qemb__click_model *m, const qemb__click_sample *s, double parts[QEMB__CLICK_PARTS]) {
    double sum[QEMB__CLICK_FACTORS] = {0}, own = 0.0, mains = 0.0, dense = 0.0;
    for (int i = 0; i < QEMB_CLICK_DENSE; ++i) {
        dense += m->dense_weight[i] * (double)qemb__click_dense(s->row.counts[i], QEMB_CLICK_LOG1P, m->logs);
    }
    for (int i = 0; i < QEMB_CLICK_SPARSE; ++i) {
        const qemb__click_feature *f = &m->features[i];
        uint64_t id = (uint64_t)s->ids[i], random[2];
        mains += f->main * unit(word(f->key ^ 0x5bd1e995u, id), 0);
        random[0] = word(f->key ^ 0x85ebca6bu, id);
        random[1] = mix(random[0]);
        for (int k = 0; k < m->factor_dim; ++k) {
            double v = f->pair * unit(random[k / 4], k % 4);
            sum[k] += v;
            own += v * v;
        }
    }
    /* sum over pairs of products = (square of the sum - sum of the squares) / 2 */
    double all = 0.0;
    for (int k = 0; k < m->factor_dim; ++k) {
        all += sum[k] * sum[k];
    }
    parts[0] = dense;
    parts[1] = mains;
    parts[2] = 0.5 * (all - own);
}

static double linear(const qemb__click_model *m, const double parts[QEMB__CLICK_PARTS]) {
    double logit = 0.0;
    for (int p = 0; p < QEMB__CLICK_PARTS; ++p) {
        logit += m->gain[p] * (parts[p] - m->mean[p]);
    }
    return logit;
}

static uint64_t draw(const qemb__click_model *m, int64_t row, qemb__click_sample *s, double parts[QEMB__CLICK_PARTS]) {
    uint64_t key = word(m->seed, (uint64_t)row);
    s->missing = 0;
    draw_counts(key, s);
    draw_categories(m, key, s);
    measure(m, s, parts);
    return key;
}

void qemb__click_model_sample(const qemb__click_model *m, int64_t row, qemb__click_sample *s) {
    double parts[QEMB__CLICK_PARTS];
    uint64_t key = draw(m, row, s, parts);
    s->probability = qemb__exact_sigmoid(m->bias + linear(m, parts));
    s->row.label = (double)(word(key, 999) >> 11) * 0x1p-53 < s->probability;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Life
 * ---------------------------------------------------------------------------------------------------------------- */

/* x > 0 */
static double root(double x) {
    return qemb__exact_exp(0.5 * qemb__exact_log(x));
}

/* Scales the parts to the wanted deviations and bisects the bias to the wanted click rate, over rows that no log contains. */
static qemb_status calibrate(qemb__click_model *m, double signal) {
    double sum[QEMB__CLICK_PARTS] = {0}, square[QEMB__CLICK_PARTS] = {0}, parts[QEMB__CLICK_PARTS];
    qemb__click_sample s;
    void *block = NULL;
    qemb_status st = qemb__calloc(CALIBRATION_ROWS, sizeof(double), &block);
    if (st != QEMB_OK) {
        return st;
    }
    double *logits = block;
    for (int64_t i = 0; i < CALIBRATION_ROWS; ++i) {
        (void)draw(m, -1 - i, &s, parts);
        for (int p = 0; p < QEMB__CLICK_PARTS; ++p) {
            sum[p] += parts[p];
            square[p] += parts[p] * parts[p];
        }
    }
    for (int p = 0; p < QEMB__CLICK_PARTS; ++p) {
        m->mean[p] = sum[p] / CALIBRATION_ROWS;
        double variance = square[p] / CALIBRATION_ROWS - m->mean[p] * m->mean[p];
        m->gain[p] = variance > 1e-12 ? signal * root(part_share[p] / variance) : 0.0;
    }
    for (int64_t i = 0; i < CALIBRATION_ROWS; ++i) {
        (void)draw(m, -1 - i, &s, parts);
        logits[i] = linear(m, parts);
    }
    double low = -30.0, high = 30.0;
    for (int step = 0; step < 40; ++step) {
        double rate = 0.0;
        m->bias = 0.5 * (low + high);
        for (int64_t i = 0; i < CALIBRATION_ROWS; ++i) {
            rate += qemb__exact_sigmoid(m->bias + logits[i]);
        }
        *(rate < click_rate * CALIBRATION_ROWS ? &low : &high) = m->bias;
    }
    qemb__free(logits);
    return QEMB_OK;
}

static qemb_status create_feature(qemb__click_model *m, int index, int64_t num_embeddings, double alpha) {
    qemb__click_feature *f = &m->features[index];
    int64_t n = qemb__max_i64(num_embeddings - 1, 1);
    uint32_t bits = 1;
    while ((INT64_C(1) << bits) < n) { /* 31 at the most */
        bits++;
    }
    f->num_embeddings = num_embeddings;
    f->key = word(m->seed, UINT64_C(0xF000000000000000) + (uint64_t)index);
    f->mask = (UINT32_C(1) << bits) - 1;
    f->shift = (bits + 1) / 2;
    /* Weights between 1/2 and 3/2: some columns matter more than others. */
    f->main = 1.0 + unit(mix(f->key), 0) / (2 * 1.7320508075688772);
    f->pair = 1.0 + unit(mix(f->key), 1) / (2 * 1.7320508075688772);
    return qemb__zipf_create(n, alpha, zipf_shift, &f->zipf);
}

qemb_status qemb__click_model_create(const int64_t num_embeddings[QEMB_CLICK_SPARSE], double alpha, double signal, int32_t factor_dim,
                                     uint64_t seed, qemb__click_model *model) {
    qemb__click_model m = {.seed = mix(seed), .factor_dim = factor_dim};
    void *block = NULL;
    qemb_status st = qemb__calloc(QEMB__CLICK_LOGS, sizeof *m.logs, &block);
    if (st == QEMB_OK) {
        m.logs = block;
        qemb__click_fill_logs(m.logs);
    }
    for (int i = 0; st == QEMB_OK && i < QEMB_CLICK_SPARSE; ++i) {
        st = create_feature(&m, i, num_embeddings[i], alpha);
    }
    for (int i = 0; i < QEMB_CLICK_DENSE; ++i) {
        m.dense_weight[i] = unit(word(m.seed, UINT64_C(0xE000000000000000) + (uint64_t)i), 0) / count_spread[i];
    }
    if (st == QEMB_OK) {
        st = calibrate(&m, signal);
    }
    if (st != QEMB_OK) {
        qemb__click_model_destroy(&m);
        return st;
    }
    *model = m;
    return QEMB_OK;
}

void qemb__click_model_destroy(qemb__click_model *m) {
    for (int i = 0; i < QEMB_CLICK_SPARSE; ++i) {
        qemb__zipf_destroy(&m->features[i].zipf);
    }
    qemb__free(m->logs);
    m->logs = NULL;
}
