/* tuning.c - reads tuning files; finds the line for a launch. */
#include "opencl/tuning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"

/* Classes of devices that were measured, by a part of the platform's name; the same text as a file, device "*". */
typedef struct known_class {
    const char *platform;
    bool is_cpu;
    const char *text;
} known_class;

static const known_class known[] = {
    {"Portable Computing Language", true,
     "qemb-tune 1\n"
     "device *\n"
     "bag_forward dim=64 size=976 quant=1 variant=grouped ahead=40\n"
     "bag_forward dim=128 size=1953 quant=1 variant=grouped ahead=40\n"},
};

/* One word of a line: cuts it off *rest. */
static size_t word_of(const char **rest, const char *end, const char **word) {
    const char *p = *rest;
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    *word = p;
    while (p < end && *p != ' ' && *p != '\t') {
        p++;
    }
    *rest = p;
    return (size_t)(p - *word);
}

/* Digits only, at most 9 of them; -1 otherwise. */
static long number_of(const char *text, size_t length) {
    long n = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || length > 9) {
            return -1;
        }
        n = 10 * n + (text[i] - '0');
    }
    return length ? n : -1;
}

/* One "NAME=VALUE" of a line; false: it makes no sense. */
static bool set_word(qemb__tuned *t, bool is_cpu, const char *word, size_t length) {
    const char *equals = memchr(word, '=', length);
    if (!equals) {
        return false;
    }
    const size_t name = (size_t)(equals - word);
    const char *value = equals + 1;
    const size_t size = length - name - 1;
    if (name == 7 && memcmp(word, "variant", 7) == 0) {
        t->pick.variant = qemb__variant_find(t->launch.stem, is_cpu, value, size);
        return t->pick.variant != NULL;
    }
    const long n = number_of(value, size);
    const int knob = qemb__knob_of(word, name);
    if (n < 0) {
        return false;
    }
    if (name == 3 && memcmp(word, "dim", 3) == 0) {
        t->launch.dim = (int32_t)n;
    } else if (name == 4 && memcmp(word, "size", 4) == 0) {
        t->launch.size = n;
    } else if (name == 5 && memcmp(word, "quant", 5) == 0) {
        t->launch.quant = n != 0;
    } else if (knob >= 0) {
        t->pick.knob[knob] = n > INT16_MAX ? INT16_MAX : (int)n;
    } else {
        return false;
    }
    return true;
}

/* A line into *t; false: it is passed over. */
static bool parse_line(const char *line, const char *end, bool is_cpu, qemb__tuned *t) {
    const char *word;
    size_t length = word_of(&line, end, &word);
    const int stem = qemb__stem_of(word, length);
    *t = (qemb__tuned){0};
    if (stem < 0) {
        return false;
    }
    t->launch.stem = (qemb__stem)stem;
    for (int k = 0; k < QEMB__KNOBS; k++) {
        t->pick.knob[k] = -1;
    }
    while ((length = word_of(&line, end, &word)) > 0) {
        if (!set_word(t, is_cpu, word, length)) {
            return false;
        }
    }
    return t->pick.variant && t->launch.dim > 0 && t->launch.size > 0;
}

static bool same_text(const char *text, const char *end, const char *want) {
    return (size_t)(end - text) == strlen(want) && memcmp(text, want, (size_t)(end - text)) == 0;
}

void qemb__tuning_parse(const char *text, size_t bytes, const char *device, bool is_cpu, const char *why, qemb__tuning *tuning) {
    const char *const end = text + bytes;
    for (int number = 0; text < end; number++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        const char *const next = newline ? newline + 1 : end;
        if (number == 0 && !same_text(text, stop, "qemb-tune 1")) {
            return;
        }
        if (number == 1 && !(stop - text > 7 && memcmp(text, "device ", 7) == 0 && same_text(text + 7, stop, device))) {
            return;
        }
        if (number > 1 && stop > text && *text != '#' && tuning->count < QEMB__TUNED_MOST) {
            qemb__tuned *t = &tuning->line[tuning->count];
            const bool good = newline && parse_line(text, stop, is_cpu, t); /* a last line without an end was cut off */
            t->pick.why = why;
            tuning->count += good;
            tuning->ignored += !good;
        }
        text = next;
    }
}

/* How many doublings lie between two numbers. */
static double doublings(int64_t a, int64_t b) {
    return fabs(log2((double)(a > 0 ? a : 1) / (double)(b > 0 ? b : 1)));
}

const qemb__tuned *qemb__tuning_find(const qemb__tuning *tuning, const qemb__case *launch, uint32_t facts) {
    const qemb__tuned *best = NULL;
    double nearest = 1000.0;
    for (int i = 0; tuning && i < tuning->count; i++) {
        const qemb__tuned *t = &tuning->line[i];
        const double dim = doublings(t->launch.dim, launch->dim);
        const double size = doublings(t->launch.size, launch->size);
        const bool near = dim <= 1.0 && size <= (launch->stem == QEMB__ROW_SORT ? 1.0 : 4.0);
        if (t->launch.stem == launch->stem && t->launch.quant == launch->quant && near && (t->pick.variant->needs & ~facts) == 0 &&
            8.0 * dim + size < nearest) {
            nearest = 8.0 * dim + size;
            best = t;
        }
    }
    return best;
}

/* "FOLDER/qemb/DEVICE.tune", with '_' for what does not belong in a file name; false: no folder is known. */
static bool default_path(const char *device, char *path, size_t size) {
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int n = config && *config ? snprintf(path, size, "%s/qemb/", config)
            : home && *home   ? snprintf(path, size, "%s/.config/qemb/", home)
                              : 0;
    if (n <= 0 || (size_t)n + strlen(device) + 6 >= size) {
        return false;
    }
    for (const char *p = device; *p; p++) {
        const bool good = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-';
        path[n++] = good ? *p : '_';
    }
    (void)snprintf(path + n, size - (size_t)n, ".tune");
    return true;
}

bool qemb_tuning_path(const char *device, char *path, size_t size) {
    const char *given = getenv("QEMB_TUNE");
    if (!device || !path || !size) {
        return false;
    }
    if (given) {
        return *given && snprintf(path, size, "%s", given) < (int)size;
    }
    return default_path(device, path, size);
}

/* Adds a file's lines; a file that is not there, or is not a file, adds nothing. */
static qemb_status read_file(const char *device, bool is_cpu, qemb__tuning *tuning) {
    qemb_status st = QEMB_OK;
    char path[1024];
    void *text = NULL;
    FILE *file = qemb_tuning_path(device, path, sizeof path) ? fopen(path, "rb") : NULL;
    if (file) {
        TRY(qemb__calloc(QEMB__TUNING_BYTES, 1, &text));
        const size_t bytes = fread(text, 1, QEMB__TUNING_BYTES, file);
        qemb__tuning_parse(text, bytes, device, is_cpu, "tuning file", tuning);
    }
done:
    if (file) {
        (void)fclose(file);
    }
    qemb__free(text);
    return st;
}

qemb_status qemb__tuning_open(const char *device, const char *platform, bool is_cpu, qemb__tuning **out) {
    qemb_status st = QEMB_OK;
    void *block = NULL;
    TRY(qemb__calloc(1, sizeof(qemb__tuning), &block));
    qemb__tuning *tuning = block;
    TRY(read_file(device, is_cpu, tuning));
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        if (known[k].is_cpu == is_cpu && strstr(platform, known[k].platform)) {
            qemb__tuning_parse(known[k].text, strlen(known[k].text), "*", is_cpu, "known class of devices", tuning);
        }
    }
    *out = tuning;
    block = NULL;
done:
    qemb__free(block);
    return st;
}
