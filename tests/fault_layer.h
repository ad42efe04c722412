/* fault_layer.h - an OpenCL layer that makes calls fail, and what a test tells it.
 *
 * The loader puts the layer between the library and the driver ($OPENCL_LAYERS names the shared object). Every entry point that the library
 * uses passes through it, is counted, and can be made to fail with any code that its page lists: once, or from then on; or, for
 * commands, to be accepted and then to fail on the device (a negative event status). Objects are counted by kind: what a test makes must
 * be gone when it has destroyed everything. A test finds the same object with dlopen and talks to fault_layer(). */
#ifndef QEMB_TESTS_FAULT_LAYER_H
#define QEMB_TESTS_FAULT_LAYER_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

#include <stdbool.h>
#include <stdint.h>

#include "support_stack.h"

#define OOM CL_OUT_OF_RESOURCES, CL_OUT_OF_HOST_MEMORY

/* X(entry point, the codes of its page): the entry points that src/opencl calls. */
/* clang-format off */
#define FAULT_ENTRIES(X)                                                                                                              \
    X(clGetPlatformIDs, CL_OUT_OF_HOST_MEMORY, CL_INVALID_VALUE)                                                                      \
    X(clGetPlatformInfo, CL_OUT_OF_HOST_MEMORY, CL_INVALID_PLATFORM, CL_INVALID_VALUE)                                                \
    X(clGetDeviceIDs, OOM, CL_DEVICE_NOT_FOUND, CL_INVALID_PLATFORM, CL_INVALID_DEVICE_TYPE, CL_INVALID_VALUE)                        \
    X(clGetDeviceInfo, OOM, CL_INVALID_DEVICE, CL_INVALID_VALUE)                                                                      \
    X(clCreateContext, OOM, CL_DEVICE_NOT_AVAILABLE, CL_INVALID_PLATFORM, CL_INVALID_PROPERTY, CL_INVALID_VALUE, CL_INVALID_DEVICE)   \
    X(clRetainContext, OOM, CL_INVALID_CONTEXT)                                                                                       \
    X(clReleaseContext, OOM, CL_INVALID_CONTEXT)                                                                                      \
    X(clCreateCommandQueue, OOM, CL_INVALID_CONTEXT, CL_INVALID_DEVICE, CL_INVALID_VALUE, CL_INVALID_QUEUE_PROPERTIES)                \
    X(clRetainCommandQueue, OOM, CL_INVALID_COMMAND_QUEUE)                                                                            \
    X(clReleaseCommandQueue, OOM, CL_INVALID_COMMAND_QUEUE)                                                                           \
    X(clGetCommandQueueInfo, OOM, CL_INVALID_COMMAND_QUEUE, CL_INVALID_VALUE)                                                         \
    X(clCreateBuffer, OOM, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_INVALID_CONTEXT, CL_INVALID_VALUE, CL_INVALID_BUFFER_SIZE,            \
      CL_INVALID_HOST_PTR)                                                                                                            \
    X(clRetainMemObject, OOM, CL_INVALID_MEM_OBJECT)                                                                                  \
    X(clReleaseMemObject, OOM, CL_INVALID_MEM_OBJECT)                                                                                 \
    X(clGetMemObjectInfo, OOM, CL_INVALID_MEM_OBJECT, CL_INVALID_VALUE)                                                               \
    X(clSetMemObjectDestructorCallback, OOM, CL_INVALID_MEM_OBJECT, CL_INVALID_VALUE)                                                 \
    X(clCreateProgramWithSource, OOM, CL_INVALID_CONTEXT, CL_INVALID_VALUE)                                                           \
    X(clCreateProgramWithBinary, OOM, CL_INVALID_CONTEXT, CL_INVALID_VALUE, CL_INVALID_DEVICE, CL_INVALID_BINARY)                      \
    X(clGetProgramInfo, OOM, CL_INVALID_VALUE, CL_INVALID_PROGRAM, CL_INVALID_PROGRAM_EXECUTABLE)                                     \
    X(clBuildProgram, OOM, CL_BUILD_PROGRAM_FAILURE, CL_COMPILER_NOT_AVAILABLE, CL_INVALID_BUILD_OPTIONS, CL_INVALID_BINARY,          \
      CL_INVALID_OPERATION, CL_INVALID_PROGRAM, CL_INVALID_DEVICE, CL_INVALID_VALUE)                                                  \
    X(clGetProgramBuildInfo, OOM, CL_INVALID_DEVICE, CL_INVALID_VALUE, CL_INVALID_PROGRAM)                                            \
    X(clRetainProgram, OOM, CL_INVALID_PROGRAM)                                                                                       \
    X(clReleaseProgram, OOM, CL_INVALID_PROGRAM)                                                                                      \
    X(clCreateKernel, OOM, CL_INVALID_KERNEL_NAME, CL_INVALID_KERNEL_DEFINITION, CL_INVALID_PROGRAM, CL_INVALID_PROGRAM_EXECUTABLE,   \
      CL_INVALID_VALUE)                                                                                                               \
    X(clReleaseKernel, OOM, CL_INVALID_KERNEL)                                                                                        \
    X(clSetKernelArg, OOM, CL_INVALID_KERNEL, CL_INVALID_ARG_INDEX, CL_INVALID_ARG_VALUE, CL_INVALID_MEM_OBJECT, CL_INVALID_ARG_SIZE) \
    X(clWaitForEvents, OOM, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, CL_INVALID_VALUE, CL_INVALID_CONTEXT, CL_INVALID_EVENT)     \
    X(clRetainEvent, OOM, CL_INVALID_EVENT)                                                                                            \
    X(clGetEventInfo, OOM, CL_INVALID_VALUE, CL_INVALID_EVENT)                                                                        \
    X(clReleaseEvent, OOM, CL_INVALID_EVENT)                                                                                          \
    X(clFinish, OOM, CL_INVALID_COMMAND_QUEUE)                                                                                        \
    X(clEnqueueReadBuffer, OOM, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,                       \
      CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT, CL_INVALID_MEM_OBJECT, CL_INVALID_VALUE, CL_INVALID_OPERATION)                    \
    X(clEnqueueWriteBuffer, OOM, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,                      \
      CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT, CL_INVALID_MEM_OBJECT, CL_INVALID_VALUE, CL_INVALID_OPERATION)                    \
    X(clEnqueueCopyBuffer, OOM, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_MEM_COPY_OVERLAP, CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT,  \
      CL_INVALID_MEM_OBJECT, CL_INVALID_VALUE)                                                                                        \
    X(clEnqueueFillBuffer, OOM, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT,                       \
      CL_INVALID_MEM_OBJECT, CL_INVALID_VALUE)                                                                                        \
    X(clEnqueueNDRangeKernel, OOM, CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_INVALID_PROGRAM_EXECUTABLE, CL_INVALID_COMMAND_QUEUE,         \
      CL_INVALID_KERNEL, CL_INVALID_CONTEXT, CL_INVALID_KERNEL_ARGS, CL_INVALID_WORK_DIMENSION, CL_INVALID_GLOBAL_WORK_SIZE,          \
      CL_INVALID_WORK_GROUP_SIZE, CL_INVALID_WORK_ITEM_SIZE)                                                                          \
    X(clEnqueueMarkerWithWaitList, OOM, CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT, CL_INVALID_EVENT_WAIT_LIST)                     \
    X(clEnqueueBarrierWithWaitList, OOM, CL_INVALID_COMMAND_QUEUE, CL_INVALID_CONTEXT, CL_INVALID_EVENT_WAIT_LIST)
/* clang-format on */

typedef enum fault_entry {
#define FAULT_ENUM(name, ...) FAULT_##name,
    FAULT_ENTRIES(FAULT_ENUM)
#undef FAULT_ENUM
        FAULT_ENTRY_COUNT
} fault_entry;

typedef enum fault_object {
    FAULT_CONTEXT,
    FAULT_QUEUE,
    FAULT_MEM,
    FAULT_PROGRAM,
    FAULT_KERNEL,
    FAULT_EVENT,
    FAULT_OBJECT_COUNT
} fault_object;

typedef enum fault_log { FAULT_LOG_UNENDED, FAULT_LOG_EMPTY, FAULT_LOG_HUGE } fault_log;

typedef struct fault_state {
    /* the test's */
    bool armed;
    int64_t at;         /* the call that fails, from 1, counted since calls was set to 0 */
    int code;           /* number of the code in the entry's list, modulo its length */
    bool persistent;    /* every call from that one on */
    int only;           /* entry + 1: calls of that entry alone are counted and fail; 0: of all */
    bool asynchronous;  /* that command is accepted and fails on the device; calls that are no commands are not counted */
    bool late;          /* clGetEventInfo says CL_RUNNING of every event that was not waited for last */
    bool recording;     /* every call's stack is noted */
    fault_log log;      /* what clGetProgramBuildInfo gives as the log */
    cl_uint fake_param; /* clGetDeviceInfo answers `fake_value` to this question */
    uint64_t fake_value;
    /* the layer's */
    cl_event waited;  /* by clWaitForEvents, last */
    int64_t calls;    /* while armed */
    int64_t fired;    /* failures given while armed */
    fault_entry last; /* the entry that failed last, and how */
    cl_int last_code;
    int64_t objects[FAULT_OBJECT_COUNT];      /* alive */
    int64_t reached[FAULT_ENTRY_COUNT];       /* calls of each entry, armed or not */
    support_stacks calls_from, commands_from; /* while recording: all calls, and the commands that may fail on the device */
} fault_state;

/* What the shared object exports under this name. */
typedef fault_state *fault_layer_function(void);
fault_state *fault_layer(void);

#endif
