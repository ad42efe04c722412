/* bench_cli.h - the parts of `qemb bench`: its options, its output. */
#ifndef QEMB_CLI_BENCH_CLI_H
#define QEMB_CLI_BENCH_CLI_H

#include "bench/bench.h"
#include "cli/cli.h"

/* A command line, or a line of a shapes file. */
typedef struct bench_command {
    const bench_operation *operation;
    bench_options options;
    char device[256];
    const char *shapes, *only, *full;
    bool json, help;
} bench_command;

/* Reads argv (argv[0] is skipped; the first word that is no option is the operation). Gives CLI_DONE or prints and gives CLI_USAGE.
 * `shape` is the name of a shape, NULL on the command line itself; its line starts from the options in *command. */
int bench_parse(int argc, char **argv, const char *shape, bench_command *command);

/* Output: JSON, one object a line, or a table; and the file of results that `--full` keeps. */
void bench_print_json(const bench_report *report);
void bench_print_text(const bench_report *report);
void bench_write_tsv_header(FILE *file);
void bench_write_tsv(FILE *file, const bench_report *report);

#endif
