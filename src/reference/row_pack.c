/* row_pack.c - float rows to packed rows and back, and packed rows to packed rows of another format. */
#include <string.h>

#include "reference/reference.h"

/* The bytes of a slab of packed rows. */
static q_u8 *bytes_of(const qemb__tables *s, int32_t slab) {
    return qemb__ref_data(s->slab[slab].weight);
}

static void note(const qemb__row_pack_args *args, int word, int64_t row) {
    q_u32 *status = qemb__ref_data(args->status);
    status[word] = (q_u32)row < status[word] ? (q_u32)row : status[word];
}

/* Writes codes and qparams of packed row `local` (within its slab). */
static void store_row(const q_table *d, q_u8 *slab, int64_t local, const float *x, const q_packing *k) {
    q_u8 *codes = slab + q_codes_of(d, local);
    const int32_t front = q_codes_at(d->layout);
    const int32_t qparams = d->layout == Q_PLANAR ? 0 : q_qparams_bytes(d->layout, d->bits, d->qparams);
    memset(codes, 0, (size_t)(d->row_bytes - front - (front ? 0 : qparams)));
    for (int32_t c = 0; c < d->dim; c++) {
        const int64_t bit = (int64_t)c * d->bits;
        codes[bit >> 3] = (q_u8)(codes[bit >> 3] | (q_u32)q_packing_code(x[c], *k) << (bit & 7));
    }
    q_store_qparams(d, slab + q_qparams_of(d, local), k->scale, k->bias);
}

/* The range that a method takes from source row `row`. */
static void range_of(const qemb__row_pack_args *args, int64_t row, int64_t i, float *min_val, float *max_val) {
    const q_table *t = &args->source->table[args->source_table];
    const q_state *stored = qemb__ref_state(args->source, args->source_table, row);
    const float lo = *min_val;
    const float hi = *max_val;
    if (args->method == Q_PACK_OBSERVER && stored) {
        q_state state = *stored;
        (void)q_catch_up(t->observer, t->averaging, lo, hi, qemb__table_observations(t, args->step), &state);
        *min_val = state.min_val;
        *max_val = state.max_val;
    } else if (args->method == Q_PACK_GREEDY) {
        q_greedy_range(qemb__ref_row(args->source, args->source_table, row), t->dim, args->target->table[args->table].bits, min_val,
                       max_val);
    } else if (args->method == Q_PACK_GIVEN) {
        const float *given = qemb__ref_data(args->ranges);
        *min_val = given[2 * i];
        *max_val = given[2 * i + 1];
    }
}

qemb_status qemb__ref_row_pack(qemb_context *ctx, const qemb__row_pack_args *args) {
    const q_table *t = &args->source->table[args->source_table];
    const q_table *d = &args->target->table[args->table];
    for (int64_t i = 0; i < args->count; i++) {
        const int64_t row = args->first + i;
        const float *x = qemb__ref_row(args->source, args->source_table, row);
        int64_t one = 1;
        int64_t local = 0;
        int32_t slab = 0;
        float min_val = 0.0f;
        float max_val = 0.0f;
        qemb__ref_range(x, t->dim, &min_val, &max_val);
        if (min_val != min_val) {
            note(args, Q_PACK_NONFINITE, i);
            continue;
        }
        range_of(args, row, i, &min_val, &max_val);
        const q_packing k = q_packing_of(t, d, args->method, min_val, max_val);
        if (!args->as_peer && !q_packing_finite(k)) {
            note(args, Q_PACK_INFINITE, i);
        }
        qemb__tables_locate(args->target, args->table, args->target_first + i, &one, &slab, &local);
        store_row(d, bytes_of(args->target, slab), local, x, &k);
    }
    ctx->counters.commands++;
    return QEMB_OK;
}

/* Values of packed row `row`: fma(scale, code, bias). */
static q_qparams read_row(const qemb__tables *s, int32_t table, int64_t row, float *values) {
    const q_table *t = &s->table[table];
    int64_t one = 1;
    int64_t local = 0;
    int32_t slab = 0;
    qemb__tables_locate(s, table, row, &one, &slab, &local);
    const q_qparams q = q_load_qparams(t, bytes_of(s, slab) + q_qparams_of(t, local));
    for (int32_t c = 0; c < t->dim; c++) {
        const float code = (float)q_load_code(bytes_of(s, slab) + q_codes_of(t, local), c, t->bits);
        values[c] = Q_FMA(q.scale, code, q.zero);
    }
    return q;
}

qemb_status qemb__ref_row_unpack(qemb_context *ctx, const qemb__row_unpack_args *args) {
    const int32_t dim = args->source->table[args->table].dim;
    float *values = qemb__ref_data(args->values);
    for (int64_t i = 0; i < args->count; i++) {
        (void)read_row(args->source, args->table, args->first + i, values + i * dim);
    }
    ctx->counters.commands++;
    return QEMB_OK;
}

qemb_status qemb__ref_row_convert(qemb_context *ctx, const qemb__row_unpack_args *args) {
    const q_table *from = &args->source->table[args->table];
    const q_table *to = &args->target->table[args->table];
    float *values = qemb__ref_data(args->values);
    q_u32 *status = qemb__ref_data(args->status);
    for (int64_t i = 0; i < args->count; i++) {
        int64_t one = 1;
        int64_t local = 0;
        int32_t slab = 0;
        float lo = 0.0f;
        float hi = 0.0f;
        const q_qparams q = read_row(args->source, args->table, args->first + i, values);
        q_packing k = {.scale = q.scale, .bias = q.zero, .qmax = (float)((1 << to->bits) - 1), .codes = {1.0f, 0.0f, 1.0f, 0}};
        qemb__tables_locate(args->target, args->table, args->first + i, &one, &slab, &local);
        if (q_same_values(from, to, q)) {
            int64_t at = 0;
            int32_t source_slab = 0;
            qemb__tables_locate(args->source, args->table, args->first + i, &one, &source_slab, &at);
            for (int32_t c = 0; c < from->dim; c++) {
                values[c] = (float)q_load_code(bytes_of(args->source, source_slab) + q_codes_of(from, at), c, from->bits);
            }
        } else {
            qemb__ref_range(values, from->dim, &lo, &hi);
            k = q_packing_of(from, to, Q_PACK_MINMAX, lo, hi);
            const int word = lo != lo ? Q_PACK_NONFINITE : Q_PACK_INFINITE;
            if (lo != lo || (!args->as_peer && !q_packing_finite(k))) {
                status[word] = (q_u32)i < status[word] ? (q_u32)i : status[word];
                continue;
            }
        }
        store_row(to, bytes_of(args->target, slab), local, values, &k);
    }
    ctx->counters.commands++;
    return QEMB_OK;
}
