#include "ops/backend.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

static const struct kl__backend_type *const types[] = {
#define BACKEND(x) &kl__backend_##x,
#include "ops/backends.def"
#undef BACKEND
};

static const struct kl__backend_type *find_type(const char *name)
{
    if (!name)
        return types[0];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i]->name, name) == 0)
            return types[i];
    return NULL;
}

kl_status kl_backend_open(kl_backend **backend, const kl_backend_options *options, kl_error *err)
{
    if (!backend)
        return kl__fail(err, KL_ERR_ARGUMENT, "backend is NULL, expected a place for the handle");
    kl_backend_options o = options ? *options : (kl_backend_options){0};
    const struct kl__backend_type *type = find_type(o.name);
    if (!type)
        return kl__fail(err, KL_ERR_ARGUMENT, "backend name is \"%s\", expected \"cpu\"", o.name);
    kl_backend *be = kl__alloc(o.alloc, sizeof *be);
    if (!be)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a backend");
    be->type = type;
    be->pool = o.pool;
    if (o.alloc) {
        be->alloc_copy = *o.alloc;
        be->alloc = &be->alloc_copy;
    }
    kl_status status = type->open(be, o.isa ? o.isa : "native", err);
    if (status != KL_OK) {
        kl__release(o.alloc, be);
        return status;
    }
    *backend = be;
    return KL_OK;
}

void kl_backend_close(kl_backend *be)
{
    if (!be)
        return;
    be->type->close(be);
    kl_allocator alloc = be->alloc_copy;
    kl__release(be->alloc ? &alloc : NULL, be);
}

const char *kl_backend_isa(const kl_backend *be)
{
    return be->type->isa(be);
}

bool kl_backend_kernel(const kl_backend *be, int i, const char **slot, const char **variant)
{
    return be->type->kernel(be, i, slot, variant);
}
