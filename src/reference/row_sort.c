/* row_sort.c - the oracle of the row sort: collects the lookups that have a row and merge-sorts them. */
#include <string.h>

#include "core/row_sort.h"
#include "reference/reference.h"

typedef struct lookup {
    q_u64 row;
    q_i32 position;
    q_i32 spare;
} lookup;

/* Lookups with a row, in position order; fills bag_of and, for those without, run_of. */
static int64_t collect(const qemb__row_sort_args *args, lookup *out) {
    const qemb__batch_view *b = args->batch;
    const qemb__tables *s = args->sort->tables;
    const q_i32 *table_of = (const q_i32 *)qemb__ref_data(args->sort->plan) + s->num_tables + 1 + s->num_features;
    q_i32 *bag_of = qemb__ref_data(args->sort->bag_of);
    int64_t n = 0;
    for (int64_t g = 0; g < s->num_features * b->shape.bags; g++) {
        const q_table *t = &s->table[table_of[g / b->shape.bags]];
        int64_t begin = 0;
        int64_t end = 0;
        qemb__ref_bag(b, g, &begin, &end);
        for (int64_t p = begin; p < end; p++) {
            const int64_t index = qemb__ref_index(b, p);
            bag_of[p] = (q_i32)g;
            if (index >= 0 && index < t->rows && index != t->padding_idx) {
                out[n++] = (lookup){.row = (q_u64)(t->row0 + index), .position = (q_i32)p};
            } else if (args->with_map) {
                ((q_i32 *)qemb__ref_data(args->sort->run_of))[p] = -1;
            }
        }
    }
    return n;
}

/* Stable merge sort by row; the result is returned, in `a` or in `b`. */
static lookup *merge_sort(lookup *a, lookup *b, int64_t n) {
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t begin = 0; begin < n; begin += 2 * width) {
            const int64_t middle = begin + width < n ? begin + width : n;
            const int64_t end = begin + 2 * width < n ? begin + 2 * width : n;
            int64_t left = begin;
            int64_t right = middle;
            for (int64_t k = begin; k < end; k++) {
                const bool take_left = left < middle && (right >= end || a[left].row <= a[right].row);
                b[k] = take_left ? a[left++] : a[right++];
            }
        }
        lookup *swap = a;
        a = b;
        b = swap;
    }
    return a;
}

static void write_run(const qemb__row_sort_args *args, q_i32 *counts, const lookup *run, q_i32 slot, q_i32 length) {
    const qemb__row_sort *sort = args->sort;
    const q_i32 r = counts[Q_SORT_RUNS]++;
    ((q_i32 *)qemb__ref_data(sort->run_start))[r] = slot;
    if (sort->wide) {
        ((q_u64 *)qemb__ref_data(sort->run_row))[r] = run->row;
    } else {
        ((q_u32 *)qemb__ref_data(sort->run_row))[r] = (q_u32)run->row;
    }
    for (q_i32 k = 0; k < length; k++) {
        ((q_i32 *)qemb__ref_data(sort->position))[slot + k] = run[k].position;
        if (args->with_map) {
            ((q_i32 *)qemb__ref_data(sort->run_of))[run[k].position] = r;
        }
    }
    if (length > Q_PART) {
        ((q_i32 *)qemb__ref_data(sort->part_first))[r] = counts[Q_SORT_PARTS];
        for (q_i32 k = 0; k < length; k += Q_PART) {
            const q_i32 p = counts[Q_SORT_PARTS]++;
            ((q_i32 *)qemb__ref_data(sort->part_run))[p] = r;
            ((q_i32 *)qemb__ref_data(sort->part_slot))[p] = slot + k;
        }
    }
}

qemb_status qemb__ref_row_sort(qemb_context *ctx, const qemb__row_sort_args *args) {
    qemb__row_sort *sort = args->sort;
    const size_t bytes = (size_t)args->batch->shape.lookups * sizeof(lookup);
    q_i32 *counts = qemb__ref_data(sort->counts);
    qemb_status st = QEMB_OK;
    TRY(qemb__buffer_reserve(ctx, bytes, &sort->work[0]));
    TRY(qemb__buffer_reserve(ctx, bytes, &sort->work[1]));
    memset(counts, 0, 4 * sizeof *counts);
    ctx->counters.commands++;
    const int64_t n = qemb__ref_refused(args->batch) ? 0 : collect(args, qemb__ref_data(sort->work[0]));
    const lookup *sorted = merge_sort(qemb__ref_data(sort->work[0]), qemb__ref_data(sort->work[1]), n);
    for (int64_t begin = 0; begin < n;) {
        int64_t end = begin + 1;
        while (end < n && sorted[end].row == sorted[begin].row) {
            end++;
        }
        write_run(args, counts, sorted + begin, (q_i32)begin, (q_i32)(end - begin));
        begin = end;
    }
    counts[Q_SORT_LOOKUPS] = (q_i32)n;
    ((q_i32 *)qemb__ref_data(sort->run_start))[counts[Q_SORT_RUNS]] = (q_i32)n;
done:
    return st;
}
