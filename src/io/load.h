/* load.h - what loaders share: tensors that must be there with a type and a shape, read in pieces. */
#ifndef QEMB_IO_LOAD_H
#define QEMB_IO_LOAD_H

#include <qemb/qemb_io.h>

enum { QEMB__LOAD_PIECE = 4 << 20 }; /* bytes read at a time */

/* Where a loader is: names are prefix + name + "." + key, or prefix + key where name is NULL. */
typedef struct qemb__load {
    const qemb_safetensors *file;
    const char *who, *prefix, *name;
} qemb__load;

/* The tensor under `key`: *view->name is NULL when it is not there. */
qemb_status qemb__load_find(const qemb__load *at, const char *key, qemb_tensor_view *view);

/* The tensor under `key` must be there (ARG) with this type (DTYPE) and shape (SHAPE). */
qemb_status qemb__load_want(const qemb__load *at, const char *key, qemb_file_dtype dtype, int32_t rank, const int64_t *shape,
                            qemb_tensor_view *view);

/* The metadata text under `key`, NULL if there is none. */
qemb_status qemb__load_text(const qemb__load *at, const char *key, const char **text);

/* Calls take(user, first, count, rows) with all rows of a tensor, some MiB at a time. */
typedef qemb_status (*qemb__take_rows)(void *user, int64_t first, int64_t count, const float *rows);
qemb_status qemb__load_rows(const qemb__load *at, const qemb_tensor_view *view, qemb__take_rows take, void *user);

/* An integer tensor of one element. */
qemb_status qemb__load_integer(const qemb__load *at, const qemb_tensor_view *view, int64_t *value);

#endif
