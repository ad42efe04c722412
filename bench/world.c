/* world.c - options of a workload, and the device with its tables. */
#include "bench.h"
#include "device.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char sentence[512];

qemb_status bench_fail(qemb_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return code;
}

const char *bench_last_error(void) {
    return sentence[0] ? sentence : qemb_last_error();
}

double bench_seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *bench_alloc(int64_t count, size_t size) {
    void *block = calloc(count > 0 ? (size_t)count : 1, size);
    if (!block) {
        (void)fprintf(stderr, "qemb: no memory for %lld items of %zu bytes; take a smaller workload\n", (long long)count, size);
        exit(1);
    }
    return block;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(const double *values, int32_t count) {
    double sorted[4096];
    if (count < 1) {
        return 0.0;
    }
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    return count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}

void bench_options_default(bench_options *o) {
    *o = (bench_options){.tables = 1,
                         .batch = 2048,
                         .bag = 20,
                         .alpha = 1.0,
                         .bits = 8,
                         .observer = QEMB_OBSERVER_MEMORYLESS,
                         .mode = QEMB_MODE_SUM,
                         .seed = 1};
    for (int32_t t = 0; t < BENCH_MAX_TABLES; t++) {
        o->rows[t] = 1000000;
        o->dim[t] = 64;
    }
}

qemb_qconfig bench_qconfig(const bench_options *o) {
    qemb_qconfig q = qemb_qconfig_float();
    if (!o->is_float) {
        q = o->bits == 2 ? qemb_qconfig_2bit() : o->bits == 4 ? qemb_qconfig_4bit() : qemb_qconfig_8bit();
        q.observer = o->observer;
        q.arithmetic = o->arithmetic;
        q.layout = o->layout;
    }
    return q;
}

qemb_packed_format bench_packed_format(const bench_options *o) {
    return (qemb_packed_format){
        .layout = o->layout, .bits = o->bits, .row_alignment = o->row_alignment, .qparams = o->qparams, .symmetric = o->symmetric};
}

int64_t bench_lookups(const bench_options *o) {
    return o->tables * o->batch * o->bag;
}

int64_t bench_output_dim(const bench_options *o) {
    int64_t sum = 0;
    for (int32_t t = 0; t < o->tables; t++) {
        sum += o->dim[t];
    }
    return sum;
}

int64_t bench_weight_bytes(const bench_options *o) {
    int64_t sum = 0;
    for (int32_t t = 0; t < o->tables; t++) {
        sum += o->rows[t] * o->dim[t] * (int64_t)sizeof(float);
    }
    return sum;
}

/* "64" when all tables agree, else "16..128". */
static void range_text(const int64_t *values, int32_t count, char *text, size_t size) {
    int64_t low = values[0], high = values[0];
    for (int32_t t = 1; t < count; t++) {
        low = values[t] < low ? values[t] : low;
        high = values[t] > high ? values[t] : high;
    }
    if (low == high) {
        (void)snprintf(text, size, "%lld", (long long)low);
    } else {
        (void)snprintf(text, size, "%lld..%lld", (long long)low, (long long)high);
    }
}

void bench_shape_text(const bench_options *o, char *text, size_t size) {
    static const char *const modes[] = {"mean", "sum", "max"};
    char rows[48], dim[48];
    range_text(o->rows, o->tables, rows, sizeof rows);
    range_text(o->dim, o->tables, dim, sizeof dim);
    (void)snprintf(text, size, "%s%sT=%d E=%s D=%s B=%lld L=%lld alpha=%g %s%s%s%s%s%s", o->name, o->name[0] ? ": " : "", o->tables, rows,
                   dim, (long long)o->batch, (long long)o->bag, o->alpha, modes[o->mode], o->weighted ? " weighted" : "",
                   o->repeat ? " repeat" : "", o->flush_mib ? " flushed" : "", o->indices_32 ? " int32" : "",
                   o->long_bags ? " skewed" : "");
}

/* A number of KiB behind `key` in a file of lines "Key:  123 kB"; 0 if it is not there. */
static int64_t kib_of(const char *path, const char *key) {
    char line[256];
    long long kib = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), ": %lld", &kib) == 1) {
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return kib;
}

int64_t bench_memory_available(const qemb_device_report *report) {
    int64_t host = kib_of("/proc/meminfo", "MemAvailable") * 1024;
    bool shared = report->host_memory || strcmp(report->engine, "reference") == 0;
    int64_t bytes = report->memory_bytes > 0 ? report->memory_bytes : host;
    if (shared && host > 0 && host < bytes) {
        bytes = host;
    }
    return bytes / 10 * 7;
}

/* The system tells how many bytes of the process lie in huge pages; tables are nearly all it has when they are large. */
int64_t bench_page_bytes(int64_t table_bytes) {
    int64_t huge = kib_of("/proc/self/smaps_rollup", "AnonHugePages") * 1024;
    return huge >= table_bytes / 2 && huge > 0 ? 2 << 20 : 4096;
}

/* Refuses tables that would crowd the machine out: the system's own answer to that is to kill a program. */
static qemb_status check_memory(const bench_world *w) {
    const bench_options *o = w->options;
    int64_t bytes = bench_weight_bytes(o);
    for (int32_t t = 0; !o->is_float && o->observer != QEMB_OBSERVER_MEMORYLESS && t < o->tables; t++) {
        bytes += 16 * o->rows[t]; /* observer state */
    }
    bytes += o->compare == BENCH_WITH_PIPELINE || o->compare == BENCH_WITH_COPY ? bench_weight_bytes(o) : 0;
    const int64_t free_bytes = bench_memory_available(&w->report);
    if (bytes > free_bytes) {
        return bench_fail(QEMB_ERR_NOMEM, "the tables take %.1f GB and %.1f GB are to be had on %s; take fewer --rows or --tables",
                          1e-9 * (double)bytes, 1e-9 * (double)free_bytes, w->report.device);
    }
    return QEMB_OK;
}

static qemb_status create_tables(bench_world *w) {
    const bench_options *o = w->options;
    qemb_status st = QEMB_OK;
    qemb_table_desc *tables = bench_alloc(o->tables, sizeof *tables);
    int64_t largest = 0, at = 0;
    for (int32_t t = 0; t < o->tables; t++) {
        largest = o->rows[t] * o->dim[t] > largest ? o->rows[t] * o->dim[t] : largest;
    }
    bench_values *values = bench_values_create(largest, o->seed + 77);
    for (int32_t t = 0; t < o->tables; t++) {
        tables[t] = (qemb_table_desc){
            .num_embeddings = o->rows[t], .embedding_dim = o->dim[t], .qconfig = bench_qconfig(o), .seed = o->seed + (uint64_t)t};
        tables[t].weight = values ? bench_values_at(values, at) : NULL; /* else the library draws them, slowly */
        at += o->rows[t] * o->dim[t];
    }
    if (o->compare == BENCH_WITH_YARDSTICK) { /* on memory whose address is known */
        BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)bench_weight_bytes(o), &w->weight));
        if (tables[0].weight) {
            BENCH_TRY(qemb_buffer_write(w->weight, 0, (size_t)bench_weight_bytes(o), tables[0].weight));
        }
        tables[0].weight = NULL;
        tables[0].weight_buffer = w->weight;
    }
    BENCH_TRY(qemb_embedding_bag_collection_create(
        w->ctx, &(qemb_collection_desc){.tables = tables, .num_tables = o->tables, .options = {.mode = o->mode}}, &w->base));
done:
    bench_values_destroy(values);
    free(tables);
    return st;
}

qemb_status bench_world_create(const bench_options *o, bench_world *w) {
    qemb_status st = QEMB_OK;
    *w = (bench_world){.options = o};
    BENCH_TRY(qemb_context_create(o->device, &w->ctx));
    BENCH_TRY(qemb_context_report(w->ctx, &w->report));
    BENCH_TRY(check_memory(w));
    BENCH_TRY(qemb_context_copy_bandwidth(w->ctx, 0, &w->copy_gbps));
    if (bench_rows_bandwidth(w->ctx, bench_weight_bytes(o), o->dim[0], &w->rows_gbps) != QEMB_OK) {
        w->rows_gbps = 0.0; /* the figure is left out */
    }
    BENCH_TRY(create_tables(w));
    w->page_bytes = w->report.host_memory ? bench_page_bytes(bench_weight_bytes(o)) : 0;
    if (o->flush_mib > 0) {
        BENCH_TRY(qemb_buffer_create(w->ctx, (size_t)o->flush_mib << 20, &w->flush));
        w->flush_source = bench_alloc(o->flush_mib, (size_t)1 << 20);
    }
done:
    return st;
}

void bench_world_destroy(bench_world *w) {
    qemb_buffer_destroy(w->flush);
    free(w->flush_source);
    qemb_embedding_bag_destroy(w->base);
    qemb_buffer_destroy(w->weight);
    qemb_context_destroy(w->ctx);
}

/* The module of a form: the base, or one over the same memory. *owned is what the caller must destroy. */
qemb_status bench_world_module(bench_world *w, bench_form form, qemb_embedding_bag **bag, qemb_embedding_bag **owned) {
    qemb_status st = QEMB_OK;
    bench_options quantised =
        *w->options; /* with --float too: a float lookup beside the whole-table pipeline is what no other lookup can beat */
    quantised.is_float = false;
    qemb_qconfig q = bench_qconfig(&quantised);
    *owned = NULL;
    if (form == BENCH_FLOAT) {
        st = qemb_embedding_bag_to_float(w->base, owned);
    } else if (form == BENCH_MEMORYLESS) {
        q.observer = QEMB_OBSERVER_MEMORYLESS;
        st = qemb_embedding_bag_from_float(w->base, &q, owned);
    }
    *bag = *owned ? *owned : w->base;
    return st;
}
