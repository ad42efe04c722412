/* test_row_pack.c - packed rows: the peers' golden bytes and PyTorch's cases on every engine, engine against engine, conversions, refusals. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qemb/qemb_io.h>

#include "ops/row_pack.h"
#include "support_bag.h"
#include "support_ok.h"

static const bag_engine engines[] = {{"reference", "reference", NULL, NULL, NULL},
                                     {"CPU kernels", "opencl", "cpu", NULL, NULL},
                                     {"GPU kernels", "opencl", "gpu", NULL, NULL}};
enum { NUM_ENGINES = 3 };

static qemb_qconfig memoryless(int bits) {
    qemb_qconfig q = bits == 8 ? qemb_qconfig_8bit() : bits == 4 ? qemb_qconfig_4bit() : qemb_qconfig_2bit();
    q.observer = QEMB_OBSERVER_MEMORYLESS;
    return q;
}

/* Packed rows of a float table, with the plane of qparams behind them. */
typedef struct packed_bytes {
    qemb_status status;
    int64_t count;
    unsigned char *bytes;
    float *values;
} packed_bytes;

static packed_bytes pack(qemb_context *ctx, const float *w, int64_t rows, int64_t dim, const qemb_packed_desc *desc) {
    packed_bytes p = {.status = QEMB_OK};
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    int64_t row = 0;
    int64_t plane = 0;
    OK(op_row_pack_module(ctx, w, rows, dim, memoryless(desc->format.bits), &bag));
    p.status = qemb_packed_create(bag, desc, &packed);
    if (p.status == QEMB_OK) {
        const bool planar = desc->format.layout == QEMB_LAYOUT_PLANAR;
        OK(qemb_packed_row_bytes(&desc->format, dim, &row, &plane));
        p.count = rows * (row + (planar ? plane : 0));
        p.bytes = calloc((size_t)p.count + 1, 1);
        p.values = calloc((size_t)(rows * dim), sizeof(float));
        cr_assert(p.bytes && p.values);
        OK(qemb_packed_read_rows(packed, 0, 0, rows, p.bytes, planar ? p.bytes + rows * row : NULL));
        OK(qemb_packed_unpack(packed, 0, 0, rows, p.values));
    }
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
    return p;
}

static void drop(packed_bytes *p) {
    free(p->bytes);
    free(p->values);
}

/* ---- golden bytes ----------------------------------------------------------------------------------------------------- */

/* Rows and the bytes that FBGEMM's scalar reference makes of them: 8 bits with fp32 qparams, then 8, 4 and 2 bits with fp16 ones. */
typedef struct golden {
    int dim;
    float row[8];
    const char *hex[4];
} golden;
static const golden goldens[] = {
    {8,
     {-1, -.5f, 0, .25f, .5f, .75f, 1, 2},
     {"002a556a8095aaffc1c0403c000080bf", "002b556a8095aaff062200bc", "306598fa663200bc", "50ea003c00bc"}},
    {4, {.1f, .1f, .1f, .1f}, {"0000000000000000cdcccc3d", "cdcdcdcd0200662e", "ffff1b00662e", "ff8900662e"}},
    {4, {0, 0, 0, 0}, {"000000000000000000000000", "00000000003c0000", "0000003c0000", "00003c0000"}},
    {8,
     {0, .5f, 1.5f, 2.5f, 3.5f, 7.5f, 14.5f, 15},
     {"00081a2a3c80f6fff1f0703d00000000", "0008192a3b7ff6ff882b0000", "002284fe003c0000", "00f900450000"}},
    {8,
     {.1f, .2f, .3f, .4f, .5f, .6f, .7f, .8f},
     {"0024496d92b6dbff1ae7333bcdcccc3d", "0024496d92b6dbff9f19662e", "2064b9fdf929662e", "50fa7833662e"}},
    {4, {0, 1e-7f, 2e-7f, 3e-7f}, {"0052a5f761b1a13000000000", "00000000003c0000", "0000003c0000", "e402000000"}},
    {4, {0, 1e-9f, 2e-9f, 3e-9f}, {"0014273b87f74e2d00000000", "00000000003c0000", "0000003c0000", "00003c0000"}},
    {4, {-70000, 0, 1, 70000}, {"008080ff4141094400b888c7", "00000000007c00fc", "0000007c00fc", "00007c00fc"}},
    {4, {-65504, 0, 1, 65504}, {"008080ff7070004400e07fc7", "007f7fff0460fffb", "70f74470fffb", "d45579fffb"}},
    {4, {-3, -2, -1, -.001f}, {"0055aaff4eb0403c000040c0", "0055aaff062200c2", "50fa663200c2", "e4ff3b00c2"}},
    /* PyTorch 1.13 prepack of its own golden table, and the order of the bytes that FBGEMM's inference rows have */
    {4, {0, 1e-5f, 2e-5f, 3e-5f}, {"0055aaff27a5fc3300000000", NULL, "50fa22000000", "e4a8000000"}},
};

static void check_golden(qemb_context *ctx, const golden *g, int column, qemb_layout layout) {
    static const int bits[] = {8, 8, 4, 2};
    const qemb_packed_desc desc = {.format = {.layout = layout, .bits = bits[column]}, .flags = QEMB_PACK_AS_PEER};
    packed_bytes p = pack(ctx, g->row, 1, g->dim, &desc);
    char text[64] = "";
    char want[64] = "";
    cr_assert(p.status == QEMB_OK, "%s", qemb_last_error());
    for (int64_t i = 0; i < p.count; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", p.bytes[i]);
    }
    const size_t codes = strlen(g->hex[column]) - 8; /* of fp16 rows */
    (void)snprintf(want, sizeof want, "%s", g->hex[column]);
    if (layout == QEMB_LAYOUT_FBGEMM) {
        (void)snprintf(want, sizeof want, "%s%.*s", g->hex[column] + codes, (int)codes, g->hex[column]);
    }
    cr_assert_str_eq(text, want, "row starting %g %g, %d bits, layout %d: %s, want %s", (double)g->row[0], (double)g->row[1], bits[column],
                     (int)layout, text, want);
    drop(&p);
}

Test(row_pack, golden_rows_of_the_peers_come_out_byte_for_byte_on_every_engine) {
    for (int k = 0; k < NUM_ENGINES; k++) {
        qemb_context *ctx = bag_kept_context(&engines[k]);
        for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
            check_golden(ctx, &goldens[i], 0, QEMB_LAYOUT_TORCH_ROWWISE);
            for (int column = 1; column < 4; column++) {
                if (goldens[i].hex[column]) {
                    check_golden(ctx, &goldens[i], column, QEMB_LAYOUT_ROWWISE_HALF);
                    check_golden(ctx, &goldens[i], column, QEMB_LAYOUT_FBGEMM);
                }
            }
            for (int column = 2; column < 4; column++) {
                check_golden(ctx, &goldens[i], column, QEMB_LAYOUT_TORCH_ROWWISE);
            }
        }
    }
}

/* ---- PyTorch's cases ---------------------------------------------------------------------------------------------------- */

/* A tensor of a case in memory of its own. */
static void *tensor(const qemb_safetensors *file, const char *name, qemb_tensor_view *view) {
    OK(qemb_safetensors_tensor(file, name, view));
    void *copy = malloc(view->bytes + 1);
    cr_assert(copy);
    memcpy(copy, view->data, view->bytes);
    return copy;
}

static void check_lookup(qemb_context *ctx, qemb_packed *packed, const qemb_safetensors *file, int64_t dim, const char *path) {
    qemb_tensor_view indices;
    qemb_tensor_view offsets;
    qemb_tensor_view weights;
    qemb_tensor_view output;
    void *data[4] = {tensor(file, "step0.indices", &indices), tensor(file, "step0.offsets", &offsets),
                     tensor(file, "step0.per_sample_weights", &weights), tensor(file, "step0.output", &output)};
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    float *got = malloc(output.bytes);
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, output.bytes, &out));
    OK(qemb_packed_batch_set(packed, batch,
                             &(qemb_input){.indices = data[0],
                                           .num_indices = indices.count,
                                           .indices_dtype = indices.dtype == QEMB_FILE_I64 ? QEMB_INT64 : QEMB_INT32,
                                           .offsets = data[1],
                                           .num_offsets = offsets.count,
                                           .offsets_dtype = offsets.dtype == QEMB_FILE_I64 ? QEMB_INT64 : QEMB_INT32,
                                           .per_sample_weights = data[2],
                                           .num_per_sample_weights = weights.count}));
    OK(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32));
    OK(qemb_buffer_read(out, 0, output.bytes, got));
    for (int64_t i = 0; i < output.count; i++) {
        cr_assert(got[i] == ((float *)data[3])[i], "%s: output (%lld,%lld): got %a, want %a", path, (long long)(i / dim),
                  (long long)(i % dim), (double)got[i], (double)((float *)data[3])[i]);
    }
    for (int k = 0; k < 4; k++) {
        free(data[k]);
    }
    free(got);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
}

static void check_case(qemb_context *ctx, const char *path) {
    qemb_safetensors *file = NULL;
    qemb_tensor_view weight;
    qemb_tensor_view want;
    qemb_tensor_view unpacked;
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    OK(qemb_safetensors_open(path, &file));
    const int bits = atoi(qemb_safetensors_metadata(file, "bits"));
    float *w = tensor(file, "weight", &weight);
    unsigned char *bytes = tensor(file, "packed", &want);
    float *values = tensor(file, "unpacked", &unpacked);
    const int64_t rows = weight.shape[0];
    const int64_t dim = weight.shape[1];
    unsigned char *got = malloc(want.bytes);
    float *back = malloc(unpacked.bytes);
    OK(op_row_pack_module(ctx, w, rows, dim, memoryless(bits), &bag));
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.bits = bits}}, &packed));
    OK(qemb_packed_read_rows(packed, 0, 0, rows, got, NULL));
    cr_assert(memcmp(got, bytes, want.bytes) == 0, "%s: packed bytes differ", path);
    OK(qemb_packed_unpack(packed, 0, 0, rows, back));
    float largest =
        0.0f; /* PyTorch unpacks 8 bits with two roundings, of scale * code (up to 2 * largest) and of the sum; this library with the last alone */
    for (int64_t i = 0; i < unpacked.count; i++) {
        largest = fmaxf(largest, fabsf(values[i]));
    }
    for (int64_t i = 0; i < unpacked.count; i++) {
        cr_assert(fabsf(back[i] - values[i]) <= 2 * 0x1p-24f * fabsf(values[i]) + 2 * 0x1p-24f * largest, "%s: unpacked %lld: %a, want %a",
                  path, (long long)i, (double)back[i], (double)values[i]);
    }
    check_lookup(ctx, packed, file, dim, path);
    free(w);
    free(bytes);
    free(values);
    free(got);
    free(back);
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
    qemb_safetensors_close(file);
}

static int is_pack_case(const struct dirent *entry) {
    return strncmp(entry->d_name, "pack_", 5) == 0;
}

Test(row_pack, every_pack_case_of_pytorch_is_exact_on_every_engine, .timeout = 500) {
    struct dirent **list = NULL;
    const int count = scandir("tests/cases", &list, is_pack_case, alphasort);
    cr_assert(count == 24, "%d cases, want 24", count);
    for (int k = 0; k < NUM_ENGINES; k++) {
        qemb_context *ctx = bag_kept_context(&engines[k]);
        for (int i = 0; i < count; i++) {
            char path[512];
            (void)snprintf(path, sizeof path, "tests/cases/%s", list[i]->d_name);
            check_case(ctx, path);
        }
    }
    for (int i = 0; i < count; i++) {
        free(list[i]);
    }
    free(list);
}

/* ---- engine against engine ----------------------------------------------------------------------------------------------- */

/* Rows of a run: 21 runs, of three widths of codes and seven of rows (and one wide one, of fewer rows), make a layout's 10^7 rows at night; QEMB_TEST_ROWS for reruns. */
static int64_t rows_of_a_run(void) {
    const char *text = getenv("QEMB_TEST_ROWS");
    const char *night = getenv("QEMB_NIGHTLY");
    return text ? atoll(text) : night && *night == '1' ? 10000000 / 21 + 1 : 2000;
}

static void compare_engines(qemb_context *const ctx[2], const op_format *f, int64_t dim, qemb_pack_method method, uint64_t seed) {
    const int64_t rows = method == QEMB_PACK_GREEDY ? 40 : dim > 1000 ? rows_of_a_run() / 32 : rows_of_a_run();
    const qemb_packed_desc desc = {.format = f->format, .method = method, .flags = QEMB_PACK_AS_PEER};
    float *w = malloc((size_t)(rows * dim) * sizeof *w);
    cr_assert(w);
    op_row_pack_fill(w, rows, dim, seed, true);
    packed_bytes a = pack(ctx[0], w, rows, dim, &desc);
    packed_bytes b = pack(ctx[1], w, rows, dim, &desc);
    cr_assert(a.status == QEMB_OK && b.status == QEMB_OK, "%s", qemb_last_error());
    for (int64_t i = 0; i < a.count; i++) {
        cr_assert(a.bytes[i] == b.bytes[i], "format=%s bits=%d D=%lld method=%d seed=%llu: byte %lld is %02x, the reference has %02x",
                  f->name, f->format.bits, (long long)dim, (int)method, (unsigned long long)seed, (long long)i, b.bytes[i], a.bytes[i]);
    }
    for (int64_t i = 0; i < rows * dim; i++) {
        cr_assert(memcmp(&a.values[i], &b.values[i], 4) == 0 || (isnan(a.values[i]) && isnan(b.values[i])),
                  "format=%s bits=%d D=%lld: value %lld", f->name, f->format.bits, (long long)dim, (long long)i);
    }
    drop(&a);
    drop(&b);
    free(w);
}

static void compare_family(int k) {
    static const int64_t dims[] = {1, 5, 17, 32, 61, 64, 4093, 131};
    qemb_context *const ctx[2] = {bag_kept_context(&engines[0]), bag_kept_context(&engines[k])};
    for (int i = 0; i < OP_NUM_FORMATS; i++) {
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
            compare_engines(ctx, &op_formats[i], dims[d], QEMB_PACK_MINMAX, (uint64_t)(100 * i) + d);
            if (d % 3 == 1) {
                compare_engines(ctx, &op_formats[i], dims[d], QEMB_PACK_GREEDY, (uint64_t)(100 * i) + d);
            }
        }
    }
}

Test(row_pack, the_cpu_family_packs_random_and_hostile_rows_as_the_reference, .timeout = 3600) {
    compare_family(1);
}

Test(row_pack, the_gpu_family_packs_random_and_hostile_rows_as_the_reference, .timeout = 3600) {
    compare_family(2);
}

/* ---- methods and maps ---------------------------------------------------------------------------------------------------- */

Test(row_pack, given_ranges_clamp_and_a_row_s_own_range_gives_minmax) {
    enum { E = 53, D = 19 };
    float w[E * D];
    float own[2 * E];
    float narrow[2 * E];
    op_row_pack_fill(w, E, D, 3, false);
    for (int r = 0; r < E; r++) {
        own[2 * r] = INFINITY;
        own[2 * r + 1] = -INFINITY;
        for (int c = 0; c < D; c++) {
            own[2 * r] = fminf(own[2 * r], w[r * D + c]);
            own[2 * r + 1] = fmaxf(own[2 * r + 1], w[r * D + c]);
        }
        narrow[2 * r] = own[2 * r] * 0.5f;
        narrow[2 * r + 1] = own[2 * r] * 0.5f + fabsf(own[2 * r + 1] - own[2 * r]) * 0.25f;
    }
    for (int k = 0; k < NUM_ENGINES; k++) {
        qemb_context *ctx = bag_kept_context(&engines[k]);
        const qemb_packed_format format = {.bits = 4};
        packed_bytes a = pack(ctx, w, E, D, &(qemb_packed_desc){.format = format});
        packed_bytes b =
            pack(ctx, w, E, D, &(qemb_packed_desc){.format = format, .method = QEMB_PACK_GIVEN, .ranges = (const float *const[]){own}});
        packed_bytes c =
            pack(ctx, w, E, D, &(qemb_packed_desc){.format = format, .method = QEMB_PACK_GIVEN, .ranges = (const float *const[]){narrow}});
        cr_assert(memcmp(a.bytes, b.bytes, (size_t)a.count) == 0);
        cr_assert(c.status == QEMB_OK && memcmp(a.bytes, c.bytes, (size_t)a.count) != 0);
        drop(&a);
        drop(&b);
        drop(&c);
    }
}

Test(row_pack, rows_that_cannot_be_packed_are_refused_by_number) {
    enum { E = 31, D = 7 };
    float w[E * D];
    op_row_pack_fill(w, E, D, 5, false);
    for (int k = 0; k < NUM_ENGINES; k++) {
        qemb_context *ctx = bag_kept_context(&engines[k]);
        const qemb_packed_desc half = {.format = {.bits = 4}};
        w[17 * D + 3] = NAN;
        packed_bytes p = pack(ctx, w, E, D, &half);
        cr_assert(p.status == QEMB_ERR_NONFINITE && strstr(qemb_last_error(), "row 17"), "%s", qemb_last_error());
        w[17 * D + 3] = -INFINITY;
        p = pack(ctx, w, E, D, &(qemb_packed_desc){.format = {.bits = 8}, .flags = QEMB_PACK_AS_PEER});
        cr_assert(p.status == QEMB_ERR_NONFINITE, "%s", qemb_last_error());
        w[17 * D + 3] = 70000.0f * 15.0f;
        p = pack(ctx, w, E, D, &half);
        cr_assert(p.status == QEMB_ERR_RANGE && strstr(qemb_last_error(), "row 17"), "%s", qemb_last_error());
        p = pack(ctx, w, E, D, &(qemb_packed_desc){.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}});
        cr_assert(p.status == QEMB_OK, "fp32 qparams take it: %s", qemb_last_error());
        drop(&p);
        w[17 * D + 3] = 0.0f;
    }
}

Test(row_pack, pruned_rows_stay_behind_and_kept_rows_keep_their_bytes) {
    enum { E = 37, D = 21 };
    float w[E * D];
    int32_t map[E];
    int32_t kept = 0;
    op_row_pack_fill(w, E, D, 9, false);
    for (int r = 0; r < E; r++) {
        map[r] = r % 3 == 1 ? -1 : kept++;
    }
    for (int f = 0; f < OP_NUM_FORMATS; f++) {
        qemb_context *ctx = bag_kept_context(&engines[f % NUM_ENGINES]);
        qemb_embedding_bag *bag = NULL;
        qemb_packed *all = NULL;
        qemb_packed *pruned = NULL;
        qemb_packed_table table;
        float a[D];
        float b[D];
        OK(op_row_pack_module(ctx, w, E, D, memoryless(op_formats[f].format.bits), &bag));
        OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = op_formats[f].format}, &all));
        OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = op_formats[f].format, .row_map = (const int32_t *const[]){map}}, &pruned));
        OK(qemb_packed_get_table(pruned, 0, &table));
        cr_assert(table.num_rows == kept && table.num_embeddings == E && memcmp(table.row_map, map, sizeof map) == 0);
        for (int r = 0; r < E; r++) {
            if (map[r] >= 0) {
                OK(qemb_packed_unpack(all, 0, r, 1, a));
                OK(qemb_packed_unpack(pruned, 0, map[r], 1, b));
                cr_assert(memcmp(a, b, sizeof a) == 0, "row %d of %s", r, op_formats[f].name);
            }
        }
        qemb_packed_destroy(pruned);
        qemb_packed_destroy(all);
        qemb_embedding_bag_destroy(bag);
    }
}

/* ---- conversions and imports --------------------------------------------------------------------------------------------- */

/* Bytes of a whole packed table, rows then qparams. */
static unsigned char *read_all(qemb_packed *p, qemb_packed_table *t) {
    OK(qemb_packed_get_table(p, 0, t));
    unsigned char *bytes = calloc((size_t)(t->rows_bytes + t->qparams_bytes) + 1, 1);
    cr_assert(bytes);
    OK(qemb_packed_read_rows(p, 0, 0, t->num_rows, bytes, t->qparams_bytes ? bytes + t->rows_bytes : NULL));
    return bytes;
}

/* from -> to on all engines the same; to as wide as from keeps every value, and back again every byte. */
static void check_conversion(const float *w, int64_t rows, int64_t dim, int from, int to) {
    unsigned char *first = NULL;
    for (int k = 0; k < NUM_ENGINES; k++) {
        qemb_embedding_bag *bag = NULL;
        qemb_packed *a = NULL;
        qemb_packed *b = NULL;
        qemb_packed_table t;
        OK(op_row_pack_module(bag_kept_context(&engines[k]), w, rows, dim, memoryless(8), &bag));
        OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = op_formats[from].format}, &a));
        OK(qemb_packed_convert(a, &op_formats[to].format, 0, &b));
        unsigned char *bytes = read_all(b, &t);
        if (!first) {
            first = bytes;
        } else {
            cr_assert(memcmp(first, bytes, (size_t)(t.rows_bytes + t.qparams_bytes)) == 0, "%s %d to %s %d on %s %s", op_formats[from].name,
                      op_formats[from].format.bits, op_formats[to].name, op_formats[to].format.bits, engines[k].device, engines[k].family);
            free(bytes);
        }
        if (strcmp(op_formats[to].name, "planar") == 0 && op_formats[to].format.bits == op_formats[from].format.bits) {
            qemb_packed *back = NULL;
            qemb_packed_table s;
            OK(qemb_packed_convert(b, &op_formats[from].format, 0, &back));
            unsigned char *was = read_all(a, &s);
            unsigned char *is = read_all(back, &s);
            cr_assert(memcmp(was, is, (size_t)(s.rows_bytes + s.qparams_bytes)) == 0, "%s %d there and back", op_formats[from].name,
                      op_formats[from].format.bits);
            free(was);
            free(is);
            qemb_packed_destroy(back);
        }
        qemb_packed_destroy(b);
        qemb_packed_destroy(a);
        qemb_embedding_bag_destroy(bag);
    }
    free(first);
}

Test(row_pack, conversions_agree_on_every_engine_and_wider_formats_lose_nothing, .timeout = 500) {
    enum { E = 41, D = 13 };
    float w[E * D];
    op_row_pack_fill(w, E, D, 11, false);
    for (int from = 0; from < OP_NUM_FORMATS; from++) {
        for (int step = 1; step < 4; step++) {
            check_conversion(w, E, D, from, (from * 5 + step * 7) % OP_NUM_FORMATS);
        }
        if (op_formats[from].format.bits == 4) {
            check_conversion(w, E, D, from, 13); /* planar, fp32, 4 bits */
        }
    }
}

static qemb_status import(qemb_context *ctx, qemb_packed_table table, qemb_packed **packed) {
    return qemb_packed_import(ctx, &(qemb_packed_import_desc){.tables = &table, .num_tables = 1, .options = {.mode = QEMB_MODE_SUM}},
                              packed);
}

Test(row_pack, bytes_of_the_right_sizes_come_back_and_damaged_sizes_are_refused) {
    enum { E = 29, D = 11 };
    float w[E * D];
    op_row_pack_fill(w, E, D, 13, false);
    for (int f = 0; f < OP_NUM_FORMATS; f++) {
        qemb_context *ctx = bag_kept_context(&engines[f % NUM_ENGINES]);
        qemb_packed *p = NULL;
        qemb_packed_table t;
        packed_bytes a = pack(ctx, w, E, D, &(qemb_packed_desc){.format = op_formats[f].format});
        int64_t row = 0;
        int64_t plane = 0;
        OK(qemb_packed_row_bytes(&op_formats[f].format, D, &row, &plane));
        const bool planar = op_formats[f].format.layout == QEMB_LAYOUT_PLANAR;
        const qemb_packed_table good = {.num_embeddings = E,
                                        .embedding_dim = D,
                                        .format = op_formats[f].format,
                                        .rows = a.bytes,
                                        .rows_bytes = E * row,
                                        .qparams = planar ? a.bytes + E * row : NULL,
                                        .qparams_bytes = planar ? E * plane : 0};
        OK(import(ctx, good, &p));
        unsigned char *bytes = read_all(p, &t);
        cr_assert(memcmp(bytes, a.bytes, (size_t)a.count) == 0);
        free(bytes);
        qemb_packed_destroy(p);
        p = NULL;
        for (int64_t change = -2; change <= 2; change++) {
            qemb_packed_table bad = good;
            bad.rows_bytes += change;
            cr_assert((import(ctx, bad, &p) == QEMB_ERR_CORRUPT) == (change != 0), "%s", qemb_last_error());
            qemb_packed_destroy(p);
            p = NULL;
            bad = good;
            bad.qparams_bytes += change;
            cr_assert((import(ctx, bad, &p) == QEMB_ERR_CORRUPT) == (change != 0), "%s", qemb_last_error());
            qemb_packed_destroy(p);
            p = NULL;
        }
        int32_t map[E] = {0};
        qemb_packed_table mapped = good;
        mapped.row_map = map;
        mapped.num_rows = E;
        map[E - 1] = E;
        cr_assert(import(ctx, mapped, &p) == QEMB_ERR_INDEX && strstr(qemb_last_error(), "row_map[28]=29"), "%s", qemb_last_error());
        unsigned char *scale = a.bytes + (planar                                              ? E * row
                                          : op_formats[f].format.layout == QEMB_LAYOUT_FBGEMM ? 0
                                                                                              : (D * op_formats[f].format.bits + 7) / 8);
        memset(scale, 0xff, 2);
        scale[plane == 8 || (planar && plane == 4 && op_formats[f].format.symmetric) ? 2 : 0] = 0xff;
        scale[plane == 8 || (planar && plane == 4 && op_formats[f].format.symmetric) ? 3 : 1] = 0xff;
        cr_assert(import(ctx, good, &p) == QEMB_ERR_CORRUPT && strstr(qemb_last_error(), "row 0"), "%s", qemb_last_error());
        drop(&a);
    }
}

Test(row_pack, impossible_formats_are_refused) {
    const qemb_packed_format bad[] = {{.bits = 3},
                                      {.bits = 0},
                                      {.bits = 8, .layout = (qemb_layout)4},
                                      {.bits = 8, .row_alignment = 16},
                                      {.bits = 8, .row_alignment = 3, .layout = QEMB_LAYOUT_FBGEMM},
                                      {.bits = 4, .symmetric = true},
                                      {.bits = 4, .qparams = QEMB_QPARAMS_BF16}};
    int64_t row = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert(qemb_packed_row_bytes(&bad[i], 8, &row, NULL) == QEMB_ERR_ARG, "%zu", i);
    }
    const qemb_packed_format planar = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4, .qparams = QEMB_QPARAMS_BF16};
    int64_t plane = 0;
    OK(qemb_packed_row_bytes(&planar, 16, &row, &plane));
    cr_assert(row == 8 && plane == 4);
    cr_assert(qemb_packed_row_bytes(&planar, 0, &row, NULL) == QEMB_ERR_SHAPE);
}
