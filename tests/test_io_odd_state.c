/* test_io_odd_state.c - saved modules and tables in states that training rarely leaves, and files of other programs that hold less, or more,
 * than this library writes: what loads, converts or is refused. All on the reference engine. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>
#include <qemb/qemb_io.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"
#include "support_ok.h"

TestSuite(io_odd_state, .init = support_folder_create, .fini = support_folder_remove, .timeout = 60);

#define SIZE(array) (sizeof(array) / sizeof *(array))
enum { E = 5, D = 3, MOST = 32, WIDE = (1 << 20) + 1 };

static qemb_context *reference(void) {
    qemb_context *ctx = NULL;
    OK(qemb_context_create("reference", &ctx));
    return ctx;
}

/* Two tables "a" and "b" of E x D, features in the other order, one forward behind it. */
static qemb_embedding_bag *module_of(qemb_context *ctx, const qemb_qconfig *qconfig, bool used) {
    static const int32_t features[] = {1, 0};
    static const int64_t ids[] = {1, 2, 3, 4};
    const qemb_table_desc tables[] = {{.name = "a", .num_embeddings = E, .embedding_dim = D, .qconfig = *qconfig, .seed = 1},
                                      {.name = "b", .num_embeddings = E, .embedding_dim = D, .qconfig = *qconfig, .seed = 2}};
    const qemb_input input = {.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT64, .columns = 1};
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    OK(qemb_embedding_bag_collection_create(
        ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 2, .feature_table = features, .num_features = 2}, &bag));
    if (used) {
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, 256, &out));
        OK(qemb_batch_set(batch, bag, &input));
        OK(qemb_embedding_bag_forward(bag, batch, out));
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
    }
    return bag;
}

static void save(const char *name, const char *prefix, qemb_embedding_bag *bag) {
    qemb_saver *saver = NULL;
    static const float one = 1.0f;
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_module(saver, prefix, bag));
    OK(qemb_saver_add_tensor(saver, &(qemb_tensor_desc){.name = "a.other", .dtype = QEMB_FILE_F32}, &one)); /* a scalar beside a table */
    OK(qemb_saver_write(saver, support_path(name)));
    qemb_saver_destroy(saver);
}

static qemb_status load(const char *name, qemb_embedding_bag *bag) {
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_open(support_path(name), &file));
    const qemb_status st = qemb_load_module(file, NULL, bag);
    qemb_safetensors_close(file);
    return st;
}

static qemb_status convert(const char *from, const qemb_convert_desc *desc, const char *to) {
    qemb_context *ctx = reference();
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_open(support_path(from), &file));
    const qemb_status st = qemb_convert(ctx, file, desc, support_path(to));
    qemb_safetensors_close(file);
    qemb_context_destroy(ctx);
    return st;
}

/* Tensors of `from` in a new file, without its texts; those whose name ends with `bent` hold `value` in front. */
static void copy_tensors(const char *from, const char *to, const char *bent, float value) {
    qemb_safetensors *file = NULL;
    qemb_tensor_view view[MOST];
    qemb_tensor_desc tensors[MOST];
    const void *data[MOST];
    void *made[MOST] = {NULL};
    OK(qemb_safetensors_open(support_path(from), &file));
    const int64_t count = qemb_safetensors_count(file);
    cr_assert_leq(count, MOST);
    for (int64_t i = 0; i < count; i++) {
        OK(qemb_safetensors_at(file, i, &view[i]));
        tensors[i] = (qemb_tensor_desc){view[i].name, view[i].shape, view[i].rank, view[i].dtype};
        data[i] = view[i].data;
        const char *end = strstr(view[i].name, bent);
        if (end && strlen(end) == strlen(bent)) {
            made[i] = malloc(view[i].bytes);
            cr_assert_not_null(made[i]);
            memcpy(made[i], view[i].data, view[i].bytes);
            memcpy(made[i], &value, sizeof value);
            data[i] = made[i];
        }
    }
    OK(qemb_safetensors_save(support_path(to), tensors, data, count, NULL, 0));
    for (int64_t i = 0; i < count; i++) {
        free(made[i]);
    }
    qemb_safetensors_close(file);
}

/* ---- modules ---------------------------------------------------------------------------------------------------------------------- */

Test(io_odd_state, eps, .description = "load_module: an eps that is not a finite number above 0 is CORRUPT, the module unchanged") {
    static const float values[] = {INFINITY, NAN, 0.0f, -1.0f};
    const qemb_qconfig qconfig = qemb_qconfig_8bit();
    qemb_context *ctx = reference();
    qemb_embedding_bag *bag = module_of(ctx, &qconfig, true);
    float before[E * D], after[E * D];
    save("saved", "", bag);
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, E, before));
    for (size_t i = 0; i < SIZE(values); i++) {
        copy_tensors("saved", "bent", "activation_post_process.eps", values[i]);
        cr_expect_eq(load("bent", bag), QEMB_ERR_CORRUPT, "%g", (double)values[i]);
        cr_expect(strstr(qemb_last_error(), "want a finite number above 0"), "%s", qemb_last_error());
    }
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, E, after));
    cr_expect_arr_eq(before, after, sizeof before);
    copy_tensors("saved", "straight", "nothing", 0.0f);
    OK(load("straight", bag));
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(io_odd_state, float_from_quantised,
     .description = "load_module: a float module takes the weights of a quantised one, and stays float") {
    const qemb_qconfig quantised = qemb_qconfig_8bit(), plain = qemb_qconfig_float();
    qemb_context *ctx = reference();
    qemb_embedding_bag *from = module_of(ctx, &quantised, true), *to = module_of(ctx, &plain, false);
    float want[E * D], got[E * D];
    qemb_table_progress progress;
    save("saved", "", from);
    OK(load("saved", to));
    OK(qemb_embedding_bag_read_weight(from, 1, 0, E, want));
    OK(qemb_embedding_bag_read_weight(to, 1, 0, E, got));
    cr_expect_arr_eq(want, got, sizeof want);
    OK(qemb_embedding_bag_get_progress(to, 1, &progress));
    cr_expect(!progress.observer_on && !progress.fake_quant_on && progress.observations == 0);
    qemb_embedding_bag_destroy(from);
    qemb_embedding_bag_destroy(to);
    qemb_context_destroy(ctx);
}

Test(io_odd_state, switched_off,
     .description = "saver: tables switched off after they observed, or off until a forward to come, come back as they were") {
    qemb_context *ctx = reference();
    qemb_qconfig qconfig = qemb_qconfig_8bit();
    qconfig.observer = QEMB_OBSERVER_MEMORYLESS;
    for (int k = 0; k < 2; k++) {
        qemb_embedding_bag *from = module_of(ctx, &qconfig, k == 0), *to = module_of(ctx, &qconfig, false);
        qemb_table_progress want, got;
        if (k == 0) {
            OK(qemb_embedding_bag_set_observer(from, QEMB_ALL_TABLES, false));
            OK(qemb_embedding_bag_set_fake_quant(from, QEMB_ALL_TABLES, false));
        } else {
            OK(qemb_embedding_bag_set_schedule(from, QEMB_ALL_TABLES, 3, 1));
            OK(qemb_embedding_bag_set_observer(from, QEMB_ALL_TABLES, false));
        }
        save("saved", "", from);
        OK(load("saved", to));
        for (int32_t t = 0; t < 2; t++) {
            OK(qemb_embedding_bag_get_progress(from, t, &want));
            OK(qemb_embedding_bag_get_progress(to, t, &got));
            cr_expect(want.observer_on == got.observer_on && want.fake_quant_on == got.fake_quant_on &&
                          want.observations == got.observations && want.fake_quant_from == got.fake_quant_from,
                      "%d: table %d", k, t);
        }
        qemb_embedding_bag_destroy(from);
        qemb_embedding_bag_destroy(to);
    }
    qemb_context_destroy(ctx);
}

/* ---- packed tables ------------------------------------------------------------------------------------------------------------------ */

Test(io_odd_state, moved_by_a_byte,
     .description = "load_packed: pruned tables of a file whose data another program moved by a byte are UNSUPPORTED, others load") {
    const qemb_qconfig qconfig = qemb_qconfig_8bit();
    static const int32_t map[E] = {0, -1, 1, 2, -1};
    qemb_context *ctx = reference();
    for (int pruned = 0; pruned < 2; pruned++) {
        qemb_embedding_bag *bag = module_of(ctx, &qconfig, false);
        qemb_packed *packed = NULL, *loaded = NULL;
        qemb_saver *saver = NULL;
        qemb_safetensors *file = NULL;
        size_t size = 0;
        OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.bits = 8}, .row_map = pruned ? (const int32_t *[]){map, NULL} : NULL},
                              &packed));
        OK(qemb_saver_create(&saver));
        OK(qemb_saver_add_packed(saver, "", packed));
        OK(qemb_saver_write(saver, support_path("packed")));
        char *bytes = support_read(support_path("packed"), &size);
        char *moved = malloc(size + 1);
        cr_assert(bytes && moved);
        int64_t header = 0;
        memcpy(&header, bytes, sizeof header);
        memcpy(moved, bytes, 8 + (size_t)header);
        moved[8 + header] = ' ';
        memcpy(moved + 9 + header, bytes + 8 + header, size - 8 - (size_t)header);
        header++;
        memcpy(moved, &header, sizeof header);
        OK(qemb_safetensors_open(support_write("moved", moved, size + 1), &file));
        const qemb_status st = qemb_load_packed(ctx, file, NULL, QEMB_LOAD_COPY, &loaded);
        cr_expect_eq(st, pruned ? QEMB_ERR_UNSUPPORTED : QEMB_OK, "%s", qemb_last_error());
        cr_expect(!pruned || strstr(qemb_last_error(), "not aligned"), "%s", qemb_last_error());
        free(bytes);
        free(moved);
        qemb_safetensors_close(file);
        qemb_saver_destroy(saver);
        qemb_packed_destroy(loaded);
        qemb_packed_destroy(packed);
        qemb_embedding_bag_destroy(bag);
    }
    qemb_context_destroy(ctx);
}

/* ---- conversion ----------------------------------------------------------------------------------------------------------------------- */

static const qemb_convert_desc eight = {.format = {.layout = QEMB_LAYOUT_TORCH_ROWWISE, .bits = 8}};

static int64_t tables_of(const char *name, char *first, size_t size) {
    qemb_context *ctx = reference();
    qemb_safetensors *file = NULL;
    qemb_packed *packed = NULL;
    qemb_packed_info info;
    qemb_packed_table table;
    OK(qemb_safetensors_open(support_path(name), &file));
    OK(qemb_load_packed(ctx, file, NULL, QEMB_LOAD_VERIFY, &packed));
    OK(qemb_packed_get_info(packed, &info));
    OK(qemb_packed_get_table(packed, 0, &table));
    (void)snprintf(first, size, "%s", table.name);
    qemb_packed_destroy(packed);
    qemb_safetensors_close(file);
    qemb_context_destroy(ctx);
    return info.num_tables;
}

Test(io_odd_state, foreign,
     .description = "convert: a lone \"weight\" is a table; empty tensors and others are none; too wide ones and odd padding are refused") {
    static const float values[E * D] = {1, 2, 3};
    static const int64_t full[] = {E, D}, empty[] = {0, D}, cube[] = {1, E, D}, wide[] = {1, WIDE};
    char first[64];
    const qemb_tensor_desc lone[] = {{"weight", full, 2, QEMB_FILE_F32}};
    OK(qemb_safetensors_save(support_path("lone"), lone, (const void *[]){values}, 1, NULL, 0));
    OK(convert("lone", &eight, "packed"));
    cr_expect_eq(tables_of("packed", first, sizeof first), 1);
    cr_expect_str_eq(first, "table0");
    const qemb_tensor_desc few[] = {{"e.weight", empty, 2, QEMB_FILE_F32},
                                    {"x.weight", full, 2, QEMB_FILE_F32},
                                    {"y.weight", cube, 3, QEMB_FILE_F32},
                                    {"z.weight", full, 2, QEMB_FILE_I32},
                                    {"x.bias", full, 2, QEMB_FILE_F32}};
    OK(qemb_safetensors_save(support_path("few"), few, (const void *[]){NULL, values, values, values, values}, 5, NULL, 0));
    OK(convert("few", &eight, "packed"));
    cr_expect_eq(tables_of("packed", first, sizeof first), 1);
    cr_expect_str_eq(first, "x");
    OK(qemb_safetensors_save(support_path("none"), &few[3], (const void *[]){values}, 1, NULL, 0));
    cr_expect_eq(convert("none", &eight, "x"), QEMB_ERR_ARG);
    cr_expect(strstr(qemb_last_error(), "no tables"), "%s", qemb_last_error());
    float *row = calloc(WIDE, sizeof *row);
    cr_assert_not_null(row);
    OK(qemb_safetensors_save(support_path("wide"), &(qemb_tensor_desc){"w.weight", wide, 2, QEMB_FILE_F32}, (const void *[]){row}, 1, NULL,
                             0));
    cr_expect_eq(convert("wide", &eight, "x"), QEMB_ERR_UNSUPPORTED);
    cr_expect(strstr(qemb_last_error(), "columns"), "%s", qemb_last_error());
    free(row);
    static const struct {
        int64_t padding_idx;
        qemb_status st;
    } paddings[] = {{E, QEMB_ERR_RANGE}, {-E - 1, QEMB_ERR_RANGE}, {E - 1, QEMB_OK}, {-E, QEMB_OK}};
    for (size_t i = 0; i < SIZE(paddings); i++) {
        qemb_convert_desc desc = eight;
        desc.has_padding_idx = true;
        desc.padding_idx = paddings[i].padding_idx;
        cr_expect_eq(convert("lone", &desc, "padded"), paddings[i].st, "%lld: %s", (long long)desc.padding_idx, qemb_last_error());
    }
    cr_expect_eq(support_count_files(".tmp."), 0);
}

Test(io_odd_state, two_modules,
     .description = "convert: of two modules in a file one must be named; what stands beside its tables is kept") {
    const qemb_qconfig qconfig = qemb_qconfig_8bit();
    qemb_context *ctx = reference();
    qemb_embedding_bag *bag = module_of(ctx, &qconfig, true);
    qemb_saver *saver = NULL;
    char first[64];
    static const float one = 1.0f;
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_module(saver, "m.", bag));
    OK(qemb_saver_add_module(saver, "n.", bag));
    OK(qemb_saver_add_tensor(saver, &(qemb_tensor_desc){.name = "m.a.other", .dtype = QEMB_FILE_F32}, &one));
    OK(qemb_saver_add_tensor(saver, &(qemb_tensor_desc){.name = "n.a.other", .dtype = QEMB_FILE_F32}, &one));
    OK(qemb_saver_write(saver, support_path("two")));
    qemb_saver_destroy(saver);
    cr_expect_eq(convert("two", &eight, "x"), QEMB_ERR_ARG);
    qemb_convert_desc desc = eight;
    desc.prefix = "n.";
    desc.keep = true;
    OK(convert("two", &desc, "packed"));
    cr_expect_eq(tables_of("packed", first, sizeof first), 2);
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_open(support_path("packed"), &file));
    cr_expect_geq(qemb_safetensors_find(file, "m.a.other"), 0);
    cr_expect_geq(qemb_safetensors_find(file, "n.a.other"), 0);
    cr_expect_lt(qemb_safetensors_find(file, "n.a.weight"), 0);
    qemb_safetensors_close(file);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(io_odd_state, observed_elsewhere,
     .description = "convert: the observer's ranges of a file without this library's texts are taken, and give what the module gives") {
    qemb_qconfig qconfig = qemb_qconfig_8bit();
    qconfig.quant_max = 255;
    qconfig.observer = QEMB_OBSERVER_MIN_MAX;
    qemb_context *ctx = reference();
    qemb_embedding_bag *bag = module_of(ctx, &qconfig, true);
    qemb_convert_desc desc = eight;
    OK(qemb_embedding_bag_observe_all(bag));
    save("saved", "", bag);
    copy_tensors("saved", "foreign", "nothing", 0.0f);
    desc.method = QEMB_PACK_OBSERVER;
    OK(convert("saved", &desc, "with"));
    OK(convert("foreign", &desc, "without"));
    qemb_safetensors *with = NULL, *without = NULL;
    qemb_tensor_view a, b;
    OK(qemb_safetensors_open(support_path("with"), &with));
    OK(qemb_safetensors_open(support_path("without"), &without));
    OK(qemb_safetensors_tensor(with, "b.rows", &a));
    OK(qemb_safetensors_tensor(without, "b.rows", &b));
    cr_expect(a.bytes == b.bytes && memcmp(a.data, b.data, a.bytes) == 0);
    qemb_safetensors_close(with);
    qemb_safetensors_close(without);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}
