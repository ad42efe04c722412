/* test_interop.c - the library inside an OpenCL program: the caller's context, queues, memory with offsets, events. */
#include <criterion/criterion.h>
#include <qemb/qemb_opencl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { E = 131, D = 20, B = 23, L = 7, N = B * L, WEIGHT_AT = 3, INDEX_AT = 5, OUT_AT = 7 };

#define OK(call) cr_assert_eq((call), QEMB_OK, "%s: %s", #call, qemb_last_error())
#define CL(call) cr_assert_eq((call), CL_SUCCESS, "%s", #call)

typedef struct world {
    cl_context context;
    cl_device_id device;
    cl_command_queue queue;
    cl_mem weight, indices, out;
    float values[E * D];
    int32_t ids[N], offsets[B];
} world;

static void open_world(world *w, cl_command_queue_properties properties) {
    cl_platform_id platform;
    cl_int error;
    CL(clGetPlatformIDs(1, &platform, NULL));
    CL(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &w->device, NULL));
    w->context = clCreateContext(NULL, 1, &w->device, NULL, NULL, &error);
    CL(error);
    w->queue = clCreateCommandQueue(w->context, w->device, properties, &error);
    CL(error);
    for (int i = 0; i < E * D; i++) {
        w->values[i] = (float)((i * 7919) % 1009) / 503.0f - 1.0f;
    }
    for (int i = 0; i < N; i++) {
        w->ids[i] = (i * 37) % E;
    }
    for (int b = 0; b < B; b++) {
        w->offsets[b] = b * L;
    }
    w->weight = clCreateBuffer(w->context, CL_MEM_READ_WRITE, (WEIGHT_AT + E * D) * sizeof(float), NULL, &error);
    CL(error);
    w->indices = clCreateBuffer(w->context, CL_MEM_READ_ONLY, (INDEX_AT + N) * sizeof(int32_t), NULL, &error);
    CL(error);
    w->out = clCreateBuffer(w->context, CL_MEM_READ_WRITE, (OUT_AT + B * D + 1) * sizeof(float), NULL, &error);
    CL(error);
    CL(clEnqueueWriteBuffer(w->queue, w->weight, CL_TRUE, WEIGHT_AT * sizeof(float), sizeof w->values, w->values, 0, NULL, NULL));
}

static void close_world(world *w) {
    CL(clReleaseMemObject(w->weight));
    CL(clReleaseMemObject(w->indices));
    CL(clReleaseMemObject(w->out));
    /* A driver's own thread may hold a reference for a moment after the last command; the library's would stay. */
    cl_uint references = 0;
    for (int tries = 0; tries < 1000 && references != 1; tries++) {
        CL(clGetCommandQueueInfo(w->queue, CL_QUEUE_REFERENCE_COUNT, sizeof references, &references, NULL));
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    cr_expect_eq(references, 1, "the library kept %u references to the queue", references - 1);
    CL(clReleaseCommandQueue(w->queue));
    CL(clReleaseContext(w->context));
}

/* The same lookup on the reference engine. */
static void expected(const world *w, float *out) {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *buffer;
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(
        ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = E, .embedding_dim = D, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit(), .weight = w->values},
        &bag));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_batch_set(
        batch, bag,
        &(qemb_input){.indices = w->ids, .num_indices = N, .indices_dtype = QEMB_INT32, .offsets = w->offsets, .num_offsets = B}));
    OK(qemb_buffer_create(ctx, B * D * sizeof(float), &buffer));
    OK(qemb_embedding_bag_forward(bag, batch, buffer));
    OK(qemb_buffer_read(buffer, 0, B * D * sizeof(float), out));
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

/* A forward over the caller's memory whose indices arrive behind a user event. */
static void forward_behind_event(cl_command_queue_properties properties) {
    static world w;
    static float want[B * D], got[OUT_AT + B * D + 1];
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    qemb_buffer *weight, *indices, *out;
    cl_int error;
    open_world(&w, properties);
    expected(&w, want);
    OK(qemb_context_from_cl(w.context, w.device, w.queue, &ctx));
    OK(qemb_buffer_from_cl(ctx, w.weight, WEIGHT_AT, E * D, sizeof(float), &weight));
    OK(qemb_buffer_from_cl(ctx, w.indices, INDEX_AT, N, sizeof(int32_t), &indices));
    OK(qemb_buffer_from_cl(ctx, w.out, OUT_AT, B * D, sizeof(float), &out));
    OK(qemb_embedding_bag_create(
        ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = E, .embedding_dim = D, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit(), .weight_buffer = weight},
        &bag));
    OK(qemb_batch_create(ctx, &batch));
    for (int i = 0; i < OUT_AT + B * D + 1; i++) {
        got[i] = -77.0f;
    }
    CL(clEnqueueWriteBuffer(w.queue, w.out, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL));

    cl_event gate = clCreateUserEvent(w.context, &error), written, done;
    CL(error);
    CL(clEnqueueWriteBuffer(w.queue, w.indices, CL_FALSE, INDEX_AT * sizeof(int32_t), sizeof w.ids, w.ids, 1, &gate, &written));
    OK(qemb_context_cl_wait(ctx, 1, &written));
    OK(qemb_batch_set_device(batch, bag,
                             &(qemb_device_input){.indices = indices, .num_indices = N, .indices_dtype = QEMB_INT32, .columns = L}));
    OK(qemb_embedding_bag_forward(bag, batch, out));
    OK(qemb_context_cl_event(ctx, &done));
    cl_int state = CL_COMPLETE;
    CL(clGetEventInfo(done, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL));
    cr_expect_neq(state, CL_COMPLETE, "the forward did not wait for the event");
    CL(clSetUserEventStatus(gate, CL_COMPLETE));
    CL(clWaitForEvents(1, &done));
    CL(clEnqueueReadBuffer(w.queue, w.out, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL));
    cr_expect_eq(memcmp(got + OUT_AT, want, sizeof want), 0, "the output differs from the reference engine's");
    for (int i = 0; i < OUT_AT; i++) {
        cr_expect_eq(got[i], -77.0f, "element %d before the output was written", i);
    }
    cr_expect_eq(got[OUT_AT + B * D], -77.0f, "the element behind the output was written");
    OK(qemb_context_finish(ctx));

    CL(clReleaseEvent(gate));
    CL(clReleaseEvent(written));
    CL(clReleaseEvent(done));
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_buffer_destroy(weight);
    qemb_buffer_destroy(indices);
    qemb_buffer_destroy(out);
    qemb_context_destroy(ctx);
    close_world(&w);
}

Test(interop, in_order_queue_forward_waits_for_events_and_writes_at_offsets) {
    forward_behind_event(0);
}

Test(interop, out_of_order_queue_forward_waits_for_events_and_writes_at_offsets) {
    forward_behind_event(CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
}

Test(interop, gpu_family_writes_at_odd_offsets) {
    (void)setenv("QEMB_FAMILY", "gpu", 1);
    forward_behind_event(0);
}

Test(interop, bad_objects_are_refused) {
    static world w, other;
    qemb_context *ctx = NULL, *reference = NULL;
    qemb_buffer *buffer = NULL;
    open_world(&w, 0);
    open_world(&other, 0);
    cr_expect_eq(qemb_context_from_cl(NULL, w.device, w.queue, &ctx), QEMB_ERR_ARG);
    cr_expect_eq(qemb_context_from_cl(w.context, w.device, w.queue, NULL), QEMB_ERR_ARG);
    cr_expect_eq(qemb_context_from_cl(other.context, w.device, w.queue, &ctx), QEMB_ERR_ARG, "a queue of another context was taken");
    cr_expect_null(ctx);
    OK(qemb_context_from_cl(w.context, w.device, w.queue, &ctx));
    cr_expect_eq(qemb_buffer_from_cl(ctx, other.weight, 0, 1, 4, &buffer), QEMB_ERR_ARG, "memory of another context was taken");
    cr_expect_eq(qemb_buffer_from_cl(ctx, w.weight, WEIGHT_AT + 1, E * D, 4, &buffer), QEMB_ERR_SHAPE, "a range past the end was taken");
    cr_expect_eq(qemb_buffer_from_cl(ctx, w.weight, SIZE_MAX / 4, 8, 8, &buffer), QEMB_ERR_OVERFLOW, "a wrapped offset was taken");
    cr_expect_eq(qemb_buffer_from_cl(ctx, w.weight, 0, 4, 0, &buffer), QEMB_ERR_ARG);
    cr_expect_eq(qemb_context_cl_wait(ctx, 1, NULL), QEMB_ERR_ARG);
    cr_expect_null(buffer);
    OK(qemb_context_create("reference", &reference));
    cr_expect_eq(qemb_context_cl_event(reference, NULL), QEMB_ERR_UNSUPPORTED, "the reference engine has no OpenCL event");
    cl_context seen = NULL;
    OK(qemb_context_cl_objects(ctx, &seen, NULL, NULL));
    cr_expect_eq(seen, w.context);
    qemb_context_destroy(reference);
    qemb_context_destroy(ctx);
    close_world(&w);
    close_world(&other);
}
