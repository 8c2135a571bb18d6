/* Q5_K, 176 bytes for 256 numbers: d, dmin, p[12] (k_scales.h), u8 h[32], u8 q[128].  As Q4_K with a fifth bit: number
 * l of sub-block i has v = nibble | bit_i(h[l]) << 4.
 *      x = d sc_i v - dmin mn_i */
#include "tensor/quant/k_scales.h"

#include <string.h>

enum { N = 256, BYTES = 176 };

void kl__q5_k_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p), dmin = kl__get_f16(p + 2);
        for (int i = 0; i < 8; i++) {
            int sc, mn;
            kl__k_scales_get(p + 4, i, &sc, &mn);
            float scale = d * (float)sc, low = dmin * (float)mn;
            const uint8_t *h = p + 16, *q = p + 48 + 32 * (i / 2);
            for (int l = 0; l < 32; l++)
                x[32 * i + l] = scale * (float)((q[l] >> 4 * (i & 1) & 15) | (h[l] >> i & 1) << 4) - low;
        }
    }
}

void kl__q5_k_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks, v[N];
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        kl__k_scales_fit(p, v, x, 31);
        uint8_t *h = p + 16, *q = p + 48;
        memset(h, 0, 32);
        for (int j = 0; j < N; j++)
            h[j % 32] |= (uint8_t)(v[j] >> 4 << j / 32);
        for (int j = 0; j < 128; j++) {
            int at = 64 * (j / 32) + j % 32;
            q[j] = (uint8_t)((v[at] & 15) | (v[at + 32] & 15) << 4);
        }
    }
}
