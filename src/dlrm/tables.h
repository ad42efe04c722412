/* tables.h - the embeddings of a DLRM: one qemb collection of T tables of D columns, a lookup a table and sample.
 *
 * bits 32   float tables
 * bits 8, 4, 2   trained through fake quantisation with the `packed` arithmetic, so that conversion changes no bit. A row's range is its own
 *           minimum and maximum at every step (memoryless observer), or under `per_table` one symmetric scale for a table, renewed every
 *           200 steps as DQRM does it [arXiv 2410.20046]
 * Rows are stored as PyTorch stores them at 8 bits (24 bytes at D = 16, float against 64) and in qemb's planar layout with bfloat16 scale
 * and bias at 4 and 2 bits (12 and 8 bytes): fp16 scales of rows that start at U(-1/sqrt(E), 1/sqrt(E)) would be subnormal. */
#ifndef QEMB_DLRM_TABLES_H
#define QEMB_DLRM_TABLES_H

#include "dlrm/device.h"

enum { DLRM_MAX_TABLES = 26, DLRM_SCALE_PERIOD = 200 };

typedef struct dlrm_tables_desc {
    int32_t count;
    const int64_t *rows; /* [count] */
    int64_t dim;
    int32_t bits;
    bool per_table;
    qemb_optimizer_desc optimizer;
    int64_t capacity; /* samples of the largest batch */
    uint64_t seed;    /* of U(-1/sqrt(E), 1/sqrt(E)) */
    bool serve_only;  /* no module: only what is put into `packed` */
} dlrm_tables_desc;

typedef struct dlrm_tables {
    dlrm_device *device;
    int32_t count, bits;
    int64_t dim, steps;
    int64_t rows[DLRM_MAX_TABLES];
    bool per_table;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_packed *packed; /* what `bag` was converted to, or was opened from a file; NULL: nothing yet */
    qemb_batch *batch;
    qemb_buffer *output, *delta;        /* [capacity][count*dim], in the context of the tables */
    cl_mem output_memory, delta_memory; /* the same for the layers: the same memory where the device is shared */
    float *exchange;                    /* where it is not */
} dlrm_tables;

qemb_status dlrm_tables_create(dlrm_device *device, const dlrm_tables_desc *desc, dlrm_tables *tables);
void dlrm_tables_destroy(dlrm_tables *tables);

/* The format of `bits` above, and the qconfig that trains for it. */
qemb_packed_format dlrm_format(int32_t bits);
qemb_qconfig dlrm_qconfig(int32_t bits, bool per_table);

/* ids[count][rows] become the batch of the next forward, from the module's tables or the packed ones. */
qemb_status dlrm_tables_set(dlrm_tables *tables, bool packed, const int32_t *ids, int64_t rows);
qemb_status dlrm_tables_forward(dlrm_tables *tables, bool packed, int64_t rows); /* to output_memory */
qemb_status dlrm_tables_step(dlrm_tables *tables, int64_t rows);                 /* from delta_memory */

/* per_table: new scales for all tables, from one pass over them. Called by _step when they are due, and after rows were put in. Waits. */
qemb_status dlrm_tables_renew_scales(dlrm_tables *tables);

/* All rows of a table, to be freed by the caller. Waits. */
qemb_status dlrm_tables_read(dlrm_tables *tables, int32_t table, float **values);

#endif
