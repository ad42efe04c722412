/* kernel_files.h - the kernel text that the build put into the library (embed_kernels.cmake writes the table). */
#ifndef QEMB_OPENCL_KERNEL_FILES_H
#define QEMB_OPENCL_KERNEL_FILES_H

#include <stddef.h>

typedef struct qemb__kernel_file {
    const char *name;          /* relative to kernels_cl/, such as "shared/types.h" */
    const unsigned char *text; /* bytes of it, then a zero */
    size_t bytes;
} qemb__kernel_file;

extern const qemb__kernel_file qemb__kernel_files[];
extern const int qemb__kernel_file_count;

#endif
