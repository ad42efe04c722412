/* device.h - one OpenCL device for the dense layers and, unless the reference engine was asked for, for the tables too. */
#ifndef QEMB_DLRM_DEVICE_H
#define QEMB_DLRM_DEVICE_H

#include <qemb/qemb_opencl.h>

#include "dlrm/dlrm.h"

/* Kernels of dlrm.cl. */
#define DLRM_KERNEL_LIST(X)                                                                                                                \
    X(bias_relu)                                                                                                                           \
    X(bias_backward) X(adagrad) X(dot_forward) X(dot_backward) X(cat_forward) X(cat_backward) X(loss_backward) X(loss_sum) X(sigmoid)
typedef enum dlrm_kernel {
#define DLRM_KERNEL_ENUM(name) DLRM_KERNEL_##name,
    DLRM_KERNEL_LIST(DLRM_KERNEL_ENUM)
#undef DLRM_KERNEL_ENUM
        DLRM_KERNEL_COUNT
} dlrm_kernel;

typedef struct dlrm_device {
    qemb_context *ctx; /* of the tables */
    bool shared;       /* ctx works on `queue`; false: it is the reference engine, and tables and layers exchange through the host */
    qemb_context *finder;
    cl_context context;
    cl_device_id device;
    cl_command_queue queue; /* in-order, with profiling */
    cl_program program;
    cl_kernel kernel[DLRM_KERNEL_COUNT];
    cl_mem temporary; /* of CLBlast */
    size_t temporary_bytes;
} dlrm_device;

/* name is what qemb_context_create takes; "reference" puts the tables on the reference engine and the layers on the best OpenCL device.
 * Builds the kernels, loads CLBlast's parameters and checks them (gemm.h). */
qemb_status dlrm_device_create(const char *name, dlrm_device **device);
void dlrm_device_destroy(dlrm_device *device);

qemb_status dlrm_cl_failed(cl_int error, const char *what);
#define DLRM_CL(call, what)                                                                                                                \
    do {                                                                                                                                   \
        cl_int error_ = (call);                                                                                                            \
        if (error_ != CL_SUCCESS) {                                                                                                        \
            st = dlrm_cl_failed(error_, what);                                                                                             \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

/* Zeroed memory of `count` floats. */
qemb_status dlrm_memory_create(const dlrm_device *device, int64_t count, cl_mem *memory);
void dlrm_memory_destroy(cl_mem *memory);
qemb_status dlrm_memory_write(const dlrm_device *device, cl_mem memory, int64_t count, const float *source); /* waits */
qemb_status dlrm_memory_read(const dlrm_device *device, cl_mem memory, int64_t count, float *target);        /* waits */

typedef struct dlrm_argument {
    size_t size;
    const void *value;
} dlrm_argument;
#define DLRM_ARGUMENT(variable)                                                                                                            \
    { sizeof(variable), &(variable) }

/* Enqueues one work-item for each of `items`. */
qemb_status dlrm_launch(const dlrm_device *device, dlrm_kernel kernel, int64_t items, const dlrm_argument *arguments, int count);

#endif
