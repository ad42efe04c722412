/* model.h - a DLRM and its step. */
#ifndef QEMB_DLRM_MODEL_H
#define QEMB_DLRM_MODEL_H

#include <qemb/qemb_io.h>

#include "dlrm/mlp.h"
#include "dlrm/tables.h"

typedef enum dlrm_interaction { DLRM_DOT = 0, DLRM_CAT = 1 } dlrm_interaction;

/* qat: trained through fake quantisation. ptq, ptq-greedy: trained in float, converted by each row's minimum and maximum, or by PyTorch's
 * greedy search. per-table: DQRM's training. */
typedef enum dlrm_method { DLRM_QAT = 0, DLRM_PTQ = 1, DLRM_PTQ_GREEDY = 2, DLRM_PER_TABLE = 3 } dlrm_method;

/* Everything that decides what a model is and becomes, apart from its data. */
typedef struct dlrm_config {
    int32_t tables;                  /* the first of the 26 features; 26 */
    int64_t rows[QEMB_CLICK_SPARSE]; /* their sizes */
    int64_t dim;                     /* 16 */
    int bottom_layers, top_layers;   /* hidden ones: 512 256 64, then D; 512 256, then 1 */
    int64_t bottom[DLRM_MAX_LAYERS], top[DLRM_MAX_LAYERS];
    dlrm_interaction interaction;
    int32_t bits; /* 32, 8, 4, 2 */
    dlrm_method method;
    bool adagrad;  /* else SGD, of tables and layers */
    double lr;     /* 0.1; Adagrad 0.01 */
    int64_t batch; /* 128 */
    uint64_t seed;
} dlrm_config;

/* dlrm_s_criteo_kaggle.sh: rows are left to the caller. */
dlrm_config dlrm_config_kaggle(void);
int32_t dlrm_trained_bits(const dlrm_config *config); /* 32 for post-training methods */

enum { DLRM_LOSSES = 1024, DLRM_SLOTS = 2 };

/* Device time of sampled steps. */
typedef struct dlrm_times {
    double tables_seconds, layers_seconds; /* of `steps` steps */
    double tables_best, layers_best;       /* the shortest of a step: what a machine with other work says least wrongly */
    int64_t steps;
} dlrm_times;

/* Counts and labels of a batch on their way to the device. */
typedef struct dlrm_slot {
    float *staging; /* [capacity][13 + 1] */
    cl_mem dense, labels;
    cl_event done; /* the step that used it */
} dlrm_slot;

typedef struct dlrm_model {
    dlrm_config config;
    dlrm_device *device;
    int64_t capacity;
    dlrm_mlp bottom, top;
    dlrm_tables tables;
    cl_mem interaction, interaction_delta; /* [capacity][inputs of the top MLP] */
    cl_mem losses, loss_sums, predictions; /* [capacity], [DLRM_LOSSES], [capacity] */
    float *loss_copy;
    dlrm_slot slot[DLRM_SLOTS];
    int64_t steps, losses_read;
    cl_event mark[4]; /* of a step that is being timed: begin, tables' forward, layers, tables' step */
    dlrm_times times;
    double seconds; /* spent in dlrm_train_epoch */
} dlrm_model;

/* capacity: rows of the largest batch, in training or scoring. serve_only: tables come from a file (save.h). */
qemb_status dlrm_model_create(dlrm_device *device, const dlrm_config *config, int64_t capacity, bool serve_only, dlrm_model **model);
void dlrm_model_destroy(dlrm_model *model);

/* One step of training. Returns before the device is done; waits at most for the last but one step. */
qemb_status dlrm_model_train(dlrm_model *model, const qemb_click_batch *batch);

/* Adds the losses of the rows trained on since the last call to *sum, step after step. Waits. To be called at least every DLRM_LOSSES
 * steps. */
qemb_status dlrm_model_loss(dlrm_model *model, double *sum);

/* predictions[rows]: the chance of a click, with the trained tables or the packed ones. Waits. */
qemb_status dlrm_model_score(dlrm_model *model, bool packed, const qemb_click_batch *batch, float *predictions);

#endif
