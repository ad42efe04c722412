/* safetensors_layout.h - where tensors go in a file that is to be written, and the header that says so. */
#ifndef QEMB_IO_SAFETENSORS_LAYOUT_H
#define QEMB_IO_SAFETENSORS_LAYOUT_H

#include <qemb/qemb_io.h>

typedef struct qemb__layout {
    int64_t *order; /* [count]: tensors in the order of their data */
    int64_t *begin; /* [count]: of the data, from the start of the data */
    size_t *bytes;  /* [count] */
    char *header;   /* length prefix, JSON, padding; the checksum's digits are zeros */
    size_t header_bytes;
    size_t checksum_at; /* of the first digit, from the start of the file */
} qemb__layout;

enum { QEMB__CHECKSUM_DIGITS = 8 };

/* Checks the descriptors and lays them out. On failure nothing is left allocated. */
qemb_status qemb__layout_create(const char *who, const qemb_tensor_desc *tensors, int64_t tensor_count, const qemb_metadata *metadata,
                                int64_t metadata_count, qemb__layout *layout);
void qemb__layout_destroy(qemb__layout *layout);

/* Elements and bytes of a described tensor, by checked products. */
qemb_status qemb__tensor_extent(const char *who, const qemb_tensor_desc *desc, int64_t *count, size_t *bytes);

#endif
