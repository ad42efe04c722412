/* row_sort_cpu_main.cl - the kernels of the CPU family; contract and method in row_sort_cpu.cl, which is compiled in front. */

/* Slots, runs and parts of n sorted words from `at` (what lies before them) on; adds them. Every slot stores its run's row and end, so there
 * is no branch: the last one of a run leaves the right values. */
static inline void emit_words(__global const ulong *a, const uint n, sort_bucket *at, const ulong row0, RUN_PARAMETERS) {
    uint run = at->runs;
    uint before = n ? high(a[0]) : 0;
    for (uint i = 0; i < n; i++) {
        const ulong w = a[i];
        const uint key = high(w);
        run += key != before;
        before = key;
        position[at->count + i] = (int)(uint)w;
#if MAP
        run_of[(uint)w] = (int)run;
#endif
        run_start[run + 1] = (int)(at->count + i + 1);
        run_row[run] = (row_number)(row0 + key);
    }
    run += n > 0;
    if (has_long_run(a, n)) {
        list_parts(run, at, run_start, part_first, part_run, part_slot);
    }
    at->count += n;
    at->runs = run;
}

/* What all buckets have found; the first run's start. */
static inline void emit_totals(const sort_bucket all, __global int *counts) {
    counts[Q_SORT_RUNS] = (int)all.runs;
    counts[Q_SORT_LOOKUPS] = (int)all.count;
    counts[Q_SORT_PARTS] = (int)all.parts;
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
        __global const q_table *t = tables + (k >> a.split);
        const ulong row0 = (ulong)t->row0 + ((ulong)(k & ((1 << a.split) - 1)) << low_bits(t, a.split));
        sort_bucket to = at;
        emit_words(words + buckets[k].begin, buckets[k].count, &to, row0, counts, position, run_start, run_row, run_of, part_first, part_run,
                   part_slot);
        if (k == 0) {
            run_start[0] = 0;
        }
        if (k == n - 1) {
            emit_totals(to, counts);
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

/* The lookups of a whole table as words, by the highest bits of their index: slice d is [d ? end[d - 1] : 0, end[d]) of `to`. */
static inline void form_slices(const q_row_sort a, const int table, const uint low, const uint slices, __global const q_table *tables,
                               __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets, __global ulong *to, uint *end) {
    __global const q_table *t = tables + table;
    __global const int *list = plan + a.num_tables + 1;
    const ulong mask = ((ulong)1 << low) - 1;
    for (uint d = 0; d < slices; d++) {
        end[d] = 0;
    }
    for (int j = plan[table]; slices > 1 && j < plan[table + 1]; j++) {
        const long last = bag_begin(a.batch, offsets, (list[j] + 1) * a.batch.bags);
        for (long i = bag_begin(a.batch, offsets, list[j] * a.batch.bags); i < last; i++) {
            const long index = indices[a.batch.indices_at + i];
            if (has_row(t, index)) {
                end[index >> low]++;
            }
        }
    }
    uint sum = 0;
    for (uint d = 0; d < slices; d++) {
        const uint c = end[d];
        end[d] = sum;
        sum += c;
    }
    uint n = 0;
    for (int j = plan[table]; j < plan[table + 1]; j++) {
        const long last = bag_begin(a.batch, offsets, (list[j] + 1) * a.batch.bags);
        for (long i = bag_begin(a.batch, offsets, list[j] * a.batch.bags); i < last; i++) {
            const long index = indices[a.batch.indices_at + i];
            if (has_row(t, index)) {
                to[slices > 1 ? end[index >> low]++ : n++] = ((ulong)index & mask) << 32 | (uint)i;
            }
        }
    }
    end[0] = slices > 1 ? end[0] : n;
}

/* Bags of a table's features, and no run for its lookups without a row. */
static inline void fill_table(const q_row_sort a, const int table, __global const q_table *tables, __global const int *plan,
                              __global const INDEX *indices, __global const OFFSET *offsets, __global int *bag_of, __global int *run_of) {
    __global const int *list = plan + a.num_tables + 1;
    for (int j = plan[table]; j < plan[table + 1]; j++) {
        const long g = list[j] * a.batch.bags;
        if (a.alone) {
            fill_bags_16(a.batch, offsets, g, g + a.batch.bags, bag_of);
        } else {
            fill_bags(a.batch, offsets, g, g + a.batch.bags, bag_of);
        }
#if MAP
        __global const q_table *t = tables + table;
        const long last = bag_begin(a.batch, offsets, g + a.batch.bags);
        for (long i = bag_begin(a.batch, offsets, g); i < last; i++) {
            if (!has_row(t, indices[a.batch.indices_at + i])) {
                run_of[i] = -1;
            }
        }
#endif
    }
}

/* Whole tables: sorted into `words`, or, alone, emitted slice by slice. */
__kernel void row_sort_tables(__global const q_table *tables, __global const int *plan, __global const INDEX *indices, __global const OFFSET *offsets,
                     __global const uint *status, __global ulong *words, __global ulong *spare, __global ulong *scratch, __global sort_bucket *buckets,
                     __global int *bag_of, RUN_PARAMETERS, const q_row_sort a) {
    uint end[1 << MAX_SLICE_BITS];
    __global ulong *block = scratch + get_global_id(0) * 2 * BLOCK;
    const int refused = q_refused(status);
    sort_bucket all = {0, 0, 0, 0};
    long begin = 0;
    int next = 0; /* list entries that begin counts */
    for (int k = (int)get_global_id(0); k < a.num_tables; k += (int)get_global_size(0)) {
        if (refused) {
            buckets[k] = all;
            continue;
        }
        begin += positions_of(a, plan, next, plan[k], offsets);
        next = plan[k];
        const uint room = (uint)positions_of(a, plan, next, plan[k + 1], offsets);
        const uint bits = low_bits(tables + k, 0);
        const uint low = bits - (a.alone ? slice_bits(room, bits) : 0);
        const uint slices = 1u << (bits - low);
        __global ulong *from = room > BLOCK ? spare + begin : block + BLOCK;
        __global ulong *result = words + begin;
        sort_bucket found = {(uint)begin, 0, 0, 0};
        fill_table(a, k, tables, plan, indices, offsets, bag_of, run_of);
        const uint top = short_slice_bits(room, bits);
        if (a.alone && a.batch.lookups <= SHORT_MOST && top <= MAX_SLICE_BITS && (top == 0 || room >> top >= LEAST_SLICE)) {
            sort_table_short(a, k, bits - top, 1u << top, tables, plan, indices, offsets, (__global uint *)scratch, &all, counts, position, run_start,
                             run_row, run_of, part_first, part_run, part_slot);
            continue;
        }
        form_slices(a, k, low, slices, tables, plan, indices, offsets, from, end);
        for (uint d = 0, at = 0; d < slices; at = end[d++]) {
            const uint n = end[d] - at;
            __global const ulong *sorted =
                sort_slice(from + at, n > BLOCK ? result + at : block, from + at, a.alone ? 0 : result + at, n, low);
            if (a.alone) {
                emit_words(sorted, n, &all, (ulong)tables[k].row0 + ((ulong)d << low), counts, position, run_start, run_row, run_of, part_first, part_run,
                           part_slot);
            } else {
                find_runs(sorted, n, &found);
            }
        }
        buckets[k] = found;
    }
    if (a.alone) {
        run_start[0] = 0;
        emit_totals(all, counts);
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
        sort_bucket found = {b.begin, 0, 0, 0};
        (void)sort_slice(words + b.begin, x, y, words + b.begin, b.count, low_bits(tables + (k >> a.split), a.split));
        find_runs(words + b.begin, b.count, &found);
        buckets[k] = found;
    }
}

__kernel void row_sort_emit(__global const q_table *tables, __global const ulong *words, __global const sort_bucket *buckets, RUN_PARAMETERS,
                   const q_row_sort a) {
    emit_buckets(a, (int)get_global_id(0), (int)get_global_size(0), tables, words, buckets, counts, position, run_start, run_row, run_of, part_first,
                 part_run, part_slot);
}
