/* probe_lanes.cl - does the lane exchange of lanes_gpu.cl work here? in[GROUP], out[2 * GROUP]: the least and greatest of each LANES values.
 * Half of the groups of lanes leave first, as bags that end early do.
 * Mapping  one work-group of GROUP
 * Knobs    LANES, GROUP, REDUCE 1|2 (lanes_gpu.cl) */
__kernel void probe_lanes(__global const int *in, __global int *out) {
    const int id = (int)get_local_id(0);
    __local int *scratch = 0;
    const uint mask = ((1u << LANES) - 1u) << (id & 31 & ~(LANES - 1));
    int low = in[id];
    int high = in[id];
    if ((id / LANES) % 2 == 0) {
        out[id] = 0;
        out[GROUP + id] = 0;
        return;
    }
    reduce_range(&low, &high, mask, scratch);
    out[id] = low;
    out[GROUP + id] = high;
}
