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

/* Writes a state dict that torch could have saved into the tests' folder: the first `tables` of two float tables of STATE_ROWS x STATE_DIM. Every
 * column of row 3 of the first is *row_3, unless that is NULL. The file's path. */
enum { STATE_ROWS = 31, STATE_DIM = 5 };
const char *support_state_dict(const char *name, int tables, const float *row_3);

#endif
