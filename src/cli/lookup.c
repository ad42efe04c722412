/* lookup.c - `qemb lookup`: rows or bags of a table in a file, as numbers. */
#include "cli.h"

#include <getopt.h>
#include <math.h>
#include <qemb/qemb_io.h>
#include <stdlib.h>
#include <string.h>

static const char help[] = "usage: qemb lookup FILE --indices 1,2,3 [--table T] [options]\n"
                           "\n"
                           "Prints what the packed tables of a file give: a line a bag, or a line an index without --offsets.\n"
                           "Of a state dict the rows of the master weight are printed (no --offsets).\n"
                           "\n"
                           "  --table T        name of the table; may be left out when there is one\n"
                           "  --indices LIST   rows, separated by commas\n"
                           "  --offsets LIST   where bags start among the indices, the first is 0\n"
                           "  --weights LIST   a weight for each index (tables of mode sum)\n"
                           "  --prefix P       of the packed tables, or of the state dict's keys\n"
                           "  --device D       where to look up (default: the reference engine)\n"
                           "  --json           an array a line; null stands for what is no number\n"
                           "\n"
                           "exit codes: 0 done; 1 the file, an index or an offset was refused; 2 wrong command line\n";

enum { TABLE = 256, INDICES, OFFSETS, WEIGHTS, PREFIX, DEVICE, JSON };

typedef struct lookup {
    const char *path, *table, *prefix, *device;
    bool json, has_offsets;
    int64_t *indices, *offsets;
    float *weights;
    int64_t num_indices, num_offsets, num_weights;
} lookup;

static int failed(qemb_status st) {
    return cli_failed("lookup", st == QEMB_ERR_NOMEM ? "out of memory" : qemb_last_error());
}

/* "1,2,3" into a fresh array of one of the two kinds. "" is no number. CLI_DONE, or what the program ends with. */
static int parse_list(const char *name, const char *text, int64_t **whole, float **real, int64_t *count) {
    const size_t room = strlen(text) / 2 + 1;
    char *copy = malloc(strlen(text) + 1);
    *count = 0;
    if (whole) {
        *whole = calloc(room, sizeof **whole);
    } else {
        *real = calloc(room, sizeof **real);
    }
    if (!copy || !(whole ? (void *)*whole : (void *)*real)) {
        free(copy);
        return failed(QEMB_ERR_NOMEM);
    }
    bool good = true;
    if (*text) {
        char *rest = memcpy(copy, text, strlen(text) + 1);
        for (char *item = strsep(&rest, ","); good && item; item = strsep(&rest, ",")) {
            double x = 0.0;
            good = whole ? cli_integer(item, INT64_MIN, INT64_MAX, *whole + *count) : cli_real(item, -3.4e38, 3.4e38, &x);
            if (!whole) {
                (*real)[*count] = (float)x;
            }
            *count += 1;
        }
    }
    free(copy);
    return good ? CLI_DONE : cli_usage("lookup", "%s is \"%s\", want numbers separated by commas", name, text);
}

static int parse(int argc, char **argv, lookup *o) {
    static const struct option words[] = {{"table", required_argument, NULL, TABLE},
                                          {"indices", required_argument, NULL, INDICES},
                                          {"offsets", required_argument, NULL, OFFSETS},
                                          {"weights", required_argument, NULL, WEIGHTS},
                                          {"prefix", required_argument, NULL, PREFIX},
                                          {"device", required_argument, NULL, DEVICE},
                                          {"json", no_argument, NULL, JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    opterr = 0;
    for (int c = 0; (c = getopt_long(argc, argv, ":h", words, NULL)) != -1;) {
        int code = CLI_DONE;
        switch (c) {
        case 'h':
            return -1;
        case TABLE:
            o->table = optarg;
            break;
        case PREFIX:
            o->prefix = optarg;
            break;
        case DEVICE:
            o->device = optarg;
            break;
        case JSON:
            o->json = true;
            break;
        case INDICES:
            free(o->indices);
            code = parse_list("--indices", optarg, &o->indices, NULL, &o->num_indices);
            break;
        case OFFSETS:
            free(o->offsets);
            o->has_offsets = true;
            code = parse_list("--offsets", optarg, &o->offsets, NULL, &o->num_offsets);
            break;
        case WEIGHTS:
            free(o->weights);
            code = parse_list("--weights", optarg, NULL, &o->weights, &o->num_weights);
            break;
        default:
            return cli_bad_option("lookup", argv, c);
        }
        if (code != CLI_DONE) {
            return code;
        }
    }
    o->path = optind < argc ? argv[optind] : NULL;
    if (!o->path || optind + 1 < argc) {
        return o->path ? cli_usage("lookup", "unexpected \"%s\"", argv[optind + 1]) : cli_usage("lookup", "which file?");
    }
    return o->indices ? CLI_DONE : cli_usage("lookup", "--indices is missing");
}

static void print_row(const lookup *o, const float *row, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        (void)fputs(i ? o->json ? ", " : " " : o->json ? "[" : "", stdout);
        (void)(o->json && !isfinite(row[i]) ? fputs("null", stdout) : printf("%.9g", (double)row[i]));
    }
    (void)fputs(o->json ? "]\n" : "\n", stdout);
}

/* ---- packed tables ------------------------------------------------------------------------------------------------------ */

/* The first feature that reads the table, and its first column. -1: no such table. */
static qemb_status find_feature(const qemb_packed *p, const qemb_packed_info *info, const char *name, int32_t *feature, int64_t *column,
                                int64_t *dim) {
    *feature = -1;
    *column = 0;
    for (int32_t f = 0; f < info->num_features; f++) {
        qemb_packed_table d;
        const qemb_status st = qemb_packed_get_table(p, qemb_packed_feature_table(p, f), &d);
        if (st != QEMB_OK) {
            return st;
        }
        *dim = d.embedding_dim;
        if (name ? strcmp(d.name, name) == 0 : info->num_tables == 1) {
            *feature = f;
            break;
        }
        *column += d.embedding_dim;
    }
    return QEMB_OK;
}

/* Offsets of all features: the bags of `feature` are those asked for, those of the others are empty. */
static int64_t *all_offsets(const lookup *o, const qemb_packed_info *info, int32_t feature, int64_t bags, int64_t *count) {
    const int64_t n = info->num_features * bags;
    int64_t *offsets = calloc((size_t)n + 1, sizeof *offsets);
    for (int64_t g = 0; offsets && g <= n; g++) {
        const int64_t b = g - feature * bags;
        offsets[g] = b < 0 ? 0 : b >= bags ? o->num_indices : o->has_offsets ? o->offsets[b] : b;
    }
    *count = n + info->options.include_last_offset;
    return offsets;
}

static qemb_status look_up(const lookup *o, qemb_context *ctx, qemb_packed *p, const qemb_packed_info *info, int32_t feature,
                           int64_t column, int64_t dim) {
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    const int64_t bags = o->has_offsets ? o->num_offsets : o->num_indices;
    int64_t num_offsets = 0;
    int64_t *offsets = info->pooled ? all_offsets(o, info, feature, bags, &num_offsets) : NULL;
    const size_t bytes = (size_t)(bags * info->output_dim) * sizeof(float);
    float *values = malloc(bytes + sizeof(float));
    qemb_status st = values && (offsets || !info->pooled) ? QEMB_OK : QEMB_ERR_NOMEM;
    const qemb_input input = {.indices = o->indices,
                              .num_indices = o->num_indices,
                              .indices_dtype = QEMB_INT64,
                              .offsets = offsets,
                              .num_offsets = num_offsets,
                              .per_sample_weights = o->weights,
                              .num_per_sample_weights = o->num_weights};
    if (st == QEMB_OK && (st = qemb_batch_create(ctx, &batch)) == QEMB_OK &&
        (st = qemb_buffer_create(ctx, bytes + sizeof(float), &out)) == QEMB_OK &&
        (st = qemb_packed_batch_set(p, batch, &input)) == QEMB_OK && (st = qemb_packed_forward(p, batch, out, QEMB_FLOAT32)) == QEMB_OK) {
        st = qemb_buffer_read(out, 0, bytes, values);
    }
    for (int64_t b = 0; st == QEMB_OK && b < bags; b++) {
        print_row(o, values + b * info->output_dim + column, dim);
    }
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    free(offsets);
    free(values);
    return st;
}

static int packed_rows(const lookup *o, qemb_safetensors *file) {
    qemb_context *ctx = NULL;
    qemb_packed *p = NULL;
    qemb_packed_info info;
    int64_t column = 0;
    int64_t dim = 0;
    int code = CLI_DONE;
    qemb_status st = qemb_context_create(o->device ? o->device : "reference", &ctx);
    int32_t feature = -1;
    if (st == QEMB_OK && (st = qemb_load_packed(ctx, file, o->prefix, 0, &p)) == QEMB_OK &&
        (st = qemb_packed_get_info(p, &info)) == QEMB_OK && (st = find_feature(p, &info, o->table, &feature, &column, &dim)) == QEMB_OK) {
        if (feature < 0) {
            code = o->table ? cli_usage("lookup", "%s has no table \"%s\"", o->path, o->table)
                            : cli_usage("lookup", "%s has %d tables, --table says which", o->path, info.num_tables);
        } else if (!info.pooled && o->has_offsets) {
            code = cli_usage("lookup", "the table has no bags: --offsets is for pooled ones");
        } else {
            st = look_up(o, ctx, p, &info, feature, column, dim);
        }
    }
    code = st == QEMB_OK ? code : failed(st);
    qemb_packed_destroy(p);
    qemb_context_destroy(ctx);
    return code;
}

/* ---- state dicts -------------------------------------------------------------------------------------------------------- */

static int weight_rows(const lookup *o, const qemb_safetensors *file) {
    char name[QEMB_FILE_MAX_NAME + 64];
    qemb_tensor_view v;
    (void)snprintf(name, sizeof name, "%s%s%sweight", o->prefix ? o->prefix : "", o->table ? o->table : "", o->table ? "." : "");
    if (qemb_safetensors_find(file, name) < 0) {
        return cli_usage("lookup", "%s has neither packed tables nor a tensor \"%.200s\"", o->path, name);
    }
    if (o->has_offsets || o->weights) {
        return cli_usage("lookup", "--offsets and --weights are for packed tables");
    }
    qemb_status st = qemb_safetensors_tensor(file, name, &v);
    if (st == QEMB_OK && (v.dtype != QEMB_FILE_F32 || v.rank != 2)) {
        return cli_usage("lookup", "tensor \"%.200s\" is not a table of F32", name);
    }
    float *row = st == QEMB_OK ? malloc((size_t)v.shape[1] * sizeof(float) + 1) : NULL;
    st = st == QEMB_OK && !row ? QEMB_ERR_NOMEM : st;
    for (int64_t i = 0; st == QEMB_OK && i < o->num_indices; i++) {
        st = qemb_safetensors_read_rows(file, name, o->indices[i], 1, row);
        if (st == QEMB_OK) {
            print_row(o, row, v.shape[1]);
        }
    }
    free(row);
    return st == QEMB_OK ? CLI_DONE : failed(st);
}

int cli_lookup(int argc, char **argv) {
    lookup o = {0};
    qemb_safetensors *file = NULL;
    char key[1200];
    int code = parse(argc, argv, &o);
    if (code == CLI_DONE) {
        const qemb_status st = qemb_safetensors_open(o.path, &file);
        if (st != QEMB_OK) {
            code = failed(st);
        } else {
            (void)snprintf(key, sizeof key, "%sqemb_packed", o.prefix ? o.prefix : "");
            code = qemb_safetensors_metadata(file, key) ? packed_rows(&o, file) : weight_rows(&o, file);
        }
    } else if (code < 0) {
        (void)fputs(help, stdout);
        code = CLI_DONE;
    }
    qemb_safetensors_close(file);
    free(o.indices);
    free(o.offsets);
    free(o.weights);
    return code;
}
