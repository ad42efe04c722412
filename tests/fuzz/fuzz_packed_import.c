/* fuzz_packed_import.c - any bytes as a packed table: refused with a reason, or every row reads back as it came and is served. */
#include <math.h>

#include "fuzz.h"

enum { MOST = 4096 };

static void serve(qemb_context *ctx, qemb_packed *packed, const qemb_packed_table *table, fuzz_stream *s) {
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    int64_t ids[8];
    int count = 1 + fuzz_below(s, 8), bad = 0;
    float got[8 * 64], row[64];
    for (int i = 0; i < count; i++) {
        ids[i] = (int64_t)fuzz_byte(s) - 4;
        bad += ids[i] < 0 || ids[i] >= table->num_embeddings;
    }
    const qemb_input input = {.indices = ids, .num_indices = count, .indices_dtype = QEMB_INT64, .columns = 1, .check = QEMB_SKIP};
    PROMISE(qemb_batch_create(ctx, &batch) == QEMB_OK && qemb_packed_batch_set(packed, batch, &input) == QEMB_OK);
    size_t bytes = (size_t)(count * table->embedding_dim) * sizeof *got;
    PROMISE(qemb_buffer_create(ctx, bytes, &out) == QEMB_OK && qemb_packed_forward(packed, batch, out, QEMB_FLOAT32) == QEMB_OK);
    PROMISE(qemb_buffer_read(out, 0, bytes, got) == QEMB_OK);
    for (int i = 0; i < count; i++) {
        bool inside = ids[i] >= 0 && ids[i] < table->num_embeddings;
        int64_t at = inside && table->row_map ? table->row_map[ids[i]] : ids[i];
        if (inside && at >= 0 && !table->has_padding_idx && !table->has_max_norm) {
            PROMISE(qemb_packed_unpack(packed, 0, at, 1, row) == QEMB_OK);
            for (int64_t c = 0; c < table->embedding_dim; c++) { /* fma(scale, code, 0 + bias): the same value, but for the sign of 0 */
                float a = got[i * table->embedding_dim + c] + 0.0f, b = row[c] + 0.0f;
                PROMISE(a == b || (a != a && b != b));
            }
        }
    }
    int64_t skipped = 0;
    PROMISE(qemb_batch_status(batch, &skipped) == QEMB_OK && skipped == bad);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
}

int fuzz_packed_import(const uint8_t *bytes, size_t count) {
    static qemb_context *ctx;
    fuzz_stream s = {bytes, count};
    uint8_t rows[MOST], qparams[MOST], seen[MOST], seen_qparams[MOST];
    int32_t map[32];
    qemb_packed *packed = NULL;
    PROMISE(ctx || qemb_context_create("reference", &ctx) == QEMB_OK);
    uint8_t shape = fuzz_byte(&s);
    qemb_packed_table table = {.num_embeddings = fuzz_below(&s, 32),
                               .embedding_dim = fuzz_below(&s, 40),
                               .has_padding_idx = shape & 1,
                               .padding_idx = fuzz_below(&s, 40) - 4,
                               .has_max_norm = shape & 2,
                               .max_norm = 1.5f,
                               .format = {.layout = (qemb_layout)fuzz_below(&s, 5),
                                          .bits = fuzz_below(&s, 10),
                                          .row_alignment = shape & 4 ? 16 : 0,
                                          .qparams = (qemb_qparams)fuzz_below(&s, 4),
                                          .symmetric = shape & 8}};
    int64_t row_bytes = 0, qparams_bytes = 0;
    if (shape & 16) {
        table.num_rows = fuzz_below(&s, 32);
        for (int i = 0; i < 32; i++) {
            map[i] = fuzz_below(&s, 34) - 2;
        }
        table.row_map = map;
    }
    qemb_status st = qemb_packed_row_bytes(&table.format, table.embedding_dim, &row_bytes, &qparams_bytes);
    int64_t stored = table.row_map ? table.num_rows : table.num_embeddings;
    bool planar = table.format.layout == QEMB_LAYOUT_PLANAR;
    if (st == QEMB_OK) {
        table.rows_bytes = stored * row_bytes + (shape & 32 ? 1 : 0);
        table.qparams_bytes = planar ? stored * qparams_bytes : 0;
        PROMISE(table.rows_bytes <= MOST && table.qparams_bytes <= MOST);
    }
    fuzz_take(&s, qparams, (size_t)table.qparams_bytes);
    fuzz_take(&s, rows, (size_t)table.rows_bytes);
    table.rows = rows;
    table.qparams = planar ? qparams : NULL;
    const qemb_packed_import_desc desc = {.tables = &table, .num_tables = 1, .options = {.mode = QEMB_MODE_SUM}, .flags = shape >> 7};
    qemb_status imported = qemb_packed_import(ctx, &desc, &packed);
    PROMISE(st == QEMB_OK || imported != QEMB_OK);
    PROMISE((imported == QEMB_OK) == (packed != NULL));
    PROMISE(imported == QEMB_OK || qemb_last_error()[0] != '\0');
    PROMISE(!(shape & 32) || imported != QEMB_OK);
    if (imported == QEMB_OK) {
        PROMISE(qemb_packed_read_rows(packed, 0, 0, stored, seen, planar ? seen_qparams : NULL) == QEMB_OK);
        PROMISE(memcmp(seen, rows, (size_t)table.rows_bytes) == 0 && memcmp(seen_qparams, qparams, (size_t)table.qparams_bytes) == 0);
        serve(ctx, packed, &table, &s);
    }
    qemb_packed_destroy(packed);
    return 0;
}
