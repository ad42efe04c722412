/* main.c - `qemb`: the table of subcommands. */
#include "cli.h"

#include <string.h>

static const cli_command commands[] = {
    {"devices", "the devices there are, and what the library makes of them", cli_devices},

    {"demo", "the main job: a click log through 26 quantised tables, timed and checked", cli_demo},
    {"train", "a recommendation model on a click log, its tables quantised; scored, converted, saved", cli_train},
    {"serve-check", "a converted model: scored, and compared with the trained one, bit for bit", cli_serve_check},
    {"ladder", "how good is each way to quantise: one table, one picture", cli_ladder},
    {"convert", "pack the tables of a safetensors file to 8, 4 or 2 bits", cli_convert},
    {"inspect", "tensors, tables, ranges and errors of a safetensors file", cli_inspect},
    {"lookup", "rows or bags of a table in a file", cli_lookup},
    {"tune", "measure the variants of every kernel, and keep the fastest for this device", cli_tune},
    {"bench", "time one operation, a file of shapes, or everything", cli_bench},
};
enum { NUM_COMMANDS = sizeof commands / sizeof *commands };

static void help(void) {
    (void)printf("qemb %s - quantised embedding tables on any OpenCL device\n\nusage: qemb COMMAND [options]\n\n", qemb_version());
    for (int i = 0; i < NUM_COMMANDS; i++) {
        (void)printf("  %-12s %s\n", commands[i].name, commands[i].summary);
    }
    (void)printf("\n  qemb COMMAND --help   the options of a command\n"
                 "  qemb --version        the version\n\n"
                 "exit codes: 0 done; 1 tried and failed; 2 wrong command line\n"
                 "environment: QEMB_DEVICE names the device (see `qemb devices`); NO_COLOR switches colours off;\n"
                 "             POCL_AFFINITY=0 does not tie the threads of PoCL to processors\n");
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "--help";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        help();
        return CLI_DONE;
    }
    if (strcmp(word, "--version") == 0) {
        (void)printf("qemb %s\n", qemb_version());
        return CLI_DONE;
    }
    cli_spread_threads();
    for (int i = 0; i < NUM_COMMANDS; i++) {
        if (strcmp(word, commands[i].name) == 0) {
            int code = commands[i].run(argc - 1, argv + 1);
            /* Results that did not reach their reader are a failure, a full disk for example. */
            return (fflush(stdout) == 0 && !ferror(stdout)) || code != CLI_DONE ? code
                                                                                : cli_failed(word, "the output could not be written");
        }
    }
    return cli_usage("", "unknown command \"%s\"", word);
}
