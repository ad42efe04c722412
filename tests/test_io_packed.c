/* test_io_packed.c - packed tables in files: every layout comes back with its bytes and its lookups, opening copies nothing, and damaged
 * files get a status.
 *
 * Classes of the hostile catalogue that cannot exist here: magic and reserved bytes (safetensors has none), name lengths and counts as binary
 * numbers, section checksums, optional sections; sizes and header classes are in test_io_safetensors.c, values of optimisers and
 * step counters in test_io_state.c. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops/row_pack.h"
#include "scoreboard.h"
#include "support_files.h"
#include "support_time.h"
#include "support_ok.h"

TestSuite(io_packed, .init = support_folder_create, .fini = support_folder_remove);

enum { TABLES = 3, BAGS = 5, LOOKUPS = 7 };
static const int64_t rows_of[TABLES] = {31, 13, 53};
static const int64_t dim_of[TABLES] = {11, 17, 5};

static bool at_night(void) {
    const char *text = getenv("QEMB_NIGHTLY");
    return text && *text == '1';
}

/* Three tables, four features, padding, max_norm, and a map for the last table where `pruned`. */
static qemb_packed *make(qemb_context *ctx, const qemb_packed_format *format, bool pruned) {
    static const char *const names[TABLES] = {"user", "item", "a shop=2"};
    static const int32_t features[] = {1, 0, 2, 1};
    static int32_t map[53];
    qemb_table_desc d[TABLES];
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    for (int32_t t = 0; t < TABLES; t++) {
        d[t] = (qemb_table_desc){.num_embeddings = rows_of[t],
                                 .embedding_dim = dim_of[t],
                                 .qconfig = qemb_qconfig_8bit(),
                                 .seed = 3 + (uint64_t)t,
                                 .name = names[t],
                                 .has_padding_idx = t == 1,
                                 .padding_idx = t == 1 ? 4 : 0,
                                 .has_max_norm = t == 2,
                                 .max_norm = t == 2 ? 1.75f : 0.0f};
    }
    for (int32_t r = 0; r < 53; r++) {
        map[r] = r % 3 ? r - r / 3 - 1 : -1;
    }
    OK(qemb_embedding_bag_collection_create(ctx,
                                            &(qemb_collection_desc){.tables = d,
                                                                    .num_tables = TABLES,
                                                                    .feature_table = features,
                                                                    .num_features = 4,
                                                                    .options = {.mode = QEMB_MODE_SUM, .include_last_offset = true}},
                                            &bag));
    const int32_t *const maps[TABLES] = {NULL, NULL, pruned ? map : NULL};
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = *format, .method = QEMB_PACK_MINMAX, .row_map = pruned ? maps : NULL},
                          &packed));
    qemb_embedding_bag_destroy(bag);
    return packed;
}

static void save(qemb_packed *packed, const char *prefix, const char *path) {
    qemb_saver *saver = NULL;
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_packed(saver, prefix, packed));
    OK(qemb_saver_write(saver, path));
    qemb_saver_destroy(saver);
}

static qemb_status load(qemb_context *ctx, const char *path, const char *prefix, uint32_t flags, qemb_packed **packed) {
    qemb_safetensors *file = NULL;
    qemb_status st = qemb_safetensors_open(path, &file);
    if (st == QEMB_OK) {
        st = qemb_load_packed(ctx, file, prefix, flags, packed);
    }
    qemb_safetensors_close(file); /* the packed tables keep what they need */
    return st;
}

/* Every lookup that the shape has, as numbers. */
static int64_t serve(qemb_context *ctx, qemb_packed *packed, float *out) {
    int32_t indices[4 * BAGS * LOOKUPS];
    int32_t offsets[4 * BAGS + 1];
    float weights[4 * BAGS * LOOKUPS];
    qemb_packed_info info;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    for (int32_t i = 0; i < 4 * BAGS * LOOKUPS; i++) {
        indices[i] = i * 5 % 13;
        weights[i] = (float)(i % 9) / 4.0f - 1.0f;
    }
    for (int32_t g = 0; g <= 4 * BAGS; g++) {
        offsets[g] = g * LOOKUPS;
    }
    OK(qemb_packed_get_info(packed, &info));
    const size_t bytes = (size_t)(BAGS * info.output_dim) * sizeof(float);
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, bytes, &buffer));
    const qemb_input input = {.indices = indices,
                              .num_indices = 4 * BAGS * LOOKUPS,
                              .indices_dtype = QEMB_INT32,
                              .offsets = offsets,
                              .num_offsets = 4 * BAGS + 1,
                              .per_sample_weights = weights,
                              .num_per_sample_weights = 4 * BAGS * LOOKUPS};
    OK(qemb_packed_batch_set(packed, batch, &input));
    OK(qemb_packed_forward(packed, batch, buffer, QEMB_FLOAT32));
    OK(qemb_buffer_read(buffer, 0, bytes, out));
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    return BAGS * info.output_dim;
}

static void expect_same(const char *what, qemb_context *ctx, qemb_packed *a, qemb_context *other, qemb_packed *b) {
    float x[BAGS * 64], y[BAGS * 64];
    const int64_t count = serve(ctx, a, x);
    cr_expect(serve(other, b, y) == count && memcmp(x, y, (size_t)count * sizeof(float)) == 0, "%s: lookups differ", what);
    for (int32_t t = 0; t < TABLES; t++) {
        qemb_packed_table d, e;
        unsigned char rows[2][53 * 32], plane[2][53 * 8];
        OK(qemb_packed_get_table(a, t, &d));
        OK(qemb_packed_get_table(b, t, &e));
        cr_expect(strcmp(d.name, e.name) == 0 && d.num_embeddings == e.num_embeddings && d.num_rows == e.num_rows &&
                      d.has_padding_idx == e.has_padding_idx && d.padding_idx == e.padding_idx && d.has_max_norm == e.has_max_norm &&
                      d.max_norm == e.max_norm && d.norm_type == e.norm_type && memcmp(&d.format, &e.format, sizeof d.format) == 0 &&
                      (d.row_map != NULL) == (e.row_map != NULL),
                  "%s: table %d is described otherwise", what, t);
        const bool planar = d.format.layout == QEMB_LAYOUT_PLANAR;
        OK(qemb_packed_read_rows(a, t, 0, d.num_rows, rows[0], planar ? plane[0] : NULL));
        OK(qemb_packed_read_rows(b, t, 0, d.num_rows, rows[1], planar ? plane[1] : NULL));
        cr_expect(memcmp(rows[0], rows[1], (size_t)d.rows_bytes) == 0 && memcmp(plane[0], plane[1], (size_t)d.qparams_bytes) == 0,
                  "%s: bytes of table %d", what, t);
    }
}

Test(io_packed, every_format_comes_back_with_its_bytes_and_lookups_on_every_engine, .timeout = 300) {
    static const char *const devices[] = {"reference", "opencl"};
    qemb_context *reference = NULL;
    OK(qemb_context_create("reference", &reference));
    for (int k = 0; k < 2; k++) {
        qemb_context *ctx = NULL;
        OK(qemb_context_create(devices[k], &ctx));
        for (int64_t f = 0; f < OP_NUM_FORMATS; f++) {
            for (uint32_t flags = 0; flags <= QEMB_LOAD_COPY + QEMB_LOAD_VERIFY; flags += k == 0 || f % 5 == 0 ? 1 : 3) {
                const qemb_packed_format *format = &op_formats[f].format;
                qemb_packed *from = make(reference, format, f % 2);
                qemb_packed *to = NULL;
                save(from, "serving.", support_path("a"));
                OK(load(ctx, support_path("a"), "serving.", flags, &to));
                expect_same(op_formats[f].name, reference, from, ctx, to);
                save(to, "serving.", support_path("b"));
                size_t n[2];
                char *x = support_read(support_path("a"), &n[0]);
                char *y = support_read(support_path("b"), &n[1]);
                cr_expect(n[0] == n[1] && memcmp(x, y, n[0]) == 0, "%s: saved again, the file differs", op_formats[f].name);
                free(x);
                free(y);
                qemb_packed_destroy(from);
                qemb_packed_destroy(to);
            }
        }
        qemb_context_destroy(ctx);
    }
    qemb_context_destroy(reference);
}

/* ---- cost --------------------------------------------------------------------------------------------------------------- */

/* The memory of this process alone, in bytes. */
static int64_t own_memory(void) {
    long long pages = 0, resident = 0, shared = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f && fscanf(f, "%lld %lld %lld", &pages, &resident, &shared) == 3);
    (void)fclose(f);
    return (resident - shared) * (int64_t)sysconf(_SC_PAGESIZE);
}

/* A file of `rows` int4 planar rows of 16 that takes no room on the disk: all zeros. */
static void make_sparse(const char *path, int64_t rows) {
    char header[2048];
    char text[2][512];
    (void)snprintf(text[0], sizeof text[0],
                   "\"qemb_packed\":\"version=1 tables=1 output_dim=16 mode=sum pooled=1 include_last_offset=0 scale_grad_by_freq=0 "
                   "sparse=0 features=\"");
    (void)snprintf(text[1], sizeof text[1],
                   "\"qemb_packed.0\":\"version=1 layout=planar bits=4 qparams=bf16 symmetric=0 row_alignment=0 num_embeddings=%lld "
                   "embedding_dim=16 num_rows=%lld "
                   "pruned=0 has_padding_idx=0 padding_idx=0 has_max_norm=0 max_norm=0 norm_type=2 name=t\"",
                   (long long)rows, (long long)rows);
    const int n =
        snprintf(header, sizeof header,
                 "{\"__metadata__\":{%s,%s},\"t.qparams\":{\"dtype\":\"BF16\",\"shape\":[%lld,2],\"data_offsets\":[0,%lld]},"
                 "\"t.rows\":{\"dtype\":\"U8\",\"shape\":[%lld,8],\"data_offsets\":[%lld,%lld]}}",
                 text[0], text[1], (long long)rows, (long long)rows * 4, (long long)rows, (long long)rows * 4, (long long)rows * 12);
    unsigned char prefix[8] = {(unsigned char)(n & 255), (unsigned char)(n >> 8)};
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(prefix, 8, 1, f) == 1 && fwrite(header, (size_t)n, 1, f) == 1 && fclose(f) == 0);
    cr_assert(truncate(path, 8 + n + rows * 12) == 0);
}

Test(io_packed, a_table_of_34_million_rows_opens_in_milliseconds_and_takes_no_memory) {
    enum { ROWS = 33762577 };
    static const char *const devices[] = {"reference", "opencl"};
    float row[16];
    make_sparse(support_path("big"), ROWS);
    for (int k = 0; k < 2; k++) {
        qemb_context *ctx = NULL;
        qemb_packed *packed = NULL;
        OK(qemb_context_create(devices[k], &ctx));
        OK(load(ctx, support_path("big"), "", 0, &packed)); /* compiles, once a context */
        qemb_packed_destroy(packed);
        double best = 1e9;
        const int64_t before = own_memory();
        for (int run = 0; run < 5; run++) {
            const double start = support_processor_seconds();
            OK(load(ctx, support_path("big"), "", 0, &packed));
            const double taken = support_processor_seconds() - start;
            best = taken < best ? taken : best;
            OK(qemb_packed_unpack(packed, 0, ROWS - 1, 1, row)); /* the last bytes of the map */
            cr_expect(row[15] == 0.0f);
            cr_expect(own_memory() - before < 32 << 20, "%s: %lld bytes taken", devices[k], (long long)(own_memory() - before));
            qemb_packed_destroy(packed);
        }
        cr_expect(best < 0.1, "%s: %.1f ms", devices[k], best * 1e3); /* copying 405 MB takes more on any machine of the list */
        cr_log_info("%s: opened in %.2f ms", devices[k], best * 1e3);
        qemb_context_destroy(ctx);
    }
}

Test(io_packed, a_criteo_sized_model_takes_0_42_gb_affine_and_0_35_gb_symmetric) {
    int64_t rows[QEMB_CLICK_SPARSE], total = 0;
    qemb_packed_format f = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4, .qparams = QEMB_QPARAMS_BF16};
    qemb_click_cardinalities(1.0, rows);
    for (int k = 0; k < QEMB_CLICK_SPARSE; k++) {
        total += rows[k];
    }
    int64_t row_bytes = 0, plane = 0;
    const double header = 26 * 800.0 + 4096.0; /* a text and two entries of a table take under 800 bytes */
    OK(qemb_packed_row_bytes(&f, 16, &row_bytes, &plane));
    const double affine = (double)(total * (row_bytes + plane)) + header;
    f.symmetric = true;
    OK(qemb_packed_row_bytes(&f, 16, &row_bytes, &plane));
    const double symmetric = (double)(total * (row_bytes + plane)) + header;
    cr_expect(affine <= 0.42e9 && symmetric <= 0.35e9, "%.0f, %.0f bytes", affine, symmetric);
}

Test(io_packed, a_range_of_rows_is_read_alone) {
    qemb_context *ctx = NULL;
    qemb_safetensors *file = NULL;
    unsigned char all[53 * 32], some[7 * 32];
    OK(qemb_context_create("reference", &ctx));
    qemb_packed *packed = make(ctx, &op_formats[0].format, false);
    qemb_packed_table d;
    OK(qemb_packed_get_table(packed, 0, &d));
    OK(qemb_packed_read_rows(packed, 0, 0, d.num_rows, all, NULL));
    save(packed, NULL, support_path("a"));
    OK(qemb_safetensors_open(support_path("a"), &file));
    OK(qemb_safetensors_read_rows(file, "user.rows", 11, 7, some));
    const size_t row = (size_t)(d.rows_bytes / d.num_rows);
    cr_expect(memcmp(some, all + 11 * row, 7 * row) == 0);
    qemb_safetensors_close(file);
    qemb_packed_destroy(packed);
    qemb_context_destroy(ctx);
}

/* ---- damaged files ------------------------------------------------------------------------------------------------------ */

/* A small file of one table, its bytes. */
static char *small_file(qemb_context *ctx, const qemb_packed_format *format, bool pruned, size_t *count) {
    qemb_packed *packed = make(ctx, format, pruned);
    save(packed, "p.", support_path("whole"));
    qemb_packed_destroy(packed);
    return support_read(support_path("whole"), count);
}

static size_t header_bytes(const char *bytes) {
    size_t n = 0;
    for (int i = 7; i >= 0; i--) {
        n = n << 8 | (unsigned char)bytes[i];
    }
    return 8 + n;
}

/* Loads with every check; a refusal comes with a sentence, within a second of processor time, without much memory. */
static qemb_status try_load(qemb_context *ctx, const char *bytes, size_t count, const char *what) {
    const char *path = support_write("damaged", bytes, count);
    qemb_packed *packed = NULL;
    const double start = support_processor_seconds();
    const qemb_status st = load(ctx, path, "p.", QEMB_LOAD_VERIFY | QEMB_LOAD_AS_PEER, &packed);
    const double taken = support_processor_seconds() - start;
    cr_expect(taken < 1.0, "%s: %.2f s", what, taken);
    cr_expect((st == QEMB_OK) == (packed != NULL), "%s: an object exists exactly when the load succeeded", what);
    if (packed) {
        float out[BAGS * 64];
        (void)serve(ctx, packed, out);
    }
    qemb_packed_destroy(packed);
    return st;
}

/* One small pruned table, its file; at night all three of make(). */
static char *smaller_file(qemb_context *ctx, const qemb_packed_format *format, size_t *count) {
    static const int32_t map[7] = {0, -1, 1, 2, 0, -1, 1};
    const int32_t *const maps[1] = {map};
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    if (at_night()) {
        return small_file(ctx, format, true, count);
    }
    OK(qemb_embedding_bag_create(ctx,
                                 &(qemb_embedding_bag_desc){.num_embeddings = 7,
                                                            .embedding_dim = 11,
                                                            .qconfig = qemb_qconfig_8bit(),
                                                            .seed = 3,
                                                            .name = "user",
                                                            .has_padding_idx = true,
                                                            .padding_idx = 4,
                                                            .has_max_norm = true,
                                                            .max_norm = 1.75f},
                                 &bag));
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = *format, .method = QEMB_PACK_MINMAX, .row_map = maps}, &packed));
    save(packed, "p.", support_path("whole"));
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
    return support_read(support_path("whole"), count);
}

Test(io_packed, a_file_cut_at_any_byte_is_refused) {
    qemb_context *ctx = NULL;
    size_t count = 0;
    OK(qemb_context_create("reference", &ctx));
    char *bytes = smaller_file(ctx, &op_formats[0].format, &count);
    for (size_t n = 0; n < count; n++) {
        char what[48];
        (void)snprintf(what, sizeof what, "cut to %zu bytes", n);
        const qemb_status st = try_load(ctx, bytes, n, what);
        cr_expect(st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED, "%s: %s", what, qemb_status_name(st));
    }
    free(bytes);
    qemb_context_destroy(ctx);
}

/* Without the checksum, so that the header alone must find the damage. */
static qemb_status load_unverified(qemb_context *ctx, const char *path, double *taken, int64_t *memory) {
    qemb_packed *packed = NULL;
    const double start = support_processor_seconds();
    const int64_t before = own_memory();
    const qemb_status st = load(ctx, path, "p.", 0, &packed);
    *taken = support_processor_seconds() - start;
    *memory = own_memory() - before;
    if (packed) { /* only a name or a text may differ, or bits of the numbers it speaks of: lookups stay inside the file */
        qemb_packed_info info;
        OK(qemb_packed_get_info(packed, &info));
        for (int32_t t = 0; t < info.num_tables; t++) {
            qemb_packed_table d;
            float row[64];
            OK(qemb_packed_get_table(packed, t, &d));
            cr_assert(d.embedding_dim <= 64);
            OK(qemb_packed_unpack(packed, t, d.num_rows - 1, 1, row));
        }
    }
    qemb_packed_destroy(packed);
    return st;
}

Test(io_packed, every_bit_of_the_header_flipped_is_refused_or_changes_a_name_or_a_text, .timeout = 600) {
    qemb_context *ctx = NULL;
    size_t count = 0;
    int64_t refused = 0, survived = 0, tried = 0;
    double slowest = 0.0;
    OK(qemb_context_create("reference", &ctx));
    char *bytes = smaller_file(ctx, &op_formats[OP_NUM_FORMATS - 1].format, &count);
    const size_t header = header_bytes(bytes);
    const char *path = support_path("whole");
    const int fd = open(path, O_WRONLY);
    for (size_t bit = 0; bit < header * 8; bit++) {
        double taken = 0.0;
        int64_t memory = 0;
        const char flipped = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
        const qemb_status st = load_unverified(ctx, path, &taken, &memory);
        cr_assert_eq(pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)), 1);
        slowest = taken > slowest ? taken : slowest;
        cr_expect(taken < 1.0 && memory < 1 << 20, "bit %zu: %.2f s, %lld bytes", bit, taken, (long long)memory);
        cr_expect(st == QEMB_OK || st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED || st == QEMB_ERR_ARG || st == QEMB_ERR_SHAPE ||
                      st == QEMB_ERR_DTYPE,
                  "bit %zu: %s", bit, qemb_last_error());
        refused += st != QEMB_OK;
        survived += st == QEMB_OK;
        tried++;
    }
    cr_expect(refused > survived);
    cr_log_info("%lld flips: %lld refused, %lld changed a name or a text; slowest %.1f ms", (long long)tried, (long long)refused,
                (long long)survived, slowest * 1e3);
    (void)close(fd);
    free(bytes);
    qemb_context_destroy(ctx);
}

/* The file with the first `from` in its header replaced by `to`, of any length; its checksum under another key, which nobody reads. */
static char *rewrite(const char *bytes, size_t *count, const char *from, const char *to) {
    const size_t header = header_bytes(bytes);
    char *copy = calloc(1, *count + 4096);
    char *at = memmem(bytes + 8, header - 8, from, strlen(from));
    cr_assert(copy && at, "%s", from);
    const size_t before = (size_t)(at - bytes) - 8;
    const size_t after = header - 8 - before - strlen(from);
    memcpy(copy + 8, bytes + 8, before);
    memcpy(copy + 8 + before, to, strlen(to));
    memcpy(copy + 8 + before + strlen(to), at + strlen(from), after);
    size_t n = before + strlen(to) + after;
    for (; n % 64 != 56; n++) {
        copy[8 + n] = ' ';
    }
    for (int i = 0; i < 8; i++) {
        copy[i] = (char)(n >> 8 * i);
    }
    memcpy(copy + 8 + n, bytes + header, *count - header);
    *count += 8 + n - header;
    char *sum = memmem(copy, 8 + n, "qemb_crc32", 10);
    cr_assert(sum);
    sum[9] = '3';
    return copy;
}

typedef struct hostile {
    const char *name, *from, *to; /* in the header */
    qemb_status st;
} hostile;

static const hostile texts[] = {
    {"HF-C no tables", "tables=3", "tables=0", QEMB_ERR_CORRUPT},
    {"HF-C more tables than texts", "tables=3", "tables=2147483647", QEMB_ERR_CORRUPT},
    {"HF-C a table too many", "tables=3", "tables=4", QEMB_ERR_ARG},
    {"HF-C a count that wraps", "tables=3", "tables=18446744073709551619", QEMB_ERR_CORRUPT},
    {"HF-C a table less than the features name", "tables=3", "tables=2", QEMB_ERR_CORRUPT},
    {"HF-C a feature of no table", "features=1,0,2,1", "features=1,0,3,1", QEMB_ERR_CORRUPT},
    {"HF-C a negative feature", "features=1,0,2,1", "features=1,-1,2,1", QEMB_ERR_CORRUPT},
    {"HF-C features that end early", "features=1,0,2,1", "features=1,0,2,", QEMB_ERR_CORRUPT},
    {"HF-C a feature that wraps", "features=1,0,2,1", "features=4294967297,0,2,1", QEMB_ERR_CORRUPT},
    {"HF-C no features and the text cut", "features=1,0,2,1", "", QEMB_ERR_CORRUPT},
    {"HF-C a table's name that is not there", "name=user", "name=nobody", QEMB_ERR_ARG},
    {"HF-C two tables of one name", "name=item", "name=user", QEMB_ERR_SHAPE},
    {"HF-C a name that climbs folders", "name=user", "name=../user", QEMB_ERR_ARG},
    {"HF-C rows that wrap", "num_embeddings=31 embedding_dim=11 num_rows=31",
     "num_embeddings=4611686018427387904 embedding_dim=11 num_rows=31", QEMB_ERR_CORRUPT},
    {"HF-C rows that wrap with their bytes", "num_embeddings=31 embedding_dim=11 num_rows=31",
     "num_embeddings=2305843009213693951 embedding_dim=11 num_rows=2305843009213693951", QEMB_ERR_SHAPE},
    {"HF-C no rows", "num_embeddings=31", "num_embeddings=0", QEMB_ERR_CORRUPT},
    {"HF-C width 0", "embedding_dim=11", "embedding_dim=0", QEMB_ERR_CORRUPT},
    {"HF-C width 2^63", "embedding_dim=11", "embedding_dim=9223372036854775808", QEMB_ERR_CORRUPT},
    {"HF-C width that the bytes do not have", "embedding_dim=11", "embedding_dim=12", QEMB_ERR_SHAPE},
    {"HF-C rows that the bytes do not have", "num_embeddings=31 embedding_dim=11 num_rows=31",
     "num_embeddings=32 embedding_dim=11 num_rows=32", QEMB_ERR_SHAPE},
    {"HF-C fewer rows than embeddings without a map", "num_embeddings=31", "num_embeddings=37", QEMB_ERR_CORRUPT},
    {"HF-C a map that is not there", "num_rows=31 pruned=0", "num_rows=31 pruned=1", QEMB_ERR_ARG},
    {"HF-C a map that is not used", "pruned=1", "pruned=0", QEMB_ERR_CORRUPT},
    {"HF-E bits 3", "bits=8", "bits=3", QEMB_ERR_CORRUPT},
    {"HF-E bits 0", "bits=8", "bits=0", QEMB_ERR_CORRUPT},
    {"HF-E bits 16", "bits=8", "bits=16", QEMB_ERR_CORRUPT},
    {"HF-E bits of another width", "bits=8", "bits=4", QEMB_ERR_SHAPE},
    {"HF-E a layout that nobody knows", "layout=torch_rowwise", "layout=torch_columnwise", QEMB_ERR_CORRUPT},
    {"HF-E another layout", "layout=torch_rowwise", "layout=planar", QEMB_ERR_SHAPE},
    {"HF-E qparams of another layout", "qparams=fp32", "qparams=bf16", QEMB_ERR_CORRUPT},
    {"HF-E symmetric rows of another layout", "symmetric=0", "symmetric=1", QEMB_ERR_CORRUPT},
    {"HF-E a row alignment of 7", "row_alignment=1", "row_alignment=7", QEMB_ERR_CORRUPT},
    {"HF-E padding_idx beyond the rows", "has_padding_idx=1 padding_idx=4", "has_padding_idx=1 padding_idx=13", QEMB_ERR_CORRUPT},
    {"HF-E padding_idx below the rows", "has_padding_idx=1 padding_idx=4", "has_padding_idx=1 padding_idx=-14", QEMB_ERR_CORRUPT},
    {"HF-E padding_idx without the flag", "has_padding_idx=1 padding_idx=4", "has_padding_idx=0 padding_idx=4", QEMB_ERR_CORRUPT},
    {"HF-E max_norm NaN", "max_norm=1.75", "max_norm=nan", QEMB_ERR_CORRUPT},
    {"HF-E max_norm inf", "max_norm=1.75", "max_norm=inf", QEMB_ERR_CORRUPT},
    {"HF-E max_norm negative", "max_norm=1.75", "max_norm=-1.75", QEMB_ERR_CORRUPT},
    {"HF-E norm_type negative", "norm_type=2", "norm_type=-2", QEMB_ERR_CORRUPT},
    {"HF-E mode 3", "mode=sum", "mode=median", QEMB_ERR_CORRUPT},
    {"HF-E a flag of 2", "pooled=1", "pooled=2", QEMB_ERR_CORRUPT},
    {"HF-E a field missing", "pooled=1 ", "", QEMB_ERR_CORRUPT},
    {"HF-E a field twice", "pooled=1", "pooled=1 pooled=1", QEMB_ERR_CORRUPT},
    {"HF-E a field that nobody knows", "pooled=1", "pooled=1 colour=3", QEMB_ERR_CORRUPT},
    {"HF-D rows of another type", "user.rows\":{\"dtype\":\"U8\"", "user.rows\":{\"dtype\":\"I8\"", QEMB_ERR_DTYPE},
    {"HF-D rows transposed", "\"shape\":[31,19]", "\"shape\":[19,31]", QEMB_ERR_SHAPE},
    {"HF-D rows as one", "\"shape\":[31,19]", "\"shape\":[589]", QEMB_ERR_SHAPE},
    {"HF-D a map of another type", "\"dtype\":\"I32\"", "\"dtype\":\"F32\"", QEMB_ERR_DTYPE},
    {"HF-B version 0", "version=1 tables=3", "version=0 tables=3", QEMB_ERR_UNSUPPORTED},
    {"HF-B a version to come", "version=1 tables=3", "version=2 tables=3", QEMB_ERR_UNSUPPORTED},
    {"HF-B a version to come of a table", "version=1 layout", "version=18 layout", QEMB_ERR_UNSUPPORTED},
    {"HF-B the largest version", "version=1 tables=3", "version=9223372036854775807 tables=3", QEMB_ERR_UNSUPPORTED},
    {"HF-B no version", "version=1 tables=3", "tables=3", QEMB_ERR_CORRUPT},
    {"HF-B nothing but a version", "version=1 tables=3", "version=1", QEMB_ERR_CORRUPT},
    {"HF-G no text of ours", "p.qemb_packed\"", "p.qemb_pocket\"", QEMB_ERR_ARG},
};

Test(io_packed, texts_of_every_hostile_class_are_refused_by_name) {
    qemb_context *ctx = NULL;
    size_t count = 0;
    OK(qemb_context_create("reference", &ctx));
    char *bytes = small_file(ctx, &op_formats[0].format, true, &count);
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        size_t n = count;
        char *damaged = rewrite(bytes, &n, texts[k].from, texts[k].to);
        const qemb_status st = try_load(ctx, damaged, n, texts[k].name);
        cr_expect(st == texts[k].st, "%s: %s, want %s: %s", texts[k].name, qemb_status_name(st), qemb_status_name(texts[k].st),
                  qemb_last_error());
        cr_expect(st == QEMB_OK || strstr(qemb_last_error(), "damaged"), "%s: the sentence names no file: %s", texts[k].name,
                  qemb_last_error());
        free(damaged);
    }
    free(bytes);
    qemb_context_destroy(ctx);
}

/* Bytes `value` at byte `at` of row 11 of a tensor. */
typedef struct spoilt {
    const char *name;
    const char *format;
    int32_t bits;
    const char *tensor;
    size_t at, size;
    const char *value;
    bool peer; /* taken under AS_PEER */
} spoilt;

static const spoilt values[] = {
    {"HF-E scale NaN", "torch_rowwise", 8, "p.user.rows", 11, 4, "\0\0\xc0\x7f", true},
    {"HF-E scale -1", "torch_rowwise", 8, "p.user.rows", 11, 4, "\0\0\x80\xbf", true},
    {"HF-E scale inf", "torch_rowwise", 8, "p.user.rows", 11, 4, "\0\0\x80\x7f", true},
    {"HF-E bias NaN", "torch_rowwise", 8, "p.user.rows", 15, 4, "\0\0\xc0\x7f", true},
    {"HF-E bias -inf", "torch_rowwise", 8, "p.user.rows", 15, 4, "\0\0\x80\xff", true},
    {"HF-E scale inf in fp16", "torch_rowwise", 4, "p.user.rows", 6, 2, "\0\x7c", true},
    {"HF-E scale -1 in fp16", "rowwise_half", 2, "p.user.rows", 3, 2, "\0\xbc", true},
    {"HF-E scale NaN in front", "fbgemm", 4, "p.user.rows", 0, 2, "\x01\x7c", true},
    {"HF-E scale NaN in bf16", "planar_bf16", 4, "p.user.qparams", 0, 2, "\xc0\x7f", true},
    {"HF-E bias inf in bf16", "planar_bf16", 4, "p.user.qparams", 2, 2, "\x80\x7f", true},
    {"HF-E symmetric scale -1", "planar_symmetric", 8, "p.user.qparams", 0, 4, "\0\0\x80\xbf", true},
    {"HF-E spare bits of the last byte", "torch_rowwise", 4, "p.user.rows", 5, 1, "\x13", true},
    {"HF-E spare bits at 2 bits", "planar", 2, "p.user.rows", 2, 1, "\x40", true},
    {"HF-E bytes of padding", "fbgemm16", 8, "p.user.rows", 15, 1, "\x01", true},
    {"HF-E a map beyond the rows", "planar", 8, "p.a shop=2.row_map", 0, 4, "\x23\0\0\0", false},
    {"HF-E a map of -2", "planar", 8, "p.a shop=2.row_map", 0, 4, "\xfe\xff\xff\xff", false},
};

static const qemb_packed_format *format_of(const char *name, int32_t bits) {
    for (int k = 0; k < OP_NUM_FORMATS; k++) {
        if (strcmp(op_formats[k].name, name) == 0 && op_formats[k].format.bits == bits) {
            return &op_formats[k].format;
        }
    }
    cr_assert(false, "%s", name);
    return NULL;
}

Test(io_packed, values_that_no_packer_makes_are_refused_by_row_when_the_file_is_verified) {
    qemb_context *ctx = NULL;
    OK(qemb_context_create("reference", &ctx));
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        const spoilt *v = &values[k];
        qemb_safetensors *file = NULL;
        qemb_tensor_view view;
        qemb_packed *packed = NULL;
        size_t count = 0;
        char *bytes = small_file(ctx, format_of(v->format, v->bits), true, &count);
        OK(qemb_safetensors_open(support_path("whole"), &file));
        OK(qemb_safetensors_tensor(file, v->tensor, &view));
        memcpy(bytes + view.offset + 11 * (int64_t)(view.bytes / (size_t)view.shape[0]) + (int64_t)v->at, v->value, v->size);
        qemb_safetensors_close(file);
        char *sum = memmem(bytes, count, "qemb_crc32", 10);
        OK(load(ctx, support_path("whole"), "p.", QEMB_LOAD_VERIFY, &packed));
        qemb_packed_destroy(packed);
        packed = NULL;
        const char *path = support_write("damaged", bytes, count);
        cr_expect(load(ctx, path, "p.", QEMB_LOAD_VERIFY, &packed) == QEMB_ERR_CORRUPT, "%s: the checksum", v->name);
        sum[9] = '3';
        path = support_write("damaged", bytes, count);
        qemb_status st = load(ctx, path, "p.", QEMB_LOAD_VERIFY, &packed);
        cr_expect(st == QEMB_ERR_CORRUPT && strstr(qemb_last_error(), "damaged") &&
                      strstr(qemb_last_error(), v->peer ? "row 11" : "row_map[11]"),
                  "%s: %s, %s", v->name, qemb_status_name(st), qemb_last_error());
        st = load(ctx, path, "p.", QEMB_LOAD_VERIFY | QEMB_LOAD_AS_PEER, &packed);
        cr_expect((st == QEMB_OK) == v->peer, "%s as a peer has it: %s", v->name, qemb_status_name(st));
        qemb_packed_destroy(packed);
        free(bytes);
    }
    qemb_context_destroy(ctx);
}
