#define KL_ISA avx512vnni
#define KL_LANES 16
#define KL_Q8_AT_ONCE 6 /* 12 + 12 sums, 2 columns, 1 broadcast: 27 of 32 registers */
#define KL_Q8_SIGNED 0
#include "cpu/kernels/vec/vec.h"

#include <stdbool.h>

/* sum + the four products of the bytes in each lane: unsigned w, signed x. */
static inline vi dot4(vi sum, vu w, vi x, bool wide)
{
    (void)wide;
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x);
}

#include "cpu/kernels/vec/packed_tile.h"
