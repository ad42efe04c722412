/* test_fault_calls.c - every call inside the library that returns a status fails, by every way to it, on both engines and in files.
 *
 * Faults of memory, of OpenCL and of the system come out of the lowest functions; what lies between them and the caller is reached by them
 * as far as something below can fail. Here the linker bends the calls themselves (--wrap, faulty/calls.awk): a function says NOMEM before
 * it has done anything. The oracle is the torture's: refused, unchanged or lost, and right afterwards; of files: refused, and no file. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>
#include <qemb/qemb_io.h>
#include <qemb/qemb_opencl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "core/ops.h"
#include "scoreboard.h"
#include "support_files.h"
#include "support_layer.h"
#include "support_torture.h"

static _Thread_local struct {
    int depth; /* of public calls */
    bool recording;
    torture_counter counter;
    const char *name; /* of the call that failed first since it was armed */
} control;
static support_stacks ways;

/* Whether this call of the library's is the one. */
static bool fails(const char *name) {
    if (control.depth == 0) {
        return false;
    }
    if (control.recording) {
        support_stack_note(&ways);
    }
    const bool now = torture_counts(&control.counter);
    control.name = now && control.counter.failed == 1 ? name : control.name;
    return now;
}

static qemb_status planted(const char *name) {
    return qemb__fail(QEMB_ERR_NOMEM, "planted in %s", name);
}

/* ---- the engine ----------------------------------------------------------------------------------------------------------------- */

/* An engine's table of operations, each of which can be made to fail, in front of the engine's own. */
typedef struct bent_engine {
    qemb__ops ops; /* first: what a context has */
    const qemb__ops *real;
} bent_engine;

static const qemb__ops *real_ops(const qemb_context *ctx) {
    return ((const bent_engine *)ctx->ops)->real;
}

#define BENT(name, parameters, ctx, ...)                                                                                                   \
    static qemb_status bent_##name parameters {                                                                                            \
        return fails("ops->" #name) ? planted(#name) : real_ops(ctx)->name(__VA_ARGS__);                                                   \
    }
BENT(finish, (qemb_context * ctx), ctx, ctx)
BENT(buffer_create, (qemb_buffer * b), b->ctx, b)
BENT(buffer_borrow, (qemb_buffer * b), b->ctx, b)
BENT(buffer_write, (qemb_buffer * b, size_t offset, size_t bytes, const void *from, bool wait), b->ctx, b, offset, bytes, from, wait)
BENT(buffer_read, (qemb_buffer * b, size_t offset, size_t bytes, void *to, bool wait), b->ctx, b, offset, bytes, to, wait)
BENT(buffer_upload, (qemb_buffer * b, size_t bytes, const void *from, void **fence), b->ctx, b, bytes, from, fence)
BENT(fence_wait, (qemb_context * ctx, void **fence), ctx, ctx, fence)
BENT(buffer_copy, (qemb_buffer * to, size_t to_offset, qemb_buffer *from, size_t from_offset, size_t bytes), to->ctx, to, to_offset, from,
     from_offset, bytes)
#define X(name, type) BENT(name, (qemb_context * ctx, const type *args), ctx, ctx, args)
QEMB__OPERATIONS(X)
#undef X
BENT(prepare, (qemb_context * ctx, const qemb__tables *tables), ctx, ctx, tables)
BENT(row_update_prepare, (qemb_context * ctx, const qemb__row_update_args *args), ctx, ctx, args)
BENT(packed_prepare, (qemb_context * ctx, const qemb__tables *tables, bool mapped), ctx, ctx, tables, mapped)

/* What an engine that was opened gets. */
static void bend_engine(qemb_context *ctx, qemb_status opened) {
    static bent_engine engines[2];
    if (opened != QEMB_OK) {
        return;
    }
    bent_engine *e = &engines[strcmp(ctx->ops->name, "reference") == 0];
    e->real = ctx->ops;
    e->ops = *ctx->ops;
#define BEND(name)    e->ops.name = e->ops.name ? bent_##name : NULL
#define X(name, type) BEND(name);
    QEMB__OPERATIONS(X)
#undef X
    BEND(finish);
    BEND(buffer_create);
    BEND(buffer_borrow);
    BEND(buffer_write);
    BEND(buffer_read);
    BEND(buffer_upload);
    BEND(fence_wait);
    BEND(buffer_copy);
    BEND(prepare);
    BEND(row_update_prepare);
    BEND(packed_prepare);
#undef BEND
    ctx->ops = &e->ops;
}

#define depth control.depth
#include "fault_calls.inc"
#undef depth

/* ---- the walk over the API ---------------------------------------------------------------------------------------------------- */

static void arm(int64_t at, int code, torture_mode mode) {
    (void)code;
    torture_arm(&control.counter, at, mode);
}

static bool disarm(void) {
    return torture_disarm(&control.counter);
}

static int codes(void) {
    return 1;
}

static bool right(qemb_status st, torture_mode mode) {
    /* a loader that cannot be had is no device, and what makes no format is not in order, whatever the reason */
    static const struct {
        const char *name;
        qemb_status st;
    } translated[] = {
        {"qemb__cl_load", QEMB_ERR_DEVICE}, {"qemb__check_layout", QEMB_ERR_CORRUPT}, {"qemb_packed_row_bytes", QEMB_ERR_CORRUPT}};
    bool fine = st == QEMB_ERR_NOMEM;
    for (size_t i = 0; i < sizeof translated / sizeof *translated; i++) {
        fine = fine || (st == translated[i].st && strcmp(control.name, translated[i].name) == 0);
    }
    (void)mode;
    return fine;
}

static const char *site(void) {
    static char text[120];
    (void)snprintf(text, sizeof text, "call %lld inside (%s)%s", (long long)control.counter.at, control.name ? control.name : "",
                   control.counter.for_good ? " and all after it" : "");
    return text;
}

static const char *leaks(void) {
    return NULL; /* test_fault_memory counts */
}

static const support_stacks *record(bool on, torture_mode mode) {
    static const support_stacks none;
    if (on) {
        ways.count = 0;
    }
    control.recording = on;
    return mode == TORTURE_ASYNCHRONOUS ? &none : &ways;
}

static void run(const char *device, const char *label, int stride) {
    static const torture_faults faults = {arm, disarm, codes, right, site, leaks, record, false};
    torture_report report = {0};
    const walk start = {.device = device, .folder = support_path("."), .opencl = strcmp(device, "reference") != 0};
    torture(&start, &faults, &(torture_bounds){torture_all_ways() ? 1 : stride, 1, true, true}, &report);
    (void)printf("%s: %lld failed calls, %lld refused, %lld absorbed, %lld contexts lost, %lld walks\n", label, (long long)report.injected,
                 (long long)report.refused, (long long)report.absorbed, (long long)report.lost, (long long)report.walks);
    scoreboard("R6", report.harmed == 0, label, "%lld failed calls inside survived, %lld harmed",
               (long long)(report.injected - report.harmed), (long long)report.harmed);
    cr_assert_eq(report.harmed, 0, "%lld times harmed:%s", (long long)report.harmed, report.text);
    cr_assert_gt(report.injected, 20);
}

TestSuite(fault_calls, .init = support_folder_create, .fini = support_folder_remove, .timeout = 1200);

Test(fault_calls, reference, .description = "fault_calls: any call inside fails on the reference engine: NOMEM, unchanged or lost") {
    run("reference", "reference engine", 7);
}

Test(fault_calls, opencl, .description = "fault_calls: any call inside fails on OpenCL: NOMEM, unchanged or lost") {
    (void)support_layer_open();
    run("opencl", "OpenCL engine", 101);
}

/* ---- files -------------------------------------------------------------------------------------------------------------------- */

/* Repeats `work` with one way to a call inside after the other failing; no file of its may be left. */
static void fail_everywhere(const char *what, qemb_status (*work)(void), int least) {
    static uint64_t seen[SUPPORT_STACKS];
    static support_stacks noted;
    int64_t count = 0, failed = 0;
    (void)record(true, TORTURE_ONCE);
    cr_assert_eq(work(), QEMB_OK, "%s: %s", what, qemb_last_error());
    noted = *record(false, TORTURE_ONCE);
    for (int64_t at = 1; at <= noted.count && at <= SUPPORT_STACKS; at++) {
        int64_t k = 0;
        while (k < count && seen[k] != noted.stack[at - 1]) {
            k++;
        }
        if (k < count) {
            continue;
        }
        seen[count++] = noted.stack[at - 1];
        arm(at, 0, count % 2 ? TORTURE_ONCE : TORTURE_FOR_GOOD);
        const qemb_status st = work();
        cr_expect(!disarm() || right(st, TORTURE_ONCE), "%s, %s: %s, %s", what, site(), qemb_status_name(st), qemb_last_error());
        cr_expect_eq(support_count_files(".tmp."), 0, "%s, %s: a file is left", what, site());
        failed += control.counter.failed > 0;
    }
    (void)printf("%s: %lld ways of %lld calls\n", what, (long long)failed, (long long)noted.count);
    cr_expect_geq(failed, least, "%s", what);
}

enum { ROWS = 97, BATCH = 16 };

static qemb_status generate(void) {
    qemb_click_generator *generator = NULL;
    qemb_click_report report;
    static int32_t ids[BATCH * QEMB_CLICK_SPARSE];
    qemb_status st = qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001}, &generator);
    st = st == QEMB_OK ? qemb_click_generator_write(generator, support_path("log"), 0, ROWS, NULL, NULL, &report) : st;
    st = st == QEMB_OK ? qemb_click_generator_rows(generator, 5, BATCH, ids, NULL, NULL, NULL) : st;
    st = st == QEMB_OK ? qemb_click_generator_score(generator, 0, ROWS, &report) : st;
    qemb_click_generator_destroy(generator);
    return st;
}

static qemb_status read_log(void) {
    static int32_t ids[BATCH * QEMB_CLICK_SPARSE];
    qemb_click_reader *reader = NULL;
    int64_t rows = 1;
    qemb_status st = qemb_click_reader_open(&(qemb_click_desc){.path = support_path("log"), .ids = QEMB_CLICK_FIRST_SEEN}, &reader);
    st = st == QEMB_OK ? qemb_click_reader_count(reader, &rows) : st;
    st = st == QEMB_OK ? qemb_click_reader_rewind(reader) : st;
    while (st == QEMB_OK && rows > 0) {
        st = qemb_click_reader_next(reader, BATCH, ids, NULL, NULL, &rows);
    }
    qemb_click_reader_close(reader);
    return st;
}

/* Two batches with a rewind between them. */
static qemb_status feed_from(const qemb_click_feed_desc *desc) {
    qemb_click_feed *made = NULL;
    qemb_click_batch batch;
    qemb_status st = qemb_click_feed_create(desc, &made);
    st = st == QEMB_OK ? qemb_click_feed_next(made, &batch) : st;
    st = st == QEMB_OK ? qemb_click_feed_rewind(made) : st;
    st = st == QEMB_OK ? qemb_click_feed_next(made, &batch) : st;
    qemb_click_feed_destroy(made);
    return st;
}

static qemb_status feed(void) {
    qemb_click_generator *generator = NULL;
    qemb_status st = qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001}, &generator);
    st = st == QEMB_OK ? feed_from(&(qemb_click_feed_desc){.generator = generator, .row_count = ROWS, .capacity = BATCH}) : st;
    qemb_click_generator_destroy(generator);
    return st;
}

static qemb_status feed_of_log(void) {
    qemb_click_reader *reader = NULL;
    qemb_status st = qemb_click_reader_open(&(qemb_click_desc){.path = support_path("log")}, &reader);
    st = st == QEMB_OK ? feed_from(&(qemb_click_feed_desc){.reader = reader, .capacity = BATCH}) : st;
    qemb_click_reader_close(reader);
    return st;
}

static const int64_t shape[] = {7, 3};
static const qemb_tensor_desc tensor = {"emb.weight", shape, 2, QEMB_FILE_F32};
static const float values[21] = {1, 2, 3};

static qemb_status arrays(void) {
    qemb_npy *npy = NULL;
    qemb_tensor_view view;
    qemb_status st = qemb_npy_save(support_path("a.npy"), &tensor, values);
    st = st == QEMB_OK ? qemb_npy_open(support_path("a.npy"), &npy, &view) : st;
    qemb_npy_close(npy);
    return st;
}

/* A module with an optimiser, saved, packed from the file, looked into. */
static qemb_status convert(void) {
    qemb_qconfig qconfig = qemb_qconfig_4bit();
    qconfig.observer = QEMB_OBSERVER_MIN_MAX;
    static const int64_t ids[] = {1, 2, 3, 4};
    const qemb_input input = {.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT64, .columns = 1};
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    const qemb_table_desc tables[] = {{.num_embeddings = 5, .embedding_dim = 3, .qconfig = qconfig, .seed = 1},
                                      {.num_embeddings = 7, .embedding_dim = 3, .qconfig = qconfig, .seed = 2}};
    const qemb_convert_desc packed = {.prefix = "m.", .format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}, .keep = true};
    const qemb_convert_desc torch = {.format = {.layout = QEMB_LAYOUT_TORCH_ROWWISE, .bits = 8}};
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_saver *saver = NULL;
    qemb_safetensors *file = NULL;
    qemb_status st = qemb_context_create("reference", &ctx);
    st = st == QEMB_OK ? qemb_embedding_bag_collection_create(ctx, &(qemb_collection_desc){.tables = tables, .num_tables = 2}, &bag) : st;
    st = st == QEMB_OK ? qemb_batch_create(ctx, &batch) : st;
    st = st == QEMB_OK ? qemb_batch_set(batch, bag, &input) : st;
    st = st == QEMB_OK ? qemb_buffer_create(ctx, 256, &out) : st;
    st = st == QEMB_OK ? qemb_embedding_bag_forward(bag, batch, out) : st;
    st = st == QEMB_OK ? qemb_saver_create(&saver) : st;
    st = st == QEMB_OK ? qemb_saver_add_module(saver, "m.", bag) : st;
    st = st == QEMB_OK ? qemb_saver_add_tensor(saver, &(qemb_tensor_desc){"kept", shape, 2, QEMB_FILE_F32}, values) : st;
    st = st == QEMB_OK ? qemb_saver_write(saver, support_path("state")) : st;
    st = st == QEMB_OK ? qemb_safetensors_open(support_path("state"), &file) : st;
    st = st == QEMB_OK ? qemb_convert(ctx, file, &packed, support_path("packed")) : st;
    qemb_convert_desc observed = packed;
    observed.method = QEMB_PACK_OBSERVER;
    st = st == QEMB_OK ? qemb_convert(ctx, file, &observed, support_path("packed")) : st;
    qemb_safetensors_close(file);
    file = NULL;
    st = st == QEMB_OK ? qemb_safetensors_save(support_path("torch"), &tensor, (const void *[]){values}, 1, NULL, 0) : st;
    st = st == QEMB_OK ? qemb_safetensors_open(support_path("torch"), &file) : st;
    st = st == QEMB_OK ? qemb_convert(ctx, file, &torch, support_path("packed")) : st;
    qemb_safetensors_close(file);
    qemb_saver_destroy(saver);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    return st;
}

/* What the walk leaves out: the modes, switches and forms of rows that only some modules have. */
typedef struct odd_things {
    qemb_context *ctx;
    qemb_embedding_bag *bag, *qat;
    qemb_embedding *embedding, *plain;
    qemb_batch *batch;
    qemb_buffer *buffer;
    qemb_optimizer *optimizer;
    qemb_packed *pruned, *given;
} odd_things;

#define THEN(call) st = st == QEMB_OK ? (call) : st

static qemb_status make_oddly(odd_things *o, qemb_mode mode, qemb_qconfig qconfig) {
    const bool clips = mode == QEMB_MODE_SUM;
    const qemb_table_desc tables[] = {
        {.num_embeddings = 5, .embedding_dim = 3, .qconfig = qconfig, .has_max_norm = clips, .max_norm = clips ? 1.0f : 0.0f},
        {.num_embeddings = 5, .embedding_dim = 3, .qconfig = qconfig}};
    const qemb_collection_desc both = {.tables = tables, .num_tables = 2, .options = {.mode = mode}};
    const qemb_embedding_desc single = {.num_embeddings = 5, .embedding_dim = 3, .qconfig = qconfig};
    const qemb_optimizer_desc adagrad = {.kind = QEMB_ADAGRAD, .initial_accumulator_value = 0.5, .clip = QEMB_CLIP_NORM, .clip_limit = 1.0};
    qemb_status st = qemb_context_create("reference", &o->ctx);
    THEN(qemb_embedding_bag_collection_create(o->ctx, &both, &o->bag));
    THEN(qemb_embedding_create(o->ctx, &single, &o->embedding));
    THEN(qemb_embedding_to_float(o->embedding, &o->plain));
    THEN(qemb_embedding_bag_from_float(qemb_embedding_as_bag(o->plain), &qconfig, &o->qat));
    THEN(qemb_optimizer_create(o->ctx, o->bag, &adagrad, &o->optimizer));
    THEN(qemb_embedding_bag_set_schedule(o->bag, QEMB_ALL_TABLES, 2, 1));
    THEN(qemb_embedding_bag_set_progress(
        qemb_embedding_as_bag(o->plain), 1,
        &(qemb_table_progress){.eps = 1.0f, .observer_on = true, .fake_quant_from = 5, .observer_until = 3}));
    THEN(qemb_batch_create(o->ctx, &o->batch));
    THEN(qemb_buffer_create(o->ctx, 512, &o->buffer));
    return st;
}

static qemb_status use_oddly(odd_things *o) {
    static const int32_t map[5] = {0, -1, 1, 2, -1};
    static const float ranges[10] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
    static const int64_t ids[] = {1, 2, 3, 4};
    const qemb_input input = {.indices = ids, .num_indices = 4, .indices_dtype = QEMB_INT64, .columns = 1};
    const qemb_packed_desc some = {.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}, .row_map = (const int32_t *[]){map, NULL}};
    const qemb_packed_desc wanted = {.format = {.bits = 8}, .method = QEMB_PACK_GIVEN, .ranges = (const float *[]){ranges, ranges}};
    qemb_prepare_desc dry = {
        .bags = 3, .lookups = 7, .optimizer = o->optimizer, .calls = QEMB_PREPARE_BACKWARD | QEMB_PREPARE_ROWS | QEMB_PREPARE_SORT};
    qemb_counters counters;
    double gbps = 0.0;
    qemb_status st = qemb_batch_set(o->batch, o->bag, &input);
    for (int step = 0; step < 3; step++) { /* over both switches */
        THEN(qemb_embedding_bag_forward(o->bag, o->batch, o->buffer));
    }
    THEN(qemb_embedding_bag_prepare(o->bag, &dry));
    dry.bags = 7; /* more winners */
    THEN(qemb_embedding_bag_prepare(o->bag, &dry));
    THEN(qemb_batch_set_device(o->batch, o->bag, &(qemb_device_input){.indices_dtype = QEMB_INT64, .columns = 1}));
    THEN(qemb_context_finish(o->ctx));
    THEN(qemb_batch_set(o->batch, o->bag, &input));
    THEN(qemb_packed_create(o->bag, &some, &o->pruned));
    THEN(qemb_packed_create(o->bag, &wanted, &o->given));
    THEN(qemb_context_copy_bandwidth(o->ctx, 4096, &gbps));
    THEN(qemb_context_counters(o->ctx, &counters));
    return st;
}
#undef THEN

static qemb_status train_oddly(qemb_mode mode, qemb_observer observer) {
    odd_things o = {0};
    qemb_qconfig qconfig = qemb_qconfig_8bit();
    qconfig.observer = observer;
    qemb_status st = make_oddly(&o, mode, qconfig);
    st = st == QEMB_OK ? use_oddly(&o) : st;
    qemb_packed_destroy(o.pruned);
    qemb_packed_destroy(o.given);
    qemb_optimizer_destroy(o.optimizer);
    qemb_buffer_destroy(o.buffer);
    qemb_batch_destroy(o.batch);
    qemb_embedding_bag_destroy(o.qat);
    qemb_embedding_destroy(o.plain);
    qemb_embedding_destroy(o.embedding);
    qemb_embedding_bag_destroy(o.bag);
    qemb_context_destroy(o.ctx);
    return st;
}

static qemb_status train_by_sums(void) {
    return train_oddly(QEMB_MODE_SUM, QEMB_OBSERVER_MEMORYLESS);
}

static qemb_status train_by_maxima(void) {
    return train_oddly(QEMB_MODE_MAX, QEMB_OBSERVER_MIN_MAX);
}

Test(fault_calls, training,
     .description = "fault_calls: any call inside fails in modes, switches and forms of rows that the walk leaves out: NOMEM") {
    fail_everywhere("sums", train_by_sums, 100);
    fail_everywhere("maxima", train_by_maxima, 100);
}

Test(fault_calls, files,
     .description = "fault_calls: any call inside fails while files are written, read and converted: NOMEM, no file left") {
    fail_everywhere("generate", generate, 5);
    fail_everywhere("read", read_log, 5);
    fail_everywhere("feed", feed, 5);
    fail_everywhere("feed of a log", feed_of_log, 3);
    fail_everywhere("arrays", arrays, 5);
    fail_everywhere("convert", convert, 100);
}
