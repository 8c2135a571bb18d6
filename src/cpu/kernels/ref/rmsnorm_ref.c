#include "cpu/kernels/kernels.h"
#include "cpu/kernels/ref/activation.h"

static float reciprocal_rms(const float *x, int64_t n, float eps)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return 1 / sqrtf(sum / (float)n + eps);
}

void kl__rmsnorm_row_ref(float *y, const float *x, const float *w, const float *z, int64_t n, float eps,
                         kl_activation act)
{
    float r = reciprocal_rms(x, n, eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * r * (w ? w[i] : 1) * (z ? kl__act(z[i], act) : 1);
}

void kl__rmsnorm_row_bwd_ref(float *dx, float *dw, float *dz, const float *dy, const float *x, const float *w,
                             const float *z, int64_t n, float eps, kl_activation act)
{
    float r = reciprocal_rms(x, n, eps), u_du = 0;
    for (int64_t i = 0; i < n; i++)
        u_du += x[i] * r * dy[i] * (w ? w[i] : 1) * (z ? kl__act(z[i], act) : 1);
    for (int64_t i = 0; i < n; i++) {
        float u = x[i] * r, wi = w ? w[i] : 1, s = z ? kl__act(z[i], act) : 1, dyi = dy[i];
        if (dw)
            dw[i] += dyi * u * s;
        if (dz)
            dz[i] = dyi * wi * u * kl__act_slope(z[i], act);
        if (dx)
            dx[i] = r * (dyi * wi * s - u * u_du / (float)n);
    }
}
