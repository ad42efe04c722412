/* test_corners.c - what only an odd machine or another thread brings about: a context that is busy at every call, memory that begins
 * anywhere, reads and writes that come in pieces or break off, a folder that cannot be listed.
 *
 * The linker sends the library's calls of mmap, read, write, open, stat, opendir, ... here (--wrap). All on the host: nothing is compiled. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>
#include <qemb/qemb_io.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/memory.h"
#include "core/context.h"
#include "io/fields.h"
#include "opencl/cache.h"
#include "support_files.h"

TestSuite(corners, .init = support_folder_create, .fini = support_folder_remove);

#define OK(call)    cr_assert_eq((call), QEMB_OK, "%s", qemb_last_error())
#define SIZE(array) (sizeof(array) / sizeof *(array))

enum { E = 11, D = 3, N = 5, PAGE = 4096, HUGE = 2 << 20 };

/* ---- the system, bent --------------------------------------------------------------------------------------------------------- */

typedef enum bend { STRAIGHT, INTERRUPTED, IN_PIECES, BROKEN, ENDED } bend;

static _Thread_local struct {
    bool crooked, no_maps, no_list;
    char *maps; /* what the system's list says instead */
    bend read, write;
    int calls; /* of read or write since it was bent */
    bool no_stat, no_folder_sync, odd_point;
    int taken;          /* so many new files have a name that there is */
    int seek;           /* the gzseek that fails, from 1 */
    int map, map_errno; /* the mapping that fails, from 1, and how */
} bent;

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
ssize_t __real_read(int fd, void *target, size_t bytes);
ssize_t __wrap_read(int fd, void *target, size_t bytes);
ssize_t __real_write(int fd, const void *source, size_t bytes);
ssize_t __wrap_write(int fd, const void *source, size_t bytes);
DIR *__real_opendir(const char *name);
DIR *__wrap_opendir(const char *name);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_stat(const char *path, struct stat *info);
int __wrap_stat(const char *path, struct stat *info);
int __real_fstat(int fd, struct stat *info);
int __wrap_fstat(int fd, struct stat *info);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
struct lconv *__real_localeconv(void);
struct lconv *__wrap_localeconv(void);
z_off_t __real_gzseek(gzFile file, z_off_t offset, int whence);
z_off_t __wrap_gzseek(gzFile file, z_off_t offset, int whence);

int __wrap_open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (flags & O_CREAT && bent.taken > 0) {
        bent.taken--;
        errno = EEXIST;
        return -1;
    }
    return __real_open(path, flags, mode);
}

int __wrap_stat(const char *path, struct stat *info) {
    errno = EIO;
    return bent.no_stat ? -1 : __real_stat(path, info);
}

int __wrap_fstat(int fd, struct stat *info) {
    errno = EIO;
    return bent.no_stat ? -1 : __real_fstat(fd, info);
}

int __wrap_fsync(int fd) {
    struct stat info;
    const bool folder = __real_fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
    errno = EINVAL;
    return folder && bent.no_folder_sync ? -1 : __real_fsync(fd);
}

struct lconv *__wrap_localeconv(void) {
    static struct lconv odd;
    odd = *__real_localeconv();
    odd.decimal_point = (char[]){"::"};
    return bent.odd_point ? &odd : __real_localeconv();
}

z_off_t __wrap_gzseek(gzFile file, z_off_t offset, int whence) {
    return bent.seek > 0 && --bent.seek == 0 ? -1 : __real_gzseek(file, offset, whence);
}

/* Memory that begins a page behind where huge pages begin, as kernels without such favours give it; and none. */
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if (protection == PROT_READ && bent.map > 0 && --bent.map == 0) {
        errno = bent.map_errno;
        return MAP_FAILED;
    }
    if (!bent.crooked || fd >= 0) {
        return __real_mmap(at, bytes, protection, flags, fd, offset);
    }
    char *raw = __real_mmap(at, bytes + 2 * HUGE, protection, flags, fd, offset);
    char *crooked = raw + (HUGE - (uintptr_t)raw % HUGE) + PAGE;
    cr_assert(munmap(raw, (size_t)(crooked - raw)) == 0);
    cr_assert(munmap(crooked + bytes, 2 * HUGE - (size_t)(crooked - raw)) == 0);
    return crooked;
}

/* The bytes of the next call; -1: it fails, 0: nothing comes. */
static ssize_t bend_call(bend how, size_t bytes) {
    const bool first = bent.calls++ == 0;
    if (how == INTERRUPTED && first) {
        errno = EINTR;
        return -1;
    }
    if (how == BROKEN && !first) {
        errno = EIO;
        return -1;
    }
    return how == ENDED && !first ? 0 : how == IN_PIECES && bytes > 3 ? 3 : (ssize_t)bytes;
}

ssize_t __wrap_read(int fd, void *target, size_t bytes) {
    const ssize_t n = bend_call(bent.read, bytes);
    return n > 0 ? __real_read(fd, target, (size_t)n) : n;
}

ssize_t __wrap_write(int fd, const void *source, size_t bytes) {
    const ssize_t n = bend_call(bent.write, bytes);
    return n > 0 ? __real_write(fd, source, (size_t)n) : n;
}

DIR *__wrap_opendir(const char *name) {
    errno = EACCES;
    return bent.no_list ? NULL : __real_opendir(name);
}

FILE *__wrap_fopen(const char *path, const char *mode) {
    errno = EMFILE;
    const bool list = strcmp(path, "/proc/self/smaps") == 0;
    if (list && bent.maps) {
        return fmemopen(bent.maps, strlen(bent.maps), "r");
    }
    return bent.no_maps && list ? NULL : __real_fopen(path, mode);
}

/* ---- a busy context ----------------------------------------------------------------------------------------------------------- */

typedef struct things {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch, *packed_batch;
    qemb_packed *packed;
    qemb_optimizer *optimizer;
    qemb_buffer *buffer;
} things;

static void open_things(things *t) {
    static const int32_t ids[N] = {1, 7, 7, 2, 10}, offsets[2] = {0, 2};
    const qemb_input in = {
        .indices = ids, .num_indices = N, .indices_dtype = QEMB_INT32, .offsets = offsets, .num_offsets = 2, .offsets_dtype = QEMB_INT32};
    OK(qemb_context_create("reference", &t->ctx));
    OK(qemb_embedding_bag_create(
        t->ctx, &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit()},
        &t->bag));
    OK(qemb_batch_create(t->ctx, &t->batch));
    OK(qemb_batch_create(t->ctx, &t->packed_batch));
    OK(qemb_buffer_create(t->ctx, 4096, &t->buffer));
    OK(qemb_optimizer_create(t->ctx, t->bag, &(qemb_optimizer_desc){.kind = QEMB_ADAGRAD}, &t->optimizer));
    OK(qemb_packed_create(t->bag, &(qemb_packed_desc){.format = {.bits = 8}, .method = QEMB_PACK_MINMAX}, &t->packed));
    OK(qemb_batch_set(t->batch, t->bag, &in));
    OK(qemb_packed_batch_set(t->packed, t->packed_batch, &in));
    OK(qemb_embedding_bag_forward(t->bag, t->batch, t->buffer));
}

static void close_things(things *t) {
    qemb_packed_destroy(t->packed);
    qemb_optimizer_destroy(t->optimizer);
    qemb_buffer_destroy(t->buffer);
    qemb_batch_destroy(t->packed_batch);
    qemb_batch_destroy(t->batch);
    qemb_embedding_bag_destroy(t->bag);
    qemb_context_destroy(t->ctx);
}

/* The statuses of calls that enter a context, with arguments that they take. */
typedef struct statuses {
    qemb_status got[64];
    const char *name[64];
    int count;
} statuses;

#define CALL(function, ...)                                                                                                                \
    do {                                                                                                                                   \
        s->name[s->count] = #function;                                                                                                     \
        s->got[s->count++] = qemb_##function(__VA_ARGS__);                                                                                 \
    } while (0)

static const int32_t some_ids[N] = {1, 7, 7, 2, 10};
static float values[E * D];

static void call_objects(const things *t, statuses *s) {
    static unsigned char bytes[1024];
    static int64_t skipped;
    static double gbps;
    const qemb_input in = {.indices = some_ids, .num_indices = N, .indices_dtype = QEMB_INT32, .columns = 1};
    const qemb_device_input on_device = {.indices = t->buffer, .num_indices = N, .indices_dtype = QEMB_INT32, .columns = 1};
    const qemb_packed_format format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4};
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    qemb_optimizer *optimizer = NULL;
    qemb_packed *packed = NULL;
    qemb_device_report report;
    qemb_counters counters;
    qemb_optimizer_info optimizer_info;
    CALL(context_finish, t->ctx);
    CALL(context_report, t->ctx, &report);
    CALL(context_counters, t->ctx, &counters);
    CALL(context_copy_bandwidth, t->ctx, 4096, &gbps);
    CALL(context_force_variant, t->ctx, NULL);
    CALL(buffer_create, t->ctx, 64, &buffer);
    CALL(buffer_write, t->buffer, 0, 4, values);
    CALL(buffer_read, t->buffer, 0, 4, values);
    CALL(buffer_write_async, t->buffer, 0, 4, values);
    CALL(buffer_read_async, t->buffer, 0, 4, values);
    CALL(batch_create, t->ctx, &batch);
    CALL(batch_set, t->batch, t->bag, &in);
    CALL(batch_set_device, t->batch, t->bag, &on_device);
    CALL(batch_status, t->batch, &skipped);
    CALL(packed_batch_set, t->packed, t->packed_batch, &in);
    CALL(packed_batch_set_device, t->packed, t->packed_batch, &on_device);
    CALL(optimizer_create, t->ctx, t->bag, &(qemb_optimizer_desc){.kind = QEMB_SGD}, &optimizer);
    CALL(optimizer_set_lr, t->optimizer, 0.5);
    CALL(optimizer_info_get, t->optimizer, &optimizer_info);
    CALL(optimizer_set_steps, t->optimizer, 3);
    CALL(optimizer_read_state, t->optimizer, 0, 0, 0, E, values);
    CALL(optimizer_write_state, t->optimizer, 0, 0, 0, E, values);
    CALL(packed_create, t->bag, NULL, &packed);
    CALL(packed_convert, t->packed, &format, 0, &packed);
    CALL(packed_read_rows, t->packed, 0, 0, 1, bytes, NULL);
    CALL(packed_unpack, t->packed, 0, 0, E, values);
    CALL(packed_forward, t->packed, t->packed_batch, t->buffer, QEMB_FLOAT32);
    CALL(packed_prepare, t->packed, NULL, QEMB_FLOAT32);
    cr_assert(!batch && !buffer && !optimizer && !packed, "a call that was refused made something");
}

static void call_module(const things *t, statuses *s) {
    static float low[E], high[E];
    static qemb_table_progress progress = {.eps = 1.0f, .observer_on = true};
    const qemb_gradients want = {.dense = t->buffer};
    const qemb_embedding_bag_desc desc = {.num_embeddings = E, .embedding_dim = D, .qconfig = qemb_qconfig_float()};
    const qemb_table_desc table = {.num_embeddings = E, .embedding_dim = D, .qconfig = qemb_qconfig_float()};
    qemb_embedding_bag *bag = NULL;
    qemb_bag_info info;
    qemb_table_desc found;
    CALL(embedding_bag_create, t->ctx, &desc, &bag);
    CALL(embedding_bag_collection_create, t->ctx, &(qemb_collection_desc){.tables = &table, .num_tables = 1}, &bag);
    CALL(embedding_bag_from_float, t->bag, &desc.qconfig, &bag);
    CALL(embedding_bag_to_float, t->bag, &bag);
    CALL(embedding_bag_info, t->bag, &info);
    CALL(embedding_bag_table, t->bag, 0, &found);
    CALL(embedding_bag_read_weight, t->bag, 0, 0, E, values);
    CALL(embedding_bag_write_weight, t->bag, 0, 0, E, values);
    CALL(embedding_bag_read_observer, t->bag, 0, 0, E, &(qemb_observer_rows){.min_val = low, .max_val = high});
    CALL(embedding_bag_write_observer, t->bag, 0, 0, E, low, high);
    CALL(embedding_bag_get_progress, t->bag, 0, &progress);
    CALL(embedding_bag_set_progress, t->bag, 3, &progress);
    CALL(embedding_bag_set_schedule, t->bag, 0, 1, 1);
    CALL(embedding_bag_set_observer, t->bag, 0, true);
    CALL(embedding_bag_set_fake_quant, t->bag, 0, true);
    CALL(embedding_bag_fake_quantise, t->bag, 0, 0, E, t->buffer);
    CALL(embedding_bag_observe_all, t->bag);
    CALL(embedding_bag_forward, t->bag, t->batch, t->buffer);
    CALL(embedding_bag_backward, t->bag, t->batch, t->buffer, &want);
    CALL(embedding_bag_sort, t->bag, t->batch);
    CALL(embedding_bag_step, t->bag, t->batch, t->buffer, t->optimizer);
    CALL(embedding_bag_prepare, t->bag, NULL);
    cr_assert_null(bag, "a call that was refused made something");
}
#undef CALL

Test(corners, busy, .description = "context: while another thread is inside, each call says BUSY and its name, and changes nothing") {
    statuses s = {.count = 0};
    float before[E * D], after[E * D];
    things t = {0};
    open_things(&t);
    OK(qemb_embedding_bag_read_weight(t.bag, 0, 0, E, before));
    OK(qemb__enter(t.ctx, "test"));
    call_objects(&t, &s);
    call_module(&t, &s);
    cr_expect_str_empty(qemb_context_build_log(t.ctx));
    qemb__leave(t.ctx);
    for (int i = 0; i < s.count; i++) {
        cr_expect_eq(s.got[i], QEMB_ERR_BUSY, "%s: %s", s.name[i], qemb_status_name(s.got[i]));
    }
    cr_expect_gt(s.count, 48);
    OK(qemb_embedding_bag_read_weight(t.bag, 0, 0, E, after));
    cr_expect_arr_eq(before, after, sizeof before);
    close_things(&t);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------- */

Test(corners, pages, .description = "memory: large pieces start where huge pages do, wherever the system's begin") {
    for (int k = 0; k < 2; k++) {
        void *block = NULL;
        const size_t bytes = 3 * HUGE + 5;
        bent.crooked = k == 1;
        OK(qemb__pages_alloc(bytes, &block));
        bent.crooked = false;
        cr_expect_eq((uintptr_t)block % HUGE, 0);
        memset(block, 1, bytes);
        cr_expect(qemb__pages_size(block, bytes) >= PAGE);
        bent.no_maps = true;
        cr_expect_eq(qemb__pages_size(block, bytes), PAGE, "without the system's list");
        bent.no_maps = false;
        qemb__pages_free(block, bytes);
    }
    cr_expect_eq(qemb__pages_size((void *)1, 1), PAGE, "an address that nothing has");
}

Test(corners, page_sizes, .description = "memory: pages are huge where half of the block, or of its map, lies in huge ones") {
    static const struct {
        uintptr_t at;
        size_t bytes;
        int kib; /* of huge pages in the second of three maps, 4 MiB at 2 MiB */
        size_t want;
    } cases[] = {
        {0x200000, 4 << 20, 2048, HUGE},  {0x200000, 4 << 20, 2047, PAGE}, {0x200000, 1 << 20, 512, HUGE},  {0x200000, 1 << 20, 511, PAGE},
        {0x200000, 16 << 20, 2048, HUGE}, {0x5fffff, 4 << 20, 2048, HUGE}, {0x600000, 4 << 20, 4096, PAGE}, {0x1fffff, 4 << 20, 4096, PAGE},
        {0x600000, 4 << 20, 0, PAGE},     {0x200000, 4 << 20, 0, PAGE},    {0x900000, 4 << 20, 4096, PAGE}, {0xffff, 4 << 20, 4096, PAGE},
        {0x200000, 16 << 20, 2047, PAGE}, {0x400000, 2 << 20, 1024, HUGE}, {0x400000, 2 << 20, 1023, PAGE},
    };
    char text[500];
    for (size_t k = 0; k < SIZE(cases); k++) {
        (void)snprintf(text, sizeof text,
                       "00100000-00200000 rw-p 0 0 0\nRss: 9 kB\nAnonHugePages: 0 kB\n"
                       "00200000-00600000 rw-p 0 0 0\nRss: 9 kB\nAnonHugePages: %d kB\nVmFlags: rd\n"
                       "00600000-00800000 rw-p 0 0 0\nRss: 9 kB\nAnonHugePages: 0 kB\n",
                       cases[k].kib);
        bent.maps = text;
        const size_t got = qemb__pages_size((void *)cases[k].at, cases[k].bytes);
        bent.maps = NULL;
        cr_expect_eq(got, cases[k].want, "case %zu: %zu", k, got);
    }
}

/* ---- files -------------------------------------------------------------------------------------------------------------------- */

static bool kept(const char *folder, const qemb__cache_key *key, const char *text) {
    size_t bytes = 0;
    bent.calls = 0;
    char *got = qemb__cache_get(folder, key, &bytes);
    const bool right = got && bytes == strlen(text) && memcmp(got, text, bytes) == 0;
    cr_expect(!got || right, "other bytes");
    qemb__free(got);
    return right;
}

Test(corners, cache,
     .description = "cache: reads and writes that come in pieces are taken up again, those that break off keep and give nothing") {
    static const char text[] = "seventeen bytes..";
    static const struct {
        bend how;
        bool works;
    } rows[] = {{STRAIGHT, true}, {INTERRUPTED, true}, {IN_PIECES, true}, {BROKEN, false}, {ENDED, false}};
    char folder[512];
    (void)snprintf(folder, sizeof folder, "%s", support_path("cache"));
    for (size_t i = 0; i < SIZE(rows); i++) {
        const qemb__cache_key key = {.word = {i, 7}};
        bent.calls = 0;
        bent.write = rows[i].how;
        qemb__cache_put(folder, &key, text, sizeof text - 1, 1 << 20);
        bent.write = STRAIGHT;
        cr_expect_eq(kept(folder, &key, text), rows[i].works, "written, %d", (int)rows[i].how);
        qemb__cache_put(folder, &key, text, sizeof text - 1, 1 << 20);
        bent.read = rows[i].how;
        cr_expect_eq(kept(folder, &key, text), rows[i].works, "read, %d", (int)rows[i].how);
        bent.read = STRAIGHT;
    }
    bent.no_list = true; /* nothing can be thrown away then */
    const qemb__cache_key key = {.word = {9, 9}};
    qemb__cache_put(folder, &key, text, sizeof text - 1, 1);
    bent.no_list = false;
    cr_expect(kept(folder, &key, text));
}

Test(corners, prepared_twice,
     .description = "prepare: the room for the winners of mode max is taken once, tables of one group compile once") {
    const qemb_table_desc tables[] = {{.num_embeddings = E, .embedding_dim = D, .qconfig = qemb_qconfig_8bit()},
                                      {.num_embeddings = E, .embedding_dim = D, .qconfig = qemb_qconfig_8bit()}};
    things t = {0};
    OK(qemb_context_create("reference", &t.ctx));
    OK(qemb_embedding_bag_collection_create(
        t.ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 2, .options = {.mode = QEMB_MODE_MAX}}, &t.bag));
    for (int k = 0; k < 2; k++) {
        OK(qemb_embedding_bag_prepare(t.bag, &(qemb_prepare_desc){.bags = 7, .lookups = 13, .calls = QEMB_PREPARE_BACKWARD}));
    }
    close_things(&t);
}

Test(corners, no_rows, .description = "context: calls for no rows at all do nothing, and say so by OK") {
    things t = {0};
    open_things(&t);
    OK(qemb_embedding_bag_fake_quantise(t.bag, 0, 3, 0, t.buffer));
    OK(qemb_embedding_bag_read_weight(t.bag, 0, 3, 0, NULL));
    OK(qemb_embedding_bag_write_observer(t.bag, 0, 3, 0, NULL, NULL));
    OK(qemb_packed_unpack(t.packed, 0, 3, 0, NULL));
    OK(qemb_packed_read_rows(t.packed, 0, 3, 0, NULL, NULL));
    OK(qemb_optimizer_read_state(t.optimizer, 0, 0, 3, 0, NULL));
    OK(qemb_buffer_write(t.buffer, 4, 0, NULL));
    OK(qemb_buffer_read(t.buffer, 4, 0, NULL));
    close_things(&t);
}

Test(corners, full_disk, .description = "io: a disk that is full when the header leaves the buffer: IO, and no file") {
    static float zeros[1 << 20];
    static const int64_t shape[] = {1 << 20};
    bent.write = BROKEN;
    bent.calls = 1; /* from the first call on */
    const qemb_status st = qemb_npy_save(support_path("full"), &(qemb_tensor_desc){"", shape, 1, QEMB_FILE_F32}, zeros);
    bent.write = STRAIGHT;
    cr_expect_eq(st, QEMB_ERR_IO, "%s", qemb_last_error());
    cr_expect_eq(support_count_files("full"), 0);
}

static const int64_t three[] = {3};
static const qemb_tensor_desc small = {"w", three, 1, QEMB_FILE_F32};
static const float trio[3] = {1, 2, 3};

Test(corners, writing,
     .description = "io: what goes wrong as a small file is made is IO and leaves nothing; a name that is taken is another one's") {
    static const struct {
        const char *what;
        bend write;
        int taken;
        bool no_stat, no_folder_sync;
        const char *path, *says; /* says NULL: it works */
    } rows[] = {
        {"straight", STRAIGHT, 0, false, false, "a.npy", NULL},
        {"the buffer cannot be written", BROKEN, 0, false, false, "b.npy", "cannot write"},
        {"nothing is written", ENDED, 0, false, false, "b.npy", "No space left"},
        {"three names are taken", STRAIGHT, 3, false, false, "a.npy", NULL},
        {"all names are taken", STRAIGHT, 1000, false, false, "b.npy", "cannot create a file beside it"},
        {"the old file has no state", STRAIGHT, 0, true, false, "a.npy", "cannot stat"},
        {"a folder that cannot be synced", STRAIGHT, 0, false, true, "a.npy", NULL},
        {"a file for a folder", STRAIGHT, 0, false, false, "a.npy/b", "cannot stat"},
    };
    for (size_t i = 0; i < SIZE(rows); i++) {
        bent.calls = 1;
        bent.write = rows[i].write;
        bent.taken = rows[i].taken;
        bent.no_stat = rows[i].no_stat;
        bent.no_folder_sync = rows[i].no_folder_sync;
        const qemb_status st = qemb_npy_save(support_path(rows[i].path), &small, trio);
        memset(&bent, 0, sizeof bent);
        cr_expect_eq(st, rows[i].says ? QEMB_ERR_IO : QEMB_OK, "%s: %s", rows[i].what, qemb_last_error());
        cr_expect(!rows[i].says || strstr(qemb_last_error(), rows[i].says), "%s: %s", rows[i].what, qemb_last_error());
        cr_expect_eq(support_count_files(""), 1, "%s", rows[i].what);
    }
}

Test(corners, opening, .description = "io: a file that cannot be looked at or mapped is IO, and NOMEM where the system says so") {
    static const struct {
        bool npy, no_stat;
        int map, map_errno;
        qemb_status st;
    } rows[] = {{true, false, 0, 0, QEMB_OK},           {false, false, 0, 0, QEMB_OK},
                {true, true, 0, 0, QEMB_ERR_IO},        {false, true, 0, 0, QEMB_ERR_IO},
                {true, false, 1, EACCES, QEMB_ERR_IO},  {true, false, 1, ENOMEM, QEMB_ERR_NOMEM},
                {false, false, 1, EAGAIN, QEMB_ERR_IO}, {false, false, 1, ENOMEM, QEMB_ERR_NOMEM},
                {false, false, 2, EACCES, QEMB_ERR_IO}, {false, false, 2, ENOMEM, QEMB_ERR_NOMEM}};
    OK(qemb_npy_save(support_path("a.npy"), &small, trio));
    OK(qemb_safetensors_save(support_path("a"), &small, (const void *[]){trio}, 1, NULL, 0));
    for (size_t i = 0; i < SIZE(rows); i++) {
        qemb_npy *npy = NULL;
        qemb_safetensors *file = NULL;
        qemb_tensor_view view;
        bent.no_stat = rows[i].no_stat;
        bent.map = rows[i].map;
        bent.map_errno = rows[i].map_errno;
        const qemb_status st =
            rows[i].npy ? qemb_npy_open(support_path("a.npy"), &npy, &view) : qemb_safetensors_open(support_path("a"), &file);
        memset(&bent, 0, sizeof bent);
        cr_expect_eq(st, rows[i].st, "row %zu: %s", i, qemb_last_error());
        qemb_npy_close(npy);
        qemb_safetensors_close(file);
    }
}

Test(corners, decimal_point, .description = "fields: in a locale whose decimal point is two characters no real number is read") {
    static const qemb__field fields[] = {{"real", 0, QEMB__FIELD_REAL, 0, 0, NULL}, {0}};
    double value = 0.0;
    OK(qemb__fields_read("reader", "file", "key", "version=1 real=2.5", fields, &value));
    cr_expect_eq(value, 2.5);
    bent.odd_point = true;
    cr_expect_eq(qemb__fields_read("reader", "file", "key", "version=1 real=2.5", fields, &value), QEMB_ERR_CORRUPT);
    bent.odd_point = false;
}

/* Puts a folder in the place of an open file. */
static void replace_file(const char *path) {
    char real[512];
    cr_assert_not_null(realpath(path, real));
    for (int fd = 3; fd < 256; fd++) {
        char link[64], target[512];
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        const ssize_t n = readlink(link, target, sizeof target - 1);
        if (n > 0 && (size_t)n == strlen(real) && memcmp(target, real, (size_t)n) == 0) {
            const int folder = __real_open("/", O_RDONLY | O_DIRECTORY);
            cr_assert(folder >= 0 && dup2(folder, fd) == fd && close(folder) == 0);
            return;
        }
    }
    cr_assert(false, "%s is not open", real);
}

Test(corners, log_that_breaks, .description = "click_reader: a log that cannot be read on, or not from the start again, is IO") {
    enum { LINES = 100000 };
    static char text[4 * LINES], path[512];
    static int32_t ids[QEMB_CLICK_SPARSE];
    qemb_click_reader *reader = NULL;
    int64_t rows = 0;
    for (int i = 0; i < LINES; i++) {
        memcpy(text + 4 * i, "bad\n", 4);
    }
    (void)snprintf(path, sizeof path, "%s", support_write("log", text, sizeof text));
    const qemb_click_desc desc = {.path = path, .form = QEMB_CLICK_TSV, .faults = QEMB_CLICK_SKIP};
    OK(qemb_click_reader_open(&desc, &reader));
    for (int seek = 1; seek <= 2; seek++) {
        bent.seek = seek;
        cr_expect_eq(qemb_click_reader_count(reader, &rows), QEMB_ERR_IO, "%s", qemb_last_error());
        cr_expect(strstr(qemb_last_error(), "cannot go back"), "%s", qemb_last_error());
        bent.seek = 0;
        OK(qemb_click_reader_count(reader, &rows));
        cr_expect_eq(rows, 0);
    }
    replace_file(path);
    cr_expect_eq(qemb_click_reader_next(reader, 1, ids, NULL, NULL, &rows), QEMB_ERR_IO, "%s", qemb_last_error());
    qemb_click_reader_close(reader);
}

Test(corners, long_line, .description = "click_reader: a compressed line without an end that is cut: CORRUPT, with its place") {
    enum { PIECE = 1 << 16, PIECES = 64 };
    static char piece[PIECE], path[512];
    static int32_t ids[QEMB_CLICK_SPARSE];
    qemb_click_reader *reader = NULL;
    int64_t rows = 0;
    size_t size = 0;
    memset(piece, 'x', sizeof piece);
    (void)snprintf(path, sizeof path, "%s", support_path("log.gz"));
    gzFile file = gzopen(path, "wb1");
    cr_assert_not_null(file);
    for (int i = 0; i < PIECES; i++) {
        cr_assert_eq(gzwrite(file, piece, PIECE), PIECE);
    }
    cr_assert_eq(gzclose(file), Z_OK);
    char *bytes = support_read(path, &size);
    (void)support_write("log.gz", bytes, size - 9);
    free(bytes);
    qemb_status st = qemb_click_reader_open(&(qemb_click_desc){.path = path, .form = QEMB_CLICK_TSV, .faults = QEMB_CLICK_SKIP}, &reader);
    st = st == QEMB_OK ? qemb_click_reader_next(reader, 1, ids, NULL, NULL, &rows) : st;
    cr_expect_eq(st, QEMB_ERR_CORRUPT, "%s", qemb_last_error());
    cr_expect(strstr(qemb_last_error(), "is cut"), "%s", qemb_last_error());
    qemb_click_reader_close(reader);
}
