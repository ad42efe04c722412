/* test_bag_forward.c - the fused forward: engine = engine = PyTorch's arithmetic, bit for bit; it touches no row that is not looked up,
 * writes no state, and allocates and compiles nothing when it has seen a shape. */
#include <criterion/criterion.h>

#include "support_bag.h"
#include "support_ok.h"

/* ---- random cases -------------------------------------------------------------------------------------------------------- */

/* What decides the kernel that is compiled; everything else of a case is drawn. */
typedef struct kernel_form {
    int64_t mode, weighted, arithmetic, observer, fake_quant, events;
    double c, max_norm;
} kernel_form;

static const kernel_form forms[] = {
    {QEMB_MODE_SUM, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 1.0, -1.0},
    {QEMB_MODE_SUM, 1, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 1, 0.01, -1.0},
    {QEMB_MODE_MEAN, 0, QEMB_ARITHMETIC_TORCH_CUDA, QEMB_OBSERVER_MEMORYLESS, 1, 1, 1.0, -1.0},
    {QEMB_MODE_MAX, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MIN_MAX, 1, 1, 1.0, -1.0},
    {OP_MODE_NONE, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 1, 0.25, -1.0},
    {QEMB_MODE_SUM, 1, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MEMORYLESS, 0, 0, 1.0, -1.0},
    {QEMB_MODE_MEAN, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 1.0, 1.0},
    {QEMB_MODE_SUM, 1, QEMB_ARITHMETIC_TORCH_CUDA, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 1.0, 1.0},
    {QEMB_MODE_MAX, 0, QEMB_ARITHMETIC_TORCH_CUDA, QEMB_OBSERVER_MOVING_AVERAGE, 1, 1, 1.0, -1.0},
    {OP_MODE_NONE, 0, QEMB_ARITHMETIC_TORCH_CUDA, QEMB_OBSERVER_MIN_MAX, 1, 0, 1.0, 1.0},
};
enum { NUM_FORMS = sizeof forms / sizeof *forms };

#define PICK(state, list) ((list)[op_below((state), (int64_t)(sizeof(list) / sizeof *(list)))])

static op_bag_forward random_case(const kernel_form *form, uint64_t seed) {
    static const int64_t dims[] = {1,  2,  3,  5,  7,  11, 13, 15, 16, 17,  19,  23,  29,  31,  32,
                                   33, 37, 41, 47, 48, 53, 61, 64, 67, 100, 127, 128, 129, 257, 1031};
    static const int64_t ranges[][2] = {{0, 255}, {0, 15}, {0, 3}, {0, 1}, {-128, 127}, {-8, 7}, {0, 200}};
    static const int64_t tables[] = {1, 1, 3, 40};
    static const double norms[] = {2.0, 2.0, 1.0, 3.5, INFINITY};
    uint64_t state = seed;
    op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
    op.mode = form->mode;
    op.weighted = form->weighted;
    op.arithmetic = form->arithmetic;
    op.observer = form->observer;
    op.fake_quant = form->fake_quant;
    op.events = form->events;
    op.c = form->c;
    op.max_norm = form->max_norm;
    op.norm = PICK(&state, norms);
    op.T = form->mode == OP_MODE_NONE ? 1 : PICK(&state, tables);
    op.vary = op.T > 1;
    op.D = PICK(&state, dims);
    op.D = op.T > 3 && op.D > 67 ? op.D % 67 + 1 : op.D;
    op.E = 1 + op_below(&state, 43);
    op.B = 1 + op_below(&state, 19);
    op.L = 1 + op_below(&state, 9);
    op.ragged = op_below(&state, 4) % 3;
    const int64_t *range = ranges[op_below(&state, (int64_t)(sizeof ranges / sizeof *ranges))];
    op.qmin = range[0];
    op.qmax = range[1];
    op.padding = op_below(&state, 2) ? op_below(&state, op.E) : -1;
    op.last = op_below(&state, 2);
    op.i64 = op_below(&state, 2);
    op.two_d = !op.ragged && op_below(&state, 2);
    op.kind = op_below(&state, 3);
    op.kind = form->max_norm >= 0.0 ? 0 : op.kind; /* the model's norm is double: it agrees where float32 does not overflow */
    op.steps = 1 + op_below(&state, 5);
    op.seed = (int64_t)(op_random(&state) >> 40);
    return op;
}

/* Compiling takes most of the time of these tests: the first engine runs every form, the others enough of them to meet each mode,
 * arithmetic and observer. */
static const unsigned engines_of[NUM_FORMS] = {1 << BAG_PTHREAD,
                                               BAG_EVERYWHERE,
                                               1 << BAG_PTHREAD | 1 << BAG_GPU,
                                               BAG_EVERYWHERE,
                                               1 << BAG_PTHREAD | 1 << BAG_GPU,
                                               1 << BAG_PTHREAD,
                                               1 << BAG_PTHREAD | 1 << BAG_BASIC,
                                               1 << BAG_PTHREAD | 1 << BAG_GPU,
                                               1 << BAG_PTHREAD,
                                               1 << BAG_PTHREAD};

/* The model takes a norm in double, the library in a float32 tree: factors differ by at most (2 * 13 + 6) roundings of 2^-24 for 4093 columns,
 * which is 2e-6, and with them each term of a bag; the sum of L terms is L times as large as its result at most in these cases. */
static double tolerance_of(const op_bag_forward *op) {
    const int64_t longest = op->ragged == 2 ? op_bag_forward_long(op) : op->L;
    return op->max_norm >= 0.0 ? 2e-6 * (1.0 + (double)longest) : 0.0;
}

Test(bag_forward, random_cases,
     .description = "bag_forward: random cases, every engine gives the bits of the model that observes whole tables") {
    enum { CASES = 9 };
    bag_pocl_devices();
    for (int k = 0; k < NUM_FORMS * CASES; k++) {
        const op_bag_forward op = random_case(&forms[k % NUM_FORMS], (uint64_t)k * 101u + 7u);
        bag_check(&op, engines_of[k % NUM_FORMS], tolerance_of(&op));
    }
}

Test(bag_forward, one_case, .description = "bag_forward: the case that QEMB_CASE names, every engine gives the bits of the model") {
    op_bag_forward op;
    bag_pocl_devices();
    (void)bag_case_from_environment(&op);
    bag_check(&op, BAG_EVERYWHERE, tolerance_of(&op));
}

/* With many bags a work-item of the CPU family takes several neighbours (tile_of in src/opencl/bag_forward.c): up to 39 of these. */
Test(bag_forward, many_bags,
     .description =
         "bag_forward: thousands of short and empty bags of narrow rows, long ones among them or not, neighbours share a work-item, the "
         "model's bits") {
    static const struct {
        int64_t D, mode, observer, weighted, padding, L;
        double c;
        bool floats;
    } cases[] = {{16, QEMB_MODE_MEAN, QEMB_OBSERVER_MEMORYLESS, 0, 3, 5, 1.0, true},
                 {16, QEMB_MODE_SUM, QEMB_OBSERVER_MEMORYLESS, 0, 3, 5, 1.0, false},
                 {29, QEMB_MODE_MEAN, QEMB_OBSERVER_MOVING_AVERAGE, 0, 2, 1, 0.25, false},
                 {7, QEMB_MODE_MAX, QEMB_OBSERVER_MIN_MAX, 0, -1, 3, 1.0, false},
                 {17, QEMB_MODE_SUM, QEMB_OBSERVER_MEMORYLESS, 1, -1, 7, 1.0, false}};
    bag_pocl_devices();
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const size_t k = i / 2;
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        op.T = 2;
        op.E = 101;
        op.B = i % 2 ? 4003 : 20011;
        op.ragged = 1 + (int64_t)i % 2;
        op.steps = 2;
        op.D = cases[k].D;
        op.mode = cases[k].mode;
        op.observer = cases[k].observer;
        op.weighted = cases[k].weighted;
        op.padding = cases[k].padding;
        op.L = cases[k].L;
        op.c = cases[k].c;
        op.fake_quant = !cases[k].floats;
        bag_check(&op, 1 << BAG_PTHREAD, 0.0);
    }
}

Test(bag_forward, every_width,
     .description = "bag_forward: widths 1 to 67 and wide ones in one collection, every engine gives the model's bits") {
    bag_pocl_devices();
    for (int k = 0; k < 3; k++) {
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        static const int64_t wide[] = {256, 1000, 4096};
        op.T = k ? 3 : 67;
        op.D = k ? wide[k] : 1; /* vary: widths D + 29t modulo D + 67, all different */
        op.vary = k < 2;
        op.E = 5;
        op.B = 3;
        op.ragged = 1;
        op.steps = 2;
        op.kind = 1;
        op.mode = k == 1 ? QEMB_MODE_MEAN : QEMB_MODE_SUM;
        bag_check(&op, BAG_EVERYWHERE, 0.0);
    }
}

/* ---- knobs that must not change a bit -------------------------------------------------------------------------------------- */

static void expect_same_on(const bag_engine *list, int count, const op_bag_forward *op) {
    bag_result want = bag_run(&bag_engines[BAG_REFERENCE], op);
    for (int e = 0; e < count; e++) {
        bag_result got = bag_run(&list[e], op);
        bag_expect_same(op, list[e].label, &got, &want, 0.0);
        bag_result_free(&got);
    }
    bag_result_free(&want);
}

Test(bag_forward, local_sizes, .description = "bag_forward: any local size, the same bits") {
    static const bag_engine local[] = {
        {"local 1", "pthread", "cpu", "1", NULL},        {"local 3", "pthread", "cpu", "3", NULL},
        {"local 16", "pthread", "cpu", "16", NULL},      {"local 64", "pthread", "cpu", "64", NULL},
        {"gpu, local 64", "pthread", "gpu", "64", NULL},
    };
    bag_pocl_devices();
    for (uint64_t k = 0; k < 2; k++) {
        op_bag_forward op = random_case(&forms[k ? 6 : 1], 40 + k);
        op.T = 3;
        op.vary = 1;
        op.D = 61;
        op.B = 29;
        expect_same_on(local, (int)(sizeof local / sizeof *local), &op);
    }
}

Test(bag_forward, slabs, .description = "bag_forward: tables in many slabs and several groups of them, the same bits as in one") {
    static const bag_engine small[] = {
        {"slabs of 32 KiB", "pthread", "cpu", NULL, "32768"},
        {"slabs of 32 KiB, GPU kernels", "pthread", "gpu", NULL, "32768"},
    };
    bag_pocl_devices();
    for (uint64_t k = 0; k < 3; k++) {
        op_bag_forward op = random_case(&forms[k], 90 + k);
        op.T = k == 2 ? 1 : 5; /* 4 slabs a table: three groups, three launches */
        op.E = 401;
        op.vary = 0;
        op.ragged = 2;
        op.D = 61;
        op.B = 5;
        op.L = 3;
        op.steps = 4;
        op.two_d = 0;
        op.padding = op.padding < 0 ? -1 : 377;
        expect_same_on(small, 2, &op);
    }
}

/* ---- one way to say the same lookups is as good as another ------------------------------------------------------------------- */

/* Runs `op` and `other`, which must give the same outputs and statistics, on the reference engine and on PoCL. */
static void expect_equal_cases(const op_bag_forward *op, const op_bag_forward *other, const char *what) {
    const bag_engine *both[] = {&bag_engines[BAG_REFERENCE], &bag_engines[BAG_PTHREAD]};
    for (int e = 0; e < 2; e++) {
        bag_result a = bag_run(both[e], op);
        bag_result b = bag_run(both[e], other);
        bag_expect_same(other, what, &b, &a, 0.0);
        bag_result_free(&a);
        bag_result_free(&b);
    }
}

Test(bag_forward, forms_of_input,
     .description = "bag_forward: 2-D input, int64 input and include_last_offset, the same bits as CSR, int32 and without") {
    bag_pocl_devices();
    for (uint64_t k = 0; k < 4; k++) {
        op_bag_forward op = random_case(&forms[k], 300 + k);
        op.ragged = op.two_d = op.i64 = op.last = 0;
        op.L = 3;
        op_bag_forward other = op;
        other.two_d = 1;
        expect_equal_cases(&op, &other, "2-D against CSR");
        op.ragged = 1;
        other = op;
        other.i64 = 1;
        expect_equal_cases(&op, &other, "int64 against int32");
        other = op;
        other.last = 1;
        expect_equal_cases(&op, &other, "include_last_offset against none");
    }
}

/* A module, its batch and output on one engine, for tests that make their own input. */
typedef struct fixture {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *out;
    int64_t columns;
} fixture;

static void open_fixture(fixture *f, const bag_engine *engine, const op_bag_forward *op, const float *const *weights) {
    f->ctx = bag_kept_context(engine);
    OK(op_bag_forward_create(f->ctx, op, weights, &f->bag));
    OK(qemb_batch_create(f->ctx, &f->batch));
    f->columns = op_bag_forward_columns(op);
    OK(qemb_buffer_create(f->ctx, (size_t)(1000 * f->columns) * sizeof(float), &f->out));
}

static void close_fixture(fixture *f) {
    qemb_buffer_destroy(f->out);
    qemb_batch_destroy(f->batch);
    qemb_embedding_bag_destroy(f->bag);
}

/* Looks up CSR input and gives [bags][columns], to be freed. */
static float *look_up(fixture *f, const int64_t *indices, int64_t n, const int64_t *offsets, int64_t num_offsets, int64_t bags) {
    float *out = malloc((size_t)(bags * f->columns + 1) * sizeof *out);
    cr_assert_not_null(out);
    OK(qemb_batch_set(
        f->batch, f->bag,
        &(qemb_input){.indices = indices, .num_indices = n, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = num_offsets}));
    OK(qemb_embedding_bag_forward(f->bag, f->batch, f->out));
    OK(qemb_buffer_read(f->out, 0, (size_t)(bags * f->columns) * sizeof(float), out));
    return out;
}

Test(bag_forward, padding, .description = "bag_forward: lookups of the padding row removed, the same bits as skipped, in every mode") {
    bag_pocl_devices();
    const bag_engine *both[] = {&bag_engines[BAG_REFERENCE], &bag_engines[BAG_PTHREAD]};
    for (int k = 0; k < 6; k++) {
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        op_lookups in;
        fixture f;
        op.mode = k % 3;
        op.E = 7;
        op.D = 19;
        op.B = 23;
        op.ragged = 1;
        op.padding = 3;
        cr_assert(op_bag_forward_fill(&op, 0, &in));
        int64_t *kept = malloc((size_t)(in.num_indices + 1) * sizeof *kept);
        int64_t *offsets = malloc((size_t)(op.B + 1) * sizeof *offsets);
        int64_t n = 0;
        for (int64_t b = 0; b < op.B; b++) {
            offsets[b] = n;
            for (int64_t p = in.offsets[b]; p < in.offsets[b + 1]; p++) {
                if (in.indices[p] != 3) {
                    kept[n++] = in.indices[p];
                }
            }
        }
        cr_assert_lt(n, in.num_indices, "the case must hold padding");
        open_fixture(&f, both[k / 3], &op, NULL);
        float *with = look_up(&f, in.indices, in.num_indices, in.offsets, op.B, op.B);
        float *without = look_up(&f, kept, n, offsets, op.B, op.B);
        cr_assert_arr_eq(with, without, (size_t)(op.B * op.D) * sizeof(float));
        free(with);
        free(without);
        free(kept);
        free(offsets);
        op_lookups_free(&in);
        close_fixture(&f);
    }
}

Test(bag_forward, split_bags, .description = "bag_forward: a bag split in two and added, equals the whole where sums are exact") {
    enum { ROWS = 11, DIM = 21 };
    const bag_engine *both[] = {&bag_engines[BAG_REFERENCE], &bag_engines[BAG_PTHREAD]};
    float weights[ROWS * DIM];
    const float *tables[] = {weights};
    bag_pocl_devices();
    for (int i = 0; i < ROWS * DIM; i++) { /* integers from 0 to 255 in every row: scale 1, zero point 0, values exact */
        weights[i] = i % DIM == 0 ? 0.0f : i % DIM == 1 ? 255.0f : (float)(i * 37 % 256);
    }
    const int64_t indices[] = {1, 5, 5, 10, 2, 0, 3, 3, 9, 7, 4};
    const int64_t whole[] = {0, 4, 11};
    const int64_t split[] = {0, 1, 4, 7, 11};
    for (int e = 0; e < 2; e++) {
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        fixture f;
        op.E = ROWS;
        op.D = DIM;
        op.last = 1;
        open_fixture(&f, both[e], &op, tables);
        float *a = look_up(&f, indices, 11, whole, 3, 2);
        float *b = look_up(&f, indices, 11, split, 5, 4);
        for (int64_t c = 0; c < DIM; c++) {
            const float first = weights[DIM + c] + 2.0f * weights[5 * DIM + c] + weights[10 * DIM + c];
            cr_assert_float_eq(a[c], first, 0.0, "column %d", (int)c);
            cr_assert_float_eq(a[c], b[c] + b[DIM + c], 0.0);
            cr_assert_float_eq(a[DIM + c], b[2 * DIM + c] + b[3 * DIM + c], 0.0);
        }
        free(a);
        free(b);
        close_fixture(&f);
    }
}

Test(bag_forward, collection, .description = "bag_forward: features of a collection, shared tables among them, equal the modules alone") {
    enum { FEATURES = 4, BAGS = 5, WIDTH = 17 + 8 + 17 + 33 };
    static const int32_t feature_table[FEATURES] = {1, 0, 1, 2};
    static const int64_t dims[] = {8, 17, 33};
    const bag_engine *both[] = {&bag_engines[BAG_REFERENCE], &bag_engines[BAG_PTHREAD]};
    int32_t indices[FEATURES * BAGS * 3];
    bag_pocl_devices();
    for (int i = 0; i < FEATURES * BAGS * 3; i++) {
        indices[i] = (i * 7 + i / 4) % 13;
    }
    for (int e = 0; e < 2; e++) {
        qemb_context *ctx = bag_kept_context(both[e]);
        qemb_embedding_bag *all = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        float got[BAGS * WIDTH];
        qemb_table_desc tables[3];
        for (int t = 0; t < 3; t++) {
            tables[t] = (qemb_table_desc){
                .num_embeddings = 13 + t, .embedding_dim = dims[t], .qconfig = qemb_qconfig_4bit(), .seed = 5u + (unsigned)t};
        }
        OK(qemb_embedding_bag_collection_create(
            ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 3, .feature_table = feature_table, .num_features = FEATURES},
            &all));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, sizeof got, &out));
        OK(qemb_batch_set(
            batch, all, &(qemb_input){.indices = indices, .num_indices = FEATURES * BAGS * 3, .indices_dtype = QEMB_INT32, .columns = 3}));
        OK(qemb_embedding_bag_forward(all, batch, out));
        OK(qemb_buffer_read(out, 0, sizeof got, got));
        int64_t column = 0;
        for (int f = 0; f < FEATURES; f++) {
            const int t = feature_table[f];
            qemb_embedding_bag *one = NULL;
            float alone[BAGS * 33];
            OK(qemb_embedding_bag_create(
                ctx,
                &(qemb_embedding_bag_desc){
                    .num_embeddings = 13 + t, .embedding_dim = dims[t], .qconfig = qemb_qconfig_4bit(), .seed = 5u + (unsigned)t},
                &one));
            OK(qemb_batch_set(
                batch, one,
                &(qemb_input){.indices = indices + f * BAGS * 3, .num_indices = BAGS * 3, .indices_dtype = QEMB_INT32, .columns = 3}));
            OK(qemb_embedding_bag_forward(one, batch, out));
            OK(qemb_buffer_read(out, 0, (size_t)(BAGS * dims[t]) * sizeof(float), alone));
            for (int64_t b = 0; b < BAGS; b++) {
                cr_assert_arr_eq(got + b * WIDTH + column, alone + b * dims[t], (size_t)dims[t] * sizeof(float), "feature %d, bag %d", f,
                                 (int)b);
            }
            column += dims[t];
            qemb_embedding_bag_destroy(one);
        }
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(all);
    }
}
