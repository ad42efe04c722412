/* test_bad_calls.c - bad values for the functions of qemb_io.h, which need no device: every pointer NULL in turn, numbers outside their
 * ranges, names and ranks that no file may hold. The right class, a sentence that names the function, outputs untouched; then a good call. */
#include <criterion/criterion.h>

#include <qemb/qemb_io.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scoreboard.h"
#include "support_files.h"
#include "support_ok.h"

static int64_t calls, wrong;

static void refused(qemb_status got, qemb_status want, const char *name, const char *text) {
    calls++;
    if (got != want || !strstr(qemb_last_error(), name)) {
        wrong++;
        cr_expect(false, "%s: %s, want %s by name of %s: %s", text, qemb_status_name(got), qemb_status_name(want), name, qemb_last_error());
    }
}

#define BAD(want, name, call) refused((call), QEMB_ERR_##want, name, #call)
/* Which of the row R4 of the scoreboard. */
static void report(const char *detail) {
    scoreboard("R4", wrong == 0, detail, "%lld bad calls refused, %lld wrongly", (long long)(calls - wrong), (long long)wrong);
    cr_assert_eq(wrong, 0);
}

TestSuite(bad_calls, .init = support_folder_create, .fini = support_folder_remove);

enum { ROWS = 7, DIM = 5 };

typedef struct scene {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_packed *packed;
    qemb_saver *saver;
    qemb_safetensors *file;
    char path[600];
} scene;

static scene open_scene(void) {
    scene s = {0};
    (void)snprintf(s.path, sizeof s.path, "%s", support_path("good"));
    OK(qemb_context_create("reference", &s.ctx));
    OK(qemb_embedding_bag_create(
        s.ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_8bit(), .seed = 3},
        &s.bag));
    OK(qemb_optimizer_create(s.ctx, s.bag, &(qemb_optimizer_desc){.kind = QEMB_ADAM, .lr = 0.125}, &s.optimizer));
    OK(qemb_packed_create(s.bag, NULL, &s.packed));
    OK(qemb_saver_create(&s.saver));
    OK(qemb_saver_add_module(s.saver, "m.", s.bag));
    OK(qemb_saver_add_optimizer(s.saver, "o.", s.optimizer));
    OK(qemb_saver_add_packed(s.saver, "p.", s.packed));
    OK(qemb_saver_write(s.saver, s.path));
    OK(qemb_safetensors_open(s.path, &s.file));
    return s;
}

static void close_scene(scene *s) {
    qemb_safetensors_close(s->file);
    qemb_saver_destroy(s->saver);
    qemb_packed_destroy(s->packed);
    qemb_optimizer_destroy(s->optimizer);
    qemb_embedding_bag_destroy(s->bag);
    qemb_context_destroy(s->ctx);
}

Test(bad_calls, savers, .description = "saver_*: NULL in every place, ranks, shapes and names that no file may hold, are refused by name") {
    scene s = open_scene();
    const int64_t shape[] = {2, 3}, negative[] = {2, -3}, huge[] = {INT64_MAX / 2, 3}, none[] = {0, 3};
    const float data[6] = {0};
    const qemb_tensor_desc good = {"t", shape, 2, QEMB_FILE_F32};
    qemb_tensor_desc desc = good;
    BAD(ARG, "saver_create", qemb_saver_create(NULL));
    BAD(ARG, "saver_add_module", qemb_saver_add_module(NULL, "x.", s.bag));
    BAD(ARG, "saver_add_module", qemb_saver_add_module(s.saver, "x.", NULL));
    BAD(ARG, "saver_add_optimizer", qemb_saver_add_optimizer(NULL, "x.", s.optimizer));
    BAD(ARG, "saver_add_optimizer", qemb_saver_add_optimizer(s.saver, "x.", NULL));
    BAD(ARG, "saver_add_packed", qemb_saver_add_packed(NULL, "x.", s.packed));
    BAD(ARG, "saver_add_packed", qemb_saver_add_packed(s.saver, "x.", NULL));
    BAD(ARG, "saver_add_tensor", qemb_saver_add_tensor(NULL, &good, data));
    BAD(ARG, "saver_add_tensor", qemb_saver_add_tensor(s.saver, NULL, data));
    BAD(ARG, "saver_add_tensor", qemb_saver_add_tensor(s.saver, &good, NULL));
    desc.name = NULL;
    BAD(ARG, "saver_add_tensor", qemb_saver_add_tensor(s.saver, &desc, data));
    desc = good;
    desc.shape = NULL;
    BAD(ARG, "saver_add_tensor", qemb_saver_add_tensor(s.saver, &desc, data));
    desc = good;
    desc.rank = -1;
    BAD(SHAPE, "saver_add_tensor", qemb_saver_add_tensor(s.saver, &desc, data));
    desc.rank = QEMB_FILE_MAX_RANK + 1;
    BAD(SHAPE, "saver_add_tensor", qemb_saver_add_tensor(s.saver, &desc, data));
    BAD(ARG, "saver_add_text", qemb_saver_add_text(NULL, "k", "v"));
    BAD(ARG, "saver_add_text", qemb_saver_add_text(s.saver, NULL, "v"));
    BAD(ARG, "saver_add_text", qemb_saver_add_text(s.saver, "k", NULL));
    BAD(ARG, "saver_write", qemb_saver_write(NULL, s.path));
    BAD(ARG, "saver_write", qemb_saver_write(s.saver, NULL));
    BAD(IO, "saver_write", qemb_saver_write(s.saver, "/nobody/was/here"));
    BAD(ARG, "saver_write", qemb_saver_write(s.saver, ""));
    desc = good;
    desc.shape = none;
    OK(qemb_saver_add_tensor(s.saver, &desc, NULL)); /* no elements: no data needed */
    OK(qemb_saver_write(s.saver, s.path));
    for (int k = 0; k < 2; k++) { /* sizes are judged when they are written */
        qemb_saver *other = NULL;
        OK(qemb_saver_create(&other));
        desc.shape = k ? huge : negative;
        OK(qemb_saver_add_tensor(other, &desc, data));
        if (k) {
            BAD(OVERFLOW, "saver_write", qemb_saver_write(other, support_path("never")));
        } else {
            BAD(SHAPE, "saver_write", qemb_saver_write(other, support_path("never")));
        }
        qemb_saver_destroy(other);
    }
    cr_expect_eq(support_count_files("never"), 0);
    qemb_saver_destroy(NULL);
    close_scene(&s);
    report("savers");
}

Test(bad_calls, loaders,
     .description = "load_*, convert: NULL in every place, wrong prefixes, flags and methods, are refused by name; nothing is made") {
    scene s = open_scene();
    qemb_packed *packed = NULL;
    const char *path = support_path("packed");
    qemb_convert_desc desc = {.format = {.bits = 4}, .prefix = "m."};
    BAD(ARG, "load_module", qemb_load_module(NULL, "m.", s.bag));
    BAD(ARG, "load_module", qemb_load_module(s.file, "m.", NULL));
    BAD(ARG, "load_module", qemb_load_module(s.file, "x.", s.bag));
    BAD(ARG, "load_module", qemb_load_module(s.file, NULL, s.bag));
    BAD(ARG, "load_optimizer", qemb_load_optimizer(NULL, "o.", s.optimizer));
    BAD(ARG, "load_optimizer", qemb_load_optimizer(s.file, "o.", NULL));
    BAD(ARG, "load_optimizer", qemb_load_optimizer(s.file, "x.", s.optimizer));
    BAD(ARG, "load_optimizer", qemb_load_optimizer(s.file, NULL, s.optimizer));
    BAD(ARG, "load_packed", qemb_load_packed(NULL, s.file, "p.", 0, &packed));
    BAD(ARG, "load_packed", qemb_load_packed(s.ctx, NULL, "p.", 0, &packed));
    BAD(ARG, "load_packed", qemb_load_packed(s.ctx, s.file, "x.", 0, &packed));
    BAD(ARG, "load_packed", qemb_load_packed(s.ctx, s.file, NULL, 0, &packed));
    BAD(ARG, "load_packed", qemb_load_packed(s.ctx, s.file, "p.", 0, NULL));
    BAD(ARG, "load_packed", qemb_load_packed(s.ctx, s.file, "p.", 8, &packed));
    BAD(ARG, "load_packed", qemb_load_packed(s.ctx, s.file, "p.", UINT32_MAX, &packed));
    cr_expect_null(packed);
    BAD(ARG, "convert", qemb_convert(NULL, s.file, &desc, path));
    BAD(ARG, "convert", qemb_convert(s.ctx, NULL, &desc, path));
    BAD(ARG, "convert", qemb_convert(s.ctx, s.file, NULL, path));
    BAD(ARG, "convert", qemb_convert(s.ctx, s.file, &desc, NULL));
    desc.prefix = "nobody.";
    BAD(ARG, "convert", qemb_convert(s.ctx, s.file, &desc, path));
    desc.prefix = "m.";
    desc.method = (qemb_pack_method)3;
    BAD(ARG, "convert", qemb_convert(s.ctx, s.file, &desc, path));
    desc.method = (qemb_pack_method)-1;
    BAD(ARG, "convert", qemb_convert(s.ctx, s.file, &desc, path));
    desc.method = QEMB_PACK_OBSERVER; /* observes once more; the module was never observed, so there is no min_val to go on from */
    BAD(STATE, "convert", qemb_convert(s.ctx, s.file, &desc, path));
    desc.method = QEMB_PACK_MINMAX;
    desc.format.bits = 3;
    BAD(ARG, "convert", qemb_convert(s.ctx, s.file, &desc, path));
    desc.format.bits = 4;
    BAD(IO, "convert", qemb_convert(s.ctx, s.file, &desc, "/nobody/was/here"));
    cr_expect_eq(support_count_files("packed"), 0);
    OK(qemb_load_module(s.file, "m.", s.bag));
    OK(qemb_load_optimizer(s.file, "o.", s.optimizer));
    OK(qemb_load_packed(s.ctx, s.file, "p.", 0, &packed));
    OK(qemb_convert(s.ctx, s.file, &desc, path));
    qemb_packed_destroy(packed);
    close_scene(&s);
    report("loaders");
}

Test(bad_calls, safetensors,
     .description = "safetensors_*, reading: NULL in every place, indices and rows out of range, are refused by name") {
    scene s = open_scene();
    qemb_safetensors *file = NULL;
    qemb_tensor_view view;
    const char *key = NULL, *text = NULL;
    char bytes[64];
    BAD(ARG, "safetensors_open", qemb_safetensors_open(NULL, &file));
    BAD(ARG, "safetensors_open", qemb_safetensors_open(s.path, NULL));
    BAD(IO, "safetensors_open", qemb_safetensors_open("/nobody/was/here", &file));
    BAD(UNSUPPORTED, "safetensors_open", qemb_safetensors_open("/dev/null", &file));
    cr_expect_null(file);
    cr_expect_eq(qemb_safetensors_count(NULL), 0);
    cr_expect_eq(qemb_safetensors_find(NULL, "x"), -1);
    cr_expect_eq(qemb_safetensors_find(s.file, NULL), -1);
    cr_expect_null(qemb_safetensors_metadata(NULL, "x"));
    cr_expect_null(qemb_safetensors_metadata(s.file, NULL));
    cr_expect_eq(qemb_safetensors_metadata_count(NULL), 0);
    BAD(ARG, "safetensors_at", qemb_safetensors_at(NULL, 0, &view));
    BAD(ARG, "safetensors_at", qemb_safetensors_at(s.file, 0, NULL));
    BAD(RANGE, "safetensors_at", qemb_safetensors_at(s.file, -1, &view));
    BAD(RANGE, "safetensors_at", qemb_safetensors_at(s.file, INT64_MAX, &view));
    BAD(ARG, "safetensors_tensor", qemb_safetensors_tensor(NULL, "x", &view));
    BAD(ARG, "safetensors_tensor", qemb_safetensors_tensor(s.file, NULL, &view));
    BAD(ARG, "safetensors_tensor", qemb_safetensors_tensor(s.file, "x", NULL));
    BAD(ARG, "safetensors_tensor", qemb_safetensors_tensor(s.file, "x", &view));
    BAD(ARG, "safetensors_metadata_at", qemb_safetensors_metadata_at(NULL, 0, &key, &text));
    BAD(ARG, "safetensors_metadata_at", qemb_safetensors_metadata_at(s.file, 0, NULL, &text));
    BAD(ARG, "safetensors_metadata_at", qemb_safetensors_metadata_at(s.file, 0, &key, NULL));
    BAD(RANGE, "safetensors_metadata_at", qemb_safetensors_metadata_at(s.file, -1, &key, &text));
    BAD(RANGE, "safetensors_metadata_at", qemb_safetensors_metadata_at(s.file, INT64_MAX, &key, &text));
    BAD(ARG, "safetensors_read_rows", qemb_safetensors_read_rows(NULL, "m.weight", 0, 1, bytes));
    BAD(ARG, "safetensors_read_rows", qemb_safetensors_read_rows(s.file, NULL, 0, 1, bytes));
    BAD(ARG, "safetensors_read_rows", qemb_safetensors_read_rows(s.file, "m.weight", 0, 1, NULL));
    BAD(RANGE, "safetensors_read_rows", qemb_safetensors_read_rows(s.file, "m.weight", -1, 1, bytes));
    BAD(RANGE, "safetensors_read_rows", qemb_safetensors_read_rows(s.file, "m.weight", ROWS, 1, bytes));
    BAD(RANGE, "safetensors_read_rows", qemb_safetensors_read_rows(s.file, "m.weight", 0, INT64_MAX, bytes));
    BAD(ARG, "safetensors_verify", qemb_safetensors_verify(NULL));
    cr_expect_str_eq(qemb_file_dtype_name(QEMB_FILE_DTYPE_COUNT), "?");
    cr_expect_eq(qemb_file_dtype_bits((qemb_file_dtype)-1), 0);
    qemb_safetensors_close(NULL);
    close_scene(&s);
    report("safetensors, reading");
}

static const int64_t two_by_three[] = {2, 3};
static const qemb_tensor_desc good_tensor = {"t", two_by_three, 2, QEMB_FILE_U8};

Test(bad_calls, layouts,
     .description = "safetensors_writer_create: NULL in every place, counts, names and sizes that no file has, are refused by name") {
    const qemb_tensor_desc good = good_tensor;
    qemb_tensor_desc desc = good;
    qemb_safetensors_writer *writer = NULL;
    const char *path = support_path("written");
    const int64_t huge[] = {INT64_MAX, INT64_MAX};
    char long_name[QEMB_FILE_MAX_NAME + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(NULL, &good, 1, NULL, 0, &writer));
    BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(path, NULL, 1, NULL, 0, &writer));
    BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(path, &good, 1, NULL, 1, &writer));
    BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(path, &good, 1, NULL, 0, NULL));
    BAD(RANGE, "safetensors_writer_create", qemb_safetensors_writer_create(path, &good, -1, NULL, 0, &writer));
    BAD(RANGE, "safetensors_writer_create", qemb_safetensors_writer_create(path, &good, QEMB_FILE_MAX_TENSORS + 1, NULL, 0, &writer));
    BAD(RANGE, "safetensors_writer_create", qemb_safetensors_writer_create(path, &good, 1, &(qemb_metadata){"k", "v"}, -1, &writer));
    BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(path, &good, 1, &(qemb_metadata){NULL, "v"}, 1, &writer));
    BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(path, &good, 1, &(qemb_metadata){"k", NULL}, 1, &writer));
    static const char *const not_utf8[] = {"\x80", "\xC1\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
                                           "\xF8", "\xC3("};
    for (size_t k = 0; k < sizeof not_utf8 / sizeof *not_utf8; k++) {
        desc.name = not_utf8[k];
        BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(path, &desc, 1, NULL, 0, &writer));
        BAD(ARG, "safetensors_writer_create",
            qemb_safetensors_writer_create(path, &good, 1, &(qemb_metadata){not_utf8[k], "v"}, 1, &writer));
        BAD(ARG, "safetensors_writer_create",
            qemb_safetensors_writer_create(path, &good, 1, &(qemb_metadata){"k", not_utf8[k]}, 1, &writer));
    }
    desc.name = NULL;
    BAD(ARG, "safetensors_writer_create", qemb_safetensors_writer_create(path, &desc, 1, NULL, 0, &writer));
    desc.name = long_name;
    BAD(RANGE, "safetensors_writer_create", qemb_safetensors_writer_create(path, &desc, 1, NULL, 0, &writer));
    desc = good;
    desc.shape = huge;
    BAD(OVERFLOW, "safetensors_writer_create", qemb_safetensors_writer_create(path, &desc, 1, NULL, 0, &writer));
    desc = good;
    desc.dtype = QEMB_FILE_DTYPE_COUNT;
    BAD(DTYPE, "safetensors_writer_create", qemb_safetensors_writer_create(path, &desc, 1, NULL, 0, &writer));
    cr_expect_null(writer);
    cr_expect_eq(support_count_files("written"), 0);
    report("safetensors, layouts");
}

Test(bad_calls, writing,
     .description = "safetensors_writer_append, _finish, save: NULL, indices and sizes out of range, are refused by name") {
    const qemb_tensor_desc good = good_tensor;
    qemb_safetensors_writer *writer = NULL;
    const char *path = support_path("written");
    char bytes[64];
    const void *data[] = {bytes};
    memset(bytes, 7, sizeof bytes);
    OK(qemb_safetensors_writer_create(path, &good, 1, NULL, 0, &writer));
    BAD(ARG, "safetensors_writer_append", qemb_safetensors_writer_append(NULL, 0, bytes, 1));
    BAD(ARG, "safetensors_writer_append", qemb_safetensors_writer_append(writer, 0, NULL, 1));
    BAD(RANGE, "safetensors_writer_append", qemb_safetensors_writer_append(writer, -1, bytes, 1));
    BAD(RANGE, "safetensors_writer_append", qemb_safetensors_writer_append(writer, 1, bytes, 1));
    BAD(RANGE, "safetensors_writer_append", qemb_safetensors_writer_append(writer, 0, bytes, 7));
    BAD(STATE, "safetensors_writer_finish", qemb_safetensors_writer_finish(writer));
    BAD(ARG, "safetensors_writer_finish", qemb_safetensors_writer_finish(NULL));
    OK(qemb_safetensors_writer_append(writer, 0, bytes, 6));
    OK(qemb_safetensors_writer_finish(writer));
    qemb_safetensors_writer_destroy(writer);
    BAD(ARG, "safetensors_save", qemb_safetensors_save(NULL, &good, data, 1, NULL, 0));
    BAD(ARG, "safetensors_save", qemb_safetensors_save(path, NULL, data, 1, NULL, 0));
    BAD(ARG, "safetensors_save", qemb_safetensors_save(path, &good, NULL, 1, NULL, 0));
    OK(qemb_safetensors_save(path, &good, data, 1, NULL, 0));
    qemb_safetensors_writer_destroy(NULL);
    report("safetensors, writing");
}

Test(bad_calls, npy, .description = "npy_*: NULL in every place, shapes and types that no array has, are refused by name") {
    const int64_t shape[] = {2, 3}, huge[] = {INT64_MAX, INT64_MAX}, negative[] = {-2, 3};
    const char *path = support_path("array.npy");
    const char bytes[24] = {0};
    const qemb_tensor_desc good = {"", shape, 2, QEMB_FILE_F32};
    qemb_tensor_desc desc = good;
    qemb_npy *file = NULL;
    qemb_tensor_view view;
    BAD(ARG, "npy_save", qemb_npy_save(NULL, &good, bytes));
    BAD(ARG, "npy_save", qemb_npy_save(path, NULL, bytes));
    BAD(ARG, "npy_save", qemb_npy_save(path, &good, NULL));
    desc.shape = huge;
    BAD(OVERFLOW, "npy_save", qemb_npy_save(path, &desc, bytes));
    desc.shape = negative;
    BAD(SHAPE, "npy_save", qemb_npy_save(path, &desc, bytes));
    desc = good;
    desc.dtype = QEMB_FILE_DTYPE_COUNT;
    BAD(DTYPE, "npy_save", qemb_npy_save(path, &desc, bytes));
    BAD(IO, "npy_save", qemb_npy_save("/nobody/was/here", &good, bytes));
    OK(qemb_npy_save(path, &good, bytes));
    BAD(ARG, "npy_open", qemb_npy_open(NULL, &file, &view));
    BAD(ARG, "npy_open", qemb_npy_open(path, NULL, &view));
    BAD(ARG, "npy_open", qemb_npy_open(path, &file, NULL));
    BAD(IO, "npy_open", qemb_npy_open("/nobody/was/here", &file, &view));
    cr_expect_null(file);
    OK(qemb_npy_open(path, &file, &view));
    qemb_npy_close(file);
    qemb_npy_close(NULL);
    report("npy");
}

Test(bad_calls, generators, .description = "click_generator_*: NULL in every place, sizes and rows out of range, are refused by name") {
    qemb_click_generator *generator = NULL;
    qemb_click_report score;
    int64_t sizes[QEMB_CLICK_SPARSE];
    int32_t ids[QEMB_CLICK_SPARSE * 3];
    const char *path = support_path("clicks.tsv");
    qemb_click_cardinalities(0.0001, sizes);
    BAD(ARG, "click_generator_create", qemb_click_generator_create(NULL, &generator));
    BAD(ARG, "click_generator_create", qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.001}, NULL));
    const qemb_click_generator_desc worst[] = {{.alpha = -1},      {.alpha = 5},      {.signal = -1}, {.signal = 11},
                                               {.factor_dim = -1}, {.factor_dim = 9}, {.scale = -1},  {.scale = 2}};
    for (size_t k = 0; k < sizeof worst / sizeof *worst; k++) {
        BAD(RANGE, "click_generator_create", qemb_click_generator_create(&worst[k], &generator));
    }
    for (int k = 0; k < 2; k++) {
        sizes[25] = k ? INT64_C(1) << 31 : 0;
        BAD(RANGE, "click_generator_create",
            qemb_click_generator_create(&(qemb_click_generator_desc){.num_embeddings = sizes}, &generator));
    }
    cr_expect_null(generator);
    OK(qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001}, &generator));
    qemb_click_generator_cardinalities(NULL, sizes);
    cr_expect_eq(sizes[25], 0);
    BAD(ARG, "click_generator_rows", qemb_click_generator_rows(NULL, 0, 1, ids, NULL, NULL, NULL));
    BAD(ARG, "click_generator_rows", qemb_click_generator_rows(generator, 0, 1, NULL, NULL, NULL, NULL));
    BAD(RANGE, "click_generator_rows", qemb_click_generator_rows(generator, -1, 1, ids, NULL, NULL, NULL));
    BAD(RANGE, "click_generator_rows", qemb_click_generator_rows(generator, 0, -1, ids, NULL, NULL, NULL));
    BAD(ARG, "click_generator_score", qemb_click_generator_score(NULL, 0, 1, &score));
    BAD(ARG, "click_generator_score", qemb_click_generator_score(generator, 0, 1, NULL));
    BAD(ARG, "click_generator_write", qemb_click_generator_write(NULL, path, 0, 1, NULL, NULL, NULL));
    BAD(ARG, "click_generator_write", qemb_click_generator_write(generator, NULL, 0, 1, NULL, NULL, NULL));
    BAD(IO, "click_generator_write", qemb_click_generator_write(generator, "/nobody/was/here", 0, 1, NULL, NULL, NULL));
    OK(qemb_click_generator_write(generator, path, 0, 11, NULL, NULL, NULL));
    qemb_click_generator_destroy(generator);
    qemb_click_generator_destroy(NULL);
    report("click generators");
}

Test(bad_calls, readers, .description = "click_reader_*: NULL in every place, sizes, rows and words out of range, are refused by name") {
    qemb_click_reader *reader = NULL;
    qemb_click_generator *generator = NULL;
    int64_t sizes[QEMB_CLICK_SPARSE] = {0}, rows = 0, at = 0, all = 0;
    int32_t ids[QEMB_CLICK_SPARSE * 3];
    const char *path = support_path("clicks.tsv");
    OK(qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001}, &generator));
    OK(qemb_click_generator_write(generator, path, 0, 11, NULL, NULL, NULL));
    qemb_click_generator_destroy(generator);
    BAD(ARG, "click_reader_open", qemb_click_reader_open(NULL, &reader));
    BAD(ARG, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path}, NULL));
    BAD(ARG, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = NULL}, &reader));
    BAD(IO, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = "/nobody/was/here"}, &reader));
    BAD(RANGE, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path, .first_row = -1}, &reader));
    BAD(RANGE, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path, .row_count = -1}, &reader));
    BAD(RANGE, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path, .num_embeddings = sizes}, &reader));
    BAD(ARG, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path, .form = (qemb_click_form)3}, &reader));
    BAD(ARG, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path, .ids = (qemb_click_ids)-1}, &reader));
    BAD(ARG, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path, .faults = (qemb_click_faults)2}, &reader));
    BAD(ARG, "click_reader_open", qemb_click_reader_open(&(qemb_click_desc){.path = path, .counts = (qemb_click_counts)2}, &reader));
    cr_expect_null(reader);
    OK(qemb_click_reader_open(&(qemb_click_desc){.path = path}, &reader));
    BAD(ARG, "click_reader_next", qemb_click_reader_next(NULL, 3, ids, NULL, NULL, &rows));
    BAD(ARG, "click_reader_next", qemb_click_reader_next(reader, 3, NULL, NULL, NULL, &rows));
    BAD(ARG, "click_reader_next", qemb_click_reader_next(reader, 3, ids, NULL, NULL, NULL));
    BAD(RANGE, "click_reader_next", qemb_click_reader_next(reader, -1, ids, NULL, NULL, &rows));
    BAD(ARG, "click_reader_rewind", qemb_click_reader_rewind(NULL));
    BAD(ARG, "click_reader_count", qemb_click_reader_count(NULL, &rows));
    BAD(ARG, "click_reader_count", qemb_click_reader_count(reader, NULL));
    qemb_click_reader_progress(NULL, &at, &all);
    cr_expect(at == 0 && all == 0);
    cr_expect_eq(qemb_click_reader_fault_count(NULL), 0);
    cr_expect_null(qemb_click_reader_fault(NULL, 0));
    cr_expect_null(qemb_click_reader_fault(reader, 0));
    cr_expect_null(qemb_click_reader_fault(reader, -1));
    qemb_click_reader_cardinalities(NULL, sizes);
    OK(qemb_click_reader_next(reader, 3, ids, NULL, NULL, &rows));
    cr_expect_eq(rows, 3);
    qemb_click_reader_close(reader);
    qemb_click_reader_close(NULL);
    report("click readers");
}

Test(bad_calls, feeds,
     .description = "click_feed_*: NULL in every place, both sources and none, capacities and slots out of range, are refused by name") {
    qemb_click_generator *generator = NULL;
    qemb_click_reader *reader = NULL;
    qemb_click_feed *feed = NULL;
    qemb_click_batch batch;
    const char *path = support_path("clicks.tsv");
    OK(qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001}, &generator));
    OK(qemb_click_generator_write(generator, path, 0, 11, NULL, NULL, NULL));
    OK(qemb_click_reader_open(&(qemb_click_desc){.path = path}, &reader));
    const qemb_click_feed_desc good = {.generator = generator, .row_count = 5, .capacity = 2};
    qemb_click_feed_desc desc = good;
    BAD(ARG, "click_feed_create", qemb_click_feed_create(NULL, &feed));
    BAD(ARG, "click_feed_create", qemb_click_feed_create(&good, NULL));
    desc.reader = reader; /* both */
    BAD(ARG, "click_feed_create", qemb_click_feed_create(&desc, &feed));
    desc = (qemb_click_feed_desc){.row_count = 5, .capacity = 2};
    BAD(ARG, "click_feed_create", qemb_click_feed_create(&desc, &feed));
    static const int64_t capacities[] = {0, -1};
    static const int32_t slots[] = {1, -1, 65, INT32_MAX};
    for (size_t k = 0; k < 2; k++) {
        desc = good;
        desc.capacity = capacities[k];
        BAD(RANGE, "click_feed_create", qemb_click_feed_create(&desc, &feed));
        desc = good;
        desc.first_row = k ? -1 : INT64_MAX;
        BAD(RANGE, "click_feed_create", qemb_click_feed_create(&desc, &feed));
    }
    for (size_t k = 0; k < sizeof slots / sizeof *slots; k++) {
        desc = good;
        desc.slots = slots[k];
        BAD(RANGE, "click_feed_create", qemb_click_feed_create(&desc, &feed));
    }
    desc = good;
    desc.row_count = -1;
    BAD(RANGE, "click_feed_create", qemb_click_feed_create(&desc, &feed));
    desc = good;
    desc.capacity = INT64_MAX;
    BAD(OVERFLOW, "click_feed_create", qemb_click_feed_create(&desc, &feed));
    cr_expect_null(feed);
    OK(qemb_click_feed_create(&good, &feed));
    BAD(ARG, "click_feed_next", qemb_click_feed_next(NULL, &batch));
    BAD(ARG, "click_feed_next", qemb_click_feed_next(feed, NULL));
    BAD(ARG, "click_feed_rewind", qemb_click_feed_rewind(NULL));
    OK(qemb_click_feed_next(feed, &batch));
    cr_expect_eq(batch.rows, 2);
    qemb_click_feed_destroy(feed);
    qemb_click_feed_destroy(NULL);
    qemb_click_reader_close(reader);
    qemb_click_generator_destroy(generator);
    report("click feeds");
}
