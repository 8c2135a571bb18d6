/** Where packed panels (slots_weight.h) have what: KL_LANES rows from `column` on. */
#ifndef KL_CPU_PACKED_H
#define KL_CPU_PACKED_H

#include "cpu/kernels/vec/vec.h"

#include <stdbool.h>

enum { PACKED_LINE = 128 }; /* bytes of four numbers of 32 rows */

/* Line j of a group as it lies. */
static inline __attribute__((always_inline)) vu packed_bytes(const uint8_t *from, const int j, int column)
{
    vu x;
    __builtin_memcpy(&x, from + j * PACKED_LINE + 4 * column, sizeof x);
    return x;
}

/* Line j of 8 of a group's numbers. */
static inline __attribute__((always_inline)) vu packed_line(const uint8_t *from, const int j, int column,
                                                            const bool nibbles)
{
    vu x = packed_bytes(from, nibbles ? j % 4 : j, column);
    return !nibbles ? x : j < 4 ? x & 0x0f0f0f0f : x >> 4 & 0x0f0f0f0f;
}

static inline vf packed_half(const uint8_t *from, int column)
{
    vh x;
    __builtin_memcpy(&x, from + 2 * column, sizeof x);
#if KL_LANES == 16
    return _mm512_cvtph_ps((__m256i)x);
#else
    return _mm256_cvtph_ps((__m128i)x);
#endif
}

static inline vf packed_byte(const uint8_t *from, int column)
{
#if KL_LANES == 16
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(from + column))));
#else
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(from + column))));
#endif
}

#endif
