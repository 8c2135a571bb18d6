/** Products of a variant's width in tiles of plain C's width: what the checkers of gemm_tile and gemm_rows share. */
#ifndef GEMM_TILES_H
#define GEMM_TILES_H

#include <stdint.h>

enum { MAX_TILE = 64 };

/** Columns from[k][first .. first + n - 1] as a panel of their own: to [n_k][n]. */
static inline void narrow(float *to, int n, const float *from, int pitch, int first, int64_t n_k)
{
    for (int64_t k = 0; k < n_k; k++)
        for (int i = 0; i < n; i++)
            to[k * n + i] = from[k * pitch + first + i];
}

/** The way back: to[r][first .. first + n - 1] = from[r], for from [m][n]. */
static inline void widen(float *to, int pitch, int first, const float *from, int n, int m)
{
    for (int r = 0; r < m; r++)
        for (int i = 0; i < n; i++)
            to[r * pitch + first + i] = from[r * n + i];
}

#endif
