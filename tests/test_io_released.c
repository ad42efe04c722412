/* test_io_released.c - files of released versions load, and give the bits that they gave then: tests/released/VERSION/, never rewritten.
 *
 * QEMB_RELEASE=FOLDER writes the files of this version there and prints the sums that belong into the table below. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_ok.h"

enum { TABLES = 2, BAGS = 3, LOOKUPS = 4, STEPS = 5, MAX_OUT = 64 };

typedef struct world {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_batch *batch;
    qemb_buffer *out, *grad;
} world;

/* Two tables that are moved by Adam, their observers by a moving average; weights from `scale`, so that nothing depends on a generator. */
static world begin(float scale) {
    static const int64_t rows[] = {7, 11}, dims[] = {5, 3};
    static const char *const names[] = {"user", "item"};
    float weight[TABLES][64];
    qemb_table_desc d[TABLES];
    world w = {0};
    for (int t = 0; t < TABLES; t++) {
        for (int64_t i = 0; i < rows[t] * dims[t]; i++) {
            weight[t][i] = scale * (float)((i * 37 + t * 11) % 101 - 50);
        }
        d[t] = (qemb_table_desc){.num_embeddings = rows[t],
                                 .embedding_dim = dims[t],
                                 .name = names[t],
                                 .weight = weight[t],
                                 .has_padding_idx = t == 1,
                                 .padding_idx = t == 1 ? 2 : 0,
                                 .qconfig = {.quant_max = t ? 255 : 15, .averaging_constant = 0.25f}};
    }
    OK(qemb_context_create("reference", &w.ctx));
    OK(qemb_embedding_bag_collection_create(
        w.ctx, &(qemb_collection_desc){.tables = d, .num_tables = TABLES, .options = {.mode = QEMB_MODE_SUM}}, &w.bag));
    OK(qemb_optimizer_create(w.ctx, w.bag, &(qemb_optimizer_desc){.kind = QEMB_ADAM, .lr = 0.125}, &w.optimizer));
    OK(qemb_batch_create(w.ctx, &w.batch));
    OK(qemb_buffer_create(w.ctx, MAX_OUT * sizeof(float), &w.out));
    OK(qemb_buffer_create(w.ctx, MAX_OUT * sizeof(float), &w.grad));
    return w;
}

static void end(world *w) {
    qemb_optimizer_destroy(w->optimizer);
    qemb_embedding_bag_destroy(w->bag);
    qemb_batch_destroy(w->batch);
    qemb_buffer_destroy(w->out);
    qemb_buffer_destroy(w->grad);
    qemb_context_destroy(w->ctx);
}

/* FNV-1a. */
static uint64_t sum(uint64_t hash, const void *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    }
    return hash;
}

static qemb_input lookups(int64_t number) {
    static int32_t indices[TABLES * BAGS * LOOKUPS];
    for (int32_t i = 0; i < TABLES * BAGS * LOOKUPS; i++) {
        indices[i] = (int32_t)((i * 5 + number * 3) % 7);
    }
    return (qemb_input){.indices = indices, .num_indices = TABLES * BAGS * LOOKUPS, .indices_dtype = QEMB_INT32, .columns = LOOKUPS};
}

/* Steps [from, from + STEPS), the outputs summed. */
static uint64_t train(world *w, int64_t from) {
    float values[MAX_OUT];
    uint64_t hash = 14695981039346656037u;
    for (int64_t k = from; k < from + STEPS; k++) {
        const qemb_input input = lookups(k);
        OK(qemb_batch_set(w->batch, w->bag, &input));
        OK(qemb_embedding_bag_forward(w->bag, w->batch, w->out));
        OK(qemb_buffer_read(w->out, 0, BAGS * 8 * sizeof(float), values));
        hash = sum(hash, values, BAGS * 8 * sizeof(float));
        for (int i = 0; i < BAGS * 8; i++) {
            values[i] = (float)((i * 13 + k) % 17 - 8) * 0.0625f;
        }
        OK(qemb_buffer_write(w->grad, 0, BAGS * 8 * sizeof(float), values));
        OK(qemb_embedding_bag_step(w->bag, w->batch, w->grad, w->optimizer));
    }
    return hash;
}

static uint64_t serve(qemb_context *ctx, const qemb_safetensors *file, const char *prefix) {
    float values[MAX_OUT];
    qemb_packed *packed = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    const qemb_input input = lookups(1);
    OK(qemb_load_packed(ctx, (qemb_safetensors *)(uintptr_t)file, prefix, QEMB_LOAD_VERIFY, &packed));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, sizeof values, &out));
    OK(qemb_packed_batch_set(packed, batch, &input));
    OK(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32));
    OK(qemb_buffer_read(out, 0, BAGS * 8 * sizeof(float), values));
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_packed_destroy(packed);
    return sum(14695981039346656037u, values, BAGS * 8 * sizeof(float));
}

static const qemb_packed_format formats[] = {{QEMB_LAYOUT_TORCH_ROWWISE, 8, 0, 0, false},
                                             {QEMB_LAYOUT_FBGEMM, 4, 16, 0, false},
                                             {QEMB_LAYOUT_PLANAR, 2, 0, QEMB_QPARAMS_POW2, false},
                                             {QEMB_LAYOUT_PLANAR, 4, 0, QEMB_QPARAMS_BF16, true}};
enum { FORMATS = sizeof formats / sizeof *formats };

typedef struct sums {
    uint64_t training, serving[FORMATS];
} sums;

static sums sums_of(const char *path) {
    sums s;
    qemb_safetensors *file = NULL;
    world w = begin(1.0f);
    OK(qemb_safetensors_open(path, &file));
    OK(qemb_safetensors_verify(file));
    OK(qemb_load_module(file, "model.", w.bag));
    OK(qemb_load_optimizer(file, "optimizer.", w.optimizer));
    s.training = train(&w, STEPS);
    for (int k = 0; k < FORMATS; k++) {
        char prefix[32];
        (void)snprintf(prefix, sizeof prefix, "packed%d.", k);
        s.serving[k] = serve(w.ctx, file, prefix);
    }
    qemb_safetensors_close(file);
    end(&w);
    return s;
}

static void write_release(const char *folder) {
    static const int32_t map[11] = {0, 1, -1, 2, 3, 0, 1, 2, 3, -1, 0};
    static const int32_t *const maps[TABLES] = {NULL, map};
    char path[1024];
    qemb_saver *saver = NULL;
    qemb_packed *packed[FORMATS] = {NULL};
    world w = begin(0.0078125f);
    (void)train(&w, 0);
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_module(saver, "model.", w.bag));
    OK(qemb_saver_add_optimizer(saver, "optimizer.", w.optimizer));
    for (int k = 0; k < FORMATS; k++) {
        (void)snprintf(path, sizeof path, "packed%d.", k);
        OK(qemb_packed_create(w.bag, &(qemb_packed_desc){.format = formats[k], .method = QEMB_PACK_MINMAX, .row_map = k % 2 ? maps : NULL},
                              &packed[k]));
        OK(qemb_saver_add_packed(saver, path, packed[k]));
    }
    (void)snprintf(path, sizeof path, "%s/everything.safetensors", folder);
    OK(qemb_saver_write(saver, path));
    qemb_saver_destroy(saver);
    for (int k = 0; k < FORMATS; k++) {
        qemb_packed_destroy(packed[k]);
    }
    const uint64_t direct = train(&w, STEPS);
    end(&w);
    const sums s = sums_of(path);
    cr_assert_eq(direct, s.training);
    cr_log_warn("{\"%s\", {0x%016llxu, {0x%016llxu, 0x%016llxu, 0x%016llxu, 0x%016llxu}}},", path, (unsigned long long)s.training,
                (unsigned long long)s.serving[0], (unsigned long long)s.serving[1], (unsigned long long)s.serving[2],
                (unsigned long long)s.serving[3]);
}

static const struct {
    const char *path;
    sums want;
} released[] = {
    {"tests/released/0.1/everything.safetensors",
     {0x7c2e00505ec10ac5u, {0x0eb346ef452c5973u, 0xa6bb44b5d52f99b2u, 0x917020da7a2befddu, 0xdd3478066302fb51u}}},
};

Test(io_released, files_of_every_released_version_go_on_and_serve_with_the_bits_of_then) {
    if (getenv("QEMB_RELEASE")) {
        write_release(getenv("QEMB_RELEASE"));
        return;
    }
    for (size_t k = 0; k < sizeof released / sizeof *released; k++) {
        const sums got = sums_of(released[k].path);
        cr_expect_eq(got.training, released[k].want.training, "%s: training goes on otherwise", released[k].path);
        for (int f = 0; f < FORMATS; f++) {
            cr_expect_eq(got.serving[f], released[k].want.serving[f], "%s: packed%d is served otherwise", released[k].path, f);
        }
    }
}
