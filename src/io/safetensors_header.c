/* safetensors_header.c - see safetensors_header.h.
 *
 * Two scans: the first checks the grammar and counts, the second decodes and fills tables of exactly that size. Then the
 * ranges are checked in the order of their offsets, and the names in the order of their bytes (twins are neighbours). */
#include "io/safetensors_header.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/json_scan.h"

static const struct {
    const char *name;
    int32_t bits;
} dtypes[] = {
#define ROW(name, bits) {#name, bits},
    QEMB_FILE_DTYPE_LIST(ROW)
#undef ROW
};

const char *qemb_file_dtype_name(qemb_file_dtype dtype) {
    return (uint32_t)dtype < QEMB_FILE_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

int32_t qemb_file_dtype_bits(qemb_file_dtype dtype) {
    return (uint32_t)dtype < QEMB_FILE_DTYPE_COUNT ? dtypes[dtype].bits : 0;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Grammar
 * ---------------------------------------------------------------------------------------------------------------- */

static bool span_is(const qemb__scan *scan, qemb__span span, const char *text) {
    return span.length == strlen(text) && memcmp(scan->text + span.start, text, span.length) == 0;
}

static qemb_status scan_shape(qemb__scan *scan, int64_t shape[QEMB_FILE_MAX_RANK], uint32_t *rank) {
    qemb_status st = QEMB_OK;
    *rank = 0;
    TRY(qemb__scan_expect(scan, '['));
    if (qemb__scan_take(scan, ']')) {
        return st;
    }
    do {
        REQUIRE(*rank < QEMB_FILE_MAX_RANK, QEMB_ERR_UNSUPPORTED, "%s: %s: byte %lld: a tensor of more than %d dimensions", scan->who,
                scan->path, (long long)scan->base + (long long)scan->at, QEMB_FILE_MAX_RANK);
        TRY(qemb__scan_integer(scan, &shape[*rank]));
        ++*rank;
    } while (qemb__scan_take(scan, ','));
    TRY(qemb__scan_expect(scan, ']'));
done:
    return st;
}

/* Shape times dtype must fill the range, by checked products. */
static qemb_status check_extent(const qemb__scan *scan, const qemb__tensor_entry *entry, const int64_t *shape) {
    int64_t count = 1, bits = 0;
    for (uint32_t i = 0; i < entry->rank; ++i) {
        if (!qemb__mul_i64(count, shape[i], &count)) {
            return qemb__scan_fail(scan, "the product of the shape does not fit in 63 bits");
        }
    }
    if (!qemb__mul_i64(count, dtypes[entry->dtype].bits, &bits)) {
        return qemb__scan_fail(scan, "the size of the tensor does not fit in 63 bits");
    }
    if (bits % 8 != 0) {
        return qemb__scan_fail(scan, "the tensor does not end on a whole byte");
    }
    if (entry->begin > entry->end) {
        return qemb__scan_fail(scan, "data_offsets end before they begin");
    }
    if (entry->end - entry->begin != bits / 8) {
        return qemb__scan_fail(scan, "data_offsets do not agree with shape and dtype");
    }
    return QEMB_OK;
}

static qemb_status scan_dtype(qemb__scan *scan, uint32_t *dtype) {
    qemb__span span = {0};
    qemb_status st = qemb__scan_string(scan, &span);
    if (st != QEMB_OK) {
        return st;
    }
    for (uint32_t i = 0; i < QEMB_FILE_DTYPE_COUNT; ++i) {
        if (span_is(scan, span, dtypes[i].name)) {
            *dtype = i;
            return QEMB_OK;
        }
    }
    return qemb__fail(QEMB_ERR_UNSUPPORTED, "%s: %s: byte %lld: dtype '%.*s' is not one of the format", scan->who, scan->path,
                      (long long)scan->base + (long long)span.start, (int)(span.length < 40 ? span.length : 40), scan->text + span.start);
}

/* The object behind a tensor's name. */
static qemb_status scan_tensor(qemb__scan *scan, qemb__tensor_entry *entry) {
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    int64_t shape[QEMB_FILE_MAX_RANK];
    bool seen[3] = {false, false, false};
    qemb_status st = QEMB_OK;
    TRY(qemb__scan_expect(scan, '{'));
    do {
        qemb__span key = {0};
        uint32_t which = 0;
        TRY(qemb__scan_string(scan, &key));
        while (which < 3 && !span_is(scan, key, keys[which])) {
            which++;
        }
        REQUIRE(which < 3, QEMB_ERR_CORRUPT, "%s: %s: byte %lld: a tensor has the key '%.*s', want dtype, shape, data_offsets", scan->who,
                scan->path, (long long)scan->base + (long long)key.start, (int)(key.length < 40 ? key.length : 40), scan->text + key.start);
        REQUIRE(!seen[which], QEMB_ERR_CORRUPT, "%s: %s: byte %lld: a tensor has the key '%s' twice", scan->who, scan->path,
                (long long)scan->base + (long long)key.start, keys[which]);
        seen[which] = true;
        TRY(qemb__scan_expect(scan, ':'));
        qemb__scan_space(scan);
        if (which == 0) {
            TRY(scan_dtype(scan, &entry->dtype));
        } else if (which == 1) {
            entry->shape = (uint32_t)scan->at;
            TRY(scan_shape(scan, shape, &entry->rank));
        } else {
            TRY(qemb__scan_expect(scan, '['));
            TRY(qemb__scan_integer(scan, &entry->begin));
            TRY(qemb__scan_expect(scan, ','));
            TRY(qemb__scan_integer(scan, &entry->end));
            TRY(qemb__scan_expect(scan, ']'));
        }
    } while (qemb__scan_take(scan, ','));
    if (!seen[0] || !seen[1] || !seen[2]) {
        st = qemb__scan_fail(scan, "a tensor lacks dtype, shape or data_offsets");
        goto done;
    }
    TRY(qemb__scan_expect(scan, '}'));
    st = check_extent(scan, entry, shape);
done:
    return st;
}

static qemb_status scan_metadata(qemb__scan *scan, qemb__header *header) {
    qemb_status st = QEMB_OK;
    TRY(qemb__scan_expect(scan, '{'));
    if (qemb__scan_take(scan, '}')) {
        return st;
    }
    do {
        qemb__span key = {0}, text = {0};
        REQUIRE(header->metadata_count < QEMB_FILE_MAX_METADATA, QEMB_ERR_UNSUPPORTED, "%s: %s: more than %d metadata texts", scan->who,
                scan->path, QEMB_FILE_MAX_METADATA);
        TRY(qemb__scan_string(scan, &key));
        TRY(qemb__scan_expect(scan, ':'));
        TRY(qemb__scan_string(scan, &text));
        if (header->metadata) {
            header->metadata[header->metadata_count] = (qemb__metadata_entry){.key = key.start, .text = text.start};
        }
        header->metadata_count++;
    } while (qemb__scan_take(scan, ','));
    TRY(qemb__scan_expect(scan, '}'));
done:
    return st;
}

/* One pass over the whole header; counts always, fills the tables when they exist. */
static qemb_status scan_header(qemb__scan *scan, qemb__header *header) {
    qemb_status st = QEMB_OK;
    bool metadata_seen = false;
    header->tensor_count = header->metadata_count = 0;
    if (scan->size == 0 || scan->text[0] != '{') {
        return qemb__scan_fail(scan, "the header does not begin with '{'");
    }
    scan->at = 1;
    bool more = !qemb__scan_take(scan, '}'), empty = !more;
    while (more) {
        qemb__span name = {0};
        qemb__tensor_entry entry = {0};
        TRY(qemb__scan_string(scan, &name));
        TRY(qemb__scan_expect(scan, ':'));
        if (span_is(scan, name, "__metadata__")) {
            REQUIRE(!metadata_seen, QEMB_ERR_CORRUPT, "%s: %s: byte %lld: __metadata__ occurs twice", scan->who, scan->path,
                    (long long)scan->base + (long long)name.start);
            metadata_seen = true;
            TRY(scan_metadata(scan, header));
        } else {
            REQUIRE(name.length <= QEMB_FILE_MAX_NAME, QEMB_ERR_UNSUPPORTED, "%s: %s: byte %lld: a name of %u bytes, at most %d are read",
                    scan->who, scan->path, (long long)scan->base + (long long)name.start, name.length, QEMB_FILE_MAX_NAME);
            REQUIRE(header->tensor_count < QEMB_FILE_MAX_TENSORS, QEMB_ERR_UNSUPPORTED, "%s: %s: more than %d tensors", scan->who,
                    scan->path, QEMB_FILE_MAX_TENSORS);
            TRY(scan_tensor(scan, &entry));
            entry.name = name.start;
            if (header->tensors) {
                header->tensors[header->tensor_count] = entry;
            }
            header->tensor_count++;
        }
        more = qemb__scan_take(scan, ',');
    }
    if (!empty) {
        TRY(qemb__scan_expect(scan, '}'));
    }
    while (scan->at < scan->size && scan->text[scan->at] == ' ') {
        scan->at++;
    }
    if (scan->at < scan->size) {
        st = qemb__scan_fail(scan, "something other than spaces behind the header's object");
    }
done:
    return st;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Order
 * ---------------------------------------------------------------------------------------------------------------- */

/* Heap sort: no memory (the C library's qsort takes as much again) and no slow case for a hostile order. `precedes` says
 * whether item a stands before item b. */
typedef bool (*precedes_fn)(const qemb__header *header, const void *a, const void *b);

static void heap_sort(const qemb__header *header, void *items, size_t count, size_t size, precedes_fn precedes) {
    char *base = items, swap[sizeof(qemb__tensor_entry)];
    size_t start = count / 2, end = count;
    while (end > 1) {
        if (start > 0) {
            start--;
        } else {
            end--;
            memcpy(swap, base + end * size, size);
            memcpy(base + end * size, base, size);
            memcpy(base, swap, size);
        }
        for (size_t root = start, child = 2 * root + 1; child < end; root = child, child = 2 * root + 1) {
            child += child + 1 < end && precedes(header, base + child * size, base + (child + 1) * size);
            if (!precedes(header, base + root * size, base + child * size)) {
                break;
            }
            memcpy(swap, base + root * size, size);
            memcpy(base + root * size, base + child * size, size);
            memcpy(base + child * size, swap, size);
        }
    }
}

static bool tensor_precedes(const qemb__header *header, const void *a, const void *b) {
    const qemb__tensor_entry *x = a, *y = b;
    (void)header;
    return x->begin != y->begin ? x->begin < y->begin : x->end < y->end;
}

static const char *tensor_name(const qemb__header *header, uint32_t index) {
    return header->text + header->tensors[index].name;
}

static bool name_precedes(const qemb__header *header, const void *a, const void *b) {
    return strcmp(tensor_name(header, *(const uint32_t *)a), tensor_name(header, *(const uint32_t *)b)) < 0;
}

static bool metadata_precedes(const qemb__header *header, const void *a, const void *b) {
    const qemb__metadata_entry *x = a, *y = b;
    return strcmp(header->text + x->key, header->text + y->key) < 0;
}

/* Ranges must start at 0, follow each other without gap or overlap, and end with the data. */
static qemb_status check_ranges(const qemb__header *header, int64_t data_bytes) {
    qemb_status st = QEMB_OK;
    int64_t end = 0;
    for (int64_t i = 0; i < header->tensor_count; ++i) {
        const qemb__tensor_entry *entry = &header->tensors[i];
        REQUIRE(entry->begin == end, QEMB_ERR_CORRUPT, "%s: %s: tensor '%.64s' begins at data byte %lld, want %lld: a hole or an overlap",
                header->who, header->path, header->text + entry->name, (long long)entry->begin, (long long)end);
        end = entry->end;
    }
    REQUIRE(end == data_bytes, QEMB_ERR_CORRUPT, "%s: %s: the tensors end at data byte %lld, the file at %lld", header->who, header->path,
            (long long)end, (long long)data_bytes);
done:
    return st;
}

static qemb_status check_twins(const qemb__header *header) {
    qemb_status st = QEMB_OK;
    for (int64_t i = 1; i < header->tensor_count; ++i) {
        const char *name = tensor_name(header, header->by_name[i]);
        REQUIRE(strcmp(name, tensor_name(header, header->by_name[i - 1])) != 0, QEMB_ERR_CORRUPT, "%s: %s: tensor '%.64s' occurs twice",
                header->who, header->path, name);
    }
    for (int64_t i = 1; i < header->metadata_count; ++i) {
        const char *key = header->text + header->metadata[i].key;
        REQUIRE(strcmp(key, header->text + header->metadata[i - 1].key) != 0, QEMB_ERR_CORRUPT, "%s: %s: metadata key '%.64s' occurs twice",
                header->who, header->path, key);
    }
done:
    return st;
}

qemb_status qemb__header_parse(qemb__header *header, int64_t data_bytes) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    qemb__scan scan = {.who = header->who, .path = header->path, .text = header->text, .size = header->size, .base = 8};
    TRY(scan_header(&scan, header));

    TRY(qemb__calloc(header->tensor_count, sizeof *header->tensors, &block));
    header->tensors = block;
    TRY(qemb__calloc(header->tensor_count, sizeof *header->by_name, &block));
    header->by_name = block;
    TRY(qemb__calloc(header->metadata_count, sizeof *header->metadata, &block));
    header->metadata = block;
    scan.unescape = true;
    TRY(scan_header(&scan, header));

    heap_sort(header, header->tensors, (size_t)header->tensor_count, sizeof *header->tensors, tensor_precedes);
    TRY(check_ranges(header, data_bytes));
    for (int64_t i = 0; i < header->tensor_count; ++i) {
        header->by_name[i] = (uint32_t)i;
    }
    heap_sort(header, header->by_name, (size_t)header->tensor_count, sizeof *header->by_name, name_precedes);
    heap_sort(header, header->metadata, (size_t)header->metadata_count, sizeof *header->metadata, metadata_precedes);
    TRY(check_twins(header));
done:
    return st;
}

void qemb__header_free(qemb__header *header) {
    qemb__free(header->tensors);
    qemb__free(header->by_name);
    qemb__free(header->metadata);
    qemb__free(header->text);
    *header = (qemb__header){0};
}

int64_t qemb__header_find(const qemb__header *header, const char *name) {
    int64_t low = 0, high = header->tensor_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(tensor_name(header, header->by_name[middle]), name);
        if (order == 0) {
            return header->by_name[middle];
        }
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return -1;
}

int64_t qemb__header_find_metadata(const qemb__header *header, const char *key) {
    int64_t low = 0, high = header->metadata_count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(header->text + header->metadata[middle].key, key);
        if (order == 0) {
            return middle;
        }
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return -1;
}

void qemb__header_view(const qemb__header *header, int64_t index, qemb_tensor_view *view) {
    const qemb__tensor_entry *entry = &header->tensors[index];
    qemb__scan scan = {.who = header->who, .path = header->path, .text = header->text, .size = header->size, .at = entry->shape};
    uint32_t rank = 0;
    *view = (qemb_tensor_view){.name = header->text + entry->name, .dtype = (qemb_file_dtype)entry->dtype, .count = 1};
    (void)scan_shape(&scan, view->shape, &rank); /* read before, and the text is ours */
    view->rank = (int32_t)rank;
    for (int32_t i = 0; i < QEMB_FILE_MAX_RANK; ++i) {
        if (i >= view->rank) {
            view->shape[i] = 1;
        }
        view->count *= view->shape[i];
    }
    view->bytes = (size_t)(entry->end - entry->begin);
    view->offset = entry->begin;
}
