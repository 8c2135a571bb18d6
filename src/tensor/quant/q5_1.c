/* Q5_1, 24 bytes for 32 numbers: d, m, u32 h, u8 q[16].
 *      x_j = d (lo(q_j) | bit_j(h) << 4) + m,  x_{j+16} = d (hi(q_j) | bit_{j+16}(h) << 4) + m       j < 16 */
#include "tensor/quant/block.h"
#include "tensor/quant/fit.h"

enum { N = 32, BYTES = 24 };

void kl__q5_1_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p), m = kl__get_f16(p + 2);
        uint32_t h = kl__get_u32(p + 4);
        for (int j = 0; j < 16; j++) {
            x[j] = d * (float)(kl__lo(p[8 + j]) | (int)(h >> j & 1) << 4) + m;
            x[j + 16] = d * (float)(kl__hi(p[8 + j]) | (int)(h >> (j + 16) & 1) << 4) + m;
        }
    }
}

void kl__q5_1_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float w[N], d, m;
        kl__fit_weights(w, x, N);
        kl__fit_affine(&d, &m, x, w, N, 31, false);
        d = kl__put_scale(p, d);
        m = kl__put_scale(p + 2, m);
        float inverse = d != 0 ? 1 / d : 0;
        uint32_t h = 0;
        for (int j = 0; j < 16; j++) {
            int first = kl__nearest((x[j] - m) * inverse, 0, 31);
            int second = kl__nearest((x[j + 16] - m) * inverse, 0, 31);
            p[8 + j] = (uint8_t)((first & 15) | (second & 15) << 4);
            h |= (uint32_t)(first >> 4) << j | (uint32_t)(second >> 4) << (j + 16);
        }
        kl__put_u32(p + 4, h);
    }
}
