/* load_packed.c - packed tables of a file, used where they lie in the map. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/status.h"
#include "io/load.h"
#include "io/safetensors_file.h"
#include "io/state_texts.h"

static const char who[] = "load_packed";

/* One text of the object; ARG when there is none. */
static qemb_status want_text(const qemb__load *at, const char *key, const qemb__field *fields, void *values) {
    qemb_status st = QEMB_OK;
    const char *text = NULL;
    TRY(qemb__load_text(at, key, &text));
    REQUIRE(text, QEMB_ERR_ARG, "%s: %s: no text '%s%s', so no packed tables under this prefix", who, at->file->path, at->prefix, key);
    TRY(qemb__fields_read(at->who, at->file->path, key, text, fields, values));
done:
    return st;
}

/* "0,1,1" to numbers; `count` of them. Values are checked by the import. */
static qemb_status read_features(const qemb__load *at, const char *text, int32_t **features, int32_t *count) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    int64_t n = *text ? 1 : 0;
    for (const char *c = text; *c; ++c) {
        n += *c == ',';
    }
    TRY(qemb__calloc(qemb__max_i64(n, 1), sizeof **features, &block));
    for (int64_t i = 0; i < n; ++i) {
        const size_t digits = strspn(text, "0123456789");
        REQUIRE(digits > 0 && digits < 10 && text[digits] == (i + 1 < n ? ',' : '\0'), QEMB_ERR_CORRUPT,
                "%s: %s: text '%s%s': feature %lld is not a table's number", who, at->file->path, at->prefix, QEMB__KEY_PACKED,
                (long long)i);
        ((int32_t *)block)[i] = (int32_t)strtol(text, NULL, 10);
        text += digits + 1;
    }
    *features = n ? block : NULL;
    *count = (int32_t)n;
    block = n ? NULL : block;
done:
    qemb__free(block);
    return st;
}

/* Table t: its text, and tensors of just the shapes that the text says. */
static qemb_status describe(const qemb__load *top, int32_t t, qemb_packed_table *d) {
    qemb_status st = QEMB_OK;
    char key[32];
    qemb__packed_text text = {0};
    qemb_tensor_view rows, qparams = {0}, map = {0};
    int64_t row_bytes = 0;
    (void)snprintf(key, sizeof key, QEMB__KEY_PACKED ".%d", t);
    TRY(want_text(top, key, qemb__packed_fields, &text));
    const qemb__load at = {top->file, who, top->prefix, text.name};
    *d = (qemb_packed_table){.name = text.name,
                             .num_embeddings = text.num_embeddings,
                             .embedding_dim = text.embedding_dim,
                             .num_rows = text.num_rows,
                             .format = {(qemb_layout)text.layout, (int32_t)text.bits, (int32_t)text.row_alignment,
                                        (qemb_qparams)text.qparams, text.symmetric == 1},
                             .has_padding_idx = text.has_padding_idx == 1,
                             .padding_idx = text.padding_idx,
                             .has_max_norm = text.has_max_norm == 1,
                             .max_norm = (float)text.max_norm,
                             .norm_type = (float)text.norm_type};
    REQUIRE(qemb_packed_row_bytes(&d->format, d->embedding_dim, &row_bytes, NULL) == QEMB_OK, QEMB_ERR_CORRUPT,
            "%s: %s: text '%s%s': layout, bits, qparams and row_alignment do not go together", who, top->file->path, top->prefix, key);
    const int64_t row_shape[] = {d->num_rows, row_bytes};
    TRY(qemb__load_want(&at, "rows", QEMB_FILE_U8, 2, row_shape, &rows));
    if (d->format.layout == QEMB_LAYOUT_PLANAR) {
        const int64_t shape[] = {d->num_rows, d->format.symmetric ? 1 : 2};
        TRY(qemb__load_want(&at, "qparams", d->format.qparams == QEMB_QPARAMS_FP32 ? QEMB_FILE_F32 : QEMB_FILE_BF16, 2, shape, &qparams));
    }
    if (text.pruned) {
        TRY(qemb__load_want(&at, "row_map", QEMB_FILE_I32, 1, &d->num_embeddings, &map));
        REQUIRE((uintptr_t)map.data % sizeof(int32_t) == 0, QEMB_ERR_UNSUPPORTED, "%s: %s: tensor '%.200s' at byte %lld is not aligned",
                who, top->file->path, map.name, (long long)map.offset);
    }
    REQUIRE(text.pruned || d->num_rows == d->num_embeddings, QEMB_ERR_CORRUPT,
            "%s: %s: text '%s%s': num_rows=%lld, want num_embeddings=%lld", who, top->file->path, top->prefix, key, (long long)d->num_rows,
            (long long)d->num_embeddings);
    d->rows = rows.data;
    d->rows_bytes = (int64_t)rows.bytes;
    d->qparams = qparams.data;
    d->qparams_bytes = (int64_t)qparams.bytes;
    d->row_map = map.data;
done:
    return st;
}

static void release_file(void *file) {
    qemb_safetensors_close(file);
}

/* Checksum, where the file has one of this library. */
static qemb_status verify(const qemb_safetensors *file) {
    return qemb_safetensors_metadata(file, QEMB_FILE_CHECKSUM_KEY) ? qemb_safetensors_verify(file) : QEMB_OK;
}

/* What the import refuses is the file's fault. */
static qemb_status as_corrupt(const qemb_safetensors *file, qemb_status st) {
    char sentence[400];
    if (st != QEMB_ERR_INDEX && st != QEMB_ERR_SHAPE && st != QEMB_ERR_RANGE && st != QEMB_ERR_CORRUPT && st != QEMB_ERR_ARG &&
        st != QEMB_ERR_OVERFLOW) {
        return st;
    }
    (void)snprintf(sentence, sizeof sentence, "%s", qemb_last_error());
    return qemb__fail(QEMB_ERR_CORRUPT, "%s: %s: %s", who, file->path, sentence);
}

qemb_status qemb_load_packed(qemb_context *ctx, qemb_safetensors *file, const char *prefix, uint32_t flags, qemb_packed **packed) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    int32_t *features = NULL;
    qemb__object_text object = {0};
    qemb_packed_import_desc d = {0};
    REQUIRE(ctx && file && packed, QEMB_ERR_ARG, "%s: %s is NULL", who, !ctx ? "ctx" : file ? "packed" : "file");
    REQUIRE((flags & ~(uint32_t)(QEMB_LOAD_VERIFY | QEMB_LOAD_COPY | QEMB_LOAD_AS_PEER)) == 0, QEMB_ERR_ARG,
            "%s: flags=%#x, want QEMB_LOAD_*", who, flags);
    const qemb__load at = {file, who, prefix ? prefix : "", NULL};
    TRY(want_text(&at, QEMB__KEY_PACKED, qemb__object_fields, &object));
    REQUIRE(object.tables <= file->header.metadata_count, QEMB_ERR_CORRUPT, "%s: %s: tables=%lld, but %lld texts in the file", who,
            file->path, (long long)object.tables, (long long)file->header.metadata_count);
    TRY(flags & QEMB_LOAD_VERIFY ? verify(file) : QEMB_OK);
    TRY(qemb__calloc(object.tables, sizeof(qemb_packed_table), &block));
    TRY(read_features(&at, object.features, &features, &d.num_features));
    for (int32_t t = 0; t < (int32_t)object.tables; ++t) {
        TRY(describe(&at, t, (qemb_packed_table *)block + t));
    }
    d.tables = block;
    d.num_tables = (int32_t)object.tables;
    d.feature_table = features;
    d.options =
        (qemb_bag_options){(qemb_mode)object.mode, object.scale_grad_by_freq == 1, object.sparse == 1, object.include_last_offset == 1};
    d.unpooled = object.pooled == 0;
    d.flags = (flags & QEMB_LOAD_AS_PEER ? QEMB_PACK_AS_PEER : 0) | (flags & QEMB_LOAD_VERIFY ? 0 : QEMB_PACK_UNCHECKED);
    if (!(flags & QEMB_LOAD_COPY)) { /* tables are data: there is a map */
        d.memory = file->map;
        d.memory_bytes = (size_t)file->size;
        d.release = release_file;
        d.user = file;
        file->users++;
    }
    st = qemb_packed_import(ctx, &d, packed);
    if (st != QEMB_OK) {
        file->users -= d.release != NULL;
        st = as_corrupt(file, st);
    }
done:
    qemb__free(features);
    qemb__free(block);
    return st;
}
