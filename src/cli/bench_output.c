/* bench_output.c - results as a table, as JSON, as lines of a results file. */
#include <jansson.h>
#include <string.h>

#include "cli/bench_cli.h"

void bench_print_json(const bench_report *report) {
    for (int32_t i = 0; i < report->count; i++) {
        const bench_result *r = &report->result[i];
        json_t *o =
            json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:I}", "op", r->op, "variant", r->variant, "device",
                      report->device, "shape", report->shape, "bits", strcmp(r->variant, "float") == 0 ? 32 : (int)report->bits, "runs",
                      (int)r->runs, "best_us", r->best_us, "median_us", r->median_us, "bytes", (json_int_t)r->bytes, "gbps", r->gbps,
                      "copy_gbps", report->copy_gbps, "share", r->share, "page_bytes", (json_int_t)report->page_bytes);
        if (r->ratio > 0.0) {
            (void)json_object_set_new(o, "compare", json_string(report->compared));
            (void)json_object_set_new(o, "ratio", json_real(r->ratio));
        }
        (void)json_object_set_new(o, "p90_us", json_real(r->p90_us));
        (void)json_object_set_new(o, "spread", json_real(r->spread));
        (void)json_object_set_new(o, "rows_gbps", json_real(report->rows_gbps));
        (void)json_object_set_new(o, "rows_share", json_real(r->rows_share));
        (void)json_object_set_new(o, "fbgemm_gbps", json_real(r->fbgemm_gbps));
        (void)json_object_set_new(o, "items_per_s", json_real(r->items_per_s));
        cli_print_object(o, 6);
    }
}

void bench_print_text(const bench_report *report) {
    char bytes[24];
    (void)printf("%s%s%s  (%d bits)\n", cli_bold(stdout), report->shape, cli_plain(stdout), report->bits);
    (void)printf("  %s, copy %.1f GB/s", report->device, report->copy_gbps);
    if (report->rows_gbps > 0.0) {
        (void)printf(", random rows %.1f GB/s", report->rows_gbps);
    }
    if (report->page_bytes) {
        (void)printf(", pages of %s", report->page_bytes > 4096 ? "2 MiB" : "4 KiB");
    }
    (void)printf("\n  %-14s %-15s %5s %11s %11s %11s %10s %8s %6s %6s %9s %10s%s\n", "op", "variant", "runs", "best us", "median us",
                 "90% us", "bytes", "GB/s", "share", "rows", "FBGEMM", "M items/s", report->compared ? "   ratio" : "");
    for (int32_t i = 0; i < report->count; i++) {
        const bench_result *r = &report->result[i];
        (void)printf("  %-14s %-15s %5d %11.1f %11.1f %11.1f %10s %8.2f %6.2f %6.2f ", r->op, r->variant, r->runs, r->best_us, r->median_us,
                     r->p90_us, cli_size(r->bytes, bytes), r->gbps, r->share, r->rows_share);
        (void)(r->fbgemm_gbps > 0.0 ? printf("%9.2f ", r->fbgemm_gbps) : printf("%9s ", "-"));
        (void)printf("%10.2f", 1e-6 * r->items_per_s);
        if (r->ratio > 0.0) {
            (void)printf("  %6.3f of %s", r->ratio, report->compared);
        }
        (void)putchar('\n');
    }
    (void)fflush(stdout);
}

void bench_write_tsv_header(FILE *file) {
    (void)fprintf(file, "op\tvariant\tshape\tbits\truns\tbest_us\tmedian_us\tp90_us\tbytes\tgbps\tcopy_gbps\tshare\trows_gbps\trows_"
                        "share\tfbgemm_gbps\titems_per_"
                        "s\tpage_bytes\tcompare\tratio\n");
}

void bench_write_tsv(FILE *file, const bench_report *report) {
    for (int32_t i = 0; i < report->count; i++) {
        const bench_result *r = &report->result[i];
        (void)fprintf(file, "%s\t%s\t%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%.0f\t%.3f\t%.3f\t%.4f\t%.3f\t%.4f\t%.3f\t%.0f\t%lld\t", r->op,
                      r->variant, report->shape, strcmp(r->variant, "float") == 0 ? 32 : report->bits, r->runs, r->best_us, r->median_us,
                      r->p90_us, r->bytes, r->gbps, report->copy_gbps, r->share, report->rows_gbps, r->rows_share, r->fbgemm_gbps,
                      r->items_per_s, (long long)report->page_bytes);
        if (r->ratio > 0.0) {
            (void)fprintf(file, "%s\t%.4f\n", report->compared, r->ratio);
        } else {
            (void)fprintf(file, "\t\n");
        }
    }
    (void)fflush(file);
}
