/* safetensors_write.c - writing safetensors files: streaming, atomic, with a checksum; the rules are in qemb_io.h. */
#define _GNU_SOURCE
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <zlib.h>

#include "base/memory.h"
#include "base/status.h"
#include "io/file_writer.h"
#include "io/safetensors_layout.h"

struct qemb_safetensors_writer {
    qemb__layout layout;
    qemb__file_writer *file;
    int64_t tensor_count;
    struct progress {
        size_t written;
        uLong crc; /* of the bytes written: tensors come in any order, their sums are joined at the end */
    } * progress;
    char (*names)[64]; /* beginnings of the names, for sentences */
};

qemb_status qemb_safetensors_writer_create(const char *path, const qemb_tensor_desc *tensors, int64_t tensor_count,
                                           const qemb_metadata *metadata, int64_t metadata_count, qemb_safetensors_writer **out) {
    static const char who[] = "safetensors_writer";
    qemb_status st = QEMB_OK;
    qemb_safetensors_writer *w = NULL;
    void *block = NULL;
    REQUIRE(out, QEMB_ERR_ARG, "%s_create: writer is NULL", who);
    TRY(qemb__calloc(1, sizeof *w, &block));
    w = block;
    TRY(qemb__layout_create(who, tensors, tensor_count, metadata, metadata_count, &w->layout));
    w->tensor_count = tensor_count;
    TRY(qemb__calloc(tensor_count, sizeof *w->progress, &block));
    w->progress = block;
    TRY(qemb__calloc(tensor_count, sizeof *w->names, &block));
    w->names = block;
    for (int64_t i = 0; i < tensor_count; ++i) {
        (void)snprintf(w->names[i], sizeof w->names[i], "%s", tensors[i].name);
    }
    TRY(qemb__file_writer_create(who, path, &w->file));
    TRY(qemb__file_writer_append(w->file, w->layout.header, w->layout.header_bytes));
    *out = w;
    w = NULL;
done:
    qemb_safetensors_writer_destroy(w);
    return qemb__named(st, "safetensors_writer_create");
}

qemb_status qemb_safetensors_writer_append(qemb_safetensors_writer *w, int64_t index, const void *data, size_t bytes) {
    qemb_status st = QEMB_OK;
    REQUIRE(w && (data || bytes == 0), QEMB_ERR_ARG, "safetensors_writer_append: %s is NULL", w ? "data" : "writer");
    REQUIRE(index >= 0 && index < w->tensor_count, QEMB_ERR_RANGE, "safetensors_writer_append: index=%lld, want 0 <= index < %lld",
            (long long)index, (long long)w->tensor_count);
    size_t left = w->layout.bytes[index] - w->progress[index].written;
    REQUIRE(bytes <= left, QEMB_ERR_RANGE, "safetensors_writer_append: %zu bytes for tensor '%s', which lacks only %zu", bytes,
            w->names[index], left);
    if (bytes == 0) {
        goto done;
    }
    int64_t offset = (int64_t)w->layout.header_bytes + w->layout.begin[index] + (int64_t)w->progress[index].written;
    TRY(qemb__file_writer_put(w->file, offset, data, bytes));
    w->progress[index].crc = crc32_z(w->progress[index].crc, data, bytes);
    w->progress[index].written += bytes;
done:
    return qemb__named(st, "safetensors_writer_append");
}

qemb_status qemb_safetensors_writer_finish(qemb_safetensors_writer *w) {
    qemb_status st = QEMB_OK;
    char digits[QEMB__CHECKSUM_DIGITS + 1];
    REQUIRE(w, QEMB_ERR_ARG, "safetensors_writer_finish: writer is NULL");
    uLong crc = crc32_z(0, (const Bytef *)w->layout.header, w->layout.header_bytes);
    for (int64_t i = 0; i < w->tensor_count; ++i) {
        int64_t t = w->layout.order[i];
        size_t bytes = w->layout.bytes[t];
        REQUIRE(w->progress[t].written == bytes, QEMB_ERR_STATE, "safetensors_writer_finish: tensor '%s' has %zu of its %zu bytes",
                w->names[t], w->progress[t].written, bytes);
        crc = crc32_combine(crc, w->progress[t].crc, (z_off_t)bytes);
    }
    (void)snprintf(digits, sizeof digits, "%08lx", crc);
    TRY(qemb__file_writer_put(w->file, (int64_t)w->layout.checksum_at, digits, QEMB__CHECKSUM_DIGITS));
    TRY(qemb__file_writer_commit(w->file));
done:
    return qemb__named(st, "safetensors_writer_finish");
}

void qemb_safetensors_writer_destroy(qemb_safetensors_writer *w) {
    if (!w) {
        return;
    }
    qemb__file_writer_destroy(w->file);
    qemb__layout_destroy(&w->layout);
    qemb__free(w->progress);
    qemb__free(w->names);
    qemb__free(w);
}

qemb_status qemb_safetensors_save(const char *path, const qemb_tensor_desc *tensors, const void *const *data, int64_t tensor_count,
                                  const qemb_metadata *metadata, int64_t metadata_count) {
    qemb_status st = QEMB_OK;
    qemb_safetensors_writer *w = NULL;
    REQUIRE(data || tensor_count == 0, QEMB_ERR_ARG, "safetensors_save: data is NULL");
    TRY(qemb_safetensors_writer_create(path, tensors, tensor_count, metadata, metadata_count, &w));
    for (int64_t i = 0; i < tensor_count; ++i) {
        int64_t t = w->layout.order[i]; /* front to back */
        TRY(qemb_safetensors_writer_append(w, t, data[t], w->layout.bytes[t]));
    }
    TRY(qemb_safetensors_writer_finish(w));
done:
    qemb_safetensors_writer_destroy(w);
    return qemb__named(st, "safetensors_save");
}
