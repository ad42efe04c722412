/* batch_check.cl - checks input that lies on the device: the smallest bad position of offsets, then of indices, into the status words.
 *
 * Integer minima and sums only, so the result does not depend on the order. Offsets first: indices are read only when all offsets are good,
 * in a second launch.
 * Shapes   indices[N], offsets[F*B] or [F*B+1], tables[T], features[F]; status[Q_STATUS_WORDS]: smallest bad offset, smallest bad index, ids skipped
 * Mapping  check_offsets one work-item an offset, check_indices one a bag
 * Moves    reads 2*sizeof(OFFSET)*F*B + sizeof(INDEX)*N, writes what is wrong
 * Knobs    INDEX int|long, OFFSET int|long, SLABS (batch.h) */

__kernel void check_offsets(__global const OFFSET *offsets, volatile __global uint *status, const q_batch_check a) {
    const long i = get_global_id(0);
    if (i >= a.batch.num_offsets) {
        return;
    }
    const long value = offsets[a.batch.offsets_at + i];
    const long before = i > 0 ? (long)offsets[a.batch.offsets_at + i - 1] : 0;
    const int is_end = i == a.bags;
    if (value < before || value > a.batch.lookups || (i == 0 && value != 0) || (is_end && value != a.batch.lookups)) {
        (void)atomic_min(&status[Q_STATUS_OFFSET], (uint)i);
    }
}

__kernel void check_indices(__global const q_table *tables, __global const q_feature *features, __global const INDEX *indices,
                            __global const OFFSET *offsets, volatile __global uint *status, const q_batch_check a) {
    const long item = get_global_id(0);
    if (item >= a.bags || status[Q_STATUS_OFFSET] != Q_NO_ERROR) {
        return;
    }
    const long slot = item / a.batch.bags;
    __global const q_feature *f = features + slot;
    const ulong rows = (ulong)tables[f->table].rows;
    long begin;
    long end;
    q_bag(a.batch, offsets, f->index * a.batch.bags + (item - slot * a.batch.bags), &begin, &end);
    uint skips = 0;
    for (long p = begin; p < end; p++) {
        if ((ulong)(long)indices[a.batch.indices_at + p] < rows) {
            continue;
        }
        if (a.check == 0) {
            (void)atomic_min(&status[Q_STATUS_INDEX], (uint)p);
            break;
        }
        skips++;
    }
    if (skips) {
        (void)atomic_add(&status[Q_STATUS_SKIPS], skips);
    }
}
