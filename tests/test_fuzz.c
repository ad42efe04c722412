/* test_fuzz.c - replays the fuzz targets on their corpus and on mutations of it, the same ones in every run. */
#include <criterion/criterion.h>

#include <dirent.h>

#include "fuzz/fuzz.h"
#include "support_files.h"

enum { MUTATIONS = 300, ROOM = 1 << 16 };

static uint64_t random_word(uint64_t *state) {
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* One to four edits: a bit, a byte, a token of the formats, a cut, a doubled piece. Returns the new length. */
static size_t mutate(uint8_t *bytes, size_t count, uint64_t *state) {
    static const char *const tokens[] = {"\"", "{",  "}",    "[", "]", ",", ":", "\\u0000", "\\", "-1", "0", "9223372036854775807",
                                         "\t", "\n", "\xFF", "(", ")"};
    for (uint64_t edits = 1 + random_word(state) % 4; edits > 0 && count > 0; --edits) {
        size_t at = random_word(state) % count;
        uint64_t kind = random_word(state) % 5;
        if (kind == 0) {
            bytes[at] ^= (uint8_t)(1u << random_word(state) % 8);
        } else if (kind == 1) {
            bytes[at] = (uint8_t)random_word(state);
        } else if (kind == 2) {
            const char *token = tokens[random_word(state) % (sizeof tokens / sizeof *tokens)];
            for (size_t i = 0; token[i] && at + i < count; ++i) {
                bytes[at + i] = (uint8_t)token[i];
            }
        } else if (kind == 3) {
            count = at + (at == 0);
        } else {
            size_t length = random_word(state) % 64;
            length = length < count - at ? length : count - at;
            if (count + length <= ROOM) {
                memmove(bytes + at + length, bytes + at, count - at);
                count += length;
            }
        }
    }
    return count;
}

static void replay(const char *folder, int (*target)(const uint8_t *, size_t)) {
    static uint8_t bytes[ROOM];
    uint64_t state = 20240229;
    int files = 0;
    DIR *corpus = opendir(folder);
    struct dirent *entry;
    cr_assert_not_null(corpus, "%s: run from the top folder", folder);
    while ((entry = readdir(corpus))) {
        char path[512];
        size_t count = 0;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char *original = entry->d_name[0] == '.' ? NULL : support_read(path, &count);
        if (!original) {
            continue;
        }
        cr_assert_leq(count, (size_t)ROOM);
        (void)target((const uint8_t *)original, count);
        for (int i = 0; i < MUTATIONS; ++i) {
            memcpy(bytes, original, count);
            (void)target(bytes, mutate(bytes, count, &state));
        }
        free(original);
        files++;
    }
    (void)closedir(corpus);
    cr_expect_geq(files, 5, "%s holds %d files", folder, files);
}

#define REPLAY(target)                                                                                                                     \
    Test(fuzz, target##_keeps_its_promises, .timeout = 300) {                                                                              \
        replay("tests/fuzz/corpus/" #target, fuzz_##target);                                                                               \
    }
REPLAY(safetensors)
REPLAY(npy)
REPLAY(clicks)
REPLAY(state)
REPLAY(packed_file)
REPLAY(batch)
REPLAY(api)
REPLAY(packed_import)
REPLAY(quantise)
REPLAY(optimizer)
REPLAY(math)
REPLAY(tuning)
