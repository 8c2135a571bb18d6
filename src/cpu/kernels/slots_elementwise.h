/** Contracts of the leaf loops over single rows.  n >= 0 elements; pointers need no alignment beyond the element's. */
#ifndef KL_CPU_SLOTS_ELEMENTWISE_H
#define KL_CPU_SLOTS_ELEMENTWISE_H

#include <stdint.h>

/** y[i] = x[i], exactly. */
typedef void kl__f32_of_bf16_fn(float *y, const uint16_t *x, int64_t n);
/** y[i] = x[i] rounded to nearest, ties to even; NaN stays NaN. */
typedef void kl__bf16_of_f32_fn(uint16_t *y, const float *x, int64_t n);

/** y = x r,  r = (sum x^2 + eps)^(-1/2).  y may be x. */
typedef void kl__l2norm_row_fn(float *y, const float *x, int64_t n, float eps);
/** dx = r (dy - y (y . dy)) with y and r of the forward.  dx may be dy.   Source: docs/kda.md. */
typedef void kl__l2norm_row_bwd_fn(float *dx, const float *dy, const float *x, int64_t n, float eps);

#endif
