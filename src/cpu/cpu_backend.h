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

size_t kl__cpu_mla_packed_bytes(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv);
size_t kl__cpu_mla_pack_workspace(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv);
kl_status kl__cpu_mla_pack(const kl_backend *be, void *to, kl_tensor w_uk, kl_tensor w_uv, kl_workspace work,
                           kl_error *err);
size_t kl__cpu_weight_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n,
                                        int64_t n_token);
void kl__cpu_weight_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                            kl_workspace work);
size_t kl__cpu_weight_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call);
void kl__cpu_weight_experts(const kl_backend *be, const struct kl__weight_experts_call *call);
size_t kl__cpu_weight_packed_bytes(const kl_backend *be, const struct kl__weight *w);
void kl__cpu_weight_pack(const kl_backend *be, void *to, const struct kl__weight *w);
void kl__cpu_weight_rows(const kl_backend *be, kl_tensor y, kl_tensor id, const struct kl__weight *table);

#endif
