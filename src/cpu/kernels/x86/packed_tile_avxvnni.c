#define KL_ISA avxvnni
#define KL_LANES 8
#define KL_Q8_AT_ONCE 2 /* 4 + 4 sums, 2 columns, 1 broadcast: 11 of 16 registers */
#define KL_Q8_SIGNED 0
#include "cpu/kernels/vec/vec.h"

#include <stdbool.h>

/* sum + the four products of the bytes in each lane: unsigned w, signed x. */
static inline vi dot4(vi sum, vu w, vi x, bool wide)
{
    (void)wide;
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)w, (__m256i)x);
}

#include "cpu/kernels/vec/packed_tile.h"
