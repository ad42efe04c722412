/* test_base.c - src/base/ for itself: to the byte what memory is taken and given back, to the bit what random numbers are. No device. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/status.h"
#include "support_ok.h"

enum { HUGE_PAGE = 2 << 20, SMALL_PAGE = 4096 };

/* Bytes of address space that are mapped in [from, to). */
static size_t mapped(uintptr_t from, uintptr_t to) {
    unsigned long long first = 0, last = 0;
    char line[512];
    size_t bytes = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    cr_assert_not_null(maps);
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%llx-%llx", &first, &last) == 2 && first < to && last > from) {
            bytes += (last < to ? last : to) - (first > from ? first : from);
        }
    }
    (void)fclose(maps);
    return bytes;
}

/* Bytes of address space of the whole process. */
static size_t all_mapped(void) {
    return mapped(0, UINTPTR_MAX);
}

Test(base, pages, .description = "pages_alloc: what is asked for, aligned, zero, counted, and not a page more") {
    static const size_t sizes[] = {0, 1, 127, 128, 129, 8191, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1, 5 * HUGE_PAGE - 1, 5 * HUGE_PAGE};
    (void)all_mapped(); /* what reading the list takes is taken */
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const size_t bytes = sizes[k];
        const size_t rounded = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        for (size_t odd = 0; odd <= 3; odd++) { /* the system's next place is aligned or is not */
            void *shift = mmap(NULL, (1 + odd) * SMALL_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            const int64_t count = qemb__alloc_count();
            const size_t before = all_mapped();
            unsigned char *block = NULL;
            OK(qemb__pages_alloc(bytes, (void **)&block));
            cr_assert_eq(qemb__alloc_count(), count + 1);
            cr_assert_eq((uintptr_t)block % (bytes < HUGE_PAGE ? 128 : HUGE_PAGE), 0, "%zu bytes at %p", bytes, (void *)block);
            if (bytes >= HUGE_PAGE) {
                cr_assert_eq(mapped((uintptr_t)block, (uintptr_t)block + rounded), rounded, "%zu bytes", bytes);
                cr_assert_eq(all_mapped() - before, rounded, "%zu bytes", bytes);
            }
            for (size_t i = 0; i < bytes; i++) {
                cr_assert_eq(block[i], 0);
                block[i] = 255;
            }
            qemb__pages_free(block, bytes);
            if (bytes >= HUGE_PAGE) {
                cr_assert_eq(all_mapped(), before, "%zu bytes given back", bytes);
            }
            cr_assert_eq(qemb__alloc_count(), count + 1);
            (void)munmap(shift, (1 + odd) * SMALL_PAGE);
        }
    }
}

Test(base, pages_too_many, .description = "pages_alloc: 63 bits less two huge pages are too much memory, one byte more is no size") {
    void *block = &block;
    const int64_t count = qemb__alloc_count();
    const size_t most = (size_t)INT64_MAX - 2 * (size_t)HUGE_PAGE;
    cr_expect_eq(qemb__pages_alloc(most, &block), QEMB_ERR_NOMEM);
    cr_expect_eq(qemb__pages_alloc(most + 1, &block), QEMB_ERR_OVERFLOW);
    cr_expect_eq(qemb__pages_alloc(SIZE_MAX, &block), QEMB_ERR_OVERFLOW);
    cr_expect_eq(block, (void *)&block);
    cr_expect_eq(qemb__alloc_count(), count);
}

Test(base, blocks, .description = "calloc, grow, strdup: sizes, zeros, contents, the count of allocations") {
    void *block = NULL;
    char *copy = NULL;
    const int64_t count = qemb__alloc_count();
    OK(qemb__calloc(0, 8, &block));
    cr_assert_not_null(block);
    qemb__free(block);
    OK(qemb__calloc(7, 8, &block));
    cr_expect_eq(memcmp(block, (char[56]){0}, 56), 0);
    qemb__free(block);
    cr_expect_eq(qemb__alloc_count(), count + 2);
    cr_expect_eq(qemb__calloc(1, (size_t)INT64_MAX + 1, &block), QEMB_ERR_OVERFLOW);
    cr_expect_eq(qemb__alloc_count(), count + 2);
    OK(qemb__strdup("a text", &copy));
    cr_expect_str_eq(copy, "a text");
    qemb__free(copy);

    /* At least what is wanted, at least half more than there was; what there was stays. */
    static const int64_t steps[][2] = {{5, 5}, {5, 5}, {4, 5}, {6, 7}, {8, 10}, {31, 31}, {32, 46}, {46, 46}, {47, 69}};
    int64_t capacity = 0, filled = 0;
    block = NULL;
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
        OK(qemb__grow(&block, &capacity, steps[k][0], sizeof(int64_t)));
        cr_assert_eq(capacity, steps[k][1], "step %zu: %lld", k, (long long)capacity);
        for (int64_t i = 0; i < capacity; i++) {
            cr_assert_eq(((int64_t *)block)[i], i < filled ? i + 1 : 0);
            ((int64_t *)block)[i] = i + 1;
        }
        filled = capacity;
    }
    cr_expect_eq(qemb__grow(&block, &capacity, INT64_MAX, 8), QEMB_ERR_OVERFLOW);
    cr_expect_eq(capacity, 69);
    qemb__free(block);
}

Test(base, random, .description = "random: the numbers of a seed; normal_fill: the pairs of Box and Muller, however they are cut") {
    static const uint64_t numbers[][3] = {
        {0, 0, UINT64_C(0xe220a8397b1dcdaf)}, {0, 1, UINT64_C(0x6e789e6aa1b965f4)}, {3, 5, UINT64_C(0xf3ef1ae0756ef289)}};
    enum { COUNT = 101 };
    float want[COUNT + 3], got[COUNT + 3];
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        cr_expect_eq(qemb__random(numbers[k][0], numbers[k][1]), numbers[k][2], "%zu", k);
    }
    for (uint64_t k = 0; k < COUNT + 3; k++) {
        const uint64_t even = qemb__random(7, k & ~UINT64_C(1)), odd = qemb__random(7, k | 1);
        const double radius = sqrt(-2.0 * log(((double)(even >> 11) + 0.5) / 9007199254740992.0));
        const double angle = 6.283185307179586476925 * ((double)(odd >> 11) / 9007199254740992.0);
        want[k] = (float)(k & 1 ? radius * sin(angle) : radius * cos(angle));
    }
    for (uint64_t first = 0; first < 3; first++) {
        for (int64_t count = 0; count <= COUNT; count++) {
            for (int64_t i = 0; i < COUNT + 3; i++) {
                got[i] = -99.0f;
            }
            qemb__normal_fill(7, first, got, count);
            cr_assert_eq(memcmp(got, want + first, (size_t)count * sizeof *got), 0, "%lld from %d", (long long)count, (int)first);
            cr_assert(got[count] == -99.0f && got[count + 1] == -99.0f, "%lld from %d: more than asked for", (long long)count, (int)first);
        }
    }
}

Test(base, arithmetic, .description = "checked: the ends of 63 bits, division upwards") {
    int64_t value = 5;
    size_t bytes = 5;
    cr_expect(qemb__mul_i64(INT64_MAX, 1, &value) && value == INT64_MAX);
    cr_expect(!qemb__mul_i64(INT64_MAX, 2, &value) && value == INT64_MAX);
    cr_expect(qemb__add_i64(INT64_MAX - 1, 1, &value) && value == INT64_MAX);
    cr_expect(!qemb__add_i64(INT64_MAX, 1, &value) && value == INT64_MAX);
    cr_expect(qemb__bytes(0, 0, &bytes) && bytes == 0);
    cr_expect(qemb__bytes(INT64_MAX, 1, &bytes) && bytes == (size_t)INT64_MAX);
    cr_expect(!qemb__bytes(1, (size_t)INT64_MAX + 1, &bytes) && !qemb__bytes(-1, 1, &bytes) && bytes == (size_t)INT64_MAX);
    cr_expect(qemb__ceil_div(0, 3) == 0 && qemb__ceil_div(1, 3) == 1 && qemb__ceil_div(3, 3) == 1 && qemb__ceil_div(4, 3) == 2);
    cr_expect(qemb__round_up(0, 8) == 0 && qemb__round_up(1, 8) == 8 && qemb__round_up(8, 8) == 8 && qemb__round_up(9, 8) == 16);
    cr_expect(qemb__max_i64(2, 3) == 3 && qemb__max_i64(3, 2) == 3 && qemb__min_i64(2, 3) == 2 && qemb__min_i64(3, 2) == 2);
}

Test(base, sentences, .description = "status: a sentence names the call once, in front, and ends where there is room for no more") {
    char long_one[4000];
    const size_t room = 2047;
    memset(long_one, 'x', sizeof long_one);
    long_one[sizeof long_one - 1] = '\0';
    cr_expect_eq(qemb__fail(QEMB_ERR_ARG, "%d and %s", 7, "more"), QEMB_ERR_ARG);
    cr_expect_str_eq(qemb_last_error(), "7 and more");
    cr_expect_eq(qemb__fail_in(QEMB_ERR_SHAPE, "outer"), QEMB_ERR_SHAPE);
    cr_expect_str_eq(qemb_last_error(), "outer: 7 and more");
    cr_expect_eq(qemb__named(QEMB_ERR_SHAPE, "outer"), QEMB_ERR_SHAPE);
    cr_expect_str_eq(qemb_last_error(), "outer: 7 and more");
    cr_expect_eq(qemb__named(QEMB_OK, "other"), QEMB_OK);
    cr_expect_str_eq(qemb_last_error(), "outer: 7 and more");
    cr_expect_eq(qemb__named(QEMB_ERR_IO, "other"), QEMB_ERR_IO);
    cr_expect_str_eq(qemb_last_error(), "other: outer: 7 and more");
    qemb__calling("call");
    cr_expect_eq(qemb__fail(QEMB_ERR_ARG, "call: so"), QEMB_ERR_ARG);
    cr_expect_str_eq(qemb_last_error(), "call: so");
    cr_expect_eq(qemb__fail(QEMB_ERR_ARG, "so"), QEMB_ERR_ARG);
    cr_expect_str_eq(qemb_last_error(), "call: so");
    cr_expect_eq(qemb__fail(QEMB_ERR_ARG, "%s", long_one), QEMB_ERR_ARG);
    cr_expect_eq(strlen(qemb_last_error()), room);
    cr_expect_eq(strncmp(qemb_last_error(), "call: xxx", 9), 0);
    qemb__calling(NULL);
    cr_expect_eq(qemb__fail(QEMB_ERR_ARG, "%s", long_one), QEMB_ERR_ARG);
    cr_expect_eq(strlen(qemb_last_error()), room);
}
