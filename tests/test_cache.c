/* test_cache.c - compiled programs on disk: taken when they are good, and otherwise as good as none. Most tests run behind the layer of
 * fault_layer.h, whose binaries are small and whose programs build once. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl/cache.h"
#include "support_bag.h"
#include "support_files.h"
#include "support_layer.h"
#include "support_ok.h"

enum { LIMIT = 1 << 20 };
static const bag_engine engine = {"PoCL pthread", "pthread", "cpu", NULL, NULL};

static void use_cache(const char *folder) {
    cr_assert_eq(setenv("QEMB_CACHE", folder, 1), 0);
}

/* A context of the first PoCL device; how many programs were compiled for it. */
static int64_t open_context(void) {
    qemb_counters c;
    qemb_context *ctx = NULL;
    OK(qemb_context_create("opencl", &ctx));
    OK(qemb_context_counters(ctx, &c));
    qemb_context_destroy(ctx);
    return c.programs_built;
}

/* ---- files ----------------------------------------------------------------------------------------------------------------------- */

static qemb__cache_key key_of(const char *text) {
    qemb__cache_key key = {{0, 0}};
    qemb__cache_mix(&key, text, strlen(text));
    return key;
}

/* Whether exactly these bytes are kept under the key; nothing is false, other bytes fail. */
static bool holds(const char *folder, const qemb__cache_key *key, const char *want) {
    size_t bytes = 0;
    char *data = qemb__cache_get(folder, key, &bytes);
    if (data) {
        cr_assert(bytes == strlen(want) && memcmp(data, want, bytes) == 0, "%zu bytes that were never put", bytes);
    }
    free(data);
    return data != NULL;
}

static const char *path_of(const char *folder, const qemb__cache_key *key) {
    static char path[2048];
    (void)snprintf(path, sizeof path, "%s/%016llx%016llx.bin", folder, (unsigned long long)key->word[0], (unsigned long long)key->word[1]);
    return path;
}

static void write_file(const char *path, const char *bytes, size_t count) {
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(bytes, 1, count, f) == count && fclose(f) == 0);
}

TestSuite(cache, .init = support_folder_create, .fini = support_folder_remove);

Test(cache, damage,
     .description = "cache: any byte changed, any length cut, bytes added, another key's file: as good as none, and written anew") {
    static const char text[] = "bytes of a driver, opaque to all but itself";
    const char *folder = support_path("deep/er/cache");
    const qemb__cache_key key = key_of("a"), other = key_of("b");
    size_t count = 0;
    cr_assert(!holds(folder, &key, text));
    qemb__cache_put(folder, &key, text, strlen(text), LIMIT);
    cr_assert(holds(folder, &key, text));
    cr_assert(!holds(folder, &other, text));
    char *file = support_read(path_of(folder, &key), &count);
    cr_assert_eq(count, strlen(text) + QEMB__CACHE_HEAD);
    for (size_t at = 0; at < count; at++) { /* magic, key, size, checksum, bytes */
        file[at] ^= 1;
        write_file(path_of(folder, &key), file, count);
        cr_expect(!holds(folder, &key, text), "byte %zu", at);
        file[at] ^= 1;
        write_file(path_of(folder, &key), file, at);
        cr_expect(!holds(folder, &key, text), "cut to %zu", at);
    }
    file[count] = 'x';
    write_file(path_of(folder, &key), file, count + 1);
    cr_expect(!holds(folder, &key, text), "a byte added");
    write_file(path_of(folder, &other), file, count);
    cr_expect(!holds(folder, &other, text), "a file under another name");
    qemb__cache_put(folder, &key, text, strlen(text), LIMIT);
    cr_expect(holds(folder, &key, text));
    free(file);
}

Test(cache, trust, .description = "cache: files that others may write, links, folders and pipes in the place of a file are not read") {
    static const char text[] = "a program";
    const char *folder = support_path("cache");
    const qemb__cache_key key = key_of("a");
    char path[2048], aside[2100];
    struct stat s;
    qemb__cache_put(folder, &key, text, strlen(text), LIMIT);
    (void)snprintf(path, sizeof path, "%s", path_of(folder, &key));
    (void)snprintf(aside, sizeof aside, "%s.aside", path);
    cr_assert(stat(folder, &s) == 0 && (s.st_mode & 0777) == 0700, "the folder is its owner's alone");
    cr_assert(stat(path, &s) == 0 && (s.st_mode & 0777) == 0600);
    cr_assert_eq(chmod(path, 0620), 0);
    cr_expect(!holds(folder, &key, text), "the group may write it");
    cr_assert_eq(chmod(path, 0600), 0);
    cr_expect(holds(folder, &key, text));
    cr_assert(rename(path, aside) == 0 && symlink(aside, path) == 0);
    cr_expect(!holds(folder, &key, text), "a link");
    cr_assert(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    cr_expect(!holds(folder, &key, text), "a pipe");
    cr_assert(unlink(path) == 0 && mkdir(path, 0700) == 0);
    cr_expect(!holds(folder, &key, text), "a folder");
    qemb__cache_put(folder, &key, text, strlen(text), LIMIT); /* cannot replace a folder, and leaves nothing */
    cr_expect_eq(rmdir(path), 0);
    qemb__cache_put(folder, &key, text, strlen(text), LIMIT);
    cr_expect(holds(folder, &key, text));
}

Test(cache, room,
     .description = "cache: more bytes than allowed, the files not used for longest go, and what a dead writer left after an hour") {
    enum { FILES = 23, BYTES = 1000, ALLOWED = 20 * (BYTES + QEMB__CACHE_HEAD) };
    const char *folder = support_path("cache");
    char text[BYTES + 1], name[16], stale[2048], fresh[2048];
    memset(text, 'p', BYTES);
    text[BYTES] = '\0';
    for (int k = 0; k < FILES; k++) {
        (void)snprintf(name, sizeof name, "%d", k);
        const qemb__cache_key key = key_of(name);
        qemb__cache_put(folder, &key, text, BYTES, ALLOWED);
        const struct timespec used[2] = {{.tv_sec = 1000 + (k + 7) % FILES},
                                         {.tv_sec = 1000 + (k + 7) % FILES}}; /* not in the order of writing */
        cr_assert_eq(utimensat(AT_FDCWD, path_of(folder, &key), used, 0), 0);
        if (k == 3) {
            (void)snprintf(stale, sizeof stale, "%s/.0123456789abcdef0123456789abcdef.1.1", folder);
            (void)snprintf(fresh, sizeof fresh, "%s/.0123456789abcdef0123456789abcdef.2.1", folder);
            write_file(stale, "x", 1);
            write_file(fresh, "x", 1);
            cr_assert_eq(utimensat(AT_FDCWD, stale, used, 0), 0);
        }
    }
    int kept = 0;
    for (int k = 0; k < FILES; k++) {
        (void)snprintf(name, sizeof name, "%d", k);
        const qemb__cache_key key = key_of(name);
        const bool there = holds(folder, &key, text);
        kept += there;
        cr_expect(there || k >= 16 || k < 4, "%d was used later than those that stay", k);
    }
    cr_expect(kept >= 15 && kept <= 20, "%d of %d kept", kept, FILES);
    cr_expect_neq(access(stale, F_OK), 0);
    cr_expect_eq(access(fresh, F_OK), 0, "another process may be writing it");
}

Test(cache, processes, .timeout = 120,
     .description = "cache: four processes that write and read the same keys at once see whole files or none") {
    enum { PROCESSES = 4, ROUNDS = 300, KEYS = 3 };
    const char *folder = support_path("cache");
    for (int p = 0; p < PROCESSES; p++) {
        const pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
            int good = 0;
            for (int k = 0; k < ROUNDS; k++) {
                char text[3001];
                size_t bytes = 0;
                const int which = (k + p) % KEYS;
                const qemb__cache_key key = key_of(which == 0 ? "0" : which == 1 ? "1" : "2");
                memset(text, 'a' + which, sizeof text); /* a key stands for its bytes: what all processes write is the same */
                qemb__cache_put(folder, &key, text, 1000 + 1000 * (size_t)which, LIMIT);
                char *got = qemb__cache_get(folder, &key, &bytes);
                good += got && bytes == 1000 + 1000 * (size_t)which && memcmp(got, text, bytes) == 0;
                free(got);
            }
            _exit(good == ROUNDS ? 0 : 1);
        }
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status = 1;
        cr_assert_gt(wait(&status), 0);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    cr_expect_eq(support_count_files("cache"), 1, "nothing beside the folder");
}

Test(cache, where, .description = "cache: off for drivers with one of their own and by name; the user's folders else") {
    char folder[QEMB__CACHE_FOLDER];
    cr_assert(setenv("HOME", "/home/u", 1) == 0 && unsetenv("XDG_CACHE_HOME") == 0 && unsetenv("QEMB_CACHE") == 0);
    cr_expect(!qemb__cache_folder("Portable Computing Language", folder));
    cr_expect(!qemb__cache_folder("NVIDIA CUDA", folder));
    cr_expect(!qemb__cache_folder("rusticl", folder));
    cr_assert(qemb__cache_folder("Some Vendor's OpenCL", folder));
    cr_expect_str_eq(folder, "/home/u/.cache/qemb");
    cr_assert_eq(setenv("XDG_CACHE_HOME", "/var/c", 1), 0);
    cr_assert(qemb__cache_folder("Some Vendor's OpenCL", folder));
    cr_expect_str_eq(folder, "/var/c/qemb");
    use_cache("off");
    cr_expect(!qemb__cache_folder("Some Vendor's OpenCL", folder));
    use_cache("on");
    cr_assert(qemb__cache_folder("NVIDIA CUDA", folder));
    cr_expect_str_eq(folder, "/var/c/qemb");
    use_cache("/elsewhere");
    cr_assert(qemb__cache_folder("NVIDIA CUDA", folder));
    cr_expect_str_eq(folder, "/elsewhere");
    cr_assert(unsetenv("QEMB_CACHE") == 0 && unsetenv("XDG_CACHE_HOME") == 0 && unsetenv("HOME") == 0);
    cr_expect(!qemb__cache_folder("Some Vendor's OpenCL", folder), "nowhere to put it");
}

/* ---- contexts --------------------------------------------------------------------------------------------------------------------- */

static void fail_once(fault_state *layer, fault_entry entry, int code) {
    layer->calls = layer->fired = 0;
    layer->at = 1;
    layer->code = code;
    layer->only = (int)entry + 1;
    layer->armed = true;
}

static int64_t disarm(fault_state *layer) {
    layer->armed = false;
    layer->only = 0;
    return layer->fired;
}

Test(
    cache, contexts, .timeout = 300,
    .description = "cache: a context compiles once; damaged files, a driver that refuses them, folders that cannot be: it compiles again") {
    fault_state *layer = support_layer_open();
    const char *folder = support_path("cache");
    char saved[512];
    use_cache(folder);
    const int64_t all = open_context();
    cr_assert_gt(all, 0);
    cr_assert_eq(open_context(), 0, "all taken from the cache");
    static const fault_entry refusing[] = {FAULT_clCreateProgramWithBinary, FAULT_clBuildProgram, FAULT_clCreateKernel};
    for (int k = 0; k < 3; k++) {
        for (int code = 0; code < support_entries[refusing[k]].codes; code++) {
            fail_once(layer, refusing[k], code);
            cr_expect_eq(open_context(), 1, "%s, code %d: one compiled from source", support_entries[refusing[k]].name, code);
            cr_expect_eq(disarm(layer), 1);
        }
    }
    cr_expect_eq(open_context(), 0, "and kept again");
    /* no binary can be had: compiled, and nothing kept */
    (void)snprintf(saved, sizeof saved, "%s", support_path("other"));
    use_cache(saved);
    for (int code = 0; code < support_entries[FAULT_clGetProgramInfo].codes; code++) {
        for (int call = 1; call <= 4; call++) {
            fail_once(layer, FAULT_clGetProgramInfo, code);
            layer->at = call;
            cr_expect_eq(open_context(), all);
            cr_expect_eq(disarm(layer), 1);
        }
    }
    use_cache("off");
    cr_expect_eq(open_context(), all);
    static const char *const impossible[] = {"/proc/none/cache", "/dev/null/cache", "/dev/null"};
    for (int k = 0; k < 3; k++) {
        use_cache(impossible[k]);
        cr_expect_eq(open_context(), all, "%s", impossible[k]);
    }
    cr_expect_null(support_layer_leaks(layer), "objects are left");
}

/* The output of a forward and a step, and of a forward behind it. */
static void train(float out[2][3 * 7], int64_t *built) {
    static const int64_t ids[] = {4, 0, 4, 2, 6}, offsets[] = {0, 3, 4};
    qemb_counters c;
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    OK(qemb_context_create("opencl", &ctx));
    OK(qemb_embedding_bag_create(
        ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = 11, .embedding_dim = 7, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit(), .seed = 2},
        &bag));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, sizeof out[0], &buffer));
    OK(qemb_batch_set(batch, bag,
                      &(qemb_input){.indices = ids, .num_indices = 5, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 3}));
    for (int k = 0; k < 2; k++) {
        OK(qemb_embedding_bag_forward(bag, batch, buffer));
        OK(qemb_buffer_read(buffer, 0, sizeof out[0], out[k]));
    }
    OK(qemb_context_counters(ctx, &c));
    *built = c.programs_built;
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(cache, bits, .timeout = 300, .description = "cache: kernels out of PoCL's binaries, the bits of kernels out of the source") {
    float fresh[2][3 * 7], again[2][3 * 7];
    int64_t first = 0, second = 0;
    bag_pocl_devices();
    qemb_context_destroy(bag_context(&engine));
    use_cache(support_path("cache"));
    train(fresh, &first);
    train(again, &second);
    cr_expect(first == 2 && second == 0, "%lld compiled, then %lld", (long long)first, (long long)second);
    cr_expect_arr_eq(fresh, again, sizeof fresh);
}
