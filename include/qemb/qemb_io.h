/* qemb_io.h - files and data: safetensors, npy, click logs in Criteo's format.
 *
 * Only the saving and loading of modules and packed tables needs a context. The words, the error rules and the ownership rules of qemb.h
 * hold.
 *
 * Files   every reader treats its file as hostile: sizes are checked against the file before anything is allocated, and a
 *         refusal names the file, the byte offset (or line and column) and the reason. Status IO is the system's word (the
 *         sentence ends with errno's text), CORRUPT means that the file breaks its format, UNSUPPORTED that it may be fine
 *         but holds what this library does not read.
 * Bytes   all formats are little endian, and so must the host be.
 * Threads an object may be used by one thread at a time, different objects by different threads at once.
 */
#ifndef QEMB_QEMB_IO_H
#define QEMB_QEMB_IO_H

#include <qemb/qemb.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Called now and then during long work, by the thread that made the call; false stops it. done and total are in the unit that the call names. */
typedef bool (*qemb_progress)(void *user, int64_t done, int64_t total);

/* ---------------------------------------------------------------------------------------------------------------------
 * Element types of files
 * ------------------------------------------------------------------------------------------------------------------- */

/* X(safetensors name, bits of an element): the closed list of the format (safetensors/src/tensor.rs). */
#define QEMB_FILE_DTYPE_LIST(X)                                                                               \
    X(BOOL, 8) X(U8, 8) X(I8, 8) X(U16, 16) X(I16, 16) X(U32, 32) X(I32, 32) X(U64, 64) X(I64, 64)            \
    X(F16, 16) X(BF16, 16) X(F32, 32) X(F64, 64) X(C64, 64)                                                   \
    X(F8_E4M3, 8) X(F8_E5M2, 8) X(F8_E8M0, 8) X(F8_E4M3FNUZ, 8) X(F8_E5M2FNUZ, 8)                             \
    X(F6_E2M3, 6) X(F6_E3M2, 6) X(F4, 4)

typedef enum qemb_file_dtype {
#define QEMB_FILE_DTYPE_ENUM(name, bits) QEMB_FILE_##name,
    QEMB_FILE_DTYPE_LIST(QEMB_FILE_DTYPE_ENUM)
#undef QEMB_FILE_DTYPE_ENUM
    QEMB_FILE_DTYPE_COUNT
} qemb_file_dtype;

/* Names live as long as the program. */
QEMB_API const char *qemb_file_dtype_name(qemb_file_dtype dtype); /* "F32"; "?" outside the list */
QEMB_API int32_t qemb_file_dtype_bits(qemb_file_dtype dtype);     /* 32; 0 outside the list */

/* ---------------------------------------------------------------------------------------------------------------------
 * safetensors: reading
 * ------------------------------------------------------------------------------------------------------------------- */

/* Format: u64 n | n bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {text: text}}
 * padded with spaces | data; offsets count from the end of the header.
 *
 * Stricter than the Rust reader in three places where its rules have holes: a key that occurs twice is refused wherever it
 * stands, the header must begin with '{', and an entry may have no other keys than the three. As there: n at most
 * 100,000,000, ranges sorted by offset start at 0, touch, do not overlap and end with the file; shape x dtype equals the
 * range; products are checked; names and texts are UTF-8. Limits of this reader (UNSUPPORTED beyond): */
enum { QEMB_FILE_MAX_RANK = 8, QEMB_FILE_MAX_NAME = 1024, QEMB_FILE_MAX_TENSORS = 100000, QEMB_FILE_MAX_METADATA = 100000 };

typedef struct qemb_safetensors qemb_safetensors;

typedef struct qemb_tensor_view {
    const char *name;
    qemb_file_dtype dtype;
    int32_t rank;                      /* 0: one element */
    int64_t shape[QEMB_FILE_MAX_RANK]; /* row-major; only [0, rank) are set, the rest is 1 */
    int64_t count;                     /* elements: product of the shape */
    size_t bytes;                      /* of the data */
    int64_t offset;                    /* of the data, from the start of the file */
    const void *data;                  /* in the mapped file, read-only; aligned as the writer left it, perhaps not at all */
} qemb_tensor_view;

/* Maps the file; nothing but the header is read (milliseconds for any size), and the memory used is below twice the header.
 * Only regular files (following links) are taken. Views, names and texts live until the close.
 * The map shows the file as it is: a file that another program cuts short while it is open ends in SIGBUS when the missing
 * part is touched. A save by this library replaces files instead, which leaves an open map whole.
 * qemb_safetensors_read_rows reads without the map and gives a status instead.
 * Errors: IO, CORRUPT, UNSUPPORTED (not a regular file; beyond the limits), NOMEM. */
QEMB_API qemb_status qemb_safetensors_open(const char *path, qemb_safetensors **file);
QEMB_API void qemb_safetensors_close(qemb_safetensors *file);

/* Tensors in the order of their data, 0 <= index < count (_at: RANGE). _find gives -1 for a name that is not there; _tensor
 * refuses it (ARG). */
QEMB_API int64_t qemb_safetensors_count(const qemb_safetensors *file);
QEMB_API int64_t qemb_safetensors_find(const qemb_safetensors *file, const char *name);
QEMB_API qemb_status qemb_safetensors_at(const qemb_safetensors *file, int64_t index, qemb_tensor_view *view);
QEMB_API qemb_status qemb_safetensors_tensor(const qemb_safetensors *file, const char *name, qemb_tensor_view *view);

/* The text under `key` of __metadata__, NULL if there is none; pairs by number (RANGE) in the order of their keys' bytes. */
QEMB_API const char *qemb_safetensors_metadata(const qemb_safetensors *file, const char *key);
QEMB_API int64_t qemb_safetensors_metadata_count(const qemb_safetensors *file);
QEMB_API qemb_status qemb_safetensors_metadata_at(const qemb_safetensors *file, int64_t index, const char **key, const char **text);

/* Rows [first, first + count) of a tensor of rank 1 or more, copied to target[count][bytes / shape[0]] by plain reads: a
 * piece of a table larger than memory. Errors: ARG (no such tensor), SHAPE (rank 0), RANGE (rows), UNSUPPORTED (rows of
 * 4- or 6-bit elements that end inside a byte), IO (also when the file has become shorter). */
QEMB_API qemb_status qemb_safetensors_read_rows(const qemb_safetensors *file, const char *name, int64_t first, int64_t count,
                                                void *target);

/* What is behind this writer's checksum: the metadata text "qemb_crc32", eight hexadecimal digits, is the CRC-32 (zlib's) of
 * the whole file with these digits read as zeros. _verify reads the file once (1 to 3 GB/s), not through the map.
 * Errors: CORRUPT when it differs; UNSUPPORTED when the file carries none; IO. An open does not check it. */
#define QEMB_FILE_CHECKSUM_KEY "qemb_crc32"
QEMB_API qemb_status qemb_safetensors_verify(const qemb_safetensors *file);

/* ---------------------------------------------------------------------------------------------------------------------
 * safetensors: writing
 * ------------------------------------------------------------------------------------------------------------------- */

typedef struct qemb_tensor_desc {
    const char *name;
    const int64_t *shape; /* [rank]; may be NULL for rank 0 */
    int32_t rank;
    qemb_file_dtype dtype;
} qemb_tensor_desc;

typedef struct qemb_metadata {
    const char *key, *text; /* UTF-8; an entry under QEMB_FILE_CHECKSUM_KEY is replaced by the file's own */
} qemb_metadata;

/* A save is atomic and durable. Bytes go to a new file NAME.tmp.PID.NUMBER in the same folder; _finish syncs it, renames it
 * over `path` and syncs the folder. Before the rename `path` is untouched, afterwards it is complete: a crash at any moment
 * leaves the old file or the new one (and perhaps a *.tmp.* file, which nothing reads). An existing file's permissions are
 * kept, a link stays a link. The header is padded so that data starts at a multiple of 64; tensors are ordered by the size
 * of their elements, largest first, then by name, so each is aligned to its elements. */
typedef struct qemb_safetensors_writer qemb_safetensors_writer;

/* Lays out the file and writes its header; no tensor needs to be in memory. Names must differ.
 * Errors: ARG, SHAPE, OVERFLOW, RANGE (the limits of the reader), UNSUPPORTED (path is not a regular file), IO. */
QEMB_API qemb_status qemb_safetensors_writer_create(const char *path, const qemb_tensor_desc *tensors, int64_t tensor_count,
                                                    const qemb_metadata *metadata, int64_t metadata_count,
                                                    qemb_safetensors_writer **writer);

/* The next `bytes` bytes of tensor `index` (of the array given to _create). A tensor may come in any number of pieces, and
 * pieces of different tensors in any order. Errors: RANGE (more bytes than the tensor has), IO; after IO only destroy helps. */
QEMB_API qemb_status qemb_safetensors_writer_append(qemb_safetensors_writer *writer, int64_t index, const void *data, size_t bytes);

/* Completes the file. Errors: STATE and the name of a tensor that lacks bytes; IO. After an error the old file is as it was,
 * unless the sentence says that the new file is in place but its folder could not be synced. */
QEMB_API qemb_status qemb_safetensors_writer_finish(qemb_safetensors_writer *writer);

/* Without a finish before it: gives up the save and removes the new file. */
QEMB_API void qemb_safetensors_writer_destroy(qemb_safetensors_writer *writer);

/* All of the above for tensors that are in memory: data[i] belongs to tensors[i], and both are borrowed for the call. Errors as theirs. */
QEMB_API qemb_status qemb_safetensors_save(const char *path, const qemb_tensor_desc *tensors, const void *const *data,
                                           int64_t tensor_count, const qemb_metadata *metadata, int64_t metadata_count);

/* ---------------------------------------------------------------------------------------------------------------------
 * Saving and loading: modules, optimisers, packed tables
 * ------------------------------------------------------------------------------------------------------------------- */

/* One file of whatever is added, under prefixes that the caller chooses ("" or NULL: none). Objects, tensors' data and nothing else are
 * borrowed until the destroy; what they hold is read by _write, so one saver may write again and again (a checkpoint every n steps).
 *
 * Module    the state dict of torch.ao.nn.qat.EmbeddingBag and Embedding: PREFIX + weight [E][D], weight_fake_quant.fake_quant_enabled [1],
 *           .observer_enabled [1], .scale [E], .zero_point [E], .activation_post_process.eps [1], .min_val [E], .max_val [E]; before the first
 *           observation scale and zero_point are [1], min_val and max_val [0]. A module of several tables puts the table's name and "."
 *           between prefix and key. A float table (qemb_qconfig_float) has its weight alone. What torch has no key for stands in metadata:
 *           PREFIX + qemb_module (options, features), and for each table qemb_table (counters, schedule, qconfig, padding, max_norm).
 * Optimizer PREFIX + state.T.NAME of table T = 0, 1, ...: step (int64, no dimensions), then "momentum_buffer", "sum", "exp_avg",
 *           "exp_avg_sq" as the kind has them, [E][D] or row-wise [E]: the names of torch's state dict. Metadata PREFIX + qemb_optimizer:
 *           kind and every hyper-parameter.
 * Packed    PREFIX + NAME.rows (U8 [rows][row_bytes], the layout's own bytes), planar tables NAME.qparams (F32 or BF16, [rows][scale, bias],
 *           symmetric [rows][scale]), pruned ones NAME.row_map (I32 [E]). Metadata PREFIX + qemb_packed (options, features) and
 *           PREFIX + qemb_packed.T: layout, bits, sizes, padding, max_norm, name.
 * Texts begin with their version; one of another version is UNSUPPORTED. Files of version 1 will always load. src/io/format.md has every field.
 *
 * Adding reads nothing and waits for nothing. Errors: ARG, SHAPE (rank of a tensor), NOMEM; what was added before stays. */
typedef struct qemb_saver qemb_saver;
QEMB_API qemb_status qemb_saver_create(qemb_saver **saver);
QEMB_API void qemb_saver_destroy(qemb_saver *saver);
QEMB_API qemb_status qemb_saver_add_module(qemb_saver *saver, const char *prefix, qemb_embedding_bag *bag);
QEMB_API qemb_status qemb_saver_add_optimizer(qemb_saver *saver, const char *prefix, qemb_optimizer *optimizer);
QEMB_API qemb_status qemb_saver_add_packed(qemb_saver *saver, const char *prefix, qemb_packed *packed);
QEMB_API qemb_status qemb_saver_add_tensor(qemb_saver *saver, const qemb_tensor_desc *desc, const void *data); /* desc is copied */
QEMB_API qemb_status qemb_saver_add_text(qemb_saver *saver, const char *key, const char *text);                /* both copied */

/* Writes everything, streamed in pieces of a few MiB (no table is ever copied whole), atomic, durable and with a checksum like every save of
 * this header. Waits. Errors: those of qemb_safetensors_writer_*, ARG where two names are the same; the old file stays then. */
QEMB_API qemb_status qemb_saver_write(qemb_saver *saver, const char *path);

/* Puts a module's state back, exact at any step: the next forwards and steps give the bits that they would have given without the save. `bag`
 * has the same tables; what a constructor fixes (qconfig, mode, padding_idx) is the caller's, as in torch. Scale and zero_point follow from
 * min_val, max_val and eps and are not read. A file that torch wrote loads too: its tables count as observed once, at forward 0. A file with
 * the weight alone, or a float module: the weight is taken, the observer starts anew and the switches stay.
 * Errors: ARG (a key is missing), SHAPE, DTYPE, CORRUPT (a flag that is neither 0 nor 1, min above max, a text that does not parse), with
 * file and key; nothing has changed then. All that is checked first: only IO and DEVICE may come later and leave a part. Waits. */
QEMB_API qemb_status qemb_load_module(const qemb_safetensors *file, const char *prefix, qemb_embedding_bag *bag);

/* The state of an optimiser of the same kind and hyper-parameters (ARG names one that differs); the learning rate is taken from the file.
 * A file without qemb's text: arrays and step are taken, nothing else. Errors as qemb_load_module. Waits. */
QEMB_API qemb_status qemb_load_optimizer(const qemb_safetensors *file, const char *prefix, qemb_optimizer *optimizer);

/* Packed tables of a file, ready to serve. On a device that works in the host's memory the rows are used where they lie in the mapped file
 * (unless a table needs more than one allocation): that takes milliseconds for any size, pages are read when they are looked up, and several
 * processes share them; `packed` keeps the file open, which may be closed at once. Elsewhere, and under COPY, the rows are copied.
 * Sizes, formats, maps and options are always checked; VERIFY also reads the whole file: its checksum if it has one, every scale (finite, not
 * negative), every bias (finite) and the spare bits of every row (zero). AS_PEER lets infinite and NaN ones pass, and bytes of padding.
 * Errors: ARG (no such tables), CORRUPT, UNSUPPORTED, IO, NOMEM, BUILD. */
enum { QEMB_LOAD_VERIFY = 1, QEMB_LOAD_COPY = 2, QEMB_LOAD_AS_PEER = 4 };
QEMB_API qemb_status qemb_load_packed(qemb_context *ctx, qemb_safetensors *file, const char *prefix, uint32_t flags, qemb_packed **packed);

/* Packs the float tables of a file, piece after piece, into a file of packed tables (PREFIX none) that qemb_load_packed opens: tables larger
 * than memory pass through a few ten MiB. Tables are those that torch's QAT modules or this library saved, or where there are none all
 * F32 tensors of rank 2 that are called weight; their names in the new file are what stands before ".weight".
 *   method    minmax, greedy, or observer: the file's min_val and max_val after one more observation, as qemb_packed_create has it. Wants a
 *             torch_cpu qconfig with codes 0..2^bits-1 where the file does not say which
 *   options   of a module that this library saved, with its features, padding_idx and max_norm; of other files those given here
 *   keep      the file's other tensors and texts are copied too
 * Errors: ARG (no tables, names that would be the same), NONFINITE and RANGE (a row, by number, as qemb_packed_create), STATE (progress said
 * stop), UNSUPPORTED, IO. The old file stays then. Waits. */
typedef struct qemb_convert_desc {
    const char *prefix; /* only tables whose keys start so; NULL: all */
    qemb_packed_format format;
    qemb_pack_method method;
    qemb_bag_options options;
    bool unpooled;
    bool has_padding_idx;
    int64_t padding_idx;
    bool has_max_norm;
    float max_norm, norm_type;
    uint32_t flags; /* QEMB_PACK_AS_PEER */
    bool keep;
    qemb_progress progress; /* bytes of the file's tables; NULL: none */
    void *user;
} qemb_convert_desc;
QEMB_API qemb_status qemb_convert(qemb_context *ctx, const qemb_safetensors *file, const qemb_convert_desc *desc, const char *path);

/* ---------------------------------------------------------------------------------------------------------------------
 * npy: one array
 * ------------------------------------------------------------------------------------------------------------------- */

/* NumPy's format (numpy/lib/format.py), versions 1 to 3, little-endian or single-byte elements of BOOL, U8..U64, I8..I64, F16,
 * F32, F64, C64. Fortran order of rank 2 and above is UNSUPPORTED, as are structured and Python-object arrays. */
typedef struct qemb_npy qemb_npy;

/* Maps the file; the view lives until the close, its name is "". Strict as for safetensors: the data must end with the file.
 * Errors: IO, CORRUPT, UNSUPPORTED, NOMEM. */
QEMB_API qemb_status qemb_npy_open(const char *path, qemb_npy **file, qemb_tensor_view *view);
QEMB_API void qemb_npy_close(qemb_npy *file);

/* Writes an array in C order, as atomically as a safetensors file. The name in desc is not used. Errors: SHAPE, OVERFLOW, UNSUPPORTED (an
 * element type that NumPy lacks), IO. */
QEMB_API qemb_status qemb_npy_save(const char *path, const qemb_tensor_desc *desc, const void *data);

/* ---------------------------------------------------------------------------------------------------------------------
 * Click logs: reading
 * ------------------------------------------------------------------------------------------------------------------- */

/* A row is a label (0 or 1), 13 counts and 26 categories. Forms:
 *   TSV     Criteo's own: 40 columns between tabs, one row a line: label | 13 decimal integers | 26 numbers of 1 to 8
 *           hexadecimal digits; an empty column is a missing value and reads as 0 (as dlrm's data_utils.py has it)
 *   BINARY  the MLPerf loader's: records of 40 little-endian int32 in the same order (dlrm's data_loader_terabyte.py)
 * Both may be gzip-compressed, told by their first bytes. An npy array of int32 [rows][40], not compressed, reads as BINARY does. */
enum { QEMB_CLICK_DENSE = 13, QEMB_CLICK_SPARSE = 26, QEMB_CLICK_COLUMNS = 40, QEMB_CLICK_NAMED_FAULTS = 16 };

typedef enum qemb_click_form { QEMB_CLICK_AUTO = 0, QEMB_CLICK_TSV = 1, QEMB_CLICK_BINARY = 2 } qemb_click_form;

/* How a category v of feature f becomes an id:
 *   MODULO      v mod num_embeddings[f]
 *   FIRST_SEEN  0, 1, 2, ... in the order in which the values of the feature occur in the file from its first row, also when
 *               reading starts later: readers of different parts of one file agree. Takes 8 to 16 bytes a distinct value. */
typedef enum qemb_click_ids { QEMB_CLICK_MODULO = 0, QEMB_CLICK_FIRST_SEEN = 1 } qemb_click_ids;

/* A row that does not parse ends the reading (REFUSE), or is left out, counted, and the first QEMB_CLICK_NAMED_FAULTS kept
 * with their line and column (SKIP). It never turns into zeros. */
typedef enum qemb_click_faults { QEMB_CLICK_REFUSE = 0, QEMB_CLICK_SKIP = 1 } qemb_click_faults;

/* What becomes of a count x: log(1 + max(x, 0)), or max(x, 0) itself. */
typedef enum qemb_click_counts { QEMB_CLICK_LOG1P = 0, QEMB_CLICK_RAW = 1 } qemb_click_counts;

typedef struct qemb_click_desc {
    const char *path;
    const int64_t *num_embeddings; /* [26] sizes of the tables; NULL: Kaggle's (MODULO), no limit (FIRST_SEEN) */
    int64_t first_row;             /* rows before it are read over; faulty rows have no number */
    int64_t row_count;             /* rows after that many are not seen; 0: to the end of the file */
    qemb_click_form form;
    qemb_click_ids ids;
    qemb_click_faults faults;
    qemb_click_counts counts;
} qemb_click_desc;

typedef struct qemb_click_reader qemb_click_reader;

/* Opens a log and looks at its beginning. Errors: IO, UNSUPPORTED (not a regular file), CORRUPT (an empty file), RANGE (a
 * table size outside 1 .. 2^31 - 1, a negative row number). */
QEMB_API qemb_status qemb_click_reader_open(const qemb_click_desc *desc, qemb_click_reader **reader);
QEMB_API void qemb_click_reader_close(qemb_click_reader *reader);

/* Up to `capacity` rows:  ids[26][rows] (feature-major: feature f of row b is ids[f * rows + b]), dense[rows][13],
 * labels[rows]; dense and labels may be NULL. *rows is below capacity only at the end, and 0 from then on.
 * Errors   CORRUPT with file, line and column (both from 1) for a wrong number of columns, a label other than 0 or 1, a count
 *          that is not an int32, a category that is not hexadecimal, a line above 4096 bytes, a file that ends inside a row;
 *          INDEX when FIRST_SEEN meets more values than the table has rows (a faulty row too). The arrays hold rubbish then,
 *          and the reader repeats the error until it is rewound.
 * A last line without a newline counts as whole if its last column has all eight digits, and as cut otherwise. */
QEMB_API qemb_status qemb_click_reader_next(qemb_click_reader *reader, int64_t capacity, int32_t *ids, float *dense, float *labels,
                                            int64_t *rows);

/* Back to first_row, for the next epoch; ids stay what they were and the count of faults starts again. Errors: IO. */
QEMB_API qemb_status qemb_click_reader_rewind(qemb_click_reader *reader);

/* The number of rows from first_row on (row_count at most): reads the file once to its end, then rewinds. The sizes of a split,
 * such as Kaggle's seven days of equal length, come from here. The faults that it met stay counted and named until the next row is
 * read or the reader is rewound. Errors: those of _next, repeated until it is rewound. */
QEMB_API qemb_status qemb_click_reader_count(qemb_click_reader *reader, int64_t *rows);

/* Progress: bytes of the file behind us (compressed ones of a gzip file) and in all, for a bar. */
QEMB_API void qemb_click_reader_progress(const qemb_click_reader *reader, int64_t *bytes_done, int64_t *bytes_total);

/* Rows left out so far under SKIP, and the sentence of the index-th one ("line 7, column 3: ..."), valid until the next call on the
 * reader; NULL past the last kept. */
QEMB_API int64_t qemb_click_reader_fault_count(const qemb_click_reader *reader);
QEMB_API const char *qemb_click_reader_fault(const qemb_click_reader *reader, int64_t index);

/* Distinct values met so far by FIRST_SEEN, per feature: the table sizes that the log needs. Zeros under MODULO. */
QEMB_API void qemb_click_reader_cardinalities(const qemb_click_reader *reader, int64_t cardinalities[QEMB_CLICK_SPARSE]);

/* Kaggle's table sizes (33,762,577 rows in all) times scale, each rounded up and at least min(its size, 4). scale in (0, 1];
 * anything else gives Kaggle's own. */
QEMB_API void qemb_click_cardinalities(double scale, int64_t cardinalities[QEMB_CLICK_SPARSE]);

/* ---------------------------------------------------------------------------------------------------------------------
 * Click logs: making one
 * ------------------------------------------------------------------------------------------------------------------- */

/* Rows in Criteo's form with a truth that can be learnt, and known:
 *
 *   logit = bias + signal * (0.50 counts + 0.74 categories + 0.45 pairs of categories), each of the three scaled to mean 0 and
 *   deviation 1:  counts      13 log-normal counts, linear in log(1 + count)
 *                 categories  an effect of each of the 26 ids
 *                 pairs       dot products of planted factors of the ids, all 26 * 25 / 2 of them
 *   P(label = 1) = 1 / (1 + exp(-logit)), 25.6 % on average
 *
 * Ids follow Zipf-Mandelbrot, P(rank r) ~ (r + 3)^-alpha, and are scattered over their table by a permutation. A category is
 * written as a hash v with v mod num_embeddings[f] = id, so that QEMB_CLICK_MODULO with the same sizes gives the ids back
 * without collisions. Values are missing as often as in Criteo's columns; id 0 of a table stands for "missing".
 *
 * Row r depends on (descriptor, r) alone, on every machine: parts of a log can be made apart, and two ranges of rows
 * are a training set and a fresh test set of the same truth. Source of the plan: workloads of DLRM, FBGEMM's generators. */
typedef struct qemb_click_generator_desc {
    const int64_t *num_embeddings; /* [26], each 1 .. 2^31 - 1; NULL: Kaggle's times `scale` */
    double scale;                  /* see qemb_click_cardinalities; 0: 1 */
    double alpha;                  /* exponent of the ids' frequency, up to 4; 0: 1.1 */
    double signal;                 /* deviation of the logit, up to 10; 0: 1.65 */
    uint64_t seed;                 /* of everything: truth and rows */
    int32_t factor_dim;            /* columns of the planted factors, up to 8; 0: 4 */
    qemb_click_counts counts;      /* what `dense` of qemb_click_generator_rows holds */
} qemb_click_generator_desc;

typedef struct qemb_click_generator qemb_click_generator;

/* Takes some 50 ms and 300 KB, whatever the sizes. Rows may be drawn by several threads at once. num_embeddings is copied. Errors: RANGE
 * (a number outside the range named above), ARG. */
QEMB_API qemb_status qemb_click_generator_create(const qemb_click_generator_desc *desc, qemb_click_generator **generator);
QEMB_API void qemb_click_generator_destroy(qemb_click_generator *generator);

/* The table sizes in use. */
QEMB_API void qemb_click_generator_cardinalities(const qemb_click_generator *generator, int64_t cardinalities[QEMB_CLICK_SPARSE]);

/* Rows [first_row, first_row + rows) in the arrays of qemb_click_reader_next, without a file: ids[26][rows], dense[rows][13],
 * labels[rows], probabilities[rows] of label 1; each but ids may be NULL. The same values as from the file read back.
 * Errors, here and below: RANGE (a negative row or number of rows). */
QEMB_API qemb_status qemb_click_generator_rows(const qemb_click_generator *generator, int64_t first_row, int64_t rows, int32_t *ids,
                                               float *dense, float *labels, float *probabilities);

/* What the best possible predictor, which knows the truth, scores on rows: nothing does better but by luck.
 *   auc       chance that a random clicked row has the higher probability than a random other one, ties half (within 1e-5:
 *             probabilities are compared in 65,536 steps); 0.5 if one class is empty
 *   log_loss  mean of -log P(label) */
typedef struct qemb_click_report {
    int64_t rows, positives, bytes; /* bytes of the file, 0 without one */
    double auc, log_loss;
} qemb_click_report;
QEMB_API qemb_status qemb_click_generator_score(const qemb_click_generator *generator, int64_t first_row, int64_t rows,
                                                qemb_click_report *report);

/* Writes the rows as TSV to `path`, which appears whole or not at all. progress and report may be NULL. Some 400 thousand
 * rows a second. Errors: IO; STATE when progress said stop. */
QEMB_API qemb_status qemb_click_generator_write(const qemb_click_generator *generator, const char *path, int64_t first_row, int64_t rows,
                                                qemb_progress progress, void *user, qemb_click_report *report);

/* ---------------------------------------------------------------------------------------------------------------------
 * Click logs: batches ready before they are asked for
 * ------------------------------------------------------------------------------------------------------------------- */

/* A thread of its own that reads, or draws, the next batches while the caller works on one. The batches are those of
 * qemb_click_reader_next or qemb_click_generator_rows, in the same order: a feed changes when they are made, not what is in them.
 * The reader (or generator) is kept: nobody else may use it until the feed is destroyed, and it must live until then. */
typedef struct qemb_click_feed_desc {
    qemb_click_reader *reader;             /* one of the two */
    const qemb_click_generator *generator; /* with rows [first_row, first_row + row_count) */
    int64_t first_row, row_count;
    int64_t capacity; /* rows of a batch; only the last may have fewer */
    int32_t slots;    /* batches in memory, the caller's one included, 2 to 64; 0: 4. Each takes 160 * capacity bytes */
} qemb_click_feed_desc;

typedef struct qemb_click_batch {
    int64_t rows;        /* 0: the end */
    const int32_t *ids;  /* [26][rows] */
    const float *dense;  /* [rows][13] */
    const float *labels; /* [rows] */
} qemb_click_batch;

typedef struct qemb_click_feed qemb_click_feed;

/* Errors: ARG (a reader and a generator, or neither), RANGE (capacity, slots, rows), OVERFLOW, NOMEM (also no thread). */
QEMB_API qemb_status qemb_click_feed_create(const qemb_click_feed_desc *desc, qemb_click_feed **feed);
QEMB_API void qemb_click_feed_destroy(qemb_click_feed *feed); /* waits for the thread, at most for one batch */

/* The next batch, waiting for it if need be; its arrays are valid until the next call on the feed. A status of the reader comes
 * after the batches read before it, with the reader's sentence, and again until the rewind. */
QEMB_API qemb_status qemb_click_feed_next(qemb_click_feed *feed, qemb_click_batch *batch);

/* Back to the first batch. Errors: IO, NOMEM; the feed then stands (STATE) until a rewind succeeds. */
QEMB_API qemb_status qemb_click_feed_rewind(qemb_click_feed *feed);

#ifdef __cplusplus
}
#endif
#endif
