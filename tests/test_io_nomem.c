/* test_io_nomem.c - memory runs out at any allocation: every call says so, frees what it has and leaves no file.
 *
 * This program has its own malloc, calloc and free in front of the C library's. Sanitizers bring theirs: tests.cmake
 * leaves it out where they are. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"

TestSuite(io_nomem, .init = support_folder_create, .fini = support_folder_remove);

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

/* Only the armed thread's calls are seen: Criterion's own threads allocate too. */
static _Thread_local struct {
    bool armed;
    int at, calls; /* the call that fails, from 1; calls seen */
    int live;      /* blocks taken and not given back */
} control;

static bool fails(void) {
    return control.armed && ++control.calls == control.at;
}

/* Visible, so that zlib's calls come here too. */
#define EVERYWHERE __attribute__((visibility("default")))

EVERYWHERE void *malloc(size_t bytes) {
    void *block = fails() ? NULL : __libc_malloc(bytes);
    control.live += control.armed && block != NULL;
    return block;
}

EVERYWHERE void *calloc(size_t count, size_t size) {
    void *block = fails() ? NULL : __libc_calloc(count, size);
    control.live += control.armed && block != NULL;
    return block;
}

EVERYWHERE int posix_memalign(void **out, size_t alignment, size_t bytes) {
    void *block = fails() ? NULL : __libc_memalign(alignment, bytes);
    control.live += control.armed && block != NULL;
    *out = block ? block : *out;
    return block ? 0 : ENOMEM;
}

EVERYWHERE void free(void *block) {
    control.live -= control.armed && block != NULL;
    __libc_free(block);
}

/* Repeats `work` with the first, second, ... allocation failing until none fails. */
static void fail_everywhere(const char *what, qemb_status (*work)(void), int least) {
    int at = 1;
    for (;; ++at) {
        memset(&control, 0, sizeof control);
        control.at = at;
        control.armed = true;
        qemb_status st = work();
        control.armed = false;
        cr_expect_eq(control.live, 0, "%s, allocation %d: %d blocks lost", what, at, control.live);
        cr_expect_eq(support_count_files(".tmp."), 0, "%s, allocation %d: a file is left", what, at);
        if (control.calls < at) {
            cr_expect_eq(st, QEMB_OK, "%s: %s", what, qemb_last_error());
            break;
        }
        cr_assert_eq(st, QEMB_ERR_NOMEM, "%s, allocation %d: %s", what, at, qemb_status_name(st));
    }
    cr_expect_gt(at, least, "%s: only %d allocations seen", what, at - 1);
}

static const qemb_tensor_desc tensor = {.name = "w", .dtype = QEMB_FILE_F32, .rank = 1, .shape = (const int64_t[]){4}};
static const float values[4] = {1, 2, 3, 4};

static qemb_status save(void) {
    return qemb_safetensors_save(support_path("model"), &tensor, (const void *[]){values}, 1, &(qemb_metadata){"a", "b"}, 1);
}

static qemb_status open_and_verify(void) {
    qemb_safetensors *file = NULL;
    qemb_status st = qemb_safetensors_open(support_path("model"), &file);
    if (st == QEMB_OK) {
        st = qemb_safetensors_verify(file);
    }
    qemb_safetensors_close(file);
    return st;
}

static qemb_status save_npy(void) {
    return qemb_npy_save(support_path("a.npy"), &tensor, values);
}

static qemb_status open_npy(void) {
    qemb_npy *file = NULL;
    qemb_tensor_view view;
    qemb_status st = qemb_npy_open(support_path("a.npy"), &file, &view);
    qemb_npy_close(file);
    return st;
}

static qemb_status generate(void) {
    qemb_click_generator *generator = NULL;
    qemb_click_report report;
    qemb_status st = qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001}, &generator);
    if (st == QEMB_OK) {
        st = qemb_click_generator_write(generator, support_path("log"), 0, 100, NULL, NULL, &report);
    }
    qemb_click_generator_destroy(generator);
    return st;
}

static qemb_status read_log(void) {
    static int32_t ids[64 * QEMB_CLICK_SPARSE];
    qemb_click_reader *reader = NULL;
    int64_t rows = 1;
    qemb_status st = qemb_click_reader_open(&(qemb_click_desc){.path = support_path("log"), .ids = QEMB_CLICK_FIRST_SEEN}, &reader);
    while (st == QEMB_OK && rows > 0) {
        st = qemb_click_reader_next(reader, 64, ids, NULL, NULL, &rows);
    }
    qemb_click_reader_close(reader);
    return st;
}

/* A module of two tables on the reference engine, with an optimiser, from nothing. */
typedef struct world {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_packed *packed;
    qemb_saver *saver;
    qemb_safetensors *file;
} world;

static qemb_status begin(world *w) {
    const qemb_table_desc tables[] = {{.num_embeddings = 5, .embedding_dim = 3, .qconfig = {.quant_max = 15}, .seed = 1},
                                      {.num_embeddings = 7, .embedding_dim = 2, .qconfig = {.quant_max = 15}, .seed = 2}};
    qemb_status st = qemb_context_create("reference", &w->ctx);
    if (st == QEMB_OK) {
        st = qemb_embedding_bag_collection_create(w->ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 2}, &w->bag);
    }
    if (st == QEMB_OK) {
        st = qemb_optimizer_create(w->ctx, w->bag, &(qemb_optimizer_desc){.kind = QEMB_ADAM}, &w->optimizer);
    }
    return st;
}

static void end(world *w) {
    qemb_safetensors_close(w->file);
    qemb_saver_destroy(w->saver);
    qemb_packed_destroy(w->packed);
    qemb_optimizer_destroy(w->optimizer);
    qemb_embedding_bag_destroy(w->bag);
    qemb_context_destroy(w->ctx);
}

static qemb_status save_state(void) {
    static const int32_t map[5] = {0, -1, 1, 2, -1};
    static const int32_t *const maps[] = {map, NULL};
    static const qemb_packed_desc four = {.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}, .row_map = maps};
    world w = {0};
    qemb_status st = begin(&w);
    if (st == QEMB_OK && (st = qemb_packed_create(w.bag, &four, &w.packed)) == QEMB_OK && (st = qemb_saver_create(&w.saver)) == QEMB_OK &&
        (st = qemb_saver_add_module(w.saver, "m.", w.bag)) == QEMB_OK &&
        (st = qemb_saver_add_optimizer(w.saver, "o.", w.optimizer)) == QEMB_OK &&
        (st = qemb_saver_add_packed(w.saver, "p.", w.packed)) == QEMB_OK &&
        (st = qemb_saver_add_tensor(w.saver, &tensor, values)) == QEMB_OK && (st = qemb_saver_add_text(w.saver, "a", "b")) == QEMB_OK) {
        st = qemb_saver_write(w.saver, support_path("state"));
    }
    end(&w);
    return st;
}

static qemb_status load_state(void) {
    world w = {0};
    qemb_status st = begin(&w);
    if (st == QEMB_OK && (st = qemb_safetensors_open(support_path("state"), &w.file)) == QEMB_OK &&
        (st = qemb_load_module(w.file, "m.", w.bag)) == QEMB_OK && (st = qemb_load_optimizer(w.file, "o.", w.optimizer)) == QEMB_OK) {
        st = qemb_load_packed(w.ctx, w.file, "p.", QEMB_LOAD_VERIFY, &w.packed);
    }
    end(&w);
    return st;
}

static qemb_status convert_state(void) {
    static const qemb_convert_desc four = {.prefix = "m.", .format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}, .keep = true};
    world w = {0};
    qemb_status st = qemb_context_create("reference", &w.ctx);
    if (st == QEMB_OK && (st = qemb_safetensors_open(support_path("state"), &w.file)) == QEMB_OK) {
        st = qemb_convert(w.ctx, w.file, &four, support_path("converted"));
    }
    end(&w);
    return st;
}

Test(io_nomem, modules_are_saved_loaded_and_converted_or_nothing_is_left, .timeout = 60) {
    fail_everywhere("save state", save_state, 60);
    fail_everywhere("load state", load_state, 60);
    fail_everywhere("convert", convert_state, 40);
}

Test(io_nomem, files_are_saved_and_opened_or_nothing_is_left) {
    fail_everywhere("save", save, 8);
    fail_everywhere("open and verify", open_and_verify, 6);
    fail_everywhere("npy save", save_npy, 3);
    fail_everywhere("npy open", open_npy, 2);
}

Test(io_nomem, click_logs_are_made_and_read_or_nothing_is_left, .timeout = 60) {
    fail_everywhere("generate", generate, 50);
    fail_everywhere("read", read_log, 35);
}
