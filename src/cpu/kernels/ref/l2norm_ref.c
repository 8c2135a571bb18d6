#include "cpu/kernels/kernels.h"

#include <math.h>

static float reciprocal_norm(const float *x, int64_t n, float eps)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return 1 / sqrtf(sum + eps);
}

void kl__l2norm_row_ref(float *y, const float *x, int64_t n, float eps)
{
    float r = reciprocal_norm(x, n, eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * r;
}

void kl__l2norm_row_bwd_ref(float *dx, const float *dy, const float *x, int64_t n, float eps)
{
    float r = reciprocal_norm(x, n, eps), y_dy = 0;
    for (int64_t i = 0; i < n; i++)
        y_dy += x[i] * r * dy[i];
    for (int64_t i = 0; i < n; i++)
        dx[i] = r * (dy[i] - x[i] * r * y_dy);
}
