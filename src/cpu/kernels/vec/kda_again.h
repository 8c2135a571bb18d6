/* What the backward makes again of a chunk: e, and the state after it.  Tiles as in kda_slabs.h. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/tile.h"

typedef float columns_t[2 * KL_LANES]; /* one token's values in a group of columns */

/* acc is what the state and earlier tiles take away from the values of tokens t0 ...: e and u follow, the triangle of
 * the tile in registers.  Rows past the end are computed and not stored in e. */
INLINE void solve(vf acc[KL_TILE][2], float *e, ptrdiff_t lde, columns_t *u, const struct kl__kda_chunk *c,
                  const float *v, ptrdiff_t ldv, int t0, kl_rule rule, int n_vec)
{
    for (int r = 0; r < KL_TILE; r++) {
        int t = t0 + r < c->n ? t0 + r : c->n - 1;
        for (int j = 0; j < n_vec; j++)
            acc[r][j] = vload(v + t * ldv + j * KL_LANES) - acc[r][j];
    }
#pragma GCC unroll 8
    for (int r = 0; r < KL_TILE; r++)
        for (int j = 0; j < n_vec; j++) {
            vf x = c->beta[t0 + r] * acc[r][j];
            vstore(u[t0 + r] + j * KL_LANES, x);
            if (rule == KL_RULE_DELTA)
                for (int s = r + 1; s < KL_TILE; s++)
                    acc[s][j] -= vset(c->A[(t0 + s) * KL_CHUNK_MAX + t0 + r]) * x;
        }
    store_rows(e + t0 * lde, lde, acc, c->n - t0, n_vec);
}

INLINE void run_channels(float *to, const float *S, const struct kl__kda_chunk *c, const columns_t *u, int i, int rows,
                         int n_vec)
{
    vf acc[KL_TILE][2];
    load_channels(acc, S, c->K, i, c->gamma, rows, n_vec);
    add_outer(acc, c->ku + i, c->ld, u, c->n, rows, n_vec);
    store_channels(to, acc, c->K, i, rows, n_vec);
}

/* One group of columns. */
INLINE void run_group(float *to, const float *S, float *e, ptrdiff_t lde, const struct kl__kda_chunk *c,
                      const float *v, ptrdiff_t ldv, kl_rule rule, int n_vec)
{
    _Alignas(64) columns_t u[KL_CHUNK_MAX];
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2] = {0};
        if (rule == KL_RULE_DELTA) {
            add_state(acc, c->kd + t0 * c->ld, c->ld, S, c->K, c->ahead, n_vec);
            add_pairs(acc, c->A + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, n_vec);
        }
        solve(acc, e, lde, u, c, v, ldv, t0, rule, n_vec);
    }
    int i = 0;
    for (; to && i + KL_TILE <= c->K; i += KL_TILE) {
        if (i % FETCH_EVERY == 0)
            kl__fetch_some(c->ahead);
        run_channels(to, S, c, (const columns_t *)u, i, KL_TILE, n_vec);
    }
    for (; to && i < c->K; i++)
        run_channels(to, S, c, (const columns_t *)u, i, 1, n_vec);
}

void KL_VARIANT(kda_again)(float *to, const float *S, float *e, ptrdiff_t lde, const struct kl__kda_chunk *c,
                           const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule)
{
    ptrdiff_t n_column = (ptrdiff_t)n_slab * KL_SLAB, at = 0;
    for (; at + 2 * KL_LANES <= n_column; at += 2 * KL_LANES) {
        float *after = to ? to + at * c->K : NULL;
        if (rule == KL_RULE_DELTA)
            run_group(after, S + at * c->K, e + at, lde, c, v + at, ldv, KL_RULE_DELTA, 2);
        else
            run_group(after, S + at * c->K, e + at, lde, c, v + at, ldv, KL_RULE_ADD, 2);
    }
    if (at < n_column) /* an odd slab, where a vector is as wide as one */
        run_group(to ? to + at * c->K : NULL, S + at * c->K, e + at, lde, c, v + at, ldv, rule, 1);
}
