/* Q6_K, 210 bytes for 256 numbers: u8 ql[128], u8 qh[64], int8 sc[16], d.  Number 128 n + 32 g + l (n < 2, g < 4,
 * l < 32) has a nibble of ql[64 n + 32 (g & 1) + l], the low one for g < 2, and bits 2g, 2g+1 of qh[32 n + l] above it:
 *      x = d sc[8 n + 2 g + l / 16] (v - 32) */
#include "tensor/quant/block.h"
#include "tensor/quant/fit.h"

#include <math.h>

enum { N = 256, BYTES = 210, SUB = 16 };

void kl__q6_k_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        const uint8_t *ql = p, *qh = p + 128, *sc = p + 192;
        float d = kl__get_f16(p + 208);
        for (int i = 0; i < SUB; i++) {
            int n = i / 8, g = i / 2 % 4, at = 16 * (i & 1);
            float scale = d * (float)(int8_t)sc[i];
            for (int l = at; l < at + 16; l++) {
                int v = (ql[64 * n + 32 * (g & 1) + l] >> 4 * (g / 2) & 15) | (qh[32 * n + l] >> 2 * g & 3) << 4;
                x[128 * n + 32 * g + l] = scale * (float)(v - 32);
            }
        }
    }
}

/* Of the scale nearest to a / d and its two neighbours, the one with the smallest error. */
static int best_scale(const float *x, const float *w, float a, float d)
{
    int from = d != 0 ? kl__nearest(a / d, -128, 127) : 0, best = from;
    float error = kl__fit_error(x, w, SUB, d * (float)from, 0, -32, 31);
    for (int s = from - 1; s <= from + 1; s += 2) {
        float e = s < -128 || s > 127 ? INFINITY : kl__fit_error(x, w, SUB, d * (float)s, 0, -32, 31);
        if (e < error) {
            error = e;
            best = s;
        }
    }
    return best;
}

/* Writes scales and d; the integers 0..63 go to v. */
static void fit(uint8_t *p, uint8_t *v, const float *x)
{
    float w[SUB][16], a[SUB], longest = 0;
    for (int i = 0; i < SUB; i++) {
        kl__fit_weights(w[i], x + 16 * i, 16);
        a[i] = kl__fit_scale(x + 16 * i, w[i], 16, -32, 31);
        longest = fabsf(a[i]) > fabsf(longest) ? a[i] : longest;
    }
    /* The largest scale, whatever its sign, becomes -128. */
    float d = kl__put_scale(p + 208, longest / -128);
    for (int i = 0; i < SUB; i++) {
        int s = best_scale(x + 16 * i, w[i], a[i], d);
        float step = d * (float)s, inverse = step != 0 ? 1 / step : 0;
        p[192 + i] = (uint8_t)s;
        for (int l = 0; l < 16; l++)
            v[16 * i + l] = (uint8_t)(kl__nearest(x[16 * i + l] * inverse, -32, 31) + 32);
    }
}

void kl__q6_k_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks, v[N];
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        fit(p, v, x);
        for (int j = 0; j < 128; j++) {
            int at = 128 * (j / 64) + j % 64;
            p[j] = (uint8_t)((v[at] & 15) | (v[at + 64] & 15) << 4);
        }
        for (int j = 0; j < 64; j++) {
            const uint8_t *from = v + 128 * (j / 32) + j % 32;
            p[128 + j] = (uint8_t)(from[0] >> 4 | from[32] >> 4 << 2 | from[64] >> 4 << 4 | from[96] >> 4 << 6);
        }
    }
}
