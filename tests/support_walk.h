/* support_walk.h - one walk over the whole API in small steps, and what a caller can see on the way.
 *
 * A step makes one call that changes something (or makes one object), and can be tried again when it failed. What steps read goes to the
 * tape. A snapshot is everything visible: weights, observers, optimiser state, buffers, infos. Whoever injects faults knows from tape and
 * snapshots whether a failed call changed anything, and whether the next one is right. */
#ifndef QEMB_TESTS_SUPPORT_WALK_H
#define QEMB_TESTS_SUPPORT_WALK_H

#include <qemb/qemb.h>

enum { WALK_TABLES = 9, WALK_OUTS = 4, WALK_PARTS = 96 };

typedef struct walk {
    const char *device;
    const char *folder; /* for files */
    bool opencl;
    qemb_context *ctx, *second;
    qemb_buffer *table[WALK_TABLES];       /* the caller's memory, in two groups of slabs */
    qemb_buffer *out[WALK_OUTS], *grad[3]; /* of bag, collection, embedding; packed */
    qemb_buffer *dense, *coo_indices, *coo_values, *coo_count, *weights_grad, *ids, *offsets, *window;
    qemb_embedding_bag *bag, *collection, *qat, *plain; /* qat: from_float of plain, plain: to_float of bag */
    qemb_embedding *embedding;                          /* float, with max_norm: forwards clip its weights */
    qemb_batch *batch[WALK_OUTS], *device_batch;
    qemb_optimizer *sgd, *adam;
    qemb_packed *packed, *imported, *converted;
    void *event; /* cl_event */
    uint64_t tape;
} walk;

typedef struct walk_step {
    const char *name;
    qemb_status (*run)(walk *w);
    bool opencl;  /* the reference engine has no such call */
    bool several; /* makes several calls: what those before the refused one did stays */
} walk_step;

extern const walk_step walk_steps[];
extern const int walk_step_count;

/* Hashes of all that is visible, named; false when something could not be read (the sentence says why). */
typedef struct walk_snapshot {
    uint64_t hash[WALK_PARTS];
    char name[WALK_PARTS][24];
    int count;
} walk_snapshot;
bool walk_look(walk *w, walk_snapshot *snapshot);

/* The first part that differs, or NULL. */
const char *walk_difference(const walk_snapshot *a, const walk_snapshot *b);

/* Destroys everything. */
void walk_close(walk *w);

#endif
