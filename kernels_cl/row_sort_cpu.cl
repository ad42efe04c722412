/* row_sort_cpu.cl - groups the lookups of a batch by row, stable: CPU family.
 *
 *   position[V]      positions of the lookups that have a row, by (row, position)            V lookups have one, U rows, P parts
 *   run_start[U+1]   first slot (index into position) of each distinct row; run_start[U] = V
 *   run_row[U]       its row number;  run_of[N]: run of a position, -1 without a row;  bag_of[N]: bag of a position, f * B + b
 *   part_*           a run longer than Q_PART is listed in parts of Q_PART slots: part p lies in run part_run[p] and starts at slot
 *                    part_slot[p]; part_first[r] is the first part of run r (written for such runs only)
 *   counts[4]        U, V, P, 0
 *
 * Method   A bucket is a table, or 1/2^split of one by the highest bits of its row number. Within a bucket a lookup is one word,
 *          low bits of the index above the position. One work-item alone splits a table again by its highest bits, straight from the
 *          indices, so that the words of a slice stay in the first-level cache while they are sorted (two work-items gain
 *          nothing by it): as words of 32 bits (row_sort_cpu_short.cl) where row bits and position fit, else by LSD passes as buckets
 *          are; all digits are counted in one pass, digits that are equal everywhere are skipped. A bucket is one
 *          work-item's, so the worst skew costs what one core sorts. Features of a batch come one after another, so buckets that are whole tables (split 0) need no pass to be
 *          formed.
 * Launches row_sort_tables, row_sort_emit: split 0; alone: one work-item of row_sort_tables does both, slice by slice. Else row_sort_count and
 *          row_sort_partition (one work-item a chunk of positions), row_sort_buckets, row_sort_emit
 * Mapping  local size 1; no barrier, no local memory, no atomics; work-item i takes buckets i, i + n, ... and two blocks of scratch that
 *          stay in its core's cache: passes run between them, so a bucket's memory is written once, sorted; alone: never
 * Moves    about 72 N bytes; alone 36 N, by short words 28 N
 * Knobs    BLOCK: words of a scratch block; row_sort_head.cl */
#ifndef BLOCK
#error "BLOCK is set by src/opencl/row_sort.c"
#endif
#define WIDEST         11  /* bits of a digit: 2^11 counters and as many open cache lines still fit the first and second level */
#define MOST_PASSES    5
#define SLICE          512 /* words that a slice should have: 41 thousand keys took 182 to 197 us with 320 to 1280, 290 with 80 */
#define MAX_SLICE_BITS 8

typedef struct sort_bucket {
    uint begin, count, runs, parts; /* in words; runs and parts are those of the sorted bucket */
} sort_bucket;

static inline uint bits_of(const ulong rows) {
    return rows > 1 ? 64 - (uint)clz(rows - 1) : 0;
}
/* Row bits of a table that are left within its buckets. */
static inline uint low_bits(__global const q_table *t, const int split) {
    return (uint)max((int)bits_of((ulong)t->rows) - split, 0);
}

/* Digits as wide as n words pay for: a pass costs about 3 steps a word and 3 for two counters. */
static inline uint digit_bits(const uint n, const uint bits) {
    uint best = 0;
    ulong least = ~(ulong)0;
    for (uint passes = (bits + WIDEST - 1) / WIDEST; passes > 0 && passes <= MOST_PASSES; passes++) {
        const uint width = (bits + passes - 1) / passes;
        const ulong cost = (ulong)passes * (6 * (ulong)n + (3u << width));
        best = cost < least ? width : best;
        least = cost < least ? cost : least;
    }
    return best;
}

/* By how many bits a whole table of n lookups is split into slices. */
static inline uint slice_bits(const uint n, const uint bits) {
    uint top = 0;
    while (top < MAX_SLICE_BITS && top < bits && n >> top > SLICE) {
        top++;
    }
    return top;
}

static inline void count_digits(__global const ulong *from, const uint n, const uint width, const uint passes, uint *count) {
    const uint size = 1u << width;
    const uint mask = size - 1;
    for (uint i = 0; i < passes * size; i++) {
        count[i] = 0;
    }
    if (passes == 2) {
        for (uint i = 0; i < n; i++) {
            const uint k = (uint)(from[i] >> 32);
            count[k & mask]++;
            count[size + (k >> width)]++;
        }
    } else if (passes == 3) {
        for (uint i = 0; i < n; i++) {
            const uint k = (uint)(from[i] >> 32);
            count[k & mask]++;
            count[size + (k >> width & mask)]++;
            count[2 * size + (k >> 2 * width)]++;
        }
    } else {
        for (uint i = 0; i < n; i++) {
            const uint k = (uint)(from[i] >> 32);
            for (uint p = 0; p < passes; p++) {
                count[p * size + (k >> p * width & mask)]++;
            }
        }
    }
}

/* Sorts n words of `from` by their high halves, into `to` or, where that is NULL, anywhere; x and y are other places for n words, `from` may
 * be x, y or `to`. Returns where they are. */
static inline __global const ulong *sort_words(__global const ulong *from, __global ulong *x, __global ulong *y, __global ulong *to, const uint n,
                                               const uint bits) {
    uint count[3 << WIDEST];
    const uint width = digit_bits(n, bits);
    const uint passes = width ? (bits + width - 1) / width : 0;
    const uint mask = (1u << width) - 1;
    count_digits(from, n, width, passes, count);
    for (uint p = 0; p < passes; p++) {
        uint *at = count + (p << width);
        const uint shift = 32 + p * width;
        if (n == 0 || at[(uint)(from[0] >> shift) & mask] == n) {
            continue;
        }
        uint sum = 0;
        for (uint d = 0; d <= mask; d++) {
            const uint c = at[d];
            at[d] = sum;
            sum += c;
        }
        __global ulong *into = to && p + 1 == passes && from != to ? to : from == x ? y : x;
        for (uint i = 0; i < n; i++) {
            const ulong w = from[i];
            into[at[(uint)(w >> shift) & mask]++] = w;
        }
        from = into;
    }
    for (uint i = 0; to && from != to && i < n; i++) {
        to[i] = from[i];
    }
    return to ? to : from;
}

/* A few words: cheaper than counters. */
static inline void insert_words(__global const ulong *from, __global ulong *to, const uint n) {
    for (uint i = 0; i < n; i++) {
        const ulong w = from[i];
        uint j = i;
        for (; j > 0 && to[j - 1] > w; j--) {
            to[j] = to[j - 1];
        }
        to[j] = w;
    }
}

static inline uint high(const ulong w) {
    return (uint)(w >> 32);
}

/* A long run shows in two equal keys Q_PART apart: most slices have none. */
static inline bool has_long_run(__global const ulong *a, const uint n) {
    uint is_long = 0;
    for (uint i = Q_PART; i < n; i++) {
        is_long |= high(a[i]) == high(a[i - Q_PART]);
    }
    return is_long;
}

/* Adds the runs and parts of n sorted words. */
static inline void find_runs(__global const ulong *a, const uint n, sort_bucket *sum) {
    uint runs = n > 0;
    uint parts = 0;
    for (uint i = 1; i < n; i++) {
        runs += high(a[i]) != high(a[i - 1]);
    }
    const bool is_long = has_long_run(a, n);
    for (uint i = 0; is_long && i < n;) {
        uint j = i + 1;
        while (j < n && high(a[j]) == high(a[i])) {
            j++;
        }
        parts += j - i > Q_PART ? (j - i + Q_PART - 1) / Q_PART : 0;
        i = j;
    }
    sum->count += n;
    sum->runs += runs;
    sum->parts += parts;
}

/* sort_words, or for a few words what is cheaper than counters. */
static inline __global const ulong *sort_slice(__global const ulong *from, __global ulong *x, __global ulong *y, __global ulong *to, const uint n,
                                               const uint bits) {
    if (n > 24) {
        return sort_words(from, x, y, to, n, bits);
    }
    __global ulong *into = to ? to : x;
    insert_words(from, into, n);
    return into;
}

/* Bags [first, last) into bag_of. Short bags are the usual case: their first lookup is stored without a loop. */
static inline void fill_bags(const q_batch b, __global const OFFSET *offsets, const long first, const long last, __global int *bag_of) {
    long i = first < last ? bag_begin(b, offsets, first) : 0;
    for (long g = first; g < last; g++) {
        const long end = b.columns > 0 ? i + b.columns : g + 1 < b.num_offsets ? (long)offsets[b.offsets_at + g + 1] : b.lookups;
        if (i < end) {
            bag_of[i++] = (int)g;
            while (i < end) {
                bag_of[i++] = (int)g;
            }
        }
    }
}

/* Without restrict: the functions are inlined, and Oclgrind does not know the marks that an inlined restrict leaves. */
#define RUN_PARAMETERS                                                                                                   \
    __global int *counts, __global int *position, __global int *run_start, __global row_number *run_row,                 \
        __global int *run_of, __global int *part_first, __global int *part_run, __global int *part_slot

/* Parts of the runs from at->runs up to `last`, which start at slot at->count; adds them. */
static inline void list_parts(const uint last, sort_bucket *at, __global const int *run_start, __global int *part_first, __global int *part_run,
                              __global int *part_slot) {
    uint begin = at->count;
    for (uint r = at->runs; r < last; r++) {
        const uint end = (uint)run_start[r + 1];
        if (end - begin > Q_PART) {
            part_first[r] = (int)at->parts;
            for (; begin < end; begin += Q_PART, at->parts++) {
                part_run[at->parts] = (int)r;
                part_slot[at->parts] = (int)begin;
            }
        }
        begin = end;
    }
}
