/* ladder_output.c - what `qemb ladder` found: a table, JSON, a picture. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
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
    json_t *o = json_pack("{s:s, s:s, s:i, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:I, s:I}", "op", "ladder", "method", m->family, "bits",
                          (int)m->bits, "seed", (json_int_t)l->options.config.seed + seed, "auc", r->auc, "log_loss", r->log_loss, "drop", r->drop,
                          "bytes", (json_int_t)r->bytes, "seconds", r->seconds, "tables_ms", r->tables_ms, "layers_ms", r->layers_ms, "best_auc",
                          l->best_auc[seed], "rows", (json_int_t)l->options.data.synthetic, "test_rows", (json_int_t)l->test_rows);
    (void)json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(o);
}

void ladder_print(const ladder *l) {
    double best = 0.0;
    double worst_drop = 0.0;
    char name[40], size[24];
    for (int s = 0; s < l->seeds; s++) {
        best += l->best_auc[s] / (double)l->seeds;
    }
    (void)printf("%sqemb %s: the quality ladder%s   %lld rows, scored on %lld others, %d seeds, one epoch; the truth itself: AUC %.5f; %.0f s\n\n",
                 cli_bold(stdout), qemb_version(), cli_plain(stdout), (long long)l->options.data.synthetic, (long long)l->test_rows, l->seeds, best,
                 l->seconds);
    (void)printf("%s%-24s %9s %10s %9s %10s %10s %10s %10s%s\n", cli_bold(stdout), "", "AUC", "- float", "+-", "log loss", "tables", "time", "drop",
                 cli_plain(stdout));
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
        (void)printf("%-24s %9.5f %+10.5f %9.5f %10.5f %10s %9.2fx %10.5f\n", name, ladder_mean(l, i, offsetof(ladder_result, auc), false, &ignored),
                     difference, off, ladder_mean(l, i, offsetof(ladder_result, log_loss), false, &ignored),
                     cli_size((double)l->result[i][0].bytes, size), time, drop);
        for (int s = 0; s < l->seeds && m->conversion == DLRM_CONVERT_TRAINED; s++) {
            worst_drop = fmax(worst_drop, fabs(l->result[i][s].drop));
        }
    }
    (void)printf("\nquantised in training: conversion drop %g\n", worst_drop);
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
    FILE *pipe = popen("gnuplot", "w");
    if (!pipe) {
        (void)cli_failed("ladder", strerror(errno));
        return false;
    }
    (void)fprintf(pipe,
                  "set terminal svg size 760,460 font 'sans,12'\nset output '%s'\nset title 'Test AUC by bits of the tables: %lld planted rows, %d seeds'\n"
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
            (void)fprintf(pipe, "%d %.9f %.9f\n", at, ladder_mean(l, i, offsetof(ladder_result, auc), false, &ignored), l->seeds > 1 ? error : 0.0);
        }
        (void)fputs("e\n", pipe);
    }
    if (pclose(pipe) != 0) {
        (void)cli_failed("ladder", "gnuplot is missing or failed (Debian and Ubuntu: gnuplot-nox): no picture");
        return false;
    }
    return true;
}
