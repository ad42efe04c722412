/* test_io_generator.c - generated click logs: the same on every machine, shaped as promised, scored honestly. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/exact_math.h"
#include "io/zipf.h"
#include "support_files.h"

TestSuite(io_generator, .init = support_folder_create, .fini = support_folder_remove);

enum { F = QEMB_CLICK_SPARSE, D = QEMB_CLICK_DENSE };

static qemb_click_generator *create(const qemb_click_generator_desc *desc) {
    qemb_click_generator *generator = NULL;
    cr_assert_eq(qemb_click_generator_create(desc, &generator), QEMB_OK, "%s", qemb_last_error());
    return generator;
}

static uint64_t fnv1a(const char *bytes, size_t count) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < count; ++i) {
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

Test(io_generator, the_bytes_of_a_seed_never_change) {
    static const struct {
        uint64_t seed;
        double scale;
        size_t bytes;
        uint64_t hash;
    } golden[] = {{1, 1.0, 1218237, UINT64_C(0x957d32f94049d089)}, {2, 0.001, 1218294, UINT64_C(0x76e9a7b267e26fcb)}};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; ++i) {
        size_t size = 0;
        qemb_click_generator *generator = create(&(qemb_click_generator_desc){.seed = golden[i].seed, .scale = golden[i].scale});
        cr_assert_eq(qemb_click_generator_write(generator, support_path("log"), 0, 5000, NULL, NULL, NULL), QEMB_OK);
        char *bytes = support_read(support_path("log"), &size);
        uint64_t hash = fnv1a(bytes, size);
        cr_expect(size == golden[i].bytes && hash == golden[i].hash, "seed %llu: %zu bytes, hash 0x%016llx",
                  (unsigned long long)golden[i].seed, size, (unsigned long long)hash);
        free(bytes);
        qemb_click_generator_destroy(generator);
    }
}

Test(io_generator, a_log_read_back_holds_the_rows_that_were_drawn) {
    enum { N = 3000, FIRST = 777 };
    static int32_t drawn[N * F], read[N * F];
    static float dense[2][N * D], labels[2][N];
    int64_t sizes[F], rows = 0, missing = 0;
    qemb_click_generator *generator = create(&(qemb_click_generator_desc){.seed = 5, .scale = 0.01});
    qemb_click_generator_cardinalities(generator, sizes);
    cr_assert_eq(qemb_click_generator_write(generator, support_path("log"), FIRST, N, NULL, NULL, NULL), QEMB_OK);
    cr_assert_eq(qemb_click_generator_rows(generator, FIRST, N, drawn, dense[0], labels[0], NULL), QEMB_OK);
    qemb_click_reader *reader = NULL;
    cr_assert_eq(qemb_click_reader_open(&(qemb_click_desc){.path = support_path("log"), .num_embeddings = sizes}, &reader), QEMB_OK);
    cr_assert_eq(qemb_click_reader_next(reader, N, read, dense[1], labels[1], &rows), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(rows, N);
    cr_expect(memcmp(drawn, read, sizeof drawn) == 0, "ids");
    cr_expect(memcmp(dense[0], dense[1], sizeof dense[0]) == 0, "dense");
    cr_expect(memcmp(labels[0], labels[1], sizeof labels[0]) == 0, "labels");
    for (int64_t b = 0; b < N; ++b) {
        missing += drawn[21 * N + b] == 0;
    }
    cr_expect(missing > N * 72 / 100 && missing < N * 80 / 100, "the 22nd category is missing in 76.2 %% of rows: %lld",
              (long long)missing);
    qemb_click_reader_close(reader);
    qemb_click_generator_destroy(generator);
}

Test(io_generator, first_seen_numbering_finds_as_many_values_as_there_are_ids) {
    enum { N = 20000 };
    static int32_t drawn[N * F], read[N * F];
    static bool used[200000];
    int64_t sizes[F], seen[F], rows = 0;
    qemb_click_generator *generator = create(&(qemb_click_generator_desc){.seed = 6, .scale = 0.01});
    qemb_click_generator_cardinalities(generator, sizes);
    cr_assert_eq(qemb_click_generator_write(generator, support_path("log"), 0, N, NULL, NULL, NULL), QEMB_OK);
    cr_assert_eq(qemb_click_generator_rows(generator, 0, N, drawn, NULL, NULL, NULL), QEMB_OK);
    qemb_click_reader *reader = NULL;
    cr_assert_eq(qemb_click_reader_open(&(qemb_click_desc){.path = support_path("log"), .ids = QEMB_CLICK_FIRST_SEEN}, &reader), QEMB_OK);
    cr_assert_eq(qemb_click_reader_next(reader, N, read, NULL, NULL, &rows), QEMB_OK);
    qemb_click_reader_cardinalities(reader, seen);
    for (int f = 0; f < F; ++f) {
        int64_t distinct = 0;
        memset(used, 0, sizeof used);
        for (int64_t b = 0; b < N; ++b) {
            cr_assert(drawn[f * N + b] >= 0 && drawn[f * N + b] < sizes[f]);
            distinct += !used[drawn[f * N + b]];
            used[drawn[f * N + b]] = true;
        }
        cr_expect_eq(seen[f], distinct, "feature %d", f);
        cr_expect(distinct >= 3 || sizes[f] < 4, "feature %d has %lld", f, (long long)distinct);
    }
    qemb_click_reader_close(reader);
    qemb_click_generator_destroy(generator);
}

static int by_probability(const void *a, const void *b) {
    const float *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

Test(io_generator, the_reported_scores_are_those_of_the_true_probabilities, .timeout = 120) {
    enum { N = 100000, BLOCK = 1000 };
    static int32_t ids[BLOCK * F];
    static float pairs[N][2], labels[BLOCK], probabilities[BLOCK];
    qemb_click_report written, scored;
    double loss = 0, mean = 0;
    int64_t positives = 0;
    qemb_click_generator *generator = create(&(qemb_click_generator_desc){.seed = 7, .scale = 0.05});
    cr_assert_eq(qemb_click_generator_write(generator, support_path("log"), 0, N, NULL, NULL, &written), QEMB_OK);
    cr_assert_eq(qemb_click_generator_score(generator, 0, N, &scored), QEMB_OK);
    for (int64_t from = 0; from < N; from += BLOCK) {
        cr_assert_eq(qemb_click_generator_rows(generator, from, BLOCK, ids, NULL, labels, probabilities), QEMB_OK);
        for (int b = 0; b < BLOCK; ++b) {
            pairs[from + b][0] = probabilities[b];
            pairs[from + b][1] = labels[b];
            positives += labels[b] > 0;
            mean += (double)probabilities[b] / N;
            loss -= log(labels[b] > 0 ? (double)probabilities[b] : 1.0 - (double)probabilities[b]) / N;
        }
    }
    qsort(pairs, N, sizeof *pairs, by_probability);
    double below = 0, wins = 0;
    for (int64_t i = 0; i < N;) { /* ties count half */
        double ones = 0, zeros = 0;
        int64_t j = i;
        for (; j < N && pairs[j][0] == pairs[i][0]; ++j) {
            *(pairs[j][1] > 0 ? &ones : &zeros) += 1;
        }
        wins += ones * (below + 0.5 * zeros);
        below += zeros;
        i = j;
    }
    double auc = wins / ((double)positives * below);
    /* The report counts pairs within a bin as ties: a share of a few times 1 / bins. Probabilities come as float32, each logarithm moves by 2^-24
     * of p / (1 - p) or less, whose mean here is below 16. */
    cr_expect(fabs(auc - written.auc) < 1e-5, "AUC %.7f, reported %.7f", auc, written.auc);
    cr_expect(fabs(loss - written.log_loss) < 16 * 0x1p-24, "log loss %.7f, reported %.7f", loss, written.log_loss);
    cr_expect(written.auc == scored.auc && written.log_loss == scored.log_loss && written.positives == positives && written.rows == N);
    cr_expect(scored.bytes == 0 && written.bytes > 200 * N && written.bytes < 300 * N);
    /* What the log is made for: Criteo's rate of clicks, and room for a good model to come near AUC .80. */
    double rate = (double)positives / N;
    cr_expect(fabs(rate - 0.256) < 0.008, "%.4f positive", rate);
    cr_expect(fabs(rate - mean) < 4 * sqrt(0.25 / N), "labels follow their probabilities: %.4f, %.4f", rate, mean);
    cr_expect(auc > 0.82 && auc < 0.855 && loss > 0.38 && loss < 0.44, "AUC %.4f, log loss %.4f", auc, loss);
    qemb_click_generator_destroy(generator);
}

Test(io_generator, rows_do_not_depend_on_how_they_are_cut) {
    enum { N = 600 };
    static int32_t whole[N * F], part[N * F];
    static float p[2][N];
    qemb_click_generator *generator = create(&(qemb_click_generator_desc){.seed = 8, .scale = 0.01});
    cr_assert_eq(qemb_click_generator_rows(generator, 1000, N, whole, NULL, NULL, p[0]), QEMB_OK);
    for (int64_t from = 0; from < N; from += 7) {
        int64_t rows = N - from < 7 ? N - from : 7;
        cr_assert_eq(qemb_click_generator_rows(generator, 1000 + from, rows, part, NULL, NULL, p[1]), QEMB_OK);
        for (int64_t b = 0; b < rows; ++b) {
            cr_assert(p[0][from + b] == p[1][b]);
            for (int f = 0; f < F; ++f) {
                cr_assert(part[f * rows + b] == whole[f * N + from + b]);
            }
        }
    }
    qemb_click_generator_destroy(generator);
}

Test(io_generator, seeds_and_signal_make_different_logs) {
    static int32_t a[100 * F], b[100 * F];
    qemb_click_report weak, strong;
    qemb_click_generator *one = create(&(qemb_click_generator_desc){.seed = 1, .scale = 0.01, .signal = 0.5});
    qemb_click_generator *two = create(&(qemb_click_generator_desc){.seed = 2, .scale = 0.01, .signal = 3});
    cr_assert_eq(qemb_click_generator_rows(one, 0, 100, a, NULL, NULL, NULL), QEMB_OK);
    cr_assert_eq(qemb_click_generator_rows(two, 0, 100, b, NULL, NULL, NULL), QEMB_OK);
    cr_expect(memcmp(a, b, sizeof a) != 0);
    cr_assert_eq(qemb_click_generator_score(one, 0, 20000, &weak), QEMB_OK);
    cr_assert_eq(qemb_click_generator_score(two, 0, 20000, &strong), QEMB_OK);
    cr_expect(weak.auc > 0.6 && weak.auc < 0.68 && strong.auc > 0.9, "%.3f %.3f", weak.auc, strong.auc);
    qemb_click_generator_destroy(one);
    qemb_click_generator_destroy(two);
}

Test(io_generator, equal_probabilities_count_half) {
    qemb_click_report report;
    qemb_click_generator *generator = create(&(qemb_click_generator_desc){.scale = 0.001, .signal = 1e-9});
    cr_assert_eq(qemb_click_generator_score(generator, 0, 5000, &report), QEMB_OK);
    cr_expect_eq(report.auc, 0.5, "a truth that says nothing: %.6f", report.auc);
    qemb_click_generator_destroy(generator);
}

Test(io_generator, tables_of_any_size_work) {
    enum { N = 2000 };
    static int32_t ids[N * F];
    static float p[N];
    static const int64_t extremes[] = {1, 2, 3, 4, 5, 63, 64, 65, 1 << 20, (1 << 20) + 1, INT32_MAX, INT32_MAX - 1};
    int64_t sizes[F];
    for (int f = 0; f < F; ++f) {
        sizes[f] = extremes[f % 12];
    }
    qemb_click_generator *generator = create(&(qemb_click_generator_desc){.seed = 9, .num_embeddings = sizes, .factor_dim = 8});
    cr_assert_eq(qemb_click_generator_rows(generator, 0, N, ids, NULL, NULL, p), QEMB_OK);
    for (int64_t b = 0; b < N; ++b) {
        cr_assert(p[b] > 0 && p[b] < 1);
        for (int f = 0; f < F; ++f) {
            cr_assert(ids[f * N + b] >= 0 && ids[f * N + b] < sizes[f], "feature %d of %lld rows: %d", f, (long long)sizes[f],
                      ids[f * N + b]);
        }
    }
    qemb_click_generator_destroy(generator);
}

static bool stop_at_second(void *user, int64_t done, int64_t total) {
    int *calls = user;
    cr_expect(done >= 0 && done <= total);
    return ++*calls < 2;
}

Test(io_generator, a_stopped_write_leaves_nothing) {
    int calls = 0;
    qemb_click_generator *generator = create(&(qemb_click_generator_desc){.scale = 0.01});
    cr_expect_eq(qemb_click_generator_write(generator, support_path("log"), 0, 100000, stop_at_second, &calls, NULL), QEMB_ERR_STATE);
    cr_expect_eq(calls, 2);
    cr_expect_eq(support_count_files(""), 0);
    cr_expect_eq(qemb_click_generator_write(generator, support_path("no/folder"), 0, 1, NULL, NULL, NULL), QEMB_ERR_IO);
    qemb_click_generator_destroy(generator);
    qemb_click_generator_destroy(NULL);
}

Test(io_generator, wrong_requests_are_refused) {
    qemb_click_generator *generator = NULL;
    qemb_click_report report;
    int32_t ids[F];
    int64_t sizes[F];
    for (int f = 0; f < F; ++f) {
        sizes[f] = f == 25 ? 0 : 10;
    }
    const qemb_click_generator_desc wrong[] = {{.scale = -1},     {.scale = 2},       {.scale = NAN},           {.alpha = 5},
                                               {.alpha = -1},     {.alpha = NAN},     {.signal = 11},           {.signal = NAN},
                                               {.factor_dim = 9}, {.factor_dim = -1}, {.num_embeddings = sizes}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
        cr_expect_eq(qemb_click_generator_create(&wrong[i], &generator), QEMB_ERR_RANGE, "%zu", i);
    }
    for (int f = 0; f < F; ++f) {
        sizes[f] = 10;
    }
    const qemb_click_generator_desc last[] = {/* the last good ones */
                                              {.scale = 1, .num_embeddings = sizes},
                                              {.alpha = 4, .num_embeddings = sizes},
                                              {.signal = 10, .num_embeddings = sizes},
                                              {.factor_dim = 8, .num_embeddings = sizes},
                                              {.counts = QEMB_CLICK_RAW, .num_embeddings = sizes}};
    for (size_t i = 0; i < sizeof last / sizeof *last; ++i) {
        cr_assert_eq(qemb_click_generator_create(&last[i], &generator), QEMB_OK, "%zu: %s", i, qemb_last_error());
        qemb_click_generator_destroy(generator);
    }
    const qemb_click_counts behind = (qemb_click_counts)(QEMB_CLICK_RAW + 1);
    cr_expect_eq(qemb_click_generator_create(&(qemb_click_generator_desc){.counts = behind}, &generator), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_generator_create(&(qemb_click_generator_desc){.counts = (qemb_click_counts)7}, &generator), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_generator_create(NULL, &generator), QEMB_ERR_ARG);
    generator = create(&(qemb_click_generator_desc){.scale = 0.001});
    cr_expect_eq(qemb_click_generator_rows(generator, -1, 1, ids, NULL, NULL, NULL), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_generator_rows(generator, 1, INT64_MAX, ids, NULL, NULL, NULL), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_generator_rows(generator, 0, 1, NULL, NULL, NULL, NULL), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_generator_rows(NULL, 0, 1, ids, NULL, NULL, NULL), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_generator_score(generator, 0, 1, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_click_generator_score(generator, 0, 0, &report), QEMB_OK);
    cr_expect(report.rows == 0 && report.auc == 0.5 && report.log_loss == 0);
    qemb_click_generator_destroy(generator);
}

Test(io_generator, ranks_follow_zipf_mandelbrot) {
    enum { N = 10131226, DRAWS = 2000000, HEAD = 200 };
    static int64_t seen[HEAD];
    qemb__zipf zipf;
    const double alpha = 1.1, shift = 2.0;
    double total = 0;
    int64_t middle = 0, tail = 0;
    cr_assert_eq(qemb__zipf_create(N, alpha, shift, &zipf), QEMB_OK);
    cr_expect_lt(zipf.buckets, 1000u);
    for (int64_t r = 0; r < N; ++r) {
        total += pow((double)r + 1 + shift, -alpha);
    }
    uint64_t state = 12345;
    for (int i = 0; i < DRAWS; ++i) {
        uint64_t x = state += UINT64_C(0x9E3779B97F4A7C15);
        x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
        uint32_t rank = qemb__zipf_rank(&zipf, x ^ (x >> 31));
        cr_assert_lt(rank, (uint32_t)N);
        seen[rank < HEAD ? rank : 0] += rank < HEAD;
        middle += rank >= 1000 && rank < 100000;
        tail += rank >= 5000000;
    }
    for (int r = 0; r < HEAD; ++r) {
        double want = pow(r + 1 + shift, -alpha) / total * DRAWS;
        cr_expect(fabs((double)seen[r] - want) < 5 * sqrt(want), "rank %d: %lld, want %.0f", r, (long long)seen[r], want);
    }
    double want_middle = 0, want_tail = 0;
    for (int64_t r = 1000; r < N; ++r) {
        double p = pow((double)r + 1 + shift, -alpha) / total * DRAWS;
        want_middle += r < 100000 ? p : 0;
        want_tail += r >= 5000000 ? p : 0;
    }
    cr_expect(fabs((double)middle - want_middle) < 5 * sqrt(want_middle), "%lld, want %.0f", (long long)middle, want_middle);
    cr_expect(fabs((double)tail - want_tail) < 5 * sqrt(want_tail), "%lld, want %.0f", (long long)tail, want_tail);
    qemb__zipf_destroy(&zipf);
}

Test(io_generator, exp_and_log_are_within_an_ulp_or_two_of_the_c_library) {
    double worst_exp = 0, worst_log = 0;
    for (int i = -70000; i <= 70000; ++i) {
        double x = i * 0.00999;
        worst_exp = fmax(worst_exp, fabs(qemb__exact_exp(x) / exp(x) - 1.0));
        double y = exp(x * 0.05);
        worst_log = fmax(worst_log, fabs(qemb__exact_log(y) - log(y)) / fmax(1.0, fabs(log(y))));
    }
    cr_expect_leq(worst_exp, 3 * 0x1p-52, "%g ulp", worst_exp * 0x1p52); /* two of ours, half of the library's, the quotient's */
    cr_expect_leq(worst_log, 3 * 0x1p-52, "%g ulp", worst_log * 0x1p52);
    cr_expect_eq(qemb__exact_exp(0.0), 1.0);
    cr_expect_eq(qemb__exact_log(1.0), 0.0);
    cr_expect_eq(qemb__exact_sigmoid(0.0), 0.5);
    cr_expect(qemb__exact_sigmoid(1e300) <= 1.0 && qemb__exact_sigmoid(-1e300) > 0.0);
}
