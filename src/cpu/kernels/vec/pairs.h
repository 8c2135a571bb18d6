/* Sums over channels for many pairs of rows at once: partial sums stay in vectors, and KL_LANES vectors are summed
 * across their lanes together, in a tree of shuffles: about three instructions a pair instead of a dozen. */
#ifndef KL_CPU_PAIRS_H
#define KL_CPU_PAIRS_H

#include "cpu/kernels/vec/vec.h"

#if KL_LANES == 16
/* Lane i of the result is the sum of the lanes of x[i]. */
static inline vf sum_each(const vf x[KL_LANES])
{
    vf quad[4]; /* quad[g]: in every 128-bit lane, the partial sums of x[4g .. 4g+3] */
    for (int g = 0; g < 4; g++) {
        vf a = x[4 * g], b = x[4 * g + 1], c = x[4 * g + 2], d = x[4 * g + 3];
        vf ab = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
        vf cd = _mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d);
        quad[g] = _mm512_shuffle_ps(ab, cd, 0x44) + _mm512_shuffle_ps(ab, cd, 0xee);
    }
    vf low = _mm512_shuffle_f32x4(quad[0], quad[1], 0x44) + _mm512_shuffle_f32x4(quad[0], quad[1], 0xee);
    vf high = _mm512_shuffle_f32x4(quad[2], quad[3], 0x44) + _mm512_shuffle_f32x4(quad[2], quad[3], 0xee);
    return _mm512_shuffle_f32x4(low, high, 0x88) + _mm512_shuffle_f32x4(low, high, 0xdd);
}
#elif defined(__AVX2__) && KL_LANES == 8
static inline vf sum_each(const vf x[KL_LANES])
{
    vf quad[2];
    for (int g = 0; g < 2; g++) {
        vf a = x[4 * g], b = x[4 * g + 1], c = x[4 * g + 2], d = x[4 * g + 3];
        vf ab = _mm256_unpacklo_ps(a, b) + _mm256_unpackhi_ps(a, b);
        vf cd = _mm256_unpacklo_ps(c, d) + _mm256_unpackhi_ps(c, d);
        quad[g] = _mm256_shuffle_ps(ab, cd, 0x44) + _mm256_shuffle_ps(ab, cd, 0xee);
    }
    return _mm256_permute2f128_ps(quad[0], quad[1], 0x20) + _mm256_permute2f128_ps(quad[0], quad[1], 0x31);
}
#else
static inline vf sum_each(const vf x[KL_LANES])
{
    vf sums = {0};
    for (int i = 0; i < KL_LANES; i++)
        sums[i] = vsum(x[i]);
    return sums;
}
#endif

/* to[i] <- factor * sum of the lanes of x[i], i < n; x has room for n rounded up to KL_LANES. */
static inline void store_sums(float *to, const vf *x, int n, float factor)
{
    for (int i = 0; i < n; i += KL_LANES) {
        vf sums = sum_each(x + i) * factor;
        if (n - i >= KL_LANES)
            vstore(to + i, sums);
        else
            vstore_part(to + i, sums, n - i);
    }
}

#endif
