/* qemb_io.h - files and data: safetensors, npy, click logs in Criteo's format.
 *
 * Nothing here needs a context or a device. The words, the error rules and the ownership rules of qemb.h hold.
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
 * qemb_safetensors_read_rows reads without the map and gives a status instead. */
QEMB_API qemb_status qemb_safetensors_open(const char *path, qemb_safetensors **file);
QEMB_API void qemb_safetensors_close(qemb_safetensors *file);

/* Tensors in the order of their data, 0 <= index < count. _find gives -1 for a name that is not there; _tensor refuses it
 * (ARG). */
QEMB_API int64_t qemb_safetensors_count(const qemb_safetensors *file);
QEMB_API int64_t qemb_safetensors_find(const qemb_safetensors *file, const char *name);
QEMB_API qemb_status qemb_safetensors_at(const qemb_safetensors *file, int64_t index, qemb_tensor_view *view);
QEMB_API qemb_status qemb_safetensors_tensor(const qemb_safetensors *file, const char *name, qemb_tensor_view *view);

/* The text under `key` of __metadata__, NULL if there is none; pairs by number in the order of their keys' bytes. */
QEMB_API const char *qemb_safetensors_metadata(const qemb_safetensors *file, const char *key);
QEMB_API int64_t qemb_safetensors_metadata_count(const qemb_safetensors *file);
QEMB_API qemb_status qemb_safetensors_metadata_at(const qemb_safetensors *file, int64_t index, const char **key, const char **text);

/* Rows [first, first + count) of a tensor of rank 1 or more, copied to target[count][bytes / shape[0]] by plain reads: a
 * piece of a table larger than memory. Errors: RANGE, IO (also when the file has become shorter). */
QEMB_API qemb_status qemb_safetensors_read_rows(const qemb_safetensors *file, const char *name, int64_t first, int64_t count,
                                                void *target);

#ifdef __cplusplus
}
#endif
#endif
