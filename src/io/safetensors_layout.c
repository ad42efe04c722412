/* safetensors_layout.c - see safetensors_layout.h. The JSON is written twice by one routine: first only counted. */
#include "io/safetensors_layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"

enum { ALIGNMENT = 64, PREFIX = 8, MAX_HEADER = 100000000 };

/* ------------------------------------------------------------------------------------------------------------------
 * Text
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct sink {
    char *text; /* NULL: count only */
    size_t used;
} sink;

static void put(sink *s, const char *text, size_t bytes) {
    if (s->text) {
        memcpy(s->text + s->used, text, bytes);
    }
    s->used += bytes;
}

static void put_text(sink *s, const char *text) {
    put(s, text, strlen(text));
}

static void put_string(sink *s, const char *text) {
    put(s, "\"", 1);
    for (; *text; ++text) {
        unsigned char c = (unsigned char)*text;
        char escape[8];
        if (c == '"' || c == '\\') {
            escape[0] = '\\';
            escape[1] = *text;
            put(s, escape, 2);
        } else if (c < 0x20) {
            put(s, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
        } else {
            put(s, text, 1);
        }
    }
    put(s, "\"", 1);
}

static void put_number(sink *s, int64_t value) {
    char digits[24];
    put(s, digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, value));
}

static void put_tensor(sink *s, const qemb_tensor_desc *t, int64_t begin, size_t bytes) {
    put_text(s, ",");
    put_string(s, t->name);
    put_text(s, ":{\"dtype\":\"");
    put_text(s, qemb_file_dtype_name(t->dtype));
    put_text(s, "\",\"shape\":[");
    for (int32_t i = 0; i < t->rank; ++i) {
        put_text(s, i ? "," : "");
        put_number(s, t->shape[i]);
    }
    put_text(s, "],\"data_offsets\":[");
    put_number(s, begin);
    put_text(s, ",");
    put_number(s, begin + (int64_t)bytes);
    put_text(s, "]}");
}

/* Returns the place of the checksum's digits. */
static size_t put_header(sink *s, const qemb__layout *layout, const qemb_tensor_desc *tensors, int64_t tensor_count,
                         const qemb_metadata *metadata, int64_t metadata_count) {
    put_text(s, "{\"__metadata__\":{\"" QEMB_FILE_CHECKSUM_KEY "\":\"");
    size_t checksum_at = s->used;
    put_text(s, "00000000\"");
    for (int64_t i = 0; i < metadata_count; ++i) {
        if (strcmp(metadata[i].key, QEMB_FILE_CHECKSUM_KEY) != 0) {
            put_text(s, ",");
            put_string(s, metadata[i].key);
            put_text(s, ":");
            put_string(s, metadata[i].text);
        }
    }
    put_text(s, "}");
    for (int64_t i = 0; i < tensor_count; ++i) {
        int64_t t = layout->order[i];
        put_tensor(s, &tensors[t], layout->begin[t], layout->bytes[t]);
    }
    put_text(s, "}");
    return checksum_at;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Checks
 * ---------------------------------------------------------------------------------------------------------------- */

/* Well-formed UTF-8 without overlong forms and surrogates. */
static bool is_utf8(const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        int more = *s < 0x80 ? 0 : *s >= 0xC2 && *s < 0xE0 ? 1 : *s >= 0xE0 && *s < 0xF0 ? 2 : *s >= 0xF0 && *s < 0xF5 ? 3 : -1;
        if (more < 0 || (*s == 0xE0 && s[1] < 0xA0) || (*s == 0xED && s[1] >= 0xA0) || (*s == 0xF0 && s[1] < 0x90) ||
            (*s == 0xF4 && s[1] >= 0x90)) {
            return false;
        }
        for (++s; more > 0; --more, ++s) {
            if ((*s & 0xC0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

qemb_status qemb__tensor_extent(const char *who, const qemb_tensor_desc *desc, int64_t *count, size_t *bytes) {
    qemb_status st = QEMB_OK;
    int64_t elements = 1, bits = 0;
    int32_t element_bits = qemb_file_dtype_bits(desc->dtype);
    const char *name = desc->name ? desc->name : "";
    REQUIRE(element_bits > 0, QEMB_ERR_DTYPE, "%s: tensor '%.200s': dtype=%d is not of the list", who, name, (int)desc->dtype);
    REQUIRE(desc->rank >= 0 && desc->rank <= QEMB_FILE_MAX_RANK, QEMB_ERR_SHAPE, "%s: tensor '%.200s': rank=%d, want 0 .. %d", who, name,
            desc->rank, QEMB_FILE_MAX_RANK);
    REQUIRE(desc->rank == 0 || desc->shape, QEMB_ERR_ARG, "%s: tensor '%.200s': shape is NULL", who, name);
    for (int32_t i = 0; i < desc->rank; ++i) {
        REQUIRE(desc->shape[i] >= 0, QEMB_ERR_SHAPE, "%s: tensor '%.200s': shape[%d]=%lld, want >= 0", who, name, i,
                (long long)desc->shape[i]);
        REQUIRE(qemb__mul_i64(elements, desc->shape[i], &elements), QEMB_ERR_OVERFLOW,
                "%s: tensor '%.200s': the product of its shape does not fit in 63 bits", who, name);
    }
    REQUIRE(qemb__mul_i64(elements, element_bits, &bits), QEMB_ERR_OVERFLOW, "%s: tensor '%.200s': its size does not fit in 63 bits", who,
            name);
    REQUIRE(bits % 8 == 0, QEMB_ERR_SHAPE, "%s: tensor '%.200s': %lld elements of %d bits do not fill whole bytes", who, name,
            (long long)elements, element_bits);
    *count = elements;
    *bytes = (size_t)(bits / 8);
done:
    return st;
}

static qemb_status check_metadata(const char *who, const qemb_metadata *metadata, int64_t count) {
    qemb_status st = QEMB_OK;
    for (int64_t i = 0; i < count; ++i) {
        REQUIRE(metadata[i].key && metadata[i].text && is_utf8(metadata[i].key) && is_utf8(metadata[i].text), QEMB_ERR_ARG,
                "%s: metadata[%lld]: key or text is NULL or not UTF-8", who, (long long)i);
    }
done:
    return st;
}

static qemb_status check_tensors(const char *who, const qemb_tensor_desc *tensors, int64_t count, qemb__layout *layout) {
    qemb_status st = QEMB_OK;
    for (int64_t i = 0; i < count; ++i) {
        const char *name = tensors[i].name;
        int64_t elements = 0;
        REQUIRE(name && is_utf8(name), QEMB_ERR_ARG, "%s: the name of tensor %lld is NULL or not UTF-8", who, (long long)i);
        REQUIRE(strcmp(name, "__metadata__") != 0, QEMB_ERR_ARG, "%s: tensor %lld: the name __metadata__ is the format's own", who,
                (long long)i);
        REQUIRE(strlen(name) <= QEMB_FILE_MAX_NAME, QEMB_ERR_RANGE, "%s: tensor %lld: a name of %zu bytes, at most %d", who, (long long)i,
                strlen(name), QEMB_FILE_MAX_NAME);
        TRY(qemb__tensor_extent(who, &tensors[i], &elements, &layout->bytes[i]));
    }
done:
    return st;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Order
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct sort_key {
    const char *name;
    int64_t index;
    int32_t bits;
} sort_key;

static int by_alignment(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    return x->bits != y->bits ? (x->bits < y->bits) - (x->bits > y->bits) : strcmp(x->name, y->name);
}

/* Sorts the keys, and refuses twins: of tensors of different sizes too, so names are compared apart from the order. */
static qemb_status refuse_twins(const char *who, const char *what, sort_key *keys, int64_t count) {
    qemb_status st = QEMB_OK;
    qsort(keys, (size_t)count, sizeof *keys, by_alignment);
    for (int64_t i = 1; i < count; ++i) {
        REQUIRE(strcmp(keys[i].name, keys[i - 1].name) != 0, QEMB_ERR_ARG, "%s: two %s are called '%.200s'", who, what, keys[i].name);
    }
done:
    return st;
}

static qemb_status arrange(const char *who, const qemb_tensor_desc *tensors, int64_t tensor_count, const qemb_metadata *metadata,
                           int64_t metadata_count, qemb__layout *layout) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    int64_t end = 0;
    TRY(qemb__calloc(qemb__max_i64(tensor_count, metadata_count), sizeof(sort_key), &block));
    sort_key *keys = block;
    for (int64_t i = 0; i < metadata_count; ++i) {
        keys[i] = (sort_key){.name = metadata[i].key};
    }
    TRY(refuse_twins(who, "metadata texts", keys, metadata_count));
    for (int64_t i = 0; i < tensor_count; ++i) {
        keys[i] = (sort_key){.name = tensors[i].name};
    }
    TRY(refuse_twins(who, "tensors", keys, tensor_count));
    for (int64_t i = 0; i < tensor_count; ++i) {
        keys[i] = (sort_key){.name = tensors[i].name, .index = i, .bits = qemb_file_dtype_bits(tensors[i].dtype)};
    }
    qsort(keys, (size_t)tensor_count, sizeof *keys, by_alignment);
    for (int64_t i = 0; i < tensor_count; ++i) {
        int64_t t = keys[i].index;
        layout->order[i] = t;
        layout->begin[t] = end;
        REQUIRE(qemb__add_i64(end, (int64_t)layout->bytes[t], &end), QEMB_ERR_OVERFLOW, "%s: the tensors together do not fit in 63 bits",
                who);
    }
done:
    qemb__free(block);
    return st;
}

qemb_status qemb__layout_create(const char *who, const qemb_tensor_desc *tensors, int64_t tensor_count, const qemb_metadata *metadata,
                                int64_t metadata_count, qemb__layout *out) {
    qemb_status st = QEMB_OK;
    qemb__layout layout = {0};
    void *block = NULL;
    REQUIRE((tensors || tensor_count == 0) && (metadata || metadata_count == 0), QEMB_ERR_ARG, "%s: tensors or metadata is NULL", who);
    REQUIRE(tensor_count >= 0 && tensor_count <= QEMB_FILE_MAX_TENSORS && metadata_count >= 0 && metadata_count < QEMB_FILE_MAX_METADATA,
            QEMB_ERR_RANGE, "%s: tensor_count=%lld, metadata_count=%lld, want 0 .. %d", who, (long long)tensor_count,
            (long long)metadata_count, QEMB_FILE_MAX_TENSORS - 1);
    TRY(qemb__calloc(tensor_count, sizeof *layout.order, &block));
    layout.order = block;
    TRY(qemb__calloc(tensor_count, sizeof *layout.begin, &block));
    layout.begin = block;
    TRY(qemb__calloc(tensor_count, sizeof *layout.bytes, &block));
    layout.bytes = block;
    TRY(check_metadata(who, metadata, metadata_count));
    TRY(check_tensors(who, tensors, tensor_count, &layout));
    TRY(arrange(who, tensors, tensor_count, metadata, metadata_count, &layout));

    sink counted = {0};
    (void)put_header(&counted, &layout, tensors, tensor_count, metadata, metadata_count);
    layout.header_bytes = (size_t)qemb__round_up((int64_t)(PREFIX + counted.used), ALIGNMENT);
    REQUIRE(layout.header_bytes - PREFIX <= MAX_HEADER, QEMB_ERR_RANGE, "%s: a header of %zu bytes, at most %d are allowed", who,
            layout.header_bytes - PREFIX, MAX_HEADER);
    TRY(qemb__calloc((int64_t)layout.header_bytes, 1, &block));
    layout.header = block;
    memset(layout.header, ' ', layout.header_bytes);
    for (int i = 0; i < PREFIX; ++i) {
        layout.header[i] = (char)((layout.header_bytes - PREFIX) >> (8 * i) & 0xFF);
    }
    sink written = {.text = layout.header + PREFIX};
    layout.checksum_at = PREFIX + put_header(&written, &layout, tensors, tensor_count, metadata, metadata_count);
    *out = layout;
    layout = (qemb__layout){0};
done:
    qemb__layout_destroy(&layout);
    return st;
}

void qemb__layout_destroy(qemb__layout *layout) {
    qemb__free(layout->order);
    qemb__free(layout->begin);
    qemb__free(layout->bytes);
    qemb__free(layout->header);
    *layout = (qemb__layout){0};
}
