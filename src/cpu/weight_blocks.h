/** Linear layers and experts on block-quantised weights, through panels (cpu/panels.h). */
#ifndef KL_CPU_WEIGHT_BLOCKS_H
#define KL_CPU_WEIGHT_BLOCKS_H

#include "ops/backend.h"

/** Whether the weights are blocks of integers, which is what these functions take. */
bool kl__weight_has_levels(const struct kl__weight *w);

/** The products with such weights among the n; others are left alone. */
void kl__block_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x, kl_workspace work);
size_t kl__block_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n, int64_t n_token);

/** kl__weight_experts where all three matrices are blocks. */
void kl__block_experts(const kl_backend *be, const struct kl__weight_experts_call *call);
size_t kl__block_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call);

#endif
