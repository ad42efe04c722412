/* row_sort.h - the row sort as test and bench see it: a case, its batch on a device, the results on the host.
 *
 * Tables have no weights here: the sort reads their row counts alone, so a case may have tables that fit no memory. */
#ifndef QEMB_TESTS_OPS_ROW_SORT_H
#define QEMB_TESTS_OPS_ROW_SORT_H

#include "base/memory.h"
#include "core/embedding_bag.h"
#include "core/row_sort.h"
#include "ops/random.h"

enum { OP_ROW_SORT_TABLES = 32 };

typedef enum op_row_sort_ids {
    OP_IDS_UNIFORM = 0,
    OP_IDS_ONE_ROW,
    OP_IDS_DISTINCT,
    OP_IDS_FEW,
    OP_IDS_SKEWED,
    OP_IDS_COLUMNS
} op_row_sort_ids;

typedef struct op_row_sort_case {
    int32_t tables, features;
    int64_t rows[OP_ROW_SORT_TABLES];
    int32_t feature_table[OP_ROW_SORT_TABLES];
    int64_t bags;   /* of a feature */
    int64_t length; /* lookups of a bag: exactly that with fixed columns or `even`, else 0 to 2 * length */
    op_row_sort_ids ids;
    int32_t bad_percent;     /* ids outside their table */
    int32_t padding_percent; /* ids that are padding; 0: the tables have no padding row */
    bool columns, even, last_offset, indices_64, offsets_64, refused, without_map;
    uint64_t seed;
} op_row_sort_case;

typedef struct op_row_sort {
    const op_row_sort_case *what;
    qemb_context *ctx;
    qemb__tables tables;
    q_table table[OP_ROW_SORT_TABLES];
    q_feature feature[OP_ROW_SORT_TABLES];
    qemb__batch_view view;
    int64_t *index;  /* [N] on the host */
    int64_t *offset; /* [F * B + 1] */
    qemb__row_sort *sort;
} op_row_sort;

typedef struct op_row_sort_result {
    int32_t counts[4];
    int32_t *position, *run_start, *run_of, *bag_of, *part_first, *part_run, *part_slot;
    uint64_t *run_row;
} op_row_sort_result;

static inline int64_t op_row_sort_id(const op_row_sort_case *c, const q_table *t, int64_t position, uint64_t *state) {
    const uint64_t r = op_random(state);
    const int64_t percent = (int64_t)(op_random(state) % 100);
    if (percent < c->bad_percent) {
        return percent % 3 == 0 ? -1 - (int64_t)(r % 5) : percent % 3 == 1 ? t->rows : t->rows + (int64_t)(r % 1000);
    }
    if (percent < c->bad_percent + c->padding_percent) {
        return t->padding_idx;
    }
    switch (c->ids) {
    case OP_IDS_ONE_ROW:
        return t->rows / 2;
    case OP_IDS_DISTINCT: /* a stride that is odd and prime to most sizes */
        return (int64_t)((uint64_t)position * 7919u % (uint64_t)t->rows);
    case OP_IDS_FEW:
        return (int64_t)(r % 5 * (uint64_t)(t->rows - 1) / 4);
    case OP_IDS_COLUMNS: /* 13 of the 32 ranges that 65536 rows have, each as often, in 13 orders of rows */
        return position % 13 * 2048 + position / 13 * (1021 + position % 13 * 214) % 2048;
    case OP_IDS_SKEWED: /* half of what is left each time: row 0 has half of the lookups */
        return (int64_t)(r % (uint64_t)t->rows) >> (op_random(state) % 40);
    case OP_IDS_UNIFORM:
    default:
        return (int64_t)(r % (uint64_t)t->rows);
    }
}

static inline void op_row_sort_tables(op_row_sort *op) {
    const op_row_sort_case *c = op->what;
    for (int32_t t = 0; t < c->tables; t++) {
        op->table[t] =
            (q_table){.rows = c->rows[t], .row0 = op->tables.total_rows, .padding_idx = c->padding_percent ? c->rows[t] / 3 : -1};
        op->tables.total_rows += c->rows[t];
    }
    for (int32_t f = 0; f < c->features; f++) { /* as if the last features were of another group of slabs */
        const int32_t k = (f + c->features / 2) % c->features;
        op->feature[f] = (q_feature){.table = c->feature_table[k], .index = k};
    }
    op->tables.ctx = op->ctx;
    op->tables.num_tables = c->tables;
    op->tables.num_features = c->features;
    op->tables.table = op->table;
    op->tables.feature = op->feature;
}

/* A buffer of `count` integers, narrowed to 32 bits unless `is_64`. */
static inline qemb_status op_integers(qemb_context *ctx, const int64_t *values, int64_t count, bool is_64, qemb_buffer **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    TRY(qemb__calloc(count + 1, sizeof(int64_t), &block));
    for (int64_t i = 0; i < count; i++) {
        if (is_64) {
            ((int64_t *)block)[i] = values[i];
        } else {
            ((int32_t *)block)[i] = (int32_t)values[i];
        }
    }
    TRY(qemb__buffer_create(ctx, (size_t)count * (is_64 ? 8 : 4) + 1, out));
    TRY(qemb__buffer_write(*out, 0, (size_t)count * (is_64 ? 8 : 4), block, true));
done:
    qemb__free(block);
    return st;
}

/* Bags, then ids. */
static inline qemb_status op_row_sort_fill(op_row_sort *op) {
    const op_row_sort_case *c = op->what;
    const int64_t bags = c->features * c->bags;
    uint64_t state = c->seed;
    qemb_status st = QEMB_OK;
    TRY(qemb__calloc(bags + 1, sizeof(int64_t), (void **)&op->offset));
    for (int64_t g = 0; g < bags; g++) {
        const int64_t length = c->columns || c->even ? c->length : (int64_t)(op_random(&state) % (uint64_t)(2 * c->length + 1));
        op->offset[g + 1] = op->offset[g] + length;
    }
    const int64_t n = op->offset[bags];
    TRY(qemb__calloc(n, sizeof(int64_t), (void **)&op->index));
    for (int64_t g = 0; g < bags; g++) {
        for (int64_t p = op->offset[g]; p < op->offset[g + 1]; p++) {
            op->index[p] = op_row_sort_id(c, &op->table[c->feature_table[g / c->bags]], p, &state);
        }
    }
    op->view.indices_64 = c->indices_64;
    op->view.offsets_64 = c->offsets_64;
    op->view.shape = (q_batch){.bags = c->bags, .lookups = n, .columns = c->columns ? c->length : 0};
    TRY(op_integers(op->ctx, op->index, n, c->indices_64, &op->view.indices));
    if (!c->columns) {
        op->view.shape.num_offsets = bags + c->last_offset;
        TRY(op_integers(op->ctx, op->offset, op->view.shape.num_offsets, c->offsets_64, &op->view.offsets));
    }
done:
    return st;
}

static inline void op_row_sort_close(op_row_sort *op) {
    qemb__row_sort_destroy(op->sort);
    qemb__buffer_destroy(op->tables.table_buffer);
    qemb__buffer_destroy(op->view.indices);
    qemb__buffer_destroy(op->view.offsets);
    qemb__buffer_destroy(op->view.status);
    qemb__free(op->index);
    qemb__free(op->offset);
    *op = (op_row_sort){0};
}

static inline qemb_status op_row_sort_open(qemb_context *ctx, const op_row_sort_case *c, op_row_sort *op) {
    q_u32 status[Q_STATUS_WORDS] = {Q_NO_ERROR, c->refused ? 3 : Q_NO_ERROR, 0, 0};
    qemb_status st = QEMB_OK;
    *op = (op_row_sort){.what = c, .ctx = ctx};
    op_row_sort_tables(op);
    TRY(qemb__buffer_create(ctx, sizeof op->table, &op->tables.table_buffer));
    TRY(qemb__buffer_write(op->tables.table_buffer, 0, sizeof op->table, op->table, true));
    TRY(qemb__buffer_create(ctx, sizeof status, &op->view.status));
    TRY(qemb__buffer_write(op->view.status, 0, sizeof status, status, true));
    TRY(op_row_sort_fill(op));
    TRY(qemb__row_sort_create(&op->tables, NULL, &op->sort));
done:
    return st;
}

static inline qemb_status op_row_sort_run(op_row_sort *op) {
    return qemb__row_sort_run(op->sort, &op->view, !op->what->without_map);
}

static inline void op_row_sort_result_free(op_row_sort_result *r) {
    void *blocks[] = {r->position, r->run_start, r->run_of, r->bag_of, r->part_first, r->part_run, r->part_slot, r->run_row};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        qemb__free(blocks[i]);
    }
    *r = (op_row_sort_result){0};
}

static inline qemb_status op_read(qemb_buffer *buffer, int64_t count, size_t size, void *out) {
    void **block = out;
    qemb_status st = qemb__calloc(count + 1, size, block);
    return st == QEMB_OK ? qemb__buffer_read(buffer, 0, (size_t)count * size, *block, true) : st;
}

static inline qemb_status op_read_rows(const qemb__row_sort *s, int64_t runs, uint64_t **rows) {
    uint32_t *narrow = NULL;
    qemb_status st = QEMB_OK;
    if (s->wide) {
        return op_read(s->run_row, runs, 8, rows);
    }
    TRY(op_read(s->run_row, runs, 4, &narrow));
    TRY(qemb__calloc(runs, sizeof **rows, (void **)rows));
    for (int64_t k = 0; k < runs; k++) {
        (*rows)[k] = narrow[k];
    }
done:
    qemb__free(narrow);
    return st;
}

/* Waits; everything that means something. */
static inline qemb_status op_row_sort_read(op_row_sort *op, op_row_sort_result *r) {
    const qemb__row_sort *s = op->sort;
    const int64_t n = op->view.shape.lookups;
    qemb_status st = QEMB_OK;
    *r = (op_row_sort_result){0};
    TRY(qemb__finish(op->ctx));
    TRY(qemb__buffer_read(s->counts, 0, sizeof r->counts, r->counts, true));
    const int64_t runs = r->counts[Q_SORT_RUNS];
    TRY(op_read(s->position, r->counts[Q_SORT_LOOKUPS], 4, &r->position));
    TRY(op_read(s->run_start, runs + 1, 4, &r->run_start));
    TRY(op_read_rows(s, runs, &r->run_row));
    TRY(op_read(s->bag_of, n, 4, &r->bag_of));
    TRY(op_read(s->part_first, runs, 4, &r->part_first));
    TRY(op_read(s->part_run, r->counts[Q_SORT_PARTS], 4, &r->part_run));
    TRY(op_read(s->part_slot, r->counts[Q_SORT_PARTS], 4, &r->part_slot));
    if (!op->what->without_map) {
        TRY(op_read(s->run_of, n, 4, &r->run_of));
    }
done:
    return st;
}

/* ---- a module's own batches, for the bench */

static inline qemb_status op_row_sort_of_module(const qemb_embedding_bag *bag, qemb__row_sort **sort) {
    qemb_status st = qemb__tables_flush(bag->tables);
    return st == QEMB_OK ? qemb__row_sort_create(bag->tables, NULL, sort) : st;
}

static inline qemb_status op_row_sort_batch(qemb__row_sort *sort, const qemb_batch *batch, bool with_map) {
    return qemb__row_sort_run(sort, &batch->view, with_map);
}

/* Fewest bytes: indices and offsets read; position, bag_of, run_start and run_row (a run a lookup) and, with the map, run_of written. */
static inline double op_row_sort_bytes(double lookups, double bags, bool indices_64, bool with_map) {
    return lookups * ((indices_64 ? 8.0 : 4.0) + 16.0 + (with_map ? 4.0 : 0.0)) + 4.0 * (bags + 1.0);
}

#endif
