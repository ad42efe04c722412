/* test_cli_threads.c - when the program ties PoCL's threads to processors. */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

/* Lets this process run on one processor more or less than the machine has: on its first alone. */
static void keep_first_processor(void) {
    cpu_set_t all;
    cpu_set_t first;
    size_t processor = 0;
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(processor, &all)) {
        processor++;
    }
    CPU_ZERO(&first);
    CPU_SET(processor, &first);
    cr_assert_eq(sched_setaffinity(0, sizeof first, &first), 0);
}

static bool has_every_processor(void) {
    cpu_set_t all;
    return sched_getaffinity(0, sizeof all, &all) == 0 && CPU_COUNT(&all) == sysconf(_SC_NPROCESSORS_CONF);
}

Test(cli_threads, whole_machine,
     .description = "threads: every processor is ours, PoCL ties its threads to them; elsewhere it is left alone") {
    unsetenv("POCL_AFFINITY");
    cli_spread_threads();
    const char *now = getenv("POCL_AFFINITY");
    cr_assert(has_every_processor() ? now && now[0] == '1' && !now[1] : !now);
}

Test(cli_threads, a_part, .description = "threads: some processors are ours, PoCL's threads are left to the scheduler") {
    unsetenv("POCL_AFFINITY");
    keep_first_processor();
    cli_spread_threads();
    cr_assert(has_every_processor() || !getenv("POCL_AFFINITY")); /* a machine of one processor is whole */
}

Test(cli_threads, said, .description = "threads: the user said otherwise, that stays") {
    setenv("POCL_AFFINITY", "0", 1);
    cli_spread_threads();
    cr_assert_str_eq(getenv("POCL_AFFINITY"), "0");
}
