/* click_reader.c - streams the rows of a click log; the rules are in qemb_io.h.
 *
 * zlib reads both plain and compressed files through the same calls (plain ones without a copy in between). A buffer
 * holds whole lines; a row goes through one staging record, so that text and binary files share everything behind it. */
#define _GNU_SOURCE
#include <qemb/qemb_io.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/click_ids.h"
#include "io/click_row.h"
#include "io/file.h"

enum { BUFFER = 1 << 18, PAD = 64, SENTENCE = 192, RECORD = sizeof(qemb__click_row) };

/* A place between two rows. */
typedef struct position {
    int64_t row;  /* rows before it */
    int64_t line; /* lines before it, faulty ones too (records of a binary file) */
    int64_t byte; /* of the decompressed file */
} position;

struct qemb_click_reader {
    qemb_click_desc desc;
    char *path;
    gzFile file;
    int64_t file_bytes;
    qemb_click_form form;
    int64_t records; /* where rows begin: behind the header of an npy file, else 0 */
    int64_t num_embeddings[QEMB_CLICK_SPARSE];
    qemb__id_map maps[QEMB_CLICK_SPARSE];

    char *buffer; /* BUFFER + PAD bytes: rows from `at` to `filled` */
    size_t at, filled;
    bool ended; /* no bytes behind `filled` */
    position here;
    position first; /* where first_row begins, once it has been reached */
    bool first_known;

    qemb_status failed; /* sticky until the rewind */
    char failure[512];
    int64_t fault_count;
    bool counted; /* the faults are those that a count met: they go with the next reading */
    char (*faults)[SENTENCE];
    float *logs; /* log(1 + x) of small counts */
};

static const char who[] = "click_reader";

/* ------------------------------------------------------------------------------------------------------------------
 * Bytes
 * ---------------------------------------------------------------------------------------------------------------- */

/* Moves what is left to the front and reads on. */
static qemb_status fill(qemb_click_reader *r) {
    memmove(r->buffer, r->buffer + r->at, r->filled - r->at);
    r->filled -= r->at;
    r->at = 0;
    while (r->filled < BUFFER && !r->ended) {
        int got = gzread(r->file, r->buffer + r->filled, (unsigned)(BUFFER - r->filled));
        int code = Z_OK;
        const char *text = gzerror(r->file, &code);
        /* A gzip stream that is cut gives its last bytes together with Z_BUF_ERROR. */
        if (got < 0 || code != Z_OK) {
            qemb_status st = code == Z_ERRNO ? QEMB_ERR_IO : code == Z_MEM_ERROR ? QEMB_ERR_NOMEM : QEMB_ERR_CORRUPT;
            return qemb__fail(st, "%s: %s: %s near compressed byte %lld, after line %lld", who, r->path,
                              code == Z_BUF_ERROR ? "the compressed file is cut" : text, (long long)gzoffset(r->file),
                              (long long)r->here.line);
        }
        r->ended = got == 0;
        r->filled += (size_t)got;
    }
    memset(r->buffer + r->filled, 0, PAD);
    return QEMB_OK;
}

/* The next line or record, at most QEMB__CLICK_LINE_BYTES; *end - *start is -1 at the end of the file. `whole` says
 * whether its newline (or last byte) is there. A line that is too long is shortened to one byte more than allowed. */
typedef struct piece {
    const char *start, *end;
    bool none, whole;
} piece;

static qemb_status next_piece(qemb_click_reader *r, piece *p) {
    const size_t most = r->form == QEMB_CLICK_BINARY ? RECORD : QEMB__CLICK_LINE_BYTES + 1;
    if (r->filled - r->at < most && !r->ended) {
        qemb_status st = fill(r);
        if (st != QEMB_OK) {
            return st;
        }
    }
    size_t left = r->filled - r->at, length = left < most ? left : most, taken = length;
    const char *start = r->buffer + r->at;
    *p = (piece){.start = start, .none = left == 0, .whole = length == most};
    if (r->form != QEMB_CLICK_BINARY && left > 0) {
        const char *newline = memchr(start, '\n', length);
        p->whole = newline != NULL;
        length = newline ? (size_t)(newline - start) : length;
        taken = length + (newline != NULL);
    }
    p->end = start + length;
    r->at += taken;
    r->here.byte += (int64_t)taken;
    r->here.line += !p->none;
    return QEMB_OK;
}

/* Drops the rest of a line that was too long. */
static qemb_status skip_line(qemb_click_reader *r) {
    for (;;) {
        const char *start = r->buffer + r->at;
        const char *newline = memchr(start, '\n', r->filled - r->at);
        size_t taken = newline ? (size_t)(newline - start) + 1 : r->filled - r->at;
        r->at += taken;
        r->here.byte += (int64_t)taken;
        if (newline || r->ended) {
            return QEMB_OK;
        }
        qemb_status st = fill(r);
        if (st != QEMB_OK) {
            return st;
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------------
 * Rows
 * ---------------------------------------------------------------------------------------------------------------- */

static void describe(const qemb_click_reader *r, const qemb__click_fault *fault, char *out, size_t size) {
    (void)snprintf(out, size, "%s %lld, column %d: %s", r->form == QEMB_CLICK_BINARY ? "record" : "line", (long long)r->here.line,
                   fault->column, fault->reason);
}

/* A faulty row ends the reading or is counted, as the caller chose. */
static qemb_status note_fault(qemb_click_reader *r, qemb_status code, const qemb__click_fault *fault) {
    char sentence[SENTENCE];
    describe(r, fault, sentence, sizeof sentence);
    if (r->desc.faults == QEMB_CLICK_REFUSE) {
        return qemb__fail(code, "%s: %s: %s", who, r->path, sentence);
    }
    if (r->fault_count < QEMB_CLICK_NAMED_FAULTS) {
        memcpy(r->faults[r->fault_count], sentence, sizeof sentence);
    }
    r->fault_count++;
    return QEMB_OK;
}

/* A line without a newline may be the front half of one; only a last category of full length tells that it is whole. */
static bool ends_whole(const piece *p) {
    const char *tab = p->end;
    while (tab[-1] != '\t') { /* a good line has tabs */
        tab--;
    }
    return p->end - tab == 8;
}

static qemb_status check_piece(qemb_click_reader *r, const piece *p, qemb__click_row *row, qemb__click_fault *fault, bool *good) {
    *good = false;
    if (r->form == QEMB_CLICK_BINARY) {
        if (!p->whole) {
            fault->column = (int32_t)((p->end - p->start) / 4) + 1;
            (void)snprintf(fault->reason, sizeof fault->reason, "the file ends inside this record");
            return QEMB_OK;
        }
        memcpy(row, p->start, RECORD);
        *good = qemb__click_check(row, fault);
        return QEMB_OK;
    }
    if (p->end - p->start > QEMB__CLICK_LINE_BYTES) {
        fault->column = 1;
        (void)snprintf(fault->reason, sizeof fault->reason, "the line is longer than %d bytes", QEMB__CLICK_LINE_BYTES);
        return skip_line(r);
    }
    *good = qemb__click_parse(p->start, p->end, row, fault);
    if (!p->whole && (!*good || !ends_whole(p))) {
        char reason[sizeof fault->reason] = "";
        if (!*good) {
            (void)snprintf(reason, sizeof reason, " (%.60s)", fault->reason);
        } else {
            fault->column = QEMB_CLICK_COLUMNS;
        }
        (void)snprintf(fault->reason, sizeof fault->reason, "the file ends inside this line%.64s", reason);
        *good = false;
    }
    return QEMB_OK;
}

/* Categories to ids; on INDEX `fault` names the column. */
static qemb_status number(qemb_click_reader *r, const qemb__click_row *row, int32_t ids[QEMB_CLICK_SPARSE], qemb__click_fault *fault) {
    if (r->desc.ids == QEMB_CLICK_MODULO) {
        for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
            ids[f] = (int32_t)(row->categories[f] % (uint32_t)r->num_embeddings[f]);
        }
        return QEMB_OK;
    }
    for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
        qemb_status st = qemb__id_map_get(&r->maps[f], row->categories[f], r->num_embeddings[f], &ids[f]);
        if (st == QEMB_ERR_INDEX) {
            fault->column = 2 + QEMB_CLICK_DENSE + f;
            (void)snprintf(fault->reason, sizeof fault->reason, "%08x is one value more than the %lld rows of table %d", row->categories[f],
                           (long long)r->num_embeddings[f], f);
        }
        if (st != QEMB_OK) {
            return st;
        }
    }
    return QEMB_OK;
}

/* The next good row; *got is false at the end. */
static qemb_status next_row(qemb_click_reader *r, qemb__click_row *row, int32_t ids[QEMB_CLICK_SPARSE], bool *got) {
    qemb_status st = QEMB_OK;
    for (*got = false; !*got;) {
        piece p;
        bool good = false;
        qemb__click_fault fault = {0};
        TRY(next_piece(r, &p));
        if (p.none) {
            return QEMB_OK;
        }
        TRY(check_piece(r, &p, row, &fault, &good));
        st = good ? number(r, row, ids, &fault) : QEMB_ERR_CORRUPT;
        if (st == QEMB_ERR_CORRUPT || st == QEMB_ERR_INDEX) {
            TRY(note_fault(r, st, &fault));
            continue;
        }
        TRY(st);
        *got = true;
        r->here.row++;
    }
done:
    return st;
}

static void store(const qemb_click_reader *r, const qemb__click_row *row, int64_t at, float *dense, float *labels) {
    if (labels) {
        labels[at] = (float)row->label;
    }
    if (dense) {
        for (int i = 0; i < QEMB_CLICK_DENSE; ++i) {
            dense[at * QEMB_CLICK_DENSE + i] = qemb__click_dense(row->counts[i], r->desc.counts, r->logs);
        }
    }
}

/* Keeps the sentence of a failure, for the calls after it. */
static qemb_status stick(qemb_click_reader *r, qemb_status st) {
    r->failed = st;
    (void)snprintf(r->failure, sizeof r->failure, "%s", qemb_last_error());
    return st;
}

/* Reads up to first_row, once; later rewinds know the place. */
static qemb_status reach_first(qemb_click_reader *r) {
    qemb__click_row row;
    int32_t ids[QEMB_CLICK_SPARSE];
    qemb_status st = QEMB_OK;
    bool got = true;
    while (r->here.row < r->desc.first_row && got) {
        TRY(next_row(r, &row, ids, &got));
    }
    r->first = r->here;
    r->first_known = true;
    r->fault_count = 0; /* of the rows that are asked for */
done:
    return st;
}

qemb_status qemb_click_reader_next(qemb_click_reader *r, int64_t capacity, int32_t *ids, float *dense, float *labels, int64_t *rows) {
    qemb_status st = QEMB_OK;
    enum { BLOCK = 16 };
    int32_t block[BLOCK][QEMB_CLICK_SPARSE];
    int64_t count = 0;
    bool got = true;
    REQUIRE(r && ids && rows, QEMB_ERR_ARG, "%s_next: %s is NULL", who, !r ? "reader" : !ids ? "ids" : "rows");
    REQUIRE(capacity > 0, QEMB_ERR_RANGE, "%s_next: capacity=%lld, want > 0", who, (long long)capacity);
    REQUIRE(r->failed == QEMB_OK, r->failed, "%s", r->failure);
    r->fault_count = r->counted ? 0 : r->fault_count;
    r->counted = false;
    if (!r->first_known) {
        st = reach_first(r);
    }
    int64_t last = r->desc.row_count ? qemb__min_i64(capacity, r->desc.first_row + r->desc.row_count - r->here.row) : capacity;
    while (st == QEMB_OK && got && count < last) {
        /* A block of rows at a time, so that the 26 streams of ids are written in whole cache lines. */
        int64_t wanted = qemb__min_i64(BLOCK, last - count), n = 0;
        for (; n < wanted; n += got) {
            qemb__click_row row;
            st = next_row(r, &row, block[n], &got);
            if (st != QEMB_OK || !got) {
                break;
            }
            store(r, &row, count + n, dense, labels);
        }
        for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
            for (int64_t b = 0; b < n; ++b) {
                ids[f * capacity + count + b] = block[b][f];
            }
        }
        count += n;
    }
    if (st != QEMB_OK) {
        return stick(r, st);
    }
    for (int f = 1; f < QEMB_CLICK_SPARSE && count < capacity; ++f) {
        memmove(ids + f * count, ids + f * capacity, (size_t)count * sizeof *ids);
    }
    *rows = count;
done:
    return st;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Life
 * ---------------------------------------------------------------------------------------------------------------- */

static const int64_t kaggle[QEMB_CLICK_SPARSE] = {1460,  583,  10131227, 2202608, 305, 24,     12517,   633,   3,
                                                  93145, 5683, 8351593,  3194,    27,  14992,  5461306, 10,    5652,
                                                  2173,  4,    7046547,  18,      15,  286181, 105,     142572};

void qemb_click_cardinalities(double scale, int64_t cardinalities[QEMB_CLICK_SPARSE]) {
    for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
        int64_t least = qemb__min_i64(kaggle[f], 4);
        double exact = scale > 0 && scale <= 1 ? (double)kaggle[f] * scale : (double)kaggle[f];
        int64_t scaled = (int64_t)exact;
        scaled += (double)scaled < exact;
        cardinalities[f] = qemb__max_i64(least, scaled);
    }
}

static qemb_status check_desc(const qemb_click_desc *desc, int64_t num_embeddings[QEMB_CLICK_SPARSE]) {
    qemb_status st = QEMB_OK;
    int64_t end = 0;
    REQUIRE(desc->first_row >= 0 && desc->row_count >= 0 && qemb__add_i64(desc->first_row, desc->row_count, &end), QEMB_ERR_RANGE,
            "%s_open: first_row=%lld, row_count=%lld, want both >= 0", who, (long long)desc->first_row, (long long)desc->row_count);
    REQUIRE((uint32_t)desc->form <= QEMB_CLICK_BINARY && (uint32_t)desc->ids <= QEMB_CLICK_FIRST_SEEN &&
                (uint32_t)desc->faults <= QEMB_CLICK_SKIP && (uint32_t)desc->counts <= QEMB_CLICK_RAW,
            QEMB_ERR_ARG, "%s_open: form=%d, ids=%d, faults=%d, counts=%d: one is not of its list", who, (int)desc->form, (int)desc->ids,
            (int)desc->faults, (int)desc->counts);
    qemb_click_cardinalities(1.0, num_embeddings);
    for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
        if (desc->num_embeddings) {
            num_embeddings[f] = desc->num_embeddings[f];
        } else if (desc->ids == QEMB_CLICK_FIRST_SEEN) {
            num_embeddings[f] = INT32_MAX;
        }
        REQUIRE(num_embeddings[f] > 0 && num_embeddings[f] <= INT32_MAX, QEMB_ERR_RANGE, "%s_open: num_embeddings[%d]=%lld, want 1 .. %d",
                who, f, (long long)num_embeddings[f], INT32_MAX);
    }
done:
    return st;
}

static qemb_status make_buffers(qemb_click_reader *r) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    TRY(qemb__calloc(BUFFER + PAD, 1, &block));
    r->buffer = block;
    TRY(qemb__calloc(QEMB_CLICK_NAMED_FAULTS, SENTENCE, &block));
    r->faults = block;
    TRY(qemb__calloc(QEMB__CLICK_LOGS, sizeof *r->logs, &block));
    r->logs = block;
    qemb__click_fill_logs(r->logs);
done:
    return st;
}

/* Which form the file has, from its first bytes, which are in the buffer. */
static qemb_status look(qemb_click_reader *r) {
    static const char magic[] = "\x93NUMPY";
    qemb_status st = QEMB_OK;
    qemb_npy *npy = NULL;
    qemb_tensor_view view;
    if (r->desc.form != QEMB_CLICK_TSV && r->filled >= sizeof magic - 1 && memcmp(r->buffer, magic, sizeof magic - 1) == 0) {
        REQUIRE(gzdirect(r->file), QEMB_ERR_UNSUPPORTED, "%s: %s: a compressed npy file; want it as it is", who, r->path);
        TRY(qemb_npy_open(r->path, &npy, &view));
        REQUIRE(view.dtype == QEMB_FILE_I32 && view.rank == 2 && view.shape[1] == QEMB_CLICK_COLUMNS, QEMB_ERR_DTYPE,
                "%s: %s: an npy array of %s and rank %d, want I32 of [rows][%d]", who, r->path, qemb_file_dtype_name(view.dtype), view.rank,
                QEMB_CLICK_COLUMNS);
        REQUIRE(view.shape[0] > 0, QEMB_ERR_CORRUPT, "%s: %s: record 1, column 1: the array is empty", who, r->path);
        r->form = QEMB_CLICK_BINARY;
        r->records = view.offset;
        r->at = (size_t)view.offset; /* in the buffer: npy_open reads headers of up to 64 KiB */
        r->here.byte = view.offset;
        goto done;
    }
    /* A record begins with the label as four bytes, three of them NUL; no text has one. */
    r->form = r->desc.form != QEMB_CLICK_AUTO                          ? r->desc.form
              : memchr(r->buffer, '\0', r->filled < 4 ? r->filled : 4) ? QEMB_CLICK_BINARY
                                                                       : QEMB_CLICK_TSV;
done:
    qemb_npy_close(npy);
    return st;
}

qemb_status qemb_click_reader_open(const qemb_click_desc *desc, qemb_click_reader **out) {
    qemb_status st = QEMB_OK;
    qemb_click_reader *r = NULL;
    void *block = NULL;
    int fd = -1;
    REQUIRE(desc && out, QEMB_ERR_ARG, "%s_open: %s is NULL", who, desc ? "reader" : "desc");
    TRY(qemb__calloc(1, sizeof *r, &block));
    r = block;
    r->desc = *desc;
    TRY(check_desc(desc, r->num_embeddings));
    r->desc.path = NULL; /* borrowed for this call only */
    r->desc.num_embeddings = NULL;
    TRY(qemb__file_open(who, desc->path, &fd, &r->file_bytes));
    TRY(qemb__strdup(desc->path, &r->path));
    TRY(make_buffers(r));
    r->file = gzdopen(fd, "rb");
    REQUIRE(r->file, QEMB_ERR_NOMEM, "%s: %s: no memory for zlib", who, r->path);
    fd = -1;
    (void)gzbuffer(r->file, BUFFER / 2);
    TRY(fill(r));
    REQUIRE(r->filled > 0, QEMB_ERR_CORRUPT, "%s: %s: line 1, column 1: the file is empty", who, r->path);
    TRY(look(r));
    *out = r;
    r = NULL;
done:
    if (fd >= 0) {
        (void)close(fd);
    }
    qemb_click_reader_close(r);
    return qemb__named(st, "click_reader_open");
}

void qemb_click_reader_close(qemb_click_reader *r) {
    if (!r) {
        return;
    }
    if (r->file) {
        (void)gzclose_r(r->file);
    }
    for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
        qemb__id_map_free(&r->maps[f]);
    }
    qemb__free(r->buffer);
    qemb__free(r->faults);
    qemb__free(r->logs);
    qemb__free(r->path);
    qemb__free(r);
}

qemb_status qemb_click_reader_rewind(qemb_click_reader *r) {
    qemb_status st = QEMB_OK;
    REQUIRE(r, QEMB_ERR_ARG, "%s_rewind: reader is NULL", who);
    position target = r->first_known ? r->first : (position){.byte = r->records};
    gzclearerr(r->file);
    REQUIRE(gzseek(r->file, (z_off_t)target.byte, SEEK_SET) == (z_off_t)target.byte, QEMB_ERR_IO,
            "%s_rewind: %s: cannot go back to byte %lld", who, r->path, (long long)target.byte);
    r->at = r->filled = 0;
    r->ended = false;
    r->here = target;
    r->failed = QEMB_OK;
    r->fault_count = 0;
    r->counted = false;
done:
    return st;
}

qemb_status qemb_click_reader_count(qemb_click_reader *r, int64_t *rows) {
    qemb_status st = QEMB_OK;
    qemb__click_row row;
    int32_t ids[QEMB_CLICK_SPARSE];
    bool got = true;
    REQUIRE(r && rows, QEMB_ERR_ARG, "%s_count: %s is NULL", who, r ? "rows" : "reader");
    TRY(qemb_click_reader_rewind(r));
    st = r->first_known ? QEMB_OK : reach_first(r);
    int64_t end = r->desc.row_count ? r->desc.first_row + r->desc.row_count : INT64_MAX, seen = 0;
    for (; st == QEMB_OK && got && r->here.row < end; seen += got) {
        st = next_row(r, &row, ids, &got);
    }
    if (st != QEMB_OK) {
        return stick(r, st);
    }
    const int64_t faults = r->fault_count;
    TRY(qemb_click_reader_rewind(r));
    r->fault_count = faults;
    r->counted = true;
    *rows = seen;
done:
    return st;
}

void qemb_click_reader_progress(const qemb_click_reader *r, int64_t *bytes_done, int64_t *bytes_total) {
    int64_t done = r ? (int64_t)gzoffset(r->file) : 0;
    *bytes_total = r ? r->file_bytes : 0;
    *bytes_done = qemb__min_i64(qemb__max_i64(done, 0), *bytes_total);
}

int64_t qemb_click_reader_fault_count(const qemb_click_reader *r) {
    return r ? r->fault_count : 0;
}

const char *qemb_click_reader_fault(const qemb_click_reader *r, int64_t index) {
    int64_t kept = r ? qemb__min_i64(r->fault_count, QEMB_CLICK_NAMED_FAULTS) : 0;
    return index >= 0 && index < kept ? r->faults[index] : NULL;
}

void qemb_click_reader_cardinalities(const qemb_click_reader *r, int64_t cardinalities[QEMB_CLICK_SPARSE]) {
    for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
        cardinalities[f] = r ? r->maps[f].distinct : 0;
    }
}
