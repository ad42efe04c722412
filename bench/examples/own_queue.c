/* own_queue.c - qemb inside an OpenCL program: its context, its queue, its memory, its events.
 *
 * The table and the output are the program's own cl_mem; nothing is copied and nothing waits but the last read. */
#include <qemb/qemb_opencl.h>
#include <stdio.h>
#include <stdlib.h>
#define TRY(call) if ((call) != QEMB_OK) return fprintf(stderr, "own_queue: %s\n", qemb_last_error()), 1
#define CL(call) if ((call) != CL_SUCCESS) return fprintf(stderr, "own_queue: %s failed\n", #call), 1

enum { ROWS = 1009, DIM = 16, BAGS = 5, LENGTH = 3, LOOKUPS = BAGS * LENGTH };

int main(void) {
    static float weight[ROWS * DIM], out[BAGS][DIM];
    int32_t ids[LOOKUPS];
    cl_platform_id platform;
    cl_device_id device;
    cl_mem table, pooled;
    cl_event written, done;
    qemb_buffer *table_buffer, *out_buffer;
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    for (int i = 0; i < ROWS * DIM; i++) weight[i] = (float)(i % 97) / 97.0f;
    for (int i = 0; i < LOOKUPS; i++) ids[i] = 67 * i;

    CL(clGetPlatformIDs(1, &platform, NULL));
    CL(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL));
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, NULL);
    table = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof weight, NULL, NULL);
    pooled = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof out, NULL, NULL);
    CL(clEnqueueWriteBuffer(queue, table, CL_FALSE, 0, sizeof weight, weight, 0, NULL, &written));

    TRY(qemb_context_from_cl(context, device, queue, &ctx));
    TRY(qemb_buffer_from_cl(ctx, table, 0, (size_t)ROWS * DIM, sizeof(float), &table_buffer));
    TRY(qemb_buffer_from_cl(ctx, pooled, 0, (size_t)BAGS * DIM, sizeof(float), &out_buffer));
    qemb_embedding_bag_desc desc = {.num_embeddings = ROWS, .embedding_dim = DIM, .mode = QEMB_MODE_SUM};
    desc.qconfig = qemb_qconfig_8bit();
    desc.weight_buffer = table_buffer; /* the program's memory is the table */
    TRY(qemb_context_cl_wait(ctx, 1, &written));
    TRY(qemb_embedding_bag_create(ctx, &desc, &bag));
    TRY(qemb_batch_create(ctx, &batch));
    TRY(qemb_batch_set(batch, bag, &(qemb_input){.indices = ids, .num_indices = LOOKUPS, .indices_dtype = QEMB_INT32, .columns = LENGTH}));
    TRY(qemb_embedding_bag_forward(bag, batch, out_buffer));
    TRY(qemb_context_cl_event(ctx, &done)); /* completes when the forward has */
    CL(clEnqueueReadBuffer(queue, pooled, CL_TRUE, 0, sizeof out, out, 1, &done, NULL));
    for (int b = 0; b < BAGS; b++) printf("bag %d: %.4f ... %.4f\n", b, out[b][0], out[b][DIM - 1]);

    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_buffer_destroy(out_buffer);
    qemb_buffer_destroy(table_buffer);
    qemb_context_destroy(ctx);
    CL(clReleaseEvent(written));
    CL(clReleaseEvent(done));
    CL(clReleaseMemObject(table));
    CL(clReleaseMemObject(pooled));
    CL(clReleaseCommandQueue(queue));
    CL(clReleaseContext(context));
    return 0;
}
