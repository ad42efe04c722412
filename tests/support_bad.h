/* support_bad.h - bad input as data: a call, its good arguments, and for each argument the values that must be refused.
 *
 * Arguments of a call stand in a struct. A mutation puts one bad value into one field: a number, NULL, another object of the same context
 * or the same object of another context. The calls work on a finished walk (support_walk.h); a second walk on the reference engine makes
 * the good calls alone: what both show must stay equal. */
#ifndef QEMB_TESTS_SUPPORT_BAD_H
#define QEMB_TESTS_SUPPORT_BAD_H

#include <math.h>
#include <stddef.h>

#include "support_walk.h"

typedef enum bad_kind { BAD_INTEGER, BAD_REAL, BAD_NULL, BAD_ALIEN, BAD_OTHER } bad_kind;

typedef struct bad_value {
    const char *field;
    size_t offset, size;
    bad_kind kind;
    int64_t integer;
    double real;
    size_t from;         /* ALIEN, OTHER: offset of the object in a walk */
    qemb_status want[2]; /* either */
} bad_value;

typedef struct bad_call {
    const char *name; /* as the sentence has it */
    size_t size;      /* of the arguments */
    void (*good)(walk *w, void *arguments);
    qemb_status (*run)(walk *w, void *arguments); /* undoes what it made */
    const bad_value *values;
    int count;
    void (*prepare)(walk *w); /* what must have happened before the call, again each time; or NULL */
} bad_call;

#define BAD_FIELD(type, field) #field, offsetof(type, field), sizeof(((type *)0)->field)
/* clang-format off */
#define INTEGER(type, field, value, want) {BAD_FIELD(type, field), BAD_INTEGER, (value), 0, 0, {want, want}}
/* clang-format on */
#define INTEGER2(type, field, value, want, or_this)                                                                                        \
    {                                                                                                                                      \
        BAD_FIELD(type, field), BAD_INTEGER, (value), 0, 0, {                                                                              \
            want, or_this                                                                                                                  \
        }                                                                                                                                  \
    }
#define REAL(type, field, value, want)                                                                                                     \
    {                                                                                                                                      \
        BAD_FIELD(type, field), BAD_REAL, 0, (value), 0, {                                                                                 \
            want, want                                                                                                                     \
        }                                                                                                                                  \
    }
#define NONE(type, field)                                                                                                                  \
    {                                                                                                                                      \
        BAD_FIELD(type, field), BAD_NULL, 0, 0, 0, {                                                                                       \
            QEMB_ERR_ARG, QEMB_ERR_ARG                                                                                                     \
        }                                                                                                                                  \
    }
#define ALIEN(type, field, object, want)                                                                                                   \
    {                                                                                                                                      \
        BAD_FIELD(type, field), BAD_ALIEN, 0, 0, offsetof(walk, object), {                                                                 \
            want, want                                                                                                                     \
        }                                                                                                                                  \
    }
#define OTHER(type, field, object, want)                                                                                                   \
    {                                                                                                                                      \
        BAD_FIELD(type, field), BAD_OTHER, 0, 0, offsetof(walk, object), {                                                                 \
            want, want                                                                                                                     \
        }                                                                                                                                  \
    }
#define ENUM_VALUES(type, field, past, want)                                                                                               \
    INTEGER(type, field, -1, want), INTEGER(type, field, past, want), INTEGER(type, field, INT32_MAX, want),                               \
        INTEGER(type, field, INT32_MIN, want)
#define REALS_BELOW_0(type, field, want)                                                                                                   \
    REAL(type, field, -1.0, want), REAL(type, field, -1e-30, want), REAL(type, field, -(double)INFINITY, want)

#define BAD_CALL_AFTER(name, type, good, run, values, prepare)                                                                             \
    { name, sizeof(type), good, run, values, (int)(sizeof(values) / sizeof *(values)), prepare }
#define BAD_CALL(name, type, good, run, values) BAD_CALL_AFTER(name, type, good, run, values, NULL)

typedef struct bad_report {
    int64_t calls, pairs, wrong;
    int64_t classes[32]; /* calls refused with status -10000 - k */
    char text[6000];
} bad_report;

/* All values of all calls one by one, and two by two where `stride` > 0 (every stride-th pair). Both walks are looked at around every
 * `every`-th bad value: what an earlier one broke still shows then. */
typedef struct bad_bounds {
    int stride, every;
} bad_bounds;
void bad_run(walk *w, walk *twin, const bad_call *calls, int count, const bad_bounds *bounds, bad_report *report);

/* The tables (support_bad_*.c). */
extern const bad_call bad_modules[], bad_lookups[], bad_training[], bad_packed[], bad_contexts[], bad_files[];
extern const int bad_modules_count, bad_lookups_count, bad_training_count, bad_packed_count, bad_contexts_count, bad_files_count;

#endif
