/* pick.h - which variant of a kernel a launch takes, and with which numbers.
 *
 * A stem describes its launch as facts; the first line of variants.inc that fits is taken, unless a tuning file (tuning.h) or whoever debugs
 * ($QEMB_VARIANT, qemb_context_force_variant) names another line that fits. QEMB_LOG=pick prints each choice and its reason. */
#ifndef QEMB_OPENCL_PICK_H
#define QEMB_OPENCL_PICK_H

#include <qemb/qemb.h>
#include <stdbool.h>
#include <stdint.h>

#define QEMB__STEM_LIST(X)                                                                                                                 \
    X(BAG_FORWARD, "bag_forward")                                                                                                          \
    X(ROW_SORT, "row_sort")                                                                                                                \
    X(BAG_BACKWARD, "bag_backward")                                                                                                        \
    X(ROW_UPDATE, "row_update")                                                                                                            \
    X(ROW_OBSERVE, "row_observe")                                                                                                          \
    X(ROW_PACK, "row_pack")                                                                                                                \
    X(PACKED_FORWARD, "packed_forward")

typedef enum qemb__stem {
#define QEMB__STEM_ENUM(stem, name) QEMB__##stem,
    QEMB__STEM_LIST(QEMB__STEM_ENUM)
#undef QEMB__STEM_ENUM
        QEMB__STEMS
} qemb__stem;

#define QEMB__KNOB_LIST(X)                                                                                                                 \
    X(AHEAD, "ahead")                                                                                                                      \
    X(LOCAL, "local")                                                                                                                      \
    X(ROWS, "rows")                                                                                                                        \
    X(LANES, "lanes")                                                                                                                      \
    X(UNROLL, "unroll")                                                                                                                    \
    X(VECTOR, "vector")                                                                                                                    \
    X(REDUCE, "reduce")                                                                                                                    \
    X(WIDE, "wide")                                                                                                                        \
    X(DIGIT, "digit")                                                                                                                      \
    X(STAGED, "staged")

typedef enum qemb__knob_name {
#define QEMB__KNOB_ENUM(knob, name) QEMB__KNOB_##knob,
    QEMB__KNOB_LIST(QEMB__KNOB_ENUM)
#undef QEMB__KNOB_ENUM
        QEMB__KNOBS
} qemb__knob_name;

/* Facts of a launch: X(name, bit), a line each. The device adds those from bit 16 on (open_picker in engine.c). variants.inc names them
 * without the prefix. */
#define QEMB__FACT_LIST(X)                                                                                                                 \
    X(TORCH_POOL, 0)      /* pooled, a torch arithmetic, no max_norm, the device divides by itself */                                      \
    X(ALIGNED, 1)         /* every row and every output row starts on 16 bytes */                                                          \
    X(NARROW4, 2)         /* rows fit the registers of 32 lanes, 4 columns a load */                                                       \
    X(NARROW1, 3)         /* the same, one column a load */                                                                                \
    X(ROWS_32, 4)         /* no table has more than 2^32 rows */                                                                           \
    X(FEW_LOOKUPS, 5)     /* one work-item is done before more would be */                                                                 \
    X(EVEN_TABLES, 6)     /* tables enough for the cores, small enough for their caches */                                                 \
    X(SOME_BLOCKS, 7)     /* some table's rows come in float16 blocks */                                                                   \
    X(WHOLE_BLOCKS, 8)    /* values are wanted, as whole aligned blocks */                                                                 \
    X(SMALL_TORCH_CPU, 9) /* rows of at most 64 columns under torch_cpu */                                                                 \
    X(ASKED_FOR, 11)      /* never true: a variant that only a tuning file or a name chooses */                                            \
    X(ONE_SLAB, 12)       /* one table, which begins where its only slab does, and is fake-quantised */                                    \
    X(SMALL_TABLE, 13)    /* staged_facts in bag_forward.c */                                                                              \
    X(WARP_SHUFFLE, 16)   /* lanes exchange values by shuffles */                                                                          \
    X(WARP_REDUCE, 17)    /* and reduce over a warp */                                                                                     \
    X(LOCAL_32K, 18)      /* groups of 256 and 32 KiB of local memory */

enum {
#define QEMB__FACT_ENUM(fact, bit) QEMB__##fact = 1 << (bit),
    QEMB__FACT_LIST(QEMB__FACT_ENUM)
#undef QEMB__FACT_ENUM
        QEMB__DEVICE_FACTS = 0x7f << 16
};

typedef struct qemb__knob {
    int16_t usual, least, most; /* most 0: the variant has no such knob */
} qemb__knob;

typedef struct qemb__variant {
    qemb__stem stem;
    bool is_cpu;
    const char *name;
    uint32_t needs, wants;
    qemb__knob knob[QEMB__KNOBS];
} qemb__variant;

extern const qemb__variant qemb__variants[];
extern const int qemb__variant_count;

/* A variant with its numbers. */
typedef struct qemb__pick {
    const qemb__variant *variant; /* NULL: nothing picked yet */
    int knob[QEMB__KNOBS];
    const char *why;
} qemb__pick;

/* A launch, as the choice sees it. */
typedef struct qemb__case {
    qemb__stem stem;
    uint32_t facts;
    int32_t dim;  /* columns of the widest row; row_sort: tables */
    bool quant;   /* rows are fake-quantised */
    int64_t size; /* of the tables in MiB; row_sort: lookups in thousands. At least 1 */
} qemb__case;

/* What a context knows about choices. */
typedef struct qemb__picker {
    bool is_cpu, log;
    uint32_t device_facts;
    int max_local;
    struct {
        qemb__case last;
        qemb__pick pick, forced; /* forced.knob < 0: not said */
    } stem[QEMB__STEMS];
    struct qemb__tuning *tuning; /* tuning.h; NULL: none */
    char text[256];
} qemb__picker;

/* The choice for a launch; stays as it is until the next of the same stem. */
const qemb__pick *qemb__pick_for(qemb__picker *picker, const qemb__case *launch);

/* "bag_forward=single:ahead=16,row_sort=buckets": from the next choice on; NULL or "": nothing is forced any more. ARG for words that are
 * not in the list. */
qemb_status qemb__pick_force(qemb__picker *picker, const char *text);

/* The last choice of a stem as text: "grouped ahead=40 local=16 rows=32"; "" before the first; NULL for a stem that does not exist. */
const char *qemb__pick_text(qemb__picker *picker, const char *stem);

/* The line of a tuning file that makes this choice again; "" before the first; NULL for a stem that does not exist. */
const char *qemb__pick_line(qemb__picker *picker, const char *stem);

/* Words to numbers, -1 when there is none; numbers to words. */
int qemb__stem_of(const char *name, size_t length);
int qemb__knob_of(const char *name, size_t length);
const char *qemb__stem_text(qemb__stem stem);
const char *qemb__knob_text(qemb__knob_name knob);
const qemb__variant *qemb__variant_find(qemb__stem stem, bool is_cpu, const char *name, size_t length);

/* A number as near to `wanted` as the knob allows; powers of two but for AHEAD. */
int qemb__knob_clamp(const qemb__variant *variant, qemb__knob_name knob, long wanted);

#endif
