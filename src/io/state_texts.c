/* state_texts.c - see state_texts.h. Words are the enums of qemb.h in their order. */
#include "io/state_texts.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { ROWS = INT32_MAX };

const char *const qemb__module_keys[QEMB__NUM_KEYS] = {
    "weight",
    "weight_fake_quant.fake_quant_enabled",
    "weight_fake_quant.observer_enabled",
    "weight_fake_quant.scale",
    "weight_fake_quant.zero_point",
    "weight_fake_quant.activation_post_process.eps",
    "weight_fake_quant.activation_post_process.min_val",
    "weight_fake_quant.activation_post_process.max_val",
};

static const char *const modes[] = {"mean", "sum", "max", NULL};
static const char *const observers[] = {"moving_average", "min_max", "memoryless", NULL};
static const char *const arithmetics[] = {"torch_cpu", "torch_cuda", "packed", NULL};
static const char *const layouts[] = {"torch_rowwise", "rowwise_half", "fbgemm", "planar", NULL};
static const char *const qparams[] = {"fp32", "bf16", "pow2", NULL};
static const char *const kinds[] = {"sgd",      "adagrad", "rowwise_adagrad", "sparse_adam", "adam", "partial_rowwise_adam", "lamb",
                                    "lars_sgd", NULL};
static const char *const clips[] = {"none", "value", "norm", NULL};
static const char *const decays[] = {"l2", "decoupled", NULL};
static const char *const forms[] = {"touched", "dense", NULL};

#define AT(type, member) #member, offsetof(type, member)
#define INTEGER(type, member, low, high)                                                                                                   \
    { AT(type, member), QEMB__FIELD_INTEGER, low, high, NULL }
#define FLAG(type, member) INTEGER(type, member, 0, 1)
#define WORD(type, member, words)                                                                                                          \
    { AT(type, member), QEMB__FIELD_WORD, 0, 0, words }
#define REAL(type, member)                                                                                                                 \
    { AT(type, member), QEMB__FIELD_REAL, 0, 0, NULL }
#define TEXT(type, member)                                                                                                                 \
    { AT(type, member), QEMB__FIELD_TEXT, 0, 0, NULL }
#define COUNT INT64_MAX / 4

#define T qemb__object_text
/* clang-format off */
const qemb__field qemb__object_fields[] = {
    INTEGER(T, tables, 1, ROWS), INTEGER(T, output_dim, 1, COUNT), WORD(T, mode, modes), FLAG(T, pooled), FLAG(T, include_last_offset),
    FLAG(T, scale_grad_by_freq), FLAG(T, sparse), TEXT(T, features), {0},
};
/* clang-format on */
#undef T

#define T qemb__table_text
/* clang-format off */
const qemb__field qemb__table_fields[] = {
    INTEGER(T, table, 0, ROWS), INTEGER(T, forwards, 0, COUNT), INTEGER(T, observations, 0, COUNT), INTEGER(T, fake_quant_from, 0, INT64_MAX),
    INTEGER(T, observer_until, 0, INT64_MAX), INTEGER(T, quant_min, -128, 0), INTEGER(T, quant_max, 0, 255), WORD(T, observer, observers),
    WORD(T, arithmetic, arithmetics), WORD(T, layout, layouts), WORD(T, qparams, qparams), FLAG(T, symmetric), FLAG(T, has_padding_idx),
    INTEGER(T, padding_idx, 0, COUNT), FLAG(T, has_max_norm), REAL(T, averaging_constant), REAL(T, max_norm), REAL(T, norm_type), TEXT(T, name), {0},
};
/* clang-format on */
#undef T

#define T qemb__optimizer_text
/* clang-format off */
const qemb__field qemb__optimizer_fields[] = {
    WORD(T, kind, kinds), WORD(T, clip, clips), WORD(T, decay, decays), WORD(T, form, forms), FLAG(T, nesterov), FLAG(T, maximize), REAL(T, lr),
    REAL(T, momentum), REAL(T, dampening), REAL(T, weight_decay), REAL(T, lr_decay), REAL(T, initial_accumulator_value), REAL(T, eps),
    REAL(T, beta1), REAL(T, beta2), REAL(T, max_norm), REAL(T, trust), REAL(T, clip_limit), {0},
};
/* clang-format on */
#undef T

#define T qemb__packed_text
/* clang-format off */
const qemb__field qemb__packed_fields[] = {
    WORD(T, layout, layouts), INTEGER(T, bits, 2, 8), WORD(T, qparams, qparams), FLAG(T, symmetric), INTEGER(T, row_alignment, 0, 16),
    INTEGER(T, num_embeddings, 1, COUNT), INTEGER(T, embedding_dim, 1, 1 << 20), INTEGER(T, num_rows, 0, COUNT), FLAG(T, pruned),
    FLAG(T, has_padding_idx), INTEGER(T, padding_idx, 0, COUNT), FLAG(T, has_max_norm), REAL(T, max_norm), REAL(T, norm_type), TEXT(T, name), {0},
};
/* clang-format on */
#undef T

void qemb__optimizer_text_of(const qemb_optimizer_desc *d, qemb__optimizer_text *text) {
    *text = (qemb__optimizer_text){.kind = d->kind,
                                   .clip = d->clip,
                                   .decay = d->decay,
                                   .form = d->form,
                                   .nesterov = d->nesterov,
                                   .maximize = d->maximize,
                                   .lr = d->lr,
                                   .momentum = d->momentum,
                                   .dampening = d->dampening,
                                   .weight_decay = d->weight_decay,
                                   .lr_decay = d->lr_decay,
                                   .initial_accumulator_value = d->initial_accumulator_value,
                                   .eps = d->eps,
                                   .beta1 = d->beta1,
                                   .beta2 = d->beta2,
                                   .max_norm = d->max_norm,
                                   .trust = d->trust,
                                   .clip_limit = d->clip_limit};
}

qemb_status qemb__state_key(const char *prefix, const char *name, const char *key, char **out) {
    const size_t length = strlen(prefix) + (name ? strlen(name) + 1 : 0) + strlen(key) + 1;
    void *block = NULL;
    qemb_status st = qemb__calloc((int64_t)length, 1, &block);
    if (st == QEMB_OK) {
        (void)snprintf(block, length, "%s%s%s%s", prefix, name ? name : "", name ? "." : "", key);
        *out = block;
    }
    return st;
}
