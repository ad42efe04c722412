/* test_embedding_bag.c - the two modules: what constructors refuse, what they make, shared weights, rows in and out, switches. */
#include <criterion/criterion.h>

#include "support_bag.h"
#include "support_ok.h"

static const bag_engine engines[] = {{"reference", "reference", NULL, NULL, NULL}, {"PoCL pthread", "pthread", NULL, NULL, NULL}};
enum { NUM_ENGINES = sizeof engines / sizeof *engines, ROWS = 9, DIM = 5 };

/* ---- constructors ----------------------------------------------------------------------------------------------------------- */

#define SIZE .num_embeddings = ROWS, .embedding_dim = DIM
#define Q8   .qconfig = {.quant_max = 255}
typedef struct refusal {
    qemb_embedding_bag_desc desc;
    qemb_status want;
    const char *says;
} refusal;

static const float some_weight[ROWS * DIM] = {1.0f};

static const refusal refusals[] = {
    {{.embedding_dim = DIM, Q8}, QEMB_ERR_SHAPE, "num_embeddings=0"},
    {{.num_embeddings = -1, .embedding_dim = DIM, Q8}, QEMB_ERR_SHAPE, "num_embeddings=-1"},
    {{.num_embeddings = ROWS, Q8}, QEMB_ERR_SHAPE, "embedding_dim=0"},
    {{.num_embeddings = ROWS, .embedding_dim = -4, Q8}, QEMB_ERR_SHAPE, "embedding_dim=-4"},
    {{.num_embeddings = ROWS, .embedding_dim = (1 << 20) + 1, Q8}, QEMB_ERR_SHAPE, "embedding_dim=1048577"},
    {{.num_embeddings = INT64_MAX, .embedding_dim = 2, Q8}, QEMB_ERR_OVERFLOW, "63 bits"},
    {{.num_embeddings = (int64_t)1 << 60, .embedding_dim = 8, Q8}, QEMB_ERR_OVERFLOW, "63 bits"},
    {{SIZE, Q8, .dtype = QEMB_FLOAT16}, QEMB_ERR_UNSUPPORTED, "dtype"},
    {{SIZE, Q8, .dtype = QEMB_BFLOAT16}, QEMB_ERR_UNSUPPORTED, "dtype"},
    {{SIZE, Q8, .dtype = QEMB_FLOAT64}, QEMB_ERR_UNSUPPORTED, "dtype"},
    {{SIZE, Q8, .dtype = QEMB_INT64}, QEMB_ERR_UNSUPPORTED, "dtype"},
    {{SIZE, Q8, .has_padding_idx = true, .padding_idx = ROWS}, QEMB_ERR_RANGE, "padding_idx=9"},
    {{SIZE, Q8, .has_padding_idx = true, .padding_idx = -ROWS - 1}, QEMB_ERR_RANGE, "padding_idx=-10"},
    {{SIZE, Q8, .has_padding_idx = true, .padding_idx = INT64_MIN}, QEMB_ERR_RANGE, "padding_idx"},
    {{SIZE, Q8, .padding_idx = 3}, QEMB_ERR_ARG, "has_padding_idx"},
    {{SIZE, Q8, .has_max_norm = true, .max_norm = -1.0f}, QEMB_ERR_RANGE, "max_norm=-1"},
    {{SIZE, Q8, .has_max_norm = true, .max_norm = NAN}, QEMB_ERR_RANGE, "max_norm="},
    {{SIZE, Q8, .has_max_norm = true, .max_norm = INFINITY}, QEMB_ERR_RANGE, "max_norm=inf"},
    {{SIZE, Q8, .max_norm = 2.0f}, QEMB_ERR_ARG, "has_max_norm"},
    {{SIZE, Q8, .has_max_norm = true, .max_norm = 1.0f, .norm_type = -2.0f}, QEMB_ERR_RANGE, "norm_type=-2"},
    {{SIZE, Q8, .has_max_norm = true, .max_norm = 1.0f, .norm_type = -0.0f}, QEMB_ERR_RANGE, "norm_type=-0"},
    {{SIZE, Q8, .has_max_norm = true, .max_norm = 1.0f, .norm_type = NAN}, QEMB_ERR_RANGE, "norm_type="},
    {{SIZE, Q8, .mode = (qemb_mode)3}, QEMB_ERR_ARG, "mode=3"},
    {{SIZE, Q8, .mode = (qemb_mode)-1}, QEMB_ERR_ARG, "mode=-1"},
    {{SIZE, Q8, .mode = QEMB_MODE_MAX, .scale_grad_by_freq = true}, QEMB_ERR_UNSUPPORTED, "scale_grad_by_freq"},
    {{SIZE, Q8, .mode = QEMB_MODE_MAX, .sparse = true}, QEMB_ERR_UNSUPPORTED, "sparse"},
    {{SIZE}, QEMB_ERR_RANGE, "quant_min=quant_max=0"},
    {{SIZE, .qconfig = {.quant_min = 15}}, QEMB_ERR_RANGE, "quant_min=15"},
    {{SIZE, .qconfig = {.quant_min = 1, .quant_max = 255}}, QEMB_ERR_RANGE, "0 between"},
    {{SIZE, .qconfig = {.quant_min = -128, .quant_max = -1}}, QEMB_ERR_RANGE, "0 between"},
    {{SIZE, .qconfig = {.quant_max = 256}}, QEMB_ERR_RANGE, "quant_max=256"},
    {{SIZE, .qconfig = {.quant_min = -1, .quant_max = 128}}, QEMB_ERR_RANGE, "quant_max=128"},
    {{SIZE, .qconfig = {.quant_min = -129, .quant_max = 127}}, QEMB_ERR_RANGE, "quant_min=-129"},
    {{SIZE, .qconfig = {.quant_max = 255, .observer = (qemb_observer)3}}, QEMB_ERR_ARG, "observer=3"},
    {{SIZE, .qconfig = {.quant_max = 255, .arithmetic = (qemb_arithmetic)3}}, QEMB_ERR_ARG, "arithmetic=3"},
    {{SIZE, .qconfig = {.quant_max = 255, .layout = (qemb_layout)4}}, QEMB_ERR_ARG, "layout=4"},
    {{SIZE, .qconfig = {.quant_max = 255, .averaging_constant = 1.5f}}, QEMB_ERR_RANGE, "averaging_constant=1.5"},
    {{SIZE, .qconfig = {.quant_max = 255, .averaging_constant = -0.5f}}, QEMB_ERR_RANGE, "averaging_constant=-0.5"},
    {{SIZE, .qconfig = {.quant_max = 255, .averaging_constant = -0.0f}}, QEMB_ERR_RANGE, "averaging_constant=-0"},
    {{SIZE, .qconfig = {.quant_max = 255, .averaging_constant = NAN}}, QEMB_ERR_RANGE, "averaging_constant="},
    {{SIZE, .qconfig = {.quant_max = 255, .eps = -1.0f}}, QEMB_ERR_RANGE, "eps=-1"},
    {{SIZE, .qconfig = {.quant_max = 255, .eps = INFINITY}}, QEMB_ERR_RANGE, "eps=inf"},
    {{SIZE, .qconfig = {.quant_max = 255, .eps = NAN}}, QEMB_ERR_RANGE, "eps="},
    {{SIZE, .qconfig = {.quant_min = -8, .quant_max = 7, .arithmetic = QEMB_ARITHMETIC_PACKED}}, QEMB_ERR_RANGE, "packed"},
    {{SIZE, .qconfig = {.quant_max = 100, .arithmetic = QEMB_ARITHMETIC_PACKED}}, QEMB_ERR_RANGE, "packed"},
};

Test(embedding_bag, refused,
     .description = "embedding_bag: constructor arguments that make no sense, their status and a sentence with the value") {
    qemb_context *ctx = bag_context(&engines[0]);
    for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++) {
        const refusal *r = &refusals[k];
        qemb_embedding_bag *bag = NULL;
        const qemb_status st = qemb_embedding_bag_create(ctx, &r->desc, &bag);
        cr_assert_eq(st, r->want, "case %d gives %s: %s", (int)k, qemb_status_name(st), st ? qemb_last_error() : "");
        cr_assert(strstr(qemb_last_error(), "embedding_bag_create") && strstr(qemb_last_error(), r->says), "case %d says: %s", (int)k,
                  qemb_last_error());
        cr_assert_null(bag);
    }
    qemb_context_destroy(ctx);
}

Test(embedding_bag, refused_weights,
     .description = "embedding_bag: two weights at once, a buffer too small or of another context, NULL: a status") {
    qemb_context *ctx = bag_context(&engines[0]);
    qemb_context *other = bag_context(&engines[0]);
    qemb_embedding_bag *bag = NULL;
    qemb_embedding *embedding = NULL;
    qemb_buffer *small = NULL;
    qemb_buffer *foreign = NULL;
    OK(qemb_buffer_create(ctx, ROWS * DIM * sizeof(float) - 1, &small));
    OK(qemb_buffer_create(other, ROWS * DIM * sizeof(float), &foreign));
    const qemb_embedding_bag_desc good = {SIZE, Q8};
    qemb_embedding_bag_desc d = good;
    d.weight_buffer = small;
    cr_assert_eq(qemb_embedding_bag_create(ctx, &d, &bag), QEMB_ERR_SHAPE);
    d.weight_buffer = foreign;
    cr_assert_eq(qemb_embedding_bag_create(ctx, &d, &bag), QEMB_ERR_ARG);
    d.weight_buffer = small;
    d.weight = some_weight;
    cr_assert_eq(qemb_embedding_bag_create(ctx, &d, &bag), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_bag_create(NULL, &good, &bag), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_bag_create(ctx, NULL, &bag), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_bag_create(ctx, &good, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_create(ctx, NULL, &embedding), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_create(ctx, &(qemb_embedding_desc){SIZE, Q8}, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_embedding_create(ctx, &(qemb_embedding_desc){SIZE}, &embedding), QEMB_ERR_RANGE);
    cr_assert_null(bag);
    cr_assert_null(embedding);
    qemb_buffer_destroy(small);
    qemb_buffer_destroy(foreign);
    qemb_context_destroy(ctx);
    qemb_context_destroy(other);
}

Test(embedding_bag, refused_collections,
     .description = "embedding_bag: collections without tables, with a feature of no table, or with a bad table: a status") {
    qemb_context *ctx = bag_context(&engines[0]);
    qemb_embedding_bag *bag = NULL;
    const qemb_table_desc tables[] = {{SIZE, Q8}, {SIZE, Q8, .dtype = QEMB_FLOAT16}};
    static const int32_t wrong[] = {0, 1};
    static const int32_t below[] = {-1};
    const struct {
        qemb_collection_desc d;
        qemb_status want;
    } cases[] = {
        {{.tables = NULL, .num_tables = 1}, QEMB_ERR_ARG},
        {{.tables = tables, .num_tables = 0}, QEMB_ERR_SHAPE},
        {{.tables = tables, .num_tables = -1}, QEMB_ERR_SHAPE},
        {{.tables = tables, .num_tables = 1, .num_features = 2}, QEMB_ERR_SHAPE},
        {{.tables = tables, .num_tables = 1, .feature_table = wrong, .num_features = 2}, QEMB_ERR_INDEX},
        {{.tables = tables, .num_tables = 1, .feature_table = below, .num_features = 1}, QEMB_ERR_INDEX},
        {{.tables = tables, .num_tables = 1, .feature_table = wrong}, QEMB_ERR_SHAPE},
        {{.tables = tables, .num_tables = 2}, QEMB_ERR_UNSUPPORTED},
        {{.tables = tables, .num_tables = 1, .options = {.mode = (qemb_mode)9}}, QEMB_ERR_ARG},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        cr_assert_eq(qemb_embedding_bag_collection_create(ctx, &cases[k].d, &bag), cases[k].want, "case %d: %s", (int)k, qemb_last_error());
        cr_assert_null(bag);
    }
    cr_assert_eq(qemb_embedding_bag_collection_create(ctx, NULL, &bag), QEMB_ERR_ARG);
    qemb_context_destroy(ctx);
}

/* ---- what is made ------------------------------------------------------------------------------------------------------------- */

Test(embedding_bag, initial_weight,
     .description = "embedding_bag: no weight given, N(0,1) from the seed with a zero padding row; the same on every engine") {
    enum { MANY = 4001, WIDE = 25 };
    float *first = NULL;
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context *ctx = bag_context(&engines[e]);
        qemb_embedding_bag *bag = NULL;
        float *w = malloc((size_t)MANY * WIDE * sizeof *w);
        double sum = 0.0;
        double squares = 0.0;
        OK(qemb_embedding_bag_create(
            ctx,
            &(qemb_embedding_bag_desc){
                .num_embeddings = MANY, .embedding_dim = WIDE, Q8, .has_padding_idx = true, .padding_idx = -2, .seed = 11},
            &bag));
        OK(qemb_embedding_bag_read_weight(bag, 0, 0, MANY, w));
        for (int i = 0; i < MANY * WIDE; i++) {
            sum += (double)w[i];
            squares += (double)w[i] * (double)w[i];
            cr_assert_eq(w[i] == 0.0f, i / WIDE == MANY - 2, "element %d", i);
        }
        cr_assert_lt(fabs(sum / (MANY * WIDE)), 0.02); /* five standard errors are 0.016 */
        cr_assert_lt(fabs(squares / (MANY * WIDE) - 1.0), 0.03);
        cr_assert(!first || memcmp(first, w, (size_t)MANY * WIDE * sizeof *w) == 0);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
        free(first);
        first = w;
    }
    free(first);
}

Test(embedding_bag, given_weight,
     .description = "embedding_bag: a weight given, kept as it is, the padding row too; info and table as created") {
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context *ctx = bag_context(&engines[e]);
        qemb_embedding_bag *bag = NULL;
        qemb_bag_info info;
        qemb_table_desc table;
        float w[ROWS * DIM];
        float got[ROWS * DIM];
        for (int i = 0; i < ROWS * DIM; i++) {
            w[i] = (float)i + 0.25f;
        }
        OK(qemb_embedding_bag_create(ctx,
                                     &(qemb_embedding_bag_desc){SIZE, .qconfig = qemb_qconfig_4bit(), .has_padding_idx = true,
                                                                .padding_idx = -1, .weight = w, .has_max_norm = true, .max_norm = 1e9f,
                                                                .norm_type = 3.0f, .name = "movies", .include_last_offset = true},
                                     &bag));
        OK(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, got));
        cr_assert_arr_eq(w, got, sizeof w);
        OK(qemb_embedding_bag_info(bag, &info));
        cr_assert(info.num_tables == 1 && info.num_features == 1 && info.output_dim == DIM && info.pooled && info.forwards == 0);
        cr_assert(info.options.mode == QEMB_MODE_MEAN && info.options.include_last_offset && !info.options.sparse);
        OK(qemb_embedding_bag_table(bag, 0, &table));
        cr_assert(table.num_embeddings == ROWS && table.embedding_dim == DIM && table.has_padding_idx && table.padding_idx == ROWS - 1);
        cr_assert(table.has_max_norm && table.norm_type == 3.0f && table.qconfig.quant_max == 15);
        cr_assert_str_eq(table.name, "movies");
        cr_assert_eq(qemb_embedding_bag_table(bag, 1, &table), QEMB_ERR_INDEX);
        cr_assert_eq(qemb_embedding_bag_table(bag, 0, NULL), QEMB_ERR_ARG);
        cr_assert_eq(qemb_embedding_bag_info(bag, NULL), QEMB_ERR_ARG);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}

Test(embedding_bag, rows,
     .description = "embedding_bag: rows written and read, just those; ranges outside the table, INDEX and nothing changed") {
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context *ctx = bag_context(&engines[e]);
        qemb_embedding_bag *bag = NULL;
        float w[ROWS * DIM] = {0};
        float got[ROWS * DIM];
        OK(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){SIZE, Q8, .weight = some_weight}, &bag));
        for (int i = 0; i < 2 * DIM; i++) {
            w[i] = 7.0f + (float)i;
        }
        OK(qemb_embedding_bag_write_weight(bag, 0, 3, 2, w));
        const int64_t bad[][2] = {{-1, 1}, {0, ROWS + 1}, {ROWS, 1}, {3, -1}, {INT64_MAX, 1}, {1, INT64_MAX}};
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            cr_assert_eq(qemb_embedding_bag_write_weight(bag, 0, bad[k][0], bad[k][1], w), QEMB_ERR_INDEX);
            cr_assert_eq(qemb_embedding_bag_read_weight(bag, 0, bad[k][0], bad[k][1], got), QEMB_ERR_INDEX);
            cr_assert_eq(qemb_embedding_bag_read_observer(bag, 0, bad[k][0], bad[k][1], &(qemb_observer_rows){got, 0, 0, 0}),
                         QEMB_ERR_INDEX);
            cr_assert_eq(qemb_embedding_bag_write_observer(bag, 0, bad[k][0], bad[k][1], w, w), QEMB_ERR_INDEX);
        }
        cr_assert_eq(qemb_embedding_bag_write_weight(bag, 1, 0, 1, w), QEMB_ERR_INDEX);
        cr_assert_eq(qemb_embedding_bag_write_weight(bag, 0, 0, 1, NULL), QEMB_ERR_ARG);
        cr_assert_eq(qemb_embedding_bag_read_weight(bag, 0, 0, 1, NULL), QEMB_ERR_ARG);
        cr_assert_eq(qemb_embedding_bag_set_observer(bag, 1, true), QEMB_ERR_INDEX);
        cr_assert_eq(qemb_embedding_bag_set_fake_quant(bag, -2, true), QEMB_ERR_INDEX);
        OK(qemb_embedding_bag_write_weight(bag, 0, ROWS, 0, NULL));
        OK(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, got));
        for (int i = 0; i < ROWS * DIM; i++) {
            const bool written = i >= 3 * DIM && i < 5 * DIM;
            cr_assert_float_eq(got[i], written ? w[i - 3 * DIM] : some_weight[i], 0.0);
        }
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}

Test(embedding_bag, shared_weights,
     .description = "embedding_bag: from_float and to_float, the very weights of the source, options carried, an observer anew") {
    static const int32_t id[] = {4};
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context *ctx = bag_context(&engines[e]);
        qemb_embedding_bag *plain = NULL;
        qemb_embedding_bag *qat = NULL;
        qemb_embedding_bag *back = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        qemb_bag_info info;
        float row[DIM] = {0.1f, 0.2f, 0.35f, 0.7f, 1.1f};
        float got[DIM];
        float scale = 0.0f;
        const qemb_qconfig two_bits = qemb_qconfig_2bit();
        OK(qemb_embedding_bag_create(ctx,
                                     &(qemb_embedding_bag_desc){SIZE, .qconfig = qemb_qconfig_float(), .mode = QEMB_MODE_SUM,
                                                                .sparse = true, .has_padding_idx = true, .padding_idx = 2},
                                     &plain));
        OK(qemb_embedding_bag_from_float(plain, &two_bits, &qat));
        OK(qemb_embedding_bag_to_float(qat, &back));
        OK(qemb_embedding_bag_write_weight(plain, 0, 4, 1, row)); /* through the source, seen by all */
        OK(qemb_embedding_bag_info(qat, &info));
        cr_assert(info.options.sparse && info.options.mode == QEMB_MODE_SUM);
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, sizeof got, &out));
        const qemb_input input = {.indices = id, .num_indices = 1, .indices_dtype = QEMB_INT32, .columns = 1};
        OK(qemb_embedding_bag_read_observer(qat, 0, 4, 1, &(qemb_observer_rows){.min_val = got, .scale = &scale}));
        cr_assert(isnan(got[0]) && scale == 1.0f, "never observed");
        OK(qemb_batch_set(batch, back, &input));
        OK(qemb_embedding_bag_forward(back, batch, out));
        OK(qemb_buffer_read(out, 0, sizeof got, got));
        cr_assert_arr_eq(got, row, sizeof row);
        OK(qemb_batch_set(batch, qat, &input));
        OK(qemb_embedding_bag_forward(qat, batch, out));
        OK(qemb_buffer_read(out, 0, sizeof got, got));
        for (int c = 0; c < DIM; c++) { /* 4 levels from 0.1 to 1.1: scale, zero point, difference, product and the two ends are rounded */
            cr_assert_float_eq(got[c],
                               0.1f + (float)(c < 2    ? 0
                                              : c == 2 ? 1
                                                       : c - 1) /
                                          3.0f,
                               6 * 0x1p-24 * 1.1, "column %d: %g", c, (double)got[c]);
        }
        cr_assert_eq(qemb_embedding_bag_from_float(NULL, &two_bits, &back), QEMB_ERR_ARG);
        cr_assert_eq(qemb_embedding_bag_from_float(plain, NULL, &back), QEMB_ERR_ARG);
        cr_assert_eq(qemb_embedding_bag_from_float(plain, &two_bits, NULL), QEMB_ERR_ARG);
        cr_assert_eq(qemb_embedding_bag_from_float(plain, &(qemb_qconfig){0}, &back), QEMB_ERR_RANGE);
        qemb_batch_destroy(batch);
        qemb_buffer_destroy(out);
        qemb_embedding_bag_destroy(back);
        qemb_embedding_bag_destroy(qat);
        qemb_embedding_bag_destroy(plain);
        qemb_context_destroy(ctx);
    }
}

Test(embedding_bag, never_observed,
     .description = "embedding_bag: fake quantisation with the observer off from the start, STATE until a state is written") {
    static const int32_t id[] = {4};
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context *ctx = bag_context(&engines[e]);
        qemb_embedding *embedding = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        float low[ROWS];
        float high[ROWS];
        float got[DIM];
        float row[DIM] = {-9.0f, 0.4f, 0.6f, 2.0f, 300.0f};
        OK(qemb_embedding_create(ctx, &(qemb_embedding_desc){SIZE, .qconfig = {.quant_max = 255, .observer_off = true}}, &embedding));
        qemb_embedding_bag *bag = qemb_embedding_as_bag(embedding);
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, sizeof got, &out));
        OK(qemb_embedding_bag_write_weight(bag, 0, 4, 1, row));
        OK(qemb_batch_set(batch, bag, &(qemb_input){.indices = id, .num_indices = 1, .indices_dtype = QEMB_INT32}));
        cr_assert_eq(qemb_embedding_forward(embedding, batch, out), QEMB_ERR_STATE);
        for (int r = 0; r < ROWS; r++) {
            low[r] = 0.0f;
            high[r] = 255.0f;
        }
        cr_assert_eq(qemb_embedding_bag_write_observer(bag, 0, 0, ROWS, high, low), QEMB_ERR_RANGE);
        cr_assert_eq(qemb_embedding_forward(embedding, batch, out), QEMB_ERR_STATE);
        OK(qemb_embedding_bag_write_observer(bag, 0, 0, ROWS, low, high));
        OK(qemb_embedding_forward(embedding, batch, out));
        OK(qemb_buffer_read(out, 0, sizeof got, got));
        static const float want[DIM] = {0.0f, 0.0f, 1.0f, 2.0f, 255.0f};
        for (int c = 0; c < DIM; c++) {
            cr_assert_float_eq(got[c], want[c], 0.0, "%s column %d: %g", engines[e].label, c, (double)got[c]);
        }
        qemb_batch_destroy(batch);
        qemb_buffer_destroy(out);
        qemb_embedding_destroy(embedding);
        qemb_context_destroy(ctx);
    }
}

Test(embedding_bag, embedding_input, .description = "embedding_bag: an embedding takes no offsets and no weights, and pads nothing away") {
    static const int32_t ids[] = {2, 4};
    static const float psw[] = {1.0f, 1.0f};
    for (int e = 0; e < NUM_ENGINES; e++) {
        qemb_context *ctx = bag_context(&engines[e]);
        qemb_embedding *embedding = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        float w[ROWS * DIM];
        float got[2 * DIM];
        OK(qemb_embedding_create(
            ctx,
            &(qemb_embedding_desc){SIZE, .qconfig = qemb_qconfig_float(), .has_padding_idx = true, .padding_idx = 2, .weight = some_weight},
            &embedding));
        for (int i = 0; i < ROWS * DIM; i++) {
            w[i] = (float)(i + 1);
        }
        OK(qemb_embedding_bag_write_weight(qemb_embedding_as_bag(embedding), 0, 0, ROWS, w));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, sizeof got, &out));
        const qemb_input good = {.indices = ids, .num_indices = 2, .indices_dtype = QEMB_INT32};
        qemb_input bad = good;
        bad.offsets = ids;
        bad.num_offsets = 1;
        cr_assert_eq(qemb_batch_set(batch, qemb_embedding_as_bag(embedding), &bad), QEMB_ERR_SHAPE);
        bad = good;
        bad.per_sample_weights = psw;
        bad.num_per_sample_weights = 2;
        cr_assert_eq(qemb_batch_set(batch, qemb_embedding_as_bag(embedding), &bad), QEMB_ERR_UNSUPPORTED);
        OK(qemb_batch_set(batch, qemb_embedding_as_bag(embedding), &good));
        OK(qemb_embedding_forward(embedding, batch, out));
        OK(qemb_buffer_read(out, 0, sizeof got, got));
        cr_assert_arr_eq(got, w + 2 * DIM, DIM * sizeof(float));
        cr_assert_arr_eq(got + DIM, w + 4 * DIM, DIM * sizeof(float));
        cr_assert_null(qemb_embedding_as_bag(NULL));
        qemb_embedding_destroy(NULL);
        qemb_batch_destroy(batch);
        qemb_buffer_destroy(out);
        qemb_embedding_destroy(embedding);
        qemb_context_destroy(ctx);
    }
}
