/* support_layer.h - puts the layer of fault_layer.h between the library and the driver of this process. */
#ifndef QEMB_TESTS_SUPPORT_LAYER_H
#define QEMB_TESTS_SUPPORT_LAYER_H

#include "fault_layer.h"

/* Before the first OpenCL call of the process. Aborts when there is no layer or no device. */
fault_state *support_layer_open(void);

/* The entry points that the library uses, by fault_entry: name, and how many error codes its page lists. */
typedef struct support_entry {
    const char *name;
    int codes;
} support_entry;
extern const support_entry support_entries[];

/* Objects that are still there, as text, and forgotten; NULL: none. */
const char *support_layer_leaks(fault_state *layer);

#endif
