/* test_io_safetensors.c - the safetensors reader: what it reads, and every class of damaged file it must refuse.
 *
 * Classes of the hostile catalogue that cannot exist in this format: magic and version bytes, reserved fields, name lengths
 * and counts as binary numbers, checksums of sections, sections that can be swapped. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "support_files.h"
#include "support_time.h"

/* Sanitizers multiply time and memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
enum { SANITIZED = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) };
#else
enum { SANITIZED = 0 };
#endif

TestSuite(io_safetensors, .init = support_folder_create, .fini = support_folder_remove);

/* A file of this header (its length put in front) and `data` bytes of data. */
static const char *make(const char *header, size_t data) {
    size_t length = strlen(header);
    char *bytes = calloc(8 + length + data, 1);
    for (int i = 0; i < 8; ++i) {
        bytes[i] = (char)(length >> (8 * i) & 0xFF);
    }
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; ++i) {
        bytes[8 + length + i] = (char)(i + 1);
    }
    const char *path = support_write("file", bytes, 8 + length + data);
    free(bytes);
    return path;
}

static qemb_status open_status(const char *path) {
    qemb_safetensors *file = NULL;
    qemb_status st = qemb_safetensors_open(path, &file);
    cr_expect((st == QEMB_OK) == (file != NULL), "a file object exists exactly when the open succeeded");
    qemb_safetensors_close(file);
    return st;
}

#define T(name, dtype, shape, begin, end)                                                                                                  \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

Test(io_safetensors, a_whole_file_is_read_as_written) {
    const char *path = make("{\"__metadata__\":{\"b\":\"two\",\"a\":\"one\"}," T("y", "U8", "2,3", 8, 14) "," T(
                                "x", "F32", "2", 0, 8) "," T("none", "I64", "0,7", 14, 14) "," T("point", "I16", "", 14, 16) "}  ",
                            16);
    qemb_safetensors *file = NULL;
    qemb_tensor_view view;
    const char *key, *text;
    cr_assert_eq(qemb_safetensors_open(path, &file), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_safetensors_count(file), 4);
    cr_assert_eq(qemb_safetensors_at(file, 0, &view), QEMB_OK);
    cr_expect_str_eq(view.name, "x", "tensors come in the order of their data");
    cr_expect(view.dtype == QEMB_FILE_F32 && view.rank == 1 && view.shape[0] == 2 && view.shape[1] == 1 && view.count == 2 &&
              view.bytes == 8);
    cr_assert_eq(qemb_safetensors_tensor(file, "y", &view), QEMB_OK);
    cr_expect(view.dtype == QEMB_FILE_U8 && view.rank == 2 && view.shape[0] == 2 && view.shape[1] == 3);
    cr_expect(memcmp(view.data, "\x09\x0a\x0b\x0c\x0d\x0e", 6) == 0);
    cr_assert_eq(qemb_safetensors_tensor(file, "none", &view), QEMB_OK);
    cr_expect(view.count == 0 && view.bytes == 0 && view.shape[1] == 7 && view.data != NULL);
    cr_assert_eq(qemb_safetensors_tensor(file, "point", &view), QEMB_OK);
    cr_expect(view.rank == 0 && view.count == 1 && view.bytes == 2);
    cr_expect_eq(qemb_safetensors_find(file, "absent"), -1);
    cr_expect_eq(qemb_safetensors_tensor(file, "absent", &view), QEMB_ERR_ARG);
    cr_expect_eq(qemb_safetensors_at(file, 4, &view), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_safetensors_at(file, -1, &view), QEMB_ERR_RANGE);
    cr_expect_str_eq(qemb_safetensors_metadata(file, "b"), "two");
    cr_expect_null(qemb_safetensors_metadata(file, "c"));
    cr_expect_eq(qemb_safetensors_metadata_count(file), 2);
    cr_assert_eq(qemb_safetensors_metadata_at(file, 0, &key, &text), QEMB_OK);
    cr_expect(strcmp(key, "a") == 0 && strcmp(text, "one") == 0);
    cr_expect_eq(qemb_safetensors_metadata_at(file, 2, &key, &text), QEMB_ERR_RANGE);
    qemb_safetensors_close(file);
}

/* UTF-8 at the ends of its ranges: what is read and what may be written are the same. */
Test(io_safetensors, utf8_is_taken_to_the_ends_of_its_ranges_and_no_further) {
    static const struct {
        const char *bytes;
        bool good;
    } cases[] = {{"\x7E", true},
                 {"\x80", false},
                 {"\xC1\xBF", false},
                 {"\xC2\x80", true},
                 {"\xC2\x7F", false},
                 {"\xC2\xC0", false},
                 {"\xDF\xBF", true},
                 {"\xE0\x9F\xBF", false},
                 {"\xE0\xA0\x80", true},
                 {"\xE1\x80\x80", true},
                 {"\xE1\x80\x7F", false},
                 {"\xED\x9F\xBF", true},
                 {"\xED\xA0\x80", false},
                 {"\xEE\x80\x80", true},
                 {"\xEF\xBF\xBF", true},
                 {"\xF0\x8F\xBF\xBF", false},
                 {"\xF0\x90\x80\x80", true},
                 {"\xF1\x80\x80\xC0", false},
                 {"\xF4\x8F\xBF\xBF", true},
                 {"\xF4\x90\x80\x80", false},
                 {"\xF5\x80\x80\x80", false},
                 {"\xFF", false}};
    char header[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        const qemb_metadata text = {cases[i].bytes, cases[i].bytes};
        (void)snprintf(header, sizeof header, "{\"__metadata__\":{\"%s\":\"%s\"}}", cases[i].bytes, cases[i].bytes);
        cr_expect_eq(open_status(make(header, 0)), cases[i].good ? QEMB_OK : QEMB_ERR_CORRUPT, "read %zu: %s", i, qemb_last_error());
        cr_expect_eq(qemb_safetensors_save(support_path("texts"), NULL, NULL, 0, &text, 1) == QEMB_OK, cases[i].good, "written %zu: %s", i,
                     qemb_last_error());
    }
}

Test(io_safetensors, escapes_are_taken_to_the_ends_of_their_ranges) {
    static const struct {
        const char *escape, *bytes;
    } escapes[] = {{"\\u007f", "\x7F"},
                   {"\\u0080", "\xC2\x80"},
                   {"\\u07fF", "\xDF\xBF"},
                   {"\\u0800", "\xE0\xA0\x80"},
                   {"\\uaFfA", "\xEA\xBF\xBA"},
                   {"\\ud7ff", "\xED\x9F\xBF"},
                   {"\\uE000", "\xEE\x80\x80"},
                   {"\\uffff", "\xEF\xBF\xBF"},
                   {"\\ud800\\udc00", "\xF0\x90\x80\x80"},
                   {"\\uDBFF\\uDFFF", "\xF4\x8F\xBF\xBF"},
                   {"\\u00g0", NULL},
                   {"\\u00G0", NULL},
                   {"\\u00`0", NULL},
                   {"\\u00@0", NULL},
                   {"\\u00/0", NULL},
                   {"\\u00:0", NULL},
                   {"\\udc00", NULL},
                   {"\\ud800", NULL},
                   {"\\ud800\\ud800", NULL}};
    qemb_safetensors *file = NULL;
    char header[200];
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; ++i) {
        (void)snprintf(header, sizeof header, "{\"__metadata__\":{\"k\":\"%s\"}}", escapes[i].escape);
        const qemb_status st = qemb_safetensors_open(make(header, 0), &file);
        cr_expect_eq(st, escapes[i].bytes ? QEMB_OK : QEMB_ERR_CORRUPT, "%s: %s", escapes[i].escape, qemb_last_error());
        if (st == QEMB_OK && escapes[i].bytes) {
            cr_expect_str_eq(qemb_safetensors_metadata(file, "k"), escapes[i].bytes, "%s", escapes[i].escape);
        }
        qemb_safetensors_close(file);
        file = NULL;
    }
}

Test(io_safetensors, escapes_and_utf8_in_names_are_decoded) {
    const char *path =
        make("{\"__metadata__\":{\"k\\u00e9\\n\":\"\\ud83d\\ude00 \\\"q\\\\ \\/\xC3\xA9\"}," T("a\\u0062\\t", "U8", "1", 0, 1) "}", 1);
    qemb_safetensors *file = NULL;
    cr_assert_eq(qemb_safetensors_open(path, &file), QEMB_OK, "%s", qemb_last_error());
    cr_expect_str_eq(qemb_safetensors_metadata(file, "k\xC3\xA9\n"), "\xF0\x9F\x98\x80 \"q\\ /\xC3\xA9");
    cr_expect_eq(qemb_safetensors_find(file, "ab\t"), 0);
    qemb_safetensors_close(file);
}

Test(io_safetensors, rows_of_a_table_are_read_alone) {
    const char *path = make("{" T("t", "U16", "5,3", 0, 30) "," T("s", "I8", "", 30, 31) "," T("q", "F4", "3,2", 31, 34) "}", 34);
    qemb_safetensors *file = NULL;
    unsigned char rows[12];
    cr_assert_eq(qemb_safetensors_open(path, &file), QEMB_OK, "%s", qemb_last_error());
    cr_assert_eq(qemb_safetensors_read_rows(file, "t", 2, 2, rows), QEMB_OK, "%s", qemb_last_error());
    for (int i = 0; i < 12; ++i) {
        cr_expect_eq(rows[i], 2 * 6 + i + 1);
    }
    cr_expect_eq(qemb_safetensors_read_rows(file, "t", 5, 0, NULL), QEMB_OK);
    cr_expect_eq(qemb_safetensors_read_rows(file, "t", 4, 2, rows), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_safetensors_read_rows(file, "t", -1, 1, rows), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_safetensors_read_rows(file, "t", 1, INT64_MAX, rows), QEMB_ERR_RANGE);
    cr_expect_eq(qemb_safetensors_read_rows(file, "s", 0, 1, rows), QEMB_ERR_SHAPE);
    cr_expect_eq(qemb_safetensors_read_rows(file, "u", 0, 1, rows), QEMB_ERR_ARG);
    cr_expect_eq(qemb_safetensors_read_rows(file, "q", 1, 1, rows), QEMB_OK, "a row of two F4 is a byte");
    cr_expect_eq(rows[0], 33);
    cr_assert_eq(truncate(path, 60), 0);
    cr_expect_eq(qemb_safetensors_read_rows(file, "t", 3, 2, rows), QEMB_ERR_IO, "a file that has become shorter gives a status");
    qemb_safetensors_close(file);
}

static const struct {
    const char *name, *header;
    size_t data;
    qemb_status want;
    const char *says;
} hostile[] = {
    /* the text */
    {"empty header", "", 0, QEMB_ERR_CORRUPT, "begin with '{'"},
    {"leading space", " {}", 0, QEMB_ERR_CORRUPT, "begin with '{'"},
    {"byte order mark", "\xEF\xBB\xBF{}", 0, QEMB_ERR_CORRUPT, "begin with '{'"},
    {"an array", "[]", 0, QEMB_ERR_CORRUPT, "begin with '{'"},
    {"never closed", "{", 0, QEMB_ERR_CORRUPT, "ends in the middle"},
    {"trailing text", "{}x", 0, QEMB_ERR_CORRUPT, "other than spaces"},
    {"trailing newline", "{}\n", 0, QEMB_ERR_CORRUPT, "other than spaces"},
    {"trailing comma", "{" T("a", "U8", "1", 0, 1) ",}", 1, QEMB_ERR_CORRUPT, "'\"' expected"},
    {"only a comma", "{,}", 0, QEMB_ERR_CORRUPT, "expected"},
    {"missing colon", "{\"a\"{}}", 0, QEMB_ERR_CORRUPT, "':' expected"},
    {"value is a number", "{\"a\":1}", 0, QEMB_ERR_CORRUPT, "'{' expected"},
    {"value is null", "{\"a\":null}", 0, QEMB_ERR_CORRUPT, "'{' expected"},
    {"value is nested", "{\"a\":{\"dtype\":{}}}", 0, QEMB_ERR_CORRUPT, "expected"},
    {"empty entry", "{\"a\":{}}", 0, QEMB_ERR_CORRUPT, "expected"},
    {"control character", "{\"a\x01\":{}}", 0, QEMB_ERR_CORRUPT, "control"},
    {"unknown escape", "{\"a\\x\":{}}", 0, QEMB_ERR_CORRUPT, "escape"},
    {"short unicode escape", "{\"a\\u12\":{}}", 0, QEMB_ERR_CORRUPT, "four hex"},
    {"NUL by escape", "{\"a\\u0000\":{}}", 0, QEMB_ERR_CORRUPT, "NUL"},
    {"lone high surrogate", "{\"a\\ud800\":{}}", 0, QEMB_ERR_CORRUPT, "surrogate"},
    {"lone low surrogate", "{\"a\\udc00\":{}}", 0, QEMB_ERR_CORRUPT, "surrogate"},
    {"high surrogate twice", "{\"a\\ud800\\ud800\":{}}", 0, QEMB_ERR_CORRUPT, "surrogate"},
    {"latin-1 byte", "{\"\xE9\":{}}", 0, QEMB_ERR_CORRUPT, "UTF-8"},
    {"overlong slash", "{\"\xC0\xAF\":{}}", 0, QEMB_ERR_CORRUPT, "UTF-8"},
    {"overlong three", "{\"\xE0\x80\xAF\":{}}", 0, QEMB_ERR_CORRUPT, "UTF-8"},
    {"surrogate in UTF-8", "{\"\xED\xA0\x80\":{}}", 0, QEMB_ERR_CORRUPT, "UTF-8"},
    {"past 10FFFF", "{\"\xF4\x90\x80\x80\":{}}", 0, QEMB_ERR_CORRUPT, "UTF-8"},
    {"cut UTF-8", "{\"\xE2\x82", 0, QEMB_ERR_CORRUPT, "UTF-8"},
    {"string never ends", "{\"abc", 0, QEMB_ERR_CORRUPT, "inside a string"},
    {"escape at the end", "{\"abc\\", 0, QEMB_ERR_CORRUPT, "escape"},
    /* metadata */
    {"metadata number", "{\"__metadata__\":{\"a\":1}}", 0, QEMB_ERR_CORRUPT, "'\"' expected"},
    {"metadata nested", "{\"__metadata__\":{\"a\":{}}}", 0, QEMB_ERR_CORRUPT, "'\"' expected"},
    {"metadata array", "{\"__metadata__\":[]}", 0, QEMB_ERR_CORRUPT, "'{' expected"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, QEMB_ERR_CORRUPT, "occurs twice"},
    {"metadata key twice", "{\"__metadata__\":{\"a\":\"x\",\"b\":\"\",\"a\":\"x\"}}", 0, QEMB_ERR_CORRUPT, "'a' occurs twice"},
    {"metadata key twice by escape", "{\"__metadata__\":{\"a\":\"x\",\"\\u0061\":\"y\"}}", 0, QEMB_ERR_CORRUPT, "'a' occurs twice"},
    /* entries */
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, QEMB_ERR_CORRUPT, "lacks"},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, QEMB_ERR_CORRUPT, "lacks"},
    {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, QEMB_ERR_CORRUPT, "lacks"},
    {"unknown key", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1, QEMB_ERR_CORRUPT, "the key 'x'"},
    {"dtype twice", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, QEMB_ERR_CORRUPT,
     "'dtype' twice"},
    {"dtype of lower case", "{" T("a", "f32", "1", 0, 4) "}", 4, QEMB_ERR_UNSUPPORTED, "'f32'"},
    {"dtype unknown", "{" T("a", "F128", "1", 0, 16) "}", 16, QEMB_ERR_UNSUPPORTED, "'F128'"},
    {"dtype empty", "{" T("a", "", "1", 0, 1) "}", 1, QEMB_ERR_UNSUPPORTED, "''"},
    {"nine dimensions", "{" T("a", "U8", "1,1,1,1,1,1,1,1,1", 0, 1) "}", 1, QEMB_ERR_UNSUPPORTED, "dimensions"},
    {"negative dimension", "{" T("a", "U8", "-1", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "non-negative"},
    {"fraction", "{" T("a", "U8", "1.0", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "expected"},
    {"exponent", "{" T("a", "U8", "1e0", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "expected"},
    {"leading zero", "{" T("a", "U8", "01", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "leading zero"},
    {"dimension as text", "{" T("a", "U8", "\"1\"", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "non-negative"},
    {"dimension 2^63", "{" T("a", "U8", "9223372036854775808", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "2^63"},
    {"dimension of 40 digits", "{" T("a", "U8", "1000000000000000000000000000000000000000", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "2^63"},
    {"product wraps to 0", "{" T("a", "U8", "4294967296,4294967296", 0, 0) "}", 0, QEMB_ERR_CORRUPT, "63 bits"},
    {"product wraps to small", "{" T("a", "U8", "4398046511105,4194304", 0, 4194304) "}", 0, QEMB_ERR_CORRUPT, "63 bits"},
    {"product passes 63 bits before a zero", "{" T("a", "U8", "4294967296,4294967296,0", 0, 0) "}", 0, QEMB_ERR_CORRUPT, "63 bits"},
    {"bytes wrap", "{" T("a", "F64", "2305843009213693952", 0, 0) "}", 0, QEMB_ERR_CORRUPT, "63 bits"},
    {"half a byte", "{" T("a", "F4", "3", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "whole byte"},
    {"six bits", "{" T("a", "F6_E2M3", "3", 0, 2) "}", 2, QEMB_ERR_CORRUPT, "whole byte"},
    /* ranges */
    {"begin behind end", "{" T("a", "U8", "1", 1, 0) "}", 1, QEMB_ERR_CORRUPT, "end before"},
    {"range too long", "{" T("a", "U8", "1", 0, 2) "}", 2, QEMB_ERR_CORRUPT, "do not agree"},
    {"range too short", "{" T("a", "F32", "1", 0, 3) "}", 3, QEMB_ERR_CORRUPT, "do not agree"},
    {"first does not start at 0", "{" T("a", "U8", "1", 1, 2) "}", 2, QEMB_ERR_CORRUPT, "hole"},
    {"a hole of one byte", "{" T("a", "U8", "1", 0, 1) "," T("b", "U8", "1", 2, 3) "}", 3, QEMB_ERR_CORRUPT, "hole"},
    {"overlap by one byte", "{" T("a", "U8", "2", 0, 2) "," T("b", "U8", "2", 1, 3) "}", 3, QEMB_ERR_CORRUPT, "overlap"},
    {"overlap inside", "{" T("a", "U8", "4", 0, 4) "," T("b", "U8", "1", 1, 2) "}", 4, QEMB_ERR_CORRUPT, "overlap"},
    {"one range for two tensors", "{" T("a", "U8", "1", 0, 1) "," T("b", "U8", "1", 0, 1) "}", 1, QEMB_ERR_CORRUPT, "overlap"},
    {"one name twice, same range", "{" T("a", "U8", "0", 0, 0) "," T("a", "U8", "0", 0, 0) "}", 0, QEMB_ERR_CORRUPT, "occurs twice"},
    {"one name twice, own ranges", "{" T("a", "U8", "1", 0, 1) "," T("a", "U8", "1", 1, 2) "}", 2, QEMB_ERR_CORRUPT, "occurs twice"},
    {"data cut", "{" T("a", "U8", "4", 0, 4) "}", 3, QEMB_ERR_CORRUPT, "the file at 3"},
    {"a byte appended", "{" T("a", "U8", "4", 0, 4) "}", 5, QEMB_ERR_CORRUPT, "the file at 5"},
    {"4096 bytes appended", "{" T("a", "U8", "4", 0, 4) "}", 4100, QEMB_ERR_CORRUPT, "the file at 4100"},
    {"data without tensors", "{}", 1, QEMB_ERR_CORRUPT, "the file at 1"},
    {"offset past the file", "{" T("a", "U8", "4", 9223372036854775803, 9223372036854775807) "}", 4, QEMB_ERR_CORRUPT, "hole"},
    {"three offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, QEMB_ERR_CORRUPT, "']' expected"},
    {"one offset", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, QEMB_ERR_CORRUPT, "',' expected"},
    {"negative offset", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, QEMB_ERR_CORRUPT, "non-negative"},
};

Test(io_safetensors, every_hostile_header_is_refused_with_file_byte_and_reason) {
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; ++i) {
        const char *path = make(hostile[i].header, hostile[i].data);
        qemb_status st = open_status(path);
        cr_expect_eq(st, hostile[i].want, "%s: %s (%s)", hostile[i].name, qemb_status_name(st), qemb_last_error());
        cr_expect_not_null(strstr(qemb_last_error(), hostile[i].says), "%s: '%s' should say '%s'", hostile[i].name, qemb_last_error(),
                           hostile[i].says);
        cr_expect_not_null(strstr(qemb_last_error(), path), "%s: '%s' should name the file", hostile[i].name, qemb_last_error());
    }
}

Test(io_safetensors, harmless_oddities_are_accepted) {
    static const char *const fine[] = {
        "{}",
        "{ }",
        "{}        ",
        "{\"__metadata__\":{}}",
        "{\"__metadata__\":{ \"\" : \"\" } }",
        "{ \"a\" : {\t\"data_offsets\":[0 , 0],\n\"shape\":[ 0 ], \"dtype\":\"U8\"\r} }",
        "{" T("../../etc/passwd", "U8", "0", 0, 0) "," T("", "F32", "1,0", 0, 0) "," T("A", "U8", "0", 0, 0) "," T("a", "U8", "0", 0,
                                                                                                                   0) "}",
    };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; ++i) {
        cr_expect_eq(open_status(make(fine[i], 0)), QEMB_OK, "'%s': %s", fine[i], qemb_last_error());
    }
}

Test(io_safetensors, the_length_in_front_is_checked_before_anything_is_allocated) {
    static const uint64_t lengths[] = {0, 1, 3, 100000001, UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
        char bytes[10] = "........{}";
        memcpy(bytes, &lengths[i], 8);
        int64_t before = qemb__alloc_count();
        cr_expect_eq(open_status(support_write("file", bytes, 10)), QEMB_ERR_CORRUPT, "length %llu", (unsigned long long)lengths[i]);
        cr_expect_leq(qemb__alloc_count() - before, 3, "the object, its path, at most two bytes of header");
    }
    cr_expect_eq(open_status(support_write("file", "\0\0\0\0\0\0\0\2{}", 10)), QEMB_ERR_CORRUPT, "a big-endian length");
}

Test(io_safetensors, foreign_files_are_refused) {
    static const struct {
        const char *name;
        const void *bytes;
        size_t count;
    } foreign[] = {
        {"zip", "PK\x03\x04\x14\0\0\0\0\0\0\0\0\0", 14},
        {"npy", "\x93NUMPY\x01\0v\0{'descr': '<f4'", 26},
        {"gzip", "\x1f\x8b\x08\0\0\0\0\0\0\3\1\0\0", 13},
        {"ELF",
         "\x7f"
         "ELF\2\1\1\0\0\0\0\0\0",
         13},
        {"GGUF", "GGUF\3\0\0\0\0\0\0\0\0\0", 14},
        {"text", "hello, world\n", 13},
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; ++i) {
        cr_expect_eq(open_status(support_write("file", foreign[i].bytes, foreign[i].count)), QEMB_ERR_CORRUPT, "%s", foreign[i].name);
    }
}

Test(io_safetensors, things_that_are_not_files_are_refused_without_waiting) {
    const char *fifo = support_path("fifo"), *link = support_path("dangling"), *loop = support_path("loop");
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_assert_eq(symlink("nowhere", link), 0);
    cr_assert_eq(symlink("loop", loop), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", support_path("socket"));
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_expect_eq(open_status(fifo), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(open_status(support_path("")), QEMB_ERR_UNSUPPORTED, "a folder");
    cr_expect_eq(open_status("/dev/zero"), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(open_status("/dev/full"), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(open_status(address.sun_path), QEMB_ERR_IO, "a socket cannot be opened");
    cr_expect_eq(open_status(link), QEMB_ERR_IO);
    cr_expect_eq(open_status(loop), QEMB_ERR_IO);
    cr_expect_eq(open_status(support_path("absent")), QEMB_ERR_IO);
    cr_expect_eq(open_status(NULL), QEMB_ERR_ARG);
    cr_expect_eq(open_status(""), QEMB_ERR_ARG);
    cr_expect_eq(qemb_safetensors_open("x", NULL), QEMB_ERR_ARG);
    (void)close(fd);
}

Test(io_safetensors, a_sparse_file_of_a_terabyte_is_refused_at_once) {
    const char *path = support_write("file", "", 0);
    cr_assert_eq(truncate(path, (off_t)1 << 40), 0);
    cr_expect_eq(open_status(path), QEMB_ERR_CORRUPT, "%s", qemb_last_error());
}

/* One of the cases, small enough to be damaged at every byte and bit. */
static char *small_case(size_t *size) {
    char *bytes = support_read("tests/cases/bad_freq_with_max.safetensors", size);
    cr_assert_not_null(bytes, "run from the top folder");
    return bytes;
}

Test(io_safetensors, a_file_cut_at_any_byte_is_refused) {
    size_t size = 0;
    char *bytes = small_case(&size);
    cr_assert_eq(open_status(support_write("file", bytes, size)), QEMB_OK);
    for (size_t cut = 0; cut < size; ++cut) {
        qemb_status st = open_status(support_write("file", bytes, cut));
        cr_assert_eq(st, QEMB_ERR_CORRUPT, "cut at %zu: %s", cut, qemb_status_name(st));
    }
    free(bytes);
}

/* Whether two open files differ in nothing but names and metadata texts. */
static bool same_but_for_text(const qemb_safetensors *a, const qemb_safetensors *b) {
    int64_t count = qemb_safetensors_count(a);
    if (count != qemb_safetensors_count(b)) {
        return false;
    }
    for (int64_t i = 0; i < count; ++i) {
        qemb_tensor_view x, y;
        cr_assert_eq(qemb_safetensors_at(a, i, &x), QEMB_OK);
        cr_assert_eq(qemb_safetensors_at(b, i, &y), QEMB_OK);
        if (x.dtype != y.dtype || x.rank != y.rank || x.bytes != y.bytes || x.offset != y.offset ||
            memcmp(x.shape, y.shape, sizeof x.shape) != 0 || memcmp(x.data, y.data, x.bytes) != 0) {
            return false;
        }
    }
    return true;
}

Test(io_safetensors, a_flipped_bit_of_the_header_is_refused_or_changes_only_a_text, .timeout = 120) {
    size_t size = 0;
    uint64_t length = 0;
    char *bytes = small_case(&size);
    qemb_safetensors *whole = NULL;
    int64_t refused = 0, renamed = 0;
    memcpy(&length, bytes, 8);
    char path[640];
    (void)snprintf(path, sizeof path, "%s", support_write("whole", bytes, size));
    cr_assert_eq(qemb_safetensors_open(path, &whole), QEMB_OK);
    for (size_t bit = 0; bit < 8 * (8 + (size_t)length); ++bit) {
        qemb_safetensors *file = NULL;
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        qemb_status st = qemb_safetensors_open(support_write("flipped", bytes, size), &file);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        if (st == QEMB_OK) {
            cr_expect(same_but_for_text(whole, file), "bit %zu of byte %zu passed and changed a tensor", bit % 8, bit / 8);
            renamed++;
        } else {
            cr_expect(st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED, "bit %zu: %s", bit, qemb_status_name(st));
            refused++;
        }
        qemb_safetensors_close(file);
    }
    cr_expect(refused > 0 && renamed > 0, "both happen: %lld, %lld", (long long)refused, (long long)renamed);
    qemb_safetensors_close(whole);
    free(bytes);
}

/* Header of `count` repetitions of a printf pattern with one number, comma-separated, between two texts. */
static char *repeat(const char *before, const char *pattern, int64_t count, const char *after) {
    size_t room = strlen(before) + strlen(after) + (size_t)count * (strlen(pattern) + 12) + 1, used = 0;
    char *text = calloc(room, 1);
    used += (size_t)snprintf(text, room, "%s", before);
    for (int64_t i = 0; i < count; ++i) {
        char item[128];
        int n = snprintf(item, sizeof item, "%s", i ? "," : "");
        const char *hash = strchr(pattern, '#');
        n += snprintf(item + n, sizeof item - (size_t)n, "%.*s%lld%s", (int)(hash - pattern), pattern, (long long)i, hash + 1);
        memcpy(text + used, item, (size_t)n);
        used += (size_t)n;
    }
    (void)snprintf(text + used, room - used, "%s", after);
    return text;
}

/* Opens the file in a child, whose peak memory starts afresh, and checks what that took. */
static void expect_cheap(const char *what, char *header, qemb_status want) {
    struct measured {
        qemb_status status;
        double seconds;
        int64_t grown;
    } m = {0};
    size_t file_bytes = strlen(header) + 8;
    const char *warm = support_write("warm", "\x35\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 8 + 53);
    const char *path = make(header, 0);
    int ends[2];
    free(header);
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rusage before, after;
        (void)open_status(warm); /* the code's own pages are in memory then */
        (void)getrusage(RUSAGE_SELF, &before);
        const double from = support_processor_seconds();
        m.status = open_status(path);
        m.seconds = support_processor_seconds() - from;
        (void)getrusage(RUSAGE_SELF, &after);
        m.grown = (after.ru_maxrss - before.ru_maxrss) * 1024;
        _exit(write(ends[1], &m, sizeof m) == (ssize_t)sizeof m ? 0 : 1);
    }
    cr_assert_eq(read(ends[0], &m, sizeof m), (ssize_t)sizeof m);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    (void)close(ends[0]);
    (void)close(ends[1]);
    cr_expect_eq(m.status, want, "%s: %s", what, qemb_status_name(m.status));
    if (!SANITIZED) {
        cr_expect_lt(m.seconds, 1.0, "%s: %.2f s of processor time", what, m.seconds);
        cr_expect_leq(m.grown, 2 * (int64_t)file_bytes + (1 << 20), "%s: %lld bytes for a file of %zu", what, (long long)m.grown,
                      file_bytes);
    }
}

Test(io_safetensors, big_headers_cost_less_than_twice_their_size, .timeout = 120) {
    expect_cheap("100,000 tensors", repeat("{", "\"#\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", 100000, "}"), QEMB_OK);
    expect_cheap("100,001 tensors", repeat("{", "\"#\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", 100001, "}"),
                 QEMB_ERR_UNSUPPORTED);
    expect_cheap("100,000 on one range", repeat("{", "\"#\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}", 100000, "}"),
                 QEMB_ERR_CORRUPT);
    expect_cheap("100,000 texts", repeat("{\"__metadata__\":{", "\"#\":\"\"", 100000, "}}"), QEMB_OK);
    expect_cheap("100,001 texts", repeat("{\"__metadata__\":{", "\"#\":\"\"", 100001, "}}"), QEMB_ERR_UNSUPPORTED);
    expect_cheap("deep nesting", repeat("{\"a\":", "{\"#\":", 0, "{{{{{{{{{{{{{{{{"), QEMB_ERR_CORRUPT);
    char *braces = calloc(20000001, 1);
    memset(braces, '{', 20000000);
    expect_cheap("20 million braces", braces, QEMB_ERR_CORRUPT);
    char *spaces = calloc(50000003, 1);
    memset(spaces, ' ', 50000002);
    spaces[0] = '{';
    spaces[50000001] = '}';
    expect_cheap("50 MB of space", spaces, QEMB_OK);
}

Test(io_safetensors, names_and_ranks_have_limits) {
    char header[2048], name[1100];
    memset(name, 'n', sizeof name);
    for (int length = QEMB_FILE_MAX_NAME; length <= QEMB_FILE_MAX_NAME + 1; ++length) {
        (void)snprintf(header, sizeof header, "{\"%.*s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", length, name);
        cr_expect_eq(open_status(make(header, 0)), length > QEMB_FILE_MAX_NAME ? QEMB_ERR_UNSUPPORTED : QEMB_OK);
    }
    cr_expect_eq(open_status(make("{" T("a", "U8", "1,1,1,1,1,1,1,1", 0, 1) "}", 1)), QEMB_OK);
}

Test(io_safetensors, closing_nothing_is_fine) {
    qemb_safetensors_close(NULL);
    cr_expect_eq(qemb_safetensors_count(NULL), 0);
    cr_expect_eq(qemb_safetensors_find(NULL, "x"), -1);
    cr_expect_null(qemb_safetensors_metadata(NULL, "x"));
}

Test(io_safetensors, dtypes_have_names_and_widths) {
    cr_expect_str_eq(qemb_file_dtype_name(QEMB_FILE_BF16), "BF16");
    cr_expect_eq(qemb_file_dtype_bits(QEMB_FILE_F6_E3M2), 6);
    cr_expect_eq(qemb_file_dtype_bits(QEMB_FILE_DTYPE_COUNT), 0);
    cr_expect_str_eq(qemb_file_dtype_name((qemb_file_dtype)-1), "?");
}
