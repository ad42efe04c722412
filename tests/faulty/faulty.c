/* faulty.c - the qemb program with its calls of the library, of OpenCL and of the system bent, so that a test can make one of them fail.
 *
 * The linker sends the calls here (--wrap); those that the library makes itself go through untouched. The environment tells which fails:
 *   QEMB_FAULT_CALL="N CODE FOR_GOOD"   the N-th call (from 1) with the CODE-th of the planted statuses, or every call from that one on
 *   QEMB_FAULT_WAYS=FILE                at the end: whether a failure was given, then "N NAME" of the first call of each way, where a way
 *                                       is the whole stack that leads to a call
 * A planted status has the sentence "NAME: planted". Bandwidths are not measured: a run takes milliseconds. */
#include <qemb/qemb.h>
#include <qemb/qemb_io.h>
#include <qemb/qemb_opencl.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/status.h"
#include "support_stack.h"

enum { MOST_WAYS = 1024 };

static _Thread_local int depth; /* of calls into the library */
static struct {
    bool begun, for_good;
    long at, calls, given;
    int code;
    int count; /* of ways */
    long first[MOST_WAYS];
    const char *name[MOST_WAYS];
    uint64_t stack[MOST_WAYS];
    pthread_t thread; /* main's; calls of others are left alone: their order is not the same in every run */
} faulty;

/* Before the counts of a coverage build are written: those calls are none of the program's. */
static void report(void) {
    const char *path = getenv("QEMB_FAULT_WAYS");
    depth = 1;
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        (void)fprintf(file, "%ld\n", faulty.given);
        for (int i = 0; i < faulty.count; i++) {
            (void)fprintf(file, "%ld %s\n", faulty.first[i], faulty.name[i]);
        }
        (void)fclose(file);
    }
}

static void note(const char *name) {
    support_stacks stack = {0};
    support_stack_note(&stack);
    for (int i = 0; i < faulty.count; i++) {
        if (faulty.stack[i] == stack.stack[0]) {
            return;
        }
    }
    if (faulty.count < MOST_WAYS) {
        faulty.first[faulty.count] = faulty.calls;
        faulty.name[faulty.count] = name;
        faulty.stack[faulty.count++] = stack.stack[0];
    }
}

/* Whether this call is the one. */
static bool fails(const char *name) {
    if (depth > 0 || (faulty.begun && !pthread_equal(faulty.thread, pthread_self()))) {
        return false;
    }
    if (!faulty.begun) {
        const char *text = getenv("QEMB_FAULT_CALL");
        int for_good = 0;
        faulty.begun = true;
        faulty.thread = pthread_self();
        if (text && sscanf(text, "%ld %d %d", &faulty.at, &faulty.code, &for_good) == 3) {
            faulty.for_good = for_good != 0;
        }
        (void)atexit(report);
    }
    faulty.calls++;
    if (faulty.at == 0) {
        depth++;
        note(name);
        depth--;
    }
    const bool now = faulty.at > 0 && (faulty.for_good ? faulty.calls >= faulty.at : faulty.calls == faulty.at);
    faulty.given += now;
    return now;
}

static qemb_status planted(const char *name) {
    static const qemb_status codes[] = {QEMB_ERR_NOMEM, QEMB_ERR_DEVICE, QEMB_ERR_IO, QEMB_ERR_UNSUPPORTED};
    return qemb__fail(codes[(size_t)faulty.code % (sizeof codes / sizeof *codes)], "%s: planted", name);
}

/* ---- the library: of every function that returns a status --------------------------------------------------------------------- */

#include "faulty_calls.inc"

/* ---- OpenCL, as far as the program calls it by itself ------------------------------------------------------------------------- */

/* CL(function, parameters, arguments): an error is the result. */
#define CL(function, parameters, arguments)                                                                                                \
    cl_int __real_##function parameters;                                                                                                   \
    cl_int __wrap_##function parameters;                                                                                                   \
    cl_int __wrap_##function parameters {                                                                                                  \
        return fails(#function) ? CL_OUT_OF_RESOURCES : __real_##function arguments;                                                       \
    }

/* CREATE(function, type, parameters, arguments): the last parameter is `cl_int *error`. */
#define CREATE(function, type, parameters, arguments)                                                                                      \
    type __real_##function parameters;                                                                                                     \
    type __wrap_##function parameters;                                                                                                     \
    type __wrap_##function parameters {                                                                                                    \
        if (fails(#function)) {                                                                                                            \
            *error = CL_OUT_OF_HOST_MEMORY;                                                                                                \
            return NULL;                                                                                                                   \
        }                                                                                                                                  \
        return __real_##function arguments;                                                                                                \
    }

#define EVENTS      cl_uint n, const cl_event *list, cl_event *event
#define GIVE_EVENTS n, list, event

CREATE(clCreateBuffer, cl_mem, (cl_context c, cl_mem_flags flags, size_t bytes, void *host, cl_int *error), (c, flags, bytes, host, error))
CREATE(clCreateCommandQueue, cl_command_queue, (cl_context c, cl_device_id d, cl_command_queue_properties how, cl_int *error),
       (c, d, how, error))
CREATE(clCreateKernel, cl_kernel, (cl_program p, const char *name, cl_int *error), (p, name, error))
CREATE(clCreateProgramWithSource, cl_program, (cl_context c, cl_uint n, const char **texts, const size_t *sizes, cl_int *error),
       (c, n, texts, sizes, error))
CL(clBuildProgram,
   (cl_program p, cl_uint n, const cl_device_id *d, const char *options, void(CL_CALLBACK *notify)(cl_program, void *), void *user),
   (p, n, d, options, notify, user))
CL(clEnqueueFillBuffer, (cl_command_queue q, cl_mem m, const void *pattern, size_t size, size_t offset, size_t bytes, EVENTS),
   (q, m, pattern, size, offset, bytes, GIVE_EVENTS))
CL(clEnqueueMarkerWithWaitList, (cl_command_queue q, EVENTS), (q, GIVE_EVENTS))
CL(clEnqueueNDRangeKernel,
   (cl_command_queue q, cl_kernel k, cl_uint d, const size_t *from, const size_t *global, const size_t *local, EVENTS),
   (q, k, d, from, global, local, GIVE_EVENTS))
CL(clEnqueueReadBuffer, (cl_command_queue q, cl_mem m, cl_bool wait, size_t offset, size_t bytes, void *target, EVENTS),
   (q, m, wait, offset, bytes, target, GIVE_EVENTS))
CL(clEnqueueWriteBuffer, (cl_command_queue q, cl_mem m, cl_bool wait, size_t offset, size_t bytes, const void *source, EVENTS),
   (q, m, wait, offset, bytes, source, GIVE_EVENTS))
CL(clFinish, (cl_command_queue q), (q))
CL(clFlush, (cl_command_queue q), (q))
CL(clGetDeviceInfo, (cl_device_id d, cl_device_info what, size_t size, void *value, size_t *needed), (d, what, size, value, needed))
CL(clGetEventProfilingInfo, (cl_event e, cl_profiling_info what, size_t size, void *value, size_t *needed), (e, what, size, value, needed))
CL(clGetMemObjectInfo, (cl_mem m, cl_mem_info what, size_t size, void *value, size_t *needed), (m, what, size, value, needed))
CL(clGetPlatformInfo, (cl_platform_id p, cl_platform_info what, size_t size, void *value, size_t *needed), (p, what, size, value, needed))
CL(clRetainContext, (cl_context c), (c))
CL(clSetKernelArg, (cl_kernel k, cl_uint at, size_t size, const void *value), (k, at, size, value))
CL(clWaitForEvents, (cl_uint n, const cl_event *list), (n, list))

/* ---- the system --------------------------------------------------------------------------------------------------------------- */

/* SYSTEM(function, type, what failing gives, its errno, parameters, arguments) */
#define SYSTEM(function, type, failed, number, parameters, arguments)                                                                      \
    type __real_##function parameters;                                                                                                     \
    type __wrap_##function parameters;                                                                                                     \
    type __wrap_##function parameters {                                                                                                    \
        if (fails(#function)) {                                                                                                            \
            errno = number;                                                                                                                \
            return failed;                                                                                                                 \
        }                                                                                                                                  \
        return __real_##function arguments;                                                                                                \
    }

SYSTEM(malloc, void *, NULL, ENOMEM, (size_t bytes), (bytes))
SYSTEM(calloc, void *, NULL, ENOMEM, (size_t items, size_t size), (items, size))
SYSTEM(strndup, char *, NULL, ENOMEM, (const char *text, size_t most), (text, most))
SYSTEM(fopen, FILE *, NULL, EMFILE, (const char *path, const char *mode), (path, mode))
SYSTEM(popen, FILE *, NULL, EMFILE, (const char *command, const char *mode), (command, mode))
SYSTEM(rename, int, -1, EIO, (const char *from, const char *to), (from, to))
SYSTEM(mkdtemp, char *, NULL, EACCES, (char *name), (name))
SYSTEM(memfd_create, int, -1, EMFILE, (const char *name, unsigned flags), (name, flags))
SYSTEM(ftruncate, int, -1, ENOSPC, (int fd, off_t size), (fd, size))
SYSTEM(mmap, void *, MAP_FAILED, ENOMEM, (void *at, size_t bytes, int protection, int flags, int fd, off_t offset),
       (at, bytes, protection, flags, fd, offset))

/* A full disk: the file is closed all the same. */
int __real_fclose(FILE *file);
int __wrap_fclose(FILE *file);
int __wrap_fclose(FILE *file) {
    const bool failed = fails("fclose");
    const int st = __real_fclose(file);
    errno = failed ? ENOSPC : errno;
    return failed ? EOF : st;
}
