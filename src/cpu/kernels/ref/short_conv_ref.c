#include "cpu/kernels/kernels.h"
#include "cpu/kernels/ref/activation.h"

void kl__short_conv_taps_ref(float *w, const float *taps, int64_t pitch, int64_t n, int W)
{
    for (int j = 0; j < W; j++)
        for (int64_t c = 0; c < n; c++)
            w[j * n + c] = taps[c * pitch + j];
}

static float filtered(const float *const *x, const float *w, const float *bias, int64_t c, int64_t n, int W)
{
    float sum = bias ? bias[c] : 0;
    for (int j = 0; j < W; j++)
        sum += w[j * n + c] * x[j][c];
    return sum;
}

void kl__short_conv_ref(float *y, int64_t y_pitch, const float *const *x, const float *w, const float *bias,
                        int64_t n_token, int64_t n, int W, kl_activation act)
{
    for (int64_t t = 0; t < n_token; t++)
        for (int64_t c = 0; c < n; c++)
            y[t * y_pitch + c] = kl__act(filtered(x + t, w, bias, c, n, W), act);
}

void kl__short_conv_bwd_ref(float *g, int64_t g_pitch, float *dw, float *db, const float *const *dy,
                            const float *const *x, const float *w, const float *bias, int64_t n_token, int64_t n, int W,
                            kl_activation act)
{
    for (int64_t c = 0; c < n; c++) {
        float sum[16] = {0}, sum_b = 0;
        for (int64_t t = 0; t < n_token; t++) {
            float gt = dy[t][c] * kl__act_slope(filtered(x + t, w, bias, c, n, W), act);
            g[t * g_pitch + c] = gt;
            sum_b += gt;
            for (int j = 0; j < W; j++)
                sum[j] += gt * x[t + j][c];
        }
        db[c] += sum_b;
        for (int j = 0; j < W; j++)
            dw[j * n + c] += sum[j];
    }
}
