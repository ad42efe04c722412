/* row_sort.c - launches of the row sort: how many buckets, chunks and passes a batch gets.
 *
 * CPUs have three ways, by the size of the batch and how evenly its tables share it: one work-item does everything in one launch (waking
 * another core costs more than it saves up to 64 thousand lookups of one table); a table a work-item; tables cut into buckets that fit a
 * core's cache. GPUs have one, passes of a radix sort over the bits that row numbers use. All give the same result, so the choice shows
 * in time alone. */
#include <stdio.h>

#include "base/checked.h"
#include "core/row_sort.h"
#include "opencl/opencl.h"

enum {
    BLOCK = 1 << 15,     /* CPU: words of a scratch block; two of 256 KiB stay in a core's second level */
    ALONE_ONE = 1 << 16, /* CPU: up to so many lookups of one table, or of several, one work-item is done before more would be */
    ALONE_MANY = 1 << 12,
    LARGE_TABLE = 1 << 17, /* CPU: lookups of a table that no longer sort in cache */
    BUCKET = 1 << 13,      /* CPU: lookups a bucket should get */
    MORE = 1 << 13,        /* CPU: bytes behind the blocks: vectors reach beyond */
    MAX_SPLIT = 16,
    WORDS_BYTES = 8,
    BUCKET_BYTES = 16,
    COUNT_BLOCK = 16, /* GPU: groups whose counters are summed together */
    GPU_GROUPS = 512  /* GPU: most groups; their counters are read by each of them */
};

/* Result buffers in the order of the kernels' parameters. */
static void add_runs(qemb__cl_args *list, const qemb__row_sort_args *args) {
    const qemb__row_sort *s = args->sort;
    qemb__cl_arg_buffer(list, s->counts);
    qemb__cl_arg_buffer(list, s->position);
    qemb__cl_arg_buffer(list, s->run_start);
    qemb__cl_arg_buffer(list, s->run_row);
    qemb__cl_arg_buffer(list, args->with_map ? s->run_of : s->counts);
    qemb__cl_arg_buffer(list, s->part_first);
    qemb__cl_arg_buffer(list, s->part_run);
    qemb__cl_arg_buffer(list, s->part_slot);
}

static void add_input(qemb__cl_args *list, const qemb__row_sort_args *args) {
    const qemb__batch_view *b = args->batch;
    qemb__cl_arg_buffer(list, args->sort->tables->table_buffer);
    qemb__cl_arg_buffer(list, args->sort->plan);
    qemb__cl_arg_buffer(list, b->indices ? b->indices : b->status);
    qemb__cl_arg_buffer(list, b->offsets ? b->offsets : b->status);
    qemb__cl_arg_buffer(list, b->status);
}

static q_row_sort arguments(const qemb__row_sort_args *args) {
    const qemb__batch_view *b = args->batch;
    const qemb__tables *s = args->sort->tables;
    q_row_sort a = {.batch = b->shape, .total_rows = s->total_rows, .num_features = s->num_features, .num_tables = s->num_tables};
    a.batch.indices_at = b->indices ? (q_i64)(b->indices->offset / (b->indices_64 ? 8 : 4)) : 0;
    a.batch.offsets_at = b->offsets ? (q_i64)(b->offsets->offset / (b->offsets_64 ? 8 : 4)) : 0;
    return a;
}

static void common_options(const qemb__row_sort_args *args, char *options, size_t bytes) {
    (void)snprintf(options, bytes, "-DQV=float -DSLABS=1 -DINDEX=%s -DOFFSET=%s -DWIDE=%d -DMAP=%d",
                   args->batch->indices_64 ? "long" : "int", args->batch->offsets_64 ? "long" : "int", args->sort->wide, args->with_map);
}

static const qemb__pick *pick_for(qemb_context *ctx, const qemb__tables *s, int64_t lookups, uint32_t facts) {
    qemb__cl *cl = ctx->engine;
    const qemb__case launch = {.stem = QEMB__ROW_SORT, .facts = facts, .dim = s->num_tables, .size = 1 + lookups / 1000};
    return qemb__pick_for(&cl->picker, &launch);
}

/* ---- CPU family */

static qemb_status cpu_kernel(qemb_context *ctx, const qemb__row_sort_args *args, const char *name, cl_kernel *kernel) {
    static const char *const pieces[] = {"row_sort_head.cl", "row_sort_cpu.cl", "row_sort_cpu_short.cl", "row_sort_cpu_short_runs.cl",
                                         "row_sort_cpu_main.cl"};
    char options[QEMB__CL_OPTIONS];
    char common[QEMB__CL_OPTIONS / 2];
    common_options(args, common, sizeof common);
    (void)snprintf(options, sizeof options, "%s -DBLOCK=%d", common, BLOCK);
    return qemb__cl_kernel_pieces(ctx, pieces, 5, name, options, kernel);
}

/* How many bits the numbers 0 .. rows - 1 take. */
static int bits_of(int64_t rows) {
    int bits = 0;
    while (bits < 63 && (int64_t)1 << bits < rows) {
        bits++;
    }
    return bits;
}

/* Facts of a sort on CPUs: tables too few for the cores, or too large for their caches, are better cut. */
static uint32_t cpu_facts(const qemb__cl *cl, const qemb__tables *s, int64_t lookups) {
    const int64_t tables = qemb__max_i64(s->num_tables, 1);
    const bool uneven = lookups > ALONE_ONE && (tables < 2 * cl->compute_units || lookups / tables > LARGE_TABLE);
    const bool few = lookups <= ALONE_MANY || (tables == 1 && lookups <= ALONE_ONE);
    uint32_t facts = QEMB__ROWS_32 | (few ? QEMB__FEW_LOOKUPS : 0u) | (uneven ? 0u : QEMB__EVEN_TABLES);
    for (int32_t t = 0; t < s->num_tables; t++) {
        facts &= bits_of(s->table[t].rows) > 32 ? ~(uint32_t)QEMB__ROWS_32 : ~0u;
    }
    return facts;
}

/* Every table is cut into 2^split buckets, of at most 2^32 rows. */
static int split_of(const qemb__cl *cl, const qemb__tables *s, int64_t lookups) {
    const int64_t tables = qemb__max_i64(s->num_tables, 1);
    const int64_t buckets = qemb__max_i64(8 * cl->compute_units, lookups / BUCKET);
    int split = 0;
    for (int32_t t = 0; t < s->num_tables; t++) {
        const int above = bits_of(s->table[t].rows) - 32;
        split = above > split ? above : split;
    }
    /* a few buckets a core, so that a skewed one does not keep the others waiting, and none larger than sorts in cache */
    while (lookups > ALONE_ONE && split < MAX_SPLIT && tables << split < buckets) {
        split++;
    }
    return split;
}

/* Whole tables: one launch, or one to sort and one to number the runs. */
static qemb_status cpu_tables(qemb_context *ctx, const qemb__row_sort_args *args, q_row_sort *a, int64_t items) {
    qemb__row_sort *s = args->sort;
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    qemb__cl_args list = {0};
    TRY(cpu_kernel(ctx, args, "row_sort_tables", &kernel));
    add_input(&list, args);
    for (int i = 0; i < 4; i++) {
        qemb__cl_arg_buffer(&list, s->work[i]);
    }
    qemb__cl_arg_buffer(&list, s->bag_of);
    add_runs(&list, args);
    qemb__cl_arg(&list, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &list, a->alone ? 1 : items, 1));
done:
    return st;
}

/* Buckets of tables: counted and filled by chunks of positions, then sorted. work: words, spare, scratch, buckets, counted, cursor. */
static qemb_status cpu_buckets(qemb_context *ctx, const qemb__row_sort_args *args, const q_row_sort *a, int64_t chunks, int64_t items) {
    qemb__row_sort *s = args->sort;
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    qemb__cl_args count = {0};
    qemb__cl_args fill = {0};
    qemb__cl_args sort = {0};
    TRY(cpu_kernel(ctx, args, "row_sort_count", &kernel));
    add_input(&count, args);
    qemb__cl_arg_buffer(&count, s->work[4]);
    qemb__cl_arg_buffer(&count, s->bag_of);
    qemb__cl_arg_buffer(&count, args->with_map ? s->run_of : s->counts);
    qemb__cl_arg(&count, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &count, chunks, 1));

    TRY(cpu_kernel(ctx, args, "row_sort_partition", &kernel));
    add_input(&fill, args);
    qemb__cl_arg_buffer(&fill, s->work[4]);
    qemb__cl_arg_buffer(&fill, s->work[5]);
    qemb__cl_arg_buffer(&fill, s->work[0]);
    qemb__cl_arg_buffer(&fill, s->work[3]);
    qemb__cl_arg(&fill, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &fill, chunks, 1));

    TRY(cpu_kernel(ctx, args, "row_sort_buckets", &kernel));
    qemb__cl_arg_buffer(&sort, s->tables->table_buffer);
    for (int i = 0; i < 4; i++) {
        qemb__cl_arg_buffer(&sort, s->work[i]);
    }
    qemb__cl_arg(&sort, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &sort, items, 1));
done:
    return st;
}

static qemb_status cpu_emit(qemb_context *ctx, const qemb__row_sort_args *args, const q_row_sort *a, int64_t items) {
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    qemb__cl_args list = {0};
    TRY(cpu_kernel(ctx, args, "row_sort_emit", &kernel));
    qemb__cl_arg_buffer(&list, args->sort->tables->table_buffer);
    qemb__cl_arg_buffer(&list, args->sort->work[0]);
    qemb__cl_arg_buffer(&list, args->sort->work[3]);
    add_runs(&list, args);
    qemb__cl_arg(&list, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &list, items, 1));
done:
    return st;
}

static qemb_status cpu_row_sort(qemb_context *ctx, const qemb__row_sort_args *args) {
    const qemb__cl *cl = ctx->engine;
    qemb__row_sort *s = args->sort;
    qemb_status st = QEMB_OK;
    q_row_sort a = arguments(args);
    const qemb__pick *pick = pick_for(ctx, s->tables, a.batch.lookups, cpu_facts(cl, s->tables, a.batch.lookups));
    const bool cut = !(pick->variant->needs & QEMB__ROWS_32);
    a.split = cut ? split_of(cl, s->tables, a.batch.lookups) : 0;
    const size_t words = (size_t)a.batch.lookups * WORDS_BYTES;
    a.alone = (pick->variant->wants & QEMB__FEW_LOOKUPS) != 0;
    REQUIRE(a.split <= MAX_SPLIT, QEMB_ERR_UNSUPPORTED, "row_sort: a table of more than 2^%d rows", 32 + MAX_SPLIT);
    const int64_t buckets = (int64_t)a.num_tables << a.split;
    const int64_t items = qemb__min_i64(buckets, 2 * cl->compute_units);
    const int64_t chunks = cl->compute_units;
    TRY(qemb__buffer_reserve(ctx, words, &s->work[0]));
    TRY(qemb__buffer_reserve(ctx, words, &s->work[1]));
    TRY(qemb__buffer_reserve(ctx, (size_t)items * 2 * BLOCK * WORDS_BYTES + MORE, &s->work[2]));
    TRY(qemb__buffer_reserve(ctx, (size_t)buckets * BUCKET_BYTES, &s->work[3]));
    if (!cut) {
        TRY(cpu_tables(ctx, args, &a, items));
    } else {
        TRY(qemb__buffer_reserve(ctx, (size_t)(chunks * buckets) * sizeof(q_u32), &s->work[4]));
        TRY(qemb__buffer_reserve(ctx, (size_t)(chunks * buckets) * sizeof(q_u32), &s->work[5]));
        TRY(cpu_buckets(ctx, args, &a, chunks, items));
    }
    if (!a.alone) {
        TRY(cpu_emit(ctx, args, &a, items));
    }
done:
    return st;
}

/* ---- GPU family */

/* Shape of the GPU kernels. */
typedef struct gpu_shape {
    int group, items, digit_bits;
} gpu_shape;

static gpu_shape gpu_shape_of(qemb_context *ctx, const qemb__row_sort *sort, int64_t lookups) {
    const qemb__pick *pick = pick_for(ctx, sort->tables, lookups, 0);
    return (gpu_shape){pick->knob[QEMB__KNOB_LOCAL], sort->wide ? 5 : 7, pick->knob[QEMB__KNOB_DIGIT]};
}

static qemb_status gpu_kernel(qemb_context *ctx, const qemb__row_sort_args *args, gpu_shape shape, const char *name, cl_kernel *kernel) {
    static const char *const pieces[] = {"row_sort_head.cl", "row_sort_gpu.cl", "row_sort_gpu_runs.cl"};
    char options[QEMB__CL_OPTIONS];
    char common[QEMB__CL_OPTIONS / 2];
    common_options(args, common, sizeof common);
    (void)snprintf(options, sizeof options, "%s -DGROUP=%d -DITEMS=%d -DDIGIT_BITS=%d -DCOUNT_BLOCK=%d", common, shape.group, shape.items,
                   shape.digit_bits, COUNT_BLOCK);
    return qemb__cl_kernel_pieces(ctx, pieces, 3, name, options, kernel);
}

/* The sort proper: `groups` groups, keys from work[0] and work[1], positions between work[2] and the result so that they end there.
 * Gives the buffer that holds the sorted keys. */
static qemb_status gpu_passes(qemb_context *ctx, const qemb__row_sort_args *args, gpu_shape shape, q_row_sort *a, int passes,
                              int64_t groups, qemb_buffer **sorted) {
    qemb__row_sort *s = args->sort;
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    qemb__cl_args build = {0};
    qemb__cl_args digits = {0};
    TRY(gpu_kernel(ctx, args, shape, "row_sort_keys", &kernel));
    add_input(&build, args);
    qemb__cl_arg_buffer(&build, s->work[0]);
    qemb__cl_arg_buffer(&build, s->work[3]);
    qemb__cl_arg_buffer(&build, s->bag_of);
    qemb__cl_arg_buffer(&build, args->with_map ? s->run_of : s->counts);
    qemb__cl_arg(&build, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &build, a->batch.lookups, (size_t)shape.group));

    TRY(gpu_kernel(ctx, args, shape, "row_sort_digits", &kernel));
    qemb__cl_arg_buffer(&digits, s->work[0]);
    qemb__cl_arg_buffer(&digits, s->work[3]);
    qemb__cl_arg(&digits, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &digits, groups * shape.group, (size_t)shape.group));

    TRY(gpu_kernel(ctx, args, shape, "row_sort_scatter", &kernel));
    for (a->pass = 0; a->pass < passes; a->pass++) {
        qemb__cl_args list = {0};
        const bool to_result = (passes - a->pass) % 2 == 1; /* the last pass ends in the result, whether their number is even or odd */
        a->last = a->pass + 1 == passes;
        qemb__cl_arg_buffer(&list, s->work[a->pass % 2]);
        qemb__cl_arg_buffer(&list, to_result ? s->work[2] : s->position);
        qemb__cl_arg_buffer(&list, s->work[1 - a->pass % 2]);
        qemb__cl_arg_buffer(&list, to_result ? s->position : s->work[2]);
        qemb__cl_arg_buffer(&list, s->work[3]);
        qemb__cl_arg(&list, sizeof *a, a);
        TRY(qemb__cl_launch(ctx, kernel, &list, groups * shape.group, (size_t)shape.group));
    }
    *sorted = s->work[passes % 2];
done:
    return st;
}

static qemb_status gpu_runs(qemb_context *ctx, const qemb__row_sort_args *args, gpu_shape shape, const q_row_sort *a, int64_t groups,
                            const qemb_buffer *sorted) {
    qemb_status st = QEMB_OK;
    cl_kernel kernel = NULL;
    qemb__cl_args count = {0};
    qemb__cl_args emit = {0};
    TRY(gpu_kernel(ctx, args, shape, "row_sort_runs", &kernel));
    qemb__cl_arg_buffer(&count, sorted);
    qemb__cl_arg_buffer(&count, args->sort->work[4]);
    qemb__cl_arg(&count, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &count, groups * shape.group, (size_t)shape.group));

    TRY(gpu_kernel(ctx, args, shape, "row_sort_emit", &kernel));
    qemb__cl_arg_buffer(&emit, sorted);
    qemb__cl_arg_buffer(&emit, args->sort->work[4]);
    add_runs(&emit, args);
    qemb__cl_arg(&emit, sizeof *a, a);
    TRY(qemb__cl_launch(ctx, kernel, &emit, groups * shape.group, (size_t)shape.group));
done:
    return st;
}

static qemb_status gpu_row_sort(qemb_context *ctx, const qemb__row_sort_args *args) {
    qemb__row_sort *s = args->sort;
    qemb_status st = QEMB_OK;
    q_row_sort a = arguments(args);
    const gpu_shape shape = gpu_shape_of(ctx, s, a.batch.lookups);
    const int64_t n = a.batch.lookups;
    const int64_t tile = (int64_t)shape.group * shape.items;
    const int passes = (bits_of(a.total_rows + 1) + shape.digit_bits - 1) / shape.digit_bits;
    /* groups own whole tiles, and are few enough that each can add up the counters of all before it */
    const int64_t span = qemb__round_up(qemb__max_i64(qemb__ceil_div(n, GPU_GROUPS), 1), tile);
    const int64_t groups = qemb__max_i64(qemb__ceil_div(n, span), 1);
    const int64_t counters = passes * ((groups + qemb__ceil_div(groups, COUNT_BLOCK)) << shape.digit_bits);
    const size_t key_bytes = (size_t)(n + 1) * (s->wide ? sizeof(q_u64) : sizeof(q_u32));
    qemb_buffer *sorted = NULL;
    a.span = (q_i32)qemb__min_i64(span, INT32_MAX);
    a.counters = counters;
    TRY(qemb__buffer_reserve(ctx, key_bytes, &s->work[0]));
    TRY(qemb__buffer_reserve(ctx, key_bytes, &s->work[1]));
    TRY(qemb__buffer_reserve(ctx, (size_t)(n + 1) * sizeof(q_i32), &s->work[2]));
    TRY(qemb__buffer_reserve(ctx, (size_t)counters * sizeof(q_u32), &s->work[3]));
    TRY(qemb__buffer_reserve(ctx, (size_t)groups * 2 * sizeof(q_u32), &s->work[4]));
    sorted = s->work[0];
    if (n > 0) {
        TRY(gpu_passes(ctx, args, shape, &a, passes, groups, &sorted));
    }
    TRY(gpu_runs(ctx, args, shape, &a, groups, sorted));
done:
    return st;
}

qemb_status qemb__cl_row_sort(qemb_context *ctx, const qemb__row_sort_args *args) {
    const qemb__cl *cl = ctx->engine;
    return cl->is_cpu ? cpu_row_sort(ctx, args) : gpu_row_sort(ctx, args);
}
