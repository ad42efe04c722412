/* safetensors_header.h - the JSON at the head of a safetensors file, parsed strictly and without recursion.
 *
 * The parser owns no memory but two flat tables, so that a hostile header costs less than its own size again: strings are
 * unescaped in place in the header's bytes, shapes stay text and are read again when a view is made. */
#ifndef QEMB_IO_SAFETENSORS_HEADER_H
#define QEMB_IO_SAFETENSORS_HEADER_H

#include <qemb/qemb_io.h>

typedef struct qemb__tensor_entry {
    int64_t begin, end; /* data_offsets */
    uint32_t name;      /* offset of the NUL-ended name in the text */
    uint32_t shape;     /* offset of its '[' in the text */
    uint32_t dtype;
    uint32_t rank;
} qemb__tensor_entry;

typedef struct qemb__metadata_entry {
    uint32_t key, text; /* offsets of NUL-ended strings in the text */
} qemb__metadata_entry;

typedef struct qemb__header {
    const char *who, *path; /* for sentences; borrowed */
    char *text;             /* owned by the caller, size bytes and a NUL */
    size_t size;
    qemb__tensor_entry *tensors;    /* in the order of their data */
    uint32_t *by_name;              /* numbers of tensors in the order of their names */
    qemb__metadata_entry *metadata; /* in the order of their keys */
    int64_t tensor_count, metadata_count;
} qemb__header;

/* Parses and checks everything that can be known from the header and the number of data bytes behind it. */
qemb_status qemb__header_parse(qemb__header *header, int64_t data_bytes);
void qemb__header_free(qemb__header *header);

int64_t qemb__header_find(const qemb__header *header, const char *name);         /* -1: not there */
int64_t qemb__header_find_metadata(const qemb__header *header, const char *key); /* -1: not there */

/* Sets all of `view` but data; offset counts from the start of the data. */
void qemb__header_view(const qemb__header *header, int64_t index, qemb_tensor_view *view);

#endif
