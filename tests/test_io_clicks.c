/* test_io_clicks.c - the reader of click logs: what a good log gives, and what a bad one is told. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "support_files.h"

TestSuite(io_clicks, .init = support_folder_create, .fini = support_folder_remove);

enum { F = QEMB_CLICK_SPARSE, D = QEMB_CLICK_DENSE };

/* Row r of the logs below: every field differs from its neighbours', some are missing. */
static int32_t count_of(int64_t r, int i) {
    return i == 3 && r % 5 == 0 ? 0 : (int32_t)((r * 31 + i * 7) % 5000) - (i == 1 ? 40 : 0);
}
static bool count_missing(int64_t r, int i) {
    return i == 3 && r % 5 == 0;
}
static uint32_t category_of(int64_t r, int f) {
    return f == 20 && r % 3 == 0 ? 0 : (uint32_t)((uint64_t)(r / 2 + 1) * 2654435761u + (uint64_t)f * 40503u);
}

static size_t print_row(char *line, int64_t r) {
    int n = sprintf(line, "%d", (int)(r % 4 == 1));
    for (int i = 0; i < D; ++i) {
        n += count_missing(r, i) ? sprintf(line + n, "\t") : sprintf(line + n, "\t%d", count_of(r, i));
    }
    for (int f = 0; f < F; ++f) {
        n += category_of(r, f) ? sprintf(line + n, r % 2 ? "\t%08x" : "\t%X", category_of(r, f)) : sprintf(line + n, "\t");
    }
    return (size_t)n + (size_t)sprintf(line + n, "\n");
}

static char *print_log(int64_t rows, size_t *bytes) {
    char *log = calloc((size_t)rows * 512 + 1, 1);
    *bytes = 0;
    for (int64_t r = 0; r < rows; ++r) {
        *bytes += print_row(log + *bytes, r);
    }
    return log;
}

static const char *write_log(int64_t rows) {
    size_t bytes = 0;
    char *log = print_log(rows, &bytes);
    const char *path = support_write("log.tsv", log, bytes);
    free(log);
    return path;
}

static qemb_click_reader *open_log(const qemb_click_desc *desc) {
    qemb_click_reader *reader = NULL;
    cr_assert_eq(qemb_click_reader_open(desc, &reader), QEMB_OK, "%s", qemb_last_error());
    return reader;
}

/* Reads rows [first, first + count) of a log of row r = print_row(r) in batches and checks every value. */
static void expect_rows(qemb_click_reader *reader, int64_t first, int64_t count, int64_t batch, const int64_t *sizes, bool raw) {
    int32_t *ids = calloc((size_t)(batch * F), sizeof *ids);
    float *dense = calloc((size_t)(batch * D), sizeof *dense), *labels = calloc((size_t)batch, sizeof *labels);
    int64_t seen = 0, rows = 0;
    do {
        cr_assert_eq(qemb_click_reader_next(reader, batch, ids, dense, labels, &rows), QEMB_OK, "%s", qemb_last_error());
        cr_assert(rows == batch || seen + rows == count, "a short batch only at the end: %lld after %lld", (long long)rows,
                  (long long)seen);
        for (int64_t b = 0; b < rows; ++b) {
            int64_t r = first + seen + b;
            bool good = labels[b] == (float)(r % 4 == 1);
            for (int f = 0; f < F; ++f) {
                good = good && ids[f * rows + b] == (int32_t)(category_of(r, f) % (uint64_t)sizes[f]);
            }
            for (int i = 0; i < D; ++i) {
                int32_t x = count_of(r, i) > 0 ? count_of(r, i) : 0;
                good = good && dense[b * D + i] == (raw ? (float)x : (float)log(1.0 + x));
            }
            cr_assert(good, "row %lld", (long long)r);
        }
        seen += rows;
    } while (rows == batch);
    cr_expect_eq(seen, count, "%lld rows", (long long)seen);
    cr_assert_eq(qemb_click_reader_next(reader, batch, ids, NULL, NULL, &rows), QEMB_OK);
    cr_expect_eq(rows, 0, "nothing behind the end");
    free(ids);
    free(dense);
    free(labels);
}

Test(io_clicks, every_value_of_a_log_arrives_whatever_the_batch) {
    static const int64_t batches[] = {1, 7, 16, 128, 1000, 3001, 5000};
    int64_t kaggle[F], sizes[F];
    const char *path = write_log(3001); /* some 700 KB: several buffers */
    qemb_click_cardinalities(1.0, kaggle);
    for (int f = 0; f < F; ++f) {
        sizes[f] = 97 + f;
    }
    for (size_t i = 0; i < sizeof batches / sizeof *batches; ++i) {
        const int64_t *list = i % 2 ? sizes : NULL;
        qemb_click_reader *reader =
            open_log(&(qemb_click_desc){.path = path, .num_embeddings = list, .counts = i % 2 ? QEMB_CLICK_RAW : QEMB_CLICK_LOG1P});
        expect_rows(reader, 0, 3001, batches[i], list ? list : kaggle, i % 2);
        cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK, "%s", qemb_last_error());
        expect_rows(reader, 0, 3001, batches[i], list ? list : kaggle, i % 2);
        int64_t done = 0, total = 0;
        qemb_click_reader_progress(reader, &done, &total);
        cr_expect(done == total && total > 500000, "%lld of %lld", (long long)done, (long long)total);
        qemb_click_reader_close(reader);
    }
}

Test(io_clicks, a_part_of_a_log_is_read_alone_and_again) {
    int64_t kaggle[F];
    const char *path = write_log(2500);
    qemb_click_cardinalities(1.0, kaggle);
    static const int64_t parts[][3] = {{0, 1, 1}, {17, 1000, 1000}, {2400, 0, 100}, {2499, 5, 1}, {2500, 0, 0}, {9000, 3, 0}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
        qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = path, .first_row = parts[i][0], .row_count = parts[i][1]});
        for (int epoch = 0; epoch < 3; ++epoch) {
            expect_rows(reader, parts[i][0], parts[i][2], 64, kaggle, false);
            cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
        }
        qemb_click_reader_close(reader);
    }
}

Test(io_clicks, a_compressed_log_is_the_same_log) {
    int64_t kaggle[F];
    size_t bytes = 0;
    char *log = print_log(2000, &bytes);
    gzFile file = gzopen(support_path("log.gz"), "wb6");
    cr_assert_eq(gzwrite(file, log, (unsigned)bytes), (int)bytes);
    cr_assert_eq(gzclose(file), Z_OK);
    free(log);
    qemb_click_cardinalities(1.0, kaggle);
    qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = support_path("log.gz"), .first_row = 100});
    expect_rows(reader, 100, 1900, 128, kaggle, false);
    cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
    expect_rows(reader, 100, 1900, 128, kaggle, false);
    qemb_click_reader_close(reader);
}

Test(io_clicks, a_cut_compressed_log_is_refused) {
    size_t bytes = 0, packed = 0;
    int32_t *ids = calloc(4000 * F, sizeof *ids);
    int64_t rows = 0;
    char *log = print_log(4000, &bytes);
    gzFile file = gzopen(support_path("log.gz"), "wb6");
    cr_assert_eq(gzwrite(file, log, (unsigned)bytes), (int)bytes);
    cr_assert_eq(gzclose(file), Z_OK);
    free(log);
    char *content = support_read(support_path("log.gz"), &packed);
    static const double parts[] = {0.01, 0.3, 0.7, 0.999};
    for (int i = 0; i < 4; ++i) {
        const char *path = support_write("cut.gz", content, (size_t)((double)packed * parts[i]));
        qemb_click_reader *reader = NULL;
        qemb_status st = qemb_click_reader_open(&(qemb_click_desc){.path = path, .faults = QEMB_CLICK_SKIP}, &reader);
        for (rows = 1; st == QEMB_OK && rows > 0;) {
            st = qemb_click_reader_next(reader, 4000, ids, NULL, NULL, &rows);
        }
        cr_expect_eq(st, QEMB_ERR_CORRUPT, "%g: %s", parts[i], qemb_status_name(st));
        cr_expect_not_null(strstr(qemb_last_error(), "cut"), "%s", qemb_last_error());
        qemb_click_reader_close(reader);
    }
    free(content);
    free(ids);
}

/* Rows 0 .. count-1 as records. */
static int32_t *make_records(int64_t count) {
    int32_t *records = calloc((size_t)count, sizeof(int32_t[QEMB_CLICK_COLUMNS]));
    for (int64_t r = 0; r < count; ++r) {
        records[r * 40] = r % 4 == 1;
        for (int i = 0; i < D; ++i) {
            records[r * 40 + 1 + i] = count_of(r, i);
        }
        for (int f = 0; f < F; ++f) {
            records[r * 40 + 14 + f] = (int32_t)category_of(r, f);
        }
    }
    return records;
}

Test(io_clicks, an_npy_array_of_records_is_read_from_behind_its_header_each_time) {
    enum { N = 1777 };
    int64_t kaggle[F], shape[2] = {N, QEMB_CLICK_COLUMNS};
    int32_t *records = make_records(N);
    qemb_click_reader *reader = NULL;
    const char *path = support_path("log.npy");
    qemb_tensor_desc array = {.name = "", .shape = shape, .rank = 2, .dtype = QEMB_FILE_I32};
    cr_assert_eq(qemb_npy_save(path, &array, records), QEMB_OK);
    qemb_click_cardinalities(1.0, kaggle);
    reader = open_log(&(qemb_click_desc){.path = path});
    expect_rows(reader, 0, N, 100, kaggle, false);
    cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
    expect_rows(reader, 0, N, 41, kaggle, false);
    qemb_click_reader_close(reader);
    reader = open_log(&(qemb_click_desc){.path = path, .first_row = 5});
    expect_rows(reader, 5, N - 5, 100, kaggle, false);
    qemb_click_reader_close(reader);
    /* other arrays: 39 columns, another type, none */
    shape[1] = 39;
    cr_assert_eq(qemb_npy_save(path, &array, records), QEMB_OK);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path}, &reader), QEMB_ERR_DTYPE);
    shape[1] = QEMB_CLICK_COLUMNS;
    array.dtype = QEMB_FILE_F32;
    cr_assert_eq(qemb_npy_save(path, &array, records), QEMB_OK);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path}, &reader), QEMB_ERR_DTYPE);
    array.dtype = QEMB_FILE_I32;
    shape[0] = 0;
    cr_assert_eq(qemb_npy_save(path, &array, records), QEMB_OK);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path}, &reader), QEMB_ERR_CORRUPT);
    free(records);
}

Test(io_clicks, records_of_the_binary_form_are_told_by_their_first_bytes) {
    int64_t kaggle[F];
    enum { N = 1777 };
    int32_t *records = make_records(N);
    const char *path = support_write("log.bin", records, N * 160);
    qemb_click_cardinalities(1.0, kaggle);
    qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = path, .first_row = 5});
    expect_rows(reader, 5, N - 5, 100, kaggle, false);
    cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
    expect_rows(reader, 5, N - 5, 100, kaggle, false);
    qemb_click_reader_close(reader);

    records[3 * 40] = 7;
    reader = open_log(&(qemb_click_desc){.path = support_write("log.bin", records, N * 160 - 3), .faults = QEMB_CLICK_SKIP});
    static int32_t ids[N * F];
    int64_t rows = 0;
    cr_assert_eq(qemb_click_reader_next(reader, N, ids, NULL, NULL, &rows), QEMB_OK);
    cr_expect_eq(rows, N - 2);
    cr_expect_eq(qemb_click_reader_fault_count(reader), 2);
    cr_expect_str_eq(qemb_click_reader_fault(reader, 0), "record 4, column 1: 7, want the label 0 or 1");
    cr_expect_str_eq(qemb_click_reader_fault(reader, 1), "record 1777, column 40: the file ends inside this record");
    qemb_click_reader_close(reader);
    free(records);
}

Test(io_clicks, first_seen_ids_count_up_in_file_order_and_agree_between_readers) {
    enum { N = 3000 };
    static int32_t ids[N * F], late[N * F];
    int64_t rows = 0, sizes[F], seen[F];
    const char *path = write_log(N);
    qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = path, .ids = QEMB_CLICK_FIRST_SEEN});
    cr_assert_eq(qemb_click_reader_next(reader, N, ids, NULL, NULL, &rows), QEMB_OK);
    cr_assert_eq(rows, N);
    qemb_click_reader_cardinalities(reader, sizes);
    for (int f = 0; f < F; ++f) {
        int32_t highest = -1;
        for (int64_t b = 0; b < N; ++b) {
            cr_assert(ids[f * N + b] <= highest + 1, "feature %d row %lld: no id is left out", f, (long long)b);
            highest = ids[f * N + b] > highest ? ids[f * N + b] : highest;
            for (int64_t c = b - 3; c < b && c >= 0 && c < b; ++c) {
                bool same = category_of(b, f) == category_of(c, f);
                cr_assert((ids[f * N + b] == ids[f * N + c]) == same, "equal ids for equal values alone");
            }
        }
        cr_expect_eq(sizes[f], highest + 1);
    }
    qemb_click_reader_close(reader);
    reader = open_log(&(qemb_click_desc){.path = path, .ids = QEMB_CLICK_FIRST_SEEN, .first_row = 2000});
    for (int epoch = 0; epoch < 2; ++epoch) {
        cr_assert_eq(qemb_click_reader_next(reader, N, late, NULL, NULL, &rows), QEMB_OK);
        cr_assert_eq(rows, 1000);
        for (int f = 0; f < F; ++f) {
            cr_expect(memcmp(late + f * 1000, ids + f * N + 2000, 1000 * sizeof *ids) == 0, "feature %d", f);
        }
        cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
    }
    qemb_click_reader_close(reader);
    reader = open_log(&(qemb_click_desc){.path = path});
    qemb_click_reader_cardinalities(reader, seen);
    cr_expect_eq(seen[0], 0);
    qemb_click_reader_close(reader);
}

Test(io_clicks, first_seen_refuses_one_value_more_than_the_table_has_rows) {
    static int32_t ids[100 * F];
    int64_t rows = 0, sizes[F];
    for (int f = 0; f < F; ++f) {
        sizes[f] = f == 5 ? 3 : 1000;
    }
    qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = write_log(100), .ids = QEMB_CLICK_FIRST_SEEN, .num_embeddings = sizes});
    cr_expect_eq(qemb_click_reader_next(reader, 100, ids, NULL, NULL, &rows), QEMB_ERR_INDEX);
    cr_expect_not_null(strstr(qemb_last_error(), "line 7, column 20: "), "%s", qemb_last_error()); /* two rows share a value */
    cr_expect_eq(qemb_click_reader_next(reader, 100, ids, NULL, NULL, &rows), QEMB_ERR_INDEX, "and again");
    qemb_click_reader_close(reader);
}

/* Line 3 of a log of five is replaced by `line`; `wanted` is what the fault must say. */
static void expect_fault(const char *what, const char *line, const char *wanted) {
    static int32_t ids[8 * F];
    char log[6 * 512 + 8192], sentence[1024];
    size_t n = 0;
    int64_t rows = 0;
    for (int64_t r = 0; r < 5; ++r) {
        n += r == 2 ? (size_t)sprintf(log + n, "%s\n", line) : print_row(log + n, r);
    }
    char path[640];
    (void)snprintf(path, sizeof path, "%s", support_write("bad.tsv", log, n));
    qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = path});
    cr_expect_eq(qemb_click_reader_next(reader, 8, ids, NULL, NULL, &rows), QEMB_ERR_CORRUPT, "%s", what);
    (void)snprintf(sentence, sizeof sentence, "click_reader: %s: %s", path, wanted);
    cr_expect_str_eq(qemb_last_error(), sentence, "%s", what);
    qemb_click_reader_close(reader);

    reader = open_log(&(qemb_click_desc){.path = path, .faults = QEMB_CLICK_SKIP});
    cr_expect_eq(qemb_click_reader_next(reader, 8, ids, NULL, NULL, &rows), QEMB_OK, "%s: %s", what, qemb_last_error());
    cr_expect(rows == 4 && qemb_click_reader_fault_count(reader) == 1, "%s: %lld rows, %lld faults", what, (long long)rows,
              (long long)qemb_click_reader_fault_count(reader));
    cr_expect_str_eq(qemb_click_reader_fault(reader, 0), wanted, "%s", what);
    cr_expect_null(qemb_click_reader_fault(reader, 1));
    qemb_click_reader_close(reader);
}

/* Row 2 with its column (from 1) replaced. */
static const char *with_column(int column, const char *text) {
    static char line[1024];
    char row[512];
    size_t n = print_row(row, 2);
    row[n - 1] = '\0';
    char *at = row;
    line[0] = '\0';
    for (int c = 1; at; ++c) {
        char *tab = strchr(at, '\t');
        if (tab) {
            *tab = '\0';
        }
        (void)strcat(strcat(line, c > 1 ? "\t" : ""), c == column ? text : at);
        at = tab ? tab + 1 : NULL;
    }
    return line;
}

Test(io_clicks, a_bad_line_is_named_by_line_and_column) {
    static char long_line[6000];
    expect_fault("label 7", with_column(1, "7"), "line 3, column 1: '7', want the label 0 or 1");
    expect_fault("label missing", with_column(1, ""), "line 3, column 1: '', want the label 0 or 1");
    expect_fault("label 10", with_column(1, "10"), "line 3, column 1: '10', want the label 0 or 1");
    expect_fault("label -1", with_column(1, "-1"), "line 3, column 1: '-1', want the label 0 or 1");
    expect_fault("count a", with_column(2, "a"), "line 3, column 2: 'a', want a decimal integer of 32 bits");
    expect_fault("count 1.5", with_column(9, "1.5"), "line 3, column 9: '1.5', want a decimal integer of 32 bits");
    expect_fault("count 2^31", with_column(14, "2147483648"), "line 3, column 14: '2147483648', want a decimal integer of 32 bits");
    expect_fault("count long", with_column(14, "00000000000000000001"),
                 "line 3, column 14: '00000000000000000001', want a decimal integer of 32 bits");
    expect_fault("count -", with_column(14, "-"), "line 3, column 14: '-', want a decimal integer of 32 bits");
    expect_fault("count space", with_column(3, " 1"), "line 3, column 3: ' 1', want a decimal integer of 32 bits");
    expect_fault("hex g", with_column(15, "0000000g"), "line 3, column 15: '0000000g', want at most 8 hexadecimal digits");
    expect_fault("hex short g", with_column(15, "g"), "line 3, column 15: 'g', want at most 8 hexadecimal digits");
    expect_fault("hex 0x", with_column(27, "0x12345678"), "line 3, column 27: '0x12345678', want at most 8 hexadecimal digits");
    expect_fault("hex of nine", with_column(39, "123456789"), "line 3, column 39: '123456789', want at most 8 hexadecimal digits");
    expect_fault("hex of nine at the end", with_column(40, "123456789"),
                 "line 3, column 40: '123456789', want at most 8 hexadecimal digits");
    expect_fault("carriage return", with_column(40, "12345678\r"), "line 3, column 40: '12345678.', want at most 8 hexadecimal digits");
    expect_fault("negative hex", with_column(20, "-1"), "line 3, column 20: '-1', want at most 8 hexadecimal digits");
    expect_fault("41 columns", with_column(40, "1\t2"), "line 3, column 41: 41 columns, want 40");
    char whole[1024];
    (void)snprintf(whole, sizeof whole, "%s", with_column(0, ""));
    expect_fault("two lines in one", with_column(40, whole), "line 3, column 41: 79 columns, want 40");
    expect_fault("39 columns", with_column(1, "1") + 2, "line 3, column 39: 39 columns, want 40");
    expect_fault("empty line", "", "line 3, column 1: 1 columns, want 40");
    expect_fault("tabs", "\t\t\t", "line 3, column 4: 4 columns, want 40");
    expect_fault("spaces for tabs", "0 1 2 3", "line 3, column 1: 1 columns, want 40");
    memset(long_line, '1', 5000);
    expect_fault("a line too long", long_line, "line 3, column 1: the line is longer than 4096 bytes");
}

Test(io_clicks, counts_and_categories_at_their_ends_are_taken) {
    static int32_t ids[8 * F];
    static float dense[8 * D];
    int64_t rows = 0, sizes[F];
    char log[2048];
    for (int f = 0; f < F; ++f) {
        sizes[f] = INT32_MAX;
    }
    int n = sprintf(log, "%s\n", with_column(2, "2147483647"));
    n += sprintf(log + n, "%s\n", with_column(14, "-2147483648"));
    n += sprintf(log + n, "%s\n", with_column(15, "FFFFFFFF"));
    n += sprintf(log + n, "%s\n", with_column(40, "f"));
    n += sprintf(log + n, "%s\n", with_column(40, ""));
    qemb_click_reader *reader =
        open_log(&(qemb_click_desc){.path = support_write("log.tsv", log, (size_t)n), .num_embeddings = sizes, .counts = QEMB_CLICK_RAW});
    cr_assert_eq(qemb_click_reader_next(reader, 8, ids, dense, NULL, &rows), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(rows, 5);
    cr_expect_eq(dense[0], 2147483647.0f);
    cr_expect_eq(dense[1 * D + 12], 0.0f);
    cr_expect_eq(ids[0 * 5 + 2], 1, "0xFFFFFFFF mod 2^31 - 1");
    cr_expect_eq(ids[25 * 5 + 3], 15);
    cr_expect_eq(ids[25 * 5 + 4], 0);
    qemb_click_reader_close(reader);
}

Test(io_clicks, a_log_cut_at_any_byte_is_refused_unless_a_whole_row_remains) {
    static int32_t ids[8 * F];
    char log[3 * 512];
    size_t ends[4] = {0}, n = 0;
    for (int64_t r = 0; r < 3; ++r) {
        n += print_row(log + n, 2 * r + 1); /* categories of eight digits */
        ends[r + 1] = n;
    }
    for (size_t cut = 1; cut <= n; ++cut) {
        int64_t rows = 0, whole = 0;
        bool clean = false;
        for (int r = 1; r <= 3; ++r) {
            clean = clean || cut == ends[r] || cut + 1 == ends[r]; /* the newline alone may be missing */
            whole += cut + 1 >= ends[r];
        }
        qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = support_write("cut.tsv", log, cut)});
        qemb_status st = qemb_click_reader_next(reader, 8, ids, NULL, NULL, &rows);
        cr_assert_eq(st, clean ? QEMB_OK : QEMB_ERR_CORRUPT, "cut at %zu: %s", cut, qemb_last_error());
        cr_assert(clean ? rows == whole : strstr(qemb_last_error(), "the file ends inside this line") != NULL, "%s", qemb_last_error());
        qemb_click_reader_close(reader);
    }
}

Test(io_clicks, the_first_sixteen_faults_are_kept_and_all_are_counted) {
    static int32_t ids[64 * F];
    char log[60 * 512];
    size_t n = 0;
    int64_t rows = 0;
    for (int64_t r = 0; r < 50; ++r) {
        n += r % 2 ? (size_t)sprintf(log + n, "bad %lld\n", (long long)r) : print_row(log + n, r);
    }
    qemb_click_reader *reader =
        open_log(&(qemb_click_desc){.path = support_write("bad.tsv", log, n), .faults = QEMB_CLICK_SKIP, .first_row = 5});
    for (int epoch = 0; epoch < 2; ++epoch) {
        cr_assert_eq(qemb_click_reader_next(reader, 64, ids, NULL, NULL, &rows), QEMB_OK);
        cr_expect_eq(rows, 20);
        cr_expect_eq(qemb_click_reader_fault_count(reader), 21, "of the rows asked for, not of those read over");
        cr_expect_str_eq(qemb_click_reader_fault(reader, 15), "line 40, column 1: 1 columns, want 40");
        cr_expect_null(qemb_click_reader_fault(reader, 16));
        cr_expect_null(qemb_click_reader_fault(reader, -1));
        cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
        cr_expect_eq(qemb_click_reader_fault_count(reader), 0);
    }
    qemb_click_reader_close(reader);
}

Test(io_clicks, the_faults_that_a_count_met_stay_until_the_next_row_is_read) {
    static int32_t ids[2 * F];
    char log[10 * 512];
    size_t n = 0;
    int64_t rows = 0;
    for (int64_t r = 0; r < 7; ++r) {
        n += r % 3 == 1 ? (size_t)sprintf(log + n, "bad %lld\n", (long long)r) : print_row(log + n, r);
    }
    qemb_click_reader *reader =
        open_log(&(qemb_click_desc){.path = support_write("counted.tsv", log, n), .faults = QEMB_CLICK_SKIP, .first_row = 1});
    for (int again = 0; again < 2; ++again) {
        cr_assert_eq(qemb_click_reader_count(reader, &rows), QEMB_OK);
        cr_expect_eq(rows, 4);
        cr_expect_eq(qemb_click_reader_fault_count(reader), 2);
        cr_expect_str_eq(qemb_click_reader_fault(reader, 0), "line 2, column 1: 1 columns, want 40");
        cr_expect_str_eq(qemb_click_reader_fault(reader, 1), "line 5, column 1: 1 columns, want 40");
    }
    for (int64_t at = 0, faults[] = {1, 2, 2}; at < 3; ++at) { /* rows 2 and 3, 5 and 6, none */
        cr_assert_eq(qemb_click_reader_next(reader, 2, ids, NULL, NULL, &rows), QEMB_OK);
        cr_expect_eq(rows, at < 2 ? 2 : 0);
        cr_expect_eq(qemb_click_reader_fault_count(reader), faults[at], "call %d counts %lld", (int)at,
                     (long long)qemb_click_reader_fault_count(reader));
    }
    cr_assert_eq(qemb_click_reader_count(reader, &rows), QEMB_OK);
    cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
    cr_expect_eq(qemb_click_reader_fault_count(reader), 0);
    qemb_click_reader_close(reader);
    reader = open_log(&(qemb_click_desc){.path = support_path("counted.tsv")});
    cr_assert_eq(qemb_click_reader_count(reader, &rows), QEMB_ERR_CORRUPT);
    for (int again = 0; again < 2; ++again) { /* not the rows behind the faulty one */
        cr_expect_eq(qemb_click_reader_next(reader, 2, ids, NULL, NULL, &rows), QEMB_ERR_CORRUPT);
        cr_expect_not_null(strstr(qemb_last_error(), "line 2, column 1"), "%s", qemb_last_error());
    }
    qemb_click_reader_close(reader);
}

Test(io_clicks, an_error_stays_until_the_rewind_and_batches_before_it_are_delivered) {
    static int32_t ids[2 * F];
    char log[5 * 512];
    size_t n = 0;
    int64_t rows = 0;
    for (int64_t r = 0; r < 4; ++r) {
        n += print_row(log + n, r);
    }
    n += (size_t)sprintf(log + n, "bad\n");
    qemb_click_reader *reader = open_log(&(qemb_click_desc){.path = support_write("bad.tsv", log, n)});
    for (int epoch = 0; epoch < 2; ++epoch) {
        cr_expect_eq(qemb_click_reader_next(reader, 2, ids, NULL, NULL, &rows), QEMB_OK);
        cr_expect_eq(qemb_click_reader_next(reader, 2, ids, NULL, NULL, &rows), QEMB_OK);
        cr_expect_eq(qemb_click_reader_next(reader, 2, ids, NULL, NULL, &rows), QEMB_ERR_CORRUPT);
        cr_expect_eq(qemb_click_reader_next(reader, 2, ids, NULL, NULL, &rows), QEMB_ERR_CORRUPT);
        cr_expect_not_null(strstr(qemb_last_error(), "line 5"));
        cr_assert_eq(qemb_click_reader_rewind(reader), QEMB_OK);
    }
    qemb_click_reader_close(reader);
}

Test(io_clicks, wrong_requests_are_refused) {
    qemb_click_reader *reader = NULL;
    int64_t sizes[F], rows = 0;
    int32_t ids[F];
    const char *path = write_log(1);
    qemb_click_cardinalities(0.0, sizes);
    cr_expect_eq(qemb_click_reader_open(NULL, &reader), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path}, NULL), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = NULL}, &reader), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = support_path("absent")}, &reader), QEMB_ERR_IO);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = "/dev/zero"}, &reader), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path, .first_row = -1}, &reader), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path, .first_row = 1, .row_count = INT64_MAX}, &reader), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path, .form = (qemb_click_form)9}, &reader), QEMB_ERR_ARG);
    sizes[25] = 0;
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path, .num_embeddings = sizes}, &reader), QEMB_ERR_RANGE);
    sizes[25] = INT64_C(1) << 31;
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = path, .num_embeddings = sizes}, &reader), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = support_write("empty", "", 0)}, &reader), QEMB_ERR_CORRUPT);
    cr_expect_not_null(strstr(qemb_last_error(), "line 1, column 1: the file is empty"));
    cr_expect_null(reader);
    reader = open_log(&(qemb_click_desc){.path = path});
    cr_expect_eq(qemb_click_reader_next(reader, 0, ids, NULL, NULL, &rows), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_click_reader_next(reader, 1, NULL, NULL, NULL, &rows), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_reader_next(NULL, 1, ids, NULL, NULL, &rows), QEMB_ERR_ARG);
    cr_expect_eq(qemb_click_reader_next(reader, 1, ids, NULL, NULL, &rows), QEMB_OK, "none of these spoils the reader");
    cr_expect_eq(rows, 1);
    qemb_click_reader_close(reader);
    qemb_click_reader_close(NULL);
}

Test(io_clicks, kaggles_table_sizes_scale) {
    int64_t sizes[F], sum = 0;
    qemb_click_cardinalities(1.0, sizes);
    for (int f = 0; f < F; ++f) {
        sum += sizes[f];
    }
    cr_expect_eq(sum, 33762577);
    qemb_click_cardinalities(0.01, sizes);
    cr_expect(sizes[2] == 101313 && sizes[8] == 3 && sizes[19] == 4 && sizes[0] == 15, "%lld %lld", (long long)sizes[2],
              (long long)sizes[0]);
}
