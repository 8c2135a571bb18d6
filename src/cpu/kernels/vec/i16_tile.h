/* Rows of integers times a panel of 32 columns: for each row two vectors of sums (four at the smaller width) stay in
 * registers.  The <isa> file defines dot2: sum + the two products of 16-bit numbers in each lane. */
#include "cpu/kernels/kernels.h"

enum { COLUMNS = 2 * KL_LANES, PAIR = 2 * 32 };

struct tile {
    float *sum;
    int64_t sum_pitch;
    const float *keep;
    const int16_t *x;
    int64_t x_pitch;
    const float *x_scale;
    const int16_t *p;
    const float *p_scale;
    int64_t n_pair;
};

static inline vf fused(vf a, vf b, vf c)
{
#if KL_LANES == 16
    return _mm512_fmadd_ps(a, b, c);
#else
    return _mm256_fmadd_ps(a, b, c);
#endif
}

/* KL_LANES columns from `column` on of one row, those below n. */
static inline void store(const struct tile *t, int i, int column, vi s, int n)
{
    float *to = t->sum + i * t->sum_pitch + column;
    int here = n - column < KL_LANES ? n - column : KL_LANES;
    if (here <= 0)
        return;
    vf scale = vset(t->x_scale[i]);
    if (t->p_scale)
        scale *= here == KL_LANES ? vload(t->p_scale + column) : vload_part(t->p_scale + column, here);
    vf x = __builtin_convertvector(s, vf);
    if (t->keep)
        x = fused(x, scale, t->keep[i] * (here == KL_LANES ? vload(to) : vload_part(to, here)));
    else
        x *= scale;
    if (here == KL_LANES)
        vstore(to, x);
    else
        vstore_part(to, x, here);
}

/* With m a constant, the sums are registers. */
static inline __attribute__((always_inline)) void pass(const struct tile *t, int first, int column, const int m, int n)
{
    vi s[KL_I16_AT_ONCE][2];
    const int16_t *p = t->p + 2 * column, *x = t->x + first * t->x_pitch;
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
        s[i][0] = s[i][1] = (vi){0};
    for (int64_t k = 0; k < t->n_pair; k++, p += PAIR) {
        vi left, right;
        __builtin_memcpy(&left, p, sizeof left);
        __builtin_memcpy(&right, p + 2 * KL_LANES, sizeof right);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++) {
            int32_t pair;
            __builtin_memcpy(&pair, x + i * t->x_pitch + 2 * k, sizeof pair);
            vi y = pair - (vi){0};
            s[i][0] = dot2(s[i][0], left, y);
            s[i][1] = dot2(s[i][1], right, y);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
        store(t, first + i, column, s[i][0], n);
        store(t, first + i, column + KL_LANES, s[i][1], n);
    }
}

static inline __attribute__((always_inline)) void of_rows(const struct tile *t, int first, const int m, int n)
{
    for (int column = 0; column < 32 && column < n; column += COLUMNS)
        pass(t, first, column, m, n);
}

void KL_VARIANT(i16_tile)(float *sum, int64_t sum_pitch, const float *keep, const int16_t *x, int64_t x_pitch,
                          const float *x_scale, const int16_t *p, const float *p_scale, int64_t n_pair, int m, int n)
{
    struct tile t = {sum, sum_pitch, keep, x, x_pitch, x_scale, p, p_scale, n_pair};
    int first = 0;
    for (; m - first > KL_I16_AT_ONCE; first += KL_I16_AT_ONCE)
        of_rows(&t, first, KL_I16_AT_ONCE, n);
    switch (m - first) {
    case 1: of_rows(&t, first, 1, n); return;
    case 2: of_rows(&t, first, 2, n); return;
    case 3: of_rows(&t, first, 3, n); return;
    case 4: of_rows(&t, first, 4, n); return;
#if KL_I16_AT_ONCE > 4
    case 5: of_rows(&t, first, 5, n); return;
    case 6: of_rows(&t, first, 6, n); return;
    case 7: of_rows(&t, first, 7, n); return;
    case 8: of_rows(&t, first, 8, n); return;
#endif
    }
}
