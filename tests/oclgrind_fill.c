/* oclgrind_fill.c - preloaded under Oclgrind: a fill becomes a write. Oclgrind 21.10 forgets that a filled buffer is initialised (a kernel
 * of two lines over a filled buffer shows it), and would report every value that the library set to zero. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdlib.h>
#include <string.h>

cl_int CL_API_CALL clEnqueueFillBuffer(cl_command_queue queue, cl_mem memory, const void *pattern, size_t pattern_bytes, size_t offset,
                                       size_t bytes, cl_uint num_waits, const cl_event *waits, cl_event *event) {
    char *text = malloc(bytes ? bytes : 1);
    if (!text) {
        return CL_OUT_OF_HOST_MEMORY;
    }
    for (size_t i = 0; i < bytes; i += pattern_bytes) {
        memcpy(text + i, pattern, pattern_bytes);
    }
    cl_int error = clEnqueueWriteBuffer(queue, memory, CL_TRUE, offset, bytes, text, num_waits, waits, event);
    free(text);
    return error;
}
