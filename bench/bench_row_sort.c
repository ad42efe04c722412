/* bench_row_sort.c - `sort`: a fresh batch grouped by row; `sort_map`: with the run of every position, which the distinct-row forward
 * reads. */
#include "bench.h"

#include <stdlib.h>

#include "ops/row_sort.h"

typedef struct sort_state {
    bench_world *world;
    bench_indices *indices;
    qemb_batch *batch;
    qemb__row_sort *sort;
    bool with_map;
} sort_state;

static void sort_close(void *state) {
    sort_state *s = state;
    qemb__row_sort_destroy(s->sort);
    qemb_batch_destroy(s->batch);
    bench_indices_destroy(s->indices);
    free(s);
}

static qemb_status open_state(bench_world *w, bool with_map, void **state) {
    qemb_status st = QEMB_OK;
    sort_state *s = bench_alloc(1, sizeof *s);
    *state = s;
    s->world = w;
    s->with_map = with_map;
    s->indices = bench_indices_create(w->options);
    BENCH_TRY(qemb_batch_create(w->ctx, &s->batch));
    BENCH_TRY(op_row_sort_of_module(w->base, &s->sort));
done:
    return st;
}

static qemb_status sort_open(bench_world *w, bench_form form, void **state) {
    (void)form;
    return open_state(w, false, state);
}

static qemb_status sort_map_open(bench_world *w, bench_form form, void **state) {
    (void)form;
    return open_state(w, true, state);
}

static qemb_status sort_fresh(void *state) {
    sort_state *s = state;
    qemb_input input;
    bench_indices_next(s->indices);
    bench_indices_input(s->indices, &input);
    return qemb_batch_set(s->batch, s->world->base, &input);
}

static qemb_status sort_run(void *state) {
    sort_state *s = state;
    return op_row_sort_batch(s->sort, s->batch, s->with_map);
}

static void sort_work(const void *state, bench_work *work) {
    const sort_state *s = state;
    const bench_options *o = s->world->options;
    work->items = (double)bench_lookups(o);
    work->bytes = op_row_sort_bytes(work->items, (double)(o->tables * o->batch), !o->indices_32, s->with_map);
    work->fbgemm_bytes = 0;
}

const bench_operation bench_row_sort = {
    .name = "sort",
    .summary = "group a batch by row: positions, distinct rows, runs, parts, bags",
    .allowed = 0,
    .open = sort_open,
    .fresh = sort_fresh,
    .run = sort_run,
    .work = sort_work,
    .close = sort_close,
};

const bench_operation bench_row_sort_map = {
    .name = "sort_map",
    .summary = "the same with the run of every position",
    .allowed = 0,
    .open = sort_map_open,
    .fresh = sort_fresh,
    .run = sort_run,
    .work = sort_work,
    .close = sort_close,
};
