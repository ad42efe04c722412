/* saver.c - collects what is to be saved, and streams it into one file.
 *
 * Adding an object notes it down. Writing asks every object what it has become by now (saver_objects.c), lays the file out, and then reads
 * and appends a piece of PIECE_BYTES after the other: a table of any size passes through a few MiB. */
#include "io/saver.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"

enum { PIECE_BYTES = 4 << 20 };

/* ---- sources ---------------------------------------------------------------------------------------------------------- */

qemb_status qemb_saver_create(qemb_saver **saver) {
    void *block = NULL;
    if (!saver) {
        return qemb__fail(QEMB_ERR_ARG, "saver_create: saver is NULL");
    }
    qemb_status st = qemb__calloc(1, sizeof **saver, &block);
    if (st == QEMB_OK) {
        *saver = block;
    }
    return st;
}

void qemb_saver_destroy(qemb_saver *saver) {
    if (!saver) {
        return;
    }
    for (int64_t i = 0; i < saver->count; ++i) {
        qemb__free(saver->sources[i].prefix);
        qemb__free(saver->sources[i].text);
    }
    qemb__free(saver->sources);
    qemb__free(saver);
}

/* A source more; its strings are copied. */
static qemb_status add(qemb_saver *saver, const qemb__source *source, const char *prefix, const char *text) {
    qemb_status st = QEMB_OK;
    qemb__source copy = *source;
    copy.prefix = NULL;
    copy.text = NULL;
    TRY(qemb__strdup(prefix ? prefix : "", &copy.prefix));
    TRY(qemb__strdup(text ? text : "", &copy.text));
    TRY(qemb__grow((void **)&saver->sources, &saver->capacity, saver->count + 1, sizeof *saver->sources));
    saver->sources[saver->count++] = copy;
    return QEMB_OK;
done:
    qemb__free(copy.prefix);
    qemb__free(copy.text);
    return st;
}

static qemb_status add_object(qemb_saver *saver, const char *prefix, qemb__source_kind kind, void *object, const char *call) {
    if (!saver || !object) {
        return qemb__fail(QEMB_ERR_ARG, "%s: %s is NULL", call, saver ? "the object" : "saver");
    }
    return add(saver, &(qemb__source){.kind = kind, .object = object}, prefix, NULL);
}

qemb_status qemb_saver_add_module(qemb_saver *saver, const char *prefix, qemb_embedding_bag *bag) {
    return add_object(saver, prefix, QEMB__SOURCE_MODULE, bag, "saver_add_module");
}

qemb_status qemb_saver_add_optimizer(qemb_saver *saver, const char *prefix, qemb_optimizer *optimizer) {
    return add_object(saver, prefix, QEMB__SOURCE_OPTIMIZER, optimizer, "saver_add_optimizer");
}

qemb_status qemb_saver_add_packed(qemb_saver *saver, const char *prefix, qemb_packed *packed) {
    return add_object(saver, prefix, QEMB__SOURCE_PACKED, packed, "saver_add_packed");
}

qemb_status qemb_saver_add_tensor(qemb_saver *saver, const qemb_tensor_desc *desc, const void *data) {
    qemb_status st = QEMB_OK;
    int64_t elements = 1;
    REQUIRE(saver && desc && desc->name, QEMB_ERR_ARG, "saver_add_tensor: %s is NULL", !saver ? "saver" : desc ? "the name" : "desc");
    REQUIRE(desc->rank >= 0 && desc->rank <= QEMB_FILE_MAX_RANK, QEMB_ERR_SHAPE, "saver_add_tensor: tensor '%.200s': rank=%d, want 0 .. %d",
            desc->name, desc->rank, QEMB_FILE_MAX_RANK);
    REQUIRE(desc->rank == 0 || desc->shape, QEMB_ERR_ARG, "saver_add_tensor: tensor '%.200s': shape is NULL", desc->name);
    qemb__source source = {.kind = QEMB__SOURCE_TENSOR, .data = data, .rank = desc->rank, .dtype = desc->dtype};
    for (int32_t i = 0; i < desc->rank; ++i) {
        source.shape[i] = desc->shape[i];
        elements = desc->shape[i] ? elements : 0;
    }
    REQUIRE(data || elements == 0, QEMB_ERR_ARG, "saver_add_tensor: tensor '%.200s': data is NULL", desc->name);
    TRY(add(saver, &source, desc->name, NULL));
done:
    return st;
}

qemb_status qemb_saver_add_text(qemb_saver *saver, const char *key, const char *text) {
    if (!saver || !key || !text) {
        return qemb__fail(QEMB_ERR_ARG, "saver_add_text: %s is NULL", !saver ? "saver" : !key ? "key" : "text");
    }
    return add(saver, &(qemb__source){.kind = QEMB__SOURCE_TEXT}, key, text);
}

/* ---- contents --------------------------------------------------------------------------------------------------------- */

qemb_status qemb__contents_add(qemb__contents *c, char *name, const qemb__item *item, int32_t rank, qemb_file_dtype dtype) {
    qemb_status st = QEMB_OK;
    TRY(qemb__grow((void **)&c->tensors, &c->tensor_capacity, c->tensor_count + 1, sizeof *c->tensors));
    TRY(qemb__grow((void **)&c->items, &c->item_capacity, c->tensor_count + 1, sizeof *c->items));
    c->items[c->tensor_count] = *item;
    c->tensors[c->tensor_count++] = (qemb_tensor_desc){.name = name, .rank = rank, .dtype = dtype};
    name = NULL;
done:
    qemb__free(name);
    return st;
}

qemb_status qemb__contents_add_text(qemb__contents *c, char *key, char *text) {
    qemb_status st = QEMB_OK;
    TRY(qemb__grow((void **)&c->texts, &c->text_capacity, c->text_count + 1, sizeof *c->texts));
    c->texts[c->text_count++] = (qemb_metadata){key, text};
    return QEMB_OK;
done:
    qemb__free(key);
    qemb__free(text);
    return st;
}

void qemb__contents_free(qemb__contents *c) {
    for (int64_t i = 0; i < c->tensor_count; ++i) {
        qemb__free((char *)(uintptr_t)c->tensors[i].name);
    }
    for (int64_t i = 0; i < c->text_count; ++i) {
        qemb__free((char *)(uintptr_t)c->texts[i].key);
        qemb__free((char *)(uintptr_t)c->texts[i].text);
    }
    qemb__free(c->tensors);
    qemb__free(c->items);
    qemb__free(c->texts);
}

static qemb_status add_copy(qemb__contents *c, const qemb__source *s) {
    char *name = NULL;
    char *text = NULL;
    qemb_status st = qemb__strdup(s->prefix, &name);
    if (st != QEMB_OK) {
        return st;
    }
    if (s->kind == QEMB__SOURCE_TENSOR) {
        qemb__item item = {.kind = QEMB__ITEM_DATA, .data = s->data};
        memcpy(item.shape, s->shape, sizeof item.shape);
        return qemb__contents_add(c, name, &item, s->rank, s->dtype);
    }
    st = qemb__strdup(s->text, &text);
    if (st != QEMB_OK) {
        qemb__free(name);
        return st;
    }
    return qemb__contents_add_text(c, name, text);
}

static qemb_status expand(const qemb_saver *saver, qemb__contents *c) {
    qemb_status st = QEMB_OK;
    for (int64_t i = 0; st == QEMB_OK && i < saver->count; ++i) {
        const qemb__source *s = &saver->sources[i];
        switch (s->kind) {
        case QEMB__SOURCE_MODULE:
            st = qemb__contents_add_module(c, s->prefix, s->object);
            break;
        case QEMB__SOURCE_OPTIMIZER:
            st = qemb__contents_add_optimizer(c, s->prefix, s->object);
            break;
        case QEMB__SOURCE_PACKED:
            st = qemb__contents_add_packed(c, s->prefix, s->object);
            break;
        case QEMB__SOURCE_TENSOR:
        case QEMB__SOURCE_TEXT:
            st = add_copy(c, s);
            break;
        }
    }
    for (int64_t i = 0; i < c->tensor_count; ++i) {
        c->tensors[i].shape = c->items[i].shape; /* the array of items has stopped moving */
    }
    return st;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static qemb_status read_piece(const qemb__item *item, int64_t first, int64_t count, void *buffer) {
    switch (item->kind) {
    case QEMB__ITEM_WEIGHT:
        return qemb_embedding_bag_read_weight(item->object, item->table, first, count, buffer);
    case QEMB__ITEM_STATE:
        return qemb_optimizer_read_state(item->object, item->array, item->table, first, count, buffer);
    case QEMB__ITEM_ROWS:
        return qemb_packed_read_rows(item->object, item->table, first, count, buffer, NULL);
    default:
        return qemb_packed_read_rows(item->object, item->table, first, count, NULL, buffer);
    }
}

/* Rows of an object, piece after piece. A row is larger than a piece only where a table has more than a million columns: none has. */
static qemb_status write_rows(qemb_safetensors_writer *w, int64_t index, const qemb__item *item, void *buffer) {
    qemb_status st = QEMB_OK;
    const int64_t piece = qemb__max_i64(1, PIECE_BYTES / item->row_bytes);
    for (int64_t first = 0; first < item->rows; first += piece) {
        const int64_t count = qemb__min_i64(piece, item->rows - first);
        TRY(read_piece(item, first, count, buffer));
        TRY(qemb_safetensors_writer_append(w, index, buffer, (size_t)(count * item->row_bytes)));
    }
done:
    return st;
}

/* Scale, zero point, min and max are found together: four columns in the buffer, four tensors in the file. */
static qemb_status write_observer(qemb_safetensors_writer *w, int64_t index, const qemb__item *item, float *buffer) {
    qemb_status st = QEMB_OK;
    const int64_t piece = PIECE_BYTES / (int64_t)(4 * sizeof(float));
    const qemb_observer_rows rows = {
        .scale = buffer, .zero_point = buffer + piece, .min_val = buffer + 2 * piece, .max_val = buffer + 3 * piece};
    for (int64_t first = 0; first < item->rows; first += piece) {
        const int64_t count = qemb__min_i64(piece, item->rows - first);
        TRY(qemb_embedding_bag_read_observer(item->object, item->table, first, count, &rows));
        for (int64_t k = 0; k < 4; ++k) {
            TRY(qemb_safetensors_writer_append(w, index + k, buffer + k * piece, (size_t)count * sizeof(float)));
        }
    }
done:
    return st;
}

static qemb_status write_item(qemb_safetensors_writer *w, const qemb__contents *c, int64_t index, void *buffer) {
    const qemb__item *item = &c->items[index];
    int64_t bytes = qemb_file_dtype_bits(c->tensors[index].dtype);
    switch (item->kind) {
    case QEMB__ITEM_DATA:
    case QEMB__ITEM_SMALL:
        for (int32_t i = 0; i < c->tensors[index].rank; ++i) {
            bytes *= item->shape[i]; /* the writer has checked the product */
        }
        return qemb_safetensors_writer_append(w, index, item->kind == QEMB__ITEM_DATA ? item->data : item->small, (size_t)bytes / 8);
    case QEMB__ITEM_OBSERVER:
        return write_observer(w, index, item, buffer);
    case QEMB__ITEM_OBSERVED:
        return QEMB_OK;
    default:
        return write_rows(w, index, item, buffer);
    }
}

qemb_status qemb_saver_write(qemb_saver *saver, const char *path) {
    qemb_status st = QEMB_OK;
    qemb__contents contents = {0};
    qemb_safetensors_writer *writer = NULL;
    void *buffer = NULL;
    REQUIRE(saver, QEMB_ERR_ARG, "saver_write: saver is NULL");
    TRY(expand(saver, &contents));
    TRY(qemb__calloc(1, PIECE_BYTES, &buffer));
    TRY(qemb_safetensors_writer_create(path, contents.tensors, contents.tensor_count, contents.texts, contents.text_count, &writer));
    for (int64_t i = 0; i < contents.tensor_count; ++i) {
        TRY(write_item(writer, &contents, i, buffer));
    }
    TRY(qemb_safetensors_writer_finish(writer));
done:
    qemb_safetensors_writer_destroy(writer);
    qemb__contents_free(&contents);
    qemb__free(buffer);
    return qemb__named(st, "saver_write");
}
