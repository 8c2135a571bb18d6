/* Tiles of accumulators over the slabs of a state: KL_TILE rows by up to two vectors of value columns.  KL_TILE is what
 * the register file holds: 8 rows of two 512-bit vectors, 4 rows of two 256-bit ones.  All loops over rows and vectors
 * have constant bounds once inlined and are told to unroll, so that a tile lives in registers: left alone, gcc keeps
 * triangles rolled up and the tile on the stack, which costs a tenth of a chunk. */
#ifndef KL_CPU_TILE_H
#define KL_CPU_TILE_H

#include "cpu/kernels/slots_kda.h"
#include "cpu/kernels/vec/vec.h"

enum { KL_TILE = KL_LANES == 16 ? 8 : 4 };

#define INLINE static inline __attribute__((always_inline))

/* Where vector j of a group of columns starts in the group's slabs. */
INLINE ptrdiff_t column_offset(int K, int j)
{
    return (j * KL_LANES) / KL_SLAB * (ptrdiff_t)K * KL_SLAB + (j * KL_LANES) % KL_SLAB;
}

INLINE void clear_tile(vf acc[KL_TILE][2], int n_vec)
{
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++)
        for (int j = 0; j < n_vec; j++)
            acc[r][j] = vset(0);
}

/* 512-bit multiply-adds take what they broadcast from memory for nothing, as long as it is used once and its address
 * has no index; so rows are read at a constant distance where the size of a head is the usual one, and most broadcasts
 * serve one vector.  The fewer instructions are no multiply-adds, the less it matters when another thread shares the
 * core's front end. */
enum {
    USUAL_LD = 128,
    SHARED = KL_LANES == 16 ? 3 : KL_TILE, /* rows whose broadcast serves both vectors: more cost instructions, fewer
                                              cost loads */
    AT_ONCE = 8,                           /* channels in a row without a loop */
    FETCH_EVERY = 16,                      /* channels between two looks at what is needed next */
};

/* acc[r] += sum_i a[r][i] S[i] over n channels of two slabs, or of two halves of one. */
INLINE void add_channels(vf acc[KL_TILE][2], const float *a, ptrdiff_t lda, const float *s0, const float *s1, int n,
                         int n_vec)
{
    const float *again = a;
    __asm__("" : "+r"(a), "+r"(again), "+r"(s0), "+r"(s1)); /* the compiler shall not see that two of them are one */
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        vf x0 = vload(s0 + (ptrdiff_t)i * KL_SLAB), x1 = vload(s1 + (ptrdiff_t)i * KL_SLAB);
#pragma GCC unroll 8
        for (int r = 0; r < KL_TILE; r++) {
            vf f = vset(a[r * lda + i]);
            acc[r][0] += f * x0;
            if (n_vec == 2)
                acc[r][1] += (r < SHARED ? f : vset(again[r * lda + i])) * x1;
        }
    }
}

/* The same over all K channels of S. */
INLINE void add_all_channels(vf acc[KL_TILE][2], const float *a, ptrdiff_t lda, const float *S, int K,
                             struct kl__ahead *ahead, int n_vec)
{
    const float *s1 = S + column_offset(K, n_vec - 1);
    int i = 0;
    for (; i + AT_ONCE <= K; i += AT_ONCE) {
        if (i % FETCH_EVERY == 0)
            kl__fetch_some(ahead);
        add_channels(acc, a + i, lda, S + i * KL_SLAB, s1 + i * KL_SLAB, AT_ONCE, n_vec);
    }
    for (; i < K; i++)
        add_channels(acc, a + i, lda, S + i * KL_SLAB, s1 + i * KL_SLAB, 1, n_vec);
}

/* acc[r] += sum_i a[r][i] S[i], i over the K channels, with a look at what is needed next now and then. */
INLINE void add_state(vf acc[KL_TILE][2], const float *a, ptrdiff_t lda, const float *S, int K, struct kl__ahead *ahead,
                      int n_vec)
{
    if (lda == USUAL_LD && K == USUAL_LD)
        add_all_channels(acc, a, USUAL_LD, S, USUAL_LD, ahead, n_vec);
    else
        add_all_channels(acc, a, lda, S, K, ahead, n_vec);
}

/* acc[r] += sum_{i<n} m[r][i] u[i]; rows of m are KL_CHUNK_MAX apart. */
INLINE void add_pairs(vf acc[KL_TILE][2], const float *m, const float (*u)[2 * KL_LANES], int n, int n_vec)
{
    for (int i = 0; i < n; i++)
#pragma GCC unroll 8
        for (int r = 0; r < KL_TILE; r++) {
            vf f = vset(m[r * KL_CHUNK_MAX + i]);
            for (int j = 0; j < n_vec; j++)
                acc[r][j] += f * vload(u[i] + j * KL_LANES);
        }
}

/* acc[r] += sum_{i<=r} m[r][i] u[i] within one tile. */
INLINE void add_triangle(vf acc[KL_TILE][2], const float *m, const float (*u)[2 * KL_LANES], int n_vec)
{
#pragma GCC unroll 8
    for (int i = 0; i < KL_TILE; i++)
#pragma GCC unroll 8
        for (int r = i; r < KL_TILE; r++) {
            vf f = vset(m[r * KL_CHUNK_MAX + i]);
            for (int j = 0; j < n_vec; j++)
                acc[r][j] += f * vload(u[i] + j * KL_LANES);
        }
}

/* The first min(n, KL_TILE) rows. */
INLINE void store_rows(float *to, ptrdiff_t ld, vf acc[KL_TILE][2], int n, int n_vec)
{
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++)
        if (r < n)
            for (int j = 0; j < n_vec; j++)
                vstore(to + r * ld + j * KL_LANES, acc[r][j]);
}

/* acc[c] <- gamma[i + c] S[i + c] for `rows` channels from i on. */
INLINE void load_channels(vf acc[KL_TILE][2], const float *S, int K, int i, const float *gamma, int rows, int n_vec)
{
#pragma GCC unroll 8
    for (int c = 0; c < rows; c++)
        for (int j = 0; j < n_vec; j++)
            acc[c][j] = vset(gamma[i + c]) * vload(S + column_offset(K, j) + (ptrdiff_t)(i + c) * KL_SLAB);
}

INLINE void store_channels(float *S, vf acc[KL_TILE][2], int K, int i, int rows, int n_vec)
{
#pragma GCC unroll 8
    for (int c = 0; c < rows; c++)
        for (int j = 0; j < n_vec; j++)
            vstore(S + column_offset(K, j) + (ptrdiff_t)(i + c) * KL_SLAB, acc[c][j]);
}

/* acc[c] += sum_{r<n} a[r][c] u[r]. */
INLINE void add_outer(vf acc[KL_TILE][2], const float *a, ptrdiff_t lda, const float (*u)[2 * KL_LANES], int n,
                      int rows, int n_vec)
{
    for (int r = 0; r < n; r++) {
        vf x0 = vload(u[r]), x1 = vload(u[r] + (n_vec - 1) * KL_LANES);
#pragma GCC unroll 8
        for (int c = 0; c < rows; c++) {
            vf f = vset(a[r * lda + c]);
            acc[c][0] += f * x0;
            if (n_vec == 2)
                acc[c][1] += f * x1;
        }
    }
}

#endif
