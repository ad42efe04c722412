/* fault_layer_plain.h - part of fault_layer.c: the layer under a program that knows nothing of it. Programs are the driver's own then, since
 * others than the library make some too (CLBlast), and ask what the layer's handles cannot answer. */

static cl_program CL_API_CALL plain_create_program(cl_context context, cl_uint n, const char **texts, const size_t *sizes, cl_int *error) {
    FAIL_CREATE(clCreateProgramWithSource)
    return driver->clCreateProgramWithSource(context, n, texts, sizes, error);
}

static cl_program CL_API_CALL plain_create_program_with_binary(cl_context context, cl_uint n, const cl_device_id *devices,
                                                               const size_t *sizes, const unsigned char **binaries, cl_int *status,
                                                               cl_int *error) {
    FAIL_CREATE(clCreateProgramWithBinary)
    return driver->clCreateProgramWithBinary(context, n, devices, sizes, binaries, status, error);
}

static cl_int CL_API_CALL plain_get_program_info(cl_program program, cl_program_info what, size_t bytes, void *value, size_t *needed) {
    FAIL(clGetProgramInfo)
    return driver->clGetProgramInfo(program, what, bytes, value, needed);
}

static cl_int CL_API_CALL plain_build_program(cl_program program, cl_uint n, const cl_device_id *devices, const char *options,
                                              void(CL_CALLBACK *notify)(cl_program, void *), void *user) {
    FAIL(clBuildProgram)
    return driver->clBuildProgram(program, n, devices, options, notify, user);
}

static cl_int CL_API_CALL plain_get_build_info(cl_program program, cl_device_id d, cl_program_build_info what, size_t bytes, void *value,
                                               size_t *needed) {
    FAIL(clGetProgramBuildInfo)
    return driver->clGetProgramBuildInfo(program, d, what, bytes, value, needed);
}

static cl_int CL_API_CALL plain_retain_program(cl_program program) {
    FAIL(clRetainProgram)
    return driver->clRetainProgram(program);
}

static cl_int CL_API_CALL plain_release_program(cl_program program) {
    HIT(clReleaseProgram);
    const cl_int error = driver->clReleaseProgram(program);
    return fault != CL_SUCCESS ? fault : error;
}

static cl_kernel CL_API_CALL plain_create_kernel(cl_program program, const char *name, cl_int *error) {
    FAIL_CREATE(clCreateKernel)
    return driver->clCreateKernel(program, name, error);
}

/* A program that knows nothing of the layer is told by the environment: QEMB_FAULT="entry + 1 or 0, at, code, persistent", numbers as in
 * fault_state; at its end QEMB_FAULT_REPORT, a file, gets how many failures were given, and how often each entry was called. */
static void arm_from_environment(void) {
    const char *text = getenv("QEMB_FAULT");
    long long at = 0;
    int persistent = 0;
    if (text && sscanf(text, "%d %lld %d %d", &state.only, &at, &state.code, &persistent) == 4) {
        state.at = at;
        state.persistent = persistent != 0;
        state.armed = true;
        table.clCreateProgramWithSource = plain_create_program;
        table.clCreateProgramWithBinary = plain_create_program_with_binary;
        table.clGetProgramInfo = plain_get_program_info;
        table.clBuildProgram = plain_build_program;
        table.clGetProgramBuildInfo = plain_get_build_info;
        table.clRetainProgram = plain_retain_program;
        table.clReleaseProgram = plain_release_program;
        table.clCreateKernel = plain_create_kernel;
    }
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("QEMB_FAULT_REPORT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        (void)fprintf(file, "%lld", (long long)state.fired);
        for (int e = 0; e < FAULT_ENTRY_COUNT; e++) {
            (void)fprintf(file, " %lld", (long long)state.reached[e]);
        }
        (void)fprintf(file, "\n");
        (void)fclose(file);
    }
}
