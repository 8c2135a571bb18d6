/* Products of pairs of bf16, added in f32: VDPBF16PS.  See ceiling_loops.h for the form. */
#include "ceiling.h"

#include <immintrin.h>

enum { SUMS = 16, LANES = 16 };

double ka_dot_bf16_avx512bf16(int64_t n, float *sink)
{
    __m512 sum[SUMS];
    __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(sink[0]), _mm512_set1_ps(sink[1])), b = a;
    for (int s = 0; s < SUMS; s++)
        sum[s] = _mm512_set1_ps((float)s);
    for (int64_t i = 0; i < n; i++)
        for (int s = 0; s < SUMS; s++)
            sum[s] = _mm512_dpbf16_ps(sum[s], a, b);
    for (int s = 0; s < SUMS; s++)
        sink[2] += _mm512_reduce_add_ps(sum[s]);
    return 4.0 * LANES * SUMS * (double)n;
}
