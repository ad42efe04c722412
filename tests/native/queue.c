/* queue.c - queues, events and the commands that copy. */
#include <time.h>

#include "native.h"

enum { MAX_QUEUES = 256 };
static cl_command_queue queues[MAX_QUEUES];

static bool ready(const native_command *command) {
    for (cl_uint i = 0; i < command->num_waits; i++) {
        if (command->waits[i]->status > CL_COMPLETE) {
            return false;
        }
    }
    return true;
}

static void event_release(cl_event event) {
    if (--event->references == 0) {
        free(event);
    }
}

static cl_ulong now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (cl_ulong)t.tv_sec * 1000000000u + (cl_ulong)t.tv_nsec;
}

static void finish_command(native_command *command) {
    command->run(command);
    if (command->event) {
        command->event->status = CL_COMPLETE;
        command->event->when = now();
        event_release(command->event);
    }
    for (cl_uint i = 0; i < command->num_waits; i++) {
        event_release(command->waits[i]);
    }
    free(command->waits);
    if (command->from) {
        native_mem_release(command->from);
    }
    if (command->to) {
        native_mem_release(command->to);
    }
    if (command->done) {
        command->done(command);
    }
    free(command);
}

void native_progress(void) {
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < MAX_QUEUES; i++) {
            while (queues[i] && queues[i]->first && ready(queues[i]->first)) {
                native_command *command = queues[i]->first;
                queues[i]->first = command->next;
                finish_command(command);
                moved = true;
            }
        }
    }
}

/* Takes the command; the lock is held. */
cl_int native_enqueue(cl_command_queue queue, native_command *command, cl_uint num_waits, const cl_event *waits, cl_event *event, cl_bool blocking) {
    command->num_waits = num_waits;
    if (num_waits) {
        command->waits = calloc(num_waits, sizeof(cl_event));
        for (cl_uint i = 0; i < num_waits; i++) {
            command->waits[i] = waits[i];
            waits[i]->references++;
        }
    }
    if (event) {
        command->event = *event = NATIVE_NEW(struct _cl_event);
        (*event)->references = 2;
        (*event)->status = CL_QUEUED;
        (*event)->queue = queue;
        (*event)->context = queue->context;
    }
    if (command->from) {
        native_mem_retain(command->from);
    }
    if (command->to) {
        native_mem_retain(command->to);
    }
    if (queue->first) {
        queue->last->next = command;
    } else {
        queue->first = command;
    }
    queue->last = command;
    native_progress();
    if (blocking && queue->first) {
        native_fail("a blocking call waits for ever", "");
    }
    return CL_SUCCESS;
}

/* ---- queues */
cl_command_queue CL_API_CALL native_CreateCommandQueue(cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *error) {
    (void)device;
    cl_command_queue queue = NATIVE_NEW(struct _cl_command_queue);
    queue->context = context;
    queue->properties = properties;
    pthread_mutex_lock(&native_lock);
    int slot = 0;
    while (slot < MAX_QUEUES && queues[slot]) {
        slot++;
    }
    if (slot == MAX_QUEUES) {
        native_fail("too many queues", "");
    }
    queues[slot] = queue;
    pthread_mutex_unlock(&native_lock);
    if (error) {
        *error = CL_SUCCESS;
    }
    return queue;
}

cl_int CL_API_CALL native_RetainCommandQueue(cl_command_queue queue) {
    pthread_mutex_lock(&native_lock);
    queue->references++;
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_ReleaseCommandQueue(cl_command_queue queue) {
    pthread_mutex_lock(&native_lock);
    if (--queue->references == 0) {
        for (int i = 0; i < MAX_QUEUES; i++) {
            queues[i] = queues[i] == queue ? NULL : queues[i];
        }
        free(queue);
    }
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_GetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info what, size_t room, void *target, size_t *needed) {
    cl_device_id device = &native_device;
    switch (what) {
    case CL_QUEUE_CONTEXT: return native_answer(&queue->context, sizeof queue->context, room, target, needed);
    case CL_QUEUE_DEVICE: return native_answer(&device, sizeof device, room, target, needed);
    case CL_QUEUE_REFERENCE_COUNT: return native_answer(&queue->references, sizeof queue->references, room, target, needed);
    case CL_QUEUE_PROPERTIES: return native_answer(&queue->properties, sizeof queue->properties, room, target, needed);
    default: return CL_INVALID_VALUE;
    }
}

cl_int CL_API_CALL native_Flush(cl_command_queue queue) {
    (void)queue;
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_Finish(cl_command_queue queue) {
    pthread_mutex_lock(&native_lock);
    native_progress();
    bool stuck = queue->first != NULL;
    pthread_mutex_unlock(&native_lock);
    if (stuck) {
        native_fail("clFinish waits for ever", "");
    }
    return CL_SUCCESS;
}

/* ---- events */
cl_event CL_API_CALL native_CreateUserEvent(cl_context context, cl_int *error) {
    cl_event event = NATIVE_NEW(struct _cl_event);
    event->status = CL_SUBMITTED;
    event->context = context;
    if (error) {
        *error = CL_SUCCESS;
    }
    return event;
}

cl_int CL_API_CALL native_SetUserEventStatus(cl_event event, cl_int status) {
    pthread_mutex_lock(&native_lock);
    event->status = status;
    native_progress();
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_RetainEvent(cl_event event) {
    pthread_mutex_lock(&native_lock);
    event->references++;
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_ReleaseEvent(cl_event event) {
    pthread_mutex_lock(&native_lock);
    event_release(event);
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_WaitForEvents(cl_uint count, const cl_event *events) {
    cl_int result = CL_SUCCESS;
    pthread_mutex_lock(&native_lock);
    native_progress();
    for (cl_uint i = 0; i < count; i++) {
        if (events[i]->status > CL_COMPLETE) {
            native_fail("clWaitForEvents waits for ever", "");
        }
        result = events[i]->status < 0 ? CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST : result;
    }
    pthread_mutex_unlock(&native_lock);
    return result;
}

cl_int CL_API_CALL native_GetEventInfo(cl_event event, cl_event_info what, size_t room, void *target, size_t *needed) {
    switch (what) {
    case CL_EVENT_COMMAND_EXECUTION_STATUS: return native_answer(&event->status, sizeof event->status, room, target, needed);
    case CL_EVENT_CONTEXT: return native_answer(&event->context, sizeof event->context, room, target, needed);
    case CL_EVENT_COMMAND_QUEUE: return native_answer(&event->queue, sizeof event->queue, room, target, needed);
    case CL_EVENT_REFERENCE_COUNT: return native_answer(&event->references, sizeof event->references, room, target, needed);
    default: return CL_INVALID_VALUE;
    }
}

cl_int CL_API_CALL native_GetEventProfilingInfo(cl_event event, cl_profiling_info what, size_t room, void *target, size_t *needed) {
    (void)what;
    return native_answer(&event->when, sizeof event->when, room, target, needed);
}

/* ---- commands that copy */
static bool inside(cl_mem memory, size_t at, size_t bytes) {
    return at <= memory->bytes && bytes <= memory->bytes - at;
}

static void run_write(native_command *c) {
    memcpy(c->to->memory + c->to_at, c->source, c->bytes);
}

static void run_read(native_command *c) {
    memcpy(c->target, c->from->memory + c->from_at, c->bytes);
}

static void run_copy(native_command *c) {
    memcpy(c->to->memory + c->to_at, c->from->memory + c->from_at, c->bytes);
}

static void run_fill(native_command *c) {
    for (size_t i = 0; i < c->bytes; i += c->pattern_bytes) {
        memcpy(c->to->memory + c->to_at + i, c->pattern, c->pattern_bytes);
    }
}

static void run_nothing(native_command *c) {
    (void)c;
}

static cl_int submit(cl_command_queue queue, native_command command, cl_uint num_waits, const cl_event *waits, cl_event *event, cl_bool blocking) {
    native_command *copy = malloc(sizeof *copy);
    *copy = command;
    pthread_mutex_lock(&native_lock);
    cl_int error = native_enqueue(queue, copy, num_waits, waits, event, blocking);
    pthread_mutex_unlock(&native_lock);
    return error;
}

cl_int CL_API_CALL native_EnqueueWriteBuffer(cl_command_queue queue, cl_mem memory, cl_bool blocking, size_t at, size_t bytes, const void *source,
                                             cl_uint num_waits, const cl_event *waits, cl_event *event) {
    if (!inside(memory, at, bytes) || !source) {
        return CL_INVALID_VALUE;
    }
    return submit(queue, (native_command){.run = run_write, .to = memory, .to_at = at, .bytes = bytes, .source = source}, num_waits, waits, event, blocking);
}

cl_int CL_API_CALL native_EnqueueReadBuffer(cl_command_queue queue, cl_mem memory, cl_bool blocking, size_t at, size_t bytes, void *target,
                                            cl_uint num_waits, const cl_event *waits, cl_event *event) {
    if (!inside(memory, at, bytes) || !target) {
        return CL_INVALID_VALUE;
    }
    return submit(queue, (native_command){.run = run_read, .from = memory, .from_at = at, .bytes = bytes, .target = target}, num_waits, waits, event, blocking);
}

cl_int CL_API_CALL native_EnqueueCopyBuffer(cl_command_queue queue, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t bytes, cl_uint num_waits,
                                            const cl_event *waits, cl_event *event) {
    if (!inside(from, from_at, bytes) || !inside(to, to_at, bytes) || bytes == 0) {
        return CL_INVALID_VALUE;
    }
    if (from == to && from_at < to_at + bytes && to_at < from_at + bytes) {
        return CL_MEM_COPY_OVERLAP;
    }
    return submit(queue, (native_command){.run = run_copy, .from = from, .from_at = from_at, .to = to, .to_at = to_at, .bytes = bytes}, num_waits, waits,
                  event, CL_FALSE);
}

cl_int CL_API_CALL native_EnqueueFillBuffer(cl_command_queue queue, cl_mem memory, const void *pattern, size_t pattern_bytes, size_t at, size_t bytes,
                                            cl_uint num_waits, const cl_event *waits, cl_event *event) {
    if (!inside(memory, at, bytes) || pattern_bytes == 0 || pattern_bytes > 16 || at % pattern_bytes || bytes % pattern_bytes) {
        return CL_INVALID_VALUE;
    }
    native_command command = {.run = run_fill, .to = memory, .to_at = at, .bytes = bytes, .pattern_bytes = pattern_bytes};
    memcpy(command.pattern, pattern, pattern_bytes);
    return submit(queue, command, num_waits, waits, event, CL_FALSE);
}

cl_int CL_API_CALL native_EnqueueMarker(cl_command_queue queue, cl_uint num_waits, const cl_event *waits, cl_event *event) {
    return submit(queue, (native_command){.run = run_nothing}, num_waits, waits, event, CL_FALSE);
}
