/* status.h - how a call fails: the code and its sentence come from one expression.
 *
 * REQUIRE and TRY assume a local `qemb_status st` and one exit label `done` in the function. */
#ifndef QEMB_BASE_STATUS_H
#define QEMB_BASE_STATUS_H

#include <qemb/qemb.h>

#if defined(__GNUC__)
#define QEMB__PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define QEMB__PRINTF(fmt, args)
#endif

/* The public call that this thread is in, NULL: none. A literal: sentences that do not begin with it get it in front. */
void qemb__calling(const char *call);

/* Records the sentence for qemb_last_error() of this thread and returns `code`. */
qemb_status qemb__fail(qemb_status code, const char *format, ...) QEMB__PRINTF(2, 3);

/* Puts "prefix: " before the sentence recorded last, to name the caller of a failed inner call. Returns `code`. */
qemb_status qemb__fail_in(qemb_status code, const char *prefix);

/* The same when `code` is an error whose sentence does not begin with `call` yet. */
qemb_status qemb__named(qemb_status code, const char *call);

#define REQUIRE(condition, code, ...)                                                                                                      \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            st = qemb__fail((code), __VA_ARGS__);                                                                                          \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

#define TRY(call)                                                                                                                          \
    do {                                                                                                                                   \
        st = (call);                                                                                                                       \
        if (st != QEMB_OK) {                                                                                                               \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

#endif
