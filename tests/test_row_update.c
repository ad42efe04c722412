/* test_row_update.c - optimisers: engine = engine = PyTorch's and FBGEMM's formulas, bit for bit. */
#include <criterion/criterion.h>

#include <sys/mman.h>

#include "core/optimizer.h"
#include "support_train.h"

/* mode, weighted, arithmetic, observer, fake quantisation, freq, int64, events, widths, constant */
static const train_form forms[] = {
    {QEMB_MODE_SUM, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 0, 0, 1, 0.3},
    {QEMB_MODE_SUM, 0, QEMB_ARITHMETIC_TORCH_CPU, QEMB_OBSERVER_MOVING_AVERAGE, 1, 0, 0, 0, 2, 0.3},
};
enum { NUM_FORMS = sizeof forms / sizeof *forms };

/* A case that takes kernels which the random cases take too. */
static op_row_update plain_case(int64_t kind, int64_t variant, uint64_t seed, int64_t steps) {
    op_row_update op = train_random(&forms[kind % NUM_FORMS], seed);
    op.backward.want = 0;
    op.backward.forward.steps = steps;
    op.backward.forward.padding = -1;
    op.backward.forward.kind = 0;
    op.backward.forward.qmin = 0;
    op.backward.forward.qmax = 15;
    train_optimizer(&op, kind, variant);
    return op;
}

Test(row_update, random_cases,
     .description = "row_update: every optimiser with every term it has, random cases, every engine gives the bits of the model") {
    const char *nightly = getenv("QEMB_NIGHTLY");
    const int64_t variants = nightly && *nightly ? 120 : 6;
    bag_pocl_devices();
    for (int64_t kind = 0; kind < OP_OPTIMIZERS; kind++) {
        for (int64_t variant = 0; variant < variants; variant++) {
            op_row_update op = train_random(&forms[kind % NUM_FORMS], (uint64_t)(kind * 1000 + variant));
            op.backward.want = 0;
            op.backward.forward.steps = 4;
            train_optimizer(&op, kind, variant);
            const bool both_devices = kind == QEMB_SGD || kind == QEMB_LAMB;
            train_check(&op, both_devices ? BAG_EVERYWHERE : 1 << BAG_PTHREAD | 1 << BAG_GPU, OP_ROW_UPDATE_TOLERANCE);
        }
    }
}

/* More lookups than the CPU family's update sums the parts of itself: they come summed, and are combined there. The kernels are those of the
 * random cases. */
Test(row_update, many_lookups,
     .description = "row_update: 66 thousand lookups of 43 rows, whose parts are summed by a launch of their own, every engine gives the "
                    "bits of the model") {
    op_row_update op = plain_case(QEMB_SGD, 1, 3, 1);
    op_bag_forward *f = &op.backward.forward;
    bag_pocl_devices();
    f->T = 1;
    f->E = 43;
    f->D = 19;
    f->B = 1237;
    f->L = 53;
    f->ragged = 0;
    cr_assert_gt(f->B * f->L, 1 << 16);
    train_check(&op, 1 << BAG_PTHREAD, OP_ROW_UPDATE_TOLERANCE);
}

Test(row_update, one_case,
     .description = "row_update: the case that QEMB_CASE names, or else one of the random ones, every engine gives the bits of the model") {
    const op_row_update op = train_case_from_environment(plain_case(QEMB_SGD, 1, 3, 2));
    bag_pocl_devices();
    train_check(&op, BAG_EVERYWHERE, 0.0);
}

/* ---- one table alone, and saving in the middle ------------------------------------------------------------------------------- */

/* The part of a result with this label; its numbers. */
static const float *part_of(const train_result *r, const char *label, int64_t step, int64_t table, int64_t count) {
    char name[TRAIN_LABEL];
    (void)snprintf(name, sizeof name, "%s, step %lld, table %lld", label, (long long)step, (long long)table);
    for (int64_t k = 0; k < r->num_parts; k++) {
        if (strcmp(r->parts[k].label, name) == 0) {
            cr_assert_eq(r->parts[k].count, count, "%s: %lld numbers", name, (long long)r->parts[k].count);
            return r->values + r->parts[k].first;
        }
    }
    cr_assert_fail("no part %s", name);
    return NULL;
}

/* Trains table t of `op` in a module of its own and compares what it becomes with the collection's. */
static void compare_alone(qemb_context *ctx, const op_row_update *op, const train_result *together, int64_t t) {
    const op_bag_forward *f = &op->backward.forward;
    const int64_t elements = op_bag_forward_rows(f, t) * f->D;
    op_row_update alone = *op;
    alone.backward.forward.T = 1;
    float *weights = bag_weights(f, t, 0);
    train_runner r;
    train_open(&r, ctx, &alone, (const float *const[]){weights});
    for (int64_t step = 0; step < f->steps; step++) {
        op_lookups in;
        cr_assert(op_bag_forward_fill(f, step, &in));
        const int64_t first = in.offsets[t * f->B];
        const int64_t columns = op_bag_forward_columns(f);
        float *all = malloc((size_t)(f->B * columns) * sizeof *all);
        float *grad = malloc((size_t)(f->B * f->D) * sizeof *grad);
        op_bag_backward_fill(&op->backward, step, all, f->B * columns);
        for (int64_t b = 0; b < f->B; b++) {
            memcpy(grad + b * f->D, all + b * columns + t * f->D, (size_t)f->D * sizeof *grad);
        }
        op_lookups part = {.num_indices = in.offsets[(t + 1) * f->B] - first,
                           .num_offsets = f->B + 1,
                           .indices = in.indices + first,
                           .offsets = in.offsets + t * f->B,
                           .weights = in.weights + first};
        for (int64_t b = 0; b <= f->B; b++) {
            part.offsets[b] -= first;
        }
        train_step_with(&r, step, &part, grad, f->B * f->D);
        free(all);
        free(grad);
        op_lookups_free(&in);
    }
    train_state(&r);
    train_close(&r);
    cr_assert_arr_eq(part_of(&r.result, "weight", f->steps, 0, elements), part_of(together, "weight", f->steps, t, elements),
                     (size_t)elements * sizeof(float), "optimiser %lld, table %lld", (long long)op->opt, (long long)t);
    cr_assert_arr_eq(part_of(&r.result, "observer", f->steps, 0, 4 * op_bag_forward_rows(f, t)),
                     part_of(together, "observer", f->steps, t, 4 * op_bag_forward_rows(f, t)),
                     (size_t)(4 * op_bag_forward_rows(f, t)) * sizeof(float), "optimiser %lld, table %lld", (long long)op->opt,
                     (long long)t);
    train_result_free(&r.result);
    free(weights);
}

Test(row_update, alone, .description = "row_update: one table alone or in a collection, the same bits after ten steps, every optimiser") {
    static const bag_engine *const two[] = {&bag_engines[BAG_REFERENCE], &bag_engines[BAG_PTHREAD]};
    bag_pocl_devices();
    for (int e = 0; e < 2; e++) {
        qemb_context *ctx = bag_context(two[e]);
        for (int64_t kind = 0; kind < OP_OPTIMIZERS; kind++) {
            op_row_update op = plain_case(kind, 1, 5, 10);
            op.clip = QEMB_CLIP_NONE; /* a norm is taken over the whole module */
            op.limit = 0.0;
            op.backward.forward.T = 3;
            op.backward.forward.two_d = 0;
            op.backward.forward.padding = 1;
            train_result together = train_run_in(ctx, &op);
            for (int64_t t = 0; t < 3; t++) {
                compare_alone(ctx, &op, &together, t);
            }
            train_result_free(&together);
        }
        qemb_context_destroy(ctx);
    }
}

/* Everything that a checkpoint holds, read out of `from` and put into `to`. */
static void copy_state(const op_row_update *op, train_runner *from, train_runner *to) {
    qemb_optimizer_info info;
    train_must(op, qemb_optimizer_info_get(from->optimizer, &info));
    for (int64_t t = 0; t < op->backward.forward.T; t++) {
        const int64_t rows = op_bag_forward_rows(&op->backward.forward, t);
        const int64_t dim = op_bag_forward_dim(&op->backward.forward, t);
        float *values = malloc((size_t)(rows * dim + 2 * rows) * sizeof *values);
        float *min_val = values + rows * dim;
        cr_assert_not_null(values);
        train_must(op, qemb_embedding_bag_read_observer(from->bag, (int32_t)t, 0, rows,
                                                        &(qemb_observer_rows){min_val, min_val + rows, NULL, NULL}));
        train_must(op, qemb_embedding_bag_read_weight(from->bag, (int32_t)t, 0, rows, values));
        train_must(op, qemb_embedding_bag_write_weight(to->bag, (int32_t)t, 0, rows, values));
        train_must(op, qemb_embedding_bag_write_observer(to->bag, (int32_t)t, 0, rows, min_val, min_val + rows));
        for (int32_t k = 0; k < info.num_arrays; k++) {
            train_must(op, qemb_optimizer_read_state(from->optimizer, k, (int32_t)t, 0, rows, values));
            train_must(op, qemb_optimizer_write_state(to->optimizer, k, (int32_t)t, 0, rows, values));
        }
        free(values);
    }
    train_must(op, qemb_optimizer_set_steps(to->optimizer, info.steps));
}

Test(row_update, resumed,
     .description =
         "row_update: state read in the middle and written into a fresh module and optimiser, the same next ten losses, bit for bit") {
    enum { BEFORE = 3, AFTER = 10 };
    static const bag_engine *const some[] = {&bag_engines[BAG_REFERENCE], &bag_engines[BAG_PTHREAD], &bag_engines[BAG_GPU]};
    bag_pocl_devices();
    for (int e = 0; e < 3; e++) {
        qemb_context *ctx = bag_context(some[e]);
        for (int64_t kind = 0; kind < OP_OPTIMIZERS; kind++) {
            const op_row_update op = plain_case(kind, 1, 6, BEFORE + AFTER);
            train_runner first;
            train_runner second;
            train_open(&first, ctx, &op, NULL);
            train_open(&second, ctx, &op, NULL);
            for (int64_t step = 0; step < BEFORE; step++) {
                train_step(&first, step);
            }
            copy_state(&op, &first, &second);
            train_result_free(&first.result);
            first.losses = second.losses = true;
            for (int64_t step = BEFORE; step < BEFORE + AFTER; step++) {
                train_step(&first, step);
                train_step(&second, step);
            }
            train_state(&first);
            train_state(&second);
            train_close(&first);
            train_close(&second);
            train_expect_same(&op, some[e]->label, &second.result, &first.result, 0.0);
            train_result_free(&first.result);
            train_result_free(&second.result);
        }
        qemb_context_destroy(ctx);
    }
}

/* ---- rows that no lookup touches ------------------------------------------------------------------------------------------------ */

enum { PAGE = 4096, GUARDED_ROWS = 32768, GUARDED_DIM = 32 };

/* Whole pages inside `bytes` from `start` that hold none of the items [id * size, (id + 1) * size): not to be read or written. */
static void guard(char *start, size_t bytes, size_t size, const int32_t *ids, int count, int access) {
    const size_t first = (PAGE - (uintptr_t)start % PAGE) % PAGE;
    cr_assert_geq(bytes, 16 * PAGE, "no pages to guard");
    for (size_t page = first; page + PAGE <= bytes; page += PAGE) {
        bool used = false;
        for (int i = 0; i < count; i++) {
            used = used || ((size_t)(ids[i] + 1) * size > page && (size_t)ids[i] * size < page + PAGE);
        }
        if (!used) {
            cr_assert_eq(mprotect(start + page, PAGE, access), 0);
        }
    }
}

static void guard_module(const qemb_embedding_bag *bag, const qemb_optimizer *o, const int32_t *ids, int count, int access) {
    const qemb__slab *slab = &bag->tables->slab[0];
    const size_t wide = (size_t)GUARDED_DIM * sizeof(float);
    guard(slab->weight->host, (size_t)GUARDED_ROWS * wide, wide, ids, count, access);
    guard(slab->state->host, (size_t)GUARDED_ROWS * sizeof(q_state), sizeof(q_state), ids, count, access);
    if (o->m) {
        guard(o->m[0]->host, (size_t)GUARDED_ROWS * wide, wide, ids, count, access);
    }
    if (o->v) {
        const size_t size = o->row_wise ? sizeof(float) : wide;
        guard(o->v[0]->host, (size_t)GUARDED_ROWS * size, size, ids, count, access);
    }
}

static void check_untouched(qemb_context *ctx, const char *label, int64_t kind) {
    static const int32_t ids[] = {7, 20011, 7, 5003, 20011, 31, 5003};
    enum { COUNT = sizeof ids / sizeof *ids };
    const size_t bytes = (size_t)GUARDED_ROWS * GUARDED_DIM * sizeof(float);
    op_row_update op = plain_case(kind, 1, 8, 1);
    float grad[GUARDED_DIM];
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    qemb_optimizer *optimizer = NULL;
    float *before = malloc(bytes);
    float *after = malloc(bytes);
    cr_assert(before && after);
    op.clip = QEMB_CLIP_NONE;
    op.limit = 0.0;
    const qemb_optimizer_desc desc = op_row_update_desc(&op);
    for (int c = 0; c < GUARDED_DIM; c++) {
        grad[c] = (float)(c + 1);
    }
    train_must(&op, qemb_embedding_bag_create(ctx,
                                              &(qemb_embedding_bag_desc){.num_embeddings = GUARDED_ROWS,
                                                                         .embedding_dim = GUARDED_DIM,
                                                                         .qconfig = {.quant_max = 15, .averaging_constant = 0.3f},
                                                                         .mode = QEMB_MODE_SUM},
                                              &bag));
    train_must(&op, qemb_batch_create(ctx, &batch));
    train_must(&op, qemb_buffer_create(ctx, sizeof grad, &out));
    train_must(&op, qemb_optimizer_create(ctx, bag, &desc, &optimizer));
    train_must(&op, qemb_embedding_bag_read_weight(bag, 0, 0, GUARDED_ROWS, before));
    train_must(&op, qemb_context_finish(ctx));
    guard_module(bag, optimizer, ids, COUNT, PROT_NONE);
    for (int step = 0; step < 3; step++) {
        train_must(&op, qemb_batch_set(batch, bag,
                                       &(qemb_input){.indices = ids, .num_indices = COUNT, .indices_dtype = QEMB_INT32, .columns = COUNT}));
        train_must(&op, qemb_embedding_bag_forward(bag, batch, out));
        train_must(&op, qemb_buffer_write(out, 0, sizeof grad, grad));
        train_must(&op, qemb_embedding_bag_step(bag, batch, out, optimizer));
        train_must(&op, qemb_context_finish(ctx));
    }
    guard_module(bag, optimizer, ids, COUNT, PROT_READ | PROT_WRITE);
    train_must(&op, qemb_embedding_bag_read_weight(bag, 0, 0, GUARDED_ROWS, after));
    for (int r = 0; r < GUARDED_ROWS; r++) {
        const bool used = r == 7 || r == 31 || r == 5003 || r == 20011;
        const size_t at = (size_t)r * GUARDED_DIM;
        cr_assert_eq(memcmp(before + at, after + at, GUARDED_DIM * sizeof(float)) != 0, used, "%s: optimiser %lld, row %d", label,
                     (long long)kind, r);
    }
    free(before);
    free(after);
    qemb_optimizer_destroy(optimizer);
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
}

Test(row_update, untouched_rows,
     .description = "row_update: pages of table, state and optimiser without a looked-up row may not be touched, three steps still run") {
    static const int64_t kinds[] = {QEMB_SGD, QEMB_ADAGRAD, QEMB_SPARSE_ADAM, QEMB_PARTIAL_ROWWISE_ADAM};
    static const bag_engine *const some[] = {&bag_engines[BAG_REFERENCE], &bag_engines[BAG_PTHREAD], &bag_engines[BAG_GPU]};
    bag_pocl_devices();
    for (int e = 0; e < 3; e++) {
        qemb_context *ctx = bag_context(some[e]);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            check_untouched(ctx, some[e]->label, kinds[k]);
        }
        qemb_context_destroy(ctx);
    }
}
