/* binary.c - programs to and from the cache of cache.h. What goes wrong here is as if there were no cache. */
#include <string.h>

#include "base/memory.h"
#include "opencl/opencl.h"

enum { MAX_DEVICES = 16 };
static const int64_t limit = 256 << 20; /* of all files together: some 5,000 programs of PoCL */

/* Adds a text that the driver says of itself; false: it does not. */
static bool mix_text(qemb__cache_key *key, cl_int error, const char *text) {
    qemb__cache_mix(key, text, strlen(text));
    return error == CL_SUCCESS;
}

void qemb__cl_binary_open(qemb__cl *cl) {
    char text[512] = "";
    cl_uint vendor = 0;
    bool known = qemb__cache_folder(cl->platform_name, cl->cache);
    known = known && clGetDeviceInfo(cl->device, CL_DEVICE_VENDOR_ID, sizeof vendor, &vendor, NULL) == CL_SUCCESS;
    qemb__cache_mix(&cl->identity, QEMB_VERSION_STRING, strlen(QEMB_VERSION_STRING));
    qemb__cache_mix(&cl->identity, &vendor, sizeof vendor);
    known = known && mix_text(&cl->identity, CL_SUCCESS, cl->name) && mix_text(&cl->identity, CL_SUCCESS, cl->driver);
    known = known && mix_text(&cl->identity, clGetDeviceInfo(cl->device, CL_DEVICE_VERSION, sizeof text - 1, text, NULL), text);
    known = known && mix_text(&cl->identity, clGetPlatformInfo(cl->platform, CL_PLATFORM_NAME, sizeof text - 1, text, NULL), text);
    known = known && mix_text(&cl->identity, clGetPlatformInfo(cl->platform, CL_PLATFORM_VERSION, sizeof text - 1, text, NULL), text);
    if (!known) {
        cl->cache[0] = '\0';
    }
}

qemb__cache_key qemb__cl_binary_key(const qemb__cl *cl, const char *const *texts, const size_t *sizes, int count, const char *options) {
    qemb__cache_key key = cl->identity;
    qemb__cache_mix(&key, options, strlen(options));
    for (int i = 0; i < count && cl->cache[0]; i++) {
        qemb__cache_mix(&key, texts[i], sizes[i]);
    }
    return key;
}

cl_program qemb__cl_binary_load(qemb__cl *cl, const qemb__cache_key *key, const char *options) {
    size_t bytes = 0;
    cl_int loaded = CL_SUCCESS;
    cl_int error = CL_SUCCESS;
    unsigned char *data = cl->cache[0] ? qemb__cache_get(cl->cache, key, &bytes) : NULL;
    if (!data) {
        return NULL;
    }
    const unsigned char *binary = data;
    cl_program program = clCreateProgramWithBinary(cl->context, 1, &cl->device, &bytes, &binary, &loaded, &error);
    qemb__free(data);
    if (error == CL_SUCCESS && loaded == CL_SUCCESS && clBuildProgram(program, 1, &cl->device, options, NULL, NULL) == CL_SUCCESS) {
        return program;
    }
    if (program) {
        (void)clReleaseProgram(program);
    }
    return NULL;
}

/* Which of a program's devices is ours, and how many bytes its binary has; -1: none. */
static int find_device(const qemb__cl *cl, cl_program program, size_t *bytes) {
    cl_device_id devices[MAX_DEVICES];
    size_t sizes[MAX_DEVICES] = {0};
    cl_uint count = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_NUM_DEVICES, sizeof count, &count, NULL) != CL_SUCCESS || count > MAX_DEVICES ||
        clGetProgramInfo(program, CL_PROGRAM_DEVICES, count * sizeof *devices, devices, NULL) != CL_SUCCESS ||
        clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, count * sizeof *sizes, sizes, NULL) != CL_SUCCESS) {
        return -1;
    }
    cl_uint k = 0;
    while (k < count && devices[k] != cl->device) {
        k++;
    }
    if (k == count || sizes[k] == 0 || sizes[k] >= (size_t)limit) {
        return -1;
    }
    *bytes = sizes[k];
    return (int)k;
}

void qemb__cl_binary_store(const qemb__cl *cl, const qemb__cache_key *key, cl_program program) {
    unsigned char *binaries[MAX_DEVICES] = {NULL}; /* NULL: that device's is not wanted */
    size_t bytes = 0;
    void *block = NULL;
    const int at = cl->cache[0] ? find_device(cl, program, &bytes) : -1;
    if (at < 0 || qemb__calloc((int64_t)bytes, 1, &block) != QEMB_OK) {
        return;
    }
    binaries[at] = block;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binaries, binaries, NULL) == CL_SUCCESS) {
        qemb__cache_put(cl->cache, key, block, bytes, limit);
    }
    qemb__free(block);
}
