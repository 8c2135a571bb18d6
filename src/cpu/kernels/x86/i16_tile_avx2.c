#define KL_ISA avx2
#define KL_LANES 8
#define KL_I16_AT_ONCE 4 /* 8 sums, 2 columns, 1 broadcast, 2 products: 13 of 16 registers */
#include "cpu/kernels/vec/vec.h"

static inline vi dot2(vi sum, vi w, vi x)
{
    return sum + (vi)_mm256_madd_epi16((__m256i)w, (__m256i)x);
}

#include "cpu/kernels/vec/i16_tile.h"
