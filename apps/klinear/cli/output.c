#include "output.h"

#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

kl_status ka_put(const void *data, size_t bytes, bool now, kl_error *err)
{
    errno = 0;
    if (fwrite(data, 1, bytes, stdout) == bytes && (!now || fflush(stdout) == 0))
        return KL_OK;
    int why = errno;
    clearerr(stdout); /* it has been dealt with: main() need not say it again */
    if (why == EPIPE)
        return kl__fail(err, KL_ERR_CANCELLED, "%s", "");
    return kl__fail(err, KL_ERR_IO, "standard output cannot be written%s%s", why ? ": " : "",
                    why ? strerror(why) : "");
}
