/* SwiGLU of a row. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/activation.h"

void KL_VARIANT(swiglu_row)(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i += KL_LANES)
        vstore_upto(y + i, vact(vload_upto(gate + i, n - i), KL_ACT_SILU) * vload_upto(up + i, n - i), n - i);
}

void KL_VARIANT(swiglu_row_bwd)(float *d_gate, float *d_up, const float *dy, const float *gate, const float *up,
                                int64_t n)
{
    for (int64_t i = 0; i < n; i += KL_LANES) {
        vf d = vload_upto(dy + i, n - i), u = vload_upto(up + i, n - i), slope;
        vf silu = vact_slope(vload_upto(gate + i, n - i), KL_ACT_SILU, &slope);
        if (d_gate)
            vstore_upto(d_gate + i, d * u * slope, n - i);
        if (d_up)
            vstore_upto(d_up + i, d * silu, n - i);
    }
}
