/* Q4_K, 144 bytes for 256 numbers: d, dmin, p[12] (k_scales.h), u8 q[128].  Eight sub-blocks i of 32 numbers:
 *      x = d sc_i v - dmin mn_i
 * Sub-blocks 2t and 2t+1 share the bytes q[32t ..]: low nibbles and high nibbles. */
#include "tensor/quant/k_scales.h"

enum { N = 256, BYTES = 144 };

void kl__q4_k_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p), dmin = kl__get_f16(p + 2);
        for (int i = 0; i < 8; i++) {
            int sc, mn;
            kl__k_scales_get(p + 4, i, &sc, &mn);
            float scale = d * (float)sc, low = dmin * (float)mn;
            const uint8_t *q = p + 16 + 32 * (i / 2);
            for (int j = 0; j < 32; j++)
                x[32 * i + j] = scale * (float)(q[j] >> 4 * (i & 1) & 15) - low;
        }
    }
}

void kl__q4_k_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks, v[N];
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        kl__k_scales_fit(p, v, x, 15);
        for (int j = 0; j < 128; j++) {
            int at = 64 * (j / 32) + j % 32;
            p[16 + j] = (uint8_t)(v[at] | v[at + 32] << 4);
        }
    }
}
