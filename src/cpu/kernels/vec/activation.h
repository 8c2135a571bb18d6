/** Activations on vectors: value and slope.  And loads and stores that end where a row ends, so that a loop over a row
 *  is written once:  for (i = 0; i < n; i += KL_LANES) vstore_upto(y + i, f(vload_upto(x + i, n - i)), n - i); */
#ifndef KL_CPU_VEC_ACTIVATION_H
#define KL_CPU_VEC_ACTIVATION_H

#include "cpu/kernels/vec/vec.h"

#include "klinear/kl_ops.h"

/** The first min(n, KL_LANES) floats, 0 in the other lanes; n >= 1. */
static inline vf vload_upto(const float *p, int64_t n)
{
    return n >= KL_LANES ? vload(p) : vload_part(p, n);
}
static inline void vstore_upto(float *p, vf x, int64_t n)
{
    if (n >= KL_LANES)
        vstore(p, x);
    else
        vstore_part(p, x, n);
}

static inline vf vsigmoid(vf x)
{
    return 1.0f / (1.0f + vexp(-x));
}

/** act(x). */
static inline vf vact(vf x, kl_activation act)
{
    if (act == KL_ACT_NONE)
        return x;
    vf s = vsigmoid(x);
    return act == KL_ACT_SIGMOID ? s : x * s;
}

/** act(x), and act'(x) in *slope. */
static inline vf vact_slope(vf x, kl_activation act, vf *slope)
{
    *slope = vset(1.0f);
    if (act == KL_ACT_NONE)
        return x;
    vf s = vsigmoid(x);
    *slope = act == KL_ACT_SIGMOID ? s * (1.0f - s) : s * (1.0f + x * (1.0f - s));
    return act == KL_ACT_SIGMOID ? s : x * s;
}

#endif
