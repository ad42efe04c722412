/* inspect_figures.c - ranges, a histogram and the errors of packing, from a sample of rows. */
#include "inspect.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCKS = 64, SAMPLE_FLOATS = 1 << 22, ERROR_FLOATS = 1 << 19 };

/* Block k of the rows that are looked at. */
typedef struct sample {
    int64_t blocks, block_rows, rows;
} sample;

static sample sample_of(int64_t rows, int64_t dim, int64_t floats) {
    const int64_t wanted = floats / dim > 1 ? floats / dim : 1;
    if (rows <= wanted) {
        return (sample){1, rows, rows};
    }
    const int64_t blocks = wanted < BLOCKS ? wanted : BLOCKS;
    return (sample){blocks, wanted / blocks, rows};
}

static int64_t block_start(const sample *s, int64_t k) {
    return s->blocks > 1 ? (int64_t)((double)(s->rows - s->block_rows) * (double)k / (double)(s->blocks - 1)) : 0;
}

/* One row into the figures; false if it is not finite. */
static bool take_row(const float *row, int64_t dim, inspect_figures *f, double *squares) {
    double low = (double)row[0];
    double high = low;
    double sum = 0.0;
    for (int64_t c = 0; c < dim; c++) {
        const double x = (double)row[c];
        if (!isfinite(x)) {
            return false;
        }
        low = x < low ? x : low;
        high = x > high ? x : high;
        sum += x * x;
    }
    f->low = low < f->low ? low : f->low;
    f->high = high > f->high ? high : f->high;
    f->mean_range += high - low;
    f->max_range = high - low > f->max_range ? high - low : f->max_range;
    f->constant += high == low;
    *squares += sum;
    return true;
}

static void fill_bins(const float *values, int64_t count, inspect_figures *f) {
    const double width = (f->high - f->low) / INSPECT_BINS;
    for (int64_t i = 0; i < count; i++) {
        const double x = (double)values[i];
        if (isfinite(x)) {
            const int bin = width > 0.0 ? (int)((x - f->low) / width) : 0;
            f->bins[bin < 0 ? 0 : bin >= INSPECT_BINS ? INSPECT_BINS - 1 : bin]++;
        }
    }
}

qemb_status inspect_rows(int64_t rows, int64_t dim, inspect_reader read, void *user, inspect_figures *f) {
    const sample s = sample_of(rows, dim, SAMPLE_FLOATS);
    float *values = malloc((size_t)(s.block_rows * dim) * sizeof(float) + 1);
    qemb_status st = values ? QEMB_OK : QEMB_ERR_NOMEM;
    double squares = 0.0;
    *f = (inspect_figures){.rows = rows, .low = INFINITY, .high = -INFINITY};
    for (int pass = 0; pass < 2 && st == QEMB_OK; pass++) { /* the histogram needs the ends first */
        for (int64_t k = 0; k < s.blocks && st == QEMB_OK; k++) {
            st = read(user, block_start(&s, k), s.block_rows, values);
            for (int64_t r = 0; st == QEMB_OK && pass == 0 && r < s.block_rows; r++) {
                const bool good = take_row(values + r * dim, dim, f, &squares);
                f->seen += good;
                f->nonfinite += !good;
            }
            if (st == QEMB_OK && pass == 1) {
                fill_bins(values, s.block_rows * dim, f);
            }
        }
    }
    if (f->seen) {
        f->mean_range /= (double)f->seen;
        f->signal = sqrt(squares / (double)(f->seen * dim));
    } else {
        f->low = f->high = 0.0;
    }
    free(values);
    return st;
}

/* Sum of squared errors of a block under one width. */
static qemb_status block_error(qemb_context *ctx, const float *values, int64_t rows, int64_t dim, int32_t bits, double *sum) {
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    float *back = malloc((size_t)(rows * dim) * sizeof(float) + 1);
    const qemb_packed_desc desc = {.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = bits}, .method = QEMB_PACK_MINMAX};
    qemb_status st = back ? QEMB_OK : QEMB_ERR_NOMEM;
    if (st == QEMB_OK) {
        st = qemb_embedding_bag_create(
            ctx,
            &(qemb_embedding_bag_desc){.num_embeddings = rows, .embedding_dim = dim, .qconfig = qemb_qconfig_float(), .weight = values},
            &bag);
    }
    if (st == QEMB_OK && (st = qemb_packed_create(bag, &desc, &packed)) == QEMB_OK &&
        (st = qemb_packed_unpack(packed, 0, 0, rows, back)) == QEMB_OK) {
        for (int64_t i = 0; i < rows * dim; i++) {
            const double e = (double)back[i] - (double)values[i];
            *sum += e * e;
        }
    }
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
    free(back);
    return st;
}

qemb_status inspect_errors(qemb_context *ctx, int64_t rows, int64_t dim, inspect_reader read, void *user, inspect_figures *f) {
    static const int32_t widths[INSPECT_WIDTHS] = {8, 4, 2};
    const sample s = sample_of(rows, dim, ERROR_FLOATS);
    float *values = malloc((size_t)(s.block_rows * dim) * sizeof(float) + 1);
    qemb_status st = values ? QEMB_OK : QEMB_ERR_NOMEM;
    for (int64_t k = 0; k < s.blocks && st == QEMB_OK; k++) {
        st = read(user, block_start(&s, k), s.block_rows, values);
        for (int w = 0; w < INSPECT_WIDTHS && st == QEMB_OK; w++) {
            st = block_error(ctx, values, s.block_rows, dim, widths[w], &f->error[w]);
        }
    }
    for (int w = 0; w < INSPECT_WIDTHS; w++) {
        f->error[w] = sqrt(f->error[w] / (double)(s.blocks * s.block_rows * dim));
    }
    free(values);
    return st;
}
