/* dlrm.h - a deep learning recommendation model [Naumov et al., arXiv 1906.00091] over qemb's tables, and nothing but public headers.
 *
 *   13 counts -> bottom MLP -> D numbers --+
 *   26 ids -> 26 bags of D columns --------+-> dot products of all pairs -> top MLP -> logit -> sigmoid
 *
 * The files, in the order in which they are best read:
 *   dlrm.h     errors                             score.h    AUC and log loss
 *   device.h   OpenCL objects, kernels, GEMM      data.h     click logs, real and generated: training part and test part
 *   mlp.h      dense layers                       train.h    epochs, progress, evaluation
 *   tables.h   the embeddings: this is qemb       save.h     checkpoints and converted models
 *   model.h    a step                             convert.h  from trained tables to packed ones
 *
 * Shapes and hyper-parameters are those of facebookresearch/dlrm, bench/dlrm_s_criteo_kaggle.sh. Nothing here prints. */
#ifndef QEMB_DLRM_DLRM_H
#define QEMB_DLRM_DLRM_H

#include <qemb/qemb.h>
#include <stdlib.h>

/* Records one sentence and returns the code. dlrm_last_error() is the sentence of the last failure, here or in the library. */
qemb_status dlrm_fail(qemb_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));
qemb_status dlrm_library_failed(qemb_status code);
const char *dlrm_last_error(void);

/* Each leaves by the label `done`, with st set: a call of this folder, a call of the library, a condition, new zeroed memory. */
#define DLRM_TRY(call)                                                                                                                     \
    do {                                                                                                                                   \
        st = (call);                                                                                                                       \
        if (st != QEMB_OK) {                                                                                                               \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)
#define DLRM_LIB(call)                                                                                                                     \
    do {                                                                                                                                   \
        st = (call);                                                                                                                       \
        if (st != QEMB_OK) {                                                                                                               \
            st = dlrm_library_failed(st);                                                                                                  \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)
#define DLRM_REQUIRE(condition, code, ...)                                                                                                 \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            st = dlrm_fail(code, __VA_ARGS__);                                                                                             \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)
#define DLRM_NEW(pointer, count)                                                                                                           \
    do {                                                                                                                                   \
        (pointer) = calloc((size_t)((count) > 0 ? (count) : 1), sizeof *(pointer));                                                        \
        DLRM_REQUIRE(pointer, QEMB_ERR_NOMEM, "dlrm: no memory for %lld x %zu bytes", (long long)(count), sizeof *(pointer));              \
    } while (0)

double dlrm_seconds(void); /* of a clock that never goes back */

#endif
