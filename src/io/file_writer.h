/* file_writer.h - a file that appears whole or not at all.
 *
 * The bytes go to a new file beside the target, "NAME.tmp.PID.NUMBER"; commit makes them durable and renames it over the
 * target. Until the rename the target is untouched, and a failure or an abort removes the new file. */
#ifndef QEMB_IO_FILE_WRITER_H
#define QEMB_IO_FILE_WRITER_H

#include <qemb/qemb.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qemb__file_writer qemb__file_writer;

/* `who` names the caller in sentences and is kept. A link is followed, so that it stays a link; an existing target must be
 * a regular file, and its permissions are carried over. */
qemb_status qemb__file_writer_create(const char *who, const char *path, qemb__file_writer **writer);

/* Small pieces are gathered; large ones go through at once. */
qemb_status qemb__file_writer_append(qemb__file_writer *writer, const void *data, size_t bytes);

/* Writes at a place of the file, before or behind its end, past the buffer. */
qemb_status qemb__file_writer_put(qemb__file_writer *writer, int64_t offset, const void *data, size_t bytes);

int64_t qemb__file_writer_size(const qemb__file_writer *writer); /* bytes appended so far */

/* fsync, close, rename, fsync of the folder. Any error of these is final: nothing is tried twice, because after a failed
 * fsync the pages count as written. An error of the last step leaves the new file in place and says so. */
qemb_status qemb__file_writer_commit(qemb__file_writer *writer);

/* Accepts NULL; without a commit before it, the target stays what it was. */
void qemb__file_writer_destroy(qemb__file_writer *writer);

#endif
