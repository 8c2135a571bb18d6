/** Updates of a state, slab by slab: tiles of WIDE channels by the vectors of the slab, to which outer products of
 *  tokens are added.  Each multiply-add takes what it broadcasts from memory (see tile.h). */
#ifndef KL_CPU_WIDE_H
#define KL_CPU_WIDE_H

#include "cpu/kernels/vec/tile.h"

enum {
    VECS = KL_SLAB / KL_LANES,            /* vectors of a slab */
    WIDE = KL_LANES == 16 ? 16 : KL_TILE, /* channels */
};

typedef float columns_t[2 * KL_LANES]; /* one token's values in a group of columns */

/* What tokens write: row r of keys [n][ld] times values[r]. */
struct writes {
    const float *keys;
    const columns_t *values;
};

/* `rows` channels from i on of update_slab. */
INLINE void update_channels(float *to, const float *S, const float *gamma, const struct writes *w, int n_writes, int n,
                            ptrdiff_t ld, int i, int rows)
{
    vf acc[WIDE][VECS];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < VECS; j++)
            acc[r][j] = vset(gamma[i + r]) * vload(S + (i + r) * KL_SLAB + j * KL_LANES);
    for (int k = 0; k < n_writes; k++) {
        const float *keys = w[k].keys + i;
#pragma GCC unroll 2
        for (int t = 0; t < n; t++)
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                vf f = vset(keys[t * ld + r]);
#pragma GCC unroll 2
                for (int j = 0; j < VECS; j++)
                    acc[r][j] += f * vload(w[k].values[t] + j * KL_LANES);
            }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < VECS; j++)
            vstore(to + (i + r) * KL_SLAB + j * KL_LANES, acc[r][j]);
}

/* One slab: to <- diag(gamma) S + sum over w and n tokens of keys values^T.  `to` may be S. */
INLINE void update_slab(float *to, const float *S, int K, const float *gamma, const struct writes *w, int n_writes,
                        int n, ptrdiff_t ld, struct kl__ahead *ahead)
{
    int i = 0;
    for (; i + WIDE <= K; i += WIDE) {
        if (i % FETCH_EVERY == 0)
            kl__fetch_some(ahead);
        update_channels(to, S, gamma, w, n_writes, n, ld, i, WIDE);
    }
    for (; i < K; i++)
        update_channels(to, S, gamma, w, n_writes, n, ld, i, 1);
}

/* The slabs, or the part of one, of a group of n_vec vectors of columns. */
INLINE void update_group(float *to, const float *S, int K, const float *gamma, const struct writes *w, int n_writes,
                         int n, ptrdiff_t ld, struct kl__ahead *ahead, int n_vec)
{
    for (int j = 0; j < n_vec; j += VECS) {
        ptrdiff_t slab = column_offset(K, j);
        struct writes own[2];
        for (int k = 0; k < n_writes; k++)
            own[k] = (struct writes){w[k].keys, (const columns_t *)(w[k].values[0] + j * KL_LANES)};
        update_slab(to + slab, S + slab, K, gamma, own, n_writes, n, ld, ahead);
    }
}

#endif
