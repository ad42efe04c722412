/* mutant.h - included before every file of the build that holds all mutants (build.py): which of them runs, and which are reached. */
#ifndef QEMB_MUTATION_MUTANT_H
#define QEMB_MUTATION_MUTANT_H

#include <stdbool.h>

#pragma GCC visibility push(default)
extern int qemb_mutation_chosen;                      /* the number of the mutant that runs; 0: none */
extern unsigned char *volatile qemb_mutation_reached; /* a byte a mutant, where it is recorded; else NULL */
void qemb_mutation_choose(int number);
int qemb_mutation_record(const char *path);
#pragma GCC visibility pop

/* Does mutant `number` run? `differs`: does it make a difference here? Recorded as 1 for a point that is passed, 3 for one that differs. */
static inline int qemb_mutation_asks(int number, bool differs) {
    unsigned char *reached = qemb_mutation_reached;
    if (__builtin_expect(reached != 0, 0)) {
        reached[number] |= differs ? 3 : 1;
    }
    return qemb_mutation_chosen == number;
}

#define QEMB_MUTATION_BUILD             1
#define QEMB_MUTANT(number)             qemb_mutation_asks(number, true)
#define QEMB_MUTANT_IF(number, differs) qemb_mutation_asks(number, differs)

#endif
