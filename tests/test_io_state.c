/* test_io_state.c - state dicts: what is saved in the middle of training goes on with the same bits, torch's names and shapes, and every
 * refusal leaves the module as it was. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/row_update.h"
#include "support_files.h"
#include "support_ok.h"

TestSuite(io_state, .init = support_folder_create, .fini = support_folder_remove);

/* ---- a training that can be stopped at any step ------------------------------------------------------------------------- */

enum { TABLES = 3, BAGS = 7, LOOKUPS = 5, MAX_OUT = 4096 };
static const int64_t rows_of[TABLES] = {31, 13, 53};
static const int64_t dim_of[TABLES] = {11, 17, 5};

typedef struct plan {
    const char *name;
    int32_t tables;
    bool embedding;
    qemb_mode mode;
    qemb_qconfig qconfig;
    qemb_optimizer_desc optimizer;
    int64_t fake_quant_from, observer_until;
    bool padding, max_norm;
} plan;

typedef struct training {
    qemb_context *ctx;
    qemb_embedding *embedding;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_batch *batch;
    qemb_buffer *out, *grad;
} training;

static qemb_table_desc table_of(const plan *p, int32_t t, uint64_t seed) {
    static const char *const names[TABLES] = {"user", "item", "shop"};
    qemb_table_desc d = {
        .num_embeddings = rows_of[t], .embedding_dim = dim_of[t], .qconfig = p->qconfig, .seed = seed + (uint64_t)t, .name = names[t]};
    if (p->padding) {
        d.has_padding_idx = true;
        d.padding_idx = 3;
    }
    if (p->max_norm) {
        d.has_max_norm = true;
        d.max_norm = 1.5f;
    }
    return d;
}

static training begin(const char *device, const plan *p, uint64_t seed) {
    training r = {0};
    qemb_table_desc d[TABLES];
    OK(qemb_context_create(device, &r.ctx));
    for (int32_t t = 0; t < p->tables; t++) {
        d[t] = table_of(p, t, seed);
    }
    if (p->embedding) {
        const qemb_embedding_desc desc = {.num_embeddings = d[0].num_embeddings,
                                          .embedding_dim = d[0].embedding_dim,
                                          .has_padding_idx = d[0].has_padding_idx,
                                          .padding_idx = d[0].padding_idx,
                                          .has_max_norm = d[0].has_max_norm,
                                          .max_norm = d[0].max_norm,
                                          .qconfig = d[0].qconfig,
                                          .seed = d[0].seed};
        OK(qemb_embedding_create(r.ctx, &desc, &r.embedding));
        r.bag = qemb_embedding_as_bag(r.embedding);
    } else {
        OK(qemb_embedding_bag_collection_create(
            r.ctx, &(qemb_collection_desc){.tables = d, .num_tables = p->tables, .options = {.mode = p->mode}}, &r.bag));
    }
    if (p->fake_quant_from || p->observer_until) {
        OK(qemb_embedding_bag_set_schedule(r.bag, QEMB_ALL_TABLES, p->fake_quant_from, p->observer_until));
    }
    OK(qemb_optimizer_create(r.ctx, r.bag, &p->optimizer, &r.optimizer));
    OK(qemb_batch_create(r.ctx, &r.batch));
    OK(qemb_buffer_create(r.ctx, MAX_OUT * sizeof(float), &r.out));
    OK(qemb_buffer_create(r.ctx, MAX_OUT * sizeof(float), &r.grad));
    return r;
}

static void end(training *r) {
    qemb_optimizer_destroy(r->optimizer);
    qemb_batch_destroy(r->batch);
    qemb_buffer_destroy(r->out);
    qemb_buffer_destroy(r->grad);
    if (r->embedding) {
        qemb_embedding_destroy(r->embedding);
    } else {
        qemb_embedding_bag_destroy(r->bag);
    }
    qemb_context_destroy(r->ctx);
}

/* Step number `step` of a training, which depends on nothing else. The output goes to `seen`, its length is returned. */
static int64_t step(training *r, const plan *p, int64_t number, float *seen) {
    int32_t indices[TABLES * BAGS * LOOKUPS];
    float grad[MAX_OUT];
    qemb_bag_info info;
    uint64_t random = (uint64_t)number * 977 + 13;
    const int32_t n = p->tables * BAGS * LOOKUPS;
    for (int32_t i = 0; i < n; i++) {
        const int64_t rows = rows_of[i / (BAGS * LOOKUPS)];
        indices[i] = (int32_t)(op_random(&random) % (uint64_t)(rows - rows / 3)); /* the last third is never looked up */
    }
    OK(qemb_embedding_bag_info(r->bag, &info));
    const int64_t count = (p->embedding ? n : BAGS) * info.output_dim;
    for (int64_t i = 0; i < count; i++) {
        grad[i] = (float)(int64_t)(op_random(&random) % 2001 - 1000) / 1000.0f;
    }
    const qemb_input input = {.indices = indices, .num_indices = n, .indices_dtype = QEMB_INT32, .columns = p->embedding ? 0 : LOOKUPS};
    OK(qemb_batch_set(r->batch, r->bag, &input));
    OK(qemb_embedding_bag_forward(r->bag, r->batch, r->out));
    OK(qemb_buffer_read(r->out, 0, (size_t)count * sizeof(float), seen));
    OK(qemb_buffer_write(r->grad, 0, (size_t)count * sizeof(float), grad));
    OK(qemb_embedding_bag_step(r->bag, r->batch, r->grad, r->optimizer));
    return count;
}

static void save(training *r, const char *path) {
    qemb_saver *saver = NULL;
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_module(saver, "embeddings.", r->bag));
    OK(qemb_saver_add_optimizer(saver, "optimizer.", r->optimizer));
    OK(qemb_saver_write(saver, path));
    qemb_saver_destroy(saver);
}

static void load(training *r, const char *path) {
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_open(path, &file));
    OK(qemb_safetensors_verify(file));
    OK(qemb_load_module(file, "embeddings.", r->bag));
    OK(qemb_load_optimizer(file, "optimizer.", r->optimizer));
    qemb_safetensors_close(file);
}

static void expect_same_file(const plan *p, const char *a, const char *b) {
    size_t na = 0;
    size_t nb = 0;
    char *x = support_read(a, &na);
    char *y = support_read(b, &nb);
    cr_assert(x && y);
    cr_expect(na == nb && memcmp(x, y, na) == 0, "%s: files %s and %s differ", p->name, a, b);
    free(x);
    free(y);
}

enum { FLOAT_PLAN = 9 };
/* clang-format off */
static const plan plans[] = {
    {"sgd, 8 bits", 1, false, QEMB_MODE_SUM, {.quant_max = 255}, {.lr = 0.1}, 0, 0, false, false},
    {"momentum, average below 1", 3, false, QEMB_MODE_MEAN, {.quant_max = 15, .averaging_constant = 0.25f},
     {.lr = 0.1, .momentum = 0.9, .nesterov = true}, 0, 0, true, false},
    {"dense sgd", 2, false, QEMB_MODE_MEAN, {.quant_max = 15}, {.lr = 0.1, .momentum = 0.7, .weight_decay = 0.1, .form = QEMB_SGD_DENSE}, 0, 0, false, false},
    {"adagrad, running range", 3, false, QEMB_MODE_MAX, {.quant_max = 255, .observer = QEMB_OBSERVER_MIN_MAX},
     {.kind = QEMB_ADAGRAD, .lr_decay = 0.01, .initial_accumulator_value = 0.3}, 0, 0, true, false},
    {"rowwise adagrad, memoryless", 3, false, QEMB_MODE_SUM, {.quant_max = 3, .observer = QEMB_OBSERVER_MEMORYLESS},
     {.kind = QEMB_ROWWISE_ADAGRAD, .weight_decay = 0.01}, 0, 0, false, true},
    {"sparse adam, late start, frozen", 3, false, QEMB_MODE_SUM, {.quant_max = 255, .averaging_constant = 0.1f}, {.kind = QEMB_SPARSE_ADAM}, 3, 7, false, false},
    {"memoryless, frozen", 2, false, QEMB_MODE_SUM, {.quant_max = 255, .observer = QEMB_OBSERVER_MEMORYLESS}, {.kind = QEMB_ADAM}, 0, 6, false, false},
    {"packed arithmetic", 3, false, QEMB_MODE_MEAN,
     {.quant_max = 15, .arithmetic = QEMB_ARITHMETIC_PACKED, .layout = QEMB_LAYOUT_PLANAR, .qparams = QEMB_QPARAMS_BF16, .symmetric = true},
     {.kind = QEMB_PARTIAL_ROWWISE_ADAM, .clip = QEMB_CLIP_NORM, .clip_limit = 0.5}, 0, 0, false, false},
    {"embedding, lamb", 1, true, QEMB_MODE_SUM, {.quant_max = 15, .arithmetic = QEMB_ARITHMETIC_TORCH_CUDA}, {.kind = QEMB_LAMB}, 0, 0, true, true},
    [FLOAT_PLAN] = {"float, lars", 2, false, QEMB_MODE_SUM, {.quant_max = 255, .observer = QEMB_OBSERVER_MEMORYLESS, .observer_off = true, .fake_quant_off = true},
     {.kind = QEMB_LARS_SGD, .momentum = 0.5}, 0, 0, false, true},
};
/* clang-format on */
enum { PLANS = sizeof plans / sizeof *plans };

/* `before` steps, a save, `after` steps; then the same `after` steps from the file in a module of other weights. Losses are the outputs. */
static void go_on(const char *device, const plan *p, int64_t before, int64_t after) {
    static float seen[2][10][MAX_OUT];
    int64_t count = 0;
    training a = begin(device, p, 41);
    for (int64_t k = 0; k < before; k++) {
        (void)step(&a, p, k, seen[0][0]);
    }
    const char *first = support_path("a");
    save(&a, first);
    training b = begin(device, p, 1000003);
    (void)step(&b, p, 99, seen[1][0]); /* not fresh either */
    load(&b, first);
    save(&b, support_path("b"));
    expect_same_file(p, support_path("a"), support_path("b"));
    for (int64_t k = 0; k < after; k++) {
        count = step(&a, p, before + k, seen[0][k]);
        (void)step(&b, p, before + k, seen[1][k]);
        cr_assert(memcmp(seen[0][k], seen[1][k], (size_t)count * sizeof(float)) == 0, "%s on %s, saved at step %lld: output %lld differs",
                  p->name, device, (long long)before, (long long)k);
    }
    save(&a, support_path("c"));
    save(&b, support_path("d"));
    expect_same_file(p, support_path("c"), support_path("d"));
    end(&a);
    end(&b);
}

Test(io_state, every_kind_of_optimiser_is_among_those_that_are_saved_and_go_on) {
    for (int64_t kind = 0; kind < OP_OPTIMIZERS; kind++) {
        bool there = false;
        for (int k = 0; k < PLANS; k++) {
            there = there || (int64_t)plans[k].optimizer.kind == kind;
        }
        cr_expect(there, "optimiser %lld has no line in plans[]", (long long)kind);
    }
}

Test(io_state, a_training_saved_at_any_step_goes_on_with_the_same_bits) {
    for (int k = 0; k < PLANS; k++) {
        for (int64_t before = 0; before < 10; before += k % 3 + 1) {
            go_on("reference", &plans[k], before, 10);
        }
    }
}

/* A few on the device, which compiles kernels for each; all at night. */
Test(io_state, a_training_on_the_device_goes_on_with_the_same_bits, .timeout = 500) {
    const char *night = getenv("QEMB_NIGHTLY");
    for (int k = 1; k < PLANS; k += night && *night == '1' ? 1 : 4) {
        go_on("opencl", &plans[k], 4, 10);
    }
}

/* ---- names and shapes --------------------------------------------------------------------------------------------------- */

static void expect_tensor(const qemb_safetensors *file, const char *name, qemb_file_dtype dtype, int32_t rank, int64_t d0, int64_t d1) {
    qemb_tensor_view v;
    OK(qemb_safetensors_tensor(file, name, &v));
    cr_expect(v.dtype == dtype && v.rank == rank && (rank < 1 || v.shape[0] == d0) && (rank < 2 || v.shape[1] == d1),
              "%s: %s of %lld x %lld", name, qemb_file_dtype_name(v.dtype), (long long)v.shape[0], (long long)v.shape[1]);
}

Test(io_state, keys_types_and_shapes_are_torch_s_before_and_after_the_first_forward) {
    float seen[MAX_OUT];
    training r = begin("reference", &plans[0], 7);
    for (int after = 0; after < 2; after++) {
        qemb_safetensors *file = NULL;
        save(&r, support_path("a"));
        OK(qemb_safetensors_open(support_path("a"), &file));
        cr_expect_eq(qemb_safetensors_count(file), 8 + 1);
        expect_tensor(file, "embeddings.weight", QEMB_FILE_F32, 2, 31, 11);
        expect_tensor(file, "embeddings.weight_fake_quant.fake_quant_enabled", QEMB_FILE_U8, 1, 1, 0);
        expect_tensor(file, "embeddings.weight_fake_quant.observer_enabled", QEMB_FILE_U8, 1, 1, 0);
        expect_tensor(file, "embeddings.weight_fake_quant.scale", QEMB_FILE_F32, 1, after ? 31 : 1, 0);
        expect_tensor(file, "embeddings.weight_fake_quant.zero_point", QEMB_FILE_F32, 1, after ? 31 : 1, 0);
        expect_tensor(file, "embeddings.weight_fake_quant.activation_post_process.eps", QEMB_FILE_F32, 1, 1, 0);
        expect_tensor(file, "embeddings.weight_fake_quant.activation_post_process.min_val", QEMB_FILE_F32, 1, after ? 31 : 0, 0);
        expect_tensor(file, "embeddings.weight_fake_quant.activation_post_process.max_val", QEMB_FILE_F32, 1, after ? 31 : 0, 0);
        expect_tensor(file, "optimizer.state.0.step", QEMB_FILE_I64, 0, 0, 0);
        qemb_safetensors_close(file);
        (void)step(&r, &plans[0], 0, seen);
    }
    end(&r);
}

Test(io_state, several_tables_stand_under_their_names_and_a_float_table_has_its_weight_alone) {
    const plan *p = &plans[FLOAT_PLAN];
    qemb_safetensors *file = NULL;
    float seen[MAX_OUT];
    training r = begin("reference", p, 7);
    (void)step(&r, p, 0, seen);
    save(&r, support_path("a"));
    OK(qemb_safetensors_open(support_path("a"), &file));
    cr_expect_eq(qemb_safetensors_count(file), 2 + 2 * 2);
    expect_tensor(file, "embeddings.user.weight", QEMB_FILE_F32, 2, 31, 11);
    expect_tensor(file, "embeddings.item.weight", QEMB_FILE_F32, 2, 13, 17);
    expect_tensor(file, "optimizer.state.1.momentum_buffer", QEMB_FILE_F32, 2, 13, 17);
    qemb_safetensors_close(file);
    end(&r);
}

/* ---- files of others, and refusals --------------------------------------------------------------------------------------- */

/* A module's tensors as a file of torch has them, with one of them as the test wants it. */
typedef struct foreign {
    qemb_tensor_desc desc[8];
    const void *data[8];
    int count;
} foreign;

static const float w[6] = {0.5f, -1.0f, 2.0f, 3.0f, -0.25f, 1.0f};
static const float low[3] = {-1.0f, 2.0f, -0.25f};
static const float high[3] = {0.5f, 3.0f, 1.0f};
static const float some[3] = {0.1f, 0.2f, 0.3f};
static const float eps = 0x1p-23f;
static const unsigned char on = 1;
static const int64_t shape_w[2] = {3, 2};
static const int64_t shape_rows[1] = {3};
static const int64_t shape_one[1] = {1};
static const int64_t shape_none[1] = {0};

static foreign torch_file(void) {
    const foreign f = {{{"weight", shape_w, 2, QEMB_FILE_F32},
                        {"weight_fake_quant.fake_quant_enabled", shape_one, 1, QEMB_FILE_U8},
                        {"weight_fake_quant.observer_enabled", shape_one, 1, QEMB_FILE_U8},
                        {"weight_fake_quant.scale", shape_rows, 1, QEMB_FILE_F32},
                        {"weight_fake_quant.zero_point", shape_rows, 1, QEMB_FILE_F32},
                        {"weight_fake_quant.activation_post_process.eps", shape_one, 1, QEMB_FILE_F32},
                        {"weight_fake_quant.activation_post_process.min_val", shape_rows, 1, QEMB_FILE_F32},
                        {"weight_fake_quant.activation_post_process.max_val", shape_rows, 1, QEMB_FILE_F32}},
                       {w, &on, &on, some, some, &eps, low, high},
                       8};
    return f;
}

static qemb_embedding_bag *small_module(qemb_context *ctx) {
    qemb_embedding_bag *bag = NULL;
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = 3, .embedding_dim = 2, .qconfig = qemb_qconfig_8bit(), .seed = 5}, &bag));
    return bag;
}

static qemb_status load_foreign(const foreign *f, qemb_embedding_bag *bag) {
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_save(support_path("f"), f->desc, f->data, f->count, NULL, 0));
    OK(qemb_safetensors_open(support_path("f"), &file));
    qemb_status st = qemb_load_module(file, NULL, bag);
    qemb_safetensors_close(file);
    return st;
}

Test(io_state, a_file_of_torch_s_keys_loads_and_the_observer_goes_on_from_it) {
    qemb_context *ctx = NULL;
    float got[3], top[3], weight[6];
    OK(qemb_context_create("reference", &ctx));
    qemb_embedding_bag *bag = small_module(ctx);
    const foreign f = torch_file();
    OK(load_foreign(&f, bag));
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, 3, weight));
    OK(qemb_embedding_bag_read_observer(bag, 0, 0, 3, &(qemb_observer_rows){.min_val = got, .max_val = top}));
    cr_expect(memcmp(weight, w, sizeof w) == 0 && memcmp(got, low, sizeof low) == 0 && memcmp(top, high, sizeof high) == 0);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(io_state, a_weight_alone_starts_the_observer_anew) {
    qemb_context *ctx = NULL;
    qemb_table_progress p;
    float got[3];
    OK(qemb_context_create("reference", &ctx));
    qemb_embedding_bag *bag = small_module(ctx);
    foreign f = torch_file();
    OK(load_foreign(&f, bag));
    f.count = 1;
    OK(load_foreign(&f, bag));
    OK(qemb_embedding_bag_get_progress(bag, 0, &p));
    OK(qemb_embedding_bag_read_observer(bag, 0, 0, 3, &(qemb_observer_rows){.min_val = got}));
    cr_expect(p.observations == 0 && p.observer_on && p.fake_quant_on && isnan(got[0]));
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

static const unsigned char two = 2;
static const float crossed[3] = {-1.0f, 3.5f, -0.25f};
static const float zero = 0.0f;
static const float nan_eps = NAN;
static const int64_t wide[2] = {2, 3};
static const struct {
    const char *what;
    int tensor; /* -1: left out (`count` of it) */
    qemb_file_dtype dtype;
    const int64_t *shape;
    int32_t rank;
    const void *data;
    qemb_status st;
    const char *names;
} misfits[] = {
    {"a weight of another shape", 0, QEMB_FILE_F32, wide, 2, w, QEMB_ERR_SHAPE, "'weight'"},
    {"a weight of rank 1", 0, QEMB_FILE_F32, shape_rows, 1, w, QEMB_ERR_SHAPE, "'weight'"},
    {"a weight of another type", 0, QEMB_FILE_I32, shape_w, 2, w, QEMB_ERR_DTYPE, "'weight'"},
    {"a switch that is 2", 1, QEMB_FILE_U8, shape_one, 1, &two, QEMB_ERR_CORRUPT, "fake_quant_enabled"},
    {"a switch of three", 2, QEMB_FILE_U8, shape_rows, 1, w, QEMB_ERR_SHAPE, "observer_enabled"},
    {"a switch in float", 2, QEMB_FILE_F32, shape_one, 1, w, QEMB_ERR_DTYPE, "observer_enabled"},
    {"a scale of one", 3, QEMB_FILE_F32, shape_one, 1, some, QEMB_ERR_SHAPE, "scale"},
    {"a zero point of integers", 4, QEMB_FILE_I32, shape_rows, 1, some, QEMB_ERR_DTYPE, "zero_point"},
    {"eps 0", 5, QEMB_FILE_F32, shape_one, 1, &zero, QEMB_ERR_CORRUPT, "eps"},
    {"eps NaN", 5, QEMB_FILE_F32, shape_one, 1, &nan_eps, QEMB_ERR_CORRUPT, "eps"},
    {"no min_val", 6, QEMB_FILE_F32, shape_none, 1, low, QEMB_ERR_SHAPE, "scale"},
    {"min above max", 6, QEMB_FILE_F32, shape_rows, 1, crossed, QEMB_ERR_CORRUPT, "row 1"},
    {"no max_val", 7, QEMB_FILE_F32, shape_none, 1, high, QEMB_ERR_SHAPE, "max_val"},
};
enum { MISFITS = sizeof misfits / sizeof *misfits };

Test(io_state, what_does_not_fit_is_refused_with_its_key_and_the_module_stays) {
    qemb_context *ctx = NULL;
    OK(qemb_context_create("reference", &ctx));
    qemb_embedding_bag *bag = small_module(ctx);
    float before[6], after[6];
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, 3, before));
    for (size_t k = 0; k < MISFITS + 7; k++) {
        foreign f = torch_file();
        const size_t leave = k - MISFITS; /* beyond the list: without tensor 1 + leave */
        qemb_status want = QEMB_ERR_ARG;
        const char *names = "weight";
        if (k < MISFITS) {
            f.desc[misfits[k].tensor].dtype = misfits[k].dtype;
            f.desc[misfits[k].tensor].shape = misfits[k].shape;
            f.desc[misfits[k].tensor].rank = misfits[k].rank;
            f.data[misfits[k].tensor] = misfits[k].data;
            want = misfits[k].st;
            names = misfits[k].names;
        } else if (leave == 0) {
            f.desc[0].name = "no_weight";
        } else {
            names = f.desc[1 + leave].name;
            f.desc[1 + leave] = f.desc[7];
            f.data[1 + leave] = f.data[7];
            f.count = 7;
        }
        const qemb_status st = load_foreign(&f, bag);
        cr_expect(st == want && strstr(qemb_last_error(), names) && strstr(qemb_last_error(), support_path("f")), "case %zu: %s, %s", k,
                  qemb_status_name(st), qemb_last_error());
        qemb_table_progress p;
        OK(qemb_embedding_bag_read_weight(bag, 0, 0, 3, after));
        OK(qemb_embedding_bag_get_progress(bag, 0, &p));
        cr_expect(memcmp(before, after, sizeof before) == 0 && p.observations == 0, "case %zu changed the module", k);
    }
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

/* The file of a training with one metadata text or tensor replaced. */
static qemb_status load_changed(training *r, const char *key, const char *from, const char *to) {
    qemb_safetensors *file = NULL;
    size_t count = 0;
    char *bytes = support_read(support_path("a"), &count);
    char *at = memmem(bytes, count, key, strlen(key));
    cr_assert(at, "%s", key);
    at = memmem(at, count - (size_t)(at - bytes), from, strlen(from));
    cr_assert(at && strlen(from) == strlen(to));
    memcpy(at, to, strlen(to));
    OK(qemb_safetensors_open(support_write("changed", bytes, count), &file));
    free(bytes);
    qemb_status st = qemb_load_module(file, "embeddings.", r->bag);
    if (st == QEMB_OK) {
        st = qemb_load_optimizer(file, "optimizer.", r->optimizer);
    }
    qemb_safetensors_close(file);
    return st;
}

Test(io_state, damaged_texts_and_other_hyper_parameters_are_refused) {
    static const char *const cases[][4] = {
        {"user.qemb_table", "forwards=2", "forwards=x", "QEMB_ERR_CORRUPT"},
        {"user.qemb_table", "forwards=2", "forwards=9", "QEMB_ERR_CORRUPT"},
        {"user.qemb_table", "observations=2", "observations=0", "QEMB_ERR_CORRUPT"},
        {"user.qemb_table", "observer=min_max", "observer=max_min", "QEMB_ERR_CORRUPT"},
        {"user.qemb_table", "quant_min=0 quant_max=255", "quant_max=0 quant_min=255", "QEMB_ERR_CORRUPT"},
        {"user.qemb_table", "symmetric=0", "symmetric=2", "QEMB_ERR_CORRUPT"},
        {"qemb_optimizer", "kind=adagrad", "kind=lars_sg", "QEMB_ERR_CORRUPT"},
        {"qemb_optimizer", "clip=none", "clip=norm", "QEMB_ERR_ARG"},
        {"qemb_optimizer", "momentum=0", "momentum=1", "QEMB_ERR_ARG"},
        {"qemb_optimizer", "lr=0.01", "lr=-inf", "QEMB_ERR_CORRUPT"},
        {"qemb_optimizer", "lr=0.01", "lr=0x.1", "QEMB_ERR_CORRUPT"},
        {"qemb_optimizer", "maximize=0", "maximise=0", "QEMB_ERR_CORRUPT"},
        {"qemb_optimizer", "0.29999999999999999 eps=1e-10 beta1=0 beta2=0 max_norm=0 trust=0 clip_limit=0",
         "0.2999999999999999 eps=1e-10 beta1=0 beta2=0 max_norm=0 trust=0 clip_limit=0 ", "QEMB_ERR_CORRUPT"},
    };
    const plan *p = &plans[3];
    float seen[MAX_OUT];
    training r = begin("reference", p, 7);
    (void)step(&r, p, 0, seen);
    (void)step(&r, p, 1, seen);
    save(&r, support_path("a"));
    OK(load_changed(&r, "qemb_table", "user", "user"));
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const qemb_status st = load_changed(&r, cases[k][0], cases[k][1], cases[k][2]);
        cr_expect(strcmp(qemb_status_name(st), cases[k][3]) == 0, "%s: %s, want %s: %s", cases[k][2], qemb_status_name(st), cases[k][3],
                  qemb_last_error());
    }
    end(&r);
}

Test(io_state, tensors_and_texts_of_the_caller_are_saved_beside_objects_and_twins_are_refused) {
    qemb_saver *saver = NULL;
    qemb_safetensors *file = NULL;
    int64_t shape[] = {3};
    char text[] = "hello";
    char name[] = "losses";
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_tensor(saver, &(qemb_tensor_desc){name, shape, 1, QEMB_FILE_F32}, some));
    OK(qemb_saver_add_text(saver, "epoch", text));
    shape[0] = 1; /* descriptions and texts were copied */
    text[0] = name[0] = '?';
    OK(qemb_saver_write(saver, support_path("a")));
    OK(qemb_safetensors_open(support_path("a"), &file));
    expect_tensor(file, "losses", QEMB_FILE_F32, 1, 3, 0);
    cr_expect_str_eq(qemb_safetensors_metadata(file, "epoch"), "hello");
    qemb_safetensors_close(file);
    OK(qemb_saver_add_tensor(saver, &(qemb_tensor_desc){"losses", shape, 1, QEMB_FILE_F32}, some));
    cr_expect_eq(qemb_saver_write(saver, support_path("b")), QEMB_ERR_ARG);
    cr_expect_eq(support_count_files("b"), 0);
    qemb_saver_destroy(saver);
}
