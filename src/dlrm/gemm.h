/* gemm.h - matrix products by CLBlast, with parameters of our own.
 *
 * CLBlast picks kernel parameters from a database of devices; on a device that it does not know they are slow (PoCL: 7 to 20 GFLOP/s on
 * two cores). gemm.c keeps a set a class of devices. A wrong set returns success and wrong numbers, so a set is compared with plain C
 * before it is used, and the next one is taken when it fails. */
#ifndef QEMB_DLRM_GEMM_H
#define QEMB_DLRM_GEMM_H

#include "dlrm/device.h"

/* c[rows][columns] = alpha * a * b + beta * c, all row-major; a is [rows][depth], stored [depth][rows] where transpose_a; b is
 * [depth][columns], stored [columns][depth] where transpose_b. */
typedef struct dlrm_gemm_call {
    int64_t rows, columns, depth;
    bool transpose_a, transpose_b;
    float alpha, beta;
    cl_mem a, b, c;
} dlrm_gemm_call;

/* Enqueues. The temporary memory grows with the first call of a size; no call allocates after that. */
qemb_status dlrm_gemm(dlrm_device *device, const dlrm_gemm_call *call);

enum { DLRM_GEMM_KERNELS = 6, DLRM_GEMM_PARAMETERS = 16 };

/* The parameters of one of CLBlast's kernels, and a set of them under a name. */
typedef struct dlrm_gemm_kernel {
    const char *kernel;
    int count;
    const char *name[DLRM_GEMM_PARAMETERS];
    size_t value[DLRM_GEMM_PARAMETERS];
} dlrm_gemm_kernel;
typedef struct dlrm_gemm_set {
    const char *name;
    dlrm_gemm_kernel kernels[DLRM_GEMM_KERNELS]; /* the first with count 0 ends it; none at all: CLBlast's own */
} dlrm_gemm_set;

/* Loads a set and compares products of every kind with plain C; false and a sentence when one differs by more than depth * 2^-23 *
 * (sum of magnitudes). */
qemb_status dlrm_gemm_try(dlrm_device *device, const dlrm_gemm_set *set);

/* Options with which CLBlast must compile for a CPU device of a platform (its CL_PLATFORM_VERSION), or NULL. CLBlast writes multiply-adds of
 * vectors lane by lane unless told not to. PoCL 3's compiler joins the lanes again (and gains 15 % by it), PoCL 5's does not: 3 GFLOP/s
 * where vectors give 40 to 60. */
const char *dlrm_gemm_options(const char *platform_version);

/* The first set of the device's class that is right. On a CPU device it sets CLBLAST_BUILD_OPTIONS for the process as dlrm_gemm_options
 * says, unless the user has set it: CLBlast reads it whenever it compiles. */
qemb_status dlrm_gemm_choose(dlrm_device *device);

#endif
