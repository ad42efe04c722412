/* cache.c - see cache.h. */
#include "opencl/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

enum { DIGITS = 32, DAY = 24 * 3600, HOUR = 3600, MAX_BYTES = 1 << 28, PATH = QEMB__CACHE_FOLDER + 96, NAME = DIGITS + 8 };

/* 48 bytes as they lie in the file. */
typedef struct head {
    char magic[8];
    qemb__cache_key key;
    uint64_t bytes;
    qemb__cache_key check; /* of the 32 bytes before it and all bytes behind the head */
} head;
_Static_assert(sizeof(head) == QEMB__CACHE_HEAD, "the head of a file has no holes");
static const char magic[8] = {'q', 'e', 'm', 'b', 'b', 'i', 'n', '1'};

/* ---- keys and checksums -------------------------------------------------------------------------------------------------------- */

/* Each step is a bijection of a word, so that no single changed byte can go unseen. */
void qemb__cache_mix(qemb__cache_key *key, const void *data, size_t bytes) {
    const unsigned char *p = data;
    uint64_t a = key->word[0] ^ 0xcbf29ce484222325u;
    uint64_t b = key->word[1] + 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < bytes; i++) {
        a = (a ^ p[i]) * 0x100000001b3u;
        b = (b + p[i]) * 0xff51afd7ed558ccdu;
        b ^= b >> 29;
    }
    a = (a ^ bytes) * 0xc4ceb9fe1a85ec53u;
    b = (b + bytes) * 0xff51afd7ed558ccdu;
    key->word[0] = a ^ a >> 32;
    key->word[1] = b ^ b >> 32;
}

static qemb__cache_key check_of(const head *h, const void *data) {
    qemb__cache_key check = {{0, 0}};
    qemb__cache_mix(&check, h, offsetof(head, check));
    qemb__cache_mix(&check, data, (size_t)h->bytes);
    return check;
}

static bool same_key(const qemb__cache_key *a, const qemb__cache_key *b) {
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* ---- where ----------------------------------------------------------------------------------------------------------------------- */

static bool names(const char *text, const char *part) {
    return strstr(text, part) != NULL;
}

/* Platforms whose drivers keep what they compile; simulators, where it is quick. */
static bool has_own(const char *platform) {
    return names(platform, "Portable Computing Language") || names(platform, "NVIDIA") || names(platform, "rusticl") ||
           names(platform, "Clover") || names(platform, "Oclgrind");
}

static bool is_set(const char *text) {
    return text && *text;
}

bool qemb__cache_folder(const char *platform, char folder[QEMB__CACHE_FOLDER]) {
    const char *asked = getenv("QEMB_CACHE");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    const bool on = is_set(asked) && strcmp(asked, "on") == 0;
    int length = -1;
    if (is_set(asked) && !on) {
        length = strcmp(asked, "off") == 0 ? -1 : snprintf(folder, QEMB__CACHE_FOLDER, "%s", asked);
    } else if ((on || !has_own(platform)) && is_set(xdg) && xdg[0] == '/') {
        length = snprintf(folder, QEMB__CACHE_FOLDER, "%s/qemb", xdg);
    } else if ((on || !has_own(platform)) && is_set(home)) {
        length = snprintf(folder, QEMB__CACHE_FOLDER, "%s/.cache/qemb", home);
    }
    return length > 0 && length < QEMB__CACHE_FOLDER;
}

static void file_name(const qemb__cache_key *key, char name[NAME]) {
    (void)snprintf(name, NAME, "%016llx%016llx.bin", (unsigned long long)key->word[0], (unsigned long long)key->word[1]);
}

/* Makes a folder and those above it. Whether it is there is seen by who writes into it. */
static void make_folder(const char *folder) {
    char path[QEMB__CACHE_FOLDER];
    (void)snprintf(path, sizeof path, "%s", folder);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    (void)mkdir(path, 0700);
}

/* ---- reading --------------------------------------------------------------------------------------------------------------------- */

static bool read_all(int fd, void *target, size_t bytes) {
    char *p = target;
    while (bytes) {
        const ssize_t n = read(fd, p, bytes);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return false;
        }
        p += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* A regular file of this user that nobody else may have written. */
static bool trusted(const struct stat *s) {
    return S_ISREG(s->st_mode) && s->st_uid == geteuid() && !(s->st_mode & (S_IWGRP | S_IWOTH));
}

void *qemb__cache_get(const char *folder, const qemb__cache_key *key, size_t *bytes) {
    char name[NAME];
    char path[PATH];
    struct stat s;
    head h;
    void *data = NULL;
    file_name(key, name);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return NULL;
    }
    bool good = fstat(fd, &s) == 0 && trusted(&s) && s.st_size > QEMB__CACHE_HEAD && s.st_size <= MAX_BYTES && read_all(fd, &h, sizeof h) &&
                memcmp(h.magic, magic, sizeof magic) == 0 && same_key(&h.key, key) && h.bytes == (uint64_t)s.st_size - sizeof h;
    good = good && qemb__calloc((int64_t)h.bytes, 1, &data) == QEMB_OK && read_all(fd, data, (size_t)h.bytes);
    if (good) {
        const qemb__cache_key check = check_of(&h, data);
        good = same_key(&h.check, &check);
    }
    if (good && time(NULL) - s.st_mtime > DAY) {
        (void)futimens(fd, NULL); /* used: not among the first to go */
    }
    (void)close(fd);
    if (!good) {
        qemb__free(data);
        return NULL;
    }
    *bytes = (size_t)h.bytes;
    return data;
}

/* ---- room ------------------------------------------------------------------------------------------------------------------------ */

typedef struct kept_file {
    char name[NAME];
    int64_t bytes;
    struct timespec used;
} kept_file;

static int by_age(const void *a, const void *b) {
    const struct timespec *x = &((const kept_file *)a)->used;
    const struct timespec *y = &((const kept_file *)b)->used;
    const int seconds = (x->tv_sec > y->tv_sec) - (x->tv_sec < y->tv_sec);
    return seconds ? seconds : (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static bool is_name(const char *name) {
    return strspn(name, "0123456789abcdef") == DIGITS;
}

/* All files of a cache, and whatever a writer that died left behind, which is removed. */
static int64_t list(DIR *dir, kept_file **files, int64_t *total) {
    int64_t count = 0;
    int64_t room = 0;
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        struct stat s;
        const bool left = e->d_name[0] == '.' && is_name(e->d_name + 1);
        const bool kept = is_name(e->d_name) && strcmp(e->d_name + DIGITS, ".bin") == 0;
        if ((!left && !kept) || fstatat(dirfd(dir), e->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        if (left && time(NULL) - s.st_mtime > HOUR) {
            (void)unlinkat(dirfd(dir), e->d_name, 0);
        }
        if (kept && qemb__grow((void **)files, &room, count + 1, sizeof **files) == QEMB_OK) {
            kept_file *f = &(*files)[count++];
            memcpy(f->name, e->d_name, DIGITS + sizeof ".bin");
            f->bytes = s.st_size;
            f->used = s.st_mtim;
            *total += s.st_size;
        }
    }
    return count;
}

static void make_room(const char *folder, int64_t limit) {
    kept_file *files = NULL;
    int64_t total = 0;
    DIR *dir = opendir(folder);
    if (!dir) {
        return;
    }
    const int64_t count = list(dir, &files, &total);
    if (total > limit) {
        qsort(files, (size_t)count, sizeof *files, by_age);
        for (int64_t i = 0; i < count && total > limit / 4 * 3; i++) {
            total -= unlinkat(dirfd(dir), files[i].name, 0) == 0 ? files[i].bytes : 0;
        }
    }
    (void)closedir(dir);
    qemb__free(files);
}

/* ---- writing --------------------------------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const void *source, size_t bytes) {
    const char *p = source;
    while (bytes) {
        const ssize_t n = write(fd, p, bytes);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return false;
        }
        p += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

void qemb__cache_put(const char *folder, const qemb__cache_key *key, const void *data, size_t bytes, int64_t limit) {
    static atomic_uint turn;
    char name[NAME];
    char path[PATH];
    char beside[PATH];
    head h = {.key = *key, .bytes = bytes};
    if (bytes == 0 || bytes > MAX_BYTES - sizeof h) {
        return;
    }
    memcpy(h.magic, magic, sizeof magic);
    h.check = check_of(&h, data);
    file_name(key, name);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)snprintf(beside, sizeof beside, "%s/.%.32s.%ld.%u", folder, name, (long)getpid(), atomic_fetch_add(&turn, 1));
    make_folder(folder);
    const int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return;
    }
    bool good = write_all(fd, &h, sizeof h) && write_all(fd, data, bytes); /* not synced: the checksum sees what a power cut leaves */
    good = close(fd) == 0 && good;
    if (!good || rename(beside, path) != 0) {
        (void)unlink(beside);
        return;
    }
    make_room(folder, limit);
}
