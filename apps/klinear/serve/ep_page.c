/* GET /, GET /page/NAME: the page, out of the program.  It may load nothing from elsewhere, run nothing that is not its
 * own file, and be shown inside no other page. */
#include "http.h"
#include "page.h"
#include "routes.h"

#include <string.h>

static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                             "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct ks_page_file *file_of(const char *name)
{
    for (const struct ks_page_file *f = ks_page; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
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
    bool same = had && strcmp(had, f->tag) == 0;
    x->tag = f->tag;
    x->policy = policy;
    ks_answer_text(x, same ? 304 : 200, f->type, (const char *)f->data, same ? 0 : f->bytes);
}
