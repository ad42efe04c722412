/* loader.h - OpenCL, loaded when it is first needed: the library links to nothing and starts on machines without it.
 *
 * Every cl* function that the engine calls stands in QEMB__CL_CALLS; below it the names become entries of one table, so that calls look
 * as they always do. A call that is missing in the list does not link. */
#ifndef QEMB_OPENCL_LOADER_H
#define QEMB_OPENCL_LOADER_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

#include <qemb/qemb.h>

/* clang-format off */
#define QEMB__CL_CALLS(X)                                                                                                              \
    X(clBuildProgram) X(clCreateBuffer) X(clCreateCommandQueue) X(clCreateContext) X(clCreateKernel)                                   \
    X(clCreateProgramWithBinary) X(clCreateProgramWithSource) X(clEnqueueBarrierWithWaitList) X(clEnqueueCopyBuffer)                   \
    X(clEnqueueFillBuffer) X(clEnqueueMarkerWithWaitList) X(clEnqueueNDRangeKernel) X(clEnqueueReadBuffer)                             \
    X(clEnqueueWriteBuffer) X(clFinish) X(clGetCommandQueueInfo) X(clGetDeviceIDs) X(clGetDeviceInfo) X(clGetEventInfo)                \
    X(clGetMemObjectInfo) X(clGetPlatformIDs) X(clGetPlatformInfo) X(clGetProgramBuildInfo) X(clGetProgramInfo)                        \
    X(clReleaseCommandQueue) X(clReleaseContext) X(clReleaseEvent) X(clReleaseKernel) X(clReleaseMemObject) X(clReleaseProgram)        \
    X(clRetainCommandQueue) X(clRetainContext) X(clRetainEvent) X(clRetainMemObject) X(clRetainProgram) X(clSetKernelArg)              \
    X(clSetMemObjectDestructorCallback) X(clWaitForEvents)
/* clang-format on */

typedef struct qemb__cl_table {
#define QEMB__CL_FIELD(name) __typeof__(&name) name;
    QEMB__CL_CALLS(QEMB__CL_FIELD)
#undef QEMB__CL_FIELD
} qemb__cl_table;

/* Of the whole process; filled once by qemb__cl_load and not changed afterwards. */
extern qemb__cl_table qemb__cl_calls;

/* Before the first OpenCL call: DEVICE with a sentence when there is no OpenCL, the same each time. Any thread. */
qemb_status qemb__cl_load(const char *call);

#ifndef QEMB__CL_NAMES /* loader.c: the names themselves */
#define clBuildProgram                   qemb__cl_calls.clBuildProgram
#define clCreateBuffer                   qemb__cl_calls.clCreateBuffer
#define clCreateCommandQueue             qemb__cl_calls.clCreateCommandQueue
#define clCreateContext                  qemb__cl_calls.clCreateContext
#define clCreateKernel                   qemb__cl_calls.clCreateKernel
#define clCreateProgramWithSource        qemb__cl_calls.clCreateProgramWithSource
#define clEnqueueBarrierWithWaitList     qemb__cl_calls.clEnqueueBarrierWithWaitList
#define clEnqueueCopyBuffer              qemb__cl_calls.clEnqueueCopyBuffer
#define clEnqueueFillBuffer              qemb__cl_calls.clEnqueueFillBuffer
#define clEnqueueMarkerWithWaitList      qemb__cl_calls.clEnqueueMarkerWithWaitList
#define clEnqueueNDRangeKernel           qemb__cl_calls.clEnqueueNDRangeKernel
#define clEnqueueReadBuffer              qemb__cl_calls.clEnqueueReadBuffer
#define clEnqueueWriteBuffer             qemb__cl_calls.clEnqueueWriteBuffer
#define clFinish                         qemb__cl_calls.clFinish
#define clGetCommandQueueInfo            qemb__cl_calls.clGetCommandQueueInfo
#define clGetDeviceIDs                   qemb__cl_calls.clGetDeviceIDs
#define clGetDeviceInfo                  qemb__cl_calls.clGetDeviceInfo
#define clGetEventInfo                   qemb__cl_calls.clGetEventInfo
#define clGetMemObjectInfo               qemb__cl_calls.clGetMemObjectInfo
#define clGetPlatformIDs                 qemb__cl_calls.clGetPlatformIDs
#define clGetPlatformInfo                qemb__cl_calls.clGetPlatformInfo
#define clGetProgramBuildInfo            qemb__cl_calls.clGetProgramBuildInfo
#define clReleaseCommandQueue            qemb__cl_calls.clReleaseCommandQueue
#define clReleaseContext                 qemb__cl_calls.clReleaseContext
#define clReleaseEvent                   qemb__cl_calls.clReleaseEvent
#define clReleaseKernel                  qemb__cl_calls.clReleaseKernel
#define clReleaseMemObject               qemb__cl_calls.clReleaseMemObject
#define clReleaseProgram                 qemb__cl_calls.clReleaseProgram
#define clRetainCommandQueue             qemb__cl_calls.clRetainCommandQueue
#define clRetainContext                  qemb__cl_calls.clRetainContext
#define clRetainEvent                    qemb__cl_calls.clRetainEvent
#define clRetainMemObject                qemb__cl_calls.clRetainMemObject
#define clRetainProgram                  qemb__cl_calls.clRetainProgram
#define clCreateProgramWithBinary        qemb__cl_calls.clCreateProgramWithBinary
#define clGetProgramInfo                 qemb__cl_calls.clGetProgramInfo
#define clSetKernelArg                   qemb__cl_calls.clSetKernelArg
#define clSetMemObjectDestructorCallback qemb__cl_calls.clSetMemObjectDestructorCallback
#define clWaitForEvents                  qemb__cl_calls.clWaitForEvents
#endif

#endif
