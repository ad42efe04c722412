/* data.c - see data.h. */
#include "dlrm/data.h"

#include <stdio.h>

enum { DAYS = 7 };
static const double kaggle_train_rows = 39291958.0;

static qemb_status open_reader(const dlrm_data *data, int64_t first, int64_t count, qemb_click_reader **reader) {
    qemb_status st = QEMB_OK;
    const dlrm_data_desc *d = &data->desc;
    const qemb_click_desc log = {.path = d->path,
                                 .num_embeddings = d->ids == QEMB_CLICK_MODULO ? data->rows : NULL,
                                 .first_row = first,
                                 .row_count = count,
                                 .form = d->form,
                                 .ids = d->ids,
                                 .faults = d->faults};
    DLRM_LIB(qemb_click_reader_open(&log, reader));
done:
    return st;
}

/* A file: its length, with first-seen ids also the sizes of the tables. */
static qemb_status measure_file(dlrm_data *data) {
    qemb_status st = QEMB_OK;
    qemb_click_reader *reader = NULL;
    int64_t rows = 0;
    qemb_click_cardinalities(data->desc.scale, data->rows);
    DLRM_TRY(open_reader(data, 0, 0, &reader));
    DLRM_LIB(qemb_click_reader_count(reader, &rows));
    if (data->desc.ids == QEMB_CLICK_FIRST_SEEN) {
        qemb_click_reader_cardinalities(reader, data->rows);
    }
    data->faults = qemb_click_reader_fault_count(reader);
    for (int64_t i = 0; i < QEMB_CLICK_NAMED_FAULTS && qemb_click_reader_fault(reader, i); i++) {
        (void)snprintf(data->fault[i], sizeof data->fault[i], "%s", qemb_click_reader_fault(reader, i));
    }
    const int64_t last = rows / DAYS;
    data->count[DLRM_TRAIN] = rows - last;
    data->first[DLRM_TEST] = rows - last;
    data->count[DLRM_TEST] = (last + 1) / 2;
    DLRM_REQUIRE(last > 0, QEMB_ERR_SHAPE, "dlrm: %s has %lld rows that can be used, want at least %d to split into days", data->desc.path,
                 (long long)rows, DAYS);
done:
    qemb_click_reader_close(reader);
    return st;
}

static qemb_status plant(dlrm_data *data) {
    qemb_status st = QEMB_OK;
    const dlrm_data_desc *d = &data->desc;
    DLRM_REQUIRE(d->synthetic > 0, QEMB_ERR_RANGE, "dlrm: %lld planted rows, want > 0", (long long)d->synthetic);
    const double natural = (double)d->synthetic / kaggle_train_rows;
    const double scale = d->scale > 0.0 ? d->scale : natural < 1.0 ? natural : 1.0;
    DLRM_LIB(qemb_click_generator_create(&(qemb_click_generator_desc){.scale = scale, .seed = d->seed}, &data->generator));
    data->desc.scale = scale;
    data->desc.test_rows = d->test_rows > 0 ? d->test_rows : d->synthetic;
    qemb_click_generator_cardinalities(data->generator, data->rows);
    data->count[DLRM_TRAIN] = d->synthetic;
    data->first[DLRM_TEST] = d->synthetic;
    data->count[DLRM_TEST] = d->test_rows;
    DLRM_LIB(qemb_click_generator_score(data->generator, data->first[DLRM_TEST], data->count[DLRM_TEST], &data->best));
done:
    return st;
}

qemb_status dlrm_data_open(const dlrm_data_desc *desc, dlrm_data **out) {
    qemb_status st = QEMB_OK;
    dlrm_data *data = NULL;
    DLRM_NEW(data, 1);
    data->desc = *desc;
    DLRM_TRY(desc->path ? measure_file(data) : plant(data));
    *out = data;
    data = NULL;
done:
    dlrm_data_close(data);
    return st;
}

void dlrm_data_close(dlrm_data *data) {
    if (data) {
        qemb_click_generator_destroy(data->generator);
        free(data);
    }
}

qemb_status dlrm_feed_open(const dlrm_data *data, dlrm_part part, int64_t skip, int64_t batch, dlrm_feed *feed) {
    qemb_status st = QEMB_OK;
    const int64_t first = data->first[part] + skip;
    const int64_t count = data->count[part] - skip;
    *feed = (dlrm_feed){NULL, NULL};
    qemb_click_feed_desc desc = {.capacity = batch};
    DLRM_REQUIRE(skip >= 0 && count > 0, QEMB_ERR_RANGE, "dlrm: %lld rows to skip of %lld", (long long)skip, (long long)data->count[part]);
    if (data->generator) {
        desc.generator = data->generator;
        desc.first_row = first;
        desc.row_count = count;
    } else {
        DLRM_TRY(open_reader(data, first, count, &feed->reader));
        desc.reader = feed->reader;
    }
    DLRM_LIB(qemb_click_feed_create(&desc, &feed->feed));
done:
    if (st != QEMB_OK) {
        dlrm_feed_close(feed);
    }
    return st;
}

void dlrm_feed_close(dlrm_feed *feed) {
    qemb_click_feed_destroy(feed->feed);
    qemb_click_reader_close(feed->reader);
    *feed = (dlrm_feed){NULL, NULL};
}
