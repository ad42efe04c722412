/* fuzz_clicks.c - any bytes as a click log: the first byte chooses the policies, the rest is the file. */
#include "fuzz.h"

enum { ROWS = 8 };

/* Reads to the end or the first refusal; returns the number of rows. */
static int64_t read_all(qemb_click_reader *reader, const int64_t *sizes, qemb_status *st) {
    int32_t ids[ROWS * QEMB_CLICK_SPARSE];
    float dense[ROWS * QEMB_CLICK_DENSE], labels[ROWS];
    int64_t total = 0, rows = 1;
    for (*st = QEMB_OK; rows > 0; total += rows) {
        *st = qemb_click_reader_next(reader, ROWS, ids, dense, labels, &rows);
        if (*st != QEMB_OK) {
            break;
        }
        for (int64_t b = 0; b < rows; ++b) {
            PROMISE(labels[b] == 0.0f || labels[b] == 1.0f);
            for (int i = 0; i < QEMB_CLICK_DENSE; ++i) {
                PROMISE(dense[b * QEMB_CLICK_DENSE + i] >= 0.0f);
            }
            for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
                PROMISE(ids[f * rows + b] >= 0 && ids[f * rows + b] < sizes[f]);
            }
        }
    }
    return total;
}

int fuzz_clicks(const uint8_t *bytes, size_t count) {
    char path[64];
    int64_t sizes[QEMB_CLICK_SPARSE];
    qemb_click_reader *reader = NULL;
    uint8_t choice = count ? bytes[0] : 0;
    int fd = fuzz_file(bytes + (count > 0), count - (count > 0), path);
    for (int f = 0; f < QEMB_CLICK_SPARSE; ++f) {
        sizes[f] = 1 + f;
    }
    const qemb_click_desc desc = {.path = path,
                                  .num_embeddings = sizes,
                                  .first_row = choice >> 6,
                                  .row_count = choice >> 4 & 3,
                                  .form = (qemb_click_form)(choice >> 2 & 1),
                                  .ids = (qemb_click_ids)(choice & 1),
                                  .faults = (qemb_click_faults)(choice >> 1 & 1),
                                  .counts = (qemb_click_counts)(choice >> 3 & 1)};
    qemb_status st = qemb_click_reader_open(&desc, &reader), again = QEMB_OK;
    if (st == QEMB_OK) {
        int64_t rows = read_all(reader, sizes, &st);
        PROMISE(st == QEMB_OK || st == QEMB_ERR_CORRUPT || st == QEMB_ERR_INDEX);
        PROMISE(desc.row_count == 0 || rows <= desc.row_count);
        PROMISE(st == QEMB_OK || desc.faults == QEMB_CLICK_REFUSE || qemb_last_error()[0] != '\0');
        PROMISE(qemb_click_reader_rewind(reader) == QEMB_OK);
        PROMISE(read_all(reader, sizes, &again) == rows && again == st);
    } else {
        fuzz_refused(st);
    }
    qemb_click_reader_close(reader);
    (void)close(fd);
    return 0;
}
