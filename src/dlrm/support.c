/* support.c - the sentence of a failure, and the clock. */
#include "dlrm/dlrm.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static _Thread_local char sentence[1024];

qemb_status dlrm_fail(qemb_status code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return code;
}

qemb_status dlrm_library_failed(qemb_status code) {
    return dlrm_fail(code, "%s", qemb_last_error());
}

const char *dlrm_last_error(void) {
    return sentence;
}

double dlrm_seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
