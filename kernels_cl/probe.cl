/* probe.cl - what a driver does, as opposed to what it says: one kernel run when a context opens.
 *
 * Shapes   in[6 * CASES] = a, b, c of each case; out[3 * CASES] = a / b, sqrt(a), fma(a, b, c); sizes[4] = struct sizes
 * Mapping  one work-item a case; item 0 gives the sizes too */
__kernel void probe(__global const float *in, __global float *out, __global int *sizes, const int cases) {
    const int i = (int)get_global_id(0);
    if (i == 0) {
        sizes[0] = (int)sizeof(q_table);
        sizes[1] = (int)sizeof(q_feature);
        sizes[2] = (int)sizeof(q_state);
        sizes[3] = (int)sizeof(q_bag_forward);
    }
    if (i < cases) {
        const float a = in[3 * i];
        const float b = in[3 * i + 1];
        const float c = in[3 * i + 2];
        out[3 * i] = a / b;
        out[3 * i + 1] = sqrt(a);
        out[3 * i + 2] = fma(a, b, c);
    }
}
