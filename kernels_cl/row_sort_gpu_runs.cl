/* row_sort_gpu_runs.cl - runs and parts of sorted keys, GPU family; compiled behind row_sort_gpu.cl.
 *
 * A slot whose key differs from the one before it is a head. Heads and the parts of their runs are counted a group (row_sort_runs), then
 * numbered (row_sort_emit). The length of a run is looked up only where two equal keys lie Q_PART apart. */

/* First slot in [from, to) whose key is not below `key`. */
static inline uint lower_bound(__global const row_number *keys, uint from, uint to, const ulong key) {
    while (from < to) {
        const uint middle = from + (to - from) / 2;
        const bool below = keys[middle] < key;
        from = below ? middle + 1 : from;
        to = below ? to : middle;
    }
    return from;
}

static inline bool is_head(__global const row_number *keys, const uint i) {
    return i == 0 || keys[i] != keys[i - 1];
}

/* Parts of the run that starts at slot i; 0 for a short one. */
static inline uint parts_of(__global const row_number *keys, const uint i, const uint valid) {
    if (i + Q_PART >= valid || keys[i + Q_PART] != keys[i]) {
        return 0;
    }
    return (lower_bound(keys, i + Q_PART, valid, (ulong)keys[i] + 1) - i + Q_PART - 1) / Q_PART;
}

__kernel ONE_GROUP void row_sort_runs(__global const row_number *restrict keys, __global uint *restrict found, const q_row_sort a) {
    __local uint sum[2 * GROUP];
    const uint id = (uint)get_local_id(0);
    const uint group = (uint)get_group_id(0);
    const uint valid = lower_bound(keys, 0, (uint)a.batch.lookups, (ulong)a.total_rows);
    const uint begin = group * (uint)a.span;
    const uint end = min(begin + (uint)a.span, valid);
    uint heads = 0;
    uint parts = 0;
    for (uint i = begin + id; i < end; i += GROUP) {
        if (is_head(keys, i)) {
            heads++;
            parts += parts_of(keys, i, valid);
        }
    }
    const uint heads_before = group_scan(sum, id, heads);
    SYNC;
    const uint parts_before = group_scan(sum, id, parts);
    if (id == GROUP - 1) {
        found[2 * group] = heads_before + heads;
        found[2 * group + 1] = parts_before + parts;
    }
}

/* Sum over the groups before this one of found[2 * group + which]: what the last work-item gets. */
static inline uint found_before(__global const uint *found, const uint which, __local uint *sum, const uint id) {
    uint mine = 0;
    for (uint g = id; g < (uint)get_group_id(0); g += GROUP) {
        mine += found[2 * g + which];
    }
    return group_scan(sum, id, mine) + mine;
}

/* A long run whose parts the group lists together. */
typedef struct long_run {
    uint run, slot, part, parts;
} long_run;

static inline void list_parts(__local const long_run *l, __global int *part_run, __global int *part_slot, const uint id) {
    for (uint j = id; j < l->parts; j += GROUP) {
        part_run[l->part + j] = (int)l->run;
        part_slot[l->part + j] = (int)(l->slot + j * Q_PART);
    }
}

__kernel ONE_GROUP void row_sort_emit(__global const row_number *restrict keys, __global const uint *restrict found, __global int *restrict counts,
                                      __global const int *restrict position, __global int *restrict run_start, __global row_number *restrict run_row,
                                      __global int *restrict run_of, __global int *restrict part_first, __global int *restrict part_run,
                                      __global int *restrict part_slot, const q_row_sort a) {
    __local uint sum[2 * GROUP];
    __local long_run longs[GROUP];
    __local uint runs, parts, num_longs; /* before this tile; long runs of this tile */
    const uint id = (uint)get_local_id(0);
    const uint valid = lower_bound(keys, 0, (uint)a.batch.lookups, (ulong)a.total_rows);
    const uint begin = (uint)get_group_id(0) * (uint)a.span;
    const uint end = min(begin + (uint)a.span, valid);
    const uint runs_before = found_before(found, 0, sum, id);
    SYNC;
    const uint parts_before = found_before(found, 1, sum, id);
    if (id == GROUP - 1) {
        runs = runs_before;
        parts = parts_before;
    }
    SYNC;
    for (uint at = begin; at < end; at += GROUP) {
        const uint i = at + id;
        const uint head = i < end && is_head(keys, i);
        const uint mine = head ? parts_of(keys, i, valid) : 0;
        if (id == 0) {
            num_longs = 0;
        }
        const uint run = runs + group_scan(sum, id, head) + head - 1;
        SYNC;
        const uint part = parts + group_scan(sum, id, mine);
#if MAP
        if (i < end) {
            run_of[position[i]] = (int)run;
        }
#endif
        if (head) {
            run_start[run] = (int)i;
            run_row[run] = keys[i];
        }
        if (mine) {
            longs[atomic_inc(&num_longs)] = (long_run){run, i, part, mine}; /* their order does not matter */
            part_first[run] = (int)part;
        }
        SYNC;
        for (uint l = 0; l < num_longs; l++) {
            list_parts(longs + l, part_run, part_slot, id);
        }
        if (id == GROUP - 1) {
            runs = run + 1;
            parts = part + mine;
        }
        SYNC;
    }
    if (id == 0 && get_group_id(0) == get_num_groups(0) - 1) {
        counts[Q_SORT_RUNS] = (int)runs;
        counts[Q_SORT_LOOKUPS] = (int)valid;
        counts[Q_SORT_PARTS] = (int)parts;
        run_start[runs] = (int)valid;
    }
}
