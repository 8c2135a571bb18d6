/** The search behind the encoders: scales, and minima, with which few integers come closest to the numbers. */
#ifndef KL_TENSOR_QUANT_FIT_H
#define KL_TENSOR_QUANT_FIT_H

#include "base/half.h"

#include <stdbool.h>

/** The integer nearest to v (ties to even) inside low..high; v is not NaN.  No call, so loops over it vectorise. */
static inline int kl__nearest(float v, int low, int high)
{
    v = v < (float)low ? (float)low : v > (float)high ? (float)high : v;
    /* 1.5 * 2^23: its last place is 1, so the addition rounds, and the integer stands in the low bits. */
    return (int)(kl__bits_of_f32(v + 0x1.8p23f) & 0x7fffff) - 0x400000;
}

/** Everywhere n is a multiple of 4, at most 32.
 *
 *  How much an error in each of x [n] counts.  A large weight moves an output more often than a small one, yet small
 *  ones are many: half the weight is shared by all, half goes with the square.  The largest is 1; all 0 for zeros. */
void kl__fit_weights(float *w, const float *x, int n);

/** The s for which s q, q integer in low..high, is closest to x [n] in the sum of w (x - s q)^2, as far as a search
 *  finds it; negative where the longer side of low..high (low) fits the larger numbers better.  0 for zeros. */
float kl__fit_scale(const float *x, const float *w, int n, int low, int high);

/** The a >= 0 and c for which a q + c, q integer in 0..high, is closest to x [n], likewise; with `below`, c <= 0. */
void kl__fit_affine(float *a, float *c, const float *x, const float *w, int n, int high, bool below);

/** Sum of w (x - (a q + c))^2 with the best q in low..high for each x. */
float kl__fit_error(const float *x, const float *w, int n, float a, float c, int low, int high);

#endif
