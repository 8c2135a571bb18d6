/* Q8_0, 34 bytes for 32 numbers: d, int8 q[32].
 *      x_j = d q_j */
#include "tensor/quant/block.h"
#include "tensor/quant/fit.h"

#include <math.h>

enum { N = 32, BYTES = 34 };

void kl__q8_0_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p);
        for (int j = 0; j < N; j++)
            x[j] = d * (float)(int8_t)p[2 + j];
    }
}

/* With 255 levels the plain rule, largest number to 127, leaves nothing worth a search. */
void kl__q8_0_encode(void *blocks, const float *x, int64_t n_block)
{
    uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float amax = 0;
        for (int j = 0; j < N; j++)
            amax = fabsf(x[j]) > amax ? fabsf(x[j]) : amax;
        float d = kl__put_scale(p, amax / 127), inverse = d > 0 ? 1 / d : 0;
        for (int j = 0; j < N; j++)
            p[2 + j] = (uint8_t)kl__nearest(x[j] * inverse, -127, 127);
    }
}
