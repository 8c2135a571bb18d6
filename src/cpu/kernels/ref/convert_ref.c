#include "base/half.h"
#include "cpu/kernels/kernels.h"

void kl__f32_of_bf16_ref(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = kl__f32_of_bf16(x[i]);
}

void kl__bf16_of_f32_ref(uint16_t *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = kl__bf16_of_f32(x[i]);
}
