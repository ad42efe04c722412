/* test_variants.c - every line of src/opencl/variants.inc that the device can run gives the bits of the reference engine, whatever its knobs.
 *
 * A scene is a module, a batch and everything that is done with them: look up, step, sweep, fake-quantise, pack, look up packed. All that can
 * be seen is written into one array of floats; the arrays of two engines must be the same bits. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl/pick.h"
#include "support_bag.h"
#include "support_ok.h"

enum { TABLES = 3, BAGS = 7, LONGEST = 67, MAX_SEEN = 40000 };

typedef struct scene {
    int64_t rows[TABLES], dim[TABLES]; /* dim 0: no such table */
    qemb_mode mode;
    qemb_observer observer;
    qemb_arithmetic arithmetic;
    qemb_optimizer_kind optimizer;
    bool weighted;
} scene;

static const scene scenes[] = {
    {{97, 31, 11}, {7, 61, 16}, QEMB_MODE_SUM, QEMB_OBSERVER_MOVING_AVERAGE, QEMB_ARITHMETIC_TORCH_CPU, QEMB_SGD, true},
    {{89}, {64}, QEMB_MODE_MEAN, QEMB_OBSERVER_MEMORYLESS, QEMB_ARITHMETIC_TORCH_CPU, QEMB_ROWWISE_ADAGRAD, false},
    {{61, 3, 13}, {4, 300, 20}, QEMB_MODE_MAX, QEMB_OBSERVER_MIN_MAX, QEMB_ARITHMETIC_TORCH_CUDA, QEMB_ADAM, false},
};
enum { NUM_SCENES = sizeof scenes / sizeof *scenes };

static int32_t tables_of(const scene *c) {
    return c->dim[1] ? TABLES : 1;
}

typedef struct seen {
    float value[MAX_SEEN];
    int64_t count;
} seen;

static uint64_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void see(seen *s, const float *values, int64_t count) {
    cr_assert_leq(s->count + count, MAX_SEEN);
    memcpy(s->value + s->count, values, (size_t)count * sizeof *values);
    s->count += count;
}

static void see_buffer(seen *s, qemb_buffer *buffer, int64_t count) {
    cr_assert_leq(s->count + count, MAX_SEEN);
    OK(qemb_buffer_read(buffer, 0, (size_t)count * sizeof(float), s->value + s->count));
    s->count += count;
}

static qemb_embedding_bag *make_module(qemb_context *ctx, const scene *c) {
    qemb_table_desc tables[TABLES];
    qemb_embedding_bag *bag = NULL;
    float *weights[TABLES];
    uint64_t state = 5;
    for (int t = 0; t < tables_of(c); t++) {
        weights[t] = malloc((size_t)(c->rows[t] * c->dim[t]) * sizeof(float));
        for (int64_t i = 0; i < c->rows[t] * c->dim[t]; i++) {
            weights[t][i] = (float)((double)next(&state) / 1073741824.0 - 1.0);
        }
        qemb_qconfig q = qemb_qconfig_8bit();
        q.observer = c->observer;
        q.arithmetic = c->arithmetic;
        tables[t] = (qemb_table_desc){.num_embeddings = c->rows[t], .embedding_dim = c->dim[t], .qconfig = q, .weight = weights[t]};
    }
    OK(qemb_embedding_bag_collection_create(
        ctx, &(qemb_collection_desc){.tables = tables, .num_tables = tables_of(c), .options = {.mode = c->mode}}, &bag));
    for (int t = 0; t < tables_of(c); t++) {
        free(weights[t]);
    }
    return bag;
}

/* Bags of 0 to LONGEST lookups, half of them of one row, so that runs longer than a part exist. */
typedef struct lookups {
    int32_t offsets[TABLES * BAGS], indices[TABLES * BAGS * LONGEST];
    float weights[TABLES * BAGS * LONGEST];
    int32_t count;
} lookups;

static void fill(lookups *in, const scene *c, uint64_t seed) {
    uint64_t state = seed;
    in->count = 0;
    for (int g = 0; g < tables_of(c) * BAGS; g++) {
        const int length = g % 5 == 3 ? 0 : (int)(next(&state) % LONGEST);
        in->offsets[g] = in->count;
        for (int i = 0; i < length; i++, in->count++) {
            const int32_t rows = (int32_t)c->rows[g / BAGS];
            in->indices[in->count] = next(&state) % 2 ? rows / 2 : (int32_t)(next(&state) % (uint64_t)rows);
            in->weights[in->count] = (float)((double)next(&state) / 1073741824.0 - 1.0);
        }
    }
}

static qemb_input input_of(const lookups *in, const scene *c) {
    return (qemb_input){.indices = in->indices,
                        .num_indices = in->count,
                        .indices_dtype = QEMB_INT32,
                        .offsets = in->offsets,
                        .num_offsets = tables_of(c) * BAGS,
                        .offsets_dtype = QEMB_INT32,
                        .per_sample_weights = c->weighted ? in->weights : NULL,
                        .num_per_sample_weights = c->weighted ? in->count : 0};
}

static void look_at_tables(qemb_embedding_bag *bag, const scene *c, qemb_buffer *values, seen *s) {
    static float rows[128 * 512];
    for (int t = 0; t < tables_of(c); t++) {
        float low[128], high[128];
        OK(qemb_embedding_bag_read_weight(bag, t, 0, c->rows[t], rows));
        see(s, rows, c->rows[t] * c->dim[t]);
        OK(qemb_embedding_bag_read_observer(bag, t, 0, c->rows[t], &(qemb_observer_rows){.min_val = low, .max_val = high}));
        see(s, low, c->rows[t]);
        see(s, high, c->rows[t]);
        OK(qemb_embedding_bag_fake_quantise(bag, t, 0, c->rows[t], values));
        see_buffer(s, values, c->rows[t] * c->dim[t]);
    }
}

static void serve(qemb_context *ctx, qemb_embedding_bag *bag, const lookups *in, const scene *c, qemb_buffer *out, seen *s) {
    static const int bits[] = {8, 4};
    qemb_input input = input_of(in, c);
    for (int k = 0; k < 2; k++) {
        qemb_packed *packed = NULL;
        qemb_batch *batch = NULL;
        OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.bits = bits[k]}, .method = QEMB_PACK_MINMAX}, &packed));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_packed_batch_set(packed, batch, &input));
        OK(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32));
        see_buffer(s, out, BAGS * (c->dim[0] + c->dim[1] + c->dim[2]));
        qemb_batch_destroy(batch);
        qemb_packed_destroy(packed);
    }
}

/* Plays a scene; what[stem] gets the variants that ran, one after another. */
static void play(qemb_context *ctx, const scene *c, seen *s, char what[QEMB__STEMS][200]) {
    static lookups in;
    static float ones[BAGS * 512];
    const int64_t columns = c->dim[0] + c->dim[1] + c->dim[2];
    qemb_embedding_bag *bag = make_module(ctx, c);
    qemb_optimizer *optimizer = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL, *grad = NULL, *values = NULL;
    s->count = 0;
    OK(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = c->optimizer, .lr = 0.25}, &optimizer));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, (size_t)(BAGS * columns) * sizeof(float), &out));
    OK(qemb_buffer_create(ctx, (size_t)(BAGS * columns) * sizeof(float), &grad));
    OK(qemb_buffer_create(ctx, 128 * 512 * sizeof(float), &values));
    for (int64_t i = 0; i < BAGS * columns; i++) {
        ones[i] = (float)(i % 13) * 0.125f - 0.5f;
    }
    OK(qemb_buffer_write(grad, 0, (size_t)(BAGS * columns) * sizeof(float), ones));
    for (int step = 0; step < 2; step++) {
        fill(&in, c, (uint64_t)step + 1);
        qemb_input input = input_of(&in, c);
        OK(qemb_batch_set(batch, bag, &input));
        OK(qemb_embedding_bag_forward(bag, batch, out));
        see_buffer(s, out, BAGS * columns);
        OK(qemb_embedding_bag_step(bag, batch, grad, optimizer));
    }
    look_at_tables(bag, c, values, s);
    serve(ctx, bag, &in, c, out, s);
    for (int k = 0; what && k < QEMB__STEMS; k++) {
        const char *text = qemb_context_variant(ctx, qemb__stem_text((qemb__stem)k));
        (void)snprintf(what[k], sizeof *what, "%.*s", (int)strcspn(text, " "), text);
    }
    qemb_buffer_destroy(values);
    qemb_buffer_destroy(grad);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_optimizer_destroy(optimizer);
    qemb_embedding_bag_destroy(bag);
}

static void expect_same(const seen *got, const seen *want, const char *family, const char *force, int k) {
    cr_assert_eq(got->count, want->count);
    for (int64_t i = 0; i < got->count; i++) {
        cr_assert(bag_same_bits(got->value[i], want->value[i]),
                  "QEMB_FAMILY=%s QEMB_VARIANT=%s: scene %d, value %lld of %lld: got %a, want %a", family, force, k, (long long)i,
                  (long long)got->count, (double)got->value[i], (double)want->value[i]);
    }
}

/* The `rank`-th line of a stem that PoCL can run, NULL behind the last: PTX cannot. */
static const qemb__variant *line_of(int stem, bool is_cpu, int rank) {
    for (int i = 0; i < qemb__variant_count; i++) {
        const qemb__variant *v = &qemb__variants[i];
        if ((int)v->stem == stem && v->is_cpu == is_cpu && !(v->needs & (QEMB__WARP_SHUFFLE | QEMB__WARP_REDUCE)) && rank-- == 0) {
            return v;
        }
    }
    return NULL;
}

/* The `rank`-th line of every stem as text, knobs at their usual (0), least (1) or most (2); false: no stem has one. */
static bool force_text(bool is_cpu, int rank, int level, char *text, size_t size) {
    int at = 0;
    for (int stem = 0; stem < QEMB__STEMS; stem++) {
        const qemb__variant *v = line_of(stem, is_cpu, rank);
        at += v ? snprintf(text + at, size - (size_t)at, "%s%s=%s", at ? "," : "", qemb__stem_text((qemb__stem)stem), v->name) : 0;
        for (int k = 0; v && level && k < QEMB__KNOBS; k++) {
            if (v->knob[k].least < v->knob[k].most) {
                at += snprintf(text + at, size - (size_t)at, ":%s=%d", qemb__knob_text((qemb__knob_name)k),
                               level == 1 ? v->knob[k].least : v->knob[k].most);
            }
        }
    }
    return at > 0;
}

/* All first lines of a family together, all second ones, and so on. */
static void try_family(const char *family) {
    static seen want[NUM_SCENES], got;
    static char what[QEMB__STEMS][200];
    const bag_engine reference = {"reference", "reference", NULL, NULL, NULL};
    const bag_engine engine = {family, "pthread", family, NULL, NULL};
    const bool is_cpu = strcmp(family, "cpu") == 0;
    const int levels = getenv("QEMB_NIGHTLY") ? 3 : 1;
    char force[600];
    bag_pocl_devices();
    qemb_context *ctx = bag_context(&reference);
    for (int k = 0; k < NUM_SCENES; k++) {
        play(ctx, &scenes[k], &want[k], NULL);
    }
    qemb_context_destroy(ctx);
    ctx = bag_context(&engine);
    for (int rank = 0; force_text(is_cpu, rank, 0, force, sizeof force); rank++) {
        bool ran[QEMB__STEMS] = {false};
        bool all = false;
        for (int level = 0; level < levels; level++) {
            (void)force_text(is_cpu, rank, level, force, sizeof force);
            for (int k = 0; k < NUM_SCENES && !(all && rank > 0 && levels == 1); k++) { /* one scene a later line, to spare the compiler */
                OK(qemb_context_force_variant(ctx, force));
                all = true;
                play(ctx, &scenes[k], &got, what);
                expect_same(&got, &want[k], family, force, k);
                for (int stem = 0; stem < QEMB__STEMS; stem++) {
                    const qemb__variant *v = line_of(stem, is_cpu, rank);
                    ran[stem] = ran[stem] || (v && strcmp(what[stem], v->name) == 0);
                    all = all && (ran[stem] || !v);
                }
            }
        }
        for (int stem = 0; stem < QEMB__STEMS; stem++) {
            cr_expect(ran[stem] || !line_of(stem, is_cpu, rank), "%s: line %d of %s: no scene runs it", family, rank,
                      qemb__stem_text((qemb__stem)stem));
        }
    }
    qemb_context_destroy(ctx);
}

Test(variants, cpu_family, .description = "variants: each line of the CPU family in turn, the bits of the reference engine") {
    try_family("cpu");
}

Test(variants, gpu_family, .description = "variants: each line of the GPU family in turn, the bits of the reference engine") {
    try_family("gpu");
}

static void count_variant(void *user, const char *stem, const char *name, const char *knobs, bool able) {
    int *counts = user;
    (void)name;
    (void)knobs;
    counts[qemb__stem_of(stem, strlen(stem))] += able;
}

Test(variants, list,
     .description = "variants: every stem of both families ends with a line that needs and wants nothing, and names are found again") {
    for (int s = 0; s < QEMB__STEMS; s++) {
        for (int family = 0; family < 2; family++) {
            const qemb__variant *last = NULL;
            for (int i = 0; i < qemb__variant_count; i++) {
                const qemb__variant *v = &qemb__variants[i];
                last = v->stem == (qemb__stem)s && v->is_cpu == family ? v : last;
                cr_expect_eq(qemb__variant_find(v->stem, v->is_cpu, v->name, strlen(v->name)), v, "%s twice", v->name);
            }
            cr_assert(last && !last->needs && !last->wants, "%s", qemb__stem_text((qemb__stem)s));
        }
    }
    int counts[QEMB__STEMS] = {0};
    const bag_engine engine = {"cpu", "pthread", "cpu", NULL, NULL};
    bag_pocl_devices();
    qemb_context *ctx = bag_context(&engine);
    OK(qemb_context_variants(ctx, count_variant, counts));
    for (int s = 0; s < QEMB__STEMS; s++) {
        cr_expect_geq(counts[s], 1, "%s", qemb__stem_text((qemb__stem)s));
    }
    qemb_context_destroy(ctx);
}

/* clang-format off */
Test(variants, names, .description = "variants: words that are not in the list are refused with a sentence, and what was asked for before stays") {
    static const char *const wrong[] = {"bag_forward", "bag_forward=", "bag_forward=nothing", "nothing=single", "bag_forward=single:rows=8",
                                        "bag_forward=single:ahead", "bag_forward=single,row_sort=digit8", "=single", ":", "=,=", "bag_forward=single:=1"};
    const bag_engine engine = {"cpu", "pthread", "cpu", NULL, NULL};
    static seen got;
    static char what[QEMB__STEMS][200];
    bag_pocl_devices();
    qemb_context *ctx = bag_context(&engine);
    cr_expect_str_eq(qemb_context_variant(ctx, "bag_forward"), "", "before the first launch");
    cr_expect_str_eq(qemb_context_variant(ctx, "nothing"), "");
    OK(qemb_context_force_variant(ctx, "bag_forward=single:ahead=9999:local=48,row_sort=buckets"));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_eq(qemb_context_force_variant(ctx, wrong[i]), QEMB_ERR_ARG, "%s", wrong[i]);
        cr_expect(strstr(qemb_last_error(), "variant \""), "%s: %s", wrong[i], qemb_last_error());
    }
    play(ctx, &scenes[1], &got, what);
    cr_expect_str_eq(what[QEMB__ROW_SORT], "buckets");
    cr_expect_str_eq(qemb_context_variant(ctx, "bag_forward"), "single ahead=96 local=32", "the nearest that the knobs allow");
    OK(qemb_context_force_variant(ctx, NULL));
    play(ctx, &scenes[1], &got, what);
    cr_expect_str_eq(what[QEMB__BAG_FORWARD], "grouped");
    cr_expect_str_eq(what[QEMB__ROW_SORT], "alone");
    qemb_context_destroy(ctx);
    OK(qemb_context_create("reference", &ctx));
    cr_expect_str_eq(qemb_context_variant(ctx, "bag_forward"), "plain");
    cr_expect_eq(qemb_context_force_variant(ctx, ""), QEMB_ERR_UNSUPPORTED);
    qemb_context_destroy(ctx);
}
/* clang-format on */
