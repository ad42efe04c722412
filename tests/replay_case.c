/* replay_case.c - reads the metadata of a case by a table of keys, and its tensors.
 *
 * A key, value or tensor that no table knows makes the case SKIP: the file is of a newer format. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

static void report_text(replay_report *report, replay_verdict verdict, const char *format, va_list list) {
    if (report->verdict == REPLAY_PASS) {
        report->verdict = verdict;
        (void)vsnprintf(report->why, sizeof report->why, format, list);
    }
}

void replay_fail(replay_report *report, const char *format, ...) {
    va_list list;
    va_start(list, format);
    report_text(report, REPLAY_FAIL, format, list);
    va_end(list);
}

void replay_skip(replay_report *report, const char *format, ...) {
    va_list list;
    va_start(list, format);
    report_text(report, REPLAY_SKIP, format, list);
    va_end(list);
}

/* ---- keys ----------------------------------------------------------------------------------------------------------- */

typedef struct replay_word {
    const char *word;
    int64_t value;
} replay_word;

static const replay_word ops[] = {
    {"embedding_bag", REPLAY_EMBEDDING_BAG}, {"embedding", REPLAY_EMBEDDING}, {"pack", REPLAY_PACK}, {NULL, 0}};
static const replay_word modes[] = {{"mean", QEMB_MODE_MEAN}, {"sum", QEMB_MODE_SUM}, {"max", QEMB_MODE_MAX}, {NULL, 0}};
static const replay_word observers[] = {{"moving_average", QEMB_OBSERVER_MOVING_AVERAGE}, {"min_max", QEMB_OBSERVER_MIN_MAX}, {NULL, 0}};
static const replay_word optimizers[] = {
    {"none", REPLAY_NONE}, {"sgd", REPLAY_SGD}, {"adagrad", REPLAY_ADAGRAD}, {"sparse_adam", REPLAY_SPARSE_ADAM}, {NULL, 0}};
static const replay_word layouts[] = {{"torch_rowwise", QEMB_LAYOUT_TORCH_ROWWISE}, {NULL, 0}};
static const replay_word expects[] = {{"ok", 0}, {"error", 1}, {NULL, 0}};
static const replay_word versions[] = {{"1", 1}, {NULL, 0}};
static const replay_word switches[] = {{"0", 0}, {"1", 1}, {NULL, 0}};

/* One key: a word of a list, an integer (words NULL), a number that may be `none` (is_number), or a text that is not read. */
typedef struct replay_key {
    const char *key;
    const replay_word *words;
    size_t at;
    enum { KEY_WORD, KEY_INTEGER, KEY_NUMBER, KEY_TEXT } kind;
} replay_key;

#define WORD(key, words)                                                                                                                   \
    { #key, words, offsetof(replay_case, key), KEY_WORD }
#define INTEGER(key)                                                                                                                       \
    { #key, NULL, offsetof(replay_case, key), KEY_INTEGER }
#define NUMBER(key)                                                                                                                        \
    { #key, NULL, offsetof(replay_case, key), KEY_NUMBER }
static const replay_key keys[] = {
    {"qemb_case", versions, offsetof(replay_case, version), KEY_WORD},
    {"name", NULL, 0, KEY_TEXT},
    {"source", NULL, 0, KEY_TEXT},
    {"error", NULL, 0, KEY_TEXT},
    {"expect", expects, offsetof(replay_case, expect_error), KEY_WORD},
    WORD(op, ops),
    WORD(mode, modes),
    WORD(observer, observers),
    WORD(optimizer, optimizers),
    WORD(layout, layouts),
    WORD(scale_grad_by_freq, switches),
    WORD(sparse, switches),
    WORD(include_last_offset, switches),
    WORD(fake_quant_enabled, switches),
    INTEGER(num_embeddings),
    INTEGER(embedding_dim),
    INTEGER(quant_min),
    INTEGER(quant_max),
    INTEGER(steps),
    INTEGER(bits),
    NUMBER(padding_idx),
    NUMBER(max_norm),
    NUMBER(norm_type),
    NUMBER(averaging_constant),
    NUMBER(disable_observer_after),
    NUMBER(enable_fake_quant_at),
    NUMBER(lr),
    NUMBER(momentum),
    NUMBER(eps),
    NUMBER(beta1),
    NUMBER(beta2),
};
enum { NUM_KEYS = sizeof keys / sizeof *keys };

static bool read_integer(const char *text, int64_t *value) {
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *value = v;
    return end != text && *end == '\0' && errno == 0;
}

static bool read_number(const char *text, replay_number *number) {
    char *end = NULL;
    *number = (replay_number){0};
    if (strcmp(text, "none") == 0) {
        return true;
    }
    number->given = true;
    number->value = strtod(text, &end);
    return end != text && *end == '\0';
}

static bool read_key(const replay_key *key, const char *text, replay_case *c) {
    char *field = (char *)c + key->at;
    if (key->kind == KEY_NUMBER) {
        return read_number(text, (replay_number *)(void *)field);
    }
    if (key->kind == KEY_INTEGER) {
        return read_integer(text, (int64_t *)(void *)field);
    }
    for (const replay_word *w = key->words; w && w->word; w++) {
        if (strcmp(w->word, text) == 0) {
            *(int64_t *)(void *)field = w->value;
            return true;
        }
    }
    return key->kind == KEY_TEXT;
}

static void read_metadata(const qemb_safetensors *file, replay_case *c, replay_report *report) {
    const int64_t count = qemb_safetensors_metadata_count(file);
    for (int64_t i = 0; i < count; i++) {
        const char *key = NULL;
        const char *text = NULL;
        if (qemb_safetensors_metadata_at(file, i, &key, &text) != QEMB_OK) {
            replay_fail(report, "%s", qemb_last_error());
            return;
        }
        int k = 0;
        while (k < NUM_KEYS && strcmp(keys[k].key, key) != 0) {
            k++;
        }
        if (k == NUM_KEYS) {
            replay_skip(report, "key %s is not known", key);
        } else if (!read_key(&keys[k], text, c)) {
            replay_skip(report, "value %s of key %s is not known", text, key);
        }
    }
}

/* ---- tensors -------------------------------------------------------------------------------------------------------- */

static bool is_known_tensor(const char *name, int64_t steps) {
    static const char *const whole[] = {"weight",        "packed",        "unpacked", "final.weight", "final.scale", "final.zero_point",
                                        "final.min_val", "final.max_val", NULL};
    static const char *const parts[] = {"indices", "offsets",     "per_sample_weights",      "grad_output",
                                        "output",  "grad_weight", "grad_per_sample_weights", NULL};
    int step = 0;
    int used = 0;
    for (int i = 0; whole[i]; i++) {
        if (strcmp(name, whole[i]) == 0) {
            return true;
        }
    }
    if (sscanf(name, "step%d.%n", &step, &used) != 1 || used == 0 || step < 0 || step >= steps) {
        return false;
    }
    for (int i = 0; parts[i]; i++) {
        if (strcmp(name + used, parts[i]) == 0) {
            return true;
        }
    }
    return false;
}

void replay_case_read(const qemb_safetensors *file, replay_case *c, replay_report *report) {
    qemb_tensor_view view;
    *c = (replay_case){
        .file = file, .quant_max = 255, .steps = 1, .fake_quant_enabled = 1, .mode = QEMB_MODE_MEAN, .op = REPLAY_EMBEDDING_BAG, .bits = 8};
    const char *name = qemb_safetensors_metadata(file, "name");
    c->name = name ? name : "";
    if (!qemb_safetensors_metadata(file, "qemb_case")) {
        replay_fail(report, "not a case: no qemb_case in the metadata");
        return;
    }
    if (qemb_safetensors_find(file, "weight") >= 0 && qemb_safetensors_tensor(file, "weight", &view) == QEMB_OK && view.rank == 2) {
        c->num_embeddings = view.shape[0];
        c->embedding_dim = view.shape[1];
    }
    read_metadata(file, c, report);
    for (int64_t i = 0; i < qemb_safetensors_count(file); i++) {
        if (qemb_safetensors_at(file, i, &view) == QEMB_OK && !is_known_tensor(view.name, c->steps)) {
            replay_skip(report, "tensor %s is not known", view.name);
        }
    }
}

replay_tensor replay_tensor_read(const replay_case *c, const char *name, replay_report *report) {
    replay_tensor t = {0};
    if (qemb_safetensors_find(c->file, name) < 0) {
        return t;
    }
    if (qemb_safetensors_tensor(c->file, name, &t.view) != QEMB_OK) {
        replay_fail(report, "%s", qemb_last_error());
        return t;
    }
    t.data = malloc(t.view.bytes + 1); /* one more: an empty tensor is there too */
    if (!t.data) {
        replay_fail(report, "no memory for tensor %s", name);
        return t;
    }
    memcpy(t.data, t.view.data, t.view.bytes);
    return t;
}

replay_tensor replay_tensor_step(const replay_case *c, int64_t step, const char *part, replay_report *report) {
    char name[64];
    (void)snprintf(name, sizeof name, "step%lld.%s", (long long)step, part);
    return replay_tensor_read(c, name, report);
}
