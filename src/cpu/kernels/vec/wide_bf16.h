/* Panels of packed bf16 in products of f32: a pair of numbers of a row is a lane, its first number in the low half. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/passing.h"
#include "cpu/kernels/vec/vec.h"

enum {
    COLUMNS = 2 * KL_LANES,
    PAIR = 2 * KL__PANEL, /* numbers from one pair of k to the next */
};

static inline vu pairs_at(const uint16_t *from)
{
    vu x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
}

static inline vf first_of(vu x)
{
    return (vf)(x << 16);
}

static inline vf second_of(vu x)
{
    return (vf)(x & 0xffff0000);
}

void KL_VARIANT(wide_panel)(float *to, const void *from, int column, int64_t n_k)
{
    const uint16_t *p = (const uint16_t *)from + 2 * column;
    for (int64_t k = 0; k < n_k; k += 2, p += PAIR, to += 2 * COLUMNS)
        for (int j = 0; j < COLUMNS; j += KL_LANES) {
            vu x = pairs_at(p + 2 * j);
            vstore(to + j, first_of(x));
            if (k + 1 < n_k)
                vstore(to + COLUMNS + j, second_of(x));
        }
}

/* One block of k.  With m a constant, the sums are registers. */
static inline __attribute__((always_inline)) void block(vf s[][2], const float *a, int64_t a_pitch, const uint16_t *p,
                                                        int64_t n_k, const int m)
{
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
        s[i][0] = s[i][1] = vset(0);
    int64_t k = 0;
    for (; k + 2 <= n_k; k += 2, p += PAIR) {
        vu left = pairs_at(p), right = pairs_at(p + 2 * KL_LANES);
        for (int i = 0; i < 2; i++) {
            __builtin_prefetch((const char *)p + FAR + i * LINE, 0, 2);
            __builtin_prefetch((const char *)p + NEAR + i * LINE, 0, 3);
        }
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            vf x = vset(a[i * a_pitch + k]), y = vset(a[i * a_pitch + k + 1]);
            s[i][0] += x * first_of(left);
            s[i][1] += x * first_of(right);
            s[i][0] += y * second_of(left);
            s[i][1] += y * second_of(right);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; k < n_k && i < m; i++) {
        vf x = vset(a[i * a_pitch + k]);
        s[i][0] += x * first_of(pairs_at(p));
        s[i][1] += x * first_of(pairs_at(p + 2 * KL_LANES));
    }
}

static inline __attribute__((always_inline)) void tile(float *sum, const float *a, int64_t a_pitch, const uint16_t *p,
                                                       int64_t n_k, const int m)
{
    for (int64_t k = 0; k == 0 || k < n_k; k += KL__GEMM_K) {
        vf s[KL__WIDE_ROWS][2];
        block(s, a + k, a_pitch, p + k / 2 * PAIR, n_k - k < KL__GEMM_K ? n_k - k : KL__GEMM_K, m);
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
            for (int j = 0; j < 2; j++) {
                float *to = sum + i * COLUMNS + j * KL_LANES;
                vstore(to, k > 0 ? vload(to) + s[i][j] : s[i][j]);
            }
    }
}

void KL_VARIANT(wide_tile)(float *sum, const float *a, int64_t a_pitch, const void *from, int column, int64_t n_k,
                           int m)
{
    const uint16_t *p = (const uint16_t *)from + 2 * column;
    switch (m) {
    case 1: tile(sum, a, a_pitch, p, n_k, 1); return;
    case 2: tile(sum, a, a_pitch, p, n_k, 2); return;
    case 3: tile(sum, a, a_pitch, p, n_k, 3); return;
    case 4: tile(sum, a, a_pitch, p, n_k, 4); return;
    }
}
