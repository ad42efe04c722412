/* test_io_nomem.c - memory runs out at any allocation: every call says so, frees what it has and leaves no file.
 *
 * This program has its own malloc, calloc and free in front of the C library's. Sanitizers bring theirs, so it is empty there. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_files.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#if !defined(OWN_MALLOC) && defined(__GLIBC__)
#define OWN_MALLOC 1
#endif

TestSuite(io_nomem, .init = support_folder_create, .fini = support_folder_remove);

#if OWN_MALLOC

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
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

#else

Test(io_nomem, sanitizers_have_an_allocator_of_their_own) {
    cr_skip_test("the lanes without sanitizers run this");
}

#endif
