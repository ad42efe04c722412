/* fault_layer.c - see fault_layer.h. */
#include "fault_layer.h"

#include <CL/cl_layer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

static const cl_icd_dispatch *driver;
static cl_icd_dispatch table;
static fault_state state;

EXPORT fault_state *fault_layer(void) {
    return &state;
}

#define CODES(name, ...) static const cl_int codes_of_##name[] = {__VA_ARGS__};
FAULT_ENTRIES(CODES)
#undef CODES

static const struct {
    const char *name;
    const cl_int *codes;
    int count;
} entries[] = {
#define ENTRY(name, ...) {#name, codes_of_##name, (int)(sizeof codes_of_##name / sizeof(cl_int))},
    FAULT_ENTRIES(ENTRY)
#undef ENTRY
};

/* Only the thread that armed the layer calls while it is armed; counts of objects change in the driver's callbacks too. */
static void count_object(fault_object kind, int64_t by) {
    __atomic_fetch_add(&state.objects[kind], by, __ATOMIC_RELAXED);
}

static bool due(fault_entry entry) {
    if (!state.armed || (state.only && state.only != (int)entry + 1)) {
        return false;
    }
    state.calls++;
    return state.persistent ? state.calls >= state.at : state.calls == state.at;
}

static cl_int note(fault_entry entry) {
    state.fired++;
    state.last = entry;
    state.last_code = entries[entry].codes[state.code % entries[entry].count];
    return state.last_code;
}

/* The code that this call must give, or success. */
static cl_int hit(fault_entry entry) {
    __atomic_fetch_add(&state.reached[entry], 1, __ATOMIC_RELAXED);
    if (state.recording) {
        support_stack_note(&state.calls_from);
    }
    return !state.asynchronous && due(entry) ? note(entry) : CL_SUCCESS;
}

#define HIT(name) const cl_int fault = hit(FAULT_##name)
#define FAIL(name)                                                                                                                         \
    HIT(name);                                                                                                                             \
    if (fault != CL_SUCCESS) {                                                                                                             \
        return fault;                                                                                                                      \
    }
#define FAIL_CREATE(name)                                                                                                                  \
    HIT(name);                                                                                                                             \
    if (fault != CL_SUCCESS) {                                                                                                             \
        if (error) {                                                                                                                       \
            *error = fault;                                                                                                                \
        }                                                                                                                                  \
        return NULL;                                                                                                                       \
    }

/* An event that a command waits for and that then fails: so does the command, and all behind it. NULL: this one is not to fail. */
static cl_event gate(cl_command_queue queue, fault_entry entry) {
    cl_context context = NULL;
    if (state.recording) {
        support_stack_note(&state.commands_from);
    }
    if (!state.asynchronous || !due(entry)) {
        return NULL;
    }
    (void)note(entry);
    (void)driver->clFinish(queue); /* PoCL 3.1 may crash when a command fails while one before it still runs */
    cl_int error = driver->clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL);
    cl_event event = error == CL_SUCCESS ? driver->clCreateUserEvent(context, &error) : NULL;
    if (!event) {
        abort();
    }
    return event;
}

static cl_int made_event(cl_int error, const cl_event *event) {
    if (error == CL_SUCCESS && event) {
        count_object(FAULT_EVENT, 1);
    }
    return error;
}

/* Lets a gated command fail; a blocking one has then ended, and says nothing of it, as drivers may. */
static cl_int open_gate(cl_int error, cl_event event, const cl_event *own, cl_bool blocking, cl_event *target) {
    if (driver->clSetUserEventStatus(event, CL_OUT_OF_RESOURCES) != CL_SUCCESS || error != CL_SUCCESS) {
        abort();
    }
    if (blocking) {
        (void)driver->clWaitForEvents(1, own);
    }
    (void)driver->clReleaseEvent(event);
    if (target) {
        *target = *own;
    } else {
        (void)driver->clReleaseEvent(*own);
    }
    return made_event(CL_SUCCESS, target);
}

/* ---- platforms and devices ---------------------------------------------------------------------------------------------------- */

static cl_int CL_API_CALL get_platforms(cl_uint n, cl_platform_id *platforms, cl_uint *count) {
    FAIL(clGetPlatformIDs)
    return driver->clGetPlatformIDs(n, platforms, count);
}

static cl_int CL_API_CALL get_platform_info(cl_platform_id p, cl_platform_info what, size_t bytes, void *value, size_t *needed) {
    FAIL(clGetPlatformInfo)
    return driver->clGetPlatformInfo(p, what, bytes, value, needed);
}

static cl_int CL_API_CALL get_devices(cl_platform_id p, cl_device_type type, cl_uint n, cl_device_id *devices, cl_uint *count) {
    FAIL(clGetDeviceIDs)
    return driver->clGetDeviceIDs(p, type, n, devices, count);
}

static cl_int CL_API_CALL get_device_info(cl_device_id d, cl_device_info what, size_t bytes, void *value, size_t *needed) {
    FAIL(clGetDeviceInfo)
    const cl_int error = driver->clGetDeviceInfo(d, what, bytes, value, needed);
    if (error == CL_SUCCESS && value && state.fake_param == what && bytes <= sizeof state.fake_value) {
        memcpy(value, &state.fake_value, bytes);
    }
    return error;
}

/* To compile the library's programs takes the driver a second a context. So all contexts of a test are one, and a program that was built
 * once is built for good: what the library holds as a program stands for one of these. */
static cl_context shared_context;

typedef struct built_program {
    uint64_t key; /* of texts and options */
    cl_program program;
} built_program;
static built_program built[256];
static int num_built;

typedef struct program_handle {
    const void *dispatch; /* the loader wants it first */
    char *text;
    size_t bytes;
    cl_program program; /* NULL: not built */
    uint64_t key;
    int references; /* beside the first */
} program_handle;

static uint64_t mix(uint64_t h, const char *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ (unsigned char)data[i]) * 0x100000001b3u;
    }
    return h;
}

/* ---- contexts and queues ------------------------------------------------------------------------------------------------------- */

static cl_context CL_API_CALL create_context(const cl_context_properties *properties, cl_uint n, const cl_device_id *devices,
                                             void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user,
                                             cl_int *error) {
    FAIL_CREATE(clCreateContext)
    if (!shared_context) {
        shared_context = driver->clCreateContext(properties, n, devices, notify, user, error);
    }
    const bool made = shared_context && driver->clRetainContext(shared_context) == CL_SUCCESS;
    count_object(FAULT_CONTEXT, made);
    if (error) {
        *error = made ? CL_SUCCESS : CL_OUT_OF_RESOURCES;
    }
    return made ? shared_context : NULL;
}

static cl_command_queue CL_API_CALL create_queue(cl_context context, cl_device_id d, cl_command_queue_properties properties,
                                                 cl_int *error) {
    FAIL_CREATE(clCreateCommandQueue)
    cl_command_queue queue = driver->clCreateCommandQueue(context, d, properties, error);
    count_object(FAULT_QUEUE, queue != NULL);
    return queue;
}

static cl_int CL_API_CALL get_queue_info(cl_command_queue q, cl_command_queue_info what, size_t bytes, void *value, size_t *needed) {
    FAIL(clGetCommandQueueInfo)
    return driver->clGetCommandQueueInfo(q, what, bytes, value, needed);
}

/* ---- retain and release: a release that fails has released all the same ---------------------------------------------------------- */

#define RETAIN(function, entry, type, kind)                                                                                                \
    static cl_int CL_API_CALL function(type object) {                                                                                      \
        FAIL(entry)                                                                                                                        \
        const cl_int error = driver->entry(object);                                                                                        \
        count_object(kind, error == CL_SUCCESS);                                                                                           \
        return error;                                                                                                                      \
    }
#define RELEASE(function, entry, type, kind)                                                                                               \
    static cl_int CL_API_CALL function(type object) {                                                                                      \
        HIT(entry);                                                                                                                        \
        const cl_int error = driver->entry(object);                                                                                        \
        count_object(kind, error == CL_SUCCESS ? -1 : 0);                                                                                  \
        return fault != CL_SUCCESS ? fault : error;                                                                                        \
    }
RETAIN(retain_context, clRetainContext, cl_context, FAULT_CONTEXT)
RETAIN(retain_queue, clRetainCommandQueue, cl_command_queue, FAULT_QUEUE)
RETAIN(retain_mem, clRetainMemObject, cl_mem, FAULT_MEM)
RETAIN(retain_event, clRetainEvent, cl_event, FAULT_EVENT)
RELEASE(release_context, clReleaseContext, cl_context, FAULT_CONTEXT)
RELEASE(release_queue, clReleaseCommandQueue, cl_command_queue, FAULT_QUEUE)
RELEASE(release_mem, clReleaseMemObject, cl_mem, FAULT_MEM)
RELEASE(release_kernel, clReleaseKernel, cl_kernel, FAULT_KERNEL)
RELEASE(release_event, clReleaseEvent, cl_event, FAULT_EVENT)

/* ---- memory ----------------------------------------------------------------------------------------------------------------------- */

static cl_mem CL_API_CALL create_buffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host, cl_int *error) {
    FAIL_CREATE(clCreateBuffer)
    cl_mem mem = driver->clCreateBuffer(context, flags, bytes, host, error);
    count_object(FAULT_MEM, mem != NULL);
    return mem;
}

static cl_int CL_API_CALL get_mem_info(cl_mem mem, cl_mem_info what, size_t bytes, void *value, size_t *needed) {
    FAIL(clGetMemObjectInfo)
    return driver->clGetMemObjectInfo(mem, what, bytes, value, needed);
}

static cl_int CL_API_CALL set_destructor(cl_mem mem, void(CL_CALLBACK *notify)(cl_mem, void *), void *user) {
    FAIL(clSetMemObjectDestructorCallback)
    return driver->clSetMemObjectDestructorCallback(mem, notify, user);
}

/* ---- programs and kernels ------------------------------------------------------------------------------------------------------- */

static cl_program CL_API_CALL create_program(cl_context context, cl_uint n, const char **texts, const size_t *sizes, cl_int *error) {
    FAIL_CREATE(clCreateProgramWithSource)
    program_handle *handle = calloc(1, sizeof *handle);
    (void)context;
    for (cl_uint k = 0; handle && k < n; k++) {
        char *longer = realloc(handle->text, handle->bytes + sizes[k] + 1);
        if (!longer) {
            abort();
        }
        memcpy(longer + handle->bytes, texts[k], sizes[k]);
        handle->text = longer;
        handle->bytes += sizes[k];
        longer[handle->bytes] = '\0';
    }
    if (!handle) {
        abort();
    }
    handle->dispatch = &table;
    count_object(FAULT_PROGRAM, 1);
    if (error) {
        *error = CL_SUCCESS;
    }
    return (cl_program)(void *)handle;
}

/* A binary is the number of what was built. */
static const char binary_magic[8] = {'l', 'a', 'y', 'e', 'r', 'b', 'i', 'n'};
enum { BINARY_BYTES = sizeof binary_magic + sizeof(uint64_t) };

static cl_program CL_API_CALL create_program_with_binary(cl_context context, cl_uint n, const cl_device_id *devices, const size_t *sizes,
                                                         const unsigned char **binaries, cl_int *status, cl_int *error) {
    FAIL_CREATE(clCreateProgramWithBinary)
    const bool good = n == 1 && sizes[0] == BINARY_BYTES && memcmp(binaries[0], binary_magic, sizeof binary_magic) == 0;
    program_handle *handle = good ? calloc(1, sizeof *handle) : NULL;
    (void)context;
    (void)devices;
    if (status) {
        *status = good ? CL_SUCCESS : CL_INVALID_BINARY;
    }
    if (error) {
        *error = good ? CL_SUCCESS : CL_INVALID_BINARY;
    }
    if (handle) {
        handle->dispatch = &table;
        memcpy(&handle->key, binaries[0] + sizeof binary_magic, sizeof handle->key);
        count_object(FAULT_PROGRAM, 1);
    }
    return (cl_program)(void *)handle;
}

static cl_int CL_API_CALL get_program_info(cl_program program, cl_program_info what, size_t bytes, void *value, size_t *needed) {
    FAIL(clGetProgramInfo)
    const program_handle *handle = (const program_handle *)(const void *)program;
    const size_t size = BINARY_BYTES;
    (void)needed;
    if (!handle->program || !value) {
        return CL_INVALID_VALUE;
    }
    if (what == CL_PROGRAM_BINARY_SIZES && bytes >= sizeof size) {
        memcpy(value, &size, sizeof size);
        return CL_SUCCESS;
    }
    if (what == CL_PROGRAM_BINARIES && bytes >= sizeof(unsigned char *)) {
        unsigned char *target = *(unsigned char **)value;
        memcpy(target, binary_magic, sizeof binary_magic);
        memcpy(target + sizeof binary_magic, &handle->key, sizeof handle->key);
        return CL_SUCCESS;
    }
    return driver->clGetProgramInfo(handle->program, what, bytes, value, NULL);
}

static cl_int CL_API_CALL build_program(cl_program program, cl_uint n, const cl_device_id *devices, const char *options,
                                        void(CL_CALLBACK *notify)(cl_program, void *), void *user) {
    FAIL(clBuildProgram)
    program_handle *handle = (program_handle *)(void *)program;
    const char *text = handle->text;
    cl_int error = CL_SUCCESS;
    if (text) {
        handle->key = mix(mix(0xcbf29ce484222325u, handle->text, handle->bytes), options, strlen(options));
    }
    for (int k = 0; k < num_built; k++) {
        if (built[k].key == handle->key) {
            handle->program = built[k].program;
            return CL_SUCCESS;
        }
    }
    if (!text) {
        return CL_BUILD_PROGRAM_FAILURE; /* a binary of another process */
    }
    cl_program made = driver->clCreateProgramWithSource(shared_context, 1, &text, &handle->bytes, &error);
    error = made ? driver->clBuildProgram(made, n, devices, options, notify, user) : error;
    if (error == CL_SUCCESS) {
        if (num_built == sizeof built / sizeof *built) {
            abort();
        }
        built[num_built++] = (built_program){handle->key, made};
        handle->program = made;
    } else if (made) {
        (void)driver->clReleaseProgram(made);
    }
    return error;
}

static cl_int CL_API_CALL retain_program(cl_program program) {
    FAIL(clRetainProgram)
    ((program_handle *)(void *)program)->references++;
    count_object(FAULT_PROGRAM, 1);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL release_program(cl_program program) {
    HIT(clReleaseProgram);
    program_handle *handle = (program_handle *)(void *)program;
    if (handle->references-- == 0) { /* the one that it was created with */
        free(handle->text);
        free(handle);
    }
    count_object(FAULT_PROGRAM, -1);
    return fault;
}

static cl_int CL_API_CALL get_build_info(cl_program program, cl_device_id d, cl_program_build_info what, size_t bytes, void *value,
                                         size_t *needed) {
    enum { HUGE_LOG = 1 << 20, UNENDED_LOG = 37 };
    FAIL(clGetProgramBuildInfo)
    (void)program;
    (void)d;
    if (what != CL_PROGRAM_BUILD_LOG) {
        return CL_INVALID_VALUE;
    }
    const size_t length = state.log == FAULT_LOG_EMPTY ? 0 : state.log == FAULT_LOG_HUGE ? HUGE_LOG : UNENDED_LOG;
    if (needed) {
        *needed = length;
    }
    if (value) {
        memset(value, 'x', bytes < length ? bytes : length);
    }
    return CL_SUCCESS;
}

static cl_kernel CL_API_CALL create_kernel(cl_program program, const char *name, cl_int *error) {
    FAIL_CREATE(clCreateKernel)
    cl_kernel kernel = driver->clCreateKernel(((program_handle *)(void *)program)->program, name, error);
    count_object(FAULT_KERNEL, kernel != NULL);
    return kernel;
}

static cl_int CL_API_CALL set_arg(cl_kernel kernel, cl_uint i, size_t bytes, const void *value) {
    FAIL(clSetKernelArg)
    return driver->clSetKernelArg(kernel, i, bytes, value);
}

/* ---- waiting -------------------------------------------------------------------------------------------------------------------- */

static cl_int CL_API_CALL wait_for_events(cl_uint n, const cl_event *events) {
    FAIL(clWaitForEvents)
    state.waited = n ? events[n - 1] : NULL;
    return driver->clWaitForEvents(n, events);
}

static cl_int CL_API_CALL get_event_info(cl_event event, cl_event_info what, size_t bytes, void *value, size_t *needed) {
    FAIL(clGetEventInfo)
    const cl_int error = driver->clGetEventInfo(event, what, bytes, value, needed);
    if (error == CL_SUCCESS && state.late && state.waited != event && what == CL_EVENT_COMMAND_EXECUTION_STATUS && value) {
        memcpy(value, &(cl_int){CL_RUNNING}, sizeof(cl_int));
    }
    return error;
}

static cl_int CL_API_CALL finish(cl_command_queue queue) {
    FAIL(clFinish)
    return driver->clFinish(queue);
}

/* ---- commands. The library gives no events to wait for but to barriers ----------------------------------------------------------- */

#define GATE(name) cl_event own = NULL, held = gate(queue, FAULT_##name)

static cl_int CL_API_CALL enqueue_read(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset, size_t bytes, void *target,
                                       cl_uint n, const cl_event *list, cl_event *event) {
    FAIL(clEnqueueReadBuffer)
    GATE(clEnqueueReadBuffer);
    return held ? open_gate(driver->clEnqueueReadBuffer(queue, mem, CL_FALSE, offset, bytes, target, 1, &held, &own), held, &own, blocking,
                            event)
                : made_event(driver->clEnqueueReadBuffer(queue, mem, blocking, offset, bytes, target, n, list, event), event);
}

static cl_int CL_API_CALL enqueue_write(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset, size_t bytes,
                                        const void *source, cl_uint n, const cl_event *list, cl_event *event) {
    FAIL(clEnqueueWriteBuffer)
    GATE(clEnqueueWriteBuffer);
    return held ? open_gate(driver->clEnqueueWriteBuffer(queue, mem, CL_FALSE, offset, bytes, source, 1, &held, &own), held, &own, blocking,
                            event)
                : made_event(driver->clEnqueueWriteBuffer(queue, mem, blocking, offset, bytes, source, n, list, event), event);
}

static cl_int CL_API_CALL enqueue_copy(cl_command_queue queue, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t bytes,
                                       cl_uint n, const cl_event *list, cl_event *event) {
    FAIL(clEnqueueCopyBuffer)
    GATE(clEnqueueCopyBuffer);
    return held
               ? open_gate(driver->clEnqueueCopyBuffer(queue, from, to, from_at, to_at, bytes, 1, &held, &own), held, &own, CL_FALSE, event)
               : made_event(driver->clEnqueueCopyBuffer(queue, from, to, from_at, to_at, bytes, n, list, event), event);
}

static cl_int CL_API_CALL enqueue_fill(cl_command_queue queue, cl_mem mem, const void *pattern, size_t size, size_t offset, size_t bytes,
                                       cl_uint n, const cl_event *list, cl_event *event) {
    FAIL(clEnqueueFillBuffer)
    GATE(clEnqueueFillBuffer);
    return held ? open_gate(driver->clEnqueueFillBuffer(queue, mem, pattern, size, offset, bytes, 1, &held, &own), held, &own, CL_FALSE,
                            event)
                : made_event(driver->clEnqueueFillBuffer(queue, mem, pattern, size, offset, bytes, n, list, event), event);
}

static cl_int CL_API_CALL enqueue_kernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset, const size_t *global,
                                         const size_t *local, cl_uint n, const cl_event *list, cl_event *event) {
    FAIL(clEnqueueNDRangeKernel)
    GATE(clEnqueueNDRangeKernel);
    return held ? open_gate(driver->clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, 1, &held, &own), held, &own,
                            CL_FALSE, event)
                : made_event(driver->clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, n, list, event), event);
}

static cl_int CL_API_CALL enqueue_marker(cl_command_queue queue, cl_uint n, const cl_event *list, cl_event *event) {
    FAIL(clEnqueueMarkerWithWaitList)
    return made_event(driver->clEnqueueMarkerWithWaitList(queue, n, list, event), event);
}

static cl_int CL_API_CALL enqueue_barrier(cl_command_queue queue, cl_uint n, const cl_event *list, cl_event *event) {
    FAIL(clEnqueueBarrierWithWaitList)
    return made_event(driver->clEnqueueBarrierWithWaitList(queue, n, list, event), event);
}

/* ---- the layer's own entry points ------------------------------------------------------------------------------------------------ */

EXPORT CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t bytes, void *value, size_t *needed) {
    static const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    static const char name[] = "faults";
    const void *answer = what == CL_LAYER_API_VERSION ? (const void *)&version : name;
    const size_t size = what == CL_LAYER_API_VERSION ? sizeof version : sizeof name;
    if ((what != CL_LAYER_API_VERSION && what != CL_LAYER_NAME) || (value && bytes < size)) {
        return CL_INVALID_VALUE;
    }
    if (value) {
        memcpy(value, answer, size);
    }
    if (needed) {
        *needed = size;
    }
    return CL_SUCCESS;
}

static void fill_table(void) {
    table.clGetPlatformIDs = get_platforms;
    table.clGetPlatformInfo = get_platform_info;
    table.clGetDeviceIDs = get_devices;
    table.clGetDeviceInfo = get_device_info;
    table.clCreateContext = create_context;
    table.clRetainContext = retain_context;
    table.clReleaseContext = release_context;
    table.clCreateCommandQueue = create_queue;
    table.clRetainCommandQueue = retain_queue;
    table.clReleaseCommandQueue = release_queue;
    table.clGetCommandQueueInfo = get_queue_info;
    table.clCreateBuffer = create_buffer;
    table.clRetainMemObject = retain_mem;
    table.clReleaseMemObject = release_mem;
    table.clGetMemObjectInfo = get_mem_info;
    table.clSetMemObjectDestructorCallback = set_destructor;
    table.clCreateProgramWithSource = create_program;
    table.clCreateProgramWithBinary = create_program_with_binary;
    table.clGetProgramInfo = get_program_info;
    table.clBuildProgram = build_program;
    table.clGetProgramBuildInfo = get_build_info;
    table.clRetainProgram = retain_program;
    table.clReleaseProgram = release_program;
    table.clCreateKernel = create_kernel;
    table.clReleaseKernel = release_kernel;
    table.clSetKernelArg = set_arg;
    table.clWaitForEvents = wait_for_events;
    table.clGetEventInfo = get_event_info;
    table.clRetainEvent = retain_event;
    table.clReleaseEvent = release_event;
    table.clFinish = finish;
    table.clEnqueueReadBuffer = enqueue_read;
    table.clEnqueueWriteBuffer = enqueue_write;
    table.clEnqueueCopyBuffer = enqueue_copy;
    table.clEnqueueFillBuffer = enqueue_fill;
    table.clEnqueueNDRangeKernel = enqueue_kernel;
    table.clEnqueueMarkerWithWaitList = enqueue_marker;
    table.clEnqueueBarrierWithWaitList = enqueue_barrier;
}

#include "fault_layer_plain.h"

EXPORT CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint entries_given, const cl_icd_dispatch *target, cl_uint *entries_back,
                                                   const cl_icd_dispatch **layer) {
    if (!target || entries_given < sizeof table / sizeof(void *)) {
        return CL_INVALID_VALUE;
    }
    driver = target;
    memcpy(&table, target, sizeof table);
    fill_table();
    arm_from_environment();
    *entries_back = (cl_uint)(sizeof table / sizeof(void *));
    *layer = &table;
    return CL_SUCCESS;
}
