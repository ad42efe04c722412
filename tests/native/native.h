/* native.h - an OpenCL device of the tests' own: kernels compiled by clang for this processor, under its sanitizers.
 *
 * It is an ordinary driver (an .icd file names it), so that every test of the library runs on it unchanged. What it is for: a kernel
 * that reads or writes a byte outside a buffer stops with its line; each buffer also lies between canaries of 4 KiB that are compared
 * after each kernel; undefined behaviour stops; lines and branches are counted (tests/lanes/kernels.sh).
 *
 * Commands run when they are enqueued, or when the last user event they wait for is set. Work-items run one after the other; where a
 * program has barriers each is a fibre. Environment: QEMB_NATIVE_CACHE (folder of compiled programs), QEMB_NATIVE_SOURCE (top folder
 * of qemb), QEMB_NATIVE_FLAGS (for clang). */
#ifndef QEMB_TESTS_NATIVE_NATIVE_H
#define QEMB_TESTS_NATIVE_NATIVE_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <CL/cl_icd.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "items.h"

/* The memory sanitizer is told what has no value yet; absent otherwise. */
extern void __msan_poison(const void *at, size_t bytes) __attribute__((weak));

enum { NATIVE_ARGS = 64, NATIVE_CANARY = 4096 };

/* The loader finds the table of functions in the first word of every object. */
#define NATIVE_OBJECT                \
    const cl_icd_dispatch *dispatch; \
    cl_uint references

struct _cl_platform_id { NATIVE_OBJECT; };
struct _cl_device_id { NATIVE_OBJECT; };
extern struct _cl_device_id native_device;
struct _cl_context { NATIVE_OBJECT; };

typedef struct native_command native_command;
struct native_command {
    native_command *next;
    void (*run)(native_command *command);
    void (*done)(native_command *command); /* gives back what the command holds */
    cl_event event;                        /* or NULL */
    cl_uint num_waits;
    cl_event *waits;
    cl_mem from, to;
    size_t from_at, to_at, bytes;
    const void *source;
    void *target;
    unsigned char pattern[16];
    size_t pattern_bytes;
    struct native_launch *launch;
};

struct _cl_command_queue {
    NATIVE_OBJECT;
    cl_context context;
    cl_command_queue_properties properties;
    native_command *first, *last; /* waiting for user events */
};

struct _cl_event {
    NATIVE_OBJECT;
    cl_int status;
    cl_context context;
    cl_command_queue queue; /* NULL: a user event */
    cl_ulong when;
};

struct _cl_mem {
    NATIVE_OBJECT;
    cl_context context;
    cl_mem_flags flags;
    size_t bytes;
    unsigned char *raw;  /* canary, memory, canary; NULL: memory is the caller's */
    size_t raw_bytes;
    unsigned char *memory;
    void *host;
    struct native_farewell *farewells;
    cl_mem previous, next; /* all buffers, for the canaries */
};

struct _cl_program {
    NATIVE_OBJECT;
    cl_context context;
    char *text;
    char *log;
    void *library;
    native_items **items; /* the library's pointer to where its work-item stands */
    bool waits;
};

struct _cl_kernel {
    NATIVE_OBJECT;
    cl_program program;
    char name[128];
    void (*call)(void **args);
    cl_uint count;
    unsigned (*size)(unsigned i);
    size_t bytes[NATIVE_ARGS]; /* 0: not set */
    unsigned char *value[NATIVE_ARGS];
};

typedef struct native_launch {
    cl_kernel kernel;
    size_t global, local;
    size_t bytes[NATIVE_ARGS];
    unsigned char *value[NATIVE_ARGS];
} native_launch;

extern const cl_icd_dispatch native_dispatch;
extern pthread_mutex_t native_lock; /* held by every entry that changes an object */

#define NATIVE_NEW(type) ((type *)native_object(sizeof(type)))
void *native_object(size_t bytes);
void native_fail(const char *what, const char *detail); /* prints and aborts: a finding */

/* memory.c */
extern uint64_t native_launches, native_comparisons;
void native_canaries(const char *after);
bool native_is_buffer(cl_mem memory);
void native_mem_retain(cl_mem memory);
void native_mem_release(cl_mem memory);

/* queue.c */
cl_int native_enqueue(cl_command_queue queue, native_command *command, cl_uint num_waits, const cl_event *waits, cl_event *event, cl_bool blocking);
void native_progress(void); /* runs whatever need not wait any longer, in all queues */

/* program.c */
void native_launch_run(native_command *command);
void native_launch_done(native_command *command);

/* group.c: one work-group */
void native_group(const native_launch *launch, native_items *items, void **args);

/* answers a clGet*Info */
cl_int native_answer(const void *value, size_t bytes, size_t room, void *target, size_t *needed);

/* entries of the dispatch table, by file */
CL_API_ENTRY cl_int CL_API_CALL native_GetPlatformIDs(cl_uint, cl_platform_id *, cl_uint *);

#endif
