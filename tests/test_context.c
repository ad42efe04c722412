/* test_context.c - names of devices, the one-thread rule, buffers, and calls without an object. */
#include <criterion/criterion.h>

#include <ctype.h>
#include <pthread.h>

#include "core/context.h"
#include "support_bag.h"
#include "support_ok.h"

/* Creates a context by name and gives "engine device". */
static void expect_device(const char *name, const char *engine, const char *part) {
    qemb_context *ctx = NULL;
    qemb_device_report report;
    OK(qemb_context_create(name, &ctx));
    OK(qemb_context_report(ctx, &report));
    cr_assert_str_eq(report.engine, engine);
    cr_assert(strstr(report.device, part) || strstr(report.platform, part), "%s (%s)", report.device, report.platform);
    cr_assert_gt(report.max_allocation_bytes, 0);
    cr_assert_gt(report.compute_units, 0);
    qemb_context_destroy(ctx);
}

enum { PART = 11 };
typedef struct pocl_names {
    char single[128], threads[128]; /* basic-... and pthread-..., or as later versions have it cpu-minimal-... and cpu-... */
    char single_part[PART + 1], threads_part[PART + 1]; /* what tells them apart, in other letters */
} pocl_names;

static pocl_names names_of_devices(void) {
    pocl_names of = {0};
    for (int k = 0; k < 2; k++) {
        qemb_context *ctx = NULL;
        qemb_device_report report;
        OK(qemb_context_create(k ? "opencl:0:1" : "opencl:0:0", &ctx));
        OK(qemb_context_report(ctx, &report));
        (void)snprintf(k ? of.threads : of.single, sizeof of.single, "%s", report.device);
        qemb_context_destroy(ctx);
    }
    cr_assert_neq(strncmp(of.single, of.threads, PART), 0, "%s, %s", of.single, of.threads);
    for (int i = 0; i < PART; i++) {
        of.single_part[i] = (char)toupper((unsigned char)of.single[i]);
        of.threads_part[i] = (char)(i % 2 ? toupper((unsigned char)of.threads[i]) : of.threads[i]);
    }
    return of;
}

Test(context, names, .description = "context: every form of name, the device it means") {
    bag_pocl_devices(); /* PoCL numbers basic before pthread */
    cr_assert_eq(unsetenv("QEMB_DEVICE"), 0);
    expect_device("reference", "reference", "reference");
    expect_device("opencl", "opencl", "Portable");
    expect_device("opencl:cpu", "opencl", "Portable");
    pocl_names of = names_of_devices();
    expect_device("opencl:0:0", "opencl", of.single);
    expect_device("opencl:0:1", "opencl", of.threads);
    expect_device(of.single_part, "opencl", of.single);
    expect_device(of.threads_part, "opencl", of.threads);
    expect_device("portable computing", "opencl", "Portable");
    expect_device(NULL, "opencl", "Portable");
    cr_assert_eq(setenv("QEMB_DEVICE", "reference", 1), 0);
    expect_device(NULL, "reference", "reference");
    expect_device("opencl", "opencl", "Portable");
    cr_assert_eq(setenv("QEMB_DEVICE", of.threads, 1), 0);
    expect_device(NULL, "opencl", of.threads);
    cr_assert_eq(setenv("QEMB_DEVICE", "", 1), 0);
    expect_device(NULL, "opencl", "Portable");
}

Test(context, unknown_names, .description = "context: a name that no device has, DEVICE and the list of those there are") {
    static const char *const names[] = {"no such device", "opencl:7:0", "opencl:0:9", "opencl:gpu", "opencl:accelerator", "opencl:0:0x"};
    bag_pocl_devices();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        qemb_context *ctx = (qemb_context *)&ctx;
        cr_assert_eq(qemb_context_create(names[i], &ctx), QEMB_ERR_DEVICE, "%s", names[i]);
        cr_assert_eq(ctx, (qemb_context *)&ctx, "the place for the context is untouched");
        const char *says = qemb_last_error();
        cr_assert(strstr(says, names[i]) && strstr(says, "reference") && strstr(says, "opencl:0:0") && strstr(says, "opencl:0:1") &&
                      strstr(says, "Portable"),
                  "%s", says);
    }
    cr_assert_eq(setenv("QEMB_DEVICE", "nothing of the kind", 1), 0);
    qemb_context *ctx = NULL;
    cr_assert_eq(qemb_context_create(NULL, &ctx), QEMB_ERR_DEVICE);
    cr_assert_eq(qemb_context_create("reference", NULL), QEMB_ERR_ARG);
}

typedef struct visit_log {
    int count, defaults;
    char selectors[512];
} visit_log;

static void visit(void *user, int32_t index, const char *selector, const char *name, const char *platform, bool is_default) {
    visit_log *log = user;
    qemb_context *ctx = NULL;
    qemb_device_report report;
    cr_assert_eq(index, log->count++);
    log->defaults += is_default;
    OK(qemb_context_create(selector, &ctx));
    OK(qemb_context_report(ctx, &report));
    cr_assert_str_eq(report.device, name);
    cr_assert_str_eq(report.platform, platform);
    qemb_context_destroy(ctx);
}

Test(context, devices, .description = "context: the list of devices, each selector makes the device that it names, one is the default") {
    visit_log log = {0};
    bag_pocl_devices();
    OK(qemb_devices(visit, &log));
    cr_assert_eq(log.count, 3);
    cr_assert_eq(log.defaults, 1);
    cr_assert_eq(qemb_devices(NULL, NULL), QEMB_ERR_ARG);
}

/* ---- one thread at a time ------------------------------------------------------------------------------------------------ */

/* Whether every call that takes a context, or something made from it, is refused while another thread is inside. */
static void *call_everything(void *user) {
    void **made = user;
    qemb_context *ctx = made[0];
    qemb_embedding_bag *bag = made[1];
    qemb_batch *batch = made[2];
    qemb_buffer *buffer = made[3];
    static const int32_t zero[] = {0};
    float row[4] = {0};
    qemb_buffer *no_buffer = NULL;
    qemb_batch *no_batch = NULL;
    qemb_embedding_bag *no_bag = NULL;
    qemb_counters counters;
    qemb_device_report report;
    double gbps = 0.0;
    const qemb_input input = {.indices = zero, .num_indices = 1, .indices_dtype = QEMB_INT32, .columns = 1};
    const qemb_device_input device = {.indices = buffer, .num_indices = 1, .indices_dtype = QEMB_INT32, .columns = 1};
    const qemb_embedding_bag_desc desc = {.num_embeddings = 1, .embedding_dim = 4, .qconfig = qemb_qconfig_8bit()};
    const qemb_status got[] = {
        qemb_context_finish(ctx),
        qemb_context_report(ctx, &report),
        qemb_context_counters(ctx, &counters),
        qemb_context_copy_bandwidth(ctx, 4096, &gbps),
        qemb_buffer_create(ctx, 4, &no_buffer),
        qemb_buffer_write(buffer, 0, 4, row),
        qemb_buffer_read(buffer, 0, 4, row),
        qemb_buffer_write_async(buffer, 0, 4, row),
        qemb_buffer_read_async(buffer, 0, 4, row),
        qemb_batch_create(ctx, &no_batch),
        qemb_batch_set(batch, bag, &input),
        qemb_batch_set_device(batch, bag, &device),
        qemb_batch_status(batch, NULL),
        qemb_embedding_bag_create(ctx, &desc, &no_bag),
        qemb_embedding_bag_from_float(bag, &desc.qconfig, &no_bag),
        qemb_embedding_bag_to_float(bag, &no_bag),
        qemb_embedding_bag_forward(bag, batch, buffer),
        qemb_embedding_bag_read_weight(bag, 0, 0, 1, row),
        qemb_embedding_bag_write_weight(bag, 0, 0, 1, row),
        qemb_embedding_bag_read_observer(bag, 0, 0, 1, &(qemb_observer_rows){.scale = row}),
        qemb_embedding_bag_write_observer(bag, 0, 0, 1, row, row),
        qemb_embedding_bag_observe_all(bag),
        qemb_embedding_bag_set_observer(bag, 0, true),
        qemb_embedding_bag_set_fake_quant(bag, 0, true),
    };
    for (size_t i = 0; i < sizeof got / sizeof *got; i++) {
        if (got[i] != QEMB_ERR_BUSY || !strstr(qemb_last_error(), "another thread")) {
            made[4] = (void *)(uintptr_t)(i + 1);
        }
    }
    return NULL;
}

Test(context, busy, .description = "context: calls from a second thread while the first is inside, BUSY; handed over, fine") {
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_batch *batch = NULL;
    qemb_buffer *buffer = NULL;
    pthread_t thread;
    float before[4];
    float after[4];
    OK(qemb_context_create("reference", &ctx));
    OK(qemb_embedding_bag_create(ctx, &(qemb_embedding_bag_desc){.num_embeddings = 2, .embedding_dim = 4, .qconfig = qemb_qconfig_8bit()},
                                 &bag));
    OK(qemb_batch_create(ctx, &batch));
    OK(qemb_buffer_create(ctx, 64, &buffer));
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, 1, before));
    void *made[] = {ctx, bag, batch, buffer, NULL};
    OK(qemb__enter(ctx, "test"));
    cr_assert_eq(pthread_create(&thread, NULL, call_everything, made), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    qemb__leave(ctx);
    cr_assert_eq((uintptr_t)made[4], 0, "call number %d was let in", (int)(uintptr_t)made[4] - 1);
    OK(qemb_embedding_bag_read_weight(bag, 0, 0, 1, after));
    cr_assert_arr_eq(before, after, sizeof before);
    qemb_buffer_destroy(buffer);
    qemb_batch_destroy(batch);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
}

typedef struct worker {
    bag_engine engine;
    op_bag_forward op;
    bag_result result;
} worker;

static void *work(void *user) {
    worker *w = user;
    qemb_context *ctx = bag_context(&w->engine);
    w->result = bag_run_in(ctx, &w->op);
    qemb_context_destroy(ctx);
    return NULL;
}

Test(context, two_contexts_at_once, .description = "context: two contexts in two threads at once, the bits of one after the other") {
    worker w[2];
    pthread_t thread[2];
    bag_result alone[2];
    bag_pocl_devices();
    for (int i = 0; i < 2; i++) {
        w[i] = (worker){.engine = {"PoCL", "pthread", NULL, NULL, NULL}, .op = OP_BAG_FORWARD_DEFAULT};
        w[i].op.steps = 20;
        w[i].op.events = 1;
        w[i].op.seed = 70 + i;
        alone[i] = bag_run(&w[i].engine, &w[i].op);
    }
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_join(thread[i], NULL), 0);
        bag_expect_same(&w[i].op, "in a thread", &w[i].result, &alone[i], 0.0);
        bag_result_free(&w[i].result);
        bag_result_free(&alone[i]);
    }
}

/* ---- buffers and counters ------------------------------------------------------------------------------------------------- */

Test(context, buffers, .description = "context: buffers start at zero, keep what is written, and refuse ranges outside them") {
    static const char *const names[] = {"reference", "opencl"};
    for (int e = 0; e < 2; e++) {
        qemb_context *ctx = NULL;
        qemb_buffer *buffer = NULL;
        qemb_buffer *huge = NULL;
        qemb_device_report report;
        unsigned char bytes[301];
        unsigned char pattern[301];
        OK(qemb_context_create(names[e], &ctx));
        OK(qemb_context_report(ctx, &report));
        OK(qemb_buffer_create(ctx, sizeof bytes, &buffer));
        cr_assert_eq(qemb_buffer_bytes(buffer), sizeof bytes);
        OK(qemb_buffer_read(buffer, 0, sizeof bytes, bytes));
        for (size_t i = 0; i < sizeof bytes; i++) {
            cr_assert_eq(bytes[i], 0);
            pattern[i] = (unsigned char)(7 * i + 1);
        }
        OK(qemb_buffer_write_async(buffer, 3, 100, pattern + 3));
        OK(qemb_buffer_write(buffer, 103, 50, pattern + 103));
        OK(qemb_buffer_read_async(buffer, 3, 150, bytes));
        OK(qemb_context_finish(ctx));
        cr_assert_arr_eq(bytes, pattern + 3, 150);
        cr_assert_eq(qemb_buffer_read(buffer, 300, 2, bytes), QEMB_ERR_SHAPE);
        cr_assert_eq(qemb_buffer_read(buffer, SIZE_MAX, 2, bytes), QEMB_ERR_SHAPE);
        cr_assert_eq(qemb_buffer_write(buffer, 2, SIZE_MAX, bytes), QEMB_ERR_SHAPE);
        cr_assert_eq(qemb_buffer_write(buffer, 302, 0, bytes), QEMB_ERR_SHAPE);
        cr_assert_eq(qemb_buffer_write(buffer, 0, 1, NULL), QEMB_ERR_ARG);
        cr_assert_eq(qemb_buffer_read(buffer, 0, 1, NULL), QEMB_ERR_ARG);
        OK(qemb_buffer_read(buffer, 301, 0, bytes));
        cr_assert_eq(qemb_buffer_create(ctx, (size_t)report.max_allocation_bytes + 1, &huge), QEMB_ERR_UNSUPPORTED);
        cr_assert_eq(qemb_buffer_create(ctx, SIZE_MAX, &huge), QEMB_ERR_UNSUPPORTED);
        cr_assert_null(huge);
        cr_assert_eq(qemb_buffer_create(ctx, 4, NULL), QEMB_ERR_ARG);
        qemb_buffer_destroy(buffer);
        qemb_buffer_destroy(NULL);
        qemb_context_destroy(ctx);
    }
    cr_assert_eq(qemb_buffer_bytes(NULL), 0);
    cr_assert_eq(qemb_buffer_read(NULL, 0, 0, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_buffer_write(NULL, 0, 0, NULL), QEMB_ERR_ARG);
    qemb_context_destroy(NULL);
}

Test(context, no_object, .description = "context: NULL for the context or a place of result, ARG and a sentence") {
    qemb_context *ctx = NULL;
    OK(qemb_context_create("reference", &ctx));
    cr_assert_eq(qemb_context_finish(NULL), QEMB_ERR_ARG);
    cr_assert(strstr(qemb_last_error(), "context_finish"));
    cr_assert_eq(qemb_context_report(ctx, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_context_counters(ctx, NULL), QEMB_ERR_ARG);
    cr_assert_eq(qemb_context_copy_bandwidth(ctx, 0, NULL), QEMB_ERR_ARG);
    cr_assert_str_eq(qemb_context_build_log(NULL), "");
    cr_assert_str_eq(qemb_context_build_log(ctx), "");
    double gbps = 0.0;
    OK(qemb_context_copy_bandwidth(ctx, 1 << 20, &gbps));
    cr_assert_gt(gbps, 0.0);
    qemb_context_destroy(ctx);
}

Test(context, statuses, .description = "context: every status has its own name and text") {
    static const qemb_status all[] = {
#define STATUS(name, value, text) name,
        QEMB_STATUS_LIST(STATUS)
#undef STATUS
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (size_t k = 0; k < i; k++) {
            cr_assert_str_neq(qemb_status_name(all[i]), qemb_status_name(all[k]));
            cr_assert_str_neq(qemb_status_text(all[i]), qemb_status_text(all[k]));
        }
    }
    cr_assert_str_eq(qemb_status_name(QEMB_ERR_INDEX), "QEMB_ERR_INDEX");
    cr_assert_str_eq(qemb_status_text(QEMB_OK), "success");
    cr_assert_not_null(qemb_status_name((qemb_status)-1));
    cr_assert_str_eq(qemb_version(), QEMB_VERSION_STRING);
}
