/* convert.h - the plan of a conversion: which tensors of a file are tables, and what each becomes. */
#ifndef QEMB_IO_CONVERT_H
#define QEMB_IO_CONVERT_H

#include <qemb/qemb_io.h>

#include "io/saver.h"
#include "io/state_texts.h"

/* One table of the file. */
typedef struct qemb__convert_table {
    qemb_tensor_view weight, min, max; /* min.name NULL: no observer state */
    char *stem;                        /* its key without "weight": what its other keys start with */
    char *name;
    bool has_text;
    qemb__table_text text;
    bool observer_on;
    float eps;
    int64_t rows_index, qparams_index; /* of the new file's tensors */
} qemb__convert_table;

typedef struct qemb__convert {
    qemb_context *ctx;
    const qemb_safetensors *file;
    const qemb_convert_desc *desc;
    qemb__convert_table *tables;
    int64_t count, capacity;
    qemb__object_text object; /* of the module that was saved, or from the descriptor */
    qemb__contents contents;
    int64_t row_bytes, plane;
    int64_t done, total; /* bytes of tables */
} qemb__convert;

/* Finds the tables and describes the new file. */
qemb_status qemb__convert_plan(qemb__convert *convert);

#endif
