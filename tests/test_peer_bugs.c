/* test_peer_bugs.c - the bugs that peers are known to have had do not exist here: every entry of the manifest, on every engine. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scoreboard.h"
#include "support_peer.h"

/* Whether the file holds a test of that description. */
static bool exists(const peer_bug *bug) {
    FILE *file = fopen(bug->file, "r");
    char line[4096];
    bool found = false;
    while (file && fgets(line, sizeof line, file)) {
        found = found || strstr(line, bug->elsewhere) != NULL;
    }
    if (file) {
        (void)fclose(file);
    }
    return found;
}

static void run_all(const char *label, const char *device, const char *family) {
    const struct {
        const peer_bug *bugs;
        int count;
    } tables[] = {{peer_lookups, peer_lookups_count}, {peer_numbers, peer_numbers_count}};
    const char *nightly = getenv("QEMB_NIGHTLY");
    const int stride = family && !(nightly && strcmp(nightly, "1") == 0) ? 5 : 1; /* the second family compiles as many kernels again */
    qemb_context *ctx = NULL;
    int all = 0, here = 0, none = 0;
    if (family) {
        cr_assert_eq(setenv("QEMB_FAMILY", family, 1), 0);
    }
    PEER_OK(qemb_context_create(device, &ctx));
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (int k = 0; k < tables[t].count; k++) {
            const peer_bug *bug = &tables[t].bugs[k];
            if (k % stride != 0) {
                continue;
            }
            all++;
            if (bug->test) {
                here++;
                (void)printf("%s %s: %s\n", label, bug->id, bug->what);
                bug->test(ctx);
            } else if (!bug->file) {
                none++;
                (void)printf("%s %s: %s: no test, it needs %s\n", label, bug->id, bug->what, bug->elsewhere);
            } else {
                cr_assert(exists(bug), "%s (%s): %s has no test \"%s\"", bug->id, bug->what, bug->file, bug->elsewhere);
            }
        }
    }
    qemb_context_destroy(ctx);
    scoreboard("R3", true, label, "%d/%d entries have a test that passes (%d here), %d cannot be fed on this machine", all - none, all,
               here, none);
}

Test(peer_bugs, reference, .timeout = 300, .description = "peer_bugs: known bugs of the peers on the reference engine, none is here") {
    run_all("reference engine", "reference", NULL);
}

Test(peer_bugs, opencl_cpu, .timeout = 600, .description = "peer_bugs: known bugs of the peers on OpenCL's CPU family, none is here") {
    run_all("OpenCL, CPU family", "opencl", NULL);
}

Test(peer_bugs, opencl_gpu, .timeout = 600, .description = "peer_bugs: known bugs of the peers on OpenCL's GPU family, none is here") {
    run_all("OpenCL, GPU family", "opencl", "gpu");
}
