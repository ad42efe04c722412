/* demo_pipeline.c - the same batches through the pipeline that everyone else has, and its answers against the fused lookup's.
 *
 * Table after table: every row is observed and fake-quantised into a second table (one pass, the row is read once), and rows are
 * gathered from there. The second table is one piece of memory, as large as the largest: each table has gone through before the next. */
#include <stdlib.h>
#include <string.h>

#include "cli/demo.h"

enum { PIPELINE_BATCHES = 5 };

typedef struct pipeline {
    qemb_buffer *quantised;
    qemb_embedding_bag *gather[QEMB_CLICK_SPARSE]; /* float tables over `quantised` */
    qemb_batch *batch[QEMB_CLICK_SPARSE];
    qemb_buffer *out[QEMB_CLICK_SPARSE]; /* [B][D] */
    float *want, *got;
} pipeline;

static qemb_status open_pipeline(const demo *d, pipeline *p) {
    const int64_t values = d->options.batch * d->options.dim;
    int64_t largest = 0;
    qemb_status st = QEMB_OK;
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        largest = d->cardinalities[f] > largest ? d->cardinalities[f] : largest;
    }
    p->want = bench_alloc(values * QEMB_CLICK_SPARSE, sizeof(float));
    p->got = bench_alloc(values, sizeof(float));
    BENCH_TRY(qemb_buffer_create(d->ctx, (size_t)(largest * d->options.dim) * sizeof(float), &p->quantised));
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        const qemb_embedding_bag_desc desc = {.num_embeddings = d->cardinalities[f],
                                              .embedding_dim = d->options.dim,
                                              .qconfig = qemb_qconfig_float(),
                                              .mode = QEMB_MODE_SUM,
                                              .weight_buffer = p->quantised};
        BENCH_TRY(qemb_embedding_bag_create(d->ctx, &desc, &p->gather[f]));
        BENCH_TRY(qemb_batch_create(d->ctx, &p->batch[f]));
        BENCH_TRY(qemb_buffer_create(d->ctx, (size_t)values * sizeof(float), &p->out[f]));
    }
done:
    return st;
}

static void close_pipeline(pipeline *p) {
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        qemb_embedding_bag_destroy(p->gather[f]);
        qemb_batch_destroy(p->batch[f]);
        qemb_buffer_destroy(p->out[f]);
    }
    qemb_buffer_destroy(p->quantised);
    free(p->want);
    free(p->got);
}

static qemb_status set_batch(const demo *d, pipeline *p, int k) {
    qemb_status st = QEMB_OK;
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        const qemb_input input = {
            .indices = d->ids[k] + f * d->rows[k], .num_indices = d->rows[k], .indices_dtype = QEMB_INT32, .columns = 1};
        BENCH_TRY(qemb_batch_set(p->batch[f], p->gather[f], &input));
    }
done:
    return st;
}

static qemb_status run_batch(const demo *d, pipeline *p) {
    qemb_status st = QEMB_OK;
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        BENCH_TRY(qemb_embedding_bag_fake_quantise(d->variant[1].bag, f, 0, d->cardinalities[f], p->quantised));
        BENCH_TRY(qemb_embedding_bag_forward(p->gather[f], p->batch[f], p->out[f]));
    }
done:
    return st;
}

/* The fused int8 lookup of batch k beside what the pipeline has just made of it. */
static qemb_status compare(demo *d, pipeline *p, int k) {
    const demo_variant *v = &d->variant[1];
    const int64_t dim = d->options.dim, columns = QEMB_CLICK_SPARSE * dim;
    const size_t bytes = (size_t)(d->rows[k] * dim) * sizeof(float);
    const qemb_input input = {
        .indices = d->ids[k], .num_indices = QEMB_CLICK_SPARSE * d->rows[k], .indices_dtype = QEMB_INT32, .columns = 1};
    qemb_status st = QEMB_OK;
    BENCH_TRY(qemb_batch_set(d->batch[k], v->bag, &input));
    BENCH_TRY(qemb_embedding_bag_forward(v->bag, d->batch[k], d->out));
    BENCH_TRY(qemb_buffer_read(d->out, 0, QEMB_CLICK_SPARSE * bytes, p->want));
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        BENCH_TRY(qemb_buffer_read(p->out[f], 0, bytes, p->got));
        for (int64_t b = 0; b < d->rows[k]; b++) {
            if (memcmp(p->got + b * dim, p->want + b * columns + f * dim, (size_t)dim * sizeof(float)) != 0 && d->different++ == 0) {
                (void)snprintf(d->difference, sizeof d->difference,
                               "the pipeline and the fused lookup differ in batch %d, sample %lld, feature %d", k, (long long)b, f);
            }
        }
    }
done:
    return st;
}

static qemb_status time_batches(demo *d, pipeline *p, int count) {
    qemb_status st = QEMB_OK;
    for (int k = 0; k < count && k < PIPELINE_BATCHES && d->rows[k] == d->options.batch; k++) {
        BENCH_TRY(set_batch(d, p, k));
        for (int warm = k == 0; warm >= 0; warm--) { /* the first batch goes through once before the clock counts */
            BENCH_TRY(qemb_context_finish(d->ctx));
            const double start = bench_seconds();
            BENCH_TRY(run_batch(d, p));
            BENCH_TRY(qemb_context_finish(d->ctx));
            d->pipeline.us[k] = 1e6 * (bench_seconds() - start);
        }
        d->pipeline.times++;
        BENCH_TRY(compare(d, p, k));
    }
done:
    return st;
}

qemb_status demo_pipeline(demo *d, int count) {
    pipeline p = {0};
    d->pipeline = (demo_variant){.name = "whole tables, int8", .op_variant = "pipeline", .bits = 8};
    d->pipeline_bytes = 2.0 * (double)d->weight_bytes;
    qemb_status st = open_pipeline(d, &p);
    if (st == QEMB_ERR_UNSUPPORTED || st == QEMB_ERR_NOMEM) {
        d->pipeline_note = "left out: the device gives no memory for a second table";
        st = QEMB_OK;
    } else if (st == QEMB_OK) {
        st = time_batches(d, &p, count);
    }
    close_pipeline(&p);
    return st;
}
