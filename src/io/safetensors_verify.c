/* safetensors_verify.c - the checksum of a whole file. */
#define _GNU_SOURCE
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/file.h"
#include "io/safetensors_file.h"

enum { PIECE = 1 << 20, DIGITS = 8 };

/* Puts zeros where the digits stand. The pattern holds bare quotes, which text inside a string cannot: the first place where it
 * occurs is the key itself. */
static qemb_status blank_digits(const qemb_safetensors *file, char *header, size_t bytes) {
    static const char pattern[] = "\"" QEMB_FILE_CHECKSUM_KEY "\":\"";
    qemb_status st = QEMB_OK;
    char *digits = memmem(header, bytes, pattern, sizeof pattern - 1);
    REQUIRE(digits && bytes - (size_t)(digits - header) >= sizeof pattern - 1 + DIGITS, QEMB_ERR_UNSUPPORTED,
            "safetensors_verify: %s: the file carries no checksum of this library", file->path);
    memset(digits + sizeof pattern - 1, '0', DIGITS);
done:
    return st;
}

qemb_status qemb_safetensors_verify(const qemb_safetensors *file) {
    static const char who[] = "safetensors_verify";
    qemb_status st = QEMB_OK;
    void *block = NULL;
    char computed[DIGITS + 1];
    REQUIRE(file, QEMB_ERR_ARG, "%s: file is NULL", who);
    const char *stored = qemb_safetensors_metadata(file, QEMB_FILE_CHECKSUM_KEY);
    REQUIRE(stored, QEMB_ERR_UNSUPPORTED, "%s: %s: the file carries no checksum", who, file->path);
    TRY(qemb__calloc(qemb__max_i64(file->data_start, PIECE), 1, &block));
    TRY(qemb__file_read(who, file->path, file->fd, 0, (size_t)file->data_start, block));
    TRY(blank_digits(file, block, (size_t)file->data_start));
    uLong crc = crc32_z(0, block, (size_t)file->data_start);
    for (int64_t at = file->data_start; at < file->size; at += PIECE) {
        size_t bytes = (size_t)qemb__min_i64(PIECE, file->size - at);
        TRY(qemb__file_read(who, file->path, file->fd, at, bytes, block));
        crc = crc32_z(crc, block, bytes);
    }
    (void)snprintf(computed, sizeof computed, "%08lx", crc);
    REQUIRE(strcmp(computed, stored) == 0, QEMB_ERR_CORRUPT, "%s: %s: checksum %s, the file says %.16s", who, file->path, computed, stored);
done:
    qemb__free(block);
    return st;
}
