/** HTTP, by way of libmicrohttpd: the only file that knows it is http.c. */
#ifndef KS_HTTP_H
#define KS_HTTP_H

#include "server.h"

struct ks_exchange;

/** Listens and answers, on threads of its own.  Errors: KL_ERR_IO. */
kl_status ks_http_open(struct ks_server *s, kl_error *err);
/** No new connections from now on. */
void ks_http_quiesce(struct ks_server *s);
/** Every exchange must have its answer. */
void ks_http_close(struct ks_server *s);
/** To be called ten times a second: time limits, clients that left, signs of life in streams. */
void ks_http_tick(struct ks_server *s);
/** There is something for HTTP to do; with the lock of the exchange held. */
void ks_http_wake(struct ks_exchange *x);
/** What the client said in a header; NULL: nothing.  While the endpoint is called. */
const char *ks_http_header(struct ks_exchange *x, const char *name);
/** Requests that have no whole answer yet. */
int ks_http_open_exchanges(struct ks_server *s);

#endif
