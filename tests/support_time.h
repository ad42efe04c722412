/* support_time.h - processor time of this process, all threads: what work costs, whatever else the machine does. */
#ifndef QEMB_TESTS_SUPPORT_TIME_H
#define QEMB_TESTS_SUPPORT_TIME_H

#include <time.h>

static inline double support_processor_seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
