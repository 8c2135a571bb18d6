/** Keys, or values, of a block of positions as the columns of a product: panels of kl__gemm_sizes.columns positions,
 *  [panel][n_dim][columns], with zeros behind the last position.  KL__ATTENTION_BLOCK positions are whole panels.
 *
 *  An inner product runs over n_dim as a sum of kl__gemm_here does (cpu/gemm.h), whichever rows are beside it. */
#ifndef KL_CPU_KEY_PANELS_H
#define KL_CPU_KEY_PANELS_H

#include "cpu/kernels/kernels.h"

/** Floats of a tile's sums. */
enum { KL__KEY_PANELS_SUM = 1024 };

/** n <= KL__ATTENTION_BLOCK rows [n][n_dim], `pitch` floats apart; writes whole panels, which are aligned. */
void kl__key_panels_make(const struct kl__kernels *k, float *panels, const float *rows, int64_t pitch, int64_t n,
                         int64_t n_dim);

/** to [n_row][KL__ATTENTION_BLOCK] = inner products of rows [n_row][n_dim] and the n positions; behind these it is not
 *  said what is there.  sum [KL__KEY_PANELS_SUM], aligned. */
void kl__key_panels_dot(const struct kl__kernels *k, float *to, const float *rows, const float *panels, float *sum,
                        int64_t n_row, int64_t n, int64_t n_dim);

#endif
