/* save_text.h - the texts `dlrm` and `dlrm_position` of a saved model: JSON, reals with 17 digits so that they come back as they were. */
#ifndef QEMB_DLRM_SAVE_TEXT_H
#define QEMB_DLRM_SAVE_TEXT_H

#include "dlrm/train.h"

/* To be freed by the caller; NULL without memory. */
char *dlrm_config_text(const dlrm_config *config, const dlrm_data_desc *data);
char *dlrm_position_text(const dlrm_position *position, int64_t steps);

/* A text that does not parse, or holds what no model has, is CORRUPT. path is for the sentence. */
qemb_status dlrm_config_parse(const char *path, const char *text, dlrm_config *config, dlrm_data_desc *data);
qemb_status dlrm_position_parse(const char *path, const char *text, dlrm_position *position, int64_t *steps);

#endif
