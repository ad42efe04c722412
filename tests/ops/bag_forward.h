/* bag_forward.h - the operation bag_forward as test and bench describe it: sizes, how input is filled, how it runs, the bytes it must
 * move, and its tolerance.
 *
 * A case is one line of `key=value` words, printed by op_bag_forward_text and read back by op_bag_forward_parse, so that any case can be
 * run again from what a failure prints. Everything random comes from `seed`. */
#ifndef QEMB_OPS_BAG_FORWARD_H
#define QEMB_OPS_BAG_FORWARD_H

#include <qemb/qemb.h>

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/random.h"

/* Outputs of two engines, of any work-group size and any way to the same lookups are equal bit for bit (P5); NaN equals NaN. */
#define OP_BAG_FORWARD_TOLERANCE 0.0

/* T tables of E rows of D columns (where `vary` is set, table t has E + 3t rows and a width of its own), one feature a table, B bags a
 * feature, L lookups a bag (ragged 1: 0 to 2L and every fifth bag empty; 2: likewise, and one of 13, at most
 * about 16, is more than 20 times as long, and a good part of the batch). */
enum { OP_MODE_NONE = 3 };

typedef struct op_bag_forward {
    int64_t T, E, D, B, L, vary, ragged;
    int64_t mode; /* qemb_mode; OP_MODE_NONE: an embedding, T = 1 */
    int64_t qmin, qmax, observer, arithmetic, fake_quant;
    double c, max_norm, norm;        /* averaging constant; max_norm < 0: none */
    int64_t weighted, padding;       /* padding: -1 none, else padding_idx modulo the rows */
    int64_t last, two_d, i64, check; /* include_last_offset, 2-D input, int64 input, qemb_check */
    int64_t freq;                    /* scale_grad_by_freq */
    int64_t steps, seed;
    int64_t kind, events; /* tests: which values tables hold; whether switches turn and rows change between steps */
} op_bag_forward;

#define OP_BAG_FORWARD_DEFAULT                                                                                                             \
    ((op_bag_forward){.T = 1,                                                                                                              \
                      .E = 101,                                                                                                            \
                      .D = 64,                                                                                                             \
                      .B = 16,                                                                                                             \
                      .L = 5,                                                                                                              \
                      .mode = QEMB_MODE_SUM,                                                                                               \
                      .qmax = 255,                                                                                                         \
                      .fake_quant = 1,                                                                                                     \
                      .c = 1.0,                                                                                                            \
                      .max_norm = -1.0,                                                                                                    \
                      .norm = 2.0,                                                                                                         \
                      .padding = -1,                                                                                                       \
                      .steps = 1,                                                                                                          \
                      .seed = 1})

typedef struct op_key {
    const char *name;
    size_t at;
    bool real;
} op_key;

static const op_key op_bag_forward_keys[] = {
#define OP_INTEGER(k)                                                                                                                      \
    { #k, offsetof(op_bag_forward, k), false }
#define OP_REAL(k)                                                                                                                         \
    { #k, offsetof(op_bag_forward, k), true }
    OP_INTEGER(T),          OP_INTEGER(E),      OP_INTEGER(D),     OP_INTEGER(B),     OP_INTEGER(L),        OP_INTEGER(vary),
    OP_INTEGER(ragged),     OP_INTEGER(mode),   OP_INTEGER(qmin),  OP_INTEGER(qmax),  OP_INTEGER(observer), OP_INTEGER(arithmetic),
    OP_INTEGER(fake_quant), OP_REAL(c),         OP_REAL(max_norm), OP_REAL(norm),     OP_INTEGER(weighted), OP_INTEGER(padding),
    OP_INTEGER(last),       OP_INTEGER(two_d),  OP_INTEGER(i64),   OP_INTEGER(check), OP_INTEGER(steps),    OP_INTEGER(seed),
    OP_INTEGER(kind),       OP_INTEGER(events), OP_INTEGER(freq),
#undef OP_INTEGER
#undef OP_REAL
};
enum { OP_BAG_FORWARD_KEYS = sizeof op_bag_forward_keys / sizeof *op_bag_forward_keys, OP_TEXT = 1024 };

/* Appends a struct's fields to a line of `key=value` words that holds n characters; the new length. */
static inline int op_words_text(const op_key *keys, int count, const void *op, char *text, int n) {
    for (int k = 0; k < count; k++) {
        const void *field = (const char *)op + keys[k].at;
        const size_t left = (size_t)(OP_TEXT - n);
        n += keys[k].real ? snprintf(text + n, left, "%s=%.9g ", keys[k].name, *(const double *)field)
                          : snprintf(text + n, left, "%s=%lld ", keys[k].name, (long long)*(const int64_t *)field);
    }
    return n;
}

/* Reads the word that `text` starts with into a struct; false when it is none of its keys. */
static inline bool op_word_read(const op_key *keys, int count, void *op, const char *text) {
    const size_t name = strcspn(text, "=");
    for (int k = 0; k < count; k++) {
        void *field = (char *)op + keys[k].at;
        if (strlen(keys[k].name) != name || strncmp(text, keys[k].name, name) != 0 || text[name] != '=') {
            continue;
        }
        if (keys[k].real) {
            *(double *)field = strtod(text + name + 1, NULL);
        } else {
            *(int64_t *)field = strtoll(text + name + 1, NULL, 10);
        }
        return true;
    }
    return false;
}

/* The case as one line. */
static inline const char *op_bag_forward_text(const op_bag_forward *op, char *text) {
    (void)op_words_text(op_bag_forward_keys, OP_BAG_FORWARD_KEYS, op, text, 0);
    return text;
}

/* Reads `key=value` words over what op holds; false at a word it does not know. */
static inline bool op_bag_forward_parse(const char *text, op_bag_forward *op) {
    for (; *(text += strspn(text, " ")) != '\0'; text += strcspn(text, " ")) {
        if (!op_word_read(op_bag_forward_keys, OP_BAG_FORWARD_KEYS, op, text)) {
            return false;
        }
    }
    return true;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------------ */

static inline int64_t op_bag_forward_rows(const op_bag_forward *op, int64_t table) {
    return op->E + (op->vary ? 3 * table : 0);
}

static inline int64_t op_bag_forward_dim(const op_bag_forward *op, int64_t table) {
    return op->vary ? 1 + (op->D - 1 + 29 * table) % (op->D + 67) : op->D;
}

static inline int64_t op_bag_forward_columns(const op_bag_forward *op) {
    int64_t sum = 0;
    for (int64_t t = 0; t < op->T; t++) {
        sum += op_bag_forward_dim(op, t);
    }
    return sum;
}

static inline int64_t op_bag_forward_padding(const op_bag_forward *op, int64_t table) {
    return op->padding < 0 ? -1 : op->padding % op_bag_forward_rows(op, table);
}

/* Bytes that one forward must move: each row once a lookup (and its 16 bytes of observer state where it keeps some), indices, offsets
 * and weights, the output. `columns` is the sum of D over the features: the bench's tables have widths of their own. */
static inline double op_bag_forward_bytes_of(const op_bag_forward *op, double lookups, double columns) {
    const double state = op->fake_quant && op->observer != QEMB_OBSERVER_MEMORYLESS ? 16.0 : 0.0;
    const double index = op->i64 ? 8.0 : 4.0;
    return lookups * (4.0 * columns / (double)op->T + state + index + (op->weighted ? 4.0 : 0.0)) + index * (double)(op->T * op->B + 1) +
           4.0 * (double)op->B * columns;
}

static inline double op_bag_forward_bytes(const op_bag_forward *op, double lookups) {
    return op_bag_forward_bytes_of(op, lookups, (double)op_bag_forward_columns(op));
}

/* ---- input ------------------------------------------------------------------------------------------------------------ */

typedef struct op_lookups {
    int64_t num_indices, num_offsets;
    int64_t *indices, *offsets; /* offsets: one of each bag and the end */
    float *weights;             /* always filled */
} op_lookups;

static inline void op_lookups_free(op_lookups *in) {
    free(in->indices);
    free(in->offsets);
    free(in->weights);
    *in = (op_lookups){0};
}

static inline int64_t op_bag_forward_long(const op_bag_forward *op) {
    return 64 + 24 * op->L + op->T * op->B * op->L / 32;
}

static inline int64_t op_bag_forward_count(const op_bag_forward *op, int64_t bag, uint64_t *state) {
    const int64_t period = op->T * op->B > 208 ? op->T * op->B / 16 : 13;
    if (!op->ragged || op->two_d) {
        return op->L;
    }
    if (op->ragged == 2 && bag % period == 11) {
        return op_bag_forward_long(op) + op_below(state, 7);
    }
    return bag % 5 == 3 ? 0 : op_below(state, 2 * op->L + 1);
}

/* The lookups of step `step`. Ids are uniform; false when there is no memory. */
static inline bool op_bag_forward_fill(const op_bag_forward *op, int64_t step, op_lookups *in) {
    uint64_t state = (uint64_t)op->seed * 1000003u + (uint64_t)step;
    const int64_t bags = op->T * op->B;
    const size_t most = (size_t)(bags * (2 * op->L + 1) + (op->ragged == 2 ? 18 * (op_bag_forward_long(op) + 7) : 0) + 1);
    *in = (op_lookups){.num_offsets = bags + 1};
    in->indices = malloc(most * sizeof *in->indices);
    in->weights = malloc(most * sizeof *in->weights);
    in->offsets = malloc((size_t)(bags + 1) * sizeof *in->offsets);
    if (!in->indices || !in->weights || !in->offsets) {
        op_lookups_free(in);
        return false;
    }
    for (int64_t g = 0; g < bags; g++) {
        const int64_t count = op_bag_forward_count(op, g, &state);
        in->offsets[g] = in->num_indices;
        for (int64_t i = 0; i < count; i++) {
            in->weights[in->num_indices] = 2.0f * op_uniform(&state);
            in->indices[in->num_indices++] = op_below(&state, op_bag_forward_rows(op, g / op->B));
        }
    }
    in->offsets[bags] = in->num_indices;
    return true;
}

/* ---- the module ------------------------------------------------------------------------------------------------------- */

static inline qemb_table_desc op_bag_forward_table(const op_bag_forward *op, int64_t t) {
    const int64_t padding = op_bag_forward_padding(op, t);
    return (qemb_table_desc){
        .num_embeddings = op_bag_forward_rows(op, t),
        .embedding_dim = op_bag_forward_dim(op, t),
        .has_padding_idx = padding >= 0,
        .padding_idx = padding >= 0 ? padding : 0,
        .has_max_norm = op->max_norm >= 0.0,
        .max_norm = op->max_norm >= 0.0 ? (float)op->max_norm : 0.0f,
        .norm_type = (float)op->norm,
        .qconfig = {.quant_min = (int32_t)op->qmin,
                    .quant_max = (int32_t)op->qmax,
                    .observer = (qemb_observer)op->observer,
                    .averaging_constant = (float)op->c,
                    .arithmetic = (qemb_arithmetic)op->arithmetic,
                    .fake_quant_off = !op->fake_quant},
        .seed = (uint64_t)(op->seed + 977 * t),
    };
}

/* The module of the case; `weights` holds [T] host tables or is NULL (random ones from the seed). */
static inline qemb_status op_bag_forward_create(qemb_context *ctx, const op_bag_forward *op, const float *const *weights,
                                                qemb_embedding_bag **bag) {
    qemb_table_desc *tables = calloc((size_t)op->T, sizeof *tables);
    if (!tables) {
        return QEMB_ERR_NOMEM;
    }
    for (int64_t t = 0; t < op->T; t++) {
        tables[t] = op_bag_forward_table(op, t);
        tables[t].weight = weights ? weights[t] : NULL;
    }
    const qemb_collection_desc desc = {
        .tables = tables,
        .num_tables = (int32_t)op->T,
        .options = {.mode = (qemb_mode)op->mode, .scale_grad_by_freq = op->freq != 0, .include_last_offset = op->last != 0}};
    qemb_status st = qemb_embedding_bag_collection_create(ctx, &desc, bag);
    free(tables);
    return st;
}

/* Puts lookups into a batch in the form that the case asks for. */
static inline qemb_status op_bag_forward_set(const op_bag_forward *op, const op_lookups *in, const qemb_embedding_bag *bag,
                                             qemb_batch *batch) {
    const int64_t num_offsets = in->num_offsets - (op->last ? 0 : 1);
    const int64_t most = in->num_indices > in->num_offsets ? in->num_indices : in->num_offsets;
    int32_t *narrow = malloc((size_t)(2 * most + 1) * sizeof *narrow);
    if (!narrow) {
        return QEMB_ERR_NOMEM;
    }
    for (int64_t i = 0; i < most; i++) {
        narrow[i] = i < in->num_indices ? (int32_t)in->indices[i] : 0;
        narrow[most + i] = i < in->num_offsets ? (int32_t)in->offsets[i] : 0;
    }
    const qemb_dtype type = op->i64 ? QEMB_INT64 : QEMB_INT32;
    const void *indices = op->i64 ? (const void *)in->indices : narrow;
    const void *offsets = op->i64 ? (const void *)in->offsets : narrow + most;
    const qemb_input input = {.indices = indices,
                              .num_indices = in->num_indices,
                              .indices_dtype = type,
                              .offsets = op->two_d ? NULL : offsets,
                              .num_offsets = op->two_d ? 0 : num_offsets,
                              .offsets_dtype = type,
                              .columns = op->two_d ? op->L : 0,
                              .per_sample_weights = op->weighted ? in->weights : NULL,
                              .num_per_sample_weights = op->weighted ? in->num_indices : 0,
                              .check = (qemb_check)op->check};
    qemb_status st = qemb_batch_set(batch, bag, &input);
    free(narrow);
    return st;
}

#endif
