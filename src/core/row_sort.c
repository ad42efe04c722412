/* row_sort.c - results and plan of the row sort, one call through ops.h. */
#include "core/row_sort.h"

#include "base/memory.h"

/* Features by table: a counting sort that keeps their order in the input. */
static void fill_plan(const qemb__tables *s, q_i32 *plan) {
    q_i32 *first = plan;
    q_i32 *list = first + s->num_tables + 1;
    q_i32 *table_of = list + s->num_features;
    for (int32_t k = 0; k < s->num_features; k++) {
        table_of[s->feature[k].index] = s->feature[k].table;
        first[s->feature[k].table + 1]++;
    }
    for (int32_t t = 0; t < s->num_tables; t++) {
        first[t + 1] += first[t];
    }
    for (int32_t f = 0; f < s->num_features; f++) {
        list[first[table_of[f]]++] = f;
    }
    for (int32_t t = s->num_tables; t > 0; t--) { /* each start has moved to the next one's place */
        first[t] = first[t - 1];
    }
    first[0] = 0;
}

static qemb_status write_plan(qemb__row_sort *sort) {
    const qemb__tables *s = sort->tables;
    qemb_status st = QEMB_OK;
    void *plan = NULL;
    const int64_t entries = (int64_t)s->num_tables + 1 + 2 * (int64_t)s->num_features;
    TRY(qemb__calloc(entries, sizeof(q_i32), &plan));
    fill_plan(s, plan);
    TRY(qemb__buffer_create(sort->ctx, (size_t)entries * sizeof(q_i32), &sort->plan));
    TRY(qemb__buffer_write(sort->plan, 0, (size_t)entries * sizeof(q_i32), plan, true));
done:
    qemb__free(plan);
    return st;
}

static qemb_status copy_plan(qemb__row_sort *sort, qemb_buffer *plan) {
    qemb_status st = qemb__buffer_create(sort->ctx, plan->bytes, &sort->plan);
    return st == QEMB_OK ? sort->ctx->ops->buffer_copy(sort->plan, 0, plan, 0, plan->bytes) : st;
}

qemb_status qemb__row_sort_create(const qemb__tables *tables, const qemb__row_sort *like, qemb__row_sort **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    qemb__row_sort *sort = NULL;
    TRY(qemb__calloc(1, sizeof *sort, &block));
    sort = block;
    sort->ctx = tables->ctx;
    sort->tables = tables;
    sort->wide = tables->total_rows > UINT32_MAX; /* total_rows itself is the GPU family's key of lookups without a row */
    TRY(like ? copy_plan(sort, like->plan) : write_plan(sort));
    TRY(qemb__buffer_create(sort->ctx, 4 * sizeof(q_i32), &sort->counts));
    *out = sort;
    sort = NULL;
done:
    qemb__row_sort_destroy(sort);
    return st;
}

void qemb__row_sort_destroy(qemb__row_sort *sort) {
    if (!sort) {
        return;
    }
    qemb_buffer *buffers[] = {sort->plan,   sort->counts,     sort->position, sort->run_start, sort->run_row,
                              sort->run_of, sort->part_first, sort->part_run, sort->part_slot, sort->bag_of};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        qemb__buffer_destroy(buffers[i]);
    }
    for (int i = 0; i < QEMB__ROW_SORT_WORK; i++) {
        qemb__buffer_destroy(sort->work[i]);
    }
    qemb__free(sort);
}

qemb_status qemb__row_sort_run(qemb__row_sort *sort, const qemb__batch_view *batch, bool with_map) {
    qemb_context *ctx = sort->ctx;
    const int64_t n = batch->shape.lookups;
    const size_t slots = (size_t)(n + 1 + QEMB__ROW_SORT_REACH) * sizeof(q_i32);
    const size_t parts = (size_t)qemb__row_sort_max_parts(n) * sizeof(q_i32);
    const qemb__row_sort_args args = {batch, sort, with_map};
    qemb_status st = QEMB_OK;
    TRY(qemb__buffer_reserve(ctx, slots, &sort->position));
    TRY(qemb__buffer_reserve(ctx, slots, &sort->run_start));
    TRY(qemb__buffer_reserve(ctx, slots * (sort->wide ? 2 : 1), &sort->run_row));
    TRY(qemb__buffer_reserve(ctx, slots, &sort->bag_of));
    TRY(qemb__buffer_reserve(ctx, slots, &sort->part_first));
    TRY(qemb__buffer_reserve(ctx, parts, &sort->part_run));
    TRY(qemb__buffer_reserve(ctx, parts, &sort->part_slot));
    if (with_map) {
        TRY(qemb__buffer_reserve(ctx, slots, &sort->run_of));
    }
    TRY(ctx->ops->row_sort(ctx, &args));
done:
    return st;
}
