/* cli.h - what the subcommands of `qemb` share: exit codes, one-line errors, numbers, a progress bar.
 *
 * Exit codes  0 done; 1 it was tried and failed (no device, a file, a bit that differs); 2 the command line is wrong.
 * Errors      one line on stderr that says what to do. Results go to stdout, progress to stderr and only to a terminal. */
#ifndef QEMB_CLI_CLI_H
#define QEMB_CLI_CLI_H

#include <qemb/qemb.h>
#include <stdio.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* A subcommand: argv[0] is its name. */
typedef struct cli_command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} cli_command;

int cli_devices(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_demo(int argc, char **argv);
int cli_train(int argc, char **argv);
int cli_serve_check(int argc, char **argv);
int cli_ladder(int argc, char **argv);
int cli_convert(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_lookup(int argc, char **argv);
int cli_tune(int argc, char **argv);

/* Prints "qemb COMMAND: sentence" and gives the exit code. cli_usage adds where the help is. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_failed(const char *command, const char *sentence);
/* What getopt_long refused (it returned '?' or ':'). */
int cli_bad_option(const char *command, char **argv, int answer);

/* Whole numbers (also 4k, 4M, 4G: powers of ten) and reals inside [low, high]; false for anything else. */
bool cli_integer(const char *text, int64_t low, int64_t high, int64_t *value);
bool cli_real(const char *text, double low, double high, double *value);
/* The position of `text` in a list that ends with NULL, or -1. */
int cli_choice(const char *text, const char *const *words);

/* The escape for bold text and back, "" when `stream` is no terminal or $NO_COLOR is set. */
const char *cli_bold(FILE *stream);
const char *cli_plain(FILE *stream);

/* Prints a JSON object as one line, at once, and gives it up; reals with so many digits (0: as many as tell one from the next). */
struct json_t;
void cli_print_object(struct json_t *object, int digits);
/* A real for such an object; null where JSON has no word for it (NaN, infinity). */
struct json_t *cli_number(double value);

/* Bytes as "2.16 GB"; `text` has 24 bytes. */
const char *cli_size(double bytes, char *text);

/* Has PoCL tie each of its threads to a processor ($POCL_AFFINITY, unless that is set): left to the scheduler, two of them often run on one
 * while another is idle, at half the speed. Only where every processor of the machine is this program's: PoCL counts them from 0 and stops at
 * one that it may not have. Before the first call of OpenCL, and before there are threads. */
void cli_spread_threads(void);

/* A bar on stderr, redrawn at most ten times a second, gone when it ends. Draws nothing when stderr is no terminal. */
typedef struct cli_progress {
    const char *title;
    double start, drawn;
    bool visible;
} cli_progress;
void cli_progress_begin(cli_progress *bar, const char *title);
void cli_progress_at(cli_progress *bar, int64_t done, int64_t total);
void cli_progress_end(cli_progress *bar);

#endif
