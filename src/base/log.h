/* log.h - what the library tells whoever asks for it: the only file of the library that may print, and only when $QEMB_LOG says so. */
#ifndef QEMB_BASE_LOG_H
#define QEMB_BASE_LOG_H

#include "base/status.h"
#include <stdbool.h>

/* Whether $QEMB_LOG names this kind of line: words between commas, or "all". Kinds: pick (which variant of a kernel runs, and why), build
 * (which kernels are compiled, where from, in how long). */
bool qemb__log_wants(const char *kind);

/* One line "qemb: KIND: ..." to stderr. For callers that have asked qemb__log_wants. */
void qemb__log(const char *kind, const char *format, ...) QEMB__PRINTF(2, 3);

#endif
