/* devices.c - `qemb devices`: one block a device, as `clinfo -l` lists them, with what matters to embedding tables. */
#include "cli.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>

static const char help[] = "usage: qemb devices [--json]\n"
                           "\n"
                           "Lists the devices with the word that selects each (for --device and $QEMB_DEVICE); * marks the\n"
                           "default. Each OpenCL device is asked whether its float32 arithmetic is exact: where division is not,\n"
                           "integer arithmetic replaces it and the answers stay the same.\n"
                           "\n"
                           "  --json    one object a device\n"
                           "  --help    this text\n"
                           "\n"
                           "exit codes: 0 done; 1 the list could not be made or written; 2 wrong command line\n";

static void print_text(const char *selector, const char *name, bool is_default, const qemb_device_report *r, const char *error) {
    char memory[24], allocation[24];
    (void)printf("%s%c %-12s %s%s\n", is_default ? cli_bold(stdout) : "", is_default ? '*' : ' ', selector, name,
                 is_default ? cli_plain(stdout) : "");
    if (error) {
        (void)printf("    not usable: %s\n", error);
        return;
    }
    (void)printf("    platform     %s, driver %s\n", r->platform, r->driver);
    (void)printf("    kernels      %s family, %d compute units, work-groups up to %lld%s\n", r->family, r->compute_units,
                 (long long)r->max_work_group, r->prefetch ? ", software prefetch" : "");
    if (r->memory_bytes < INT64_MAX / 8) {
        (void)printf("    memory       %s, one allocation up to %s%s\n", cli_size((double)r->memory_bytes, memory),
                     cli_size((double)r->max_allocation_bytes, allocation), r->host_memory ? ", shared with the host" : "");
    } else {
        (void)printf("    memory       the host's\n");
    }
    (void)printf("    arithmetic   division %s, fma %s, denormals %s\n", r->exact_division ? "exact" : "emulated",
                 r->exact_fma ? "exact" : "inexact", r->denormals ? "kept" : "flushed");
}

static void print_json(const char *selector, const char *name, bool is_default, const qemb_device_report *r, const char *error) {
    json_t *o = json_pack("{s:s, s:s, s:b}", "selector", selector, "name", name, "default", is_default);
    if (error) {
        (void)json_object_set_new(o, "error", json_string(error));
    } else {
        json_t *rest = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:i}", "engine", r->engine, "platform", r->platform, "driver",
                                 r->driver, "family", r->family, "memory_bytes", (json_int_t)r->memory_bytes, "max_allocation_bytes",
                                 (json_int_t)r->max_allocation_bytes, "max_work_group", (json_int_t)r->max_work_group, "compute_units",
                                 (int)r->compute_units);
        json_t *flags = json_pack("{s:b, s:b, s:b, s:b, s:b}", "exact_division", r->exact_division, "exact_fma", r->exact_fma, "denormals",
                                  r->denormals, "host_memory", r->host_memory, "prefetch", r->prefetch);
        (void)json_object_update(o, rest);
        (void)json_object_update(o, flags);
        json_decref(rest);
        json_decref(flags);
    }
    cli_print_object(o, 0);
}

/* The probes need a context; a device that has no use for us says so in its place and the list goes on. */
static void visit(void *user, int32_t index, const char *selector, const char *name, const char *platform, bool is_default) {
    const bool *json = user;
    qemb_context *ctx = NULL;
    qemb_device_report report = {0};
    qemb_status st = qemb_context_create(selector, &ctx);
    if (st == QEMB_OK) {
        st = qemb_context_report(ctx, &report);
    }
    (void)index;
    (void)platform;
    (*json ? print_json : print_text)(selector, name, is_default, &report, st == QEMB_OK ? NULL : qemb_last_error());
    qemb_context_destroy(ctx);
}

int cli_devices(int argc, char **argv) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    bool json = false;
    opterr = 0;
    for (int c = 0; (c = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        switch (c) {
        case 'j':
            json = true;
            break;
        case 'h':
            (void)fputs(help, stdout);
            return CLI_DONE;
        default:
            return cli_bad_option("devices", argv, c);
        }
    }
    if (optind < argc) {
        return cli_usage("devices", "unexpected \"%s\"", argv[optind]);
    }
    return qemb_devices(visit, &json) == QEMB_OK ? CLI_DONE : cli_failed("devices", qemb_last_error());
}
