/* convert.h - from trained tables to packed ones, by training's own ranges or after the fact.
 *
 *   trained        the ranges that training used: no bit of any prediction changes
 *   row_minmax     a row's minimum and maximum; what PyTorch's and FBGEMM's packers do
 *   row_greedy     a row's range narrowed while the squared error falls (choose_qparams_optimized: 200 bins, ratio 0.16)
 *   table_minmax   one range for all rows of a table: its minimum and maximum [the post-training row of DQRM's tables]
 *   table_greedy   one range for a table, narrowed by the same search, the error taken from a histogram of 8192 bins */
#ifndef QEMB_DLRM_CONVERT_H
#define QEMB_DLRM_CONVERT_H

#include "dlrm/model.h"

typedef enum dlrm_conversion {
    DLRM_CONVERT_TRAINED = 0,
    DLRM_CONVERT_ROW_MINMAX,
    DLRM_CONVERT_ROW_GREEDY,
    DLRM_CONVERT_TABLE_MINMAX,
    DLRM_CONVERT_TABLE_GREEDY
} dlrm_conversion;

/* What a config's method asks for. */
dlrm_conversion dlrm_conversion_of(const dlrm_config *config);

/* Packs the model's tables at `bits` in the format of tables.h; tables packed before are dropped. bytes: of the packed rows. Waits. */
qemb_status dlrm_convert(dlrm_model *model, dlrm_conversion conversion, int32_t bits, int64_t *bytes);

/* The range of `table_greedy`: narrows [*low, *high], the minimum and maximum of values[count]. */
qemb_status dlrm_greedy_range(const float *values, int64_t count, int32_t bits, float *low, float *high);

#endif
