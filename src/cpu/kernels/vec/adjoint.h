/** What the backwards of chunks on slabs share: sums over value columns.  There lanes are tokens: an element of a
 *  state, or of a row of values, is what is broadcast, and rows of values are turned into columns before; results are
 *  turned back block by block. */
#ifndef KL_CPU_ADJOINT_H
#define KL_CPU_ADJOINT_H

#include "cpu/kernels/vec/pairs.h"
#include "cpu/kernels/vec/tile.h"
#include "cpu/kernels/vec/turn.h"

enum { PANEL = 2 * KL_BLOCK }; /* tokens of one kind of rows and as many of another, side by side */

/* to[r] = sum over columns c of a[r][c] panel[c], for `rows` rows of a: their elements lie in runs of 16, `slab`
 * apart. */
INLINE void times_panel(float *to, ptrdiff_t ldto, const float *a, ptrdiff_t row, ptrdiff_t slab, int n_slab,
                        const float *panel, ptrdiff_t ldp, int rows, int n_vec)
{
    vf acc[16][2];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 2; j++)
            acc[r][j] = vset(0);
    for (int s = 0; s < n_slab; s++, a += slab, panel += KL_SLAB * ldp)
#pragma GCC unroll 1
        for (int c = 0; c < KL_SLAB; c++) {
            vf x0 = vload(panel + c * ldp), x1 = vload(panel + c * ldp + (n_vec - 1) * KL_LANES);
            for (int r = 0; r < rows; r++) {
                vf f = vset(a[r * row + c]);
                acc[r][0] += f * x0;
                if (n_vec == 2)
                    acc[r][1] += f * x1;
            }
        }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(to + r * ldto + j * KL_LANES, acc[r][j]);
}

/* The same for 16 rows, of which n exist; the others give zeros.  `width` columns of the panel: 16 or PANEL. */
INLINE void block_times_panel(float block[KL_BLOCK][PANEL], const float *a, ptrdiff_t row, ptrdiff_t slab, int n_slab,
                              const float *panel, ptrdiff_t ldp, int n, int width)
{
    enum { N_VEC = 2 };
    const int n_vec = width < N_VEC * KL_LANES ? 1 : N_VEC, rows = n_vec == 1 ? 2 * KL_TILE : KL_TILE;
    for (int at = 0; at < width; at += n_vec * KL_LANES) {
        int r = 0;
        for (; r + rows <= n; r += rows)
            times_panel(block[r] + at, PANEL, a + r * row, row, slab, n_slab, panel + at, ldp, rows, n_vec);
        for (; r < n; r++)
            times_panel(block[r] + at, PANEL, a + r * row, row, slab, n_slab, panel + at, ldp, 1, n_vec);
    }
    for (int r = n; r < KL_BLOCK; r++)
        for (int j = 0; j < width; j += KL_LANES)
            vstore(block[r] + j, vset(0));
}

static int at_most(int n, int most)
{
    return n < most ? n : most;
}

/* Rows r < n of to [n][ld] from column `j` on <- columns `at` ... of a block. */
INLINE void store_turned(float *to, ptrdiff_t ld, const float block[KL_BLOCK][PANEL], int at, int n)
{
    _Alignas(64) float rows[KL_BLOCK][KL_BLOCK];
    turn_block(rows[0], KL_BLOCK, block[0] + at, PANEL, KL_BLOCK);
    for (int r = 0; r < n; r++)
        for (int j = 0; j < KL_BLOCK; j += KL_LANES)
            vstore(to + r * ld + j, vload(rows[r] + j));
}

/* dgamma_i += D_i . S_i, lane by lane. */
INLINE void add_dgamma(float *dgamma, const float *D, const float *S, int K, int n_vec)
{
    ptrdiff_t second = column_offset(K, n_vec - 1);
#pragma GCC unroll 4
    for (int i = 0; i < K; i++) {
        const float *d = D + (ptrdiff_t)i * KL_SLAB, *s = S + (ptrdiff_t)i * KL_SLAB;
        vf sum = vload(dgamma + i * KL_LANES) + vload(d) * vload(s);
        if (n_vec == 2)
            sum += vload(d + second) * vload(s + second);
        vstore(dgamma + i * KL_LANES, sum);
    }
}

/* to[i] = sum of the lanes of vector i, i < n. */
static void add_up(float *to, const float *from, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i += KL_LANES) {
        vf x[KL_LANES];
        for (int l = 0; l < KL_LANES; l++)
            x[l] = vload(from + (i + l) * KL_LANES);
        if (n - i >= KL_LANES)
            vstore(to + i, sum_each(x));
        else
            vstore_part(to + i, sum_each(x), n - i);
    }
}

#endif
