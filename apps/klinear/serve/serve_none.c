/* In place of the server where libmicrohttpd or jansson is missing. */
#include "base/error.h"
#include "server.h"

kl_status ks_serve(struct ka_loaded *l, const struct ks_options *options, kl_error *err)
{
    (void)l, (void)options;
    return kl__fail(err, KL_ERR_UNSUPPORTED,
                    "this program was built without a server: libmicrohttpd or jansson was missing");
}
