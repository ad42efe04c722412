/* test_loader.c - OpenCL is found when it is first needed, and its absence is a sentence. Each test is a process of its own. */
#include <criterion/criterion.h>
#include <qemb/qemb.h>
#include <stdlib.h>
#include <string.h>

static void count_devices(void *user, int32_t index, const char *selector, const char *name, const char *platform, bool is_default) {
    int *count = user;
    (void)name;
    (void)platform;
    if (index == 0) {
        cr_expect_str_eq(selector, "reference");
        cr_expect(is_default);
    }
    ++*count;
}

/* A context on the reference engine answers: what is left when there is no OpenCL. */
static void check_reference(void) {
    const float weight[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    const int32_t ids[] = {1, 2, 1};
    float out[6] = {0};
    qemb_context *ctx = NULL;
    qemb_embedding *table = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    cr_assert(qemb_context_create("reference", &ctx) == QEMB_OK, "%s", qemb_last_error());
    cr_assert(qemb_embedding_create(
                  ctx, &(qemb_embedding_desc){.num_embeddings = 3, .embedding_dim = 2, .weight = weight, .qconfig = qemb_qconfig_float()},
                  &table) == QEMB_OK);
    cr_assert(qemb_batch_create(ctx, &batch) == QEMB_OK);
    cr_assert(qemb_batch_set(batch, qemb_embedding_as_bag(table),
                             &(qemb_input){.indices = ids, .num_indices = 3, .indices_dtype = QEMB_INT32}) == QEMB_OK);
    cr_assert(qemb_buffer_create(ctx, sizeof out, &buffer) == QEMB_OK);
    cr_assert(qemb_embedding_forward(table, batch, buffer) == QEMB_OK);
    cr_assert(qemb_buffer_read(buffer, 0, sizeof out, out) == QEMB_OK);
    cr_expect(memcmp(out, (const float[]){3.0f, 4.0f, 5.0f, 6.0f, 3.0f, 4.0f}, sizeof out) == 0);
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_destroy(table);
    qemb_context_destroy(ctx);
}

static void check_absent(const char *library, const char *word) {
    qemb_context *ctx = NULL;
    int count = 0;
    setenv("QEMB_OPENCL_LIBRARY", library, 1);
    unsetenv("QEMB_DEVICE");
    for (int attempt = 0; attempt < 2; attempt++) { /* the second answer is the first */
        cr_expect(qemb_context_create(NULL, &ctx) == QEMB_ERR_DEVICE);
        cr_expect_null(ctx);
        cr_expect(strstr(qemb_last_error(), "context_create: OpenCL cannot be loaded"), "%s", qemb_last_error());
        cr_expect(strstr(qemb_last_error(), word) && strstr(qemb_last_error(), "\"reference\""), "%s", qemb_last_error());
    }
    cr_expect(qemb_devices(count_devices, &count) == QEMB_OK);
    cr_expect(count == 1, "%d devices without OpenCL", count);
    check_reference();
}

Test(loader, no_library, .description = "loader: no OpenCL library, a status with a sentence and the reference engine") {
    check_absent("/nowhere/libOpenCL.so.1", "/nowhere/libOpenCL.so.1");
}

Test(loader, other_library, .description = "loader: a library without the functions of OpenCL, refused by the name of one") {
    check_absent("libz.so.1", "clBuildProgram");
}

Test(loader, named_library, .description = "loader: a library named by the environment, its devices are found") {
    qemb_context *ctx = NULL;
    setenv("QEMB_OPENCL_LIBRARY", "libOpenCL.so.1", 1);
    cr_assert(qemb_context_create("opencl", &ctx) == QEMB_OK, "%s", qemb_last_error());
    qemb_context_destroy(ctx);
}
