/* support_peer.h - the known bugs of the peers, by number: each has a test here, or names the test that it has elsewhere.
 *
 * The numbers are those of the list in tests/README.md: IX indices, OF offsets, OV large sizes, PD padding, weights, frequency and norm, DT
 * determinism, FP reduced precision, FQ fake quantisation. */
#ifndef QEMB_TESTS_SUPPORT_PEER_H
#define QEMB_TESTS_SUPPORT_PEER_H

#include <qemb/qemb.h>

typedef struct peer_bug {
    const char *id, *what;
    void (*test)(qemb_context *ctx); /* on every engine; NULL: elsewhere */
    const char *file, *elsewhere;    /* a test's file and words of it; without a file: why there is no test */
} peer_bug;

extern const peer_bug peer_lookups[], peer_numbers[];
extern const int peer_lookups_count, peer_numbers_count;

/* One module of one table, one batch, one forward. Rows of `weight` [rows][dim]. */
typedef struct peer_case {
    int64_t rows, dim;
    const float *weight;
    qemb_mode mode;
    bool unpooled, last, freq;
    int64_t padding;      /* 0: none, else padding_idx = padding - 1 */
    float max_norm;       /* 0: none */
    qemb_qconfig qconfig; /* all zero: float */
    const int64_t *ids;
    int64_t num_ids;
    const int64_t *offsets; /* NULL: columns */
    int64_t num_offsets, columns;
    const float *weights;
    qemb_check check;
} peer_case;

typedef struct peer_objects {
    qemb_embedding_bag *bag;
    qemb_embedding *embedding;
    qemb_batch *batch;
    qemb_buffer *out, *grad;
    int64_t outputs;
} peer_objects;

/* Makes the objects; the status of setting the batch, and of the forward if that was fine. Unless OK, out is checked to be untouched. */
qemb_status peer_forward(qemb_context *ctx, const peer_case *c, peer_objects *o);
void peer_close(peer_objects *o);

/* The outputs of a forward that must succeed. */
void peer_outputs(qemb_context *ctx, const peer_case *c, float *out, int64_t count);

/* The forward is refused with this status, and a good one of the same context is right afterwards. */
void peer_refused(qemb_context *ctx, const peer_case *c, qemb_status want);

/* Dense gradient of a forward for output gradients of 1, or those given. */
void peer_gradient(qemb_context *ctx, const peer_case *c, const float *grad, float *dense);

void peer_ok(qemb_status st, const char *what);
#define PEER_OK(call) peer_ok((call), #call)

#endif
