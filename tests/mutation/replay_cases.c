/* replay_cases.c - tests/replay*.c as tests that the runner of mutants knows: the reference engine whole, the device in parts. */
#include <criterion/criterion.h>
#include <glob.h>

#define main replay_main
#include "replay.c"
#undef main

enum { PARTS = 12, MOST = 1000 };

static void replay(const char *device, int part, int parts) {
    glob_t cases = {0};
    char *words[MOST + 4] = {"qemb-replay", "--device", (char *)device};
    int count = 3;
    cr_assert_eq(glob("tests/cases/*.safetensors", 0, NULL, &cases), 0);
    for (size_t i = 0; i < cases.gl_pathc && count < MOST; i++) {
        if ((int)(i % (size_t)parts) == part) {
            words[count++] = cases.gl_pathv[i];
        }
    }
    cr_assert_eq(replay_main(count, words), 0);
}

Test(replay, reference) {
    replay("reference", 0, 1);
}

#define PART(number)                                                                                                                       \
    Test(replay, opencl_##number) {                                                                                                        \
        replay("opencl", number, PARTS);                                                                                                   \
    }
PART(0)
PART(1)
PART(2)
PART(3)
PART(4)
PART(5)
PART(6)
PART(7)
PART(8)
PART(9)
PART(10)
PART(11)
