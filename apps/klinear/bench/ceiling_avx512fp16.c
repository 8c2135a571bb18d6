/* Multiply-adds of f16 with f16 sums: VFMADDPH.  See ceiling_loops.h for the form. */
#include "ceiling.h"

#include <immintrin.h>

__extension__ typedef _Float16 f16; /* not in C17 */

enum { SUMS = 16, LANES = 32 };

double ka_fma_f16_avx512fp16(int64_t n, float *sink)
{
    __m512h sum[SUMS], a = _mm512_set1_ph((f16)sink[0]), b = _mm512_set1_ph((f16)sink[1]);
    for (int s = 0; s < SUMS; s++)
        sum[s] = _mm512_set1_ph((f16)s);
    for (int64_t i = 0; i < n; i++)
        for (int s = 0; s < SUMS; s++)
            sum[s] = _mm512_fmadd_ph(sum[s], a, b);
    for (int s = 0; s < SUMS; s++)
        sink[2] += (float)_mm512_reduce_add_ph(sum[s]);
    return 2.0 * LANES * SUMS * (double)n;
}
