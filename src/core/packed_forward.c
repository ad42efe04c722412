/* packed_forward.c - checks a forward of packed tables and hands it to the engine. */
#include "core/packed.h"

qemb_status qemb_packed_forward(qemb_packed *p, qemb_batch *batch, qemb_buffer *out, qemb_dtype dtype) {
    if (!p || !batch || !out) {
        return qemb__fail(QEMB_ERR_ARG, "packed_forward: %s is NULL", !p ? "packed" : !batch ? "batch" : "out");
    }
    qemb_status st = qemb__enter(p->ctx, "packed_forward");
    if (st != QEMB_OK) {
        return st;
    }
    const qemb__tables *s = p->shape.tables;
    const size_t size = dtype == QEMB_FLOAT32 ? 4 : 2;
    REQUIRE(dtype == QEMB_FLOAT32 || dtype == QEMB_FLOAT16 || dtype == QEMB_BFLOAT16, QEMB_ERR_DTYPE,
            "packed_forward: dtype=%d, want QEMB_FLOAT32, QEMB_FLOAT16 or QEMB_BFLOAT16", (int)dtype);
    REQUIRE(batch->ctx == p->ctx && out->ctx == p->ctx, QEMB_ERR_ARG, "packed_forward: packed, batch and out are of different contexts");
    REQUIRE(batch->module == p->shape.serial, QEMB_ERR_STATE,
            "packed_forward: the batch was set for another module, or never (qemb_packed_batch_set)");
    const int64_t rows = p->shape.pooled ? batch->bags : batch->view.shape.lookups;
    const int64_t elements = rows * s->output_dim; /* below 2^31 bags of all features times 2^20 columns */
    REQUIRE(out->bytes / size >= (size_t)elements && out->offset % size == 0, QEMB_ERR_SHAPE,
            "packed_forward: out holds %zu bytes, want %lld elements of %zu (%lld x %lld)", out->bytes, (long long)elements, size,
            (long long)rows, (long long)s->output_dim);
    qemb__harmless(p->ctx);
    if (rows > 0) {
        qemb__packed_forward_args args = {s, &batch->view, p->maps, out, dtype};
        TRY(p->ctx->ops->packed_forward(p->ctx, &args));
    }
done:
    st = qemb__settle(p->ctx, st);
    qemb__leave(p->ctx);
    return st;
}
