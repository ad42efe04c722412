/* test_io_npy.c - NumPy's array files, in and out. */
#include <criterion/criterion.h>
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "support_files.h"

TestSuite(io_npy, .init = support_folder_create, .fini = support_folder_remove);

/* A file of this version and header, its length put in front as given (-1: as it is), and `data` bytes. */
static const char *make(int version, const char *header, int64_t length, size_t data) {
    char bytes[2048] = "\x93NUMPY";
    size_t n = strlen(header), at = 8;
    uint64_t said = length < 0 ? n : (uint64_t)length;
    bytes[6] = (char)version;
    for (int i = 0; i < (version == 1 ? 2 : 4); ++i) {
        bytes[at++] = (char)(said >> (8 * i) & 0xFF);
    }
    memcpy(bytes + at, header, n);
    return support_write("file.npy", bytes, at + n + data);
}

static qemb_status open_status(const char *path) {
    qemb_npy *file = NULL;
    qemb_tensor_view view;
    qemb_status st = qemb_npy_open(path, &file, &view);
    cr_expect((st == QEMB_OK) == (file != NULL));
    qemb_npy_close(file);
    return st;
}

Test(io_npy, arrays_of_every_type_read_back) {
    static const qemb_file_dtype types[] = {QEMB_FILE_BOOL, QEMB_FILE_U8,  QEMB_FILE_I8,  QEMB_FILE_U16, QEMB_FILE_I16,
                                            QEMB_FILE_U32,  QEMB_FILE_I32, QEMB_FILE_U64, QEMB_FILE_I64, QEMB_FILE_F16,
                                            QEMB_FILE_F32,  QEMB_FILE_F64, QEMB_FILE_C64};
    static const int64_t shapes[][4] = {{0}, {7}, {3, 5}, {2, 3, 5}, {0, 3}};
    static const int32_t ranks[] = {0, 1, 2, 3, 2};
    static unsigned char data[30 * 8];
    for (size_t i = 0; i < sizeof data; ++i) {
        data[i] = (unsigned char)(i * 3);
    }
    for (size_t t = 0; t < sizeof types / sizeof *types; ++t) {
        for (size_t s = 0; s < sizeof ranks / sizeof *ranks; ++s) {
            const qemb_tensor_desc desc = {.dtype = types[t], .rank = ranks[s], .shape = shapes[s]};
            qemb_npy *file = NULL;
            qemb_tensor_view view;
            const char *path = support_path("a.npy");
            cr_assert_eq(qemb_npy_save(path, &desc, data), QEMB_OK, "%s", qemb_last_error());
            cr_assert_eq(qemb_npy_open(path, &file, &view), QEMB_OK, "%s", qemb_last_error());
            cr_expect(view.dtype == types[t] && view.rank == ranks[s] && view.offset % 64 == 0);
            cr_expect(memcmp(view.shape, shapes[s], (size_t)ranks[s] * sizeof(int64_t)) == 0);
            cr_expect(memcmp(view.data, data, view.bytes) == 0);
            qemb_npy_close(file);
        }
    }
    cr_expect_eq(qemb_npy_save(support_path("b.npy"), &(qemb_tensor_desc){.dtype = QEMB_FILE_BF16}, data), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(support_count_files("b.npy"), 0);
}

Test(io_npy, the_bytes_are_those_of_numpy) {
    /* numpy.save(f, numpy.arange(6, dtype='<i4').reshape(2, 3)) of NumPy 1.26 */
    static const char numpy[128] = "\x93NUMPY\x01\0v\0{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }"
                                   "                                                          \n";
    int32_t values[6] = {0, 1, 2, 3, 4, 5};
    size_t size = 0;
    const qemb_tensor_desc desc = {.dtype = QEMB_FILE_I32, .rank = 2, .shape = (int64_t[]){2, 3}};
    cr_assert_eq(qemb_npy_save(support_path("a.npy"), &desc, values), QEMB_OK);
    char *bytes = support_read(support_path("a.npy"), &size);
    cr_assert_eq(size, 128 + sizeof values);
    cr_expect(memcmp(bytes, numpy, 128) == 0 && memcmp(bytes + 128, values, sizeof values) == 0);
    free(bytes);
}

#define HEAD(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }"

Test(io_npy, headers_of_other_writers_are_read) {
    static const char *const fine[] = {
        HEAD("'<f4'", "False", "(3,)") "   \n",
        HEAD("\"<f4\"", "True", "(3,)"), /* Fortran order of one dimension is C order */
        "{'shape': (3, ), 'fortran_order': False, 'descr': '<f4'}",
        "{ 'descr' : '<f4' , \"fortran_order\" : False , 'shape' : ( 1 , 3 ) }\n",
    };
    for (int version = 1; version <= 3; ++version) {
        for (size_t i = 0; i < sizeof fine / sizeof *fine; ++i) {
            cr_expect_eq(open_status(make(version, fine[i], -1, 12)), QEMB_OK, "%s: %s", fine[i], qemb_last_error());
        }
    }
}

Test(io_npy, hostile_headers_are_refused) {
    static const struct {
        const char *header;
        int64_t length;
        size_t data;
        qemb_status want;
    } hostile[] = {
        {HEAD("'<f4'", "False", "(3,)"), -1, 11, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(3,)"), -1, 13, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(3)"), -1, 12, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(-3,)"), -1, 12, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(3 4)"), -1, 48, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(,)"), -1, 4, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "[3]"), -1, 12, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(4294967296, 4294967296)"), -1, 0, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(99999999999999999999,)"), -1, 0, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(1,1,1,1,1,1,1,1,1)"), -1, 4, QEMB_ERR_UNSUPPORTED},
        {HEAD("'<f4'", "True", "(3, 2)"), -1, 24, QEMB_ERR_UNSUPPORTED},
        {HEAD("'<f4'", "Maybe", "(3,)"), -1, 12, QEMB_ERR_CORRUPT},
        {HEAD("'>f4'", "False", "(3,)"), -1, 12, QEMB_ERR_UNSUPPORTED},
        {HEAD("'|O'", "False", "(3,)"), -1, 24, QEMB_ERR_UNSUPPORTED},
        {HEAD("'<f16'", "False", "(3,)"), -1, 48, QEMB_ERR_UNSUPPORTED},
        {HEAD("'<U5'", "False", "(3,)"), -1, 60, QEMB_ERR_UNSUPPORTED},
        {HEAD("[('a', '<f4')]", "False", "(3,)"), -1, 12, QEMB_ERR_UNSUPPORTED},
        {HEAD("'", "False", "(3,)"), -1, 12, QEMB_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, }", -1, 0, QEMB_ERR_CORRUPT},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", -1, 12, QEMB_ERR_CORRUPT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'x': 1}", -1, 12, QEMB_ERR_CORRUPT},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (3,)}", -1, 12, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(3,)") "}", -1, 12, QEMB_ERR_CORRUPT},
        {"", -1, 0, QEMB_ERR_CORRUPT},
        {"{}", -1, 0, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(3,)"), 10, 12, QEMB_ERR_CORRUPT},
        {HEAD("'<f4'", "False", "(3,)"), 60000, 12, QEMB_ERR_CORRUPT},
    };
    for (int version = 1; version <= 2; ++version) {
        for (size_t i = 0; i < sizeof hostile / sizeof *hostile; ++i) {
            qemb_status st = open_status(make(version, hostile[i].header, hostile[i].length, hostile[i].data));
            cr_expect_eq(st, hostile[i].want, "'%s': %s (%s)", hostile[i].header, qemb_status_name(st), qemb_last_error());
        }
    }
    cr_expect_eq(open_status(make(2, "{}", 4294967295, 0)), QEMB_ERR_CORRUPT);
    cr_expect_eq(open_status(make(4, "{}", -1, 0)), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(open_status(make(0, "{}", -1, 0)), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(open_status("/dev/zero"), QEMB_ERR_UNSUPPORTED);
    cr_expect_eq(open_status(support_path("absent")), QEMB_ERR_IO);
    qemb_npy_close(NULL);
}

Test(io_npy, a_file_cut_at_any_byte_is_refused) {
    size_t size = 0;
    float values[6] = {1, 2, 3, 4, 5, 6};
    const qemb_tensor_desc desc = {.dtype = QEMB_FILE_F32, .rank = 1, .shape = (int64_t[]){6}};
    cr_assert_eq(qemb_npy_save(support_path("a.npy"), &desc, values), QEMB_OK);
    char *bytes = support_read(support_path("a.npy"), &size);
    cr_assert_not_null(bytes);
    for (size_t cut = 0; cut < size; ++cut) {
        cr_expect_eq(open_status(support_write("cut.npy", bytes, cut)), QEMB_ERR_CORRUPT, "cut at %zu", cut);
    }
    free(bytes);
}

Test(io_npy, a_file_that_ends_early_is_named_with_the_byte_and_how_many_are_missing) {
    char target[10] = "---------", want[300];
    int64_t size = 0;
    int fd = -1;
    const char *path = support_write("short", "0123456", 7);
    cr_assert_eq(QEMB_OK, qemb__file_open("who", path, &fd, &size));
    cr_expect_eq(size, 7);
    cr_assert_eq(QEMB_OK, qemb__file_read("who", path, fd, 2, 5, target));
    cr_expect_str_eq(target, "23456----");
    cr_expect_eq(qemb__file_read("who", path, fd, 3, 10, target), QEMB_ERR_IO);
    (void)snprintf(want, sizeof want, "who: %s: the file ends at byte 7, 6 bytes early", path);
    cr_expect_str_eq(qemb_last_error(), want);
    cr_assert_eq(QEMB_OK, qemb__file_read("who", path, fd, 7, 0, target));
    (void)close(fd);
}
