/* device.c - see device.h. */
#include "dlrm/device.h"

#include <string.h>

#include "dlrm/gemm.h"

extern const char dlrm_kernel_text[]; /* dlrm.cl, put here by the build */

qemb_status dlrm_cl_failed(cl_int error, const char *what) {
    bool memory = error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_RESOURCES || error == CL_OUT_OF_HOST_MEMORY;
    return dlrm_fail(memory ? QEMB_ERR_NOMEM : QEMB_ERR_DEVICE, "dlrm: %s: OpenCL error %d", what, (int)error);
}

/* ---- memory and launches ------------------------------------------------------------------------------------------------- */

qemb_status dlrm_memory_create(const dlrm_device *d, int64_t count, cl_mem *memory) {
    qemb_status st = QEMB_OK;
    cl_int error = CL_SUCCESS;
    const cl_float zero = 0.0f;
    const size_t bytes = sizeof(float) * (size_t)(count > 0 ? count : 1);
    *memory = clCreateBuffer(d->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
    DLRM_CL(error, "clCreateBuffer");
    DLRM_CL(clEnqueueFillBuffer(d->queue, *memory, &zero, sizeof zero, 0, bytes, 0, NULL, NULL), "clEnqueueFillBuffer");
done:
    return st;
}

void dlrm_memory_destroy(cl_mem *memory) {
    if (*memory) {
        (void)clReleaseMemObject(*memory);
        *memory = NULL;
    }
}

qemb_status dlrm_memory_write(const dlrm_device *d, cl_mem memory, int64_t count, const float *source) {
    qemb_status st = QEMB_OK;
    DLRM_CL(clEnqueueWriteBuffer(d->queue, memory, CL_TRUE, 0, sizeof(float) * (size_t)count, source, 0, NULL, NULL),
            "clEnqueueWriteBuffer");
done:
    return st;
}

qemb_status dlrm_memory_read(const dlrm_device *d, cl_mem memory, int64_t count, float *target) {
    qemb_status st = QEMB_OK;
    DLRM_CL(clEnqueueReadBuffer(d->queue, memory, CL_TRUE, 0, sizeof(float) * (size_t)count, target, 0, NULL, NULL), "clEnqueueReadBuffer");
done:
    return st;
}

qemb_status dlrm_launch(const dlrm_device *d, dlrm_kernel kernel, int64_t items, const dlrm_argument *arguments, int count) {
    qemb_status st = QEMB_OK;
    const size_t local = 1; /* a work-item's own loop is the vector; groups go to the device's cores */
    const size_t global = (size_t)items;
    for (int i = 0; i < count; i++) {
        DLRM_CL(clSetKernelArg(d->kernel[kernel], (cl_uint)i, arguments[i].size, arguments[i].value), "clSetKernelArg");
    }
    DLRM_CL(clEnqueueNDRangeKernel(d->queue, d->kernel[kernel], 1, NULL, &global, &local, 0, NULL, NULL), "clEnqueueNDRangeKernel");
done:
    return st;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static qemb_status build(dlrm_device *d) {
    static const char *const names[DLRM_KERNEL_COUNT] = {
#define DLRM_KERNEL_NAME(name) #name,
        DLRM_KERNEL_LIST(DLRM_KERNEL_NAME)
#undef DLRM_KERNEL_NAME
    };
    qemb_status st = QEMB_OK;
    cl_int error = CL_SUCCESS;
    const char *text = dlrm_kernel_text;
    d->program = clCreateProgramWithSource(d->context, 1, &text, NULL, &error);
    DLRM_CL(error, "clCreateProgramWithSource");
    if (clBuildProgram(d->program, 1, &d->device, "-cl-std=CL1.2", NULL, NULL) != CL_SUCCESS) {
        char log[800] = "";
        (void)clGetProgramBuildInfo(d->program, d->device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
        DLRM_REQUIRE(false, QEMB_ERR_BUILD, "dlrm: the kernels do not compile: %s", log);
    }
    for (int i = 0; i < DLRM_KERNEL_COUNT; i++) {
        d->kernel[i] = clCreateKernel(d->program, names[i], &error);
        DLRM_CL(error, names[i]);
    }
done:
    return st;
}

qemb_status dlrm_device_create(const char *name, dlrm_device **out) {
    qemb_status st = QEMB_OK;
    cl_int error = CL_SUCCESS;
    dlrm_device *d = NULL;
    DLRM_NEW(d, 1);
    d->shared = !(name && strcmp(name, "reference") == 0);
    /* The library knows how to find a device by name; the queue is ours, because it is to be profiled. */
    DLRM_LIB(qemb_context_create(d->shared ? name : "opencl", &d->finder));
    st = qemb_context_cl_objects(d->finder, &d->context, &d->device, NULL);
    if (st == QEMB_ERR_UNSUPPORTED) { /* $QEMB_DEVICE named the reference engine */
        qemb_context_destroy(d->finder);
        d->finder = NULL;
        d->shared = false;
        DLRM_LIB(qemb_context_create("opencl", &d->finder));
        st = qemb_context_cl_objects(d->finder, &d->context, &d->device, NULL);
    }
    DLRM_LIB(st);
    DLRM_CL(clRetainContext(d->context), "clRetainContext");
    d->queue = clCreateCommandQueue(d->context, d->device, CL_QUEUE_PROFILING_ENABLE, &error);
    DLRM_CL(error, "clCreateCommandQueue");
    if (d->shared) {
        DLRM_LIB(qemb_context_from_cl(d->context, d->device, d->queue, &d->ctx));
    } else {
        DLRM_LIB(qemb_context_create("reference", &d->ctx));
    }
    DLRM_TRY(build(d));
    DLRM_TRY(dlrm_gemm_choose(d));
    *out = d;
    d = NULL;
done:
    dlrm_device_destroy(d);
    return st;
}

void dlrm_device_destroy(dlrm_device *d) {
    if (!d) {
        return;
    }
    for (int i = 0; i < DLRM_KERNEL_COUNT; i++) {
        if (d->kernel[i]) {
            (void)clReleaseKernel(d->kernel[i]);
        }
    }
    if (d->program) {
        (void)clReleaseProgram(d->program);
    }
    dlrm_memory_destroy(&d->temporary);
    qemb_context_destroy(d->ctx);
    if (d->queue) {
        (void)clFinish(d->queue);
        (void)clReleaseCommandQueue(d->queue);
        (void)clReleaseContext(d->context);
    }
    qemb_context_destroy(d->finder);
    free(d);
}
