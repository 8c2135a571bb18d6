#define KL_ISA avx2
#define KL_LANES 8
#define KL_Q8_AT_ONCE 2 /* 4 + 4 sums, 2 columns, 1 broadcast, 3 for a product: 14 of 16 registers */
#define KL_Q8_SIGNED 1
#include "cpu/kernels/vec/vec.h"

#include <stdbool.h>

/* sum + the four products of the bytes in each lane: unsigned w, signed x.  Pairs of products are added in 16 bits,
 * which holds them for w < 128.  Where w goes up to 255 (`wide`: 128 above a signed number, and sums do not start from
 * the offset) the signed number is multiplied: its magnitude is at most 128, its sign goes to x. */
static inline vi dot4(vi sum, vu w, vi x, bool wide)
{
    __m256i level = (__m256i)w, y = (__m256i)x;
    if (wide) {
        level = _mm256_xor_si256(level, _mm256_set1_epi8(-128));
        y = _mm256_sign_epi8(y, level);
        level = _mm256_abs_epi8(level);
    }
    __m256i pairs = _mm256_maddubs_epi16(level, y);
    return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

#include "cpu/kernels/vec/packed_tile.h"
