/* loader.c - finds the OpenCL functions.
 *
 * In this order: the library that $QEMB_OPENCL_LIBRARY names; what the process has already (a program that links to OpenCL, a preloaded
 * tool); the system's libOpenCL. The library stays loaded until the process ends: drivers have threads of their own. */
#define QEMB__CL_NAMES
#include "opencl/loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#ifdef __APPLE__
#define SYSTEM_LIBRARY "/System/Library/Frameworks/OpenCL.framework/OpenCL"
#else
#define SYSTEM_LIBRARY "libOpenCL.so.1"
#endif

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
#define SYMBOL(call) {#call, offsetof(qemb__cl_table, call)},
    QEMB__CL_CALLS(SYMBOL)
#undef SYMBOL
};
enum { NUM_SYMBOLS = sizeof symbols / sizeof *symbols };

qemb__cl_table qemb__cl_calls;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[400]; /* "" when the table is full */

static void load(void) {
    const char *named = getenv("QEMB_OPENCL_LIBRARY");
    const char *path = named && *named ? named : SYSTEM_LIBRARY;
    void *library = RTLD_DEFAULT;
    if (path == named || !dlsym(RTLD_DEFAULT, symbols[0].name)) {
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            (void)snprintf(why, sizeof why, "%.300s", dlerror());
            return;
        }
    }
    for (int i = 0; i < NUM_SYMBOLS; i++) {
        void *function = dlsym(library, symbols[i].name);
        if (!function) {
            (void)snprintf(why, sizeof why, "%.200s has no %s; OpenCL 1.2 is wanted", path, symbols[i].name);
            return;
        }
        memcpy((char *)&qemb__cl_calls + symbols[i].offset, &function, sizeof function);
    }
}

qemb_status qemb__cl_load(const char *call) {
    (void)pthread_once(&once, load);
    if (*why) {
        return qemb__fail(QEMB_ERR_DEVICE,
                          "%s: OpenCL cannot be loaded (%s); install a loader (Debian: ocl-icd-libopencl1) or use \"reference\"", call,
                          why);
    }
    return QEMB_OK;
}
