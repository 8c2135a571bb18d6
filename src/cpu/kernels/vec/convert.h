/* Between bf16 and f32. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

void KL_VARIANT(f32_of_bf16)(float *y, const uint16_t *x, int64_t n)
{
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        vstore(y + i, vload_bf16(x + i));
    for (; i < n; i++)
        y[i] = kl__f32_of_bf16(x[i]);
}

void KL_VARIANT(bf16_of_f32)(uint16_t *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        vstore_bf16(y + i, vload(x + i));
    for (; i < n; i++)
        y[i] = kl__bf16_of_f32(x[i]);
}
