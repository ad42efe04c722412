/* file.h - plain system calls, made whole: interrupted and short transfers are continued, errors become sentences. */
#ifndef QEMB_IO_FILE_H
#define QEMB_IO_FILE_H

#include <qemb/qemb.h>
#include <stddef.h>
#include <stdint.h>

/* Opens a regular file for reading, never blocking on a FIFO or a device. `who` names the caller in the sentence. */
qemb_status qemb__file_open(const char *who, const char *path, int *fd, int64_t *size);

/* Reads exactly `bytes` at `offset`; IO if the file ends before. */
qemb_status qemb__file_read(const char *who, const char *path, int fd, int64_t offset, size_t bytes, void *target);

#endif
