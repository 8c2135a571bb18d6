#include "base/half.h"
#include "cpu/kernels/kernels.h"
#include "tensor/quant/levels.h"

#include <math.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------- activations -- */

/* NaN when a number is not finite, else the largest magnitude. */
static float magnitude(const float *x)
{
    uint32_t most = 0;
    for (int j = 0; j < KL__Q8_BLOCK; j++) {
        uint32_t bits = kl__bits_of_f32(x[j]) & 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return kl__f32_of_bits(most >= 0x7f800000 ? 0x7fc00000 : most);
}

static void round_block(int8_t *q, float *scale, const float *x)
{
    float most = magnitude(x), inverse = most >= 1e-30f ? 127 / most : 0;
    *scale = most < 1e-30f ? 0 : most / 127;
    for (int j = 0; j < KL__Q8_BLOCK; j++)
        q[j] = inverse > 0 ? (int8_t)rintf(x[j] * inverse) : 0;
}

void kl__q8_row_ref(int8_t *q, float *scale, void *aux, const float *x, int64_t n, int group, int offset)
{
    int32_t *start = aux;
    float *product = aux;
    for (int64_t k = 0; k < n; k += KL__Q8_BLOCK)
        round_block(q + k, scale + k / KL__Q8_BLOCK, x + k);
    for (int64_t k = 0; k < n; k += group) {
        int32_t sum = 0;
        for (int j = 0; j < group; j++)
            sum += q[k + j];
        if (offset > 0)
            start[k / group] = -offset * sum;
        else
            product[k / group] = scale[k / KL__Q8_BLOCK] * (float)sum;
    }
}

/* ------------------------------------------------------------------------------------------------------- weights -- */

void kl__weight_panel_ref(uint8_t *q, float *scale, float *low, enum kl__type type, const void *from,
                          int64_t row_bytes, int64_t n_block, const void *ahead)
{
    (void)ahead;
    const struct kl__levels_info *info = kl__levels_info(type);
    int n = kl__type_info(type)->elements, bytes = kl__type_info(type)->bytes, n_group = n / info->group;
    for (int64_t b = 0; b < n_block; b++)
        for (int row = 0; row < KL__PANEL; row++) {
            struct kl__levels levels;
            info->split(&levels, (const uint8_t *)from + row * row_bytes + b * bytes);
            for (int j = 0; j < n; j++)
                q[((b * n + j) / 4 * KL__PANEL + row) * 4 + j % 4] = levels.v[j];
            for (int g = 0; g < n_group; g++) {
                scale[(b * n_group + g) * KL__PANEL + row] = levels.scale[g];
                if (info->low)
                    low[(b * n_group + g) * KL__PANEL + row] = levels.low[g];
            }
        }
}

/* ------------------------------------------------------------------------------------------------------- product -- */

/* Row i of x with row j of the panel. */
static float dot(float sum, const struct kl__q8_rows *x, int i, int j, const uint8_t *q, const float *scale,
                 const float *low, int64_t n_k, int group)
{
    const int8_t *xq = (const int8_t *)x->row[i];
    for (int64_t k = 0; k < n_k; k += group) {
        int64_t g = k / group;
        float x_scale, product;
        int32_t whole;
        memcpy(&x_scale, x->row[i] + x->scale + 4 * (k / KL__Q8_BLOCK), sizeof x_scale);
        memcpy(&product, x->row[i] + x->aux + 4 * g, sizeof product);
        memcpy(&whole, x->row[i] + x->aux + 4 * g, sizeof whole);
        if (low)
            whole = 0;
        for (int64_t l = k; l < k + group; l++)
            whole += q[(l / 4 * KL__PANEL + j) * 4 + l % 4] * xq[l];
        sum += (float)whole * (scale[g * KL__PANEL + j] * x_scale);
        if (low)
            sum -= low[g * KL__PANEL + j] * product;
    }
    return sum;
}

void kl__q8_tile_ref(float *sum, const struct kl__q8_rows *x, const uint8_t *q, const float *scale, const float *low,
                     int64_t n_k, int group, int offset, int m, bool add)
{
    (void)offset; /* is in x already */
    for (int i = 0; i < m; i++)
        for (int j = 0; j < KL__PANEL; j++) {
            float *to = sum + i * KL__PANEL + j;
            *to = dot(add ? *to : 0, x, i, j, q, scale, low, n_k, group);
        }
}

/* ------------------------------------------------------------------------------------------------- pairs of bf16 -- */

void kl__bf16_panel_ref(uint16_t *p, const void *from, int64_t row_bytes, int64_t n_k, const void *ahead)
{
    (void)ahead;
    for (int row = 0; row < KL__PANEL; row++) {
        const char *numbers = (const char *)from + row * row_bytes;
        for (int64_t k = 0; k < n_k; k++)
            memcpy(&p[(k / 2 * KL__PANEL + row) * 2 + k % 2], numbers + 2 * k, sizeof *p);
        if (n_k % 2)
            p[(n_k / 2 * KL__PANEL + row) * 2 + 1] = 0;
    }
}

void kl__bf16_tile_ref(float *sum, const uint16_t *const *x, const uint16_t *p, int64_t n_pair, int m, bool add)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < KL__PANEL; j++) {
            float s = 0;
            for (int64_t k = 0; k < 2 * n_pair; k++)
                s += kl__f32_of_bf16(x[i][k]) * kl__f32_of_bf16(p[(k / 2 * KL__PANEL + j) * 2 + k % 2]);
            sum[i * KL__PANEL + j] = add ? sum[i * KL__PANEL + j] + s : s;
        }
}
