/* program.c - OpenCL C to a shared library of this processor: a main file that includes the kernels' own files, given to compile.sh. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include "native.h"

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static char *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        rewind(file);
        text = calloc((size_t)size + 1, 1);
        if (fread(text, 1, (size_t)size, file) != (size_t)size) {
            free(text);
            text = NULL;
        } else {
            *bytes = (size_t)size;
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return text;
}

/* The kernel file of the source tree with this very text, or NULL: coverage and reports then speak of the file. */
static const char *known_file(const char *text, size_t bytes) {
    enum { MAX_FILES = 256 };
    static char *names[MAX_FILES], *texts[MAX_FILES];
    static size_t sizes[MAX_FILES];
    static int count = -1;
    if (count < 0) {
        char command[1024], path[1024];
        (void)snprintf(command, sizeof command, "ls '%s'/kernels_cl/*.cl '%s'/kernels_cl/shared/*.h", setting("QEMB_NATIVE_SOURCE", "."),
                       setting("QEMB_NATIVE_SOURCE", "."));
        FILE *list = popen(command, "r");
        for (count = 0; list && count < MAX_FILES && fgets(path, sizeof path, list);) {
            path[strcspn(path, "\n")] = '\0';
            texts[count] = read_file(path, &sizes[count]);
            names[count] = strdup(path);
            count += texts[count] != NULL;
        }
        if (list) {
            (void)pclose(list);
        }
    }
    for (int i = 0; i < count; i++) {
        if (sizes[i] == bytes && memcmp(texts[i], text, bytes) == 0) {
            return names[i];
        }
    }
    return NULL;
}

cl_program CL_API_CALL native_CreateProgramWithSource(cl_context context, cl_uint count, const char **texts, const size_t *sizes, cl_int *error) {
    cl_program program = NATIVE_NEW(struct _cl_program);
    size_t bytes = 0;
    FILE *out = open_memstream(&program->text, &bytes);
    (void)fprintf(out, "#include \"%s/tests/native/builtins.h\"\n", setting("QEMB_NATIVE_SOURCE", "."));
    pthread_mutex_lock(&native_lock);
    for (cl_uint i = 0; i < count; i++) {
        size_t length = sizes && sizes[i] ? sizes[i] : strlen(texts[i]);
        const char *name = known_file(texts[i], length);
        if (name) {
            (void)fprintf(out, "#include \"%s\"\n", name);
        } else {
            (void)fprintf(out, "%.*s\n", (int)length, texts[i]);
        }
    }
    pthread_mutex_unlock(&native_lock);
    (void)fclose(out);
    program->context = context;
    program->log = strdup("");
    if (error) {
        *error = CL_SUCCESS;
    }
    return program;
}

/* A program's binary is its text, all of it. */
cl_program CL_API_CALL native_CreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id *devices, const size_t *sizes,
                                                      const unsigned char **binaries, cl_int *status, cl_int *error) {
    const char start[] = "#include \"";
    const bool good = count == 1 && sizes[0] >= sizeof start && memcmp(binaries[0], start, sizeof start - 1) == 0;
    const cl_int answer = good ? CL_SUCCESS : CL_INVALID_BINARY;
    cl_program program = good ? NATIVE_NEW(struct _cl_program) : NULL;
    (void)devices;
    if (good) {
        program->text = strndup((const char *)binaries[0], sizes[0]);
        program->context = context;
        program->log = strdup("");
    }
    if (status) {
        *status = answer;
    }
    if (error) {
        *error = answer;
    }
    return program;
}

cl_int CL_API_CALL native_GetProgramInfo(cl_program program, cl_program_info what, size_t room, void *target, size_t *needed) {
    const cl_uint one = 1;
    const size_t bytes = strlen(program->text);
    cl_device_id device = &native_device;
    switch (what) {
    case CL_PROGRAM_NUM_DEVICES: return native_answer(&one, sizeof one, room, target, needed);
    case CL_PROGRAM_DEVICES: return native_answer(&device, sizeof device, room, target, needed);
    case CL_PROGRAM_BINARY_SIZES: return native_answer(&bytes, sizeof bytes, room, target, needed);
    case CL_PROGRAM_BINARIES:
        if (target && room >= sizeof(char *) && *(char **)target) {
            memcpy(*(char **)target, program->text, bytes);
        }
        return CL_SUCCESS;
    default: return CL_INVALID_VALUE;
    }
}

static uint64_t hash(uint64_t h, const char *text) {
    for (; *text; text++) {
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001B3);
    }
    return h;
}

/* The text with the included files' times: a changed kernel is another program. */
static uint64_t identity(const char *text, const char *options) {
    uint64_t h = hash(hash(UINT64_C(0xCBF29CE484222325), text), options);
    char path[1024];
    h = hash(h, setting("QEMB_NATIVE_FLAGS", ""));
    for (const char *at = text; (at = strstr(at, "#include \"")); at++) {
        struct stat s;
        if (sscanf(at, "#include \"%1023[^\"]\"", path) == 1 && stat(path, &s) == 0) {
            char stamp[64];
            (void)snprintf(stamp, sizeof stamp, "%lld.%ld", (long long)s.st_mtim.tv_sec, (long)s.st_mtim.tv_nsec);
            h = hash(h, stamp);
        }
    }
    return h;
}

static bool compile(cl_program program, const char *options, const char *library) {
    char source[1100], command[8192], log[1200];
    (void)snprintf(source, sizeof source, "%s.cl", library);
    (void)snprintf(log, sizeof log, "%s.%d.log", library, (int)getpid());
    char partial[1200];
    (void)snprintf(partial, sizeof partial, "%s.%d", source, (int)getpid()); /* other processes may compile the same program */
    FILE *file = fopen(partial, "w");
    if (!file) {
        native_fail("cannot write", source);
        return false;
    }
    const char *name = strrchr(library, '/') + 1;
    (void)fprintf(file, "%s\n#ifndef NATIVE_SIGNATURES\n#include \"%s.calls.h\"\n#endif\n", program->text, name);
    (void)fclose(file);
    (void)rename(partial, source);
    /* the options in a file: brackets in them mean nothing to a shell */
    (void)snprintf(partial, sizeof partial, "%s.%d.options", library, (int)getpid());
    file = fopen(partial, "w");
    if (file) {
        (void)fprintf(file, "%s\n", options);
        (void)fclose(file);
    }
    char flags[1024];
    (void)snprintf(flags, sizeof flags, "%s", setting("QEMB_NATIVE_FLAGS", ""));
    const char *own = strstr(flags, "-fprofile-instr-generate") ? "-fprofile-instr-generate=%s.%%m.profraw -fcoverage-mapping" : "";
    char profile[1200];
    (void)snprintf(profile, sizeof profile, own, library);
    (void)snprintf(command, sizeof command, "QEMB_NATIVE_FLAGS=\"$QEMB_NATIVE_FLAGS %s\" sh '%s/tests/native/compile.sh' '%s' '%s' '@%s' >'%s' 2>&1", profile,
                   setting("QEMB_NATIVE_SOURCE", "."), source, library, partial, log);
    bool good = system(command) == 0;
    size_t bytes = 0;
    char *text = read_file(log, &bytes);
    if (text) {
        free(program->log);
        program->log = text;
    }
    (void)unlink(log);
    (void)unlink(partial);
    return good;
}

cl_int CL_API_CALL native_BuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                                       void(CL_CALLBACK *notify)(cl_program, void *), void *user) {
    char library[1024];
    (void)count, (void)devices, (void)notify, (void)user;
    char all[4096];
    (void)snprintf(all, sizeof all, "%s%s", options ? options : "", *setting("QEMB_NATIVE_ROUGH", "") ? " -DNATIVE_ROUGH" : "");
    options = all;
    (void)snprintf(library, sizeof library, "%s/%016llx.so", setting("QEMB_NATIVE_CACHE", "."),
                   (unsigned long long)identity(program->text, options));
    if (access(library, R_OK) != 0 && !compile(program, options, library)) {
        return CL_BUILD_PROGRAM_FAILURE;
    }
    program->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!program->library) {
        free(program->log);
        program->log = strdup(dlerror());
        return CL_BUILD_PROGRAM_FAILURE;
    }
    void *items = dlsym(program->library, "native_current");
    void *waits = dlsym(program->library, "native_waits");
    unsigned (*asks)(void);
    memcpy(&program->items, &items, sizeof items);
    memcpy(&asks, &waits, sizeof waits);
    program->waits = asks() != 0;
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_RetainProgram(cl_program program) {
    pthread_mutex_lock(&native_lock);
    program->references++;
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

/* The library stays loaded: its counters are written when the process ends. */
cl_int CL_API_CALL native_ReleaseProgram(cl_program program) {
    pthread_mutex_lock(&native_lock);
    if (--program->references == 0) {
        free(program->text);
        free(program->log);
        free(program);
    }
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_GetProgramBuildInfo(cl_program program, cl_device_id device, cl_program_build_info what, size_t room, void *target, size_t *needed) {
    (void)device;
    return what == CL_PROGRAM_BUILD_LOG ? native_answer(program->log, strlen(program->log) + 1, room, target, needed) : CL_INVALID_VALUE;
}

/* ---- kernels */
static void *symbol(cl_program program, const char *prefix, const char *name) {
    char full[256];
    (void)snprintf(full, sizeof full, "native_%s_%s", prefix, name);
    return dlsym(program->library, full);
}

cl_kernel CL_API_CALL native_CreateKernel(cl_program program, const char *name, cl_int *error) {
    void *call = program->library ? symbol(program, "call", name) : NULL;
    if (error) {
        *error = !program->library ? CL_INVALID_PROGRAM_EXECUTABLE : call ? CL_SUCCESS : CL_INVALID_KERNEL_NAME;
    }
    if (!call) {
        return NULL;
    }
    cl_kernel kernel = NATIVE_NEW(struct _cl_kernel);
    void *count = symbol(program, "count", name);
    void *size = symbol(program, "size", name);
    unsigned (*counts)(void);
    memcpy(&kernel->call, &call, sizeof call);
    memcpy(&kernel->size, &size, sizeof size);
    memcpy(&counts, &count, sizeof count);
    kernel->count = counts();
    (void)snprintf(kernel->name, sizeof kernel->name, "%s", name);
    kernel->program = program;
    (void)native_RetainProgram(program);
    return kernel;
}

static void kernel_release(cl_kernel kernel) {
    if (--kernel->references == 0) {
        for (cl_uint i = 0; i < kernel->count; i++) {
            free(kernel->value[i]);
        }
        if (--kernel->program->references == 0) {
            free(kernel->program->text);
            free(kernel->program->log);
            free(kernel->program);
        }
        free(kernel);
    }
}

cl_int CL_API_CALL native_RetainKernel(cl_kernel kernel) {
    pthread_mutex_lock(&native_lock);
    kernel->references++;
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_ReleaseKernel(cl_kernel kernel) {
    pthread_mutex_lock(&native_lock);
    kernel_release(kernel);
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_SetKernelArg(cl_kernel kernel, cl_uint i, size_t bytes, const void *value) {
    if (i >= kernel->count) {
        return CL_INVALID_ARG_INDEX;
    }
    unsigned wanted = kernel->size(i);
    bool is_local = wanted == 0;
    if (is_local ? value != NULL || bytes == 0 : wanted == ~0u ? bytes != sizeof(cl_mem) : bytes != wanted) {
        return is_local ? CL_INVALID_ARG_VALUE : CL_INVALID_ARG_SIZE;
    }
    free(kernel->value[i]);
    kernel->value[i] = calloc(1, bytes);
    kernel->bytes[i] = bytes;
    if (value) {
        memcpy(kernel->value[i], value, bytes);
    }
    return CL_SUCCESS;
}

/* ---- launches */
void native_launch_run(native_command *command) {
    native_launch *l = command->launch;
    native_items items = {.global_size = l->global, .local_size = l->local};
    void *args[NATIVE_ARGS];
    void *pointers[NATIVE_ARGS];
    for (cl_uint i = 0; i < l->kernel->count; i++) {
        unsigned wanted = l->kernel->size(i);
        cl_mem memory = NULL;
        args[i] = l->value[i];
        if (wanted == ~0u) {
            memcpy(&memory, l->value[i], sizeof memory);
            pointers[i] = memory ? memory->memory : NULL;
            args[i] = &pointers[i];
        } else if (wanted == 0) {
            pointers[i] = malloc(l->bytes[i]);
            args[i] = &pointers[i];
        }
    }
    native_launches++;
    *l->kernel->program->items = &items;
    for (size_t g = 0; g < l->global / l->local; g++) {
        items.group = g;
        for (cl_uint i = 0; i < l->kernel->count && __msan_poison; i++) {
            if (l->kernel->size(i) == 0) {
                __msan_poison(pointers[i], l->bytes[i]); /* local memory: what the last group left there is no value */
            }
        }
        native_group(l, &items, args);
    }
    for (cl_uint i = 0; i < l->kernel->count; i++) {
        if (l->kernel->size(i) == 0) {
            free(pointers[i]);
        }
    }
    native_canaries(l->kernel->name);
}

void native_launch_done(native_command *command) {
    native_launch *l = command->launch;
    for (cl_uint i = 0; i < l->kernel->count; i++) {
        if (l->kernel->size(i) == ~0u) {
            cl_mem memory = NULL;
            memcpy(&memory, l->value[i], sizeof memory);
            if (memory) {
                native_mem_release(memory);
            }
        }
        free(l->value[i]);
    }
    kernel_release(l->kernel);
    free(l);
}

cl_int CL_API_CALL native_EnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *global,
                                               const size_t *local, cl_uint num_waits, const cl_event *waits, cl_event *event) {
    if (dimensions != 1 || offset || !local || *local == 0 || *global == 0 || *global % *local) {
        return dimensions != 1 ? CL_INVALID_WORK_DIMENSION : CL_INVALID_WORK_GROUP_SIZE;
    }
    for (cl_uint i = 0; i < kernel->count; i++) {
        if (!kernel->value[i]) {
            return CL_INVALID_KERNEL_ARGS;
        }
    }
    native_launch *l = calloc(1, sizeof *l);
    native_command *command = calloc(1, sizeof *command);
    l->kernel = kernel;
    l->global = *global;
    l->local = *local;
    pthread_mutex_lock(&native_lock);
    for (cl_uint i = 0; i < kernel->count; i++) {
        l->bytes[i] = kernel->bytes[i];
        l->value[i] = malloc(kernel->bytes[i]);
        memcpy(l->value[i], kernel->value[i], kernel->bytes[i]);
        if (kernel->size(i) == ~0u) {
            cl_mem memory = NULL;
            memcpy(&memory, l->value[i], sizeof memory);
            if (memory && !native_is_buffer(memory)) {
                native_fail("a released buffer is an argument of", kernel->name);
            }
            if (memory) {
                native_mem_retain(memory);
            }
        }
    }
    kernel->references++;
    *command = (native_command){.run = native_launch_run, .done = native_launch_done, .launch = l};
    cl_int error = native_enqueue(queue, command, num_waits, waits, event, CL_FALSE);
    pthread_mutex_unlock(&native_lock);
    return error;
}
