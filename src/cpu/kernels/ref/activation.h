/** Activations in plain C: value and derivative. */
#ifndef KL_CPU_REF_ACTIVATION_H
#define KL_CPU_REF_ACTIVATION_H

#include "klinear/kl_ops.h"

#include <math.h>

static inline float kl__sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

static inline float kl__act(float x, kl_activation act)
{
    return act == KL_ACT_NONE ? x : act == KL_ACT_SIGMOID ? kl__sigmoid(x) : x * kl__sigmoid(x);
}

static inline float kl__act_slope(float x, kl_activation act)
{
    float s = kl__sigmoid(x);
    return act == KL_ACT_NONE ? 1 : act == KL_ACT_SIGMOID ? s * (1 - s) : s * (1 + x * (1 - s));
}

#endif
