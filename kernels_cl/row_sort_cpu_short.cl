/* row_sort_cpu_short.cl - slices of one work-item's sort as words of 32 bits: CPU family, compiled behind row_sort_cpu.cl.
 *
 * Word     row bits that are left within the slice above SHORT_BITS bits of position: for batches of at most 2^16 lookups and slices of at
 *          most 2^16 rows. Half the bytes of a long word, and 16 of them are one vector.
 * Method   A slice is dealt to 32 columns by its highest row bits: one pass, no counters before it. Two networks of vector minima and maxima sort 16
 *          columns each, top to bottom, and a transpose brings them into one row again. A column that is too full, as of skewed
 *          rows, sends its slice through LSD passes. Runs are found 16 words at a time.
 * Memory   work-item 0's scratch: SHORT_FROM, SHORT_SPARE, SHORT_SORTED and 1024 words from there; vectors reach 16 words beyond what
 *          is meant, on either side */
#define SHORT_BITS   16
#define SHORT_MOST   (1u << SHORT_BITS)
#define SHORT_FROM   16
#define SHORT_SPARE  (SHORT_FROM + SHORT_MOST + 16)
#define SHORT_SORTED (SHORT_SPARE + SHORT_MOST + 16)
#define COLUMN_BITS  5
#define COLUMNS      (1u << COLUMN_BITS)
#define COLUMN       24 /* words that a column may have */
#define COLUMN_ROOM  32
#define COLUMN_USUAL 12u /* that it should have at most, on average */
#define SHORT_SLICE  (COLUMN_USUAL * COLUMNS) /* words that a slice should have at most: ten a column are one in ten thousand with more than COLUMN */
#define LEAST_SLICE  128            /* words that a slice should have at least */
#define FEW          8              /* words that are inserted one by one */

/* A vector at any address in one store, where vstore16 takes three on PoCL; as a packed member it has no alignment. */
typedef struct __attribute__((packed)) loose16 {
    uint16 v;
} loose16;
#define STORE_LOOSE(value, to) ((__global loose16 *)(to))->v = (value)

#define LANES16 (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

/* Batcher's network for 32, less what touches words beyond the 24th: they would be the largest. */
#define EACH_PAIR \
    CE(0, 1) CE(2, 3) CE(4, 5) CE(6, 7) CE(8, 9) CE(10, 11) CE(12, 13) CE(14, 15) CE(16, 17) CE(18, 19) CE(20, 21) CE(22, 23) \
    CE(0, 2) CE(1, 3) CE(4, 6) CE(5, 7) CE(8, 10) CE(9, 11) CE(12, 14) CE(13, 15) CE(16, 18) CE(17, 19) CE(20, 22) CE(21, 23) \
    CE(1, 2) CE(5, 6) CE(9, 10) CE(13, 14) CE(17, 18) CE(21, 22) CE(0, 4) CE(1, 5) CE(2, 6) CE(3, 7) CE(8, 12) CE(9, 13) CE(10, 14) \
    CE(11, 15) CE(16, 20) CE(17, 21) CE(18, 22) CE(19, 23) CE(2, 4) CE(3, 5) CE(10, 12) CE(11, 13) CE(18, 20) CE(19, 21) CE(1, 2) \
    CE(3, 4) CE(5, 6) CE(9, 10) CE(11, 12) CE(13, 14) CE(17, 18) CE(19, 20) CE(21, 22) CE(0, 8) CE(1, 9) CE(2, 10) CE(3, 11) \
    CE(4, 12) CE(5, 13) CE(6, 14) CE(7, 15) CE(4, 8) CE(5, 9) CE(6, 10) CE(7, 11) CE(2, 4) CE(3, 5) CE(6, 8) CE(7, 9) CE(10, 12) \
    CE(11, 13) CE(18, 20) CE(19, 21) CE(1, 2) CE(3, 4) CE(5, 6) CE(7, 8) CE(9, 10) CE(11, 12) CE(13, 14) CE(17, 18) CE(19, 20) \
    CE(21, 22) CE(0, 16) CE(1, 17) CE(2, 18) CE(3, 19) CE(4, 20) CE(5, 21) CE(6, 22) CE(7, 23) CE(8, 16) CE(9, 17) CE(10, 18) \
    CE(11, 19) CE(12, 20) CE(13, 21) CE(14, 22) CE(15, 23) CE(4, 8) CE(5, 9) CE(6, 10) CE(7, 11) CE(12, 16) CE(13, 17) CE(14, 18) \
    CE(15, 19) CE(2, 4) CE(3, 5) CE(6, 8) CE(7, 9) CE(10, 12) CE(11, 13) CE(14, 16) CE(15, 17) CE(18, 20) CE(19, 21) CE(1, 2) \
    CE(3, 4) CE(5, 6) CE(7, 8) CE(9, 10) CE(11, 12) CE(13, 14) CE(15, 16) CE(17, 18) CE(19, 20) CE(21, 22)
#define CE(a, b)                                   \
    {                                              \
        const uint16 lesser = v##a < v##b ? v##a : v##b; \
        v##b = v##a < v##b ? v##b : v##a;          \
        v##a = lesser;                             \
    }
#define EACH_ROW(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15) EACH_LATE_ROW(M)
#define EACH_LATE_ROW(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23)
#define LOAD_ROW(r)  uint16 v##r = vload16((r) * COLUMNS / 16, (const uint *)grid);
#define STORE_ROW(r) grid[(r) * COLUMNS / 16] = v##r;

/* Rows a and a + 1 of x, their even words side by side and their odd ones; four times that, over all pairs, is the transpose. Written with halves,
 * for PoCL's compiler makes three times as many instructions of single words. */
#define UNZIP(y, j, k, x, a, b)                         \
    const uint16 y##j = (uint16)(x##a.even, x##b.even); \
    const uint16 y##k = (uint16)(x##a.odd, x##b.odd);
#define UNZIP_ALL(y, x)                                                                                \
    UNZIP(y, 0, 8, x, 0, 1) UNZIP(y, 1, 9, x, 2, 3) UNZIP(y, 2, 10, x, 4, 5) UNZIP(y, 3, 11, x, 6, 7)   \
    UNZIP(y, 4, 12, x, 8, 9) UNZIP(y, 5, 13, x, 10, 11) UNZIP(y, 6, 14, x, 12, 13) UNZIP(y, 7, 15, x, 14, 15)
#define PUT_COLUMN(c)                                     \
    STORE_LOOSE(z##c, to);                                \
    for (uint r = 16; r < count[c]; r++) {                \
        to[r] = ((const uint *)(grid + r * COLUMNS / 16))[c]; \
    }                                                     \
    to += count[c];

/* Sorts 16 columns of the grid, of which count[c] words count and the others are the largest number, and appends them to `to`. */
static inline __global uint *sort_columns(uint16 *grid, const uint *count, __global uint *to) {
    EACH_ROW(LOAD_ROW)
    EACH_PAIR
    EACH_LATE_ROW(STORE_ROW)
    UNZIP_ALL(w, v)
    UNZIP_ALL(x, w)
    UNZIP_ALL(y, x)
    UNZIP_ALL(z, y)
    PUT_COLUMN(0) PUT_COLUMN(1) PUT_COLUMN(2) PUT_COLUMN(3) PUT_COLUMN(4) PUT_COLUMN(5) PUT_COLUMN(6) PUT_COLUMN(7)
    PUT_COLUMN(8) PUT_COLUMN(9) PUT_COLUMN(10) PUT_COLUMN(11) PUT_COLUMN(12) PUT_COLUMN(13) PUT_COLUMN(14) PUT_COLUMN(15)
    return to;
}

/* Sorts n words of `from` into `to`, or gives false: a column was too full. */
static inline bool sort_by_columns(__global const uint *from, __global uint *to, const uint n, const uint low) {
    const uint shift = SHORT_BITS + (uint)max((int)low - COLUMN_BITS, 0);
    uint16 grid[COLUMN_ROOM * COLUMNS / 16];
    uint16 counts[COLUMNS / 16];
    uint *word = (uint *)grid;
    uint *count = (uint *)counts;
    for (uint i = 0; i < COLUMN * COLUMNS / 16; i++) {
        grid[i] = (uint16)(~0u);
    }
    for (uint i = 0; i < COLUMNS / 16; i++) {
        counts[i] = (uint16)(0);
    }
    for (uint i = 0; i < n; i++) {
        const uint w = from[i];
        const uint c = w >> shift;
        const uint r = count[c];
        count[c] = r + 1;
        word[(r & (COLUMN_ROOM - 1)) * COLUMNS + c] = w;
    }
    uint most = 0;
    for (uint c = 0; c < COLUMNS; c++) {
        most = count[c] > most ? count[c] : most;
    }
    if (most > COLUMN) {
        return false;
    }
    to = sort_columns(grid, count, to);
    (void)sort_columns(grid + 1, count + 16, to);
    return true;
}

/* LSD passes over the row bits; returns `from` or `spare`. */
static inline __global const uint *sort_by_digits(__global uint *from, __global uint *spare, const uint n, const uint low) {
    uint count[1 << WIDEST];
    const uint passes = low > WIDEST || (1u << low) > 2 * n ? 2 : 1; /* of at most 8 bits where there are two */
    const uint width = (low + passes - 1) / passes;
    const uint size = 1u << width;
    for (uint i = 0; i < passes * size; i++) {
        count[i] = 0;
    }
    for (uint i = 0; passes == 1 && i < n; i++) {
        count[from[i] >> SHORT_BITS]++;
    }
    for (uint i = 0; passes == 2 && i < n; i++) {
        const uint k = from[i] >> SHORT_BITS;
        count[k & (size - 1)]++;
        count[size + (k >> width)]++;
    }
    for (uint p = 0; p < passes; p++) {
        uint *at = count + p * size;
        const uint shift = SHORT_BITS + p * width;
        uint sum = 0;
        if (at[from[0] >> shift & (size - 1)] == n) {
            continue;
        }
        for (uint d = 0; d < size; d++) {
            const uint c = at[d];
            at[d] = sum;
            sum += c;
        }
        for (uint i = 0; i < n; i++) {
            const uint w = from[i];
            spare[at[w >> shift & (size - 1)]++] = w;
        }
        __global uint *sorted = spare;
        spare = from;
        from = sorted;
    }
    return from;
}

/* Sorts a slice; *may_be_long: a run may have more than Q_PART words. */
static inline __global const uint *sort_short(__global uint *from, __global uint *spare, __global uint *sorted, const uint n, const uint low,
                                              bool *may_be_long) {
    *may_be_long = false;
    if (n <= FEW) {
        for (uint i = 1; i < n; i++) {
            const uint w = from[i];
            uint j = i;
            for (; j > 0 && from[j - 1] > w; j--) {
                from[j] = from[j - 1];
            }
            from[j] = w;
        }
        return from;
    }
    if (n <= min(SHORT_SLICE, COLUMN_USUAL << low) && sort_by_columns(from, sorted, n, low)) {
        return sorted;
    }
    *may_be_long = n > Q_PART;
    return sort_by_digits(from, spare, n, low);
}

/* By how many bits a whole table of n lookups is split into slices of short words; more than MAX_SLICE_BITS: it is not. */
static inline uint short_slice_bits(const uint n, const uint bits) {
    uint top = bits > SHORT_BITS ? bits - SHORT_BITS : 0;
    while (top < MAX_SLICE_BITS && top < bits && n >> top > SHORT_SLICE) {
        top++;
    }
    return top;
}

/* The lookups of a whole table as short words, by the highest bits of their index: slice d is [d ? end[d - 1] : 0, end[d]) of `to`. */
static inline void form_short(const q_row_sort a, const int table, const uint low, const uint slices, __global const q_table *tables,
                              __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets, __global uint *to, uint *end) {
    const ulong rows = (ulong)tables[table].rows;
    const long padding = tables[table].padding_idx;
    const uint mask = (1u << low) - 1;
    __global const int *list = plan + a.num_tables + 1;
    __global const INDEX *index = indices + a.batch.indices_at;
    for (uint d = 0; d < slices; d++) {
        end[d] = 0;
    }
    for (int j = plan[table]; slices > 1 && j < plan[table + 1]; j++) {
        const uint last = (uint)bag_begin(a.batch, offsets, (list[j] + 1) * a.batch.bags);
        for (uint i = (uint)bag_begin(a.batch, offsets, list[j] * a.batch.bags); i < last; i++) {
            const long row = index[i];
            if ((ulong)row < rows && row != padding) {
                end[row >> low]++;
            }
        }
    }
    uint sum = 0;
    for (uint d = 0; d < slices; d++) {
        const uint c = end[d];
        end[d] = sum;
        sum += c;
    }
    uint n = 0; /* one counter would be a chain through memory */
    for (int j = plan[table]; j < plan[table + 1]; j++) {
        const uint last = (uint)bag_begin(a.batch, offsets, (list[j] + 1) * a.batch.bags);
        uint i = (uint)bag_begin(a.batch, offsets, list[j] * a.batch.bags);
        for (; slices == 1 && i < last; i++) {
            const long row = index[i];
            to[n] = (uint)row << SHORT_BITS | i;
            n += (ulong)row < rows && row != padding;
        }
        for (; i < last; i++) {
            const long row = index[i];
            if ((ulong)row < rows && row != padding) {
                to[end[row >> low]++] = ((uint)row & mask) << SHORT_BITS | i;
            }
        }
    }
    end[0] = slices > 1 ? end[0] : n;
}

#define LEAST_FILL 4

/* fill_bags, 16 positions a store: what is written too far is the next bag's, which comes later, and never beyond the last bag. */
static inline void fill_bags_16(const q_batch b, __global const OFFSET *offsets, const long first, const long last, __global int *bag_of) {
    const int limit = (int)bag_begin(b, offsets, last);
    int end = first < last ? (int)bag_begin(b, offsets, first) : 0;
    for (long g = first; g < last; g++) {
        int i = end;
        end = (int)bag_begin(b, offsets, g + 1);
        for (; i + LEAST_FILL <= end && i + 16 <= limit; i += 16) {
            STORE_LOOSE((uint16)((uint)g), bag_of + i);
        }
        for (; i < end; i++) {
            bag_of[i] = (int)g;
        }
    }
}
