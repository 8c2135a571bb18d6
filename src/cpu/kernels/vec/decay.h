/* Decays of a row of channels. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

/* softplus(z) = max(z, 0) + log(1 + exp(-|z|)): neither part loses a small result. */
static inline vf vsoftplus(vf z)
{
    vf magnitude = (vf)((vi)z & 0x7fffffff);
    return vmax(vset(0), z) + vlog1p_unit(vexp(-magnitude));
}

static inline __attribute__((always_inline)) vf decay(vf x, vf bias, kl_gate gate, float rate, float lower_bound)
{
    if (gate == KL_GATE_SOFTPLUS)
        return vexp(-rate * vsoftplus(x + bias));
    if (gate == KL_GATE_BOUNDED)
        return vexp(lower_bound / (1.0f + vexp(-rate * (x + bias))));
    return vexp(x);
}

static inline __attribute__((always_inline)) void decays(float *alpha, const float *x, const float *bias, int64_t n,
                                                         kl_gate gate, float rate, float lower_bound)
{
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        vstore(alpha + i, decay(vload(x + i), bias ? vload(bias + i) : vset(0), gate, rate, lower_bound));
    if (i < n) {
        vf b = bias ? vload_part(bias + i, n - i) : vset(0);
        vstore_part(alpha + i, decay(vload_part(x + i, n - i), b, gate, rate, lower_bound), n - i);
    }
}

void KL_VARIANT(decay_row)(float *alpha, const float *x, const float *bias, int64_t n, kl_gate gate, float rate,
                           float lower_bound)
{
    if (gate == KL_GATE_SOFTPLUS)
        decays(alpha, x, bias, n, KL_GATE_SOFTPLUS, rate, lower_bound);
    else if (gate == KL_GATE_BOUNDED)
        decays(alpha, x, bias, n, KL_GATE_BOUNDED, rate, lower_bound);
    else
        decays(alpha, x, NULL, n, KL_GATE_LOG, rate, lower_bound);
}
