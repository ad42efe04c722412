/* fuzz_tuning.c - any bytes as a tuning file: what is taken lies in the range that its variant allows. */
#include "fuzz.h"

#include "opencl/tuning.h"

int fuzz_tuning(const uint8_t *bytes, size_t count) {
    static qemb__tuning tuning;
    char *text = malloc(count ? count : 1); /* of this size exactly: a read behind it shows */
    if (!text) {
        return 0;
    }
    memcpy(text, bytes, count);
    tuning.count = tuning.ignored = 0;
    qemb__tuning_parse(text, count, "cpu", true, "fuzz", &tuning);
    free(text);
    PROMISE(tuning.count >= 0 && tuning.count <= QEMB__TUNED_MOST);
    for (int i = 0; i < tuning.count; i++) {
        const qemb__tuned *t = &tuning.line[i];
        PROMISE(t->launch.stem < QEMB__STEMS && t->pick.variant && t->pick.variant->stem == t->launch.stem && t->pick.variant->is_cpu);
        PROMISE(t->launch.dim > 0 && t->launch.size > 0);
        for (int k = 0; k < QEMB__KNOBS; k++) {
            const qemb__knob *range = &t->pick.variant->knob[k];
            const int n = qemb__knob_clamp(t->pick.variant, (qemb__knob_name)k, t->pick.knob[k]);
            PROMISE(n >= range->least && n <= range->most);
        }
        const qemb__tuned *found = qemb__tuning_find(&tuning, &t->launch, 0xffffffffu);
        PROMISE(found && found->launch.stem == t->launch.stem);
    }
    return 0;
}
