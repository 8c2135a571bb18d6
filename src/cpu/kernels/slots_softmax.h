/** Contracts of the leaf loops of a softmax over a long row, which is taken in tiles.  n >= 0. */
#ifndef KL_CPU_SLOTS_SOFTMAX_H
#define KL_CPU_SLOTS_SOFTMAX_H

#include <stdint.h>

/** Folds x into the running maximum and sum of a row: afterwards *max is the largest of all elements so far (NaN left
 *  out) and *sum = sum exp(x_i - *max).  Start with -INFINITY and 0.  While the maximum is not finite, exponents are
 *  taken of x_i itself, so that sum is 0 for a row of -INFINITY, and infinite behind an INFINITY.  NaN makes sum NaN.
 *  Source: arXiv:1805.02867. */
typedef void kl__lse_row_fn(float *max, float *sum, const float *x, int64_t n);

/** y = d exp(x - lse).  y may be x. */
typedef void kl__softmax_row_fn(float *y, const float *x, int64_t n, float lse, float d);

#endif
