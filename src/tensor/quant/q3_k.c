/* Q3_K, 110 bytes for 256 numbers: u8 h[32], u8 q[64], u8 p[12], d.  Number 128 n + 32 g + l (n < 2, g < 4, l < 32) has
 *      v = (bits 2g, 2g+1 of q[32 n + l]) - (bit 4n + g of h[l] ? 0 : 4)        i = 8 n + 2 g + l / 16
 *      x = d (s_i - 32) v
 * The 6-bit scales s: low nibbles of 0..7 are lo(p[0..7]), of 8..15 hi(p[0..7]); the two bits above them are bits
 * 2 (i / 4) and the next of p[8 + i % 4]. */
#include "tensor/quant/block.h"

enum { N = 256, BYTES = 110 };

static int scale_of(const uint8_t *p, int i)
{
    int low = i < 8 ? kl__lo(p[i]) : kl__hi(p[i - 8]);
    return low | (p[8 + i % 4] >> 2 * (i / 4) & 3) << 4;
}

void kl__q3_k_decode(float *x, const void *blocks, int64_t n_block)
{
    const uint8_t *h = blocks;
    for (int64_t b = 0; b < n_block; b++, h += BYTES, x += N) {
        const uint8_t *q = h + 32;
        float d = kl__get_f16(h + 108);
        for (int i = 0; i < 16; i++) {
            float scale = d * (float)(scale_of(h + 96, i) - 32);
            int at = 16 * (i & 1), shift = 2 * (i / 2 % 4), bit = i / 2;
            for (int l = 0; l < 16; l++) {
                int v = (q[32 * (i / 8) + at + l] >> shift & 3) - (h[at + l] >> bit & 1 ? 0 : 4);
                x[16 * i + l] = scale * (float)v;
            }
        }
    }
}
