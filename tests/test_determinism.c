/* test_determinism.c - ten training steps give the same bits on every thread count, work-group method, device, family and local size.
 *
 * PoCL reads its settings once a process: each configuration is a child of its own, which trains on the reference engine once and on the
 * device again and again, and compares every byte. 100 repeats and all optimisers everywhere in the nightly lane. */
#include <criterion/criterion.h>

#include <sys/stat.h>
#include <sys/wait.h>

#include "scoreboard.h"
#include "support_train.h"

enum { STEPS = 10, SOME = 3 };

typedef struct configuration {
    const char *device, *threads, *method, *family, *local;
    bool nightly;
} configuration;

/* repl writes a kernel out for each work-item of a group: with the default 16 its compiler takes half an hour. */
static const configuration configurations[] = {
    {"pthread", "2", NULL, "cpu", NULL, false},     {"pthread", "1", NULL, "cpu", NULL, false},
    {"basic", NULL, "loops", "cpu", NULL, false},   {"pthread", "2", NULL, "gpu", NULL, false},
    {"pthread", "2", NULL, "cpu", "3", false},      {"pthread", "1", NULL, "gpu", NULL, true},
    {"pthread", "2", "loops", "cpu", NULL, true},   {"pthread", "1", "loops", "cpu", NULL, true},
    {"pthread", "2", "loopvec", "cpu", NULL, true}, {"pthread", "2", "repl", "cpu", "2", true},
    {"pthread", "2", "loops", "gpu", NULL, true},   {"pthread", "2", "loopvec", "gpu", NULL, true},
    {"pthread", "2", "loops", "gpu", "64", true},   {"basic", NULL, NULL, "cpu", NULL, true},
    {"basic", NULL, "loopvec", "cpu", NULL, true},  {"basic", NULL, "repl", "cpu", "1", true},
    {"basic", NULL, NULL, "gpu", NULL, true},       {"basic", NULL, "loops", "gpu", NULL, true},
    {"basic", NULL, "loops", "gpu", "64", true},    {"pthread", "2", NULL, "cpu", "1", true},
    {"pthread", "2", NULL, "cpu", "16", true},      {"pthread", "2", NULL, "cpu", "64", true},
    {"pthread", "2", NULL, "gpu", "64", true},      {"basic", NULL, NULL, "cpu", "3", true},
    {"basic", NULL, NULL, "cpu", "64", true},       {"pthread", "2", "loops", "cpu", "3", true},
    {"pthread", "2", "repl", "cpu", "3", true},     {"pthread", "2", "loops", "cpu", "64", true},
    {"pthread", "2", "loopvec", "cpu", "64", true}, {"pthread", "1", NULL, "cpu", "3", true},
    {"pthread", "1", NULL, "cpu", "64", true},      {"pthread", "1", "repl", "cpu", "3", true},
    {"pthread", "1", "loopvec", "cpu", NULL, true}, {"pthread", "1", "loops", "gpu", "64", true},
    {"pthread", "1", "loops", "gpu", NULL, true},   {"basic", NULL, "loopvec", "gpu", NULL, true},
    {"pthread", "1", "loopvec", "gpu", NULL, true}, {"pthread", "1", NULL, "gpu", "64", true},
    {"basic", NULL, "loops", "cpu", "64", true},    {"basic", NULL, "loopvec", "cpu", "64", true},
};
enum { NUM_CONFIGURATIONS = sizeof configurations / sizeof *configurations };

static void set_variable(const char *name, const char *value) {
    cr_assert_eq(value ? setenv(name, value, 1) : unsetenv(name), 0);
}

/* PoCL's cache does not tell work-group methods apart: each has a folder of its own. */
static void enter_configuration(const configuration *c) {
    const char *base = getenv("POCL_CACHE_DIR");
    char folder[1024];
    if (base && *base && c->method) {
        (void)snprintf(folder, sizeof folder, "%s/%s", base, c->method);
        (void)mkdir(folder, 0777);
        set_variable("POCL_CACHE_DIR", folder);
    }
    set_variable("POCL_DEVICES", c->device);
    set_variable("POCL_MAX_PTHREAD_COUNT", c->threads);
    set_variable("POCL_WORK_GROUP_METHOD", c->method);
}

static op_row_update case_of(int64_t kind) {
    op_row_update op = {.backward.forward = OP_BAG_FORWARD_DEFAULT};
    op.backward.forward.E = 23;
    op.backward.forward.D = 19;
    op.backward.forward.B = 29;
    op.backward.forward.L = 7; /* rows with more than one part of 32 lookups are certain: 203 lookups, 23 rows, one of them hot */
    op.backward.forward.qmax = 15;
    op.backward.forward.c = 0.3;
    op.backward.forward.steps = STEPS;
    op.backward.forward.seed = 3;
    train_optimizer(&op, kind, 1);
    return op;
}

/* The optimisers of a configuration in every run; all in the first configuration and in the nightly lane. */
static bool has_kind(int configuration_number, int64_t kind, bool nightly) {
    static const int64_t some[SOME] = {QEMB_SGD, QEMB_ROWWISE_ADAGRAD, QEMB_LAMB};
    bool found = nightly || configuration_number == 0;
    for (int k = 0; k < SOME; k++) {
        found = found || kind == some[k];
    }
    return found;
}

/* In a child: 0 when every repeat of every optimiser gave the bits of the reference engine. */
static int run_configuration(int number, int repeats, bool nightly) {
    const configuration *c = &configurations[number];
    enter_configuration(c);
    const bag_engine engine = {c->method ? c->method : "default", c->device, c->family, c->local, NULL};
    const bag_engine plain = {"reference", "reference", NULL, NULL, NULL};
    qemb_context *ctx = bag_context(&engine);
    int64_t differing = 0;
    for (int64_t kind = 0; kind < OP_OPTIMIZERS; kind++) {
        if (!has_kind(number, kind, nightly)) {
            continue;
        }
        const op_row_update op = case_of(kind);
        train_result want = train_run(&plain, &op);
        for (int k = 0; k < repeats; k++) {
            train_result got = train_run_in(ctx, &op);
            differing += got.count != want.count || memcmp(got.values, want.values, (size_t)want.count * sizeof(float)) != 0;
            train_result_free(&got);
        }
        train_result_free(&want);
    }
    qemb_context_destroy(ctx);
    return differing != 0;
}

Test(determinism, matrix,
     .description =
         "training: ten steps of every optimiser, repeats x threads x methods x devices x families x local sizes, no byte differs") {
    const char *text = getenv("QEMB_NIGHTLY");
    const bool nightly = text && *text;
    const int repeats = nightly ? 100 : 3;
    int run = 0;
    int failed = 0;
    for (int k = 0; k < NUM_CONFIGURATIONS; k++) {
        if (configurations[k].nightly && !nightly) {
            continue;
        }
        const pid_t child = fork();
        int status = 1;
        cr_assert_geq(child, 0);
        if (child == 0) {
            _exit(run_configuration(k, repeats, nightly));
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        run++;
        if (status != 0) {
            failed++;
            (void)fprintf(stderr, "determinism: configuration %d (%s, %s, method %s, local %s): bits differ\n", k, configurations[k].device,
                          configurations[k].family, configurations[k].method ? configurations[k].method : "default",
                          configurations[k].local ? configurations[k].local : "default");
        }
    }
    scoreboard("R10", failed == 0, "training, ten steps, every optimiser, PoCL against the reference engine",
               "%d repeats x %d configurations, %d differ", repeats, run, failed);
    cr_assert_eq(failed, 0);
}
