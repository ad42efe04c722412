/* support_layer.c - see support_layer.h. */
#include "support_layer.h"

#include <dlfcn.h>
#include <qemb/qemb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY(name, ...) {#name, (int)(sizeof((const cl_int[]){__VA_ARGS__}) / sizeof(cl_int))},
const support_entry support_entries[] = {FAULT_ENTRIES(ENTRY)};
#undef ENTRY

static void need(bool there, const char *what) {
    if (!there) {
        (void)fprintf(stderr, "fault layer: %s: %s\n", what, qemb_last_error());
        abort();
    }
}

fault_state *support_layer_open(void) {
    fault_layer_function *function = NULL;
    qemb_context *ctx = NULL;
    need(setenv("OPENCL_LAYERS", QEMB_FAULT_LAYER, 1) == 0 && unsetenv("QEMB_DEVICE") == 0, "environment");
    need(unsetenv("QEMB_OPENCL_LIBRARY") == 0, "environment"); /* only the system's loader knows layers */
    need(qemb_context_create("opencl", &ctx) == QEMB_OK, "no context");
    qemb_context_destroy(ctx);
    void *object = dlopen(QEMB_FAULT_LAYER, RTLD_NOW | RTLD_NOLOAD);
    need(object != NULL, "the loader has not loaded " QEMB_FAULT_LAYER);
    *(void **)&function = dlsym(object, "fault_layer");
    need(function != NULL, "no such function");
    return function();
}

const char *support_layer_leaks(fault_state *layer) {
    static const char *const names[FAULT_OBJECT_COUNT] = {"contexts", "queues", "mem objects", "programs", "kernels", "events"};
    static char text[200];
    text[0] = '\0';
    for (int k = 0; k < FAULT_OBJECT_COUNT; k++) {
        if (layer->objects[k] != 0) {
            const size_t used = strlen(text);
            (void)snprintf(text + used, sizeof text - used, "%lld %s ", (long long)layer->objects[k], names[k]);
            layer->objects[k] = 0;
        }
    }
    return text[0] ? text : NULL;
}
