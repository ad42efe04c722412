/* device.c - finds and names devices. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl/opencl.h"

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 32, MAX_FOUND = 64, GPU_GROUP = 128 }; /* kernels of the GPU family have groups of up to 128 */

typedef struct found_device {
    cl_platform_id platform;
    cl_device_id device;
    cl_device_type type;
    int p, d;
    char name[256], platform_name[256];
} found_device;

static bool contains(const char *text, const char *part) {
    size_t n = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) {
            i++;
        }
        if (i == n) {
            return true;
        }
    }
    return n == 0;
}

/* All devices of all platforms; platforms without devices are passed over. */
static cl_int enumerate(found_device *found, int *count) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint num_platforms = 0;
    *count = 0;
    cl_int error = clGetPlatformIDs(MAX_PLATFORMS, platforms, &num_platforms);
    if (error != CL_SUCCESS) {
        return error;
    }
    for (int p = 0; p < (int)num_platforms && p < MAX_PLATFORMS; p++) {
        cl_device_id devices[MAX_DEVICES];
        cl_uint num_devices = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MAX_DEVICES, devices, &num_devices) != CL_SUCCESS) {
            continue;
        }
        for (int d = 0; d < (int)num_devices && d < MAX_DEVICES && *count < MAX_FOUND; d++) {
            found_device *f = &found[(*count)++];
            *f = (found_device){.platform = platforms[p], .device = devices[d], .p = p, .d = d};
            (void)clGetDeviceInfo(devices[d], CL_DEVICE_TYPE, sizeof f->type, &f->type, NULL);
            (void)clGetDeviceInfo(devices[d], CL_DEVICE_NAME, sizeof f->name - 1, f->name, NULL);
            (void)clGetPlatformInfo(platforms[p], CL_PLATFORM_NAME, sizeof f->platform_name - 1, f->platform_name, NULL);
        }
    }
    return CL_SUCCESS;
}

static bool is_simulator(const found_device *f) {
    return contains(f->platform_name, "oclgrind") || contains(f->name, "oclgrind");
}

/* GPU before accelerator before CPU; within a kind PoCL before Mesa's software devices, which are slow; simulators last. */
static int rank(const found_device *f) {
    int kind = f->type & CL_DEVICE_TYPE_GPU ? 3 : f->type & CL_DEVICE_TYPE_ACCELERATOR ? 2 : 1;
    bool software = contains(f->name, "llvmpipe") || contains(f->platform_name, "clover");
    return is_simulator(f) ? -1 : software ? 0 : kind;
}

/* Whether `selector` (one of the forms in qemb.h) allows this device. */
static bool matches(const char *selector, const found_device *f) {
    int p = 0;
    int d = 0;
    char end = 0;
    if (strcmp(selector, "opencl") == 0) {
        return rank(f) >= 0;
    }
    if (strcmp(selector, "opencl:gpu") == 0) {
        return (f->type & CL_DEVICE_TYPE_GPU) && !is_simulator(f);
    }
    if (strcmp(selector, "opencl:cpu") == 0) {
        return (f->type & CL_DEVICE_TYPE_CPU) && !is_simulator(f);
    }
    if (strcmp(selector, "opencl:accelerator") == 0) {
        return (f->type & CL_DEVICE_TYPE_ACCELERATOR) && !is_simulator(f);
    }
    if (sscanf(selector, "opencl:%9d:%9d%c", &p, &d, &end) == 2) {
        return p == f->p && d == f->d;
    }
    return contains(f->name, selector) || contains(f->platform_name, selector);
}

static int best_of(const found_device *found, int count, const char *selector) {
    int best = -1;
    for (int i = 0; i < count; i++) {
        if (matches(selector, &found[i]) && (best < 0 || rank(&found[i]) > rank(&found[best]))) {
            best = i;
        }
    }
    return best;
}

qemb_status qemb__cl_select(const char *selector, cl_platform_id *platform, cl_device_id *device) {
    found_device found[MAX_FOUND];
    char list[1200] = "";
    int count = 0;
    if (qemb__cl_load("context_create") != QEMB_OK) {
        return QEMB_ERR_DEVICE;
    }
    cl_int error = enumerate(found, &count);
    if (error != CL_SUCCESS) {
        return qemb__fail(QEMB_ERR_DEVICE, "context_create: device \"%s\": %s (OpenCL %d); \"reference\" needs none", selector,
                          qemb__cl_error_name(error), (int)error);
    }
    int best = best_of(found, count, selector);
    if (best >= 0) {
        *platform = found[best].platform;
        *device = found[best].device;
        return QEMB_OK;
    }
    for (int i = 0; i < count; i++) {
        size_t used = strlen(list);
        (void)snprintf(list + used, sizeof list - used, ", opencl:%d:%d (%.120s, %.60s)", found[i].p, found[i].d, found[i].name,
                       found[i].platform_name);
    }
    return qemb__fail(QEMB_ERR_DEVICE, "context_create: no device \"%s\"; there are reference%s", selector, list);
}

qemb_status qemb__opencl_devices(qemb_device_visitor visit, void *user) {
    found_device found[MAX_FOUND];
    int count = 0;
    const bool usable = qemb__cl_load("devices") == QEMB_OK && enumerate(found, &count) == CL_SUCCESS;
    const int best = usable ? best_of(found, count, "opencl") : -1;
    visit(user, 0, "reference", "reference engine (plain C)", "host", best < 0);
    for (int i = 0; i < count; i++) {
        char selector[32];
        (void)snprintf(selector, sizeof selector, "opencl:%d:%d", found[i].p, found[i].d);
        visit(user, i + 1, selector, found[i].name, found[i].platform_name, i == best);
    }
    return QEMB_OK;
}

qemb_status qemb__cl_describe(qemb_context *ctx) {
    qemb__cl *cl = ctx->engine;
    qemb_status st = QEMB_OK;
    cl_ulong memory = 0;
    cl_ulong allocation = 0;
    cl_uint units = 0;
    cl_device_type type = 0;
    cl_command_queue_properties properties = 0;
    const char *family = getenv("QEMB_FAMILY");
    const char *local = getenv("QEMB_LOCAL_SIZE");
    const char *limit = getenv("QEMB_MAX_ALLOCATION");
    CL_TRY(clGetDeviceInfo(cl->device, CL_DEVICE_NAME, sizeof cl->name - 1, cl->name, NULL), "clGetDeviceInfo");
    CL_TRY(clGetDeviceInfo(cl->device, CL_DEVICE_TYPE, sizeof type, &type, NULL), "clGetDeviceInfo");
    CL_TRY(clGetDeviceInfo(cl->device, CL_DRIVER_VERSION, sizeof cl->driver - 1, cl->driver, NULL), "clGetDeviceInfo");
    CL_TRY(clGetDeviceInfo(cl->device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL), "clGetDeviceInfo");
    CL_TRY(clGetDeviceInfo(cl->device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof allocation, &allocation, NULL), "clGetDeviceInfo");
    CL_TRY(clGetDeviceInfo(cl->device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL), "clGetDeviceInfo");
    CL_TRY(clGetDeviceInfo(cl->device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof cl->max_local, &cl->max_local, NULL), "clGetDeviceInfo");
    CL_TRY(clGetPlatformInfo(cl->platform, CL_PLATFORM_NAME, sizeof cl->platform_name - 1, cl->platform_name, NULL), "clGetPlatformInfo");
    CL_TRY(clGetCommandQueueInfo(cl->queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL), "clGetCommandQueueInfo");
    cl->out_of_order = (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
    cl->is_pocl = contains(cl->platform_name, "Portable Computing Language");
    cl->is_nvidia = contains(cl->platform_name, "NVIDIA");
    cl->compute_units = units ? (int64_t)units : 1;
    cl->max_local = cl->max_local ? cl->max_local : 1;
    cl->is_cpu = family && strcmp(family, "gpu") == 0   ? false
                 : family && strcmp(family, "cpu") == 0 ? true
                                                        : (type & CL_DEVICE_TYPE_CPU) != 0;
    cl->is_cpu = cl->is_cpu || cl->max_local < GPU_GROUP;
    cl->force_local = local ? (size_t)strtoul(local, NULL, 10) : 0;
    if (limit && strtoll(limit, NULL, 10) > 0) {
        allocation = (cl_ulong)strtoll(limit, NULL, 10);
    }
    ctx->report = (qemb_device_report){
        .engine = "opencl",
        .device = cl->name,
        .platform = cl->platform_name,
        .driver = cl->driver,
        .family = cl->is_cpu ? "cpu" : "gpu",
        .memory_bytes = (int64_t)memory,
        .max_allocation_bytes = (int64_t)allocation,
        .max_work_group = (int64_t)cl->max_local,
        .compute_units = (int32_t)units,
        .host_memory = (type & (CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU)) == CL_DEVICE_TYPE_CPU, /* a simulator says it is both */
        .prefetch = cl->is_pocl,
    };
done:
    return st;
}
