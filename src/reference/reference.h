/* reference.h - what the files of the reference engine share: the row of a table, its qparams, its values.
 *
 * Plain C11, no threads, no intrinsics: the oracle of every other engine. */
#ifndef QEMB_REFERENCE_REFERENCE_H
#define QEMB_REFERENCE_REFERENCE_H

#include "core/ops.h"
#include "core/tables.h"

#define QV float
#include "kernels_cl/shared/math.h"
#include "kernels_cl/shared/row_layout.h"
#include "kernels_cl/shared/fake_quant.h"
#include "kernels_cl/shared/row_quantise.h"

/* Row `row` of a table: its weights, its observer state (NULL if the table keeps none). */
float *qemb__ref_row(const qemb__tables *tables, int32_t table, int64_t row);
q_state *qemb__ref_state(const qemb__tables *tables, int32_t table, int64_t row);

/* Range of a row: +0.0 added to both ends; NaN for both when the row holds NaN or inf. */
void qemb__ref_range(const float *x, int32_t dim, float *lo, float *hi);

/* Qparams in force for a row at forward `step`: from the row alone, or from its state caught up (not stored). */
q_qparams qemb__ref_qparams(const qemb__tables *tables, int32_t table, int64_t row, int64_t step);

/* Clips values[0..dim) to a table's max_norm; `values` has room for three rows (the tree runs behind them). */
void qemb__ref_clip(const q_table *table, float *values);

/* What a lookup of this row gives at forward `step`, before pooling: fake-quantised and clipped to max_norm as the table says. */
void qemb__ref_lookup(const qemb__tables *tables, int32_t table, int64_t row, int64_t step, float *values);

/* sum_c f(x[c]) as every engine adds along D: padded with zeros to a power of two, halved with c + P/2 until one is left. `work` has
 * room for the padded length; x is in work[0..dim). */
float qemb__ref_tree_sum(float *work, int32_t dim);

/* Positions of bag g (over all features) of a batch. */
void qemb__ref_bag(const qemb__batch_view *batch, int64_t g, int64_t *begin, int64_t *end);
int64_t qemb__ref_index(const qemb__batch_view *batch, int64_t position);

/* True when a device-input check has failed: the operation does nothing. */
bool qemb__ref_refused(const qemb__batch_view *batch);

/* First byte of a buffer. */
void *qemb__ref_data(const qemb_buffer *buffer);

/* One file a stem (core/ops.h lists them). */
#define QEMB__DECLARE(name, type) qemb_status qemb__ref_##name(qemb_context *ctx, const type *args);
QEMB__OPERATIONS(QEMB__DECLARE)
#undef QEMB__DECLARE

#endif
