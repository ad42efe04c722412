/* dlrm_support.c - see dlrm_cli.h: failures, Ctrl-C, the bar, predictions in a file. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/dlrm_cli.h"

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signal) {
    (void)signal;
    if (interrupts++) {
        _exit(CLI_FAILED);
    }
}

void dlrm_cli_catch_interrupts(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool dlrm_cli_interrupted(void) {
    return interrupts > 0;
}

int dlrm_cli_failed(const dlrm_cli *o) {
    return cli_failed(o->command, dlrm_last_error());
}

bool dlrm_cli_watch(void *user, const dlrm_progress *p) {
    dlrm_cli_bar *b = user;
    if (b->phase != p->phase) { /* phases are literals */
        dlrm_cli_bar_end(b);
        cli_progress_begin(&b->bar, b->title);
        b->phase = p->phase;
        b->began = dlrm_seconds();
        b->first = p->rows;
    }
    const double seconds = dlrm_seconds() - b->began;
    const double speed = seconds > 0.0 ? 1e-3 * (double)(p->rows - b->first) / seconds : 0.0;
    if (p->loss > 0.0) {
        (void)snprintf(b->title, sizeof b->title, "%d %.1fk rows/s loss %.4f", (int)p->epoch + 1, speed, p->loss);
    } else {
        (void)snprintf(b->title, sizeof b->title, "%s %.1fk rows/s", p->phase, speed);
    }
    cli_progress_at(&b->bar, p->rows, p->total);
    return !dlrm_cli_interrupted();
}

void dlrm_cli_bar_end(dlrm_cli_bar *b) {
    if (b->phase) {
        cli_progress_end(&b->bar);
    }
    b->phase = NULL;
}

qemb_status dlrm_cli_keep_predictions(const char *path, const dlrm_predictions *p) {
    qemb_status st = QEMB_OK;
    float *both = NULL;
    const int64_t shape[2] = {2, p->rows};
    if (!path) {
        return st;
    }
    DLRM_NEW(both, 2 * p->rows);
    memcpy(both, p->predicted, (size_t)p->rows * sizeof *both);
    memcpy(both + p->rows, p->labels, (size_t)p->rows * sizeof *both);
    DLRM_LIB(qemb_npy_save(path, &(qemb_tensor_desc){.name = "", .shape = shape, .rank = 2, .dtype = QEMB_FILE_F32}, both));
done:
    free(both);
    return st;
}

void dlrm_cli_report_faults(const dlrm_cli *o, const dlrm_data *data) {
    if (data->faults > 0) {
        (void)fprintf(stderr, "qemb %s: %s: %lld rows do not parse and are left out\n", o->command, data->desc.path,
                      (long long)data->faults);
        for (int i = 0; i < QEMB_CLICK_NAMED_FAULTS && data->fault[i][0]; i++) {
            (void)fprintf(stderr, "  %s\n", data->fault[i]);
        }
    }
}
