/* qemb.h - quantised embedding tables on any OpenCL device: training (QAT), conversion, serving.
 *
 * This header is the manual. It is C11 and C++ and needs nothing but <stddef.h>, <stdint.h>, <stdbool.h>.
 *
 * A table of E rows is looked up in bags of rows, as in PyTorch's EmbeddingBag. In training every looked-up row is observed (minimum and
 * maximum), fake-quantised (to the nearest value that has a code) and added to its bag, in one kernel that reads the row once; a step then
 * moves just the rows that the batch named. For serving the table is packed: codes of 8, 4 or 2 bits with a scale and a bias a row. Whole:
 * @code
 * #include <qemb/qemb.h>
 * #include <stdio.h>
 * #include <string.h>
 * #define TRY(call) if ((call) != QEMB_OK) return fprintf(stderr, "%s\n", qemb_last_error()), 1
 *
 * int main(void) {
 *     qemb_context *ctx; qemb_embedding_bag *bag; qemb_optimizer *sgd; qemb_batch *batch; qemb_buffer *buffer; qemb_packed *packed;
 *     const int32_t ids[] = {3, 14, 159, 2, 653}, offsets[] = {0, 3};  // two bags: rows 3, 14, 159 and rows 2, 653
 *     const qemb_input input = {.indices = ids, .num_indices = 5, .indices_dtype = QEMB_INT32, .offsets = offsets, .num_offsets = 2};
 *     float out[16], grad[16], served[16];
 *     qemb_embedding_bag_desc table = {.num_embeddings = 1000, .embedding_dim = 8, .mode = QEMB_MODE_SUM, .qconfig = qemb_qconfig_4bit()};
 *     table.qconfig.arithmetic = QEMB_ARITHMETIC_PACKED;  // train with the very numbers that will be served
 *     TRY(qemb_context_create(NULL, &ctx));  // $QEMB_DEVICE, else the best OpenCL device
 *     TRY(qemb_embedding_bag_create(ctx, &table, &bag));
 *     TRY(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.1}, &sgd));
 *     TRY(qemb_batch_create(ctx, &batch));
 *     TRY(qemb_batch_set(batch, bag, &input));  // checked here, once
 *     TRY(qemb_buffer_create(ctx, sizeof out, &buffer));
 *     for (int step = 0; step <= 20; step++) {
 *         float loss = 0;
 *         TRY(qemb_embedding_bag_forward(bag, batch, buffer));  // reads each row once: observes, quantises, adds
 *         TRY(qemb_buffer_read(buffer, 0, sizeof out, out));
 *         for (int i = 0; i < 16; i++) loss += (out[i] - 1) * (grad[i] = out[i] - 1) / 2;
 *         if (step % 5 == 0) printf("step %2d  loss %.6f\n", step, loss);
 *         TRY(qemb_buffer_write(buffer, 0, sizeof grad, grad));
 *         if (step < 20) TRY(qemb_embedding_bag_step(bag, batch, buffer, sgd));  // moves the five rows, no others
 *     }
 *     TRY(qemb_packed_create(bag, NULL, &packed));  // 4-bit codes with a scale and a bias a row: what is deployed
 *     TRY(qemb_packed_batch_set(packed, batch, &input));
 *     TRY(qemb_packed_forward(packed, batch, buffer, QEMB_FLOAT32));
 *     TRY(qemb_buffer_read(buffer, 0, sizeof served, served));
 *     puts(memcmp(served, out, sizeof out) ? "served: other bits" : "served: the bits of the last forward");
 *     return 0;  // a longer program destroys what it created, the context last
 * }
 * @endcode
 * In this order: qemb_context (a device), qemb_embedding_bag or qemb_embedding (tables), qemb_batch (ids, checked once), qemb_buffer (device
 * memory), forward, qemb_optimizer and step, qemb_packed. Files are in qemb_io.h, OpenCL programs find their calls in qemb_opencl.h.
 *
 * Words   T tables, F features, E rows of a table (num_embeddings), D columns (embedding_dim), B bags of a feature, N all
 *         lookups of a batch, U distinct rows among them. W master weight (float32), psw per-sample weights.
 * Qparams a row's scale s and zero point z (both float32). A code is q = clamp(rint(x/s + z), quant_min, quant_max), the
 *         fake-quantised value fq(x) = (q - z) * s.
 * Life    every *_create gives an object that the matching *_destroy takes back; destroy accepts NULL. An object made from a
 *         context must be destroyed before it. Pointers are borrowed for the call unless the text says "keeps".
 * Errors  a call returns QEMB_OK, or a status after which nothing the caller can see has changed; qemb_last_error() then
 *         gives this thread one sentence: function, value seen, value wanted. Any call may give ARG (a pointer that it needs is NULL, an enum
 *         outside its list, though an element type gives DTYPE or UNSUPPORTED, an object of another context), BUSY, DEVICE and NOMEM, and any that names a table, a feature or rows of a
 *         table by number gives INDEX where there is none; the texts name the others. Host memory that a read was filling when the
 *         device failed (DEVICE, NOMEM) holds rubbish. When a command fails on the device, or a call fails with a part of its
 *         commands done, nobody knows what the device's memory holds: the context is lost, and every later call but the
 *         destroys says so (DEVICE).
 * Waiting calls that name a batch, a bag or a buffer enqueue and return, unless the text says "waits". One context is one
 *         in-order sequence of work; qemb_context_finish() waits for all of it.
 * Threads a context and everything made from it may be used by one thread at a time (another gets QEMB_ERR_BUSY); different
 *         contexts by different threads at once.
 * Zero    in every descriptor zero means the documented default.
 */
#ifndef QEMB_QEMB_H
#define QEMB_QEMB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <qemb/version.h> /* QEMB_VERSION_MAJOR, _MINOR, _PATCH, QEMB_VERSION_STRING: written by the build into build/include */

#if defined(QEMB_STATIC)
#define QEMB_API
#elif defined(_WIN32)
#define QEMB_API __declspec(dllimport)
#else
#define QEMB_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------------------------------
 * Status
 * ------------------------------------------------------------------------------------------------------------------- */

#define QEMB_STATUS_LIST(X)                                                               \
    X(QEMB_OK, 0, "success")                                                              \
    X(QEMB_ERR_ARG, -10001, "an argument is missing or not one of the allowed values")    \
    X(QEMB_ERR_SHAPE, -10002, "a size or shape does not fit")                             \
    X(QEMB_ERR_DTYPE, -10003, "an element type is not the one wanted")                    \
    X(QEMB_ERR_INDEX, -10004, "an index is outside its table")                            \
    X(QEMB_ERR_OFFSETS, -10005, "offsets do not start at 0, decrease, or miss the end")   \
    X(QEMB_ERR_RANGE, -10006, "a number is outside its allowed range")                    \
    X(QEMB_ERR_NONFINITE, -10007, "a number is NaN or infinite")                          \
    X(QEMB_ERR_OVERFLOW, -10008, "a size product does not fit in 63 bits")                \
    X(QEMB_ERR_NOMEM, -10009, "memory of the host or the device is exhausted")            \
    X(QEMB_ERR_DEVICE, -10010, "no such device, or the device failed")                    \
    X(QEMB_ERR_BUILD, -10011, "a kernel did not compile")                                 \
    X(QEMB_ERR_IO, -10012, "a file operation failed")                                     \
    X(QEMB_ERR_CORRUPT, -10013, "a file or packed row is damaged")                        \
    X(QEMB_ERR_UNSUPPORTED, -10014, "not supported, by design or by this device")         \
    X(QEMB_ERR_BUSY, -10015, "the context is in use by another thread")                   \
    X(QEMB_ERR_STATE, -10016, "the call does not fit the state of the object")

typedef enum qemb_status {
#define QEMB_STATUS_ENUM(name, value, text) name = value,
    QEMB_STATUS_LIST(QEMB_STATUS_ENUM)
#undef QEMB_STATUS_ENUM
} qemb_status;

/* The code and its meaning as words, never NULL, for any number; they live as long as the program. */
QEMB_API const char *qemb_status_name(qemb_status status); /* "QEMB_ERR_INDEX" */
QEMB_API const char *qemb_status_text(qemb_status status); /* "an index is outside its table" */

/* The sentence of the last failed call of this thread; valid until the next failure. Never NULL. */
QEMB_API const char *qemb_last_error(void);

QEMB_API const char *qemb_version(void); /* of the library that runs; compare with QEMB_VERSION_STRING of the header */

/* ---------------------------------------------------------------------------------------------------------------------
 * Context: a device, or the reference engine
 * ------------------------------------------------------------------------------------------------------------------- */

typedef struct qemb_context qemb_context;

/* Device   NULL             $QEMB_DEVICE if set and not empty, else the best OpenCL device (GPU, accelerator, CPU; simulators never)
 *          "reference"      plain C on the host: the same answers, bit for bit, slowly
 *          "opencl"         the best OpenCL device; "opencl:gpu", "opencl:cpu", "opencl:accelerator" the best of a kind
 *          "opencl:P:D"     device D of platform P, as `qemb devices` numbers them
 *          anything else    a part of a device's or platform's name, case ignored
 * Errors   DEVICE with the list of what there is; NOMEM.
 * Time     PoCL 30-80 ms; kernels compile when a module is created.
 * Threads  PoCL's are the scheduler's to place, and two of them often share a processor while another is idle: half the speed. With
 *          POCL_AFFINITY=1 in the environment each has its own; `qemb` sets it, a library must not. A machine that runs several
 *          such programs at once, or lends a program some of its processors only, is better without.
 * Files    for drivers that keep no compiled programs themselves (others than PoCL, NVIDIA's and Mesa's) the library keeps them, in files of the user's
 *          alone: $QEMB_CACHE "on" in $XDG_CACHE_HOME/qemb or ~/.cache/qemb, "off", or in the folder that it names; 256 MiB, then those go that were
 *          not used for longest. A file that is damaged, of another device, driver or version, or refused by the driver is as good as none.
 *          Nothing else is written but by the calls of qemb_io.h. */
QEMB_API qemb_status qemb_context_create(const char *device, qemb_context **ctx);
/* Waits for what is enqueued, and says nothing of how it ended: qemb_context_finish() does. */
QEMB_API void qemb_context_destroy(qemb_context *ctx);

/* Waits until everything enqueued is done, and returns the first error met since the last finish: a failed command
 * (DEVICE), or a bad index or offset found on the device (INDEX, OFFSETS; see qemb_batch_set_device). */
QEMB_API qemb_status qemb_context_finish(qemb_context *ctx);

/* What a device offers and what the library made of it. Strings live as long as the context. */
typedef struct qemb_device_report {
    const char *engine;            /* "reference" or "opencl" */
    const char *device;            /* name */
    const char *platform;          /* name */
    const char *driver;            /* version */
    const char *family;            /* kernel family: "cpu" or "gpu" ("plain" for the reference engine) */
    int64_t memory_bytes;          /* global memory */
    int64_t max_allocation_bytes;  /* largest single allocation: larger tables lie in several slabs */
    int64_t max_work_group;        /* work-items */
    int32_t compute_units;
    int32_t shuffle;               /* how lanes exchange values (probed): 0 local memory, 1 PTX shuffle, 2 PTX warp reduction */
    bool exact_division;           /* float32 / and sqrt are correctly rounded (probed); else integer arithmetic is used */
    bool exact_fma;                /* fma is one rounding (probed) */
    bool denormals;                /* subnormal float32 survive (probed) */
    bool host_memory;              /* tables lie in the host's own memory (CPU devices): huge pages, no copies */
    bool prefetch;                 /* kernels prefetch rows in software (PoCL) */
} qemb_device_report;
QEMB_API qemb_status qemb_context_report(qemb_context *ctx, qemb_device_report *report);

/* Calls visit(user, index, selector, name, platform, is_default) for each device; selector is what qemb_context_create takes. Index 0 is the
 * reference engine: the only one, and the default, where OpenCL is absent, which is no error. Strings live until visit returns. */
typedef void (*qemb_device_visitor)(void *user, int32_t index, const char *selector, const char *name, const char *platform, bool is_default);
QEMB_API qemb_status qemb_devices(qemb_device_visitor visit, void *user);

/* The compiler's log of the last kernel that did not build; "" when all built, and while another thread is in a call. Lives until the next build. */
QEMB_API const char *qemb_context_build_log(qemb_context *ctx);

/* Measures how fast the device copies `bytes` from one buffer to another, reads plus writes counted, best of 5: the
 * yardstick of every bandwidth figure. 0 takes 256 MiB. Waits, allocates twice `bytes`. gbps in 10^9 bytes a second.
 * Errors UNSUPPORTED (more than one allocation of the device). */
QEMB_API qemb_status qemb_context_copy_bandwidth(qemb_context *ctx, size_t bytes, double *gbps);

/* Counters since the context was created, for tests of the hot path. Waits: the last two are counted on the device. */
typedef struct qemb_counters {
    int64_t host_allocations; /* heap and page allocations of the library (whole process) */
    int64_t device_buffers;   /* device buffers created */
    int64_t programs_built;   /* kernels compiled */
    int64_t commands;         /* kernels, copies and fills enqueued */
    int64_t nonfinite_rows;   /* rows with NaN or inf met when observed (state commits and sweeps) */
    int64_t repaired_rows;    /* moving averages whose min passed max by rounding, set to the current values */
} qemb_counters;
QEMB_API qemb_status qemb_context_counters(qemb_context *ctx, qemb_counters *counters);

/* ---------------------------------------------------------------------------------------------------------------------
 * Buffers: device memory, of the library or of the caller (qemb_opencl.h)
 * ------------------------------------------------------------------------------------------------------------------- */

typedef struct qemb_buffer qemb_buffer;

/* Zeroed memory of `bytes`. Errors NOMEM, or UNSUPPORTED if larger than one allocation of the device. A destroy does not wait: work that was
 * enqueued on the buffer still finds it. A batch or a table that keeps a buffer must be done with it before. */
QEMB_API qemb_status qemb_buffer_create(qemb_context *ctx, size_t bytes, qemb_buffer **buffer);
QEMB_API void qemb_buffer_destroy(qemb_buffer *buffer);
QEMB_API size_t qemb_buffer_bytes(const qemb_buffer *buffer);

/* Copies between host and buffer; offset and bytes must lie inside it (SHAPE). write and read wait. The _async forms return
 * at once: the host memory must stay untouched until qemb_context_finish(). */
QEMB_API qemb_status qemb_buffer_write(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source);
QEMB_API qemb_status qemb_buffer_read(qemb_buffer *buffer, size_t offset, size_t bytes, void *target);
QEMB_API qemb_status qemb_buffer_write_async(qemb_buffer *buffer, size_t offset, size_t bytes, const void *source);
QEMB_API qemb_status qemb_buffer_read_async(qemb_buffer *buffer, size_t offset, size_t bytes, void *target);

/* ---------------------------------------------------------------------------------------------------------------------
 * Quantisation
 * ------------------------------------------------------------------------------------------------------------------- */

/* How a row's (min, max) follow the row [torch/ao/quantization/observer.py]:
 *   moving average  first min = cur; then min = min + c*(cur - min), three roundings (c = averaging_constant); max likewise.
 *                   Where rounding gives min > max both become the current values (torch stops with an assertion).
 *   min_max         running: min = min(min, cur), max = max(max, cur)
 *   memoryless      min = cur, max = cur. No state is kept */
typedef enum qemb_observer { QEMB_OBSERVER_MOVING_AVERAGE = 0, QEMB_OBSERVER_MIN_MAX = 1, QEMB_OBSERVER_MEMORYLESS = 2 } qemb_observer;

/* Which roundings (Q = quant_max - quant_min; one float32 rounding for each written operation):
 *   torch_cpu   s = (max-min)/Q,  s = s > eps ? s : 1,  z = -min/s,  q = rint(fma(x, 1/s, z)),  fq = ((q-z)*s as if in double)
 *   torch_cuda  s = (max-min)*(1/Q), ...,                                                       fq = (q-z)*s in float32
 *   packed      fq = fma(scale, q, bias), the bits that are served, qparams and codes as the layout's packer makes them: torch_rowwise at 8 bits
 *               scale = (max-min)/255, bias = min; else bias = R(min), scale = R((max-bias)/(2^bits-1)), 1 where that is 0, R rounding to the
 *               stored type; symmetric and power-of-two scales: q_qparams_packed in kernels_cl/shared/fake_quant.h */
typedef enum qemb_arithmetic { QEMB_ARITHMETIC_TORCH_CPU = 0, QEMB_ARITHMETIC_TORCH_CUDA = 1, QEMB_ARITHMETIC_PACKED = 2 } qemb_arithmetic;

/* Packed row layouts. D codes of `bits` bits, element 0 in the lowest bits of byte 0. */
typedef enum qemb_layout {
    QEMB_LAYOUT_TORCH_ROWWISE = 0, /* codes, then scale and bias: fp32 at 8 bits, fp16 at 4 and 2 (PyTorch, FBGEMM Fused...RowwiseQuantized) */
    QEMB_LAYOUT_ROWWISE_HALF = 1,  /* codes, then fp16 scale and bias at every width (FBGEMM N-bit) */
    QEMB_LAYOUT_FBGEMM = 2,        /* fp16 scale and bias, then codes; rows padded to 1 or 16 bytes (FBGEMM inference) */
    QEMB_LAYOUT_PLANAR = 3         /* codes and qparams in planes of their own, nothing padded (qemb) */
} qemb_layout;

/* Scale and bias of planar rows: fp32, bf16, or bf16 with the scale rounded up to a power of two. */
typedef enum qemb_qparams { QEMB_QPARAMS_FP32 = 0, QEMB_QPARAMS_BF16 = 1, QEMB_QPARAMS_POW2 = 2 } qemb_qparams;

typedef struct qemb_qconfig {
    int32_t quant_min, quant_max; /* quant_min < quant_max, both in 0..255 or -128..127, 0 among them. Both 0: no qconfig, refused */
    qemb_observer observer;
    float averaging_constant;     /* moving average: 0 < c <= 1; 0 means 1, torch's default for embeddings */
    float eps;                    /* a smaller scale becomes 1; 0 means 2^-23 */
    qemb_arithmetic arithmetic;
    qemb_layout layout;           /* of the `packed` arithmetic */
    qemb_qparams qparams;         /* of its planar layout */
    bool symmetric;               /* of its planar layout: bias = -scale * 2^(bits-1) */
    bool observer_off;            /* start with the observer off */
    bool fake_quant_off;          /* start with fake quantisation off: rows are looked up in float32 */
} qemb_qconfig;

QEMB_API qemb_qconfig qemb_qconfig_8bit(void);  /* 0..255, moving average with constant 1: default_embedding_qat_qconfig */
QEMB_API qemb_qconfig qemb_qconfig_4bit(void);  /* 0..15: default_embedding_qat_qconfig_4bit */
QEMB_API qemb_qconfig qemb_qconfig_2bit(void);  /* 0..3 */
QEMB_API qemb_qconfig qemb_qconfig_float(void); /* observer and fake quantisation off: a float table */

/* ---------------------------------------------------------------------------------------------------------------------
 * Modules
 * ------------------------------------------------------------------------------------------------------------------- */

typedef enum qemb_dtype { QEMB_FLOAT32 = 0, QEMB_FLOAT16 = 1, QEMB_BFLOAT16 = 2, QEMB_FLOAT64 = 3, QEMB_INT32 = 4, QEMB_INT64 = 5 } qemb_dtype;
typedef enum qemb_mode { QEMB_MODE_MEAN = 0, QEMB_MODE_SUM = 1, QEMB_MODE_MAX = 2 } qemb_mode; /* mean is torch's default */

typedef struct qemb_embedding_bag qemb_embedding_bag; /* T tables looked up together; one table is the usual module */
typedef struct qemb_embedding qemb_embedding;         /* one table, one row a lookup, no pooling */

/* One table. W[E][D] starts as `weight` (host, copied), or lives in `weight_buffer` (device, kept, not copied: the caller's memory
 * is the table), or is N(0,1) from `seed` with a zero padding row. A given weight keeps its padding row.
 * padding_idx   -E..E-1, negative counts from the end: the row adds nothing to a bag, is not counted, gets no gradient.
 * max_norm      each looked-up row (after fake quantisation) whose norm_type-norm exceeds max_norm is scaled to it; where fake
 *               quantisation is off that changes the master weight, as in torch. max_norm >= 0, norm_type > 0 or inf. */
typedef struct qemb_table_desc {
    int64_t num_embeddings, embedding_dim;
    bool has_padding_idx;
    int64_t padding_idx;
    bool has_max_norm;
    float max_norm;
    float norm_type; /* 0 means 2 */
    qemb_dtype dtype; /* float32; others are refused (UNSUPPORTED) */
    qemb_qconfig qconfig;
    const float *weight;        /* [E][D] or NULL */
    qemb_buffer *weight_buffer; /* [E][D] or NULL */
    uint64_t seed;
    const char *name; /* for files and messages; NULL: "table0", "table1", ... Copied */
} qemb_table_desc;

/* Options of a module, in torch's words. */
typedef struct qemb_bag_options {
    qemb_mode mode;
    bool scale_grad_by_freq;  /* gradients divided by the row's count in the batch; not with max */
    bool sparse;              /* gradients asked for come as COO, not with max */
    bool include_last_offset; /* offsets has one entry more, the end; else the last bag runs to N */
} qemb_bag_options;

/* torch.ao.nn.qat.EmbeddingBag(num_embeddings, embedding_dim, max_norm, norm_type, scale_grad_by_freq, mode, sparse, _weight,
 * include_last_offset, padding_idx, qconfig, device, dtype). Errors SHAPE, RANGE, ARG, UNSUPPORTED, NOMEM, BUILD. Compiles kernels. */
typedef struct qemb_embedding_bag_desc {
    int64_t num_embeddings, embedding_dim;
    bool has_padding_idx;
    int64_t padding_idx;
    bool has_max_norm;
    float max_norm;
    float norm_type;
    qemb_dtype dtype;
    qemb_qconfig qconfig;
    const float *weight;
    qemb_buffer *weight_buffer;
    uint64_t seed;
    const char *name;
    qemb_mode mode;
    bool scale_grad_by_freq;
    bool sparse;
    bool include_last_offset;
} qemb_embedding_bag_desc;
QEMB_API qemb_status qemb_embedding_bag_create(qemb_context *ctx, const qemb_embedding_bag_desc *desc, qemb_embedding_bag **bag);
QEMB_API void qemb_embedding_bag_destroy(qemb_embedding_bag *bag);

/* A collection: F features looked up in T tables in one launch. feature f reads table feature_table[f] (NULL: F = T, f reads f);
 * several features may share a table. Input is feature-major as TorchRec and FBGEMM have it: bag b of feature f is bag f*B + b of
 * indices and offsets. Output is out[B][sum of D over the features], feature after feature. Errors as qemb_embedding_bag_create, INDEX
 * (feature_table). */
typedef struct qemb_collection_desc {
    const qemb_table_desc *tables; /* [T] */
    int32_t num_tables;
    const int32_t *feature_table; /* [F] or NULL */
    int32_t num_features;         /* 0 with feature_table NULL */
    qemb_bag_options options;
} qemb_collection_desc;
QEMB_API qemb_status qemb_embedding_bag_collection_create(qemb_context *ctx, const qemb_collection_desc *desc, qemb_embedding_bag **bag);

/* torch's from_float and to_float: a module over the very weights of `source` (shared, as in torch: `source` must live longer), with
 * the same options, every table under `qconfig`; to_float gives a float module. Observer state starts anew. Compiles kernels. Errors RANGE
 * (qconfig), NOMEM, BUILD. */
QEMB_API qemb_status qemb_embedding_bag_from_float(const qemb_embedding_bag *source, const qemb_qconfig *qconfig, qemb_embedding_bag **bag);
QEMB_API qemb_status qemb_embedding_bag_to_float(const qemb_embedding_bag *source, qemb_embedding_bag **bag);

/* torch.ao.nn.qat.Embedding: out[i][D] = fq(W[indices[i]]) for input of any shape. Fields and errors as qemb_embedding_bag_desc; compiles kernels. */
typedef struct qemb_embedding_desc {
    int64_t num_embeddings, embedding_dim;
    bool has_padding_idx;
    int64_t padding_idx;
    bool has_max_norm;
    float max_norm;
    float norm_type;
    qemb_dtype dtype;
    qemb_qconfig qconfig;
    const float *weight;
    qemb_buffer *weight_buffer;
    uint64_t seed;
    const char *name;
    bool scale_grad_by_freq;
    bool sparse;
} qemb_embedding_desc;
QEMB_API qemb_status qemb_embedding_create(qemb_context *ctx, const qemb_embedding_desc *desc, qemb_embedding **embedding);
QEMB_API void qemb_embedding_destroy(qemb_embedding *embedding);
/* The same module as a bag without pooling: for every call below. Lives as long as the embedding, and is destroyed with it. NULL of NULL. */
QEMB_API qemb_embedding_bag *qemb_embedding_as_bag(qemb_embedding *embedding);
QEMB_API qemb_status qemb_embedding_from_float(const qemb_embedding *source, const qemb_qconfig *qconfig, qemb_embedding **embedding);
QEMB_API qemb_status qemb_embedding_to_float(const qemb_embedding *source, qemb_embedding **embedding);

/* Shape and options as created. A table's description has no weights (NULL) and no seed; its padding_idx counts from the start, its qconfig shows
 * the switches as they stand now, its name lives as long as the module. */
typedef struct qemb_bag_info {
    int32_t num_tables, num_features;
    int64_t output_dim;   /* sum of D over the features */
    qemb_bag_options options;
    bool pooled;          /* false for a qemb_embedding */
    int64_t weight_bytes; /* of all tables */
    int64_t state_bytes;  /* observer state held now */
    int64_t forwards;     /* forward calls so far */
} qemb_bag_info;
QEMB_API qemb_status qemb_embedding_bag_info(const qemb_embedding_bag *bag, qemb_bag_info *info);
QEMB_API qemb_status qemb_embedding_bag_table(const qemb_embedding_bag *bag, int32_t table, qemb_table_desc *desc);
QEMB_API int32_t qemb_embedding_bag_feature_table(const qemb_embedding_bag *bag, int32_t feature); /* -1: no such feature */

/* Rows [first, first+count) of the master weight, to and from the host, [count][D] float32. Both wait. A write commits the rows' observer state
 * first. */
QEMB_API qemb_status qemb_embedding_bag_read_weight(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, float *target);
QEMB_API qemb_status qemb_embedding_bag_write_weight(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, const float *source);

/* Observer state of rows [first, first+count) after the last forward: the buffers min_val, max_val, scale, zero_point of torch's module.
 * Before the first observation min and max are NaN, scale 1, zero point 0. Waits. */
typedef struct qemb_observer_rows {
    float *min_val, *max_val, *scale, *zero_point; /* each [count], or NULL: not wanted */
} qemb_observer_rows;
QEMB_API qemb_status qemb_embedding_bag_read_observer(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count,
                                                      const qemb_observer_rows *rows);
/* Puts a state in (from a state dict): min_val and max_val [count], for all rows of the table at once. Waits. Errors RANGE (a minimum above its
 * maximum). */
QEMB_API qemb_status qemb_embedding_bag_write_observer(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, const float *min_val,
                                                       const float *max_val);
/* Where a table stands beside its weights and its observer's min_val and max_val: together all that later calls depend on (qemb_io.h saves
 * them). A set takes all tables [T] and the module's count of forwards; it turns the switches and empties the observer: a table with
 * observations wants qemb_embedding_bag_write_observer next (a memoryless one only if its observer is off). Compiles, may take memory
 * for state. Errors RANGE (something negative, eps not a finite number above 0), NOMEM, BUILD; nothing has changed then. */
typedef struct qemb_table_progress {
    int64_t observations; /* that min_val and max_val include; 0: never observed */
    int64_t fake_quant_from, observer_until; /* qemb_embedding_bag_set_schedule */
    float eps;
    bool observer_on, fake_quant_on;
} qemb_table_progress;
QEMB_API qemb_status qemb_embedding_bag_get_progress(const qemb_embedding_bag *bag, int32_t table, qemb_table_progress *progress);
QEMB_API qemb_status qemb_embedding_bag_set_progress(qemb_embedding_bag *bag, int64_t forwards, const qemb_table_progress *tables);
/* out[count][D] = the fake-quantised values of rows [first, first+count), as the next forward would look them up (before max_norm),
 * whether fake quantisation is on or not: what torch's module computes of the whole table at every forward. Stores no state. Errors
 * SHAPE, STATE. Returns before the device is done. */
QEMB_API qemb_status qemb_embedding_bag_fake_quantise(qemb_embedding_bag *bag, int32_t table, int64_t first, int64_t count, qemb_buffer *out);
/* Brings the stored state of every row up to the last forward: the one call that passes over a table. No call needs it. Returns before the
 * device is done. */
QEMB_API qemb_status qemb_embedding_bag_observe_all(qemb_embedding_bag *bag);

/* torch's enable/disable_observer and enable/disable_fake_quant, for one table or QEMB_ALL_TABLES, from the next forward on. With the
 * observer off the qparams of the last observation stay in use; a table that was never observed refuses to look up (STATE). A memoryless
 * observer has kept none: switched off, it takes the rows as they are at that moment. Compiles what the new switches need, so that forwards need
 * not. Errors NOMEM (state of a memoryless table), BUILD. */
#define QEMB_ALL_TABLES (-1)
QEMB_API qemb_status qemb_embedding_bag_set_observer(qemb_embedding_bag *bag, int32_t table, bool on);
QEMB_API qemb_status qemb_embedding_bag_set_fake_quant(qemb_embedding_bag *bag, int32_t table, bool on);

/* ---------------------------------------------------------------------------------------------------------------------
 * Batch: indices, offsets and per-sample weights, checked once
 * ------------------------------------------------------------------------------------------------------------------- */

typedef struct qemb_batch qemb_batch;

/* What happens to an index outside [0, E). CHECK: the call fails (host) or every kernel of the batch does nothing (device).
 * SKIP: as if it were not in its bag (a mean does not divide by it); qemb_batch_status gives the number of such. TRUST: the caller vouches;
 * nothing is counted (still no access outside the table).
 * Offsets are checked in every mode. */
typedef enum qemb_check { QEMB_CHECK = 0, QEMB_SKIP = 1, QEMB_TRUST = 2 } qemb_check;

/* Input for F*B bags, in host memory. 1-D: indices[N] and offsets, offsets[0] = 0, not decreasing, F*B of them (the last bag then runs
 * to N) or, with include_last_offset, F*B + 1, the last equal to N. 2-D: offsets NULL, indices[F*B][columns]; include_last_offset is then
 * ignored. An embedding takes indices[N] alone (columns ignored). indices and offsets are int32 or int64, offsets_dtype 0 means the same.
 * psw[N] or NULL; only with mode sum. */
typedef struct qemb_input {
    const void *indices;
    int64_t num_indices; /* N < 2^31 */
    qemb_dtype indices_dtype;
    const void *offsets;
    int64_t num_offsets;
    qemb_dtype offsets_dtype;
    int64_t columns;
    const float *per_sample_weights;
    int64_t num_per_sample_weights; /* N, or 0 with NULL */
    qemb_check check;
} qemb_input;

/* The same on the device: buffers are kept until the next set, and read when a kernel runs. */
typedef struct qemb_device_input {
    qemb_buffer *indices;
    int64_t num_indices;
    qemb_dtype indices_dtype;
    qemb_buffer *offsets;
    int64_t num_offsets;
    qemb_dtype offsets_dtype;
    int64_t columns;
    qemb_buffer *per_sample_weights;
    int64_t num_per_sample_weights;
    qemb_check check;
} qemb_device_input;

/* A batch without input, which every call but the two sets refuses (STATE). It is set against a module and serves that one alone; memory grows with
 * the largest input. */
QEMB_API qemb_status qemb_batch_create(qemb_context *ctx, qemb_batch **batch);
QEMB_API void qemb_batch_destroy(qemb_batch *batch);

/* Copies and checks host input against the tables of `bag`; the host arrays may be reused at once. A batch may be set again and
 * again; with two batches the next can be set while the device works on the first. Errors INDEX and OFFSETS name the first bad
 * position and value; SHAPE, DTYPE, UNSUPPORTED (psw with mean or max). A refused set leaves the batch as it was. */
QEMB_API qemb_status qemb_batch_set(qemb_batch *batch, const qemb_embedding_bag *bag, const qemb_input *input);

/* Input that lies on the device. A kernel checks it: under QEMB_CHECK the later kernels of this batch write nothing if it found a bad
 * offset or index, and the error comes out at qemb_context_finish() or qemb_batch_status(). Errors SHAPE (also a buffer that is too small or
 * starts inside an element), OFFSETS (too few), DTYPE, UNSUPPORTED. Returns before the device is done. */
QEMB_API qemb_status qemb_batch_set_device(qemb_batch *batch, const qemb_embedding_bag *bag, const qemb_device_input *input);

/* Waits; QEMB_OK, or INDEX or OFFSETS with the first bad position. skipped (or NULL) counts the ids left out under QEMB_SKIP. Errors
 * STATE (never set). */
QEMB_API qemb_status qemb_batch_status(qemb_batch *batch, int64_t *skipped);

/* ---------------------------------------------------------------------------------------------------------------------
 * Forward
 * ------------------------------------------------------------------------------------------------------------------- */

/* out[b][c] = pool over i in bag b of psw[i] * fq(W[indices[i]][c])                       out[B][output_dim] float32
 * pool    sum in position order from 0, plain additions; with psw fma(psw, fq, acc), or acc + RN(psw * fq) where the table has a
 *         padding_idx (torch's two paths); mean divides the sum by max(1, lookups that are neither padding nor outside the table); max keeps the earliest of equals,
 *         NaN wins (the last of several). An empty bag is 0 in every mode. An embedding writes out[N][D].
 * fq      uses the qparams that follow this forward's observation of the row as it is, after the steps so far [torch FakeQuantize.forward].
 *         As in torch every forward observes every row of the table: observations of rows it did not read are made up when next needed
 * cost    reads each looked-up row once; passes over no table, writes no observer state
 * errors  STATE (batch not set for this bag, observer off and never observed), SHAPE (out too small); out is untouched
 * returns before the device is done */
QEMB_API qemb_status qemb_embedding_bag_forward(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *out);
QEMB_API qemb_status qemb_embedding_forward(qemb_embedding *embedding, qemb_batch *batch, qemb_buffer *out);

/* ---------------------------------------------------------------------------------------------------------------------
 * Training
 * ------------------------------------------------------------------------------------------------------------------- */

/* One step is forward, loss by the caller, then qemb_embedding_bag_step with the gradient of the output. The gradient of a row is
 *   G[k][c] = mask[k][c] * sum over the lookups i of row k, in position order, of alpha_i * g[bag(i)][c]
 *   alpha_i   psw_i (mode sum), 1 / (lookups of the bag that are neither padding nor outside the table) (mean), each divided by the lookups of row k in the whole
 *             batch under scale_grad_by_freq; added by fma. Mode max: 1 where i is the winner of the bag's column, else left out
 *   mask      straight-through: 1 where the row's element was inside the code range at the last forward, 0 where it was clipped
 * Padding, and ids left out under QEMB_SKIP, have none. Order    more than 32 lookups of a row are summed in parts of 32, the parts added as a
 * tree (p with p + P/2, P the next power of two); sums along D likewise: the same bits on every device, in any collection. */

/* Which gradients of one table (or of the per-sample weights) are wanted; NULL: not. No call but this materialises a gradient. */
typedef struct qemb_gradients {
    int32_t table;
    qemb_buffer *dense;       /* float [E][D], every element written */
    qemb_buffer *coo_indices; /* int64 [nnz], room for N: torch's sparse gradient; the three coo buffers come together */
    qemb_buffer *coo_values;  /* float [nnz][D], room for N */
    qemb_buffer *coo_count;   /* int64: nnz */
    bool coalesced;           /* false: one entry a lookup, input order, duplicates kept, alpha and mask multiplied in. true: ascending rows */
    qemb_buffer *per_sample_weights; /* float [N]: dot(g[bag(i)], the row as looked up); 0 for padding */
} qemb_gradients;

/* Gradients of the last forward of `bag`, for grad_output[B][output_dim] (embedding: [N][D]). Nothing else changes; may be repeated.
 * Errors   STATE (no forward since the batch was set, since the last step, or since weights or switches were changed), SHAPE, INDEX,
 *          UNSUPPORTED (COO with mode max or scale_grad_by_freq; weights' gradient of a batch without weights) */
QEMB_API qemb_status qemb_embedding_bag_backward(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, const qemb_gradients *want);

/* Which update; w a weight, g its gradient (clipped, negated under maximize), t the number of steps with this one, from 1. One float32
 * rounding for each written operation; bias corrections are taken in double. Only rows looked up by the batch change.
 *   SGD              momentum: b = g at t = 1, else b = momentum*b + (1-dampening)*g; d = nesterov ? g + momentum*b : b;  w -= lr*d
 *   ADAGRAD          h += g*g;  w -= lr/(1 + (t-1)*lr_decay) * (g / (sqrt(h) + eps))                        [torch/optim/adagrad.py, sparse]
 *   ROWWISE_ADAGRAD  h += mean_c(x*x), x = g, or g + weight_decay*w for L2;  a = lr/(sqrt(h) + eps);  w = keep*w - a*g, keep = 1 - a*weight_decay
 *                    for L2, 1 - lr*weight_decay for DECOUPLED; then a row whose norm exceeds max_norm is scaled to it        [FBGEMM]
 *   SPARSE_ADAM      m += (g-m)*(1-beta1);  v += (g*g-v)*(1-beta2);  w -= lr*sqrt(1-beta2^t)/(1-beta1^t) * (m/(sqrt(v) + eps))
 *                                                                                                          [torch/optim/sparse_adam.py]
 *   ADAM             m = beta1*m + (1-beta1)*g;  v = beta2*v + (1-beta2)*g*g;  w -= lr*(m/(1-beta1^t) / (sqrt(v/(1-beta2^t)) + eps) + weight_decay*w)
 *   PARTIAL_ROWWISE_ADAM  ADAM with one v a row, of mean_c(g*g)
 *   LAMB             ADAM whose lr is multiplied by |w|/|d|, d the bracket; by 1 where either norm is 0
 *   LARS_SGD         a = lr*trust*|w|/(|g| + weight_decay*|w|), lr where that is 0/0 or |w| = 0;  b = momentum*b + a*(g + weight_decay*w);  w -= b */
typedef enum qemb_optimizer_kind {
    QEMB_SGD = 0,
    QEMB_ADAGRAD = 1,
    QEMB_ROWWISE_ADAGRAD = 2,
    QEMB_SPARSE_ADAM = 3,
    QEMB_ADAM = 4,
    QEMB_PARTIAL_ROWWISE_ADAM = 5,
    QEMB_LAMB = 6,
    QEMB_LARS_SGD = 7
} qemb_optimizer_kind;

/* SGD: `touched` moves the rows of the batch. `dense` is torch's SGD on dense gradients, where momentum and weight decay go on moving every
 * row: a step then passes over all rows of all tables, O(E*D) instead of O(N*D). Without both the two forms are the same, and cost the same. */
typedef enum qemb_sgd_form { QEMB_SGD_TOUCHED = 0, QEMB_SGD_DENSE = 1 } qemb_sgd_form;
typedef enum qemb_decay { QEMB_DECAY_L2 = 0, QEMB_DECAY_DECOUPLED = 1 } qemb_decay;

/* VALUE: each g into [-clip_limit, clip_limit]. NORM: all g of the module scaled by min(1, clip_limit / (norm + 1e-6)), norm the 2-norm over all rows
 * of the batch [torch.nn.utils.clip_grad_value_, clip_grad_norm_]: squares of a row in the tree along its columns, rows by ascending number in
 * blocks of 32, block b to sum b mod 256, blocks in order, and those sums as a tree (s with s + P/2), all in float32, on every engine. */
typedef enum qemb_clip { QEMB_CLIP_NONE = 0, QEMB_CLIP_VALUE = 1, QEMB_CLIP_NORM = 2 } qemb_clip;

/* Numbers in brackets are what 0 means. A field that the kind does not use must be 0. */
typedef struct qemb_optimizer_desc {
    qemb_optimizer_kind kind;
    double lr;                        /* [1e-2 both Adagrads, else 1e-3] */
    double momentum, dampening;       /* SGD; momentum also LARS */
    double weight_decay;              /* all but ADAGRAD and SPARSE_ADAM; SGD: g += weight_decay*w */
    double lr_decay;                  /* ADAGRAD */
    double initial_accumulator_value; /* ADAGRAD: h starts so */
    double eps;                       /* [1e-10 ADAGRAD, else 1e-8] */
    double beta1, beta2;              /* [0.9, 0.999] */
    double max_norm;                  /* ROWWISE_ADAGRAD [none] */
    double trust;                     /* LARS [1e-3] */
    double clip_limit;                /* > 0 with clip */
    qemb_clip clip;
    qemb_decay decay;                 /* ROWWISE_ADAGRAD */
    qemb_sgd_form form;               /* SGD */
    bool nesterov;                    /* SGD: wants momentum > 0 and dampening 0 */
    bool maximize;
} qemb_optimizer_desc;

typedef struct qemb_optimizer qemb_optimizer; /* of one module, which must outlive it */

/* Takes memory for the kind's state (zero, or initial_accumulator_value) beside every table, and compiles. Errors RANGE, NONFINITE, ARG, NOMEM. */
QEMB_API qemb_status qemb_optimizer_create(qemb_context *ctx, qemb_embedding_bag *bag, const qemb_optimizer_desc *desc, qemb_optimizer **optimizer);
QEMB_API void qemb_optimizer_destroy(qemb_optimizer *optimizer);
/* From the next step on; 0 is 0. Errors NONFINITE, RANGE (below 0). */
QEMB_API qemb_status qemb_optimizer_set_lr(qemb_optimizer *optimizer, double lr);

/* Gradient and update of every row of the batch of the last forward, in one pass, each row's observer state stored first. Waits for nothing,
 * and allocates nothing once it has seen a batch as large. Errors as qemb_embedding_bag_backward; ARG (optimizer of another module). */
QEMB_API qemb_status qemb_embedding_bag_step(qemb_embedding_bag *bag, qemb_batch *batch, qemb_buffer *grad_output, qemb_optimizer *optimizer);

/* Sorts the lookups of a batch by row now, so that its step (or backward) need not: the next batch can be set and sorted while the device, or the
 * program, is busy with this one, also between this one's forward and step. Two sorted batches are kept, that of the last forward among them; a
 * batch whose sort made room, or that was set again, is sorted at its step as ever. The same bits. Takes as much work space again as a step
 * does, once. Errors ARG, STATE (batch not set for this module), NOMEM. Waits for nothing. */
QEMB_API qemb_status qemb_embedding_bag_sort(qemb_embedding_bag *bag, qemb_batch *batch);

/* Optimiser state for state dicts. Array k = 0, 1 of a table, under torch's or FBGEMM's name: one number an element, or one a row. Names live as
 * long as the program. */
typedef struct qemb_optimizer_info {
    qemb_embedding_bag *bag;
    qemb_optimizer_kind kind;
    double lr;
    int64_t steps; /* so far */
    qemb_optimizer_desc desc; /* defaults filled in, lr as set last */
    int32_t num_arrays;
    const char *array_name[2]; /* "momentum_buffer", "sum", "exp_avg", "exp_avg_sq" */
    bool array_row_wise[2];
    int64_t state_bytes; /* of all tables */
} qemb_optimizer_info;
QEMB_API qemb_status qemb_optimizer_info_get(const qemb_optimizer *optimizer, qemb_optimizer_info *info);
QEMB_API qemb_status qemb_optimizer_set_steps(qemb_optimizer *optimizer, int64_t steps); /* >= 0 (RANGE): bias corrections and lr_decay follow */
/* Rows [first, first+count): [count][D], or [count] where row-wise. Both wait. Errors INDEX (array, table, rows). */
QEMB_API qemb_status qemb_optimizer_read_state(qemb_optimizer *optimizer, int32_t array, int32_t table, int64_t first, int64_t count, float *target);
QEMB_API qemb_status qemb_optimizer_write_state(qemb_optimizer *optimizer, int32_t array, int32_t table, int64_t first, int64_t count,
                                                const float *source);

/* Switches that forwards turn by themselves, forwards counted from 0 (qemb_bag_info.forwards): fake quantisation is off before forward
 * `fake_quant_from` and on from it; the observer is off from forward `observer_until` on. 0: not scheduled. One table or QEMB_ALL_TABLES.
 * Compiles, so that the forwards need not. Errors RANGE (negative), INDEX. */
QEMB_API qemb_status qemb_embedding_bag_set_schedule(qemb_embedding_bag *bag, int32_t table, int64_t fake_quant_from, int64_t observer_until);

/* ---------------------------------------------------------------------------------------------------------------------
 * Packed tables: rows of 8-, 4- or 2-bit codes with their qparams, served by every mode that training has
 * ------------------------------------------------------------------------------------------------------------------- */

typedef struct qemb_packed qemb_packed; /* T packed tables looked up together: what a module becomes for serving */

/* How rows are stored. A row is ceil(D * bits / 8) code bytes (spare bits of the last are 0), and scale and bias, the value of code 0:
 *   value = fma(scale, code, bias)
 * torch_rowwise, rowwise_half and fbgemm rows are the peers' byte for byte (kernels_cl/shared/row_layout.h), odd D too. Their fp16
 * qparams are subnormal for rows under about 1e-3 of range, and lose steps there; planar has fp32 or bf16 ones, and may be symmetric
 * (bias = -scale * 2^(bits-1), not stored): a 4-bit row of 16 takes 12 bytes with bf16, 10 when symmetric. */
typedef struct qemb_packed_format {
    qemb_layout layout;
    int32_t bits;            /* 8, 4 or 2 */
    int32_t row_alignment;   /* fbgemm: 1 or 16 bytes; 0 means 1 */
    qemb_qparams qparams;    /* planar only */
    bool symmetric;          /* planar only */
} qemb_packed_format;

/* Bytes of a row of D columns, scale and bias included except for planar; and of its scale and bias (planar: in their own plane). Either may be
 * NULL. Errors ARG (no such format), SHAPE (D outside 1..2^20). */
QEMB_API qemb_status qemb_packed_row_bytes(const qemb_packed_format *format, int64_t embedding_dim, int64_t *row_bytes, int64_t *qparams_bytes);

/* Where a row's range comes from:
 *   minmax    its own minimum and maximum: the peers' direct packers
 *   observer  the module's observer after one more observation, as torch's convert makes it. Under a torch arithmetic the qparams and
 *             codes are those of nnq.EmbeddingBag.from_float; under `packed` those of the module's next forward
 *   greedy    choose_qparams_optimized(200 bins, ratio 0.16): narrowed while the squared error falls
 *   given     ranges[t][row] = {min, max}; values outside are clamped */
typedef enum qemb_pack_method { QEMB_PACK_MINMAX = 0, QEMB_PACK_OBSERVER = 1, QEMB_PACK_GREEDY = 2, QEMB_PACK_GIVEN = 3 } qemb_pack_method;

/* Without this flag a row whose scale or bias would be stored as infinity (fp16: beyond 65504) is refused (RANGE, with its number). */
#define QEMB_PACK_AS_PEER 1u
/* qemb_packed_import: rows are taken as they are, without a look at every one of them (sizes, formats and maps are checked). */
#define QEMB_PACK_UNCHECKED 2u

/* All tables in one format. format.bits 0 takes each table's own width. row_map (or NULL) holds for each table NULL or one entry for each
 * of its rows: -1 drops the row (its lookups contribute nothing, as padding), m >= 0 makes it packed row m; packed rows are 0..max(m), each
 * named at least once, the first row named wins. */
typedef struct qemb_packed_desc {
    qemb_packed_format format;
    qemb_pack_method method;
    const float *const *ranges; /* [T] of [E][2]; only with QEMB_PACK_GIVEN */
    const int32_t *const *row_map;
    uint32_t flags; /* QEMB_PACK_AS_PEER */
} qemb_packed_desc;

/* Packs every table of a module; mode, padding_idx, max_norm and features come along. desc NULL: each table in the layout and width of its
 * qconfig, method observer. Waits. Errors NONFINITE (a row with NaN or inf, by number), RANGE (see QEMB_PACK_AS_PEER), STATE (never
 * observed), ARG, SHAPE, UNSUPPORTED (observer: a torch qconfig with negative codes, more codes than bits, or a symmetric target). */
QEMB_API qemb_status qemb_packed_create(qemb_embedding_bag *bag, const qemb_packed_desc *desc, qemb_packed **packed);
QEMB_API void qemb_packed_destroy(qemb_packed *packed);

/* One packed table as bytes: rows[num_rows][row_bytes] and, planar, qparams[num_rows][qparams_bytes]. num_rows is num_embeddings, or with
 * a row_map[num_embeddings] the rows it points into. */
typedef struct qemb_packed_table {
    const char *name;
    int64_t num_embeddings, embedding_dim, num_rows; /* num_rows 0 without row_map: num_embeddings */
    qemb_packed_format format;
    bool has_padding_idx;
    int64_t padding_idx;
    bool has_max_norm;
    float max_norm, norm_type;
    const void *rows;
    int64_t rows_bytes; /* must be num_rows * row_bytes */
    const void *qparams;
    int64_t qparams_bytes; /* must be num_rows * qparams_bytes */
    const int32_t *row_map;
} qemb_packed_table;

typedef struct qemb_packed_import_desc {
    const qemb_packed_table *tables; /* [T] */
    int32_t num_tables;
    const int32_t *feature_table; /* as in qemb_collection_desc */
    int32_t num_features;
    qemb_bag_options options;
    bool unpooled;  /* an embedding: one row a lookup */
    uint32_t flags; /* QEMB_PACK_AS_PEER: infinite and NaN qparams are taken, and spare bits; QEMB_PACK_UNCHECKED */
    const void *memory; /* NULL: rows are copied. Else all rows and qparams lie in memory[memory_bytes], and 256 bytes behind it can be read */
    size_t memory_bytes;
    void (*release)(void *user); /* NULL, or called once when `memory` is not used any more */
    void *user;
} qemb_packed_import_desc;

/* Tables from bytes. Every size and map entry is checked, every scale (finite, not negative), bias (finite) and spare bit (zero) too. Given
 * `memory`, a device that works in the host's memory (host_memory) looks rows up where they lie, and keeps it, unchanged, until the destroy,
 * which then waits; elsewhere, and for a table beyond one allocation, they are copied and release is called before the return (never on
 * failure). Errors CORRUPT (sizes, qparams, bits), INDEX (map), ARG, SHAPE. */
QEMB_API qemb_status qemb_packed_import(qemb_context *ctx, const qemb_packed_import_desc *desc, qemb_packed **packed);

/* The same tables in another format. Rows whose scale and bias the new format holds exactly, at the same width, keep their codes; others
 * are unpacked and packed by minmax. `source` stays as it is, and may be destroyed before the new one. format->bits 0: each table's own width.
 * Waits. Errors ARG, NONFINITE, RANGE (see QEMB_PACK_AS_PEER), NOMEM, BUILD. */
QEMB_API qemb_status qemb_packed_convert(qemb_packed *source, const qemb_packed_format *format, uint32_t flags, qemb_packed **packed);

/* Shape as created; of a table everything but the bytes (rows, qparams NULL; row_map and name live as long as the object). */
typedef struct qemb_packed_info {
    int32_t num_tables, num_features;
    int64_t output_dim;
    qemb_bag_options options;
    bool pooled;
    int64_t bytes; /* of all rows, qparams and maps */
} qemb_packed_info;
QEMB_API qemb_status qemb_packed_get_info(const qemb_packed *packed, qemb_packed_info *info);
QEMB_API qemb_status qemb_packed_get_table(const qemb_packed *packed, int32_t table, qemb_packed_table *description);
QEMB_API int32_t qemb_packed_feature_table(const qemb_packed *packed, int32_t feature); /* -1: no such feature */

/* Packed rows [first, first + count) as bytes (qparams: planar only, else NULL), or as floats [count][D]: what a lookup
 * of one row gives before max_norm. They wait. */
QEMB_API qemb_status qemb_packed_read_rows(qemb_packed *packed, int32_t table, int64_t first, int64_t count, void *rows, void *qparams);
QEMB_API qemb_status qemb_packed_unpack(qemb_packed *packed, int32_t table, int64_t first, int64_t count, float *values);

/* qemb_batch_set and qemb_batch_set_device against packed tables: their rules and errors. */
QEMB_API qemb_status qemb_packed_batch_set(const qemb_packed *packed, qemb_batch *batch, const qemb_input *input);
QEMB_API qemb_status qemb_packed_batch_set_device(const qemb_packed *packed, qemb_batch *batch, const qemb_device_input *input);

/* out[b][c] = pool over i in bag b of the row's value. Sum, mean and weights: acc = fma(w * scale, code, acc + w * bias) from 0, w = 1
 * without weights [FBGEMM RefImplementations.cc, qembeddingbag.cpp], a mean divides at the end; max, max_norm and unpooled rows take
 * fma(scale, code, bias) and go on as qemb_embedding_bag_forward does. A module trained under QEMB_ARITHMETIC_PACKED gives these very
 * bits in training. dtype float32, float16 or bfloat16 (rounded half to even at the end). Errors STATE, SHAPE, DTYPE. Returns before the
 * device is done. */
QEMB_API qemb_status qemb_packed_forward(qemb_packed *packed, qemb_batch *batch, qemb_buffer *out, qemb_dtype dtype);

/* ---------------------------------------------------------------------------------------------------------------------
 * Start: what compiles when, and before its time
 * ------------------------------------------------------------------------------------------------------------------- */

/* Kernels compile when they are first needed, and are then kept with the context (on disk too: by the driver, or see qemb_context_create): the
 * forward of batches from the host when a module is made or a switch is turned (that of large batches of a small table at the first of them),
 * the update of an optimiser when it is made, all else at its first call. Drivers such as PoCL compile a part at the first launch, which is then
 * the first call's. These calls take all that ahead.
 *
 * bags, lookups   of the largest batch: bags of a feature, lookups of all [1, 64 for each bag]; an embedding has no bags
 * on_device       batches come by qemb_batch_set_device, with these types [int64; offsets as indices, int32 for fixed columns]
 * optimizer       step with it; NULL: no steps
 * calls           beside the forward: BACKWARD qemb_embedding_bag_backward in all forms; ROWS read_observer, write_weight, observe_all,
 *                 fake_quantise; SORT qemb_embedding_bag_sort */
#define QEMB_PREPARE_BACKWARD 1u
#define QEMB_PREPARE_ROWS     2u
#define QEMB_PREPARE_SORT     4u
typedef struct qemb_prepare_desc {
    int64_t bags, lookups;
    bool per_sample_weights; /* batches have them */
    bool on_device;
    qemb_dtype indices_dtype, offsets_dtype; /* with on_device */
    qemb_optimizer *optimizer;
    uint32_t calls; /* QEMB_PREPARE_* */
} qemb_prepare_desc;

/* After it, forwards and whatever else was named compile nothing and take no device memory from their first call on, for batches as large as
 * this; smaller ones may take another kernel for their sort. desc NULL: forwards of small batches. Changes nothing that can be seen but counters
 * and qemb_context_variant. Enqueues, and returns before the device is done. Errors ARG, SHAPE, DTYPE, UNSUPPORTED (weights with mean or max), NOMEM, BUILD. */
QEMB_API qemb_status qemb_embedding_bag_prepare(qemb_embedding_bag *bag, const qemb_prepare_desc *desc);
/* The same for qemb_packed_forward into `dtype`; calls and optimizer must be 0. */
QEMB_API qemb_status qemb_packed_prepare(qemb_packed *packed, const qemb_prepare_desc *desc, qemb_dtype dtype);

/* ---------------------------------------------------------------------------------------------------------------------
 * Unstable: for benches, tuners and tests; may change with any version
 * ------------------------------------------------------------------------------------------------------------------- */

/* Which variant of a kernel the last launch of a stem took, with its numbers: "grouped ahead=40 local=16 rows=32". Stems are bag_forward,
 * row_sort, bag_backward, row_update, row_observe, row_pack, packed_forward. "" before the first launch and for other words; "plain" on the
 * reference engine. Valid until the next call. Every variant gives the same bits. */
QEMB_API const char *qemb_context_variant(qemb_context *ctx, const char *stem);

/* The last choice of a stem as a line of a tuning file; "" where there is none. Valid until the next call.
 * Tuning   contexts read $QEMB_TUNE (a path; empty: no file), else $XDG_CONFIG_HOME/qemb/DEVICE.tune or ~/.config/qemb/DEVICE.tune: the line
 *          "qemb-tune 1", the line "device NAME", then such lines, as `qemb tune` writes them. What does not make sense is passed over: a wrong
 *          file can slow a program and do nothing else. QEMB_LOG=pick prints every choice and its reason to stderr. */
QEMB_API const char *qemb_context_tuning_line(qemb_context *ctx, const char *stem);
QEMB_API bool qemb_tuning_path(const char *device, char *path, size_t size); /* where that file is; false: nowhere */

/* Asks for variants by name, from the next launch on: "STEM=NAME[:KNOB=NUMBER...],...", as $QEMB_VARIANT does for every context. A variant that
 * does not fit a launch is passed over there. NULL or "": the library chooses. Kernels compile at their next use. Errors ARG, UNSUPPORTED
 * (reference engine). */
QEMB_API qemb_status qemb_context_force_variant(qemb_context *ctx, const char *variants);

/* Visits the variants of the device's family, best first. knobs: the numbers that may be turned, "ahead=8..96 local=1..64" (powers of two but for
 * ahead); able: the device has what the variant needs. */
typedef void (*qemb_variant_visitor)(void *user, const char *stem, const char *name, const char *knobs, bool able);
QEMB_API qemb_status qemb_context_variants(qemb_context *ctx, qemb_variant_visitor visit, void *user);

#ifdef __cplusplus
}
#endif
#endif
