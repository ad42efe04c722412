/* fuzz_batch.c - any indices, offsets and weights on the reference engine: what is accepted is what the header says, and a float sum,
 * mean or max of it is what the obvious loops give. */
#include "fuzz.h"

enum { ROWS = 7, DIM = 3, MOST = 48 };

typedef struct request {
    int64_t indices[MOST], offsets[MOST];
    int32_t indices32[MOST], offsets32[MOST];
    float weights[MOST];
    qemb_input input;
    bool include_last;
    qemb_mode mode;
    int64_t padding;
} request;

static int64_t number(fuzz_stream *s, int64_t typical) {
    uint8_t kind = fuzz_byte(s);
    int64_t value;
    if (kind < 224) {
        return kind % typical;
    }
    fuzz_take(s, &value, sizeof value);
    return kind < 240 ? value % 64 : value;
}

static void read_request(fuzz_stream *s, request *r) {
    uint8_t shape = fuzz_byte(s);
    r->mode = (qemb_mode)fuzz_below(s, 3);
    r->include_last = shape & 1;
    r->padding = fuzz_below(s, ROWS + 1) - 1;
    r->input = (qemb_input){.num_indices = fuzz_below(s, MOST),
                            .indices_dtype = shape & 2 ? QEMB_INT32 : QEMB_INT64,
                            .offsets_dtype = shape & 4 ? QEMB_INT32 : QEMB_INT64,
                            .check = (qemb_check)fuzz_below(s, 3)};
    for (int i = 0; i < MOST; i++) {
        r->indices[i] = i < r->input.num_indices ? number(s, ROWS) : 0;
        r->indices32[i] = (int32_t)r->indices[i];
        r->weights[i] = fuzz_float(s);
    }
    r->input.indices = shape & 2 ? (const void *)r->indices32 : r->indices;
    if (shape & 8) { /* fixed columns */
        r->input.columns = 1 + fuzz_below(s, 5);
    } else {
        r->input.num_offsets = fuzz_below(s, 12);
        uint64_t sum = 0;
        for (int i = 0; i < r->input.num_offsets; i++) {
            r->offsets[i] = (int64_t)sum;
            r->offsets32[i] = (int32_t)sum;
            sum += (uint64_t)number(s, 6);
        }
        r->input.offsets = shape & 4 ? (const void *)r->offsets32 : r->offsets;
    }
    if ((shape & 16) && r->mode == QEMB_MODE_SUM) {
        r->input.per_sample_weights = r->weights;
        r->input.num_per_sample_weights = r->input.num_indices + (shape >> 7);
    }
}

/* Bounds of the bags by the header's words; -1 when the offsets are to be refused. */
static int bounds(const request *r, int64_t *begins) {
    const qemb_input *in = &r->input;
    if (!in->offsets) {
        int bags = (int)(in->num_indices / in->columns);
        for (int b = 0; b <= bags; b++) {
            begins[b] = b * in->columns;
        }
        return in->num_indices % in->columns ? -1 : bags;
    }
    int entries = (int)in->num_offsets, bags = r->include_last ? entries - 1 : entries;
    if (bags < 0) {
        return -1;
    }
    for (int b = 0; b < entries; b++) {
        begins[b] = in->offsets_dtype == QEMB_INT32 ? r->offsets32[b] : r->offsets[b];
        if (begins[b] < 0 || begins[b] > in->num_indices || (b ? begins[b] < begins[b - 1] : begins[0] != 0)) {
            return -1;
        }
    }
    if (r->include_last && begins[entries - 1] != in->num_indices) {
        return -1;
    }
    if (bags == 0 && in->num_indices > 0) {
        return -1;
    }
    begins[bags] = in->num_indices;
    return bags;
}

static int64_t index_at(const request *r, int64_t i) {
    return r->input.indices_dtype == QEMB_INT32 ? r->indices32[i] : r->indices[i];
}

/* One element of one bag by the obvious loop. */
static float element(const request *r, const float *table, int64_t begin, int64_t end, int column) {
    float acc = 0.0f;
    int counted = 0;
    for (int64_t i = begin; i < end; i++) {
        int64_t row = index_at(r, i);
        if (row < 0 || row >= ROWS || row == r->padding) {
            continue;
        }
        float x = table[row * DIM + column];
        float w = r->input.per_sample_weights ? r->weights[i] : 1.0f;
        if (r->mode == QEMB_MODE_MAX) {
            acc = counted == 0 || x > acc ? x : acc;
        } else if (!r->input.per_sample_weights) {
            acc += x;
        } else if (r->padding >= 0) {
            volatile float product = w * x;
            acc += product;
        } else {
            acc = __builtin_fmaf(w, x, acc);
        }
        counted++;
    }
    return r->mode == QEMB_MODE_MEAN && counted ? acc / (float)counted : acc;
}

static void compare(const request *r, const float *table, qemb_embedding_bag *bag, qemb_batch *batch, qemb_context *ctx,
                    const int64_t *begins, int bags) {
    qemb_buffer *out = NULL;
    float got[MOST * DIM];
    size_t bytes = (size_t)(bags * DIM) * sizeof *got;
    PROMISE(qemb_buffer_create(ctx, bytes ? bytes : 1, &out) == QEMB_OK);
    PROMISE(qemb_embedding_bag_forward(bag, batch, out) == QEMB_OK);
    PROMISE(bytes == 0 || qemb_buffer_read(out, 0, bytes, got) == QEMB_OK);
    for (int b = 0; b < bags; b++) {
        for (int c = 0; c < DIM; c++) {
            float want = element(r, table, begins[b], begins[b + 1], c);
            PROMISE(fuzz_same(&got[b * DIM + c], &want, 1));
        }
    }
    qemb_buffer_destroy(out);
}

int fuzz_batch(const uint8_t *bytes, size_t count) {
    static qemb_context *ctx;
    fuzz_stream s = {bytes, count};
    request r = {0};
    float table[ROWS * DIM];
    int64_t begins[MOST + 1];
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    PROMISE(ctx || qemb_context_create("reference", &ctx) == QEMB_OK);
    read_request(&s, &r);
    for (int i = 0; i < ROWS * DIM; i++) {
        table[i] = fuzz_float(&s);
    }
    const qemb_embedding_bag_desc desc = {.num_embeddings = ROWS,
                                          .embedding_dim = DIM,
                                          .qconfig = qemb_qconfig_float(),
                                          .weight = table,
                                          .mode = r.mode,
                                          .has_padding_idx = r.padding >= 0,
                                          .padding_idx = r.padding < 0 ? 0 : r.padding,
                                          .include_last_offset = r.include_last};
    PROMISE(qemb_embedding_bag_create(ctx, &desc, &bag) == QEMB_OK && qemb_batch_create(ctx, &batch) == QEMB_OK);
    qemb_status st = qemb_batch_set(batch, bag, &r.input);
    int bags = bounds(&r, begins);
    bool good = bags >= 0 && r.input.num_per_sample_weights <= r.input.num_indices, inside = true;
    for (int64_t i = 0; i < r.input.num_indices; i++) {
        inside = inside && index_at(&r, i) >= 0 && index_at(&r, i) < ROWS;
    }
    good = good && (inside || r.input.check != QEMB_CHECK);
    PROMISE(good == (st == QEMB_OK));
    PROMISE(st == QEMB_OK || qemb_last_error()[0] != '\0');
    if (st == QEMB_OK) {
        compare(&r, table, bag, batch, ctx, begins, bags);
    }
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    return 0;
}
