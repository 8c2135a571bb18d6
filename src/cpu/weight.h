/** Weights of a file as operands of products. */
#ifndef KL_CPU_WEIGHT_H
#define KL_CPU_WEIGHT_H

#include "cpu/gemm.h"

/** Row `row` of matrix `matrix`. */
const void *kl__weight_row(const struct kl__weight *w, int64_t matrix, int64_t row);

/** The product of m rows of x, x_pitch numbers apart, with one matrix: y (+)= x w^T. */
struct kl__gemm kl__weight_gemm(const struct kl__weight *w, int64_t matrix, int64_t m, const float *x, int64_t x_pitch,
                                float *y, int64_t y_pitch, bool add);

#endif
