/** What stands for HTTP, and for the files of the page, in fuzz targets of the server. */
#ifndef FUZZ_SERVE_H
#define FUZZ_SERVE_H

#include "serve/exchange.h"
#include "serve/http.h"
#include "serve/page.h"

const struct ks_page_file ks_page[1] = {{0}};

void ks_http_wake(struct ks_exchange *x)
{
    (void)x;
}

const char *ks_http_header(struct ks_exchange *x, const char *name)
{
    (void)x, (void)name;
    return NULL;
}

#endif
