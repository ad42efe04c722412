/* npy.c - NumPy's array files: one header line, then the elements.
 *
 *   "\x93NUMPY" | major, minor | header length (u16 in version 1, u32 in 2 and 3) | header | data
 *   header: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } padded with spaces, ended by a newline */
#define _GNU_SOURCE
#include <qemb/qemb_io.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/file.h"
#include "io/file_writer.h"
#include "io/safetensors_layout.h"

enum { MAGIC = 6, MAX_HEADER = 65536, ALIGNMENT = 64 };

static const char magic[MAGIC + 1] = "\x93NUMPY";

struct qemb_npy {
    void *map; /* the whole file; NULL when there is no data */
    size_t map_bytes;
    char nothing[8]; /* where the view of an empty array points */
};

static const struct {
    char kind, bytes;
    qemb_file_dtype dtype;
} descriptions[] = {
    {'f', '4', QEMB_FILE_F32}, {'f', '8', QEMB_FILE_F64},  {'f', '2', QEMB_FILE_F16}, {'i', '1', QEMB_FILE_I8},  {'i', '2', QEMB_FILE_I16},
    {'i', '4', QEMB_FILE_I32}, {'i', '8', QEMB_FILE_I64},  {'u', '1', QEMB_FILE_U8},  {'u', '2', QEMB_FILE_U16}, {'u', '4', QEMB_FILE_U32},
    {'u', '8', QEMB_FILE_U64}, {'b', '1', QEMB_FILE_BOOL}, {'c', '8', QEMB_FILE_C64},
};
enum { DESCRIPTIONS = sizeof descriptions / sizeof *descriptions };

/* ------------------------------------------------------------------------------------------------------------------
 * The header: a Python literal, of which only this one shape is taken
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct cursor {
    const char *path, *text; /* NUL-ended */
    size_t at;
    int64_t base;
} cursor;

static qemb_status refuse(const cursor *c, qemb_status code, const char *reason) {
    return qemb__fail(code, "npy_open: %s: byte %lld: %s", c->path, (long long)c->base + (long long)c->at, reason);
}

static void skip_space(cursor *c) {
    while (c->text[c->at] == ' ' || c->text[c->at] == '\n') {
        c->at++;
    }
}

/* Takes `word` if it comes next, behind spaces. */
static bool take(cursor *c, const char *word) {
    skip_space(c);
    size_t length = strlen(word);
    if (strncmp(c->text + c->at, word, length) != 0) {
        return false;
    }
    c->at += length;
    return true;
}

static qemb_status read_descr(cursor *c, qemb_file_dtype *dtype) {
    skip_space(c);
    const char *s = c->text + c->at;
    if (s[0] == '\0') {
        return refuse(c, QEMB_ERR_CORRUPT, "the header ends in the middle");
    }
    if (s[0] != '\'' && s[0] != '"') {
        return refuse(c, QEMB_ERR_UNSUPPORTED, "'descr' is not a simple type");
    }
    if (strlen(s) < 5 || s[4] != s[0]) {
        return refuse(c, QEMB_ERR_UNSUPPORTED, "'descr' is not a number's type of up to 8 bytes");
    }
    for (int i = 0; i < DESCRIPTIONS; ++i) {
        bool order = s[1] == '<' || (s[1] == '|' && s[3] == '1');
        if (order && s[2] == descriptions[i].kind && s[3] == descriptions[i].bytes) {
            *dtype = descriptions[i].dtype;
            c->at += 5;
            return QEMB_OK;
        }
    }
    return refuse(c, QEMB_ERR_UNSUPPORTED, s[1] == '>' ? "the array is big-endian" : "'descr' is not one of the types read");
}

static qemb_status read_shape(cursor *c, qemb_tensor_view *view) {
    bool comma = true;
    if (!take(c, "(")) {
        return refuse(c, QEMB_ERR_CORRUPT, "'shape' is not a tuple");
    }
    while (!take(c, ")")) {
        int64_t extent = 0;
        size_t start = c->at;
        if (view->rank == QEMB_FILE_MAX_RANK) {
            return refuse(c, QEMB_ERR_UNSUPPORTED, "more dimensions than are read");
        }
        for (; c->text[c->at] >= '0' && c->text[c->at] <= '9'; c->at++) {
            if (!qemb__mul_i64(extent, 10, &extent) || !qemb__add_i64(extent, c->text[c->at] - '0', &extent)) {
                return refuse(c, QEMB_ERR_CORRUPT, "an extent above 2^63 - 1");
            }
        }
        if (!comma || c->at == start) {
            return refuse(c, QEMB_ERR_CORRUPT, "'shape' is not a tuple of non-negative integers");
        }
        view->shape[view->rank++] = extent;
        comma = take(c, ",");
    }
    if (view->rank == 1 && !comma) {
        return refuse(c, QEMB_ERR_CORRUPT, "'shape' is a number and not a tuple");
    }
    return QEMB_OK;
}

static qemb_status read_dictionary(cursor *c, qemb_tensor_view *view) {
    static const char *const keys[3][2] = {{"'descr'", "\"descr\""}, {"'fortran_order'", "\"fortran_order\""}, {"'shape'", "\"shape\""}};
    bool seen[3] = {false, false, false}, fortran = false, more = true;
    if (!take(c, "{")) {
        return refuse(c, QEMB_ERR_CORRUPT, "the header is not a dictionary");
    }
    while (more && !take(c, "}")) {
        int which = 0;
        while (which < 3 && !take(c, keys[which][0]) && !take(c, keys[which][1])) {
            which++;
        }
        if (which == 3 || seen[which] || !take(c, ":")) {
            return refuse(c, QEMB_ERR_CORRUPT, "the header's keys are not descr, fortran_order and shape, each once");
        }
        seen[which] = true;
        qemb_status st = QEMB_OK;
        if (which == 0) {
            st = read_descr(c, &view->dtype);
        } else if (which == 2) {
            st = read_shape(c, view);
        } else if (!(fortran = take(c, "True")) && !take(c, "False")) {
            st = refuse(c, QEMB_ERR_CORRUPT, "'fortran_order' is neither True nor False");
        }
        if (st != QEMB_OK) {
            return st;
        }
        more = take(c, ",");
        if (!more && !take(c, "}")) {
            return refuse(c, QEMB_ERR_CORRUPT, "',' or '}' expected");
        }
    }
    skip_space(c);
    if (!seen[0] || !seen[1] || !seen[2]) {
        return refuse(c, QEMB_ERR_CORRUPT, "the header lacks descr, fortran_order or shape");
    }
    if (c->text[c->at] != '\0') {
        return refuse(c, QEMB_ERR_CORRUPT, "something other than space behind the header's dictionary");
    }
    return fortran && view->rank > 1 ? refuse(c, QEMB_ERR_UNSUPPORTED, "the array is in Fortran order") : QEMB_OK;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Files
 * ---------------------------------------------------------------------------------------------------------------- */

/* Header text of the file, NUL-ended and free of NULs before that, to be freed by the caller. */
static qemb_status load_header(const char *path, int fd, int64_t size, char **text, int64_t *start, int64_t *length) {
    qemb_status st = QEMB_OK;
    unsigned char head[MAGIC + 6] = {0};
    void *block = NULL;
    REQUIRE(size >= MAGIC + 4, QEMB_ERR_CORRUPT, "npy_open: %s: %lld bytes are too few for an npy file", path, (long long)size);
    TRY(qemb__file_read("npy_open", path, fd, 0, (size_t)qemb__min_i64(size, MAGIC + 6), head));
    REQUIRE(memcmp(head, magic, MAGIC) == 0, QEMB_ERR_CORRUPT, "npy_open: %s: byte 0: not an npy file", path);
    REQUIRE(head[6] >= 1 && head[6] <= 3 && head[7] == 0, QEMB_ERR_UNSUPPORTED, "npy_open: %s: byte 6: version %d.%d, want 1.0 to 3.0",
            path, head[6], head[7]);
    *start = head[6] == 1 ? MAGIC + 4 : MAGIC + 6;
    *length = head[8] | head[9] << 8;
    if (head[6] > 1) {
        *length |= (int64_t)head[10] << 16 | (int64_t)head[11] << 24;
    }
    REQUIRE(*length <= MAX_HEADER && *length <= size - *start, QEMB_ERR_CORRUPT,
            "npy_open: %s: byte 8: a header of %lld bytes in a file of %lld (at most %d are read)", path, (long long)*length,
            (long long)size, MAX_HEADER);
    TRY(qemb__calloc(*length + 1, 1, &block));
    *text = block;
    TRY(qemb__file_read("npy_open", path, fd, *start, (size_t)*length, block));
    REQUIRE(strlen(*text) == (size_t)*length, QEMB_ERR_CORRUPT, "npy_open: %s: NUL in the header", path);
done:
    return st;
}

qemb_status qemb_npy_open(const char *path, qemb_npy **out, qemb_tensor_view *result) {
    qemb_status st = QEMB_OK;
    qemb_npy *file = NULL;
    void *block = NULL;
    char *text = NULL;
    int fd = -1;
    int64_t size = 0, start = 0, length = 0;
    qemb_tensor_view view = {.name = ""};
    REQUIRE(out && result, QEMB_ERR_ARG, "npy_open: %s is NULL", out ? "view" : "file");
    TRY(qemb__file_open("npy_open", path, &fd, &size));
    TRY(load_header(path, fd, size, &text, &start, &length));
    TRY(read_dictionary(&(cursor){.path = path, .text = text, .base = start}, &view));

    st = qemb__tensor_extent("npy_open", &(qemb_tensor_desc){.name = "", .shape = view.shape, .rank = view.rank, .dtype = view.dtype},
                             &view.count, &view.bytes);
    TRY(st == QEMB_ERR_OVERFLOW ? QEMB_ERR_CORRUPT : st); /* the file's fault, not the caller's */
    view.offset = start + length;
    REQUIRE((int64_t)view.bytes == size - view.offset, QEMB_ERR_CORRUPT, "npy_open: %s: %lld bytes of data, the shape wants %zu", path,
            (long long)(size - view.offset), view.bytes);
    for (int32_t i = view.rank; i < QEMB_FILE_MAX_RANK; ++i) {
        view.shape[i] = 1;
    }
    TRY(qemb__calloc(1, sizeof *file, &block));
    file = block;
    if (view.bytes > 0) {
        void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
        REQUIRE(map != MAP_FAILED, errno == ENOMEM ? QEMB_ERR_NOMEM : QEMB_ERR_IO, "npy_open: %s: cannot map %lld bytes: %s", path,
                (long long)size, strerror(errno));
        file->map = map;
        file->map_bytes = (size_t)size;
    }
    view.data = file->map ? (const char *)file->map + view.offset : file->nothing;
    *result = view;
    *out = file;
    file = NULL;
done:
    if (fd >= 0) {
        (void)close(fd);
    }
    qemb__free(text);
    qemb_npy_close(file);
    return st;
}

void qemb_npy_close(qemb_npy *file) {
    if (!file) {
        return;
    }
    if (file->map) {
        (void)munmap(file->map, file->map_bytes);
    }
    qemb__free(file);
}

/* The header of an array, padded so that data begins at a multiple of 64; returns its length. */
static size_t print_header(const qemb_tensor_desc *desc, int description, char text[512]) {
    size_t head = MAGIC + 4, n = head;
    char kind = descriptions[description].kind, bytes = descriptions[description].bytes;
    memcpy(text, magic, MAGIC);
    n += (size_t)snprintf(text + n, 512 - n, "{'descr': '%c%c%c', 'fortran_order': False, 'shape': (", bytes == '1' ? '|' : '<', kind,
                          bytes);
    for (int32_t i = 0; i < desc->rank; ++i) {
        n += (size_t)snprintf(text + n, 512 - n, "%" PRId64 "%s", desc->shape[i], desc->rank == 1 ? "," : i + 1 < desc->rank ? ", " : "");
    }
    n += (size_t)snprintf(text + n, 512 - n, "), }");
    size_t padded = (size_t)qemb__round_up((int64_t)n + 1, ALIGNMENT);
    memset(text + n, ' ', padded - n);
    text[padded - 1] = '\n';
    text[MAGIC] = 1;
    text[MAGIC + 1] = 0;
    text[MAGIC + 2] = (char)((padded - head) & 0xFF);
    text[MAGIC + 3] = (char)((padded - head) >> 8);
    return padded;
}

qemb_status qemb_npy_save(const char *path, const qemb_tensor_desc *desc, const void *data) {
    qemb_status st = QEMB_OK;
    qemb__file_writer *writer = NULL;
    char header[512];
    int64_t count = 0;
    size_t bytes = 0;
    int description = 0;
    REQUIRE(desc, QEMB_ERR_ARG, "npy_save: desc is NULL");
    TRY(qemb__tensor_extent("npy_save", desc, &count, &bytes));
    REQUIRE(data || bytes == 0, QEMB_ERR_ARG, "npy_save: data is NULL");
    while (description < DESCRIPTIONS && descriptions[description].dtype != desc->dtype) {
        description++;
    }
    REQUIRE(description < DESCRIPTIONS, QEMB_ERR_UNSUPPORTED, "npy_save: NumPy has no type for %s", qemb_file_dtype_name(desc->dtype));
    TRY(qemb__file_writer_create("npy_save", path, &writer));
    TRY(qemb__file_writer_append(writer, header, print_header(desc, description, header)));
    TRY(qemb__file_writer_append(writer, data, bytes));
    TRY(qemb__file_writer_commit(writer));
done:
    qemb__file_writer_destroy(writer);
    return st;
}
