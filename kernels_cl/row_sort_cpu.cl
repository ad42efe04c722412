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
 *          low bits of the index above the position, sorted by LSD radix passes over exactly those bits; all digits are counted in
 *          one pass, digits that are equal everywhere are skipped. A bucket is one work-item's, so the worst skew costs what one core
 *          sorts. Features of a batch come one after another, so buckets that are whole tables (split 0) need no pass to be formed.
 * Launches row_sort_tables, row_sort_emit: split 0, or few buckets, each of which reads all lookups of its table; alone: row_sort_tables by one
 *          work-item does both. Else row_sort_count and
 *          row_sort_partition (one work-item a chunk of positions), row_sort_buckets, row_sort_emit
 * Mapping  local size 1; no barrier, no local memory, no atomics; work-item i takes buckets i, i + n, ... and two blocks of scratch that
 *          stay in its core's cache: passes run between them, so a bucket's memory is written once, sorted
 * Moves    about 72 N bytes
 * Knobs    BLOCK: words of a scratch block; row_sort_head.cl */
#ifndef BLOCK
#error "BLOCK is set by src/opencl/row_sort.c"
#endif
#define WIDEST 11 /* bits of a digit: 2^11 counters and as many open cache lines still fit the first and second level */

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

/* Digits as wide as n words pay for: clearing and summing the counters must not cost more than a pass. */
static inline uint digit_bits(const uint n, const uint bits) {
    const uint widest = n < 128 ? 5 : n < 512 ? 6 : n < 1536 ? 8 : n < 6000 ? 9 : WIDEST;
    const uint passes = (bits + widest - 1) / widest;
    return passes ? (bits + passes - 1) / passes : 0;
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

/* Sorts n words of `from` into `to` by their high halves; x and y are other places for n words, `from` may be x or `to`. */
static inline void sort_words(__global const ulong *from, __global ulong *x, __global ulong *y, __global ulong *to, const uint n, const uint bits) {
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
        __global ulong *into = p + 1 == passes && from != to ? to : from == x ? y : x;
        for (uint i = 0; i < n; i++) {
            const ulong w = from[i];
            into[at[(uint)(w >> shift) & mask]++] = w;
        }
        from = into;
    }
    for (uint i = 0; from != to && i < n; i++) {
        to[i] = from[i];
    }
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

/* Runs and parts of a sorted bucket. A long run shows in two equal keys Q_PART apart: most buckets have none. */
static inline void find_runs(__global const ulong *a, const uint n, __global sort_bucket *out) {
    uint runs = n > 0;
    uint is_long = 0;
    uint parts = 0;
    for (uint i = 1; i < n; i++) {
        runs += high(a[i]) != high(a[i - 1]);
    }
    for (uint i = Q_PART; i < n; i++) {
        is_long |= high(a[i]) == high(a[i - Q_PART]);
    }
    for (uint i = 0; is_long && i < n;) {
        uint j = i + 1;
        while (j < n && high(a[j]) == high(a[i])) {
            j++;
        }
        parts += j - i > Q_PART ? (j - i + Q_PART - 1) / Q_PART : 0;
        i = j;
    }
    out->count = n;
    out->runs = runs;
    out->parts = parts;
}

static inline void sort_bucket_words(__global const ulong *from, __global ulong *x, __global ulong *y, __global ulong *to, const uint n, const uint bits,
                                     __global sort_bucket *out) {
    if (n <= 24) {
        insert_words(from, to, n);
    } else {
        sort_words(from, x, y, to, n, bits);
    }
    find_runs(to, n, out);
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
