/* Q4_0, 18 bytes for 32 numbers: d, u8 q[16].
 *      x_j = d (lo(q_j) - 8),  x_{j+16} = d (hi(q_j) - 8)       j < 16 */
#include "tensor/quant/block.h"
#include "tensor/quant/fit.h"

enum { N = 32, BYTES = 18 };

void kl__q4_0_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p);
        for (int j = 0; j < 16; j++) {
            x[j] = d * (float)(kl__lo(p[2 + j]) - 8);
            x[j + 16] = d * (float)(kl__hi(p[2 + j]) - 8);
        }
    }
}

void kl__q4_0_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float w[N];
        kl__fit_weights(w, x, N);
        float d = kl__put_scale(p, kl__fit_scale(x, w, N, -8, 7)), inverse = d != 0 ? 1 / d : 0;
        for (int j = 0; j < 16; j++) {
            int first = kl__nearest(x[j] * inverse, -8, 7) + 8, second = kl__nearest(x[j + 16] * inverse, -8, 7) + 8;
            p[2 + j] = (uint8_t)(first | second << 4);
        }
    }
}
