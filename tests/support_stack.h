/* support_stack.h - from where a call came: a hash of its whole stack, so that each way to a call is made to fail once. */
#ifndef QEMB_TESTS_SUPPORT_STACK_H
#define QEMB_TESTS_SUPPORT_STACK_H

#include <execinfo.h>
#include <stdint.h>

enum { SUPPORT_STACKS = 4096, SUPPORT_FRAMES = 48 };

typedef struct support_stacks {
    int64_t count; /* of calls; of the first SUPPORT_STACKS the stack is kept */
    uint64_t stack[SUPPORT_STACKS];
} support_stacks;

static inline void support_stack_note(support_stacks *to) {
    void *frames[SUPPORT_FRAMES];
    const int n = backtrace(frames, SUPPORT_FRAMES);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < n; i++) {
        hash = (hash ^ (uint64_t)(uintptr_t)frames[i]) * UINT64_C(0x100000001b3);
        hash ^= hash >> 29;
    }
    if (to->count < SUPPORT_STACKS) {
        to->stack[to->count] = hash;
    }
    to->count++;
}

#endif
