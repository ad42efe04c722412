/* saver.h - what is to be saved: sources as they were added, and the tensors and texts that they become when a file is written. */
#ifndef QEMB_IO_SAVER_H
#define QEMB_IO_SAVER_H

#include <qemb/qemb_io.h>

typedef enum qemb__source_kind {
    QEMB__SOURCE_MODULE,
    QEMB__SOURCE_OPTIMIZER,
    QEMB__SOURCE_PACKED,
    QEMB__SOURCE_TENSOR,
    QEMB__SOURCE_TEXT
} qemb__source_kind;

typedef struct qemb__source {
    qemb__source_kind kind;
    char *prefix; /* or the tensor's name, or the text's key */
    char *text;
    void *object;     /* module, optimiser, packed; borrowed */
    const void *data; /* of a tensor; borrowed */
    int64_t shape[QEMB_FILE_MAX_RANK];
    int32_t rank;
    qemb_file_dtype dtype;
} qemb__source;

struct qemb_saver {
    qemb__source *sources;
    int64_t count, capacity;
};

/* Where a tensor's bytes come from. */
typedef enum qemb__item_kind {
    QEMB__ITEM_DATA,     /* memory */
    QEMB__ITEM_SMALL,    /* the item's own bytes */
    QEMB__ITEM_WEIGHT,   /* rows of a module's table */
    QEMB__ITEM_OBSERVER, /* four items in a row, read together: scale, zero_point, min_val, max_val */
    QEMB__ITEM_OBSERVED, /* the other three of them */
    QEMB__ITEM_STATE,    /* array `array` of an optimiser */
    QEMB__ITEM_ROWS,     /* packed rows */
    QEMB__ITEM_QPARAMS
} qemb__item_kind;

typedef struct qemb__item {
    qemb__item_kind kind;
    void *object;
    const void *data;
    int32_t table, array;
    int64_t rows, row_bytes;
    int64_t shape[QEMB_FILE_MAX_RANK];
    unsigned char small[8];
} qemb__item;

/* The contents of one file. tensors[i] describes items[i]; names, keys and texts are owned. */
typedef struct qemb__contents {
    qemb_tensor_desc *tensors;
    qemb__item *items;
    qemb_metadata *texts;
    int64_t tensor_count, tensor_capacity, item_capacity, text_count, text_capacity;
} qemb__contents;

/* Takes `name` (or key and text) over, also on failure. The item's shape and rows must be set. */
qemb_status qemb__contents_add(qemb__contents *contents, char *name, const qemb__item *item, int32_t rank, qemb_file_dtype dtype);
qemb_status qemb__contents_add_text(qemb__contents *contents, char *key, char *text);
void qemb__contents_free(qemb__contents *contents);

/* What objects become (saver_objects.c). */
qemb_status qemb__contents_add_module(qemb__contents *contents, const char *prefix, qemb_embedding_bag *bag);
qemb_status qemb__contents_add_optimizer(qemb__contents *contents, const char *prefix, qemb_optimizer *optimizer);
qemb_status qemb__contents_add_packed(qemb__contents *contents, const char *prefix, qemb_packed *packed);

/* A table that neither observes nor fake-quantises, nor ever did: its state is the weight alone. */
qemb_status qemb__is_float_table(const qemb_embedding_bag *bag, int32_t table, bool *is_float);

#endif
