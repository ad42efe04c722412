/* inspect.c - `qemb inspect`: what is in a safetensors file, and what its tables look like. */
#include "inspect.h"
#include "bench.h"
#include "cli.h"

#include <getopt.h>
#include <math.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "usage: qemb inspect FILE [--verify] [--json]\n"
                           "\n"
                           "Lists the tensors and texts of a safetensors file, and for every embedding table, float or packed,\n"
                           "its layout, the range of its values, steps or errors of quantisation, and a histogram. Figures come\n"
                           "from rows spread over the table (all of a small one).\n"
                           "\n"
                           "  --verify   read the whole file: its checksum, and every scale, bias and spare bit of packed rows\n"
                           "  --json     one object a line: the file, tensors, tables\n"
                           "\n"
                           "exit codes: 0 done; 1 the file was refused, the sentence says at which byte and why;\n"
                           "            2 wrong command line\n";

typedef struct inspection {
    const char *path;
    bool verify, json;
    qemb_context *ctx; /* the reference engine: files are inspected where there is no device */
    qemb_safetensors *file;
} inspection;

static void print_histogram(const inspect_figures *f) {
    enum { BAR = 48 };
    int64_t most = 1;
    for (int i = 0; i < INSPECT_BINS; i++) {
        most = f->bins[i] > most ? f->bins[i] : most;
    }
    for (int i = 0; i < INSPECT_BINS && f->high > f->low; i++) {
        const int cells = (int)((double)BAR * (double)f->bins[i] / (double)most + 0.5);
        (void)printf("    %+11.4g |%.*s%s\n", f->low + (f->high - f->low) * (i + 0.5) / INSPECT_BINS, cells,
                     "################################################", f->bins[i] && !cells ? "." : "");
    }
}

static void print_figures(const inspection *in, const char *kind, const char *name, const inspect_figures *f, json_t *o) {
    if (in->json) {
        json_t *bins = json_array();
        for (int i = 0; i < INSPECT_BINS; i++) {
            (void)json_array_append_new(bins, json_integer(f->bins[i]));
        }
        json_t *figures = json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "kind", kind, "table", name, "rows",
                                    (json_int_t)f->rows, "rows_seen", (json_int_t)(f->seen + f->nonfinite), "min", cli_number(f->low),
                                    "max", cli_number(f->high), "rms", cli_number(f->signal), "mean_range", cli_number(f->mean_range),
                                    "max_range", cli_number(f->max_range), "constant_rows", (json_int_t)f->constant, "nonfinite_rows",
                                    (json_int_t)f->nonfinite, "histogram", bins);
        (void)json_object_update(figures, o);
        json_decref(o);
        cli_print_object(figures, 0);
        return;
    }
    json_decref(o);
    (void)printf("    values       %.6g to %.6g, rms %.4g; range of a row %.4g on average, %.4g at most\n", f->low, f->high, f->signal,
                 f->mean_range, f->max_range);
    if (f->constant || f->nonfinite) {
        (void)printf("    rows         %" PRId64 " of one value, %" PRId64 " with NaN or inf\n", f->constant, f->nonfinite);
    }
    if (f->seen + f->nonfinite < f->rows) {
        (void)printf("    seen         %" PRId64 " of %" PRId64 " rows\n", f->seen + f->nonfinite, f->rows);
    }
}

/* ---- float tables ------------------------------------------------------------------------------------------------------- */

typedef struct float_rows {
    const qemb_safetensors *file;
    const char *name;
} float_rows;

static qemb_status read_float(void *user, int64_t first, int64_t count, float *values) {
    const float_rows *r = user;
    return qemb_safetensors_read_rows(r->file, r->name, first, count, values);
}

static bool is_float_table(const qemb_tensor_view *v) {
    const size_t n = strlen(v->name);
    return v->dtype == QEMB_FILE_F32 && v->rank == 2 && v->count > 0 && n >= 6 && strcmp(v->name + n - 6, "weight") == 0 &&
           v->shape[1] <= 1 << 20;
}

static qemb_status inspect_float(const inspection *in, const qemb_tensor_view *v) {
    float_rows r = {in->file, v->name};
    inspect_figures f;
    qemb_status st = inspect_rows(v->shape[0], v->shape[1], read_float, &r, &f);
    if (st == QEMB_OK && f.nonfinite == 0) {
        st = inspect_errors(in->ctx, v->shape[0], v->shape[1], read_float, &r, &f);
    }
    if (st != QEMB_OK) {
        return st;
    }
    for (int i = 0; i < INSPECT_WIDTHS && f.nonfinite; i++) {
        f.error[i] = (double)NAN; /* such rows are not packed */
    }
    if (!in->json) {
        (void)printf("\n%s%s%s: float32, %" PRId64 " x %" PRId64 "\n", cli_bold(stdout), v->name, cli_plain(stdout), v->shape[0],
                     v->shape[1]);
    }
    print_figures(in, "float", v->name, &f,
                  json_pack("{s:I, s:o, s:o, s:o}", "dim", (json_int_t)v->shape[1], "rms_error_8_bits", cli_number(f.error[0]),
                            "rms_error_4_bits", cli_number(f.error[1]), "rms_error_2_bits", cli_number(f.error[2])));
    if (!in->json) {
        if (f.nonfinite == 0) {
            const double unit = f.signal > 0.0 ? 100.0 / f.signal : 0.0;
            (void)printf("    if packed    rms error %.3g at 8 bits (%.2f %% of the values), %.3g at 4 (%.1f %%), %.3g at 2 (%.0f %%)\n",
                         f.error[0], unit * f.error[0], f.error[1], unit * f.error[1], f.error[2], unit * f.error[2]);
        }
        print_histogram(&f);
    }
    return QEMB_OK;
}

/* ---- packed tables ------------------------------------------------------------------------------------------------------ */

typedef struct packed_rows {
    qemb_packed *packed;
    int32_t table;
} packed_rows;

static qemb_status read_packed(void *user, int64_t first, int64_t count, float *values) {
    packed_rows *r = user;
    return qemb_packed_unpack(r->packed, r->table, first, count, values);
}

static qemb_status inspect_packed_table(const inspection *in, qemb_packed *packed, int32_t t) {
    qemb_packed_table d;
    inspect_figures f;
    char size[24];
    qemb_status st = qemb_packed_get_table(packed, t, &d);
    packed_rows r = {.packed = packed, .table = t};
    const double codes = (double)((1 << d.format.bits) - 1);
    if (st == QEMB_OK) {
        st = inspect_rows(d.num_rows, d.embedding_dim, read_packed, &r, &f);
    }
    if (st != QEMB_OK) {
        return st;
    }
    const bool planar = d.format.layout == QEMB_LAYOUT_PLANAR;
    const double bytes = (double)(d.rows_bytes + d.qparams_bytes);
    if (!in->json) {
        (void)printf("\n%s%s%s: packed, %d bits, %s%s%s%s, %" PRId64 " x %" PRId64 "\n", cli_bold(stdout), d.name, cli_plain(stdout),
                     d.format.bits, bench_layouts[d.format.layout], planar ? " " : "", planar ? bench_qparams[d.format.qparams] : "",
                     d.format.symmetric ? " symmetric" : "", d.num_embeddings, d.embedding_dim);
        (void)printf("    bytes        %s, %.4g a row; float32 would take %.3g times as many\n", cli_size(bytes, size),
                     bytes / (double)d.num_rows, 4.0 * (double)(d.num_rows * d.embedding_dim) / bytes);
        if (d.row_map) {
            (void)printf("    pruned       %" PRId64 " rows kept\n", d.num_rows);
        }
    }
    json_t *o =
        json_pack("{s:I, s:i, s:s, s:s, s:b, s:I, s:I, s:o, s:o}", "dim", (json_int_t)d.embedding_dim, "bits", (int)d.format.bits, "layout",
                  bench_layouts[d.format.layout], "qparams", planar ? bench_qparams[d.format.qparams] : "row", "symmetric",
                  d.format.symmetric, "packed_rows", (json_int_t)d.num_rows, "bytes", (json_int_t)bytes, "mean_error_bound",
                  cli_number(f.mean_range / codes / 2.0), "max_error_bound", cli_number(f.max_range / codes / 2.0));
    print_figures(in, "packed", d.name, &f, o);
    if (!in->json) {
        (void)printf(
            "    error        of a value against what was packed: at most half a step, %.3g on average over rows, %.3g in the widest\n",
            f.mean_range / codes / 2.0, f.max_range / codes / 2.0);
        print_histogram(&f);
    }
    return QEMB_OK;
}

/* Every object whose text is there: the prefix stands before "qemb_packed". */
static qemb_status inspect_packed(const inspection *in) {
    static const char end[] = "qemb_packed";
    qemb_status st = QEMB_OK;
    for (int64_t i = 0; st == QEMB_OK && i < qemb_safetensors_metadata_count(in->file); i++) {
        const char *key = NULL;
        const char *text = NULL;
        qemb_packed *packed = NULL;
        qemb_packed_info info = {0};
        st = qemb_safetensors_metadata_at(in->file, i, &key, &text);
        const size_t n = st == QEMB_OK ? strlen(key) : 0;
        if (n < sizeof end - 1 || strcmp(key + n - (sizeof end - 1), end) != 0) {
            continue;
        }
        char *prefix = strndup(key, n - (sizeof end - 1));
        st = prefix ? qemb_load_packed(in->ctx, in->file, prefix, in->verify ? QEMB_LOAD_VERIFY : 0, &packed) : QEMB_ERR_NOMEM;
        if (st == QEMB_OK) {
            st = qemb_packed_get_info(packed, &info);
        }
        for (int32_t t = 0; st == QEMB_OK && t < info.num_tables; t++) {
            st = inspect_packed_table(in, packed, t);
        }
        qemb_packed_destroy(packed);
        free(prefix);
    }
    return st;
}

/* ---- the file ----------------------------------------------------------------------------------------------------------- */

static void print_tensor(const inspection *in, const qemb_tensor_view *v) {
    char shape[QEMB_FILE_MAX_RANK * 24] = "";
    char size[24];
    json_t *numbers = json_array();
    size_t used = 0;
    for (int32_t i = 0; i < v->rank; i++) {
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRId64, i ? " x " : "", v->shape[i]);
        (void)json_array_append_new(numbers, json_integer(v->shape[i]));
    }
    if (in->json) {
        cli_print_object(json_pack("{s:s, s:s, s:s, s:o, s:I, s:I}", "kind", "tensor", "name", v->name, "dtype",
                                   qemb_file_dtype_name(v->dtype), "shape", numbers, "bytes", (json_int_t)v->bytes, "offset",
                                   (json_int_t)v->offset),
                         0);
        return;
    }
    json_decref(numbers);
    (void)printf("  %-4s %-20s %9s  at byte %-12" PRId64 " %s\n", qemb_file_dtype_name(v->dtype), shape, cli_size((double)v->bytes, size),
                 v->offset, v->name);
}

static qemb_status list(const inspection *in) {
    qemb_status st = QEMB_OK;
    const int64_t tensors = qemb_safetensors_count(in->file);
    const int64_t texts = qemb_safetensors_metadata_count(in->file);
    const char *sum = qemb_safetensors_metadata(in->file, QEMB_FILE_CHECKSUM_KEY);
    if (in->json) {
        cli_print_object(json_pack("{s:s, s:s, s:I, s:I, s:s?, s:b}", "kind", "file", "path", in->path, "tensors", (json_int_t)tensors,
                                   "texts", (json_int_t)texts, "checksum", sum, "verified", in->verify && sum),
                         0);
    } else {
        (void)printf("%s%s%s: %" PRId64 " tensors, %" PRId64 " texts, checksum %s%s\n", cli_bold(stdout), in->path, cli_plain(stdout),
                     tensors, texts, sum ? sum : "none", in->verify && sum ? " verified" : "");
    }
    for (int64_t i = 0; st == QEMB_OK && i < tensors; i++) {
        qemb_tensor_view v;
        st = qemb_safetensors_at(in->file, i, &v);
        if (st == QEMB_OK) {
            print_tensor(in, &v);
        }
    }
    for (int64_t i = 0; st == QEMB_OK && i < texts; i++) {
        const char *key = NULL;
        const char *text = NULL;
        st = qemb_safetensors_metadata_at(in->file, i, &key, &text);
        if (st == QEMB_OK && in->json) {
            cli_print_object(json_pack("{s:s, s:s, s:s}", "kind", "text", "key", key, "text", text), 0);
        } else if (st == QEMB_OK) {
            (void)printf("  text %s: %.200s\n", key, text);
        }
    }
    return st;
}

static qemb_status inspect(inspection *in) {
    qemb_status st = qemb_safetensors_open(in->path, &in->file);
    if (st == QEMB_OK) {
        st = qemb_context_create("reference", &in->ctx);
    }
    if (st == QEMB_OK && in->verify && qemb_safetensors_metadata(in->file, QEMB_FILE_CHECKSUM_KEY)) {
        st = qemb_safetensors_verify(in->file);
    }
    if (st == QEMB_OK) {
        st = list(in);
    }
    for (int64_t i = 0; st == QEMB_OK && i < qemb_safetensors_count(in->file); i++) {
        qemb_tensor_view v;
        st = qemb_safetensors_at(in->file, i, &v);
        if (st == QEMB_OK && is_float_table(&v)) {
            st = inspect_float(in, &v);
        }
    }
    return st == QEMB_OK ? inspect_packed(in) : st;
}

int cli_inspect(int argc, char **argv) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"verify", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'}, {0}};
    inspection in = {0};
    opterr = 0;
    for (int c = 0; (c = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        switch (c) {
        case 'j':
            in.json = true;
            break;
        case 'v':
            in.verify = true;
            break;
        case 'h':
            (void)fputs(help, stdout);
            return CLI_DONE;
        default:
            return cli_bad_option("inspect", argv, c);
        }
    }
    if (optind + 1 != argc) {
        return optind < argc ? cli_usage("inspect", "unexpected \"%s\"", argv[optind + 1]) : cli_usage("inspect", "which file?");
    }
    in.path = argv[optind];
    const qemb_status st = inspect(&in);
    const int code = st == QEMB_OK ? CLI_DONE : cli_failed("inspect", st == QEMB_ERR_NOMEM ? "out of memory" : qemb_last_error());
    qemb_safetensors_close(in.file);
    qemb_context_destroy(in.ctx);
    return code;
}
