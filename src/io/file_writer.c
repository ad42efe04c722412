/* file_writer.c - see file_writer.h. */
#define _GNU_SOURCE
#include "io/file_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/status.h"

enum { BUFFER = 1 << 18, LONGEST_WRITE = 1 << 30, TRIES = 100, SUFFIX = 48, LONGEST_NAME = 200 };

struct qemb__file_writer {
    const char *who;
    char *target; /* links resolved */
    char *temp;   /* NULL when there is no file to remove */
    int fd;
    int64_t written; /* bytes handed to the system */
    size_t held;     /* bytes in the buffer */
    char *buffer;
};

/* The file that a path names, links followed; and its permissions if it exists. */
static qemb_status resolve(const char *who, const char *path, char **target, bool *exists, mode_t *mode) {
    qemb_status st = QEMB_OK;
    struct stat info;
    *exists = false;
    if (lstat(path, &info) != 0) {
        REQUIRE(errno == ENOENT, QEMB_ERR_IO, "%s: %s: cannot stat: %s", who, path, strerror(errno));
        return qemb__strdup(path, target);
    }
    char real[PATH_MAX];
    REQUIRE(realpath(path, real), QEMB_ERR_IO, "%s: %s: cannot follow the link: %s", who, path, strerror(errno));
    REQUIRE(stat(real, &info) == 0, QEMB_ERR_IO, "%s: %s: cannot stat: %s", who, path, strerror(errno));
    REQUIRE(S_ISREG(info.st_mode), QEMB_ERR_UNSUPPORTED, "%s: %s: exists and is not a regular file", who, path);
    *exists = true;
    *mode = info.st_mode & 07777;
    st = qemb__strdup(real, target);
done:
    return st;
}

/* Creates a file of a new name in the target's folder. */
static qemb_status create_temp(qemb__file_writer *w) {
    qemb_status st = QEMB_OK;
    struct timespec now = {0};
    void *block = NULL;
    size_t length = strlen(w->target);
    const char *slash = strrchr(w->target, '/');
    size_t folder = slash ? (size_t)(slash - w->target) + 1 : 0;
    /* A name near the system's limit leaves no room for a suffix. */
    int kept = (int)(length - folder <= LONGEST_NAME ? length - folder : 0);
    TRY(qemb__calloc((int64_t)(length + SUFFIX + 8), 1, &block));
    w->temp = block;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    for (unsigned i = 0; i < TRIES && w->fd < 0; ++i) {
        unsigned number = (unsigned)now.tv_nsec + i * 7919u;
        (void)snprintf(w->temp, length + SUFFIX + 8, "%.*s%.*s%s.tmp.%ld.%u", (int)folder, w->target, kept, w->target + folder,
                       kept ? "" : ".qemb", (long)getpid(), number);
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (w->fd < 0 && errno != EEXIST && errno != EINTR) {
            break;
        }
    }
    if (w->fd < 0) {
        st = qemb__fail(QEMB_ERR_IO, "%s: %s: cannot create a file beside it: %s", w->who, w->target, strerror(errno));
        qemb__free(w->temp); /* not ours: nothing to remove */
        w->temp = NULL;
    }
done:
    return st;
}

qemb_status qemb__file_writer_create(const char *who, const char *path, qemb__file_writer **writer) {
    qemb_status st = QEMB_OK;
    qemb__file_writer *w = NULL;
    void *block = NULL;
    bool exists = false;
    mode_t mode = 0;
    REQUIRE(path && *path, QEMB_ERR_ARG, "%s: no path given", who);
    TRY(qemb__calloc(1, sizeof *w, &block));
    w = block;
    w->who = who;
    w->fd = -1;
    TRY(qemb__calloc(BUFFER, 1, &block));
    w->buffer = block;
    TRY(resolve(who, path, &w->target, &exists, &mode));
    TRY(create_temp(w));
    REQUIRE(!exists || fchmod(w->fd, mode) == 0, QEMB_ERR_IO, "%s: %s: cannot carry over its permissions: %s", who, path, strerror(errno));
    *writer = w;
    w = NULL;
done:
    qemb__file_writer_destroy(w);
    return st;
}

/* All bytes, however many calls it takes; offset -1 appends. */
static qemb_status write_fully(qemb__file_writer *w, int64_t offset, const char *data, size_t bytes) {
    while (bytes > 0) {
        size_t piece = bytes < LONGEST_WRITE ? bytes : LONGEST_WRITE;
        ssize_t done = offset < 0 ? write(w->fd, data, piece) : pwrite(w->fd, data, piece, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return qemb__fail(QEMB_ERR_IO, "%s: %s: cannot write at byte %lld: %s", w->who, w->target,
                              (long long)(offset < 0 ? w->written : offset), strerror(done < 0 ? errno : ENOSPC));
        }
        data += done;
        bytes -= (size_t)done;
        if (offset < 0) {
            w->written += done;
        } else {
            offset += done;
        }
    }
    return QEMB_OK;
}

static qemb_status flush(qemb__file_writer *w) {
    size_t held = w->held;
    w->held = 0;
    return write_fully(w, -1, w->buffer, held);
}

qemb_status qemb__file_writer_append(qemb__file_writer *w, const void *data, size_t bytes) {
    if (bytes > BUFFER - w->held) {
        qemb_status st = flush(w);
        if (st != QEMB_OK) {
            return st;
        }
    }
    if (bytes >= BUFFER) {
        return write_fully(w, -1, data, bytes);
    }
    if (bytes) {
        memcpy(w->buffer + w->held, data, bytes);
        w->held += bytes;
    }
    return QEMB_OK;
}

qemb_status qemb__file_writer_put(qemb__file_writer *w, int64_t offset, const void *data, size_t bytes) {
    qemb_status st = flush(w);
    return st != QEMB_OK ? st : write_fully(w, offset, data, bytes);
}

int64_t qemb__file_writer_size(const qemb__file_writer *w) {
    return w->written + (int64_t)w->held;
}

/* The new name is durable when the folder is. Systems that cannot sync a folder say EINVAL, and then nobody can. */
static qemb_status sync_folder(const qemb__file_writer *w) {
    qemb_status st = QEMB_OK;
    char *folder = NULL;
    int fd = -1;
    TRY(qemb__strdup(w->target, &folder));
    char *slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder] = '\0';
    }
    fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(fd >= 0 && (fsync(fd) == 0 || errno == EINVAL), QEMB_ERR_IO,
            "%s: %s: the new file is in place, but its folder could not be synced: %s", w->who, w->target, strerror(errno));
done:
    if (fd >= 0) {
        (void)close(fd);
    }
    qemb__free(folder);
    return st;
}

qemb_status qemb__file_writer_commit(qemb__file_writer *w) {
    qemb_status st = QEMB_OK;
    TRY(flush(w));
    REQUIRE(fsync(w->fd) == 0, QEMB_ERR_IO, "%s: %s: cannot sync: %s", w->who, w->target, strerror(errno));
    int fd = w->fd;
    w->fd = -1;
    REQUIRE(close(fd) == 0, QEMB_ERR_IO, "%s: %s: cannot close: %s", w->who, w->target, strerror(errno));
    REQUIRE(rename(w->temp, w->target) == 0, QEMB_ERR_IO, "%s: %s: cannot rename the new file: %s", w->who, w->target, strerror(errno));
    qemb__free(w->temp);
    w->temp = NULL;
    st = sync_folder(w);
done:
    return st;
}

void qemb__file_writer_destroy(qemb__file_writer *w) {
    if (!w) {
        return;
    }
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    if (w->temp) {
        (void)unlink(w->temp);
    }
    qemb__free(w->temp);
    qemb__free(w->target);
    qemb__free(w->buffer);
    qemb__free(w);
}
