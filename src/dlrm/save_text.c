/* save_text.c - see save_text.h. */
#include "dlrm/save_text.h"

#include <jansson.h>

static char *dump(json_t *o) {
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(o);
    return text;
}

static json_t *list(const int64_t *values, int count) {
    json_t *a = json_array();
    for (int i = 0; i < count; i++) {
        (void)json_array_append_new(a, json_integer(values[i]));
    }
    return a;
}

char *dlrm_config_text(const dlrm_config *c, const dlrm_data_desc *d) {
    return dump(json_pack("{s:o, s:I, s:o, s:o, s:i, s:i, s:i, s:b, s:f, s:I, s:I, s:{s:I, s:I, s:f, s:I, s:i}}", "rows",
                          list(c->rows, c->tables), "dim", (json_int_t)c->dim, "bottom", list(c->bottom, c->bottom_layers), "top",
                          list(c->top, c->top_layers), "interaction", (int)c->interaction, "bits", (int)c->bits, "method", (int)c->method,
                          "adagrad", (int)c->adagrad, "lr", c->lr, "batch", (json_int_t)c->batch, "seed", (json_int_t)c->seed, "data",
                          "planted", (json_int_t)d->synthetic, "test_rows", (json_int_t)d->test_rows, "scale", d->scale, "seed",
                          (json_int_t)d->seed, "ids", (int)d->ids));
}

char *dlrm_position_text(const dlrm_position *p, int64_t steps) {
    return dump(json_pack("{s:I, s:I, s:f, s:I}", "epoch", (json_int_t)p->epoch, "row", (json_int_t)p->row, "loss_sum", p->loss_sum,
                          "steps", (json_int_t)steps));
}

/* Whole numbers above 0 of an array of at most `most`; -1 when it is something else. */
static int numbers_of(const json_t *o, const char *name, int most, int64_t *values) {
    const json_t *a = json_object_get(o, name);
    const size_t count = json_array_size(a);
    if (!json_is_array(a) || count > (size_t)most) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_array_get(a, i);
        values[i] = json_is_integer(v) ? json_integer_value(v) : 0;
        if (values[i] < 1 || values[i] > INT32_MAX) {
            return -1;
        }
    }
    return (int)count;
}

static bool sensible(const dlrm_config *c, const dlrm_data_desc *d) {
    return c->tables > 0 && c->bottom_layers >= 0 && c->top_layers >= 0 && c->dim > 0 && c->dim <= 65536 && c->batch > 0 &&
           c->batch <= 1 << 20 && (c->bits == 32 || c->bits == 8 || c->bits == 4 || c->bits == 2) &&
           (uint32_t)c->method <= DLRM_PER_TABLE && (uint32_t)c->interaction <= DLRM_CAT && c->lr >= 0.0 && d->synthetic >= 0 &&
           d->test_rows >= 0 && d->scale >= 0.0 && d->scale <= 1.0 && (uint32_t)d->ids <= QEMB_CLICK_FIRST_SEEN;
}

qemb_status dlrm_config_parse(const char *path, const char *text, dlrm_config *c, dlrm_data_desc *d) {
    qemb_status st = QEMB_OK;
    json_error_t error;
    json_int_t dim = 0, batch = 0, seed = 0, planted = 0, test_rows = 0, data_seed = 0;
    int interaction = 0, bits = 0, method = 0, adagrad = 0, ids = 0;
    json_t *o = text ? json_loads(text, 0, &error) : NULL;
    DLRM_REQUIRE(o, QEMB_ERR_CORRUPT, "dlrm: %s: its text \"dlrm\" %s: no model of `qemb train`", path, text ? "is no JSON" : "is missing");
    *c = (dlrm_config){0};
    const int unpacked =
        json_unpack(o, "{s:I, s:i, s:i, s:i, s:b, s:F, s:I, s:I, s:{s:I, s:I, s:F, s:I, s:i}}", "dim", &dim, "interaction", &interaction,
                    "bits", &bits, "method", &method, "adagrad", &adagrad, "lr", &c->lr, "batch", &batch, "seed", &seed, "data", "planted",
                    &planted, "test_rows", &test_rows, "scale", &d->scale, "seed", &data_seed, "ids", &ids);
    c->tables = numbers_of(o, "rows", QEMB_CLICK_SPARSE, c->rows);
    c->bottom_layers = numbers_of(o, "bottom", DLRM_MAX_LAYERS - 1, c->bottom);
    c->top_layers = numbers_of(o, "top", DLRM_MAX_LAYERS - 1, c->top);
    c->dim = dim;
    c->batch = batch;
    c->seed = (uint64_t)seed;
    c->interaction = (dlrm_interaction)interaction;
    c->bits = bits;
    c->method = (dlrm_method)method;
    c->adagrad = adagrad != 0;
    d->synthetic = planted;
    d->test_rows = test_rows;
    d->seed = (uint64_t)data_seed;
    d->ids = (qemb_click_ids)ids;
    DLRM_REQUIRE(unpacked == 0 && sensible(c, d), QEMB_ERR_CORRUPT, "dlrm: %s: its text \"dlrm\" describes no model", path);
done:
    json_decref(o);
    return st;
}

qemb_status dlrm_position_parse(const char *path, const char *text, dlrm_position *p, int64_t *steps) {
    qemb_status st = QEMB_OK;
    json_error_t error;
    json_int_t epoch = -1, row = -1, done_steps = -1;
    double loss = 0.0;
    json_t *o = text ? json_loads(text, 0, &error) : NULL;
    const bool good =
        o && json_unpack(o, "{s:I, s:I, s:F, s:I}", "epoch", &epoch, "row", &row, "loss_sum", &loss, "steps", &done_steps) == 0;
    DLRM_REQUIRE(good && epoch >= 0 && row >= 0 && done_steps >= 0, QEMB_ERR_CORRUPT, "dlrm: %s: it does not say where training stands",
                 path);
    *p = (dlrm_position){.epoch = epoch, .row = row, .loss_sum = loss};
    *steps = done_steps;
done:
    json_decref(o);
    return st;
}
