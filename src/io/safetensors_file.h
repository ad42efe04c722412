/* safetensors_file.h - an open safetensors file. */
#ifndef QEMB_IO_SAFETENSORS_FILE_H
#define QEMB_IO_SAFETENSORS_FILE_H

#include "io/safetensors_header.h"

struct qemb_safetensors {
    qemb__header header;
    char *path;
    int fd;
    int64_t size;       /* of the file when it was opened */
    int64_t data_start; /* of the data, from the start of the file */
    void *map;          /* the whole file; NULL when there is no data */
    size_t map_bytes;   /* with a tail of zeros */
    int users;          /* who keeps it open: the caller of open, packed tables in its map. Counted by one thread at a time */
};

/* Bytes that can be read behind the end of the map: kernels read rows in whole chunks. */
enum { QEMB__MAP_TAIL = 4096 };

#endif
