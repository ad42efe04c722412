/* test_io_feed.c - the thread that keeps batches ready gives the batches of the reader and of the generator, and no others. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support_files.h"

TestSuite(io_feed, .init = support_folder_create, .fini = support_folder_remove);

enum { F = QEMB_CLICK_SPARSE, D = QEMB_CLICK_DENSE, N = 1009, B = 64 };

static qemb_click_generator *small_generator(void) {
    qemb_click_generator *generator = NULL;
    cr_assert_eq(qemb_click_generator_create(&(qemb_click_generator_desc){.seed = 3, .scale = 0.01}, &generator), QEMB_OK);
    return generator;
}

/* All rows [first, first + count) of the generator come out of the feed, once, in batches of B. */
static void expect_rows(qemb_click_feed *feed, const qemb_click_generator *generator, int64_t first, int64_t count) {
    static int32_t ids[B * F];
    static float dense[B * D], labels[B];
    qemb_click_batch batch;
    int64_t seen = 0;
    for (;;) {
        cr_assert_eq(qemb_click_feed_next(feed, &batch), QEMB_OK, "%s", qemb_last_error());
        if (batch.rows == 0) {
            break;
        }
        cr_assert(batch.rows == B || seen + batch.rows == count);
        cr_assert_eq(qemb_click_generator_rows(generator, first + seen, batch.rows, ids, dense, labels, NULL), QEMB_OK);
        cr_assert(memcmp(ids, batch.ids, (size_t)batch.rows * F * 4) == 0 && memcmp(dense, batch.dense, (size_t)batch.rows * D * 4) == 0 &&
                      memcmp(labels, batch.labels, (size_t)batch.rows * 4) == 0,
                  "batch at row %lld", (long long)seen);
        seen += batch.rows;
    }
    cr_expect_eq(seen, count, "%lld rows, want %lld", (long long)seen, (long long)count);
    cr_assert_eq(qemb_click_feed_next(feed, &batch), QEMB_OK);
    cr_expect_eq(batch.rows, 0, "the end stays the end");
}

Test(io_feed, generated_batches_come_in_order_epoch_after_epoch, .timeout = 60) {
    static const int64_t counts[] = {0, 1, B - 1, B, B + 1, 5 * B, N};
    qemb_click_generator *generator = small_generator();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
        qemb_click_feed *feed = NULL;
        const qemb_click_feed_desc desc = {
            .generator = generator, .first_row = 11, .row_count = counts[i], .capacity = B, .slots = (int32_t)(i % 3 ? i + 1 : 0)};
        cr_assert_eq(qemb_click_feed_create(&desc, &feed), QEMB_OK, "%s", qemb_last_error());
        for (int epoch = 0; epoch < 3; ++epoch) {
            expect_rows(feed, generator, 11, counts[i]);
            cr_assert_eq(qemb_click_feed_rewind(feed), QEMB_OK);
        }
        qemb_click_feed_destroy(feed);
    }
    qemb_click_generator_destroy(generator);
}

Test(io_feed, a_log_is_fed_as_it_is_read_and_counted, .timeout = 60) {
    int64_t sizes[F], rows = 0;
    qemb_click_reader *reader = NULL;
    qemb_click_feed *feed = NULL;
    qemb_click_generator *generator = small_generator();
    qemb_click_generator_cardinalities(generator, sizes);
    cr_assert_eq(qemb_click_generator_write(generator, support_path("log"), 0, N, NULL, NULL, NULL), QEMB_OK);
    static const int64_t parts[][3] = {{0, 0, N}, {500, 0, N - 500}, {500, 100, 100}, {N, 0, 0}};
    for (size_t i = 0; i < 4; ++i) {
        const qemb_click_desc log = {
            .path = support_path("log"), .num_embeddings = sizes, .first_row = parts[i][0], .row_count = parts[i][1]};
        cr_assert_eq(qemb_click_reader_open(&log, &reader), QEMB_OK);
        cr_assert_eq(qemb_click_reader_count(reader, &rows), QEMB_OK, "%s", qemb_last_error());
        cr_expect_eq(rows, parts[i][2], "part %zu has %lld rows", i, (long long)rows);
        cr_assert_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.reader = reader, .capacity = B}, &feed), QEMB_OK);
        for (int epoch = 0; epoch < 3; ++epoch) {
            expect_rows(feed, generator, parts[i][0], parts[i][2]);
            cr_assert_eq(qemb_click_feed_rewind(feed), QEMB_OK);
        }
        qemb_click_feed_destroy(feed);
        qemb_click_reader_close(reader);
    }
    qemb_click_generator_destroy(generator);
}

Test(io_feed, a_fault_comes_after_the_batches_before_it_with_its_sentence, .timeout = 60) {
    size_t size = 0;
    int64_t rows = 0;
    qemb_click_reader *reader = NULL;
    qemb_click_feed *feed = NULL;
    qemb_click_batch batch;
    qemb_click_generator *generator = small_generator();
    cr_assert_eq(qemb_click_generator_write(generator, support_path("log"), 0, 3 * B, NULL, NULL, NULL), QEMB_OK);
    char *log = support_read(support_path("log"), &size);
    char *newline = memrchr(log, '\n', size - 1);
    newline[1] = 'x'; /* the label of the last row */
    cr_assert_eq(qemb_click_reader_open(&(qemb_click_desc){.path = support_write("bad", log, size)}, &reader), QEMB_OK);
    cr_expect_eq(qemb_click_reader_count(reader, &rows), QEMB_ERR_CORRUPT);
    cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
    cr_assert_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.reader = reader, .capacity = B}, &feed), QEMB_OK);
    for (int epoch = 0; epoch < 2; ++epoch) {
        cr_expect(qemb_click_feed_next(feed, &batch) == QEMB_OK && batch.rows == B);
        cr_expect(qemb_click_feed_next(feed, &batch) == QEMB_OK && batch.rows == B);
        for (int again = 0; again < 3; ++again) {
            cr_expect_eq(qemb_click_feed_next(feed, &batch), QEMB_ERR_CORRUPT);
            cr_expect_not_null(strstr(qemb_last_error(), "line 192, column 1: 'x'"), "%s", qemb_last_error());
        }
        cr_assert_eq(qemb_click_feed_rewind(feed), QEMB_OK);
    }
    qemb_click_feed_destroy(feed);
    qemb_click_reader_close(reader);
    qemb_click_generator_destroy(generator);
    free(log);
}

Test(io_feed, a_batch_is_not_overwritten_while_it_is_held, .timeout = 60) {
    qemb_click_feed *feed = NULL;
    qemb_click_batch batch;
    qemb_click_generator *generator = small_generator();
    static int32_t ids[B * F];
    const qemb_click_feed_desc desc = {.generator = generator, .row_count = 20 * B, .capacity = B, .slots = 2};
    cr_assert_eq(qemb_click_feed_create(&desc, &feed), QEMB_OK);
    for (int i = 0; i < 20; ++i) {
        cr_assert_eq(qemb_click_feed_next(feed, &batch), QEMB_OK);
        (void)nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL); /* time enough for the thread to go wrong */
        cr_assert_eq(qemb_click_generator_rows(generator, (int64_t)i * B, B, ids, NULL, NULL, NULL), QEMB_OK);
        cr_expect(memcmp(ids, batch.ids, sizeof ids) == 0, "batch %d", i);
    }
    qemb_click_feed_destroy(feed);
    qemb_click_generator_destroy(generator);
}

Test(io_feed, a_feed_may_be_left_at_any_moment, .timeout = 60) {
    qemb_click_generator *generator = small_generator();
    for (int taken = 0; taken < 12; ++taken) {
        qemb_click_feed *feed = NULL;
        qemb_click_batch batch;
        const qemb_click_feed_desc desc = {.generator = generator, .row_count = 8 * B, .capacity = B, .slots = 3};
        cr_assert_eq(qemb_click_feed_create(&desc, &feed), QEMB_OK);
        for (int i = 0; i < taken; ++i) {
            cr_assert_eq(qemb_click_feed_next(feed, &batch), QEMB_OK);
        }
        qemb_click_feed_destroy(feed);
    }
    qemb_click_feed_destroy(NULL);
    qemb_click_generator_destroy(generator);
}

Test(io_feed, wrong_requests_are_refused) {
    qemb_click_feed *feed = NULL;
    qemb_click_generator *generator = small_generator();
    cr_expect_eq(qemb_click_feed_create(NULL, &feed), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.capacity = 1}, &feed), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.generator = generator}, &feed), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.generator = generator, .capacity = 1, .slots = 1}, &feed), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.generator = generator, .capacity = 1, .slots = 65}, &feed),
                 QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.generator = generator, .capacity = 1, .row_count = -1}, &feed),
                 QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_feed_create(&(qemb_click_feed_desc){.generator = generator, .capacity = INT64_MAX}, &feed), QEMB_ERR_OVERFLOW);
    cr_expect_eq(qemb_click_feed_next(NULL, NULL), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_feed_rewind(NULL), QEMB_ERR_ARG);
    cr_expect_null(feed);
    qemb_click_generator_destroy(generator);
}
