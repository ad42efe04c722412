/* support_torture.h - every step of the walk with every fault: nothing may crash, leak or be half done.
 *
 * A step is tried again and again, with its first, second, ... call failing, until no fault fires. After each failure: the status is of the
 * right class; what is visible is what it was, or the context says that it is lost; the step then succeeds and gives what it gave without
 * faults. Where a context is lost (or a fault was absorbed) the walk begins anew. */
#ifndef QEMB_TESTS_SUPPORT_TORTURE_H
#define QEMB_TESTS_SUPPORT_TORTURE_H

#include "support_stack.h"
#include "support_walk.h"

typedef enum torture_mode { TORTURE_ONCE, TORTURE_FOR_GOOD, TORTURE_ASYNCHRONOUS } torture_mode;

/* Which of the calls that are counted fails: the at-th since it was armed, or that one and all behind it. */
typedef struct torture_counter {
    bool armed, for_good;
    int64_t at, calls, failed;
} torture_counter;

void torture_arm(torture_counter *counter, int64_t at, torture_mode mode);
bool torture_disarm(torture_counter *counter); /* whether any call failed since */
bool torture_counts(torture_counter *counter); /* one more call: whether it fails; only an armed counter counts */

/* Whoever makes calls fail. */
typedef struct torture_faults {
    void (*arm)(int64_t at, int code, torture_mode mode);        /* the at-th call from now on, with the code-th of its codes */
    bool (*disarm)(void);                                        /* whether any fault was given since */
    int (*codes)(void);                                          /* how many codes the call that failed last has */
    bool (*right)(qemb_status st, torture_mode mode);            /* st fits the failure */
    const char *(*site)(void);                                   /* the call that failed last, and its code */
    const char *(*leaks)(void);                                  /* after everything is destroyed: what is still there, or NULL */
    const support_stacks *(*record)(bool on, torture_mode mode); /* notes the stacks of all calls; off: what was noted of a mode's calls */
    bool asynchronous;                                           /* the third mode exists */
} torture_faults;

typedef struct torture_bounds {
    int64_t stride; /* only every stride-th call of a step fails, beginning at `phase` (from 1); 1: all */
    int64_t phase;
    bool all_codes;
    bool each_way; /* of the calls only the first of each way to a call (by its stack); stride and phase count ways */
} torture_bounds;

typedef struct torture_report {
    int64_t injected, refused, absorbed, lost, walks;
    int64_t harmed; /* failures of any of the rules; the first few are told in `text` */
    char text[4000];
} torture_report;

/* $QEMB_SCOREBOARD or $QEMB_ALL_WAYS: every way to a call fails, not a share of them. */
bool torture_all_ways(void);

void torture(const walk *start, const torture_faults *faults, const torture_bounds *bounds, torture_report *report);

#endif
