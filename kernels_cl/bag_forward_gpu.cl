/* bag_forward_gpu.cl - observe, fake-quantise, gather, pool: out[b][:] = pool over the lookups of bag b of fq(W[idx][:])
 *
 * Mapping  LANES work-items share a bag; lane j owns columns j*VEC + k*LANES*VEC, k < CHUNKS, in registers. Lookups run in position order,
 *          UNROLL rows are loaded before the first is used. Only the range of a row crosses lanes: as two order-preserving integers, in
 *          which NaN and inf show by themselves (lanes_gpu.cl). With REDUCE 0 the loop runs as long as the longest bag of the group, so that
 *          all meet the barriers; the other forms join the lanes of one bag only, so bags of one warp may differ in length.
 * Moves    reads 4*N*D + 4*N + 4*(B+1) (+ 16*N observer state), writes 4*B*D bytes (+ 4*B*D winners for max)
 * Needs    local size a multiple of LANES and no more than GROUP; VEC 4: every row starts on 16 bytes
 * Knobs    LANES 1..32 power of two; VEC 1|4; CHUNKS 1..8, or 0: rows of any width, accumulators in the output row; UNROLL 1|2|4 (1 with
 *          REDUCE 0); GROUP; MODE 0 mean, 1 sum, 2 max, 3 none; WEIGHTED 0|1; USES; INDEX, OFFSET, SLABS (batch.h) */
#if !defined(LANES) || !defined(VEC) || !defined(CHUNKS) || !defined(UNROLL) || !defined(GROUP) || !defined(REDUCE)
#error "LANES, VEC, CHUNKS, UNROLL, GROUP and REDUCE are set by src/opencl/bag_forward.c, never here"
#endif

#if VEC == 4
typedef int4 lane_int;
#define FIRST(v)          ((v).s0)
#define LOWEST(v)         fmin(fmin((v).s0, (v).s1), fmin((v).s2, (v).s3))
#define HIGHEST(v)        fmax(fmax((v).s0, (v).s1), fmax((v).s2, (v).s3))
#define TOTAL(v)          (((v).s0 + (v).s1) + ((v).s2 + (v).s3))
#define READ(p)           (*(__global const float4 *)(p))
#define WRITE(v, p)       (*(__global float4 *)(p) = (v))
#define WRITE_WINNER(v, p) (*(__global int4 *)(p) = (v))
#define READ_WINNER(p)    (*(__global const int4 *)(p))
#else
typedef int lane_int;
#define FIRST(v)          (v)
#define LOWEST(v)         (v)
#define HIGHEST(v)        (v)
#define TOTAL(v)          (v)
#define READ(p)           (*(p))
#define WRITE(v, p)       (*(p) = (v))
#define WRITE_WINNER(v, p) (*(p) = (v))
#define READ_WINNER(p)    (*(p))
#endif

/* What one bag's lanes know of the launch. */
typedef struct gpu_view {
    __global const float *slab;
    __global const q_state *state;
#if SLABS > 1
    __global const float *slab0, *slab1, *slab2, *slab3, *slab4, *slab5, *slab6, *slab7;
    __global const q_state *state0, *state1, *state2, *state3, *state4, *state5, *state6, *state7;
#endif
    __global const INDEX *indices;
    __global const float *weights;
    __local int *scratch;
    long observations; /* of this table, this forward included */
    long begin, end;   /* positions of the bag; empty for lanes without one */
    long trips;        /* loop length: the bag's own, or with REDUCE 0 the longest of the group */
    uint mask;         /* lanes of this bag within the warp */
    int column;        /* first column of this lane */
    int dim;
} gpu_view;

static inline __global const float *row_at(const gpu_view v, __global const q_table *t, const long row) {
#if SLABS > 1
    __global const float *slab = t->row_shift >= 62 ? v.slab : SLAB_OF(v.slab, q_slab(t, row));
#else
    __global const float *slab = v.slab;
#endif
    return slab + t->base + q_local(t, row) * v.dim;
}

/* Index at a position, or -1 for a lookup that contributes nothing. */
static inline long lookup(const gpu_view v, __global const q_table *t, const long p) {
    const long row = p < v.end ? (long)v.indices[p] : -1;
    return (ulong)row >= (ulong)t->rows || (MODE != Q_MODE_NONE && row == t->padding_idx) ? -1 : row;
}

#if USES & USES_QUANT
static inline q_qparams qparams_at(const gpu_view v, __global const q_table *t, const long row, const float lo, const float hi) {
    q_state s = {lo, hi, 0};
#if USES & USES_STATE
    if (t->flags & Q_HAS_STATE) {
#if SLABS > 1
        __global const q_state *state = t->row_shift >= 62 ? v.state : SLAB_OF(v.state, q_slab(t, row));
#else
        __global const q_state *state = v.state;
#endif
        s = state[t->state_base + q_local(t, row)];
        (void)q_catch_up(t->observer, t->averaging, lo, hi, v.observations, &s);
    }
#endif
    return q_row_qparams(t, s.min_val, s.max_val, lo, hi);
}
#endif

#if USES & USES_NORM
/* Factor of max_norm of a row: every lane walks the whole tree. */
static inline float norm_factor(__global const q_table *t, __global const float *w, const q_qparams q, const int quant) {
    Q_WALK_NORM(t, quant ? FIRST(q_fake_quant((QV)(w[c]), q, t->qmin, t->qmax, ARITHMETIC(t))) : w[c])
}
#endif
