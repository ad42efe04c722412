/* log.c - lines for whoever sets $QEMB_LOG. Without it the library never prints. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool qemb__log_wants(const char *kind) {
    const char *list = getenv("QEMB_LOG");
    const size_t length = strlen(kind);
    while (list && *list) {
        const size_t word = strcspn(list, ",");
        if ((word == length && strncmp(list, kind, word) == 0) || (word == 3 && strncmp(list, "all", 3) == 0)) {
            return true;
        }
        list += word + (list[word] == ',');
    }
    return false;
}

void qemb__log(const char *kind, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    (void)fprintf(stderr, "qemb: %s: %s\n", kind, line); /* one call, so that lines of several contexts do not mix */
}
