/* items.h - what a kernel library asks of the device that runs it: where its work-item stands, and how it waits for the others. */
#ifndef QEMB_TESTS_NATIVE_ITEMS_H
#define QEMB_TESTS_NATIVE_ITEMS_H

#include <stddef.h>

typedef struct native_items {
    size_t global, local, group, global_size, local_size;
    void (*barrier)(struct native_items *items); /* returns when every work-item of the group has come */
    void *run;
} native_items;

#endif
