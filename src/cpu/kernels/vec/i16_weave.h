/* Two rows of integers, number by number. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

enum { COLUMNS = 32, PANEL = KL__I16_BLOCK * COLUMNS };

/* 32 columns of rows 2 j and 2 j + 1. */
static inline void weave(int16_t *to, const int16_t *even, const int16_t *odd)
{
#if KL_LANES == 16
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    __m512i a = _mm512_loadu_si512(even), b = _mm512_loadu_si512(odd);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(to + COLUMNS, _mm512_permutex2var_epi16(a, high, b));
#else
    for (int c = 0; c < COLUMNS; c += 16, even += 16, odd += 16, to += 32) {
        __m256i a = _mm256_loadu_si256((const __m256i *)even), b = _mm256_loadu_si256((const __m256i *)odd);
        __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
        _mm256_storeu_si256((__m256i *)to, _mm256_permute2x128_si256(low, high, 0x20));
        _mm256_storeu_si256((__m256i *)(to + 16), _mm256_permute2x128_si256(low, high, 0x31));
    }
#endif
}

void KL_VARIANT(i16_weave)(int16_t *p, const int16_t *rows, int64_t pitch, int64_t n)
{
    for (; n >= COLUMNS; n -= COLUMNS, rows += COLUMNS, p += PANEL)
        for (int j = 0; j < KL__I16_BLOCK; j += 2)
            weave(p + j * COLUMNS, rows + j * pitch, rows + (j + 1) * pitch);
    for (int j = 0; n > 0 && j < KL__I16_BLOCK; j += 2) {
        int16_t rest[2][COLUMNS] = {{0}};
        for (int i = 0; i < 2; i++)
            __builtin_memcpy(rest[i], rows + (j + i) * pitch, (size_t)n * sizeof *rows);
        weave(p + j * COLUMNS, rest[0], rest[1]);
    }
}
