/* group.c - the work-items of a group, one after the other; where the program has barriers, each as a fibre with a stack of its own. */
#include <sys/mman.h>

#include "native.h"

/* The address sanitizer wants to know which stack is in use; absent otherwise. */
extern void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t bytes) __attribute__((weak));
extern void __sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *bytes) __attribute__((weak));

#ifndef __x86_64__
#error "the switch between stacks is written for x86-64"
#endif

enum { STACK = 256 << 10, MAX_ITEMS = 1024, SAVED = 6 };

/* Keeps what a call must preserve on the stack in use, leaves the stack in *from and goes on with `to`. (swapcontext would do, but the
 * address sanitizer warns of it, and it calls the kernel twice.) */
void native_switch(void **from, void *to);
__asm__(".text\n"
        ".local native_switch\n"
        ".type native_switch, @function\n"
        "native_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n");

typedef struct fibre {
    void *at; /* its stack pointer */
    void *fake;
    unsigned char *stack;
    size_t item;
    bool ended;
} fibre;

static fibre fibres[MAX_ITEMS];
static void *scheduler;
static void *scheduler_fake;
static const void *scheduler_bottom;
static size_t scheduler_bytes;
static const native_launch *launch;
static void **arguments;
static native_items *place;
static fibre *running;

static void stand(native_items *items, size_t item) {
    items->local = item;
    items->global = items->group * items->local_size + item;
}

/* From a fibre back to the scheduler; `last`: for good. */
static void yield(fibre *self, bool last) {
    if (__sanitizer_start_switch_fiber) {
        __sanitizer_start_switch_fiber(last ? NULL : &self->fake, scheduler_bottom, scheduler_bytes);
    }
    native_switch(&self->at, scheduler);
    if (__sanitizer_finish_switch_fiber) {
        __sanitizer_finish_switch_fiber(self->fake, &scheduler_bottom, &scheduler_bytes);
    }
}

static void come_to_barrier(native_items *items) {
    (void)items;
    yield(running, false);
}

/* Of a group of one. */
static void pass_barrier(native_items *items) {
    (void)items;
}

static void fibre_main(void) {
    fibre *self = running;
    if (__sanitizer_finish_switch_fiber) {
        __sanitizer_finish_switch_fiber(NULL, &scheduler_bottom, &scheduler_bytes);
    }
    launch->kernel->call(arguments);
    self->ended = true;
    yield(self, true);
}

static void resume(fibre *f) {
    running = f;
    stand(place, f->item);
    if (__sanitizer_start_switch_fiber) {
        __sanitizer_start_switch_fiber(&scheduler_fake, f->stack, STACK);
    }
    native_switch(&scheduler, f->at);
    if (__sanitizer_finish_switch_fiber) {
        __sanitizer_finish_switch_fiber(scheduler_fake, NULL, NULL);
    }
}

/* Every fibre to its next barrier or its end, until all have ended; a barrier that some items pass and others end without is a finding.
 * The order changes from round to round, so that a missing barrier shows as a wrong answer. */
static void in_step(size_t count) {
    size_t ended = 0;
    for (size_t i = 0; i < count; i++) {
        fibre *f = &fibres[i];
        if (!f->stack) {
            f->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        }
        f->item = i;
        f->ended = false;
        f->fake = NULL;
        /* as if fibre_main had been called: six registers, its address, and an end that is never returned to */
        void **top = (void **)(void *)(f->stack + STACK - 24);
        void (*entry)(void) = fibre_main;
        memset(top - SAVED - 1, 0, (SAVED + 2) * sizeof *top);
        memcpy(top - 1, &entry, sizeof entry);
        f->at = top - 1 - SAVED;
    }
    for (unsigned round = 0; ended < count; round++) {
        size_t before = ended;
        for (size_t k = 0; k < count; k++) {
            fibre *f = &fibres[round % 2 ? count - 1 - k : k];
            if (!f->ended) {
                resume(f);
                ended += f->ended;
            }
        }
        if (ended != before && ended != count) {
            native_fail("not every work-item comes to a barrier of", launch->kernel->name);
        }
    }
}

void native_group(const native_launch *l, native_items *items, void **args) {
    if (l->local > MAX_ITEMS) {
        native_fail("too many work-items in a group of", l->kernel->name);
    }
    if (l->kernel->program->waits && l->local > 1) {
        launch = l;
        arguments = args;
        place = items;
        items->barrier = come_to_barrier;
        in_step(l->local);
        return;
    }
    items->barrier = pass_barrier;
    for (size_t i = 0; i < l->local; i++) {
        stand(items, i);
        l->kernel->call(args);
    }
}
