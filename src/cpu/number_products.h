/** Linear layers and experts through the product of cpu/gemm.h, for weights of any type: each number as f32. */
#ifndef KL_CPU_NUMBER_PRODUCTS_H
#define KL_CPU_NUMBER_PRODUCTS_H

#include "ops/backend.h"

/** Of the n products those that are not kl__in_panels; others are left alone.  Workspace: kl__gemm_workspace. */
void kl__number_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x,
                        kl_workspace work);

/** kl__weight_experts. */
size_t kl__number_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call);
void kl__number_experts(const kl_backend *be, const struct kl__weight_experts_call *call);

#endif
