/** Contracts of the leaf loops over single rows.  n >= 0 elements; pointers need no alignment beyond the element's. */
#ifndef KL_CPU_SLOTS_ELEMENTWISE_H
#define KL_CPU_SLOTS_ELEMENTWISE_H

#include "klinear/kl_ops.h"

#include <stdint.h>

/** y[i] = x[i], exactly. */
typedef void kl__f32_of_bf16_fn(float *y, const uint16_t *x, int64_t n);
/** y[i] = x[i] rounded to nearest, ties to even; NaN stays NaN. */
typedef void kl__bf16_of_f32_fn(uint16_t *y, const float *x, int64_t n);

/** y = x r,  r = (sum x^2 + eps)^(-1/2).  y may be x. */
typedef void kl__l2norm_row_fn(float *y, const float *x, int64_t n, float eps);
/** dx = r (dy - y (y . dy)) with y and r of the forward.  dx may be dy.   Source: docs/kda.md. */
typedef void kl__l2norm_row_bwd_fn(float *dx, const float *dy, const float *x, int64_t n, float eps);

/** y[i] += x[i]. */
typedef void kl__add_row_fn(float *y, const float *x, int64_t n);

/** y = x r . w . act(z),  r = (mean x^2 + eps)^(-1/2).  w NULL: ones; z NULL: no gate.  y may be x.
 *  Source: arXiv:1910.07467. */
typedef void kl__rmsnorm_row_fn(float *y, const float *x, const float *w, const float *z, int64_t n, float eps,
                                kl_activation act);

/** One row of the backward of rmsnorm_row, with u = x r and s = act(z):
 *      du = dy . w . s;   dx = r (du - u mean(u . du));   dz = dy . w . u . act'(z);   dw += dy . u . s
 *  Each of dx, dw, dz may be NULL.  dx may be dy.   Source: docs/kda.md. */
typedef void kl__rmsnorm_row_bwd_fn(float *dx, float *dw, float *dz, const float *dy, const float *x, const float *w,
                                    const float *z, int64_t n, float eps, kl_activation act);

/** y = silu(gate) . up,  silu(x) = x / (1 + exp(-x)).  y may be gate or up. */
typedef void kl__swiglu_row_fn(float *y, const float *gate, const float *up, int64_t n);
/** d_gate = dy . up . silu'(gate);   d_up = dy . silu(gate).  Either may be NULL, and either may be dy, gate or up,
 *  but not both the same. */
typedef void kl__swiglu_row_bwd_fn(float *d_gate, float *d_up, const float *dy, const float *gate, const float *up,
                                   int64_t n);

#endif
