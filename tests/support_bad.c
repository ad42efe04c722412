/* support_bad.c - see support_bad.h. */
#include "support_bad.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 8192, PAIRS_TOGETHER = 64 };

typedef struct run {
    walk *w, *twin;
    const bad_call *call;
    bad_report *report;
    walk_snapshot before;
} run;

/* The value as a sentence would print it. */
static void print_value(const bad_value *v, char *text, size_t bytes) {
    switch (v->kind) {
    case BAD_INTEGER:
        (void)snprintf(text, bytes, "%" PRId64, v->size == 4 ? (int64_t)(int32_t)v->integer : v->integer);
        break;
    case BAD_REAL:
        (void)snprintf(text, bytes, "%g", v->size == 4 ? (double)(float)v->real : v->real);
        break;
    default:
        (void)snprintf(text, bytes, "%s",
                       v->kind == BAD_NULL    ? "NULL"
                       : v->kind == BAD_ALIEN ? "an object of another context"
                                              : "another object");
    }
}

__attribute__((format(printf, 3, 4))) static void wrong(run *r, const bad_value *v, const char *format, ...) {
    const size_t used = strlen(r->report->text);
    char value[64];
    va_list arguments;
    va_start(arguments, format);
    r->report->wrong++;
    print_value(v, value, sizeof value);
    if (used + 500 < sizeof r->report->text) {
        const int n = snprintf(r->report->text + used, sizeof r->report->text - used, "\n%s, %s = %s: ", r->call->name, v->field, value);
        (void)vsnprintf(r->report->text + used + n, 450, format, arguments);
    }
    va_end(arguments);
}

static void put(run *r, const bad_value *v, char *arguments) {
    const float narrow = (float)v->real;
    const int32_t half = (int32_t)v->integer;
    const unsigned char byte = (unsigned char)v->integer;
    const void *none = NULL;
    const void *source = &none;
    if (v->kind == BAD_INTEGER) {
        source = v->size == 8 ? (const void *)&v->integer : v->size == 4 ? (const void *)&half : (const void *)&byte;
    } else if (v->kind == BAD_REAL) {
        source = v->size == 8 ? (const void *)&v->real : (const void *)&narrow;
    } else if (v->kind == BAD_ALIEN || v->kind == BAD_OTHER) {
        source = (const char *)(v->kind == BAD_ALIEN ? r->twin : r->w) + v->from;
    }
    memcpy(arguments + v->offset, source, v->size);
}

static bool fits(qemb_status st, const bad_value *v) {
    return st == v->want[0] || st == v->want[1];
}

/* Function, what was seen, what is wanted. */
static void check_sentence(run *r, const bad_value *v) {
    static const char *const seen[] = {"failed", "row_map names", ", row ", " bytes)"}; /* several values at once, as one number */
    static const char *const wants[] = {"want",
                                        "NULL",
                                        "context",
                                        "support",
                                        "another module",
                                        "never",
                                        "is infinite or NaN",
                                        "belong",
                                        "do not fit in 63 bits",
                                        "without",
                                        "failed",
                                        "has no",
                                        "only planar",
                                        "no path given",
                                        "not of its list",
                                        "which has",
                                        "is beyond"};
    const char *says = qemb_last_error();
    const char *leaf = strrchr(v->field, '.') ? strrchr(v->field, '.') + 1 : v->field;
    char value[64];
    bool wanted = false, said = false;
    char unsigned_value[32];
    print_value(v, value, sizeof value);
    (void)snprintf(unsigned_value, sizeof unsigned_value, "%" PRIu64, (uint64_t)v->integer);
    for (size_t k = 0; k < sizeof seen / sizeof *seen; k++) {
        said = said || strstr(says, seen[k]) != NULL;
    }
    for (size_t k = 0; k < sizeof wants / sizeof *wants; k++) {
        wanted = wanted || strstr(says, wants[k]) != NULL;
    }
    if (!strstr(says, r->call->name)) {
        wrong(r, v, "the function is not named: %s", says);
    } else if (!said && !strstr(says, value) && !strstr(says, unsigned_value) && !strstr(says, leaf) && v->kind <= BAD_NULL) {
        wrong(r, v, "what was seen is not said: %s", says);
    } else if (!wanted) {
        wrong(r, v, "what is wanted is not said: %s", says);
    }
}

static void expect_unchanged(run *r, const bad_value *v) {
    walk_snapshot now;
    if (!walk_look(r->w, &now)) {
        wrong(r, v, "afterwards nothing can be read: %s", qemb_last_error());
        return;
    }
    const char *difference = walk_difference(&r->before, &now);
    if (difference) {
        wrong(r, v, "%s has changed", difference);
        r->before = now;
    }
}

/* The good call on both walks; both must show the same afterwards. */
static void expect_good(run *r, const bad_value *v, bool look) {
    _Alignas(16) char arguments[2][MOST_BYTES];
    walk_snapshot twin;
    for (int k = 0; k < 2; k++) {
        walk *w = k ? r->twin : r->w;
        memset(arguments[k], 0, sizeof arguments[k]);
        if (r->call->prepare) {
            r->call->prepare(w);
        }
        r->call->good(w, arguments[k]);
        const qemb_status st = r->call->run(w, arguments[k]);
        if (st != QEMB_OK) {
            wrong(r, v, "the next good call fails: %s", qemb_last_error());
        }
        if (r->call->prepare) {
            r->call->prepare(w);
        }
    }
    if (!look) {
        return;
    }
    if (!walk_look(r->w, &r->before) || !walk_look(r->twin, &twin)) {
        wrong(r, v, "after a good call nothing can be read: %s", qemb_last_error());
    } else if (walk_difference(&r->before, &twin)) {
        wrong(r, v, "after the next good call %s is not what it should be", walk_difference(&r->before, &twin));
    }
}

static qemb_status run_bad(run *r, const bad_value *a, const bad_value *b) {
    _Alignas(16) char arguments[MOST_BYTES] = {0};
    r->call->good(r->w, arguments);
    put(r, a, arguments);
    if (b) {
        put(r, b, arguments);
    }
    const qemb_status st = r->call->run(r->w, arguments);
    const int number = -10000 - (int)st;
    if (number >= 0 && number < 32) {
        r->report->classes[number]++;
    }
    return st;
}

static void run_singles(run *r, int every) {
    for (int k = 0; k < r->call->count; k++) {
        const bad_value *v = &r->call->values[k];
        const bool look = k % every == 0 || k + 1 == r->call->count;
        const qemb_status st = run_bad(r, v, NULL);
        r->report->calls++;
        if (!fits(st, v)) {
            wrong(r, v, "%s, want %s (%s)", qemb_status_name(st), qemb_status_name(v->want[0]), st == QEMB_OK ? "" : qemb_last_error());
        } else {
            check_sentence(r, v);
        }
        if (look && (every == 1 || k == 0)) { /* else the last look is older than the last good call */
            expect_unchanged(r, v);
        }
        expect_good(r, v, look);
    }
}

static void run_pairs(run *r, int stride) {
    int64_t number = 0;
    for (int k = 0; k < r->call->count; k++) {
        for (int n = k + 1; n < r->call->count; n++) {
            const bad_value *a = &r->call->values[k];
            const bad_value *b = &r->call->values[n];
            if (a->offset == b->offset || number++ % stride != 0) {
                continue;
            }
            const qemb_status st = run_bad(r, a, b);
            if (st == QEMB_OK && ((strstr(a->field, "quant_") && strstr(b->field, "quant_")) ||
                                  (strstr(a->field, "per_sample_weights") && strstr(b->field, "per_sample_weights")))) {
                expect_good(r, a, true); /* two wrongs that make a right: codes -1..0, no weights */
                continue;
            }
            r->report->pairs++;
            if (!fits(st, a) && !fits(st, b) && st != QEMB_ERR_ARG && st != QEMB_ERR_SHAPE && st != QEMB_ERR_RANGE &&
                st != QEMB_ERR_UNSUPPORTED) {
                wrong(r, a, "with %s bad too: %s (%s)", b->field, qemb_status_name(st), st == QEMB_OK ? "" : qemb_last_error());
            }
            if (r->report->pairs % PAIRS_TOGETHER == 0) {
                expect_unchanged(r, a);
                expect_good(r, a, true);
            }
        }
    }
}

void bad_run(walk *w, walk *twin, const bad_call *calls, int count, const bad_bounds *bounds, bad_report *report) {
    run r = {.w = w, .twin = twin, .report = report};
    static const bad_value start = {.field = "nothing"};
    for (int c = 0; c < count; c++) {
        r.call = &calls[c];
        if (calls[c].size > MOST_BYTES) {
            abort();
        }
        expect_good(&r, &start, true);
        run_singles(&r, bounds->every);
        if (bounds->stride > 0) {
            run_pairs(&r, bounds->stride);
        }
    }
}
