/** Statuses and sentences: how a failure travels. */
#ifndef KL_BASE_ERROR_H
#define KL_BASE_ERROR_H

#include "klinear/kl/base.h"

/** Writes status and sentence into `err` (may be NULL) and returns `status`, so that a failing line is one line. */
kl_status kl__fail(kl_error *err, kl_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** Hands a failure on to the caller. */
#define KL_TRY(call)                                                                                                   \
    do {                                                                                                               \
        kl_status kl_try_status = (call);                                                                              \
        if (kl_try_status != KL_OK)                                                                                    \
            return kl_try_status;                                                                                      \
    } while (0)

#endif
