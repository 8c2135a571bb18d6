/** Contracts of the leaf loops of the short causal convolution.  Vectors run over channels, so the taps of a tile of n
 *  channels lie as [W][n].  Rows are given by pointers: the first ones of a sequence lie in its carried tail and
 *  not in front of the others.  n, n_token >= 0; 1 <= W <= 16; act is KL_ACT_NONE or KL_ACT_SILU. */
#ifndef KL_CPU_SLOTS_CONV_H
#define KL_CPU_SLOTS_CONV_H

#include "klinear/kl_ops.h"

#include <stdint.h>

/** w[j][c] = taps[c * pitch + j],  c < n, j < W: from the order of the weights to that of the loops below. */
typedef void kl__short_conv_taps_fn(float *w, const float *taps, int64_t pitch, int64_t n, int W);

/** y_t = act(bias + sum_j w_j x_{t+j}),  t < n_token.  y_t [n] starts at y + t * y_pitch; x holds n_token + W - 1
 *  pointers to rows [n]; bias [n] may be NULL.  y aliases no input.  A token's bits do not depend on n_token. */
typedef void kl__short_conv_fn(float *y, int64_t y_pitch, const float *const *x, const float *w, const float *bias,
                               int64_t n_token, int64_t n, int W, kl_activation act);

/** Through the activation, and to the parameters, with a_t the sum above before its activation:
 *      g_t = dy_t . act'(a_t);   dw_j += sum_t g_t x_{t+j};   db += sum_t g_t          (summed first, then added)
 *  g_t [n] starts at g + t * g_pitch; dy holds n_token pointers; dw [W][n], db [n].   Source: docs/kda.md. */
typedef void kl__short_conv_bwd_fn(float *g, int64_t g_pitch, float *dw, float *db, const float *const *dy,
                                   const float *const *x, const float *w, const float *bias, int64_t n_token, int64_t n,
                                   int W, kl_activation act);

#endif
