/* scoreboard.h - how a test hands its figure to the scoreboard (tests/README.md).
 *
 * One line a call goes to the file named by $QEMB_SCOREBOARD, when that is set:   row TAB figure TAB ok|red TAB detail
 * A row may get lines from several tests; it is red when one of them is. */
#ifndef QEMB_TESTS_SCOREBOARD_H
#define QEMB_TESTS_SCOREBOARD_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* scoreboard("R4", bad == 0, "reference and OpenCL", "%d bad calls, %d answered wrongly", calls, bad) */
__attribute__((format(printf, 4, 5))) static inline void scoreboard(const char *row, bool ok, const char *detail, const char *format, ...) {
    const char *path = getenv("QEMB_SCOREBOARD");
    char figure[400], line[1000];
    if (!path || !*path) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(figure, sizeof figure, format, arguments);
    va_end(arguments);
    (void)snprintf(line, sizeof line, "%s\t%s\t%s\t%s\n", row, figure, ok ? "ok" : "red", detail ? detail : "");
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644); /* one write: lines of several processes do not mix */
    if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line)) {
        perror(path);
        abort();
    }
    (void)close(fd);
}

#endif
