/* exact_math.h - exp and log of doubles from additions, multiplications and divisions alone.
 *
 * The C library's differ in the last bit from system to system, and what they feed here (which id, which label) must not.
 * Every operation is rounded by IEEE 754, none is contracted: the library is compiled with contraction off. Within
 * 1e-14 of the true value, relative for exp, absolute or relative for log. */
#ifndef QEMB_IO_EXACT_MATH_H
#define QEMB_IO_EXACT_MATH_H

double qemb__exact_log(double x); /* x > 0 and normal */
double qemb__exact_exp(double x); /* |x| <= 700 */

/* 1 / (1 + exp(-x)); x beyond +-40 counts as +-40. */
double qemb__exact_sigmoid(double x);

#endif
