/* memory.h - the only caller of malloc, mmap and free in the library. */
#ifndef QEMB_BASE_MEMORY_H
#define QEMB_BASE_MEMORY_H

#include <qemb/qemb.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for count items of size bytes; NOMEM or OVERFLOW with a sentence, *out untouched then. count 0 gives a
 * valid pointer to nothing. */
qemb_status qemb__calloc(int64_t count, size_t size, void **out);

/* Grows *block, which holds *capacity items, to at least `count`; contents are kept, new items are zero. */
qemb_status qemb__grow(void **block, int64_t *capacity, int64_t count, size_t size);

void qemb__free(void *block);

/* A copy of `text` to be freed with qemb__free. */
qemb_status qemb__strdup(const char *text, char **out);

/* Zeroed pages, aligned to 2 MiB, huge pages advised: random rows of a big table cost up to 3x less there. Small requests
 * (under 2 MiB) are cache-line aligned heap memory. Pages are taken from the system when first touched. */
qemb_status qemb__pages_alloc(size_t bytes, void **out);
void qemb__pages_free(void *block, size_t bytes);

/* Bytes of a page behind `block` as the kernel reports it (4096 or 2097152); for the bench's `page_bytes`. */
size_t qemb__pages_size(const void *block, size_t bytes);

/* Number of allocations made by this process so far through the functions above; tests count the hot path with it. */
int64_t qemb__alloc_count(void);

#endif
