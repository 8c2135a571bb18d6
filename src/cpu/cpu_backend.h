/** The CPU backend's own part of a kl_backend. */
#ifndef KL_CPU_BACKEND_H
#define KL_CPU_BACKEND_H

#include "cpu/kernels/kernels.h"
#include "ops/backend.h"

struct kl__cpu {
    struct kl__kernels kernels;
    unsigned features; /* KL_CPU_* bits in use */
    const char *isa;
};

static inline const struct kl__kernels *kl__cpu_kernels(const kl_backend *be)
{
    return &((const struct kl__cpu *)be->impl)->kernels;
}

#define OP(x)                                                                                                          \
    kl_status kl__cpu_##x(const kl_backend *be, const kl_##x##_args *a, kl_error *err);                                \
    size_t kl__cpu_##x##_workspace(const kl_backend *be, const kl_##x##_args *a);                                      \
    kl_status kl__cpu_##x##_bwd(const kl_backend *be, const kl_##x##_bwd_args *a, kl_error *err);                      \
    size_t kl__cpu_##x##_bwd_workspace(const kl_backend *be, const kl_##x##_bwd_args *a);
#include "ops/ops.def"
#undef OP

#endif
