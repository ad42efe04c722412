/* fuzz_api.c - bytes as a program of calls: objects are made, used in any state with any arguments, and destroyed. Each call gives a
 * status, each refusal a sentence; nothing crashes, leaks or writes where it should not; results of a call that is refused stay NULL. */
#include "fuzz.h"

enum { SLOTS = 2, ROWS = 5, MOST = 64 };

typedef struct world {
    qemb_context *ctx;
    qemb_embedding_bag *bag[SLOTS];
    qemb_optimizer *optimizer[SLOTS]; /* of bag[same] */
    qemb_batch *batch[SLOTS];
    qemb_buffer *buffer[SLOTS];
    qemb_packed *packed[SLOTS];
} world;

static int64_t odd_number(fuzz_stream *s) {
    static const int64_t odd[] = {-1, 0, 1, 2, 3, 4, 5, 7, 64, -64, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, (int64_t)1 << 40, 6};
    uint8_t kind = fuzz_byte(s);
    return kind < 128 ? kind % 8 : odd[kind % 16];
}

static qemb_status expect(qemb_status st) {
    PROMISE(st <= QEMB_OK && (st == QEMB_OK || qemb_last_error()[0] != '\0'));
    PROMISE(strcmp(qemb_status_name(st), "") != 0);
    return st;
}

static void drop_bag(world *w, int k) {
    qemb_optimizer_destroy(w->optimizer[k]);
    w->optimizer[k] = NULL;
    qemb_embedding_bag_destroy(w->bag[k]);
    w->bag[k] = NULL;
}

static void make_bag(world *w, int k, fuzz_stream *s) {
    uint8_t flags = fuzz_byte(s);
    qemb_embedding_bag_desc d = {.num_embeddings = flags & 1 ? odd_number(s) : ROWS, .embedding_dim = flags & 2 ? odd_number(s) : 3};
    d.mode = (qemb_mode)fuzz_below(s, 4);
    d.has_padding_idx = flags & 4;
    d.padding_idx = d.has_padding_idx ? odd_number(s) : 0;
    d.has_max_norm = flags & 8;
    d.max_norm = flags & 8 ? fuzz_any_float(s) : 0;
    d.norm_type = flags & 8 ? fuzz_float(s) : 0;
    d.qconfig = flags & 16 ? qemb_qconfig_float() : flags & 32 ? qemb_qconfig_4bit() : qemb_qconfig_8bit();
    if (flags & 64) {
        d.qconfig.observer = (qemb_observer)fuzz_below(s, 4);
        d.qconfig.averaging_constant = fuzz_any_float(s);
        d.qconfig.arithmetic = (qemb_arithmetic)fuzz_below(s, 4);
        d.qconfig.layout = (qemb_layout)fuzz_below(s, 5);
        d.qconfig.quant_min = (int32_t)odd_number(s);
    }
    d.include_last_offset = flags & 128;
    if (d.num_embeddings > 1 << 16 || d.embedding_dim > 1 << 16) {
        d.num_embeddings = -1; /* no gigabytes here */
    }
    drop_bag(w, k);
    qemb_status st = expect(qemb_embedding_bag_create(flags == 255 ? NULL : w->ctx, flags == 254 ? NULL : &d, &w->bag[k]));
    PROMISE((st == QEMB_OK) == (w->bag[k] != NULL));
}

static void set_batch(world *w, int k, qemb_embedding_bag *bag, fuzz_stream *s) {
    int64_t indices[MOST], offsets[MOST];
    float weights[MOST];
    uint8_t flags = fuzz_byte(s);
    for (int i = 0; i < MOST; i++) {
        indices[i] = i < 8 ? odd_number(s) : i % ROWS;
        offsets[i] = i < 4 ? odd_number(s) : i;
        weights[i] = (float)i;
    }
    if (flags & 1) {
        memset(indices, 0, sizeof indices);
        for (int i = 0; i < MOST; i++) {
            offsets[i] = i;
        }
    }
    qemb_input in = {.indices = indices,
                     .num_indices = flags & 2 ? odd_number(s) : 8,
                     .indices_dtype = (qemb_dtype)(flags & 4 ? fuzz_below(s, 8) : QEMB_INT64),
                     .offsets = flags & 8 ? NULL : offsets,
                     .num_offsets = flags & 16 ? odd_number(s) : 3,
                     .columns = flags & 32 ? odd_number(s) : 2,
                     .per_sample_weights = flags & 64 ? weights : NULL,
                     .num_per_sample_weights = flags & 64 ? 8 : 0,
                     .check = (qemb_check)fuzz_below(s, 4)};
    in.num_indices = in.num_indices > MOST && in.num_indices < INT32_MAX ? MOST : in.num_indices;
    if (in.num_indices >= INT32_MAX && in.num_indices > 0) {
        in.num_indices = -1; /* the array is not that long */
    }
    in.num_offsets = in.num_offsets > MOST ? MOST : in.num_offsets;
    (void)expect(qemb_batch_set(w->batch[k], bag, &in));
    if (flags == 255) {
        (void)expect(qemb_batch_set(w->batch[k], bag, NULL));
    }
}

static void use_rows(world *w, int k, int call, fuzz_stream *s) {
    float values[64], more[64], scale[64], zero[64];
    int64_t first = odd_number(s), count = odd_number(s);
    int32_t table = (int32_t)odd_number(s);
    qemb_bag_info info = {0};
    qemb_table_desc desc;
    const qemb_observer_rows rows = {values, more, scale, zero};
    for (int i = 0; i < 64; i++) {
        values[i] = fuzz_any_float(s);
        more[i] = values[i] + 1;
    }
    int64_t dim = w->bag[k] && qemb_embedding_bag_info(w->bag[k], &info) == QEMB_OK ? info.output_dim : 1;
    bool fits = count <= 0 || first < 0 || count > (1 << 20) || count * dim <= 64; /* what is in range must fit the arrays here */
    if (!fits) {
        return;
    }
    switch (call) {
    case 0:
        (void)expect(qemb_embedding_bag_read_weight(w->bag[k], table, first, count, values));
        break;
    case 1:
        (void)expect(qemb_embedding_bag_write_weight(w->bag[k], table, first, count, values));
        break;
    case 2:
        (void)expect(qemb_embedding_bag_read_observer(w->bag[k], table, first, count, &rows));
        break;
    case 3:
        (void)expect(qemb_embedding_bag_write_observer(w->bag[k], table, first, count, values, more));
        break;
    case 4:
        (void)expect(qemb_embedding_bag_set_observer(w->bag[k], table, first & 1));
        break;
    case 5:
        (void)expect(qemb_embedding_bag_set_fake_quant(w->bag[k], table, first & 1));
        break;
    case 6:
        (void)expect(qemb_embedding_bag_set_schedule(w->bag[k], table, first, count));
        break;
    case 7:
        (void)expect(qemb_embedding_bag_fake_quantise(w->bag[k], table, first, count, w->buffer[k]));
        break;
    case 8:
        (void)expect(qemb_embedding_bag_observe_all(w->bag[k]));
        break;
    default:
        (void)expect(qemb_embedding_bag_table(w->bag[k], table, &desc));
        break;
    }
}

static void make_optimizer(world *w, int k, fuzz_stream *s) {
    qemb_optimizer_desc d = {.kind = (qemb_optimizer_kind)fuzz_below(s, 10), .lr = (double)fuzz_float(s), .eps = 1e-3};
    qemb_optimizer_destroy(w->optimizer[k]);
    w->optimizer[k] = NULL;
    qemb_status st = expect(qemb_optimizer_create(w->ctx, w->bag[k], &d, &w->optimizer[k]));
    PROMISE((st == QEMB_OK) == (w->optimizer[k] != NULL));
}

static void make_packed(world *w, int k, fuzz_stream *s) {
    const qemb_packed_desc d = {
        .format = {.layout = (qemb_layout)fuzz_below(s, 5), .bits = fuzz_below(s, 9), .qparams = (qemb_qparams)fuzz_below(s, 4)},
        .method = (qemb_pack_method)fuzz_below(s, 5),
        .flags = fuzz_byte(s) & 3u};
    qemb_packed_destroy(w->packed[k]);
    w->packed[k] = NULL;
    qemb_status st = expect(qemb_packed_create(w->bag[k], fuzz_byte(s) & 1 ? NULL : &d, &w->packed[k]));
    PROMISE((st == QEMB_OK) == (w->packed[k] != NULL));
}

static void use_packed(world *w, int k, int other, fuzz_stream *s) {
    qemb_packed_info info;
    qemb_packed_table table;
    const qemb_input in = {.indices = (const int64_t[]){0, 1, 0}, .num_indices = 3, .indices_dtype = QEMB_INT64, .columns = 1};
    (void)expect(qemb_packed_get_info(w->packed[k], &info));
    (void)expect(qemb_packed_get_table(w->packed[k], (int32_t)odd_number(s), &table));
    (void)expect(qemb_packed_batch_set(w->packed[k], w->batch[other], &in));
    (void)expect(qemb_packed_forward(w->packed[k], w->batch[k], w->buffer[other], (qemb_dtype)fuzz_below(s, 7)));
}

static void buffers(world *w, int k, int call, fuzz_stream *s) {
    uint8_t bytes[64] = {0};
    size_t at = (size_t)odd_number(s), count = (size_t)odd_number(s);
    size_t held = qemb_buffer_bytes(w->buffer[k]);
    if (call == 0) {
        qemb_buffer_destroy(w->buffer[k]);
        w->buffer[k] = NULL;
        size_t wanted = fuzz_byte(s) == 255 ? (size_t)odd_number(s) : (size_t)fuzz_byte(s) * 4;
        (void)expect(qemb_buffer_create(w->ctx, wanted > 1 << 20 && wanted < (size_t)1 << 60 ? 0 : wanted, &w->buffer[k]));
    } else if (at > held || count > held - at || count <= sizeof bytes) {
        (void)expect(call == 1 ? qemb_buffer_write(w->buffer[k], at, count, bytes) : qemb_buffer_read(w->buffer[k], at, count, bytes));
    }
}

static void small_call(world *w, int k, int call, fuzz_stream *s) {
    switch (call) {
    case 21:
        make_packed(w, k, s);
        break;
    case 23:
        (void)expect(qemb_batch_status(w->batch[k], NULL));
        break;
    case 24:
        (void)expect(qemb_context_finish(w->ctx));
        break;
    case 25:
        (void)expect(qemb_optimizer_set_steps(w->optimizer[k], odd_number(s)));
        break;
    default:
        (void)expect(qemb_context_finish(NULL));
        break;
    }
}

static void one_call(world *w, fuzz_stream *s) {
    int call = fuzz_below(s, 28), k = fuzz_below(s, SLOTS), other = fuzz_below(s, SLOTS);
    const qemb_gradients want = {
        .table = (int32_t)odd_number(s), .dense = call == 15 ? w->buffer[0] : NULL, .per_sample_weights = call == 16 ? w->buffer[1] : NULL};
    switch (call) {
    case 0:
        make_bag(w, k, s);
        break;
    case 1:
        drop_bag(w, k);
        break;
    case 2:
        qemb_batch_destroy(w->batch[k]);
        w->batch[k] = NULL;
        (void)expect(qemb_batch_create(fuzz_byte(s) == 255 ? NULL : w->ctx, &w->batch[k]));
        break;
    case 3:
    case 4:
        set_batch(w, k, w->bag[other], s);
        break;
    case 5:
    case 6:
    case 7:
        buffers(w, k, call - 5, s);
        break;
    case 8:
    case 9:
        (void)expect(qemb_embedding_bag_forward(w->bag[k], w->batch[other], w->buffer[other]));
        break;
    case 10:
        make_optimizer(w, k, s);
        break;
    case 11:
    case 12:
        (void)expect(qemb_embedding_bag_step(w->bag[k], w->batch[other], w->buffer[other], w->optimizer[fuzz_below(s, SLOTS)]));
        break;
    case 13:
        (void)expect(qemb_optimizer_set_lr(w->optimizer[k], (double)fuzz_any_float(s)));
        break;
    case 14:
    case 15:
    case 16:
        (void)expect(qemb_embedding_bag_backward(w->bag[k], w->batch[other], w->buffer[1 - other], &want));
        break;
    case 17:
    case 18:
    case 19:
    case 20:
        use_rows(w, k, fuzz_below(s, 10), s);
        break;
    case 22:
        use_packed(w, k, other, s);
        break;
    default:
        small_call(w, k, call, s);
        break;
    }
}

int fuzz_api(const uint8_t *bytes, size_t count) {
    fuzz_stream s = {bytes, count};
    world w = {0};
    PROMISE(qemb_context_create("reference", &w.ctx) == QEMB_OK);
    for (int calls = 0; s.left && calls < 100; calls++) {
        one_call(&w, &s);
    }
    for (int k = 0; k < SLOTS; k++) {
        qemb_packed_destroy(w.packed[k]);
        drop_bag(&w, k);
        qemb_batch_destroy(w.batch[k]);
        qemb_buffer_destroy(w.buffer[k]);
    }
    qemb_context_destroy(w.ctx);
    return 0;
}
