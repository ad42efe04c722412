/* qemb_opencl.h - the library inside an OpenCL program: your context, device, queue, memory and events.
 *
 * The only header of the library that includes CL/cl.h. What is given is retained and released with the object made from it;
 * getters do not retain. The words, the error rules and the thread rule of qemb.h hold; nothing here waits. A context of the reference engine
 * gives UNSUPPORTED. Define CL_TARGET_OPENCL_VERSION before it if you want another than 120. */
#ifndef QEMB_QEMB_OPENCL_H
#define QEMB_QEMB_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#ifdef __APPLE__
#include <OpenCL/opencl.h>
#else
#include <CL/cl.h>
#endif

#include <qemb/qemb.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A context over the caller's objects. The queue may be in-order or out-of-order; on an out-of-order queue a barrier follows every
 * command of the library, so its work keeps its order and waits for what was enqueued before. Profiling may be on.
 * Errors ARG (something NULL, or queue and device not of the context), DEVICE, BUILD. */
QEMB_API qemb_status qemb_context_from_cl(cl_context context, cl_device_id device, cl_command_queue queue, qemb_context **ctx);

/* A buffer over `count` elements of `element_bytes` bytes of the caller's memory, from element `offset` on: no sub-buffer, so no
 * alignment rule. Retained until the destroy. Errors SHAPE if it does not fit, ARG if the memory is of another OpenCL context or
 * element_bytes is 0. */
QEMB_API qemb_status qemb_buffer_from_cl(qemb_context *ctx, cl_mem memory, size_t offset, size_t count, size_t element_bytes, qemb_buffer **buffer);

/* Everything the library enqueues after this call runs when the `count` events are complete (clEnqueueBarrierWithWaitList). The events
 * may be released at once. */
QEMB_API qemb_status qemb_context_cl_wait(qemb_context *ctx, cl_uint count, const cl_event *events);

/* An event that completes when everything enqueued so far has; the caller releases it. */
QEMB_API qemb_status qemb_context_cl_event(qemb_context *ctx, cl_event *event);

/* What a context and a buffer stand on, not retained; UNSUPPORTED for the reference engine. NULL for what is not wanted, but memory always is.
 * The bytes of the buffer begin at offset_bytes of memory. */
QEMB_API qemb_status qemb_context_cl_objects(qemb_context *ctx, cl_context *context, cl_device_id *device, cl_command_queue *queue);
QEMB_API qemb_status qemb_buffer_cl_memory(const qemb_buffer *buffer, cl_mem *memory, size_t *offset_bytes);

#ifdef __cplusplus
}
#endif
#endif
