/* click_generator.c - generated click logs: into arrays, into a file, and scored against their own truth. */
#include <qemb/qemb_io.h>

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/click_model.h"
#include "io/exact_math.h"
#include "io/file_writer.h"

enum { BINS = 65536, PROGRESS_ROWS = 4096 };

struct qemb_click_generator {
    qemb__click_model model;
    qemb_click_counts counts;
};

static const char who[] = "click_generator";

static qemb_status check_desc(const qemb_click_generator_desc *d, int64_t num_embeddings[QEMB_CLICK_SPARSE]) {
    qemb_status st = QEMB_OK;
    REQUIRE(d->scale >= 0 && d->scale <= 1, QEMB_ERR_RANGE, "%s_create: scale=%g, want 0 <= scale <= 1", who, d->scale);
    REQUIRE(d->alpha >= 0 && d->alpha <= 4, QEMB_ERR_RANGE, "%s_create: alpha=%g, want 0 <= alpha <= 4", who, d->alpha);
    REQUIRE(d->signal >= 0 && d->signal <= 10, QEMB_ERR_RANGE, "%s_create: signal=%g, want 0 <= signal <= 10", who, d->signal);
    REQUIRE(d->factor_dim >= 0 && d->factor_dim <= QEMB__CLICK_FACTORS, QEMB_ERR_RANGE, "%s_create: factor_dim=%d, want 0 .. %d", who,
            d->factor_dim, QEMB__CLICK_FACTORS);
    REQUIRE((uint32_t)d->counts <= QEMB_CLICK_RAW, QEMB_ERR_ARG, "%s_create: counts=%d is not of its list", who, (int)d->counts);
    qemb_click_cardinalities(d->scale, num_embeddings);
    for (int f = 0; d->num_embeddings && f < QEMB_CLICK_SPARSE; ++f) {
        num_embeddings[f] = d->num_embeddings[f];
        REQUIRE(num_embeddings[f] > 0 && num_embeddings[f] <= INT32_MAX, QEMB_ERR_RANGE, "%s_create: num_embeddings[%d]=%lld, want 1 .. %d",
                who, f, (long long)num_embeddings[f], INT32_MAX);
    }
done:
    return st;
}

qemb_status qemb_click_generator_create(const qemb_click_generator_desc *desc, qemb_click_generator **out) {
    qemb_status st = QEMB_OK;
    qemb_click_generator *g = NULL;
    void *block = NULL;
    int64_t num_embeddings[QEMB_CLICK_SPARSE];
    REQUIRE(desc && out, QEMB_ERR_ARG, "%s_create: %s is NULL", who, desc ? "generator" : "desc");
    TRY(check_desc(desc, num_embeddings));
    TRY(qemb__calloc(1, sizeof *g, &block));
    g = block;
    g->counts = desc->counts;
    TRY(qemb__click_model_create(num_embeddings, desc->alpha > 0 ? desc->alpha : 1.1, desc->signal > 0 ? desc->signal : 1.65,
                                 desc->factor_dim ? desc->factor_dim : 4, desc->seed, &g->model));
    *out = g;
    g = NULL;
done:
    qemb__free(g);
    return st;
}

void qemb_click_generator_destroy(qemb_click_generator *g) {
    if (g) {
        qemb__click_model_destroy(&g->model);
        qemb__free(g);
    }
}

void qemb_click_generator_cardinalities(const qemb_click_generator *g, int64_t cardinalities[QEMB_CLICK_SPARSE]) {
    for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
        cardinalities[f] = g ? g->model.features[f].num_embeddings : 0;
    }
}

static qemb_status check_rows(const qemb_click_generator *g, const char *verb, int64_t first_row, int64_t rows) {
    qemb_status st = QEMB_OK;
    int64_t end = 0;
    REQUIRE(g, QEMB_ERR_ARG, "%s_%s: generator is NULL", who, verb);
    REQUIRE(first_row >= 0 && rows >= 0 && qemb__add_i64(first_row, rows, &end), QEMB_ERR_RANGE,
            "%s_%s: first_row=%lld, rows=%lld, want both >= 0", who, verb, (long long)first_row, (long long)rows);
done:
    return st;
}

qemb_status qemb_click_generator_rows(const qemb_click_generator *g, int64_t first_row, int64_t rows, int32_t *ids, float *dense,
                                      float *labels, float *probabilities) {
    qemb_status st = QEMB_OK;
    qemb__click_sample s;
    TRY(check_rows(g, "rows", first_row, rows));
    REQUIRE(ids || rows == 0, QEMB_ERR_ARG, "%s_rows: ids is NULL", who);
    for (int64_t b = 0; b < rows; ++b) {
        qemb__click_model_sample(&g->model, first_row + b, &s);
        for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
            ids[f * rows + b] = s.ids[f];
        }
        for (int i = 0; dense && i < QEMB_CLICK_DENSE; ++i) {
            dense[b * QEMB_CLICK_DENSE + i] = qemb__click_dense(s.row.counts[i], g->counts, g->model.logs);
        }
        if (labels) {
            labels[b] = (float)s.row.label;
        }
        if (probabilities) {
            probabilities[b] = (float)s.probability;
        }
    }
done:
    return st;
}

/* ------------------------------------------------------------------------------------------------------------------
 * The score of the truth
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct tally {
    int64_t (*bins)[2]; /* rows by probability and label */
    double loss;
} tally;

static void count_row(tally *t, const qemb__click_sample *s) {
    int64_t bin = (int64_t)(s->probability * BINS);
    t->bins[qemb__min_i64(bin, BINS - 1)][s->row.label]++;
    t->loss -= qemb__exact_log(s->row.label ? s->probability : 1.0 - s->probability);
}

static void finish_tally(const tally *t, int64_t rows, qemb_click_report *report) {
    double below = 0.0, wins = 0.0;
    int64_t positives = 0;
    for (int64_t i = 0; i < BINS; ++i) {
        wins += (double)t->bins[i][1] * (below + 0.5 * (double)t->bins[i][0]);
        below += (double)t->bins[i][0];
        positives += t->bins[i][1];
    }
    double pairs = (double)positives * below;
    *report = (qemb_click_report){
        .rows = rows, .positives = positives, .auc = pairs > 0 ? wins / pairs : 0.5, .log_loss = rows > 0 ? t->loss / (double)rows : 0.0};
}

qemb_status qemb_click_generator_score(const qemb_click_generator *g, int64_t first_row, int64_t rows, qemb_click_report *report) {
    qemb_status st = QEMB_OK;
    qemb__click_sample s;
    tally t = {0};
    void *block = NULL;
    TRY(check_rows(g, "score", first_row, rows));
    REQUIRE(report, QEMB_ERR_ARG, "%s_score: report is NULL", who);
    TRY(qemb__calloc(BINS, sizeof *t.bins, &block));
    t.bins = block;
    for (int64_t b = 0; b < rows; ++b) {
        qemb__click_model_sample(&g->model, first_row + b, &s);
        count_row(&t, &s);
    }
    finish_tally(&t, rows, report);
done:
    qemb__free(block);
    return st;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Into a file
 * ---------------------------------------------------------------------------------------------------------------- */

qemb_status qemb_click_generator_write(const qemb_click_generator *g, const char *path, int64_t first_row, int64_t rows,
                                       qemb_progress progress, void *user, qemb_click_report *report) {
    qemb_status st = QEMB_OK;
    qemb__file_writer *writer = NULL;
    qemb__click_sample s;
    tally t = {0};
    void *block = NULL;
    char line[QEMB__CLICK_PRINT_BYTES];
    TRY(check_rows(g, "write", first_row, rows));
    TRY(qemb__calloc(BINS, sizeof *t.bins, &block));
    t.bins = block;
    TRY(qemb__file_writer_create("click_generator_write", path, &writer));
    for (int64_t b = 0; b < rows; ++b) {
        if (progress && b % PROGRESS_ROWS == 0) {
            REQUIRE(progress(user, b, rows), QEMB_ERR_STATE, "%s_write: %s: stopped after %lld rows, nothing is kept", who, path,
                    (long long)b);
        }
        qemb__click_model_sample(&g->model, first_row + b, &s);
        count_row(&t, &s);
        TRY(qemb__file_writer_append(writer, line, qemb__click_print(&s.row, s.missing, line)));
    }
    int64_t bytes = qemb__file_writer_size(writer);
    TRY(qemb__file_writer_commit(writer));
    if (progress) {
        (void)progress(user, rows, rows);
    }
    if (report) {
        finish_tally(&t, rows, report);
        report->bytes = bytes;
    }
done:
    qemb__file_writer_destroy(writer);
    qemb__free(block);
    return st;
}
