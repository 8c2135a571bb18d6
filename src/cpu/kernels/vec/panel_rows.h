/** Sixteen bytes of KL_LANES rows at a time, a row in each lane. */
#ifndef KL_CPU_PANEL_ROWS_H
#define KL_CPU_PANEL_ROWS_H

#include "cpu/kernels/vec/transpose.h"

/* Sixteen bytes of every fourth row. */
static inline __attribute__((always_inline)) vu load_quads(const uint8_t *p, int64_t step)
{
#if KL_LANES == 16
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + step)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 2 * step)), 2);
    return (vu)_mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(p + 3 * step)), 3);
#else
    __m256i x = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return (vu)_mm256_inserti128_si256(x, _mm_loadu_si128((const __m128i *)(p + step)), 1);
#endif
}

/* x[j] holds bytes 4j .. 4j + 3 of KL_LANES rows from p on, row_bytes apart. */
static inline __attribute__((always_inline)) void load_rows16(vu x[4], const uint8_t *p, int64_t row_bytes)
{
    vf quad[4];
    for (int i = 0; i < 4; i++)
        quad[i] = (vf)load_quads(p + i * row_bytes, 4 * row_bytes);
    vtranspose_quads(quad);
    for (int j = 0; j < 4; j++)
        x[j] = (vu)quad[j];
}

static inline vf f32_of_half(vh x)
{
#if KL_LANES == 16
    return _mm512_cvtph_ps((__m256i)x);
#else
    return _mm256_cvtph_ps((__m128i)x);
#endif
}

/* f16 in the low halves of the lanes. */
static inline vf half(vu x)
{
    return f32_of_half(__builtin_convertvector(x, vh));
}

#endif
