/* gradients.c - gradients of the twin (double.h) against central differences, to 1e-9 relative, away from kinks.
 *
 * The loss is sum(out * g). It is linear in the per-sample weights, in the table with sum, mean and none, and piecewise linear with max,
 * whose table has a gap of 1/64 between any two values: a step of 1/256 crosses no kink, and a difference has only the rounding of
 * its two losses, about 1e-14. With fake quantisation the rows are what the forward gives, so the weights' gradient is checked as well. */
#include <criterion/criterion.h>

#include "core/ops.h"

/* The twin has no devices. */
qemb_status qemb__opencl_open(qemb_context *ctx, const char *selector) {
    (void)ctx;
    (void)selector;
    return QEMB_ERR_DEVICE;
}

qemb_status qemb__opencl_devices(qemb_device_visitor visit, void *user) {
    (void)visit;
    (void)user;
    return QEMB_OK;
}

enum { ROWS = 7, DIM = 5, BAGS = 6, LOOKUPS = 23, NONE = 3 };

static const double tolerance = 1e-9;
static const double step = 0x1p-8;
static const int32_t ids[LOOKUPS] = {3, 0, 6, 3, 2, 5, 5, 5, 1, 3, 6, 2, 2, 0, 5, 3, 5, 6, 2, 0, 0, 6, 5};
static const int32_t offsets[BAGS] = {0, 5, 5, 11, 12, 20}; /* an empty bag, a bag of one lookup */

typedef struct twin_case {
    int32_t mode;
    bool weighted, freq, padding, fake_quant;
    double norm_type; /* 0: no max_norm; only with fake quantisation, where it leaves the table alone */
} twin_case;

static const twin_case cases[] = {
    {QEMB_MODE_SUM, .weighted = false},
    {QEMB_MODE_SUM, .weighted = true},
    {QEMB_MODE_SUM, .weighted = true, .padding = true},
    {QEMB_MODE_SUM, .weighted = true, .freq = true},
    {QEMB_MODE_MEAN, .padding = true},
    {QEMB_MODE_MEAN, .freq = true, .padding = true},
    {QEMB_MODE_MAX, .padding = true},
    {QEMB_MODE_MAX, .weighted = false},
    {NONE, .padding = true},
    {NONE, .freq = true},
    {QEMB_MODE_SUM, .weighted = true, .fake_quant = true},
    {QEMB_MODE_SUM, .weighted = true, .fake_quant = true, .padding = true, .norm_type = 2.0},
    {QEMB_MODE_SUM, .weighted = true, .fake_quant = true, .norm_type = 3.5},
    {QEMB_MODE_SUM, .weighted = true, .fake_quant = true, .norm_type = INFINITY},
};
enum { NUM_CASES = sizeof cases / sizeof *cases };

typedef struct twin {
    const twin_case *what;
    qemb_context *ctx;
    qemb_embedding *embedding;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *out, *grad;
    double w[ROWS * DIM], psw[LOOKUPS], g[LOOKUPS * DIM];
    int64_t out_rows;
    double worst; /* relative error */
    int64_t compared;
} twin;

static void ok(qemb_status st) {
    cr_assert_eq(st, QEMB_OK, "%s: %s", qemb_status_name(st), qemb_last_error());
}

static double noise(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(*state >> 11) * 0x1p-52 - 1.0;
}

static void open_twin(twin *t, const twin_case *what) {
    uint64_t state = 17;
    const qemb_qconfig quantised = {.quant_max = 15, .arithmetic = QEMB_ARITHMETIC_TORCH_CPU};
    *t = (twin){.what = what};
    for (int i = 0; i < ROWS * DIM; i++) {
        t->w[i] = (double)(i * 13 % (ROWS * DIM) - 17) / 64.0; /* all different */
    }
    for (int i = 0; i < LOOKUPS; i++) {
        t->psw[i] = noise(&state);
    }
    for (int i = 0; i < LOOKUPS * DIM; i++) {
        t->g[i] = noise(&state);
    }
    const bool has_norm = what->norm_type != 0.0;
    const qemb_embedding_bag_desc d = {.num_embeddings = ROWS,
                                       .embedding_dim = DIM,
                                       .has_padding_idx = what->padding,
                                       .padding_idx = what->padding ? 2 : 0,
                                       .has_max_norm = has_norm,
                                       .max_norm = has_norm ? 0.3 : 0.0,
                                       .norm_type = what->norm_type,
                                       .qconfig = what->fake_quant ? quantised : qemb_qconfig_float(),
                                       .weight = t->w,
                                       .mode = (qemb_mode)what->mode,
                                       .scale_grad_by_freq = what->freq};
    ok(qemb_context_create("reference", &t->ctx));
    if (what->mode == NONE) {
        ok(qemb_embedding_create(t->ctx,
                                 &(qemb_embedding_desc){.num_embeddings = ROWS,
                                                        .embedding_dim = DIM,
                                                        .has_padding_idx = d.has_padding_idx,
                                                        .padding_idx = d.padding_idx,
                                                        .qconfig = d.qconfig,
                                                        .weight = t->w,
                                                        .scale_grad_by_freq = d.scale_grad_by_freq},
                                 &t->embedding));
        t->bag = qemb_embedding_as_bag(t->embedding);
    } else {
        ok(qemb_embedding_bag_create(t->ctx, &d, &t->bag));
    }
    t->out_rows = what->mode == NONE ? LOOKUPS : BAGS;
    ok(qemb_batch_create(t->ctx, &t->batch));
    ok(qemb_buffer_create(t->ctx, (size_t)(t->out_rows * DIM) * sizeof(double), &t->out));
    ok(qemb_buffer_create(t->ctx, (size_t)(t->out_rows * DIM) * sizeof(double), &t->grad));
    ok(qemb_buffer_write(t->grad, 0, (size_t)(t->out_rows * DIM) * sizeof(double), t->g));
}

static void close_twin(twin *t) {
    qemb_buffer_destroy(t->out);
    qemb_buffer_destroy(t->grad);
    qemb_batch_destroy(t->batch);
    if (t->embedding) {
        qemb_embedding_destroy(t->embedding);
    } else {
        qemb_embedding_bag_destroy(t->bag);
    }
    qemb_context_destroy(t->ctx);
}

static double loss(twin *t) {
    double out[LOOKUPS * DIM];
    double sum = 0.0;
    const bool pooled = t->what->mode != NONE;
    ok(qemb_batch_set(t->batch, t->bag,
                      &(qemb_input){.indices = ids,
                                    .num_indices = LOOKUPS,
                                    .indices_dtype = QEMB_INT32,
                                    .offsets = pooled ? offsets : NULL,
                                    .num_offsets = pooled ? BAGS : 0,
                                    .per_sample_weights = t->what->weighted ? t->psw : NULL,
                                    .num_per_sample_weights = t->what->weighted ? LOOKUPS : 0}));
    ok(pooled ? qemb_embedding_bag_forward(t->bag, t->batch, t->out) : qemb_embedding_forward(t->embedding, t->batch, t->out));
    ok(qemb_buffer_read(t->out, 0, (size_t)(t->out_rows * DIM) * sizeof(double), out));
    for (int64_t i = 0; i < t->out_rows * DIM; i++) {
        sum += out[i] * t->g[i];
    }
    return sum;
}

static double table_difference(twin *t, int i) {
    double moved = t->w[i] + step;
    ok(qemb_embedding_bag_write_weight(t->bag, 0, i / DIM, 1, t->w + i / DIM * DIM));
    double row[DIM];
    memcpy(row, t->w + i / DIM * DIM, sizeof row);
    row[i % DIM] = moved;
    ok(qemb_embedding_bag_write_weight(t->bag, 0, i / DIM, 1, row));
    const double above = loss(t);
    moved = t->w[i] - step;
    row[i % DIM] = moved;
    ok(qemb_embedding_bag_write_weight(t->bag, 0, i / DIM, 1, row));
    const double below = loss(t);
    ok(qemb_embedding_bag_write_weight(t->bag, 0, i / DIM, 1, t->w + i / DIM * DIM));
    return (above - below) / (2.0 * step);
}

static double weight_difference(twin *t, int i) {
    const double kept = t->psw[i];
    t->psw[i] = kept + step;
    const double above = loss(t);
    t->psw[i] = kept - step;
    const double below = loss(t);
    t->psw[i] = kept;
    return (above - below) / (2.0 * step);
}

/* scale_grad_by_freq is no derivative: it divides one by the lookups of the row. */
static double count_of(const twin *t, int row) {
    double count = 0.0;
    for (int i = 0; i < LOOKUPS && t->what->freq; i++) {
        count += ids[i] == row;
    }
    return count > 0.0 ? count : 1.0;
}

static void compare(twin *t, const char *what, int i, double got, double want) {
    const double size = fabs(want) > 1.0 ? fabs(want) : 1.0;
    const double error = fabs(got - want) / size;
    t->worst = error > t->worst ? error : t->worst;
    t->compared++;
    cr_assert(error <= tolerance, "case %d: %s %d: gradient %.17g, difference %.17g", (int)(t->what - cases), what, i, got, want);
}

static void check_case(twin *t) {
    const bool weighted = t->what->weighted;
    double dense[ROWS * DIM];
    double psw[LOOKUPS];
    qemb_buffer *to_dense = NULL;
    qemb_buffer *to_psw = NULL;
    ok(qemb_buffer_create(t->ctx, sizeof dense, &to_dense));
    ok(qemb_buffer_create(t->ctx, sizeof psw, &to_psw));
    (void)loss(t);
    ok(qemb_embedding_bag_backward(t->bag, t->batch, t->grad,
                                   &(qemb_gradients){.dense = to_dense, .per_sample_weights = weighted ? to_psw : NULL}));
    ok(qemb_buffer_read(to_dense, 0, sizeof dense, dense));
    ok(qemb_buffer_read(to_psw, 0, sizeof psw, psw));
    for (int i = 0; i < ROWS * DIM && !t->what->fake_quant; i++) {
        const bool pads = t->what->padding && i / DIM == 2;
        const double want = pads ? 0.0 : table_difference(t, i) / count_of(t, i / DIM);
        compare(t, "element", i, dense[i], want);
    }
    for (int i = 0; i < LOOKUPS && weighted; i++) {
        compare(t, "weight", i, psw[i], weight_difference(t, i));
    }
    qemb_buffer_destroy(to_dense);
    qemb_buffer_destroy(to_psw);
}

static void report(double worst, int64_t compared) {
    const char *path = getenv("QEMB_SCOREBOARD");
    FILE *file = path && *path ? fopen(path, "a") : NULL;
    if (file) {
        (void)fprintf(file, "R13\t%.2g relative, %lld elements\t%s\tcentral differences of the reference engine in double\n", worst,
                      (long long)compared, worst <= tolerance ? "ok" : "red");
        (void)fclose(file);
    }
}

Test(twin, gradients,
     .description = "bag_backward: the reference engine in double, gradients equal central differences to 1e-9 in every mode") {
    double worst = 0.0;
    int64_t compared = 0;
    for (int k = 0; k < NUM_CASES; k++) {
        twin t;
        open_twin(&t, &cases[k]);
        check_case(&t);
        worst = t.worst > worst ? t.worst : worst;
        compared += t.compared;
        close_twin(&t);
    }
    report(worst, compared);
    cr_assert_gt(compared, 500);
}
