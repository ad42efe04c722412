/* test_addresses.c - an object at the address of one that is gone is another object: whatever remembers objects remembers more than where
 * they lay. */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "support_bag.h"
#include "support_ok.h"

enum { ROWS = 11, FEWER = 3, DIM = 6, COUNT = 16, STEPS = 64 };

static const bag_engine reference = {"reference", "reference", NULL, NULL, NULL};

static qemb_embedding_bag *new_bag(qemb_context *ctx, int64_t rows) {
    qemb_embedding_bag *bag = NULL;
    OK(qemb_embedding_bag_create(
        ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = rows, .embedding_dim = DIM, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_float(), .seed = 3},
        &bag));
    return bag;
}

static qemb_batch *new_batch(qemb_context *ctx, const qemb_embedding_bag *bag, int64_t row) {
    qemb_batch *batch = NULL;
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_batch_set(batch, bag, &(qemb_input){.indices = &row, .num_indices = 1, .indices_dtype = QEMB_INT64, .columns = 1}));
    return batch;
}

/* A batch at the address `last`, when one of the next COUNT that the allocator gives out lies there. */
static qemb_batch *new_batch_at(qemb_context *ctx, const qemb_embedding_bag *bag, int64_t row, const void *last) {
    qemb_batch *tried[COUNT] = {NULL};
    int n = 0;
    do {
        tried[n] = new_batch(ctx, bag, row);
    } while (tried[n] != last && ++n < COUNT);
    qemb_batch *found = tried[n < COUNT ? n : COUNT - 1];
    for (int k = 0; k < COUNT; k++) {
        if (tried[k] != found) {
            qemb_batch_destroy(tried[k]);
        }
    }
    return found;
}

/* How many of `now` lie where one of `gone` was. */
static int reused(void *const gone[COUNT], void *const now[COUNT]) {
    int count = 0;
    for (int i = 0; i < COUNT * COUNT; i++) {
        count += gone[i / COUNT] == now[i % COUNT];
    }
    return count;
}

/* The test shows something only if the allocator gives addresses out again; the address sanitizer keeps it from that. */
static void expect_reused(int count) {
#ifdef __SANITIZE_ADDRESS__
    cr_expect_geq(count, 0);
#else
    cr_expect_gt(count, 0, "no address was used twice: this test shows nothing");
#endif
}

Test(addresses, batches, .description = "addresses: a batch a step, destroyed behind it, each step moves the rows of its own batch") {
    qemb_context *ctx = bag_context(&reference);
    qemb_embedding_bag *bag = new_bag(ctx, ROWS);
    qemb_optimizer *sgd = NULL;
    qemb_buffer *out = NULL;
    qemb_batch *some[COUNT];
    const void *last = NULL;
    float ones[DIM], before[ROWS * DIM], after[ROWS * DIM];
    int64_t moved[ROWS] = {0};
    int count = 0;
    for (int c = 0; c < DIM; c++) {
        ones[c] = 1.0f;
    }
    OK(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 1.0}, &sgd));
    OK(qemb_buffer_create(ctx, sizeof ones, &out));
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, before));
    for (int k = 0; k < 2 * COUNT; k++) { /* so many freed at once that the allocator keeps no more of them back */
        if (k < COUNT) {
            some[k] = new_batch(ctx, bag, 0);
        } else {
            qemb_batch_destroy(some[k - COUNT]);
        }
    }
    for (int k = 0; k < STEPS; k++) {
        const int64_t row = 5 * k % ROWS;
        qemb_batch *batch = new_batch_at(ctx, bag, row, last);
        OK(qemb_embedding_bag_forward(bag, batch, out));
        OK(qemb_buffer_write(out, 0, sizeof ones, ones));
        OK(qemb_embedding_bag_step(bag, batch, out, sgd));
        moved[row]++;
        count += batch == last;
        last = batch;
        qemb_batch_destroy(batch);
    }
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, after));
    for (int i = 0; i < ROWS * DIM; i++) {
        float want = before[i];
        for (int64_t k = 0; k < moved[i / DIM]; k++) {
            want -= 1.0f;
        }
        cr_expect_eq(after[i], want, "row %d moved by %g, want %lld", i / DIM, (double)(before[i] - after[i]), (long long)moved[i / DIM]);
    }
    expect_reused(count);
    qemb_buffer_destroy(out);
    qemb_optimizer_destroy(sgd);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(addresses, modules,
     .description = "addresses: batches set for modules of more rows that are gone, every lookup of later modules is refused") {
    qemb_context *ctx = bag_context(&reference);
    qemb_batch *batch[COUNT];
    void *now[COUNT], *gone[COUNT];
    qemb_buffer *out = NULL;
    OK(qemb_buffer_create(ctx, DIM * sizeof(float), &out));
    for (int k = 0; k < COUNT; k++) {
        gone[k] = new_bag(ctx, ROWS);
        batch[k] = new_batch(ctx, gone[k], ROWS - 1);
    }
    for (int k = 0; k < COUNT; k++) {
        qemb_embedding_bag_destroy(gone[k]);
    }
    for (int k = 0; k < COUNT; k++) {
        now[k] = new_bag(ctx, FEWER);
    }
    expect_reused(reused(gone, now));
    for (int i = 0; i < COUNT * COUNT; i++) {
        cr_expect_eq(qemb_embedding_bag_forward(now[i / COUNT], batch[i % COUNT], out), QEMB_ERR_STATE);
    }
    for (int k = 0; k < COUNT; k++) {
        qemb_embedding_bag_destroy(now[k]);
        qemb_batch_destroy(batch[k]);
    }
    qemb_buffer_destroy(out);
    qemb_context_destroy(ctx);
}
