/* bench.h - times operations of the library: one description of a workload, one table of operations, one clock.
 *
 * A run is:  fresh input (not timed) | start | enqueue the operation, wait for it | stop. Runs of the subjects that are compared
 * alternate. The words are FBGEMM's: T tables, E rows, D columns, B bags of a table, L lookups of a bag, alpha of the indices.
 *
 * A new operation is one file bench_<stem>.c with a bench_operation, and one line in bench_operations. */
#ifndef QEMB_BENCH_BENCH_H
#define QEMB_BENCH_BENCH_H

#include <qemb/qemb.h>

enum { BENCH_MAX_TABLES = 1024, BENCH_MAX_SUBJECTS = 4, BENCH_MIN_PAIRS = 15, BENCH_DEFAULT_RUNS = 30, BENCH_WARM_UPS = 3 };

/* What the picked variant is timed against: the same in float, with the memoryless observer, the pipeline that fake-quantises whole tables, a
 * kernel with the reads and writes of packing, hand-written AVX-512 on the same memory. */
typedef enum bench_compare {
    BENCH_ALONE = 0,
    BENCH_WITH_FLOAT,
    BENCH_WITH_MEMORYLESS,
    BENCH_WITH_PIPELINE,
    BENCH_WITH_COPY,
    BENCH_WITH_YARDSTICK
} bench_compare;

/* A workload and how to time it. bench_options_default() first, then what differs. */
typedef struct bench_options {
    const char *device;                                    /* NULL: the default */
    char name[64];                                         /* of the shape, "" if it has none */
    int32_t tables;                                        /* T */
    int64_t rows[BENCH_MAX_TABLES], dim[BENCH_MAX_TABLES]; /* E and D of each table */
    int64_t batch, bag;                                    /* B and L */
    int64_t long_bags;                                     /* 0, or: as many bags, the last of each table, have most of the B * L lookups */
    double alpha;                                          /* at most 1: uniform; above: Zipf */
    double reuse;                                          /* share of the ids that the next batch takes over from the last */
    int32_t bits;                                          /* 8, 4, 2 */
    qemb_observer observer;
    qemb_arithmetic arithmetic;
    qemb_layout layout;
    qemb_qparams qparams;  /* of packed rows: planar */
    bool symmetric;        /* likewise */
    int32_t row_alignment; /* of packed rows: fbgemm */
    qemb_dtype output;     /* of packed_forward */
    qemb_mode mode;
    qemb_optimizer_kind optimizer;
    bench_compare compare;
    bool is_float, weighted, repeat, indices_32;
    int32_t runs;      /* 0: BENCH_DEFAULT_RUNS, fewer when they take too long */
    int64_t flush_mib; /* written to the device before each run, so that caches hold nothing of the tables */
    uint64_t seed;
} bench_options;

void bench_options_default(bench_options *options);
qemb_qconfig bench_qconfig(const bench_options *options); /* of the picked variant */
qemb_packed_format bench_packed_format(const bench_options *options);
int64_t bench_lookups(const bench_options *options);      /* N = T * B * L */
int64_t bench_output_dim(const bench_options *options);   /* sum of D */
int64_t bench_weight_bytes(const bench_options *options); /* of all tables in float32 */

/* ---- input ------------------------------------------------------------------------------------------------------------- */

/* Batches after FBGEMM's generator (tbe/utils/requests.py). alpha <= 1: uniform, duplicates kept, sorted inside a bag. alpha > 1:
 * of 3 L (at least 20) draws of Zipf(alpha) - 1 mod E the L smallest distinct ones, scattered over the table by a permutation;
 * uniform where so many cannot be found. Per-sample weights are N(0,1). With long_bags the same ids lie in bags of 0 to 3, and in those. */
typedef struct bench_indices bench_indices;
bench_indices *bench_indices_create(const bench_options *options);
void bench_indices_destroy(bench_indices *indices);
void bench_indices_next(bench_indices *indices);                             /* the next batch */
void bench_indices_input(const bench_indices *indices, qemb_input *input);   /* valid until the next */
const int32_t *bench_indices_ends(const bench_indices *indices);             /* offsets[T * B + 1] of a workload of int32 ids */
double bench_indices_distinct(const bench_indices *indices, double *floats); /* rows of the batch that differ; floats in them */
double bench_uniform(uint64_t *state);                                       /* (0, 1), splitmix64 */

/* Values for tables of up to `count` floats that cost 64 MiB of memory however many: one block, mapped again and again. Uniform in
 * (-1, 1); a table that copies from here has memory and (between repeats) values of its own. NULL when the system refuses. */
typedef struct bench_values bench_values;
bench_values *bench_values_create(int64_t count, uint64_t seed);
const float *bench_values_at(const bench_values *values, int64_t first);
void bench_values_destroy(bench_values *values);

/* ---- a world: a device with the tables of a workload -------------------------------------------------------------------- */

typedef struct bench_world {
    const bench_options *options;
    qemb_context *ctx;
    qemb_device_report report;
    qemb_embedding_bag *base; /* the tables as the picked variant has them; other variants share their memory */
    qemb_buffer *flush;
    void *flush_source;
    qemb_buffer *weight; /* of the one table, where a yardstick shares it; else NULL */
    double copy_gbps;    /* measured when the world was made */
    double rows_gbps;    /* likewise, of random rows as wide as the first table's; 0 where it could not be measured */
    int64_t page_bytes;  /* behind the tables; 0 where the host cannot see them */
} bench_world;

qemb_status bench_world_create(const bench_options *options, bench_world *world);
void bench_world_destroy(bench_world *world);

/* Bytes of memory that new tables may take without crowding the machine out. */
int64_t bench_memory_available(const qemb_device_report *report);
int64_t bench_page_bytes(int64_t table_bytes);

/* ---- operations --------------------------------------------------------------------------------------------------------- */

/* The form of an operation: as picked by the options, or what it is compared with. */
typedef enum bench_form { BENCH_PICKED = 0, BENCH_FLOAT, BENCH_MEMORYLESS, BENCH_PIPELINE, BENCH_COPY, BENCH_YARDSTICK } bench_form;

/* The module of a form: the base, or one over the same memory. *owned is what the caller must destroy, NULL for the base. */
qemb_status bench_world_module(bench_world *world, bench_form form, qemb_embedding_bag **bag, qemb_embedding_bag **owned);

/* bytes  the fewest the work must move: each looked-up row once a lookup, indices, offsets, qparams, outputs; a changed row read
 *        and written once. fbgemm: the figure FBGEMM's benches divide by; 0 where it has none. keys: lookups, rows or keys done. */
typedef struct bench_work {
    double bytes, fbgemm_bytes, items;
} bench_work;

typedef struct bench_operation {
    const char *name;
    const char *summary;
    unsigned allowed; /* bit k: has comparison k */
    qemb_status (*open)(bench_world *world, bench_form form, void **state);
    qemb_status (*fresh)(void *state);                 /* the next input; not timed */
    qemb_status (*ready)(void *state);                 /* or NULL: what each run needs before it, also of a repeated batch; not timed */
    qemb_status (*run)(void *state);                   /* enqueues; the clock stops when the device has finished */
    void (*work)(const void *state, bench_work *work); /* of the last run */
    void (*close)(void *state);
} bench_operation;

extern const bench_operation *const bench_operations[]; /* ends with NULL */
const bench_operation *bench_operation_find(const char *name);

/* ---- results ------------------------------------------------------------------------------------------------------------ */

typedef struct bench_result {
    const char *op;
    char variant[48];
    int32_t runs;
    double best_us, median_us, p90_us;
    double bytes, gbps, share; /* gbps and share are of the median; share of the copy bandwidth */
    double rows_share;         /* of the bandwidth of random rows; 0 where that is unknown */
    double spread;             /* (90 % - best) / median */
    double fbgemm_gbps;
    double items_per_s;
    double ratio; /* median over the pairs of time / time of what it is compared with; 0 where nothing is */
} bench_result;

typedef struct bench_report {
    char device[128], shape[256];
    const char *compared; /* "float", "memoryless", "pipeline", "copy", "yardstick" or NULL */
    int32_t bits;
    double copy_gbps, rows_gbps;
    int64_t page_bytes;
    int32_t count;
    bench_result result[BENCH_MAX_SUBJECTS]; /* the picked variant is the last */
} bench_report;

/* Makes the world, times the operation, takes the world down. */
qemb_status bench_run(const bench_operation *operation, const bench_options *options, bench_report *report);

/* The words of options, for a report and for people. */
void bench_shape_text(const bench_options *options, char *text, size_t size);

/* ---- tools -------------------------------------------------------------------------------------------------------------- */

double bench_seconds(void);
double bench_median(const double *values, int32_t count); /* count <= 4096 */
/* Zeroed memory; the program ends when there is none. */
void *bench_alloc(int64_t count, size_t size);

/* As in the library: records one sentence and returns the code. bench_last_error() is it, or else the library's. */
qemb_status bench_fail(qemb_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *bench_last_error(void);

/* The enums of qemb.h as words, in their order, NULL at the end. */
extern const char *const bench_observers[], *const bench_layouts[], *const bench_qparams[];

#define BENCH_TRY(call)                                                                                                                    \
    do {                                                                                                                                   \
        st = (call);                                                                                                                       \
        if (st != QEMB_OK) {                                                                                                               \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

#endif
