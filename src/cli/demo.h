/* demo.h - the parts of `qemb demo`: its world, its check, its output. */
#ifndef QEMB_CLI_DEMO_H
#define QEMB_CLI_DEMO_H

#include <qemb/qemb_io.h>

#include "bench/bench.h"
#include "cli/cli.h"

enum { DEMO_CHUNK = 32, DEMO_VARIANTS = 3, DEMO_DIM = 16, DEMO_MAX_TIMES = 4096 };

/* One way to look a batch up, over the same tables as the others. */
typedef struct demo_variant {
    const char *name, *op_variant; /* for people; for JSON */
    int32_t bits;
    qemb_embedding_bag *bag;
    double us[DEMO_MAX_TIMES]; /* of full batches; the first DEMO_MAX_TIMES of them */
    int32_t times;
    float *answer; /* of the batch that is checked */
} demo_variant;

typedef struct demo_options {
    const char *device, *log; /* NULL: the default; a generated log */
    int64_t rows, batch, dim;
    double scale; /* 0: as memory allows */
    uint64_t seed;
    qemb_observer observer;
    bool json;
} demo_options;

typedef struct demo {
    demo_options options;
    qemb_context *ctx;
    qemb_device_report report;
    double copy_gbps, scale;
    int64_t page_bytes, weight_bytes;
    int64_t cardinalities[QEMB_CLICK_SPARSE];
    demo_variant variant[DEMO_VARIANTS];
    qemb_batch *batch[DEMO_CHUNK];
    int32_t *ids[DEMO_CHUNK]; /* [26][rows of the batch] */
    int64_t rows[DEMO_CHUNK];
    qemb_buffer *out;
    /* what was done */
    int64_t rows_read, batches, log_bytes;
    double read_seconds;
    int64_t checked_batches, checked_values, different;
    /* the pipeline that quantises whole tables */
    demo_variant pipeline;
    const char *pipeline_note; /* why there is none, or NULL */
    double pipeline_bytes;     /* of its passes over the tables */
    char difference[256];
} demo;

/* Tables, modules and buffers. */
qemb_status demo_create(demo *d);
void demo_destroy(demo *d);

/* Streams the log through every variant. */
qemb_status demo_stream(demo *d, const char *path);

/* The batch on the reference engine: its distinct rows, copied from the tables, make small tables of their own. Compares every bit
 * with variant[v].answer and counts in *d. */
qemb_status demo_check(demo *d, const int32_t *ids, int64_t rows);

/* The first batches of a chunk of `count` through the whole-table pipeline, timed, and compared with the fused int8 lookup. */
qemb_status demo_pipeline(demo *d, int count);

/* The fewest bytes that a full batch must move. */
double demo_bytes(const demo *d, const demo_variant *variant);
void demo_print(const demo *d);

#endif
