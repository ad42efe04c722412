/* demo_stream.c - tables with the log's cardinalities, and the log streamed through them.
 *
 * A chunk of batches is read first; then each variant sets it and goes through all of it. So a variant meets a batch when its rows
 * have left the near caches again, as rows of a fresh batch would have, and the variants take turns at being first. */
#include <stdlib.h>
#include <string.h>

#include "cli/demo.h"

/* The scale at which the tables fit, and what the pipeline that quantises whole tables adds: the largest once more. */
static double fitting_scale(const demo *d) {
    int64_t full[QEMB_CLICK_SPARSE];
    double bytes = 0.0;
    qemb_click_cardinalities(1.0, full);
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        bytes += 1.35 * (double)(full[f] * d->options.dim) * sizeof(float);
    }
    double available = (double)bench_memory_available(&d->report);
    return available >= bytes ? 1.0 : available / bytes;
}

static qemb_status create_modules(demo *d) {
    qemb_table_desc tables[QEMB_CLICK_SPARSE];
    qemb_qconfig q8 = qemb_qconfig_8bit(), q4 = qemb_qconfig_4bit();
    qemb_status st = QEMB_OK;
    int64_t largest = 0, at = 0;
    q8.observer = q4.observer = d->options.observer;
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        int64_t n = d->cardinalities[f] * d->options.dim;
        largest = n > largest ? n : largest;
        d->weight_bytes += n * (int64_t)sizeof(float);
    }
    bench_values *values = bench_values_create(largest, d->options.seed);
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        tables[f] = (qemb_table_desc){
            .num_embeddings = d->cardinalities[f], .embedding_dim = d->options.dim, .qconfig = q8, .seed = d->options.seed};
        tables[f].weight = values ? bench_values_at(values, at) : NULL;
        at += d->cardinalities[f] * d->options.dim;
    }
    d->variant[0] = (demo_variant){.name = "float gather", .op_variant = "float", .bits = 32};
    d->variant[1] = (demo_variant){.name = "fused QAT int8", .op_variant = "qat", .bits = 8};
    d->variant[2] = (demo_variant){.name = "fused QAT int4", .op_variant = "qat", .bits = 4};
    BENCH_TRY(qemb_embedding_bag_collection_create(
        d->ctx, &(qemb_collection_desc){.tables = tables, .num_tables = QEMB_CLICK_SPARSE, .options = {.mode = QEMB_MODE_SUM}},
        &d->variant[1].bag));
    BENCH_TRY(qemb_embedding_bag_to_float(d->variant[1].bag, &d->variant[0].bag));
    BENCH_TRY(qemb_embedding_bag_from_float(d->variant[1].bag, &q4, &d->variant[2].bag));
done:
    bench_values_destroy(values);
    return st;
}

qemb_status demo_create(demo *d) {
    const int64_t values = d->options.batch * QEMB_CLICK_SPARSE * d->options.dim;
    qemb_status st = QEMB_OK;
    BENCH_TRY(qemb_context_create(d->options.device, &d->ctx));
    BENCH_TRY(qemb_context_report(d->ctx, &d->report));
    BENCH_TRY(qemb_context_copy_bandwidth(d->ctx, 0, &d->copy_gbps));
    d->scale = d->options.scale > 0.0 ? d->options.scale : fitting_scale(d);
    qemb_click_cardinalities(d->scale, d->cardinalities);
    BENCH_TRY(create_modules(d));
    d->page_bytes = d->report.host_memory ? bench_page_bytes(d->weight_bytes) : 0;
    BENCH_TRY(qemb_buffer_create(d->ctx, (size_t)values * sizeof(float), &d->out));
    for (int v = 0; v < DEMO_VARIANTS; v++) {
        d->variant[v].answer = bench_alloc(values, sizeof(float));
    }
    for (int k = 0; k < DEMO_CHUNK; k++) {
        d->ids[k] = bench_alloc(QEMB_CLICK_SPARSE * d->options.batch, sizeof *d->ids[k]);
        BENCH_TRY(qemb_batch_create(d->ctx, &d->batch[k]));
    }
done:
    return st;
}

void demo_destroy(demo *d) {
    for (int k = 0; k < DEMO_CHUNK; k++) {
        qemb_batch_destroy(d->batch[k]);
        free(d->ids[k]);
    }
    qemb_buffer_destroy(d->out);
    qemb_embedding_bag_destroy(d->variant[0].bag);
    qemb_embedding_bag_destroy(d->variant[2].bag);
    qemb_embedding_bag_destroy(d->variant[1].bag); /* the others share its weights */
    for (int v = 0; v < DEMO_VARIANTS; v++) {
        free(d->variant[v].answer);
    }
    qemb_context_destroy(d->ctx);
}

/* Reads the next batches; *count of them. */
static qemb_status read_chunk(demo *d, qemb_click_reader *reader, int *count) {
    qemb_status st = QEMB_OK;
    for (*count = 0; *count < DEMO_CHUNK; ++*count) {
        int64_t *rows = &d->rows[*count];
        const double start = bench_seconds();
        BENCH_TRY(qemb_click_reader_next(reader, d->options.batch, d->ids[*count], NULL, NULL, rows));
        d->read_seconds += bench_seconds() - start;
        if (*rows == 0) {
            break;
        }
        d->rows_read += *rows;
    }
done:
    return st;
}

/* One variant over the chunk; the answer of batch `checked` is kept. */
static qemb_status run_variant(demo *d, demo_variant *v, int count, int checked, bool timed) {
    qemb_status st = QEMB_OK;
    for (int k = 0; k < count; k++) {
        const qemb_input input = {
            .indices = d->ids[k], .num_indices = QEMB_CLICK_SPARSE * d->rows[k], .indices_dtype = QEMB_INT32, .columns = 1};
        BENCH_TRY(qemb_batch_set(d->batch[k], v->bag, &input));
    }
    BENCH_TRY(qemb_context_finish(d->ctx));
    for (int k = 0; k < count; k++) {
        const double start = bench_seconds();
        BENCH_TRY(qemb_embedding_bag_forward(v->bag, d->batch[k], d->out));
        BENCH_TRY(qemb_context_finish(d->ctx));
        const double us = 1e6 * (bench_seconds() - start);
        if (timed && d->rows[k] == d->options.batch && v->times < DEMO_MAX_TIMES) {
            v->us[v->times++] = us;
        }
        if (k == checked) {
            const size_t bytes = (size_t)(d->rows[k] * QEMB_CLICK_SPARSE * d->options.dim) * sizeof(float);
            BENCH_TRY(qemb_buffer_read(d->out, 0, bytes, v->answer));
        }
    }
done:
    return st;
}

/* Chunks 0, 1, 2, 4, 8, ... are checked, and the last one by its last, perhaps short, batch. */
static int batch_to_check(int64_t chunk, int count, bool last) {
    return last ? count - 1 : (chunk & (chunk - 1)) == 0 ? (int)(chunk % count) : -1;
}

static qemb_status run_chunk(demo *d, int64_t chunk, int count) {
    qemb_status st = QEMB_OK;
    const int checked = batch_to_check(chunk, count, count < DEMO_CHUNK || d->rows_read >= d->options.rows);
    for (int v = 0; v < DEMO_VARIANTS && chunk == 0; v++) {
        BENCH_TRY(run_variant(d, &d->variant[v], 1, -1, false)); /* warm-up: memory is touched, kernels are there */
    }
    for (int v = 0; v < DEMO_VARIANTS; v++) {
        BENCH_TRY(run_variant(d, &d->variant[(v + chunk) % DEMO_VARIANTS], count, checked, true));
    }
    if (checked >= 0) {
        d->batches += checked;
        BENCH_TRY(demo_check(d, d->ids[checked], d->rows[checked]));
        d->batches -= checked;
    }
    d->batches += count;
done:
    return st;
}

qemb_status demo_stream(demo *d, const char *path) {
    qemb_click_reader *reader = NULL;
    qemb_status st = QEMB_OK;
    cli_progress bar;
    int count = DEMO_CHUNK;
    BENCH_TRY(qemb_click_reader_open(
        &(qemb_click_desc){.path = path, .num_embeddings = d->cardinalities, .row_count = d->options.rows, .faults = QEMB_CLICK_SKIP},
        &reader));
    cli_progress_begin(&bar, "looking up");
    for (int64_t chunk = 0; st == QEMB_OK && count == DEMO_CHUNK; chunk++) {
        int64_t total = 0;
        st = read_chunk(d, reader, &count);
        if (st == QEMB_OK && count > 0) {
            st = run_chunk(d, chunk, count);
            st = st == QEMB_OK && chunk == 0 ? demo_pipeline(d, count) : st;
        }
        qemb_click_reader_progress(reader, &d->log_bytes, &total);
        cli_progress_at(&bar, d->log_bytes, total);
    }
    cli_progress_end(&bar);
    if (st == QEMB_OK && d->rows_read == 0) {
        st = bench_fail(QEMB_ERR_CORRUPT, "%s: no row could be read: %s", path,
                        qemb_click_reader_fault(reader, 0)); /* an empty log is refused before */
    }
    if (qemb_click_reader_fault_count(reader) > 0) {
        (void)fprintf(stderr, "qemb demo: %lld rows of %s left out, the first: %s\n", (long long)qemb_click_reader_fault_count(reader),
                      path, qemb_click_reader_fault(reader, 0));
    }
done:
    qemb_click_reader_close(reader);
    return st;
}
