/* click_ids.c - see click_ids.h. Open addressing with linear probing. */
#include "io/click_ids.h"

#include "base/memory.h"
#include "base/status.h"

enum { FIRST_SLOTS = 64 };

/* Criteo's values are hashes already, but generated ones need not be. */
static int64_t slot_of(uint32_t value, int64_t mask) {
    uint64_t mixed = (uint64_t)value * 0x9E3779B97F4A7C15u;
    return (int64_t)(mixed >> 32) & mask;
}

/* The slot that holds `value`, or the empty one where it belongs. */
static uint64_t *probe(const qemb__id_map *map, uint32_t value) {
    int64_t at = slot_of(value, map->mask);
    while (map->slots[at] != 0 && (uint32_t)(map->slots[at] >> 32) != value) {
        at = (at + 1) & map->mask;
    }
    return &map->slots[at];
}

static qemb_status grow(qemb__id_map *map) {
    qemb__id_map bigger = {.mask = map->slots ? 2 * map->mask + 1 : FIRST_SLOTS - 1, .distinct = map->distinct};
    void *block = NULL;
    qemb_status st = qemb__calloc(bigger.mask + 1, sizeof *bigger.slots, &block);
    if (st != QEMB_OK) {
        return st;
    }
    bigger.slots = block;
    for (int64_t i = 0; map->slots && i <= map->mask; ++i) {
        if (map->slots[i] != 0) {
            *probe(&bigger, (uint32_t)(map->slots[i] >> 32)) = map->slots[i];
        }
    }
    qemb__free(map->slots);
    *map = bigger;
    return QEMB_OK;
}

qemb_status qemb__id_map_get(qemb__id_map *map, uint32_t value, int64_t limit, int32_t *id) {
    if (!map->slots || map->distinct * 4 >= (map->mask + 1) * 3) {
        qemb_status st = grow(map);
        if (st != QEMB_OK) {
            return st;
        }
    }
    uint64_t *slot = probe(map, value);
    if (*slot == 0) {
        if (map->distinct >= limit) {
            return QEMB_ERR_INDEX; /* the caller knows the place and writes the sentence */
        }
        *slot = (uint64_t)value << 32 | (uint64_t)(map->distinct + 1);
        map->distinct++;
    }
    *id = (int32_t)((*slot & 0xFFFFFFFFu) - 1);
    return QEMB_OK;
}

void qemb__id_map_free(qemb__id_map *map) {
    qemb__free(map->slots);
    *map = (qemb__id_map){0};
}
