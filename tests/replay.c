/* replay.c - qemb-replay: runs case files on one device and says for each whether it gives what PyTorch gave.
 *
 *   qemb-replay [--device NAME] [--list] [--only forward] FILE_OR_FOLDER...
 *
 * One line a case, `PASS name`, `FAIL name: why` or `SKIP name: why`; the last line counts them. Exit 0 if none failed and some passed,
 * 1 otherwise, 2 when the call itself makes no sense. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "replay.h"
#include "scoreboard.h"

typedef struct replay_options {
    const char *device;
    bool list, only_forward;
    qemb_context *ctx;
    int64_t count[3]; /* of each verdict */
} replay_options;

static bool is_selected(const replay_case *c, const char *name, const replay_options *options) {
    return !options->only_forward || (c->op != REPLAY_PACK && strncmp(name, "pack_", 5) != 0 && strncmp(name, "train_", 6) != 0);
}

/* The name of a case: its own, else its file's without folder and ending. */
static void name_of(const char *path, const replay_case *c, char *name, size_t size) {
    const char *slash = strrchr(path, '/');
    (void)snprintf(name, size, "%s", c->name && *c->name ? c->name : slash ? slash + 1 : path);
    char *ending = strstr(name, ".safetensors");
    if (ending) {
        *ending = '\0';
    }
}

static void replay_file(const char *path, replay_options *options) {
    static const char *const words[] = {"PASS", "FAIL", "SKIP"};
    replay_report report = {0};
    replay_case c = {0};
    qemb_safetensors *file = NULL;
    char name[512];
    if (qemb_safetensors_open(path, &file) != QEMB_OK) {
        replay_fail(&report, "%s", qemb_last_error());
    } else {
        replay_case_read(file, &c, &report);
    }
    name_of(path, &c, name, sizeof name);
    if (is_selected(&c, name, options)) {
        if (options->list) {
            (void)printf("%s\n", name);
        } else {
            if (report.verdict == REPLAY_PASS) {
                replay_run_case(options->ctx, &c, options->only_forward, &report);
            }
            if (report.verdict == REPLAY_PASS && report.comparisons == 0) {
                replay_fail(&report, "the case has no expected tensor");
            }
            (void)printf("%s %s%s%s\n", words[report.verdict], name, report.verdict == REPLAY_PASS ? "" : ": ", report.why);
            options->count[report.verdict]++;
        }
    }
    qemb_safetensors_close(file);
}

static int is_case_file(const struct dirent *entry) {
    const char *ending = strrchr(entry->d_name, '.');
    return ending && strcmp(ending, ".safetensors") == 0;
}

/* A file, or the case files of a folder in the order of their names. */
static void replay_path(const char *path, replay_options *options) {
    struct stat info;
    struct dirent **entries = NULL;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        replay_file(path, options);
        return;
    }
    int count = scandir(path, &entries, is_case_file, alphasort);
    for (int i = 0; i < count; i++) {
        char inside[4096];
        (void)snprintf(inside, sizeof inside, "%s/%s", path, entries[i]->d_name);
        replay_file(inside, options);
        free(entries[i]);
    }
    free(entries);
}

static int usage(const char *what) {
    (void)fprintf(stderr, "qemb-replay: %s\nusage: qemb-replay [--device NAME] [--list] [--only forward] FILE_OR_FOLDER...\n", what);
    return 2;
}

int main(int argc, char **argv) {
    replay_options options = {0};
    int first = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        const char *word = argv[first];
        if (strcmp(word, "--list") == 0) {
            options.list = true;
        } else if (strcmp(word, "--device") == 0 && first + 1 < argc) {
            options.device = argv[++first];
        } else if (strcmp(word, "--only") == 0 && first + 1 < argc && strcmp(argv[first + 1], "forward") == 0) {
            options.only_forward = true;
            first++;
        } else if (strcmp(word, "--") == 0) {
            first++;
            break;
        } else {
            return usage("an option is not known, or lacks its value");
        }
    }
    if (first == argc) {
        return usage("no file and no folder given");
    }
    if (!options.list && qemb_context_create(options.device, &options.ctx) != QEMB_OK) {
        (void)fprintf(stderr, "qemb-replay: %s\n", qemb_last_error());
        return 2;
    }
    for (int i = first; i < argc; i++) {
        replay_path(argv[i], &options);
    }
    qemb_context_destroy(options.ctx);
    if (options.list) {
        return 0;
    }
    (void)printf("%lld passed, %lld failed, %lld skipped\n", (long long)options.count[REPLAY_PASS], (long long)options.count[REPLAY_FAIL],
                 (long long)options.count[REPLAY_SKIP]);
    const bool good = options.count[REPLAY_FAIL] == 0 && options.count[REPLAY_PASS] > 0;
    const char *family = getenv("QEMB_FAMILY");
    char engine[100];
    (void)snprintf(engine, sizeof engine, "%s%s%s", options.device ? options.device : "default", family && *family ? ", family " : "",
                   family ? family : "");
    scoreboard("R1", good, engine, "%lld recorded cases of PyTorch the same, %lld not", (long long)options.count[REPLAY_PASS],
               (long long)options.count[REPLAY_FAIL]);
    return good ? 0 : 1;
}
