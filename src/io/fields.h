/* fields.h - metadata texts of the form "version=1 name=value name=value ... last=anything", written and parsed from one table of fields.
 *
 * The version is that of all texts of this library, and goes up when a table of fields changes: an older reader then says UNSUPPORTED. */
#ifndef QEMB_IO_FIELDS_H
#define QEMB_IO_FIELDS_H

#include <qemb/qemb.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qemb__field_kind {
    QEMB__FIELD_INTEGER, /* int64_t in low..high, decimal */
    QEMB__FIELD_WORD,    /* int64_t, the number of a word in `words` */
    QEMB__FIELD_REAL,    /* double, printed so that it reads back as the same bits; NaN is not one */
    QEMB__FIELD_TEXT     /* const char *, the rest of the text: the last field */
} qemb__field_kind;

typedef struct qemb__field {
    const char *name;
    size_t offset; /* in the structure that holds the values */
    qemb__field_kind kind;
    int64_t low, high;
    const char *const *words; /* ends with NULL */
} qemb__field;

/* Every field of `fields` (ends with a NULL name), in order. To be freed. */
qemb_status qemb__fields_write(const qemb__field *fields, const void *values, char **text);

/* The same back, for the call `who`. Each field must stand there, in order and once; CORRUPT with file, key and reason otherwise,
 * UNSUPPORTED for another version. Texts point into `text`. */
qemb_status qemb__fields_read(const char *who, const char *path, const char *key, const char *text, const qemb__field *fields,
                              void *values);

#endif
