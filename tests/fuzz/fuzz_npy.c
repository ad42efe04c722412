/* fuzz_npy.c - any bytes as an npy file. */
#include "fuzz.h"

int fuzz_npy(const uint8_t *bytes, size_t count) {
    char path[64];
    qemb_npy *file = NULL;
    qemb_tensor_view view;
    int fd = fuzz_file(bytes, count, path);
    qemb_status st = qemb_npy_open(path, &file, &view);
    if (st == QEMB_OK) {
        PROMISE(view.offset + (int64_t)view.bytes == (int64_t)count);
        PROMISE(view.count * qemb_file_dtype_bits(view.dtype) == (int64_t)view.bytes * 8);
        PROMISE(view.bytes == 0 || memcmp(view.data, bytes + view.offset, view.bytes) == 0);
    } else {
        fuzz_refused(st);
    }
    qemb_npy_close(file);
    (void)close(fd);
    return 0;
}
