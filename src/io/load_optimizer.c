/* load_optimizer.c - the state of an optimiser. Everything is checked before anything is changed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "io/load.h"
#include "io/safetensors_file.h"
#include "io/state_texts.h"

static const char who[] = "load_optimizer";

/* Kind and hyper-parameters are those of the file; *lr becomes the file's. */
static qemb_status check_text(const qemb__load *at, const qemb_optimizer_info *info, double *lr) {
    qemb_status st = QEMB_OK;
    const char *text = NULL;
    qemb__optimizer_text in_file = {0};
    qemb__optimizer_text here = {0};
    TRY(qemb__load_text(at, QEMB__KEY_OPTIMIZER, &text));
    if (!text) {
        goto done;
    }
    TRY(qemb__fields_read(at->who, at->file->path, QEMB__KEY_OPTIMIZER, text, qemb__optimizer_fields, &in_file));
    qemb__optimizer_text_of(&info->desc, &here);
    for (const qemb__field *f = qemb__optimizer_fields; f->name; ++f) {
        const char *a = (const char *)&in_file + f->offset;
        const char *b = (const char *)&here + f->offset;
        REQUIRE(f->offset == offsetof(qemb__optimizer_text, lr) || memcmp(a, b, sizeof(int64_t)) == 0, QEMB_ERR_ARG,
                "%s: %s: %s is not the same in the file and here", who, at->file->path, f->name);
    }
    REQUIRE(in_file.lr >= 0.0 && isfinite(in_file.lr), QEMB_ERR_CORRUPT, "%s: %s: lr=%g, want a finite number >= 0", who, at->file->path,
            in_file.lr);
    *lr = in_file.lr;
done:
    return st;
}

/* Torch keeps a count a parameter, an integer in SparseAdam, float32 elsewhere, none in SGD, where a buffer means a step was made. All
 * tables stand at the same one. */
static qemb_status check_step(const qemb__load *at, const qemb_optimizer_info *info, int32_t table, int64_t *steps) {
    qemb_status st = QEMB_OK;
    qemb_tensor_view view;
    char key[48];
    int64_t value = 0;
    float real = 0.0f;
    (void)snprintf(key, sizeof key, "state.%d.step", table);
    TRY(qemb__load_find(at, key, &view));
    REQUIRE(view.name || info->kind == QEMB_SGD, QEMB_ERR_ARG, "%s: %s: no tensor '%s%s'", who, at->file->path, at->prefix, key);
    if (!view.name) {
        value = 1;
    } else if (view.dtype == QEMB_FILE_F32 && view.count == 1) {
        memcpy(&real, view.data, sizeof real);
        REQUIRE(real >= 0.0f && real <= 0x1p24f && (float)(int64_t)real == real, QEMB_ERR_CORRUPT,
                "%s: %s: tensor '%.200s' at byte %lld is %g, want a whole number up to 2^24", who, at->file->path, view.name,
                (long long)view.offset, (double)real);
        value = (int64_t)real;
    } else {
        TRY(qemb__load_integer(at, &view, &value));
    }
    REQUIRE(value >= 0 && value <= INT64_MAX / 4 && (table == 0 || value == *steps), QEMB_ERR_CORRUPT,
            "%s: %s: tensor '%.200s' at byte %lld is %lld, want a count >= 0, the same for all tables", who, at->file->path, view.name,
            (long long)view.offset, (long long)value);
    *steps = value;
done:
    return st;
}

typedef struct state_target {
    qemb_optimizer *optimizer; /* NULL: check only */
    const qemb__load *at;
    const qemb_tensor_view *view;
    int32_t array, table;
    bool not_negative;
    int64_t width;
} state_target;

/* Squares add up to nothing negative. NaN is what a diverged training has. */
static qemb_status take_state(void *user, int64_t first, int64_t count, const float *rows) {
    const state_target *to = user;
    qemb_status st = QEMB_OK;
    for (int64_t i = 0; to->not_negative && i < count * to->width; ++i) {
        REQUIRE(!(rows[i] < 0.0f), QEMB_ERR_CORRUPT, "%s: %s: tensor '%.200s' at byte %lld: %g, a sum of squares is not negative", who,
                to->at->file->path, to->view->name, (long long)(to->view->offset + 4 * (first * to->width + i)), (double)rows[i]);
    }
    TRY(to->optimizer ? qemb_optimizer_write_state(to->optimizer, to->array, to->table, first, count, rows) : QEMB_OK);
done:
    return st;
}

/* One array of one table: checked, or put in. */
static qemb_status move_array(const qemb__load *at, const qemb_optimizer_info *info, state_target to) {
    qemb_status st = QEMB_OK;
    qemb_table_desc d;
    qemb_tensor_view view;
    char key[96];
    TRY(qemb_embedding_bag_table(info->bag, to.table, &d));
    const bool row_wise = info->array_row_wise[to.array];
    const int64_t shape[] = {d.num_embeddings, d.embedding_dim};
    (void)snprintf(key, sizeof key, "state.%d.%s", to.table, info->array_name[to.array]);
    TRY(qemb__load_want(at, key, QEMB_FILE_F32, row_wise ? 1 : 2, shape, &view));
    to.at = at;
    to.view = &view;
    to.width = row_wise ? 1 : d.embedding_dim;
    to.not_negative = strcmp(info->array_name[to.array], "exp_avg_sq") == 0 || strcmp(info->array_name[to.array], "sum") == 0;
    if (to.not_negative || to.optimizer) {
        TRY(qemb__load_rows(at, &view, take_state, &to));
    }
done:
    return st;
}

qemb_status qemb_load_optimizer(const qemb_safetensors *file, const char *prefix, qemb_optimizer *optimizer) {
    qemb_status st = QEMB_OK;
    qemb_optimizer_info info;
    qemb_bag_info bag;
    int64_t steps = 0;
    REQUIRE(file && optimizer, QEMB_ERR_ARG, "%s: %s is NULL", who, file ? "optimizer" : "file");
    TRY(qemb_optimizer_info_get(optimizer, &info));
    TRY(qemb_embedding_bag_info(info.bag, &bag));
    const qemb__load at = {file, who, prefix ? prefix : "", NULL};
    double lr = info.lr;
    TRY(check_text(&at, &info, &lr));
    for (int pass = 0; pass < 2; ++pass) {
        for (int32_t t = 0; t < bag.num_tables; ++t) {
            TRY(pass ? QEMB_OK : check_step(&at, &info, t, &steps));
            for (int32_t k = 0; k < info.num_arrays; ++k) {
                TRY(move_array(&at, &info, (state_target){.optimizer = pass ? optimizer : NULL, .array = k, .table = t}));
            }
        }
    }
    TRY(qemb_optimizer_set_steps(optimizer, steps));
    TRY(qemb_optimizer_set_lr(optimizer, lr));
done:
    return st;
}
