/* pick.c - reads variants.inc: the first line that fits, or the one that was asked for.
 *
 * In this order: a line asked for by name, a line of a tuning file or of the table of known devices, the first line whose needs and
 * wants are met. The first two may override wants, which are about speed, and never needs, without which the kernel would be wrong. The
 * last choice of a stem is kept: a launch like the one before it asks nothing. The last line of every stem needs nothing, so there is
 * always one. */
#include "opencl/pick.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "opencl/tuning.h"

/* The words of the list. */
enum {
#define FACT(fact, bit) fact = QEMB__##fact,
    QEMB__FACT_LIST(FACT)
#undef FACT
};

#define NO_KNOBS                                         .knob[QEMB__KNOB_AHEAD] = {0, 0, 0},
#define AHEAD(...)                                       .knob[QEMB__KNOB_AHEAD] = {__VA_ARGS__},
#define LOCAL(...)                                       .knob[QEMB__KNOB_LOCAL] = {__VA_ARGS__},
#define ROWS(...)                                        .knob[QEMB__KNOB_ROWS] = {__VA_ARGS__},
#define LANES(...)                                       .knob[QEMB__KNOB_LANES] = {__VA_ARGS__},
#define UNROLL(...)                                      .knob[QEMB__KNOB_UNROLL] = {__VA_ARGS__},
#define FIXED_VECTOR(n)                                  .knob[QEMB__KNOB_VECTOR] = {n, n, n},
#define FIXED_REDUCE(n)                                  .knob[QEMB__KNOB_REDUCE] = {n, n, n},
#define FIXED_WIDE(n)                                    .knob[QEMB__KNOB_WIDE] = {n, n, n},
#define FIXED_STAGED(n)                                  .knob[QEMB__KNOB_STAGED] = {n, n, n},
#define FIXED_DIGIT(n)                                   .knob[QEMB__KNOB_DIGIT] = {n, n, n},
#define FIXED_LOCAL(n)                                   .knob[QEMB__KNOB_LOCAL] = {n, n, n},
#define CPU                                              true
#define GPU                                              false
#define VARIANT(stem, family, name, needs, wants, knobs) {QEMB__##stem, family, name, needs, wants, knobs},

const qemb__variant qemb__variants[] = {
#include "opencl/variants.inc"
};
const int qemb__variant_count = sizeof qemb__variants / sizeof *qemb__variants;

static const char *const stem_names[] = {
#define NAME(stem, name) name,
    QEMB__STEM_LIST(NAME)
#undef NAME
};

static const char *const knob_names[] = {
#define NAME(knob, name) name,
    QEMB__KNOB_LIST(NAME)
#undef NAME
};

static int index_of(const char *const *names, int count, const char *name, size_t length) {
    for (int i = 0; i < count; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) {
            return i;
        }
    }
    return -1;
}

int qemb__stem_of(const char *name, size_t length) {
    return index_of(stem_names, QEMB__STEMS, name, length);
}

int qemb__knob_of(const char *name, size_t length) {
    return index_of(knob_names, QEMB__KNOBS, name, length);
}

const char *qemb__stem_text(qemb__stem stem) {
    return stem_names[stem];
}

const char *qemb__knob_text(qemb__knob_name knob) {
    return knob_names[knob];
}

const qemb__variant *qemb__variant_find(qemb__stem stem, bool is_cpu, const char *name, size_t length) {
    for (int i = 0; i < qemb__variant_count; i++) {
        const qemb__variant *v = &qemb__variants[i];
        if (v->stem == stem && v->is_cpu == is_cpu && strlen(v->name) == length && memcmp(v->name, name, length) == 0) {
            return v;
        }
    }
    return NULL;
}

int qemb__knob_clamp(const qemb__variant *variant, qemb__knob_name knob, long wanted) {
    const qemb__knob *k = &variant->knob[knob];
    long n = wanted < k->least ? k->least : wanted > k->most ? k->most : wanted;
    while (knob != QEMB__KNOB_AHEAD && n & (n - 1)) {
        n &= n - 1; /* down to a power of two: not below `least`, which is one */
    }
    return (int)n;
}

/* The numbers of a variant: what is said, else the usual. */
static void set_knobs(const qemb__picker *picker, const qemb__variant *v, const int *said, qemb__pick *pick) {
    pick->variant = v;
    for (int k = 0; k < QEMB__KNOBS; k++) {
        pick->knob[k] = said && said[k] >= 0 ? qemb__knob_clamp(v, (qemb__knob_name)k, said[k]) : v->knob[k].usual;
    }
    /* what the device takes comes before what was said */
    while (pick->knob[QEMB__KNOB_LOCAL] > picker->max_local && pick->knob[QEMB__KNOB_LOCAL] > 1) {
        pick->knob[QEMB__KNOB_LOCAL] /= 2;
    }
    /* lanes of a row lie in one group: no variant has more of them than its smallest group, and no device of their family smaller groups */
    assert(!v->knob[QEMB__KNOB_LANES].most || pick->knob[QEMB__KNOB_LANES] <= pick->knob[QEMB__KNOB_LOCAL]);
}

static void choose(const qemb__picker *picker, const qemb__case *launch, qemb__pick *pick) {
    const qemb__pick *forced = &picker->stem[launch->stem].forced;
    const uint32_t facts = launch->facts | picker->device_facts;
    if (forced->variant && (forced->variant->needs & ~facts) == 0) {
        set_knobs(picker, forced->variant, forced->knob, pick);
        pick->why = "asked for";
        return;
    }
    const qemb__tuned *tuned = qemb__tuning_find(picker->tuning, launch, facts);
    if (tuned) {
        set_knobs(picker, tuned->pick.variant, tuned->pick.knob, pick);
        pick->why = tuned->pick.why;
        return;
    }
    for (int i = 0; i < qemb__variant_count; i++) {
        const qemb__variant *v = &qemb__variants[i];
        if (v->stem == launch->stem && v->is_cpu == picker->is_cpu && ((v->needs | v->wants) & ~facts) == 0) {
            set_knobs(picker, v, NULL, pick);
            pick->why = forced->variant ? "first that fits; the one asked for does not" : "first that fits";
            return;
        }
    }
}

const qemb__pick *qemb__pick_for(qemb__picker *picker, const qemb__case *launch) {
    const qemb__case *last = &picker->stem[launch->stem].last;
    qemb__pick *pick = &picker->stem[launch->stem].pick;
    if (pick->variant && last->facts == launch->facts && last->dim == launch->dim && last->quant == launch->quant &&
        last->size == launch->size) {
        return pick;
    }
    picker->stem[launch->stem].last = *launch;
    choose(picker, launch, pick);
    if (picker->log) {
        qemb__log("pick", "%s (%s)", qemb__pick_line(picker, stem_names[launch->stem]), pick->why);
    }
    return pick;
}

/* A choice behind the `at` bytes that the text holds already. */
static void add_choice(qemb__picker *picker, int at, const qemb__pick *pick) {
    at += snprintf(picker->text + at, sizeof picker->text - (size_t)at, "%s", pick->variant->name);
    for (int k = 0; k < QEMB__KNOBS; k++) {
        if (pick->variant->knob[k].least < pick->variant->knob[k].most) {
            at += snprintf(picker->text + at, sizeof picker->text - (size_t)at, " %s=%d", knob_names[k], pick->knob[k]);
        }
    }
}

const char *qemb__pick_text(qemb__picker *picker, const char *stem) {
    const int s = qemb__stem_of(stem, strlen(stem));
    picker->text[0] = 0;
    if (s >= 0 && picker->stem[s].pick.variant) {
        add_choice(picker, 0, &picker->stem[s].pick);
    }
    return s < 0 ? NULL : picker->text;
}

const char *qemb__pick_line(qemb__picker *picker, const char *stem) {
    const int s = qemb__stem_of(stem, strlen(stem));
    picker->text[0] = 0;
    if (s >= 0 && picker->stem[s].pick.variant) {
        const qemb__case *c = &picker->stem[s].last;
        add_choice(picker,
                   snprintf(picker->text, sizeof picker->text, "%s dim=%d size=%lld quant=%d variant=", stem, (int)c->dim,
                            (long long)c->size, c->quant),
                   &picker->stem[s].pick);
    }
    return s < 0 ? NULL : picker->text;
}

/* "STEM=NAME[:KNOB=NUMBER...]" of `length` bytes. */
static qemb_status force_one(qemb__picker *picker, const char *text, size_t length) {
    qemb_status st = QEMB_OK;
    const char *end = text + length;
    const char *name = memchr(text, '=', length);
    const int stem = name ? qemb__stem_of(text, (size_t)(name - text)) : -1;
    REQUIRE(stem >= 0, QEMB_ERR_ARG, "variant \"%.*s\": want STEM=NAME[:KNOB=NUMBER...]", (int)length, text);
    name++;
    const char *knob = memchr(name, ':', (size_t)(end - name));
    const size_t size = (size_t)((knob ? knob : end) - name);
    qemb__pick forced = {.variant = qemb__variant_find((qemb__stem)stem, picker->is_cpu, name, size)};
    REQUIRE(forced.variant, QEMB_ERR_ARG, "variant \"%.*s\": %s of the %s family has no variant of this name", (int)length, text,
            stem_names[stem], picker->is_cpu ? "cpu" : "gpu");
    for (int k = 0; k < QEMB__KNOBS; k++) {
        forced.knob[k] = -1;
    }
    while (knob) {
        const char *word = knob + 1;
        knob = memchr(word, ':', (size_t)(end - word));
        const size_t part = (size_t)((knob ? knob : end) - word);
        const char *equals = memchr(word, '=', part);
        const int k = equals ? qemb__knob_of(word, (size_t)(equals - word)) : -1;
        REQUIRE(k >= 0 && forced.variant->knob[k].most, QEMB_ERR_ARG, "variant \"%.*s\": %s %s has no knob \"%.*s\"", (int)length, text,
                stem_names[stem], forced.variant->name, (int)part, word);
        const long n = strtol(equals + 1, NULL, 10); /* stops at the next ':' or ',' */
        forced.knob[k] = n < 0 ? 0 : n > INT16_MAX ? INT16_MAX : (int)n;
    }
    picker->stem[stem].forced = forced;
done:
    return st;
}

qemb_status qemb__pick_force(qemb__picker *picker, const char *text) {
    qemb_status st = QEMB_OK;
    qemb__picker before = *picker; /* a word that is wrong leaves all as it was */
    for (int s = 0; s < QEMB__STEMS; s++) {
        picker->stem[s].forced.variant = NULL;
        picker->stem[s].pick.variant = NULL;
    }
    while (text && *text) {
        const size_t length = strcspn(text, ",");
        TRY(force_one(picker, text, length));
        text += length + (text[length] == ',');
    }
done:
    if (st != QEMB_OK) {
        *picker = before;
    }
    return st;
}
