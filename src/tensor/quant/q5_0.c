/* Q5_0, 22 bytes for 32 numbers: d, u32 h, u8 q[16].
 *      x_j = d ((lo(q_j) | bit_j(h) << 4) - 16),  x_{j+16} = d ((hi(q_j) | bit_{j+16}(h) << 4) - 16)       j < 16 */
#include "tensor/quant/block.h"
#include "tensor/quant/fit.h"

enum { N = 32, BYTES = 22 };

void kl__q5_0_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p);
        uint32_t h = kl__get_u32(p + 2);
        for (int j = 0; j < 16; j++) {
            int first = kl__lo(p[6 + j]) | (int)(h >> j & 1) << 4;
            int second = kl__hi(p[6 + j]) | (int)(h >> (j + 16) & 1) << 4;
            x[j] = d * (float)(first - 16);
            x[j + 16] = d * (float)(second - 16);
        }
    }
}

void kl__q5_0_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float w[N];
        kl__fit_weights(w, x, N);
        float d = kl__put_scale(p, kl__fit_scale(x, w, N, -16, 15)), inverse = d != 0 ? 1 / d : 0;
        uint32_t h = 0;
        for (int j = 0; j < 16; j++) {
            int first = kl__nearest(x[j] * inverse, -16, 15) + 16;
            int second = kl__nearest(x[j + 16] * inverse, -16, 15) + 16;
            p[6 + j] = (uint8_t)((first & 15) | (second & 15) << 4);
            h |= (uint32_t)(first >> 4) << j | (uint32_t)(second >> 4) << (j + 16);
        }
        kl__put_u32(p + 2, h);
    }
}
