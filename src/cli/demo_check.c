/* demo_check.c - one batch on the reference engine, bit for bit. */
#include <stdlib.h>
#include <string.h>

#include "cli/demo.h"

/* The distinct rows of a batch: sorted ids of each table, and their weights. */
typedef struct small_tables {
    int64_t count[QEMB_CLICK_SPARSE];
    int32_t *ids[QEMB_CLICK_SPARSE];
    float *weight[QEMB_CLICK_SPARSE];
    int32_t *remapped; /* [26][rows] */
} small_tables;

static int ascending(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int64_t sort_distinct(int32_t *ids, int64_t count) {
    int64_t kept = 0;
    qsort(ids, (size_t)count, sizeof *ids, ascending);
    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || ids[i] != ids[i - 1]) {
            ids[kept++] = ids[i];
        }
    }
    return kept;
}

/* Copies the rows of table f from the device; neighbours come in one call. */
static qemb_status copy_rows(const demo *d, small_tables *s, int32_t f) {
    const int32_t *ids = s->ids[f];
    qemb_status st = QEMB_OK;
    for (int64_t i = 0, run = 0; i < s->count[f]; i += run) {
        for (run = 1; i + run < s->count[f] && ids[i + run] == ids[i] + run;) {
            run++;
        }
        BENCH_TRY(qemb_embedding_bag_read_weight(d->variant[0].bag, f, ids[i], run, s->weight[f] + i * d->options.dim));
    }
done:
    return st;
}

static qemb_status small_tables_create(const demo *d, const int32_t *ids, int64_t rows, small_tables *s) {
    qemb_status st = QEMB_OK;
    s->remapped = bench_alloc(QEMB_CLICK_SPARSE * rows, sizeof *s->remapped);
    for (int32_t f = 0; f < QEMB_CLICK_SPARSE; f++) {
        const int32_t *from = ids + f * rows;
        s->ids[f] = bench_alloc(rows, sizeof *s->ids[f]);
        memcpy(s->ids[f], from, (size_t)rows * sizeof *from);
        s->count[f] = sort_distinct(s->ids[f], rows);
        s->weight[f] = bench_alloc(s->count[f] * d->options.dim, sizeof(float));
        BENCH_TRY(copy_rows(d, s, f));
        for (int64_t b = 0; b < rows; b++) {
            const int32_t *at = bsearch(&from[b], s->ids[f], (size_t)s->count[f], sizeof *at, ascending);
            s->remapped[f * rows + b] = (int32_t)(at - s->ids[f]);
        }
    }
done:
    return st;
}

static void small_tables_destroy(small_tables *s) {
    for (int32_t f = 0; f < QEMB_CLICK_SPARSE; f++) {
        free(s->ids[f]);
        free(s->weight[f]);
    }
    free(s->remapped);
}

static void compare(demo *d, const demo_variant *v, const float *want, int64_t rows) {
    const int64_t columns = QEMB_CLICK_SPARSE * d->options.dim;
    for (int64_t i = 0; i < rows * columns; i++) {
        if (memcmp(&v->answer[i], &want[i], sizeof *want) != 0) {
            if (d->different++ == 0) {
                (void)snprintf(d->difference, sizeof d->difference,
                               "%s, batch %lld, sample %lld, column %lld: %a, the reference engine says %a", v->name, (long long)d->batches,
                               (long long)(i / columns), (long long)(i % columns), (double)v->answer[i], (double)want[i]);
            }
        }
    }
    d->checked_values += rows * columns;
}

/* The reference engine's answer of one variant. */
static qemb_status reference_forward(const demo *d, const demo_variant *v, qemb_context *ctx, const small_tables *s, int64_t rows,
                                     float *answer) {
    qemb_table_desc tables[QEMB_CLICK_SPARSE];
    qemb_table_desc like;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    qemb_status st = QEMB_OK;
    const size_t bytes = (size_t)(rows * QEMB_CLICK_SPARSE * d->options.dim) * sizeof(float);
    const qemb_input input = {.indices = s->remapped, .num_indices = QEMB_CLICK_SPARSE * rows, .indices_dtype = QEMB_INT32, .columns = 1};
    for (int32_t f = 0; f < QEMB_CLICK_SPARSE; f++) {
        BENCH_TRY(qemb_embedding_bag_table(v->bag, f, &like));
        tables[f] = (qemb_table_desc){
            .num_embeddings = s->count[f], .embedding_dim = d->options.dim, .qconfig = like.qconfig, .weight = s->weight[f]};
    }
    BENCH_TRY(qemb_embedding_bag_collection_create(
        ctx, &(qemb_collection_desc){.tables = tables, .num_tables = QEMB_CLICK_SPARSE, .options = {.mode = QEMB_MODE_SUM}}, &bag));
    BENCH_TRY(qemb_batch_create(ctx, &batch));
    BENCH_TRY(qemb_batch_set(batch, bag, &input));
    BENCH_TRY(qemb_buffer_create(ctx, bytes, &out));
    BENCH_TRY(qemb_embedding_bag_forward(bag, batch, out));
    BENCH_TRY(qemb_buffer_read(out, 0, bytes, answer));
done:
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    return st;
}

qemb_status demo_check(demo *d, const int32_t *ids, int64_t rows) {
    qemb_context *ctx = NULL;
    small_tables small = {0};
    qemb_status st = QEMB_OK;
    float *want = bench_alloc(rows * QEMB_CLICK_SPARSE * d->options.dim, sizeof *want);
    BENCH_TRY(qemb_context_create("reference", &ctx));
    BENCH_TRY(small_tables_create(d, ids, rows, &small));
    for (int v = 0; v < DEMO_VARIANTS; v++) {
        BENCH_TRY(reference_forward(d, &d->variant[v], ctx, &small, rows, want));
        compare(d, &d->variant[v], want, rows);
    }
    d->checked_batches++;
done:
    small_tables_destroy(&small);
    qemb_context_destroy(ctx);
    free(want);
    return st;
}
