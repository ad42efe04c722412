/* support_bad_files.c - bad input of the calls of qemb_io.h, of state dicts, and of the progress of modules. */
#include "support_bad.h"

#include <qemb/qemb_io.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 13, COLUMNS = 19, CLICKS = 40 };

/* Files and what reads them, made once. */
static struct {
    char model[640], state[640], log[640], npy[640];
    qemb_safetensors *file, *other;
    qemb_click_generator *generator;
    qemb_click_reader *reader;
    int64_t sizes[QEMB_CLICK_SPARSE];
} made;

static void need(qemb_status st) {
    if (st != QEMB_OK) {
        (void)fprintf(stderr, "bad input of files: %s\n", qemb_last_error());
        abort();
    }
}

static void make(walk *w) {
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    const qemb_tensor_desc tensor = {.name = "weight", .shape = (const int64_t[]){2, 3}, .rank = 2, .dtype = QEMB_FILE_F32};
    qemb_saver *saver = NULL;
    if (made.file) {
        return;
    }
    (void)snprintf(made.model, sizeof made.model, "%s/bad.model", w->folder);
    (void)snprintf(made.state, sizeof made.state, "%s/bad.state", w->folder);
    (void)snprintf(made.log, sizeof made.log, "%s/bad.log", w->folder);
    (void)snprintf(made.npy, sizeof made.npy, "%s/bad.npy", w->folder);
    need(qemb_safetensors_save(made.model, &tensor, (const void *[]){values}, 1, &(qemb_metadata){"key", "text"}, 1));
    need(qemb_safetensors_open(made.model, &made.file));
    need(qemb_npy_save(made.npy, &tensor, values));
    need(qemb_saver_create(&saver));
    need(qemb_saver_add_module(saver, "bag.", w->bag));
    need(qemb_saver_add_optimizer(saver, "opt.", w->adam));
    need(qemb_saver_add_packed(saver, "packed.", w->packed));
    need(qemb_saver_write(saver, made.state));
    qemb_saver_destroy(saver);
    need(qemb_safetensors_open(made.state, &made.other));
    qemb_click_cardinalities(0.0001, made.sizes);
    need(qemb_click_generator_create(&(qemb_click_generator_desc){.num_embeddings = made.sizes}, &made.generator));
    need(qemb_click_generator_write(made.generator, made.log, 0, CLICKS, NULL, NULL, NULL));
    need(qemb_click_reader_open(&(qemb_click_desc){.path = made.log, .num_embeddings = made.sizes}, &made.reader));
}

/* ---- safetensors and npy ---------------------------------------------------------------------------------------------------------------- */

typedef struct file_call {
    const char *path, *name, *key, *text;
    qemb_safetensors *file, *opened, **place;
    qemb_npy *npy, **npy_place;
    int64_t index, first, count;
    qemb_tensor_view view_is, *view;
    float target_is[6], *target;
    const char **key_place, **text_place;
    const char *key_got, *text_got;
} file_call;

static void good_file(walk *w, void *arguments) {
    file_call *a = arguments;
    make(w);
    *a = (file_call){.path = made.model, .name = "weight", .key = "key", .file = made.file, .first = 0, .count = 2};
    a->place = &a->opened;
    a->npy_place = &a->npy;
    a->view = &a->view_is;
    a->target = a->target_is;
    a->key_place = &a->key_got;
    a->text_place = &a->text_got;
}

static void good_npy(walk *w, void *arguments) {
    good_file(w, arguments);
    ((file_call *)arguments)->path = made.npy;
}

#define FILE_RUN(name, call, undo)                                                                                                         \
    static qemb_status name(walk *w, void *arguments) {                                                                                    \
        file_call *a = arguments;                                                                                                          \
        (void)w;                                                                                                                           \
        const qemb_status st = call;                                                                                                       \
        undo;                                                                                                                              \
        return st;                                                                                                                         \
    }
FILE_RUN(run_open, qemb_safetensors_open(a->path, a->place), qemb_safetensors_close(a->opened))
FILE_RUN(run_at, qemb_safetensors_at(a->file, a->index, a->view), (void)0)
FILE_RUN(run_tensor, qemb_safetensors_tensor(a->file, a->name, a->view), (void)0)
FILE_RUN(run_metadata_at, qemb_safetensors_metadata_at(a->file, a->index, a->key_place, a->text_place), (void)0)
FILE_RUN(run_read, qemb_safetensors_read_rows(a->file, a->name, a->first, a->count, a->target), (void)0)
FILE_RUN(run_verify, qemb_safetensors_verify(a->file), (void)0)
FILE_RUN(run_npy, qemb_npy_open(a->path, a->npy_place, a->view), qemb_npy_close(a->npy))

#define INDICES(type, past)                                                                                                                \
    INTEGER(type, index, -1, QEMB_ERR_RANGE), INTEGER(type, index, past, QEMB_ERR_RANGE), INTEGER(type, index, INT64_MAX, QEMB_ERR_RANGE), \
        INTEGER(type, index, INT64_MIN, QEMB_ERR_RANGE)
static const bad_value open_values[] = {NONE(file_call, path), NONE(file_call, place)};
static const bad_value at_values[] = {NONE(file_call, file), NONE(file_call, view), INDICES(file_call, 1)};
static const bad_value tensor_values[] = {NONE(file_call, file), NONE(file_call, name), NONE(file_call, view)};
static const bad_value metadata_values[] = {NONE(file_call, file), INDICES(file_call, 2)};
static const bad_value read_values[] = {NONE(file_call, file),
                                        NONE(file_call, name),
                                        NONE(file_call, target),
                                        INTEGER(file_call, first, -1, QEMB_ERR_RANGE),
                                        INTEGER(file_call, first, 1, QEMB_ERR_RANGE),
                                        INTEGER(file_call, first, INT64_MAX, QEMB_ERR_RANGE),
                                        INTEGER(file_call, first, INT64_MIN, QEMB_ERR_RANGE),
                                        INTEGER(file_call, count, -1, QEMB_ERR_RANGE),
                                        INTEGER(file_call, count, 3, QEMB_ERR_RANGE),
                                        INTEGER(file_call, count, INT64_MAX, QEMB_ERR_RANGE),
                                        INTEGER(file_call, count, INT64_MIN, QEMB_ERR_RANGE)};
static const bad_value verify_values[] = {NONE(file_call, file)};
static const bad_value npy_values[] = {NONE(file_call, path), NONE(file_call, npy_place), NONE(file_call, view)};

/* ---- click logs -------------------------------------------------------------------------------------------------------------------------- */

typedef struct click_call {
    qemb_click_desc desc_is, *desc;
    qemb_click_generator_desc plan_is, *plan;
    int64_t sizes[QEMB_CLICK_SPARSE];
    qemb_click_reader *reader, *reader_made, **reader_place;
    qemb_click_generator *generator, *generator_made, **generator_place;
    int64_t first, rows, capacity;
    int32_t ids_is[CLICKS * QEMB_CLICK_SPARSE], *ids;
    int64_t got, *got_place;
    qemb_click_report report_is, *report;
} click_call;

static void good_click(walk *w, void *arguments) {
    click_call *a = arguments;
    make(w);
    *a = (click_call){
        .desc_is = {.path = made.log}, .reader = made.reader, .generator = made.generator, .first = 0, .rows = 3, .capacity = 5};
    memcpy(a->sizes, made.sizes, sizeof a->sizes);
    a->desc_is.num_embeddings = a->sizes;
    a->plan_is.num_embeddings = a->sizes;
    a->desc = &a->desc_is;
    a->plan = &a->plan_is;
    a->reader_place = &a->reader_made;
    a->generator_place = &a->generator_made;
    a->ids = a->ids_is;
    a->got_place = &a->got;
    a->report = &a->report_is;
}

#define CLICK_RUN(name, call, undo)                                                                                                        \
    static qemb_status name(walk *w, void *arguments) {                                                                                    \
        click_call *a = arguments;                                                                                                         \
        (void)w;                                                                                                                           \
        const qemb_status st = call;                                                                                                       \
        undo;                                                                                                                              \
        return st;                                                                                                                         \
    }
CLICK_RUN(run_reader, qemb_click_reader_open(a->desc, a->reader_place), qemb_click_reader_close(a->reader_made))
CLICK_RUN(run_next, qemb_click_reader_next(a->reader, a->capacity, a->ids, NULL, NULL, a->got_place),
          (void)qemb_click_reader_rewind(a->reader ? a->reader : made.reader))
CLICK_RUN(run_rewind, qemb_click_reader_rewind(a->reader), (void)0)
CLICK_RUN(run_count, qemb_click_reader_count(a->reader, a->got_place), (void)0)
CLICK_RUN(run_rows, qemb_click_generator_rows(a->generator, a->first, a->rows, a->ids, NULL, NULL, NULL), (void)0)
CLICK_RUN(run_score, qemb_click_generator_score(a->generator, a->first, a->rows, a->report), (void)0)

/* clang-format off */
static const bad_value reader_values[] = {
    NONE(click_call, desc), NONE(click_call, reader_place), NONE(click_call, desc_is.path), INTEGER(click_call, sizes[3], 0, QEMB_ERR_RANGE),
    INTEGER(click_call, sizes[3], -1, QEMB_ERR_RANGE), INTEGER(click_call, sizes[25], INT64_C(1) << 31, QEMB_ERR_RANGE),
    INTEGER(click_call, sizes[0], INT64_MIN, QEMB_ERR_RANGE), INTEGER(click_call, desc_is.first_row, -1, QEMB_ERR_RANGE),
    INTEGER(click_call, desc_is.first_row, INT64_MIN, QEMB_ERR_RANGE), INTEGER(click_call, desc_is.row_count, -1, QEMB_ERR_RANGE),
    ENUM_VALUES(click_call, desc_is.form, 3, QEMB_ERR_ARG), ENUM_VALUES(click_call, desc_is.ids, 2, QEMB_ERR_ARG),
    ENUM_VALUES(click_call, desc_is.faults, 2, QEMB_ERR_ARG), ENUM_VALUES(click_call, desc_is.counts, 2, QEMB_ERR_ARG)};
static const bad_value next_values[] = {NONE(click_call, reader), NONE(click_call, ids), NONE(click_call, got_place),
                                        INTEGER2(click_call, capacity, -1, QEMB_ERR_ARG, QEMB_ERR_RANGE), INTEGER2(click_call, capacity, INT64_MIN, QEMB_ERR_ARG, QEMB_ERR_RANGE)};
static const bad_value rewind_values[] = {NONE(click_call, reader)};
static const bad_value count_values[] = {NONE(click_call, reader), NONE(click_call, got_place)};
#define DRAWN                                                                                                                     \
    NONE(click_call, generator), INTEGER(click_call, first, -1, QEMB_ERR_RANGE), INTEGER(click_call, first, INT64_MIN, QEMB_ERR_RANGE), \
        INTEGER(click_call, rows, -1, QEMB_ERR_RANGE), INTEGER(click_call, rows, INT64_MIN, QEMB_ERR_RANGE)
static const bad_value rows_values[] = {DRAWN, NONE(click_call, ids)};
static const bad_value score_values[] = {DRAWN, NONE(click_call, report)};

/* ---- state dicts and progress ---------------------------------------------------------------------------------------------------------------- */

typedef struct state_call {
    const char *prefix;
    const qemb_safetensors *file;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_context *ctx;
    qemb_packed *packed, **place;
    uint32_t flags;
    int32_t table;
    int64_t forwards;
    qemb_table_progress progress_is, *progress;
} state_call;
/* clang-format on */

static void good_state(walk *w, void *arguments) {
    state_call *a = arguments;
    make(w);
    *a = (state_call){.prefix = "bag.",
                      .file = made.other,
                      .bag = w->bag,
                      .optimizer = w->adam,
                      .ctx = w->ctx,
                      .forwards = 2,
                      .progress_is = {.observations = 2, .eps = 0x1p-23f, .observer_on = true, .fake_quant_on = true}};
    a->place = &a->packed;
    a->progress = &a->progress_is;
}

static void good_optimizer(walk *w, void *arguments) {
    good_state(w, arguments);
    ((state_call *)arguments)->prefix = "opt.";
}

static void good_packed(walk *w, void *arguments) {
    good_state(w, arguments);
    ((state_call *)arguments)->prefix = "packed.";
}

#define STATE_RUN(name, call, undo)                                                                                                        \
    static qemb_status name(walk *w, void *arguments) {                                                                                    \
        state_call *a = arguments;                                                                                                         \
        (void)w;                                                                                                                           \
        const qemb_status st = call;                                                                                                       \
        undo;                                                                                                                              \
        return st;                                                                                                                         \
    }
STATE_RUN(run_load_module, qemb_load_module(a->file, a->prefix, a->bag), (void)0)
STATE_RUN(run_load_optimizer, qemb_load_optimizer(a->file, a->prefix, a->optimizer), (void)0)
STATE_RUN(run_get_progress, qemb_embedding_bag_get_progress(a->bag, a->table, a->progress), (void)0)
STATE_RUN(run_set_progress, qemb_embedding_bag_set_progress(a->bag, a->forwards, a->progress), (void)0)
STATE_RUN(run_load_packed, qemb_load_packed(a->ctx, (qemb_safetensors *)(uintptr_t)a->file, a->prefix, a->flags, a->place),
          qemb_packed_destroy(a->packed))

static const bad_value load_module_values[] = {NONE(state_call, file), NONE(state_call, bag)};
static const bad_value load_optimizer_values[] = {NONE(state_call, file), NONE(state_call, optimizer)};
static const bad_value load_packed_values[] = {NONE(state_call, ctx), NONE(state_call, file), NONE(state_call, place)};
static const bad_value get_progress_values[] = {NONE(state_call, bag), NONE(state_call, progress),
                                                ENUM_VALUES(state_call, table, 1, QEMB_ERR_INDEX)};
static const bad_value set_progress_values[] = {NONE(state_call, bag),
                                                NONE(state_call, progress),
                                                INTEGER(state_call, forwards, -1, QEMB_ERR_RANGE),
                                                INTEGER(state_call, forwards, INT64_MIN, QEMB_ERR_RANGE),
                                                INTEGER(state_call, forwards, INT64_MAX, QEMB_ERR_RANGE),
                                                INTEGER(state_call, progress_is.observations, -1, QEMB_ERR_RANGE),
                                                INTEGER(state_call, progress_is.observations, INT64_MAX, QEMB_ERR_RANGE),
                                                INTEGER(state_call, progress_is.fake_quant_from, -1, QEMB_ERR_RANGE),
                                                INTEGER(state_call, progress_is.observer_until, INT64_MIN, QEMB_ERR_RANGE),
                                                REALS_BELOW_0(state_call, progress_is.eps, QEMB_ERR_RANGE),
                                                REAL(state_call, progress_is.eps, (double)NAN, QEMB_ERR_RANGE),
                                                REAL(state_call, progress_is.eps, (double)INFINITY, QEMB_ERR_RANGE),
                                                REAL(state_call, progress_is.eps, 0.0, QEMB_ERR_RANGE)};

const bad_call bad_files[] = {
    BAD_CALL("safetensors_open", file_call, good_file, run_open, open_values),
    BAD_CALL("safetensors_at", file_call, good_file, run_at, at_values),
    BAD_CALL("safetensors_tensor", file_call, good_file, run_tensor, tensor_values),
    BAD_CALL("safetensors_metadata_at", file_call, good_file, run_metadata_at, metadata_values),
    BAD_CALL("safetensors_read_rows", file_call, good_file, run_read, read_values),
    BAD_CALL("safetensors_verify", file_call, good_file, run_verify, verify_values),
    BAD_CALL("npy_open", file_call, good_npy, run_npy, npy_values),
    BAD_CALL("click_reader", click_call, good_click, run_reader, reader_values),
    BAD_CALL("click_reader", click_call, good_click, run_next, next_values),
    BAD_CALL("click_reader", click_call, good_click, run_rewind, rewind_values),
    BAD_CALL("click_reader", click_call, good_click, run_count, count_values),
    BAD_CALL("click_generator", click_call, good_click, run_rows, rows_values),
    BAD_CALL("click_generator", click_call, good_click, run_score, score_values),
    BAD_CALL("embedding_bag_get_progress", state_call, good_state, run_get_progress, get_progress_values),
    BAD_CALL("embedding_bag_set_progress", state_call, good_state, run_set_progress, set_progress_values),
    BAD_CALL("load_module", state_call, good_state, run_load_module, load_module_values),
    BAD_CALL("load_optimizer", state_call, good_optimizer, run_load_optimizer, load_optimizer_values),
    BAD_CALL("load_packed", state_call, good_packed, run_load_packed, load_packed_values),
};
const int bad_files_count = sizeof bad_files / sizeof *bad_files;
