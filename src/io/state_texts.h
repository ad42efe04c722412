/* state_texts.h - the metadata texts of saved modules, optimisers and packed tables, and the names of their tensors. */
#ifndef QEMB_IO_STATE_TEXTS_H
#define QEMB_IO_STATE_TEXTS_H

#include <qemb/qemb_io.h>

#include "io/fields.h"

/* Keys: a prefix, then one of these; a table's name and "." between them where a module has several. */
#define QEMB__KEY_MODULE    "qemb_module"
#define QEMB__KEY_TABLE     "qemb_table"
#define QEMB__KEY_OPTIMIZER "qemb_optimizer"
#define QEMB__KEY_PACKED    "qemb_packed"

/* Tensors of a module's table, in torch's order. */
enum { QEMB__WEIGHT, QEMB__FAKE_QUANT, QEMB__OBSERVER, QEMB__SCALE, QEMB__ZERO_POINT, QEMB__EPS, QEMB__MIN, QEMB__MAX, QEMB__NUM_KEYS };
extern const char *const qemb__module_keys[QEMB__NUM_KEYS];

/* "qemb_module" and "qemb_packed": what all tables of an object share. */
typedef struct qemb__object_text {
    int64_t tables, output_dim, mode, pooled, include_last_offset, scale_grad_by_freq, sparse;
    const char *features; /* "0,1,1": table of each feature; "": each its own */
} qemb__object_text;
extern const qemb__field qemb__object_fields[];

/* "qemb_table": counters, switches to come, qconfig, options. */
typedef struct qemb__table_text {
    int64_t table; /* its number in the module */
    int64_t forwards, observations, fake_quant_from, observer_until;
    int64_t quant_min, quant_max, observer, arithmetic, layout, qparams, symmetric;
    int64_t has_padding_idx, padding_idx, has_max_norm;
    double averaging_constant, max_norm, norm_type;
    const char *name;
} qemb__table_text;
extern const qemb__field qemb__table_fields[];

typedef struct qemb__optimizer_text {
    int64_t kind, clip, decay, form, nesterov, maximize;
    double lr, momentum, dampening, weight_decay, lr_decay, initial_accumulator_value, eps, beta1, beta2, max_norm, trust, clip_limit;
} qemb__optimizer_text;
extern const qemb__field qemb__optimizer_fields[];
void qemb__optimizer_text_of(const qemb_optimizer_desc *desc, qemb__optimizer_text *text);

typedef struct qemb__packed_text {
    int64_t layout, bits, qparams, symmetric, row_alignment;
    int64_t num_embeddings, embedding_dim, num_rows, pruned;
    int64_t has_padding_idx, padding_idx, has_max_norm;
    double max_norm, norm_type;
    const char *name;
} qemb__packed_text;
extern const qemb__field qemb__packed_fields[];

/* prefix + name + "." + key for one of several tables, prefix + key where name is NULL. To be freed. */
qemb_status qemb__state_key(const char *prefix, const char *name, const char *key, char **out);

#endif
