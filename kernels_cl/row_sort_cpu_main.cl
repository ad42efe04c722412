/* row_sort_cpu_main.cl - the kernels of the CPU family; contract and method in row_sort_cpu.cl, which is compiled in front. */

/* Without restrict: the functions are inlined, and Oclgrind does not know the marks that an inlined restrict leaves. */
#define RUN_PARAMETERS                                                                                                   \
    __global int *counts, __global int *position, __global int *run_start, __global row_number *run_row,                 \
        __global int *run_of, __global int *part_first, __global int *part_run, __global int *part_slot

/* Slots, runs and parts of one bucket from `at` (what lies before it). Every slot stores its run's row and end, so there is no branch:
 * the last one of a run leaves the right values. */
static inline void emit_bucket(__global const ulong *a, const sort_bucket b, const sort_bucket at, const ulong row0, RUN_PARAMETERS) {
    uint run = at.runs;
    uint part = at.parts;
    uint before = b.count ? high(a[0]) : 0;
    for (uint i = 0; i < b.count; i++) {
        const ulong w = a[i];
        const uint key = high(w);
        run += key != before;
        before = key;
        position[at.count + i] = (int)(uint)w;
#if MAP
        run_of[(uint)w] = (int)run;
#endif
        run_start[run + 1] = (int)(at.count + i + 1);
        run_row[run] = (row_number)(row0 + key);
    }
    uint begin = at.count;
    for (uint r = at.runs; b.parts && r < at.runs + b.runs; r++) {
        const uint end = (uint)run_start[r + 1];
        if (end - begin > Q_PART) {
            part_first[r] = (int)part;
            for (; begin < end; begin += Q_PART, part++) {
                part_run[part] = (int)r;
                part_slot[part] = (int)begin;
            }
        }
        begin = end;
    }
}

/* Buckets first, first + step, ... */
static inline void emit_buckets(const q_row_sort a, const int first, const int step, __global const q_table *tables, __global const ulong *words,
                                __global const sort_bucket *buckets, RUN_PARAMETERS) {
    const int n = a.num_tables << a.split;
    sort_bucket at = {0, 0, 0, 0};
    int next = 0;
    for (int k = first; k < n; k += step) {
        for (; next < k; next++) {
            at.count += buckets[next].count;
            at.runs += buckets[next].runs;
            at.parts += buckets[next].parts;
        }
        const sort_bucket b = buckets[k];
        __global const q_table *t = tables + (k >> a.split);
        const ulong row0 = (ulong)t->row0 + ((ulong)(k & ((1 << a.split) - 1)) << low_bits(t, a.split));
        emit_bucket(words + b.begin, b, at, row0, counts, position, run_start, run_row, run_of, part_first, part_run, part_slot);
        if (k == 0) {
            run_start[0] = 0;
        }
        if (k == n - 1) {
            counts[Q_SORT_RUNS] = (int)(at.runs + b.runs);
            counts[Q_SORT_LOOKUPS] = (int)(at.count + b.count);
            counts[Q_SORT_PARTS] = (int)(at.parts + b.parts);
        }
    }
}

/* Positions of the features that list entries [from, to) name. */
static inline long positions_of(const q_row_sort a, __global const int *plan, const int from, const int to, __global const OFFSET *offsets) {
    __global const int *list = plan + a.num_tables + 1;
    long sum = 0;
    for (int j = from; j < to; j++) {
        const long g = (long)list[j] * a.batch.bags;
        sum += bag_begin(a.batch, offsets, g + a.batch.bags) - bag_begin(a.batch, offsets, g);
    }
    return sum;
}

/* Bucket k of 2^split of a whole table: picks its words out of the table's lookups, in cache, and sorts them into words[begin...]; the first
 * bucket fills bag_of of the table's features. */
static inline void sort_table(const q_row_sort a, const int k, const long begin, const uint room, __global const q_table *tables,
                              __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets, __global ulong *words,
                              __global ulong *spare, __global ulong *scratch, __global sort_bucket *out, __global int *bag_of, __global int *run_of) {
    const int table = k >> a.split;
    __global const q_table *t = tables + table;
    __global const int *list = plan + a.num_tables + 1;
    const uint bits = low_bits(t, a.split);
    const ulong part = (ulong)(k - (table << a.split));
    const ulong mask = ((ulong)1 << bits) - 1;
    __global ulong *x = scratch + get_global_id(0) * 2 * BLOCK;
    __global ulong *y = x + BLOCK;
    if (room > BLOCK) { /* words and spare, so that the last pass ends in words */
        const uint width = digit_bits(room, bits);
        const bool odd = width && ((bits + width - 1) / width & 1);
        x = (odd ? spare : words) + begin;
        y = (odd ? words : spare) + begin;
    }
    uint n = 0;
    for (int j = plan[table]; j < plan[table + 1]; j++) {
        const long g = (long)list[j] * a.batch.bags;
        const long last = bag_begin(a.batch, offsets, g + a.batch.bags);
        if (part == 0) {
            fill_bags(a.batch, offsets, g, g + a.batch.bags, bag_of);
        }
        for (long i = bag_begin(a.batch, offsets, g); i < last; i++) {
            const long index = indices[a.batch.indices_at + i];
            const bool ok = has_row(t, index);
            x[n] = ((ulong)index & mask) << 32 | (uint)i;
            n += (uint)ok & (uint)((ulong)index >> bits == part); /* no branch: for two buckets it would be a coin */
#if MAP
            if (!ok && part == 0) {
                run_of[i] = -1;
            }
#endif
        }
    }
    out->begin = (uint)begin;
    sort_bucket_words(x, x, y, words + begin, n, bits, out);
}

__kernel void row_sort_tables(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets,
                     __global const uint *status, __global ulong *words, __global ulong *spare, __global ulong *scratch, __global sort_bucket *buckets,
                     __global int *bag_of, RUN_PARAMETERS, const q_row_sort a) {
    const int first = (int)get_global_id(0);
    const int step = (int)get_global_size(0);
    const int refused = q_refused(status);
    long begin = 0;
    int next = 0; /* list entries that begin counts */
    for (int k = first; k < a.num_tables << a.split; k += step) {
        const int table = k >> a.split;
        if (refused) {
            buckets[k] = (sort_bucket){0, 0, 0, 0};
            continue;
        }
        begin += positions_of(a, plan, next, plan[table], offsets);
        next = plan[table];
        const long room = positions_of(a, plan, next, plan[table + 1], offsets);
        const long at = (begin << a.split) + room * (k - (table << a.split)); /* each bucket has room for all lookups of its table */
        sort_table(a, k, at, (uint)room, tables, plan, indices, offsets, words, spare, scratch, buckets + k, bag_of, run_of);
    }
    if (a.alone) {
        emit_buckets(a, 0, 1, tables, words, buckets, counts, position, run_start, run_row, run_of, part_first, part_run, part_slot);
    }
}

/* Lookups of chunk w by bucket; bags. */
__kernel void row_sort_count(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets,
                    __global const uint *status, __global uint *counted, __global int *bag_of, __global int *run_of, const q_row_sort a) {
    const long w = (long)get_global_id(0);
    const long chunks = (long)get_global_size(0);
    const int n = a.num_tables << a.split;
    const long bags = a.num_features * a.batch.bags;
    __global const int *table_of = plan + a.num_tables + 1 + a.num_features;
    __global uint *mine = counted + w * n;
    for (int k = 0; k < n; k++) {
        mine[k] = 0;
    }
    if (q_refused(status)) {
        return;
    }
    fill_bags(a.batch, offsets, bags * w / chunks, bags * (w + 1) / chunks, bag_of);
    for (int f = 0; f < a.num_features; f++) {
        __global const q_table *t = tables + table_of[f];
        __global uint *of_table = mine + (table_of[f] << a.split);
        const uint low = low_bits(t, a.split);
        const long last = min(a.batch.lookups * (w + 1) / chunks, bag_begin(a.batch, offsets, (f + 1) * a.batch.bags));
        for (long i = max(a.batch.lookups * w / chunks, bag_begin(a.batch, offsets, f * a.batch.bags)); i < last; i++) {
            const long index = indices[a.batch.indices_at + i];
            if (has_row(t, index)) {
                of_table[index >> low]++;
            }
#if MAP
            else {
                run_of[i] = -1;
            }
#endif
        }
    }
}

/* Words of chunk w to their buckets, behind those of earlier chunks. `cursor`: as many counters as `counted`. */
__kernel void row_sort_partition(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets,
                   __global const uint *status, __global const uint *counted, __global uint *cursor, __global ulong *words,
                   __global sort_bucket *buckets, const q_row_sort a) {
    const long w = (long)get_global_id(0);
    const long chunks = (long)get_global_size(0);
    const int n = a.num_tables << a.split;
    __global const int *table_of = plan + a.num_tables + 1 + a.num_features;
    __global uint *at = cursor + w * n;
    uint sum = 0;
    for (int k = 0; k < n; k++) {
        const uint begin = sum;
        for (long c = 0; c < chunks; c++) {
            at[k] = c == w ? sum : at[k];
            sum += counted[c * n + k];
        }
        if (w == 0) {
            buckets[k] = (sort_bucket){begin, sum - begin, 0, 0};
        }
    }
    for (int f = 0; f < a.num_features && !q_refused(status); f++) {
        __global const q_table *t = tables + table_of[f];
        __global uint *of_table = at + (table_of[f] << a.split);
        const uint low = low_bits(t, a.split);
        const ulong mask = ((ulong)1 << low) - 1;
        const long last = min(a.batch.lookups * (w + 1) / chunks, bag_begin(a.batch, offsets, (f + 1) * a.batch.bags));
        for (long i = max(a.batch.lookups * w / chunks, bag_begin(a.batch, offsets, f * a.batch.bags)); i < last; i++) {
            const long index = indices[a.batch.indices_at + i];
            if (has_row(t, index)) {
                words[of_table[index >> low]++] = ((ulong)index & mask) << 32 | (uint)i;
            }
        }
    }
}

__kernel void row_sort_buckets(__global const q_table *tables, __global ulong *words, __global ulong *spare, __global ulong *scratch,
                      __global sort_bucket *buckets, const q_row_sort a) {
    const int n = a.num_tables << a.split;
    for (int k = (int)get_global_id(0); k < n; k += (int)get_global_size(0)) {
        const sort_bucket b = buckets[k];
        const bool fits = b.count <= BLOCK;
        __global ulong *x = fits ? scratch + get_global_id(0) * 2 * BLOCK : words + b.begin;
        __global ulong *y = fits ? x + BLOCK : spare + b.begin;
        sort_bucket_words(words + b.begin, x, y, words + b.begin, b.count, low_bits(tables + (k >> a.split), a.split), buckets + k);
    }
}

__kernel void row_sort_emit(__global const q_table *tables, __global const ulong *words, __global const sort_bucket *buckets, RUN_PARAMETERS,
                   const q_row_sort a) {
    emit_buckets(a, (int)get_global_id(0), (int)get_global_size(0), tables, words, buckets, counts, position, run_start, run_row, run_of, part_first,
                 part_run, part_slot);
}
