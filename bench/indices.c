/* indices.c - batches of indices as FBGEMM's benches draw them (fbgemm_gpu/tbe/utils/requests.py), for every table alike. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/random.h"

struct bench_indices {
    const bench_options *options;
    uint64_t state;
    int64_t count; /* N */
    int64_t *ids;  /* the batch, feature-major */
    int32_t *ids_32;
    int64_t *offsets;
    int32_t *offsets_32;
    float *weights;
    int64_t *draws; /* room for one bag's draws */
    bool filled;
};

double bench_uniform(uint64_t *state) {
    return ((double)(op_random(state) >> 11) + 0.5) * 0x1p-53;
}

/* A number below n without division: the high half of the product, biased by less than n / 2^64. */
static int64_t below(uint64_t *state, int64_t n) {
    const uint64_t x = op_random(state), m = (uint64_t)n;
    return (int64_t)((x >> 32) * (m >> 32) + (((x >> 32) * (m & 0xffffffffu) + (((x & 0xffffffffu) * m) >> 32)) >> 32));
}

static int ascending(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void sort_bag(int64_t *ids, int64_t count) {
    if (count > 64) {
        qsort(ids, (size_t)count, sizeof *ids, ascending);
        return;
    }
    for (int64_t i = 1; i < count; i++) {
        int64_t v = ids[i], k = i;
        for (; k > 0 && ids[k - 1] > v; k--) {
            ids[k] = ids[k - 1];
        }
        ids[k] = v;
    }
}

static void uniform_bag(bench_indices *g, int64_t rows, int64_t *ids) {
    for (int64_t i = 0; i < g->options->bag; i++) {
        ids[i] = below(&g->state, rows);
    }
    sort_bag(ids, g->options->bag);
}

/* Zipf over 1, 2, ... without an end, by rejection (Devroye 1986, X.6.1): what numpy.random.zipf draws from. */
static int64_t zipf(uint64_t *state, double alpha) {
    const double a = alpha - 1.0, b = pow(2.0, a);
    for (;;) {
        double u = bench_uniform(state), v = bench_uniform(state);
        double x = floor(pow(u, -1.0 / a));
        if (!(x >= 1.0 && x < 9.0e18)) {
            continue;
        }
        double t = pow(1.0 + 1.0 / x, a);
        if (v * x * (t - 1.0) / (b - 1.0) <= t / b) {
            return (int64_t)x;
        }
    }
}

/* A permutation of 0..rows-1: four Feistel rounds over the next even power of two, walked until the value is inside. */
static int64_t scatter(int64_t id, int64_t rows, uint64_t key) {
    int half = 1;
    while (((int64_t)1 << (2 * half)) < rows) {
        half++;
    }
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    uint64_t x = (uint64_t)id;
    do {
        uint64_t left = x >> half, right = x & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t seed = key + round * 0x632be59bd9b4e019u + right;
            uint64_t mixed = left ^ (op_random(&seed) & mask);
            left = right;
            right = mixed;
        }
        x = left << half | right;
    } while (x >= (uint64_t)rows);
    return (int64_t)x;
}

/* The bag's smallest distinct draws, scattered. */
static void zipf_bag(bench_indices *g, int32_t table, int64_t *ids) {
    const bench_options *o = g->options;
    const int64_t rows = o->rows[table], draws = 3 * o->bag > 20 ? 3 * o->bag : 20;
    int64_t found = 0;
    for (int64_t i = 0; i < draws; i++) {
        g->draws[i] = (zipf(&g->state, o->alpha) - 1) % rows;
    }
    sort_bag(g->draws, draws);
    for (int64_t i = 0; i < draws && found < o->bag; i++) {
        if (i == 0 || g->draws[i] != g->draws[i - 1]) {
            ids[found++] = g->draws[i];
        }
    }
    if (found < o->bag) {
        uniform_bag(g, rows, ids);
        return;
    }
    for (int64_t i = 0; i < found; i++) {
        ids[i] = scatter(ids[i], rows, o->seed);
    }
}

/* Where bag b begins. */
static int64_t offset_of(const bench_options *o, int64_t b) {
    const int64_t table = b / o->batch, bag = b % o->batch, short_bags = o->batch - o->long_bags;
    const int64_t in_short = short_bags / 4 * 6 + (short_bags % 4 * (short_bags % 4 - 1)) / 2;
    int64_t at = bag * o->bag;
    if (o->long_bags) {
        at = bag <= short_bags ? bag / 4 * 6 + (bag % 4 * (bag % 4 - 1)) / 2
                               : in_short + (bag - short_bags) * (o->batch * o->bag - in_short) / o->long_bags;
    }
    return table * o->batch * o->bag + at;
}

bench_indices *bench_indices_create(const bench_options *o) {
    bench_indices *g = bench_alloc(1, sizeof *g);
    const int64_t bags = o->tables * o->batch, draws = 3 * o->bag > 20 ? 3 * o->bag : 20;
    g->options = o;
    g->state = o->seed * 0x2545f4914f6cdd1du + 1;
    g->count = bags * o->bag;
    g->ids = bench_alloc(g->count, sizeof *g->ids);
    g->offsets = bench_alloc(bags, sizeof *g->offsets);
    g->draws = bench_alloc(draws, sizeof *g->draws);
    if (o->indices_32) {
        g->ids_32 = bench_alloc(g->count, sizeof *g->ids_32);
        g->offsets_32 = bench_alloc(bags + 1, sizeof *g->offsets_32);
        g->offsets_32[bags] = (int32_t)g->count;
    }
    for (int64_t b = 0; b < bags; b++) {
        g->offsets[b] = offset_of(o, b);
        if (g->offsets_32) {
            g->offsets_32[b] = (int32_t)g->offsets[b];
        }
    }
    if (o->weighted) {
        g->weights = bench_alloc(g->count, sizeof *g->weights);
        for (int64_t i = 0; i < g->count; i++) {
            double radius = sqrt(-2.0 * log(bench_uniform(&g->state)));
            g->weights[i] = (float)(radius * cos(6.283185307179586 * bench_uniform(&g->state)));
        }
    }
    return g;
}

void bench_indices_destroy(bench_indices *g) {
    if (g) {
        free(g->ids);
        free(g->ids_32);
        free(g->offsets);
        free(g->offsets_32);
        free(g->weights);
        free(g->draws);
        free(g);
    }
}

void bench_indices_next(bench_indices *g) {
    const bench_options *o = g->options;
    const int64_t bag = o->bag;
    for (int64_t b = 0; b < o->tables * o->batch; b++) {
        int64_t *ids = &g->ids[b * bag];
        const int32_t table = (int32_t)(b / o->batch);
        if (g->filled && o->reuse > 0.0 && bench_uniform(&g->state) < o->reuse) {
            continue; /* this bag stays what it was */
        }
        if (o->alpha > 1.0) {
            zipf_bag(g, table, ids);
        } else {
            uniform_bag(g, o->rows[table], ids);
        }
    }
    for (int64_t i = 0; g->ids_32 && i < g->count; i++) {
        g->ids_32[i] = (int32_t)g->ids[i];
    }
    g->filled = true;
}

void bench_indices_input(const bench_indices *g, qemb_input *input) {
    const bench_options *o = g->options;
    *input = (qemb_input){
        .indices = g->ids_32 ? (const void *)g->ids_32 : (const void *)g->ids,
        .num_indices = g->count,
        .indices_dtype = g->ids_32 ? QEMB_INT32 : QEMB_INT64,
        .offsets = g->offsets_32 ? (const void *)g->offsets_32 : (const void *)g->offsets,
        .num_offsets = o->tables * o->batch,
        .offsets_dtype = g->offsets_32 ? QEMB_INT32 : QEMB_INT64,
        .per_sample_weights = g->weights,
        .num_per_sample_weights = g->weights ? g->count : 0,
    };
}

const int32_t *bench_indices_ends(const bench_indices *g) {
    return g->offsets_32;
}

double bench_indices_distinct(const bench_indices *g, double *floats) {
    const bench_options *o = g->options;
    const int64_t count = o->batch * o->bag;
    int64_t *sorted = bench_alloc(count, sizeof *sorted);
    int64_t rows = 0;
    *floats = 0.0;
    for (int32_t t = 0; t < o->tables; t++) {
        memcpy(sorted, &g->ids[t * count], (size_t)count * sizeof *sorted);
        qsort(sorted, (size_t)count, sizeof *sorted, ascending);
        for (int64_t i = 0; i < count; i++) {
            if (i == 0 || sorted[i] != sorted[i - 1]) {
                rows++;
                *floats += (double)o->dim[t];
            }
        }
    }
    free(sorted);
    return (double)rows;
}
