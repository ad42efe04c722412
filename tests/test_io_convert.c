/* test_io_convert.c - state dicts to packed files: the bytes of packing the module itself, in pieces, for files of this library and of torch. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/row_pack.h"
#include "support_files.h"
#include "support_ok.h"

TestSuite(io_convert, .init = support_folder_create, .fini = support_folder_remove);

static qemb_status convert(qemb_context *ctx, const char *from, const qemb_convert_desc *desc, const char *to) {
    qemb_safetensors *file = NULL;
    qemb_status st = qemb_safetensors_open(from, &file);
    st = st == QEMB_OK ? qemb_convert(ctx, file, desc, to) : st;
    qemb_safetensors_close(file);
    return st;
}

static qemb_packed *load(qemb_context *ctx, const char *path) {
    qemb_safetensors *file = NULL;
    qemb_packed *packed = NULL;
    OK(qemb_safetensors_open(path, &file));
    OK(qemb_load_packed(ctx, file, NULL, QEMB_LOAD_VERIFY, &packed));
    qemb_safetensors_close(file);
    return packed;
}

/* Every byte of table t of both. */
static void expect_same_table(const char *what, qemb_packed *a, qemb_packed *b, int32_t t) {
    qemb_packed_table d, e;
    OK(qemb_packed_get_table(a, t, &d));
    OK(qemb_packed_get_table(b, t, &e));
    cr_assert(strcmp(d.name, e.name) == 0 && d.num_rows == e.num_rows && d.rows_bytes == e.rows_bytes &&
                  d.qparams_bytes == e.qparams_bytes && d.has_padding_idx == e.has_padding_idx && d.padding_idx == e.padding_idx &&
                  d.has_max_norm == e.has_max_norm && d.max_norm == e.max_norm,
              "%s: table %d '%s' is described otherwise", what, t, e.name);
    const bool planar = d.format.layout == QEMB_LAYOUT_PLANAR;
    unsigned char *bytes[4];
    for (int k = 0; k < 2; k++) {
        bytes[2 * k] = malloc((size_t)d.rows_bytes + 1);
        bytes[2 * k + 1] = malloc((size_t)d.qparams_bytes + 1);
        OK(qemb_packed_read_rows(k ? b : a, t, 0, d.num_rows, bytes[2 * k], planar ? bytes[2 * k + 1] : NULL));
    }
    cr_expect(memcmp(bytes[0], bytes[2], (size_t)d.rows_bytes) == 0 && memcmp(bytes[1], bytes[3], (size_t)d.qparams_bytes) == 0,
              "%s: bytes of table %d", what, t);
    for (int k = 0; k < 4; k++) {
        free(bytes[k]);
    }
}

/* Three tables under names whose order in a file is not theirs, a forward behind them. */
static qemb_embedding_bag *module_of(qemb_context *ctx, int32_t bits, qemb_observer observer) {
    static const char *const names[] = {"zebra", "ape", "mole"};
    static const int32_t features[] = {2, 0, 1, 2};
    static const int64_t rows[] = {31, 13, 53}, dims[] = {11, 17, 5};
    qemb_table_desc d[3];
    int32_t indices[4 * 7], offsets[4 * 7];
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    for (int t = 0; t < 3; t++) {
        d[t] = (qemb_table_desc){.num_embeddings = rows[t],
                                 .embedding_dim = dims[t],
                                 .seed = 5 + (uint64_t)t,
                                 .name = names[t],
                                 .has_padding_idx = t == 0,
                                 .padding_idx = t == 0 ? 3 : 0,
                                 .has_max_norm = t == 1,
                                 .max_norm = t == 1 ? 2.5f : 0.0f,
                                 .qconfig = {.quant_max = (1 << bits) - 1, .observer = observer, .averaging_constant = 0.5f}};
    }
    OK(qemb_embedding_bag_collection_create(
        ctx,
        &(qemb_collection_desc){
            .tables = d, .num_tables = 3, .feature_table = features, .num_features = 4, .options = {.mode = QEMB_MODE_SUM}},
        &bag));
    for (int i = 0; i < 4 * 7; i++) {
        indices[i] = i % 13;
        offsets[i] = i;
    }
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, 7 * 64 * sizeof(float), &out));
    const qemb_input input = {.indices = indices, .num_indices = 28, .indices_dtype = QEMB_INT32, .offsets = offsets, .num_offsets = 28};
    OK(qemb_batch_set(batch, bag, &input));
    OK(qemb_embedding_bag_forward(bag, batch, out));
    float weight[13 * 17]; /* rows that changed after the forward: their range is not the row's own */
    OK(qemb_embedding_bag_read_weight(bag, 1, 0, 13, weight));
    for (int i = 0; i < 13 * 17; i++) {
        weight[i] *= 0.75f;
    }
    OK(qemb_embedding_bag_write_weight(bag, 1, 0, 13, weight));
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    return bag;
}

static void save(qemb_embedding_bag *bag, const char *path) {
    qemb_saver *saver = NULL;
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_module(saver, "model.", bag));
    OK(qemb_saver_write(saver, path));
    qemb_saver_destroy(saver);
}

Test(io_convert, a_saved_module_becomes_what_packing_it_gives_with_its_features_and_options) {
    static const qemb_pack_method methods[] = {QEMB_PACK_MINMAX, QEMB_PACK_OBSERVER, QEMB_PACK_GREEDY};
    static const qemb_observer observers[] = {QEMB_OBSERVER_MOVING_AVERAGE, QEMB_OBSERVER_MIN_MAX, QEMB_OBSERVER_MEMORYLESS};
    qemb_context *ctx = NULL;
    OK(qemb_context_create("reference", &ctx));
    for (int k = 0; k < OP_NUM_FORMATS; k++) {
        const qemb_packed_format *f = &op_formats[k].format;
        const qemb_pack_method method = methods[k % 3 == 1 && f->symmetric ? 0 : (k + k / 3) % 3];
        if (method == QEMB_PACK_OBSERVER && f->symmetric) {
            continue; /* refused: the module's arithmetic is affine */
        }
        qemb_embedding_bag *bag = module_of(ctx, f->bits, observers[k / 3 % 3]);
        qemb_packed *direct = NULL;
        qemb_packed_info a, b;
        save(bag, support_path("state"));
        OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = *f, .method = method}, &direct));
        OK(convert(ctx, support_path("state"), &(qemb_convert_desc){.format = *f, .method = method}, support_path("packed")));
        qemb_packed *through = load(ctx, support_path("packed"));
        OK(qemb_packed_get_info(direct, &a));
        OK(qemb_packed_get_info(through, &b));
        cr_expect(a.num_features == b.num_features && a.output_dim == b.output_dim && a.options.mode == b.options.mode &&
                  a.pooled == b.pooled);
        for (int32_t i = 0; i < a.num_features; i++) {
            cr_expect_eq(qemb_packed_feature_table(direct, i), qemb_packed_feature_table(through, i));
        }
        for (int32_t t = 0; t < 3; t++) {
            expect_same_table(op_formats[k].name, direct, through, t);
        }
        qemb_packed_destroy(direct);
        qemb_packed_destroy(through);
        qemb_embedding_bag_destroy(bag);
    }
    qemb_context_destroy(ctx);
}

/* A file of others: an embedding of `rows` x `dim` beside a layer of a network. */
static void foreign(const char *path, float *weight, int64_t rows, int64_t dim) {
    static const float layer[6] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    const int64_t shape[] = {rows, dim};
    const int64_t layer_shape[] = {2, 3};
    const qemb_tensor_desc d[] = {{"emb_l.0.weight", shape, 2, QEMB_FILE_F32}, {"top_l.0.weight", layer_shape, 2, QEMB_FILE_F32}};
    OK(qemb_safetensors_save(path, d, (const void *[]){weight, layer}, 2, &(qemb_metadata){"epoch", "3"}, 1));
}

static bool count_progress(void *user, int64_t done, int64_t total) {
    int *calls = user;
    cr_expect(done > 0 && done <= total);
    return ++*calls < 100;
}

static bool stop(void *user, int64_t done, int64_t total) {
    (void)user;
    return done > total;
}

/* clang-format off */
Test(io_convert, a_table_larger_than_a_piece_passes_in_pieces_with_the_same_bytes, .timeout = 120) {
    enum { ROWS = 140009, DIM = 61 }; /* 34 MB: one piece and a bit */
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_packed *direct = NULL;
    int calls = 0;
    float *weight = malloc((size_t)ROWS * DIM * sizeof(float));
    OK(qemb_context_create("opencl", &ctx));
    op_row_pack_fill(weight, ROWS, DIM, 11, false);
    foreign(support_path("f"), weight, ROWS, DIM);
    qemb_convert_desc desc = {.prefix = "emb_l.", .format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4, .qparams = QEMB_QPARAMS_BF16},
                              .options = {.mode = QEMB_MODE_SUM}, .has_padding_idx = true, .padding_idx = -1, .keep = true, .progress = count_progress,
                              .user = &calls};
    OK(convert(ctx, support_path("f"), &desc, support_path("packed")));
    cr_expect_gt(calls, 1);
    qemb_packed *through = load(ctx, support_path("packed"));
    OK(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_4bit(), .name = "emb_l.0",
                                                                  .weight = weight, .has_padding_idx = true, .padding_idx = ROWS - 1},
                                 &bag));
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = desc.format}, &direct));
    expect_same_table("pieces", direct, through, 0);
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_open(support_path("packed"), &file));
    cr_expect(qemb_safetensors_find(file, "top_l.0.weight") >= 0 && qemb_safetensors_find(file, "emb_l.0.weight") < 0, "the rest is kept");
    cr_expect_str_eq(qemb_safetensors_metadata(file, "epoch"), "3");
    qemb_safetensors_close(file);
    desc.progress = stop;
    cr_expect_eq(convert(ctx, support_path("f"), &desc, support_path("stopped")), QEMB_ERR_STATE);
    cr_expect_eq(support_count_files("stopped"), 0);
    qemb_packed_destroy(direct);
    qemb_packed_destroy(through);
    qemb_embedding_bag_destroy(bag);
    free(weight);
    qemb_context_destroy(ctx);
}
/* clang-format on */

Test(io_convert, rows_and_files_that_cannot_be_packed_are_refused_with_file_tensor_and_row) {
    enum { ROWS = 31, DIM = 11 };
    float weight[ROWS * DIM];
    qemb_context *ctx = NULL;
    OK(qemb_context_create("reference", &ctx));
    op_row_pack_fill(weight, ROWS, DIM, 11, false);
    weight[7 * DIM + 3] = NAN;
    qemb_convert_desc desc = {.prefix = "emb_l.", .format = {.layout = QEMB_LAYOUT_FBGEMM, .bits = 4}};
    foreign(support_path("f"), weight, ROWS, DIM);
    cr_expect_eq(convert(ctx, support_path("f"), &desc, support_path("p")), QEMB_ERR_NONFINITE);
    cr_expect(strstr(qemb_last_error(), support_path("f")) && strstr(qemb_last_error(), "emb_l.0.weight") &&
                  strstr(qemb_last_error(), "row 7"),
              "%s", qemb_last_error());
    weight[7 * DIM + 3] = 3e6f;
    foreign(support_path("f"), weight, ROWS, DIM);
    cr_expect_eq(convert(ctx, support_path("f"), &desc, support_path("p")), QEMB_ERR_RANGE);
    desc.flags = QEMB_PACK_AS_PEER;
    OK(convert(ctx, support_path("f"), &desc, support_path("peer")));
    desc.flags = 0;
    desc.method = QEMB_PACK_OBSERVER;
    cr_expect_eq(convert(ctx, support_path("f"), &desc, support_path("p")), QEMB_ERR_STATE, "no observer state");
    desc.method = QEMB_PACK_MINMAX;
    desc.prefix = "none.";
    cr_expect_eq(convert(ctx, support_path("f"), &desc, support_path("p")), QEMB_ERR_ARG);
    desc.prefix = "emb_l.";
    desc.format.bits = 3;
    cr_expect_eq(convert(ctx, support_path("f"), &desc, support_path("p")), QEMB_ERR_ARG);
    cr_expect_eq(support_count_files("p"), 1, "peer alone");
    qemb_context_destroy(ctx);
}
