/** Results on their way to standard output while work goes on. */
#ifndef KA_OUTPUT_H
#define KA_OUTPUT_H

#include "klinear/kl.h"

/** Writes, and with `now` makes sure that it has left.  Errors: KL_ERR_IO, with the reason; KL_ERR_CANCELLED, without a
 *  sentence, when the reader of a pipe has left: he has read enough, which is no failure. */
kl_status ka_put(const void *data, size_t bytes, bool now, kl_error *err);

#endif
