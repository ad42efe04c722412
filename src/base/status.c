/* status.c - names of the status codes and the last sentence of each thread. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#if defined(_MSC_VER)
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

/* One sentence a thread: no allocation on the way to an error, and a call without a context can explain itself too. */
static THREAD_LOCAL char last_error[2048];
static THREAD_LOCAL const char *calling;

void qemb__calling(const char *call) {
    calling = call;
}

const char *qemb_last_error(void) {
    return last_error;
}

const char *qemb_status_name(qemb_status status) {
    switch (status) {
#define CASE(name, value, text)                                                                                                            \
    case name:                                                                                                                             \
        return #name;
        QEMB_STATUS_LIST(CASE)
#undef CASE
    }
    return "unknown status";
}

const char *qemb_status_text(qemb_status status) {
    switch (status) {
#define CASE(name, value, text)                                                                                                            \
    case name:                                                                                                                             \
        return text;
        QEMB_STATUS_LIST(CASE)
#undef CASE
    }
    return "not a status of this library";
}

qemb_status qemb__fail(qemb_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(last_error, sizeof last_error, format, args);
    va_end(args);
    return calling && strncmp(last_error, calling, strlen(calling)) != 0 ? qemb__fail_in(code, calling) : code;
}

qemb_status qemb__fail_in(qemb_status code, const char *prefix) {
    char inner[sizeof last_error];
    memcpy(inner, last_error, sizeof inner);
    (void)snprintf(last_error, sizeof last_error, "%s: %.*s", prefix, (int)(sizeof last_error - strlen(prefix) - 3), inner);
    return code;
}

qemb_status qemb__named(qemb_status code, const char *call) {
    return code == QEMB_OK || strncmp(last_error, call, strlen(call)) == 0 ? code : qemb__fail_in(code, call);
}
