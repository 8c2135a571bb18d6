/* What the backward makes again of a chunk: u, and the state after it.  Tiles as in kda_slabs.h. */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/kda_solve.h"

typedef float columns_t[2 * KL_LANES]; /* one token's values in a group of columns */

INLINE void run_channels(float *to, const float *from, const struct kl__kda_chunk *c, const columns_t *u, int i,
                         int rows, int n_vec)
{
    vf acc[KL_TILE][2];
    load_channels(acc, from, c->K, i, c->gamma, rows, n_vec);
    add_outer(acc, c->ku + i, c->ld, u, c->n, rows, n_vec);
    store_channels(to, acc, c->K, i, rows, n_vec);
}

/* One group of columns. */
INLINE void run_group(float *to, const float *from, float *u_out, ptrdiff_t ldu, const struct kl__kda_chunk *c,
                      const float *v, ptrdiff_t ldv, kl_rule rule, int n_vec)
{
    _Alignas(64) columns_t u[KL_CHUNK_MAX];
    for (int t0 = 0; t0 < c->n; t0 += KL_TILE) {
        vf acc[KL_TILE][2] = {0};
        if (rule == KL_RULE_DELTA) {
            add_rows_times_state(acc, c->kd + t0 * c->ld, c->ld, from, c->K, n_vec);
            add_pairs(acc, c->A + t0 * KL_CHUNK_MAX, (const columns_t *)u, t0, n_vec);
        }
        solve_tile(acc, c, v, ldv, t0, rule, n_vec);
        store_rows(u[t0], 2 * KL_LANES, acc, KL_TILE, n_vec);
        store_rows(u_out + t0 * ldu, ldu, acc, c->n - t0, n_vec);
    }
    int i = 0;
    for (; to && i + KL_TILE <= c->K; i += KL_TILE)
        run_channels(to, from, c, (const columns_t *)u, i, KL_TILE, n_vec);
    for (; to && i < c->K; i++)
        run_channels(to, from, c, (const columns_t *)u, i, 1, n_vec);
}

void KL_VARIANT(kda_again)(float *to, const float *from, float *u, ptrdiff_t ldu, const struct kl__kda_chunk *c,
                           const float *v, ptrdiff_t ldv, int n_slab, kl_rule rule)
{
    ptrdiff_t n_column = (ptrdiff_t)n_slab * KL_SLAB, at = 0;
    for (; at + 2 * KL_LANES <= n_column; at += 2 * KL_LANES) {
        float *after = to ? to + at * c->K : NULL;
        if (rule == KL_RULE_DELTA)
            run_group(after, from + at * c->K, u + at, ldu, c, v + at, ldv, KL_RULE_DELTA, 2);
        else
            run_group(after, from + at * c->K, u + at, ldu, c, v + at, ldv, KL_RULE_ADD, 2);
    }
    if (at < n_column)
        run_group(to ? to + at * c->K : NULL, from + at * c->K, u + at, ldu, c, v + at, ldv, rule, 1);
}
