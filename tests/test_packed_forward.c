/* test_packed_forward.c - trained bits are served bits: the forward of a module under the packed arithmetic, the forward of its packed rows
 * and the reference engine agree in every bit; all modes, weights, padding, max_norm, widths, formats, output types, maps and slabs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/packed_forward.h"
#include "scoreboard.h"
#include "support_bag.h"
#include "support_ok.h"

static const bag_engine engines[] = {{"reference", "reference", NULL, NULL, NULL},
                                     {"CPU kernels", "opencl", "cpu", NULL, NULL},
                                     {"GPU kernels", "opencl", "gpu", NULL, NULL}};

/* One case of op_bag_forward under the packed arithmetic, tables as a collection. */
typedef struct serving {
    op_bag_forward op;
    const op_format *format;
    int64_t pruned; /* every third row is dropped when packing */
    int64_t embedding;
} serving;

static const char *describe(const serving *s) {
    static char text[OP_TEXT + 128];
    char op[OP_TEXT];
    (void)snprintf(text, sizeof text, "format=%s bits=%d pruned=%lld embedding=%lld %s", s->format->name, s->format->format.bits,
                   (long long)s->pruned, (long long)s->embedding, op_bag_forward_text(&s->op, op));
    return text;
}

static qemb_qconfig qconfig_of(const serving *s, qemb_qconfig q) {
    q.quant_min = 0;
    q.quant_max = (1 << s->format->format.bits) - 1;
    q.arithmetic = QEMB_ARITHMETIC_PACKED;
    q.layout = s->format->format.layout;
    q.qparams = s->format->format.qparams;
    q.symmetric = s->format->format.symmetric;
    return q;
}

/* The module, its tables in one collection. */
static void create(qemb_context *ctx, const serving *s, qemb_embedding_bag **bag, qemb_embedding **embedding) {
    qemb_table_desc tables[8];
    cr_assert(s->op.T <= 8);
    for (int64_t t = 0; t < s->op.T; t++) {
        tables[t] = op_bag_forward_table(&s->op, t);
        tables[t].qconfig = qconfig_of(s, tables[t].qconfig);
    }
    if (s->embedding) {
        const qemb_table_desc *d = &tables[0];
        OK(qemb_embedding_create(ctx,
                                 &(qemb_embedding_desc){.num_embeddings = d->num_embeddings,
                                                        .embedding_dim = d->embedding_dim,
                                                        .has_padding_idx = d->has_padding_idx,
                                                        .padding_idx = d->padding_idx,
                                                        .has_max_norm = d->has_max_norm,
                                                        .max_norm = d->max_norm,
                                                        .norm_type = d->norm_type,
                                                        .qconfig = d->qconfig,
                                                        .seed = d->seed},
                                 embedding));
        *bag = qemb_embedding_as_bag(*embedding);
        return;
    }
    OK(qemb_embedding_bag_collection_create(
        ctx,
        &(qemb_collection_desc){
            .tables = tables, .num_tables = (int32_t)s->op.T, .options = {.mode = (qemb_mode)s->op.mode, .include_last_offset = true}},
        bag));
}

static void set(const serving *s, const op_lookups *in, const qemb_embedding_bag *bag, const qemb_packed *packed, qemb_batch *batch) {
    const qemb_input input = {.indices = in->indices,
                              .num_indices = in->num_indices,
                              .indices_dtype = QEMB_INT64,
                              .offsets = s->embedding ? NULL : in->offsets,
                              .num_offsets = s->embedding ? 0 : in->num_offsets,
                              .per_sample_weights = s->op.weighted ? in->weights : NULL,
                              .num_per_sample_weights = s->op.weighted ? in->num_indices : 0};
    if (packed) {
        OK(qemb_packed_batch_set(packed, batch, &input));
    } else {
        OK(qemb_batch_set(batch, bag, &input));
    }
}

typedef struct served {
    int64_t count;
    float *trained, *served;
} served;

static served run(int engine, const serving *s, const op_lookups *in) {
    qemb_context *ctx = bag_kept_context(&engines[engine]);
    qemb_embedding_bag *bag = NULL;
    qemb_embedding *embedding = NULL;
    qemb_packed *packed = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    create(ctx, s, &bag, &embedding);
    served r = {.count = (s->embedding ? in->num_indices : s->op.B) * op_bag_forward_columns(&s->op)};
    const size_t bytes = (size_t)r.count * sizeof(float);
    r.trained = malloc(bytes + 4);
    r.served = malloc(bytes + 4);
    cr_assert(r.trained && r.served);
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, bytes + 4, &out));
    set(s, in, bag, NULL, batch);
    OK(qemb_embedding_bag_forward(bag, batch, out));
    if (s->op.observer == QEMB_OBSERVER_MOVING_AVERAGE) { /* what is packed are the bits of the next forward */
        OK(qemb_packed_create(bag, NULL, &packed));
        OK(qemb_embedding_bag_forward(bag, batch, out));
    }
    OK(qemb_buffer_read(out, 0, bytes, r.trained));
    if (!packed) {
        OK(qemb_packed_create(bag, NULL, &packed));
    }
    set(s, in, bag, packed, batch);
    OK(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32));
    OK(qemb_buffer_read(out, 0, bytes, r.served));
    qemb_packed_destroy(packed);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    if (embedding) {
        qemb_embedding_destroy(embedding);
    } else {
        qemb_embedding_bag_destroy(bag);
    }
    return r;
}

static void drop(served *r) {
    free(r->trained);
    free(r->served);
}

/* Equal bits, NaN aside. */
static void same(const float *a, const float *b, int64_t count, const serving *s, const char *what) {
    for (int64_t i = 0; i < count; i++) {
        cr_assert(memcmp(&a[i], &b[i], 4) == 0, "%s: element %lld is %a, want %a: %s", what, (long long)i, (double)b[i], (double)a[i],
                  describe(s));
    }
}

static int64_t check(int engine, const serving *s) {
    op_lookups in;
    cr_assert(op_bag_forward_fill(&s->op, 0, &in));
    served want = run(0, s, &in);
    served got = run(engine, s, &in);
    same(want.trained, want.served, want.count, s, "reference: served against trained");
    same(want.trained, got.trained, want.count, s, "trained against the reference");
    same(want.trained, got.served, want.count, s, "served against the reference");
    const int64_t count = want.count;
    drop(&want);
    drop(&got);
    op_lookups_free(&in);
    return count;
}

/* A case for every format; modes, observers, weights, padding, norms and widths go round at different paces. */
static serving numbered(int i) {
    static const int64_t dims[] = {64, 33, 16, 7, 128, 48, 1, 100, 257, 31, 2, 300, 4093};
    static const int modes[] = {QEMB_MODE_SUM, QEMB_MODE_MEAN, QEMB_MODE_SUM, QEMB_MODE_MAX};
    serving s = {.op = OP_BAG_FORWARD_DEFAULT, .format = &op_formats[i % OP_NUM_FORMATS]};
    s.op.mode = modes[i % 4];
    s.op.observer = i % 3;
    s.op.c = i % 2 ? 1.0 : 0.25;
    s.op.D = dims[(i * 5) % 13];
    s.op.T = i % 6 == 4 ? 3 : 1;
    s.op.vary = s.op.T > 1;
    s.op.E = 101 + i;
    s.op.B = 307;
    s.op.L = 6;
    s.op.ragged = 1 + i / 2 % 2;
    s.op.weighted = s.op.mode == QEMB_MODE_SUM && i % 4 == 2;
    s.op.padding = i % 5 == 1 ? 17 : -1;
    s.op.max_norm = i % 7 == 3 ? 0.8 : -1.0;
    s.op.norm = i % 14 == 3 ? 1.0 : 2.0;
    s.op.seed = 40 + i;
    s.embedding = i % 9 == 8 && s.op.T == 1;
    if (s.embedding) {
        s.op.weighted = 0;
    }
    return s;
}

/* QEMB_TEST_CASES: how many (28 here, every format at least once). At night as many, with more bags, as 10^8 elements take. */
static void check_family(int engine) {
    const char *text = getenv("QEMB_TEST_CASES");
    const char *nightly = getenv("QEMB_NIGHTLY");
    const bool night = nightly && *nightly == '1';
    const int64_t wanted = night ? 100000000 : 500000;
    const int cases = text ? atoi(text) : 28;
    int64_t elements = 0;
    int i = 0;
    for (; i < cases || (night && elements < wanted); i++) {
        serving s = numbered(i);
        s.op.B = night ? 7001 : s.op.B;
        s.op.E = night ? 10007 + i : s.op.E;
        elements += check(engine, &s);
    }
    scoreboard("R12", true, engines[engine].family, "0 of %lld elements differ between training, serving and reference (%d modules)",
               (long long)elements, i);
    cr_assert(elements >= wanted || text, "%lld elements compared, want %lld for each family", (long long)elements, (long long)wanted);
}

Test(packed_forward, the_cpu_family_serves_the_bits_that_it_trained, .timeout = 3600) {
    check_family(1);
}

Test(packed_forward, the_gpu_family_serves_the_bits_that_it_trained, .timeout = 3600) {
    check_family(2);
}

/* ---- output types, maps, slabs, refusals ------------------------------------------------------------------------------ */

typedef struct small {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_packed *packed;
    qemb_batch *batch;
    qemb_buffer *out;
} small;

enum { SMALL_E = 47, SMALL_D = 37, SMALL_B = 12, SMALL_L = 4 };

static small open_small(int engine, const qemb_packed_desc *desc, qemb_mode mode) {
    small s = {.ctx = bag_kept_context(&engines[engine])};
    qemb_qconfig q = qemb_qconfig_4bit();
    int64_t indices[SMALL_B * SMALL_L];
    q.observer = QEMB_OBSERVER_MEMORYLESS;
    OK(qemb_embedding_bag_create(
        s.ctx, &(qemb_embedding_bag_desc){.num_embeddings = SMALL_E, .embedding_dim = SMALL_D, .mode = mode, .qconfig = q, .seed = 3},
        &s.bag));
    OK(qemb_packed_create(s.bag, desc, &s.packed));
    OK(qemb_batch_create(s.ctx, &s.batch));
    for (int i = 0; i < SMALL_B * SMALL_L; i++) {
        indices[i] = (i * 7) % SMALL_E;
    }
    OK(qemb_packed_batch_set(
        s.packed, s.batch,
        &(qemb_input){.indices = indices, .num_indices = SMALL_B * SMALL_L, .indices_dtype = QEMB_INT64, .columns = SMALL_L}));
    OK(qemb_buffer_create(s.ctx, SMALL_B * SMALL_D * sizeof(float), &s.out));
    return s;
}

static void close_small(small *s) {
    qemb_buffer_destroy(s->out);
    qemb_batch_destroy(s->batch);
    qemb_packed_destroy(s->packed);
    qemb_embedding_bag_destroy(s->bag);
}

/* fp16 and bf16 by double arithmetic: the nearest, ties to even. */
static double nearest(double x, int mantissa, int least) {
    int e = 0;
    (void)frexp(x, &e);
    const int step = e - mantissa > least ? e - mantissa : least;
    return ldexp(nearbyint(ldexp(x, -step)), step);
}

static double widen(uint16_t bits, bool bfloat) {
    uint32_t word = (uint32_t)bits << 16;
    float f = 0.0f;
    if (bfloat) {
        memcpy(&f, &word, sizeof f);
        return (double)f;
    }
    const int e = bits >> 10 & 31;
    const double m = e ? ldexp(1024 + (bits & 1023), e - 25) : ldexp(bits & 1023, -24);
    return bits & 0x8000 ? -m : m;
}

Test(packed_forward, half_and_bfloat_outputs_are_the_float_ones_rounded_once) {
    for (int k = 0; k < 3; k++) {
        static float full[SMALL_B * SMALL_D];
        static uint16_t half[SMALL_B * SMALL_D];
        small s = open_small(k, &(qemb_packed_desc){.format = {.bits = 8}}, QEMB_MODE_SUM);
        OK(qemb_packed_forward(s.packed, s.batch, s.out, QEMB_FLOAT32));
        OK(qemb_buffer_read(s.out, 0, sizeof full, full));
        for (int b = 0; b < 2; b++) {
            OK(qemb_packed_forward(s.packed, s.batch, s.out, b ? QEMB_BFLOAT16 : QEMB_FLOAT16));
            OK(qemb_buffer_read(s.out, 0, sizeof half, half));
            for (int i = 0; i < SMALL_B * SMALL_D; i++) {
                const double want = nearest((double)full[i], b ? 8 : 11, b ? -140 : -24);
                cr_assert(widen(half[i], b) == want, "engine %d, type %d, element %d: %a, want %a", k, b, i, widen(half[i], b), want);
            }
        }
        cr_assert(qemb_packed_forward(s.packed, s.batch, s.out, QEMB_INT32) == QEMB_ERR_DTYPE);
        close_small(&s);
    }
}

Test(packed_forward, pruned_rows_contribute_nothing_and_do_not_count) {
    int32_t map[SMALL_E];
    static float got[3][SMALL_B * SMALL_D];
    for (int r = 0; r < SMALL_E; r++) {
        map[r] = r % 2 ? -1 : r / 2;
    }
    for (int k = 0; k < 3; k++) {
        float row[SMALL_D];
        small s = open_small(k, &(qemb_packed_desc){.format = {.bits = 4}, .row_map = (const int32_t *const[]){map}}, QEMB_MODE_MEAN);
        OK(qemb_packed_forward(s.packed, s.batch, s.out, QEMB_FLOAT32));
        OK(qemb_buffer_read(s.out, 0, sizeof got[k], got[k]));
        double want = 0.0;
        double largest = 0.0;
        int count = 0;
        for (int i = 0; i < SMALL_L; i++) { /* bag 1 */
            const int id = ((SMALL_L + i) * 7) % SMALL_E;
            if (map[id] >= 0) {
                OK(qemb_packed_unpack(s.packed, 0, map[id], 1, row));
                want += (double)row[5];
                for (int c = 0; c < SMALL_D; c++) {
                    largest = fmax(largest, fabs((double)row[c]));
                }
                count++;
            }
        }
        cr_assert(count > 0 && count < SMALL_L);
        /* two roundings a lookup (bias added, fma), of sums of at most count + 1 such numbers; the quotient's */
        const double tolerance = (2 * count + 1) * 0x1p-24 * 2.0 * largest;
        cr_assert(fabs(want / count - (double)got[k][SMALL_D + 5]) <= tolerance, "%g, want %g", (double)got[k][SMALL_D + 5], want / count);
        cr_assert(memcmp(got[0], got[k], sizeof got[0]) == 0);
        close_small(&s);
    }
}

/* Sums of a table of 1999 rows, 8 bits, whose slabs hold at most `limit` bytes. */
static void run_limited(int engine, const op_format *f, const char *limit, float *out) {
    enum { E = 1999, D = 37, B = 64, L = 8 };
    int32_t indices[B * L];
    qemb_qconfig q = qemb_qconfig_8bit();
    qemb_embedding_bag *bag = NULL;
    qemb_packed *packed = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    bag_engine limited = engines[engine];
    limited.allocation = limit;
    qemb_context *ctx = bag_kept_context(&limited);
    for (int i = 0; i < B * L; i++) {
        indices[i] = (i * 389) % E;
    }
    q.observer = QEMB_OBSERVER_MEMORYLESS;
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = E, .embedding_dim = D, .mode = QEMB_MODE_SUM, .qconfig = q, .seed = 3}, &bag));
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = f->format}, &packed));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_packed_batch_set(packed, batch,
                             &(qemb_input){.indices = indices, .num_indices = B * L, .indices_dtype = QEMB_INT32, .columns = L}));
    OK(qemb_buffer_create(ctx, B * D * sizeof(float), &buffer));
    OK(qemb_packed_forward(packed, batch, buffer, QEMB_FLOAT32));
    OK(qemb_buffer_read(buffer, 0, B * D * sizeof(float), out));
    OK(qemb_packed_unpack(packed, 0, 0, E, out + B * D));
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_packed_destroy(packed);
    qemb_embedding_bag_destroy(bag);
}

Test(packed_forward, tables_in_many_slabs_give_the_same_bits) {
    static float whole[64 * 37 + 1999 * 37];
    static float sliced[64 * 37 + 1999 * 37];
    for (int f = 0; f < OP_NUM_FORMATS; f += 3) { /* 8 bits: 74 KB of codes, in slabs of 64 KB and of 40 KB */
        run_limited(0, &op_formats[f], NULL, whole);
        for (int k = 1; k < 3; k++) {
            run_limited(k, &op_formats[f], k == 1 ? "65536" : "40960", sliced);
            cr_assert(memcmp(whole, sliced, sizeof whole) == 0, "%s, engine %d", op_formats[f].name, k);
        }
    }
}

Test(packed_forward, a_batch_of_another_object_and_a_short_output_are_refused) {
    for (int k = 0; k < 3; k++) {
        const int32_t index = 1;
        qemb_buffer *little = NULL;
        small s = open_small(k, &(qemb_packed_desc){.format = {.bits = 2}}, QEMB_MODE_SUM);
        OK(qemb_buffer_create(s.ctx, SMALL_B * SMALL_D * sizeof(float) - 1, &little));
        cr_assert(qemb_packed_forward(s.packed, s.batch, little, QEMB_FLOAT32) == QEMB_ERR_SHAPE);
        cr_assert(qemb_embedding_bag_forward(s.bag, s.batch, s.out) == QEMB_ERR_STATE);
        OK(qemb_batch_set(s.batch, s.bag, &(qemb_input){.indices = &index, .num_indices = 1, .indices_dtype = QEMB_INT32, .columns = 1}));
        cr_assert(qemb_packed_forward(s.packed, s.batch, s.out, QEMB_FLOAT32) == QEMB_ERR_STATE);
        cr_assert(qemb_packed_forward(NULL, s.batch, s.out, QEMB_FLOAT32) == QEMB_ERR_ARG);
        qemb_buffer_destroy(little);
        close_small(&s);
    }
}

/* Two tables whose scales and biases are stored as unlike numbers: the kernel asks each row's table, not its options. */
Test(packed_forward, tables_of_unlike_numbers_in_one_module_give_the_reference_s_bits) {
    enum { ROWS = 31, DIM = 19, BAGS = 3 };
    static const qemb_qparams numbers[] = {QEMB_QPARAMS_FP32, QEMB_QPARAMS_BF16};
    static const int64_t ids[] = {7, 30, 0, 7, 2, 11, 30, 1, 5, 5}, offsets[2 * BAGS] = {0, 2, 2, 5, 6, 9};
    const qemb_input input = {.indices = ids, .num_indices = 10, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 2 * BAGS};
    float answer[2][BAGS * 2 * DIM];
    for (int k = 0; k < 2; k++) {
        unsigned char rows[2][ROWS * DIM], qparams[2][ROWS * 8];
        qemb_packed_table table[2];
        qemb_context *ctx = NULL;
        qemb_packed *packed = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        OK(qemb_context_create(k ? "opencl" : "reference", &ctx));
        for (int t = 0; t < 2; t++) {
            const qemb_packed_desc desc = {.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 8, .qparams = numbers[t]},
                                           .method = QEMB_PACK_MINMAX};
            qemb_embedding_bag *bag = NULL;
            OK(qemb_embedding_bag_create(
                ctx,
                &(qemb_embedding_bag_desc){
                    .num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_float(), .seed = 3 + (uint64_t)t},
                &bag));
            OK(qemb_packed_create(bag, &desc, &packed));
            OK(qemb_packed_get_table(packed, 0, &table[t]));
            OK(qemb_packed_read_rows(packed, 0, 0, ROWS, rows[t], qparams[t]));
            table[t].name = t ? "b" : "a";
            table[t].rows = rows[t];
            table[t].qparams = qparams[t];
            qemb_packed_destroy(packed);
            qemb_embedding_bag_destroy(bag);
        }
        OK(qemb_packed_import(ctx, &(qemb_packed_import_desc){.tables = table, .num_tables = 2, .options = {.mode = QEMB_MODE_SUM}},
                              &packed));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_packed_batch_set(packed, batch, &input));
        OK(qemb_buffer_create(ctx, sizeof answer[k], &out));
        OK(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32));
        OK(qemb_buffer_read(out, 0, sizeof answer[k], answer[k]));
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_packed_destroy(packed);
        qemb_context_destroy(ctx);
    }
    cr_assert_arr_eq(answer[0], answer[1], sizeof answer[0]);
    cr_expect(answer[0][0] != 0.0f);
}
