/* bench.c - the table of operations and the clock. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 4096, TURN = 5 };
static const double budget_seconds = 20.0; /* of a workload whose number of runs was left to the bench */

extern const bench_operation bench_bag_forward, bench_step, bench_bag_backward, bench_row_update, bench_row_sort, bench_row_sort_map,
    bench_row_observe, bench_row_pack, bench_packed_forward;
const bench_operation *const bench_operations[] = {
    &bench_bag_forward,  &bench_step,        &bench_bag_backward, &bench_row_update,     &bench_row_sort,
    &bench_row_sort_map, &bench_row_observe, &bench_row_pack,     &bench_packed_forward, NULL};

const bench_operation *bench_operation_find(const char *name) {
    for (int i = 0; bench_operations[i]; i++) {
        if (strcmp(bench_operations[i]->name, name) == 0) {
            return bench_operations[i];
        }
    }
    return NULL;
}

typedef struct subject {
    bench_form form;
    void *state;
    int32_t turn; /* runs that count as one, by their median */
    double us[MAX_RUNS];
} subject;

const char *const bench_observers[] = {"moving_average", "min_max", "memoryless", NULL};
const char *const bench_layouts[] = {"torch_rowwise", "rowwise_half", "fbgemm", "planar", NULL};
const char *const bench_qparams[] = {"fp32", "bf16", "pow2", NULL};

/* What was measured: the observer, of packed rows the layout, or what they are compared with. */
static void variant_text(const bench_options *o, const bench_operation *op, bench_form form, char *text, size_t size) {
    const bool packed = op == &bench_row_pack || op == &bench_packed_forward;
    const char *word = form == BENCH_PIPELINE     ? "pipeline"
                       : form == BENCH_COPY       ? "copy"
                       : form == BENCH_YARDSTICK  ? "yardstick"
                       : form == BENCH_FLOAT      ? "float"
                       : packed                   ? bench_layouts[o->layout]
                       : o->is_float              ? "float"
                       : form == BENCH_MEMORYLESS ? "memoryless"
                                                  : bench_observers[o->observer];
    (void)snprintf(text, size, "%s", word);
}

/* One run of one subject: input and flush before the clock starts. */
static qemb_status run_once(bench_world *w, const bench_operation *op, subject *s, bool fresh, double *us) {
    qemb_status st = QEMB_OK;
    if (fresh) {
        BENCH_TRY(op->fresh(s->state));
    }
    if (op->ready) {
        BENCH_TRY(op->ready(s->state));
    }
    if (w->flush) {
        BENCH_TRY(qemb_buffer_write(w->flush, 0, qemb_buffer_bytes(w->flush), w->flush_source));
    }
    BENCH_TRY(qemb_context_finish(w->ctx));
    double start = bench_seconds();
    BENCH_TRY(op->run(s->state));
    BENCH_TRY(qemb_context_finish(w->ctx));
    *us = 1e6 * (bench_seconds() - start);
done:
    return st;
}

/* One turn of a subject. */
static qemb_status run_turn(bench_world *w, const bench_operation *op, subject *s, double *us) {
    double each[TURN];
    qemb_status st = QEMB_OK;
    for (int32_t i = 0; i < s->turn; i++) {
        BENCH_TRY(run_once(w, op, s, !w->options->repeat, &each[i]));
    }
    *us = bench_median(each, s->turn);
done:
    return st;
}

/* What takes a small part of the other's time follows itself in its users' programs and not the other, behind which it finds its code,
 * its indices and the page tables gone from the caches: it runs several times a turn. */
static void choose_turns(subject *subjects, int count, const double *warm) {
    enum { SMALL_PART = 16 };
    for (int k = 0; k < count; k++) {
        subjects[k].turn = SMALL_PART * warm[k] < warm[(k + 1) % count] ? TURN : 1;
    }
}

/* Runs the subjects in turn, the first of a round changing from round to round. */
static qemb_status run_rounds(bench_world *w, const bench_operation *op, subject *subjects, int count, int32_t *runs) {
    const bench_options *o = w->options;
    const int32_t floor_runs = o->compare ? BENCH_MIN_PAIRS : 5;
    const int32_t asked = o->runs ? o->runs : BENCH_DEFAULT_RUNS;
    qemb_status st = QEMB_OK;
    double warm[BENCH_MAX_SUBJECTS] = {0};
    for (int k = 0; k < count * BENCH_WARM_UPS; k++) {
        BENCH_TRY(run_once(w, op, &subjects[k % count], !o->repeat || k < count, &warm[k % count]));
    }
    choose_turns(subjects, count, warm);
    const double start = bench_seconds();
    *runs = 0;
    while (*runs < asked && *runs < MAX_RUNS && (o->runs || *runs < floor_runs || bench_seconds() - start < budget_seconds)) {
        for (int k = 0; k < count; k++) {
            subject *s = &subjects[(*runs + k) % count];
            BENCH_TRY(run_turn(w, op, s, &s->us[*runs]));
        }
        ++*runs;
    }
done:
    return st;
}

static double percentile_90(const double *us, int32_t runs) {
    int32_t above = 0;
    double high = us[0];
    for (int32_t i = 0; i < runs; i++) {
        high = us[i] > high ? us[i] : high;
    }
    double best = high;
    for (int32_t i = 0; i < runs; i++) {
        above = 0;
        for (int32_t k = 0; k < runs; k++) {
            above += us[k] > us[i];
        }
        best = above * 10 <= runs && us[i] < best ? us[i] : best;
    }
    return best;
}

static void summarise(const bench_world *w, const bench_operation *op, const subject *s, int32_t runs, bench_result *r) {
    bench_work work = {0};
    op->work(s->state, &work);
    *r = (bench_result){.op = op->name,
                        .runs = runs,
                        .best_us = s->us[0],
                        .median_us = bench_median(s->us, runs),
                        .p90_us = percentile_90(s->us, runs),
                        .bytes = work.bytes};
    variant_text(w->options, op, s->form, r->variant, sizeof r->variant);
    for (int32_t i = 0; i < runs; i++) {
        r->best_us = s->us[i] < r->best_us ? s->us[i] : r->best_us;
    }
    r->gbps = 1e-3 * work.bytes / r->median_us;
    r->fbgemm_gbps = 1e-3 * work.fbgemm_bytes / r->median_us;
    r->items_per_s = 1e6 * work.items / r->median_us;
    r->share = w->copy_gbps > 0.0 ? r->gbps / w->copy_gbps : 0.0;
    r->rows_share = w->rows_gbps > 0.0 ? r->gbps / w->rows_gbps : 0.0;
    r->spread = (r->p90_us - r->best_us) / r->median_us;
}

static double median_ratio(const subject *picked, const subject *other, int32_t runs) {
    double ratio[MAX_RUNS];
    for (int32_t i = 0; i < runs; i++) {
        ratio[i] = picked->us[i] / other->us[i];
    }
    return bench_median(ratio, runs);
}

/* Subjects of a comparison, the picked variant last. */
static int choose_forms(const bench_options *o, bench_form *forms) {
    static const bench_form other[] = {BENCH_PICKED, BENCH_FLOAT, BENCH_MEMORYLESS, BENCH_PIPELINE, BENCH_COPY, BENCH_YARDSTICK};
    int count = 0;
    if (o->compare) {
        forms[count++] = other[o->compare];
    }
    forms[count++] = BENCH_PICKED;
    return count;
}

static const char *const compared_words[] = {NULL, "float", "memoryless", "pipeline", "copy", "yardstick"};

static void describe(const bench_world *w, bench_report *report) {
    const bench_options *o = w->options;
    (void)snprintf(report->device, sizeof report->device, "%s", w->report.device);
    bench_shape_text(o, report->shape, sizeof report->shape);
    report->compared = compared_words[o->compare];
    report->bits = o->is_float ? 32 : o->bits;
    report->copy_gbps = w->copy_gbps;
    report->rows_gbps = w->rows_gbps;
    report->page_bytes = w->page_bytes;
}

qemb_status bench_run(const bench_operation *op, const bench_options *o, bench_report *report) {
    qemb_status st = QEMB_OK;
    bench_world world = {0};
    bench_form forms[BENCH_MAX_SUBJECTS];
    int32_t runs = 0;
    const int count = choose_forms(o, forms);
    subject *subjects = bench_alloc(count, sizeof *subjects);
    *report = (bench_report){.count = count};
    if (o->compare && !(op->allowed >> o->compare & 1)) {
        st = bench_fail(QEMB_ERR_ARG, "%s cannot be compared with %s", op->name, compared_words[o->compare]);
        goto done;
    }
    BENCH_TRY(bench_world_create(o, &world));
    for (int k = 0; k < count; k++) {
        subjects[k].form = forms[k];
        BENCH_TRY(op->open(&world, forms[k], &subjects[k].state));
    }
    BENCH_TRY(run_rounds(&world, op, subjects, count, &runs));
    describe(&world, report);
    for (int k = 0; k < count; k++) {
        summarise(&world, op, &subjects[k], runs, &report->result[k]);
    }
    if (count > 1) {
        report->result[count - 1].ratio = median_ratio(&subjects[count - 1], &subjects[0], runs);
    }
done:
    for (int k = count - 1; k >= 0; k--) {
        if (subjects[k].state) {
            op->close(subjects[k].state);
        }
    }
    bench_world_destroy(&world);
    free(subjects);
    return st;
}
