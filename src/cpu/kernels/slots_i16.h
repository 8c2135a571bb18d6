/** Contracts of the leaf loops of attention on 16-bit integers (cpu/sixteen.h): rows of f32 become integers with a
 *  scale of their own, products are exact sums of 32 bits, and a sum becomes f32 once.
 *
 *  A row x is written as scale q with scale = |x| / 32000 (Euclidean): by Cauchy and Schwarz no part of a sum of
 *  products of two rows leaves 32 bits, however long they are, and a row of n numbers is off by 1e-5 sqrt(n) of its own
 *  root mean square, which for n = 576 is what f16 loses.  Panels are those of slots_weight.h: p [pairs][32][2], made
 *  of rows of integers by bf16_panel.  Every slot gives the same bits everywhere. */
#ifndef KL_CPU_SLOTS_I16_H
#define KL_CPU_SLOTS_I16_H

#include <stdint.h>

enum {
    KL__I16_ROWS = 8,    /* rows that a product takes at once */
    KL__I16_BLOCK = 64,  /* weights of a row, rows that are woven */
    KL__I16_NORM = 32000 /* length of a row of integers */
};

/** q [n_q] = x / scale, rounded to nearest, and zeros from n on; n <= n_q < 65536.  A row whose squares sum to less
 *  than 1e-30 counts as zero, scale 0.  Where that sum is not finite, scale is NaN and q 0. */
typedef void kl__i16_row_fn(int16_t *q, float *scale, const float *x, int64_t n, int64_t n_q);

/** The same of bf16, with the bits of their f32. */
typedef void kl__i16_row_bf16_fn(int16_t *q, float *scale, const uint16_t *x, int64_t n, int64_t n_q);

/** to[j][i] = from[i][j] for i < KL__I16_BLOCK and j < n, a multiple of 16 up to KL__I16_BLOCK; rows of both are
 *  KL__I16_BLOCK numbers apart. */
typedef void kl__i16_turn_fn(float *to, const float *from, int64_t n);

/** The weights of a block of positions, whose values are integers with scales of their own:
 *      w_j = s_j value_scale_j for j < to, 0 beyond;   scale = sum_j w_j / 32000;   q_j = w_j / scale, rounded
 *  so that no sum of q_j times values leaves 32 bits.  s, value_scale, q [KL__I16_BLOCK]; s and value_scale >= 0.
 *  A sum below 1e-30 counts as zero, one that is not finite makes scale NaN and q 0. */
typedef void kl__i16_weights_fn(int16_t *q, float *scale, const float *s, const float *value_scale, int32_t to);

/** Columns of KL__I16_BLOCK rows of integers, `pitch` apart, as panels whose pairs are neighbouring rows:
 *      p[c / 32][j / 2][c % 32][j % 2] = rows[j][c]    for c < n, zeros up to the next multiple of 32 */
typedef void kl__i16_weave_fn(int16_t *p, const int16_t *rows, int64_t pitch, int64_t n);

/** sum[i][j] = s, or with `keep` keep[i] sum[i][j] + s (the product fused with s), for i < m, j < n <= 32:
 *      s = (float)(sum over 2 n_pair numbers of x[i][k] p[k / 2][j][k % 2]) * (x_scale[i] * p_scale[j])
 *  1 <= m <= KL__I16_ROWS; x [m][2 n_pair] at x_pitch, both even; p_scale NULL: ones; p is aligned to 64 bytes.  No
 *  part of the sum may leave 32 bits. */
typedef void kl__i16_tile_fn(float *sum, int64_t sum_pitch, const float *keep, const int16_t *x, int64_t x_pitch,
                             const float *x_scale, const int16_t *p, const float *p_scale, int64_t n_pair, int m,
                             int n);

#endif
