/* The triangle of a chunk within one tile of tokens. */
#ifndef KL_CPU_KDA_SOLVE_H
#define KL_CPU_KDA_SOLVE_H

#include "cpu/kernels/vec/tile.h"

/* acc is what the state and earlier tiles take away from the values of tokens t0 ...: it becomes the errors, which go
 * to e (NULL: nowhere), and then u, what the tokens write.  Rows past the end are computed and not stored in e. */
INLINE void solve_tile(vf acc[KL_TILE][2], float *e, ptrdiff_t lde, const struct kl__kda_chunk *c, const float *v,
                       ptrdiff_t ldv, int t0, kl_rule rule, int n_vec)
{
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++) {
        int t = t0 + r < c->n ? t0 + r : c->n - 1;
        for (int j = 0; j < n_vec; j++)
            acc[r][j] = vload(v + t * ldv + j * KL_LANES) - acc[r][j];
    }
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++) {
        if (e && t0 + r < c->n)
            for (int j = 0; j < n_vec; j++)
                vstore(e + (t0 + r) * lde + j * KL_LANES, acc[r][j]);
        for (int j = 0; j < n_vec; j++)
            acc[r][j] *= c->beta[t0 + r];
        if (rule == KL_RULE_DELTA)
#pragma GCC unroll 8
            for (int s = r + 1; s < KL_TILE; s++)
                for (int j = 0; j < n_vec; j++)
                    acc[s][j] -= vset(c->A[(t0 + s) * KL_CHUNK_MAX + t0 + r]) * acc[r][j];
    }
}

#endif
