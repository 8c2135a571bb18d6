/* MXFP4, 17 bytes for 32 numbers: u8 e, u8 q[16].  A nibble is a 4-bit float, 1-2-1; the scale is a power of two, and
 * e = 255 says NaN (OCP Microscaling Formats 1.0, section 5.3; other readers take it for a number).
 *      x_j = 2^(e-127) value[lo(q_j)],  x_{j+16} = 2^(e-127) value[hi(q_j)]       j < 16 */
#include "tensor/quant/block.h"

enum { N = 32, BYTES = 17 };

const int8_t kl__mxfp4_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float kl__mxfp4_half_scale(uint8_t e)
{
    if (e == 255)
        return kl__f32_of_bits(0x7fc00000);
    /* 2^(e-128): the exponents 0 and 1 give subnormal numbers. */
    return kl__f32_of_bits(e >= 2 ? (uint32_t)(e - 1) << 23 : 0x00200000u << e);
}

void kl__mxfp4_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__mxfp4_half_scale(p[0]);
        for (int j = 0; j < 16; j++) {
            x[j] = d * (float)kl__mxfp4_doubled[kl__lo(p[1 + j])];
            x[j + 16] = d * (float)kl__mxfp4_doubled[kl__hi(p[1 + j])];
        }
    }
}
