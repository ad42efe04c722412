/* save.h - models in files (safetensors, qemb_io.h).
 *
 * A checkpoint holds the tables and their optimiser as qemb saves them, the layers under the names of facebookresearch/dlrm
 * (emb_l.T.weight, bot_l.K.weight, top_l.K.bias; K counts ReLUs too), their sums of squares, and two texts:
 *   dlrm            the config, and which data it is trained on
 *   dlrm_position   where training stands
 * A converted model holds packed tables and layers, the text `dlrm`, and `dlrm_trained`: the file name of its checkpoint.
 * The same state gives the same bytes. */
#ifndef QEMB_DLRM_SAVE_H
#define QEMB_DLRM_SAVE_H

#include "dlrm/train.h"

enum { DLRM_PATH = 4096 };

/* Atomic and durable: a killed save leaves the old file. */
qemb_status dlrm_save(dlrm_model *model, const dlrm_data_desc *data, const dlrm_position *position, const char *path);
qemb_status dlrm_save_packed(dlrm_model *model, const dlrm_data_desc *data, const char *checkpoint); /* to CHECKPOINT.packed */

/* What a file says of its model and data. `data` comes with the caller's path or number of planted rows, and leaves with the rest as it was
 * in training. checkpoint (or NULL, or DLRM_PATH bytes) becomes the path of the checkpoint of a converted model, "" for a checkpoint. */
qemb_status dlrm_saved_config(const char *path, dlrm_config *config, dlrm_data_desc *data, char *checkpoint);

/* Into a model that was created with the config of the file. resume takes tables, layers and position, and serve packed tables and layers. */
qemb_status dlrm_resume(dlrm_model *model, const char *path, dlrm_position *position);
qemb_status dlrm_serve(dlrm_model *model, const char *path);

#endif
