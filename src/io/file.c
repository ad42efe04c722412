/* file.c - see file.h. */
#define _GNU_SOURCE
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"

qemb_status qemb__file_open(const char *who, const char *path, int *fd, int64_t *size) {
    qemb_status st = QEMB_OK;
    struct stat info;
    int opened = -1;
    REQUIRE(path && *path, QEMB_ERR_ARG, "%s: no path given", who);
    /* O_NONBLOCK: the open of a FIFO without a writer must not hang before it can be refused. */
    do {
        opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (opened < 0 && errno == EINTR);
    REQUIRE(opened >= 0, QEMB_ERR_IO, "%s: %s: cannot open: %s", who, path, strerror(errno));
    REQUIRE(fstat(opened, &info) == 0, QEMB_ERR_IO, "%s: %s: cannot stat: %s", who, path, strerror(errno));
    REQUIRE(S_ISREG(info.st_mode), QEMB_ERR_UNSUPPORTED, "%s: %s: not a regular file", who, path);
    *size = (int64_t)info.st_size;
    *fd = opened;
    opened = -1;
done:
    if (opened >= 0) {
        (void)close(opened);
    }
    return st;
}

qemb_status qemb__file_read(const char *who, const char *path, int fd, int64_t offset, size_t bytes, void *target) {
    size_t have = 0;
    while (have < bytes) {
        size_t want = bytes - have < (size_t)1 << 30 ? bytes - have : (size_t)1 << 30;
        ssize_t got = pread(fd, (char *)target + have, want, (off_t)(offset + (int64_t)have));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return qemb__fail(QEMB_ERR_IO, "%s: %s: cannot read at byte %lld: %s", who, path, (long long)(offset + (int64_t)have),
                              strerror(errno));
        }
        if (got == 0) {
            return qemb__fail(QEMB_ERR_IO, "%s: %s: the file ends at byte %lld, %zu bytes early", who, path,
                              (long long)(offset + (int64_t)have), bytes - have);
        }
        have += (size_t)got;
    }
    return QEMB_OK;
}
