/* replay.h - one case file, read; and what the parts of qemb-replay share.
 *
 * A case is a safetensors file: its metadata say how a module is built and how many steps it runs, its tensors are the inputs and the
 * expected results of each step. */
#ifndef QEMB_REPLAY_H
#define QEMB_REPLAY_H

#include <qemb/qemb.h>
#include <qemb/qemb_io.h>

typedef enum replay_verdict { REPLAY_PASS, REPLAY_FAIL, REPLAY_SKIP } replay_verdict;
typedef enum replay_op { REPLAY_EMBEDDING_BAG, REPLAY_EMBEDDING, REPLAY_PACK } replay_op;
typedef enum replay_optimizer { REPLAY_NONE, REPLAY_SGD, REPLAY_ADAGRAD, REPLAY_SPARSE_ADAM } replay_optimizer;

enum { REPLAY_WHY = 1024, REPLAY_GUARD = 64 };

/* A number that may be absent or `none`. */
typedef struct replay_number {
    bool given;
    double value;
} replay_number;

/* The metadata of a case. */
typedef struct replay_case {
    const qemb_safetensors *file;
    const char *name;
    int64_t op, mode, observer, optimizer, layout, expect_error, version; /* numbers of the words of a list */
    int64_t num_embeddings, embedding_dim, quant_min, quant_max, steps, bits;
    int64_t scale_grad_by_freq, sparse, include_last_offset, fake_quant_enabled;
    replay_number padding_idx, max_norm, norm_type, averaging_constant;
    replay_number disable_observer_after, enable_fake_quant_at;
    replay_number lr, momentum, eps, beta1, beta2;
} replay_case;

/* Why a case failed or was skipped; the first reason stays. */
typedef struct replay_report {
    replay_verdict verdict;
    int64_t comparisons; /* a case that compares nothing does not pass */
    char why[REPLAY_WHY];
} replay_report;

void replay_fail(replay_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
void replay_skip(replay_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- replay_case.c */
void replay_case_read(const qemb_safetensors *file, replay_case *c, replay_report *report);

/* A tensor of the case in memory of its own, aligned; data NULL when it is not there. To be freed by the caller. */
typedef struct replay_tensor {
    qemb_tensor_view view;
    void *data;
} replay_tensor;
replay_tensor replay_tensor_read(const replay_case *c, const char *name, replay_report *report);
/* The same for step `step`, part `part`. */
replay_tensor replay_tensor_step(const replay_case *c, int64_t step, const char *part, replay_report *report);

/* ---- replay_compare.c: |got - want| <= 1.3e-6 |want| + factor * max |want tensor|; factor < 0: equal as numbers */
enum { REPLAY_EXACT = -1 };
void replay_compare(const replay_case *c, const char *name, const float *got, int64_t count, double factor, replay_report *report);

/* ---- replay_lookup.c */
void replay_run_case(qemb_context *ctx, const replay_case *c, bool only_forward, replay_report *report);

#endif
