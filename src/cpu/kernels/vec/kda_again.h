/* What the backward makes again instead of keeping it. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/tile.h"

void KL_VARIANT(kda_prep_rows)(struct kl__kda_chunk *c, const float *q, const float *k, const float *alpha, float scale)
{
    for (ptrdiff_t j = 0; j < c->ld; j += KL_LANES) {
        vf from_start = vset(1), to_end = vset(1);
        for (int r = 0; r < c->n; r++) {
            ptrdiff_t at = r * c->ld + j, back = (c->n - 1 - r) * c->ld + j;
            from_start *= vload(alpha + at);
            vstore(c->kd + at, from_start * vload(k + at));
            vstore(c->qd + at, scale * from_start * vload(q + at));
            vstore(c->ku + back, to_end * vload(k + back));
            to_end *= vload(alpha + back);
        }
        vstore(c->gamma + j, from_start);
    }
}

INLINE void advance_channels(float *to, const float *from, const struct kl__kda_chunk *c,
                             const float (*u)[2 * KL_LANES], int i, int rows, int n_vec)
{
    vf acc[KL_TILE][2];
    load_channels(acc, from, c->K, i, c->gamma, rows, n_vec);
    add_outer(acc, c->ku + i, c->ld, u, c->n, rows, n_vec);
    store_channels(to, acc, c->K, i, rows, n_vec);
}

/* One group of columns; its values are copied to where they lie close together. */
INLINE void advance_group(float *to, const float *from, const struct kl__kda_chunk *c, const float *u, ptrdiff_t ldu,
                          int n_vec)
{
    _Alignas(64) float x[KL_CHUNK_MAX][2 * KL_LANES];
    for (int r = 0; r < c->n; r++)
        for (int j = 0; j < n_vec; j++)
            vstore(x[r] + j * KL_LANES, vload(u + r * ldu + j * KL_LANES));
    int i = 0;
    for (; i + KL_TILE <= c->K; i += KL_TILE)
        advance_channels(to, from, c, (const float(*)[2 * KL_LANES]) x, i, KL_TILE, n_vec);
    for (; i < c->K; i++)
        advance_channels(to, from, c, (const float(*)[2 * KL_LANES]) x, i, 1, n_vec);
}

void KL_VARIANT(kda_advance)(float *to, const float *from, const struct kl__kda_chunk *c, const float *u, ptrdiff_t ldu,
                             int n_slab)
{
    ptrdiff_t n_column = (ptrdiff_t)n_slab * KL_SLAB, at = 0;
    for (; at + 2 * KL_LANES <= n_column; at += 2 * KL_LANES)
        advance_group(to + at * c->K, from + at * c->K, c, u + at, ldu, 2);
    if (at < n_column)
        advance_group(to + at * c->K, from + at * c->K, c, u + at, ldu, 1);
}
