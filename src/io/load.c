/* load.c - see load.h. */
#include "io/load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/safetensors_file.h"
#include "io/state_texts.h"

qemb_status qemb__load_find(const qemb__load *at, const char *key, qemb_tensor_view *view) {
    char *full = NULL;
    qemb_status st = qemb__state_key(at->prefix, at->name, key, &full);
    if (st != QEMB_OK) {
        return st;
    }
    *view = (qemb_tensor_view){0};
    const int64_t index = qemb_safetensors_find(at->file, full);
    if (index >= 0) {
        st = qemb_safetensors_at(at->file, index, view);
    }
    qemb__free(full);
    return st;
}

/* "[3, 5]"; eight extents take 170 bytes. */
static const char *shape_text(int32_t rank, const int64_t *shape, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (int32_t i = 0; i < rank; ++i) {
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? ", " : "", shape[i]);
    }
    (void)snprintf(text + used, size - used, "]");
    return text;
}

qemb_status qemb__load_want(const qemb__load *at, const char *key, qemb_file_dtype dtype, int32_t rank, const int64_t *shape,
                            qemb_tensor_view *view) {
    qemb_status st = QEMB_OK;
    char is[200], wanted[200];
    TRY(qemb__load_find(at, key, view));
    REQUIRE(view->name, QEMB_ERR_ARG, "%s: %s: no tensor '%s%s%s%s'", at->who, at->file->path, at->prefix, at->name ? at->name : "",
            at->name ? "." : "", key);
    REQUIRE(view->dtype == dtype, QEMB_ERR_DTYPE, "%s: %s: tensor '%.200s' at byte %lld is %s, want %s", at->who, at->file->path,
            view->name, (long long)view->offset, qemb_file_dtype_name(view->dtype), qemb_file_dtype_name(dtype));
    REQUIRE(view->rank == rank && memcmp(view->shape, shape, (size_t)rank * sizeof *shape) == 0, QEMB_ERR_SHAPE,
            "%s: %s: tensor '%.200s' at byte %lld has shape %s, want %s", at->who, at->file->path, view->name, (long long)view->offset,
            shape_text(view->rank, view->shape, is, sizeof is), shape_text(rank, shape, wanted, sizeof wanted));
done:
    return st;
}

qemb_status qemb__load_text(const qemb__load *at, const char *key, const char **text) {
    char *full = NULL;
    qemb_status st = qemb__state_key(at->prefix, at->name, key, &full);
    if (st == QEMB_OK) {
        *text = qemb_safetensors_metadata(at->file, full);
        qemb__free(full);
    }
    return st;
}

qemb_status qemb__load_rows(const qemb__load *at, const qemb_tensor_view *view, qemb__take_rows take, void *user) {
    qemb_status st = QEMB_OK;
    void *buffer = NULL;
    const int64_t rows = view->shape[0];
    const int64_t row_bytes = (int64_t)view->bytes / rows; /* modules have rows, and rows columns */
    const int64_t piece = qemb__max_i64(1, QEMB__LOAD_PIECE / row_bytes);
    TRY(qemb__calloc(qemb__min_i64(piece, rows), (size_t)row_bytes, &buffer));
    for (int64_t first = 0; first < rows; first += piece) {
        const int64_t count = qemb__min_i64(piece, rows - first);
        TRY(qemb_safetensors_read_rows(at->file, view->name, first, count, buffer));
        TRY(take(user, first, count, buffer));
    }
done:
    qemb__free(buffer);
    return st;
}

qemb_status qemb__load_integer(const qemb__load *at, const qemb_tensor_view *view, int64_t *value) {
    qemb_status st = QEMB_OK;
    int32_t word = 0;
    unsigned char byte = 0;
    const int32_t bits = qemb_file_dtype_bits(view->dtype);
    REQUIRE(view->dtype == QEMB_FILE_BOOL || view->dtype == QEMB_FILE_U8 || view->dtype == QEMB_FILE_I32 || view->dtype == QEMB_FILE_I64,
            QEMB_ERR_DTYPE, "%s: %s: tensor '%.200s' at byte %lld is %s, want U8, I32 or I64", at->who, at->file->path, view->name,
            (long long)view->offset, qemb_file_dtype_name(view->dtype));
    REQUIRE(view->count == 1 && view->rank <= 1, QEMB_ERR_SHAPE, "%s: %s: tensor '%.200s' at byte %lld has %lld elements, want 1", at->who,
            at->file->path, view->name, (long long)view->offset, (long long)view->count);
    memcpy(bits == 8 ? (void *)&byte : bits == 32 ? (void *)&word : (void *)value, view->data, view->bytes);
    *value = bits == 8 ? byte : bits == 32 ? word : *value;
done:
    return st;
}
