/* test_io_save.c - writing safetensors: what is written reads back, and a save that fails or dies anywhere leaves the old
 * file or the new one.
 *
 * This program has its own write, pwrite, fsync, close and rename, which the library's calls bind to before the C library's:
 * armed, they fail, fall short or kill the process at the n-th call. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_files.h"

TestSuite(io_save, .init = support_folder_create, .fini = support_folder_remove);

/* ------------------------------------------------------------------------------------------------------------------
 * System calls under control
 * ---------------------------------------------------------------------------------------------------------------- */

typedef enum injection { NONE, KILL_BEFORE, KILL_HALFWAY, KILL_AFTER, FAIL, INTERRUPT, SHORT } injection;

static struct {
    injection what;
    int at;          /* number of the call that is hit, from 1; 0: every call */
    int error;       /* errno of FAIL */
    int calls;       /* seen since armed */
    char trace[256]; /* one letter a call */
} control;

static void arm(injection what, int at, int error) {
    memset(&control, 0, sizeof control);
    control.what = what;
    control.at = at;
    control.error = error;
}

static injection next_call(char letter) {
    if (control.what == NONE && control.at == 0) {
        return NONE;
    }
    size_t n = strlen(control.trace);
    if (n + 1 < sizeof control.trace) {
        control.trace[n] = letter;
    }
    control.calls++;
    injection what = control.at == 0 || control.calls == control.at ? control.what : NONE;
    if (what == KILL_BEFORE) {
        (void)raise(SIGKILL);
    }
    return what;
}

/* The rest of every call: `done` is the real one's result. */
static long after_call(injection what, long done) {
    if (what == KILL_AFTER || what == KILL_HALFWAY) {
        (void)raise(SIGKILL);
    }
    return done;
}

static bool refused(injection what) {
    errno = what == INTERRUPT ? EINTR : control.error;
    return what == FAIL || what == INTERRUPT;
}

ssize_t write(int fd, const void *data, size_t bytes) {
    injection what = next_call('w');
    if (refused(what)) {
        return -1;
    }
    size_t n = (what == SHORT || what == KILL_HALFWAY) && bytes > 1 ? bytes / 2 : bytes;
    return after_call(what, syscall(SYS_write, fd, data, n));
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    injection what = next_call('p');
    if (refused(what)) {
        return -1;
    }
    size_t n = (what == SHORT || what == KILL_HALFWAY) && bytes > 1 ? bytes / 2 : bytes;
    return after_call(what, syscall(SYS_pwrite64, fd, data, n, offset));
}

int fsync(int fd) {
    injection what = next_call('f');
    return refused(what) ? -1 : (int)after_call(what, syscall(SYS_fsync, fd));
}

int rename(const char *from, const char *to) {
    injection what = next_call('r');
    return refused(what) ? -1 : (int)after_call(what, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int close(int fd) {
    injection what = next_call('c');
    long done = syscall(SYS_close, fd);
    return refused(what) ? -1 : (int)after_call(what, done);
}

/* ------------------------------------------------------------------------------------------------------------------
 * A small model of two generations
 * ---------------------------------------------------------------------------------------------------------------- */

enum { ROWS = 37, COLUMNS = 5, STEPS = 11 };

static qemb_status save_generation(const char *path, int generation) {
    static float weight[ROWS][COLUMNS];
    int64_t steps[STEPS];
    char text[16];
    for (int i = 0; i < ROWS * COLUMNS; ++i) {
        weight[i / COLUMNS][i % COLUMNS] = (float)(generation * 1000 + i);
    }
    for (int i = 0; i < STEPS; ++i) {
        steps[i] = generation + i;
    }
    (void)snprintf(text, sizeof text, "%d", generation);
    const qemb_tensor_desc tensors[] = {
        {.name = "weight", .dtype = QEMB_FILE_F32, .rank = 2, .shape = (int64_t[]){ROWS, COLUMNS}},
        {.name = "steps", .dtype = QEMB_FILE_I64, .rank = 1, .shape = (int64_t[]){STEPS}},
    };
    return qemb_safetensors_save(path, tensors, (const void *[]){weight, steps}, 2, &(qemb_metadata){"generation", text}, 1);
}

/* The same generation as a module's state with a tensor and a text beside it: eight tensors, read from the module in pieces. */
static qemb_status save_state(const char *path, int generation) {
    float weight[ROWS * COLUMNS];
    int64_t steps[STEPS];
    char text[16];
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_saver *saver = NULL;
    for (int i = 0; i < ROWS * COLUMNS; ++i) {
        weight[i] = (float)(generation * 1000 + i);
    }
    for (int i = 0; i < STEPS; ++i) {
        steps[i] = generation + i;
    }
    (void)snprintf(text, sizeof text, "%d", generation);
    const qemb_embedding_bag_desc desc = {
        .num_embeddings = ROWS, .embedding_dim = COLUMNS, .qconfig = qemb_qconfig_4bit(), .weight = weight};
    const qemb_tensor_desc tensor = {.name = "steps", .dtype = QEMB_FILE_I64, .rank = 1, .shape = (int64_t[]){STEPS}};
    qemb_status st = qemb_context_create("reference", &ctx);
    if (st == QEMB_OK && (st = qemb_embedding_bag_create(ctx, &desc, &bag)) == QEMB_OK && (st = qemb_saver_create(&saver)) == QEMB_OK &&
        (st = qemb_saver_add_module(saver, "", bag)) == QEMB_OK && (st = qemb_saver_add_tensor(saver, &tensor, steps)) == QEMB_OK &&
        (st = qemb_saver_add_text(saver, "generation", text)) == QEMB_OK) {
        st = qemb_saver_write(saver, path);
    }
    qemb_saver_destroy(saver);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    return st;
}

typedef qemb_status (*saving)(const char *path, int generation);

/* The generation of the file, checked throughout; 0 if it is anything else. */
static int load_generation(const char *path) {
    qemb_safetensors *file = NULL;
    qemb_tensor_view weight, steps;
    if (qemb_safetensors_open(path, &file) != QEMB_OK) {
        return 0;
    }
    const char *text = qemb_safetensors_metadata(file, "generation");
    int generation = text ? atoi(text) : 0;
    bool good = qemb_safetensors_verify(file) == QEMB_OK && qemb_safetensors_tensor(file, "weight", &weight) == QEMB_OK &&
                qemb_safetensors_tensor(file, "steps", &steps) == QEMB_OK && weight.count == ROWS * COLUMNS && steps.count == STEPS;
    for (int i = 0; good && i < ROWS * COLUMNS; ++i) {
        good = ((const float *)weight.data)[i] == (float)(generation * 1000 + i);
    }
    for (int i = 0; good && i < STEPS; ++i) {
        good = ((const int64_t *)steps.data)[i] == generation + i;
    }
    qemb_safetensors_close(file);
    return good ? generation : 0;
}

/* Saves generation 2 over 1 in a child with an injection; its wait status. */
static int save_in_child(const char *path, saving save, injection what, int at) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        arm(what, at, 0);
        qemb_status st = save(path, 2);
        arm(NONE, 0, 0);
        _exit(st == QEMB_OK ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

static void killed_at_every_call(saving save, injection what) {
    int killed = 0, old = 0;
    for (int at = 1;; ++at) {
        cr_assert_eq(save(support_path("model"), 1), QEMB_OK, "%s", qemb_last_error());
        int status = save_in_child(support_path("model"), save, what, at);
        int generation = load_generation(support_path("model"));
        if (WIFEXITED(status)) {
            cr_expect(WEXITSTATUS(status) == 0 && generation == 2, "the save that was not killed is complete");
            break;
        }
        cr_expect(generation == 1 || generation == 2, "killed at call %d: neither the old nor the new file", at);
        cr_assert_lt(at, 100);
        killed++;
        old += generation == 1;
    }
    cr_expect_geq(killed, 8, "header, two tensors, checksum, fsync, close, rename, fsync; %d seen", killed);
    cr_expect(old >= killed - 3 && old < killed, "old until the rename, new after it: %d of %d", old, killed);
}

Test(io_save, a_save_killed_before_any_call_leaves_old_or_new) {
    killed_at_every_call(save_generation, KILL_BEFORE);
}

Test(io_save, a_save_killed_in_the_middle_of_any_write_leaves_old_or_new) {
    killed_at_every_call(save_generation, KILL_HALFWAY);
}

Test(io_save, a_save_killed_after_any_call_leaves_old_or_new) {
    killed_at_every_call(save_generation, KILL_AFTER);
}

Test(io_save, a_training_s_state_killed_at_any_call_leaves_old_or_new) {
    killed_at_every_call(save_state, KILL_BEFORE);
    killed_at_every_call(save_state, KILL_HALFWAY);
    killed_at_every_call(save_state, KILL_AFTER);
}

Test(io_save, the_file_is_synced_before_the_rename_and_the_folder_after_it) {
    arm(NONE, 1000, 0);
    qemb_status st = save_generation(support_path("model"), 1);
    char trace[sizeof control.trace];
    memcpy(trace, control.trace, sizeof trace);
    arm(NONE, 0, 0);
    cr_assert_eq(st, QEMB_OK);
    cr_expect_str_eq(trace, "wpppfcrfc", "write header, put tensors and checksum, fsync, close, rename, fsync folder, close");
}

Test(io_save, an_error_at_any_call_is_reported_and_leaves_the_old_file_and_no_other) {
    static const int errors[] = {ENOSPC, EIO, EDQUOT};
    for (int e = 0; e < 3; ++e) {
        for (int at = 1; at <= 9; ++at) {
            cr_assert_eq(save_generation(support_path("model"), 1), QEMB_OK);
            arm(FAIL, at, errors[e]);
            qemb_status st = save_generation(support_path("model"), 2);
            arm(NONE, 0, 0);
            int generation = load_generation(support_path("model"));
            if (at <= 7) {
                cr_expect(st == QEMB_ERR_IO && generation == 1, "call %d: %s, generation %d", at, qemb_status_name(st), generation);
                cr_expect_not_null(strstr(qemb_last_error(), strerror(errors[e])), "'%s'", qemb_last_error());
            } else if (at == 8) {
                cr_expect(st == QEMB_ERR_IO && generation == 2 && strstr(qemb_last_error(), "in place"),
                          "the folder's fsync failed: the new file stands and the sentence says so");
            } else {
                cr_expect(st == QEMB_OK && generation == 2, "closing the folder cannot fail the save");
            }
            cr_expect_eq(support_count_files(".tmp."), 0, "call %d left a file", at);
        }
    }
}

Test(io_save, interrupted_and_short_writes_are_continued) {
    for (int at = 1; at <= 4; ++at) {
        arm(INTERRUPT, at, 0);
        qemb_status st = save_generation(support_path("model"), at);
        arm(NONE, 0, 0);
        cr_expect(st == QEMB_OK && load_generation(support_path("model")) == at, "interrupted at call %d: %s", at, qemb_last_error());
    }
    arm(SHORT, 0, 0);
    qemb_status st = save_generation(support_path("model"), 7);
    arm(NONE, 0, 0);
    cr_expect(st == QEMB_OK && load_generation(support_path("model")) == 7, "every write is short: %s", qemb_last_error());
}

Test(io_save, a_file_size_limit_is_an_error_and_not_a_signal_of_ours) {
    cr_assert_eq(save_generation(support_path("model"), 1), QEMB_OK);
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &(struct rlimit){100, 100});
        _exit(save_generation(support_path("model"), 2) == QEMB_ERR_IO ? 0 : 1);
    }
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_expect_eq(load_generation(support_path("model")), 1);
    cr_expect_eq(support_count_files(".tmp."), 0);
}

/* ------------------------------------------------------------------------------------------------------------------
 * What is written
 * ---------------------------------------------------------------------------------------------------------------- */

Test(io_save, every_type_name_and_text_reads_back) {
    enum { N = QEMB_FILE_DTYPE_COUNT };
    qemb_tensor_desc tensors[N];
    const void *data[N];
    static unsigned char bytes[N][48];
    static const int64_t extents[2][2] = {{2, 2}, {4, 0}};
    char names[N][40];
    for (int i = 0; i < N; ++i) {
        (void)snprintf(names[i], sizeof names[i], "t\"%d\\ \x01 \xC3\xA9 %s", i, qemb_file_dtype_name((qemb_file_dtype)i));
        const bool narrow = qemb_file_dtype_bits((qemb_file_dtype)i) < 8; /* four of them fill bytes */
        tensors[i] = (qemb_tensor_desc){
            .name = names[i], .dtype = (qemb_file_dtype)i, .rank = narrow ? 1 : i % 3, .shape = extents[narrow || i % 3 == 1]};
        memset(bytes[i], i + 1, sizeof bytes[i]);
        data[i] = bytes[i];
    }
    const qemb_metadata texts[] = {{"a\n\"", "\xF0\x9F\x98\x80\\"}, {"", ""}, {QEMB_FILE_CHECKSUM_KEY, "stale"}};
    const char *path = support_path("all");
    qemb_safetensors *file = NULL;
    cr_assert_eq(qemb_safetensors_save(path, tensors, data, N, texts, 3), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_safetensors_open(path, &file), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_safetensors_count(file), N);
    int32_t last_bits = 64;
    for (int i = 0; i < N; ++i) {
        qemb_tensor_view view;
        cr_assert_eq(qemb_safetensors_tensor(file, names[i], &view), QEMB_OK, "%s", qemb_last_error());
        cr_expect(view.dtype == tensors[i].dtype && view.rank == tensors[i].rank && memcmp(view.data, bytes[i], view.bytes) == 0);
        cr_assert_eq(qemb_safetensors_at(file, i, &view), QEMB_OK);
        cr_expect_leq(qemb_file_dtype_bits(view.dtype), last_bits, "largest elements first");
        last_bits = qemb_file_dtype_bits(view.dtype);
        cr_expect(i > 0 || view.offset % 64 == 0, "data starts at a multiple of 64");
        cr_expect(last_bits < 8 || view.offset % (last_bits / 8) == 0, "%s is aligned", view.name);
    }
    cr_expect_str_eq(qemb_safetensors_metadata(file, "a\n\""), "\xF0\x9F\x98\x80\\");
    cr_expect_str_eq(qemb_safetensors_metadata(file, ""), "");
    cr_expect_eq(qemb_safetensors_verify(file), QEMB_OK, "%s", qemb_last_error());
    qemb_safetensors_close(file);
}

Test(io_save, pieces_in_any_order_give_the_same_bytes_as_one_save) {
    static float a[1000];
    static uint8_t b[70001];
    for (int i = 0; i < 70001; ++i) {
        b[i] = (uint8_t)(i * 7);
        a[i % 1000] = (float)i;
    }
    const qemb_tensor_desc tensors[] = {{.name = "b", .dtype = QEMB_FILE_U8, .rank = 1, .shape = (int64_t[]){70001}},
                                        {.name = "a", .dtype = QEMB_FILE_F32, .rank = 2, .shape = (int64_t[]){10, 100}}};
    cr_assert_eq(qemb_safetensors_save(support_path("whole"), tensors, (const void *[]){b, a}, 2, NULL, 0), QEMB_OK);
    qemb_safetensors_writer *writer = NULL;
    cr_assert_eq(qemb_safetensors_writer_create(support_path("pieces"), tensors, 2, NULL, 0, &writer), QEMB_OK, "%s", qemb_last_error());
    for (int i = 0; i < 10; ++i) {
        size_t from = (size_t)i * 7000, to = i == 9 ? 70001 : from + 7000;
        cr_assert_eq(qemb_safetensors_writer_append(writer, 0, b + from, to - from), QEMB_OK);
        cr_assert_eq(qemb_safetensors_writer_append(writer, 1, a + 100 * i, 400), QEMB_OK);
        cr_expect_eq(qemb_safetensors_writer_finish(writer), i == 9 ? QEMB_OK : QEMB_ERR_STATE, "piece %d: %s", i, qemb_last_error());
    }
    qemb_safetensors_writer_destroy(writer);
    size_t n = 0, m = 0;
    char *whole = support_read(support_path("whole"), &n), *pieces = support_read(support_path("pieces"), &m);
    cr_assert(whole && pieces);
    cr_expect(n == m && memcmp(whole, pieces, n) == 0);
    free(whole);
    free(pieces);
}

Test(io_save, a_given_up_save_leaves_nothing) {
    qemb_safetensors_writer *writer = NULL;
    const qemb_tensor_desc tensor = {.name = "a", .dtype = QEMB_FILE_U8, .rank = 1, .shape = (int64_t[]){4}};
    cr_assert_eq(qemb_safetensors_writer_create(support_path("model"), &tensor, 1, NULL, 0, &writer), QEMB_OK);
    cr_expect_eq(support_count_files("model.tmp."), 1);
    cr_expect_eq(qemb_safetensors_writer_append(writer, 0, "12345", 5), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_safetensors_writer_append(writer, 1, "1", 1), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_safetensors_writer_append(writer, 0, "1234", 4), QEMB_OK);
    cr_expect_eq(qemb_safetensors_writer_append(writer, 0, "5", 1), QEMB_ERR_RANGE);
    qemb_safetensors_writer_destroy(writer);
    cr_expect_eq(support_count_files(""), 0);
    qemb_safetensors_writer_destroy(NULL);
}

Test(io_save, permissions_and_links_survive) {
    struct stat info;
    char path[640], link_path[640];
    (void)snprintf(path, sizeof path, "%s", support_path("model"));
    (void)snprintf(link_path, sizeof link_path, "%s", support_path("link"));
    cr_assert_eq(save_generation(path, 1), QEMB_OK);
    cr_assert_eq(chmod(path, 0604), 0);
    cr_assert_eq(symlink("model", link_path), 0);
    cr_assert_eq(save_generation(link_path, 2), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(lstat(link_path, &info), 0);
    cr_expect(S_ISLNK(info.st_mode), "the link is still a link");
    cr_assert_eq(lstat(path, &info), 0);
    cr_expect(S_ISREG(info.st_mode) && (info.st_mode & 07777) == 0604, "mode %o", (unsigned)info.st_mode);
    cr_expect_eq(load_generation(path), 2);
}

Test(io_save, an_open_map_of_the_old_file_stays_whole) {
    qemb_safetensors *file = NULL;
    qemb_tensor_view view;
    cr_assert_eq(save_generation(support_path("model"), 1), QEMB_OK);
    cr_assert_eq(qemb_safetensors_open(support_path("model"), &file), QEMB_OK);
    cr_assert_eq(save_generation(support_path("model"), 2), QEMB_OK);
    cr_assert_eq(qemb_safetensors_tensor(file, "weight", &view), QEMB_OK);
    cr_expect_eq(((const float *)view.data)[3], 1003.0f);
    qemb_safetensors_close(file);
    cr_expect_eq(load_generation(support_path("model")), 2);
}

Test(io_save, targets_that_are_not_files_are_refused) {
    cr_expect_eq(save_generation(support_path(""), 1), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(save_generation("/dev/full", 1), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(save_generation(support_path("no/such/folder"), 1), QEMB_ERR_IO);
    cr_expect_eq(save_generation("", 1), QEMB_ERR_ARG);
    cr_expect_eq(save_generation(NULL, 1), QEMB_ERR_ARG);
    cr_assert_eq(symlink("nowhere", support_path("dangling")), 0);
    cr_expect_eq(save_generation(support_path("dangling"), 1), QEMB_ERR_IO);
    cr_expect_eq(support_count_files(""), 1, "the link alone");
}

Test(io_save, names_near_the_limit_of_the_system_can_be_saved) {
    char name[256];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    cr_expect_eq(save_generation(support_path(name), 1), QEMB_OK, "%s", qemb_last_error());
    cr_expect_eq(load_generation(support_path(name)), 1);
}

Test(io_save, a_flipped_bit_anywhere_is_found_by_the_checksum, .timeout = 120) {
    size_t size = 0;
    cr_assert_eq(save_generation(support_path("model"), 1), QEMB_OK);
    char *bytes = support_read(support_path("model"), &size);
    cr_assert_not_null(bytes);
    for (size_t bit = 0; bit < 8 * size; ++bit) {
        qemb_safetensors *file = NULL;
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        if (qemb_safetensors_open(support_write("flipped", bytes, size), &file) == QEMB_OK) {
            qemb_status st = qemb_safetensors_verify(file);
            /* A flip inside the key makes it another key: then the file carries no checksum, and says so. */
            cr_expect(st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED, "bit %zu of byte %zu: %s", bit % 8, bit / 8,
                      qemb_status_name(st));
        }
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        qemb_safetensors_close(file);
    }
    free(bytes);
}

Test(io_save, a_file_of_others_carries_no_checksum) {
    qemb_safetensors *file = NULL;
    cr_assert_eq(qemb_safetensors_open(support_write("file", "\2\0\0\0\0\0\0\0{}", 10), &file), QEMB_OK);
    cr_expect_eq(qemb_safetensors_verify(file), QEMB_ERR_UNSUPPORTED);
    qemb_safetensors_close(file);
}

Test(io_save, an_empty_file_of_no_tensors_can_be_saved) {
    qemb_safetensors *file = NULL;
    cr_assert_eq(qemb_safetensors_save(support_path("none"), NULL, NULL, 0, NULL, 0), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_safetensors_open(support_path("none"), &file), QEMB_OK, "%s", qemb_last_error());
    cr_expect_eq(qemb_safetensors_verify(file), QEMB_OK, "%s", qemb_last_error());
    qemb_safetensors_close(file);
}

Test(io_save, wrong_descriptions_are_refused_before_a_file_exists) {
    static const int64_t two[] = {2, 2}, negative[] = {-1}, huge[] = {INT64_C(1) << 40, INT64_C(1) << 40}, three[] = {3};
    char long_name[QEMB_FILE_MAX_NAME + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const struct {
        qemb_tensor_desc tensor;
        qemb_status want;
    } wrong[] = {
        {{.name = NULL, .shape = two, .rank = 1, .dtype = QEMB_FILE_U8}, QEMB_ERR_ARG},
        {{.name = "\xFF", .shape = two, .rank = 1, .dtype = QEMB_FILE_U8}, QEMB_ERR_ARG},
        {{.name = "__metadata__", .shape = two, .rank = 1, .dtype = QEMB_FILE_U8}, QEMB_ERR_ARG},
        {{.name = long_name, .shape = two, .rank = 1, .dtype = QEMB_FILE_U8}, QEMB_ERR_RANGE},
        {{.name = "a", .shape = two, .rank = 9, .dtype = QEMB_FILE_U8}, QEMB_ERR_SHAPE},
        {{.name = "a", .shape = two, .rank = -1, .dtype = QEMB_FILE_U8}, QEMB_ERR_SHAPE},
        {{.name = "a", .shape = NULL, .rank = 1, .dtype = QEMB_FILE_U8}, QEMB_ERR_ARG},
        {{.name = "a", .shape = negative, .rank = 1, .dtype = QEMB_FILE_U8}, QEMB_ERR_SHAPE},
        {{.name = "a", .shape = huge, .rank = 2, .dtype = QEMB_FILE_U8}, QEMB_ERR_OVERFLOW},
        {{.name = "a", .shape = three, .rank = 1, .dtype = QEMB_FILE_F4}, QEMB_ERR_SHAPE},
        {{.name = "a", .shape = two, .rank = 1, .dtype = QEMB_FILE_DTYPE_COUNT}, QEMB_ERR_DTYPE},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
        qemb_status st = qemb_safetensors_save(support_path("model"), &wrong[i].tensor, (const void *[]){"1234"}, 1, NULL, 0);
        cr_expect_eq(st, wrong[i].want, "%zu: %s", i, qemb_last_error());
    }
    const qemb_tensor_desc twins[] = {{.name = "a", .shape = two, .rank = 1, .dtype = QEMB_FILE_U8},
                                      {.name = "b", .shape = two, .rank = 1, .dtype = QEMB_FILE_U8},
                                      {.name = "a", .shape = two, .rank = 1, .dtype = QEMB_FILE_U16}};
    cr_expect_eq(qemb_safetensors_save(support_path("model"), twins, (const void *[]){"12", "12", "1234"}, 3, NULL, 0), QEMB_ERR_ARG);
    const qemb_metadata texts[] = {{"k", "1"}, {"k", "2"}}, bad = {"k", "\xC3"};
    cr_expect_eq(qemb_safetensors_save(support_path("model"), NULL, NULL, 0, texts, 2), QEMB_ERR_ARG);
    cr_expect_eq(qemb_safetensors_save(support_path("model"), NULL, NULL, 0, &bad, 1), QEMB_ERR_ARG);
    cr_expect_eq(support_count_files(""), 0);
}
