/* support.c - errors, numbers, sizes, the progress bar. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int cli_usage(const char *command, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "qemb%s%s: ", *command ? " " : "", command);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "; see `qemb%s%s --help`\n", *command ? " " : "", command);
    va_end(args);
    return CLI_USAGE;
}

int cli_failed(const char *command, const char *sentence) {
    (void)fprintf(stderr, "qemb %s: %s\n", command, sentence);
    return CLI_FAILED;
}

int cli_bad_option(const char *command, char **argv, int answer) {
    const char *word = argv[optind - 1];
    return answer == ':' ? cli_usage(command, "option %s wants a value", word) : cli_usage(command, "unknown option %s", word);
}

bool cli_integer(const char *text, int64_t low, int64_t high, int64_t *value) {
    char *end = NULL;
    int64_t factor = 1;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || errno == ERANGE) {
        return false;
    }
    if (*end) {
        static const char suffixes[] = "kMG";
        static const int64_t factors[] = {1000, 1000000, 1000000000};
        const char *at = strchr(suffixes, *end);
        if (!at || end[1]) {
            return false;
        }
        factor = factors[at - suffixes];
    }
    if (v > INT64_MAX / factor || v < INT64_MIN / factor || v * factor < low || v * factor > high) {
        return false;
    }
    *value = v * factor;
    return true;
}

bool cli_real(const char *text, double low, double high, double *value) {
    char *end = NULL;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= low && v <= high)) {
        return false;
    }
    *value = v;
    return true;
}

int cli_choice(const char *text, const char *const *words) {
    for (int i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static bool colour(FILE *stream) {
    const char *no = getenv("NO_COLOR");
    return isatty(fileno(stream)) && !(no && *no);
}

const char *cli_bold(FILE *stream) {
    return colour(stream) ? "\033[1m" : "";
}

const char *cli_plain(FILE *stream) {
    return colour(stream) ? "\033[0m" : "";
}

void cli_print_object(json_t *object, int digits) {
    (void)json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION((size_t)digits));
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(object);
}

json_t *cli_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

const char *cli_size(double bytes, char *text) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    for (; unit < 4 && bytes >= 999.5; unit++) {
        bytes /= 1000.0;
    }
    (void)snprintf(text, 24, bytes < 10.0 && unit ? "%.2f %s" : bytes < 100.0 && unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

void cli_spread_threads(void) {
    const long processors = sysconf(_SC_NPROCESSORS_CONF);
    cpu_set_t ours;
    if (sched_getaffinity(0, sizeof ours, &ours) == 0 && CPU_COUNT(&ours) == processors) {
        (void)setenv("POCL_AFFINITY", "1", 0);
    }
}

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cli_progress_begin(cli_progress *bar, const char *title) {
    const char *terminal = getenv("TERM");
    *bar = (cli_progress){.title = title, .start = now()};
    bar->visible = isatty(STDERR_FILENO) && !(terminal && strcmp(terminal, "dumb") == 0);
}

void cli_progress_at(cli_progress *bar, int64_t done, int64_t total) {
    enum { WIDTH = 32 };
    char cells[WIDTH + 1];
    double t = now();
    if (!bar->visible || total <= 0 || (done < total && t - bar->drawn < 0.1)) {
        return;
    }
    bar->drawn = t;
    int full = (int)((double)WIDTH * (double)done / (double)total);
    for (int i = 0; i < WIDTH; i++) {
        cells[i] = i < full ? '#' : '.';
    }
    cells[WIDTH] = 0;
    double left = done > 0 ? (t - bar->start) * (double)(total - done) / (double)done : 0.0;
    (void)fprintf(stderr, "\r%-26.26s [%s] %3d %%  %3.0f s left ", bar->title, cells, (int)(100 * done / total), left);
    (void)fflush(stderr);
}

void cli_progress_end(cli_progress *bar) {
    if (bar->visible) {
        (void)fprintf(stderr, "\r\033[K");
        (void)fflush(stderr);
    }
    bar->visible = false;
}
