#include "cpu/kernels/kernels.h"

#include <math.h>
#include <stdbool.h>

void kl__attention_dot_ref(float *c, int64_t c_pitch, const float *a, int64_t a_pitch, const float *b, int64_t b_pitch,
                           int64_t m, int64_t n, int64_t n_dim)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t d = 0; d < n_dim; d++)
                sum += a[i * a_pitch + d] * b[j * b_pitch + d];
            c[i * c_pitch + j] = sum;
        }
}

void kl__attention_mix_ref(float *c, int64_t c_pitch, const float *keep, const float *a, int64_t a_row, int64_t a_col,
                           const float *b, int64_t b_pitch, const int32_t *from, const int32_t *to, int64_t m,
                           int64_t n, int64_t n_dim)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t d = 0; keep && d < n_dim; d++)
            c[i * c_pitch + d] *= keep[i];
        for (int64_t j = from ? from[i] : 0; j < (to ? to[i] : n); j++)
            for (int64_t d = 0; d < n_dim; d++)
                c[i * c_pitch + d] += a[i * a_row + j * a_col] * b[j * b_pitch + d];
    }
}

static void softmax_row(float *s, float *max, float *sum, float *keep, int32_t to, float scale)
{
    float new = *max, block_sum = 0;
    for (int32_t j = 0; j < to; j++)
        new = fmaxf(new, scale * s[j]);
    /* exp(-inf - -inf) would be NaN where nothing has been seen yet. */
    float origin = new == -INFINITY ? 0 : new;
    *keep = *max == new ? 1 : expf(*max - new);
    for (int32_t j = 0; j < KL__ATTENTION_BLOCK; j++) {
        s[j] = j < to ? expf(scale * s[j] - origin) : 0;
        block_sum += s[j];
    }
    *sum = *keep * *sum + block_sum;
    *max = new;
}

void kl__attention_softmax_ref(float *s, float *max, float *sum, float *keep, const int32_t *to, float scale, int64_t m)
{
    for (int64_t i = 0; i < m; i++)
        softmax_row(s + i * KL__ATTENTION_BLOCK, &max[i], &sum[i], &keep[i], to[i], scale);
}

void kl__attention_softmax_bwd_ref(float *s, float *d, const float *lse, const float *delta, const int32_t *to,
                                   float scale, int64_t m)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < KL__ATTENTION_BLOCK; j++) {
            int64_t at = i * KL__ATTENTION_BLOCK + j;
            bool seen = j < to[i] && lse[i] != -INFINITY;
            s[at] = seen ? expf(scale * s[at] - lse[i]) : 0;
            d[at] = seen ? scale * s[at] * (d[at] - delta[i]) : 0;
        }
}
