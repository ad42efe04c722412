/* test_interop.c - the library inside an OpenCL program: the caller's context, queues, memory with offsets, events. */
#include <criterion/criterion.h>
#include <qemb/qemb_opencl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "scoreboard.h"
#include "support_ok.h"

enum { E = 131, D = 20, B = 23, L = 7, N = B * L, WEIGHT_AT = 3, INDEX_AT = 5, OUT_AT = 7 };

#define CL(call) cr_assert_eq((call), CL_SUCCESS, "%s", #call)

static int64_t refusals;

/* A refusal: its class, and a sentence that names the function. */
#define REFUSED(want, name, call)                                                                                                          \
    do {                                                                                                                                   \
        const qemb_status st_ = (call);                                                                                                    \
        refusals++;                                                                                                                        \
        cr_expect_eq(st_, QEMB_ERR_##want, "%s: %s: %s", #call, qemb_status_name(st_), qemb_last_error());                                 \
        cr_expect_not_null(strstr(qemb_last_error(), name), "%s: %s", #call, qemb_last_error());                                           \
    } while (0)

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

/* What a window that begins inside an item is refused with, wherever one is wanted. */
static void refuse_windows(const world *w, qemb_context *ctx) {
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *weight = NULL, *out = NULL, *odd = NULL, *short_one = NULL, *indices = NULL;
    OK(qemb_buffer_from_cl(ctx, w->weight, WEIGHT_AT, E * D, sizeof(float), &weight));
    OK(qemb_buffer_from_cl(ctx, w->out, OUT_AT, B * D, sizeof(float), &out));
    OK(qemb_buffer_from_cl(ctx, w->out, 2, B * D * sizeof(float), 1, &odd)); /* starts at byte 2 */
    OK(qemb_buffer_from_cl(ctx, w->out, OUT_AT, B * D - 1, sizeof(float), &short_one));
    OK(qemb_buffer_from_cl(ctx, w->indices, 2, N * sizeof(int32_t), 1, &indices));
    const qemb_embedding_bag_desc good = {
        .num_embeddings = E, .embedding_dim = D, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_8bit(), .weight_buffer = weight};
    qemb_embedding_bag_desc desc = good;
    const qemb_input input = {.indices = w->ids, .num_indices = N, .indices_dtype = QEMB_INT32, .offsets = w->offsets, .num_offsets = B};
    desc.weight_buffer = odd;
    REFUSED(SHAPE, "embedding_bag_create", qemb_embedding_bag_create(ctx, &desc, &bag));
    OK(qemb_embedding_bag_create(ctx, &good, &bag));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_batch_set(batch, bag, &input));
    REFUSED(SHAPE, "embedding_bag_forward", qemb_embedding_bag_forward(bag, batch, odd));
    REFUSED(SHAPE, "embedding_bag_forward", qemb_embedding_bag_forward(bag, batch, short_one));
    OK(qemb_embedding_bag_forward(bag, batch, out));
    REFUSED(SHAPE, "embedding_bag_fake_quantise", qemb_embedding_bag_fake_quantise(bag, 0, 0, 1, odd));
    REFUSED(SHAPE, "embedding_bag_backward", qemb_embedding_bag_backward(bag, batch, odd, &(qemb_gradients){.dense = weight}));
    REFUSED(SHAPE, "embedding_bag_backward", qemb_embedding_bag_backward(bag, batch, out, &(qemb_gradients){.dense = odd}));
    const qemb_device_input device = {.indices = indices, .num_indices = N, .indices_dtype = QEMB_INT32, .columns = L};
    qemb_device_input more = device;
    REFUSED(SHAPE, "batch_set_device", qemb_batch_set_device(batch, bag, &device));
    more.indices = out;
    more.per_sample_weights = short_one;
    more.num_indices = B * D;
    more.columns = D;
    REFUSED(SHAPE, "batch_set_device", qemb_batch_set_device(batch, bag, &more));
    OK(qemb_embedding_bag_forward(bag, batch, out)); /* the batch is what it was */
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_buffer_destroy(indices);
    qemb_buffer_destroy(short_one);
    qemb_buffer_destroy(odd);
    qemb_buffer_destroy(out);
    qemb_buffer_destroy(weight);
}

Test(interop, every_bad_value_of_every_function_is_refused_by_name) {
    static world w;
    qemb_context *ctx = NULL, *reference = NULL;
    qemb_buffer *buffer = NULL, *plain = NULL;
    cl_event event = NULL;
    cl_mem memory = NULL;
    size_t offset = 0;
    open_world(&w, 0);
    REFUSED(ARG, "context_from_cl", qemb_context_from_cl(NULL, w.device, w.queue, &ctx));
    REFUSED(ARG, "context_from_cl", qemb_context_from_cl(w.context, NULL, w.queue, &ctx));
    REFUSED(ARG, "context_from_cl", qemb_context_from_cl(w.context, w.device, NULL, &ctx));
    REFUSED(ARG, "context_from_cl", qemb_context_from_cl(w.context, w.device, w.queue, NULL));
    OK(qemb_context_from_cl(w.context, w.device, w.queue, &ctx));
    OK(qemb_context_create("reference", &reference));
    OK(qemb_buffer_create(reference, 16, &plain));
    REFUSED(ARG, "buffer_from_cl", qemb_buffer_from_cl(NULL, w.weight, 0, 1, 4, &buffer));
    REFUSED(ARG, "buffer_from_cl", qemb_buffer_from_cl(ctx, NULL, 0, 1, 4, &buffer));
    REFUSED(ARG, "buffer_from_cl", qemb_buffer_from_cl(ctx, w.weight, 0, 1, 4, NULL));
    REFUSED(ARG, "buffer_from_cl", qemb_buffer_from_cl(ctx, w.weight, 0, 1, 0, &buffer));
    REFUSED(SHAPE, "buffer_from_cl", qemb_buffer_from_cl(ctx, w.weight, E * D + WEIGHT_AT, 1, 4, &buffer));
    REFUSED(SHAPE, "buffer_from_cl", qemb_buffer_from_cl(ctx, w.weight, 0, E * D + WEIGHT_AT + 1, 4, &buffer));
    REFUSED(OVERFLOW, "buffer_from_cl", qemb_buffer_from_cl(ctx, w.weight, SIZE_MAX, 1, 4, &buffer));
    REFUSED(OVERFLOW, "buffer_from_cl", qemb_buffer_from_cl(ctx, w.weight, 0, SIZE_MAX, 4, &buffer));
    REFUSED(OVERFLOW, "buffer_from_cl", qemb_buffer_from_cl(ctx, w.weight, 0, INT64_MAX, 2, &buffer));
    REFUSED(UNSUPPORTED, "buffer_from_cl", qemb_buffer_from_cl(reference, w.weight, 0, 1, 4, &buffer));
    cr_expect_null(buffer);
    REFUSED(ARG, "context_cl_wait", qemb_context_cl_wait(NULL, 0, NULL));
    REFUSED(ARG, "context_cl_wait", qemb_context_cl_wait(ctx, 1, NULL));
    REFUSED(UNSUPPORTED, "context_cl_wait", qemb_context_cl_wait(reference, 0, NULL));
    OK(qemb_context_cl_wait(ctx, 0, NULL));
    REFUSED(ARG, "context_cl_event", qemb_context_cl_event(NULL, &event));
    REFUSED(ARG, "context_cl_event", qemb_context_cl_event(ctx, NULL));
    REFUSED(UNSUPPORTED, "context_cl_event", qemb_context_cl_event(reference, &event));
    cr_expect_null(event);
    REFUSED(ARG, "context_cl_objects", qemb_context_cl_objects(NULL, NULL, NULL, NULL));
    REFUSED(UNSUPPORTED, "context_cl_objects", qemb_context_cl_objects(reference, NULL, NULL, NULL));
    REFUSED(ARG, "buffer_cl_memory", qemb_buffer_cl_memory(NULL, &memory, &offset));
    REFUSED(UNSUPPORTED, "buffer_cl_memory", qemb_buffer_cl_memory(plain, &memory, &offset));
    OK(qemb_buffer_from_cl(ctx, w.weight, WEIGHT_AT, E, sizeof(float), &buffer));
    REFUSED(ARG, "buffer_cl_memory", qemb_buffer_cl_memory(buffer, NULL, &offset));
    OK(qemb_buffer_cl_memory(buffer, &memory, NULL));
    OK(qemb_buffer_cl_memory(buffer, &memory, &offset));
    cr_expect(memory == w.weight && offset == WEIGHT_AT * sizeof(float));
    qemb_buffer_destroy(buffer);
    qemb_buffer_destroy(plain);
    refuse_windows(&w, ctx);
    cr_assert_eq(setenv("QEMB_LOG", "pick", 1), 0);
    cr_expect_eq(strncmp(qemb_context_tuning_line(ctx, "bag_forward"), "bag_forward dim=20 ", 19), 0, "%s",
                 qemb_context_tuning_line(ctx, "bag_forward"));
    cr_expect_str_eq(qemb_context_tuning_line(ctx, "nobody"), "");
    qemb_context_destroy(reference);
    qemb_context_destroy(ctx);
    close_world(&w);
    scoreboard("R4", true, "qemb_opencl.h", "%lld bad calls refused, 0 wrongly", (long long)refusals);
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
