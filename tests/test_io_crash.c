/* test_io_crash.c - a save meets every error, every kill and every loss of power: the old file or the new one, never a third thing.
 *
 * The linker sends the library's system calls here (--wrap). They fail or fall short in turn, kill the process, or are written down. From
 * the record every state is made that a disk may be left in: what was written since the last sync may be there, half there or missing, in
 * any combination; a rename may be lost until its folder is synced. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scoreboard.h"
#include "support_files.h"

TestSuite(io_crash, .init = support_folder_create, .fini = support_folder_remove);

/* ---- system calls under control -------------------------------------------------------------------------------------------------------- */

typedef enum injection { NONE, FAIL, SHORT, KILL_BEFORE, KILL_HALFWAY, KILL_AFTER } injection;
typedef enum operation { OP_OPEN, OP_WRITE, OP_SYNC, OP_SYNC_FOLDER, OP_CLOSE, OP_RENAME, OP_OTHER } operation;

typedef struct record {
    operation what;
    int64_t offset;
    size_t bytes;
    unsigned char *data; /* of a write */
} record;

enum { MOST_RECORDS = 256 };

static struct {
    bool armed, recording;
    injection what;
    int at, error;
    int calls;
    char last[16]; /* the call that was hit */
    record log[MOST_RECORDS];
    int records;
    int64_t appended;
} control;

static void arm(injection what, int at, int error) {
    control.armed = true;
    control.what = what;
    control.at = at;
    control.error = error;
    control.calls = 0;
    control.last[0] = '\0';
}

static injection next_call(const char *name) {
    if (!control.armed || ++control.calls != control.at) {
        return NONE;
    }
    (void)snprintf(control.last, sizeof control.last, "%s", name);
    if (control.what == KILL_BEFORE) {
        (void)raise(SIGKILL);
    }
    errno = control.error;
    return control.what;
}

static long after_call(injection what, long done) {
    if (what == KILL_AFTER || what == KILL_HALFWAY) {
        (void)raise(SIGKILL);
    }
    return done;
}

static void write_down(operation what, int64_t offset, const void *data, size_t bytes) {
    if (!control.recording) {
        return;
    }
    cr_assert_lt(control.records, MOST_RECORDS);
    record *r = &control.log[control.records++];
    *r = (record){what, offset, bytes, NULL};
    if (data) {
        r->data = malloc(bytes + 1);
        cr_assert_not_null(r->data);
        memcpy(r->data, data, bytes);
    }
}

int __real_open(const char *path, int flags, ...);
ssize_t __real_write(int fd, const void *data, size_t bytes);
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __real_pread(int fd, void *data, size_t bytes, off_t offset);
int __real_close(int fd);
int __real_rename(const char *from, const char *to);
int __real_fchmod(int fd, mode_t mode);
int __wrap_open(const char *path, int flags, ...);
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t offset);
int __wrap_fsync(int fd);
int __wrap_close(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_fchmod(int fd, mode_t mode);

int __wrap_open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    const injection what = next_call("open");
    return what == FAIL ? -1 : (int)after_call(what, __real_open(path, flags, mode));
}

static size_t part(injection what, size_t bytes) {
    return (what == SHORT || what == KILL_HALFWAY) && bytes > 1 ? bytes / 2 : bytes;
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes) {
    const injection what = next_call("write");
    const ssize_t done = what == FAIL ? -1 : (ssize_t)after_call(what, __real_write(fd, data, part(what, bytes)));
    if (done > 0) {
        write_down(OP_WRITE, control.appended, data, (size_t)done);
        control.appended += done;
    }
    return done;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    const injection what = next_call("pwrite");
    const ssize_t done = what == FAIL ? -1 : (ssize_t)after_call(what, __real_pwrite(fd, data, part(what, bytes), offset));
    if (done > 0) {
        write_down(OP_WRITE, (int64_t)offset, data, (size_t)done);
    }
    return done;
}

ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t offset) {
    const injection what = next_call("pread");
    return what == FAIL ? -1 : __real_pread(fd, data, part(what, bytes), offset);
}

int __wrap_fsync(int fd) {
    struct stat info;
    const injection what = next_call("fsync");
    if (what == FAIL) {
        return -1;
    }
    write_down(fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) ? OP_SYNC_FOLDER : OP_SYNC, 0, NULL, 0);
    /* That the disk is asked is what counts; to wait for a real one would take a hundredth of a second each time. */
    return (int)after_call(what, fcntl(fd, F_GETFD) >= 0 ? 0 : -1);
}

int __wrap_close(int fd) {
    const injection what = next_call("close");
    const int done = __real_close(fd);
    write_down(OP_CLOSE, 0, NULL, 0);
    return what == FAIL ? (errno = control.error, -1) : (int)after_call(what, done);
}

int __wrap_rename(const char *from, const char *to) {
    const injection what = next_call("rename");
    if (what == FAIL) {
        return -1;
    }
    write_down(OP_RENAME, 0, NULL, 0);
    return (int)after_call(what, __real_rename(from, to));
}

int __wrap_fchmod(int fd, mode_t mode) {
    const injection what = next_call("fchmod");
    return what == FAIL ? -1 : (int)after_call(what, __real_fchmod(fd, mode));
}

/* ---- models of two generations ------------------------------------------------------------------------------------------------------------- */

enum { MOST_TENSORS = 5, MOST_BYTES = 2000 };

typedef struct model {
    unsigned seed;
    int tensors, texts, pieces;
    int64_t bytes[MOST_TENSORS];
} model;

static unsigned next(unsigned *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static model model_of(unsigned number) {
    unsigned seed = number * 2654435761u + 1;
    model m = {.seed = number,
               .tensors = (int)(next(&seed) % (MOST_TENSORS + 1)),
               .texts = (int)(next(&seed) % 3),
               .pieces = 1 + (int)(next(&seed) % 3)};
    for (int k = 0; k < m.tensors; k++) {
        m.bytes[k] = next(&seed) % 5 == 0 ? 0 : (int64_t)(next(&seed) % MOST_BYTES);
    }
    return m;
}

static void fill(const model *m, int generation, int tensor, unsigned char *data) {
    unsigned seed = m->seed * 31u + (unsigned)(generation * 7 + tensor);
    for (int64_t i = 0; i < m->bytes[tensor]; i++) {
        data[i] = (unsigned char)next(&seed);
    }
}

static qemb_status save(const char *path, const model *m, int generation) {
    static unsigned char data[MOST_BYTES];
    static const char *const names[MOST_TENSORS] = {"a", "weight", "c.d", "e", "f"};
    qemb_tensor_desc tensors[MOST_TENSORS + 1];
    const qemb_metadata texts[3] = {{"generation", generation == 1 ? "1" : "2"}, {"x", "some words"}, {"y", ""}};
    qemb_safetensors_writer *writer = NULL;
    for (int k = 0; k < m->tensors; k++) {
        tensors[k] = (qemb_tensor_desc){.name = names[k], .shape = &m->bytes[k], .rank = 1, .dtype = QEMB_FILE_U8};
    }
    qemb_status st = qemb_safetensors_writer_create(path, tensors, m->tensors, texts, 1 + m->texts, &writer);
    for (int p = 0; p < m->pieces; p++) {
        for (int k = 0; k < m->tensors && st == QEMB_OK; k++) {
            const int64_t from = m->bytes[k] * p / m->pieces, to = m->bytes[k] * (p + 1) / m->pieces;
            fill(m, generation, k, data);
            st = qemb_safetensors_writer_append(writer, k, data + from, (size_t)(to - from));
        }
    }
    st = st == QEMB_OK ? qemb_safetensors_writer_finish(writer) : st;
    qemb_safetensors_writer_destroy(writer);
    return st;
}

/* The generation of a file, checked throughout; 0 if it is anything else, and why in qemb_last_error. */
static int load(const char *path, const model *m, qemb_status *status) {
    static unsigned char want[MOST_BYTES], data[MOST_BYTES];
    static const char *const names[MOST_TENSORS] = {"a", "weight", "c.d", "e", "f"};
    qemb_safetensors *file = NULL;
    int generation = 0;
    qemb_status st = qemb_safetensors_open(path, &file);
    st = st == QEMB_OK ? qemb_safetensors_verify(file) : st;
    if (st == QEMB_OK) {
        const char *text = qemb_safetensors_metadata(file, "generation");
        generation = text ? atoi(text) : 0;
        generation = qemb_safetensors_count(file) == m->tensors ? generation : 0;
    }
    for (int k = 0; k < m->tensors && st == QEMB_OK && generation; k++) {
        st = qemb_safetensors_read_rows(file, names[k], 0, m->bytes[k], data);
        fill(m, generation, k, want);
        generation = st == QEMB_OK && memcmp(want, data, (size_t)m->bytes[k]) == 0 ? generation : 0;
    }
    qemb_safetensors_close(file);
    *status = st;
    return st == QEMB_OK ? generation : 0;
}

static int open_files(void) {
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        (void)closedir(folder);
    }
    return count;
}

static bool nightly(void) {
    const char *text = getenv("QEMB_NIGHTLY");
    return text && strcmp(text, "1") == 0;
}

static int64_t points, harmed;

/* ---- errors ------------------------------------------------------------------------------------------------------------------------------------ */

Test(io_crash, errors_of_writing, .timeout = 600,
     .description = "io_crash: any call of a save fails or falls short, the old file or the new one, no other and no open file") {
    static const int errors[] = {ENOSPC, EIO, EDQUOT, EROFS, EMFILE, EINTR, EACCES};
    qemb_status st = QEMB_OK;
    for (unsigned number = 1; number <= (nightly() ? 60u : 6u); number++) {
        const model m = model_of(number);
        const char *path = support_path("model");
        for (size_t e = 0; e <= sizeof errors / sizeof *errors; e++) { /* the last round: short writes */
            const bool fall_short = e == sizeof errors / sizeof *errors;
            for (int at = 1;; at++) {
                cr_assert_eq(save(path, &m, 1), QEMB_OK, "%s", qemb_last_error());
                const int before = open_files();
                arm(fall_short ? SHORT : FAIL, at, fall_short ? 0 : errors[e]);
                const qemb_status said = save(path, &m, 2);
                control.armed = false;
                if (!control.last[0]) {
                    break;
                }
                const int generation = load(path, &m, &st);
                points++;
                cr_expect(generation == 2 || (generation == 1 && said != QEMB_OK), "model %u, %s fails with %s: %s, generation %d", number,
                          control.last, fall_short ? "fewer bytes" : strerror(errors[e]), qemb_status_name(said), generation);
                cr_expect(said == QEMB_OK || said == QEMB_ERR_IO, "%s", qemb_status_name(said));
                cr_expect(!fall_short || said == QEMB_OK, "a short write goes on: %s", qemb_last_error());
                cr_expect_eq(support_count_files(".tmp."), 0, "model %u, %s: a file is left", number, control.last);
                cr_expect_eq(open_files(), before, "model %u, %s: a file is open", number, control.last);
                harmed += generation == 0;
            }
        }
    }
    scoreboard("R7", harmed == 0, "errors of write, fsync, rename, open, close", "%lld failing calls of a save, %lld third states",
               (long long)points, (long long)harmed);
}

Test(io_crash, errors_of_reading, .timeout = 300,
     .description = "io_crash: any call of a load fails, falls short or is interrupted: a status, or the right bytes") {
    static const int errors[] = {EIO, EINTR, EMFILE, EACCES};
    qemb_status st = QEMB_OK;
    int64_t refused = 0, fine = 0;
    for (unsigned number = 1; number <= (nightly() ? 60u : 8u); number++) {
        const model m = model_of(number);
        const char *path = support_path("model");
        cr_assert_eq(save(path, &m, 1), QEMB_OK);
        for (size_t e = 0; e <= sizeof errors / sizeof *errors; e++) {
            const bool fall_short = e == sizeof errors / sizeof *errors;
            for (int at = 1;; at++) {
                const int before = open_files();
                arm(fall_short ? SHORT : FAIL, at, fall_short ? 0 : errors[e]);
                const int generation = load(path, &m, &st);
                control.armed = false;
                if (!control.last[0]) {
                    cr_expect_eq(generation, 1);
                    break;
                }
                const bool closing = strcmp(control.last, "close") == 0; /* all has been read by then */
                const bool goes_on = fall_short || errors[e % 4] == EINTR || closing;
                cr_expect(generation == 1 || (st == QEMB_ERR_IO && !goes_on), "model %u, %s fails: %s (%s)", number, control.last,
                          qemb_status_name(st), qemb_last_error());
                cr_expect_eq(open_files(), before, "model %u, %s: a file is open", number, control.last);
                cr_expect_eq(load(path, &m, &st), 1, "the next load is right");
                refused += generation == 0;
                fine += generation == 1;
            }
        }
    }
    scoreboard("R28", true, "files", "right after %lld failed and %lld interrupted reads", (long long)refused, (long long)fine);
    cr_assert(refused > 20 && fine > 20);
}

/* ---- kills --------------------------------------------------------------------------------------------------------------------------------------- */

Test(io_crash, kills, .timeout = 900,
     .description = "io_crash: the writer is killed before, within and after every call: the old file or the new one") {
    int64_t killed = 0, third = 0;
    qemb_status st = QEMB_OK;
    for (unsigned number = 1; number <= (nightly() ? 150u : 4u); number++) {
        const model m = model_of(number);
        const char *path = support_path("model");
        for (int what = KILL_BEFORE; what <= KILL_AFTER; what++) {
            for (int at = 1;; at++) {
                int status = 0;
                cr_assert_eq(save(path, &m, 1), QEMB_OK);
                const pid_t child = fork();
                if (child == 0) {
                    arm((injection)what, at, 0);
                    _exit(save(path, &m, 2) == QEMB_OK ? 0 : 1);
                }
                cr_assert_eq(waitpid(child, &status, 0), child);
                const int generation = load(path, &m, &st);
                if (WIFEXITED(status)) {
                    cr_expect(WEXITSTATUS(status) == 0 && generation == 2, "the save that was not killed is complete");
                    break;
                }
                killed++;
                third += generation == 0;
                cr_expect_neq(generation, 0, "model %u killed at call %d: neither the old nor the new file", number, at);
            }
        }
    }
    scoreboard("R7", third == 0, "killed at every call", "%lld killed saves, %lld third states", (long long)killed, (long long)third);
    cr_assert_gt(killed, 80);
}

/* ---- loss of power ------------------------------------------------------------------------------------------------------------------------------ */

/* The file as it is when each write since the last sync is missing (0), half there (1) or there (2), by the digits of `choice`. */
static size_t content(int end, int synced, int64_t choice, unsigned char *file) {
    size_t size = 0;
    memset(file, 0, (size_t)1 << 17);
    for (int k = 0; k < end; k++) {
        const record *r = &control.log[k];
        size_t bytes = r->bytes;
        if (r->what != OP_WRITE) {
            continue;
        }
        if (k >= synced) {
            bytes = choice % 3 == 0 ? 0 : choice % 3 == 1 ? bytes / 2 : bytes;
            choice /= 3;
        }
        memcpy(file + r->offset, r->data, bytes);
        size = (size_t)r->offset + bytes > size ? (size_t)r->offset + bytes : size;
    }
    return size;
}

/* All states that a crash after `end` operations may leave; those in which the target is a third thing. Syncs of files do not count when
 * `forget_syncs`: then there must be some. */
static int64_t third_states(const model *m, int end, const void *old, size_t old_bytes, bool forget_syncs) {
    static unsigned char file[1 << 17];
    int synced = 0, renamed = 0;
    bool folder_synced = false;
    int64_t choices = 1, third = 0;
    qemb_status st = QEMB_OK;
    for (int k = 0; k < end; k++) {
        synced = control.log[k].what == OP_SYNC && !forget_syncs ? k : synced;
        renamed = control.log[k].what == OP_RENAME ? k : renamed;
        folder_synced = renamed && control.log[k].what == OP_SYNC_FOLDER ? true : folder_synced;
    }
    for (int k = synced; k < end; k++) {
        choices *= control.log[k].what == OP_WRITE && choices < 80 ? 3 : 1;
    }
    if (!folder_synced) { /* the old name may still stand, whatever the new file holds: one target for all these states */
        points += choices;
        third += load(support_write("crashed", old, old_bytes), m, &st) != 1 ? choices : 0;
    }
    for (int64_t choice = 0; choice < choices && renamed; choice++) {
        const size_t bytes = content(end, synced, choice, file);
        points++;
        third += load(support_write("crashed", file, bytes), m, &st) != 2;
    }
    return third;
}

Test(io_crash, power_is_lost, .timeout = 900,
     .description = "io_crash: power is lost after any call and what was not synced is partly there: the old file or the new one") {
    int64_t found = 0;
    for (unsigned number = 1; number <= (nightly() ? 400u : 25u); number++) {
        const model m = model_of(number);
        size_t old_bytes = 0;
        int64_t third = 0;
        cr_assert_eq(save(support_path("model"), &m, 1), QEMB_OK);
        char *old = support_read(support_path("model"), &old_bytes);
        control.records = 0;
        control.appended = 0;
        control.recording = true;
        cr_assert_eq(save(support_path("model"), &m, 2), QEMB_OK);
        control.recording = false;
        for (int end = 0; end <= control.records; end++) {
            third += third_states(&m, end, old, old_bytes, false);
        }
        harmed += third;
        cr_expect_eq(third, 0, "model %u: %lld states are neither the old nor the new file", number, (long long)third);
        const int64_t counted = points;
        found += third_states(&m, control.records, old, old_bytes, true);
        points = counted;
        for (int k = 0; k < control.records; k++) {
            free(control.log[k].data);
        }
        free(old);
    }
    cr_assert_gt(found, 0, "without its syncs a save leaves third things, and this test sees them");
    (void)printf("%lld crash points\n", (long long)points);
    scoreboard("R7", harmed == 0, "power lost after every call", "%lld states of the disk, %lld third states", (long long)points,
               (long long)harmed);
    cr_assert_gt(points, nightly() ? 10000 : 500);
}
