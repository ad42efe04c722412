/* opencl.h - what the files of the OpenCL engine share. */
#ifndef QEMB_OPENCL_OPENCL_H
#define QEMB_OPENCL_OPENCL_H

#include "core/ops.h"
#include "core/tables.h"
#include "opencl/cache.h"
#include "opencl/loader.h"
#include "opencl/pick.h"

enum { QEMB__CL_OPTIONS = 640, QEMB__CL_MAX_ARGS = 64, QEMB__CL_PENDING = 64 };

typedef struct qemb__cl_kernel {
    char *key; /* "file:options": of the program, which several kernels may share */
    char *name;
    cl_program program;
    cl_kernel kernel;
} qemb__cl_kernel;

typedef struct qemb__cl {
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    bool out_of_order; /* the caller's queue: a barrier follows every command */
    bool is_cpu;       /* CPU kernel family */
    bool is_pocl;
    bool is_nvidia;
    int shuffle;         /* as in qemb_device_report */
    bool exact_division; /* / and sqrt as they are */
    size_t max_local;
    size_t force_local; /* $QEMB_LOCAL_SIZE, for tests: any local size gives the same bits */
    int64_t compute_units;
    char name[256], platform_name[256], driver[128];
    char base_options[QEMB__CL_OPTIONS]; /* of every build on this device */
    char *log;                           /* of the last failed build */
    char cache[QEMB__CACHE_FOLDER];      /* where binaries are kept; "": nowhere */
    qemb__cache_key identity;            /* of device, driver and library, in the key of every binary */
    bool log_builds;                     /* $QEMB_LOG=build */
    qemb__picker picker;
    qemb__cl_kernel *kernels;
    int64_t num_kernels, cap_kernels;
    cl_event pending[QEMB__CL_PENDING]; /* of the commands enqueued last whose end has not been seen, a ring */
    int first_pending, num_pending;
    qemb_buffer *staged; /* rows of a table, fake-quantised; grows */
    bool unwaitable;     /* every wait was refused for a while: nothing is waited for any more */
} qemb__cl;

/* ---- device.c */
/* Finds the device a selector names; DEVICE with the list of all devices when there is none. */
qemb_status qemb__cl_select(const char *selector, cl_platform_id *platform, cl_device_id *device);
/* Names, limits and family of the device in cl->device into cl and the context's report. */
qemb_status qemb__cl_describe(qemb_context *ctx);
/* Probes what drivers do not say truly: rounding of division, fma, subnormals, struct layout, lane exchange. */
qemb_status qemb__cl_probe(qemb_context *ctx);

/* ---- program.c */
/* The kernel `name` of kernels_cl/<file>, built with base options and `options`; built once and kept. */
qemb_status qemb__cl_kernel_get(qemb_context *ctx, const char *file, const char *name, const char *options, cl_kernel *kernel);
/* The same for a program of several pieces: kernel files, and texts that start with '#'. The last piece names it. Kernels of the same pieces
 * and options share one build. */
qemb_status qemb__cl_kernel_pieces(qemb_context *ctx, const char *const *pieces, int count, const char *name, const char *options,
                                   cl_kernel *kernel);
void qemb__cl_kernels_free(qemb__cl *cl);

/* ---- binary.c: programs to and from the cache. Nothing here fails */
/* Whether there is one, and what all its keys have in common. */
void qemb__cl_binary_open(qemb__cl *cl);
qemb__cache_key qemb__cl_binary_key(const qemb__cl *cl, const char *const *texts, const size_t *sizes, int count, const char *options);
/* A program that is built, or NULL: there is none under this key, or the driver refuses it. */
cl_program qemb__cl_binary_load(qemb__cl *cl, const qemb__cache_key *key, const char *options);
void qemb__cl_binary_store(const qemb__cl *cl, const qemb__cache_key *key, cl_program program);

/* ---- launch.c */
typedef struct qemb__cl_args {
    int count;
    size_t size[QEMB__CL_MAX_ARGS];
    const void *value[QEMB__CL_MAX_ARGS];
} qemb__cl_args;
void qemb__cl_arg(qemb__cl_args *args, size_t size, const void *value);
void qemb__cl_arg_buffer(qemb__cl_args *args, const qemb_buffer *buffer);
/* Enqueues `items` work-items in groups of `local` (items rounded up: kernels check their id). */
qemb_status qemb__cl_launch(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *args, int64_t items, size_t local);
/* Local size for kernels of one item a bag or row: `usual`, 1 when that leaves fewer than 16 groups a compute unit. */
size_t qemb__cl_local_cpu(const qemb__cl *cl, int64_t items, int usual);
/* After every enqueued command: counts it, orders it, and keeps its event (NULL: none) to hear how it ends. */
qemb_status qemb__cl_enqueued(qemb_context *ctx, cl_int error, cl_event event, const char *what);
/* How a wait ended: `error` is the waiting call's own; `ended`: every command has. The context is lost on errors of the device, whichever
 * command they speak of. */
qemb_status qemb__cl_waited(qemb_context *ctx, cl_int error, bool ended, const char *what);
void qemb__cl_forget_events(qemb__cl *cl);

/* ---- deal.c */
/* Fills `deal` for a launch over these features, and gives its turns. */
int64_t qemb__cl_deal(const qemb__cl *cl, const qemb__batch_view *batch, int32_t features, q_i32 tile, q_deal *deal);
/* Launches the turns of a kernel of the CPU family. */
qemb_status qemb__cl_launch_bags(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *args, int local, const q_deal *deal);

/* ---- error.c */
const char *qemb__cl_error_name(cl_int error);
qemb_status qemb__cl_fail(cl_int error, const char *what);

/* ---- choices (pick.h) */
/* The variant for a launch over these tables. */
const qemb__pick *qemb__cl_pick(qemb_context *ctx, qemb__stem stem, uint32_t facts, const qemb__tables *tables);

/* ---- operations, one file a stem (core/ops.h lists them) */
#define QEMB__DECLARE(name, type) qemb_status qemb__cl_##name(qemb_context *ctx, const type *args);
QEMB__OPERATIONS(QEMB__DECLARE)
#undef QEMB__DECLARE
qemb_status qemb__cl_bag_forward_prepare(qemb_context *ctx, const qemb__tables *tables);
qemb_status qemb__cl_packed_prepare(qemb_context *ctx, const qemb__tables *tables, bool mapped);
qemb_status qemb__cl_row_update_prepare(qemb_context *ctx, const qemb__row_update_args *args);

/* Opens the engine over a device, context and queue that are kept (retained); context and queue NULL: the engine makes its own. */
qemb_status qemb__cl_open(qemb_context *ctx, cl_platform_id platform, cl_device_id device, cl_context context, cl_command_queue queue);

#define CL_TRY(call, what)                                                                                                                 \
    do {                                                                                                                                   \
        cl_int cl_error_ = (call);                                                                                                         \
        if (cl_error_ != CL_SUCCESS) {                                                                                                     \
            st = qemb__cl_fail(cl_error_, what);                                                                                           \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

#endif
