/* IQ4_NL, 18 bytes for 32 numbers: d, u8 q[16].
 *      x_j = d level[lo(q_j)],  x_{j+16} = d level[hi(q_j)]       j < 16 */
#include "tensor/quant/block.h"

enum { N = 32, BYTES = 18 };

const int8_t kl__iq4_level[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void kl__iq4_nl_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p);
        for (int j = 0; j < 16; j++) {
            x[j] = d * (float)kl__iq4_level[kl__lo(p[2 + j])];
            x[j + 16] = d * (float)kl__iq4_level[kl__hi(p[2 + j])];
        }
    }
}
