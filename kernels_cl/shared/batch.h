/* batch.h - device-side reading of a batch and of table rows: indices, offsets, slabs. OpenCL C only; the reference engine has its own
 * in src/reference/row.c.
 *
 * Knobs    INDEX int|long, OFFSET int|long: element types of indices and offsets;  SLABS 1|8: slab pointers a launch takes */
#ifndef Q_BATCH_H
#define Q_BATCH_H
#if defined(__OPENCL_VERSION__) && defined(INDEX)
#if !defined(OFFSET) || !defined(SLABS)
#error "INDEX, OFFSET and SLABS are set together by src/opencl"
#endif

/* Slab pointers as kernel parameters and arguments, and the one a table lies in. A select chain: an indexed private array of pointers
 * would go to local memory on GPUs. */
#if SLABS == 1
#define SLAB_PARAMETERS(type, name) type name##0
#define SLAB_OF(name, k)            (name##0)
#elif SLABS == 8
#define SLAB_PARAMETERS(type, name) \
    type name##0, type name##1, type name##2, type name##3, type name##4, type name##5, type name##6, type name##7
#define SLAB_OF(name, k)                                                                                             \
    ((k) < 4 ? ((k) < 2 ? ((k) < 1 ? name##0 : name##1) : ((k) < 3 ? name##2 : name##3))                             \
             : ((k) < 6 ? ((k) < 5 ? name##4 : name##5) : ((k) < 7 ? name##6 : name##7)))
#else
#error "SLABS is 1 or 8"
#endif

/* Row r of a table: its slab, and its number within the slab. One slab: the shift gives 0 and the mask keeps r. */
static inline int q_slab(__global const q_table *t, const long row) {
    return SLABS == 1 ? 0 : t->slab + (int)(row >> t->row_shift);
}
static inline long q_local(__global const q_table *t, const long row) {
    return SLABS == 1 ? row : row & (((long)1 << t->row_shift) - 1);
}

/* Positions of bag g, counted over all features. */
static inline void q_bag(const q_batch b, __global const OFFSET *offsets, const long g, long *begin, long *end) {
    if (b.columns > 0) {
        *begin = g * b.columns;
        *end = *begin + b.columns;
    } else {
        *begin = offsets[b.offsets_at + g];
        *end = g + 1 < b.num_offsets ? (long)offsets[b.offsets_at + g + 1] : b.lookups;
    }
}

/* Every work-item of a launch asks once; the last one leaves the counter as it was. */
static inline int q_turn_number(const q_deal d, volatile __global uint *events) {
    if (!d.dealt) {
        return (int)get_global_id(0);
    }
    const uint i = atomic_inc(&events[Q_EVENT_TURN]);
    if (i == (uint)get_global_size(0) - 1) {
        (void)atomic_xchg(&events[Q_EVENT_TURN], 0u);
    }
    return (int)i;
}

/* Bags [bag, end) of a feature; listed: for the sake of which the turn stands in the list, or -1. */
typedef struct q_turn {
    int feature, bag, end, listed;
} q_turn;

static inline q_turn q_turn_of(const q_deal d, const int i, __global const int *longs, const int bags, const int first_feature) {
    q_turn r;
    if (i < d.num_long) {
        const int place = longs[d.long_at + i];
        r.feature = place / bags;
        r.listed = place - r.feature * bags;
        r.bag = r.listed - r.listed % d.tile;
    } else {
        const int slot = (i - d.num_long) / d.in_feature;
        r.feature = first_feature + slot;
        r.listed = -1;
        r.bag = (i - d.num_long - slot * d.in_feature) * d.tile;
    }
    r.end = min(bags, r.bag + d.tile);
    return r;
}

/* Whether another turn has these bags: a bag of the list is among them, and it is not the first one that brought the turn there. first: bag 0
 * of the feature. */
static inline int q_elsewhere(const q_batch b, const q_deal d, __global const OFFSET *offsets, const long first, const q_turn r) {
    for (int bag = r.bag; d.num_long && bag < r.end; bag++) {
        long begin, end;
        q_bag(b, offsets, first + bag, &begin, &end);
        if (end - begin >= d.long_from) {
            return bag != r.listed;
        }
    }
    return 0;
}

/* A device-input check failed: kernels of the batch do nothing. */
static inline int q_refused(__global const uint *status) {
    return status[Q_STATUS_OFFSET] != Q_NO_ERROR || status[Q_STATUS_INDEX] != Q_NO_ERROR;
}

#endif
#endif
