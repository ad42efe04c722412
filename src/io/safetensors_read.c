/* safetensors_read.c - opening a safetensors file and looking at its tensors; the rules are in qemb_io.h. */
#define _GNU_SOURCE
#include <qemb/qemb_io.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/status.h"
#include "io/file.h"
#include "io/safetensors_file.h"

enum { PREFIX = 8, MAX_HEADER = 100000000 };

static qemb_status read_header(qemb_safetensors *file, const char *who) {
    qemb_status st = QEMB_OK;
    unsigned char prefix[PREFIX];
    uint64_t length = 0;
    void *text = NULL;
    REQUIRE(file->size >= PREFIX, QEMB_ERR_CORRUPT, "%s: %s: %lld bytes, a safetensors file has at least 10", who, file->path,
            (long long)file->size);
    TRY(qemb__file_read(who, file->path, file->fd, 0, PREFIX, prefix));
    for (int i = PREFIX - 1; i >= 0; --i) {
        length = length << 8 | prefix[i];
    }
    REQUIRE(length <= MAX_HEADER, QEMB_ERR_CORRUPT, "%s: %s: byte 0: a header of %llu bytes, at most %d are allowed", who, file->path,
            (unsigned long long)length, MAX_HEADER);
    REQUIRE((int64_t)length <= file->size - PREFIX, QEMB_ERR_CORRUPT, "%s: %s: byte 0: a header of %llu bytes in a file of %lld", who,
            file->path, (unsigned long long)length, (long long)file->size);
    file->data_start = PREFIX + (int64_t)length;
    TRY(qemb__calloc((int64_t)length + 1, 1, &text)); /* the NUL behind the text stops the scanner */
    file->header = (qemb__header){.who = who, .path = file->path, .text = text, .size = (size_t)length};
    TRY(qemb__file_read(who, file->path, file->fd, PREFIX, (size_t)length, text));
    TRY(qemb__header_parse(&file->header, file->size - file->data_start));
done:
    return st;
}

/* Room for the file and a tail, then the file over it. */
static qemb_status map_file(qemb_safetensors *file, const char *who) {
    qemb_status st = QEMB_OK;
    const size_t bytes = (size_t)file->size + QEMB__MAP_TAIL;
    void *room = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(room != MAP_FAILED, errno == ENOMEM ? QEMB_ERR_NOMEM : QEMB_ERR_IO, "%s: %s: cannot map %zu bytes: %s", who, file->path, bytes,
            strerror(errno));
    file->map = room;
    file->map_bytes = bytes;
    void *map = mmap(room, (size_t)file->size, PROT_READ, MAP_SHARED | MAP_FIXED, file->fd, 0);
    REQUIRE(map != MAP_FAILED, errno == ENOMEM ? QEMB_ERR_NOMEM : QEMB_ERR_IO, "%s: %s: cannot map %lld bytes: %s", who, file->path,
            (long long)file->size, strerror(errno));
done:
    return st;
}

qemb_status qemb_safetensors_open(const char *path, qemb_safetensors **out) {
    static const char who[] = "safetensors_open";
    qemb_status st = QEMB_OK;
    qemb_safetensors *file = NULL;
    void *block = NULL;
    REQUIRE(out, QEMB_ERR_ARG, "%s: file is NULL", who);
    TRY(qemb__calloc(1, sizeof *file, &block));
    file = block;
    file->fd = -1;
    file->users = 1;
    TRY(qemb__file_open(who, path, &file->fd, &file->size));
    TRY(qemb__strdup(path, &file->path));
    TRY(read_header(file, who));
    if (file->size > file->data_start) {
        TRY(map_file(file, who));
    }
    *out = file;
    file = NULL;
done:
    qemb_safetensors_close(file);
    return st;
}

void qemb_safetensors_close(qemb_safetensors *file) {
    if (!file || --file->users > 0) {
        return;
    }
    if (file->map) {
        (void)munmap(file->map, file->map_bytes);
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    qemb__header_free(&file->header);
    qemb__free(file->path);
    qemb__free(file);
}

int64_t qemb_safetensors_count(const qemb_safetensors *file) {
    return file ? file->header.tensor_count : 0;
}

int64_t qemb_safetensors_find(const qemb_safetensors *file, const char *name) {
    return file && name ? qemb__header_find(&file->header, name) : -1;
}

qemb_status qemb_safetensors_at(const qemb_safetensors *file, int64_t index, qemb_tensor_view *view) {
    qemb_status st = QEMB_OK;
    REQUIRE(file && view, QEMB_ERR_ARG, "safetensors_at: %s is NULL", file ? "view" : "file");
    REQUIRE(index >= 0 && index < file->header.tensor_count, QEMB_ERR_RANGE, "safetensors_at: %s: index=%lld, want 0 <= index < %lld",
            file->path, (long long)index, (long long)file->header.tensor_count);
    qemb__header_view(&file->header, index, view);
    view->offset += file->data_start;
    /* An empty tensor points at a place of the map too, or at the header's text when there is no map: never NULL. */
    view->data = file->map ? (const char *)file->map + view->offset : file->header.text;
done:
    return st;
}

qemb_status qemb_safetensors_tensor(const qemb_safetensors *file, const char *name, qemb_tensor_view *view) {
    qemb_status st = QEMB_OK;
    REQUIRE(file && name && view, QEMB_ERR_ARG, "safetensors_tensor: %s is NULL", !file ? "file" : !name ? "name" : "view");
    int64_t index = qemb__header_find(&file->header, name);
    REQUIRE(index >= 0, QEMB_ERR_ARG, "safetensors_tensor: %s: no tensor '%.200s'", file->path, name);
    st = qemb_safetensors_at(file, index, view);
done:
    return st;
}

const char *qemb_safetensors_metadata(const qemb_safetensors *file, const char *key) {
    int64_t index = file && key ? qemb__header_find_metadata(&file->header, key) : -1;
    return index < 0 ? NULL : file->header.text + file->header.metadata[index].text;
}

int64_t qemb_safetensors_metadata_count(const qemb_safetensors *file) {
    return file ? file->header.metadata_count : 0;
}

qemb_status qemb_safetensors_metadata_at(const qemb_safetensors *file, int64_t index, const char **key, const char **text) {
    qemb_status st = QEMB_OK;
    REQUIRE(file && key && text, QEMB_ERR_ARG, "safetensors_metadata_at: %s is NULL", !file ? "file" : !key ? "key" : "text");
    REQUIRE(index >= 0 && index < file->header.metadata_count, QEMB_ERR_RANGE,
            "safetensors_metadata_at: %s: index=%lld, want 0 <= index < %lld", file->path, (long long)index,
            (long long)file->header.metadata_count);
    *key = file->header.text + file->header.metadata[index].key;
    *text = file->header.text + file->header.metadata[index].text;
done:
    return st;
}

qemb_status qemb_safetensors_read_rows(const qemb_safetensors *file, const char *name, int64_t first, int64_t count, void *target) {
    static const char who[] = "safetensors_read_rows";
    qemb_status st = QEMB_OK;
    qemb_tensor_view view = {0};
    REQUIRE(file && name, QEMB_ERR_ARG, "%s: %s is NULL", who, file ? "name" : "file");
    TRY(qemb_safetensors_tensor(file, name, &view));
    REQUIRE(view.rank >= 1, QEMB_ERR_SHAPE, "%s: %s: tensor '%.200s' has no rows", who, file->path, name);
    REQUIRE(first >= 0 && count >= 0 && first <= view.shape[0] && count <= view.shape[0] - first, QEMB_ERR_RANGE,
            "%s: %s: rows %lld + %lld of tensor '%.200s', which has %lld", who, file->path, (long long)first, (long long)count, name,
            (long long)view.shape[0]);
    if (count == 0 || view.bytes == 0) {
        goto done;
    }
    REQUIRE(target, QEMB_ERR_ARG, "%s: target is NULL", who);
    REQUIRE(view.bytes % (size_t)view.shape[0] == 0, QEMB_ERR_UNSUPPORTED, "%s: %s: rows of tensor '%.200s' do not end on whole bytes", who,
            file->path, name);
    size_t row_bytes = view.bytes / (size_t)view.shape[0];
    TRY(qemb__file_read(who, file->path, file->fd, view.offset + first * (int64_t)row_bytes, (size_t)count * row_bytes, target));
done:
    return st;
}
