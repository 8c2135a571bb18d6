/** Linear layers and experts through panels (cpu/panels.h). */
#ifndef KL_CPU_PANEL_PRODUCTS_H
#define KL_CPU_PANEL_PRODUCTS_H

#include "ops/backend.h"

/** Of the n products those that kl__in_panels; others are left alone. */
size_t kl__panel_linears_workspace(const kl_backend *be, const struct kl__weight_product *p, int n, int64_t n_token);
void kl__panel_linears(const kl_backend *be, const struct kl__weight_product *p, int n, kl_tensor x, kl_workspace work);

/** kl__weight_experts where all three weights are kl__in_panels. */
size_t kl__panel_experts_workspace(const kl_backend *be, const struct kl__weight_experts_call *call);
void kl__panel_experts(const kl_backend *be, const struct kl__weight_experts_call *call);

#endif
