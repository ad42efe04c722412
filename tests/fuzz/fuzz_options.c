/* fuzz_options.c - any words as the command line of `qemb bench`, any text as a number: taken or refused by exit code 2, never more.
 * A refusal is a line on stderr: run with -close_fd_mask=2. */
#include "cli/bench_cli.h"

#include <math.h>

#include "fuzz.h"

int fuzz_options(const uint8_t *bytes, size_t count) {
    char text[512] = "", *words[24] = {text};
    int argc = 1;
    int64_t whole = 0;
    double real = 0;
    static bench_command command;
    memcpy(text, bytes, count < sizeof text - 1 ? count : sizeof text - 1);
    PROMISE(!cli_integer(text, -5, 1000000, &whole) || (whole >= -5 && whole <= 1000000));
    PROMISE(!cli_real(text, -1.5, 1e9, &real) || (real >= -1.5 && real <= 1e9));
    for (char *word = strtok(text, " \n"); word && argc < 23; word = strtok(NULL, " \n")) {
        words[argc++] = word;
    }
    words[0] = (char[]){"bench"};
    words[argc] = NULL;
    memset(&command, 0, sizeof command);
    bench_options_default(&command.options);
    int code = bench_parse(argc, words, NULL, &command);
    PROMISE(code == CLI_DONE || code == CLI_USAGE);
    return 0;
}
