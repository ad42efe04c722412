/* row_sort_gpu.cl - groups the lookups of a batch by row, stable: GPU family. Results and meaning as in row_sort_cpu.cl.
 *
 * Method   LSD radix sort of (row number, position) over the significant bits, DIGIT_BITS a pass: counters of (group, digit), then each
 *          group adds up the counters before it, ranks its tiles in local memory by stable splits of 4 bits and scatters them. A pass
 *          counts the next digit at the places it writes to, so it is one launch. Lookups without a row carry the key total_rows and
 *          end behind all others. Counters are summed by blocks of COUNT_BLOCK groups first. No group waits for another.
 *          Atomics only add integers to counters: their order cannot be seen.
 * Launches row_sort_keys, row_sort_digits, row_sort_scatter (a pass), row_sort_runs, row_sort_emit
 * Mapping  GROUP work-items a group, ITEMS consecutive slots of a tile a work-item (odd: no bank conflicts); a group owns `span` slots.
 *          Barriers in uniform flow only: trip counts depend on the group, never on the work-item
 * Moves    (4 + key) N read and written a pass
 * Knobs    GROUP, ITEMS, DIGIT_BITS 4|8 with 2^DIGIT_BITS <= GROUP, COUNT_BLOCK; row_sort_head.cl */
#if !defined(GROUP) || !defined(ITEMS) || !defined(DIGIT_BITS) || !defined(COUNT_BLOCK)
#error "GROUP, ITEMS, DIGIT_BITS and COUNT_BLOCK are set by src/opencl/row_sort.c"
#endif
#define RADIX (1 << DIGIT_BITS)
#define TILE  (GROUP * ITEMS)
#define SYNC  barrier(CLK_LOCAL_MEM_FENCE)
#define ONE_GROUP __attribute__((reqd_work_group_size(GROUP, 1, 1)))

/* Sum of `value` over the work-items before this one; the last one's result plus its value is the total. sum: 2 * GROUP. */
static inline uint group_scan(__local uint *sum, const uint id, const uint value) {
    uint at = 0;
    sum[id] = value;
    SYNC;
    for (uint step = 1; step < GROUP; step <<= 1) {
        const uint s = sum[at + id] + (id >= step ? sum[at + id - step] : 0);
        at = GROUP - at;
        sum[at + id] = s;
        SYNC;
    }
    return sum[at + id] - value;
}

static inline uint digit_of(const row_number key, const int shift) {
    return (uint)(key >> shift) & (RADIX - 1);
}

/* Keys and bags, one position a work-item; clears the counters of all passes. */
__kernel void row_sort_keys(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets,
                            __global const uint *status, __global row_number *restrict keys, __global uint *restrict counters,
                            __global int *restrict bag_of, __global int *restrict run_of, const q_row_sort a) {
    const long i = (long)get_global_id(0);
    for (long k = i; k < a.counters; k += (long)get_global_size(0)) {
        counters[k] = 0;
    }
    if (i >= a.batch.lookups) {
        return;
    }
    bool ok = false;
    if (!q_refused(status)) {
        long bag = 0;
        long after = a.num_features * a.batch.bags;
        if (a.batch.columns > 0) {
            bag = i / a.batch.columns;
        }
        while (a.batch.columns == 0 && after - bag > 1) { /* the last bag that begins at or before i */
            const long middle = (bag + after) / 2;
            const bool before = bag_begin(a.batch, offsets, middle) <= i;
            bag = before ? middle : bag;
            after = before ? after : middle;
        }
        __global const q_table *t = tables + plan[a.num_tables + 1 + a.num_features + bag / a.batch.bags];
        const long index = indices[a.batch.indices_at + i];
        bag_of[i] = (int)bag;
        ok = has_row(t, index);
        keys[i] = (row_number)(ok ? t->row0 + index : a.total_rows);
    } else {
        keys[i] = (row_number)a.total_rows;
    }
#if MAP
    if (!ok) {
        run_of[i] = -1;
    }
#endif
}

/* Counters of a pass: RADIX for each group, then RADIX for each block of groups. */
static inline uint blocks_of(const uint groups) {
    return (groups + COUNT_BLOCK - 1) / COUNT_BLOCK;
}

/* Counters of the first digit. */
__kernel ONE_GROUP void row_sort_digits(__global const row_number *restrict keys, __global uint *counters, const q_row_sort a) {
    __local uint count[RADIX];
    __global uint *coarse = counters + (uint)get_num_groups(0) * RADIX;
    const uint id = (uint)get_local_id(0);
    const uint group = (uint)get_group_id(0);
    if (id < RADIX) {
        count[id] = 0;
    }
    SYNC;
    const int begin = (int)group * a.span;
    const int end = min(begin + a.span, (int)a.batch.lookups);
    for (int i = begin + (int)id; i < end; i += GROUP) {
        (void)atomic_inc(&count[digit_of(keys[i], 0)]);
    }
    SYNC;
    if (id < RADIX) {
        counters[group * RADIX + id] = count[id];
        (void)atomic_add(&coarse[group / COUNT_BLOCK * RADIX + id], count[id]);
    }
}

/* Sorts a tile by 4 bits, stable: each work-item counts its own slots by digit, and the counts are summed digit by digit. */
static inline void split_tile(__local row_number *keys, __local uint *positions, __local ushort *count, __local uint *sum, const uint id,
                              const int shift) {
    row_number key[ITEMS];
    uint position[ITEMS];
    uint rank[ITEMS];
    for (uint d = 0; d < 16; d++) {
        count[d * GROUP + id] = 0;
    }
#pragma unroll
    for (uint j = 0; j < ITEMS; j++) {
        key[j] = keys[id * ITEMS + j];
        position[j] = positions[id * ITEMS + j];
        const uint c = ((uint)(key[j] >> shift) & 15) * GROUP + id;
        rank[j] = count[c];
        count[c] = (ushort)(rank[j] + 1);
    }
    SYNC;
    uint mine = 0;
    for (uint j = 0; j < 16; j++) {
        mine += count[16 * id + j];
    }
    uint running = group_scan(sum, id, mine);
    for (uint j = 0; j < 16; j++) {
        const uint c = count[16 * id + j];
        count[16 * id + j] = (ushort)running;
        running += c;
    }
    SYNC;
#pragma unroll
    for (uint j = 0; j < ITEMS; j++) {
        const uint to = count[((uint)(key[j] >> shift) & 15) * GROUP + id] + rank[j];
        keys[to] = key[j];
        positions[to] = position[j];
    }
    SYNC;
}

/* How often this work-item's digit occurs in groups before this one, and in all of them. */
static inline uint count_before(__global const uint *fine, __global const uint *coarse, const uint group, const uint groups, const uint id, uint *all) {
    const uint block = group / COUNT_BLOCK;
    uint before = 0;
    *all = 0;
    for (uint c = 0; id < RADIX && c < blocks_of(groups); c++) {
        const uint x = coarse[c * RADIX + id];
        *all += x;
        before += c < block ? x : 0;
    }
    for (uint g = block * COUNT_BLOCK; id < RADIX && g < group; g++) {
        before += fine[g * RADIX + id];
    }
    return before;
}

/* Where each digit begins and ends in a sorted tile; 0 and 0 for one that does not occur. */
static inline void find_digits(__local const row_number *keys, __local uint *start, __local uint *stop, const uint id, const int shift) {
    if (id < RADIX) {
        start[id] = 0;
        stop[id] = 0;
    }
    SYNC;
    for (uint i = id; i < TILE; i += GROUP) {
        const uint d = digit_of(keys[i], shift);
        if (i == 0 || digit_of(keys[i - 1], shift) != d) {
            start[d] = i;
        }
        if (i == TILE - 1 || digit_of(keys[i + 1], shift) != d) {
            stop[d] = i + 1;
        }
    }
    SYNC;
}

/* Pass a.pass. In the first, positions are 0, 1, ...; after the last there is no digit to count. */
__kernel ONE_GROUP void row_sort_scatter(__global const row_number *restrict keys, __global const int *restrict positions,
                                         __global row_number *restrict keys_to, __global int *restrict positions_to, __global uint *counters,
                                         const q_row_sort a) {
    __local row_number tile_key[TILE];
    __local uint tile_position[TILE];
    __local ushort count[16 * GROUP];
    __local uint sum[2 * GROUP], base[RADIX], start[RADIX], stop[RADIX];
    const uint id = (uint)get_local_id(0);
    const uint group = (uint)get_group_id(0);
    const uint groups = (uint)get_num_groups(0);
    const int shift = a.pass * DIGIT_BITS;
    __global uint *fine = counters + (uint)a.pass * (groups + blocks_of(groups)) * RADIX;
    __global uint *coarse = fine + groups * RADIX;
    __global uint *fine_next = coarse + blocks_of(groups) * RADIX;
    __global uint *coarse_next = fine_next + groups * RADIX;
    uint all;
    const uint before = count_before(fine, coarse, group, groups, id, &all);
    const uint smaller = group_scan(sum, id, all);
    if (id < RADIX) {
        base[id] = smaller + before;
    }
    const int begin = (int)group * a.span;
    const int end = min(begin + a.span, (int)a.batch.lookups);
    for (int at = begin; at < end; at += TILE) {
        const uint n = (uint)min(end - at, TILE);
        for (uint i = id; i < TILE; i += GROUP) { /* past the end: the largest key, last in every stable split */
            tile_key[i] = i < n ? keys[at + (int)i] : (row_number)-1;
            tile_position[i] = i < n ? (uint)(a.pass == 0 ? at + (int)i : positions[at + (int)i]) : 0;
        }
        SYNC;
        for (int bit = 0; bit < DIGIT_BITS; bit += 4) {
            split_tile(tile_key, tile_position, count, sum, id, shift + bit);
        }
        find_digits(tile_key, start, stop, id, shift);
        for (uint i = id; i < n; i += GROUP) {
            const row_number key = tile_key[i];
            const uint d = digit_of(key, shift);
            const uint to = base[d] + i - start[d];
            keys_to[to] = key;
            positions_to[to] = (int)tile_position[i];
            if (!a.last) {
                const uint g = to / (uint)a.span;
                const uint next = digit_of(key, shift + DIGIT_BITS);
                (void)atomic_inc(&fine_next[g * RADIX + next]);
                (void)atomic_inc(&coarse_next[g / COUNT_BLOCK * RADIX + next]);
            }
        }
        SYNC;
        if (id < RADIX) {
            base[id] += stop[id] - start[id];
        }
    }
}
