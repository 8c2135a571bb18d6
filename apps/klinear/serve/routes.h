/** Which endpoint answers.  To add one: ep_<name>.c with `void ks_ep_<name>(struct ks_exchange *x)`, a row in
 *  routes.def, a page in docs/server.md. */
#ifndef KS_ROUTES_H
#define KS_ROUTES_H

#include "exchange.h"

struct ks_route {
    const char *method, *path; /* a path that ends with / takes an argument */
    void (*answer)(struct ks_exchange *x);
    bool open;      /* needs no key */
    bool anthropic; /* errors have Anthropic's shape */
};

#define ROUTE(method, path, name, open, anthropic) void ks_ep_##name(struct ks_exchange *x);
#include "routes.def"
#undef ROUTE

/** The route, or NULL: then *known says whether the path exists with another method. */
const struct ks_route *ks_route_of(const char *method, const char *path, const char **argument, bool *known);

#endif
