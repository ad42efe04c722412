/* support_ok.h - a call that must succeed: the test fails with the call and the library's sentence. */
#ifndef QEMB_TESTS_SUPPORT_OK_H
#define QEMB_TESTS_SUPPORT_OK_H

#include <criterion/criterion.h>
#include <qemb/qemb.h>

#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        const qemb_status ok_ = (call);                                                                                                    \
        cr_assert_eq(ok_, QEMB_OK, "%s: %s: %s", #call, qemb_status_name(ok_), qemb_last_error());                                         \
    } while (0)

#endif
