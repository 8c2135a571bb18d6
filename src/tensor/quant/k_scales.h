/** The 12 bytes in which Q4_K and Q5_K pack 8 scales and 8 minima of 6 bits, and the search that they share. */
#ifndef KL_TENSOR_QUANT_K_SCALES_H
#define KL_TENSOR_QUANT_K_SCALES_H

#include "tensor/quant/block.h"

/** scale, minimum of sub-block i, 0..63. */
static inline void kl__k_scales_get(const uint8_t *p, int i, int *scale, int *minimum)
{
    if (i < 4) {
        *scale = p[i] & 63;
        *minimum = p[i + 4] & 63;
    } else {
        *scale = kl__lo(p[i + 4]) | p[i - 4] >> 6 << 4;
        *minimum = kl__hi(p[i + 4]) | p[i] >> 6 << 4;
    }
}

/** The inverse: p [12] from scale [8] and minimum [8]. */
static inline void kl__k_scales_put(uint8_t *p, const int *scale, const int *minimum)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(scale[i] | scale[i + 4] >> 4 << 6);
        p[i + 4] = (uint8_t)(minimum[i] | minimum[i + 4] >> 4 << 6);
        p[i + 8] = (uint8_t)((scale[i + 4] & 15) | (minimum[i + 4] & 15) << 4);
    }
}

/** Chooses everything but the layout of the integers for 256 numbers x: writes d, dmin and the packed scales to the
 *  first 16 bytes of `block`, and to q [256] the integers 0..high. */
void kl__k_scales_fit(uint8_t *block, uint8_t *q, const float *x, int high);

#endif
