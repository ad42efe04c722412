/* replay_compare.c - an expected tensor against what was computed. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "replay.h"

/* Position i of a tensor as (r,c): all leading dimensions together are rows. */
static void place_of(const qemb_tensor_view *view, int64_t i, char *text, size_t size) {
    const int64_t columns = view->rank > 1 ? view->shape[view->rank - 1] : 1;
    if (view->rank > 1 && columns > 0) {
        (void)snprintf(text, size, "(%lld,%lld)", (long long)(i / columns), (long long)(i % columns));
    } else {
        (void)snprintf(text, size, "(%lld)", (long long)i);
    }
}

void replay_compare(const replay_case *c, const char *name, const float *got, int64_t count, double factor, replay_report *report) {
    replay_tensor t = replay_tensor_read(c, name, report);
    const float *want = t.data;
    double largest = 0.0;
    if (!want) {
        return;
    }
    if (t.view.dtype != QEMB_FILE_F32) {
        replay_skip(report, "tensor %s is %s, want F32", name, qemb_file_dtype_name(t.view.dtype));
        goto done;
    }
    if (t.view.count != count) {
        replay_fail(report, "tensor %s has %lld elements, got %lld", name, (long long)t.view.count, (long long)count);
        goto done;
    }
    report->comparisons++;
    for (int64_t i = 0; i < count; i++) {
        const double size = fabs((double)want[i]);
        largest = size > largest && isfinite(size) ? size : largest;
    }
    for (int64_t i = 0; i < count; i++) {
        const double g = (double)got[i];
        const double w = (double)want[i];
        const double tolerance = factor < 0.0 ? 0.0 : 1.3e-6 * fabs(w) + factor * largest;
        const bool equal = g == w || (isnan(g) && isnan(w)); /* infinities too: their difference is no number */
        if (!equal && !(fabs(g - w) <= tolerance && isfinite(w))) {
            char place[64];
            place_of(&t.view, i, place, sizeof place);
            replay_fail(report, "tensor %s at %s: got %.9g, want %.9g, tolerance %.3g", name, place, g, w, tolerance);
            break;
        }
    }
done:
    free(t.data);
}
