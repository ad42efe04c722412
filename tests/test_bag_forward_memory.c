/* test_bag_forward_memory.c - what a forward may touch: the rows it looks up, nothing else; no state, no allocation, no compiler. */
#include <criterion/criterion.h>

#include <sys/mman.h>

#include "core/embedding_bag.h"
#include "support_bag.h"
#include "support_ok.h"

Test(bag_forward, caller_buffers, .description = "bag_forward: nine tables in buffers of the caller, the same bits as in the library's") {
    enum { TABLES = 9 };
    op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
    bag_pocl_devices();
    op.T = TABLES;
    op.vary = 1;
    op.D = 13;
    op.E = 19;
    op.B = 6;
    op.ragged = 1;
    for (int e = 0; e < BAG_ENGINES; e++) {
        qemb_context *ctx = bag_context(&bag_engines[e]);
        qemb_table_desc tables[TABLES];
        qemb_buffer *buffers[TABLES];
        qemb_embedding_bag *theirs = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        op_lookups in;
        bag_result want = bag_run_in(ctx, &op);
        for (int t = 0; t < TABLES; t++) {
            float *w = bag_weights(&op, t, 0);
            const size_t bytes = (size_t)(op_bag_forward_rows(&op, t) * op_bag_forward_dim(&op, t)) * sizeof *w;
            OK(qemb_buffer_create(ctx, bytes, &buffers[t]));
            OK(qemb_buffer_write(buffers[t], 0, bytes, w));
            tables[t] = op_bag_forward_table(&op, t);
            tables[t].weight_buffer = buffers[t];
            free(w);
        }
        OK(qemb_embedding_bag_collection_create(
            ctx, &(qemb_collection_desc){.tables = tables, .num_tables = TABLES, .options = {.mode = (qemb_mode)op.mode}}, &theirs));
        OK(qemb_batch_create(ctx, &batch));
        cr_assert(op_bag_forward_fill(&op, 0, &in));
        OK(op_bag_forward_set(&op, &in, theirs, batch));
        OK(qemb_buffer_create(ctx, (size_t)want.out_count * sizeof(float), &out));
        OK(qemb_embedding_bag_forward(theirs, batch, out));
        float *got = malloc((size_t)want.out_count * sizeof *got);
        OK(qemb_buffer_read(out, 0, (size_t)want.out_count * sizeof *got, got));
        cr_assert_arr_eq(got, want.out, (size_t)want.out_count * sizeof *got, "%s", bag_engines[e].label);
        free(got);
        op_lookups_free(&in);
        bag_result_free(&want);
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(theirs);
        for (int t = 0; t < TABLES; t++) {
            qemb_buffer_destroy(buffers[t]);
        }
        qemb_context_destroy(ctx);
    }
}

Test(bag_forward, foreign_rows,
     .description = "bag_forward: rows that are not looked up lie on pages that may not be read, the forward still runs") {
    enum { ROWS = 24, DIM = 1024, USED = 3 }; /* a row is a page */
    static const int32_t indices[] = {5, 17, 5, 20, 17};
    static const int32_t offsets[] = {0, 2};
    bag_pocl_devices();
    for (int e = 0; e < BAG_ENGINES; e++) {
        qemb_context *ctx = bag_context(&bag_engines[e]);
        qemb_buffer *table = NULL;
        qemb_buffer *out = NULL;
        qemb_embedding_bag *bag = NULL;
        qemb_batch *batch = NULL;
        float got[2][2 * DIM];
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        op.E = ROWS;
        op.D = DIM;
        float *w = bag_weights(&op, 0, 0);
        OK(qemb_buffer_create(ctx, (size_t)4 << 20, &table)); /* large enough for pages of its own */
        OK(qemb_buffer_write(table, 0, ROWS * DIM * sizeof(float), w));
        OK(qemb_buffer_create(ctx, sizeof got[0], &out));
        OK(qemb_embedding_bag_create(
            ctx,
            &(qemb_embedding_bag_desc){
                .num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_8bit(), .weight_buffer = table},
            &bag));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_batch_set(
            batch, bag,
            &(qemb_input){.indices = indices, .num_indices = 5, .indices_dtype = QEMB_INT32, .offsets = offsets, .num_offsets = 2}));
        for (int run = 0; run < 2; run++) {
            char *page = (char *)table->host + table->offset;
            cr_assert_eq((uintptr_t)page % 4096, 0, "a table starts on a page");
            for (int r = 0; run == 1 && r < ROWS; r++) {
                const bool used = r == 5 || r == 17 || r == 20;
                cr_assert_eq(mprotect(page + (size_t)r * 4096, 4096, used ? PROT_READ : PROT_NONE), 0);
            }
            OK(qemb_embedding_bag_forward(bag, batch, out));
            OK(qemb_context_finish(ctx));
            cr_assert_eq(mprotect(page, (size_t)ROWS * 4096, PROT_READ | PROT_WRITE), 0);
            OK(qemb_buffer_read(out, 0, sizeof got[run], got[run]));
        }
        cr_assert_arr_eq(got[0], got[1], sizeof got[0], "%s", bag_engines[e].label);
        free(w);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag);
        qemb_buffer_destroy(out);
        qemb_buffer_destroy(table);
        qemb_context_destroy(ctx);
    }
}

/* The stored state of a one-table module. */
static void read_stored(const qemb_embedding_bag *bag, q_state *state, int64_t rows) {
    cr_assert_not_null(bag->tables->slab[0].state);
    OK(qemb_buffer_read(bag->tables->slab[0].state, 0, (size_t)rows * sizeof *state, state));
}

Test(bag_forward, no_state_written,
     .description = "bag_forward: observers that keep state, the forward writes none of it; observe_all does") {
    enum { ROWS = 31 };
    bag_pocl_devices();
    for (int e = 0; e < BAG_ENGINES; e++) {
        qemb_context *ctx = bag_context(&bag_engines[e]);
        qemb_embedding_bag *bag = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        q_state before[ROWS];
        q_state after[ROWS];
        op_lookups in;
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        op.E = ROWS;
        op.D = 24;
        op.c = 0.25;
        OK(op_bag_forward_create(ctx, &op, NULL, &bag));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, (size_t)(op.B * op.D) * sizeof(float), &out));
        cr_assert(op_bag_forward_fill(&op, 0, &in));
        OK(op_bag_forward_set(&op, &in, bag, batch));
        for (int run = 0; run < 3; run++) {
            read_stored(bag, before, ROWS);
            OK(qemb_embedding_bag_forward(bag, batch, out));
            OK(qemb_embedding_bag_read_observer(bag, 0, 0, 0, &(qemb_observer_rows){0}));
            read_stored(bag, after, ROWS);
            cr_assert_arr_eq(before, after, sizeof before, "%s", bag_engines[e].label);
            cr_assert_eq(after[0].count, run == 2 ? 2 : 0);
            if (run == 1) {
                OK(qemb_embedding_bag_observe_all(bag));
                read_stored(bag, after, ROWS);
                cr_assert_eq(after[0].count, 2);
                cr_assert_eq(after[ROWS - 1].count, 2);
                cr_assert_lt((double)after[0].min_val, (double)after[0].max_val);
            }
        }
        op_lookups_free(&in);
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}

Test(bag_forward, second_of_a_shape,
     .description =
         "bag_forward: the second step of a shape, nothing is allocated, no buffer made, nothing compiled, two commands at most") {
    bag_pocl_devices();
    for (int k = 0; k < BAG_ENGINES * 2; k++) {
        qemb_context *ctx = bag_context(&bag_engines[k / 2]);
        qemb_embedding_bag *bag = NULL;
        qemb_batch *batch = NULL;
        qemb_buffer *out = NULL;
        qemb_counters first;
        qemb_counters then;
        op_bag_forward op = OP_BAG_FORWARD_DEFAULT;
        op.mode = k % 2 ? QEMB_MODE_MAX : QEMB_MODE_SUM;
        op.T = 3;
        OK(op_bag_forward_create(ctx, &op, NULL, &bag));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, (size_t)(op.B * op_bag_forward_columns(&op)) * sizeof(float), &out));
        for (int64_t step = 0; step < 4; step++) {
            op_lookups in;
            cr_assert(op_bag_forward_fill(&op, step, &in));
            OK(qemb_context_counters(ctx, &first));
            OK(op_bag_forward_set(&op, &in, bag, batch));
            OK(qemb_embedding_bag_forward(bag, batch, out));
            OK(qemb_context_counters(ctx, &then));
            op_lookups_free(&in);
            if (step < 2) { /* a batch has two stores: both must have seen the shape */
                continue;
            }
            const bool plain = k / 2 == 0; /* the reference engine takes a row's worth of scratch from the heap */
            cr_assert(plain || first.host_allocations == then.host_allocations, "%s: %lld allocations", bag_engines[k / 2].label,
                      (long long)(then.host_allocations - first.host_allocations));
            cr_assert_eq(first.device_buffers, then.device_buffers);
            cr_assert_eq(first.programs_built, then.programs_built);
            cr_assert_leq(then.commands - first.commands, 3, "%lld commands", (long long)(then.commands - first.commands));
        }
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}
