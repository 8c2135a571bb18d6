#define KL_ISA avx512vnni
#define KL_LANES 16
#define KL_I16_AT_ONCE 8 /* 16 sums hide the latency of five; 8 addresses find registers */
#include "cpu/kernels/vec/vec.h"

static inline vi dot2(vi sum, vi w, vi x)
{
    return (vi)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)w, (__m512i)x);
}

#include "cpu/kernels/vec/i16_tile.h"
