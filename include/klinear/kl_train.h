/** klinear for trainers: what turns gradients into better parameters.  Gradients come from the *_bwd operators of
 *  kl_ops.h; the conventions at the head of that file hold here too. */
#ifndef KLINEAR_KL_TRAIN_H
#define KLINEAR_KL_TRAIN_H

#include "klinear/kl_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One AdamW step on `n` parameters that share their settings:
 *      m <- b1 m + (1-b1) d;   v <- b2 v + (1-b2) d^2;   d = grad_scale * gradient
 *      p <- p - lr (m / (1-b1^step) / (sqrt(v / (1-b2^step)) + eps) + weight_decay p)
 *  All four arrays are [n] f32 and overlap nowhere; gradient is only read.  The same bits for any number of threads.
 *  Errors: KL_ERR_ARGUMENT (n < 0, step < 1, a beta outside [0,1), eps <= 0, NULL with n > 0).
 *  Source: arXiv:1711.05101.   [T: unit/adamw] */
typedef struct kl_adamw_args {
    float *p, *m, *v;
    const float *gradient;
    int64_t n;
    int64_t step; /* 1 for the first */
    float lr, beta1, beta2, eps, weight_decay;
    float grad_scale; /* e.g. the factor of clipping; 0: 1 */
} kl_adamw_args;

KL_API kl_status kl_adamw(const kl_backend *backend, const kl_adamw_args *args, kl_error *err);

/** Sum of squares of [n] f32, in f64, in an order that does not depend on the number of threads: one part of a global
 *  gradient norm.  NaN or infinity inside shows in the result.   [T: unit/adamw] */
KL_API double kl_sum_squares(const kl_backend *backend, const float *x, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
