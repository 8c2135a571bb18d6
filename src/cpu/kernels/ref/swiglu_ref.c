#include "cpu/kernels/kernels.h"
#include "cpu/kernels/ref/activation.h"

void kl__swiglu_row_ref(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = kl__act(gate[i], KL_ACT_SILU) * up[i];
}

void kl__swiglu_row_bwd_ref(float *d_gate, float *d_up, const float *dy, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float dyi = dy[i], x = gate[i], upi = up[i];
        if (d_gate)
            d_gate[i] = dyi * upi * kl__act_slope(x, KL_ACT_SILU);
        if (d_up)
            d_up[i] = dyi * kl__act(x, KL_ACT_SILU);
    }
}
