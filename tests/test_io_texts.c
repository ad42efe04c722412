/* test_io_texts.c - a saved module, optimiser and packed tables with one thing wrong at a time: each field of each text with each value that
 * it cannot have, each tensor missing, of another type, of another shape, empty. Loading and converting refuse them, or do what they do
 * without it; nothing crashes, and no file is left. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"

TestSuite(io_texts, .init = support_folder_create, .fini = support_folder_remove, .timeout = 120);

#define OK(call) cr_assert_eq((call), QEMB_OK, "%s", qemb_last_error())

enum { MOST = 128, TABLES = 2 };

typedef struct things {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
} things;

static void open_things(things *t) {
    qemb_qconfig qconfig = qemb_qconfig_4bit();
    qconfig.observer = QEMB_OBSERVER_MIN_MAX;
    const qemb_table_desc tables[TABLES] = {
        {.num_embeddings = 5, .embedding_dim = 3, .qconfig = qconfig, .seed = 1, .has_padding_idx = true, .padding_idx = 2},
        {.num_embeddings = 7, .embedding_dim = 3, .qconfig = qconfig, .seed = 2, .has_max_norm = true, .max_norm = 2.0f}};
    static const int64_t ids[] = {1, 2, 3, 4};
    const qemb_input input = {.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT64, .columns = 1};
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    OK(qemb_context_create("reference", &t->ctx));
    OK(qemb_embedding_bag_collection_create(t->ctx, &(qemb_collection_desc){.tables = tables, .num_tables = TABLES}, &t->bag));
    OK(qemb_optimizer_create(t->ctx, t->bag, &(qemb_optimizer_desc){.kind = QEMB_ADAM}, &t->optimizer));
    OK(qemb_batch_create(t->ctx, &batch));
    OK(qemb_batch_set(batch, t->bag, &input));
    OK(qemb_buffer_create(t->ctx, 256, &out));
    OK(qemb_embedding_bag_forward(t->bag, batch, out));
    OK(qemb_embedding_bag_step(t->bag, batch, out, t->optimizer));
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
}

static void close_things(things *t) {
    qemb_optimizer_destroy(t->optimizer);
    qemb_embedding_bag_destroy(t->bag);
    qemb_context_destroy(t->ctx);
}

static void save_things(things *t) {
    qemb_packed *packed = NULL;
    qemb_saver *saver = NULL;
    static const int32_t map[5] = {0, -1, 1, 2, -1};
    OK(qemb_packed_create(t->bag,
                          &(qemb_packed_desc){.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4},
                                              .method = QEMB_PACK_MINMAX,
                                              .row_map = (const int32_t *[]){map, NULL}},
                          &packed));
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_module(saver, "m.", t->bag));
    OK(qemb_saver_add_optimizer(saver, "o.", t->optimizer));
    OK(qemb_saver_add_packed(saver, "p.", packed));
    OK(qemb_saver_write(saver, support_path("good")));
    qemb_saver_destroy(saver);
    qemb_packed_destroy(packed);
}

/* A file in memory, to be written with one thing changed. */
typedef struct contents {
    qemb_safetensors *file;
    int tensors, texts;
    qemb_tensor_desc tensor[MOST];
    const void *data[MOST];
    qemb_metadata text[MOST];
} contents;

static void read_contents(contents *c) {
    OK(qemb_safetensors_open(support_path("good"), &c->file));
    for (int64_t i = 0; i < qemb_safetensors_count(c->file); i++) {
        qemb_tensor_view v;
        OK(qemb_safetensors_at(c->file, i, &v));
        int64_t *shape = malloc(sizeof v.shape);
        cr_assert_not_null(shape);
        memcpy(shape, v.shape, sizeof v.shape);
        c->tensor[c->tensors] = (qemb_tensor_desc){v.name, shape, v.rank, v.dtype};
        c->data[c->tensors++] = v.data;
    }
    for (int64_t i = 0; i < qemb_safetensors_metadata_count(c->file); i++) {
        const char *key = NULL, *text = NULL;
        OK(qemb_safetensors_metadata_at(c->file, i, &key, &text));
        if (strcmp(key, QEMB_FILE_CHECKSUM_KEY) != 0) {
            c->text[c->texts++] = (qemb_metadata){key, text};
        }
    }
}

static void close_contents(contents *c) {
    for (int i = 0; i < c->tensors; i++) {
        free((void *)(uintptr_t)c->tensor[i].shape);
    }
    qemb_safetensors_close(c->file);
}

static struct { int calls, refused; } tally;

static void judge(const char *what, const char *call, qemb_status st) {
    static const qemb_status allowed[] = {QEMB_OK,        QEMB_ERR_CORRUPT,  QEMB_ERR_UNSUPPORTED, QEMB_ERR_SHAPE,
                                          QEMB_ERR_DTYPE, QEMB_ERR_RANGE,    QEMB_ERR_ARG,         QEMB_ERR_INDEX,
                                          QEMB_ERR_STATE, QEMB_ERR_OVERFLOW, QEMB_ERR_NONFINITE};
    bool fine = false;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        fine = fine || st == allowed[i];
    }
    cr_expect(fine, "%s, %s: %s: %s", what, call, qemb_status_name(st), qemb_last_error());
    cr_expect(st == QEMB_OK || strstr(qemb_last_error(), call), "%s, %s: %s", what, call, qemb_last_error());
    tally.calls++;
    tally.refused += st != QEMB_OK;
}

static void try_file(const char *what, const contents *c) {
    things t = {0};
    qemb_safetensors *file = NULL;
    qemb_packed *packed = NULL;
    const qemb_convert_desc planar = {.prefix = "m.", .format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4, .symmetric = true}, .keep = true};
    const qemb_convert_desc observed = {.prefix = "m.", .format = {.layout = QEMB_LAYOUT_FBGEMM, .bits = 4}, .method = QEMB_PACK_OBSERVER};
    open_things(&t);
    OK(qemb_safetensors_save(support_path("bad"), c->tensor, c->data, c->tensors, c->text, c->texts));
    OK(qemb_safetensors_open(support_path("bad"), &file));
    judge(what, "load_module", qemb_load_module(file, "m.", t.bag));
    judge(what, "load_optimizer", qemb_load_optimizer(file, "o.", t.optimizer));
    judge(what, "load_packed", qemb_load_packed(t.ctx, file, "p.", QEMB_LOAD_VERIFY, &packed));
    qemb_packed_destroy(packed);
    judge(what, "convert", qemb_convert(t.ctx, file, &planar, support_path("converted")));
    judge(what, "convert", qemb_convert(t.ctx, file, &observed, support_path("converted")));
    cr_expect_eq(support_count_files(".tmp."), 0, "%s", what);
    qemb_safetensors_close(file);
    close_things(&t);
}

Test(io_texts, fields, .description = "io: each field of each saved text with values that it cannot have: refused, or loaded as ever") {
    static const char *const values[] = {"", "x", "-", "-1", "nan", "1e999", "99999999999999999999", "7.5", "1 more", "0"};
    things t = {0};
    contents c = {0};
    open_things(&t);
    save_things(&t);
    read_contents(&c);
    try_file("as it is", &c);
    cr_assert_eq(tally.refused, 0, "%s", qemb_last_error());
    for (int i = 0; i < c.texts; i++) {
        const char *good = c.text[i].text;
        char bad[4096], what[200];
        for (const char *at = strchr(good, '='); at; at = strchr(at + 1, '=')) {
            for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
                const size_t field = (size_t)(at - good) + 1;
                (void)snprintf(bad, sizeof bad, "%.*s%s%s", (int)field, good, values[k], at + 1 + strcspn(at + 1, " "));
                (void)snprintf(what, sizeof what, "%s, \"%.60s\" at byte %zu", c.text[i].key, values[k], field);
                c.text[i].text = bad;
                try_file(what, &c);
            }
            (void)snprintf(bad, sizeof bad, "%.*s", (int)(at - good), good); /* and cut off */
            try_file(c.text[i].key, &c);
        }
        c.text[i].text = "";
        try_file(c.text[i].key, &c);
        c.text[i].text = good;
        const qemb_metadata gone = c.text[i];
        c.text[i] = c.text[--c.texts];
        try_file("without a text", &c);
        c.text[c.texts++] = c.text[i];
        c.text[i] = gone;
    }
    (void)printf("%d calls, %d refused\n", tally.calls, tally.refused);
    cr_expect_gt(tally.refused, tally.calls / 8);
    close_contents(&c);
    close_things(&t);
}

Test(io_texts, tensors, .description = "io: each saved tensor missing, of another type or shape, empty: refused, or loaded as ever") {
    static const int64_t none[] = {0}, twelve[] = {12}, two[] = {2, 2}, one[] = {1};
    static const float numbers[32] = {-1.0f, 1e30f, -2.0f};
    static const double infinite[16] = {1e300};
    const qemb_tensor_desc forms[] = {{"", none, 1, QEMB_FILE_F32}, {"", twelve, 1, QEMB_FILE_F32}, {"", two, 2, QEMB_FILE_F32},
                                      {"", one, 1, QEMB_FILE_F32},  {"", one, 1, QEMB_FILE_I64},    {"", one, 1, QEMB_FILE_BOOL},
                                      {"", NULL, 0, QEMB_FILE_F32}, {"", twelve, 1, QEMB_FILE_F64}, {"", two, 2, QEMB_FILE_U8}};
    things t = {0};
    contents c = {0};
    open_things(&t);
    save_things(&t);
    read_contents(&c);
    for (int i = 0; i < c.tensors; i++) {
        const qemb_tensor_desc good = c.tensor[i];
        const void *data = c.data[i];
        for (size_t k = 0; k < sizeof forms / sizeof *forms; k++) {
            c.tensor[i] = forms[k];
            c.tensor[i].name = good.name;
            c.data[i] = k % 2 ? (const void *)numbers : (const void *)infinite;
            try_file(good.name, &c);
        }
        c.tensor[i] = good;
        c.data[i] = infinite;
        int64_t elements = 1;
        for (int r = 0; r < good.rank; r++) {
            elements *= good.shape[r];
        }
        if (elements <= 16) { /* the right form, other bytes */
            try_file(good.name, &c);
        }
        c.tensor[i] = c.tensor[c.tensors - 1];
        c.data[i] = c.data[--c.tensors];
        try_file("without a tensor", &c);
        c.tensor[c.tensors] = c.tensor[i];
        c.data[c.tensors++] = c.data[i];
        c.tensor[i] = good;
        c.data[i] = data;
    }
    (void)printf("%d calls, %d refused\n", tally.calls, tally.refused);
    cr_expect_gt(tally.refused, tally.calls / 8);
    close_contents(&c);
    close_things(&t);
}
