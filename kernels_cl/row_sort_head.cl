/* row_sort_head.cl - what both families of row_sort share; compiled in front of either.
 *
 * Results  run_row[r]: number of the row in the module (row0 of its table + index); ascending over runs
 * Plan     [0, T]: first entry of each table in the list; then list[F]: input features by table, ascending; then table_of[F]
 * Knobs    INDEX int|long, OFFSET int|long (batch.h); WIDE 0|1: row numbers of the module take 64 bits; MAP 0|1: run_of is written */
#if !defined(INDEX) || !defined(OFFSET) || !defined(WIDE) || !defined(MAP)
#error "INDEX, OFFSET, WIDE and MAP are set by src/opencl/row_sort.c"
#endif
#if WIDE
typedef ulong row_number;
#else
typedef uint row_number;
#endif

/* First position of bag g, counted over all features; g may be the number of bags. */
static inline long bag_begin(const q_batch b, __global const OFFSET *offsets, const long g) {
    if (b.columns > 0) {
        return g * b.columns;
    }
    return g < b.num_offsets ? (long)offsets[b.offsets_at + g] : b.lookups;
}

/* A lookup that has a row: inside its table and not padding. */
static inline bool has_row(__global const q_table *t, const long index) {
    return (ulong)index < (ulong)t->rows && index != t->padding_idx;
}
