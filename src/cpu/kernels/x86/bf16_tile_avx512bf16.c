/* Rows of activations times a panel of 32 rows of weights, pairs of bf16: up to 12 x 2 vectors of sums stay in
 * registers; addresses of more rows would not. */
#include "cpu/kernels/kernels.h"

#include <immintrin.h>

enum { ROWS = KL__BF16_ROWS };

/* With m a constant, the sums are registers. */
static inline __attribute__((always_inline)) void tile(float *sum, const uint16_t *const *x, const uint16_t *p,
                                                       int64_t n_pair, const int m, bool add)
{
    __m512 s[ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
        s[i][0] = s[i][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < n_pair; k++, p += 2 * KL__PANEL) {
        __m512bh left = (__m512bh)_mm512_load_si512(p), right = (__m512bh)_mm512_load_si512(p + KL__PANEL);
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            int32_t pair;
            __builtin_memcpy(&pair, x[i] + 2 * k, sizeof pair);
            __m512bh y = (__m512bh)_mm512_set1_epi32(pair);
            s[i][0] = _mm512_dpbf16_ps(s[i][0], left, y);
            s[i][1] = _mm512_dpbf16_ps(s[i][1], right, y);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++, sum += KL__PANEL) {
        _mm512_store_ps(sum, add ? _mm512_add_ps(_mm512_load_ps(sum), s[i][0]) : s[i][0]);
        _mm512_store_ps(sum + 16, add ? _mm512_add_ps(_mm512_load_ps(sum + 16), s[i][1]) : s[i][1]);
    }
}

void kl__bf16_tile_avx512bf16(float *sum, const uint16_t *const *x, const uint16_t *p, int64_t n_pair, int m, bool add)
{
    switch (m) {
    case 1: tile(sum, x, p, n_pair, 1, add); return;
    case 2: tile(sum, x, p, n_pair, 2, add); return;
    case 3: tile(sum, x, p, n_pair, 3, add); return;
    case 4: tile(sum, x, p, n_pair, 4, add); return;
    case 5: tile(sum, x, p, n_pair, 5, add); return;
    case 6: tile(sum, x, p, n_pair, 6, add); return;
    case 7: tile(sum, x, p, n_pair, 7, add); return;
    case 8: tile(sum, x, p, n_pair, 8, add); return;
    case 9: tile(sum, x, p, n_pair, 9, add); return;
    case 10: tile(sum, x, p, n_pair, 10, add); return;
    case 11: tile(sum, x, p, n_pair, 11, add); return;
    case 12: tile(sum, x, p, n_pair, 12, add); return;
    }
}
