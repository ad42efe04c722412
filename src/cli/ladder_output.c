/* ladder_output.c - what `qemb ladder` found: a table, JSON, a picture. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <string.h>

#include "cli/ladder.h"

static double member(const ladder_result *r, size_t offset) {
    double value = 0.0;
    memcpy(&value, (const char *)r + offset, sizeof value);
    return value;
}

double ladder_mean(const ladder *l, int method, size_t offset, bool paired, double *error) {
    double sum = 0.0;
    double square = 0.0;
    const double n = (double)l->seeds;
    for (int s = 0; s < l->seeds; s++) {
        const double value = member(&l->result[method][s], offset) - (paired ? member(&l->result[0][s], offset) : 0.0);
        sum += value;
        square += value * value;
    }
    const double mean = sum / n;
    *error = l->seeds > 1 ? sqrt(fmax(square / n - mean * mean, 0.0) / (n - 1.0)) : (double)NAN;
    return mean;
}

void ladder_print_seed(const ladder *l, int method, int seed) {
    const ladder_method *m = &l->methods[method];
    const ladder_result *r = &l->result[method][seed];
    json_t *o = json_pack("{s:s, s:s, s:i, s:I, s:o, s:o, s:o, s:I, s:f, s:f, s:f, s:f, s:I, s:I}", "op", "ladder", "method", m->family,
                          "bits", (int)m->bits, "seed", (json_int_t)l->options.config.seed + seed, "auc", cli_number(r->auc), "log_loss",
                          cli_number(r->log_loss), "drop", cli_number(r->drop), "bytes", (json_int_t)r->bytes, "seconds", r->seconds,
                          "tables_ms", r->tables_ms, "layers_ms", r->layers_ms, "best_auc", l->best_auc[seed], "rows",
                          (json_int_t)l->options.data.synthetic, "test_rows", (json_int_t)l->test_rows);
    cli_print_object(o, 9);
}

static int method_index(const ladder *l, const char *family, int64_t bits) {
    for (int i = 0; family && i < l->count; i++) {
        if (l->methods[i].bits == bits && strcmp(l->methods[i].family, family) == 0) {
            return i;
        }
    }
    return -1;
}

/* One object; seed[] holds the seeds met so far. */
static qemb_status read_line(ladder *l, const char *path, int64_t number, const char *line, int64_t *seed) {
    qemb_status st = QEMB_OK;
    json_t *o = json_loads(line, 0, NULL);
    const char *family = NULL;
    json_int_t bits = 0, of = 0, bytes = 0, rows = 0, test_rows = 0;
    ladder_result r = {0};
    double best = 0.0;
    const int got = o ? json_unpack(o, "{s:s, s:I, s:I, s:F, s:F, s:F, s:I, s:F, s:F, s:I, s:I}", "method", &family, "bits", &bits, "seed",
                                    &of, "auc", &r.auc, "log_loss", &r.log_loss, "drop", &r.drop, "bytes", &bytes, "seconds", &r.seconds,
                                    "best_auc", &best, "rows", &rows, "test_rows", &test_rows)
                      : -1;
    const int method = got == 0 ? method_index(l, family, bits) : -1;
    DLRM_REQUIRE(method >= 0, QEMB_ERR_CORRUPT, "ladder: %s: line %lld is no result of qemb ladder --json", path, (long long)number);
    int at = 0;
    while (at < l->seeds && seed[at] != of) {
        at++;
    }
    DLRM_REQUIRE(at < LADDER_SEEDS, QEMB_ERR_RANGE, "ladder: %s: line %lld: more than %d seeds", path, (long long)number, LADDER_SEEDS);
    l->seeds = at == l->seeds ? at + 1 : l->seeds;
    seed[at] = of;
    r.bytes = bytes;
    l->result[method][at] = r;
    l->best_auc[at] = best;
    l->options.data.synthetic = rows;
    l->test_rows = test_rows;
done:
    json_decref(o);
    return st;
}

qemb_status ladder_read(ladder *l, const char *path) {
    qemb_status st = QEMB_OK;
    char line[2048];
    int64_t seed[LADDER_SEEDS] = {0};
    int64_t lines = 0;
    l->seeds = 0;
    FILE *file = fopen(path, "r");
    DLRM_REQUIRE(file, QEMB_ERR_IO, "ladder: %s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        DLRM_TRY(read_line(l, path, ++lines, line, seed));
    }
    DLRM_REQUIRE(l->seeds > 0 && lines == (int64_t)l->seeds * l->count, QEMB_ERR_SHAPE,
                 "ladder: %s: %lld results of %d seeds, want %d a seed", path, (long long)lines, l->seeds, l->count);
done:
    if (file) {
        (void)fclose(file);
    }
    return st;
}

void ladder_print(const ladder *l) {
    double best = 0.0;
    double worst_drop = 0.0;
    char name[40], size[24];
    for (int s = 0; s < l->seeds; s++) {
        best += l->best_auc[s] / (double)l->seeds;
    }
    (void)printf("%sqemb %s: the quality ladder%s   %lld rows, scored on %lld others, %d seeds, one epoch; the truth itself: AUC %.5f\n\n",
                 cli_bold(stdout), qemb_version(), cli_plain(stdout), (long long)l->options.data.synthetic, (long long)l->test_rows,
                 l->seeds, best);
    (void)printf("%s%-24s %9s %10s %9s %10s %10s %10s %10s%s\n", cli_bold(stdout), "", "AUC", "- float", "+-", "log loss", "tables", "time",
                 "drop", cli_plain(stdout));
    for (int i = 0; i < l->count; i++) {
        const ladder_method *m = &l->methods[i];
        double off = 0.0;
        double ignored = 0.0;
        const double difference = ladder_mean(l, i, offsetof(ladder_result, auc), true, &off);
        double time = 0.0;
        for (int s = 0; s < l->seeds; s++) {
            time += l->result[i][s].seconds / l->result[0][s].seconds / (double)l->seeds;
        }
        const double drop = ladder_mean(l, i, offsetof(ladder_result, drop), false, &ignored);
        (void)snprintf(name, sizeof name, m->bits == 32 ? "%s" : "%s, int%d", m->family, (int)m->bits);
        (void)printf("%-24s %9.5f %+10.5f %9.5f %10.5f %10s %9.2fx %10.5f\n", name,
                     ladder_mean(l, i, offsetof(ladder_result, auc), false, &ignored), difference, off,
                     ladder_mean(l, i, offsetof(ladder_result, log_loss), false, &ignored), cli_size((double)l->result[i][0].bytes, size),
                     time, drop);
        for (int s = 0; s < l->seeds && m->conversion == DLRM_CONVERT_TRAINED; s++) {
            worst_drop = fmax(worst_drop, fabs(l->result[i][s].drop));
        }
    }
    (void)printf("\nquantised in training: conversion drop %g\n", worst_drop);
    if (l->seconds > 0.0) {
        (void)printf("running time %.0f s\n", l->seconds);
    }
}

/* ---- picture ------------------------------------------------------------------------------------------------------------- */

/* The methods of a family are neighbours. */
static int family_end(const ladder *l, int from) {
    int end = from;
    while (end < l->count && strcmp(l->methods[end].family, l->methods[from].family) == 0) {
        end++;
    }
    return end;
}

bool ladder_draw(const ladder *l, const char *path) {
    double ignored = 0.0;
    const double level = ladder_mean(l, 0, offsetof(ladder_result, auc), false, &ignored);
    if (strchr(path, '\'')) {
        (void)cli_failed("ladder", "--picture: a path with a quote in it");
        return false;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* where there is no gnuplot nobody reads; pclose tells */
    FILE *pipe = popen("gnuplot", "w");
    if (!pipe) {
        (void)cli_failed("ladder", strerror(errno));
        return false;
    }
    (void)fprintf(
        pipe,
        "set terminal svg size 760,460 font 'sans,12'\nset output '%s'\nset title 'Test AUC by bits of the tables: %lld planted rows, %d "
        "seeds'\n"
        "set xrange [-0.3:2.3]\nset xtics ('8 bits' 0, '4 bits' 1, '2 bits' 2)\nset ylabel 'AUC'\nset key left bottom\nset grid ytics\n"
        "plot %.9f with lines dashtype 2 linecolor 'black' title 'float'",
        path, (long long)l->options.data.synthetic, l->seeds, level);
    for (int i = 1; i < l->count; i = family_end(l, i)) {
        (void)fprintf(pipe, ", '-' using 1:2:3 with yerrorlines linewidth 2 title '%s'", l->methods[i].family);
    }
    (void)fputc('\n', pipe);
    for (int i = 1; i < l->count;) {
        for (const int end = family_end(l, i); i < end; i++) {
            double error = 0.0;
            const int at = l->methods[i].bits == 8 ? 0 : l->methods[i].bits == 4 ? 1 : 2;
            (void)ladder_mean(l, i, offsetof(ladder_result, auc), true, &error);
            (void)fprintf(pipe, "%d %.9f %.9f\n", at, ladder_mean(l, i, offsetof(ladder_result, auc), false, &ignored),
                          l->seeds > 1 ? error : 0.0);
        }
        (void)fputs("e\n", pipe);
    }
    if (pclose(pipe) != 0) {
        (void)cli_failed("ladder", "gnuplot is missing or failed (Debian and Ubuntu: gnuplot-nox): no picture");
        return false;
    }
    return true;
}
