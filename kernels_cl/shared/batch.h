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

/* A device-input check failed: kernels of the batch do nothing. */
static inline int q_refused(__global const uint *status) {
    return status[Q_STATUS_OFFSET] != Q_NO_ERROR || status[Q_STATUS_INDEX] != Q_NO_ERROR;
}

#endif
#endif
