/* fuzz_safetensors.c - any bytes as a safetensors file. */
#include "fuzz.h"

/* Every tensor lies inside the file behind the one before it, is found by its name, and can be read whole. */
static void walk(const qemb_safetensors *file, size_t count) {
    int64_t end = -1, tensors = qemb_safetensors_count(file);
    const char *key, *text;
    unsigned sum = 0;
    for (int64_t i = 0; i < tensors; ++i) {
        qemb_tensor_view view;
        PROMISE(qemb_safetensors_at(file, i, &view) == QEMB_OK);
        PROMISE(qemb_safetensors_find(file, view.name) == i);
        PROMISE(end < 0 || view.offset == end);
        PROMISE(view.count * qemb_file_dtype_bits(view.dtype) == (int64_t)view.bytes * 8);
        end = view.offset + (int64_t)view.bytes;
        for (size_t b = 0; b < view.bytes; ++b) {
            sum += ((const unsigned char *)view.data)[b];
        }
        if (view.rank > 0 && view.shape[0] > 0 && view.bytes > 0 && view.bytes % (size_t)view.shape[0] == 0) {
            char *rows = malloc(view.bytes);
            PROMISE(qemb_safetensors_read_rows(file, view.name, 0, view.shape[0], rows) == QEMB_OK);
            PROMISE(memcmp(rows, view.data, view.bytes) == 0);
            free(rows);
        }
    }
    PROMISE(tensors == 0 || end == (int64_t)count);
    for (int64_t i = 0; i < qemb_safetensors_metadata_count(file); ++i) {
        PROMISE(qemb_safetensors_metadata_at(file, i, &key, &text) == QEMB_OK);
        PROMISE(qemb_safetensors_metadata(file, key) == text);
        sum += (unsigned)strlen(text);
    }
    volatile unsigned used = sum;
    (void)used;
}

int fuzz_safetensors(const uint8_t *bytes, size_t count) {
    char path[64];
    qemb_safetensors *file = NULL;
    int fd = fuzz_file(bytes, count, path);
    qemb_status st = qemb_safetensors_open(path, &file);
    if (st == QEMB_OK) {
        walk(file, count);
        st = qemb_safetensors_verify(file);
        PROMISE(st == QEMB_OK || st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED);
    } else {
        fuzz_refused(st);
    }
    qemb_safetensors_close(file);
    (void)close(fd);
    return 0;
}
