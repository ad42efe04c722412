/* row_sort_cpu_short_runs.cl - runs of short words, 16 at a time, and a whole table by short words: CPU family, compiled behind
 * row_sort_cpu_short.cl. */

#if WIDE
typedef struct __attribute__((packed)) loose_rows {
    ulong16 v;
} loose_rows;
#define STORE_ROWS(row0, keys, to) ((__global loose_rows *)(to))->v = (ulong16)(row0) + convert_ulong16(keys)
#else
#define STORE_ROWS(row0, keys, to) STORE_LOOSE((uint16)((uint)(row0)) + (keys), to)
#endif

/* The lanes of v `by` further on or back; zeros come in. */
#define DELAY1(v) (uint16)(0, v.s0123, v.s4567, v.s89ab, v.scde)
#define DELAY2(v) (uint16)(0, 0, v.s0123, v.s4567, v.s89ab, v.scd)
#define DELAY4(v) (uint16)((uint4)(0), v.s0123, v.s4567, v.s89ab)
#define DELAY8(v) (uint16)((uint8)(0), v.lo)
#define FROM1(v)  (uint16)(v.s1234, v.s5678, v.s9abc, v.sdef, 0)
#define FROM2(v)  (uint16)(v.s2345, v.s6789, v.sabcd, v.sef, 0, 0)
#define FROM4(v)  (uint16)(v.s4567, v.s89ab, v.scdef, (uint4)(0))
#define FROM8(v)  (uint16)(v.hi, (uint8)(0))

/* A lane that has `bit` as the lowest of its low four bits moves down by so many, and loses it. */
#define MOVE_DOWN(v, bit)                                              \
    {                                                                  \
        const uint16 from = FROM##bit(v);                              \
        v = (from & (2 * (bit) - 1)) == (uint16)(bit) ? from ^ (bit) : v; \
    }

/* Bit k of the result: lane k of v is not 0. */
static inline uint lanes_of(const int16 v) {
    const int16 found = v ? (int16)(1) << LANES16 : (int16)(0);
    const int8 a = found.lo | found.hi;
    const int4 b = a.lo | a.hi;
    const int2 c = b.lo | b.hi;
    return (uint)(c.s0 | c.s1);
}

/* The lanes of v that are not `again` to the front. Bits of v: a key from SHORT_BITS on, from 8 the number of the lane, from 0 nothing. */
static inline uint16 first_lanes(const uint16 v, const int16 again) {
    uint16 gone = again ? (uint16)(1) : (uint16)(0);
    gone += DELAY1(gone);
    gone += DELAY2(gone);
    gone += DELAY4(gone);
    gone += DELAY8(gone);
    uint16 lane = v | (again ? (uint16)(0) : gone); /* how far it has to go */
    MOVE_DOWN(lane, 1)
    MOVE_DOWN(lane, 2)
    MOVE_DOWN(lane, 4)
    MOVE_DOWN(lane, 8)
    return lane;
}

/* emit_words for short words, 16 at a time: the first word of each run moves to the front of its vector, and the next vector is stored behind it. */
static inline void emit_short(__global const uint *a, const uint n, sort_bucket *at, const ulong row0, const bool may_be_long, RUN_PARAMETERS) {
    uint run = at->runs;
    for (uint i = 0; i < n; i += 16) {
        const uint16 w = vload16(0, a + i);
        const int16 again = w >> SHORT_BITS == vload16(0, a + i - 1) >> SHORT_BITS && LANES16 + (int16)((int)i) != 0 &&
                            LANES16 < (int16)((int)(n - i));
        const uint gone = lanes_of(again);
        uint16 lane = (w & ~(SHORT_MOST - 1)) | as_uint16(LANES16) << 8;
        if (gone & (gone - 1)) {
            lane = first_lanes(lane, again);
        } else { /* none, or one */
            lane = LANES16 < (int16)((int)(gone ? 31 - clz(gone) : 16)) ? lane : FROM1(lane);
        }
        STORE_LOOSE(w & (SHORT_MOST - 1), position + at->count + i);
        STORE_LOOSE((lane >> 8 & 15) + (at->count + i), run_start + run);
        STORE_ROWS(row0, lane >> SHORT_BITS, run_row + run);
        run += min(n - i, 16u) - popcount(gone);
    }
    run_start[run] = (int)(at->count + n);
#if MAP
    for (uint r = at->runs; r < run; r++) {
        for (int slot = run_start[r]; slot < run_start[r + 1]; slot++) {
            run_of[position[slot]] = (int)r;
        }
    }
#endif
    if (may_be_long) {
        list_parts(run, at, run_start, part_first, part_run, part_slot);
    }
    at->count += n;
    at->runs = run;
}

/* A whole table by short words: sorted and emitted slice by slice. */
static inline void sort_table_short(const q_row_sort a, const int table, const uint low, const uint slices, __global const q_table *tables,
                                    __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets, __global uint *scratch,
                                    sort_bucket *all, RUN_PARAMETERS) {
    uint end[1 << MAX_SLICE_BITS];
    __global uint *from = scratch + SHORT_FROM;
    form_short(a, table, low, slices, tables, plan, indices, offsets, from, end);
    for (uint d = 0, at = 0; d < slices; at = end[d++]) {
        bool may_be_long;
        __global const uint *sorted =
            sort_short(from + at, scratch + SHORT_SPARE, scratch + SHORT_SORTED, end[d] - at, low, &may_be_long);
        emit_short(sorted, end[d] - at, all, (ulong)tables[table].row0 + ((ulong)d << low), may_be_long, counts, position, run_start, run_row, run_of,
                   part_first, part_run, part_slot);
    }
}
