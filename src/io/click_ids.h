/* click_ids.h - first-seen numbering: values of 32 bits to 0, 1, 2, ... in the order in which they first occur. */
#ifndef QEMB_IO_CLICK_IDS_H
#define QEMB_IO_CLICK_IDS_H

#include <qemb/qemb.h>

typedef struct qemb__id_map {
    uint64_t *slots;  /* value << 32 | (id + 1), 0 is empty; `mask` + 1 of them, at most 3/4 used */
    int64_t mask;     /* 0: no slots yet */
    int64_t distinct; /* ids given out */
} qemb__id_map;

/* The id of `value`, a new one if it is new and fewer than `limit` are given out; INDEX beyond. */
qemb_status qemb__id_map_get(qemb__id_map *map, uint32_t value, int64_t limit, int32_t *id);
void qemb__id_map_free(qemb__id_map *map);

#endif
