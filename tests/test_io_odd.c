/* test_io_odd.c - files that are in order, or wrong, in ways that no writer has: texts at the edges of UTF-8, headers cut at odd places,
 * too many of a thing, rows that end inside a byte, numbers of fifty digits, logs without an end. Tables of bytes and of statuses. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>
#include <qemb/qemb_io.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "io/click_row.h"
#include "io/fields.h"
#include "io/load.h"
#include "io/zipf.h"
#include "support_files.h"
#include "support_ok.h"

TestSuite(io_odd, .init = support_folder_create, .fini = support_folder_remove, .timeout = 60);

#define SIZE(array) (sizeof(array) / sizeof *(array))
enum { LONG_HEADER = 100000001 };

/* ---- safetensors ----------------------------------------------------------------------------------------------------------------- */

static const char *write_header(const char *name, const char *header, size_t length, const void *data, size_t bytes) {
    char *file = calloc(8 + length + bytes, 1);
    cr_assert_not_null(file);
    for (int i = 0; i < 8; i++) {
        file[i] = (char)(length >> (8 * i));
    }
    memcpy(file + 8, header, length);
    if (bytes > 0) {
        memcpy(file + 8 + length, data, bytes);
    }
    const char *path = support_write(name, file, 8 + length + bytes);
    free(file);
    return path;
}

static qemb_status open_header(const char *header) {
    qemb_safetensors *file = NULL;
    const qemb_status st = qemb_safetensors_open(write_header("header", header, strlen(header), NULL, 0), &file);
    qemb_safetensors_close(file);
    return st;
}

Test(io_odd, utf8, .description = "safetensors: texts at each edge of UTF-8 are read and written, those beyond it refused") {
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"\x7f", true},
        {"\xC2\x80", true},
        {"\xDF\xBF", true},
        {"\xE0\xA0\x80", true},
        {"\xEC\x80\x80", true},
        {"\xED\x9F\xBF", true},
        {"\xEF\xBF\xBF", true},
        {"\xF0\x90\x80\x80", true},
        {"\xF3\x80\x80\x80", true},
        {"\xF4\x8F\xBF\xBF", true},
        {"\x80", false},
        {"\xC1\xBF", false},
        {"\xC2", false},
        {"\xE0\x9F\xBF", false},
        {"\xED\xA0\x80", false},
        {"\xE1\x80", false},
        {"\xF0\x8F\xBF\xBF", false},
        {"\xF1\x80\x80", false},
        {"\xF4\x90\x80\x80", false},
        {"\xF5\x80\x80\x80", false},
        {"\xFF", false},
    };
    for (size_t i = 0; i < SIZE(rows); i++) {
        char header[96];
        (void)snprintf(header, sizeof header, "{\"__metadata__\":{\"k\":\"%s\"}}", rows[i].text);
        cr_expect_eq(open_header(header), rows[i].good ? QEMB_OK : QEMB_ERR_CORRUPT, "read, row %zu: %s", i, qemb_last_error());
        const qemb_status st = qemb_safetensors_save(support_path("saved"), NULL, NULL, 0, &(qemb_metadata){"k", rows[i].text}, 1);
        cr_expect_eq(st == QEMB_OK, rows[i].good, "written, row %zu: %s", i, qemb_last_error());
    }
}

Test(io_odd, headers, .description = "safetensors: a header with one odd thing is refused by its status") {
    static const struct {
        const char *header;
        qemb_status st;
    } rows[] = {
        {"{\"\\uD800", QEMB_ERR_CORRUPT},
        {"{\"\\uD800x", QEMB_ERR_CORRUPT},
        {"{\"\\uD800x\":0}", QEMB_ERR_CORRUPT},
        {"{\"\\uD800\\uE000\":0}", QEMB_ERR_CORRUPT},
        {"{\"\\u12", QEMB_ERR_CORRUPT},
        {"{\"\\uD800\\u12", QEMB_ERR_CORRUPT},
        {"{\"\\u00zz\":0}", QEMB_ERR_CORRUPT},
        {"{\"\\uD800\\u00zz\":0}", QEMB_ERR_CORRUPT},
        {"{\"a\":{\"dtype\":\"a type whose name is much longer than any of the format\",\"shape\":[],\"data_offsets\":[0,0]}}",
         QEMB_ERR_UNSUPPORTED},
        {"{\"a\":{\"a key whose name is much longer than any of those of the format\":0}}", QEMB_ERR_CORRUPT},
    };
    for (size_t i = 0; i < SIZE(rows); i++) {
        cr_expect_eq(open_header(rows[i].header), rows[i].st, "%s: %s", rows[i].header, qemb_last_error());
        cr_expect(strstr(qemb_last_error(), "byte"), "%s: %s", rows[i].header, qemb_last_error());
    }
}

/* `count` times the entry, numbered. */
static qemb_status open_many(const char *before, const char *entry, const char *after, int count) {
    const size_t size = strlen(before) + strlen(after) + (size_t)count * (strlen(entry) + 16) + 1;
    char *header = malloc(size);
    cr_assert_not_null(header);
    size_t used = (size_t)snprintf(header, size, "%s", before);
    for (int i = 0; i < count; i++) {
        used += (size_t)snprintf(header + used, size - used, "%s\"%d\":%s", i ? "," : "", i, entry);
    }
    (void)snprintf(header + used, size - used, "%s", after);
    const qemb_status st = open_header(header);
    free(header);
    return st;
}

Test(io_odd, too_many, .description = "safetensors: one more tensor or text than are read or written is refused") {
    static const char tensor[] = "{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    cr_expect_eq(open_many("{", tensor, "}", QEMB_FILE_MAX_TENSORS + 1), QEMB_ERR_UNSUPPORTED, "%s", qemb_last_error());
    cr_expect(strstr(qemb_last_error(), "more than"), "%s", qemb_last_error());
    cr_expect_eq(open_many("{\"__metadata__\":{", "\"\"", "}}", QEMB_FILE_MAX_METADATA + 1), QEMB_ERR_UNSUPPORTED, "%s", qemb_last_error());
    cr_expect(strstr(qemb_last_error(), "more than"), "%s", qemb_last_error());
    qemb_safetensors_writer *writer = NULL;
    static const qemb_metadata none = {"k", ""};
    cr_expect_eq(qemb_safetensors_writer_create(support_path("x"), NULL, 0, &none, QEMB_FILE_MAX_METADATA, &writer), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_safetensors_writer_create(support_path("x"), NULL, 0, &none, -1, &writer), QEMB_ERR_RANGE);
    char *text = malloc(LONG_HEADER);
    cr_assert_not_null(text);
    memset(text, 'x', LONG_HEADER - 1);
    text[LONG_HEADER - 1] = '\0';
    cr_expect_eq(qemb_safetensors_writer_create(support_path("x"), NULL, 0, &(qemb_metadata){"k", text}, 1, &writer), QEMB_ERR_RANGE);
    cr_expect(strstr(qemb_last_error(), "a header of"), "%s", qemb_last_error());
    free(text);
    cr_expect_eq(support_count_files("x"), 0);
}

Test(io_odd, too_large, .description = "io: tensors whose bytes do not fit in 63 bits, one or all together, are OVERFLOW") {
    static const int64_t doubles[] = {INT64_C(1) << 60}, bytes[] = {(INT64_C(1) << 60) - 1};
    static const char *const names[9] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    qemb_safetensors_writer *writer = NULL;
    qemb_tensor_desc all[9];
    for (int i = 0; i < 9; i++) {
        all[i] = (qemb_tensor_desc){names[i], bytes, 1, QEMB_FILE_U8};
    }
    cr_expect_eq(qemb_npy_save(support_path("x"), &(qemb_tensor_desc){"", doubles, 1, QEMB_FILE_F64}, ""), QEMB_ERR_OVERFLOW);
    cr_expect_eq(qemb_safetensors_writer_create(support_path("x"), all, 9, NULL, 0, &writer), QEMB_ERR_OVERFLOW);
    cr_expect(strstr(qemb_last_error(), "together"), "%s", qemb_last_error());
}

Test(io_odd, rows, .description = "safetensors: rows of no bytes are read, rows that end inside a byte are not") {
    static const char header[] = "{\"e\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[0,0]},"
                                 "\"h\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}";
    unsigned char got[8];
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_open(write_header("rows", header, strlen(header), "\x12\x34\x56", 3), &file));
    OK(qemb_safetensors_read_rows(file, "e", 1, 2, NULL));
    OK(qemb_safetensors_read_rows(file, "h", 1, 0, NULL));
    cr_expect_eq(qemb_safetensors_read_rows(file, "h", 0, 1, got), QEMB_ERR_UNSUPPORTED);
    cr_expect(strstr(qemb_last_error(), "whole bytes"), "%s", qemb_last_error());
    qemb_safetensors_close(file);
}

Test(io_odd, checksum, .description = "safetensors: a checksum that another program wrote, or that has no digits, is UNSUPPORTED") {
    static const char *const headers[] = {"{\"__metadata__\":{\"qemb_crc32\" : \"12345678\"}}", "{\"__metadata__\":{\"qemb_crc32\":\"\"}}"};
    for (size_t i = 0; i < SIZE(headers); i++) {
        qemb_safetensors *file = NULL;
        OK(qemb_safetensors_open(write_header("sum", headers[i], strlen(headers[i]), NULL, 0), &file));
        cr_expect_eq(qemb_safetensors_verify(file), QEMB_ERR_UNSUPPORTED, "%s", headers[i]);
        cr_expect(strstr(qemb_last_error(), "no checksum of this library"), "%s", qemb_last_error());
        qemb_safetensors_close(file);
    }
}

/* ---- npy ------------------------------------------------------------------------------------------------------------------------- */

/* magic, version, length, header, data */
static const char *write_npy(const char *version, const char *header, size_t length, const void *data, size_t bytes) {
    char file[1024] = "\x93NUMPY";
    memcpy(file + 6, version, 2);
    file[8] = (char)length;
    memcpy(file + 10, header, length);
    if (bytes > 0) {
        memcpy(file + 10 + length, data, bytes);
    }
    return support_write("a.npy", file, 10 + length + bytes);
}

Test(io_odd, npy, .description = "npy_open: a header with one odd thing is refused by its status; an array of nothing comes back") {
    static const struct {
        const char *version, *header;
        qemb_status st;
    } rows[] = {
        {"\1\0", "{'descr': '<", QEMB_ERR_UNSUPPORTED},
        {"\1\0", "{'descr': '|f4', 'fortran_order': False, 'shape': (1,)}", QEMB_ERR_UNSUPPORTED},
        {"\1\0", "{'descr': '<f4', 'fortran_order': False, 'shape': (a,)}", QEMB_ERR_CORRUPT},
        {"\1\0", "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}", QEMB_ERR_CORRUPT},
        {"\1\0", "{'descr' '<f4'}", QEMB_ERR_CORRUPT},
        {"\1\0", "{'descr': '<f4', 'shape': (1,)}", QEMB_ERR_CORRUPT},
        {"\1\0", "{'fortran_order': False, 'shape': (1,)}", QEMB_ERR_CORRUPT},
        {"\0\0", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", QEMB_ERR_UNSUPPORTED},
        {"\4\0", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", QEMB_ERR_UNSUPPORTED},
        {"\1\1", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", QEMB_ERR_UNSUPPORTED},
        {"\1\0", "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", QEMB_OK},
    };
    qemb_npy *file = NULL;
    qemb_tensor_view view;
    for (size_t i = 0; i < SIZE(rows); i++) {
        const char *path = write_npy(rows[i].version, rows[i].header, strlen(rows[i].header), "1234", 4);
        cr_expect_eq(qemb_npy_open(path, &file, &view), rows[i].st, "%s: %s", rows[i].header, qemb_last_error());
        qemb_npy_close(rows[i].st == QEMB_OK ? file : NULL);
    }
    static const char nul[] = "{'descr': '<f4', \0 'fortran_order': False, 'shape': (1,)}";
    cr_expect_eq(qemb_npy_open(write_npy("\1\0", nul, sizeof nul - 1, "1234", 4), &file, &view), QEMB_ERR_CORRUPT);
    cr_expect_eq(qemb_npy_open(support_write("b.npy", "something else", 14), &file, &view), QEMB_ERR_CORRUPT);
    static const int64_t shape[] = {0, 3};
    OK(qemb_npy_save(support_path("c.npy"), &(qemb_tensor_desc){"", shape, 2, QEMB_FILE_F32}, NULL));
    OK(qemb_npy_open(support_path("c.npy"), &file, &view));
    cr_expect(view.count == 0 && view.shape[1] == 3);
    qemb_npy_close(file);
}

/* ---- click logs ------------------------------------------------------------------------------------------------------------------ */

/* A row of a log, its first count and its last category as given. */
static const char *log_line(const char *count, const char *category) {
    static char line[512];
    size_t used = (size_t)snprintf(line, sizeof line, "1\t%s", count);
    for (int i = 1; i < QEMB_CLICK_DENSE; i++) {
        used += (size_t)snprintf(line + used, sizeof line - used, "\t%d", i);
    }
    for (int i = 1; i < QEMB_CLICK_SPARSE; i++) {
        used += (size_t)snprintf(line + used, sizeof line - used, "\t%08x", i);
    }
    (void)snprintf(line + used, sizeof line - used, "\t%s", category);
    return line;
}

Test(io_odd, shown, .description = "click_reader: a column that is wrong is shown by 24 bytes at most, what cannot be printed as dots") {
    qemb__click_row row;
    qemb__click_fault fault = {0};
    const char *line = log_line("an answer to everything, in words", "00000001\n");
    cr_expect(!qemb__click_parse(line, strchr(line, '\n'), &row, &fault));
    cr_expect(fault.column == 2 && strstr(fault.reason, "an answer to everything,") && !strstr(fault.reason, "in words"), "%s",
              fault.reason);
    line = log_line("3\x7f\xE4\x01", "00000001\n");
    cr_expect(!qemb__click_parse(line, strchr(line, '\n'), &row, &fault));
    cr_expect(fault.column == 2 && strstr(fault.reason, "3..."), "%s", fault.reason);
    line = log_line("3", "0000000g\n");
    cr_expect(!qemb__click_parse(line, strchr(line, '\n'), &row, &fault) && fault.column == QEMB_CLICK_COLUMNS);
    line = log_line("3", "abc\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n");
    cr_expect(qemb__click_parse(line, strchr(line, '\n'), &row, &fault) && row.categories[QEMB_CLICK_SPARSE - 1] == 0xabc);
}

Test(io_odd, before_the_first_row,
     .description = "click_reader: a faulty line before first_row is refused by next and by count, until the rewind") {
    static int32_t ids[4 * QEMB_CLICK_SPARSE];
    char file[2048];
    int64_t rows = 0;
    qemb_click_reader *reader = NULL;
    (void)snprintf(file, sizeof file, "%s\nnothing\n", log_line("1", "00000001"));
    (void)snprintf(file + strlen(file), sizeof file - strlen(file), "%s\n", log_line("2", "00000002"));
    const qemb_click_desc desc = {.path = support_write("log", file, strlen(file)), .first_row = 2, .form = QEMB_CLICK_TSV};
    OK(qemb_click_reader_open(&desc, &reader));
    cr_expect_eq(qemb_click_reader_next(reader, 4, ids, NULL, NULL, &rows), QEMB_ERR_CORRUPT);
    cr_expect_eq(qemb_click_reader_next(reader, 4, ids, NULL, NULL, &rows), QEMB_ERR_CORRUPT);
    OK(qemb_click_reader_rewind(reader));
    cr_expect_eq(qemb_click_reader_count(reader, &rows), QEMB_ERR_CORRUPT);
    cr_expect(strstr(qemb_last_error(), "line 2"), "%s", qemb_last_error());
    qemb_click_reader_close(reader);
}

Test(io_odd, endless_last_line, .description = "click_reader: a last line of 300,000 bytes without its end is one fault") {
    enum { LENGTH = 300000 };
    static char file[LENGTH + 1024];
    static int32_t ids[4 * QEMB_CLICK_SPARSE];
    qemb_click_reader *reader = NULL;
    int64_t rows = 0;
    (void)snprintf(file, sizeof file, "%s\n", log_line("1", "00000001"));
    const size_t used = strlen(file);
    memset(file + used, 'x', LENGTH);
    OK(qemb_click_reader_open(
        &(qemb_click_desc){.path = support_write("log", file, used + LENGTH), .form = QEMB_CLICK_TSV, .faults = QEMB_CLICK_SKIP}, &reader));
    OK(qemb_click_reader_next(reader, 4, ids, NULL, NULL, &rows));
    cr_expect(rows == 1 && qemb_click_reader_fault_count(reader) == 1);
    qemb_click_reader_close(reader);
}

Test(io_odd, npy_logs, .description = "click_reader: an npy file that is compressed, broken, empty or of another shape is no log") {
    static const int32_t words[2 * QEMB_CLICK_COLUMNS];
    static const struct {
        int64_t shape[2];
        int32_t rank;
        qemb_file_dtype dtype;
        qemb_status st;
    } rows[] = {{{2, QEMB_CLICK_COLUMNS}, 2, QEMB_FILE_I32, QEMB_OK},
                {{2, QEMB_CLICK_COLUMNS}, 2, QEMB_FILE_F32, QEMB_ERR_DTYPE},
                {{QEMB_CLICK_COLUMNS, 2}, 2, QEMB_FILE_I32, QEMB_ERR_DTYPE},
                {{2 * QEMB_CLICK_COLUMNS}, 1, QEMB_FILE_I32, QEMB_ERR_DTYPE},
                {{0, QEMB_CLICK_COLUMNS}, 2, QEMB_FILE_I32, QEMB_ERR_CORRUPT}};
    qemb_click_reader *reader = NULL;
    for (size_t i = 0; i < SIZE(rows); i++) {
        OK(qemb_npy_save(support_path("log.npy"), &(qemb_tensor_desc){"", rows[i].shape, rows[i].rank, rows[i].dtype}, words));
        const qemb_status st = qemb_click_reader_open(&(qemb_click_desc){.path = support_path("log.npy")}, &reader);
        cr_expect_eq(st, rows[i].st, "row %zu: %s", i, qemb_last_error());
        qemb_click_reader_close(st == QEMB_OK ? reader : NULL);
    }
    const char *broken = write_npy("\1\0", "{'descr'", 8, NULL, 0);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = broken}, &reader), QEMB_ERR_CORRUPT);
    gzFile file = gzopen(support_path("log.npy.gz"), "wb");
    cr_assert(file && gzwrite(file, "\x93NUMPY\1\0", 8) == 8 && gzclose(file) == Z_OK);
    cr_expect_eq(qemb_click_reader_open(&(qemb_click_desc){.path = support_path("log.npy.gz")}, &reader), QEMB_ERR_UNSUPPORTED);
    cr_expect(strstr(qemb_last_error(), "compressed npy"), "%s", qemb_last_error());
}

Test(io_odd, generators,
     .description = "click_generator: tables of one row each, no rows at all; cardinalities of no scale; the last rank of a Zipf law") {
    int64_t ones[QEMB_CLICK_SPARSE], sizes[3][QEMB_CLICK_SPARSE];
    static int32_t ids[5 * QEMB_CLICK_SPARSE];
    float probability[5];
    qemb_click_generator *generator = NULL;
    qemb__zipf zipf;
    for (int f = 0; f < QEMB_CLICK_SPARSE; f++) {
        ones[f] = 1;
    }
    OK(qemb_click_generator_create(&(qemb_click_generator_desc){.num_embeddings = ones, .alpha = 1.3, .signal = 2.0}, &generator));
    OK(qemb_click_generator_rows(generator, 7, 0, NULL, NULL, NULL, NULL));
    OK(qemb_click_generator_rows(generator, 7, 5, ids, NULL, NULL, probability));
    for (int b = 0; b < 5; b++) {
        cr_expect(ids[b] == 0 && probability[b] > 0.0f && probability[b] < 1.0f);
    }
    qemb_click_generator_destroy(generator);
    qemb_click_cardinalities(1.0, sizes[0]);
    qemb_click_cardinalities(2.0, sizes[1]);
    qemb_click_cardinalities(-1.0, sizes[2]);
    cr_expect_arr_eq(sizes[0], sizes[1], sizeof sizes[0]);
    cr_expect_arr_eq(sizes[0], sizes[2], sizeof sizes[0]);
    OK(qemb__zipf_create(1009, 1.1, 0.0, &zipf));
    cr_expect_eq(qemb__zipf_rank(&zipf, UINT64_MAX), 1008);
    cr_expect_eq(qemb__zipf_rank(&zipf, 0), 0);
    qemb__zipf_destroy(&zipf);
}

/* ---- fields and numbers ----------------------------------------------------------------------------------------------------------- */

typedef struct quantities {
    int64_t count, word;
    double real;
    int64_t last;
} quantities;

Test(io_odd, fields, .description = "fields: numbers that are too long, none, or followed by something are refused with their place") {
    static const char *const words[] = {"red", "green", NULL};
    static const qemb__field fields[] = {{"count", offsetof(quantities, count), QEMB__FIELD_INTEGER, -9, 9, NULL},
                                         {"word", offsetof(quantities, word), QEMB__FIELD_WORD, 0, 0, words},
                                         {"real", offsetof(quantities, real), QEMB__FIELD_REAL, 0, 0, NULL},
                                         {"last", offsetof(quantities, last), QEMB__FIELD_INTEGER, 0, 9, NULL},
                                         {0}};
    static const struct {
        const char *text, *says; /* NULL: it is right */
    } rows[] = {
        {"version=1 count=-3 word=green real=2.5 last=7", NULL},
        {"version=1 count=-3 word=green real=inf last=7", NULL},
        {"version=1 count=3 word=blue real=2.5 last=7", "word=blue"},
        {"version=1 count=10 word=red real=2.5 last=7", "count=10"},
        {"version=1 count=- word=red real=2.5 last=7", "count=-"},
        {"version=1 count= word=red real=2.5 last=7", "count="},
        {"version=1 count=000000000000000000000000000000000000000000000000000003 word=red real=2.5 last=7", "count=0"},
        {"version=1 count=9999999999999999999999 word=red real=2.5 last=7", "count=9"},
        {"version=1 count=3x word=red real=2.5 last=7", "count=3x"},
        {"version=1 count=3 word=red real=nan last=7", "real=nan"},
        {"version=1 count=3 word=red real=1e last=7", "real=1e"},
        {"version=1 count=3 word=red real= last=7", "real="},
        {"version=1 count=3 word=red real=0.00000000000000000000000000000000000000000000000000003 last=7", "real=0"},
        {"version=1 count=3 word=red real=2.5 last=7 more", "want its end"},
        {"version=1 count=3", "want a space"},
        {"version=1 count=3 real=2.5", "want 'word='"},
        {"version=2 count=3", "version 2"},
        {"version=1", "want 'version='"},
    };
    for (size_t i = 0; i < SIZE(rows); i++) {
        quantities got = {0};
        const qemb_status st = qemb__fields_read("reader", "file", "key", rows[i].text, fields, &got);
        cr_expect_eq(st == QEMB_OK, rows[i].says == NULL, "%s: %s", rows[i].text, qemb_last_error());
        cr_expect(!rows[i].says || strstr(qemb_last_error(), rows[i].says), "%s: %s", rows[i].text, qemb_last_error());
        cr_expect(rows[i].says || (got.count == -3 && got.word == 1 && got.last == 7));
    }
}

Test(io_odd, integers, .description = "load: an integer of one element is read from each type that has integers, and from no other") {
    static const char header[] = "{\"a\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[0,1]},"
                                 "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
                                 "\"c\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[2,6]},"
                                 "\"d\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[6,14]},"
                                 "\"e\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[14,18]},"
                                 "\"f\":{\"dtype\":\"U8\",\"shape\":[1,1],\"data_offsets\":[18,19]},"
                                 "\"g\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[19,21]}}";
    static const char data[21] = {1, 2, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7};
    static const qemb_status want[7] = {QEMB_OK, QEMB_OK, QEMB_OK, QEMB_OK, QEMB_ERR_DTYPE, QEMB_ERR_SHAPE, QEMB_ERR_SHAPE};
    qemb_safetensors *file = NULL;
    OK(qemb_safetensors_open(write_header("integers", header, strlen(header), data, sizeof data), &file));
    for (int i = 0; i < 7; i++) {
        const char name[] = {(char)('a' + i), '\0'};
        const qemb__load at = {file, "reader", "", NULL};
        qemb_tensor_view view;
        int64_t value = 0;
        OK(qemb__load_find(&at, name, &view));
        cr_expect_eq(qemb__load_integer(&at, &view, &value), want[i], "%s: %s", name, qemb_last_error());
        cr_expect(want[i] != QEMB_OK || value == i + 1, "%s: %lld", name, (long long)value);
    }
    qemb_safetensors_close(file);
}
