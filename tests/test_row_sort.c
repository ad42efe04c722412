/* test_row_sort.c - the row sort: the reference engine against the definition, the OpenCL families against the reference engine. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/row_sort.h"

static qemb_context *open_context(const char *device, const char *family, const char *pocl_device) {
    qemb_context *ctx = NULL;
    setenv("POCL_DEVICES", pocl_device, 1);
    setenv("QEMB_FAMILY", family, 1);
    cr_assert(qemb_context_create(device, &ctx) == QEMB_OK, "%s", qemb_last_error());
    return ctx;
}

/* One line from which a failing case can be built again. */
static const char *describe(const op_row_sort_case *c) {
    static char text[512];
    int at = snprintf(text, sizeof text,
                      "{.bags = %lld, .length = %lld, .ids = %d, .bad_percent = %d, .padding_percent = %d, .columns = %d, .even = %d, "
                      ".last_offset = %d, .indices_64 = %d, .offsets_64 = %d, .seed = %llu, .tables = %d, .features = %d, .rows = {",
                      (long long)c->bags, (long long)c->length, (int)c->ids, c->bad_percent, c->padding_percent, c->columns, c->even,
                      c->last_offset, c->indices_64, c->offsets_64, (unsigned long long)c->seed, c->tables, c->features);
    for (int32_t t = 0; t < c->tables && at < 400; t++) {
        at += snprintf(text + at, sizeof text - (size_t)at, "%lld,", (long long)c->rows[t]);
    }
    (void)snprintf(text + at, sizeof text - (size_t)at, "}}");
    return text;
}

static void sort_case(qemb_context *ctx, const op_row_sort_case *c, op_row_sort *op, op_row_sort_result *result) {
    cr_assert(op_row_sort_open(ctx, c, op) == QEMB_OK, "%s", qemb_last_error());
    cr_assert(op_row_sort_run(op) == QEMB_OK, "%s", qemb_last_error());
    cr_assert(op_row_sort_read(op, result) == QEMB_OK, "%s", qemb_last_error());
}

/* Parts of run r as the definition has them, from *part on. */
static void check_parts(const op_row_sort_result *r, int32_t run, int32_t *part, const char *what) {
    const int32_t begin = r->run_start[run];
    const int32_t end = r->run_start[run + 1];
    if (end - begin <= Q_PART) {
        return;
    }
    cr_assert(r->part_first[run] == *part, "run %d: first part %d, want %d: %s", run, r->part_first[run], *part, what);
    for (int32_t slot = begin; slot < end; slot += Q_PART, (*part)++) {
        cr_assert(r->part_run[*part] == run && r->part_slot[*part] == slot, "part %d: %s", *part, what);
    }
}

/* Every promise of core/row_sort.h, read off the input. */
static void check_definition(const op_row_sort *op, const op_row_sort_result *r) {
    const op_row_sort_case *c = op->what;
    const char *what = describe(c);
    int32_t part = 0;
    int64_t with_row = 0;
    for (int64_t g = 0; g < c->features * c->bags; g++) {
        const q_table *t = &op->table[c->feature_table[g / c->bags]];
        for (int64_t p = op->offset[g]; p < op->offset[g + 1]; p++) {
            const bool has_row = op->index[p] >= 0 && op->index[p] < t->rows && op->index[p] != t->padding_idx;
            const int32_t run = r->run_of[p];
            cr_assert(r->bag_of[p] == g, "bag of position %lld is %d, want %lld: %s", (long long)p, r->bag_of[p], (long long)g, what);
            cr_assert(has_row ? run >= 0 && run < r->counts[Q_SORT_RUNS] : run == -1, "run of position %lld: %s", (long long)p, what);
            cr_assert(!has_row || r->run_row[run] == (uint64_t)(t->row0 + op->index[p]), "row of position %lld: %s", (long long)p, what);
            with_row += has_row;
        }
    }
    cr_assert(r->counts[Q_SORT_LOOKUPS] == with_row && r->run_start[r->counts[Q_SORT_RUNS]] == with_row, "lookups: %s", what);
    for (int32_t run = 0; run < r->counts[Q_SORT_RUNS]; run++) {
        cr_assert(run == 0 || r->run_row[run] > r->run_row[run - 1], "rows ascend: %s", what);
        cr_assert(r->run_start[run] < r->run_start[run + 1], "no run is empty: %s", what);
        for (int32_t slot = r->run_start[run]; slot < r->run_start[run + 1]; slot++) {
            cr_assert(r->run_of[r->position[slot]] == run, "slot %d: %s", slot, what);
            cr_assert(slot == r->run_start[run] || r->position[slot] > r->position[slot - 1], "positions ascend in a run: %s", what);
        }
        check_parts(r, run, &part, what);
    }
    cr_assert(part == r->counts[Q_SORT_PARTS], "%d parts, want %d: %s", r->counts[Q_SORT_PARTS], part, what);
}

static void same(const char *name, const void *a, const void *b, int64_t count, size_t size, const char *what) {
    cr_assert(count == 0 || memcmp(a, b, (size_t)count * size) == 0, "%s differs from the reference engine: %s", name, what);
}

static void check_same(const op_row_sort *op, const op_row_sort_result *a, const op_row_sort_result *b) {
    const char *what = describe(op->what);
    const int32_t runs = b->counts[Q_SORT_RUNS];
    cr_assert(memcmp(a->counts, b->counts, 3 * sizeof(int32_t)) == 0, "counts %d %d %d, want %d %d %d: %s", a->counts[0], a->counts[1],
              a->counts[2], b->counts[0], b->counts[1], b->counts[2], what);
    same("position", a->position, b->position, b->counts[Q_SORT_LOOKUPS], 4, what);
    same("run_start", a->run_start, b->run_start, runs + 1, 4, what);
    same("run_row", a->run_row, b->run_row, runs, 8, what);
    same("part_run", a->part_run, b->part_run, b->counts[Q_SORT_PARTS], 4, what);
    same("part_slot", a->part_slot, b->part_slot, b->counts[Q_SORT_PARTS], 4, what);
    for (int32_t run = 0; run < runs; run++) {
        cr_assert(b->run_start[run + 1] - b->run_start[run] <= Q_PART || a->part_first[run] == b->part_first[run],
                  "part_first of run %d: %s", run, what);
    }
    if (!op->what->refused) {
        same("bag_of", a->bag_of, b->bag_of, op->view.shape.lookups, 4, what);
        if (a->run_of) {
            same("run_of", a->run_of, b->run_of, op->view.shape.lookups, 4, what);
        }
    }
}

/* The case on the reference engine and on ctx, compared. */
static void check_case(qemb_context *reference, qemb_context *ctx, const op_row_sort_case *c) {
    op_row_sort wanted;
    op_row_sort found;
    op_row_sort_result a;
    op_row_sort_result b;
    sort_case(reference, c, &wanted, &b);
    if (!c->refused && !c->without_map) {
        check_definition(&wanted, &b);
    }
    sort_case(ctx, c, &found, &a);
    check_same(&wanted, &a, &b);
    op_row_sort_result_free(&a);
    op_row_sort_result_free(&b);
    op_row_sort_close(&wanted);
    op_row_sort_close(&found);
}

static const int64_t prime_rows[] = {1, 2, 3, 31, 1009, 8191, 65537, 1000003, 16777213};

/* Any case: tables of prime sizes, some read by two features, some by none. */
static op_row_sort_case random_case(uint64_t seed, int64_t lookups) {
    uint64_t state = seed;
    op_row_sort_case c = {.seed = seed};
    c.tables = 1 + (int32_t)(op_random(&state) % 7);
    c.features = 1 + (int32_t)(op_random(&state) % 9);
    for (int32_t t = 0; t < c.tables; t++) {
        c.rows[t] = prime_rows[op_random(&state) % (sizeof prime_rows / sizeof *prime_rows)];
    }
    for (int32_t f = 0; f < c.features; f++) {
        c.feature_table[f] = (int32_t)(op_random(&state) % (uint64_t)c.tables);
    }
    c.length = 1 + (int64_t)(op_random(&state) % 40);
    c.bags = (int64_t)(op_random(&state) % (uint64_t)lookups) / c.length / c.features + 1;
    c.ids = (op_row_sort_ids)(op_random(&state) % 5);
    c.bad_percent = op_random(&state) % 3 ? 0 : (int32_t)(op_random(&state) % 101);
    c.padding_percent = op_random(&state) % 3 ? 0 : (int32_t)(op_random(&state) % 50);
    c.columns = op_random(&state) % 4 == 0;
    c.even = op_random(&state) % 4 == 0;
    c.last_offset = op_random(&state) % 2;
    c.indices_64 = op_random(&state) % 2;
    c.offsets_64 = op_random(&state) % 2;
    return c;
}

static void check_random(const char *family, const char *pocl_device, int count, int64_t lookups) {
    qemb_context *ctx = open_context("opencl", family, pocl_device);
    qemb_context *reference = open_context("reference", family, pocl_device);
    for (int i = 0; i < count; i++) {
        const op_row_sort_case c = random_case((uint64_t)i * 2654435761u + 17, i % 4 ? lookups / 16 : lookups);
        check_case(reference, ctx, &c);
    }
    qemb_context_destroy(ctx);
    qemb_context_destroy(reference);
}

Test(row_sort, random_batches_cpu_family_pthread_equal_the_reference) {
    check_random("cpu", "pthread", 80, 60000);
}
Test(row_sort, random_batches_cpu_family_basic_equal_the_reference) {
    check_random("cpu", "basic", 40, 60000);
}
Test(row_sort, random_batches_gpu_family_pthread_equal_the_reference) {
    check_random("gpu", "pthread", 40, 30000);
}
Test(row_sort, random_batches_gpu_family_basic_equal_the_reference) {
    check_random("gpu", "basic", 20, 30000);
}

/* Sizes about powers of two and about every limit at which another way is taken; one and several tables. */
static void check_sizes(const char *family) {
    static const int64_t sizes[] = {1,    2,    23,   24,   25,   31,   32,    33,    64,    127,   128,   511,   512,   1535,
                                    1792, 1793, 4095, 4096, 4097, 8193, 16384, 32768, 32769, 65535, 65536, 65537, 131073};
    qemb_context *ctx = open_context("opencl", family, "pthread");
    qemb_context *reference = open_context("reference", family, "pthread");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int ids = 0; ids < 5; ids++) {
            op_row_sort_case one = {
                .tables = 1, .features = 1, .rows = {1000003}, .bags = sizes[i], .length = 1, .even = true, .ids = (op_row_sort_ids)ids};
            op_row_sort_case many = {.tables = 5,
                                     .features = 5,
                                     .rows = {7, 523, 100003, 3, 40009},
                                     .feature_table = {0, 1, 2, 3, 4},
                                     .bags = sizes[i] / 5,
                                     .length = 1,
                                     .columns = true,
                                     .indices_64 = true,
                                     .ids = (op_row_sort_ids)ids};
            one.seed = many.seed = i * 5 + (size_t)ids;
            check_case(reference, ctx, &one);
            check_case(reference, ctx, &many);
        }
    }
    qemb_context_destroy(ctx);
    qemb_context_destroy(reference);
}

Test(row_sort, every_size_and_distribution_cpu_family_equals_the_reference) {
    check_sizes("cpu");
}
Test(row_sort, every_size_and_distribution_gpu_family_equals_the_reference) {
    check_sizes("gpu");
}

static const op_row_sort_case special_cases[] = {
    /* no lookups: no bags, empty bags, no bag that has a row */
    {.tables = 1, .features = 1, .rows = {13}, .bags = 0, .length = 3},
    {.tables = 2, .features = 2, .rows = {13, 17}, .feature_table = {0, 1}, .bags = 11, .length = 0, .last_offset = true},
    {.tables = 1, .features = 1, .rows = {13}, .bags = 11, .length = 5, .bad_percent = 100},
    {.tables = 1, .features = 1, .rows = {13}, .bags = 7001, .length = 13, .padding_percent = 100},
    /* tables past 32 bits, alone and behind others, with few and many lookups; row numbers of 64 bits */
    {.tables = 1, .features = 1, .rows = {(int64_t)1 << 40}, .bags = 101, .length = 7, .indices_64 = true, .padding_percent = 5},
    {.tables = 3,
     .features = 4,
     .rows = {17, ((int64_t)1 << 33) + 1, 5000000003},
     .feature_table = {2, 0, 1, 2},
     .bags = 4001,
     .length = 7,
     .indices_64 = true,
     .bad_percent = 7,
     .seed = 3},
    {.tables = 3,
     .features = 3,
     .rows = {4294967291, 3, 4294967296},
     .feature_table = {0, 1, 2},
     .bags = 503,
     .length = 3,
     .indices_64 = true},
    {.tables = 1, .features = 1, .rows = {4294967295}, .bags = 503, .length = 3, .indices_64 = true},
    {.tables = 1, .features = 1, .rows = {4294967296}, .bags = 503, .length = 3, .indices_64 = true},
    /* features that share a table, in and out of order, and tables nobody reads; large enough for chunks */
    {.tables = 3, .features = 5, .rows = {101, 1000003, 29}, .feature_table = {1, 0, 1, 0, 1}, .bags = 1301, .length = 17, .seed = 5},
    {.tables = 2,
     .features = 4,
     .rows = {1009, 1000003},
     .feature_table = {1, 0, 1, 0},
     .bags = 2003,
     .length = 13,
     .seed = 6,
     .columns = true},
    {.tables = 1, .features = 3, .rows = {50021}, .feature_table = {0, 0, 0}, .bags = 10007, .length = 9, .seed = 7, .ids = OP_IDS_SKEWED},
    /* every lookup the same row, in one bucket of many; runs of Q_PART and one more */
    {.tables = 1, .features = 1, .rows = {16777213}, .bags = 200003, .length = 1, .even = true, .ids = OP_IDS_ONE_ROW},
    {.tables = 1, .features = 1, .rows = {32}, .bags = 1024, .length = 1, .even = true, .ids = OP_IDS_DISTINCT},
    {.tables = 1, .features = 1, .rows = {31}, .bags = 1024, .length = 1, .even = true, .ids = OP_IDS_DISTINCT},
    /* columns that a network takes: half full, one more, full, one too many */
    {.tables = 1, .features = 1, .rows = {65536}, .bags = 13 * 16, .length = 1, .even = true, .ids = OP_IDS_COLUMNS},
    {.tables = 1, .features = 1, .rows = {65536}, .bags = 13 * 17, .length = 1, .even = true, .ids = OP_IDS_COLUMNS},
    {.tables = 1, .features = 1, .rows = {65536}, .bags = 13 * 24, .length = 1, .even = true, .ids = OP_IDS_COLUMNS},
    {.tables = 1, .features = 1, .rows = {65536}, .bags = 13 * 25, .length = 1, .even = true, .ids = OP_IDS_COLUMNS},
    /* refused on the device: nothing is found; no map wanted */
    {.tables = 1, .features = 1, .rows = {1009}, .bags = 101, .length = 7, .refused = true},
    {.tables = 5,
     .features = 5,
     .rows = {7, 523, 100003, 3, 40009},
     .feature_table = {0, 1, 2, 3, 4},
     .bags = 1501,
     .length = 7,
     .refused = true},
    {.tables = 1, .features = 1, .rows = {1000003}, .bags = 10007, .length = 11, .refused = true},
    {.tables = 1, .features = 1, .rows = {1000003}, .bags = 10007, .length = 11, .without_map = true, .bad_percent = 3},
    {.tables = 5,
     .features = 5,
     .rows = {7, 523, 100003, 3, 40009},
     .feature_table = {0, 1, 2, 3, 4},
     .bags = 501,
     .length = 7,
     .without_map = true},
};

static void check_special(const char *family) {
    qemb_context *ctx = open_context("opencl", family, "pthread");
    qemb_context *reference = open_context("reference", family, "pthread");
    for (size_t i = 0; i < sizeof special_cases / sizeof *special_cases; i++) {
        check_case(reference, ctx, &special_cases[i]);
    }
    qemb_context_destroy(ctx);
    qemb_context_destroy(reference);
}

Test(row_sort, empty_wide_shared_skewed_and_refused_batches_cpu_family_equal_the_reference) {
    check_special("cpu");
}
Test(row_sort, empty_wide_shared_skewed_and_refused_batches_gpu_family_equal_the_reference) {
    check_special("gpu");
}

/* Batches of any size go through one sort in turn; after the largest nothing is allocated or compiled, and a sort is at most 8 commands. */
static void check_hot(const char *family) {
    qemb_context *ctx = open_context("opencl", family, "pthread");
    const op_row_sort_case large = {.tables = 1, .features = 1, .rows = {16777213}, .bags = 20011, .length = 7};
    op_row_sort op;
    qemb_counters before;
    qemb_counters after;
    cr_assert(op_row_sort_open(ctx, &large, &op) == QEMB_OK, "%s", qemb_last_error());
    for (int i = 0; i < 3; i++) {
        cr_assert(qemb_context_counters(ctx, &before) == QEMB_OK);
        cr_assert(op_row_sort_run(&op) == QEMB_OK, "%s", qemb_last_error());
        cr_assert(qemb_context_finish(ctx) == QEMB_OK);
        cr_assert(qemb_context_counters(ctx, &after) == QEMB_OK);
    }
    cr_assert(after.host_allocations == before.host_allocations, "%lld allocations",
              (long long)(after.host_allocations - before.host_allocations));
    cr_assert(after.device_buffers == before.device_buffers && after.programs_built == before.programs_built,
              "the hot path creates nothing");
    cr_assert(after.commands - before.commands <= 8, "%lld commands", (long long)(after.commands - before.commands));
    op_row_sort_close(&op);
    qemb_context_destroy(ctx);
}

Test(row_sort, a_second_sort_allocates_and_compiles_nothing_and_is_few_commands) {
    check_hot("cpu");
    check_hot("gpu");
}
