/* Q2_K, 84 bytes for 256 numbers: u8 s[16], u8 q[64], d, dmin.  Number 128 n + 32 g + l (n < 2, g < 4, l < 32) has
 *      v = bits 2g, 2g+1 of q[32 n + l]        i = 8 n + 2 g + l / 16
 *      x = d lo(s_i) v - dmin hi(s_i) */
#include "tensor/quant/block.h"

enum { N = 256, BYTES = 84 };

void kl__q2_k_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *s = blocks;
    for (int64_t b = 0; b < n_block; b++, s += BYTES, x += N) {
        const uint8_t *q = s + 16;
        float d = kl__get_f16(s + 80), dmin = kl__get_f16(s + 82);
        for (int i = 0; i < 16; i++) {
            float scale = d * (float)kl__lo(s[i]), low = dmin * (float)kl__hi(s[i]);
            const uint8_t *from = q + 32 * (i / 8) + 16 * (i & 1);
            int shift = 2 * (i / 2 % 4);
            for (int l = 0; l < 16; l++)
                x[16 * i + l] = scale * (float)(from[l] >> shift & 3) - low;
        }
    }
}
