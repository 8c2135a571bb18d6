#include "cpu/kernels/kernels.h"

#include <math.h>

void kl__lse_row_ref(float *max, float *sum, const float *x, int64_t n)
{
    float m = *max, s = 0;
    for (int64_t i = 0; i < n; i++)
        m = x[i] > m ? x[i] : m;
    float shift = isfinite(m) ? m : 0;
    for (int64_t i = 0; i < n; i++)
        s += expf(x[i] - shift);
    *sum = (m == *max ? *sum : *sum * expf(*max - shift)) + s;
    *max = m;
}

void kl__softmax_row_ref(float *y, const float *x, int64_t n, float lse, float d)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = d * expf(x[i] - lse);
}
