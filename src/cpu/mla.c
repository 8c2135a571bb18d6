#include "cpu/mla.h"

kl_status kl__cpu_mla(const kl_backend *be, const kl_mla_args *a, kl_error *err)
{
    (void)err;
    struct kl__latent x = kl__latent_of(be, a);
    kl__mla_absorbed(be, &x, a->work);
    kl__mla_expanded(be, &x, a->work);
    return KL_OK;
}

size_t kl__cpu_mla_workspace(const kl_backend *be, const kl_mla_args *a)
{
    struct kl__latent x = kl__latent_of(be, a);
    size_t absorbed = kl__mla_absorbed_workspace(be, &x), expanded = kl__mla_expanded_workspace(be, &x);
    return absorbed > expanded ? absorbed : expanded;
}
