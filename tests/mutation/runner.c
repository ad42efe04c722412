/* runner.c - takes the place of Criterion under a test program, to run its tests for one mutant after the other without starting anew.
 *
 *     LD_PRELOAD=librunner.so build/tests/test_x        then on standard input, one line a run:
 *     MUTANT LIMIT_MS TEST [RECORD]                     and the answer, one line:    pass|fail|signal N|slow MILLISECONDS
 *     list                                              the tests, one line each, then an empty line
 *
 * Every run is a fork of the program before main: nothing of the library has run yet. The first assertion that fails ends it. The time that
 * a run may take is counted in ticks of this process, so that neither counts while both are stopped. Output goes to $QEMB_MUTATION_OUTPUT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <criterion/types.h>

enum { FAILED = 77, TICK_MS = 20 };

static struct criterion_test **tests, **tests_end;
static struct criterion_suite **suites, **suites_end;
static struct criterion_test *running;

/* ---- what a test program calls of Criterion ---------------------------------------------------------------------------------------------- */

void criterion_send_assert(void *stats);
void criterion_abort_test(void);
void criterion_continue_test(void);
void cri_asserts_passed_incr(void);
void criterion_internal_test_setup(void);
void criterion_internal_test_main(void (*fn)(void));
void criterion_internal_test_teardown(void);

typedef struct assert_stats { /* struct criterion_assert_stats of criterion/stats.h begins like this */
    const char *message;
    bool passed;
    unsigned line;
    const char *file;
} assert_stats;

void criterion_send_assert(void *stats) {
    const assert_stats *s = stats;
    if (!s->passed) {
        (void)fprintf(stderr, "%s:%u: %s\n", s->file, s->line, s->message);
        (void)fflush(NULL);
        _exit(FAILED);
    }
}

void criterion_abort_test(void) {
    _exit(FAILED);
}

void criterion_continue_test(void) {
    _exit(FAILED);
}

void cri_asserts_passed_incr(void) {
}

static const struct criterion_test_extra_data *suite_of(const struct criterion_test *test) {
    for (struct criterion_suite **s = suites; s < suites_end; s++) {
        if (*s && strcmp((*s)->name, test->category) == 0) {
            return (*s)->data;
        }
    }
    return NULL;
}

void criterion_internal_test_setup(void) {
    const struct criterion_test_extra_data *suite = suite_of(running);
    if (suite && suite->init) {
        suite->init();
    }
    if (running->data->init) {
        running->data->init();
    }
}

void criterion_internal_test_main(void (*fn)(void)) {
    fn();
}

void criterion_internal_test_teardown(void) {
    const struct criterion_test_extra_data *suite = suite_of(running);
    if (running->data->fini) {
        running->data->fini();
    }
    if (suite && suite->fini) {
        suite->fini();
    }
}

/* ---- one run ----------------------------------------------------------------------------------------------------------------------------- */

static void set_limit(int what, rlim_t most) {
    struct rlimit limit = {most, most};
    (void)setrlimit(what, &limit);
}

static void run(struct criterion_test *test, int mutant, const char *record) {
    void (*choose)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "qemb_mutation_choose");
    int (*note)(const char *) = (int (*)(const char *))dlsym(RTLD_DEFAULT, "qemb_mutation_record");
    const char *output = getenv("QEMB_MUTATION_OUTPUT");
    char number[16];
    (void)setsid();
    set_limit(RLIMIT_DATA, (rlim_t)12 << 30);
    set_limit(RLIMIT_FSIZE, (rlim_t)2 << 40); /* a test makes a sparse file of a terabyte */
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC), out = open(output ? output : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (!choose || !note || null < 0 || out < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        _exit(3);
    }
    (void)close(out);
    (void)snprintf(number, sizeof number, "%d", mutant);
    if (setenv("QEMB_MUTANT", number, 1) != 0) {
        _exit(3);
    }
    if (*record && (setenv("QEMB_MUTATION_RECORD", record, 1) != 0 || note(record) != 0)) {
        _exit(3);
    }
    choose(mutant);
    running = test;
    test->test();
    (void)fflush(NULL);
    _exit(0);
}

static int64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits for a run, `limit` milliseconds at most; answers. */
static void wait_for(pid_t child, int64_t limit) {
    sigset_t children;
    (void)sigemptyset(&children);
    (void)sigaddset(&children, SIGCHLD);
    int64_t waited = 0, began = now_ms();
    int status = 0;
    bool slow = false;
    while (waitpid(child, &status, WNOHANG) == 0) {
        const int64_t before = now_ms();
        (void)sigtimedwait(&children, NULL, &(struct timespec){.tv_nsec = TICK_MS * 1000000L});
        const int64_t took = now_ms() - before;
        waited += took < 5 * (int64_t)TICK_MS ? took : TICK_MS;
        if (waited > limit) {
            slow = true;
            (void)kill(-child, SIGKILL);
            (void)kill(child, SIGKILL);
            (void)waitpid(child, &status, 0);
            break;
        }
    }
    (void)kill(-child, SIGKILL); /* processes of its own that it left behind */
    const long long took = (long long)(now_ms() - began);
    if (slow) {
        (void)printf("slow %lld\n", took);
    } else if (WIFSIGNALED(status)) {
        (void)printf("signal %d %lld\n", WTERMSIG(status), took);
    } else {
        (void)printf("%s %lld\n", WEXITSTATUS(status) == 0 ? "pass" : WEXITSTATUS(status) == 3 ? "broken" : "fail", took);
    }
    (void)fflush(stdout);
}

static void list_tests(void) {
    for (struct criterion_test **t = tests; t < tests_end; t++) {
        if (*t && !(*t)->data->disabled) {
            (void)printf("%s/%s\n", (*t)->category, (*t)->name);
        }
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

/* A section of this program: where it lies. */
static bool find(const char *name, void *first, void *last) {
    static Elf64_Shdr sections[256];
    static char names[1 << 14];
    Elf64_Ehdr head = {0};
    FILE *file = fopen("/proc/self/exe", "rb");
    bool found = false;
    if (file && fread(&head, sizeof head, 1, file) == 1 && head.e_shnum < 256 && fseek(file, (long)head.e_shoff, SEEK_SET) == 0 &&
        fread(sections, sizeof *sections, head.e_shnum, file) == head.e_shnum &&
        fseek(file, (long)sections[head.e_shstrndx].sh_offset, SEEK_SET) == 0 && fread(names, 1, sizeof names, file) > 0) {
        const struct link_map *program = dlopen(NULL, RTLD_NOW);
        for (int i = 0; i < head.e_shnum && program; i++) {
            if (sections[i].sh_name < sizeof names && strcmp(names + sections[i].sh_name, name) == 0) {
                *(char **)first = (char *)program->l_addr + sections[i].sh_addr;
                *(char **)last = (char *)program->l_addr + sections[i].sh_addr + sections[i].sh_size;
                found = true;
            }
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return found;
}

int main(void) {
    char line[1024], name[256], record[512];
    sigset_t children;
    int mutant = 0;
    long long limit = 0;
    (void)unsetenv("LD_PRELOAD");
    if (!find("cr_tst", &tests, &tests_end)) {
        (void)fprintf(stderr, "runner: no tests in this program \n");
        return 2;
    }
    (void)find("cr_sts", &suites, &suites_end);
    if (getenv("QEMB_MUTATION_DRIVER")) {
        (void)dlopen(getenv("QEMB_MUTATION_DRIVER"), RTLD_NOW); /* once, and not in every run */
    }
    (void)sigemptyset(&children);
    (void)sigaddset(&children, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &children, NULL);
    while (fgets(line, sizeof line, stdin)) {
        record[0] = '\0';
        if (strcmp(line, "list\n") == 0) {
            list_tests();
            continue;
        }
        if (sscanf(line, "%d %lld %255s %511s", &mutant, &limit, name, record) < 3) {
            return 2;
        }
        struct criterion_test *wanted = NULL;
        for (struct criterion_test **t = tests; t < tests_end && !wanted; t++) {
            const size_t n = *t ? strlen((*t)->category) : 0;
            if (*t && strncmp(name, (*t)->category, n) == 0 && name[n] == '/' && strcmp(name + n + 1, (*t)->name) == 0) {
                wanted = *t;
            }
        }
        const pid_t child = wanted ? fork() : -1;
        if (child == 0) {
            (void)sigprocmask(SIG_UNBLOCK, &children, NULL);
            run(wanted, mutant, record);
        }
        if (child < 0) {
            return 2;
        }
        wait_for(child, limit);
    }
    return 0;
}
