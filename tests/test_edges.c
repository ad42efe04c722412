/* test_edges.c - corners that no other test comes to, on the reference engine: what base does with sizes that do not fit, log lines, maxima and
 * padding after a step, progress that wants state, conversions that cannot hold a row, optimiser files as torch writes them. */
#include <criterion/criterion.h>

#include <criterion/redirect.h>
#include <math.h>
#include <pthread.h>
#include <qemb/qemb_io.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/rng.h"
#include "opencl/opencl.h"
#include "support_files.h"
#include "support_ok.h"

#define BAD(want, call)                                                                                                                    \
    do {                                                                                                                                   \
        const qemb_status st_ = (call);                                                                                                    \
        cr_expect_eq(st_, QEMB_ERR_##want, "%s: %s: %s", #call, qemb_status_name(st_), qemb_last_error());                                 \
    } while (0)

TestSuite(edges, .init = support_folder_create, .fini = support_folder_remove);

Test(edges, base_sizes,
     .description = "base: sizes that do not fit in 63 bits are refused, blocks from odd places are aligned, pages are told") {
    enum { BIG = 5 << 20 };
    void *block = NULL;
    BAD(OVERFLOW, qemb__calloc(INT64_MAX, 16, &block));
    BAD(OVERFLOW, qemb__calloc(-1, 1, &block));
    BAD(OVERFLOW, qemb__pages_alloc(SIZE_MAX, &block));
    cr_expect_null(block);
    for (int k = 0; k < 4; k++) { /* a page more between them: the next map starts elsewhere */
        void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        OK(qemb__pages_alloc(BIG, &block));
        cr_expect_eq((uintptr_t)block % (2 << 20), 0);
        memset(block, 1, BIG);
        const size_t size = qemb__pages_size(block, BIG);
        cr_expect(size == 4096 || size == 2 << 20, "%zu", size);
        qemb__pages_free(block, BIG);
        (void)munmap(page, 4096);
    }
    qemb__pages_free(NULL, BIG);
    cr_expect_not_null(strstr(qemb__cl_error_name(-1001), "no OpenCL driver"));
    for (int code = -1100; code <= 0; code++) {
        cr_expect(strlen(qemb__cl_error_name(code)) > 5, "%d", code);
    }
    cr_expect_eq(qemb__pages_size((void *)(uintptr_t)16, 4096), 4096, "an address in no map");
    cr_expect_eq(qemb__random(3, 5), UINT64_C(0xf3ef1ae0756ef289), "the same numbers in every release: seeds stand in files");
    cr_expect_str_eq(qemb_status_text((qemb_status)12345), "not a status of this library");
    cr_expect_str_eq(qemb_status_name((qemb_status)12345), "unknown status");
}

Test(edges, log_lines, .init = cr_redirect_stderr,
     .description = "log: lines of the kinds that QEMB_LOG names go to stderr, others do not") {
    cr_assert_eq(unsetenv("QEMB_LOG"), 0);
    cr_expect_not(qemb__log_wants("pick"));
    cr_assert_eq(setenv("QEMB_LOG", "build,picks,pick", 1), 0);
    cr_expect(qemb__log_wants("build") && qemb__log_wants("pick"));
    cr_expect_not(qemb__log_wants("pic"));
    cr_expect_not(qemb__log_wants("builds"));
    cr_assert_eq(setenv("QEMB_LOG", "all", 1), 0);
    cr_expect(qemb__log_wants("anything"));
    qemb__log("pick", "%s=%d", "ahead", 16);
    (void)fflush(stderr);
    cr_assert_stderr_eq_str("qemb: pick: ahead=16\n");
}

/* ---- max_norm and padding ----------- --------------------------------------------------------------------------------------------------- */

enum { ROWS = 5, DIM = 3 };

static float norm(const float *row) {
    return sqrtf(row[0] * row[0] + row[1] * row[1] + row[2] * row[2]);
}

Test(edges, padding_row_is_clipped,
     .description =
         "max_norm: a forward of a float table clips the rows that are looked up, the padding row too when it occurs, and no others") {
    for (int occurs = 0; occurs < 2; occurs++) {
        const float weight[ROWS * DIM] = {3, 0, 0, 0, 4, 0, 0, 0, 5, 6, 0, 0, 0, 7, 0};
        const int64_t ids[] = {1, occurs ? 2 : 3, 1}, offsets[] = {0, 2};
        float after[ROWS * DIM];
        qemb_context *ctx;
        qemb_embedding_bag *bag;
        qemb_batch *batch;
        qemb_buffer *out;
        OK(qemb_context_create("reference", &ctx));
        OK(qemb_embedding_bag_create(ctx,
                                     &(qemb_embedding_bag_desc){.num_embeddings = ROWS,
                                                                .embedding_dim = DIM,
                                                                .mode = QEMB_MODE_SUM,
                                                                .weight = weight,
                                                                .has_padding_idx = true,
                                                                .padding_idx = 2,
                                                                .has_max_norm = true,
                                                                .max_norm = 2.0f,
                                                                .qconfig = qemb_qconfig_float()},
                                     &bag));
        OK(qemb_batch_create(ctx, &batch));
        OK(qemb_buffer_create(ctx, 2 * DIM * sizeof(float), &out));
        OK(qemb_batch_set(
            batch, bag,
            &(qemb_input){.indices = ids, .num_indices = 3, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 2}));
        OK(qemb_embedding_bag_forward(bag, batch, out));
        OK(qemb_embedding_bag_read_weight(bag, 0, 0, ROWS, after));
        for (int r = 0; r < ROWS; r++) {
            const bool looked_up = r == 1 || (r == 2 && occurs) || (r == 3 && !occurs);
            /* three squares, their tree, root, quotient, product: 8 roundings of 2^-24 */
            cr_expect(looked_up ? norm(after + DIM * r) <= 2.0f * (1.0f + 8 * 0x1p-24f)
                                : memcmp(after + DIM * r, weight + DIM * r, 12) == 0,
                      "occurs %d, row %d: norm %g", occurs, r, (double)norm(after + DIM * r));
        }
        qemb_buffer_destroy(out);
        qemb_batch_destroy(batch);
        qemb_embedding_bag_destroy(bag);
        qemb_context_destroy(ctx);
    }
}

/* ---- packed tables --------------------------------------------------------------------------------------------------------------------- */

static int released;
static void release(void *user) {
    released += *(int *)user;
}

enum { ROW = DIM + 8 };
static const float scale = 0.5f, bias = 1.0f, psw[4] = {0.5f, 2.0f, -1.0f, 3.0f};
static const int64_t looked_up[] = {0, 2, 1, 4}, starts[] = {0, 3};

static void fill_rows(uint8_t *rows) {
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < DIM; c++) {
            rows[r * ROW + c] = (uint8_t)(r + 2 * c);
        }
        memcpy(rows + r * ROW + DIM, &scale, 4);
        memcpy(rows + r * ROW + DIM + 4, &bias, 4);
    }
}

/* size: the magnitudes that meet in each column. */
static void expected_bags(float *want, float *size) {
    for (int i = 0; i < 4; i++) {
        float value[DIM];
        for (int c = 0; c < DIM; c++) {
            value[c] = bias + scale * (float)((int)looked_up[i] + 2 * c);
        }
        const float n = norm(value), factor = n > 2.0f ? 2.0f / (n + 1e-7f) : 1.0f;
        for (int c = 0; c < DIM && looked_up[i] != 2; c++) {
            want[(i == 3) * DIM + c] += psw[i] * value[c] * factor;
            size[(i == 3) * DIM + c] += fabsf(psw[i] * value[c] * factor);
        }
    }
}

Test(edges, packed_weights_padding_and_norm,
     .description =
         "packed_forward: weights, padding and max_norm together; packed_import: release of copied rows is called, and not on failure") {
    int one = 1;
    uint8_t rows[ROWS * ROW];
    float got[2 * DIM], want[2 * DIM] = {0}, size[2 * DIM] = {0};
    qemb_context *ctx;
    qemb_packed *packed = NULL;
    qemb_batch *batch;
    qemb_buffer *out;
    fill_rows(rows);
    qemb_packed_table table = {.num_embeddings = ROWS,
                               .embedding_dim = DIM,
                               .format = {.layout = QEMB_LAYOUT_TORCH_ROWWISE, .bits = 8},
                               .has_padding_idx = true,
                               .padding_idx = 2,
                               .has_max_norm = true,
                               .max_norm = 2.0f,
                               .norm_type = 2.0f,
                               .rows = rows,
                               .rows_bytes = sizeof rows - 1};
    const qemb_packed_import_desc desc = {
        .tables = &table, .num_tables = 1, .options = {.mode = QEMB_MODE_SUM}, .release = release, .user = &one};
    OK(qemb_context_create("reference", &ctx));
    BAD(CORRUPT, qemb_packed_import(ctx, &desc, &packed));
    cr_expect_eq(released, 0);
    table.rows_bytes++;
    OK(qemb_packed_import(ctx, &desc, &packed));
    cr_expect_eq(released, 1, "rows that are copied are given back at once");
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_packed_batch_set(packed, batch,
                             &(qemb_input){.indices = looked_up,
                                           .num_indices = 4,
                                           .indices_dtype = QEMB_INT64,
                                           .offsets = starts,
                                           .num_offsets = 2,
                                           .per_sample_weights = psw,
                                           .num_per_sample_weights = 4}));
    OK(qemb_buffer_create(ctx, sizeof got, &out));
    OK(qemb_packed_forward(packed, batch, out, QEMB_FLOAT32));
    OK(qemb_buffer_read(out, 0, sizeof got, got));
    expected_bags(want, size);
    for (int k = 0; k < 2 * DIM; k++) {
        /* either side: the squares of the norm and their sum, its root, the quotient, two products, the sum of the bag */
        cr_expect(fabsf(got[k] - want[k]) <= 2 * (DIM + 10) * 0x1p-24f * size[k], "%d: %g, want %g", k, (double)got[k], (double)want[k]);
    }
    BAD(DTYPE, qemb_packed_forward(packed, batch, out, (qemb_dtype)99));
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
    qemb_packed_destroy(packed);
    cr_expect_eq(released, 1);
    qemb_context_destroy(ctx);
}

Test(edges, conversion_that_cannot_hold_a_row,
     .description =
         "packed_convert: rows whose scale or bias fp16 cannot hold are refused by number, AS_PEER takes them; row_bytes wrong sizes") {
    float weight[ROWS * DIM] = {0, 1, 2, 3, 4, 5, -1e6f, 0, 1e6f, 0, 1, 2, 1, 2, 3};
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_packed *wide, *narrow = NULL;
    const qemb_packed_format half = {.layout = QEMB_LAYOUT_ROWWISE_HALF, .bits = 4};
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .weight = weight, .qconfig = qemb_qconfig_8bit()},
        &bag));
    OK(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 8}}, &wide));
    BAD(RANGE, qemb_packed_convert(wide, &half, 0, &narrow));
    cr_expect_not_null(strstr(qemb_last_error(), "row 2"), "%s", qemb_last_error());
    cr_expect_null(narrow);
    OK(qemb_packed_convert(wide, &half, QEMB_PACK_AS_PEER, &narrow));
    qemb_packed_destroy(narrow);
    qemb_packed_destroy(wide);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

/* ---- progress --------------------------------------------------------------------------------------------------------------------------- */

Test(edges, progress_that_wants_state,
     .description =
         "set_progress: a float module whose file has switches and schedules gets the state for them; wrong ones change nothing") {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_table_progress was, now;
    const qemb_table_progress scheduled = {
        .fake_quant_from = 3, .observer_until = 7, .eps = 0x1p-23f, .observer_on = true, .fake_quant_on = false};
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_float()}, &bag));
    OK(qemb_embedding_bag_get_progress(bag, 0, &was));
    for (int k = 0; k < 6; k++) {
        qemb_table_progress wrong = scheduled;
        wrong.observations = k == 0 ? -1 : 0;
        wrong.fake_quant_from = k == 1 ? -1 : 3;
        wrong.observer_until = k == 2 ? -1 : 7;
        wrong.eps = k == 3 ? 0.0f : k == 4 ? INFINITY : k == 5 ? NAN : 0x1p-23f;
        BAD(RANGE, qemb_embedding_bag_set_progress(bag, 0, &wrong));
    }
    BAD(RANGE, qemb_embedding_bag_set_progress(bag, -1, &scheduled));
    BAD(ARG, qemb_embedding_bag_set_progress(bag, 0, NULL));
    BAD(ARG, qemb_embedding_bag_set_progress(NULL, 0, &scheduled));
    OK(qemb_embedding_bag_get_progress(bag, 0, &now));
    cr_expect_eq(memcmp(&was, &now, sizeof was), 0);
    OK(qemb_embedding_bag_set_progress(bag, 2, &scheduled));
    OK(qemb_embedding_bag_get_progress(bag, 0, &now));
    cr_expect(now.fake_quant_from == 3 && now.observer_until == 7 && now.observer_on && !now.fake_quant_on);
    cr_expect_eq(qemb_embedding_bag_feature_table(NULL, 0), -1);
    cr_expect_eq(qemb_embedding_bag_feature_table(bag, 1), -1);
    cr_expect_eq(qemb_embedding_bag_feature_table(bag, -1), -1);
    cr_expect_str_eq(qemb_context_tuning_line(ctx, "bag_forward"), "");
    cr_expect_str_eq(qemb_context_tuning_line(NULL, "bag_forward"), "");
    cr_expect_str_eq(qemb_context_tuning_line(ctx, NULL), "");
    cr_expect_str_eq(qemb_context_variant(NULL, "bag_forward"), "");
    BAD(ARG, qemb_context_variants(ctx, NULL, NULL));
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

/* ---- optimisers as torch writes them ----------------------------------------------------------------------------------------------------- */

/* A file with a step of any type and the two arrays of Adam. */
static qemb_safetensors *adam_file(qemb_file_dtype dtype, const void *step, bool with_step) {
    static const int64_t shape[] = {ROWS, DIM};
    static float state[ROWS * DIM];
    const qemb_tensor_desc tensors[] = {{"o.state.0.exp_avg", shape, 2, QEMB_FILE_F32},
                                        {"o.state.0.exp_avg_sq", shape, 2, QEMB_FILE_F32},
                                        {"o.state.0.step", NULL, 0, dtype}};
    const void *data[] = {state, state, step};
    qemb_safetensors *file = NULL;
    for (int i = 0; i < ROWS * DIM; i++) {
        state[i] = (float)i / 16.0f;
    }
    OK(qemb_safetensors_save(support_path("adam"), tensors, data, with_step ? 3 : 2, NULL, 0));
    OK(qemb_safetensors_open(support_path("adam"), &file));
    return file;
}

Test(edges, steps_of_torch,
     .description = "load_optimizer: torch's float steps are whole numbers up to 2^24, SGD has none; others are refused by name") {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *adam, *sgd;
    qemb_optimizer_info info;
    const float good = 41.0f, bad[] = {-1.0f, 1.5f, 0x1p25f, INFINITY, NAN};
    const int64_t whole = 43, negative = -1;
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_float()}, &bag));
    OK(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_ADAM, .lr = 0.125}, &adam));
    OK(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.125, .momentum = 0.5}, &sgd));
    for (int k = 0; k < 5; k++) {
        qemb_safetensors *file = adam_file(QEMB_FILE_F32, &bad[k], true);
        BAD(CORRUPT, qemb_load_optimizer(file, "o.", adam));
        qemb_safetensors_close(file);
    }
    qemb_safetensors *file = adam_file(QEMB_FILE_I64, &negative, true);
    BAD(CORRUPT, qemb_load_optimizer(file, "o.", adam));
    qemb_safetensors_close(file);
    file = adam_file(QEMB_FILE_I64, &negative, false);
    BAD(ARG, qemb_load_optimizer(file, "o.", adam));
    BAD(ARG, qemb_load_optimizer(file, "o.", sgd)); /* no momentum in it */
    qemb_safetensors_close(file);
    file = adam_file(QEMB_FILE_F32, &good, true);
    OK(qemb_load_optimizer(file, "o.", adam));
    qemb_safetensors_close(file);
    OK(qemb_optimizer_info_get(adam, &info));
    cr_expect_eq(info.steps, 41);
    file = adam_file(QEMB_FILE_I64, &whole, true);
    OK(qemb_load_optimizer(file, "o.", adam));
    qemb_safetensors_close(file);
    OK(qemb_optimizer_info_get(adam, &info));
    cr_expect_eq(info.steps, 43);
    static float momentum[ROWS * DIM] = {1, 2, 3};
    const int64_t shape[] = {ROWS, DIM};
    const qemb_tensor_desc buffer = {"o.state.0.momentum_buffer", shape, 2, QEMB_FILE_F32};
    const void *data[] = {momentum};
    OK(qemb_safetensors_save(support_path("sgd"), &buffer, data, 1, NULL, 0));
    OK(qemb_safetensors_open(support_path("sgd"), &file));
    OK(qemb_load_optimizer(file, "o.", sgd));
    OK(qemb_optimizer_info_get(sgd, &info));
    cr_expect_eq(info.steps, 1, "a buffer means one step");
    qemb_safetensors_close(file);
    qemb_optimizer_destroy(sgd);
    qemb_optimizer_destroy(adam);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

/* ---- click logs -------------------------------------------------------------------------------------------------------------------------- */

Test(edges, a_line_longer_than_the_buffer,
     .description = "click_reader: a line longer than the reader's buffer is one fault, and the next is read") {
    enum { LONG = 3 << 20 };
    static char text[LONG + 400];
    int32_t ids[QEMB_CLICK_SPARSE];
    int64_t rows = 0;
    qemb_click_reader *reader = NULL;
    memset(text, '7', LONG);
    size_t used = LONG;
    used += (size_t)snprintf(text + used, sizeof text - used, "\n1");
    for (int k = 0; k < QEMB_CLICK_DENSE; k++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "\t%d", k);
    }
    for (int k = 0; k < QEMB_CLICK_SPARSE; k++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "\t0000000%x", k % 16);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "\n");
    const char *path = support_write("long.tsv", text, used);
    OK(qemb_click_reader_open(&(qemb_click_desc){.path = path, .faults = QEMB_CLICK_SKIP, .form = QEMB_CLICK_TSV}, &reader));
    OK(qemb_click_reader_next(reader, 1, ids, NULL, NULL, &rows));
    cr_expect_eq(rows, 1);
    cr_expect_eq(qemb_click_reader_fault_count(reader), 1);
    cr_expect_eq(ids[3], 3);
    qemb_click_reader_close(reader);
}

Test(edges, no_thread_for_a_feed,
     .description = "click_feed: a system that gives no thread is NOMEM, and a rewind that lost its thread says STATE") {
    qemb_click_generator *generator = NULL;
    qemb_click_feed *feed = NULL;
    qemb_click_batch batch;
    pthread_attr_t usual, impossible;
    cr_assert_eq(pthread_getattr_default_np(&usual), 0);
    cr_assert_eq(pthread_getattr_default_np(&impossible), 0);
    OK(qemb_click_generator_create(&(qemb_click_generator_desc){.scale = 0.0001}, &generator));
    const qemb_click_feed_desc desc = {.generator = generator, .row_count = 5, .capacity = 2};
    OK(qemb_click_feed_create(&desc, &feed));
    OK(qemb_click_feed_next(feed, &batch));
    cr_assert_eq(pthread_attr_setstacksize(&impossible, (size_t)1 << 46), 0);
    cr_assert_eq(pthread_setattr_default_np(&impossible), 0);
    qemb_click_feed *other = NULL;
    BAD(NOMEM, qemb_click_feed_create(&desc, &other));
    cr_expect_null(other);
    BAD(NOMEM, qemb_click_feed_rewind(feed));
    BAD(STATE, qemb_click_feed_next(feed, &batch));
    cr_assert_eq(pthread_setattr_default_np(&usual), 0);
    OK(qemb_click_feed_rewind(feed));
    OK(qemb_click_feed_next(feed, &batch));
    cr_expect_eq(batch.rows, 2);
    qemb_click_feed_destroy(feed);
    qemb_click_generator_destroy(generator);
}

/* ---- found by mutants that nobody noticed ------------------------------------------------------------------------------------------------- */

Test(edges, dampening, .description = "row_update: SGD with momentum and dampening over three steps, by hand") {
    const float weight[ROWS * DIM] = {1, 2, 3};
    const int64_t one_id[] = {0};
    const float gradient[DIM] = {1.0f, -2.0f, 0.5f};
    float after[DIM], momentum[DIM] = {0}, want[DIM] = {1, 2, 3};
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *sgd;
    qemb_batch *batch;
    qemb_buffer *grad, *out;
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(
        ctx,
        &(qemb_embedding_bag_desc){
            .num_embeddings = ROWS, .embedding_dim = DIM, .mode = QEMB_MODE_SUM, .weight = weight, .qconfig = qemb_qconfig_float()},
        &bag));
    OK(qemb_optimizer_create(ctx, bag, &(qemb_optimizer_desc){.kind = QEMB_SGD, .lr = 0.5, .momentum = 0.5, .dampening = 0.25}, &sgd));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, sizeof gradient, &grad));
    OK(qemb_buffer_write(grad, 0, sizeof gradient, gradient));
    OK(qemb_buffer_create(ctx, sizeof gradient, &out));
    OK(qemb_batch_set(batch, bag, &(qemb_input){.indices = one_id, .num_indices = 1, .indices_dtype = QEMB_INT64, .columns = 1}));
    for (int step = 0; step < 3; step++) {
        OK(qemb_embedding_bag_forward(bag, batch, out));
        OK(qemb_embedding_bag_step(bag, batch, grad, sgd));
        for (int c = 0; c < DIM; c++) { /* all of it exact in float32 */
            momentum[c] = step == 0 ? gradient[c] : 0.5f * momentum[c] + 0.75f * gradient[c];
            want[c] -= 0.5f * momentum[c];
        }
    }
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, 1, after));
    cr_expect_eq(memcmp(after, want, sizeof want), 0, "%g %g %g", (double)after[0], (double)after[1], (double)after[2]);
    OK(qemb_optimizer_read_state(sgd, 0, 0, 0, 1, after));
    cr_expect_eq(memcmp(after, momentum, sizeof momentum), 0, "momentum %g", (double)after[0]);
    qemb_buffer_destroy(out);
    qemb_buffer_destroy(grad);
    qemb_batch_destroy(batch);
    qemb_optimizer_destroy(sgd);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(edges, which_argument_is_null, .description = "forward: the sentence says which of the arguments is NULL") {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_batch *batch;
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(
        ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_float()}, &bag));
    OK(qemb_batch_create(ctx, &batch));
    BAD(ARG, qemb_embedding_bag_forward(NULL, batch, NULL));
    cr_expect_not_null(strstr(qemb_last_error(), "bag is NULL"), "%s", qemb_last_error());
    BAD(ARG, qemb_embedding_bag_forward(bag, NULL, NULL));
    cr_expect_not_null(strstr(qemb_last_error(), "batch is NULL"), "%s", qemb_last_error());
    BAD(ARG, qemb_embedding_bag_forward(bag, batch, NULL));
    cr_expect_not_null(strstr(qemb_last_error(), "out is NULL"), "%s", qemb_last_error());
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

Test(edges, surrogates,
     .description = "safetensors: pairs of \\u surrogates at the ends of their ranges are one character, others are refused") {
    static const struct {
        const char *name, *utf8; /* NULL: refused */
    } cases[] = {{"\\uD800\\uDC00", "\xF0\x90\x80\x80"},
                 {"\\uDBFF\\uDFFF", "\xF4\x8F\xBF\xBF"},
                 {"\\uD7FF", "\xED\x9F\xBF"},
                 {"\\uE000", "\xEE\x80\x80"},
                 {"\\uD800\\uDBFF", NULL},
                 {"\\uD800\\uE000", NULL},
                 {"\\uD800", NULL},
                 {"\\uDC00", NULL},
                 {"\\uD800\\n", NULL},
                 {"\\uDBFF\\u00", NULL}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char bytes[256] = "";
        qemb_safetensors *file = NULL;
        const int n =
            snprintf(bytes + 8, sizeof bytes - 8, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", cases[k].name);
        const uint64_t length = (uint64_t)n;
        memcpy(bytes, &length, 8);
        const qemb_status st = qemb_safetensors_open(support_write("name", bytes, 8 + length + 1), &file);
        cr_expect_eq(st, cases[k].utf8 ? QEMB_OK : QEMB_ERR_CORRUPT, "%s: %s: %s", cases[k].name, qemb_status_name(st), qemb_last_error());
        cr_expect(!cases[k].utf8 || qemb_safetensors_find(file, cases[k].utf8) == 0, "%s", cases[k].name);
        qemb_safetensors_close(file);
    }
}
