/* support_layer.h - puts the layer of fault_layer.h between the library and the driver of this process. */
#ifndef QEMB_TESTS_SUPPORT_LAYER_H
#define QEMB_TESTS_SUPPORT_LAYER_H

#include "fault_layer.h"

/* Before the first OpenCL call of the process. Aborts when there is no layer or no device. */
fault_state *support_layer_open(void);

/* Objects that are still there, as text, and forgotten; NULL: none. */
const char *support_layer_leaks(fault_state *layer);

#endif
