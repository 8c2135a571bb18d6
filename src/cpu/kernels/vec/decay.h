/* Decays of a row of channels, and their gradients. */
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

/* dz of z = x + bias from dg; *d_log_rate: of the logarithm of the rate.  A gradient of 0 stays 0, also where g is
 * infinite. */
static inline __attribute__((always_inline)) vf decay_bwd(vf *d_log_rate, vf dg, vf z, kl_gate gate, float rate,
                                                          float lower_bound)
{
    vi is_zero = (vi)(dg == vset(0));
    vf dz;
    if (gate == KL_GATE_SOFTPLUS) {
        dz = -rate * dg / (1.0f + vexp(-z));
        *d_log_rate = -rate * dg * vsoftplus(z);
    } else {
        vf sigmoid = 1.0f / (1.0f + vexp(-rate * z));
        dz = lower_bound * rate * sigmoid * (1.0f - sigmoid) * dg;
        *d_log_rate = dz * z;
    }
    *d_log_rate = (vf)(~is_zero & (vi)*d_log_rate);
    return (vf)(~is_zero & (vi)dz);
}

/* Gradients through a gate; those of the log rate are summed lane by lane. */
static inline __attribute__((always_inline)) vf decays_bwd(float *dx, float *dbias, const float *dg, const float *x,
                                                           const float *bias, int64_t n, kl_gate gate, float rate,
                                                           float lower_bound)
{
    vf sum = {0}, d_log_rate;
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES) {
        vf z = vload(x + i) + (bias ? vload(bias + i) : vset(0));
        vf dz = decay_bwd(&d_log_rate, vload(dg + i), z, gate, rate, lower_bound);
        sum += d_log_rate;
        vstore(dx + i, dz);
        if (dbias)
            vstore(dbias + i, vload(dbias + i) + dz);
    }
    if (i < n) {
        int64_t rest = n - i;
        vf z = vload_part(x + i, rest) + (bias ? vload_part(bias + i, rest) : vset(0));
        vf dz = decay_bwd(&d_log_rate, vload_part(dg + i, rest), z, gate, rate, lower_bound); /* 0 in lanes past n */
        sum += d_log_rate;
        vstore_part(dx + i, dz, rest);
        if (dbias)
            vstore_part(dbias + i, vload_part(dbias + i, rest) + dz, rest);
    }
    return sum;
}

void KL_VARIANT(decay_row_bwd)(float *dx, float *dbias, float *dA_log, const float *dg, const float *x,
                               const float *bias, int64_t n, kl_gate gate, float rate, float lower_bound)
{
    vf sum = {0};
    if (gate == KL_GATE_SOFTPLUS)
        sum = decays_bwd(dx, dbias, dg, x, bias, n, KL_GATE_SOFTPLUS, rate, lower_bound);
    else if (gate == KL_GATE_BOUNDED)
        sum = decays_bwd(dx, dbias, dg, x, bias, n, KL_GATE_BOUNDED, rate, lower_bound);
    for (int64_t i = 0; gate == KL_GATE_LOG && i < n; i++) {
        float dz = dg[i];
        dx[i] = dz;
        if (dbias)
            dbias[i] += dz;
    }
    if (dA_log)
        *dA_log += vsum(sum);
}
