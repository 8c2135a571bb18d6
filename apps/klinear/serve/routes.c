#include "routes.h"

#include <string.h>

static const struct ks_route routes[] = {
#define ROUTE(method, path, name, open, anthropic) {method, path, ks_ep_##name, open, anthropic},
#include "routes.def"
#undef ROUTE
};

const struct ks_route *ks_route_of(const char *method, const char *path, const char **argument, bool *known)
{
    *known = false;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const struct ks_route *r = &routes[i];
        size_t n = strlen(r->path);
        bool takes = n > 1 && r->path[n - 1] == '/';
        if (takes ? strncmp(path, r->path, n) != 0 || !path[n] : strcmp(path, r->path) != 0)
            continue;
        *known = true;
        *argument = path + n;
        if (strcmp(method, r->method) == 0)
            return r;
    }
    return NULL;
}
