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

/* Neighbouring bags [bag, end) of a feature; is_long: one of the list. */
typedef struct q_turn {
    int feature, bag, end, is_long;
} q_turn;

static inline q_turn q_turn_of(const q_deal d, const int i, __global const int *longs, const int bags, const int first_feature) {
    const int in_feature = (bags + d.turn - 1) / d.turn;
    q_turn r;
    r.is_long = i < d.num_long;
    if (r.is_long) {
        const int place = longs[d.long_at + i];
        r.feature = place / bags;
        r.bag = place - r.feature * bags;
        r.end = r.bag + 1;
    } else {
        const int slot = (i - d.num_long) / in_feature;
        r.feature = first_feature + slot;
        r.bag = (i - d.num_long - slot * in_feature) * d.turn;
        r.end = min(bags, r.bag + d.turn);
    }
    return r;
}

static inline int q_turns(const q_deal d, const int bags, const int features) {
    return d.num_long + (bags + d.turn - 1) / d.turn * features;
}

/* CPU family. Two words of the events: turns taken so far, work-items that have ended; both are 0 between launches. */
static inline int q_first_turn(const q_deal d, volatile __global uint *events) {
    return d.dealt ? (int)atomic_inc(&events[Q_EVENT_TURNS]) : (int)get_global_id(0);
}

static inline int q_next_turn(const q_deal d, volatile __global uint *events) {
    return d.dealt ? (int)atomic_inc(&events[Q_EVENT_TURNS]) : 0x7fffffff;
}

static inline void q_last_turn(const q_deal d, volatile __global uint *events) {
    if (d.dealt && atomic_inc(&events[Q_EVENT_TURNS + 1]) == (uint)get_global_size(0) - 1) {
        (void)atomic_xchg(&events[Q_EVENT_TURNS], 0u);
        (void)atomic_xchg(&events[Q_EVENT_TURNS + 1], 0u);
    }
}

/* Whether bag g, counted over all features, stands in the list. */
static inline int q_listed(const q_batch b, const q_deal d, __global const OFFSET *offsets, const long g) {
    long begin, end;
    q_bag(b, offsets, g, &begin, &end);
    return end - begin >= d.long_from;
}

/* The end of a tile of at most `most` bags at r->bag, which moves behind bags of the list; first: bag 0 of the feature. */
static inline int q_tile_end(const q_batch b, const q_deal d, __global const OFFSET *offsets, const long first, const int most, q_turn *r) {
    if (d.num_long == 0 || r->is_long) {
        return min(r->end, r->bag + most);
    }
    while (r->bag < r->end && q_listed(b, d, offsets, first + r->bag)) {
        r->bag++;
    }
    int end = r->bag;
    while (end < r->end && end < r->bag + most && !q_listed(b, d, offsets, first + end)) {
        end++;
    }
    return end;
}

/* A device-input check failed: kernels of the batch do nothing. */
static inline int q_refused(__global const uint *status) {
    return status[Q_STATUS_OFFSET] != Q_NO_ERROR || status[Q_STATUS_INDEX] != Q_NO_ERROR;
}

#endif
#endif
