/* IQ4_XS, 136 bytes for 256 numbers: d, u16 sh, u8 sl[4], u8 q[128].  Eight groups i of 32 numbers with 6-bit scales:
 *      s_i = nibble i of sl | (bits 2i, 2i+1 of sh) << 4
 *      x = d (s_i - 32) level[nibble],  low nibbles of the group's 16 bytes first, then the high ones */
#include "tensor/quant/block.h"

enum { N = 256, BYTES = 136 };

static void decode_group(float *x, const uint8_t *q, float scale)
{
    for (int j = 0; j < 16; j++) {
        x[j] = scale * (float)kl__iq4_level[kl__lo(q[j])];
        x[j + 16] = scale * (float)kl__iq4_level[kl__hi(q[j])];
    }
}

void kl__iq4_xs_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *p = blocks;
    for (int64_t b = 0; b < n_block; b++, p += BYTES, x += N) {
        float d = kl__get_f16(p);
        uint16_t high = kl__get_u16(p + 2);
        for (int i = 0; i < 8; i++) {
            int s = (p[4 + i / 2] >> 4 * (i & 1) & 15) | (high >> 2 * i & 3) << 4;
            decode_group(x + 32 * i, p + 8 + 16 * i, d * (float)(s - 32));
        }
    }
}
