/* replay_pack.c - cases of op `pack`: a float table is packed, read back as bytes and as floats, and looked up once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay_run.h"

/* Expected bytes against packed rows. */
static void compare_bytes(replay_run *r, const uint8_t *got, int64_t row_bytes) {
    replay_tensor want = replay_tensor_read(r->c, "packed", r->report);
    const int64_t count = r->c->num_embeddings * row_bytes;
    if (!want.data) {
        return;
    }
    if (want.view.dtype != QEMB_FILE_U8) {
        replay_skip(r->report, "tensor packed is %s, want U8", qemb_file_dtype_name(want.view.dtype));
    } else if (want.view.count != count) {
        replay_fail(r->report, "tensor packed has %lld bytes, got %lld", (long long)want.view.count, (long long)count);
    } else {
        const uint8_t *bytes = want.data;
        r->report->comparisons++;
        for (int64_t i = 0; i < count; i++) {
            if (got[i] != bytes[i]) {
                replay_fail(r->report, "tensor packed at (%lld,%lld): got %u, want %u, tolerance 0", (long long)(i / row_bytes),
                            (long long)(i % row_bytes), got[i], bytes[i]);
                break;
            }
        }
    }
    free(want.data);
}

static qemb_status read_rows(replay_run *r, qemb_packed *packed, const qemb_packed_format *format) {
    const int64_t rows = r->c->num_embeddings;
    int64_t row_bytes = 0;
    int64_t plane = 0;
    qemb_status st = qemb_packed_row_bytes(format, r->c->embedding_dim, &row_bytes, &plane);
    if (st != QEMB_OK) {
        return st;
    }
    uint8_t *bytes = malloc((size_t)(rows * row_bytes + 1));
    float *values = malloc((size_t)(rows * r->c->embedding_dim + 1) * sizeof *values);
    st = bytes && values ? qemb_packed_read_rows(packed, 0, 0, rows, bytes, NULL) : QEMB_ERR_NOMEM;
    if (st == QEMB_OK) {
        compare_bytes(r, bytes, row_bytes);
        st = qemb_packed_unpack(packed, 0, 0, rows, values);
    }
    if (st == QEMB_OK) {
        replay_compare(r->c, "unpacked", values, rows * r->c->embedding_dim, 2e-6, r->report);
    }
    free(bytes);
    free(values);
    return st;
}

static qemb_status look_up(replay_run *r, qemb_packed *packed) {
    const qemb_input input = replay_input(r);
    qemb_status st = qemb_packed_batch_set(packed, r->batch, &input);
    st = st != QEMB_OK ? st : qemb_packed_forward(packed, r->batch, r->out, QEMB_FLOAT32);
    st = st != QEMB_OK ? st : qemb_context_finish(r->ctx);
    if (st == QEMB_OK && replay_is_untouched(r, r->rows * r->c->embedding_dim)) {
        replay_compare(r->c, "step0.output", r->output, r->rows * r->c->embedding_dim, REPLAY_EXACT, r->report);
    }
    return st;
}

qemb_status replay_pack(replay_run *r) {
    const replay_case *c = r->c;
    const qemb_packed_desc desc = {
        .format = {.layout = (qemb_layout)c->layout, .bits = (int32_t)c->bits}, .method = QEMB_PACK_MINMAX, .flags = QEMB_PACK_AS_PEER};
    qemb_packed *packed = NULL;
    qemb_status st = qemb_packed_create(r->bag, &desc, &packed);
    st = st != QEMB_OK ? st : read_rows(r, packed, &desc.format);
    st = st != QEMB_OK || !r->indices.data ? st : look_up(r, packed);
    qemb_packed_destroy(packed);
    return st;
}
