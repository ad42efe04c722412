/* bag_backward_cpu.cl - the gradient of a run's row in float16 blocks: CPU family.
 *
 * Compiled once for each BLOCKS that a module needs, in front of row_update_cpu.cl or bag_backward_cpu_main.cl. GATHER adds the lookups of
 * slots [from, to) to g0 ... in position order; the last block of a row lies at D - 16 and overlaps the one before (shared/vector16.h).
 * Mapping  one work-item a run, or a part of one
 * Moves    reads 4*D*lookups + 8*lookups bytes (position and bag of each) a run; the sum stays in registers
 * Knobs    BLOCKS 1..16 (D <= 16*BLOCKS); bag_backward_head.cl */
#ifndef BLOCKS
#error "BLOCKS is set by src/opencl, never here"
#endif
#ifndef CAT
#define CAT_(a, b) a##b
#define CAT(a, b)  CAT_(a, b)
#define SLOTS_AHEAD 16

/* Slots follow each other over all runs: what a later one adds is on its way while this one is added. */
static inline void prefetch_slot(const gradient_view v, const int slot, const int dim) {
#if PREFETCH
    const int left = v.last_slot - slot;
    const int ahead = slot + min(SLOTS_AHEAD, left);
    PREFETCH_LINE(v.bag_of + v.position[slot + min(2 * SLOTS_AHEAD, left)]);
    const long at = output_at(v, v.bag_of[v.position[ahead]]);
    for (int c = 0; c < dim; c += 16) {
        PREFETCH_LINE(v.output + at + c);
        if (MODE == Q_MODE_MAX) {
            PREFETCH_LINE(v.winners + at + c);
        }
    }
#endif
}

#define EACH(M)    CAT(EACH_, BLOCKS)(M)
#define AT(k)      ((k) == BLOCKS - 1 ? dim - 16 : 16 * (k))
#define CLEAR_G(k) float16 g##k = (float16)(0.0f);
#define LOAD_G(k)  g##k = vload16(0, from_part + AT(k));
#define STORE_G(k) vstore16(g##k, 0, to_part + AT(k));
#if MODE == Q_MODE_MAX
#define ADD_G(k)                                                                                                                           \
    {                                                                                                                                      \
        const int16 wins = vload16(0, v.winners + at + AT(k)) == (int16)(p);                                                               \
        g##k = wins ? g##k + vload16(0, v.output + at + AT(k)) : g##k;                                                                     \
    }
#elif MODE == Q_MODE_MEAN || WEIGHTED || FREQ
#define ADD_G(k) g##k = fma((float16)(alpha), vload16(0, v.output + at + AT(k)), g##k);
#else
#define ADD_G(k) g##k = g##k + vload16(0, v.output + at + AT(k));
#endif
#define GATHER(from, to, count)                                                                                                            \
    for (int slot = (from); slot < (to); slot++) {                                                                                         \
        prefetch_slot(v, slot, dim);                                                                                                       \
        const int p = v.position[slot];                                                                                                    \
        const int bag = v.bag_of[p];                                                                                                       \
        const long at = output_at(v, bag);                                                                                                 \
        const float alpha = alpha_of(v, bag, p, (count));                                                                                  \
        EACH(ADD_G)                                                                                                                        \
    }
#endif

/* One part of a long run into the work space. */
static inline void CAT(part_, BLOCKS)(const gradient_view v, const int dim, const int from, const int to, const int count,
                                      __global float *to_part) {
    EACH(CLEAR_G)
    GATHER(from, to, count)
    EACH(STORE_G)
}

/* All parts of a run of `count` lookups from slot `begin` on, and their sum in the first one. */
static inline void CAT(run_parts_, BLOCKS)(const gradient_view v, const int dim, const int begin, const int count, __global float *to) {
    const int parts = (count + Q_PART - 1) / Q_PART;
    for (int k = 0; k < parts; k++) {
        const int from = begin + k * Q_PART;
        CAT(part_, BLOCKS)(v, dim, from, min(from + Q_PART, begin + count), count, to + k * v.part_stride);
    }
    combine_parts(to, v.part_stride, parts, dim, 0, 1);
}
