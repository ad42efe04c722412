/* support_bag.h - runs one described bag_forward (tests/ops/bag_forward.h) on an engine, or on a model that shares no code with any.
 *
 * A run is a script: steps of lookups, between which switches turn and rows are rewritten, all from the seed of the case. What it gives
 * are the outputs of every step and the observer's four columns after every step. */
#ifndef QEMB_SUPPORT_BAG_H
#define QEMB_SUPPORT_BAG_H

#include "ops/bag_forward.h"

/* An engine with the knobs that must not change a bit. NULL: as it comes. */
typedef struct bag_engine {
    const char *label, *device, *family, *local, *allocation;
} bag_engine;

/* What operations are compared on; PoCL's pthread and basic are two devices of it. */
enum { BAG_REFERENCE, BAG_PTHREAD, BAG_BASIC, BAG_GPU, BAG_ENGINES, BAG_EVERYWHERE = (1 << BAG_ENGINES) - 1 };
extern const bag_engine bag_engines[BAG_ENGINES];

/* The reference engine and both kernel families, where one device is enough. */
enum { BAG_FAMILIES = 3 };
extern const bag_engine bag_families[BAG_FAMILIES];

/* Both PoCL devices in one process, and a context on an engine. Abort the test when there is none. */
void bag_pocl_devices(void);
qemb_context *bag_context(const bag_engine *engine);

/* The one context on an engine that all cases of a test share, from its first use to the end of the process: never to be destroyed. */
qemb_context *bag_kept_context(const bag_engine *engine);

typedef struct bag_result {
    float *out, *observer;
    int64_t out_count, observer_count;
} bag_result;
void bag_result_free(bag_result *result);

/* What happens before a step. */
typedef struct bag_event {
    int observer, fake_quant; /* -1 stays, 0 off, 1 on; of table `table`, -1 all */
    int32_t table;
    bool observe_all;
    int32_t write_table; /* -1 none */
    int64_t first, count;
} bag_event;
bag_event bag_event_of(const op_bag_forward *op, int64_t step);
qemb_status bag_apply_event(qemb_embedding_bag *bag, const op_bag_forward *op, int64_t step);

/* Initial values of a table (kind 0 normal, 1 awkward but finite, 2 with NaN and infinities), and those written at `step`. To be freed. */
float *bag_weights(const op_bag_forward *op, int64_t table, int64_t step);

/* The module of a case: for OP_MODE_NONE an embedding, and the bag that it is. */
qemb_status bag_module(qemb_context *ctx, const op_bag_forward *op, const float *const *weights, qemb_embedding **embedding,
                       qemb_embedding_bag **bag);

/* Runs the script, on a kept context where none is given. A call that fails fails the test, with the line of the case. */
bag_result bag_run(const bag_engine *engine, const op_bag_forward *op);
bag_result bag_run_in(qemb_context *ctx, const op_bag_forward *op);
bag_result bag_model(const op_bag_forward *op);

/* Equal bit for bit (a NaN is any NaN) or within tolerance * (|want| + 1e-30); fails the test with the line of the case. */
void bag_expect_same(const op_bag_forward *op, const char *who, const bag_result *got, const bag_result *want, double tolerance);
bool bag_same_bits(float a, float b);

/* The reference engine gives what the model gives, within tolerance; each engine whose bit is set gives the bits of the reference. */
void bag_check(const op_bag_forward *op, unsigned engines, double tolerance);

/* The case that $QEMB_CASE names, for reruns. */
bool bag_case_from_environment(op_bag_forward *op);

#endif
