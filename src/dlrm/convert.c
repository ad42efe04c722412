/* convert.c - see convert.h. */
#include "dlrm/convert.h"

#include <math.h>

enum { HISTOGRAM = 8192, GREEDY_STEPS = 200 };
static const double greedy_ratio = 0.16;

dlrm_conversion dlrm_conversion_of(const dlrm_config *c) {
    return c->method == DLRM_PTQ ? DLRM_CONVERT_ROW_MINMAX : c->method == DLRM_PTQ_GREEDY ? DLRM_CONVERT_ROW_GREEDY : DLRM_CONVERT_TRAINED;
}

/* ---- one range for a table ----------------------------------------------------------------------------------------------- */

/* Squared error of rounding the histogram's values to 2^bits levels of [low, high]. */
static double error_of(const double *weight, const double *value, int32_t bits, double low, double high) {
    const double most = (double)((1 << bits) - 1);
    const double scale = (high - low) / most;
    double error = 0.0;
    for (int k = 0; k < HISTOGRAM; k++) {
        const double code = fmin(fmax(nearbyint((value[k] - low) / scale), 0.0), most);
        const double off = low + scale * code - value[k];
        error += weight[k] * off * off;
    }
    return error;
}

qemb_status dlrm_greedy_range(const float *values, int64_t count, int32_t bits, float *low, float *high) {
    qemb_status st = QEMB_OK;
    double *weight = NULL;
    double *value = NULL;
    const double first = (double)*low;
    const double width = (double)*high - first;
    DLRM_NEW(weight, HISTOGRAM);
    DLRM_NEW(value, HISTOGRAM);
    if (!(width > 0.0)) {
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        const int k = (int)(((double)values[i] - first) / width * HISTOGRAM);
        weight[k < HISTOGRAM ? k : HISTOGRAM - 1] += 1.0;
    }
    for (int k = 0; k < HISTOGRAM; k++) {
        value[k] = first + width * (k + 0.5) / HISTOGRAM;
    }
    /* Whichever end hurts less moves inwards by a bin; the best of all ranges seen, until 84 % of the bins are gone. */
    const double bin = width / GREEDY_STEPS;
    double a = first;
    double b = first + width;
    double best = error_of(weight, value, bits, a, b);
    for (int step = 0; step < (int)((1.0 - greedy_ratio) * GREEDY_STEPS); step++) {
        const double left = error_of(weight, value, bits, a + bin, b);
        const double right = error_of(weight, value, bits, a, b - bin);
        *(left < right ? &a : &b) += left < right ? bin : -bin;
        if (fmin(left, right) < best) {
            best = fmin(left, right);
            *low = (float)a;
            *high = (float)b;
        }
    }
done:
    free(weight);
    free(value);
    return st;
}

static qemb_status range_of_table(dlrm_model *m, int32_t table, int32_t bits, bool greedy, float **ranges) {
    qemb_status st = QEMB_OK;
    float *values = NULL;
    float *pairs = NULL;
    float low = INFINITY;
    float high = -INFINITY;
    const int64_t rows = m->tables.rows[table];
    const int64_t count = rows * m->tables.dim;
    DLRM_TRY(dlrm_tables_read(&m->tables, table, &values));
    for (int64_t i = 0; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    if (greedy) {
        DLRM_TRY(dlrm_greedy_range(values, count, bits, &low, &high));
    }
    DLRM_NEW(pairs, 2 * rows);
    for (int64_t i = 0; i < rows; i++) {
        pairs[2 * i] = low;
        pairs[2 * i + 1] = high;
    }
    *ranges = pairs;
done:
    free(values);
    return st;
}

/* ---- conversion ---------------------------------------------------------------------------------------------------------- */

qemb_status dlrm_convert(dlrm_model *m, dlrm_conversion conversion, int32_t bits, int64_t *bytes) {
    static const qemb_pack_method methods[] = {QEMB_PACK_OBSERVER, QEMB_PACK_MINMAX, QEMB_PACK_GREEDY, QEMB_PACK_GIVEN, QEMB_PACK_GIVEN};
    qemb_status st = QEMB_OK;
    float *ranges[DLRM_MAX_TABLES] = {NULL};
    const float *given[DLRM_MAX_TABLES];
    qemb_packed_info info;
    qemb_packed_desc desc = {.format = dlrm_format(bits), .method = methods[conversion]};
    DLRM_REQUIRE(m->tables.bag, QEMB_ERR_STATE, "dlrm: the model has no trained tables to convert");
    for (int32_t i = 0; desc.method == QEMB_PACK_GIVEN && i < m->tables.count; i++) {
        DLRM_TRY(range_of_table(m, i, bits, conversion == DLRM_CONVERT_TABLE_GREEDY, &ranges[i]));
        given[i] = ranges[i];
    }
    desc.ranges = desc.method == QEMB_PACK_GIVEN ? given : NULL;
    qemb_packed_destroy(m->tables.packed);
    m->tables.packed = NULL;
    DLRM_LIB(qemb_packed_create(m->tables.bag, &desc, &m->tables.packed));
    DLRM_LIB(qemb_packed_get_info(m->tables.packed, &info));
    *bytes = info.bytes;
done:
    for (int32_t i = 0; i < DLRM_MAX_TABLES; i++) {
        free(ranges[i]);
    }
    return st;
}
