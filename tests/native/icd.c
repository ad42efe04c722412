/* icd.c - platform, device, context, and the table through which the loader finds everything. */
#include "native.h"

#define EXPORT __attribute__((visibility("default")))

pthread_mutex_t native_lock = PTHREAD_MUTEX_INITIALIZER;
struct _cl_platform_id native_platform = {&native_dispatch, 1};
struct _cl_device_id native_device = {&native_dispatch, 1};

void native_fail(const char *what, const char *detail) {
    (void)fprintf(stderr, "native device: %s %s\n", what, detail);
    const char *path = getenv("QEMB_NATIVE_REPORT");
    FILE *report = path && *path ? fopen(path, "a") : NULL;
    if (report) {
        (void)fprintf(report, "native device: %s %s\n", what, detail);
        (void)fclose(report);
    }
    abort();
}

void *native_object(size_t bytes) {
    struct _cl_context *object = calloc(1, bytes);
    if (!object) {
        native_fail("out of memory", "");
    }
    object->dispatch = &native_dispatch;
    object->references = 1;
    return object;
}

cl_int native_answer(const void *value, size_t bytes, size_t room, void *target, size_t *needed) {
    if (needed) {
        *needed = bytes;
    }
    if (!target) {
        return CL_SUCCESS;
    }
    if (room < bytes) {
        return CL_INVALID_VALUE;
    }
    memcpy(target, value, bytes);
    return CL_SUCCESS;
}

static cl_int answer_text(const char *text, size_t room, void *target, size_t *needed) {
    return native_answer(text, strlen(text) + 1, room, target, needed);
}

static cl_int CL_API_CALL get_platforms(cl_uint room, cl_platform_id *platforms, cl_uint *count) {
    if (count) {
        *count = 1;
    }
    if (platforms && room) {
        platforms[0] = &native_platform;
    }
    return CL_SUCCESS;
}

/* The name makes the library take what it takes on PoCL, prefetching too. */
static cl_int CL_API_CALL platform_info(cl_platform_id platform, cl_platform_info what, size_t room, void *target, size_t *needed) {
    (void)platform;
    switch (what) {
    case CL_PLATFORM_NAME: return answer_text("native kernels, as the Portable Computing Language", room, target, needed);
    case CL_PLATFORM_VENDOR: return answer_text("qemb tests", room, target, needed);
    case CL_PLATFORM_VERSION: return answer_text("OpenCL 1.2 native", room, target, needed);
    case CL_PLATFORM_PROFILE: return answer_text("FULL_PROFILE", room, target, needed);
    case CL_PLATFORM_EXTENSIONS: return answer_text("cl_khr_icd", room, target, needed);
    case CL_PLATFORM_ICD_SUFFIX_KHR: return answer_text("NATIVE", room, target, needed);
    default: return CL_INVALID_VALUE;
    }
}

static cl_int CL_API_CALL get_devices(cl_platform_id platform, cl_device_type type, cl_uint room, cl_device_id *devices, cl_uint *count) {
    (void)platform;
    if (!(type & (CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_DEFAULT))) {
        return CL_DEVICE_NOT_FOUND;
    }
    if (count) {
        *count = 1;
    }
    if (devices && room) {
        devices[0] = &native_device;
    }
    return CL_SUCCESS;
}

static cl_int device_number(cl_device_info what, cl_ulong *value, size_t *bytes) {
    *bytes = sizeof(cl_ulong);
    switch (what) {
    case CL_DEVICE_TYPE: *value = CL_DEVICE_TYPE_CPU; return CL_SUCCESS;
    case CL_DEVICE_GLOBAL_MEM_SIZE: *value = (cl_ulong)6 << 30; return CL_SUCCESS;
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE: *value = (cl_ulong)2 << 30; return CL_SUCCESS;
    case CL_DEVICE_LOCAL_MEM_SIZE: *value = 64 << 10; return CL_SUCCESS;
    case CL_DEVICE_MAX_WORK_GROUP_SIZE: *value = 1024; return CL_SUCCESS;
    case CL_DEVICE_SINGLE_FP_CONFIG:
        *value = CL_FP_DENORM | CL_FP_INF_NAN | CL_FP_ROUND_TO_NEAREST | CL_FP_FMA | CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT;
        return CL_SUCCESS;
    default: break;
    }
    *bytes = sizeof(cl_uint);
    switch (what) {
    case CL_DEVICE_MAX_COMPUTE_UNITS: *value = 2; return CL_SUCCESS;
    case CL_DEVICE_VENDOR_ID: *value = 1; return CL_SUCCESS;
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN: *value = 1024; return CL_SUCCESS;
    case CL_DEVICE_ADDRESS_BITS: *value = 64; return CL_SUCCESS;
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_COMPILER_AVAILABLE:
    case CL_DEVICE_ENDIAN_LITTLE:
    case CL_DEVICE_HOST_UNIFIED_MEMORY: *value = CL_TRUE; return CL_SUCCESS;
    default: return CL_INVALID_VALUE;
    }
}

static cl_int CL_API_CALL device_info(cl_device_id device, cl_device_info what, size_t room, void *target, size_t *needed) {
    cl_platform_id platform = &native_platform;
    cl_ulong value = 0;
    size_t bytes = 0;
    (void)device;
    switch (what) {
    case CL_DEVICE_NAME: return answer_text("native kernels (tests name pthread and basic)", room, target, needed);
    case CL_DEVICE_VENDOR: return answer_text("qemb tests", room, target, needed);
    case CL_DRIVER_VERSION: return answer_text("1.0", room, target, needed);
    case CL_DEVICE_VERSION: return answer_text("OpenCL 1.2 native", room, target, needed);
    case CL_DEVICE_OPENCL_C_VERSION: return answer_text("OpenCL C 1.2", room, target, needed);
    case CL_DEVICE_PROFILE: return answer_text("FULL_PROFILE", room, target, needed);
    case CL_DEVICE_EXTENSIONS: return answer_text("", room, target, needed);
    case CL_DEVICE_PLATFORM: return native_answer(&platform, sizeof platform, room, target, needed);
    default: break;
    }
    cl_int error = device_number(what, &value, &bytes);
    return error == CL_SUCCESS ? native_answer(&value, bytes, room, target, needed) : error; /* little-endian: the low bytes */
}

static cl_context CL_API_CALL create_context(const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,
                                             void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user, cl_int *error) {
    (void)properties, (void)count, (void)devices, (void)notify, (void)user;
    if (error) {
        *error = CL_SUCCESS;
    }
    return NATIVE_NEW(struct _cl_context);
}

static cl_int CL_API_CALL retain_context(cl_context context) {
    pthread_mutex_lock(&native_lock);
    context->references++;
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL release_context(cl_context context) {
    pthread_mutex_lock(&native_lock);
    if (--context->references == 0) {
        free(context);
    }
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL context_info(cl_context context, cl_context_info what, size_t room, void *target, size_t *needed) {
    cl_device_id device = &native_device;
    const cl_uint one = 1;
    switch (what) {
    case CL_CONTEXT_DEVICES: return native_answer(&device, sizeof device, room, target, needed);
    case CL_CONTEXT_NUM_DEVICES: return native_answer(&one, sizeof one, room, target, needed);
    case CL_CONTEXT_REFERENCE_COUNT: return native_answer(&context->references, sizeof context->references, room, target, needed);
    default: return CL_INVALID_VALUE;
    }
}

static cl_int CL_API_CALL keep_device(cl_device_id device) {
    (void)device;
    return CL_SUCCESS;
}

static void *CL_API_CALL extension(const char *name) {
    static cl_int(CL_API_CALL * platforms)(cl_uint, cl_platform_id *, cl_uint *) = get_platforms;
    void *address = NULL;
    if (strcmp(name, "clIcdGetPlatformIDsKHR") == 0) {
        memcpy(&address, &platforms, sizeof address);
    }
    return address;
}

EXPORT void *CL_API_CALL clGetExtensionFunctionAddress(const char *name) {
    return extension(name);
}

EXPORT cl_int CL_API_CALL clIcdGetPlatformIDsKHR(cl_uint room, cl_platform_id *platforms, cl_uint *count) {
    return get_platforms(room, platforms, count);
}

EXPORT cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id platform, cl_platform_info what, size_t room, void *target, size_t *needed) {
    return platform_info(platform, what, room, target, needed);
}

/* What the other files have, by the types of the table. */
#define HERE(name) extern __typeof__(*(((cl_icd_dispatch *)0)->cl##name)) native_##name;
HERE(CreateBuffer) HERE(RetainMemObject) HERE(ReleaseMemObject) HERE(SetMemObjectDestructorCallback) HERE(GetMemObjectInfo)
HERE(CreateCommandQueue) HERE(RetainCommandQueue) HERE(ReleaseCommandQueue) HERE(GetCommandQueueInfo) HERE(Flush) HERE(Finish)
HERE(CreateUserEvent) HERE(SetUserEventStatus) HERE(RetainEvent) HERE(ReleaseEvent) HERE(WaitForEvents) HERE(GetEventInfo)
HERE(GetEventProfilingInfo) HERE(EnqueueWriteBuffer) HERE(EnqueueReadBuffer) HERE(EnqueueCopyBuffer) HERE(EnqueueFillBuffer)
HERE(CreateProgramWithSource) HERE(BuildProgram) HERE(RetainProgram) HERE(ReleaseProgram) HERE(GetProgramBuildInfo) HERE(CreateKernel)
HERE(CreateProgramWithBinary) HERE(GetProgramInfo) HERE(RetainKernel) HERE(ReleaseKernel) HERE(SetKernelArg) HERE(EnqueueNDRangeKernel)
extern __typeof__(*(((cl_icd_dispatch *)0)->clEnqueueMarkerWithWaitList)) native_EnqueueMarker;

#define ROW(name) .cl##name = native_##name
const cl_icd_dispatch native_dispatch = {
    .clGetPlatformIDs = get_platforms,
    .clGetPlatformInfo = platform_info,
    .clGetDeviceIDs = get_devices,
    .clGetDeviceInfo = device_info,
    .clRetainDevice = keep_device,
    .clReleaseDevice = keep_device,
    .clCreateContext = create_context,
    .clRetainContext = retain_context,
    .clReleaseContext = release_context,
    .clGetContextInfo = context_info,
    .clGetExtensionFunctionAddress = extension,
    .clEnqueueMarkerWithWaitList = native_EnqueueMarker,
    .clEnqueueBarrierWithWaitList = native_EnqueueMarker,
    ROW(CreateBuffer), ROW(RetainMemObject), ROW(ReleaseMemObject), ROW(SetMemObjectDestructorCallback), ROW(GetMemObjectInfo),
    ROW(CreateCommandQueue), ROW(RetainCommandQueue), ROW(ReleaseCommandQueue), ROW(GetCommandQueueInfo), ROW(Flush), ROW(Finish),
    ROW(CreateUserEvent), ROW(SetUserEventStatus), ROW(RetainEvent), ROW(ReleaseEvent), ROW(WaitForEvents), ROW(GetEventInfo),
    ROW(GetEventProfilingInfo), ROW(EnqueueWriteBuffer), ROW(EnqueueReadBuffer), ROW(EnqueueCopyBuffer), ROW(EnqueueFillBuffer),
    ROW(CreateProgramWithSource), ROW(BuildProgram), ROW(RetainProgram), ROW(ReleaseProgram), ROW(GetProgramBuildInfo), ROW(CreateKernel),
    ROW(CreateProgramWithBinary), ROW(GetProgramInfo), ROW(RetainKernel), ROW(ReleaseKernel), ROW(SetKernelArg), ROW(EnqueueNDRangeKernel),
};
