/** Blocks of 16 x 16 numbers turned from rows into columns: how rows of tokens become lanes of tokens. */
#ifndef KL_CPU_TURN_H
#define KL_CPU_TURN_H

#include "cpu/kernels/vec/transpose.h"

enum { KL_BLOCK = 16 };

/** to[j][i] = from[i][j] for i < n_row, zeros for n_row <= i < 16. */
static inline __attribute__((always_inline)) void turn_block(float *to, ptrdiff_t ldto, const float *from,
                                                             ptrdiff_t ldfrom, int n_row)
{
    for (int i0 = 0; i0 < KL_BLOCK; i0 += KL_LANES)
        for (int j0 = 0; j0 < KL_BLOCK; j0 += KL_LANES) {
            vf x[KL_LANES];
            for (int i = 0; i < KL_LANES; i++)
                x[i] = i0 + i < n_row ? vload(from + (i0 + i) * ldfrom + j0) : vset(0);
            vtranspose(x);
            for (int j = 0; j < KL_LANES; j++)
                vstore(to + (j0 + j) * ldto + i0, x[j]);
        }
}

/** The same along rows of n_column numbers, a multiple of 16: to[n_column][ldto]. */
static inline void turn_rows(float *to, ptrdiff_t ldto, const float *from, ptrdiff_t ldfrom, int n_row,
                             ptrdiff_t n_column)
{
    for (ptrdiff_t j = 0; j < n_column; j += KL_BLOCK) {
        if (n_row >= KL_BLOCK)
            turn_block(to + j * ldto, ldto, from + j, ldfrom, KL_BLOCK);
        else
            turn_block(to + j * ldto, ldto, from + j, ldfrom, n_row);
    }
}

#endif
