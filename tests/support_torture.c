/* support_torture.c - see support_torture.h. */
#include "support_torture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    walk w;
    const walk *start;
    int at; /* the step that comes next */
    const torture_faults *faults;
    const torture_bounds *bounds;
    torture_report *report;
    uint64_t *tape;          /* [steps + 1] after each step, without faults */
    walk_snapshot *snapshot; /* [steps + 1] */
    support_stacks *calls;   /* [steps][modes] where the stacks of its calls count */
    uint64_t *seen[3];       /* [seen_count] stacks that have failed, by mode */
    int64_t seen_count[3];
} run;

__attribute__((format(printf, 2, 3))) static void harmed(run *r, const char *format, ...) {
    const size_t used = strlen(r->report->text);
    va_list arguments;
    va_start(arguments, format);
    r->report->harmed++;
    if (used + 300 < sizeof r->report->text) {
        const int n =
            snprintf(r->report->text + used, sizeof r->report->text - used, "\n%s, %s: ", walk_steps[r->at].name, r->faults->site());
        (void)vsnprintf(r->report->text + used + n, sizeof r->report->text - used - (size_t)n, format, arguments);
    }
    va_end(arguments);
}

static bool skipped(const run *r, int step) {
    return walk_steps[step].opencl && !r->w.opencl;
}

static void close_walk(run *r) {
    walk_close(&r->w);
    r->at = 0;
    const char *left = r->faults->leaks();
    if (left) {
        harmed(r, "left behind: %s", left);
    }
}

/* Walks to a step without faults; afterwards the walk stands before it. */
static bool walk_to(run *r, int step) {
    if (r->at > step) {
        close_walk(r);
    }
    if (r->at == 0) {
        r->w = *r->start;
        r->report->walks++;
    }
    for (; r->at < step; r->at++) {
        if (!skipped(r, r->at) && walk_steps[r->at].run(&r->w) != QEMB_OK) {
            harmed(r, "without a fault: %s", qemb_last_error());
            return false;
        }
    }
    return true;
}

/* The same, and the stacks of the last step's calls are noted. */
static bool walk_and_note(run *r, int step) {
    if (step == 0 || !r->calls) {
        return walk_to(r, step);
    }
    if (!walk_to(r, step - 1)) {
        return false;
    }
    (void)r->faults->record(true, TORTURE_ONCE);
    const bool good = walk_to(r, step);
    for (int mode = 0; mode < 3; mode++) {
        r->calls[(size_t)(3 * (step - 1) + mode)] = *r->faults->record(false, (torture_mode)mode);
    }
    return good;
}

/* Whether this call of a step is to fail: the first of its way to a call, and of the ways every stride-th. */
static bool is_new(run *r, int step, torture_mode mode, int64_t at) {
    const support_stacks *calls = &r->calls[(size_t)(3 * step) + mode];
    if (at > calls->count || at > SUPPORT_STACKS) {
        return false;
    }
    for (int64_t i = 0; i < r->seen_count[mode]; i++) {
        if (r->seen[mode][i] == calls->stack[at - 1]) {
            return false;
        }
    }
    if (r->seen_count[mode] < SUPPORT_STACKS) {
        r->seen[mode][r->seen_count[mode]++] = calls->stack[at - 1];
    }
    return r->seen_count[mode] % r->bounds->stride == 0;
}

/* What a walk without faults reads and shows. */
static bool learn(run *r) {
    r->tape = calloc((size_t)walk_step_count + 1, sizeof *r->tape);
    r->snapshot = calloc((size_t)walk_step_count + 1, sizeof *r->snapshot);
    for (int mode = 0; r->bounds->each_way && mode < 3; mode++) {
        r->seen[mode] = calloc(SUPPORT_STACKS, sizeof *r->seen[mode]);
    }
    r->calls = r->bounds->each_way ? calloc(3 * (size_t)walk_step_count, sizeof *r->calls) : NULL;
    if (!r->tape || !r->snapshot || (r->bounds->each_way && (!r->calls || !r->seen[2]))) {
        abort();
    }
    for (int step = 0; step <= walk_step_count; step++) {
        if (!walk_and_note(r, step) || !walk_look(&r->w, &r->snapshot[step])) {
            return false;
        }
        r->tape[step] = r->w.tape;
    }
    close_walk(r);
    return true;
}

static void expect_same(run *r, int step, const char *when) {
    walk_snapshot now;
    if (!walk_look(&r->w, &now)) {
        harmed(r, "%s nothing can be read: %s", when, qemb_last_error());
        return;
    }
    const char *difference = walk_difference(&now, &r->snapshot[step]);
    if (difference) {
        harmed(r, "%s %s differs", when, difference);
    }
    if (r->w.tape != r->tape[step]) {
        harmed(r, "%s something else was read", when);
    }
}

static bool is_lost(run *r) {
    (void)(r->w.ctx && qemb_context_finish(r->w.ctx) != QEMB_OK); /* this one may be the first to hear of it */
    return r->w.ctx && qemb_context_finish(r->w.ctx) == QEMB_ERR_DEVICE && strstr(qemb_last_error(), "lost") != NULL;
}

/* One fault in the step that comes next. Whether one was given; the walk may have gone on, or have begun anew. */
static bool inject(run *r, int64_t at, int code, torture_mode mode) {
    const int step = r->at;
    r->faults->arm(at, code, mode);
    const qemb_status st = walk_steps[step].run(&r->w);
    char says[200];
    (void)snprintf(says, sizeof says, "%s", qemb_last_error());
    if (mode == TORTURE_FOR_GOOD && st != QEMB_OK && r->w.ctx) {
        (void)qemb_context_finish(r->w.ctx); /* whatever it says, it must come back */
    }
    const bool close_under_fire = mode == TORTURE_FOR_GOOD && (at + step) % 7 == 0;
    if (close_under_fire) {
        walk_close(&r->w);
    }
    const bool fired = r->faults->disarm();
    r->report->injected += fired;
    if (st != QEMB_OK && (!fired || !r->faults->right(st, mode))) {
        harmed(r, "%s (%s)", qemb_status_name(st), says);
    }
    r->report->refused += st != QEMB_OK;
    r->report->absorbed += fired && st == QEMB_OK && mode != TORTURE_ASYNCHRONOUS;
    if (close_under_fire) {
        close_walk(r);
    } else if (is_lost(r)) {
        r->report->lost++;
        if (getenv("QEMB_TORTURE_VERBOSE")) {
            (void)printf("lost in %s, %s: %s\n", walk_steps[step].name, r->faults->site(), qemb_last_error());
        }
        close_walk(r);
    } else if (fired && mode == TORTURE_ASYNCHRONOUS && r->w.ctx && strcmp(walk_steps[step].name, "context_from_cl") != 0) {
        harmed(r, "a command failed on the device and nobody heard of it");
    } else if (st == QEMB_OK) {
        r->at++;
        expect_same(r, step + 1, fired ? "absorbed, and" : "afterwards");
    } else if (!walk_steps[step].several) {
        expect_same(r, step, "refused, and");
    }
    return fired;
}

/* Every call of a step, every code of it, in one mode. */
static void torture_step(run *r, int step, torture_mode mode) {
    for (int64_t at = r->bounds->phase; r->report->harmed < 20; at += r->bounds->each_way ? 1 : r->bounds->stride) {
        int codes = 1;
        if (r->bounds->each_way && at > r->calls[(size_t)(3 * step) + mode].count) {
            return;
        }
        if (r->bounds->each_way && !is_new(r, step, mode, at)) {
            continue;
        }
        for (int code = 0; code < codes; code++) {
            if (!walk_to(r, step)) {
                return;
            }
            const int which = r->bounds->all_codes ? code : (int)(at + step + mode);
            if (!inject(r, at, which, mode)) {
                if (!r->bounds->each_way) {
                    return; /* the step has no such call any more */
                }
                break;
            }
            codes = r->bounds->all_codes ? r->faults->codes() : 1;
        }
    }
}

void torture_arm(torture_counter *counter, int64_t at, torture_mode mode) {
    *counter = (torture_counter){.armed = true, .for_good = mode == TORTURE_FOR_GOOD, .at = at};
}

bool torture_disarm(torture_counter *counter) {
    counter->armed = false;
    return counter->failed > 0;
}

bool torture_counts(torture_counter *counter) {
    if (!counter->armed) {
        return false;
    }
    counter->calls++;
    const bool now = counter->for_good ? counter->calls >= counter->at : counter->calls == counter->at;
    counter->failed += now;
    return now;
}

bool torture_all_ways(void) {
    const char *board = getenv("QEMB_SCOREBOARD");
    return (board && *board) || getenv("QEMB_ALL_WAYS") != NULL;
}

void torture(const walk *start, const torture_faults *faults, const torture_bounds *bounds, torture_report *report) {
    run r = {.start = start, .faults = faults, .bounds = bounds, .report = report};
    r.w = *start;
    if (learn(&r)) {
        for (int step = 0; step < walk_step_count && report->harmed < 20; step++) {
            if (skipped(&r, step)) {
                continue;
            }
            if (faults->asynchronous) {
                torture_step(&r, step, TORTURE_ASYNCHRONOUS);
            }
            torture_step(&r, step, TORTURE_FOR_GOOD);
            torture_step(&r, step, TORTURE_ONCE);
        }
    }
    for (int mode = 0; mode < 3 && getenv("QEMB_TORTURE_VERBOSE"); mode++) {
        (void)printf("mode %d: %lld ways\n", mode, (long long)r.seen_count[mode]);
    }
    close_walk(&r);
    for (int mode = 0; mode < 3; mode++) {
        free(r.seen[mode]);
    }
    free(r.calls);
    free(r.tape);
    free(r.snapshot);
}
