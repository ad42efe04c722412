/* support_program.h - runs build/bin/qemb as a user would. */
#ifndef QEMB_TESTS_SUPPORT_PROGRAM_H
#define QEMB_TESTS_SUPPORT_PROGRAM_H

#include <stddef.h>

/* The program's path: it lies beside the folder of the test program. */
const char *support_program(void);

/* Another one, by its path in the build folder: tests/qemb_faulty (tests/faulty/faulty.c). */
void support_program_is(const char *name);

/* Runs a shell command in which the word QEMB and a space stand for the program; what it prints goes to output[size]. The exit code, -1 on a signal. */
int support_shell(char *output, size_t size, const char *command);

#endif
