/* GET /, GET /page/NAME: the page, out of the program, compressed for those who take that.  It may load nothing from
 * elsewhere, run nothing that is not its own file, and be shown inside no other page. */
#include "http.h"
#include "page.h"
#include "routes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                             "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct ks_page_file *file_of(const char *name)
{
    for (const struct ks_page_file *f = ks_page; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

/* Is gzip among the codings of an Accept-Encoding, as in "br;q=0.9, gzip", and not with a weight of 0? */
static bool takes_gzip(const char *accepts)
{
    for (const char *at = accepts; at && *at; at += strcspn(at, ","), at += *at == ',') {
        at += strspn(at, " \t");
        size_t name = strcspn(at, " \t;,"), all = strcspn(at, ",");
        if (name != 4 || strncasecmp(at, "gzip", 4) != 0)
            continue;
        const char *weight = memchr(at, '=', all);
        return !weight || strtod(weight + 1, NULL) > 0;
    }
    return false;
}

void ks_ep_page(struct ks_exchange *x)
{
    struct ks_problem p;
    const struct ks_page_file *f = file_of(*x->argument ? x->argument : "index.html");
    if (!f) {
        ks_refuse(&p, 404, NULL, "unknown_url", "the page has no file \"%.64s\"", x->argument);
        ks_answer_problem(x, &p);
        return;
    }
    const char *had = ks_http_header(x, "If-None-Match");
    x->packed = takes_gzip(ks_http_header(x, "Accept-Encoding"));
    x->tag = x->packed ? f->packed_tag : f->tag;
    x->policy = policy;
    bool same = had && strcmp(had, x->tag) == 0;
    const unsigned char *data = x->packed ? f->packed : f->data;
    ks_answer_text(x, same ? 304 : 200, f->type, (const char *)data, same ? 0 : x->packed ? f->packed_bytes : f->bytes);
}
