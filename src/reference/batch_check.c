/* batch_check.c - device input of the reference engine, checked as the kernel does. */
#include "reference/reference.h"

static int64_t offset_at(const qemb__batch_view *b, int64_t i) {
    const void *offsets = qemb__ref_data(b->offsets);
    return b->offsets_64 ? ((const int64_t *)offsets)[i] : ((const int32_t *)offsets)[i];
}

static q_u32 first_bad_offset(const qemb__batch_check_args *args) {
    const qemb__batch_view *b = args->batch;
    int64_t before = 0;
    for (int64_t i = 0; b->offsets && i < b->shape.num_offsets; i++) {
        int64_t value = offset_at(b, i);
        bool is_end = i == args->bags; /* include_last_offset */
        if (value < before || value > b->shape.lookups || (i == 0 && value != 0) || (is_end && value != b->shape.lookups)) {
            return (q_u32)i;
        }
        before = value;
    }
    return Q_NO_ERROR;
}

qemb_status qemb__ref_batch_check(qemb_context *ctx, const qemb__batch_check_args *args) {
    const qemb__batch_view *b = args->batch;
    q_u32 *words = qemb__ref_data(b->status);
    (void)ctx;
    words[Q_STATUS_OFFSET] = first_bad_offset(args);
    if (words[Q_STATUS_OFFSET] != Q_NO_ERROR || args->check == QEMB_TRUST) {
        return QEMB_OK;
    }
    for (int32_t k = 0; k < args->tables->num_features; k++) {
        const q_feature *f = &args->tables->feature[k];
        for (int64_t bag = 0; bag < b->shape.bags; bag++) {
            int64_t begin = 0;
            int64_t end = 0;
            qemb__ref_bag(b, f->index * b->shape.bags + bag, &begin, &end);
            for (int64_t p = begin; p < end; p++) {
                if ((uint64_t)qemb__ref_index(b, p) < (uint64_t)args->tables->table[f->table].rows) {
                    continue;
                }
                if (args->check == QEMB_SKIP) {
                    words[Q_STATUS_SKIPS]++;
                } else if ((q_u32)p < words[Q_STATUS_INDEX]) {
                    words[Q_STATUS_INDEX] = (q_u32)p;
                }
            }
        }
    }
    return QEMB_OK;
}
