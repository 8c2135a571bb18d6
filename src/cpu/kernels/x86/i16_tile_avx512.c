#define KL_ISA avx512
#define KL_LANES 16
#define KL_I16_AT_ONCE 8
#include "cpu/kernels/vec/vec.h"

static inline vi dot2(vi sum, vi w, vi x)
{
    return sum + (vi)_mm512_madd_epi16((__m512i)w, (__m512i)x);
}

#include "cpu/kernels/vec/i16_tile.h"
