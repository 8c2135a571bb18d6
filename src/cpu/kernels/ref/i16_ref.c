#include "base/half.h"
#include "cpu/kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { LANES = 32 };

/* In the order of vectors: 32 sums, then the two halves of what is left, and so on. */
static float sum_lanes(float lane[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static void round_row(int16_t *q, const float *x, int64_t n, float inverse)
{
    for (int64_t i = 0; i < n; i++)
        q[i] = (int16_t)rintf(x[i] * inverse);
}

/* How a row is scaled; 0: not at all. */
static float begin_row(float *scale, const float lane[LANES])
{
    float copy[LANES];
    memcpy(copy, lane, sizeof copy);
    float square = sum_lanes(copy), norm = sqrtf(square);
    *scale = square < 1e-30f ? 0 : isfinite(square) ? norm / KL__I16_NORM : NAN;
    return *scale > 0 ? KL__I16_NORM / norm : 0;
}

void kl__i16_row_ref(int16_t *q, float *scale, const float *x, int64_t n, int64_t n_q)
{
    float lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++)
        lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    float inverse = begin_row(scale, lane);
    memset(q, 0, (size_t)n_q * sizeof *q);
    if (inverse > 0)
        round_row(q, x, n, inverse);
}

void kl__i16_row_bf16_ref(int16_t *q, float *scale, const uint16_t *x, int64_t n, int64_t n_q)
{
    float lane[LANES] = {0};
    for (int64_t i = 0; i < n; i++)
        lane[i % LANES] = fmaf(kl__f32_of_bf16(x[i]), kl__f32_of_bf16(x[i]), lane[i % LANES]);
    float inverse = begin_row(scale, lane);
    memset(q, 0, (size_t)n_q * sizeof *q);
    for (int64_t i = 0; inverse > 0 && i < n; i++)
        round_row(q + i, &(float){kl__f32_of_bf16(x[i])}, 1, inverse);
}

void kl__i16_turn_ref(float *to, const float *from, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < KL__I16_BLOCK; i++)
            to[j * KL__I16_BLOCK + i] = from[i * KL__I16_BLOCK + j];
}

void kl__i16_weights_ref(int16_t *q, float *scale, const float *s, const float *value_scale, int32_t to)
{
    float w[KL__I16_BLOCK], lane[LANES] = {0};
    for (int j = 0; j < KL__I16_BLOCK; j++) {
        w[j] = j < to ? s[j] * value_scale[j] : 0;
        lane[j % LANES] += w[j];
    }
    float sum = sum_lanes(lane);
    memset(q, 0, KL__I16_BLOCK * sizeof *q);
    *scale = sum < 1e-30f ? 0 : isfinite(sum) ? sum / KL__I16_NORM : NAN;
    if (*scale > 0)
        round_row(q, w, KL__I16_BLOCK, KL__I16_NORM / sum);
}

void kl__i16_weave_ref(int16_t *p, const int16_t *rows, int64_t pitch, int64_t n)
{
    for (int64_t c = 0; c < (n + 31) / 32 * 32; c++)
        for (int64_t j = 0; j < KL__I16_BLOCK; j++)
            p[((c / 32 * (KL__I16_BLOCK / 2) + j / 2) * 32 + c % 32) * 2 + j % 2] = c < n ? rows[j * pitch + c] : 0;
}

void kl__i16_tile_ref(float *sum, int64_t sum_pitch, const float *keep, const int16_t *x, int64_t x_pitch,
                      const float *x_scale, const int16_t *p, const float *p_scale, int64_t n_pair, int m, int n)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            int32_t s = 0;
            for (int64_t k = 0; k < 2 * n_pair; k++)
                s += x[i * x_pitch + k] * p[(k / 2 * 32 + j) * 2 + k % 2];
            float scale = p_scale ? x_scale[i] * p_scale[j] : x_scale[i], *to = sum + i * sum_pitch + j;
            *to = keep ? fmaf((float)s, scale, keep[i] * *to) : (float)s * scale;
        }
}
