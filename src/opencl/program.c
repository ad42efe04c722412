/* program.c - kernels from the embedded text (or from $QEMB_KERNEL_PATH), built once an option string and kept with the context.
 *
 * A program is the shared headers followed by its pieces: kernel files, and lines of preprocessor text between them for a file that is
 * compiled several times under different definitions. There is no include at run time. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/memory.h"
#include "opencl/kernel_files.h"
#include "opencl/opencl.h"

static const char prelude[] = "#pragma OPENCL FP_CONTRACT OFF\n";
static const char *const shared_files[] = {"shared/types.h",        "shared/math.h",  "shared/row_layout.h", "shared/fake_quant.h",
                                           "shared/row_quantise.h", "shared/batch.h", "shared/vector16.h"};
enum { NUM_SHARED = sizeof shared_files / sizeof *shared_files, MAX_PIECES = 64, MAX_TEXTS = NUM_SHARED + MAX_PIECES + 1 };

static const qemb__kernel_file *embedded(const char *name) {
    const qemb__kernel_file *f = qemb__kernel_files;
    while (strcmp(f->name, name) != 0) {
        f++;
        assert(f < qemb__kernel_files + qemb__kernel_file_count);
    }
    return f;
}

/* The text of a kernel file into *text (to be freed by the caller when *owned). */
static qemb_status load(const char *name, const char **text, size_t *bytes, char **owned) {
    qemb_status st = QEMB_OK;
    const char *folder = getenv("QEMB_KERNEL_PATH");
    char path[1024];
    FILE *file = NULL;
    void *block = NULL;
    if (!folder || !*folder) {
        const qemb__kernel_file *f = embedded(name);
        *text = (const char *)f->text;
        *bytes = f->bytes;
        return QEMB_OK;
    }
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    REQUIRE(file && fseek(file, 0, SEEK_END) == 0, QEMB_ERR_IO, "kernel file %s (QEMB_KERNEL_PATH) cannot be read", path);
    long size = ftell(file);
    REQUIRE(size >= 0 && fseek(file, 0, SEEK_SET) == 0, QEMB_ERR_IO, "kernel file %s cannot be read", path);
    TRY(qemb__calloc(size + 1, 1, &block));
    REQUIRE(fread(block, 1, (size_t)size, file) == (size_t)size, QEMB_ERR_IO, "kernel file %s cannot be read", path);
    *text = *owned = block;
    *bytes = (size_t)size;
    block = NULL;
done:
    if (file) {
        (void)fclose(file);
    }
    qemb__free(block);
    return st;
}

/* Keeps the compiler's log behind the options and the numbered lines it speaks of. */
static void keep_log(qemb__cl *cl, cl_program program, const char *file, const char *options) {
    size_t bytes = 0;
    void *block = NULL;
    qemb__free(cl->log);
    cl->log = NULL;
    (void)clGetProgramBuildInfo(program, cl->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
    size_t head = strlen(file) + strlen(options) + 64;
    if (qemb__calloc((int64_t)(head + bytes + 1), 1, &block) == QEMB_OK) {
        int n = snprintf(block, head, "%s with %s:\n", file, options);
        if (bytes) {
            (void)clGetProgramBuildInfo(program, cl->device, CL_PROGRAM_BUILD_LOG, bytes, (char *)block + n, NULL);
        }
        cl->log = block;
    }
}

/* Compiles texts under `options`; `name` is for messages. */
static qemb_status compile(qemb_context *ctx, const char **texts, const size_t *sizes, int count, const char *name, const char *options,
                           cl_program *out) {
    qemb__cl *cl = ctx->engine;
    cl_int error = CL_SUCCESS;
    /* PoCL 3.1's cache is not safe between processes: a build may fail with an empty log, and works the second time. */
    for (int attempt = 0; attempt < 2; attempt++) {
        cl_program program = clCreateProgramWithSource(cl->context, (cl_uint)count, texts, sizes, &error);
        if (error != CL_SUCCESS) {
            return qemb__cl_fail(error, "clCreateProgramWithSource");
        }
        error = clBuildProgram(program, 1, &cl->device, options, NULL, NULL);
        if (error == CL_SUCCESS) {
            ctx->counters.programs_built++;
            *out = program;
            return QEMB_OK;
        }
        if (error == CL_BUILD_PROGRAM_FAILURE) {
            keep_log(cl, program, name, options);
        }
        (void)clReleaseProgram(program);
    }
    if (error == CL_OUT_OF_HOST_MEMORY || error == CL_OUT_OF_RESOURCES || error == CL_DEVICE_NOT_AVAILABLE) {
        return qemb__cl_fail(error, "clBuildProgram"); /* the device's trouble, not the kernel's */
    }
    return qemb__fail(QEMB_ERR_BUILD, "kernel %s does not build on %s (OpenCL %d): %.1200s", name, cl->name, (int)error,
                      cl->log ? cl->log : "");
}

static double seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* From the cache where there is one (*kept says so), unless `anew`; else compiled, and kept there. */
static qemb_status build(qemb_context *ctx, const char *const *pieces, int count, const char *options, bool anew, bool *kept,
                         cl_program *out) {
    qemb__cl *cl = ctx->engine;
    const double start = seconds();
    qemb_status st = QEMB_OK;
    const char *texts[MAX_TEXTS] = {prelude};
    size_t sizes[MAX_TEXTS] = {sizeof prelude - 1};
    char *owned[MAX_TEXTS] = {0};
    int n = 1;
    for (int i = 0; i < NUM_SHARED; i++, n++) {
        TRY(load(shared_files[i], &texts[n], &sizes[n], &owned[n]));
    }
    for (int i = 0; i < count; i++, n++) {
        if (pieces[i][0] == '#') {
            texts[n] = pieces[i];
            sizes[n] = strlen(pieces[i]);
        } else {
            TRY(load(pieces[i], &texts[n], &sizes[n], &owned[n]));
        }
    }
    const qemb__cache_key key = qemb__cl_binary_key(cl, texts, sizes, n, options);
    *out = anew ? NULL : qemb__cl_binary_load(cl, &key, options);
    *kept = *out != NULL;
    if (!*kept) {
        TRY(compile(ctx, texts, sizes, n, pieces[count - 1], options, out));
        qemb__cl_binary_store(cl, &key, *out);
    }
    if (cl->log_builds) {
        qemb__log("build", "%s %s in %.0f ms: %.600s", pieces[count - 1], *kept ? "taken from the cache" : "compiled",
                  1e3 * (seconds() - start), options);
    }
done:
    for (int i = 0; i < MAX_TEXTS; i++) {
        qemb__free(owned[i]);
    }
    return st;
}

qemb_status qemb__cl_kernel_get(qemb_context *ctx, const char *file, const char *name, const char *options, cl_kernel *kernel) {
    return qemb__cl_kernel_pieces(ctx, &file, 1, name, options, kernel);
}

/* The kernel `name` of a program that is kept already; else *program is the program with this key, or NULL. */
static cl_kernel find_kernel(const qemb__cl *cl, const char *key, const char *name, cl_program *program) {
    *program = NULL;
    for (int64_t i = 0; i < cl->num_kernels; i++) {
        const qemb__cl_kernel *k = &cl->kernels[i];
        if (strcmp(k->key, key) == 0) {
            if (strcmp(k->name, name) == 0) {
                return k->kernel;
            }
            *program = k->program;
        }
    }
    return NULL;
}

/* Keeps kernel `name` of a program under its key; takes the program over. */
static qemb_status keep_kernel(qemb__cl *cl, const char *key, const char *name, cl_program program, cl_kernel *kernel) {
    qemb_status st = QEMB_OK;
    cl_int error = CL_SUCCESS;
    qemb__cl_kernel entry = {.program = program};
    TRY(qemb__grow((void **)&cl->kernels, &cl->cap_kernels, cl->num_kernels + 1, sizeof *cl->kernels));
    TRY(qemb__strdup(key, &entry.key));
    TRY(qemb__strdup(name, &entry.name));
    entry.kernel = clCreateKernel(program, name, &error);
    REQUIRE(error != CL_INVALID_KERNEL_NAME, QEMB_ERR_BUILD, "kernel %s is not in %s (OpenCL %d)", name, key, (int)error);
    CL_TRY(error, "clCreateKernel");
    *kernel = entry.kernel;
    cl->kernels[cl->num_kernels++] = entry;
    return QEMB_OK;
done:
    (void)clReleaseProgram(program);
    qemb__free(entry.key);
    qemb__free(entry.name);
    return st;
}

qemb_status qemb__cl_kernel_pieces(qemb_context *ctx, const char *const *pieces, int count, const char *name, const char *options,
                                   cl_kernel *kernel) {
    qemb__cl *cl = ctx->engine;
    qemb_status st = QEMB_OK;
    char key[2 * QEMB__CL_OPTIONS];
    char all[2 * QEMB__CL_OPTIONS];
    cl_program program = NULL;
    bool kept = false;
    int length = snprintf(key, sizeof key, "%s:%s", pieces[count - 1], options);
    REQUIRE(length > 0 && (size_t)length < sizeof key, QEMB_ERR_BUILD, "kernel %s: its options are too long", name);
    *kernel = find_kernel(cl, key, name, &program);
    if (*kernel) {
        return QEMB_OK;
    }
    if (program) {
        CL_TRY(clRetainProgram(program), "clRetainProgram");
    } else {
        (void)snprintf(all, sizeof all, "%s %s", cl->base_options, options);
        TRY(build(ctx, pieces, count, all, false, &kept, &program));
    }
    st = keep_kernel(cl, key, name, program, kernel);
    if (st != QEMB_OK && kept) { /* a binary that the driver took, and that is none */
        TRY(build(ctx, pieces, count, all, true, &kept, &program));
        TRY(keep_kernel(cl, key, name, program, kernel));
    }
done:
    return st;
}

void qemb__cl_kernels_free(qemb__cl *cl) {
    for (int64_t i = 0; i < cl->num_kernels; i++) {
        (void)clReleaseKernel(cl->kernels[i].kernel);
        (void)clReleaseProgram(cl->kernels[i].program);
        qemb__free(cl->kernels[i].key);
        qemb__free(cl->kernels[i].name);
    }
    qemb__free(cl->kernels);
    qemb__free(cl->log);
}
