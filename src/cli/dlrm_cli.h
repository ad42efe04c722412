/* dlrm_cli.h - what `qemb train`, `qemb serve-check` and `qemb ladder` share: options of data and model, a bar, Ctrl-C. */
#ifndef QEMB_CLI_DLRM_CLI_H
#define QEMB_CLI_DLRM_CLI_H

#include <getopt.h>

#include "cli/cli.h"
#include "dlrm/convert.h"
#include "dlrm/train.h"

typedef struct dlrm_cli {
    const char *command, *device;
    dlrm_data_desc data;
    dlrm_config config;
    int64_t epochs;
    double lr; /* 0: the optimizer's */
    const char *save, *resume, *predictions;
    int64_t save_every, seeds;
    const char *picture, *from;
    bool json;
} dlrm_cli;

/* Defaults; then every option of the command line that `letters` allows: d data, m model, t training, p predictions,
 * l ladder. Gives CLI_DONE, CLI_USAGE, or -1 when
 * --help was answered. Words that are no options are left at argv[optind]. */
int dlrm_cli_parse(dlrm_cli *o, const char *letters, const char *help, int argc, char **argv);

/* One sentence of dlrm_last_error(). */
int dlrm_cli_failed(const dlrm_cli *o);

/* Ctrl-C asks for an end, a second one gets it. */
void dlrm_cli_catch_interrupts(void);
bool dlrm_cli_interrupted(void);

/* A dlrm_watch that draws `user`, a dlrm_cli_bar: rows a second, loss, time left. Stops on Ctrl-C. */
typedef struct dlrm_cli_bar {
    cli_progress bar;
    char title[64];
    const char *phase;
    double began;
    int64_t first; /* rows done when it began */
} dlrm_cli_bar;
bool dlrm_cli_watch(void *user, const dlrm_progress *progress);
void dlrm_cli_bar_end(dlrm_cli_bar *bar);

const char *dlrm_method_name(dlrm_method method); /* "qat", "ptq", "ptq-greedy", "per-table" */

/* predictions and labels as an npy array [2][rows]. */
qemb_status dlrm_cli_keep_predictions(const char *path, const dlrm_predictions *predictions);

/* Rows that did not parse, named on stderr. */
void dlrm_cli_report_faults(const dlrm_cli *o, const dlrm_data *data);

#endif
