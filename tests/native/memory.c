/* memory.c - buffers between canaries. */
#include "native.h"

/* There when the program is built with the address sanitizer. */
extern void __asan_poison_memory_region(void const volatile *at, size_t bytes) __attribute__((weak));
extern void __asan_unpoison_memory_region(void const volatile *at, size_t bytes) __attribute__((weak));

/* A copy of a larger buffer of the caller's would cost more than it shows. */
enum { NATIVE_COPY_LIMIT = 64 << 20, NATIVE_FILL = 0xA7 };

typedef struct native_farewell {
    struct native_farewell *next;
    void(CL_CALLBACK *call)(cl_mem, void *);
    void *user;
} native_farewell;

static cl_mem all;
uint64_t native_launches, native_comparisons;

/* One line a process for the lane to add up: launches, canaries compared. */
__attribute__((destructor)) static void leave_counts(void) {
    const char *path = getenv("QEMB_NATIVE_COUNTS");
    FILE *file = native_launches && path && *path ? fopen(path, "a") : NULL;
    if (file) {
        (void)fprintf(file, "%llu %llu\n", (unsigned long long)native_launches, (unsigned long long)native_comparisons);
        (void)fclose(file);
    }
}

static void poison(cl_mem m, bool on) {
    size_t behind = (size_t)(m->memory - m->raw) + m->bytes;
    if (on && __asan_poison_memory_region) {
        __asan_poison_memory_region(m->raw, (size_t)(m->memory - m->raw));
        __asan_poison_memory_region(m->raw + behind, m->raw_bytes - behind);
    } else if (!on && __asan_unpoison_memory_region) {
        __asan_unpoison_memory_region(m->raw, m->raw_bytes);
    }
}

__attribute__((no_sanitize("address"))) static bool untouched(const unsigned char *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (at[i] != NATIVE_FILL) {
            return false;
        }
    }
    return true;
}

/* Both canaries of every buffer, after `after`. The long form looks at everything; else the pages next to the buffer, which is all. */
void native_canaries(const char *after) {
    for (cl_mem m = all; m; m = m->next) {
        if (m->raw) {
            native_comparisons += 2;
            size_t behind = (size_t)(m->memory - m->raw) + m->bytes;
            if (!untouched(m->raw, NATIVE_CANARY)) {
                native_fail("canary before a buffer is dead after", after);
            }
            if (!untouched(m->raw + behind, m->raw_bytes - behind)) {
                native_fail("canary behind a buffer is dead after", after);
            }
        }
    }
}

bool native_is_buffer(cl_mem memory) {
    for (cl_mem m = all; m; m = m->next) {
        if (m == memory) {
            return true;
        }
    }
    return false;
}

cl_mem CL_API_CALL native_CreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host, cl_int *error) {
    cl_int ignored;
    error = error ? error : &ignored;
    *error = CL_SUCCESS;
    bool wants_host = (flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR)) != 0;
    if (bytes == 0) {
        *error = CL_INVALID_BUFFER_SIZE;
        return NULL;
    }
    if (wants_host != (host != NULL)) {
        *error = CL_INVALID_HOST_PTR;
        return NULL;
    }
    cl_mem m = NATIVE_NEW(struct _cl_mem);
    m->context = context;
    m->flags = flags;
    m->bytes = bytes;
    m->host = host;
    if ((flags & CL_MEM_USE_HOST_PTR) && bytes > NATIVE_COPY_LIMIT) {
        m->memory = host;
    } else {
        m->raw_bytes = bytes + 2 * (size_t)NATIVE_CANARY;
        void *raw = NULL;
        if (posix_memalign(&raw, 4096, m->raw_bytes) != 0) {
            free(m);
            *error = CL_MEM_OBJECT_ALLOCATION_FAILURE;
            return NULL;
        }
        m->raw = raw;
        m->memory = m->raw + NATIVE_CANARY;
        memset(m->raw, NATIVE_FILL, NATIVE_CANARY);
        memset(m->memory + bytes, NATIVE_FILL, NATIVE_CANARY);
        if (host) {
            memcpy(m->memory, host, bytes);
        } else {
            memset(m->memory, 0xCB, bytes); /* what a kernel must not take for zero */
            if (__msan_poison) {
                __msan_poison(m->memory, bytes);
            }
        }
        poison(m, true);
    }
    pthread_mutex_lock(&native_lock);
    m->next = all;
    if (all) {
        all->previous = m;
    }
    all = m;
    pthread_mutex_unlock(&native_lock);
    return m;
}

void native_mem_retain(cl_mem memory) {
    memory->references++;
}

void native_mem_release(cl_mem m) {
    if (--m->references > 0) {
        return;
    }
    if (m->previous) {
        m->previous->next = m->next;
    } else {
        all = m->next;
    }
    if (m->next) {
        m->next->previous = m->previous;
    }
    for (native_farewell *f = m->farewells; f;) {
        native_farewell *next = f->next;
        f->call(m, f->user);
        free(f);
        f = next;
    }
    if (m->raw) {
        poison(m, false);
        free(m->raw);
    }
    free(m);
}

cl_int CL_API_CALL native_RetainMemObject(cl_mem memory) {
    pthread_mutex_lock(&native_lock);
    native_mem_retain(memory);
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_ReleaseMemObject(cl_mem memory) {
    pthread_mutex_lock(&native_lock);
    native_mem_release(memory);
    pthread_mutex_unlock(&native_lock);
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_SetMemObjectDestructorCallback(cl_mem memory, void(CL_CALLBACK *call)(cl_mem, void *), void *user) {
    native_farewell *f = calloc(1, sizeof *f);
    *f = (native_farewell){.next = memory->farewells, .call = call, .user = user};
    memory->farewells = f;
    return CL_SUCCESS;
}

cl_int CL_API_CALL native_GetMemObjectInfo(cl_mem memory, cl_mem_info what, size_t room, void *target, size_t *needed) {
    switch (what) {
    case CL_MEM_CONTEXT: return native_answer(&memory->context, sizeof memory->context, room, target, needed);
    case CL_MEM_SIZE: return native_answer(&memory->bytes, sizeof memory->bytes, room, target, needed);
    case CL_MEM_FLAGS: return native_answer(&memory->flags, sizeof memory->flags, room, target, needed);
    case CL_MEM_HOST_PTR: return native_answer(&memory->host, sizeof memory->host, room, target, needed);
    case CL_MEM_REFERENCE_COUNT: return native_answer(&memory->references, sizeof memory->references, room, target, needed);
    default: return CL_INVALID_VALUE;
    }
}
