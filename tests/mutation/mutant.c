/* mutant.c - see mutant.h. Part of the library in the build that holds all mutants; a program that a test starts is told by the environment. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int qemb_mutation_chosen;
unsigned char *volatile qemb_mutation_reached;

void qemb_mutation_choose(int number) {
    qemb_mutation_chosen = number;
}

/* From now on what is reached is written to the file, which has a byte a mutant; children go on doing so. 0 if it worked. */
int qemb_mutation_record(const char *path) {
    struct stat about;
    const int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 || fstat(file, &about) != 0) {
        return -1;
    }
    void *map = mmap(NULL, (size_t)about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    (void)close(file);
    if (map == MAP_FAILED) {
        return -1;
    }
    qemb_mutation_reached = map;
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *number = getenv("QEMB_MUTANT");
    const char *path = getenv("QEMB_MUTATION_RECORD");
    if (number) {
        qemb_mutation_choose(atoi(number));
    }
    if (path) {
        (void)qemb_mutation_record(path);
    }
}
